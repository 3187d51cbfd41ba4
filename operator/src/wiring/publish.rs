//! From what the engine shows to the status of policies and Moves, to metrics and Events.

use std::sync::Arc;

use async_trait::async_trait;
use bascule_adapters::kube::event::{Teller, Telling, Weight};
use bascule_adapters::kube::status::{StatusDesk, StatusKey};
use bascule_adapters::site::Publisher;
use bascule_core::guard::wire::ServerState;
use bascule_core::moves::MoveEnd;
use bascule_core::name::SiteName;
use bascule_core::observation::{Fact, FlagValue};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::FenceClass;
use bascule_core::record::{Cause, Phase, Record, Transition};
use bascule_core::time::{Millis, human};
use bascule_crds as api;
use bascule_crds::conditions as kinds;
use bascule_engine::ports::Shown;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use super::conditions::Set;
use super::objects::Objects;
use crate::metrics::{GateLabels, Metrics, PolicyLabels};

/// Writes status, metrics and Events.
pub struct StatusPublisher {
    /// This site.
    pub site: SiteName,
    /// The objects whose status is written.
    pub objects: Arc<Objects>,
    /// Where status is put down.
    pub desk: StatusDesk,
    /// Where Events are told.
    pub teller: Teller,
    /// The operator's metrics.
    pub metrics: Arc<Metrics>,
}

#[async_trait]
impl Publisher for StatusPublisher {
    async fn publish(&self, shown: Shown) -> Outcome {
        self.count(&shown);
        let object = self.objects.lock().policies.get(&shown.key).cloned();
        let Some(object) = object else { return Outcome::Done };
        let old = object.status.clone().unwrap_or_default();
        let status = self.status(&shown, &old, object.metadata.generation);
        if old.serial != status.serial || old.phase != status.phase {
            self.tell(&object, &shown);
        }
        let key = StatusKey::of(&object);
        self.remember(&shown, &status);
        if let Err(reason) = self.put(key, &status) {
            return Outcome::Refused { reason };
        }
        self.publish_moves(&shown)
    }
}

impl StatusPublisher {
    fn put<S: serde::Serialize>(&self, key: StatusKey, status: &S) -> Result<(), String> {
        let value = serde_json::to_value(status).map_err(|e| e.to_string())?;
        self.desk.put(key, value).map_err(|e| e.to_string())
    }

    /// The object in hand keeps the status that was put down, so that times of conditions go on from it.
    fn remember(&self, shown: &Shown, status: &api::FailoverPolicyStatus) {
        if let Some(object) = self.objects.lock().policies.get_mut(&shown.key) {
            object.status = Some(status.clone());
        }
    }

    fn count(&self, shown: &Shown) {
        let labels =
            PolicyLabels { namespace: shown.key.namespace.to_string(), policy: shown.key.name.to_string() };
        if let Some(record) = &shown.record {
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            self.metrics.epoch.get_or_create(&labels).set(number(record.epoch));
            self.metrics.serial.get_or_create(&labels).set(number(record.serial));
            self.metrics.active.get_or_create(&labels).set(i64::from(record.active == self.site));
        }
        for gate in shown.plan.gates.iter().chain(&shown.plan.blockers) {
            let labels = GateLabels {
                namespace: labels.namespace.clone(),
                policy: labels.policy.clone(),
                gate: gate.name.clone(),
            };
            self.metrics.blocked.get_or_create(&labels).set(i64::from(!gate.passed()));
        }
    }

    fn tell(&self, object: &api::FailoverPolicy, shown: &Shown) {
        let Some(record) = &shown.record else { return };
        let weight = match record.phase {
            Phase::ReadOnly | Phase::Offered | Phase::Withdrawn => Weight::Warning,
            _ => Weight::Normal,
        };
        self.teller.tell(Telling {
            about: object.object_ref(&()),
            weight,
            reason: record.phase.name().to_owned(),
            action: "Reconcile".to_owned(),
            note: shown.plan.summary.clone(),
        });
    }

