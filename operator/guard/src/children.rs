//! Processes: started through one door, reaped in one place, and found by `/proc`.
//!
//! As process 1 the guard inherits every orphan of its namespace. So there is one reaper for all children, and
//! nothing else in this crate ever waits for a process.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bascule_boundary::Effect;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::sync::watch;

use crate::effect;

/// The children that were started here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    waiting: Arc<Mutex<BTreeMap<i32, watch::Sender<Option<ExitStatus>>>>>,
}

/// A process that was started here. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pid: Pid,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Children {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, watch::Sender<Option<ExitStatus>>>> {
        // A panic while holding it leaves a map that is still right: every change is one call.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `command`, which has this effect, or only reads. The pipes, when asked for, are in the second part.
    pub(crate) fn spawn(
        &self,
        effect: Option<Effect>,
        command: &mut Command,
    ) -> io::Result<(Child, std::process::Child)> {
        // Held over the fork, so that the reaper cannot meet a child it does not know.
        let mut waiting = self.lock();
        let started = effect::spawn(effect, command)?;
        let pid = i32::try_from(started.id()).map_err(io::Error::other)?;
        let (tx, exit) = watch::channel(None);
        waiting.insert(pid, tx);
        Ok((Child { pid: Pid::from_raw(pid), exit }, started))
    }

    /// Takes the exit status of every child that has ended, known or inherited.
    pub(crate) fn reap(&self) {
        let mut waiting = self.lock();
        loop {
            // Looked at before it is taken: only the status of a process that has ended is of interest.
            let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let pid = match waitid(Id::All, peek) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => pid,
                Err(Errno::EINTR) => continue,
                _ => return,
            };
            let status = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => ExitStatus::from_raw((code & 0xff) << 8),
                Ok(WaitStatus::Signaled(_, signal, core)) => {
                    ExitStatus::from_raw(signal as i32 | if core { 0x80 } else { 0 })
                }
                _ => return,
            };
            if let Some(tx) = waiting.remove(&pid.as_raw()) {
                tx.send_replace(Some(status));
            }
        }
    }
}

impl Child {
    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its exit status, once it has one.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Sends a signal, unless it has ended: its number may belong to somebody else then.
    pub(crate) fn signal(&self, effect: Effect, signal: Signal) {
        if self.status().is_none() {
            // It may end in this very moment; then there is nobody to signal and nothing to do.
            let _ = effect::signal(effect, self.pid, signal);
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        // The sender goes only after it has sent.
        match self.exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => ExitStatus::default(),
        }
    }
}

/// Why a process ended, in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with status {code}"),
        (_, Some(signal)) => {
            let name =
                Signal::try_from(signal).map_or_else(|_| signal.to_string(), |s| s.as_str().to_owned());
            format!("it was killed by {name}")
        }
        _ => "it ended".to_owned(),
    }
}

/// Every other process of this pid namespace that still runs: zombies have ended. One that cannot be looked at counts
/// as running.
pub(crate) fn others() -> io::Result<Vec<i32>> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid != own && runs(pid) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The running children of `parent`.
pub(crate) fn children_of(parent: Pid) -> io::Result<Vec<i32>> {
    let is_child = |pid: &i32| matches!(stat(*pid), Ok(Some((_, of))) if of == parent.as_raw());
    Ok(others()?.into_iter().filter(is_child).collect())
}

fn runs(pid: i32) -> bool {
    match stat(pid) {
        Ok(stat) => stat.is_some_and(|(state, _)| !matches!(state, 'Z' | 'X')),
        Err(_) => true,
    }
}

/// What the process calls itself; `None`: there is none.
pub(crate) fn name(pid: i32) -> io::Result<Option<String>> {
    Ok(of(pid, "comm")?.map(|name| name.trim().to_owned()))
}

/// Whether the process may be the server's: one that cannot be looked at may.
pub(crate) fn is_postgres(pid: i32) -> bool {
    name(pid).map_or(true, |name| name.is_some_and(|name| name == "postgres"))
}

/// A process's state and parent; `None`: there is none.
fn stat(pid: i32) -> io::Result<Option<(char, i32)>> {
    let Some(stat) = of(pid, "stat")? else { return Ok(None) };
    // The name in brackets may hold anything, brackets too; the state follows the last one.
    let words = stat.rsplit_once(')').and_then(|(_, rest)| {
        let mut words = rest.split_whitespace();
        Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
    });
    words.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, stat))
}

/// A file of the process; `None`: there is no such process.
fn of(pid: i32, file: &str) -> io::Result<Option<String>> {
    match std::fs::read_to_string(format!("/proc/{pid}/{file}")) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        // It ended between the opening and the reading.
        Err(e) if e.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(None),
        // A name may be any bytes.
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}"))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Err(e) => Err(e),
    }
}
