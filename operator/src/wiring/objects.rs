//! The objects of this site's cluster as last seen: what intent is made of, and where status goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bascule_core::moves::MoveHash;
use bascule_core::name::PolicyKey;
use bascule_crds::{FailoverPolicy, FailoverPolicyStatus, Move, MoveState, MoveStatus};
use bascule_engine::intake::moves::{Command, Target};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The objects, shared between those who watch them and those who write their status.
#[derive(Debug, Default)]
pub struct Objects {
    inner: Mutex<Inner>,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Inner {
    /// Policies as they are in the API server, valid or not.
    pub policies: BTreeMap<PolicyKey, SeenPolicy>,
    /// Moves by namespace and name.
    pub moves: BTreeMap<(String, String), SeenMove>,
}

/// A policy as it is in the API server.
#[derive(Clone, Debug)]
pub struct SeenPolicy {
    /// The object.
    pub object: FailoverPolicy,
    /// Why it is not valid, if so.
    pub invalid: Option<String>,
    /// The status that was put down last: the object's own may be older.
    pub said: Option<FailoverPolicyStatus>,
}

impl SeenPolicy {
    /// The status as it is known best.
    pub fn status(&self) -> FailoverPolicyStatus {
        self.said.clone().or_else(|| self.object.status.clone()).unwrap_or_default()
    }
}

/// A Move as it is in the API server.
#[derive(Clone, Debug)]
pub struct SeenMove {
    /// The object.
    pub object: Move,
    /// What it means, or why it means nothing.
    pub command: Result<Command, String>,
    /// The status that was put down last: the object's own may be older.
    pub said: Option<MoveStatus>,
}

impl SeenMove {
    /// What became of it, as far as its status says.
    pub fn state(&self) -> Option<MoveState> {
        self.said.as_ref().or(self.object.status.as_ref())?.state
    }

    /// The status as it is known best.
    pub fn status(&self) -> MoveStatus {
        self.said.clone().or_else(|| self.object.status.clone()).unwrap_or_default()
    }
}

/// Whether two versions of an object say the same of what is wanted: every status that is written comes back as a new
/// version.
pub fn wants_the_same(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    let of = |m: &ObjectMeta| (m.uid.clone(), m.generation);
    of(a) == of(b) && a.generation.is_some() && a.labels == b.labels && a.annotations == b.annotations
}

impl Objects {
    /// Exclusive access; never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves plain maps behind: every entry is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The valid Moves that mean this policy.
    pub fn moves_of(&self, key: &PolicyKey) -> Vec<bascule_core::moves::Move> {
        let none = BTreeMap::new();
        let labels = self.labels(key).unwrap_or(&none);
        self.moves
            .values()
            .filter_map(|m| m.command.as_ref().ok())
            .filter(|c| c.target.covers(key, labels))
            .map(|c| c.command.clone())
            .collect()
    }

    /// The policies here that a valid Move means.
    pub fn policies_of(&self, command: &Command) -> Vec<PolicyKey> {
        if let Target::Policy(key) = &command.target {
            return self.policies.contains_key(key).then(|| key.clone()).into_iter().collect();
        }
        let none = BTreeMap::new();
        let meant = |key: &&PolicyKey| command.target.covers(key, self.labels(key).unwrap_or(&none));
        self.policies.keys().filter(meant).cloned().collect()
    }

    /// The policies here that the Move at this place means, if there is a valid one.
    pub fn policies_meant_at(&self, place: &(String, String)) -> BTreeSet<PolicyKey> {
        let command = self.moves.get(place).and_then(|seen| seen.command.as_ref().ok());
        command.map(|command| self.policies_of(command).into_iter().collect()).unwrap_or_default()
    }

    fn labels(&self, key: &PolicyKey) -> Option<&BTreeMap<String, String>> {
        self.policies.get(key)?.object.metadata.labels.as_ref()
    }

    /// The place and content of the Move with this hash, if it still exists.
    pub fn move_with(&self, hash: &MoveHash) -> Option<(&(String, String), &SeenMove)> {
        self.moves.iter().find(|(_, m)| m.command.as_ref().is_ok_and(|c| c.command.hash == *hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::samples::{key, policy, to_lyon};

    #[test]
    fn a_status_that_comes_back_wants_nothing_new_and_anything_else_does() {
        let before = policy("shop", 2).metadata;
        let same = ObjectMeta { resource_version: Some("8".to_owned()), ..before.clone() };
        assert!(wants_the_same(&before, &same));
        let unlabelled = ObjectMeta { labels: None, ..before.clone() };
        let revision = [("revision".to_owned(), "abc".to_owned())].into();
        let fetched = ObjectMeta { annotations: Some(revision), ..before.clone() };
        let replaced = ObjectMeta { uid: Some("another".to_owned()), ..before.clone() };
        let never = ObjectMeta { generation: None, ..before.clone() };
        for other in [policy("shop", 3).metadata, unlabelled, fetched, replaced, never] {
            assert!(!wants_the_same(&before, &other), "{other:?}");
        }
    }

    #[test]
    fn of_a_move_hear_the_policies_that_it_means_and_no_others() {
        let mut known = Inner::default();
        for name in ["blog", "shop"] {
            let seen = SeenPolicy { object: policy(name, 1), invalid: None, said: None };
            known.policies.insert(key(name), seen);
        }
        let place = |name: &str| ("shop".to_owned(), name.to_owned());
        known.moves.insert(place("one"), to_lyon("shop"));
        known.moves.insert(place("all"), to_lyon("selector"));
        known
            .moves
            .insert(place("bad"), SeenMove { command: Err("no reason".to_owned()), ..to_lyon("shop") });
        assert_eq!(known.policies_meant_at(&place("one")), BTreeSet::from([key("shop")]));
        assert_eq!(known.policies_meant_at(&place("all")), BTreeSet::from([key("blog"), key("shop")]));
        assert_eq!(known.policies_meant_at(&place("bad")), BTreeSet::new());
        assert_eq!(known.policies_meant_at(&place("gone")), BTreeSet::new());
    }
}
