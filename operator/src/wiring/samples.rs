//! Objects and reports for tests.

use bascule_core::moves::{MoveEnd, MoveHash, Verdict};
use bascule_core::name::PolicyKey;
use bascule_core::plan::{Answer, Gate};
use bascule_core::project::{Lag, Report, SiteRole, SiteRow, TransitionRow};
use bascule_core::record::{Cause, MeasuredLoss, PhaseTime, Transition};
use bascule_core::time::Millis;
use bascule_crds::{FailoverPolicy, Move};
use bascule_engine::intake;
use bascule_engine::ports::Shown;
use jiff::Timestamp;
use serde_json::json;

use super::objects::SeenMove;

/// A policy's key in the namespace `shop`.
pub(crate) fn key(name: &str) -> PolicyKey {
    PolicyKey::new("shop", name).unwrap()
}

/// A question with its answer.
pub(crate) fn gate(name: &str, passed: bool) -> Gate {
    Gate::new(name, if passed { Answer::Yes } else { Answer::No }, "found", "needed")
}

/// A policy as the API server has it.
pub(crate) fn policy(name: &str, generation: i64) -> FailoverPolicy {
    let object = json!({
        "apiVersion": "bascule.dev/v1alpha1", "kind": "FailoverPolicy",
        "metadata": { "namespace": "shop", "name": name, "uid": name, "generation": generation, "labels": { "tier": "customer" } },
        "spec": {
            "sites": [{ "name": "paris" }, { "name": "lyon" }],
            "initialSite": "paris",
            "failover": {
                "serveReads": { "after": "10s", "returnAfter": "5m" },
                "promote": { "after": "30m", "maxDataLoss": { "bytes": "16Mi", "time": "30s" } },
                "cooldown": "1h",
            },
            "workloads": [{ "name": "web", "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                "replicas": { "standby": 0 } }],
        },
    });
    serde_json::from_value(object).unwrap()
}

/// A Move to lyon for this policy; `selector`: for all that are labelled `tier=customer`.
pub(crate) fn to_lyon(policy: &str) -> SeenMove {
    let mut spec = json!({
        "type": "Switchover", "from": "paris", "to": "lyon", "epoch": 3, "reason": "kernel",
        "notAfter": "2026-11-28T14:00:00Z",
    });
    if policy == "selector" {
        spec["policySelector"] = json!({ "matchLabels": { "tier": "customer" } });
    } else {
        spec["policyRef"] = json!({ "name": policy });
    }
    let object = json!({
        "apiVersion": "bascule.dev/v1alpha1", "kind": "Move",
        "metadata": { "namespace": "shop", "name": "to-lyon", "uid": "to-lyon", "generation": 1 },
        "spec": spec,
    });
    let object: Move = serde_json::from_value(object).unwrap();
    let command = intake::moves::convert(&object).map_err(|e| e.to_string());
    SeenMove { object, command, said: None }
}

/// What is shown of `shop/shop`, generation 2, from paris: lyon is active after a switchover by the Move `to-paris`.
pub(crate) fn shown() -> Shown {
    let at = Timestamp::from_second(900).unwrap();
    let phase = |name: &str, ms| PhaseTime {
        name: name.to_owned(),
        site: "lyon".try_into().unwrap(),
        took: Millis(ms),
    };
    let transition = Transition {
        cause: Cause::Planned,
        from: "paris".try_into().unwrap(),
        to: "lyon".try_into().unwrap(),
        epoch: 4,
        began: Timestamp::from_second(890).unwrap(),
        ended: Some(at),
        phases: vec![phase("promote", 80), phase("writePause", 128)],
        loss_bound: None,
        measured_loss: Some(MeasuredLoss { bytes: 512, transactions: 7, saved: "/saved".to_owned() }),
    };
    let verdict = |name: &str, at: i64| Verdict {
        hash: MoveHash(format!("hash-of-{name}")),
        name: name.try_into().unwrap(),
        end: MoveEnd::Done,
        message: "done".to_owned(),
        epoch: 4,
        at: Timestamp::from_second(at).unwrap(),
        not_after: None,
    };
    let moves = vec![verdict("hold", 950), verdict("to-paris", 900)];
    let lyon = SiteRow {
        name: "lyon".try_into().unwrap(),
        role: SiteRole::Primary,
        lives: Some(true),
        silent_ms: None,
        promotable: None,
        reason: None,
        spec_hash: None,
        revision: None,
        streaming: None,
        not_streaming: None,
        lag: Lag { bytes: Some(4096), age_ms: Some(10) },
        missing: None,
        age_ms: Some(10),
    };
    let record = json!({
        "schema": 1, "generation": 0, "epoch": 4, "serial": 12, "active": "lyon", "phase": "Steady",
        "promise": { "fences": "never", "lease": 8000, "fenceClass": "Guard", "profile": "wan" },
        "settled": true, "entered": { "at": at, "by": "lyon" }, "moves": moves, "history": [transition],
    });
    let mut intent = intake::policy::convert(&policy("shop", 2), None).unwrap();
    intent.generation = 2;
    Shown {
        key: key("shop"),
        policy: Some(std::sync::Arc::new(intent)),
        invalid: None,
        report: Report {
            sentence: "lyon is active.".to_owned(),
            ready: Some(true),
            reconciling: false,
            stalled: false,
            active: Some("lyon".try_into().unwrap()),
            serving: Some("lyon".try_into().unwrap()),
            epoch: Some(4),
            serial: Some(12),
            phase: Some("Steady".to_owned()),
            lag: Lag::default(),
            fence: None,
            held_until: None,
            gates: vec![gate("silence", true)],
            sites: vec![lyon],
            last: Some(TransitionRow {
                transition: transition.clone(),
                by_move: None,
                write_pause_ms: Some(128),
                read_only_ms: None,
                words: String::new(),
            }),
            history: vec![transition],
            moves,
            conditions: Vec::new(),
        },
        moves: Vec::new(),
        record: Some(serde_json::from_value(record).unwrap()),
        trouble: None,
    }
}
