//! The active site's own duties: re-claim after a gap, keep, hand over, finish.

use crate::decide::situation::Situation;
use crate::decide::{believe, finish, measure, next, offer, planned, unlocked, withdraw, witness};
use crate::memory::Stamp;
use crate::moves::MoveEnd;
use crate::mutant::forgets;
use crate::plan::{Answer, Gate, Plan};
use crate::policy::Policy;
use crate::record::{Fences, Phase, Record};
use crate::time::human;

/// What the active site does next.
pub(super) fn decide(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if reclaim(s, record, plan) {
        return;
    }
    if unlocked::promise_nothing(s, policy, record, plan) {
        return;
    }
    match record.phase {
        Phase::Steady => {
            offer::watch(s, policy, record, plan);
            keep_promise(s, policy, record, plan);
            measure::loss(s, policy, record, plan);
            finish::closed(s, policy, plan);
            overtake_marks(s, policy, record, plan);
        }
        Phase::Requested => planned::prepare_to_stop(s, policy, record, plan),
        Phase::Handover => planned::wait_for_target(s, policy, record, plan),
        Phase::Promoting => finish::promotion(s, policy, record, plan),
        Phase::Returning => {
            offer::watch(s, policy, record, plan);
            if plan.transition.is_none() && !plan.lock {
                finish::returning(s, policy, record, plan);
            }
        }
        Phase::Offered => offer::withdraw(s, policy, record, plan),
        Phase::Unmanaged => manage_again(s, policy, record, plan),
        Phase::Withdrawn => withdraw::wait(s, policy, record, plan),
        Phase::ReadOnly | Phase::Unknown(_) => {}
    }
}

/// Re-claims the role by a compare-and-swap when it must be; returns whether it must.
///
/// From `Requested`, `Handover` and `Offered` the role goes back to `Steady` (to `Promoting`, when this
/// hold never reached it), from `ReadOnly` to `Returning`; the other phases are kept.
pub(super) fn reclaim(s: &Situation<'_>, record: &Record, plan: &mut Plan) -> bool {
    if !reclaim_is_due(s, record) || forgets("a site that returns takes its role back") {
        return false;
    }
    plan.gates.push(Gate::when(
        false,
        Answer::NotYet,
        "claim",
        "the role was not re-claimed since this site's lease was last regained",
        "a compare-and-swap of this site",
    ));
    if !believe::is_believed(s, record, plan) {
        return true;
    }
    let (mut next, why) = match record.phase {
        Phase::Promoting if forgets("a restart goes on with a promotion") => {
            let mut next = next::phase(s, record, Phase::Offered);
            next.offer = Some(crate::record::Offer {
                never_opened: true,
                ends: crate::few::Few::new(),
                reason: "its operator was away".to_owned(),
            });
            (next, "gives its role back".to_owned())
        }
        Phase::Requested | Phase::Handover | Phase::Offered => {
            let mut next = next::settled_again(s, record);
            let why = format!("{} takes its role back from {}", s.me, record.phase);
            // A hold that never settled goes on promoting, and so does its Move.
            if record.settled {
                let end = if forgets("a switchover given up is no switchover done") {
                    MoveEnd::Done
                } else {
                    MoveEnd::RolledBack
                };
                next::judge_doing(s, &mut next, end, format!("{why}: its operator was away"));
            }
            (next, why)
        }
        Phase::ReadOnly => {
            let mut next = next::phase(s, record, Phase::Returning);
            // It opens and writes again: where it had stopped before proves nothing any more.
            next.positions.clear();
            next.offer = None;
            let why = format!("{} came back while {} served reads", s.me, target(record));
            if record.settled {
                next::judge_doing(
                    s,
                    &mut next,
                    MoveEnd::RolledBack,
                    format!("{why}: it was lost on the way"),
                );
            }
            (next, why)
        }
        _ => (next::phase(s, record, record.phase.clone()), format!("{} re-claims its role", s.me)),
    };
    if record.phase == Phase::Steady {
        next.target = None;
    }
    next::propose(s, plan, next, why);
    true
}

