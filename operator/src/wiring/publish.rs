//! From what the engine shows to the status of policies and Moves, to metrics and Events.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bascule_adapters::kube::event::{Teller, Telling, Weight};
use bascule_adapters::kube::status::{StatusDesk, StatusKey};
use bascule_adapters::site::Publisher;
use bascule_core::moves::{Move, MoveHash};
use bascule_core::name::SiteName;
use bascule_core::outcome::Outcome;
use bascule_core::plan::Gate;
use bascule_core::record::Phase;
use bascule_crds as api;
use bascule_engine::ports::Shown;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;

use super::move_status::{self, Word};
use super::notices::Notices;
use super::objects::{Inner, Objects};
use super::policy_status::{self, Newest};
use crate::metrics::Metrics;

/// Writes status, metrics and Events.
pub struct StatusPublisher {
    /// This site.
    pub site: SiteName,
    /// Who writes, and where his heartbeat is.
    pub heartbeat: api::HeartbeatReference,
    /// The objects whose status is written.
    pub objects: Arc<Objects>,
    /// Where status is put down.
    pub desk: StatusDesk,
    /// Where Events are told.
    pub teller: Teller,
    /// The operator's metrics.
    pub metrics: Arc<Metrics>,
    /// Who tells people who do not look at the cluster.
    pub notices: Arc<Notices>,
}

#[async_trait]
impl Publisher for StatusPublisher {
    async fn publish(&self, shown: Shown) -> Outcome {
        match self.show(&shown) {
            Ok(()) => Outcome::Done,
            Err(reason) => Outcome::Refused { reason },
        }
    }

    fn unwritten(&self) -> BTreeSet<String> {
        let kind = api::FailoverPolicy::kind(&());
        let policies = self.desk.unwritten().into_iter().filter(|key| key.kind == kind);
        policies.map(|key| format!("{}/{}", key.namespace, key.name)).collect()
    }
}

impl StatusPublisher {
    fn show(&self, shown: &Shown) -> Result<(), String> {
        let mut objects = self.objects.lock();
        let Some(seen) = objects.policies.get_mut(&shown.key) else { return Ok(()) };
        // Within the lock: when the policy goes, its series go after these were written.
        self.metrics.show(&self.site, shown);
        let old = seen.status();
        let told = shown.policy.as_deref().filter(|policy| !policy.notifications.is_empty());
        let unknown = told.map(|policy| self.notices.unknown(policy));
        let newest = Newest {
            generation: seen.generation,
            invalid: seen.invalid.as_deref(),
            unknown_channels: unknown.as_deref(),
        };
        let now = Timestamp::now();
        let status = api::FailoverPolicyStatus {
            heartbeat: Some(self.heartbeat.clone()),
            ..policy_status::of(&self.site, shown, &old, newest, now)
        };
        if old.serial != status.serial || old.phase != status.phase {
            self.tell(seen.reference(&shown.key), shown);
        }
        let key = seen.status_key(&shown.key);
        seen.say(&status);
        let made = |hash: &MoveHash| {
            let (_, mv) = objects.move_with(hash)?;
            mv.object.metadata.creation_timestamp.as_ref().map(|t| t.0)
        };
        // People are told whether or not the status can be written.
        self.notices.shown(shown, &old, made, now);
        self.put(&key, &status)?;
        self.show_moves(&mut objects, shown)
    }

    fn put<S: serde::Serialize>(&self, key: &StatusKey, status: &S) -> Result<(), String> {
        let value = serde_json::to_value(status).map_err(|e| e.to_string())?;
        self.desk.put(key, value).map_err(|e| e.to_string())
    }

    fn tell(&self, about: ObjectReference, shown: &Shown) {
        let Some(record) = &shown.record else { return };
        let weight = match record.phase {
            Phase::ReadOnly | Phase::Offered | Phase::Withdrawn => Weight::Warning,
            _ => Weight::Normal,
        };
        self.teller.tell(Telling {
            about,
            weight,
            reason: record.phase.name().to_owned(),
            // Events of one reason and action are folded into the first one's words.
            action: format!("Epoch{}Serial{}", record.epoch, record.serial),
            note: shown.report.sentence.clone(),
        });
    }

    fn show_moves(&self, objects: &mut Inner, shown: &Shown) -> Result<(), String> {
        for mv in &shown.moves {
            let Some((place, seen)) = objects.move_with(&mv.hash) else { continue };
            let (state, message) = word(shown, mv);
            let word = Word { policy: &shown.key, site: &self.site, state, message: &message };
            let meant = seen.command.as_ref().map(|c| objects.policies_of(c)).unwrap_or_default();
            let status = move_status::of(seen, &word, &meant, Timestamp::now());
            let (key, place) = (StatusKey::of(&seen.object), place.clone());
            if let Some(seen) = objects.moves.get_mut(&place) {
                seen.said = Some(status.clone());
            }
            self.put(&key, &status)?;
        }
        Ok(())
    }
}

/// What a policy says of a Move.
fn word(shown: &Shown, mv: &Move) -> (api::MoveState, String) {
    let record = shown.record.as_ref();
    if let Some(verdict) = record.and_then(|r| r.verdict(&mv.hash)) {
        return (move_status::end(verdict.end), verdict.message.clone());
    }
    let gate = shown.report.gates.iter().find(|g| g.name == format!("move/{}", mv.name));
    let doing = record.filter(|r| r.doing.as_ref().is_some_and(|d| d.hash == mv.hash));
    match (doing, gate, record, &shown.invalid) {
        (Some(record), gate, ..) => {
            let message = gate.map_or_else(|| format!("in progress: {}", record.phase), Gate::words);
            (api::MoveState::Requested, message)
        }
        (None, Some(gate), ..) => (api::MoveState::Pending, gate.words()),
        (None, None, _, Some(why)) => {
            (api::MoveState::Pending, format!("FailoverPolicy {} is not valid: {why}", shown.key.name))
        }
        (None, None, None, None) => {
            (api::MoveState::Pending, format!("the policy has no record yet: {}", shown.report.sentence))
        }
        (None, None, Some(record), None) => (
            api::MoveState::Pending,
            format!(
                "not acted on yet: {} is active and decides; a Move that was applied by hand must be applied there too",
                record.active
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::samples::{gate, shown, to_lyon};

    #[test]
    fn a_move_is_told_what_it_waits_for() {
        let mv = to_lyon("shop").command.unwrap().command;
        let mut shown = shown();
        assert_eq!(word(&shown, &mv), (api::MoveState::Pending, "not acted on yet: lyon is active and decides; a Move that was applied by hand must be applied there too".to_owned()));
        shown.report.gates = vec![gate(&format!("move/{}", mv.name), false)];
        assert_eq!(word(&shown, &mv), (api::MoveState::Pending, shown.report.gates[0].words()));
        shown.report.gates.clear();
        shown.invalid = Some("spec.sites: found one".to_owned());
        assert!(word(&shown, &mv).1.contains("is not valid: spec.sites"), "{:?}", word(&shown, &mv));
        (shown.invalid, shown.record) = (None, None);
        assert!(word(&shown, &mv).1.contains("no record yet"), "{:?}", word(&shown, &mv));
    }

    #[test]
    fn a_move_that_the_record_has_judged_shows_the_verdict() {
        let mut mv = to_lyon("shop").command.unwrap().command;
        let shown = shown();
        mv.hash.clone_from(&shown.report.moves[1].hash);
        assert_eq!(word(&shown, &mv), (api::MoveState::Done, "done".to_owned()));
    }
}
