//! No two sites call themselves writable for long (S7).

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::name::PolicyKey;
use bascule_core::record::Phase;

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

impl World {
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
