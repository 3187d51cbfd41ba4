//! How many calls of one kind are under way at once.
//!
//! Thousands of policies want theirs in one moment: after a start, or when a site is lost. Sent together they would miss
//! their deadlines together, and an arbiter that still works through them has no time for those that are sent next. So the
//! number follows what the arbiter bears: one more while all are answered and others wait, half when a deadline is missed.
//!
//! What the arbiter bears is a number of requests. One that takes several calls in a request is asked by as many times more.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many requests are under way at once in the beginning.
const FIRST: usize = 16;
/// At least, however many deadlines are missed: one that hangs keeps few others waiting.
const LEAST: usize = 8;
/// How many calls at most, however fast the answers come, unless the first requests take more.
const MOST: usize = 256;

/// The turns of one kind of call.
#[derive(Debug)]
pub(crate) struct Turns {
    room: Semaphore,
    window: Mutex<Window>,
}

impl Turns {
    /// For calls whose deadline is `call`, of which up to `together` travel in one request.
    pub(crate) fn new(call: Duration, together: usize) -> Self {
        let window = Window::new(call, together);
        Self { room: Semaphore::new(window.size), window: Mutex::new(window) }
    }

    /// The same, but not made at all when its turn has not come `within` this time: what was decided under a lease is not
    /// sent when that lease may have ended.
    pub(crate) async fn take_soon<T>(
        &self,
        within: Duration,
        call: impl Future<Output = T>,
        in_time: impl FnOnce(&T) -> bool,
    ) -> Result<T, String> {
        match tokio::time::timeout(within, self.room.acquire()).await {
            Ok(turn) => Ok(self.make(turn.ok(), call, in_time).await),
            Err(_) => Err(format!("not sent: too many others wait for the arbiter since {within:?}")),
        }
    }

    /// Makes the call when it is its turn. `in_time`: whether this answer is one.
    pub(crate) async fn take<T>(&self, call: impl Future<Output = T>, in_time: impl FnOnce(&T) -> bool) -> T {
        // There are no turns only when they were closed, which nobody does: then nobody has to wait.
        let turn = self.room.acquire().await.ok();
        self.make(turn, call, in_time).await
    }

    async fn make<T>(
        &self,
        turn: Option<SemaphorePermit<'_>>,
        call: impl Future<Output = T>,
        in_time: impl FnOnce(&T) -> bool,
    ) -> T {
        let answer = call.await;
        let full = self.room.available_permits() == 0;
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        match (window.ended(in_time(&answer), full, Instant::now()), turn) {
            (Room::Less, Some(turn)) => turn.forget(),
            (Room::More(calls), _) => self.room.add_permits(calls),
            (Room::Same | Room::Less, _) => {}
        }
        drop(window);
        answer
    }
}

/// What becomes of the room of a call that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Same,
    /// For so many more.
    More(usize),
    Less,
}

#[derive(Debug)]
struct Window {
    size: usize,
    /// Room that is to be given up when those who have it are done.
    owed: usize,
    /// Answers since the size changed last.
    answered: usize,
    /// When it was halved last: what was sent before says nothing of the size since.
    halved: Option<Instant>,
    call: Duration,
    /// How many calls a request takes.
    together: usize,
}

impl Window {
    fn new(call: Duration, together: usize) -> Self {
        let together = together.max(1);
        Self { size: FIRST * together, owed: 0, answered: 0, halved: None, call, together }
    }

    fn most(&self) -> usize {
        MOST.max(FIRST * self.together)
    }

