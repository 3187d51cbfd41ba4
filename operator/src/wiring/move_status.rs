//! The status of a Move, and lines of history.

use bascule_core::moves::Verdict;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::record::Transition;
use bascule_crds as api;
use bascule_crds::conditions::{READY, RECONCILING, STALLED};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::Set;

/// What a Move's status says now.
pub fn of(
    object: &api::Move,
    state: api::MoveState,
    message: &str,
    policy: &PolicyKey,
    site: &SiteName,
) -> api::MoveStatus {
    let old = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let mut set = Set::new(&old.conditions, generation, Timestamp::now());
    match state {
        api::MoveState::Done | api::MoveState::BecameFailover => set.put(READY, Some(true), "Done", message),
        api::MoveState::Pending | api::MoveState::Requested => {
            set.put(READY, Some(false), "Waiting", message);
            set.put(RECONCILING, Some(true), "Waiting", message);
        }
        api::MoveState::Refused | api::MoveState::RolledBack | api::MoveState::Stale => {
            set.put(READY, Some(false), "Ended", message);
            set.put(STALLED, Some(true), "Ended", message);
        }
    }
    let mut sites = old.sites;
    let before = sites.iter().position(|s| s.site == site.as_str() && s.policy == policy.name.as_str());
    let seen_at =
        before.map(|at| sites.remove(at)).and_then(|s| s.seen_at).unwrap_or_else(|| Time(Timestamp::now()));
    sites.push(api::SiteVerdict {
        site: site.to_string(),
        policy: policy.name.to_string(),
        state,
        message: Some(message.to_owned()),
        seen_at: Some(seen_at),
    });
    api::MoveStatus {
        observed_generation: generation,
        state: Some(state),
        message: Some(message.to_owned()),
        hash: old.hash,
        conditions: set.done(),
        sites,
    }
}

/// A verdict as the policy's status shows it.
pub fn verdict(v: &Verdict, state: api::MoveState) -> api::MoveVerdict {
    api::MoveVerdict {
        name: v.name.to_string(),
        hash: v.hash.0.clone(),
        state,
        message: Some(v.message.clone()),
    }
}

/// A finished transition as one line of the history.
pub fn history(t: &Transition, cause: &str) -> api::TransitionRecord {
    let whole: u64 = t.phases.iter().filter(|p| p.name != "writePause").map(|p| p.took.0).sum();
    api::TransitionRecord {
        epoch: t.epoch,
        cause: cause.to_owned(),
        move_name: None,
        from: Some(t.from.to_string()),
        to: t.to.to_string(),
        finished_at: t.ended.map(Time),
        ms: Some(whole),
        data_loss: loss(t),
    }
}

/// What a transition may have lost, and what was counted at the old site's return.
pub fn loss(t: &Transition) -> Option<api::DataLoss> {
    (t.loss_bound.is_some() || t.measured_loss.is_some()).then(|| api::DataLoss {
        bound_bytes: t.loss_bound.and_then(|b| b.bytes),
        bound_ms: t.loss_bound.and_then(|b| b.unseen).map(|m| m.0),
        bytes: t.measured_loss.as_ref().map(|m| m.bytes),
        transactions: t.measured_loss.as_ref().map(|m| m.transactions),
        seconds: None,
        saved_at: t.measured_loss.as_ref().map(|m| m.saved.clone()),
    })
}
