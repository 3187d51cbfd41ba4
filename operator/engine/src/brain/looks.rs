//! When is what looked at?

use std::sync::Arc;
use std::time::Duration;

use bascule_core::few::Few;
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

/// How soon something that was not as it shall be, or not known, is looked at again; doubled with every such look up to
/// the usual time. A site that comes back finds its parts starting one after the other.
const UNSETTLED: Duration = Duration::from_secs(1);

/// How long after its caller has given up an effect may still come: a server that stood still goes on with what it was
/// asked. What comes later still is found by the usual looks.
const LANDS: Duration = QUIET;

/// The looks at one policy's things.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks {
    entries: Few<Look, Entry>,
    /// Whether nothing moved when it was last asked what is due.
    quiet: bool,
    /// Nothing is due before this moment, as long as the policy and everything here are the same.
    idle: Option<(Arc<Policy>, Boottime)>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    busy: bool,
    again: bool,
    last: Option<Boottime>,
    due: Option<Boottime>,
    /// How many looks in a row found something unsettled.
    unsettled: u32,
    /// Until when an effect that nobody knows the outcome of may still come.
    doubt: Option<Boottime>,
}

impl Entry {
    fn every(&self, usually: Duration) -> Duration {
        match self.unsettled.checked_sub(1) {
            Some(before) => UNSETTLED.saturating_mul(1 << before.min(16)).min(usually),
            None => usually,
        }
    }
}

impl Looks {
    /// What `changed` must be looked at again; a look that is under way may have seen the old state.
    pub(super) fn forget(&mut self, changed: impl Fn(&Look) -> bool) {
        self.idle = None;
        for (_, entry) in self.entries.iter_mut().filter(|(look, _)| changed(look)) {
            entry.again = entry.busy;
            entry.last = None;
            entry.due = None;
        }
    }

    /// `what` must be looked at now, or again if a look is under way. Something has happened to it: what was not as it
    /// shall be before says nothing about how soon it will be.
    pub(super) fn now(&mut self, what: &Look) {
        self.idle = None;
        let entry = self.entries.entry(what.clone()).or_default();
        entry.unsettled = 0;
        entry.again = entry.busy;
        entry.last = None;
        entry.due = None;
    }

    /// An effect on `what` has an outcome that nobody knows: it may come late, after a look that has not found it. One
    /// look follows the other until it can come no more, less and less often.
    pub(super) fn doubted(&mut self, what: &Look, now: Boottime) {
        self.idle = None;
        self.entries.entry(what.clone()).or_default().doubt = Some(now + LANDS);
    }

    /// The look at `what` has ended. `settled`: everything about it is known and as it shall be.
    pub(super) fn ended(&mut self, what: &Look, settled: bool, now: Boottime) {
        self.idle = None;
        let entry = self.entries.entry(what.clone()).or_default();
        entry.busy = false;
        let doubted = entry.doubt.is_some_and(|until| now < until);
        entry.unsettled = if settled && !doubted { 0 } else { entry.unsettled.saturating_add(1) };
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
        policy: &Arc<Policy>,
        record: Option<&Record>,
        now: Boottime,
    ) -> Vec<Look> {
        let quiet = record.is_none_or(|r| r.phase == Phase::Steady || r.phase == Phase::Unmanaged);
        if quiet == self.quiet
            && self.idle.as_ref().is_some_and(|(of, until)| Arc::ptr_eq(of, policy) && now < *until)
        {
            return Vec::new();
        }
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
        let due = self.due_of(wanted, quiet, now);
        // While all are under way the end of one is what changes this.
        self.idle = self.next().map(|at| (Arc::clone(policy), at));
        due
    }

    /// The same of these, each with how often it is looked at usually.
    fn due_of(&mut self, wanted: Vec<(Look, Duration)>, quiet: bool, now: Boottime) -> Vec<Look> {
        self.entries.retain(|look, _| wanted.iter().any(|(w, _)| w == look));
        if quiet && !self.quiet {
            // Five looks a second say nothing about how long it has been unsettled.
            for entry in self.entries.values_mut() {
                entry.unsettled = entry.unsettled.min(1);
            }
        }
        self.quiet = quiet;
        let mut due = Vec::new();
        for (look, every) in wanted {
            let entry = self.entries.entry(look.clone()).or_default();
            if entry.busy {
                continue;
            }
            match entry.last.map(|t| t + entry.every(every)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsettled_is_looked_at_sooner_and_less_and_less_often() {
        let mut looks = Looks::default();
        let what = Look::Database("main".try_into().unwrap());
        let mut waits = Vec::new();
        for _ in 0..7 {
            looks.ended(&what, false, Boottime::from_millis(0));
            waits.push(looks.entries[&what].every(QUIET_DATABASE).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        looks.ended(&what, true, Boottime::from_millis(0));
        assert_eq!(looks.entries[&what].every(QUIET_DATABASE), QUIET_DATABASE);
        looks.ended(&what, false, Boottime::from_millis(0));
        assert_eq!(looks.entries[&what].every(BUSY), BUSY, "never later than usual");
    }

    #[test]
    fn looks_during_a_transition_use_up_nothing_of_the_patience_after_it() {
        let mut looks = Looks::default();
        let what = Look::Traffic("public".try_into().unwrap());
        let mut now = Boottime::from_millis(0);
        for _ in 0..20 {
            for look in looks.due_of(vec![(what.clone(), BUSY)], false, now) {
                looks.ended(&look, false, now);
            }
            now = now + BUSY;
        }
        assert_eq!(looks.due_of(vec![(what.clone(), QUIET)], true, now), [], "it was looked at a moment ago");
        let first = looks.next().unwrap();
        assert!(first <= now + UNSETTLED, "as if the transition's looks had not been: {first:?}");
        assert_eq!(looks.due_of(vec![(what.clone(), QUIET)], true, first).len(), 1);
        looks.ended(&what, false, first);
        assert_eq!(looks.due_of(vec![(what, QUIET)], true, first), []);
        assert_eq!(looks.next(), Some(first + UNSETTLED * 2));
    }

    #[test]
    fn after_an_effect_of_unknown_outcome_one_look_follows_the_other_until_it_can_come_no_more() {
        let mut looks = Looks::default();
        let what = Look::Traffic("public".try_into().unwrap());
        let mut now = Boottime::from_millis(0);
        looks.doubted(&what, now);
        looks.now(&what);
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert_eq!(looks.due_of(vec![(what.clone(), QUIET)], true, now).len(), 1);
            looks.ended(&what, true, now);
            assert_eq!(looks.due_of(vec![(what.clone(), QUIET)], true, now), []);
            let next = looks.next().unwrap();
            waits.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
    }

    #[test]
    fn a_step_that_failed_again_and_again_uses_up_nothing_of_the_patience_after_it() {
        let mut looks = Looks::default();
        let what = Look::Workload("web".try_into().unwrap());
        let now = Boottime::from_millis(0);
        for _ in 0..5 {
            looks.now(&what);
            assert_eq!(looks.due_of(vec![(what.clone(), QUIET)], true, now).len(), 1);
            looks.ended(&what, false, now);
        }
        assert_eq!(looks.due_of(vec![(what, QUIET)], true, now), []);
        assert_eq!(looks.next(), Some(now + UNSETTLED));
    }
}
