//! Is the database dead while its operator lives, and who takes it?

use std::time::Duration;

use crate::decide::situation::Situation;
use crate::decide::{candidate, next, note, posture, take, withdraw, witness};
use crate::few::Few;
use crate::guard::wire::{Disk, ServerState};
use crate::loss::{LossBound, offered};
use crate::memory::Stamp;
use crate::moves::MoveEnd;
use crate::mutant::forgets;
use crate::name::ItemName;
use crate::observation::Fact;
use crate::plan::{Answer, Gate, Plan, all_passed};
use crate::policy::{After, Policy};
use crate::position::Position;
use crate::record::{Cause, Offer, Phase, Record};
use crate::time::human;

/// How often, at most, a database that keeps dying is let start again.
pub(super) const START_AGAIN: Duration = Duration::from_secs(5);

/// How long an offer waits for this site's read-only flags. Nobody can write here any more; what the flags spare users
/// are two sites that both call themselves writable, and that is not worth more.
const FLAGS: Duration = Duration::from_secs(1);

/// The active site in `Steady` or `Returning`: a dead database is locked and offered, if another site may take it;
/// otherwise its own site starts it again.
pub(super) fn watch(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if let Some(serial) = s.claim.locking() {
        return offer(s, policy, record, serial, plan);
    }
    if let Some(reason) = dead(s, policy, record) {
        let mut gates = vec![Gate::new("database", Answer::No, reason, "a running primary")];
        gates.extend(may_be_taken(s, policy, record));
        // A lock that one of them cannot confirm would only stop the others.
        gates.extend(witness::missing(s, policy, record));
        let may = all_passed(&gates[1..]) && s.grants() && s.claim.current().is_some();
        plan.gates.append(&mut gates);
        if may {
            posture::lock(plan);
            return;
        }
    }
    for name in policy.databases.keys() {
        let guard = s.seen.databases.get(name).map(|d| &d.guard);
        if let Some(Fact::Unknown { reason }) = guard {
            plan.gates.push(Gate::new(
                &format!("database/{name}/guard"),
                Answer::Unknown,
                reason.clone(),
                "a report of its guard",
            ));
        }
    }
    withdraw::watch(s, policy, record, plan);
    start_again(s, record, plan);
}

/// The guards were ordered to lock at `serial`: once every one has confirmed it, the role is offered.
fn offer(s: &Situation<'_>, policy: &Policy, record: &Record, serial: u64, plan: &mut Plan) {
    posture::lock(plan);
    if !note::locked(s, policy, record, serial) {
        plan.gates.push(Gate::new(
            "locked",
            Answer::NotYet,
            format!("not every guard has confirmed its lock at serial {serial}"),
            "every guard has confirmed its lock",
        ));
        plan.gates.extend(witness::missing(s, policy, record));
        unlock(s, policy, record, plan);
        return;
    }
    let ordered = s.memory.at(Stamp::LockOrdered).unwrap_or(s.now);
    if !posture::read_only_set(policy, s.seen) && s.now.since(ordered) < FLAGS {
        plan.again(ordered + FLAGS);
        plan.gates.push(Gate::new(
            "readOnly",
            Answer::NotYet,
            posture::read_only_words(policy, s.seen),
            format!("the read-only flags are set before the role is offered, or {}", human(FLAGS)),
        ));
        return;
    }
    let mut next = next::phase(s, record, Phase::Offered);
    next.target = None;
    next.offer = Some(Offer {
        never_opened: false,
        ends: known_ends(s, policy),
        reason: dead(s, policy, record).unwrap_or_else(|| "its guard is locked".to_owned()),
    });
    next::begin(s, &mut next, Cause::DatabaseDead, s.me);
    next::propose(s, plan, next, format!("the database in {} is dead and locked: it is offered", s.me));
}

/// A lock that somebody does not confirm in time is taken back by a write that keeps the phase: the databases whose
/// guards did confirm it must not wait for the one whose node died.
pub(super) fn unlock(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let Some(ordered) = s.memory.at(Stamp::LockOrdered) else { return };
    let (passed, wanted) = (s.now.since(ordered), policy.failover.offer_for);
    if passed < wanted {
        plan.again(ordered + wanted);
        return;
    }
    let next = next::phase(s, record, record.phase.clone());
    let why = format!("not every guard confirmed its lock within {}: {} serves again", human(wanted), s.me);
    next::propose(s, plan, next, why);
}

