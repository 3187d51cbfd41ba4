//! The loss gate: what may be lost by a promotion, judged by what was known when contact was lost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::guard::wire::Behind;
use crate::mutant::forgets;
use crate::policy::MaxDataLoss;
use crate::position::Lsn;
use crate::project::size;
use crate::time::{Boottime, Millis, human};

/// What a standby knew of its primary when contact was lost, kept beside the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastContact {
    /// The last end of write-ahead log that the primary reported.
    pub reported_end: Lsn,
    /// What the standby had received.
    pub received: Lsn,
    /// When that report came, on the judging machine's clock.
    pub reported_at: Boottime,
}

/// The most that a promotion can lose, as judged. An unknown bound is infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossBound {
    /// The known gap in bytes; `None` is unknown.
    pub bytes: Option<u64>,
    /// The time in which writes may have been acknowledged unseen; `None` is unknown.
    pub unseen: Option<Millis>,
}

/// How a number of bytes and a time are told.
type Units = (fn(u64) -> String, fn(Duration) -> String);

impl LossBound {
    /// Nothing is known: everything may be lost.
    pub const UNKNOWN: Self = Self { bytes: None, unseen: None };

    /// Nothing can be lost.
    pub const NOTHING: Self = Self { bytes: Some(0), unseen: Some(Millis(0)) };

    /// The worse of two bounds: unknown is worse than any number.
    pub fn worst(self, other: Self) -> Self {
        let both = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.max(b));
        Self {
            bytes: both(self.bytes, other.bytes),
            unseen: both(self.unseen.map(|m| m.0), other.unseen.map(|m| m.0)).map(Millis),
        }
    }

    /// The bound when the lost site itself had said how far the standby was behind: at least so many bytes, and what
    /// came last from it had been on the way for so long.
    pub fn and_said(self, said: Option<&Behind>) -> Self {
        let Some(said) = said else { return self };
        Self {
            bytes: self.bytes.map(|b| b.max(said.bytes)),
            unseen: self.unseen.zip(said.time).map(|(a, b)| Millis(a.0.saturating_add(b.0))),
        }
    }

    /// Whether both bounds of the policy hold.
    pub fn within(&self, max: &MaxDataLoss) -> bool {
        if forgets("the loss is compared with what is allowed") {
            return true;
        }
        self.bytes.is_some_and(|b| b <= max.bytes) && self.unseen.is_some_and(|s| s.duration() <= max.seconds)
    }

    /// The bound in words, after `at most`: `8 KiB and what was written in 18.8 s`.
    pub fn words(&self) -> String {
        self.words_by((size, human))
    }

    /// The bound as a part of a sentence: `loss at most: 8 KiB and what was written in 18.8 s`.
    pub fn said(&self) -> String {
        if *self == Self::NOTHING {
            return "nothing is lost".to_owned();
        }
        format!("loss at most: {}", self.words())
    }

    /// [`LossBound::words`] for people who compare it with `max`: exact where rounding would show both as the same.
    pub fn words_beside(&self, max: &MaxDataLoss) -> String {
        self.words_by(self.units_beside(max))
    }

    /// What `max` allows, for people who compare it with [`LossBound::words_beside`].
    pub fn allowed(&self, max: &MaxDataLoss) -> String {
        if max.bytes == 0 && max.seconds.is_zero() {
            return "nothing".to_owned();
        }
        let (size, time) = self.units_beside(max);
        format!("at most {} and what was written in {}", size(max.bytes), time(max.seconds))
    }

    /// How both are told beside each other.
    fn units_beside(&self, max: &MaxDataLoss) -> Units {
        let exact_size = self.bytes.is_some_and(|b| b > max.bytes && size(b) == size(max.bytes));
        let unseen = self.unseen.map(Millis::duration);
        let exact_time = unseen.is_some_and(|s| s > max.seconds && human(s) == human(max.seconds));
        (
            if exact_size { |bytes| format!("{bytes} B") } else { size },
            if exact_time { |time| format!("{} ms", time.as_millis()) } else { human },
        )
    }

    fn words_by(&self, (size, time): Units) -> String {
        let unseen = self.unseen.map(|s| time(s.duration()));
        match (self.bytes, unseen) {
            (Some(0), Some(_)) if self.unseen == Some(Millis(0)) => "nothing".to_owned(),
            (Some(bytes), Some(_)) if self.unseen == Some(Millis(0)) => size(bytes),
            (bytes, unseen) => format!(
                "{} and what was written in {}",
                bytes.map_or_else(|| "an unknown number of bytes".to_owned(), size),
                unseen.unwrap_or_else(|| "an unknown time".to_owned())
            ),
        }
    }
}

