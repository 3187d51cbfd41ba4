//! Filling an empty data directory from the upstream.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bascule_boundary::Effect;
use bascule_core::guard::wire::{ServerState, Upstream};

use crate::effect;
use crate::server::{Server, StepError};
use crate::store::{REWINDING, sync_dir};
use crate::tool::{Patience, conninfo, write_passfile};

/// How long `pg_basebackup` may show no progress.
const SILENT: Duration = Duration::from_mins(5);

/// Clones the upstream. The data directory gets its name only when the copy is complete, and only if it is still
/// empty: a half-made copy is never taken for a database.
pub(crate) async fn clone(server: &Server, upstream: &Upstream) -> Result<ServerState, StepError> {
    let passfile = server.passfile();
    write_passfile(&passfile, upstream).map_err(|e| StepError::file(&passfile, e))?;
    let partial = partial(server);
    remove_partial(&partial).map_err(|e| StepError::file(&partial, e))?;
    if let Err(e) = try_rename(&partial, &server.data) {
        return Ok(misplaced(&server.data, &e));
    }
    let mut command = server.tools.command("pg_basebackup");
    command.arg("-D").arg(&partial).args(["-c", "fast", "-X", "stream", "-P", "--no-password"]);
    command.arg("-d").arg(conninfo(upstream, &passfile, &[]));
    if !upstream.slot.is_empty() {
        command.args(["-S", &upstream.slot]);
    }
    server.tools.must(Some(Effect::RunClone), command, Patience::Silent(SILENT)).await?;
    let signal = partial.join("standby.signal");
    effect::create_synced(Effect::WriteClonesSignal, &signal).map_err(|e| StepError::file(&signal, e))?;
    sync_dir(&partial).map_err(|e| StepError::file(&partial, e))?;
    // Fails unless the target is missing or an empty directory.
    effect::rename(Effect::PlaceClone, &partial, &server.data)
        .map_err(|e| StepError::file(&server.data, e))?;
    if let Some(parent) = server.data.parent() {
        sync_dir(parent).map_err(|e| StepError::file(parent, e))?;
    }
    server.set_strayed(false);
    // A mark of an older copy that a person has moved away says nothing about this one.
    server.store.remove(Effect::RemoveRewinding, REWINDING)?;
    Ok(ServerState::Down)
}

/// Does now, with an empty directory, what has to work at the end of a copy that may take hours.
fn try_rename(partial: &Path, data: &Path) -> io::Result<()> {
    effect::make_dir(Effect::TryClonesPlace, partial)?;
    effect::rename(Effect::TryClonesPlace, partial, data).inspect_err(|_| {
        // It is empty; what stays is removed before the next attempt.
        let _ = effect::remove_dir(Effect::RemovePartialClone, partial);
    })
}

fn misplaced(data: &Path, why: &io::Error) -> ServerState {
    let reason = format!(
        "{} cannot be given its place by a rename ({why}): a volume's own directory cannot be replaced, so nothing was \
         cloned",
        data.display()
    );
    let inside = data.join("pgdata");
    let commands = vec![
        "# give the data directory a place inside its volume, in the pod's template:".to_owned(),
        format!("PGDATA={}", inside.display()),
    ];
    ServerState::Failed { reason, commands }
}

/// Beside the data, on the same volume, so that the last step is a rename.
fn partial(server: &Server) -> PathBuf {
    let mut name = server.data.clone().into_os_string();
    name.push(".bascule-clone");
    name.into()
}

/// Only this module makes this directory, and it never was a database.
fn remove_partial(path: &Path) -> io::Result<()> {
    match effect::remove_dir_all(Effect::RemovePartialClone, path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_renamed_over_is_found_before_anything_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (data, partial) = (dir.path().join("data"), dir.path().join("data.bascule-clone"));
        try_rename(&partial, &data).unwrap();
        try_rename(&partial, &data).unwrap();
        assert!(data.is_dir() && !partial.exists());
        std::fs::create_dir(data.join("lost+found")).unwrap();
        let e = try_rename(&partial, &data).unwrap_err();
        assert!(data.join("lost+found").is_dir() && !partial.exists());
        let ServerState::Failed { reason, commands } = misplaced(&data, &e) else { panic!() };
        assert!(reason.contains("volume") && commands[1].ends_with("data/pgdata"), "{reason} {commands:?}");
    }
}
