//! From the watches of policies and Moves to what the engine is told that people want.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use bascule_adapters::kube::apply::REVISION_ANNOTATION;
use bascule_adapters::kube::client::Kube;
use bascule_adapters::kube::status::{StatusDesk, StatusKey};
use bascule_adapters::kube::watch::{Key, Seen, Unreadable, Within, speaks_of, watch_within};
use bascule_core::name::PolicyKey;
use bascule_crds::{FailoverPolicy, Move};
use bascule_engine::intake::{moves, policy};
use bascule_engine::ports::Intent;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::objects::{Inner, Objects, SeenMove, SeenPolicy, wants_the_same};
use super::{move_status, unreadable};
use crate::metrics::Metrics;

/// How many changes of objects may wait: the watch reads on when the engine has taken some.
const WAITING: usize = 256;

/// Who has to know which objects there are.
pub struct Followed {
    /// This site's cluster.
    pub kube: Kube,
    /// In which namespaces objects are seen.
    pub within: Within,
    /// The objects, for those who write their status.
    pub objects: Arc<Objects>,
    /// Where status is put down.
    pub desk: StatusDesk,
    /// The series of policies.
    pub metrics: Arc<Metrics>,
    /// Whether this replica acts: one that stands by writes no status.
    pub acting: watch::Receiver<bool>,
}

