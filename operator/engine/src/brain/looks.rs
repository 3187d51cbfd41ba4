//! When is what looked at?

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::name::SiteName;
use bascule_core::policy::Policy;
use bascule_core::record::{Phase, Record};
use bascule_core::time::Boottime;

use super::event::Look;

/// How often things are looked at while nothing moves.
const QUIET: Duration = Duration::from_secs(15);

/// How often the settings of a database are looked at while nothing moves: each look is a handful of queries.
const QUIET_DATABASE: Duration = Duration::from_secs(30);

/// How often things are looked at during a transition.
const BUSY: Duration = Duration::from_millis(200);

/// How often the settings of a database are looked at during a transition.
const BUSY_DATABASE: Duration = Duration::from_secs(5);

/// The looks at one policy's things.
#[derive(Debug, Default)]
pub(super) struct Looks {
    entries: BTreeMap<Look, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    busy: bool,
    again: bool,
    last: Option<Boottime>,
    due: Option<Boottime>,
}

impl Looks {
    /// What `changed` must be looked at again; a look that is under way may have seen the old state.
    pub(super) fn forget(&mut self, changed: impl Fn(&Look) -> bool) {
        for (_, entry) in self.entries.iter_mut().filter(|(look, _)| changed(look)) {
            entry.again = entry.busy;
            entry.last = None;
            entry.due = None;
        }
    }

    /// `what` must be looked at now, or again if a look is under way.
    pub(super) fn now(&mut self, what: &Look) {
        let entry = self.entries.entry(what.clone()).or_default();
        entry.again = entry.busy;
        entry.last = None;
        entry.due = None;
    }

    /// The look at `what` has ended.
    pub(super) fn ended(&mut self, what: &Look, now: Boottime) {
        let entry = self.entries.entry(what.clone()).or_default();
        entry.busy = false;
        entry.last = (!entry.again).then_some(now);
        entry.again = false;
    }

    /// Whether `what` must be looked at again because something changed it during the last look.
    pub(super) fn is_due_again(&self, what: &Look) -> bool {
        self.entries.get(what).is_some_and(|e| e.last.is_none())
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Option<Boottime> {
        self.entries.values().filter(|e| !e.busy).filter_map(|e| e.due).min()
    }

    /// The looks that are due at `now`; they are under way from here on.
    pub(super) fn due(
        &mut self,
        me: &SiteName,
        policy: &Policy,
        record: Option<&Record>,
        now: Boottime,
    ) -> Vec<Look> {
        let quiet = record.is_none_or(|r| r.phase == Phase::Steady || r.phase == Phase::Unmanaged);
        let (often, database) = if quiet { (QUIET, QUIET_DATABASE) } else { (BUSY, BUSY_DATABASE) };
        let mut wanted: Vec<(Look, Duration)> = Vec::new();
        wanted.extend(policy.workloads.keys().map(|n| (Look::Workload(n.clone()), often)));
        wanted.extend(policy.traffic.keys().map(|n| (Look::Traffic(n.clone()), often)));
        for (name, db) in &policy.databases {
            if db.instances.contains_key(me) {
                wanted.push((Look::Database(name.clone()), database));
            }
            for site in db.instances.keys().filter(|site| *site != me) {
                wanted.push((Look::Upstream(name.clone(), site.clone()), QUIET_DATABASE));
            }
        }
        self.entries.retain(|look, _| wanted.iter().any(|(w, _)| w == look));
        let mut due = Vec::new();
        for (look, every) in wanted {
            let entry = self.entries.entry(look.clone()).or_default();
            if entry.busy {
                continue;
            }
            match entry.last.map(|t| t + every) {
                Some(at) if at > now => entry.due = Some(at),
                _ => {
                    entry.busy = true;
                    entry.due = None;
                    due.push(look);
                }
            }
        }
        due
    }
}
