//! Takes a run down: from what is recorded in its folder and from names that are ours alone. Everything here may be
//! called again after having been interrupted anywhere.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cgroup::Cgroups;
use super::disks;
use super::network;
use super::place::Place;
use super::run_folder::{MachineLock, RunFolder};
use crate::process::Recorded;

/// How long the kernel may take to end every process of a place.
const END: Duration = Duration::from_secs(20);

/// Ends every process of a place and removes its cgroups, namespaces and cable. Its disk stays.
pub(super) fn power_off(run: &RunFolder, place: Place) -> Result<()> {
    let init = run.load()?.and_then(|state| state.places.get(&place).copied());
    end(place, init)?;
    network::disconnect(place)?;
    run.update(|state| {
        state.places.remove(&place);
    })
}

/// Ends every process of a place, its process 1 first, for that takes the others along.
fn end(place: Place, init: Option<Recorded>) -> Result<()> {
    let cgroups = Cgroups::detect()?;
    // With version 1, SIGKILL does not reach what is frozen.
    cgroups.thaw_all(&place.link())?;
    if let Some(init) = init {
        init.kill(END)?;
    }
    // What a run that was broken off had started and not yet recorded.
    for pid in network::processes(place)? {
        if let Ok(process) = Recorded::of(pid) {
            process.kill(END)?;
        }
    }
    cgroups.remove(&place.link())
}

/// Ends and removes everything of a run, its folder included. A folder without a run is no error.
pub fn take_down(run: &RunFolder) -> Result<()> {
    let Some(state) = run.load()? else {
        if run.root().exists() {
            disks::take_out(run)?;
            fs::remove_dir_all(run.root())?;
        }
        return Ok(());
    };
    if let Some(git) = state.git {
        git.kill(END)?;
    }
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads = Place::ALL.map(|place| {
            let init = state.places.get(&place).copied();
            scope.spawn(move || end(place, init))
        });
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| bail!("a thread failed"))).collect()
    });
    results.into_iter().collect::<Result<Vec<()>>>().context("cannot end every process of the sandbox")?;
    for place in Place::ALL {
        network::disconnect(place)?;
    }
    network::remove_bridge()?;
    for folder in state.made.iter().rev() {
        // Empty, or somebody else has begun to use it.
        let _ = fs::remove_dir(folder);
    }
    disks::take_out(run)?;
    fs::remove_dir_all(run.root()).with_context(|| format!("cannot remove {}", run.root().display()))
}

/// What the undertaker is told when there is nothing to do.
const DISMISSED: &[u8] = b"dismissed";

/// A process of our own that takes the run down when this process is gone, however it went.
#[derive(Debug)]
pub(super) struct Undertaker {
    child: Child,
}

impl Undertaker {
    /// Starts it. It holds the machine's lock, too, until it has done its work.
    pub(super) fn start(run: &RunFolder, lock: &MachineLock) -> Result<Self> {
        let child = Command::new(crate::tools::sandbox_binary()?)
            .arg("undertaker")
            .arg(run.root())
            .stdin(Stdio::piped())
            .stdout(lock.share()?)
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start the process that cleans up")?;
        Ok(Self { child })
    }

    /// Sends it home: the world stays.
    pub(super) fn dismiss(mut self) -> Result<()> {
        use std::io::Write;
        let mut stdin = self.child.stdin.take().context("no standard input")?;
        stdin.write_all(DISMISSED)?;
        drop(stdin);
        self.child.wait()?;
        Ok(())
    }

    /// Lets it work now, and waits for its end.
    pub(super) fn work(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the sandbox was not taken down completely ({status})");
        Ok(())
    }
}

/// The undertaker's own side: waits for the end of standard input, then takes the run down.
pub fn undertaker(root: &Path) -> Result<()> {
    use std::io::Read;
    // A Ctrl-C at the terminal is for its parent.
    nix::unistd::setsid().context("cannot leave the terminal's session")?;
    let mut said = Vec::new();
    std::io::stdin().read_to_end(&mut said)?;
    if said == DISMISSED {
        return Ok(());
    }
    take_down(&RunFolder::at(root.to_owned())?)
}
