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
use crate::time::human;

/// Whether the guard that reports for `name` speaks for everything that may write as this database in this hold.
pub(super) fn of(s: &Situation<'_>, record: &Record, name: &ItemName) -> Gate {
    let key = format!("database/{name}/witness");
    let needed = "the only guard that may have a grant, with the data of this hold";
    let Some(view) = s.seen.databases.get(name) else {
        return Gate::new(
            &key,
            Answer::Unknown,
            "no guard has connected since this operator started",
            needed,
        );
    };
    let (report, age) = match &view.guard {
        Fact::Known { value, age } => (value, *age),
        Fact::Unknown { reason } => return Gate::new(&key, Answer::Unknown, reason.clone(), needed),
    };
    if record.settled && report.opened_epoch != Some(record.epoch) {
        let found = report.opened_epoch.map_or_else(
            || format!("what lies beside this guard was never opened; this hold is epoch {}", record.epoch),
            |e| format!("what lies beside this guard was last opened at epoch {e}, not {}", record.epoch),
        );
        return Gate::new(&key, Answer::No, found, needed).aged(Some(age));
    }
    let wait = granted_until_gone(s, record);
    // What was granted before this process began, or by another replica, was granted before its own lease.
    let before = s.holder.gap_ended().map(|t| (t, "before this site's lease was regained"));
    let others = view.granted.iter().filter(|(boot, _)| **boot != report.boot);
    let other = others.map(|(_, at)| *at).max().map(|t| (t, "to another process of its guard"));
    match before.into_iter().chain(other).max_by_key(|(t, _)| *t) {
        Some((at, whom)) if s.now.since(at) < wait => {
            let found = format!("a grant may have been given {whom}, {} ago", human(s.now.since(at)));
            Gate::new(&key, Answer::NotYet, found, format!("{} without it", human(wait)))
        }
        _ => Gate::new(&key, Answer::Yes, "its guard speaks for it", needed).aged(Some(age)),
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
    down && matches!(of(s, record, name).answer, Answer::Unknown | Answer::No)
}

/// Whether the guard of `name` proves that nothing was opened in this hold. A marker that was never written proves it
/// only for the one process that was ever granted to, with a database on its disk: another disk has no marker either.
pub(super) fn never_opened(s: &Situation<'_>, record: &Record, name: &ItemName) -> bool {
    let Some(view) = s.seen.databases.get(name) else { return false };
    let Some(report) = view.guard.value().filter(|_| of(s, record, name).passed()) else { return false };
    let alone = view.granted.contains_key(&report.boot) && view.granted.len() == 1;
    matches!(report.disk, Disk::Cluster(_)) && report.opened_epoch.map_or(alone, |e| e < record.epoch)
}

/// The first database of this site whose guard's word does not count now, as a gate.
pub(super) fn missing(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<Gate> {
    policy.databases.keys().map(|name| of(s, record, name)).find(|g| !g.passed())
}
