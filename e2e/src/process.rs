//! A process that is remembered in a file, and killed only if it is still the one that was remembered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process by number and start time. The number alone is no identity: it is given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Number in the host's process namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot, from `/proc/<pid>/stat`.
    pub start: u64,
}

impl Recorded {
    /// Remembers a process that runs now.
    pub fn of(pid: i32) -> Result<Self> {
        let start = start_time(pid).with_context(|| format!("process {pid} is gone already"))?;
        Ok(Self { pid, start })
    }

    /// This process itself.
    pub fn this() -> Result<Self> {
        Self::of(i32::try_from(std::process::id())?)
    }

    /// True while the remembered process runs (a zombie does not).
    pub fn alive(self) -> bool {
        start_time(self.pid) == Some(self.start)
    }

    /// True while the remembered process is stopped by a signal.
    pub fn stopped(self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        self.alive() && state == Some("T")
    }

    /// Sends a signal. `false`: the process is gone, nothing was sent.
    pub fn signal(self, signal: Signal) -> Result<bool> {
        let Some(fd) = self.open()? else { return Ok(false) };
        match pidfd_send_signal(&fd, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(e) => Err(e).with_context(|| format!("cannot send {signal:?} to process {}", self.pid)),
        }
    }

    /// Kills the process and returns when it is gone.
    pub fn kill(self, deadline: Duration) -> Result<()> {
        let Some(fd) = self.open()? else { return Ok(()) };
        let begin = Instant::now();
        match pidfd_send_signal(&fd, Signal::KILL) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("cannot kill process {}", self.pid)),
        }
        loop {
            let left = deadline.saturating_sub(begin.elapsed());
            let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
                Ok(0) => bail!("process {} did not end within {deadline:?} of SIGKILL", self.pid),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e).with_context(|| format!("cannot wait for process {}", self.pid)),
            }
        }
    }

    /// A handle that cannot come to mean another process; `None` when the remembered one is gone.
    fn open(self) -> Result<Option<rustix::fd::OwnedFd>> {
        let pid = Pid::from_raw(self.pid).context("a recorded process number is not positive")?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Looked at after opening: if the start time fits now, the handle is of that very process.
            Ok(fd) => Ok(self.alive().then_some(fd)),
            Err(Errno::SRCH) => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot open process {}", self.pid)),
        }
    }
}

/// Field 22 of `/proc/<pid>/stat`; `None` when there is no such process or it has ended already.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything: count from the last one.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_number_with_another_start_time_is_never_killed() {
        let me = Recorded::this().unwrap();
        let other = Recorded { start: me.start + 1, ..me };
        assert!(me.alive());
        assert!(!other.alive());
        assert!(!other.signal(Signal::KILL).unwrap());
        other.kill(Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn killing_returns_when_the_process_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let recorded = Recorded::of(i32::try_from(child.id()).unwrap()).unwrap();
        recorded.kill(Duration::from_secs(5)).unwrap();
        assert!(!recorded.alive());
        child.wait().unwrap();
    }
}