    fn status(
        &self,
        shown: &Shown,
        old: &api::FailoverPolicyStatus,
        generation: Option<i64>,
    ) -> api::FailoverPolicyStatus {
        let record = shown.record.as_ref();
        let mut gates: Vec<api::GateStatus> = Vec::new();
        for gate in shown.plan.gates.iter().chain(&shown.plan.blockers).take(64) {
            if !gates.iter().any(|g| g.name == gate.name) {
                gates.push(gate_status(gate));
            }
        }
        let message = shown
            .invalid
            .clone()
            .or_else(|| shown.trouble.clone())
            .unwrap_or_else(|| shown.plan.summary.clone());
        api::FailoverPolicyStatus {
            observed_generation: generation,
            message: Some(message),
            active_site: record.map(|r| r.active.to_string()),
            epoch: record.map(|r| r.epoch),
            serial: record.map(|r| r.serial),
            phase: Some(record.map_or_else(|| "NoRecord".to_owned(), |r| r.phase.to_string())),
            lag: Some(lag(shown)),
            fence: record.map(|r| fence(r.promise.fence_class)),
            revision: shown.policy.as_ref().and_then(|p| p.revision.clone()),
            spec_hash: shown.policy.as_ref().map(|p| p.spec_hash.clone()),
            held_until: record.and_then(|r| r.hold.as_ref()).map(|h| Time(h.until)),
            conditions: self.conditions(shown, old, generation),
            gates,
            sites: self.sites(shown),
            last_transition: record
                .and_then(|r| r.transition.as_ref().or(r.history.first()))
                .map(|t| last(t, record)),
            history: record.map(|r| r.history.iter().map(line).collect()).unwrap_or_default(),
            moves: record.map(|r| r.moves.iter().take(20).map(verdict).collect()).unwrap_or_default(),
        }
    }

    fn sites(&self, shown: &Shown) -> Vec<api::SiteStatus> {
        let Some(policy) = &shown.policy else { return Vec::new() };
        let active = shown.record.as_ref().map(|r| &r.active);
        let class = policy.databases.values().map(|d| d.fence).min();
        let row = |site: &SiteName| {
            let mine = *site == self.site;
            let facts = shown.seen.sites.get(site).and_then(Fact::value);
            let blockers = if mine { Some(&shown.plan.blockers) } else { facts.map(|f| &f.blockers) };
            let lives = if mine { Some(true) } else { shown.lives.get(site).copied().flatten() };
            let role = if mine { own_role(shown) } else { None };
            api::SiteStatus {
                name: site.to_string(),
                role: role.or_else(|| {
                    Some(if lives == Some(false) { "Unknown" } else { other_role(site, active) }.to_owned())
                }),
                promotable: (active != Some(site))
                    .then(|| blockers.map(Vec::is_empty))
                    .flatten()
                    .filter(|_| lives == Some(true)),
                reason: match (lives, blockers.and_then(|b| b.first())) {
                    (Some(false), _) => Some("its lease is not renewed".to_owned()),
                    (_, Some(gate)) => Some(gate.words()),
                    _ => None,
                },
                spec_hash: if mine {
                    Some(policy.spec_hash.clone())
                } else {
                    facts.and_then(|f| f.spec_hash.clone())
                },
                revision: if mine { policy.revision.clone() } else { facts.and_then(|f| f.revision.clone()) },
                lag: facts
                    .and_then(|f| f.lag_bytes.values().max())
                    .map(|b| api::Lag { bytes: Some(*b), report_age_ms: None }),
                fence_class: class.map(fence),
                fence_does_not_cover: class.map(|c| c.does_not_cover().to_owned()),
                age: if mine { None } else { shown.seen.sites.get(site).and_then(Fact::age).map(human) },
            }
        };
        policy.sites.iter().map(row).collect()
    }

