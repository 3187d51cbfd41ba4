//! Is a database's guard gone with its node, and when may the role be offered without its word?
//!
//! Nobody can ask such a guard to lock, and it may extend its own grant for as long as the record lets it. So the record
//! is changed to a phase that grants nothing, what was granted before is waited out, and only then is the role offered.

use std::time::Duration;

use crate::blocker;
use crate::decide::situation::Situation;
use crate::decide::{next, offer, witness};
use crate::memory::Stamp;
use crate::moves::MoveEnd;
use crate::mutant::forgets;
use crate::observation::Fact;
use crate::plan::{Answer, Gate, Plan, all_passed};
use crate::policy::Policy;
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
    let mut gates = vec![Gate::when(
        record.promise.fences != Fences::Never,
        Answer::No,
        "promise",
        "this site promised nothing: its server may go on without an end",
        "a promise to fence",
    )];
    gates.extend(offer::may_be_taken(s, policy, record));
    gates.push(silent_server(s, policy, record));
    gates.push(worth_offering(s, policy, record));
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

/// Whether the database is known not to answer the operator's own role either. One that does only lost its guard's way
/// to the operator: the guard lives, goes on by the arbiter, and nobody is to stop a healthy writer for that.
fn silent_server(s: &Situation<'_>, policy: &Policy, record: &Record) -> Gate {
    let needed = "a database that does not answer either";
    if forgets("a database that answers is not withdrawn") {
        return Gate::new("server", Answer::Yes, "not asked", needed);
    }
    let no_way = |gate: &Gate| !gate.passed() && blocker::is_no_answer(gate);
    for name in policy.databases.keys().filter(|name| witness::is_gone(s, record, name)) {
        let (answer, found) = match s.seen.databases.get(name).map(|d| &d.preflight) {
            Some(Fact::Known { value, .. }) if value.iter().any(no_way) => continue,
            Some(Fact::Known { .. }) => {
                let found =
                    format!("{name} answers the operator's own role, so its guard lives and keeps it");
                (Answer::No, found)
            }
            Some(Fact::Unknown { reason }) => {
                (Answer::Unknown, format!("whether {name} answers is not known: {reason}"))
            }
            None => (Answer::Unknown, format!("{name} was not looked at yet")),
        };
        return Gate::new("server", answer, found, needed);
    }
    Gate::new("server", Answer::Yes, "no database without a guard answers", needed)
}

/// Whether some other site could take the role without losing more than is allowed. One that has received nothing for
/// too long by the time of the offer would have to refuse it, and the users of what may still be served were stopped
/// for nothing, again and again. What else a taker needs is another gate's question.
fn worth_offering(s: &Situation<'_>, policy: &Policy, record: &Record) -> Gate {
    let (wait, most) = (witness::granted_until_gone(s, record), policy.failover.max_data_loss.seconds);
    let mut refused = Vec::new();
    let mut open = false;
    for site in policy.other_sites(s.me) {
        let Fact::Known { value, age } = s.facts(site) else { continue };
        let deaf = policy.databases.keys().find(|name| value.not_streaming.contains_key(*name));
        match deaf.filter(|_| age + wait > most) {
            Some(name) => refused.push(format!(
                "{site} has received nothing of {name} for {}: at the offer at least {} unseen",
                human(age),
                human(age + wait)
            )),
            None => open = true,
        }
    }
    Gate::when(
        open || refused.is_empty(),
        Answer::No,
        "loss",
        if refused.is_empty() { "no site is known to lose too much".to_owned() } else { refused.join("; ") },
        format!(
            "at most {} unseen; a shorter spec.failover.databaseLost.restartGrace gives up earlier",
            human(most)
        ),
    )
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
    let wanted = if forgets("a withdrawal's last tick") { wanted * 4 / 5 } else { wanted };
    plan.gates.push(Gate::when(
        passed >= wanted,
        Answer::NotYet,
        "withdrawal",
        format!("nothing was granted for {}", human(passed)),
        format!("{}: every grant has run out", human(wanted)),
    ));
    if passed < wanted && !forgets("a withdrawn grant is waited out") {
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
