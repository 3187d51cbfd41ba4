//! People's intent on its way: from git into each cluster, from the cluster to its operators.

use std::time::Duration;

use bascule_core::moves::Move;
use bascule_core::name::PolicyKey;
use bascule_core::policy::Policy;

use super::World;
use super::cluster::Objects;
use super::happening::Happening;
use super::net::Traffic;

/// How often a site looks into the repository.
const PULL: Duration = Duration::from_millis(400);
/// How soon something that did not work is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl World {
    /// Somebody commits a change to the repository.
    pub fn commit(&mut self, change: impl FnOnce(&mut Objects)) {
        change(&mut self.git.head);
        self.git.head.version += 1;
        for site in 0..self.sites.len() {
            let wait = self.chance.between(Duration::from_millis(10), PULL);
            self.later(wait, Happening::Pull(site));
        }
    }

    /// Somebody commits a Move.
    pub fn commit_move(&mut self, policy: &PolicyKey, mv: &Move) {
        let policy = policy.clone();
        let mv = mv.clone();
        self.transcript
            .person(self.now, &format!("a Move {} ({}) is merged: {}", mv.name, mv.order.kind(), mv.reason));
        self.judge.intends(&mv);
        self.commit(move |objects| objects.moves.entry(policy).or_default().push(mv));
    }

    /// Somebody reverts the commit that brought a Move.
    pub fn revert_move(&mut self, policy: &PolicyKey, mv: &Move) {
        let (policy, hash) = (policy.clone(), mv.hash.clone());
        self.transcript.person(self.now, &format!("the merge of the Move {} is reverted", mv.name));
        self.commit(move |objects| {
            if let Some(moves) = objects.moves.get_mut(&policy) {
                moves.retain(|m| m.hash != hash);
            }
        });
    }

    /// Somebody commits a policy.
    pub fn commit_policy(&mut self, policy: &Policy) {
        let policy = policy.clone();
        self.commit(move |objects| {
            objects.policies.insert(policy.key.clone(), Ok(policy));
        });
    }

    pub(crate) fn pull(&mut self, site: usize) {
        let (here, there) = (self.sites[site].place, self.outside());
        let reached = self.sites[site].up
            && !self.git.down
            && self.sites[site].cluster.read_fails().is_none()
            && self.net.joined(here, there, Traffic::Git);
        if self.git.head.version <= self.sites[site].cluster.objects.version {
            return;
        }
        if !reached || self.git.hidden_from.contains(&site) || self.git.invalid.is_some() {
            // The last good revision stays in force.
            self.later(AGAIN, Happening::Pull(site));
            return;
        }
        self.apply(site, |objects, head| *objects = head.clone());
    }

    /// Objects of one cluster change, by a source or by a person's own hand.
    pub fn apply(&mut self, site: usize, change: impl FnOnce(&mut Objects, &Objects)) {
        let head = self.git.head.clone();
        let objects = &mut self.sites[site].cluster.objects;
        let next = objects.resource_version + 1;
        let before: Vec<PolicyKey> = objects.policies.keys().cloned().collect();
        change(objects, &head);
        objects.resource_version = next;
        for key in before {
            if !self.sites[site].cluster.objects.policies.contains_key(&key) {
                self.sites[site].cluster.written.remove(&key);
                self.publishes(site, &key, None);
            }
        }
        self.tell_objects(site);
    }

    /// The watch tells the site's operators.
    pub(crate) fn tell_objects(&mut self, site: usize) {
        let silent = self.sites[site].cluster.watch_silent_until;
        let objects = Box::new(self.sites[site].cluster.objects.clone());
        let at = (self.now + Duration::from_millis(4)).max(silent);
        for op in 0..self.operators.len() {
            if self.operators[op].site == site && self.operators[op].up {
                let life = self.operators[op].life;
                self.push(at, Happening::Objects(op, life, objects.clone()));
            }
        }
    }

    /// An operator that has started lists the objects; a follower may serve it an old state first.
    pub(crate) fn list_objects(&mut self, op: usize, life: u32) {
        if !self.operators[op].up || self.operators[op].life != life {
            return;
        }
        let site = self.operators[op].site;
        if self.sites[site].cluster.read_fails().is_some() {
            self.later(AGAIN, Happening::ListObjects(op, life));
            return;
        }
        let wait = Duration::from_millis(15);
        if let Some(stale) = self.sites[site].cluster.stale.clone() {
            self.later(wait, Happening::Objects(op, life, stale));
            let objects = Box::new(self.sites[site].cluster.objects.clone());
            self.later(wait + Duration::from_secs(2), Happening::Objects(op, life, objects));
            return;
        }
        let objects = Box::new(self.sites[site].cluster.objects.clone());
        self.later(wait, Happening::Objects(op, life, objects));
    }
}
