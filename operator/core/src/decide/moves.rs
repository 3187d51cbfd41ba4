//! Which Move is acted on, which is refused, which is waited with?

use std::cmp::Ordering;
use std::time::Duration;

use crate::decide::next;
use crate::decide::situation::Situation;
use crate::decide::take::{Forced, promote_gates, propose_take, silence};
use crate::moves::{Move, MoveEnd, Order};
use crate::mutant::forgets;
use crate::name::SiteName;
use crate::plan::{Answer, Gate, Plan, all_passed};
use crate::policy::Policy;
use crate::record::{Cause, HoldUntil, MoveInProgress, Phase, Record};
use crate::time::human;

/// What is done with one Move.
enum Ruling {
    /// It is not acted on now, and may be later.
    Wait(Gate),
    /// It ends without having been started.
    End(MoveEnd, String),
    /// It may be started.
    Start,
}

/// Looks at every Move that has no verdict yet and proposes at most one change.
pub(super) fn decide(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if !s.may_write() || (record.active == *s.me && !speaks_for_itself(s, record, plan)) {
        return;
    }
    let mut open: Vec<&Move> = open(s, record).collect();
    open.sort_by(|a, b| (a.not_before, &a.name, &a.hash).cmp(&(b.not_before, &b.name, &b.hash)));
    for mv in open {
        match rule(s, policy, record, mv, plan) {
            Ruling::Wait(gate) => plan.gates.push(gate),
            Ruling::End(end, message) => {
                if speaks(s, record, mv) {
                    let mut next = next::phase(s, record, record.phase.clone());
                    next::judge(s, &mut next, mv, end, message.clone());
                    next::propose(s, plan, next, format!("Move {}: {message}", mv.name));
                    return;
                }
            }
            Ruling::Start => {
                start(s, policy, record, mv, plan);
                if plan.transition.is_some() {
                    return;
                }
            }
        }
    }
}

/// The Moves that have neither a verdict nor begun.
fn open<'a>(s: &Situation<'a>, record: &Record) -> impl Iterator<Item = &'a Move> {
    s.moves.iter().filter(|m| {
        let judged = record.verdict(&m.hash).is_some() && !forgets("a Move with a verdict is done with");
        !judged && record.doing.as_ref().is_none_or(|d| d.hash != m.hash)
    })
}

/// Whether a Move is there that must be looked at before anything is done without it: an `Abort`, before the database
/// is stopped, a `Failover`, before the record changes and makes its statement stale, and a `Hold` that the active site was
/// lost too early to record.
pub(super) fn is_urgent(s: &Situation<'_>, record: &Record) -> bool {
    open(s, record).any(|m| match m.order {
        Order::Abort => matches!(record.phase, Phase::Requested | Phase::Handover) && record.active == *s.me,
        Order::Failover { .. } => m.order.to() == Some(s.me) && record.active != *s.me,
        Order::Hold => record.active != *s.me,
        _ => false,
    })
}

/// Whether the active site may write about Moves now: not before it has re-claimed its role, nor while its guards are
/// being locked, for such a write would unlock them again. (In `Requested` only an `Abort` gets that far, and a write
/// into a phase that does not grant unlocks nothing.)
fn speaks_for_itself(s: &Situation<'_>, record: &Record, plan: &Plan) -> bool {
    let locking = s.claim.locking().is_some() || plan.lock;
    !crate::decide::hold::reclaim_is_due(s, record)
        && (record.phase == Phase::Requested || !record.phase.grants() || !locking)
        && (!record.phase.grants() || locking || s.grants())
}

/// Whether this site is the one that gives the verdict: the active site; when that is silent, the Move's own target.
fn speaks(s: &Situation<'_>, record: &Record, mv: &Move) -> bool {
    if record.active == *s.me {
        return true;
    }
    let silent = s.lives(&record.active) == Some(false);
    match mv.order.to() {
        Some(to) if to != &record.active => {
            to == s.me && (silent || matches!(mv.order, Order::Failover { .. }))
        }
        _ => silent,
    }
}

