//! Moments and durations, as the rules use them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on one machine's `CLOCK_BOOTTIME`: the time since that machine started, suspended time included.
///
/// Two moments may be compared only when the same machine read them. It is not serialisable on purpose: a moment
/// of one machine means nothing on another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boottime(Duration);

impl Boottime {
    /// The moment `since_boot` after the machine started.
    pub const fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// The moment `ms` milliseconds after the machine started.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// The time since the machine started.
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; zero when `earlier` lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// How long it is until `later`; `None` when that moment has come or passed.
    pub fn until(self, later: Self) -> Option<Duration> {
        later.0.checked_sub(self.0).filter(|left| !left.is_zero())
    }
}

impl Add<Duration> for Boottime {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub<Duration> for Boottime {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs))
    }
}

impl fmt::Display for Boottime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot+{:.3}s", self.0.as_secs_f64())
    }
}

/// A duration in whole milliseconds, the unit of everything that is stored or sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The same time as a [`Duration`].
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Millis {
    /// Whole milliseconds, rounded down; saturates far beyond any age of a machine.
    fn from(value: Duration) -> Self {
        Self(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_duration(f, self.duration())
    }
}

/// Writes a duration the way a person reads it: `340 ms`, `4.2 s`, `31 m`, `2 h 5 m`.
pub fn write_duration(f: &mut impl fmt::Write, d: Duration) -> fmt::Result {
    let secs = d.as_secs();
    if d < Duration::from_secs(1) {
        write!(f, "{} ms", d.as_millis())
    } else if secs < 120 {
        let tenths = d.as_millis() / 100;
        if tenths.is_multiple_of(10) {
            write!(f, "{} s", tenths / 10)
        } else {
            write!(f, "{}.{} s", tenths / 10, tenths % 10)
        }
    } else if secs < 7200 {
        write!(f, "{} m", secs / 60)
    } else {
        write!(f, "{} h {} m", secs / 3600, secs % 3600 / 60)
    }
}

/// [`write_duration`] as a string.
pub fn human(d: Duration) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail: its `fmt::Write` never returns an error.
    let _ = write_duration(&mut out, d);
    out
}

/// The duration that [`human`] wrote, as exactly as it was written; `None` for any other text.
pub fn read_human(text: &str) -> Option<Duration> {
    let words: Vec<&str> = text.split(' ').collect();
    let parts = words.chunks(2).map(|pair| {
        let [number, unit] = pair else { return None };
        let (whole, tenths) = match number.split_once('.') {
            Some((whole, tenths)) if tenths.len() == 1 && *unit == "s" => {
                (whole, tenths.parse::<u64>().ok()?)
            }
            Some(_) => return None,
            None => (*number, 0),
        };
        let whole: u64 = whole.parse().ok()?;
        let ms = match *unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        whole.checked_mul(ms)?.checked_add(tenths * 100)
    });
    parts.sum::<Option<u64>>().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_in_the_future_is_zero_ago() {
        assert_eq!(Boottime::from_millis(5).since(Boottime::from_millis(9)), Duration::ZERO);
    }

    #[test]
    fn until_is_none_once_the_moment_has_come() {
        let t = Boottime::from_millis(5);
        assert_eq!(t.until(t), None);
        assert_eq!(t.until(Boottime::from_millis(7)), Some(Duration::from_millis(2)));
    }

    #[test]
    fn durations_read_like_words() {
        let cases =
            [(340, "340 ms"), (4200, "4.2 s"), (5000, "5 s"), (1_860_000, "31 m"), (7_500_000, "2 h 5 m")];
        for (ms, text) in cases {
            assert_eq!(Millis(ms).to_string(), text);
            assert_eq!(read_human(text), Some(Duration::from_millis(ms)));
        }
        for text in ["", "soon", "5", "s", "5 days", "4.25 s", "1.5 m", "5  s", "-1 s", "5 s ago"] {
            assert_eq!(read_human(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_duration_changes_its_unit_at_the_very_moment() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (1_099, "1 s"),
            (1_100, "1.1 s"),
            (119_999, "119.9 s"),
            (120_000, "2 m"),
            (7_199_999, "119 m"),
            (7_200_000, "2 h 0 m"),
            (90_060_000, "25 h 1 m"),
        ] {
            assert_eq!(human(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn a_moment_is_told_from_the_machine_s_start() {
        assert_eq!(Boottime::from_millis(12_345).to_string(), "boot+12.345s");
    }
}