    /// A call has ended; `full`: no room was left for another one.
    fn ended(&mut self, in_time: bool, full: bool, now: Instant) -> Room {
        if !in_time && self.halved.is_none_or(|at| now.saturating_duration_since(at) >= self.call) {
            let size = (self.size / 2).max(LEAST * self.together);
            self.owed += self.size - size;
            (self.size, self.answered, self.halved) = (size, 0, Some(now));
        }
        if self.owed > 0 {
            self.owed -= 1;
            return Room::Less;
        }
        if !in_time || !full || self.size >= self.most() {
            return Room::Same;
        }
        self.answered += 1;
        // With every answer until a deadline was missed for the first time, a request's once a round from then on.
        let more = match self.halved {
            None => 1,
            Some(_) if self.answered < self.size => return Room::Same,
            Some(_) => self.together,
        };
        self.answered = 0;
        self.size += more;
        Room::More(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Duration = Duration::from_secs(1);

    /// An arbiter that works through `rate` calls a second, asked for `seconds` by as many at once as the window says:
    /// how many were answered in time, how many were not, and the window.
    fn asked(rate: usize, seconds: u64) -> (usize, usize, Window) {
        let (mut window, mut now) = (Window::new(CALL, 1), Instant::now());
        let end = now + Duration::from_secs(seconds);
        let (mut well, mut late, mut room) = (0, 0, FIRST);
        while now < end {
            // One round: all of them are sent together and answered one after the other.
            let sent = room;
            for n in 1..=sent {
                let in_time = n <= rate;
                (well, late) = if in_time { (well + 1, late) } else { (well, late + 1) };
                now += Duration::from_secs(1) / u32::try_from(rate).unwrap();
                match window.ended(in_time, true, now) {
                    Room::More(calls) => room += calls,
                    Room::Less => room -= 1,
                    Room::Same => {}
                }
                assert_eq!(room, window.size + window.owed, "no room comes from nowhere, and none is lost");
            }
        }
        (well, late, window)
    }

    #[test]
    fn an_arbiter_that_answers_is_asked_by_more_at_once_up_to_the_most() {
        let (_, late, window) = asked(10_000, 10);
        assert_eq!((late, window.size), (0, MOST));
    }

    #[test]
    fn an_arbiter_that_is_slow_is_asked_by_no_more_at_once_than_it_answers_in_time() {
        for rate in [20, 50, 120] {
            let (well, late, window) = asked(rate, 300);
            assert!(window.size <= rate + 1, "{rate}: {window:?}");
            assert!(late * 20 < well, "{rate} a second: {late} came too late, {well} in time");
        }
    }

    #[test]
    fn deadlines_that_are_missed_together_count_once() {
        let (mut window, now) = (Window::new(CALL, 1), Instant::now());
        window.size = 64;
        for _ in 0..64 {
            window.ended(false, true, now);
        }
        assert_eq!((window.size, window.owed), (32, 0));
        for n in 1..10 {
            window.ended(false, true, now + CALL * n);
        }
        assert_eq!(window.size, LEAST);
    }

    #[test]
    fn a_quiet_arbiter_is_not_believed_to_bear_more() {
        let mut window = Window::new(CALL, 1);
        for _ in 0..1000 {
            assert_eq!(window.ended(true, false, Instant::now()), Room::Same);
        }
        assert_eq!(window.size, FIRST);
    }

    #[test]
    fn an_arbiter_that_takes_many_calls_in_a_request_is_asked_by_requests() {
        let (mut window, mut now) = (Window::new(CALL, 64), Instant::now());
        assert_eq!(window.size, FIRST * 64);
        // As many as fill the first requests are enough: more would only wait.
        assert_eq!(window.ended(true, true, now), Room::Same);
        for _ in 0..5 {
            window.ended(false, true, now);
            now += CALL;
        }
        assert_eq!(window.size, LEAST * 64);
        while window.owed > 0 {
            assert_eq!(window.ended(true, true, now), Room::Less);
        }
        let round: Vec<Room> = (0..LEAST * 64).map(|_| window.ended(true, true, now)).collect();
        let (last, others) = round.split_last().unwrap();
        assert_eq!(*last, Room::More(64), "one request more after a round");
        assert!(others.iter().all(|room| *room == Room::Same));
        assert_eq!(window.size, (LEAST + 1) * 64);
    }

    #[tokio::test]
    async fn no_more_calls_are_under_way_than_there_is_room() {
        let turns = Turns::new(CALL, 1);
        let (under_way, most) = (std::cell::Cell::new(0_usize), std::cell::Cell::new(0_usize));
        let calls = (0..2000).map(|_| {
            let call = async {
                under_way.set(under_way.get() + 1);
                most.set(most.get().max(under_way.get()));
                tokio::task::yield_now().await;
                under_way.set(under_way.get() - 1);
            };
            turns.take(call, |()| true)
        });
        futures::future::join_all(calls).await;
        assert!((FIRST..=MOST).contains(&most.get()), "{most:?}");
        assert_eq!(under_way.get(), 0);
    }

    #[tokio::test]
    async fn what_waits_for_its_turn_for_too_long_is_not_sent() {
        let turns = Turns::new(CALL, 1);
        let taken = turns.room.acquire_many(FIRST as u32).await.unwrap();
        let why = turns.take_soon(Duration::from_millis(5), async { panic!("sent") }, |()| true).await;
        assert!(why.unwrap_err().starts_with("not sent"));
        drop(taken);
        assert_eq!(turns.take_soon(Duration::from_millis(5), async { 7 }, |_| true).await, Ok(7));
    }
}
