//! The folder that containerd keeps images in, prepared once: a site that starts from it has its images unpacked
//! already.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::short_hash;
use crate::command::{finish, run, wait};
use crate::progress::Progress;
use crate::tools::cache_folder;
use crate::waiting::until_blocking;

/// How long containerd may take to start, or to end.
const CONTAINERD: Duration = Duration::from_secs(30);
/// How long one archive may take.
const IMPORT: Duration = Duration::from_mins(2);

/// The prepared folder for these archives, made when there is none yet.
pub fn ensure_store(progress: &Progress, archives: &[PathBuf]) -> Result<PathBuf> {
    let names: Vec<u8> = archives.iter().flat_map(|a| a.as_os_str().as_encoded_bytes().to_vec()).collect();
    let key = short_hash(&[super::RECIPES.as_bytes(), &names]);
    let store = cache_folder()?.join(format!("store-{key}"));
    if !store.exists() {
        progress.step("unpacking images (once)", |_| {
            for old in fs::read_dir(cache_folder()?)?.filter_map(Result::ok) {
                // Of other archives, or left by a process that was killed here: of no more use.
                if old.file_name().to_string_lossy().starts_with("store-") {
                    fs::remove_dir_all(old.path())?;
                }
            }
            let partial = tempfile::Builder::new().prefix("store-").tempdir_in(cache_folder()?)?;
            fill(&partial.path().join("root"), partial.path(), archives)?;
            fs::rename(partial.path().join("root"), &store)?;
            Ok::<_, anyhow::Error>(())
        })?;
    }
    Ok(store)
}

fn fill(root: &Path, scratch: &Path, archives: &[PathBuf]) -> Result<()> {
    let (socket, config, log) =
        (scratch.join("c.sock"), scratch.join("config.toml"), scratch.join("containerd.log"));
    fs::write(
        &config,
        format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \
             \"io.containerd.internal.v1.opt\"]\n[grpc]\n  address = \"{}\"\n",
            root.display(),
            scratch.join("state").display(),
            socket.display(),
        ),
    )?;
    let log_file = File::create(&log)?;
    let mut containerd = Command::new("containerd")
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        .spawn()
        .context("cannot start containerd")?;
    let result = import(&socket, archives);
    let ended = end(&mut containerd);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    result.with_context(|| crate::command::tail(said().trim(), 1500).to_owned())?;
    ended
}

fn import(socket: &Path, archives: &[PathBuf]) -> Result<()> {
    until_blocking("containerd", CONTAINERD, || {
        std::os::unix::net::UnixStream::connect(socket).context("it does not listen")
    })?;
    for archive in archives {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(socket).args(["-n", "k8s.io", "images", "import"]).arg(archive);
        finish(command, None, IMPORT)?;
    }
    Ok(())
}

/// An orderly end: its databases are complete on disk then.
fn end(containerd: &mut Child) -> Result<()> {
    let recorded = crate::process::Recorded::of(i32::try_from(containerd.id())?)?;
    recorded.signal(rustix::process::Signal::TERM)?;
    ensure!(wait(containerd, CONTAINERD)?.is_some(), "containerd did not end");
    Ok(())
}

/// Gives a site its own copy. What never changes is shared as hard links; databases are copied.
pub fn copy_store(store: &Path, to: &Path) -> Result<()> {
    let (from, into) = (store.join("."), to.to_owned());
    let copy = |how: &str| run("cp", [how.as_ref(), from.as_os_str(), into.as_os_str()]);
    if copy("-al").is_err() {
        // Another file system has no links to this one.
        copy("-a").context("cannot copy the prepared images")?;
        return Ok(());
    }
    for database in databases(store)? {
        let target = to.join(database.strip_prefix(store)?);
        fs::remove_file(&target)?;
        fs::copy(&database, &target)?;
    }
    Ok(())
}

fn databases(store: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for plugin in fs::read_dir(store)? {
        let plugin = plugin?.path();
        if plugin.is_dir() {
            let files = fs::read_dir(plugin)?.filter_map(Result::ok).map(|e| e.path());
            found.extend(files.filter(|file| file.extension().is_some_and(|e| e == "db")));
        }
    }
    ensure!(!found.is_empty(), "containerd left no database in {}", store.display());
    Ok(found)
}
