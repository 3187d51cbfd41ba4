//! What becomes of a policy that is let go: suspended, deleted, or without this site?
//!
//! The recorded promise stays in force until the active site writes `Unmanaged`. A transition that is past its point
//! of no return is finished first, one that is not is rolled back; deleting a policy never opens or closes a database.

use std::time::Duration;

use crate::decide::situation::Situation;
use crate::decide::{hold, next, offer, posture};
use crate::moves::MoveEnd;
use crate::name::ItemName;
use crate::plan::{Answer, DatabaseOrder, DatabaseRole, Gate, Plan};
use crate::policy::Policy;
use crate::record::{Fences, Phase, Record};
use crate::time::human;

/// How long a role that was given up waits for its taker when no policy says how long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing changes: every database keeps the role it has. A guard that was started anew has none until it is told, so
/// a database that was opened in this hold is told to serve, where this site may grant. Whatever was not opened in it
/// is left alone.
pub(super) fn keep_roles(s: &Situation<'_>, record: &Record, plan: &mut Plan) {
    posture::keep_everything(s, plan);
    if record.active != *s.me || !s.grants() {
        return;
    }
    for (name, order) in &mut plan.databases {
        let report = s.seen.databases.get(name).and_then(|d| d.guard.value());
        if report.is_some_and(|r| r.opened_epoch == Some(record.epoch)) {
            order.role = DatabaseRole::Serve { open: true };
        }
    }
}

/// The policy says `suspend`: transitions under way end by their own rules, then nobody acts.
pub(super) fn suspended(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    const WHY: &str = "the policy is suspended";
    plan.summary = format!("{WHY}; {} keeps its role", record.active);
    match record.phase {
        Phase::Handover | Phase::Promoting | Phase::Returning | Phase::Offered if record.active == *s.me => {
            posture::take_up(s, policy, record, plan);
            hold::decide(s, policy, record, plan);
            plan.gates.push(under_way(WHY, record));
        }
        _ => {
            keep_roles(s, record, plan);
            let_go(s, record, WHY, plan);
        }
    }
}

/// A complete list does not have the policy.
pub(super) fn deleted(s: &Situation<'_>, record: &Record, plan: &mut Plan) {
    let_go(s, record, "the policy was deleted", plan);
}

/// The policy does not name this site. An active site keeps the role that nobody took from it.
pub(super) fn not_named(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let sites: Vec<&str> = policy.sites.iter().map(AsRef::as_ref).collect();
    plan.summary = format!("this site ({}) is not in spec.sites ({})", s.me, sites.join(", "));
    if record.active != *s.me {
        return;
    }
    plan.gates.push(Gate::new(
        "site",
        Answer::No,
        format!("{} is active and not in spec.sites", s.me),
        format!("{} in spec.sites; to remove it, move the role away first", s.me),
    ));
    if !hold::reclaim(s, record, plan) {
        take_back(s, record, "this site is no longer in spec.sites", plan);
    }
}

fn let_go(s: &Situation<'_>, record: &Record, why: &str, plan: &mut Plan) {
    plan.summary = format!("{why}; {} keeps its role", record.active);
    if record.active != *s.me || hold::reclaim(s, record, plan) || take_back(s, record, why, plan) {
        return;
    }
    match record.phase {
        Phase::Steady | Phase::Promoting | Phase::Returning => {
            let mut next = next::phase(s, record, Phase::Unmanaged);
            next.promise.fences = Fences::Never;
            next::propose(s, plan, next, format!("{why}: {} keeps its role, nobody acts", s.me));
        }
        _ => {}
    }
}

/// What a role needs before it can be let go: a switchover that was begun is rolled back, a database that was locked
/// for it is served again. Returns whether something is needed.
fn take_back(s: &Situation<'_>, record: &Record, why: &str, plan: &mut Plan) -> bool {
    match record.phase {
        Phase::Requested | Phase::Withdrawn => give_up(s, record, why, plan),
        Phase::Handover | Phase::Offered => {
            for order in plan.databases.values_mut() {
                order.role = DatabaseRole::Lock;
            }
            let passed = s.in_phase();
            plan.gates.push(Gate::when(
                passed >= PATIENCE,
                Answer::NotYet,
                "taker",
                format!("{why} in {}, {} ago", record.phase, human(passed)),
                format!("a taker, or {}", human(PATIENCE)),
            ));
            if passed < PATIENCE {
                plan.again(s.now + PATIENCE.saturating_sub(passed));
            } else {
                give_up(s, record, why, plan);
            }
        }
        Phase::Steady | Phase::Promoting | Phase::Returning => return serve_what_is_locked(s, record, plan),
        _ => return false,
    }
    true
}

fn give_up(s: &Situation<'_>, record: &Record, why: &str, plan: &mut Plan) {
    let mut next = next::settled_again(s, record);
    if record.settled {
        next::judge_doing(s, &mut next, MoveEnd::RolledBack, why);
    }
    next::propose(s, plan, next, format!("{why}: {} takes its role back from {}", s.me, record.phase));
}

fn serve_what_is_locked(s: &Situation<'_>, record: &Record, plan: &mut Plan) -> bool {
    let locked = |name: &ItemName| {
        let report = s.seen.databases.get(name).and_then(|d| d.guard.value());
        report.is_some_and(|r| r.locked.is_some())
    };
    let names: Vec<ItemName> = s.seen.databases.keys().filter(|name| locked(name)).cloned().collect();
    if names.is_empty() && s.claim.locking().is_none() {
        return false;
    }
    for name in &names {
        let order = DatabaseOrder { role: DatabaseRole::Serve { open: true }, checkpoint: false };
        plan.databases.insert(name.clone(), order);
        plan.gates.push(Gate::new(
            &format!("database/{name}"),
            Answer::NotYet,
            "its guard is still locked",
            "a guard that serves again",
        ));
    }
    offer::start_again(s, record, plan);
    true
}

fn under_way(why: &str, record: &Record) -> Gate {
    Gate::new(
        "phase",
        Answer::NotYet,
        format!("{why} during {}", record.phase),
        "the transition's end; the recorded promise stays in force until then",
    )
}
