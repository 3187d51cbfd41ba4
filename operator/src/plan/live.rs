//! What the cluster of one site knows: policies and Moves in force, what its operator says of them, and the workloads
//! that stand there.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use bascule_adapters::kube::flag;
use bascule_adapters::kube::workload::{self, WorkloadRef};
use bascule_adapters::kube::{Kube, apply, read_only};
use bascule_core::name::{ItemName, Namespace, PolicyKey, SiteName};
use bascule_core::observation::FlagValue;
use bascule_core::policy::Policy;
use bascule_crds::{FailoverPolicy, FailoverPolicyStatus, Move};
use bascule_engine::intake::{moves, policy};
use bascule_sim::rehearsal::Seen;
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;

use super::state::{Before, Removes, SeenMove, State};
use crate::telling::{Progress, SILENT_FOR};
use crate::why::ask::{self, Cluster};
use crate::why::beats::Beats;
use crate::why::explain::{Explanation, explain};

/// What the cluster says of one policy.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its status; empty, when no operator has written one.
    pub status: FailoverPolicyStatus,
    /// What it means by now.
    pub explanation: Explanation,
    /// Workloads of this site as they stand.
    pub seen: BTreeMap<(SiteName, ItemName), Seen>,
    /// What could not be looked at, in sentences.
    pub unseen: Vec<String>,
}

impl Live {
    /// The site whose operator wrote the status.
    pub fn site(&self) -> Option<SiteName> {
        SiteName::try_from(self.status.site.as_deref()?).ok()
    }
}

/// Asks a cluster for everything in a namespace; `whole`: FILE is a directory, so that what came from git and is not in
/// it is removed.
pub async fn read(
    cluster: &Cluster,
    after: &State,
    namespace: &Namespace,
    whole: bool,
) -> anyhow::Result<Before> {
    let mut progress = Progress::of(&cluster.place().to_string());
    let asking = ask(cluster, after, namespace, whole);
    tokio::pin!(asking);
    loop {
        match tokio::time::timeout(SILENT_FOR, &mut asking).await {
            Ok(answer) => {
                progress.ends();
                return answer;
            }
            Err(_) => progress.is_at("asking"),
        }
    }
}

async fn ask(cluster: &Cluster, after: &State, namespace: &Namespace, whole: bool) -> anyhow::Result<Before> {
    let (policies, moves) = cluster.intent(namespace.as_str()).await?;
    let words = cluster.place().to_string();
    let now = Timestamp::now();
    let mut before = Before { words: words.clone(), ..Before::default() };
    let (mut gone, mut beats) = (std::collections::BTreeSet::new(), Beats::default());
    for object in policies {
        let name = object.metadata.name.clone().unwrap_or_default();
        let key = PolicyKey::new(namespace.as_str(), &name).with_context(|| words.clone())?;
        let concerns = concerns(after, &key, &object);
        let sourced = object.metadata.annotations.as_ref();
        let sourced = sourced.is_some_and(|a| a.contains_key(apply::SOURCE_ANNOTATION));
        if whole && sourced && !after.policies.contains_key(&key) {
            gone.insert(key.clone());
        } else if !concerns {
            continue;
        }
        let mut seen = ask::seen(object.clone());
        beats.add(cluster.kube(), &mut seen).await;
        let typed: FailoverPolicy = typed(object, &words, &format!("the policy {key}"))?;
        let policy = policy::convert(&typed, None)
            .with_context(|| format!("{words}: the policy {key} as it is in force cannot be used"))?;
        let live = of(cluster.kube(), &seen, &policy, now).await;
        before.live.insert(key.clone(), live);
        before.state.policies.insert(key, typed);
    }
    for object in moves {
        let name = object.metadata.name.clone().unwrap_or_default();
        let typed: Move = typed(object, &words, &format!("the Move {name}"))?;
        // One that is not valid is never acted on; its status says so.
        if let Ok(command) = moves::convert(&typed) {
            let place = format!("{words}: Move {name}");
            before.state.moves.insert(name, SeenMove { command, place });
        }
    }
    before.removes = if gone.is_empty() { Removes::Nothing } else { Removes::These(gone) };
    Ok(before)
}

/// Whether FILE says anything about a policy.
fn concerns(after: &State, key: &PolicyKey, object: &DynamicObject) -> bool {
    let labels = object.metadata.labels.clone().unwrap_or_default();
    after.policies.contains_key(key) || after.moves.values().any(|m| m.command.target.covers(key, &labels))
}

fn typed<T: DeserializeOwned>(object: DynamicObject, place: &str, what: &str) -> anyhow::Result<T> {
    let value = serde_json::to_value(object).with_context(|| what.to_owned())?;
    match serde_json::from_value(value) {
        Ok(typed) => Ok(typed),
        Err(why) => {
            bail!(
                "{place}: {what} has a shape that this program does not know: {why}; use the `bascule` of the operator's version"
            )
        }
    }
}

async fn of(kube: &Kube, seen: &crate::why::explain::Seen, policy: &Policy, now: Timestamp) -> Live {
    let explanation = explain(seen, now);
    let status = seen.status.clone().ok().flatten().unwrap_or_default();
    let mut live = Live { status, explanation, seen: BTreeMap::new(), unseen: Vec::new() };
    let Some(site) = live.site() else { return live };
    let kube = kube.within(LOOK);
    for (item, wanted) in &policy.workloads {
        let namespace = policy.key.namespace.as_str();
        let reference = WorkloadRef::new(namespace, wanted.kind, wanted.name.as_str());
        let mut found = Seen::default();
        match workload::observe(&kube, &reference).await {
            Ok(facts) => found.replicas = u32::try_from(facts.replicas).ok(),
            Err(why) => live.unseen.push(format!("replicas of {item} at {site}: unknown ({why})")),
        }
        if let Some(spec) = &wanted.read_only {
            match read_only::observe(&kube, &reference, &spec.place).await {
                Ok(facts) => found.flag = Some(value(facts.value)),
                Err(why) => {
                    live.unseen.push(format!("the read-only flag of {item} at {site}: unknown ({why})"));
                }
            }
        }
        live.seen.insert((site.clone(), item.clone()), found);
    }
    live
}

/// How long one look at a workload may take.
const LOOK: Duration = Duration::from_secs(3);

fn value(found: flag::FlagValue) -> FlagValue {
    match found {
        flag::FlagValue::At(flag::Position::ReadOnly) => FlagValue::ReadOnly,
        flag::FlagValue::At(flag::Position::ReadWrite) => FlagValue::ReadWrite,
        flag::FlagValue::Other => FlagValue::Other("another value".to_owned()),
        flag::FlagValue::Absent => FlagValue::Missing,
    }
}