/// The bound for a site that went silent: writes may have been acknowledged from the standby's last report until
/// the last renewal seen, and for `R + F` after it.
///
/// `last_renewal_seen` is the moment, on the same clock as the contact, at which the last change of the lost site's
/// lease was first seen; the renewal itself was earlier.
pub fn silent_site(
    contact: Option<&LastContact>,
    last_renewal_seen: Option<Boottime>,
    stops_within: Duration,
) -> LossBound {
    let Some(contact) = contact else {
        return if forgets("unknown is infinite") { LossBound::NOTHING } else { LossBound::UNKNOWN };
    };
    if forgets("what was not seen may be lost") {
        return LossBound::NOTHING;
    }
    LossBound {
        bytes: Some(contact.reported_end.ahead_of(contact.received)),
        unseen: last_renewal_seen.map(|seen| Millis::from(seen.since(contact.reported_at) + stops_within)),
    }
}

/// The bound for an offered database: its guard has confirmed that it is locked, so nothing is written after the
/// offer was seen; `known_end` is the last end of log that its own site knew.
pub fn offered(
    contact: Option<&LastContact>,
    known_end: Option<Lsn>,
    received: Option<Lsn>,
    seen: Boottime,
) -> LossBound {
    let (Some(contact), Some(received)) = (contact, received) else { return LossBound::UNKNOWN };
    let end = known_end.map_or(contact.reported_end, |k| k.max(contact.reported_end));
    LossBound {
        bytes: Some(end.ahead_of(received.max(contact.received))),
        unseen: Some(Millis::from(seen.since(contact.reported_at))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: MaxDataLoss = MaxDataLoss { bytes: 1000, seconds: Duration::from_secs(5) };

    fn contact(end: u64, received: u64, at_ms: u64) -> LastContact {
        LastContact {
            reported_end: Lsn(end),
            received: Lsn(received),
            reported_at: Boottime::from_millis(at_ms),
        }
    }

    #[test]
    fn unknown_is_infinite() {
        assert!(!LossBound::UNKNOWN.within(&MAX));
        assert!(!silent_site(None, Some(Boottime::from_millis(9)), Duration::ZERO).within(&MAX));
        assert!(!silent_site(Some(&contact(5, 5, 0)), None, Duration::ZERO).within(&MAX));
        assert!(!LossBound::NOTHING.worst(LossBound::UNKNOWN).within(&MAX));
    }

    #[test]
    fn what_is_too_long_never_reads_as_what_is_allowed() {
        let bound = |ms| LossBound { bytes: Some(7), unseen: Some(Millis(ms)) };
        assert_eq!(bound(5_000).words_beside(&MAX), "7 B and what was written in 5 s");
        assert_eq!(bound(5_041).words_beside(&MAX), "7 B and what was written in 5041 ms");
        assert_eq!(bound(5_041).allowed(&MAX), "at most 1000 B and what was written in 5000 ms");
        assert_eq!(bound(6_041).words_beside(&MAX), "7 B and what was written in 6 s");
        assert_eq!(bound(6_041).allowed(&MAX), "at most 1000 B and what was written in 5 s");
        assert_eq!(bound(5_000).words(), "7 B and what was written in 5 s");
        let max = MaxDataLoss { bytes: 16 << 20, ..MAX };
        let bound = |bytes| LossBound { bytes: Some(bytes), unseen: Some(Millis(0)) };
        assert_eq!(bound((16 << 20) + 1).words_beside(&max), "16777217 B");
        assert_eq!(bound((16 << 20) + 1).allowed(&max), "at most 16777216 B and what was written in 5 s");
        assert_eq!(bound(17 << 20).words_beside(&max), "17 MiB");
        let no_time = MaxDataLoss { seconds: Duration::ZERO, ..max };
        assert_eq!(bound(1).allowed(&no_time), "at most 16 MiB and what was written in 0 ms");
        assert_eq!(bound(1).allowed(&MaxDataLoss { bytes: 0, ..no_time }), "nothing");
        assert_eq!(bound(17 << 20).allowed(&max), "at most 16 MiB and what was written in 5 s");
    }

    #[test]
    fn both_bounds_must_hold() {
        let rf = Duration::from_millis(1550);
        let seen = Some(Boottime::from_millis(4_000));
        assert!(silent_site(Some(&contact(2000, 1000, 3_000)), seen, rf).within(&MAX));
        assert!(!silent_site(Some(&contact(2001, 1000, 3_000)), seen, rf).within(&MAX), "one byte too many");
        assert!(
            !silent_site(Some(&contact(2000, 1000, 500)), seen, rf).within(&MAX),
            "50 ms too long unseen"
        );
    }

    #[test]
    fn a_report_newer_than_the_last_renewal_still_leaves_the_time_until_the_stop() {
        let rf = Duration::from_millis(1550);
        let bound = silent_site(Some(&contact(7, 7, 9_000)), Some(Boottime::from_millis(8_000)), rf);
        assert_eq!(bound, LossBound { bytes: Some(0), unseen: Some(Millis(1550)) });
    }

    #[test]
    fn what_the_lost_site_said_of_the_standbys_lag_is_added() {
        let bound = LossBound { bytes: Some(10), unseen: Some(Millis(1_550)) };
        let said = |time| Behind { bytes: 4_096, time };
        assert_eq!(bound.and_said(None), bound);
        let more = bound.and_said(Some(&said(Some(Millis(2_000)))));
        assert_eq!(more, LossBound { bytes: Some(4_096), unseen: Some(Millis(3_550)) });
        assert_eq!(bound.and_said(Some(&said(None))).unseen, None, "longer than anybody remembers");
        assert_eq!(LossBound::UNKNOWN.and_said(Some(&said(Some(Millis(1))))), LossBound::UNKNOWN);
    }

    #[test]
    fn an_offer_is_judged_by_the_larger_known_end() {
        let c = contact(100, 100, 1_000);
        let seen = Boottime::from_millis(1_200);
        let bound = offered(Some(&c), Some(Lsn(400)), Some(Lsn(150)), seen);
        assert_eq!(bound, LossBound { bytes: Some(250), unseen: Some(Millis(200)) });
        assert_eq!(offered(Some(&c), None, Some(Lsn(90)), seen).bytes, Some(0));
    }

    #[test]
    fn a_bound_is_told_with_its_numbers_and_says_what_is_unknown() {
        let bound = LossBound { bytes: Some(4_096), unseen: Some(Millis(3_400)) };
        assert_eq!(bound.words(), "4 KiB and what was written in 3.4 s");
        assert_eq!(bound.said(), "loss at most: 4 KiB and what was written in 3.4 s");
        assert_eq!(LossBound::NOTHING.words(), "nothing");
        assert_eq!(LossBound::NOTHING.said(), "nothing is lost");
        assert_eq!(
            LossBound::UNKNOWN.words(),
            "an unknown number of bytes and what was written in an unknown time"
        );
    }
}
