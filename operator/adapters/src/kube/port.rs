//! The parts of the engine's `Site` port that this cluster's API server answers: workloads and marks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bascule_core::blocker;
use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::observation::{Fact, FlagValue, Kept, PodsAsked, ReplicasSeen, WorkloadView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate, Step};
use bascule_core::policy::{FlagPlace, Policy, Workload};

use super::client::Kube;
use super::failure::Failure;
use super::flag::{self, Flag, Intake, Position};
use super::ownership::{Contention, Rehearsal};
use super::workload::{self, WorkloadFacts, WorkloadRef};
use super::{marks, own, read_only, verify};

/// How long one pod has to answer the verify probe.
const PER_POD: Duration = Duration::from_millis(500);
/// How long the answer of a dry run is believed. Writes themselves are refused all the same when it no longer holds.
const REHEARSED_FOR: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Rehearsed {
    at: Instant,
    spec: Workload,
    blockers: Vec<Gate>,
}

/// Looks at and changes the workloads of this site's own cluster.
#[derive(Debug)]
pub struct Workloads {
    kube: Kube,
    raising: marks::Raising,
    rehearsed: Mutex<BTreeMap<(PolicyKey, ItemName), Rehearsed>>,
}

impl Workloads {
    /// For the cluster behind `kube`. The handle's deadline holds for each single call.
    pub fn new(kube: Kube) -> Self {
        Self { raising: marks::Raising::new(kube.clone()), kube, rehearsed: Mutex::default() }
    }

    /// Looks at one workload of the policy: its flag, what its pods say, its replicas, and what stands in the way of
    /// changing them. Each is known or not by itself.
    pub async fn look(&self, policy: &Policy, name: &ItemName) -> WorkloadView {
        let Some(spec) = policy.workloads.get(name) else {
            let reason = format!("the policy has no workload {name}");
            return WorkloadView {
                flag: Fact::unknown(&reason),
                effective: Fact::unknown(&reason),
                replicas: Fact::unknown(&reason),
                blockers: Fact::unknown(reason),
            };
        };
        let target = target(policy, spec);
        let (facts, flag) = tokio::join!(workload::observe(&self.kube, &target), self.flag(&target, spec));
        let (effective, blockers) =
            tokio::join!(self.effective(&target, spec, &facts), self.blockers(policy, name, spec, &facts));
        let in_pods = spec.read_only.as_ref().is_some_and(|f| matches!(f.place, FlagPlace::Calls(_)));
        let flag = if in_pods { by_pods(&effective) } else { flag };
        WorkloadView { flag, effective, replicas: replicas(&facts), blockers }
    }

    async fn flag(&self, target: &WorkloadRef, spec: &Workload) -> Fact<FlagValue> {
        let Some(flag) = &spec.read_only else {
            return Fact::unknown("the policy names no read-only flag for it");
        };
        match read_only::observe(&self.kube, target, &flag.place).await {
            Ok(found) => Fact::now(match found.value {
                flag::FlagValue::At(Position::ReadOnly) => FlagValue::ReadOnly,
                flag::FlagValue::At(Position::ReadWrite) => FlagValue::ReadWrite,
                flag::FlagValue::Other => {
                    FlagValue::Other("a value that the policy does not name".to_owned())
                }
                flag::FlagValue::Absent => FlagValue::Missing,
            }),
            // Setting it creates what holds a key, and no workload.
            Err(Failure::Missing { .. }) if flag.place.key().is_some() => Fact::now(FlagValue::Missing),
            Err(failure) => Fact::unknown(failure.to_string()),
        }
    }

    async fn effective(
        &self,
        target: &WorkloadRef,
        spec: &Workload,
        facts: &Result<WorkloadFacts, Failure>,
    ) -> Fact<PodsAsked> {
        let Some(flag) = spec.read_only.as_ref().filter(|flag| flag.is_verified()) else {
            return Fact::unknown("the policy has no readOnly.verify for it, so no pod can be asked");
        };
        let facts = match facts {
            Ok(facts) => facts,
            Err(failure) => return Fact::unknown(failure.to_string()),
        };
        let probe = match (&flag.verify, &flag.place) {
            (Some(probe), _) => probe,
            (None, place @ (FlagPlace::Variable(_) | FlagPlace::Annotation(_))) => {
                let shown = own::shown(&self.kube, target, &facts.selector, &facts.containers, place).await;
                return shown.map_or_else(|failure| Fact::unknown(failure.to_string()), Fact::now);
            }
            (None, FlagPlace::Key(_) | FlagPlace::Calls(_)) => return Fact::unknown("no pod can be asked"),
        };
        match verify::ask(&self.kube, &target.namespace, &facts.selector, probe, PER_POD).await {
            Ok(answers) => Fact::now(PodsAsked {
                pods: count(answers.pods.len()),
                read_only: count(answers.seen()),
                unknown: count(answers.unknown()),
            }),
            Err(failure) => Fact::unknown(failure.to_string()),
        }
    }

