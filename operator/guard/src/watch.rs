//! The watch over the deadline: a thread of its own on `CLOCK_BOOTTIME`, so that a blocked runtime cannot miss it.
//!
//! It also is the only way to a server that may write: starting one, triggering a promotion and opening happen under
//! its lock and only with time left, so nothing slips in behind a kill.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_core::guard::grant::Deadline;
use bascule_core::time::Boottime;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::children::{Children, others};
use crate::clock;

/// The grant ended before the step began: it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the grant ended before this could begin")]
pub(crate) struct NoLeave;

/// How a kill went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killed {
    /// From the decision until nothing ran any more.
    pub(crate) took: Duration,
    /// How late the decision was after the deadline; `None` when it was ordered.
    pub(crate) late: Option<Duration>,
}

#[derive(Debug)]
struct State {
    deadline: Deadline,
    fence: Duration,
    /// A server runs, or is being started or promoted, that may write.
    writer: bool,
    postmaster: Option<Pid>,
    ordered: bool,
    killing: bool,
    kills: u64,
    last: Option<Killed>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    done: Condvar,
    timer: OwnedFd,
    children: Children,
}

/// The watch. Clones are the same watch.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Arc<Inner>);

impl Watch {
    /// Starts the thread. `killed` is called from it after each kill.
    pub(crate) fn start(
        children: Children,
        killed: impl Fn(Killed) + Send + 'static,
    ) -> std::io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let state = State {
            deadline: Deadline::None,
            fence: Duration::from_millis(300),
            writer: false,
            postmaster: None,
            ordered: false,
            killing: false,
            kills: 0,
            last: None,
        };
        let watch = Self(Arc::new(Inner { state: Mutex::new(state), done: Condvar::new(), timer, children }));
        let own = watch.clone();
        std::thread::Builder::new().name("deadline".into()).spawn(move || own.run(&killed))?;
        Ok(watch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned watch still has to kill in time.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the end and `F`.
    pub(crate) fn arm(&self, deadline: Deadline, fence: Duration) {
        let mut state = self.lock();
        state.deadline = deadline;
        state.fence = fence;
        self.set_timer(deadline);
    }

    fn set_timer(&self, deadline: Deadline) {
        let at = match deadline {
            // Zero disarms a timer; a moment that has passed fires it at once.
            Deadline::None | Deadline::Never => Duration::ZERO,
            Deadline::At(end) => end.since_boot().max(Duration::from_nanos(1)),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(at.subsec_nanos()),
        };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        // It fails only for a descriptor or a time that is not one; both are made here.
        let _ = timerfd_settime(&self.0.timer, TimerfdTimerFlags::ABSTIME, &spec);
    }

    /// Does something that makes a writer, or lets clients write, if there is time left and no kill under way.
    /// From here on a server counts as a writer until [`Watch::writer_gone`].
    pub(crate) fn with_leave<T>(&self, act: impl FnOnce() -> T) -> Result<T, NoLeave> {
        let mut state = self.lock();
        if state.killing || state.ordered || !state.deadline.is_live(clock::now()) {
            return Err(NoLeave);
        }
        state.writer = true;
        let done = act();
        drop(state);
        Ok(done)
    }

    /// Does something that starts a process which cannot write, unless a kill is under way.
    pub(crate) fn outside_a_kill<T>(&self, act: impl FnOnce() -> T) -> Result<T, NoLeave> {
        let state = self.lock();
        if state.killing || state.ordered {
            return Err(NoLeave);
        }
        let done = act();
        drop(state);
        Ok(done)
    }

    /// Whom to ask to stop first.
    pub(crate) fn postmaster(&self, pid: Option<Pid>) {
        self.lock().postmaster = pid;
    }

    /// No process of a server runs any more.
    pub(crate) fn writer_gone(&self) {
        let mut state = self.lock();
        state.writer = false;
        state.postmaster = None;
    }

    /// Kills every other process now. Returns when they are gone, so never call it from an async task's own thread.
    pub(crate) fn kill_now(&self) -> Option<Killed> {
        let mut state = self.lock();
        let kills = state.kills;
        state.ordered = true;
        self.set_timer(Deadline::At(Boottime::default()));
        while state.kills == kills {
            state = self.0.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.last
    }

    fn run(&self, killed: &impl Fn(Killed)) {
        let mut expirations = [0u8; 8];
        loop {
            // Interrupted or spurious: the state below decides, not the wake-up.
            let _ = rustix::io::read(&self.0.timer, &mut expirations);
            let began = clock::now();
            let mut state = self.lock();
            let late = match state.deadline {
                Deadline::At(end) if state.writer && began >= end => Some(began.since(end)),
                _ => None,
            };
            if late.is_none() && !state.ordered {
                continue;
            }
            state.killing = true;
            let (postmaster, fence) = (state.postmaster, state.fence);
            drop(state);
            self.kill_all(postmaster, fence);
            let report = Killed { took: clock::now().since(began), late };
            let mut state = self.lock();
            state.killing = false;
            state.ordered = false;
            state.writer = false;
            state.kills += 1;
            state.last = Some(report);
            let deadline = state.deadline;
            drop(state);
            self.0.done.notify_all();
            killed(report);
            // The order to kill used the timer; a deadline that was set meanwhile is still to be watched.
            if matches!(deadline, Deadline::At(end) if clock::now() < end) {
                self.set_timer(deadline);
            }
        }
    }

    /// An immediate stop for a third of `F`, then `SIGKILL` to everyone, again and again until nobody is left: a
    /// process in the middle of a fork may escape one round.
    fn kill_all(&self, postmaster: Option<Pid>, fence: Duration) {
        let began = clock::now();
        if let Some(pid) = postmaster {
            // Gone already is as good.
            let _ = kill(pid, Signal::SIGQUIT);
        }
        let mut pause = Duration::from_millis(1);
        loop {
            self.0.children.reap();
            if others().is_empty() {
                return;
            }
            let elapsed = clock::now().since(began);
            if postmaster.is_none() || elapsed >= fence / 3 {
                // To everyone this process may signal but itself: it is process 1 of its pid namespace.
                let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            }
            if elapsed > fence {
                pause = Duration::from_millis(20);
            }
            std::thread::park_timeout(pause);
        }
    }
}
