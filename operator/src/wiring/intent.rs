//! From the watches of policies and Moves to what the engine is told that people want.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use bascule_adapters::kube::apply::REVISION_ANNOTATION;
use bascule_adapters::kube::client::Kube;
use bascule_adapters::kube::watch::{Key, Seen, watch};
use bascule_core::name::PolicyKey;
use bascule_crds::{FailoverPolicy, Move};
use bascule_engine::intake::{moves, policy};
use bascule_engine::ports::Intent;
use tokio::sync::mpsc;

use super::objects::{Objects, SeenMove};

/// How many changes of objects may wait: the watch reads on when the engine has taken some.
const WAITING: usize = 256;

/// Watches policies and Moves and tells the engine, until the process ends.
pub async fn follow(kube: Kube, objects: Arc<Objects>, into: mpsc::Sender<Intent>) -> anyhow::Result<()> {
    let (mut policies, policies_worker) =
        watch::<FailoverPolicy>(&kube, &(), WAITING).context("FailoverPolicies cannot be watched")?;
    let (mut moves, moves_worker) = watch::<Move>(&kube, &(), WAITING).context("Moves cannot be watched")?;
    let mut workers = tokio::task::JoinSet::new();
    workers.spawn(policies_worker);
    workers.spawn(moves_worker);
    let (mut policies_listed, mut moves_listed, mut said) = (false, false, false);
    loop {
        let mut told = Vec::new();
        tokio::select! {
            seen = policies.next() => match seen {
                Some(seen) => policies_listed |= take_policies(&objects, seen, &mut told),
                None => anyhow::bail!("the watch of FailoverPolicies has ended"),
            },
            seen = moves.next() => match seen {
                Some(seen) => moves_listed |= take_moves(&objects, seen, &mut told),
                None => anyhow::bail!("the watch of Moves has ended"),
            },
        }
        if policies_listed && moves_listed && !said {
            said = true;
            told.push(Intent::Listed);
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

/// Returns whether everything has been listed.
fn take_policies(objects: &Objects, seen: Seen<FailoverPolicy>, told: &mut Vec<Intent>) -> bool {
    match seen {
        Seen::Applied(object) => {
            apply_policy(objects, *object, told);
            false
        }
        Seen::Unreadable(bad) => {
            unreadable(&bad.key, bad.reason, told);
            false
        }
        Seen::Deleted(key) => {
            if let Some(key) = key_of(&key) {
                objects.lock().policies.remove(&key);
                told.push(Intent::PolicyGone(key));
            }
            false
        }
        Seen::Listed { objects: found, unreadable: bad } => {
            let mut there: BTreeSet<PolicyKey> = found
                .iter()
                .filter_map(|o| {
                    let (ns, name) = (o.metadata.namespace.clone()?, o.metadata.name.clone()?);
                    PolicyKey::new(ns, name).ok()
                })
                .collect();
            there.extend(bad.iter().filter_map(|b| key_of(&b.key)));
            let gone: Vec<PolicyKey> =
                objects.lock().policies.keys().filter(|k| !there.contains(k)).cloned().collect();
            for key in gone {
                objects.lock().policies.remove(&key);
                told.push(Intent::PolicyGone(key));
            }
            for object in found {
                apply_policy(objects, object, told);
            }
            for b in bad {
                unreadable(&b.key, b.reason, told);
            }
            true
        }
    }
}

fn unreadable(key: &Key, reason: String, told: &mut Vec<Intent>) {
    if let Some(policy) = key_of(key) {
        told.push(Intent::Invalid { policy, reason });
    } else {
        tracing::warn!(%key, reason, "a FailoverPolicy cannot be read");
    }
}

fn apply_policy(objects: &Objects, object: FailoverPolicy, told: &mut Vec<Intent>) {
    let revision = object.metadata.annotations.as_ref().and_then(|a| a.get(REVISION_ANNOTATION)).cloned();
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let Ok(key) = PolicyKey::new(namespace, name) else { return };
    let intent = match policy::convert(&object, revision) {
        Ok(policy) => Intent::Policy(Box::new(policy)),
        Err(invalid) => Intent::Invalid { policy: key.clone(), reason: invalid.to_string() },
    };
    let mut known = objects.lock();
    known.policies.insert(key.clone(), object);
    told.push(intent);
    // Labels may have changed, and with them which Moves mean this policy.
    let moves = known.moves_of(&key);
    told.push(Intent::Moves { policy: key, moves });
}

/// Returns whether everything has been listed.
fn take_moves(objects: &Objects, seen: Seen<Move>, told: &mut Vec<Intent>) -> bool {
    let mut known = objects.lock();
    let listed = match seen {
        Seen::Applied(object) => {
            insert_move(&mut known.moves, *object);
            false
        }
        Seen::Unreadable(bad) => {
            tracing::warn!(key = %bad.key, reason = bad.reason, "a Move cannot be read");
            false
        }
        Seen::Deleted(key) => {
            known.moves.remove(&(key.namespace, key.name));
            false
        }
        Seen::Listed { objects: found, unreadable } => {
            for bad in unreadable {
                tracing::warn!(key = %bad.key, reason = bad.reason, "a Move cannot be read");
            }
            known.moves.clear();
            for object in found {
                insert_move(&mut known.moves, object);
            }
            true
        }
    };
    let keys: Vec<PolicyKey> = known.policies.keys().cloned().collect();
    for policy in keys {
        let moves = known.moves_of(&policy);
        told.push(Intent::Moves { policy, moves });
    }
    listed
}

fn insert_move(into: &mut std::collections::BTreeMap<(String, String), SeenMove>, object: Move) {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let command = moves::convert(&object).map_err(|invalid| invalid.to_string());
    if let Err(reason) = &command {
        tracing::warn!(namespace, name, reason, "a Move is not valid and is ignored");
    }
    into.insert((namespace, name), SeenMove { object, command });
}