    async fn blockers(
        &self,
        policy: &Policy,
        name: &ItemName,
        spec: &Workload,
        facts: &Result<WorkloadFacts, Failure>,
    ) -> Fact<Vec<Gate>> {
        let key = (policy.key.clone(), name.clone());
        if let Some(rehearsed) = self.with(|all| {
            all.retain(|_, rehearsed| rehearsed.at.elapsed() < REHEARSED_FOR);
            let same = all.get(&key).filter(|rehearsed| rehearsed.spec == *spec)?;
            Some(Fact::Known { value: same.blockers.clone(), age: same.at.elapsed() })
        }) {
            return rehearsed;
        }
        let at = Instant::now();
        match self.rehearse(policy, name, spec, facts).await {
            Ok(blockers) => {
                let rehearsed = Rehearsed { at, spec: spec.clone(), blockers: blockers.clone() };
                self.with(|all| all.insert(key, rehearsed));
                Fact::Known { value: blockers, age: at.elapsed() }
            }
            Err(reason) => Fact::unknown(reason),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<(PolicyKey, ItemName), Rehearsed>) -> T) -> T {
        f(&mut self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tries every write that a transition may need, without doing it.
    async fn rehearse(
        &self,
        policy: &Policy,
        name: &ItemName,
        spec: &Workload,
        facts: &Result<WorkloadFacts, Failure>,
    ) -> Result<Vec<Gate>, String> {
        let target = target(policy, spec);
        let mut blockers = Vec::new();
        let facts = match facts {
            Ok(facts) => facts,
            Err(failure @ Failure::Missing { .. }) => {
                return Ok(vec![Gate::new(
                    &format!("workload/{name}/exists"),
                    Answer::No,
                    failure.to_string(),
                    "create it in this site, or take it out of the policy",
                )]);
            }
            Err(failure) => return Err(failure.to_string()),
        };
        if let Some(flag) = &spec.read_only {
            for position in [Position::ReadOnly, Position::ReadWrite] {
                let tried = read_only::rehearse(&self.kube, &target, &flag.place, position).await;
                add(&mut blockers, "readOnlyFlag", name, tried)?;
            }
        }
        for replicas in counts(spec, facts.replicas) {
            let rehearsal = workload::rehearse_replicas(&self.kube, &target, replicas).await;
            add(&mut blockers, "replicas", name, rehearsal)?;
        }
        Ok(blockers)
    }

    /// Does a step on a workload, once. `None`: the step is not about a workload.
    ///
    /// Setting a flag is done only when the kubelet of each pod that mounts it was made to look as well.
    pub async fn perform(&self, policy: &Policy, step: &Step) -> Option<Outcome> {
        let (name, wanted) = match step {
            Step::SetReadOnly { workload, .. } | Step::Scale { workload, .. } => {
                (workload, policy.workloads.get(workload))
            }
            Step::PointTraffic { .. } | Step::RefuseWrites { .. } | Step::VerifyWrite { .. } => return None,
        };
        let Some(spec) = wanted else {
            return Some(Outcome::refused(format!("the policy has no workload {name}")));
        };
        // Whatever was rehearsed, the write changes who owns what.
        self.with(|all| all.remove(&(policy.key.clone(), name.clone())));
        Some(match step {
            Step::SetReadOnly { on, .. } => self.set_flag(policy, name, spec, *on).await,
            Step::Scale { replicas, .. } => {
                workload::set_replicas(&self.kube, &target(policy, spec), *replicas).await
            }
            Step::PointTraffic { .. } | Step::RefuseWrites { .. } | Step::VerifyWrite { .. } => return None,
        })
    }

    async fn set_flag(&self, policy: &Policy, name: &ItemName, spec: &Workload, on: bool) -> Outcome {
        let Some(flag) = &spec.read_only else {
            return Outcome::refused(format!("the policy names no read-only flag for workload {name}"));
        };
        let position = if on { Position::ReadOnly } else { Position::ReadWrite };
        let target = target(policy, spec);
        let FlagPlace::Key(key) = &flag.place else {
            // No kubelet has to look: pods that take it in are replaced.
            return read_only::set(&self.kube, &target, &flag.place, position).await;
        };
        let flag = Flag { namespace: target.namespace.as_str(), spec: key };
        let (set, selector) =
            tokio::join!(flag::set(&self.kube, flag, position), workload::selector(&self.kube, &target));
        if !set.is_done() {
            return set;
        }
        let serial = jiff::Timestamp::now().to_string();
        let refreshed = match selector {
            Ok(selector) => flag::refresh(&self.kube, flag, &selector, &serial).await,
            Err(failure) => Err(failure),
        };
        match refreshed {
            Ok(pods) => told(&pods),
            Err(failure) => slow(&failure.to_string()),
        }
    }

    /// This site's high-water marks. An unreadable one makes all of them unknown: it may be the highest.
    pub async fn marks(&self) -> Result<BTreeMap<PolicyKey, Kept>, String> {
        let stored = marks::read(&self.kube).await.map_err(|failure| failure.to_string())?;
        match stored.unreadable.iter().next() {
            None => Ok(stored.marks),
            Some((key, reason)) => {
                let namespace = self.kube.own_namespace();
                Err(format!("ConfigMap {namespace}/{}: data.{key}: {reason}", marks::MARKS))
            }
        }
    }

    /// Raises a mark; it never falls.
    pub async fn raise_mark(&self, policy: &PolicyKey, kept: &Kept) -> Outcome {
        self.raising.raise(policy, kept).await
    }
}

/// The flag as the pods have it that were asked.
fn by_pods(effective: &Fact<PodsAsked>) -> Fact<FlagValue> {
    match effective {
        Fact::Known { value, age } => Fact::Known { value: value.flag(), age: *age },
        Fact::Unknown { reason } => Fact::unknown(reason.clone()),
    }
}

fn target(policy: &Policy, spec: &Workload) -> WorkloadRef {
    WorkloadRef::new(policy.key.namespace.as_str(), spec.kind, spec.name.as_str())
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn replicas(facts: &Result<WorkloadFacts, Failure>) -> Fact<ReplicasSeen> {
    match facts {
        Ok(facts) => Fact::now(ReplicasSeen {
            wanted: u32::try_from(facts.replicas).unwrap_or(0),
            // Counts that belong to an older spec say nothing about this one.
            ready: if facts.observed_generation < facts.generation {
                0
            } else {
                u32::try_from(facts.ready).unwrap_or(0)
            },
        }),
        Err(failure) => Fact::unknown(failure.to_string()),
    }
}

/// The replica counts to try: those of the policy's roles that differ from the present one. A number that is there
/// already conflicts with nobody, so when none differs some other number is tried.
fn counts(spec: &Workload, now: i32) -> BTreeSet<u32> {
    let roles = [spec.replicas.active, spec.replicas.standby, spec.replicas.read_only];
    if roles.iter().all(Option::is_none) {
        return BTreeSet::new();
    }
    let now = u32::try_from(now).unwrap_or(0);
    let different: BTreeSet<u32> = roles.into_iter().flatten().filter(|n| *n != now).collect();
    if different.is_empty() { [now.saturating_add(1)].into() } else { different }
}

fn add(blockers: &mut Vec<Gate>, what: &str, name: &ItemName, rehearsal: Rehearsal) -> Result<(), String> {
    let (gate, found, needed) = match rehearsal {
        Rehearsal::Possible => return Ok(()),
        Rehearsal::Unknown { reason } => return Err(reason),
        Rehearsal::Contended { contentions } => {
            let found: Vec<String> = contentions.iter().map(Contention::to_string).collect();
            let lines: Vec<&str> =
                contentions.iter().flat_map(|c| c.release.iter().map(String::as_str)).collect();
            (blocker::contended(name, what), found.join("; "), lines.join("\n"))
        }
        Rehearsal::Refused { reason } => {
            let needed = "a write that this site's API server accepts".to_owned();
            (format!("workload/{name}/{what}"), reason, needed)
        }
    };
    // Several values may meet the same owner; it is told once.
    if !blockers.iter().any(|g| g.name == gate && g.found == found) {
        blockers.push(Gate::new(&gate, Answer::No, found, needed));
    }
    Ok(())
}

/// The outcome of a flag that is set, by what became of its pods.
fn told(pods: &[flag::Refreshed]) -> Outcome {
    let stuck: Vec<&str> = pods
        .iter()
        .filter(|pod| matches!(pod.intake, Intake::SubPath | Intake::Environment))
        .map(|pod| pod.pod.as_str())
        .collect();
    if !stuck.is_empty() {
        return Outcome::unknown(format!(
            "the flag is set, but these pods take it in by subPath or environment and see it only after a restart: {}",
            stuck.join(", ")
        ));
    }
    let missed = pods.iter().find_map(|pod| match &pod.touched {
        Some(Outcome::Unknown { reason } | Outcome::Refused { reason }) => Some(reason),
        Some(Outcome::Done) | None => None,
    });
    missed.map_or(Outcome::Done, |reason| slow(reason))
}

fn slow(reason: &str) -> Outcome {
    Outcome::unknown(format!("the flag is set, but pods may see it a minute or two later: {reason}"))
}