    fn conditions(
        &self,
        shown: &Shown,
        old: &api::FailoverPolicyStatus,
        generation: Option<i64>,
    ) -> Vec<kinds::Condition> {
        let mut set = Set::new(&old.conditions, generation, Timestamp::now());
        match &shown.invalid {
            Some(why) => set.put(kinds::ACCEPTED, Some(false), "Invalid", why),
            None => set.put(kinds::ACCEPTED, Some(true), "Valid", "the spec is valid"),
        }
        let phase = shown.record.as_ref().map(|r| &r.phase);
        let summary = &shown.plan.summary;
        let steady = matches!(phase, Some(Phase::Steady | Phase::Unmanaged));
        let refused = shown.plan.gates.iter().find(|g| g.answer == Answer::No && !steady);
        match (&shown.invalid, &shown.trouble) {
            (Some(why), _) => {
                set.put(kinds::READY, Some(false), "Invalid", why);
                set.put(kinds::STALLED, Some(true), "Invalid", why);
            }
            (None, Some(why)) => set.put(kinds::READY, None, "ArbiterUnreachable", why),
            (None, None) if steady => {
                set.put(kinds::READY, Some(true), phase.map_or("Steady", |p| p.name()), summary);
            }
            (None, None) => {
                set.put(kinds::READY, Some(false), phase.map_or("NoRecord", |p| p.name()), summary);
                match refused {
                    Some(gate) => set.put(kinds::STALLED, Some(true), "Blocked", &gate.words()),
                    None => set.put(
                        kinds::RECONCILING,
                        Some(true),
                        phase.map_or("NoRecord", |p| p.name()),
                        summary,
                    ),
                }
            }
        }
        let silent: Vec<String> = shown
            .lives
            .iter()
            .filter(|(_, l)| **l == Some(false))
            .map(|(site, _)| site.to_string())
            .collect();
        let unknown = shown.lives.values().any(Option::is_none);
        match (silent.is_empty(), unknown) {
            (true, false) => {
                set.put(kinds::SITES_REACHABLE, Some(true), "AllRenew", "every site renews its lease");
            }
            (true, true) => {
                set.put(kinds::SITES_REACHABLE, None, "NotRead", "a site's lease was not read yet");
            }
            (false, _) => set.put(
                kinds::SITES_REACHABLE,
                Some(false),
                "Silent",
                &format!("silent: {}", silent.join(", ")),
            ),
        }
        self.replication(shown, &mut set);
        effects(shown, &mut set);
        possible(shown, &self.site, &mut set);
        set.done()
    }

    fn replication(&self, shown: &Shown, set: &mut Set<'_>) {
        let Some(policy) = &shown.policy else { return };
        if policy.databases.is_empty() || shown.record.as_ref().is_none_or(|r| r.active == self.site) {
            let others: Vec<String> = shown
                .seen
                .sites
                .iter()
                .filter_map(|(site, f)| {
                    f.value().filter(|f| f.lag_bytes.is_empty()).map(|_| site.to_string())
                })
                .collect();
            let healthy = others.is_empty();
            let message = if healthy {
                "every standby reports its lag".to_owned()
            } else {
                format!("no lag reported by {}", others.join(", "))
            };
            return set.put(
                kinds::REPLICATION_HEALTHY,
                healthy.then_some(true),
                if healthy { "Streaming" } else { "NotReported" },
                &message,
            );
        }
        let broken: Vec<String> = policy
            .databases
            .keys()
            .filter(|name| {
                let report = shown.seen.databases.get(*name).and_then(|d| d.guard.value());
                let upstream = report.and_then(|r| r.positions.as_ref()).and_then(|p| p.upstream.as_ref());
                upstream.is_none_or(|u| u.status != "streaming")
            })
            .map(ToString::to_string)
            .collect();
        if broken.is_empty() {
            set.put(kinds::REPLICATION_HEALTHY, Some(true), "Streaming", "every replica here streams");
        } else {
            set.put(
                kinds::REPLICATION_HEALTHY,
                Some(false),
                "NotStreaming",
                &format!("not streaming: {}", broken.join(", ")),
            );
        }
    }

    fn publish_moves(&self, shown: &Shown) -> Outcome {
        let Some(record) = &shown.record else { return Outcome::Done };
        for mv in &shown.moves {
            let Some(object) = self.objects.lock().move_with(&mv.hash).cloned() else { continue };
            let (state, message) = match record.verdict(&mv.hash) {
                Some(v) => (end(v.end), v.message.clone()),
                None if record.doing.as_ref().is_some_and(|d| d.hash == mv.hash) => {
                    (api::MoveState::Requested, format!("in progress: {}", record.phase))
                }
                None => (api::MoveState::Pending, "not acted on yet".to_owned()),
            };
            let waiting = shown.plan.gates.iter().find(|g| g.name == format!("move/{}", mv.name));
            let message = waiting.map_or(message, Gate::words);
            let status = super::move_status::of(&object, state, &message, &shown.key, &self.site);
            if let Err(reason) = self.put(StatusKey::of(&object), &status) {
                return Outcome::Refused { reason };
            }
        }
        Outcome::Done
    }
}