/// Whether the role is this site's and must be re-claimed before anything else.
pub(super) fn reclaim_is_due(s: &Situation<'_>, record: &Record) -> bool {
    record.active == *s.me
        && match record.phase {
            // Given up by this process's own write, its lease kept since: the phase's own rule goes on.
            Phase::Handover | Phase::Offered => s.claim.gave_up_at(s.holder) != Some(record.serial),
            Phase::ReadOnly => true,
            // Its own rule waits there, whoever gave the role up.
            Phase::Withdrawn | Phase::Unknown(_) => false,
            _ => s.claim.must_reclaim(s.holder, s.me),
        }
}

fn target(record: &Record) -> String {
    record.target.as_ref().map_or_else(|| "another site".to_owned(), ToString::to_string)
}

/// Takes an unmanaged policy up again: behaves by the stronger promise first, and writes it when every guard has
/// confirmed that its grant has a deadline.
fn manage_again(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let waiting: Vec<&str> = policy
        .databases
        .keys()
        .filter(|name| {
            let report = s.seen.databases.get(*name).and_then(|d| d.guard.value());
            report.is_none_or(|r| r.unlimited) || !witness::counts(s, record, name)
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
    if ready {
        let mut next = match record.phase {
            Phase::Unmanaged => next::settled_again(s, record),
            // Only the promise changes: whatever else is recorded is not this rule's to mend.
            _ => next::phase(s, record, record.phase.clone()),
        };
        next.promise = s.promise(policy);
        next::propose(s, plan, next, "the policy is managed again");
    }
}

/// Raises the serial while a name points elsewhere by a mark of this epoch that this record cannot overtake. Another
/// history of the arbiter left that mark; in one history no two sites are sent users by the same serial.
fn overtake_marks(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let ahead = policy.traffic.keys().find_map(|name| {
        let at = s.seen.traffic.get(name)?.at.value()?;
        let elsewhere = at.site.as_ref().is_some_and(|site| site != s.me);
        (elsewhere && at.epoch == record.epoch && at.serial >= record.serial).then_some((name, at))
    });
    let Some((name, at)) = ahead.filter(|_| s.grants() && !plan.lock) else { return };
    let why = format!(
        "{name} points at {} by serial {}, which serial {} does not overtake",
        at.site.as_ref().map_or("nobody", AsRef::as_ref),
        at.serial,
        record.serial
    );
    next::propose(s, plan, next::phase(s, record, Phase::Steady), why);
}

/// Brings the recorded promise up to the installation's timing. Grants and guards obey the smaller of the recorded and
/// the configured deadline, so a weaker promise is written first by itself; a stronger one waits until every guard has
/// heard of it and what was granted before has run out.
fn keep_promise(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let wanted = s.promise(policy);
    let stands = wanted == record.promise && !forgets("a promise that stands is not written again");
    if stands || plan.transition.is_some() || plan.lock {
        return;
    }
    match (record.promise.fences, wanted.fences) {
        // A guard that has a grant without a deadline keeps it; only its word ends it.
        (Fences::Never, Fences::Within { .. }) => return manage_again(s, policy, record, plan),
        (Fences::Within { holder, fence }, Fences::Within { holder: r, fence: f })
            if r < holder || f < fence || wanted.lease < record.promise.lease =>
        {
            let old = holder.duration() + fence.duration() + s.timing().g();
            let heard = s.memory.at(Stamp::TimingHeard);
            let passed = heard.map(|t| s.now.since(t));
            let gate = Gate::when(
                passed.is_some_and(|d| d >= old),
                Answer::NotYet,
                "timing",
                passed.map_or_else(
                    || "not every guard has heard of the shorter timing".to_owned(),
                    |d| format!("every guard has heard of the shorter timing {} ago", human(d)),
                ),
                format!("{} after every guard has heard of it", human(old)),
            );
            let ready = gate.passed();
            plan.gates.push(gate);
            if let Some(t) = heard.filter(|_| !ready) {
                plan.again(t + old);
            }
            if !ready {
                return;
            }
        }
        _ => {}
    }
    let mut next = next::phase(s, record, Phase::Steady);
    next.promise = wanted;
    next::propose(s, plan, next, "the installation's timing or the fence class changed: a new promise");
}