fn rule(s: &Situation<'_>, policy: &Policy, record: &Record, mv: &Move, plan: &mut Plan) -> Ruling {
    // Any write would make what is under way start over, or spoil what it measures.
    let may_disturb = match mv.order {
        Order::Failover { .. } => record.active != *s.me,
        Order::Abort => record.phase != Phase::Promoting,
        _ => false,
    };
    if matches!(record.phase, Phase::Requested | Phase::Handover | Phase::Promoting) && !may_disturb {
        let found = format!("the record is in {}", record.phase);
        return Ruling::Wait(gate(mv, Answer::NotYet, found, "the end of what is under way"));
    }
    if let Some(after) = mv.not_after.filter(|t| *t < s.wall) {
        return Ruling::End(MoveEnd::Stale, format!("its notAfter, {after}, has passed"));
    }
    match mv.epoch.map(|epoch| (epoch, epoch.cmp(&record.epoch))) {
        Some((epoch, Ordering::Less)) => {
            let message =
                format!("it names epoch {epoch}; {} is active at epoch {}", record.active, record.epoch);
            return Ruling::End(MoveEnd::Stale, message);
        }
        Some((epoch, Ordering::Greater)) => {
            let message =
                format!("it names epoch {epoch}, which has not come; the present one is {}", record.epoch);
            return Ruling::End(MoveEnd::Refused, message);
        }
        Some((_, Ordering::Equal)) | None => {}
    }
    if let Some(serial) =
        mv.serial.filter(|serial| *serial != record.serial && !forgets("a statement names the serial"))
    {
        let message = format!("it was said of serial {serial}; the record is at {}", record.serial);
        return Ruling::End(MoveEnd::Stale, message);
    }
    if let Some(from) = mv.from.as_ref().filter(|f| **f != record.active) {
        return Ruling::End(
            MoveEnd::Refused,
            format!("it says that {from} is active, but {} is", record.active),
        );
    }
    if let Some(before) = mv.not_before.filter(|t| *t > s.wall) {
        if let Ok(wait) = Duration::try_from(before.duration_since(s.wall)) {
            plan.again(s.now + wait);
        }
        return Ruling::Wait(gate(mv, Answer::NotYet, format!("its notBefore is {before}"), "that time"));
    }
    if let Some(to) = mv.order.to() {
        if !policy.has_site(to) {
            let sites: Vec<&str> = policy.sites.iter().map(SiteName::as_str).collect();
            return Ruling::End(
                MoveEnd::Refused,
                format!("{to} is not in spec.sites ({})", sites.join(", ")),
            );
        }
        let failover = matches!(mv.order, Order::Failover { .. });
        if *to == record.active && (failover || record.phase == Phase::Steady) {
            return Ruling::End(MoveEnd::Refused, format!("{to} is active already (epoch {})", record.epoch));
        }
    }
    match &mv.order {
        Order::Switchover { to } => rule_switchover(s, record, mv, to),
        Order::Failover { source_stopped, .. } => rule_failover(s, record, mv, source_stopped.is_some()),
        Order::Hold if mv.not_after.is_none() => {
            Ruling::End(MoveEnd::Refused, "a Hold needs notAfter: how long is it meant to last?".to_owned())
        }
        Order::Hold | Order::Resume if !speaks(s, record, mv) => {
            let found = format!("{} writes it", record.active);
            Ruling::Wait(gate(mv, Answer::NotYet, found, "the active site, or its silence"))
        }
        Order::Hold | Order::Resume => Ruling::Start,
        Order::Abort => match record.phase {
            Phase::Requested | Phase::Handover if record.active == *s.me => Ruling::Start,
            Phase::Requested | Phase::Handover => Ruling::Wait(gate(
                mv,
                Answer::NotYet,
                "the active site decides it".to_owned(),
                "the active site",
            )),
            _ => Ruling::End(
                MoveEnd::Refused,
                format!("there is no switchover that can still be given up (phase {})", record.phase),
            ),
        },
    }
}

fn rule_switchover(s: &Situation<'_>, record: &Record, mv: &Move, to: &SiteName) -> Ruling {
    if record.phase != Phase::Steady || record.doing.is_some() {
        let found = format!("the record is in {}", record.phase);
        return Ruling::Wait(gate(mv, Answer::NotYet, found, "Steady, with nothing in progress"));
    }
    let alive = if record.active == *s.me { Some(true) } else { s.lives(&record.active) };
    if alive != Some(true) {
        let found = format!("{} is silent", record.active);
        return Ruling::Wait(gate(
            mv,
            Answer::NotYet,
            found,
            "a living source; use Failover when it is lost",
        ));
    }
    if to != s.me && s.lives(to) == Some(false) {
        return Ruling::Wait(gate(mv, Answer::NotYet, format!("{to} is silent"), "a living target"));
    }
    Ruling::Start
}

/// Why a site that lives keeps its role, and what to do instead.
fn lives_still(active: &SiteName) -> String {
    format!("{active} is active and its lease lives, so {}", only_itself(active))
}

/// The same from afar: the site may be dead, and its lease not over yet.
fn counts_as_alive(s: &Situation<'_>, record: &Record) -> String {
    let active = &record.active;
    format!(
        "{active} is active and its lease lives: it was last seen to change {} ago and counts as alive for {}; if {active} is dead, make a new Move with another name after that; if it lives, {}",
        human(s.silent_for(active).unwrap_or_default()),
        human(record.promise.lease.duration()),
        only_itself(active)
    )
}

