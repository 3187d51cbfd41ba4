//! What a status remembers. Its JSON is part of the command line's interface: see `docs/cli.md`.

use bascule_crds::{DataLoss, FailoverPolicyStatus, LastTransition, MoveVerdict, TransitionRecord};
use jiff::Timestamp;
use serde::Serialize;

use crate::why::explain::{Seen, explain};

/// What is remembered of one policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The policy's namespace.
    pub namespace: String,
    /// The policy's name.
    pub name: String,
    /// The site whose operator says so; `null`: nobody has said anything.
    pub site: Option<String>,
    /// When it did.
    pub written_at: Option<Timestamp>,
    /// Whether nobody vouches for it any more: what came later is not known here.
    pub stale: bool,
    /// Why nothing can be told; `null`: it can.
    pub trouble: Option<String>,
    /// The transitions, newest first.
    pub transitions: Vec<Transition>,
    /// What became of Moves, newest first.
    pub moves: Vec<MoveVerdict>,
}

/// A change of the active site.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// The epoch that began with it.
    pub epoch: Option<u64>,
    /// Why: `Switchover`, `SiteLost`, `DatabaseLost`, `Failover`, `PromotionFailed` or `FirstRecord`.
    pub cause: String,
    /// The Move that asked for it.
    #[serde(rename = "move")]
    pub by_move: Option<String>,
    /// The site that was active.
    pub from: Option<String>,
    /// The site that became active.
    pub to: String,
    /// When it was over; `null`: it is under way, or was not recorded.
    pub finished_at: Option<Timestamp>,
    /// It is under way.
    pub under_way: bool,
    /// How long it took.
    pub ms: Option<u64>,
    /// For how long nobody could write at the database.
    pub write_pause_ms: Option<u64>,
    /// What was lost.
    pub data_loss: Option<DataLoss>,
}

/// What is seen of a policy, at `now`.
pub fn of(seen: &Seen, now: Timestamp) -> History {
    let nothing = FailoverPolicyStatus::default();
    let (status, trouble) = match &seen.status {
        Ok(Some(status)) => (status, None),
        Ok(None) => (&nothing, Some("no operator has ever written its status".to_owned())),
        Err(why) => (
            &nothing,
            Some(format!("its status has another shape: {why}; use the `bascule` of the operator's version")),
        ),
    };
    History {
        namespace: seen.namespace.clone(),
        name: seen.name.clone(),
        site: status.site.clone(),
        written_at: status.written_at.as_ref().map(|t| t.0),
        stale: explain(seen, now).stale,
        trouble,
        transitions: transitions(status),
        moves: status.moves.clone(),
    }
}

fn transitions(status: &FailoverPolicyStatus) -> Vec<Transition> {
    let last = status.last_transition.as_ref();
    let is_last = |t: &TransitionRecord| last.filter(|l| l.epoch == Some(t.epoch) && l.to == t.to);
    let finished: Vec<Transition> = status.history.iter().map(|t| finished(t, is_last(t))).collect();
    let running = last.filter(|l| l.finished_at.is_none()).map(running);
    running.into_iter().chain(finished).collect()
}

fn finished(t: &TransitionRecord, last: Option<&LastTransition>) -> Transition {
    Transition {
        epoch: Some(t.epoch),
        cause: t.cause.clone(),
        by_move: t.move_name.clone(),
        from: t.from.clone(),
        to: t.to.clone(),
        finished_at: t.finished_at.as_ref().map(|t| t.0),
        under_way: false,
        ms: t.ms,
        write_pause_ms: last.and_then(|l| l.write_pause_ms),
        data_loss: t.data_loss.clone(),
    }
}

fn running(t: &LastTransition) -> Transition {
    Transition {
        epoch: t.epoch,
        cause: t.cause.clone(),
        by_move: t.move_name.clone(),
        from: t.from.clone(),
        to: t.to.clone(),
        finished_at: None,
        under_way: true,
        ms: None,
        write_pause_ms: t.write_pause_ms,
        data_loss: t.data_loss.clone(),
    }
}
