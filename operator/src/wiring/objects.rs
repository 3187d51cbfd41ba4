//! The objects of this site's cluster as last seen: what intent is made of, and where status goes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bascule_adapters::kube::status::StatusKey;
use bascule_core::moves::MoveHash;
use bascule_core::name::PolicyKey;
use bascule_crds::conditions::Condition;
use bascule_crds::{FailoverPolicy, FailoverPolicyStatus, Move, MoveState, MoveStatus, UserNotices};
use bascule_engine::intake::moves::{Command, Target};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;

/// The objects, shared between those who watch them and those who write their status.
#[derive(Debug, Default)]
pub struct Objects {
    inner: Mutex<Inner>,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Inner {
    /// Policies as they are in the API server, valid or not.
    pub policies: BTreeMap<PolicyKey, Box<SeenPolicy>>,
    /// Moves by namespace and name.
    pub moves: BTreeMap<(String, String), SeenMove>,
}

/// A policy as it is in the API server: what is asked about it here. Thousands of whole objects, most of each of them what
/// the engine has understood already and a status that is written anew each time, would be most of the memory.
#[derive(Clone, Debug)]
pub struct SeenPolicy {
    /// Why it is not valid, if so.
    pub invalid: Option<String>,
    /// Its labels, by which Moves mean it.
    pub labels: BTreeMap<String, String>,
    /// What it has to say to its users.
    pub users: Vec<UserNotices>,
    /// The generation of its spec.
    pub generation: Option<i64>,
    uid: Option<Box<str>>,
    /// The hash of its annotations.
    annotations: u64,
    /// What was put down last of its status.
    said: Option<Box<Said>>,
    /// What its own status says, as long as nothing was put down.
    found: Option<Box<Said>>,
}

/// The part of a status that the next one is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    observed_generation: Option<i64>,
    epoch: Option<u64>,
    serial: Option<u64>,
    phase: Option<Box<str>>,
    conditions: Box<[Judged]>,
}

/// A condition's type and status, and since when it has that.
type Judged = (Box<str>, Box<str>, Timestamp);

impl Said {
    fn of(status: &FailoverPolicyStatus) -> Self {
        let conditions = status.conditions.iter();
        Self {
            observed_generation: status.observed_generation,
            epoch: status.epoch,
            serial: status.serial,
            phase: status.phase.as_deref().map(Into::into),
            conditions: conditions
                .map(|c| (c.type_.as_str().into(), c.status.as_str().into(), c.last_transition_time.0))
                .collect(),
        }
    }

    fn status(&self) -> FailoverPolicyStatus {
        let conditions = self.conditions.iter().map(|(kind, status, since)| Condition {
            type_: kind.to_string(),
            status: status.to_string(),
            reason: String::new(),
            message: String::new(),
            observed_generation: self.observed_generation,
            last_transition_time: Time(*since),
        });
        FailoverPolicyStatus {
            observed_generation: self.observed_generation,
            epoch: self.epoch,
            serial: self.serial,
            phase: self.phase.as_deref().map(ToOwned::to_owned),
            conditions: conditions.collect(),
            ..FailoverPolicyStatus::default()
        }
    }
}

impl SeenPolicy {
    /// The object as it is seen for the first time.
    pub fn new(object: FailoverPolicy, invalid: Option<String>) -> Self {
        let FailoverPolicy { metadata, spec, status } = object;
        Self {
            invalid,
            annotations: hash(metadata.annotations.as_ref()),
            labels: metadata.labels.unwrap_or_default(),
            users: spec.notifications.map(|n| n.users).unwrap_or_default(),
            generation: metadata.generation,
            uid: metadata.uid.map(Into::into),
            said: None,
            found: status.as_ref().map(Said::of).map(Box::new),
        }
    }

