//! Is a database's guard gone with its node, and when may the role be offered without its word?
//!
//! Nobody can ask such a guard to lock, and it may extend its own grant for as long as the record lets it. So the record
//! is changed to a phase that grants nothing, what was granted before is waited out, and only then is the role offered.

use std::time::Duration;

use crate::decide::situation::Situation;
use crate::decide::{next, offer, witness};
use crate::memory::Stamp;
use crate::moves::MoveEnd;
use crate::plan::{Answer, Gate, Plan, all_passed};
use crate::policy::{After, Policy};
use crate::record::{Cause, Fences, Offer, Phase, Record};
use crate::time::human;

/// The active site in a phase that grants: gives up the role of a database whose guard has been gone for longer than a
/// restart of its pod takes, if another site may take it.
pub(super) fn watch(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let Some(since) = s.memory.at(Stamp::GuardGone) else { return };
    let Some(gone) = witness::gone(s, policy, record) else { return };
    let (passed, wanted) = (s.now.since(since), policy.failover.restart_grace);
    if passed < wanted {
        plan.again(since + wanted);
        return;
    }
    let mut gates = vec![
        Gate::when(
            record.promise.fences != Fences::Never,
            Answer::No,
            "promise",
            "this site promised nothing: its server may go on without an end",
            "a promise to fence",
        ),
        s.not_held(record),
        s.cooldown(policy, record),
        Gate::when(
            policy.failover.promote_after != After::Never,
            Answer::No,
            "promote",
            "spec.failover.promote.after is Never",
            "an automatic failover, or a Move",
        ),
        offer::taker(s, policy),
    ];
    let may = all_passed(&gates) && s.grants();
    plan.gates.append(&mut gates);
    if !may {
        return;
    }
    let mut next = next::phase(s, record, Phase::Withdrawn);
    next.target = None;
    if record.phase != Phase::Promoting {
        next::begin(s, &mut next, Cause::DatabaseDead, s.me);
    }
    let why = format!("{}, for {}: {} grants nothing more", gone.found, human(passed), s.me);
    next::propose(s, plan, next, why);
}

/// The active site in `Withdrawn`: takes its role back when the guard is there again, or offers it once every grant has
/// run out, on two machines' clocks, since this process knows that the record says so.
pub(super) fn wait(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let Some(gone) = witness::gone(s, policy, record) else {
        let mut next = next::settled_again(s, record);
        let why = format!("the guard is there again: {} takes its role back", s.me);
        if record.settled {
            next::judge_doing(s, &mut next, MoveEnd::RolledBack, why.clone());
        }
        next::propose(s, plan, next, why);
        return;
    };
    let (passed, wanted) = (s.memory.unchanged_for(s.now), witness::granted_until_gone(s, record));
    plan.gates.push(Gate::when(
        passed >= wanted,
        Answer::NotYet,
        "withdrawal",
        format!("nothing was granted for {}", human(passed)),
        format!("{}: every grant has run out", human(wanted)),
    ));
    if passed < wanted {
        plan.again(s.now + wanted.saturating_sub(passed).max(Duration::from_millis(1)));
        return;
    }
    let mut next = next::phase(s, record, Phase::Offered);
    next.target = None;
    // Nobody asked the guard whether anything was opened.
    let ends = offer::known_ends(s, policy);
    next.offer = Some(Offer { never_opened: false, ends, reason: gone.found.clone() });
    next::propose(s, plan, next, format!("{}, and every grant has run out: the role is offered", gone.found));
}
