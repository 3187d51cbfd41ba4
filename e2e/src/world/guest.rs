//! Guests: programs in a place that are no part of the sandbox, such as a peer that is measured beside Bascule. They lose
//! their power with the place, and keep what they have written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::parts::{Group, Part};
use super::{Place, World, control};
use crate::command::{run, tail};
use crate::init::Ended;

/// Where a guest that runs as a user sees its folder: the run's own folder may be closed to that user.
pub const GUEST_HOME: &str = "/mnt";

/// Shows the folder in a mount namespace of its own and becomes the program as the user.
const ENTER: &str = r#"mount --bind "$1" /mnt && cd /mnt && user=$2 && shift 2 &&
exec setpriv --reuid="$user" --regid="$user" --clear-groups -- \
  env -i PATH=/usr/bin:/bin HOME=/mnt LC_ALL=C.UTF-8 "$@""#;

/// Program and arguments that run `argv` as a user, with a folder as its home.
fn entered(folder: &Path, user: &str, argv: &[String]) -> Vec<String> {
    let folder = folder.display().to_string();
    let enter = ["unshare", "--mount", "--", "sh", "-c", ENTER, "guest", &folder, user];
    enter.into_iter().map(str::to_owned).chain(argv.iter().cloned()).collect()
}

impl World {
    /// A guest's folder on the disk of a place, made when it is missing and given to a user.
    pub fn guest_folder(&self, place: Place, name: &str, user: &str) -> Result<PathBuf> {
        let folder = self.run().place(place).join("guest").join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let owner = format!("{user}:{user}");
        run("chown", ["-R", &owner, &folder.display().to_string()])?;
        Ok(folder)
    }

    /// Starts a guest as root, as it stands.
    pub fn start_guest(&self, place: Place, name: &str, argv: &[String]) -> Result<()> {
        let (program, args) = argv.split_first().context("no program was named")?;
        Part::new(Group::Guest, name, program).args(args.iter().cloned()).start(self.run(), place)
    }

    /// Starts a guest as a user who sees `folder` at [`GUEST_HOME`].
    pub fn start_guest_as(
        &self,
        place: Place,
        name: &str,
        folder: &Path,
        user: &str,
        argv: &[String],
    ) -> Result<()> {
        self.start_guest(place, name, &entered(folder, user, argv))
    }

    /// Runs a program to its end in the same way, as a part of its own: with the place's share of the processor.
    pub fn run_guest_as(
        &self,
        place: Place,
        name: &str,
        folder: &Path,
        user: &str,
        argv: &[String],
        deadline: Duration,
    ) -> Result<()> {
        self.start_guest_as(place, name, folder, user, argv)?;
        match self.guest_ended(place, name, deadline)? {
            Ended::Exited(0) => Ok(()),
            ended => {
                let log = std::fs::read_to_string(self.run().log(place, name)).unwrap_or_default();
                bail!("{name} in {place} ended ({ended:?}): {}", tail(log.trim(), 1500))
            }
        }
    }

    /// Sends a signal to a guest's first process.
    pub fn signal_guest(&self, place: Place, name: &str, signal: Signal) -> Result<()> {
        control::signal(self.run(), place, name, signal)
    }

    /// Waits for the end of a guest's first process.
    pub fn guest_ended(&self, place: Place, name: &str, deadline: Duration) -> Result<Ended> {
        control::await_end(self.run(), place, name, deadline)
    }
}