/// Watches policies and Moves and tells the engine, until the process ends.
pub async fn follow(followed: Followed, into: mpsc::Sender<Intent>) -> anyhow::Result<()> {
    let (kube, within) = (&followed.kube, &followed.within);
    let (mut policies, policies_worker) = watch_within::<FailoverPolicy>(kube, within, WAITING)
        .context("FailoverPolicies cannot be watched")?;
    let (mut moves, moves_worker) =
        watch_within::<Move>(kube, within, WAITING).context("Moves cannot be watched")?;
    let mut workers = tokio::task::JoinSet::new();
    workers.spawn(policies_worker);
    workers.spawn(moves_worker);
    let mut said = false;
    let mut acting = followed.acting.clone();
    // What is to be said of unreadable Moves as soon as this replica acts.
    let mut unsaid: BTreeMap<String, Unreadable> = BTreeMap::new();
    loop {
        let mut told = Vec::new();
        tokio::select! {
            seen = policies.next() => match seen {
                Some(seen) => followed.take_policies(seen, &mut told),
                None => anyhow::bail!("the watch of FailoverPolicies has ended"),
            },
            seen = moves.next() => match seen {
                Some(seen) => {
                    match &seen {
                        Seen::Applied(object) => {
                            let (namespace, name) = place_of(object);
                            unsaid.remove(&format!("{namespace}/{name}"));
                        }
                        Seen::Deleted(key) => {
                            unsaid.remove(&key.to_string());
                        }
                        Seen::Listed { of, .. } => {
                            unsaid.retain(|_, bad| !speaks_of(of.as_deref(), &bad.key.namespace));
                        }
                        Seen::Unreadable(_) => {}
                    }
                    for bad in unreadable_of(&seen) {
                        unsaid.insert(bad.key.to_string(), bad.clone());
                    }
                    followed.take_moves(seen, &mut told);
                }
                None => anyhow::bail!("the watch of Moves has ended"),
            },
            Ok(()) = acting.changed() => {}
        }
        let acts = *acting.borrow_and_update();
        if acts {
            for (_, bad) in std::mem::take(&mut unsaid) {
                unreadable::say::<Move>(kube, &followed.desk, &bad).await;
            }
        }
        if policies.everything_listed() && moves.everything_listed() {
            // Not earlier: a policy that was not listed yet is not absent.
            if acts {
                followed.say_unmet();
            }
            if !said {
                said = true;
                told.push(Intent::Listed);
            }
        }
        for intent in told {
            if into.send(intent).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn key_of(key: &Key) -> Option<PolicyKey> {
    PolicyKey::new(key.namespace.clone(), key.name.clone()).ok()
}

fn unreadable_of<K>(seen: &Seen<K>) -> &[Unreadable] {
    match seen {
        Seen::Unreadable(bad) => std::slice::from_ref(bad),
        Seen::Listed { unreadable, .. } => unreadable,
        Seen::Applied(_) | Seen::Deleted(_) => &[],
    }
}

impl Followed {
    fn take_policies(&self, seen: Seen<FailoverPolicy>, told: &mut Vec<Intent>) {
        match seen {
            Seen::Applied(object) => self.apply_policy(*object, told),
            Seen::Unreadable(bad) => self.unreadable_policy(&bad.key, bad.reason, told),
            Seen::Deleted(key) => {
                if let Some(key) = key_of(&key) {
                    self.policy_gone(key, told);
                }
            }
            Seen::Listed { of, objects: found, unreadable: bad } => {
                let mut there: BTreeSet<PolicyKey> = found
                    .iter()
                    .filter_map(|o| {
                        let (ns, name) = (o.metadata.namespace.clone()?, o.metadata.name.clone()?);
                        PolicyKey::new(ns, name).ok()
                    })
                    .collect();
                there.extend(bad.iter().filter_map(|b| key_of(&b.key)));
                let meant = |key: &&PolicyKey| speaks_of(of.as_deref(), key.namespace.as_str());
                let gone: Vec<PolicyKey> = {
                    let known = self.objects.lock();
                    known.policies.keys().filter(meant).filter(|k| !there.contains(k)).cloned().collect()
                };
                for key in gone {
                    self.policy_gone(key, told);
                }
                for object in found {
                    self.apply_policy(object, told);
                }
                for b in bad {
                    self.unreadable_policy(&b.key, b.reason, told);
                }
            }
        }
    }

    fn unreadable_policy(&self, key: &Key, reason: String, told: &mut Vec<Intent>) {
        let Some(policy) = key_of(key) else {
            tracing::warn!(%key, reason, "a FailoverPolicy cannot be read");
            return;
        };
        if let Some(seen) = self.objects.lock().policies.get_mut(&policy) {
            seen.invalid = Some(reason.clone());
        }
        told.push(Intent::Invalid { policy, reason });
    }

    fn policy_gone(&self, key: PolicyKey, told: &mut Vec<Intent>) {
        let gone = self.objects.lock().policies.remove(&key);
        if let Some(gone) = gone {
            self.desk.forget(&gone.status_key(&key));
        }
        self.metrics.forget(&key);
        told.push(Intent::PolicyGone(key));
    }

    fn apply_policy(&self, object: FailoverPolicy, told: &mut Vec<Intent>) {
        let revision = object.metadata.annotations.as_ref().and_then(|a| a.get(REVISION_ANNOTATION)).cloned();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let Ok(key) = PolicyKey::new(namespace, name) else { return };
        let mut known = self.objects.lock();
        let before = known.policies.remove(&key);
        // An invalid one is told again whenever it comes: what was wrong with it may have lain in what is not compared.
        let echo = |b: &SeenPolicy| b.invalid.is_none() && b.wants_the_same(&object.metadata);
        let before = match before {
            Some(before) if echo(&before) => {
                if before.has_said() && object.status.is_none() {
                    // Somebody has taken it away.
                    told.push(Intent::ShowAgain(key.clone()));
                }
                known.policies.insert(key, Box::new(SeenPolicy::new(object, None).after(*before)));
                return;
            }
            before => before,
        };
        let (before, another): (Option<_>, Option<_>) = match before {
            Some(before) if before.is(&object.metadata) => (Some(before), None),
            another => (None, another),
        };
        if let Some(another) = &another {
            self.desk.forget(&another.status_key(&key));
        }
        let (intent, invalid) = match policy::convert(&object, revision) {
            Ok(policy) => (Intent::Policy(Box::new(policy)), None),
            Err(invalid) => {
                let reason = invalid.to_string();
                (Intent::Invalid { policy: key.clone(), reason: reason.clone() }, Some(reason))
            }
        };
        let mut seen = SeenPolicy::new(object, invalid);
        if let Some(before) = before {
            seen = seen.after(*before);
        }
        known.policies.insert(key.clone(), Box::new(seen));
        told.push(intent);
        if another.is_some() {
            told.push(Intent::ShowAgain(key.clone()));
        }
        // Labels may have changed, and with them which Moves mean this policy.
        let moves = known.moves_of(&key);
        told.push(Intent::Moves { policy: key, moves });
    }

    fn take_moves(&self, seen: Seen<Move>, told: &mut Vec<Intent>) {
        let mut known = self.objects.lock();
        // Whose Move was replaced by another one of its name, which has no status yet, whatever it says.
        let mut replaced = BTreeSet::new();
        let keys = match seen {
            Seen::Applied(object) => {
                let place = place_of(&object);
                let before = known.moves.get(&place).map(|seen| &seen.object.metadata);
                let news = before.is_none_or(|before| !wants_the_same(before, &object.metadata));
                let another = before.is_some_and(|before| before.uid != object.metadata.uid);
                let mut meant = known.policies_meant_at(&place);
                self.insert_move(&mut known, *object);
                meant.extend(known.policies_meant_at(&place));
                if another {
                    replaced.clone_from(&meant);
                }
                if news { meant } else { BTreeSet::new() }
            }
            Seen::Unreadable(_) => BTreeSet::new(),
            Seen::Deleted(key) => {
                let place = (key.namespace, key.name);
                let meant = known.policies_meant_at(&place);
                self.move_gone(&mut known, &place);
                meant
            }
            Seen::Listed { of, objects: found, .. } => {
                let there: BTreeSet<(String, String)> = found.iter().map(place_of).collect();
                let meant = |place: &&(String, String)| speaks_of(of.as_deref(), &place.0);
                let gone: Vec<_> =
                    known.moves.keys().filter(meant).filter(|k| !there.contains(*k)).cloned().collect();
                for place in gone {
                    self.move_gone(&mut known, &place);
                }
                for object in found {
                    let (place, uid) = (place_of(&object), object.metadata.uid.clone());
                    let another = known.moves.get(&place).is_some_and(|m| m.object.metadata.uid != uid);
                    self.insert_move(&mut known, object);
                    if another {
                        replaced.extend(known.policies_meant_at(&place));
                    }
                }
                // A Move is for policies of its own namespace.
                let of_it = |key: &&PolicyKey| speaks_of(of.as_deref(), key.namespace.as_str());
                known.policies.keys().filter(of_it).cloned().collect()
            }
        };
        for policy in keys {
            let moves = known.moves_of(&policy);
            let again = replaced.contains(&policy).then(|| Intent::ShowAgain(policy.clone()));
            told.push(Intent::Moves { policy, moves });
            told.extend(again);
        }
    }

    fn move_gone(&self, known: &mut Inner, place: &(String, String)) {
        if let Some(gone) = known.moves.remove(place) {
            self.desk.forget(&StatusKey::of(&gone.object));
        }
    }

    fn insert_move(&self, known: &mut Inner, object: Move) {
        let place = place_of(&object);
        if known.moves.get(&place).is_some_and(|m| m.object.metadata.uid != object.metadata.uid) {
            self.move_gone(known, &place);
        }
        let said = known.moves.remove(&place).and_then(|before| before.said);
        let command = moves::convert(&object).map_err(|invalid| invalid.to_string());
        if let (Err(reason), None) = (&command, &said) {
            tracing::warn!(namespace = place.0, name = place.1, reason, "a Move is not valid and is ignored");
        }
        known.moves.insert(place, SeenMove { object, command, said });
    }

    /// Says of each Move that no policy here speaks of why that is.
    fn say_unmet(&self) {
        let mut known = self.objects.lock();
        let now = Timestamp::now();
        let unmet: Vec<_> = known
            .moves
            .iter()
            // Of all Moves of all years only those that have not ended are looked at.
            .filter(|(_, seen)| !seen.state().is_some_and(move_status::ended))
            .filter_map(|(place, seen)| {
                let meant = seen.command.as_ref().map(|c| known.policies_of(c)).unwrap_or_default();
                Some((place.clone(), move_status::unmet(seen, &meant, now)?))
            })
            .collect();
        for (place, status) in unmet {
            let Some(seen) = known.moves.get_mut(&place) else { continue };
            let put = serde_json::to_value(&status).map_err(|e| e.to_string()).and_then(|value| {
                self.desk.put(&StatusKey::of(&seen.object), value).map_err(|e| e.to_string())
            });
            if let Err(why) = put {
                tracing::warn!(
                    namespace = place.0,
                    name = place.1,
                    why,
                    "the status of a Move was not taken"
                );
            }
            seen.said = Some(status);
        }
    }
}

fn place_of(object: &Move) -> (String, String) {
    (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}
