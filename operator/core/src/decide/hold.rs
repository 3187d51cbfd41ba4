//! The active site's own duties: re-claim after a gap, keep, hand over, finish.

use crate::decide::situation::Situation;
use crate::decide::{finish, next, offer, planned};
use crate::moves::MoveEnd;
use crate::plan::{Answer, Gate, Plan};
use crate::policy::Policy;
use crate::record::{Fences, Phase, Promise, Record};

/// What the active site does next.
pub(super) fn decide(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if reclaim(s, record, plan) {
        return;
    }
    match record.phase {
        Phase::Steady => {
            offer::watch(s, policy, record, plan);
            keep_promise(s, policy, record, plan);
        }
        Phase::Requested => planned::prepare_to_stop(s, policy, record, plan),
        Phase::Handover => planned::wait_for_target(s, policy, record, plan),
        Phase::Promoting => finish::promotion(s, policy, record, plan),
        Phase::Returning => finish::returning(s, policy, record, plan),
        Phase::Offered => offer::withdraw(s, policy, record, plan),
        Phase::Unmanaged => manage_again(s, policy, record, plan),
        Phase::ReadOnly | Phase::Withdrawn | Phase::Unknown(_) => {}
    }
}

/// Re-claims the role by a compare-and-swap when it must be; returns whether it must.
///
/// From `Requested`, `Handover`, `Offered` and `Withdrawn` the role goes back to `Steady` (to `Promoting`, when this
/// hold never reached it), from `ReadOnly` to `Returning`; the other phases are kept.
pub(super) fn reclaim(s: &Situation<'_>, record: &Record, plan: &mut Plan) -> bool {
    if record.active != *s.me {
        return false;
    }
    let due = match record.phase {
        // Given up by this process's own write, its lease kept since: the phase's own rule goes on.
        Phase::Handover | Phase::Offered => s.claim.gave_up_at(s.holder) != Some(record.serial),
        Phase::ReadOnly | Phase::Withdrawn => true,
        Phase::Unknown(_) => false,
        _ => s.claim.must_reclaim(s.holder, s.me),
    };
    if !due {
        return false;
    }
    let alive = s.lease_alive() && s.claim.current().is_some();
    plan.gates.push(Gate::when(
        false,
        Answer::NotYet,
        "claim",
        "the role was not re-claimed since this site's lease was last regained",
        "a compare-and-swap of this site",
    ));
    if !alive {
        return true;
    }
    let (mut next, why) = match record.phase {
        Phase::Requested | Phase::Handover | Phase::Offered | Phase::Withdrawn => {
            let mut next = next::settled_again(s, record);
            let why = format!("{} takes its role back from {}", s.me, record.phase);
            next::judge_doing(s, &mut next, MoveEnd::RolledBack, format!("{why}: its operator was away"));
            (next, why)
        }
        Phase::ReadOnly => {
            let next = next::phase(s, record, Phase::Returning);
            (next, format!("{} came back while {} served reads", s.me, target(record)))
        }
        _ => (next::phase(s, record, record.phase.clone()), format!("{} re-claims its role", s.me)),
    };
    if record.phase == Phase::Steady {
        next.target = None;
    }
    next::propose(plan, next, why);
    true
}

fn target(record: &Record) -> String {
    record.target.as_ref().map_or_else(|| "another site".to_owned(), ToString::to_string)
}

/// Lets go of a policy that nobody wants managed any more: `Unmanaged`, with the promise "never". The record comes
/// first; only then does the guard keep its role without a deadline.
pub(super) fn release(s: &Situation<'_>, record: &Record, why: &str, plan: &mut Plan) {
    plan.summary = format!("{why}; {} keeps its role", record.active);
    if record.active != *s.me || record.phase == Phase::Unmanaged || reclaim(s, record, plan) {
        return;
    }
    if !s.lease_alive() || s.claim.current().is_none() {
        return;
    }
    match record.phase {
        Phase::Steady => {
            let mut next = next::phase(s, record, Phase::Unmanaged);
            next.promise.fences = Fences::Never;
            next::propose(plan, next, format!("{why}: {} keeps its role, nobody acts", s.me));
        }
        Phase::Requested => {
            let mut next = next::settled_again(s, record);
            next::judge_doing(s, &mut next, MoveEnd::RolledBack, why.to_owned());
            next::propose(plan, next, format!("{why}: the switchover is given up"));
        }
        _ => plan.gates.push(Gate::new(
            "phase",
            Answer::NotYet,
            format!("{why} during {}", record.phase),
            "the transition's end; the recorded promise stays in force until then",
        )),
    }
}

/// Takes an unmanaged policy up again: behaves by the stronger promise first, and writes it when every guard has
/// confirmed that its grant has a deadline.
fn manage_again(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let waiting: Vec<&str> = policy
        .databases
        .keys()
        .filter(|name| {
            let report = s.seen.databases.get(*name).and_then(|d| d.guard.value());
            report.is_none_or(|r| r.unlimited)
        })
        .map(crate::name::ItemName::as_str)
        .collect();
    let gate = Gate::when(
        waiting.is_empty(),
        Answer::NotYet,
        "deadline",
        format!("guards that still hold a grant without a deadline: {waiting:?}"),
        "a deadline at every guard before the promise is written",
    );
    let ready = gate.passed();
    plan.gates.push(gate);
    if ready && s.lease_alive() {
        let mut next = next::phase(s, record, Phase::Steady);
        next.promise = s.promise(policy);
        next::propose(plan, next, "the policy is managed again");
    }
}

/// Brings the recorded promise up to the installation's timing. Grants obey the smaller of the recorded and the
/// configured deadline, so weakening writes first by itself; strengthening waits until grants under the old promise
/// have run out.
fn keep_promise(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let wanted = s.promise(policy);
    if wanted == record.promise || plan.transition.is_some() || plan.lock {
        return;
    }
    let old = match record.promise.fences {
        Fences::Within { holder, fence } => holder.duration() + fence.duration(),
        // A guard that has a grant without a deadline keeps it; only its word ends it.
        Fences::Never if matches!(wanted, Promise { fences: Fences::Within { .. }, .. }) => {
            return manage_again(s, policy, record, plan);
        }
        Fences::Never => std::time::Duration::ZERO,
    };
    let since = s.memory.phase_seen().unwrap_or(s.now);
    if s.now.since(since) < old {
        plan.again(since + old);
        return;
    }
    let mut next = next::phase(s, record, Phase::Steady);
    next.promise = wanted;
    next::propose(plan, next, "the installation's timing or the fence class changed: a new promise");
}
