//! Whose word counts for a database?
//!
//! A stop, a lock or a death is the end of writing only when the guard that reports it has the data of this hold and
//! no other guard process of this database may still be writing: a second pod with an empty disk can lock itself at
//! once and says nothing about the first.

use std::time::Duration;

use crate::decide::situation::Situation;
use crate::guard::wire::Disk;
use crate::name::ItemName;
use crate::observation::Fact;
use crate::plan::{Answer, Gate};
use crate::policy::Policy;
use crate::record::Record;
use crate::time::{Boottime, human};

/// Whose word it is.
enum Word<'a> {
    /// Nobody has connected.
    NotHeard,
    /// Nothing is known of the guard now, and why.
    Unknown(&'a str),
    /// The guard has not the data of this hold; it was opened last in this epoch, so long ago was it seen.
    Another(Option<u64>, Duration),
    /// A person has unlocked it: it stops for nobody.
    Unlocked(String, Duration),
    /// Another process may have been granted to, whom, then; it ends so long after.
    Shared(Boottime, &'static str, Duration),
    /// It counts, and is so old.
    Counts(Duration),
}

fn word<'a>(s: &Situation<'a>, record: &Record, name: &ItemName) -> Word<'a> {
    let Some(view) = s.seen.databases.get(name) else { return Word::NotHeard };
    let (report, age) = match &view.guard {
        Fact::Known { value, age } => (value, *age),
        Fact::Unknown { reason } => return Word::Unknown(reason),
    };
    if let Some(word) = report.unlocked() {
        return Word::Unlocked(word.words(), age);
    }
    if record.settled && report.opened_epoch != Some(record.epoch) {
        return Word::Another(report.opened_epoch, age);
    }
    let wait = granted_until_gone(s, record);
    // What was granted before this process began, or by another replica, was granted before its own lease.
    let before = s.holder.gap_ended().map(|t| (t, "before this site's lease was regained"));
    let others = view.granted.iter().filter(|(boot, _)| **boot != report.boot);
    let other = others.map(|(_, at)| *at).max().map(|t| (t, "to another process of its guard"));
    match before.into_iter().chain(other).max_by_key(|(t, _)| *t) {
        Some((at, whom)) if s.now.since(at) < wait => Word::Shared(at, whom, wait),
        _ => Word::Counts(age),
    }
}

/// Whether the guard that reports for `name` speaks for everything that may write as this database in this hold.
pub(super) fn counts(s: &Situation<'_>, record: &Record, name: &ItemName) -> bool {
    matches!(word(s, record, name), Word::Counts(_))
}

/// The same as a gate.
pub(super) fn of(s: &Situation<'_>, record: &Record, name: &ItemName) -> Gate {
    let key = format!("database/{name}/witness");
    let needed = "the only guard that may have a grant, with the data of this hold";
    match word(s, record, name) {
        Word::NotHeard => {
            let found = "no guard has connected since this operator started";
            Gate::new(&key, Answer::Unknown, found, needed)
        }
        Word::Unknown(reason) => Gate::new(&key, Answer::Unknown, reason, needed),
        Word::Another(opened, age) => {
            let found = opened.map_or_else(
                || {
                    format!(
                        "what lies beside this guard was never opened; this hold is epoch {}",
                        record.epoch
                    )
                },
                |e| format!("what lies beside this guard was last opened at epoch {e}, not {}", record.epoch),
            );
            Gate::new(&key, Answer::No, found, needed).aged(Some(age))
        }
        Word::Unlocked(found, age) => Gate::new(&key, Answer::No, found, needed).aged(Some(age)),
        Word::Shared(at, whom, wait) => {
            let found = format!("a grant may have been given {whom}, {} ago", human(s.now.since(at)));
            Gate::new(&key, Answer::NotYet, found, format!("{} without it", human(wait)))
        }
        Word::Counts(age) => Gate::new(&key, Answer::Yes, "its guard speaks for it", needed).aged(Some(age)),
    }
}

/// How long after it was given a grant has ended everywhere, its server stopped: on two machines' clocks.
pub(super) fn granted_until_gone(s: &Situation<'_>, record: &Record) -> Duration {
    record.promise.lease.duration().max(s.timing().withdrawal_wait())
}

/// The first database of this site whose guard is gone: it says nothing, or what speaks for it is down and has not the
/// data of this hold.
pub(super) fn gone(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<Gate> {
    policy.databases.keys().find(|name| is_gone(s, record, name)).map(|name| of(s, record, name))
}

/// Whether the guard of `name` is gone.
pub(super) fn is_gone(s: &Situation<'_>, record: &Record, name: &ItemName) -> bool {
    let down = s.seen.databases.get(name).and_then(|d| d.guard.value()).is_none_or(|r| r.state.is_down());
    down && matches!(word(s, record, name), Word::NotHeard | Word::Unknown(_) | Word::Another(..))
}

/// Whether the guard of `name` proves that nothing was opened in this hold. A marker that was never written proves it
/// only for the one process that was ever granted to, with a database on its disk: another disk has no marker either.
pub(super) fn never_opened(s: &Situation<'_>, record: &Record, name: &ItemName) -> bool {
    let Some(view) = s.seen.databases.get(name) else { return false };
    let Some(report) = view.guard.value().filter(|_| counts(s, record, name)) else { return false };
    let alone = view.granted.contains_key(&report.boot) && view.granted.len() == 1;
    matches!(report.disk, Disk::Cluster(_)) && report.opened_epoch.map_or(alone, |e| e < record.epoch)
}

/// The first database of this site whose guard's word does not count now, as a gate.
pub(super) fn missing(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<Gate> {
    policy.databases.keys().find(|name| !counts(s, record, name)).map(|name| of(s, record, name))
}
