//! True time, which no actor can see, and the clocks that actors have.

use std::ops::Add;
use std::time::Duration;

use bascule_core::time::Boottime;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment of the world's own time, in microseconds since the world began. No actor ever sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// A moment so many milliseconds after the beginning.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1000)
    }

    /// The time since the world began.
    pub const fn since_start(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(micros(rhs)))
    }
}

/// A duration in whole microseconds, rounded down.
pub fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// One part per million of a clock's rate.
const MILLION: u64 = 1_000_000;

/// `value * by / over`, rounded down, by the short way where it is wide enough: this is done several times an event.
fn scaled(value: u64, by: u64, over: u64) -> u64 {
    if let Some(product) = value.checked_mul(by) {
        return product / over.max(1);
    }
    let wide = u128::from(value) * u128::from(by) / u128::from(over.max(1));
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// The day on which every world begins, for wall clocks.
const FIRST_DAY: i64 = 1_795_593_600;

/// The clocks of one machine: a monotonic one with an error of its rate, and a wall clock that people set.
#[derive(Clone, Debug)]
pub struct Machine {
    /// A moment and what the clock showed at it, in microseconds since boot; the rate holds from there on.
    from: (Moment, u64),
    /// The error of the rate in parts per million; positive is fast.
    rate: i32,
    /// How far the wall clock is off, in microseconds.
    wall_off: i64,
}

impl Machine {
    /// A machine that has been up for `up` when the world begins.
    pub fn new(up: Duration, rate: i32) -> Self {
        Self { from: (Moment(0), micros(up)), rate, wall_off: 0 }
    }

    /// What `CLOCK_BOOTTIME` shows.
    pub fn boottime(&self, now: Moment) -> Boottime {
        let shown = scaled(now.0.saturating_sub(self.from.0.0), self.million(), MILLION);
        Boottime::new(Duration::from_micros(self.from.1.saturating_add(shown)))
    }

    /// What the clock shows in a true second, in microseconds.
    fn million(&self) -> u64 {
        MILLION.saturating_add_signed(i64::from(self.rate))
    }

    /// The first true moment at which the clock shows `at` or more.
    pub fn when(&self, at: Boottime) -> Moment {
        let since_boot = at.since_boot();
        let nanos = u64::from(since_boot.subsec_nanos());
        let shown = since_boot.as_secs().saturating_mul(MILLION).saturating_add(nanos.div_ceil(1000));
        let passed = scaled(shown.saturating_sub(self.from.1), MILLION, self.million());
        // Rounded down it may be too early, by one.
        let mut at_first = Moment(self.from.0.0.saturating_add(passed));
        while self.boottime(at_first) < at {
            at_first = Moment(at_first.0 + 1);
        }
        at_first
    }

    /// What the wall clock shows.
    pub fn wall(&self, now: Moment) -> Timestamp {
        let micros = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_add(self.wall_off);
        Timestamp::from_microsecond(FIRST_DAY * 1_000_000 + micros).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// From now on the clock runs at another rate.
    pub fn set_rate(&mut self, now: Moment, rate: i32) {
        self.from = (now, micros(self.boottime(now).since_boot()));
        self.rate = rate;
    }

    /// Somebody sets the wall clock.
    pub fn step_wall(&mut self, by: i64) {
        self.wall_off = self.wall_off.saturating_add(by);
    }

    /// The machine was off: its monotonic clock begins anew.
    pub fn reboot(&mut self, now: Moment) {
        self.from = (now, 1_000_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_shows_more_and_when_is_its_inverse() {
        for rate in [-20_000, -1, 0, 3, 10_000, 20_000] {
            let machine = Machine::new(Duration::from_secs(5), rate);
            let shown = machine.boottime(Moment::from_millis(100_000)).since_boot();
            let expected = 5.0 + 100.0 * (1.0 + f64::from(rate) / 1e6);
            assert!((shown.as_secs_f64() - expected).abs() < 1e-5, "{rate}: {shown:?}");
            for ms in [5_000, 5_001, 77_777, 123_456] {
                let at = Boottime::from_millis(ms);
                let when = machine.when(at);
                assert!(machine.boottime(when) >= at);
                assert!(when.0 == 0 || machine.boottime(Moment(when.0 - 1)) < at, "{rate} {ms}");
            }
        }
    }

    #[test]
    fn a_clock_whose_rate_changes_does_not_jump() {
        let mut machine = Machine::new(Duration::from_secs(1), 20_000);
        let at = Moment::from_millis(50_000);
        let before = machine.boottime(at);
        machine.set_rate(at, -20_000);
        assert_eq!(machine.boottime(at), before);
    }
}
