//! The only way to change anything outside of this process: each call names its effect.
//!
//! The lints of this crate (`clippy.toml`) refuse the calls of the standard library that change files, start processes or
//! signal them everywhere else, so that a new effect cannot be left out of [`Effect`], and with it out of
//! `make test-boundaries`. Statements of a session ask for a name in `session.rs`, tools in `tool.rs`.
#![expect(clippy::disallowed_methods, reason = "each of these names its effect")]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command};

use bascule_boundary::{Effect, during};
use bascule_core::guard::action::Action;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// The effect of what the rules order, as a whole; `None`: what follows changes nothing outside of this process.
///
/// Without a wildcard: a new action does not compile before it is named.
pub(crate) const fn ordered(action: &Action) -> Option<Effect> {
    Some(match action {
        // A timer of this process, which goes with it; a question to the arbiter that nobody can tell was asked; and a file
        // that is named where it is written.
        Action::Watch(_) | Action::ReadRecord { .. } | Action::Remember(_) => return None,
        Action::Kill => Effect::Kill,
        Action::Stop { .. } => Effect::StopFast,
        Action::RemoveTrigger => Effect::TakeTriggerBack,
        Action::StartPrimary => Effect::StartPrimary,
        Action::StartOrphan => Effect::StartOrphan,
        Action::Join { .. } => Effect::Join,
        Action::Clone { .. } => Effect::Clone,
        Action::Promote { close: false } => Effect::Promote,
        Action::Promote { close: true } => Effect::CloseAndPromote,
        Action::Open { .. } => Effect::Open,
        Action::OpenStandby => Effect::OpenStandby,
        Action::Close => Effect::Close,
        Action::Checkpoint { .. } => Effect::Checkpoint,
        Action::Ask { .. } => Effect::Ask,
        Action::RenewLease { .. } => Effect::RenewLeaseAlone,
        Action::Exit => Effect::Exit,
    })
}

/// Makes a file that is not synced, or empties it.
pub(crate) fn create(effect: Effect, path: &Path) -> io::Result<File> {
    during(effect, || File::create(path))
}

/// Makes a file and has it on the disk.
pub(crate) fn create_synced(effect: Effect, path: &Path) -> io::Result<()> {
    during(effect, || File::create(path)?.sync_all())
}

/// Writes a private file beside the one of this name, and lets `done` put it in its place.
pub(crate) fn replace(
    effect: Effect,
    new: &Path,
    put: impl FnOnce(File) -> io::Result<()>,
    path: &Path,
) -> io::Result<()> {
    during(effect, || {
        put(OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?)?;
        std::fs::rename(new, path)
    })
}

/// Opens a private file to append to it; making it is no effect of its own.
pub(crate) fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Gives something its place.
pub(crate) fn rename(effect: Effect, from: &Path, to: &Path) -> io::Result<()> {
    during(effect, || std::fs::rename(from, to))
}

/// Removes a file.
pub(crate) fn remove_file(effect: Effect, path: &Path) -> io::Result<()> {
    during(effect, || std::fs::remove_file(path))
}

/// Removes an empty directory.
pub(crate) fn remove_dir(effect: Effect, path: &Path) -> io::Result<()> {
    during(effect, || std::fs::remove_dir(path))
}

/// Removes a directory and what is in it.
pub(crate) fn remove_dir_all(effect: Effect, path: &Path) -> io::Result<()> {
    during(effect, || std::fs::remove_dir_all(path))
}

/// Makes a private directory, with those above it.
pub(crate) fn make_dirs(effect: Effect, path: &Path) -> io::Result<()> {
    during(effect, || DirBuilder::new().recursive(true).mode(0o700).create(path))
}

/// Makes a private directory that is not there.
pub(crate) fn make_dir(effect: Effect, path: &Path) -> io::Result<()> {
    during(effect, || DirBuilder::new().mode(0o700).create(path))
}

/// Copies a file.
pub(crate) fn copy(effect: Effect, from: &Path, to: &Path) -> io::Result<()> {
    during(effect, || std::fs::copy(from, to).map(drop))
}

/// Says who may use a file.
pub(crate) fn permit(effect: Effect, path: &Path, to: std::fs::Permissions) -> io::Result<()> {
    during(effect, || std::fs::set_permissions(path, to))
}

/// Starts a process; `None`: one that only reads.
pub(crate) fn spawn(effect: Option<Effect>, command: &mut Command) -> io::Result<Child> {
    during(effect, || command.spawn())
}

/// Signals a process.
pub(crate) fn signal(effect: Effect, pid: Pid, signal: Signal) -> nix::Result<()> {
    during(effect, || nix::sys::signal::kill(pid, signal))
}

/// Asks whether a process could be signalled.
pub(crate) fn could_signal(pid: Pid) -> nix::Result<()> {
    nix::sys::signal::kill(pid, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_that_closes_first_is_told_from_one_that_does_not() {
        assert_eq!(ordered(&Action::Promote { close: true }), Some(Effect::CloseAndPromote));
        assert_eq!(ordered(&Action::Promote { close: false }), Some(Effect::Promote));
        assert_eq!(ordered(&Action::ReadRecord { number: 1 }), None);
    }
}