/// The furthest that a replica is behind, as this site and the others know it.
fn lag(shown: &Shown) -> String {
    let own: Vec<u64> = shown
        .seen
        .databases
        .values()
        .filter_map(|d| {
            let p = d.guard.value()?.positions.as_ref()?;
            let end = p.upstream.as_ref()?.reported_end.max(p.receive)?;
            Some(end.ahead_of(p.replay?))
        })
        .collect();
    let others =
        shown.seen.sites.values().filter_map(Fact::value).flat_map(|f| f.lag_bytes.values().copied());
    own.into_iter().chain(others).max().map_or_else(|| "Unknown".to_owned(), bytes)
}

fn own_role(shown: &Shown) -> Option<String> {
    let states: Vec<&ServerState> =
        shown.seen.databases.values().filter_map(|d| d.guard.value()).map(|r| &r.state).collect();
    let words = |s: &ServerState| match s {
        ServerState::Primary { .. } => "Primary",
        ServerState::Standby { .. } => "Standby",
        ServerState::Down | ServerState::Failed { .. } => "Stopped",
        _ => "Waiting",
    };
    states.first().map(|s| words(s).to_owned())
}

fn other_role(site: &SiteName, active: Option<&SiteName>) -> &'static str {
    match active {
        Some(active) if active == site => "Primary",
        Some(_) => "Standby",
        None => "Unknown",
    }
}

fn effects(shown: &Shown, set: &mut Set<'_>) {
    let Some(policy) = &shown.policy else { return };
    let flagged: Vec<_> = policy.workloads.iter().filter(|(_, w)| w.read_only.is_some()).collect();
    if !flagged.is_empty() {
        let unknown = flagged.iter().find_map(|(name, _)| {
            match shown.seen.workloads.get(*name).map(|w| &w.effective) {
                Some(Fact::Known { .. }) => None,
                Some(Fact::Unknown { reason }) => Some(format!("{name}: {reason}")),
                None => Some(format!("{name} was not looked at yet")),
            }
        });
        let differs = flagged.iter().find_map(|(name, _)| {
            let w = shown.seen.workloads.get(*name)?;
            let (flag, pods) = (w.flag.value()?, w.effective.value()?);
            let wanted = if *flag == FlagValue::ReadOnly { pods.pods } else { 0 };
            (pods.read_only != wanted || pods.unknown > 0).then(|| {
                format!("{name}: {} of {} pods say read-only, flag {flag:?}", pods.read_only, pods.pods)
            })
        });
        match (unknown, differs) {
            (Some(why), _) => set.put(kinds::READ_ONLY_EFFECTIVE, None, "NotAsked", &why),
            (None, Some(why)) => set.put(kinds::READ_ONLY_EFFECTIVE, Some(false), "PodsDiffer", &why),
            (None, None) => set.put(
                kinds::READ_ONLY_EFFECTIVE,
                Some(true),
                "PodsAgree",
                "every pod says what its flag says",
            ),
        }
    }
    for (name, t) in &shown.seen.traffic {
        match &t.at {
            Fact::Known { value, .. } => match &value.site {
                Some(site) => set.put(
                    kinds::TRAFFIC_CONVERGED,
                    Some(true),
                    "Agreed",
                    &format!("{name} answers {site} everywhere"),
                ),
                None => {
                    set.put(kinds::TRAFFIC_CONVERGED, Some(false), "Differs", &value.differing.join("; "));
                }
            },
            Fact::Unknown { reason } => set.put(kinds::TRAFFIC_CONVERGED, None, "NotAnswered", reason),
        }
    }
    let contended: Vec<String> =
        shown.plan.blockers.iter().filter(|g| g.found.starts_with("Contended")).map(Gate::words).collect();
    if !contended.is_empty() {
        set.put(kinds::CONTENDED, Some(true), "OtherOwner", &contended.join("; "));
    }
}

