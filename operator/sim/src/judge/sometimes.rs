//! What a set of runs must have met, so that it is known to have looked at what is dangerous; and what is seen for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bascule_core::name::PolicyKey;
use bascule_core::record::Phase;

use super::{Invariant, Sometimes};
use crate::time::Moment;
use crate::world::World;
use crate::world::postgres::Run;

impl Sometimes {
    /// Everything that a whole search must have met.
    pub const ALL: [Self; 14] = [
        Self::PromotionWhileHolderFrozen,
        Self::OldEffectRefused,
        Self::HeldBack,
        Self::LagUnknownBlocked,
        Self::AllowedLoss,
        Self::StoppedByDeadline,
        Self::GuardExtended,
        Self::RolledBack,
        Self::Rewound,
        Self::Offered,
        Self::Withdrawn,
        Self::Returned,
        Self::CasLost,
        Self::IntentWithoutOutcome,
    ];
}

/// How exactly it is noted when a copy heard its primary.
const HEARD_AGAIN: Duration = Duration::from_millis(100);

/// What has been seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// From when each copy has known, or not known, how far it was behind: in order.
    heard: Vec<(Moment, usize, bool)>,
    /// When each copy heard its primary.
    last: BTreeMap<usize, Vec<Moment>>,
    /// When a copy ceased to be one: a person promoted it, or it was a primary that was killed. It is none until it hears
    /// its primary again.
    ceased: Vec<(Moment, usize)>,
    /// Policies whose risk was judged and recorded while the copy knew it.
    judged: BTreeSet<PolicyKey>,
    /// When a write of each policy was last acknowledged by each site.
    acked: BTreeMap<(usize, usize), Moment>,
    /// Operators that died between an intent and its outcome.
    unresolved: BTreeSet<usize>,
}

impl World {
    /// A client has heard that its write to a policy's site is done.
    pub(crate) fn acks(&mut self, app: usize, site: usize) {
        self.judge.known.acked.insert((app, site), self.now);
    }

    /// When a site last acknowledged a write of a policy.
    pub(crate) fn acked_at(&self, app: usize, site: usize) -> Option<Moment> {
        self.judge.known.acked.get(&(app, site)).copied()
    }

    /// A copy has heard its primary, or was the primary until it stopped with everything it had.
    pub(crate) fn learns_its_lag(&mut self, db: usize) {
        if !self.knows_its_lag(db) {
            self.judge.known.heard.push((self.now, db, true));
        }
        let known = self.judge.known.last.entry(db).or_default();
        if known.last().is_none_or(|t| self.now.since(*t) >= HEARD_AGAIN) {
            known.push(self.now);
        }
    }

    /// When a copy had last learned it at that moment; `None`: never, or it has ceased to be a copy since.
    pub(crate) fn last_knew_its_lag(&self, db: usize, at: Moment) -> Option<Moment> {
        let last = self.judge.known.last.get(&db)?.iter().rev().find(|t| **t <= at).copied()?;
        let since = |(t, d): &(Moment, usize)| *d == db && *t >= last && *t <= at;
        (!self.judge.known.ceased.iter().any(since)).then_some(last)
    }

    /// A copy ceases to be one.
    pub(crate) fn is_no_copy(&mut self, db: usize) {
        self.judge.known.ceased.push((self.now, db));
    }

    /// A machine starts: what a copy wrote down is dated by a clock that begins anew.
    pub(crate) fn forgets_its_lag(&mut self, db: usize) {
        self.judge.known.heard.push((self.now, db, false));
    }

    /// Whether a copy can know how far it was behind.
    pub(crate) fn knows_its_lag(&self, db: usize) -> bool {
        self.knew_its_lag(db, self.now)
    }

    /// Whether it could at that moment.
    pub(crate) fn knew_its_lag(&self, db: usize, at: Moment) -> bool {
        let mine = self.judge.known.heard.iter().rev().filter(|(t, d, _)| *d == db && *t <= at);
        mine.map(|(.., knows)| *knows).next().unwrap_or(false)
    }

    /// A record entered a phase: the risk that is judged now stays judged.
    pub(crate) fn judges_risk(&mut self, policy: &PolicyKey, phase: &Phase, by: usize) {
        match phase {
            Phase::ReadOnly => {
                let known = self.database_at(policy, by).is_some_and(|db| self.knows_its_lag(db));
                if known {
                    self.judge.known.judged.insert(policy.clone());
                }
            }
            Phase::Steady => {
                self.judge.known.judged.remove(policy);
            }
            _ => {}
        }
    }

    /// A role was taken by itself from a site that is silent: what it loses must have been known.
    pub(crate) fn judge_known_loss(&mut self, policy: &PolicyKey, taker: usize) {
        let Some(db) = self.database_at(policy, taker) else { return };
        if !self.knows_its_lag(db) && !self.judge.known.judged.contains(policy) {
            let what = format!("{policy} was taken by a copy that cannot know how far it was behind");
            self.judge.breaks(self.now, Invariant::S4, what);
        }
    }

    /// A promotion begins: does its old holder stand still, its server alive?
    pub(crate) fn meets_frozen_holder(&mut self, db: usize) {
        let policy = &self.databases[db].policy;
        let others = self.databases.iter().enumerate().filter(|(o, d)| *o != db && d.policy == *policy);
        let stands = others.into_iter().any(|(_, d)| {
            (d.guard.frozen || d.server.frozen) && self.sites[d.site].up && d.server.run.is_primary()
        });
        if stands {
            self.judge.meets(Sometimes::PromotionWhileHolderFrozen);
        }
    }

    /// A lease is renewed after `last`: was its site silent for long enough to be replaced, and was not?
    pub(crate) fn meets_return(&mut self, site: usize, last: Moment) {
        let silent = self.now.since(last);
        // Beyond silence the taker needs a beat, a read and a write.
        if silent < self.timing.l() * 2 {
            return;
        }
        for at in 0..self.policies.len() {
            let policy = self.policies[at].clone();
            let Some(record) = self.record(&policy.key) else { continue };
            if self.site_of(&record.active) != Some(site) {
                continue;
            }
            let cooled =
                record.history.first().and_then(|t| t.ended).is_some() && !policy.failover.cooldown.is_zero();
            if record.hold.is_some() || cooled {
                self.judge.meets(Sometimes::HeldBack);
                continue;
            }
            let there = |o: &crate::world::operator::Operator| {
                o.site != site && o.acts() && !o.frozen && self.now.since(o.started) > self.timing.l() * 2
            };
            let taker = self.operators.iter().find(|o| there(o)).map(|o| o.site);
            let copy = taker.and_then(|s| self.database_at(&policy.key, s));
            if copy.is_some_and(|db| {
                !self.knows_its_lag(db) && matches!(self.databases[db].server.run, Run::Standby { .. })
            }) {
                self.judge.meets(Sometimes::LagUnknownBlocked);
            }
        }
    }

    /// A server that may write is killed: because its time was over?
    pub(crate) fn meets_deadline(&mut self, db: usize) {
        let it = &self.databases[db];
        if it.server.run.is_primary() && it.guard.watch.has_passed(it.clock(self.now)) {
            self.judge.meets(Sometimes::StoppedByDeadline);
        }
    }

    /// An operator dies after it has begun something whose end it will not hear of.
    pub(crate) fn leaves_unresolved(&mut self, op: usize) {
        self.judge.known.unresolved.insert(op);
    }

    /// An operator starts.
    pub(crate) fn meets_unresolved(&mut self, op: usize) {
        if self.judge.known.unresolved.remove(&op) {
            self.judge.meets(Sometimes::IntentWithoutOutcome);
        }
    }
}