/// A guard whose primary died locks itself at the serial it knows: only a higher one lets it start again. So a role
/// that is not offered is claimed once more, at most once in a while.
pub(super) fn start_again(s: &Situation<'_>, record: &Record, plan: &mut Plan) {
    let locked = s.seen.databases.iter().find(|(_, d)| {
        let report = d.guard.value();
        report.is_some_and(|r| r.state.is_down() && r.locked.is_some_and(|at| at >= record.serial))
    });
    let Some((name, _)) = locked else { return };
    let passed = s.memory.unchanged_for(s.now);
    if forgets("a dead database is started again") {
        return;
    }
    if passed < START_AGAIN {
        plan.again(s.now + START_AGAIN.saturating_sub(passed));
        return;
    }
    let next = next::phase(s, record, record.phase.clone());
    next::propose(s, plan, next, format!("{name} is locked and not offered: {} starts it again", s.me));
}

/// Why a database of the active site is dead, if one is: its server ended or cannot be started although its guard
/// knows the record as it is, and its guard's word counts. A stop that Kubernetes asked for counts after
/// `restartGrace`.
pub(super) fn dead(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<String> {
    if forgets("a dead database is noticed") {
        return None;
    }
    policy.databases.keys().find_map(|name| {
        let report = s.seen.databases.get(name)?.guard.value()?;
        if !witness::counts(s, record, name) {
            return None;
        }
        if report.sigterm {
            let since = s.memory.at(Stamp::DeadSince).filter(|_| report.state.is_down())?;
            let down = s.now.since(since);
            let long = down >= policy.failover.restart_grace;
            return long.then(|| format!("{name} was asked to stop and has been down for {}", human(down)));
        }
        if report.serial < record.serial {
            return None;
        }
        match &report.state {
            ServerState::Primary { .. } if forgets("only a dead database is offered") => {
                Some("it runs".to_owned())
            }
            ServerState::Failed { reason, .. } => Some(format!("{name} cannot be started: {reason}")),
            ServerState::Down if report.locked.is_some_and(|at| at >= record.serial) => {
                report.exited.as_ref().map(|why| format!("{name} died: {why}"))
            }
            _ => None,
        }
    })
}

/// Whether another site may take the role by itself, as gates: without a person and without harm to what goes on.
pub(super) fn may_be_taken(s: &Situation<'_>, policy: &Policy, record: &Record) -> [Gate; 4] {
    let automatic = Gate::when(
        policy.failover.promote_after != After::Never,
        Answer::No,
        "promote",
        s.installation.why_never(),
        "an automatic failover, or a Move",
    );
    [s.not_held(record), s.cooldown(policy, record), automatic, taker(s, policy)]
}

/// Whether another site lives and has nothing against being promoted, as a gate.
fn taker(s: &Situation<'_>, policy: &Policy) -> Gate {
    let mut words = Vec::new();
    for site in policy.other_sites(s.me) {
        let facts = s.facts(site);
        let blockers = facts.value().map(|f| f.blockers.first().map(Gate::words));
        match (s.lives(site), blockers) {
            (Some(true), Some(None)) => {
                return Gate::new("taker", Answer::Yes, format!("{site} can take"), "a site that can take");
            }
            (Some(true), Some(Some(why))) => words.push(format!("{site} cannot: {why}")),
            (Some(true), None) => words.push(format!("{site} has said nothing")),
            _ => words.push(format!("{site} is not known to live")),
        }
    }
    Gate::new("taker", Answer::No, words.join("; "), "a site that can take")
}

/// The last end of write-ahead log that each database of this site was known to have.
pub(super) fn known_ends(s: &Situation<'_>, policy: &Policy) -> Few<ItemName, Position> {
    policy
        .databases
        .keys()
        .filter_map(|name| {
            let report = s.seen.databases.get(name)?.guard.value()?;
            let Disk::Cluster(c) = &report.disk else { return None };
            let p = report.positions.as_ref()?;
            let lsn = p.flush.max(p.receive)?;
            Some((name.clone(), Position { system_id: c.system_id, timeline: p.timeline?, lsn }))
        })
        .collect()
}

/// The active site in `Offered`: takes its role back when nobody took it in time.
pub(super) fn withdraw(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let wanted = policy.failover.offer_for;
    let passed = s.in_phase();
    plan.gates.push(Gate::when(
        passed >= wanted,
        Answer::NotYet,
        "offer",
        format!("offered for {}", human(passed)),
        format!("a taker, or {}", human(wanted)),
    ));
    if passed < wanted || forgets("an offer has an end") {
        plan.again(s.now + wanted.saturating_sub(passed));
        return;
    }
    let mut next = next::settled_again(s, record);
    // A hold that never settled goes on promoting, and so does its Move.
    if record.settled {
        next::judge_doing(s, &mut next, MoveEnd::RolledBack, "nobody took the offered role");
    }
    next::propose(
        s,
        plan,
        next,
        format!("nobody took the role within {}: {} recovers by itself", human(wanted), s.me),
    );
}

/// Another site in `Offered`: takes the role at once, if the loss gate agrees.
pub(super) fn take(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let Some(offer) = &record.offer else { return };
    let handed_back = offer.never_opened
        && record.previous.as_ref().is_some_and(|p| {
            (p.settled || forgets("only a hold that settled is excused")) && p.site == *s.me
        });
    let mut gates = vec![Gate::when(
        s.lease_alive(),
        Answer::NotYet,
        "ownLease",
        "this site's own lease",
        "renewed in time",
    )];
    // A server that is not running yet is no obstacle to handing a role back: everything is on its disk.
    let own_state = |g: &Gate| {
        g.answer == Answer::NotYet
            && policy.databases.keys().any(|n| g.name == format!("database/{n}/server"))
    };
    gates.extend(plan.blockers.iter().filter(|g| !(handed_back && own_state(g))).cloned());
    for name in policy.databases.keys() {
        let state = s.seen.databases.get(name).and_then(|d| d.guard.value()).map(|r| &r.state);
        gates.push(Gate::when(
            handed_back || state.is_some_and(|st| matches!(st, ServerState::Standby { .. })),
            Answer::NotYet,
            &format!("database/{name}/replica"),
            state.map_or_else(|| "no report".to_owned(), crate::decide::eligible::state_words),
            "a running replica",
        ));
    }
    gates.extend(take::veto(s, policy));
    let bound = if handed_back { LossBound::NOTHING } else { offered_loss(s, policy, record, offer) };
    let max = &policy.failover.max_data_loss;
    if !handed_back {
        gates.push(s.not_held(record));
        gates.push(Gate::when(
            bound.within(max),
            if bound == LossBound::UNKNOWN { Answer::Unknown } else { Answer::No },
            "loss",
            bound.words_beside(max),
            bound.allowed(max),
        ));
    }
    let may = all_passed(&gates) && s.claim.current().is_some() && !forgets("an offered role is taken");
    plan.gates.append(&mut gates);
    if !may {
        return;
    }
    if let Some(turn) = turn(s, policy, record, handed_back, plan) {
        plan.gates.push(turn);
        return;
    }
    let mut base = record.clone();
    let cause = if handed_back { Cause::PromotionFailed } else { Cause::DatabaseDead };
    next::begin(s, &mut base, cause, s.me);
    let mut next = next::promoted(s, policy, &base);
    if let Some(t) = &mut next.transition {
        t.loss_bound = Some(bound);
    }
    take::sizes_of(s, record, &mut next);
    let (end, said) = if handed_back {
        (MoveEnd::RolledBack, "the promotion failed and the role went back")
    } else {
        (MoveEnd::BecameFailover, "the role was offered on the way")
    };
    next::judge_doing(s, &mut next, end, said);
    next::propose(s, plan, next, format!("{} takes the offered role; {}", s.me, bound.said()));
}

/// Whether another site goes first: the one that the role is handed back to, then the one that loses least. Everybody's
/// turn comes before the offer ends.
fn turn(
    s: &Situation<'_>,
    policy: &Policy,
    record: &Record,
    handed_back: bool,
    plan: &mut Plan,
) -> Option<Gate> {
    if handed_back {
        return None;
    }
    let patience = record.promise.lease.duration().min(policy.failover.offer_for / 2);
    let waited = s.in_phase();
    let given_back = record.offer.as_ref().is_some_and(|o| o.never_opened);
    let back = record.target.as_ref().filter(|t| given_back && *t != s.me && s.lives(t) == Some(true));
    let gate = match back {
        Some(site) if waited < patience => Some(Gate::new(
            "turn",
            Answer::NotYet,
            format!("the role is handed back to {site}, where nothing is lost"),
            format!("its take, or {} without it", human(patience)),
        )),
        _ => candidate::turn(s, policy, record, (waited, patience)),
    }?;
    plan.again(s.now + patience.saturating_sub(waited));
    Some(gate)
}

pub(super) fn offered_loss(s: &Situation<'_>, policy: &Policy, record: &Record, offer: &Offer) -> LossBound {
    let seen = s.memory.phase_seen().unwrap_or(s.now);
    policy.databases.keys().fold(LossBound::NOTHING, |worst, name| {
        let view = s.seen.databases.get(name);
        let received = view
            .and_then(|d| d.guard.value())
            .and_then(|r| r.positions.as_ref())
            .and_then(|p| p.receive.max(p.replay));
        let end = offer.ends.get(name).map(|p| p.lsn);
        let bound = offered(view.and_then(|d| d.last_contact.as_ref()), end, received, seen);
        worst.worst(bound.and_said(take::said_behind(s, record, name)))
    })
}
