//! The watch over the deadline: a thread of its own on `CLOCK_BOOTTIME`, so that a blocked runtime cannot miss it.
//!
//! It also is the only way to a server that may write: starting one, triggering a promotion and opening happen under
//! its lock and only with time left, so nothing slips in behind a kill.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_boundary::Effect;
use bascule_core::guard::grant::Deadline;
use bascule_core::time::Boottime;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::children::{Children, is_postgres, name, others};
use crate::clock;
use crate::effect;

/// How often the state is looked at though nothing woke the thread.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

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

/// A kill that was ordered: [`Watch::wait`] returns when it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order(u64);

#[derive(Debug)]
struct State {
    deadline: Deadline,
    fence: Duration,
    /// A server runs, or is being started or promoted, that may write.
    writer: bool,
    postmaster: Option<Pid>,
    /// Holds until a kill is done, whatever becomes of the deadline meanwhile.
    ordered: bool,
    /// The end that a writer outlived; it may be replaced before the thread has looked.
    missed: Option<Boottime>,
    killing: bool,
    kills: u64,
    last: Option<Killed>,
    /// Who outlived the last kill, or outlives the one that is under way.
    left: Vec<String>,
}

impl State {
    /// A writer past its end is to be killed, and nothing that is said afterwards takes that back.
    fn judge(&mut self, now: Boottime) {
        if let Deadline::At(end) = self.deadline
            && self.writer
            && now >= end
        {
            self.ordered = true;
            self.missed.get_or_insert(end);
        }
    }
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    done: Condvar,
    /// Fires at the deadline.
    timer: OwnedFd,
    /// Wakes the thread for an order: setting the timer anew forgets an expiry that nobody has read.
    order: OwnedFd,
}

/// The watch. Clones are the same watch.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Arc<Inner>);

