//! From what the engine shows to the status of policies and Moves, to metrics and Events.

use std::sync::Arc;

use async_trait::async_trait;
use bascule_adapters::kube::event::{Teller, Telling, Weight};
use bascule_adapters::kube::status::{StatusDesk, StatusKey};
use bascule_adapters::site::Publisher;
use bascule_core::moves::MoveEnd;
use bascule_core::name::SiteName;
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::FenceClass;
use bascule_core::project::{Fence, SiteRow, TransitionRow};
use bascule_core::record::{Cause, Phase};
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
        let status = status(&shown, &old, object.metadata.generation);
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
        let namespace = shown.key.namespace.to_string();
        let policy = shown.key.name.to_string();
        let labels = PolicyLabels { namespace: namespace.clone(), policy: policy.clone() };
        if let Some(record) = &shown.record {
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            self.metrics.epoch.get_or_create(&labels).set(number(record.epoch));
            self.metrics.serial.get_or_create(&labels).set(number(record.serial));
            self.metrics.active.get_or_create(&labels).set(i64::from(record.active == self.site));
        }
        for gate in &shown.report.gates {
            let labels =
                GateLabels { namespace: namespace.clone(), policy: policy.clone(), gate: gate.name.clone() };
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
            note: shown.report.sentence.clone(),
        });
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
            let waiting = shown.report.gates.iter().find(|g| g.name == format!("move/{}", mv.name));
            let message = waiting.map_or(message, Gate::words);
            let status = super::move_status::of(&object, state, &message, &shown.key, &self.site);
            if let Err(reason) = self.put(StatusKey::of(&object), &status) {
                return Outcome::Refused { reason };
            }
        }
        Outcome::Done
    }
}

fn status(
    shown: &Shown,
    old: &api::FailoverPolicyStatus,
    generation: Option<i64>,
) -> api::FailoverPolicyStatus {
    let report = &shown.report;
    let message =
        shown.invalid.clone().or_else(|| shown.trouble.clone()).unwrap_or_else(|| report.sentence.clone());
    let mut gates: Vec<api::GateStatus> = Vec::new();
    for gate in report.gates.iter().take(64) {
        if !gates.iter().any(|g| g.name == gate.name) {
            gates.push(gate_status(gate));
        }
    }
    api::FailoverPolicyStatus {
        observed_generation: generation,
        message: Some(message),
        active_site: report.active.as_ref().map(ToString::to_string),
        epoch: report.epoch,
        serial: report.serial,
        phase: Some(report.phase.clone().unwrap_or_else(|| "NoRecord".to_owned())),
        lag: Some(report.lag.words()),
        fence: report.fence.as_ref().map(|f| fence(f.class)),
        revision: shown.policy.as_ref().and_then(|p| p.revision.clone()),
        spec_hash: shown.policy.as_ref().map(|p| p.spec_hash.clone()),
        held_until: report.held_until.map(Time),
        conditions: conditions(shown, old, generation),
        gates,
        sites: report.sites.iter().map(|row| site(row, report.fence.as_ref())).collect(),
        last_transition: report.last.as_ref().map(last),
        history: report.history.iter().map(|t| super::move_status::history(t, cause(t.cause))).collect(),
        moves: report.moves.iter().take(20).map(|v| super::move_status::verdict(v, end(v.end))).collect(),
    }
}

fn conditions(
    shown: &Shown,
    old: &api::FailoverPolicyStatus,
    generation: Option<i64>,
) -> Vec<kinds::Condition> {
    let mut set = Set::new(&old.conditions, generation, Timestamp::now());
    for c in &shown.report.conditions {
        set.put(&c.kind, c.status, &c.reason, &c.message);
    }
    match (&shown.invalid, &shown.trouble) {
        (Some(why), _) => {
            set.put(kinds::ACCEPTED, Some(false), "Invalid", why);
            set.put(kinds::READY, Some(false), "Invalid", why);
            set.put(kinds::STALLED, Some(true), "Invalid", why);
        }
        (None, Some(why)) => {
            set.put(kinds::ACCEPTED, Some(true), "Valid", "the spec is valid");
            set.put(kinds::READY, None, "ArbiterUnreachable", why);
        }
        (None, None) => set.put(kinds::ACCEPTED, Some(true), "Valid", "the spec is valid"),
    }
    set.done()
}

fn site(row: &SiteRow, promised: Option<&Fence>) -> api::SiteStatus {
    let age = |ms: u64| human(Millis(ms).duration());
    api::SiteStatus {
        name: row.name.to_string(),
        role: Some(row.role.name().to_owned()),
        promotable: row.promotable,
        reason: row.reason.clone(),
        spec_hash: row.spec_hash.clone(),
        revision: row.revision.clone(),
        lag: Some(api::Lag { bytes: row.lag.bytes, report_age_ms: row.age_ms }),
        fence_class: promised.map(|f| fence(f.class)),
        fence_does_not_cover: promised.map(|f| f.does_not_cover.clone()),
        age: row.age_ms.map(age),
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

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Initial => "FirstRecord",
        Cause::Planned => "Switchover",
        Cause::SiteLost => "SiteLost",
        Cause::DatabaseDead => "DatabaseLost",
        Cause::Forced => "Failover",
        Cause::PromotionFailed => "PromotionFailed",
    }
}

fn last(row: &TransitionRow) -> api::LastTransition {
    let t = &row.transition;
    api::LastTransition {
        cause: cause(t.cause).to_owned(),
        move_name: row.by_move.clone(),
        from: Some(t.from.to_string()),
        to: t.to.to_string(),
        epoch: Some(t.epoch),
        started_at: Some(Time(t.began)),
        finished_at: t.ended.map(Time),
        phases: t.phases.iter().map(|p| api::PhaseTime { name: p.name.clone(), ms: p.took.0 }).collect(),
        write_pause_ms: row.write_pause_ms,
        read_only_ms: row.read_only_ms,
        data_loss: super::move_status::loss(t),
    }
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
