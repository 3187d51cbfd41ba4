//! Filling an empty data directory from the upstream.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bascule_core::guard::wire::Upstream;

use crate::server::{Server, StepError};
use crate::store::{REWINDING, sync_dir};
use crate::tool::{Patience, conninfo, write_passfile};

/// How long `pg_basebackup` may show no progress.
const SILENT: Duration = Duration::from_mins(5);

/// Clones the upstream. The data directory gets its name only when the copy is complete, and only if it is still
/// empty: a half-made copy is never taken for a database.
pub(crate) async fn clone(server: &Server, upstream: &Upstream) -> Result<(), StepError> {
    let passfile = server.passfile();
    write_passfile(&passfile, upstream).map_err(|e| StepError::file(&passfile, e))?;
    let partial = partial(server);
    remove_partial(&partial).map_err(|e| StepError::file(&partial, e))?;
    let mut command = server.tools.command("pg_basebackup");
    command.arg("-D").arg(&partial).args(["-c", "fast", "-X", "stream", "-P", "--no-password"]);
    command.arg("-d").arg(conninfo(upstream, &passfile, &[]));
    if !upstream.slot.is_empty() {
        command.args(["-S", &upstream.slot]);
    }
    server.tools.must(command, Patience::Silent(SILENT)).await?;
    let signal = partial.join("standby.signal");
    std::fs::File::create(&signal).and_then(|f| f.sync_all()).map_err(|e| StepError::file(&signal, e))?;
    sync_dir(&partial).map_err(|e| StepError::file(&partial, e))?;
    // Fails unless the target is missing or an empty directory.
    std::fs::rename(&partial, &server.data).map_err(|e| StepError::file(&server.data, e))?;
    if let Some(parent) = server.data.parent() {
        sync_dir(parent).map_err(|e| StepError::file(parent, e))?;
    }
    server.set_strayed(false);
    // A mark of an older copy that a person has moved away says nothing about this one.
    Ok(server.store.remove(REWINDING)?)
}

/// Beside the data, on the same volume, so that the last step is a rename.
fn partial(server: &Server) -> PathBuf {
    let mut name = server.data.clone().into_os_string();
    name.push(".bascule-clone");
    name.into()
}

/// Only this module makes this directory, and it never was a database.
fn remove_partial(path: &std::path::Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