fn possible(shown: &Shown, me: &SiteName, set: &mut Set<'_>) {
    let Some(record) = &shown.record else { return };
    let why_not = |site: &SiteName| {
        let blockers = if site == me {
            Some(&shown.plan.blockers)
        } else {
            shown.seen.sites.get(site).and_then(Fact::value).map(|f| &f.blockers)
        };
        match blockers {
            None => Some(format!("{site} has said nothing")),
            Some(b) => b.first().map(|g| format!("{site}: {}", g.words())),
        }
    };
    let others = shown.policy.iter().flat_map(|p| p.sites.iter()).filter(|s| **s != record.active);
    let reasons: Vec<Option<String>> = others.map(why_not).collect();
    if reasons.iter().any(Option::is_none) {
        set.put(kinds::FAILOVER_POSSIBLE, Some(true), "StandbyReady", "a standby could take over");
    } else {
        let words: Vec<String> = reasons.into_iter().flatten().collect();
        set.put(kinds::FAILOVER_POSSIBLE, Some(false), "NoStandby", &words.join("; "));
    }
}

fn gate_status(gate: &Gate) -> api::GateStatus {
    api::GateStatus {
        name: gate.name.clone(),
        verdict: match gate.answer {
            Answer::Yes => api::GateVerdict::Pass,
            Answer::No | Answer::NotYet => api::GateVerdict::Block,
            Answer::Unknown => api::GateVerdict::Unknown,
        },
        value: Some(gate.found.clone()),
        threshold: Some(gate.needed.clone()),
        age: gate.age_ms.map(|ms| human(Millis(ms).duration())),
        message: gate.words(),
    }
}

const fn fence(class: FenceClass) -> api::Fence {
    match class {
        FenceClass::Advisory => api::Fence::Advisory,
        FenceClass::External => api::Fence::External,
        FenceClass::Guard => api::Fence::Guard,
        FenceClass::Gate => api::Fence::Gate,
    }
}

fn cause(cause: Cause) -> String {
    match cause {
        Cause::Initial => "FirstRecord",
        Cause::Planned => "Switchover",
        Cause::SiteLost => "SiteLost",
        Cause::DatabaseDead => "DatabaseLost",
        Cause::Forced => "Failover",
        Cause::PromotionFailed => "PromotionFailed",
    }
    .to_owned()
}

fn last(t: &Transition, record: Option<&Record>) -> api::LastTransition {
    let took = |name: &str| t.phases.iter().find(|p| p.name == name).map(|p| p.took.0);
    let move_name = record.and_then(|r| r.doing.as_ref()).map(|d| d.name.to_string());
    api::LastTransition {
        cause: cause(t.cause),
        move_name,
        from: Some(t.from.to_string()),
        to: t.to.to_string(),
        epoch: Some(t.epoch),
        started_at: Some(Time(t.began)),
        finished_at: t.ended.map(Time),
        phases: t.phases.iter().map(|p| api::PhaseTime { name: p.name.clone(), ms: p.took.0 }).collect(),
        write_pause_ms: took("writePause"),
        read_only_ms: took("readOnly"),
        data_loss: t.loss_bound.as_ref().map(|bound| api::DataLoss {
            bound_bytes: bound.bytes,
            bound_ms: bound.unseen.map(|m| m.0),
            bytes: t.measured_loss.as_ref().map(|m| m.bytes),
            transactions: t.measured_loss.as_ref().map(|m| m.transactions),
            seconds: None,
            saved_at: t.measured_loss.as_ref().map(|m| m.saved.clone()),
        }),
    }
}

fn line(t: &Transition) -> api::TransitionRecord {
    super::move_status::history(t, &cause(t.cause))
}

fn verdict(v: &bascule_core::moves::Verdict) -> api::MoveVerdict {
    super::move_status::verdict(v, end(v.end))
}

const fn end(end: MoveEnd) -> api::MoveState {
    match end {
        MoveEnd::Done => api::MoveState::Done,
        MoveEnd::Refused => api::MoveState::Refused,
        MoveEnd::RolledBack => api::MoveState::RolledBack,
        MoveEnd::Stale => api::MoveState::Stale,
        MoveEnd::BecameFailover => api::MoveState::BecameFailover,
    }
}

/// Bytes in words: `0 B`, `1.2 MiB`.
fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut whole = n;
    let mut tenths = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).unwrap_or(&"B");
    if unit == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") }
}