fn only_itself(active: &SiteName) -> String {
    format!(
        "only {active} can give its role up: use Switchover; if its database is dead and it does not offer its role, its status says why, and a Failover is possible once its operator is stopped"
    )
}

fn rule_failover(s: &Situation<'_>, record: &Record, mv: &Move, stopped: bool) -> Ruling {
    if stopped && mv.serial.is_none() {
        let message = "sourceStopped needs serial: which state was it said of?".to_owned();
        return Ruling::End(MoveEnd::Refused, message);
    }
    if record.active == *s.me {
        let message = lives_still(&record.active);
        return Ruling::End(MoveEnd::Refused, message);
    }
    match s.lives(&record.active) {
        Some(true) => Ruling::End(MoveEnd::Refused, counts_as_alive(s, record)),
        Some(false) => match mv.order.to().filter(|to| *to != s.me) {
            Some(to) => {
                Ruling::Wait(gate(mv, Answer::NotYet, format!("{to} carries it out"), "the target's take"))
            }
            None => Ruling::Start,
        },
        None => Ruling::Wait(gate(
            mv,
            Answer::Unknown,
            "the source's lease was not looked at for long enough".to_owned(),
            "its silence",
        )),
    }
}

fn gate(mv: &Move, answer: Answer, found: String, needed: &str) -> Gate {
    Gate::new(&format!("move/{}", mv.name), answer, found, needed)
}

fn start(s: &Situation<'_>, policy: &Policy, record: &Record, mv: &Move, plan: &mut Plan) {
    let doing = MoveInProgress {
        hash: mv.hash.clone(),
        name: mv.name.clone(),
        reason: mv.reason.clone(),
        not_after: mv.not_after,
    };
    match &mv.order {
        Order::Switchover { to } => {
            let mut next = next::phase(s, record, Phase::Requested);
            next.target = Some(to.clone());
            next.doing = Some(doing).filter(|_| !forgets("a switchover names its Move"));
            next::begin(s, &mut next, Cause::Planned, to);
            crate::decide::take::sizes_of(s, record, &mut next);
            if record.active == *s.me {
                let mine = s
                    .seen
                    .workloads
                    .iter()
                    .filter_map(|(n, w)| Some((n.clone(), w.replicas.value()?.wanted)));
                next.sizes.extend(mine);
            }
            next::propose(s, plan, next, format!("Move {} asks for {to}: {}", mv.name, mv.reason));
        }
        // Only its own target may start it.
        Order::Failover { source_stopped, accept_data_loss, .. } => {
            let forced = Forced {
                source_stopped: source_stopped.as_deref(),
                accept_data_loss: *accept_data_loss,
                serial: mv.serial,
            };
            let mut gates = vec![silence(s, record)];
            gates.extend(promote_gates(s, policy, record, Some(forced)));
            let refused = gates.iter().find(|g| g.answer == Answer::No).map(Gate::words);
            let may = all_passed(&gates);
            plan.gates.append(&mut gates);
            if may {
                propose_take(s, policy, record, Cause::Forced, plan);
                if let Some(change) = &mut plan.transition {
                    let said = format!("Move {} took its place", mv.name);
                    next::judge_doing(s, &mut change.next, MoveEnd::BecameFailover, said);
                    change.next.doing = Some(doing);
                }
            } else if let Some(why) = refused {
                let mut next = next::phase(s, record, record.phase.clone());
                next::judge(s, &mut next, mv, MoveEnd::Refused, why.clone());
                next::propose(s, plan, next, format!("Move {} is refused: {why}", mv.name));
            }
        }
        Order::Hold => {
            let Some(until) = mv.not_after else { return };
            let mut next = next::phase(s, record, record.phase.clone());
            next.hold = Some(HoldUntil { until, reason: mv.reason.clone(), hash: mv.hash.clone() });
            next::judge(s, &mut next, mv, MoveEnd::Done, format!("held until {until}"));
            next::propose(s, plan, next, format!("Move {}: held until {until}: {}", mv.name, mv.reason));
        }
        Order::Resume => {
            let mut next = next::phase(s, record, record.phase.clone());
            next.hold = None;
            next::judge(s, &mut next, mv, MoveEnd::Done, "the hold is over");
            next::propose(s, plan, next, format!("Move {}: the hold is over: {}", mv.name, mv.reason));
        }
        Order::Abort => {
            let mut next = next::settled_again(s, record);
            next::judge_doing(
                s,
                &mut next,
                MoveEnd::RolledBack,
                format!("given up by Move {}: {}", mv.name, mv.reason),
            );
            next::judge(s, &mut next, mv, MoveEnd::Done, "the switchover was given up");
            next::propose(s, plan, next, format!("Move {} gives the switchover up: {}", mv.name, mv.reason));
        }
    }
}
