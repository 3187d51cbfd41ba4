//! Several replicas of a site's operator: which of them acts, and what becomes of what another one still writes.
//!
//! A site has one operator until the fault [`crate::fault::Fault::ReplicaFollows`] gives it a second one. From then on who acts
//! is written in the arbiter, and a replica begins to act only when its own name stands there. Everything that a replica
//! writes carries its fence, from the beginning: what it has sent before another one acted is refused as well.
//!
//! A replica here is followed sooner than a real one: at once when it stands still, and by one that is eager even while it
//! works.

use std::time::Duration;

use bascule_core::mutant::forgets;

use super::World;
use super::arbiter::{Answer, Asked, Caller, Request};
use super::happening::Happening;
use super::operator::{Call, Operator};
use super::trial::Fate;

/// How often a replica that stands by looks who acts.
const LOOK: Duration = Duration::from_millis(250);

impl Operator {
    /// Whether its process runs and acts for its site.
    pub const fn acts(&self) -> bool {
        self.up && !self.stands_by
    }
}

impl World {
    /// Whether a write is of a replica that does not act, in a site that has several.
    pub(super) fn comes_too_late(&self, asked: &Asked) -> bool {
        let Caller::Operator(op, _) = asked.by else { return false };
        let (site, store) = (&self.sites[self.operators[op].site], &self.arbiter.store);
        let owner = store.owners.get(&site.name);
        // Whose name it is comes first, and what an arbiter that was emptied has forgotten.
        let is_ours = match &asked.request {
            Request::Renew { cluster, claimed, .. } => owner.map_or(!claimed, |owner| owner == cluster),
            _ => true,
        };
        let holds = store.acting.get(&site.name).copied() == asked.fence;
        site.elected
            && asked.request.is_fenced()
            && is_ours
            && !holds
            && !forgets("what a replica writes is compared with who acts")
    }

    /// Another replica of a site's operator takes over, while the one that acts may go on and does not know of it.
    pub(crate) fn another_replica_acts(&mut self, site: usize) {
        if !self.sites[site].elected {
            let acts = self.operators.iter().find(|o| o.site == site && o.acts());
            if let Some(fence) = acts.map(|o| o.fence) {
                self.arbiter.store.acting.insert(self.sites[site].name.clone(), fence);
            }
            self.sites[site].elected = true;
        }
        let is_spare = |o: &Operator| o.site == site && !o.removed && !o.acts();
        let spare = self.operators.iter().position(is_spare);
        let op = spare.unwrap_or_else(|| self.add_operator(site));
        self.operators[op].eager = true;
        // One that stands by already sees it at its next look.
        self.operator_starts(op);
    }

    /// A replica that stands by looks whether it is its turn.
    pub(crate) fn stands_by(&mut self, op: usize, life: u32) {
        if !self.lives(op, life) || !self.operators[op].stands_by {
            return;
        }
        let site = self.operators[op].site;
        let (name, cluster) = (self.sites[site].name.clone(), self.sites[site].cluster.uid);
        let expected = self.arbiter.store.acting.get(&name).copied();
        let another = self.operators.iter().any(|o| o.site == site && o.acts() && !o.frozen);
        let it = &self.operators[op];
        if it.frozen || (another && expected.is_some() && !it.eager) {
            self.later(LOOK, Happening::StandsBy(op, life));
            return;
        }
        let request = Request::Act { site: name, cluster, expected, fence: it.fence };
        self.call(op, Call::Act, request, Fate::Go);
    }

    /// The arbiter has said whether a replica acts from now on; or nothing.
    pub(super) fn tried_to_act(&mut self, op: usize, answer: &Answer) {
        let it = &mut self.operators[op];
        if !it.stands_by {
            return;
        }
        let life = it.life;
        if matches!(answer, Answer::Applied) {
            it.eager = false;
            self.begins_to_act(op);
        } else {
            // What was not answered may have been done: the next look compares with what stands there.
            self.later(LOOK, Happening::StandsBy(op, life));
        }
    }
}