    /// The same, after what was put down of its status when it was seen before.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        Self { found: self.found.filter(|_| before.said.is_none()), said: before.said, ..self }
    }

    /// Whether a status was put down.
    pub const fn has_said(&self) -> bool {
        self.said.is_some()
    }

    /// This status is put down.
    pub fn say(&mut self, status: &FailoverPolicyStatus) {
        self.said = Some(Box::new(Said::of(status)));
        // What it said before is of no use any more.
        self.found = None;
    }

    /// What is needed of the status, as it is known best, for the next one.
    pub fn status(&self) -> FailoverPolicyStatus {
        self.said.as_ref().or(self.found.as_ref()).map(|said| said.status()).unwrap_or_default()
    }

    /// Whether this is the same object, though perhaps another version of it.
    pub fn is(&self, object: &ObjectMeta) -> bool {
        self.uid.as_deref() == object.uid.as_deref()
    }

    /// Whether another version of the object says the same of what is wanted: every status that is written comes back as a
    /// new version.
    pub fn wants_the_same(&self, object: &ObjectMeta) -> bool {
        let none = BTreeMap::new();
        self.is(object)
            && self.generation.is_some()
            && self.generation == object.generation
            && self.labels == *object.labels.as_ref().unwrap_or(&none)
            && self.annotations == hash(object.annotations.as_ref())
    }

    /// Where its status is written.
    pub fn status_key(&self, key: &PolicyKey) -> StatusKey {
        let uid = self.uid.as_deref().unwrap_or_default();
        StatusKey::named::<FailoverPolicy>(key.namespace.as_str(), key.name.as_str(), uid)
    }

    /// The object, as it is named elsewhere.
    pub fn reference(&self, key: &PolicyKey) -> ObjectReference {
        ObjectReference {
            api_version: Some(FailoverPolicy::api_version(&()).into_owned()),
            kind: Some(FailoverPolicy::kind(&()).into_owned()),
            name: Some(key.name.to_string()),
            namespace: Some(key.namespace.to_string()),
            uid: self.uid.as_deref().map(ToOwned::to_owned),
            ..ObjectReference::default()
        }
    }
}

fn hash(annotations: Option<&BTreeMap<String, String>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    annotations.filter(|all| !all.is_empty()).hash(&mut hasher);
    hasher.finish()
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
        Some(&self.policies.get(key)?.labels)
    }

    /// The place and content of the Move with this hash, if it still exists.
    pub fn move_with(&self, hash: &MoveHash) -> Option<(&(String, String), &SeenMove)> {
        self.moves.iter().find(|(_, m)| m.command.as_ref().is_ok_and(|c| c.command.hash == *hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::policy_status::{self, Newest};
    use crate::wiring::samples::{key, policy, shown, to_lyon};

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
        let seen = SeenPolicy::new(policy("shop", 2), None);
        assert!(seen.wants_the_same(&same));
        for other in [policy("shop", 3).metadata, unlabelled, fetched, replaced, never] {
            assert!(!wants_the_same(&before, &other), "{other:?}");
            assert!(!seen.wants_the_same(&other), "{other:?}");
        }
    }

    #[test]
    fn what_the_next_status_is_made_of_is_kept_of_the_last_one() {
        let (site, now) = ("paris".try_into().unwrap(), Timestamp::from_second(1000).unwrap());
        let newest = Newest { generation: Some(2), invalid: None, unknown_channels: Some(&[]) };
        let first = policy_status::of(&site, &shown(), &FailoverPolicyStatus::default(), newest, now);
        let kept = Said::of(&first).status();
        let later = Timestamp::from_second(2000).unwrap();
        let mut changed = shown();
        changed.report.conditions.iter_mut().for_each(|c| c.status = c.status.map(|is| !is));
        changed.invalid = Some("spec.sites: found one".to_owned());
        for next in [shown(), changed] {
            let whole = policy_status::of(&site, &next, &first, newest, later);
            assert_eq!(policy_status::of(&site, &next, &kept, newest, later), whole);
        }
        assert_eq!((kept.epoch, kept.serial, kept.phase), (first.epoch, first.serial, first.phase));
    }

    #[test]
    fn what_was_put_down_counts_more_than_what_comes_back() {
        let mut seen = SeenPolicy::new(policy("shop", 2), None);
        assert_eq!(seen.status(), FailoverPolicyStatus::default());
        let status =
            |serial| FailoverPolicyStatus { serial: Some(serial), ..FailoverPolicyStatus::default() };
        seen.say(&status(7));
        let older = FailoverPolicy { status: Some(status(6)), ..policy("shop", 2) };
        let again = SeenPolicy::new(older.clone(), None);
        assert_eq!(again.status().serial, Some(6));
        assert_eq!(again.after(seen).status().serial, Some(7));
        assert_eq!(
            SeenPolicy::new(older, None).after(SeenPolicy::new(policy("shop", 2), None)).status().serial,
            Some(6)
        );
    }

    #[test]
    fn of_a_move_hear_the_policies_that_it_means_and_no_others() {
        let mut known = Inner::default();
        for name in ["blog", "shop"] {
            known.policies.insert(key(name), Box::new(SeenPolicy::new(policy(name, 1), None)));
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
