//! Starts process 1 of a place in namespaces of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

use super::PlaceConfig;

/// Enters the place's network namespace, makes the others, starts process 1 there and says its number (as the host
/// counts) as one line on standard output. Process 1 inherits standard output and says `ready` on it.
///
/// Must be called by a process with a single thread: the kernel refuses new process namespaces to others.
pub fn launch(config_file: &Path) -> Result<()> {
    let config: PlaceConfig = serde_json::from_slice(&fs::read(config_file)?)
        .with_context(|| format!("cannot read {}", config_file.display()))?;
    // The place outlives the terminal it was started from, and a Ctrl-C there is not for it.
    nix::unistd::setsid().context("cannot leave the terminal's session")?;
    let netns = Path::new("/run/netns").join(&config.netns);
    let netns_file = File::open(&netns).with_context(|| format!("cannot open {}", netns.display()))?;
    setns(netns_file, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .context("cannot make namespaces")?;
    let log = File::options().create(true).append(true).open(&config.log)?;
    let child = Command::new("/proc/self/exe")
        .arg("place-init")
        .arg(config_file)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start process 1 of the place")?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", child.id())?;
    out.flush()?;
    Ok(())
}
