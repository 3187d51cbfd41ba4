//! Which data an act may lose.

use bascule_core::moves::Order;
use bascule_core::policy::Policy;
use bascule_core::project::size;
use bascule_core::record::Cause;
use bascule_core::time::human;
use bascule_sim::rehearsal::{Rehearsed, Standing};

use super::live::Live;
use super::told::Risk;

/// The risk of what was rehearsed.
pub fn of(policy: &Policy, standing: &Standing, live: Option<&Live>, done: &Rehearsed, told: bool) -> Risk {
    let none = |words: &str| Risk { words: words.to_owned(), bytes: Some(0), time_ms: Some(0) };
    if policy.databases.is_empty() {
        return none("none: the policy has no database");
    }
    let (Some(after), moved) = (&done.after, done.transition.as_ref()) else {
        return none("none: no role moves");
    };
    if done.before.is_none() {
        return none(
            "none: the data at the initial site is served as it is, and a directory elsewhere is filled only when it is empty",
        );
    }
    match moved.map(|row| row.transition.cause) {
        None => none("none: no role moves"),
        Some(Cause::Planned) => none(&format!(
            "none: {} takes the role only after it has proved that it has everything up to {}'s shutdown checkpoint; until then the switchover is taken back",
            after.active, standing.active
        )),
        Some(_) => forced(policy, live, done, told),
    }
}

/// Nothing could be rehearsed.
pub fn unknown() -> Risk {
    Risk { words: "not known: nothing could be rehearsed".to_owned(), bytes: None, time_ms: None }
}

fn forced(policy: &Policy, live: Option<&Live>, done: &Rehearsed, told: bool) -> Risk {
    let accepts = done
        .verdicts
        .iter()
        .any(|(mv, _)| matches!(mv.order, Order::Failover { accept_data_loss: true, .. }));
    let gate = live.and_then(|l| l.status.gates.iter().find(|g| g.name == "loss"));
    if let Some(value) = gate.and_then(|g| g.value.clone()).filter(|_| told) {
        return Risk {
            words: format!("what was not replicated when the site was lost; as far as is known now: {value}"),
            bytes: None,
            time_ms: None,
        };
    }
    let most = &policy.failover.max_data_loss;
    let words = if accepts {
        "any amount: acceptDataLoss is set, and how much is not replicated is unknown (no cluster was asked; `bascule why` at the site that takes over tells it as the gate loss)".to_owned()
    } else {
        format!(
            "unknown now (no cluster was asked); at most {} and what was written in {}, for above that the gate loss refuses it (spec.failover.promote.maxDataLoss)",
            size(most.bytes),
            human(most.seconds)
        )
    };
    let bound = |n: u64| (!accepts).then_some(n);
    Risk { words, bytes: bound(most.bytes), time_ms: bound(bascule_core::time::Millis::from(most.seconds).0) }
}