impl Watch {
    /// Starts the thread. `end_all` ends every process, the given one first, within the given time, says who is left,
    /// and returns when nothing of a server runs any more. `killed` is called from the thread after each kill.
    pub(crate) fn start(
        end_all: impl Fn(Option<Pid>, Duration, &dyn Fn(Vec<String>)) + Send + 'static,
        killed: impl Fn(Killed) + Send + 'static,
    ) -> std::io::Result<Self> {
        // Neither ever blocks: what was readable may have been taken back.
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        let order = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let state = State {
            deadline: Deadline::None,
            fence: Duration::from_millis(300),
            writer: false,
            postmaster: None,
            ordered: false,
            missed: None,
            killing: false,
            kills: 0,
            last: None,
            left: Vec::new(),
        };
        let watch = Self(Arc::new(Inner { state: Mutex::new(state), done: Condvar::new(), timer, order }));
        let own = watch.clone();
        let run = move || own.run(&end_all, &killed);
        std::thread::Builder::new().name("deadline".into()).spawn(run)?;
        Ok(watch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned watch still has to kill in time.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the end and `F`.
    pub(crate) fn arm(&self, deadline: Deadline, fence: Duration) {
        let mut state = self.lock();
        state.judge(clock::now());
        state.deadline = deadline;
        state.fence = fence;
        let ordered = state.ordered;
        self.set_timer(deadline);
        drop(state);
        if ordered {
            self.wake();
        }
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

    fn wake(&self) {
        // It fails only when so many wait to be read that the thread wakes anyway.
        let _ = rustix::io::write(&self.0.order, &1u64.to_ne_bytes());
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

    /// Orders the end of every other process. Never waits, and nothing is begun from here on until it is done.
    pub(crate) fn order(&self) -> Order {
        let mut state = self.lock();
        state.judge(clock::now());
        state.ordered = true;
        let order = Order(state.kills);
        drop(state);
        self.wake();
        order
    }

    /// Waits until what was ordered is done: never call it from an async task's own thread.
    pub(crate) fn wait(&self, order: Order) -> Option<Killed> {
        let mut state = self.lock();
        while state.kills == order.0 {
            state = self.0.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.last
    }

    /// Until the deadline, an order, or a while.
    fn sleep(&self) {
        let (timer, order) = (&self.0.timer, &self.0.order);
        let mut wanted = [PollFd::new(timer, PollFlags::IN), PollFd::new(order, PollFlags::IN)];
        // Interrupted or spurious: the state decides, not the wake-up.
        let _ = poll(&mut wanted, Some(&LOOK_AGAIN));
        let mut taken = [0u8; 8];
        for from in [timer, order] {
            let _ = rustix::io::read(from, &mut taken);
        }
    }

    /// Who outlived the last kill, in words.
    pub(crate) fn left(&self) -> Vec<String> {
        self.lock().left.clone()
    }

    fn run(&self, end_all: &impl Fn(Option<Pid>, Duration, &dyn Fn(Vec<String>)), killed: &impl Fn(Killed)) {
        loop {
            self.sleep();
            let began = clock::now();
            let mut state = self.lock();
            state.judge(began);
            if !state.ordered {
                continue;
            }
            let late = state.missed.map(|end| began.since(end));
            state.killing = true;
            let (postmaster, fence) = (state.postmaster, state.fence);
            drop(state);
            end_all(postmaster, fence, &|left| self.lock().left = left);
            let report = Killed { took: clock::now().since(began), late };
            let mut state = self.lock();
            state.killing = false;
            state.ordered = false;
            state.missed = None;
            state.writer = false;
            state.kills += 1;
            state.last = Some(report);
            drop(state);
            self.0.done.notify_all();
            killed(report);
        }
    }
}

/// An immediate stop for a third of `F`, then `SIGKILL` to everyone, again and again until nobody is left: a process
/// in the middle of a fork may escape one round. Somebody whom the guard may not signal and who is not the server
/// cannot write, and is not waited for.
pub(crate) fn end_all(
    children: &Children,
    postmaster: Option<Pid>,
    fence: Duration,
    left: &dyn Fn(Vec<String>),
) {
    let began = clock::now();
    if let Some(pid) = postmaster {
        // Gone already is as good.
        let _ = effect::signal(Effect::EndAll, pid, Signal::SIGQUIT);
    }
    let mut pause = Duration::from_millis(1);
    let mut said = Vec::new();
    loop {
        children.reap();
        let everyone = others().ok();
        let over = match &everyone {
            Some(everyone) => everyone.iter().all(|pid| is_stranger(*pid)),
            // Without a look at them, only the kernel's own word that there is nobody to signal counts.
            None => effect::could_signal(Pid::from_raw(-1)) == Err(Errno::ESRCH),
        };
        let everyone = everyone.unwrap_or_default();
        if over {
            return left(everyone.into_iter().map(in_words).collect());
        }
        let elapsed = clock::now().since(began);
        if postmaster.is_none() || elapsed >= fence / 3 {
            // To everyone this process may signal but itself: it is process 1 of its pid namespace.
            let _ = effect::signal(Effect::EndAll, Pid::from_raw(-1), Signal::SIGKILL);
        }
        if elapsed > fence {
            pause = Duration::from_millis(20);
            if said != everyone {
                left(everyone.iter().copied().map(in_words).collect());
                said = everyone;
            }
        }
        std::thread::park_timeout(pause);
    }
}

fn is_stranger(pid: i32) -> bool {
    effect::could_signal(Pid::from_raw(pid)) == Err(Errno::EPERM) && !is_postgres(pid)
}

fn in_words(pid: i32) -> String {
    let name = name(pid).ok().flatten().unwrap_or_default();
    if is_stranger(pid) {
        format!(
            "process {pid} ({name}) outlived a kill: it is not the server's and the guard may not signal it"
        )
    } else {
        format!("process {pid} ({name}) outlives its kill: nothing is begun before it is gone")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const F: Duration = Duration::from_millis(300);
    /// Less than [`LOOK_AGAIN`]: a wake-up that is lost must not be made good by the next look.
    const SOON: Duration = Duration::from_millis(800);

    fn watch() -> (Watch, Receiver<Killed>) {
        let (tx, kills) = channel();
        let watch = Watch::start(|_, _, _| {}, move |killed| tx.send(killed).unwrap()).unwrap();
        (watch, kills)
    }

    fn writer_until(watch: &Watch, left: Duration) -> Boottime {
        let end = clock::now() + left;
        watch.arm(Deadline::At(end), F);
        watch.with_leave(|| ()).unwrap();
        end
    }

    #[test]
    fn an_order_to_kill_is_carried_out_though_the_deadline_is_taken_away_in_the_same_breath() {
        let (watch, kills) = watch();
        for _ in 0..200 {
            writer_until(&watch, Duration::from_mins(1));
            let order = watch.order();
            watch.arm(Deadline::None, F);
            kills.recv_timeout(SOON).expect("a kill");
            watch.wait(order).unwrap();
        }
    }

    #[test]
    fn a_writer_past_its_end_is_killed_though_the_end_is_taken_away_before_the_watch_has_looked() {
        let (watch, kills) = watch();
        for round in 0..200 {
            let end = writer_until(&watch, Duration::from_millis(2));
            while clock::now() < end {
                std::hint::spin_loop();
            }
            let later = Deadline::At(clock::now() + Duration::from_mins(1));
            watch.arm(if round % 2 == 0 { Deadline::None } else { later }, F);
            let killed = kills.recv_timeout(SOON).expect("a kill");
            assert!(killed.late.is_some(), "{killed:?}");
        }
    }

    #[test]
    fn a_deadline_is_kept_without_any_order() {
        let (watch, kills) = watch();
        writer_until(&watch, Duration::from_millis(50));
        let killed = kills.recv_timeout(SOON).expect("a kill");
        assert!(killed.late.is_some_and(|late| late < SOON), "{killed:?}");
    }

    #[test]
    fn an_end_that_is_put_off_in_time_kills_nobody() {
        let (watch, kills) = watch();
        writer_until(&watch, Duration::from_millis(300));
        watch.arm(Deadline::At(clock::now() + Duration::from_mins(1)), F);
        assert!(kills.recv_timeout(Duration::from_millis(600)).is_err());
    }

    #[test]
    fn nothing_begins_between_the_order_and_the_end_of_its_kill_and_what_begins_then_is_watched() {
        let (go_on, waiting) = channel::<()>();
        let (tx, kills) = channel();
        let end_all = move |_, _, _: &dyn Fn(Vec<String>)| waiting.recv().unwrap();
        let watch = Watch::start(end_all, move |killed| tx.send(killed).unwrap()).unwrap();
        writer_until(&watch, Duration::from_mins(1));
        let order = watch.order();
        let end = clock::now() + Duration::from_millis(400);
        watch.arm(Deadline::At(end), F);
        assert_eq!(watch.with_leave(|| ()), Err(NoLeave));
        assert_eq!(watch.outside_a_kill(|| ()), Err(NoLeave));
        go_on.send(()).unwrap();
        watch.wait(order).unwrap();
        watch.with_leave(|| ()).unwrap();
        kills.recv_timeout(SOON).expect("the ordered kill");
        go_on.send(()).unwrap();
        let killed = kills.recv_timeout(SOON).expect("the deadline's kill");
        assert!(killed.late.is_some(), "{killed:?}");
    }
}
