//! No two sites call themselves writable for long, and users are read-only before a switchover stops them (S7).

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::record::{Phase, Record};

use super::Invariant;
use crate::time::Moment;
use crate::world::World;
use crate::world::cluster::Api;

/// How long a site that is reached may take to set its flag: its operator has started and read its record, its workloads
/// were looked at, and a step that failed once is tried again.
const SETS: Duration = Duration::from_secs(8);

/// Since when a site that is not active has had its flag off although it could be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Off(BTreeMap<(PolicyKey, usize), Moment>);

/// When each flag was last set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set(BTreeMap<(PolicyKey, ItemName, usize), Moment>);

impl Set {
    pub(crate) fn note(&mut self, policy: &PolicyKey, workload: &ItemName, site: usize, now: Moment) {
        self.0.insert((policy.clone(), workload.clone(), site), now);
    }
}

impl World {
    /// A switchover hands the role over: the site that loses it has set its flags before it stopped, since the switchover was
    /// requested. That they are set later, while the target proves that it has everything, is too late for its users.
    pub(crate) fn judge_handover(&mut self, policy: &PolicyKey, next: &Record) {
        let Some(site) = self.site_of(&next.active).filter(|site| self.reachable(*site)) else { return };
        let requested = |r: &Record| r.phase == Phase::Requested && r.epoch == next.epoch;
        let known = self.judge.changes.iter().rev().filter(|(_, p, _)| p == policy);
        let since = known.take_while(|(_, _, r)| requested(r)).last().map(|(at, _, _)| *at);
        let Some(since) = since else { return };
        let set = &self.judge.set.0;
        let late = self.sites[site].cluster.apps.iter().find(|((p, workload), app)| {
            let key = (p.clone(), workload.clone(), site);
            let was_set = app.flag || set.get(&key).is_some_and(|at| *at >= since);
            p == policy && app.flagged && app.flag_owner.is_none() && !was_set
        });
        if let Some(((_, workload), _)) = late {
            let what = format!(
                "{} hands {policy} over, and the read-only flag of {workload} was not set since the switchover was requested",
                next.active
            );
            self.judge.breaks(self.now, Invariant::S7, what);
        }
    }

    /// Looks at the read-only flags of the sites that have not the role.
    pub(crate) fn look_at_flags(&mut self) {
        // An arbiter that has gone back says who was active once; the sites that know better refuse it.
        if self.waits_for_a_generation() {
            self.judge.off.0.clear();
            return;
        }
        for policy in self.judge.policies_named() {
            // A policy that was deleted at a site is managed by nobody until it is back there.
            let managed = self.record(&policy).filter(|r| r.phase != Phase::Unmanaged);
            let active = managed.and_then(|r| self.site_of(&r.active));
            for site in 0..self.sites.len() {
                let key = (policy.clone(), site);
                if active.is_none() || active == Some(site) || !self.wears_no_flag(&policy, site) {
                    self.judge.off.0.remove(&key);
                    continue;
                }
                let since = *self.judge.off.0.entry(key).or_insert(self.now);
                if self.now.since(since) > SETS {
                    let what = format!(
                        "{} has not the role of {policy}, and accepts writes since {:.3} s",
                        self.sites[site].name,
                        since.since_start().as_secs_f64()
                    );
                    self.judge.breaks(self.now, Invariant::S7, what);
                }
            }
        }
    }

    /// Whether a flag that could be set is off.
    fn wears_no_flag(&self, policy: &PolicyKey, site: usize) -> bool {
        let it = &self.sites[site];
        let works = self.operators.iter().any(|o| o.site == site && o.acts() && !o.frozen);
        let off = it
            .cluster
            .apps
            .iter()
            .any(|((p, _), a)| p == policy && a.flagged && !a.flag && a.flag_owner.is_none());
        let wanted = it.cluster.objects.policies.get(policy).is_some_and(Result::is_ok);
        off && wanted && it.up && works && it.cluster.api == Api::Well && !self.is_cut_off(site)
    }
}
