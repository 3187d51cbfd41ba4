//! Does what a site's operator has shown still hold?
//!
//! An operator writes a policy's status when it has something new to say, and not again for the sake of its age. Instead
//! it keeps one heartbeat for its whole site: at that moment it would have said the same as every status that it had
//! written before, but for those that the heartbeat names.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::name::SiteName;

/// How often an operator's heart beats.
pub const EVERY: Duration = Duration::from_secs(10);

/// How old a status or a heartbeat may be to be believed by itself: three beats were missed then.
pub const YOUNG: Duration = EVERY.saturating_mul(3);

/// How many policies a heartbeat names at most. When it would have to name more it vouches for none.
pub const NAMED: usize = 50;

/// How far an age or a running time in a status may have grown since it was written, at the least: from there on the
/// status is written anew.
pub const DRIFT: Duration = EVERY;

/// Who writes: the name of a process of a site's operator. `question` is its own: another one after every start.
pub fn writer(site: &SiteName, question: u64) -> String {
    format!("{site}-{question}")
}

/// What an operator says of everything that it has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which process says so: it vouches for nothing that another one has written.
    pub by: String,
    /// When it said so, by its own wall clock.
    pub at: Timestamp,
    /// For which policies it does not vouch.
    pub unshown: Unshown,
}

/// The policies whose state is not what their status says, as far as is known: it could not be written, or is being
/// written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unshown {
    /// These, as `namespace/name`.
    These(BTreeSet<String>),
    /// So many that they are not named: any could be one of them.
    TooMany(usize),
}

impl Default for Unshown {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Unshown {
    /// These, if they are few enough to be named.
    pub fn of(policies: BTreeSet<String>) -> Self {
        if policies.len() > NAMED { Self::TooMany(policies.len()) } else { Self::These(policies) }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        match self {
            Self::These(policies) => policies.len(),
            Self::TooMany(n) => *n,
        }
    }

    /// These and more. Of too many it is not known which of the others are among them.
    #[must_use]
    pub fn and(self, more: BTreeSet<String>) -> Self {
        match self {
            Self::These(mut policies) => {
                policies.extend(more);
                Self::of(policies)
            }
            Self::TooMany(n) => Self::TooMany(n.max(more.len())),
        }
    }
}

/// Why a heartbeat does not vouch for a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The heart has not beaten for so long.
    Silent(Duration),
    /// It is another process's, which has not written this status.
    Another,
    /// It names the policy.
    Named,
    /// It names none, for they are so many.
    TooMany(usize),
    /// It is from before the status.
    Before,
}

impl Heartbeat {
    /// Whether it vouches at `now` for the status of `policy` (`namespace/name`) that the process `by` wrote at `written`.
    /// What is not known denies.
    pub fn vouches(&self, policy: &str, by: &str, written: Timestamp, now: Timestamp) -> Result<(), Denied> {
        let silent = since(self.at, now);
        if silent > YOUNG {
            return Err(Denied::Silent(silent));
        }
        if self.by != by {
            return Err(Denied::Another);
        }
        if self.at < written {
            return Err(Denied::Before);
        }
        match &self.unshown {
            Unshown::TooMany(n) => Err(Denied::TooMany(*n)),
            Unshown::These(policies) if policies.contains(policy) => Err(Denied::Named),
            Unshown::These(_) => Ok(()),
        }
    }
}

/// How long ago `at` was; zero when it lies in the future.
fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

/// Whether an age or a running time that was shown as `shown` may still be shown while it is `now`: it has become less, or
/// not more than ten seconds or a tenth longer.
pub fn still_true(shown: Duration, now: Duration) -> bool {
    now <= shown + DRIFT.max(shown / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn named(policies: &[&str]) -> BTreeSet<String> {
        policies.iter().map(|p| (*p).to_owned()).collect()
    }

    fn beat(second: i64, unshown: Unshown) -> Heartbeat {
        Heartbeat { by: "paris-7".to_owned(), at: at(second), unshown }
    }

    fn vouched(beat: &Heartbeat, now: i64) -> Result<(), Denied> {
        beat.vouches("shop/shop", "paris-7", at(0), at(now))
    }

    #[test]
    fn a_heart_that_beats_vouches_for_what_was_written_before_and_one_that_does_not_for_nothing() {
        let beat = beat(3600, Unshown::default());
        assert_eq!(vouched(&beat, 3600), Ok(()));
        assert_eq!(vouched(&beat, 3630), Ok(()));
        assert_eq!(vouched(&beat, 3631), Err(Denied::Silent(Duration::from_secs(31))));
        assert_eq!(vouched(&beat, 3500), Ok(()), "clocks differ by some seconds, and it is told elsewhere");
    }

    #[test]
    fn nobody_vouches_for_what_another_process_wrote_or_what_was_written_later() {
        let beat = beat(60, Unshown::default());
        assert_eq!(beat.vouches("shop/shop", "paris-6", at(0), at(60)), Err(Denied::Another));
        assert_eq!(beat.vouches("shop/shop", "paris-7", at(61), at(61)), Err(Denied::Before));
        assert_eq!(beat.vouches("shop/shop", "paris-7", at(60), at(61)), Ok(()));
    }

    #[test]
    fn what_could_not_be_shown_is_named_and_beyond_a_bound_nothing_is_vouched_for() {
        assert_eq!(vouched(&beat(60, Unshown::of(named(&["shop/shop"]))), 60), Err(Denied::Named));
        assert_eq!(vouched(&beat(60, Unshown::of(named(&["shop/blog"]))), 60), Ok(()));
        let some = |n: usize| (0..n).map(|i| format!("shop/p{i}")).collect::<BTreeSet<_>>();
        assert_eq!(vouched(&beat(60, Unshown::of(some(NAMED))), 60), Ok(()));
        assert_eq!(vouched(&beat(60, Unshown::of(some(NAMED + 1))), 60), Err(Denied::TooMany(NAMED + 1)));
        let more = Unshown::of(some(NAMED)).and(named(&["shop/shop"]));
        assert_eq!(more, Unshown::TooMany(NAMED + 1));
        assert_eq!(Unshown::TooMany(70).and(some(2)).count(), 70);
    }

    #[test]
    fn an_age_may_grow_by_ten_seconds_or_a_tenth_before_it_is_not_true_any_more() {
        let s = Duration::from_secs;
        for (shown, now, is) in [(0, 10, true), (0, 11, false), (50, 60, true), (1000, 1100, true)] {
            assert_eq!(still_true(s(shown), s(now)), is, "{shown} {now}");
        }
        assert!(!still_true(s(1000), s(1101)));
        assert!(still_true(s(50), s(1)), "what is younger by now is no lie");
    }
}
