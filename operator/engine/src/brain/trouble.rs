//! What goes wrong with the calls to the arbiter, for people.
//!
//! Nothing is decided from it: a call that failed has told nothing, and the rules wait for one that succeeds. A journal
//! that repeats a reason with every beat of a lease is not read, so it is told at most once in a while.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::time::{Boottime, human};

/// How often the journal is told about one kind of call, at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What fails for so long is shown in status: an election of the arbiter's takes less.
const LASTING: Duration = Duration::from_secs(5);

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// The renewal of this site's lease.
    Renew,
    /// The read of all leases.
    Leases,
    /// The listing of records and facts.
    List,
    /// The watch that follows it.
    Watch,
    /// The writing of this site's facts about one policy.
    Facts,
    /// The heartbeat.
    Beat,
}

impl Call {
    /// What cannot be done when it fails.
    const fn words(self) -> &'static str {
        match self {
            Self::Renew => "this site's lease cannot be renewed",
            Self::Leases => "the sites' leases cannot be read",
            Self::List => "records and facts cannot be listed",
            Self::Watch => "the watch of records and facts breaks",
            Self::Facts => "what this site says of the policy cannot be written",
            Self::Beat => {
                "that this site's operator lives cannot be told (its heartbeat, a Lease in its own namespace)"
            }
        }
    }
}

/// What has failed and has not succeeded since.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    failing: BTreeMap<Call, Failing>,
    told_at: BTreeMap<Call, Boottime>,
}

#[derive(Clone, Debug)]
struct Failing {
    reason: String,
    since: Boottime,
    times: u32,
    told: Option<String>,
    lasting: bool,
}

/// What follows from an ending of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// A line for the journal.
    pub(super) line: Option<String>,
    /// What is shown in status has changed.
    pub(super) shows: bool,
}

impl Troubles {
    /// `call` failed because of `reason`.
    pub(super) fn failed(&mut self, call: Call, reason: &str, now: Boottime) -> News {
        let entry = self.failing.entry(call).or_insert_with(|| Failing {
            reason: String::new(),
            since: now,
            times: 0,
            told: None,
            lasting: false,
        });
        entry.times = entry.times.saturating_add(1);
        reason.clone_into(&mut entry.reason);
        let due = self.told_at.get(&call).is_none_or(|t| now.since(*t) >= TELL_EVERY);
        let line = (due && entry.told.as_deref() != Some(reason)).then(|| {
            self.told_at.insert(call, now);
            entry.told = Some(reason.to_owned());
            format!("{}: {reason}", call.words())
        });
        let lasted = entry.lasting;
        entry.lasting = entry.times > 1 && now.since(entry.since) >= LASTING;
        News { shows: entry.lasting && (!lasted || line.is_some()), line }
    }

    /// `call` succeeded.
    pub(super) fn went_well(&mut self, call: Call, now: Boottime) -> News {
        let Some(ended) = self.failing.remove(&call) else { return News::default() };
        let line = ended.told.map(|_| {
            let lasted = human(now.since(ended.since));
            let s = if ended.times == 1 { "" } else { "s" };
            format!("over after {lasted} and {} failure{s}: {}", ended.times, call.words())
        });
        News { line, shows: ended.lasting }
    }

    /// Why `call` failed last, if it has not succeeded since.
    pub(super) fn reason(&self, call: Call) -> Option<&str> {
        self.failing.get(&call).map(|f| f.reason.as_str())
    }

    /// What has failed for a while, in words.
    pub(super) fn words(&self) -> Option<String> {
        let lasting = self.failing.iter().filter(|(_, f)| f.lasting);
        let words: Vec<String> = lasting.map(|(call, f)| format!("{}: {}", call.words(), f.reason)).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Boottime {
        Boottime::from_millis(n)
    }

    #[test]
    fn a_reason_is_told_when_it_is_new_and_not_with_every_failure() {
        let mut t = Troubles::default();
        let first = t.failed(Call::Renew, "deadline exceeded", ms(0));
        assert_eq!(first.line.as_deref(), Some("this site's lease cannot be renewed: deadline exceeded"));
        for n in 1..100 {
            assert_eq!(t.failed(Call::Renew, "deadline exceeded", ms(n * 250)).line, None);
        }
        assert!(t.failed(Call::Renew, "permission denied", ms(25_000)).line.is_some());
        assert_eq!(t.failed(Call::Renew, "deadline exceeded", ms(25_250)).line, None, "not back and forth");
    }

    #[test]
    fn a_short_failure_is_no_lasting_trouble_and_a_success_ends_a_long_one() {
        let mut t = Troubles::default();
        t.failed(Call::List, "no leader", ms(0));
        assert!(!t.failed(Call::List, "no leader", ms(4_750)).shows);
        assert_eq!((t.words(), t.reason(Call::List)), (None, Some("no leader")));
        assert!(t.failed(Call::List, "no leader", ms(5_000)).shows);
        assert!(!t.failed(Call::List, "no leader", ms(5_250)).shows, "it is shown already");
        assert_eq!(t.words().as_deref(), Some("records and facts cannot be listed: no leader"));
        let news = t.went_well(Call::List, ms(6_000));
        let line = "over after 6 s and 4 failures: records and facts cannot be listed";
        assert_eq!((news.line.as_deref(), news.shows, t.words()), (Some(line), true, None));
        assert_eq!(t.went_well(Call::List, ms(6_250)), News::default());
    }
}
