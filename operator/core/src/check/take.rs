//! A change of the active site: what allows it, and what it may lose.

use super::change::{open_move, reports};
use super::{Case, Found, Rule};
use crate::guard::wire::{Disk, Report, ServerState};
use crate::loss::LossBound;
use crate::moves::{Move, Order};
use crate::plan::Change;
use crate::policy::After;
use crate::position::Position;
use crate::record::{Fences, Phase, Record};

pub(super) fn check(case: &Case<'_>, before: &Record, change: &Change, found: &mut Found) {
    let next = &change.next;
    let mine = next.active == *case.s.me && next.phase == Phase::Promoting && !next.settled;
    found.want(mine, Rule::Writer, || {
        format!("{} would make {} active in {}", case.s.me, next.active, next.phase)
    });
    found.want(case.policy.is_some(), Rule::Intent, || "no policy in force".to_owned());
    let remembered =
        next.previous.as_ref().is_some_and(|p| p.site == before.active && p.settled == before.settled);
    found.want(remembered, Rule::Memory, || "the hold before would be forgotten".to_owned());
    let marks = case.s.seen.high_water.value().is_some();
    found.want(marks, Rule::WentBack, || "this site's high-water mark is not known".to_owned());

    let planned = before.phase == Phase::Handover
        && before.target.as_ref() == Some(case.s.me)
        && change.unchanged_lease.is_none();
    let offered = before.phase == Phase::Offered && change.unchanged_lease.is_none();
    if planned {
        for (name, report) in reports(case) {
            let proved = report.zip(before.positions.get(name)).is_some_and(|(r, stop)| has_passed(r, stop));
            found.want(proved, Rule::Proof, || format!("{name} has not replayed all that was written"));
        }
    } else if offered {
        from_offer(case, before, next, found);
    } else {
        from_silence(case, before, change, found);
    }
}

fn has_passed(report: &Report, stop: &Position) -> bool {
    let same = matches!(&report.disk, Disk::Cluster(c) if c.system_id == stop.system_id);
    let there = report.positions.as_ref().is_some_and(|p| {
        p.timeline == Some(stop.timeline) && p.replay.is_some_and(|replay| replay.0 > stop.lsn.0)
    });
    same && there && matches!(report.state, ServerState::Standby { .. })
}

/// The lease of the active site is compared, and was seen unchanged for the recorded time.
pub(super) fn silence(case: &Case<'_>, before: &Record, change: &Change, found: &mut Found) {
    let received = case.s.claim.view().map(|v| v.received);
    let window = case.s.observer.window(&before.active);
    let proved = window.zip(received).is_some_and(|(w, received)| {
        w.last_sent.since(w.first_received) >= before.promise.lease.duration()
            && w.last_sent >= received
            && change.unchanged_lease.as_ref() == Some(&(before.active.clone(), w.revision))
    });
    found.want(proved, Rule::Evidence, || {
        format!(
            "{} is not proved silent for {}, or its lease is not compared",
            before.active, before.promise.lease
        )
    });
}

fn from_silence(case: &Case<'_>, before: &Record, change: &Change, found: &mut Found) {
    let next = &change.next;
    silence(case, before, change, found);
    let order = next
        .doing
        .as_ref()
        .filter(|d| before.doing.as_ref() != Some(d))
        .and_then(|d| open_move(case, before, &d.hash.0))
        .filter(|m| matches!(&m.order, Order::Failover { to, .. } if to == case.s.me));
    let stopped = order.is_some_and(|m| says_stopped(m, before.serial));
    found.want(before.promise.fences != Fences::Never || stopped, Rule::Evidence, || {
        format!(
            "{} promised nothing, and nobody says of serial {} that it is stopped",
            before.active, before.serial
        )
    });
    found.want(before.phase != Phase::Unmanaged || stopped, Rule::Intent, || {
        "nobody acts on an unmanaged policy".to_owned()
    });
    if order.is_none() {
        automatic(case, before, found);
        let wanted = case.policy.is_some_and(|p| p.failover.promote_after != After::Never);
        found.want(wanted, Rule::Intent, || "the policy never promotes by itself".to_owned());
    }
    delivers_nothing(case, found);
    for (name, report) in reports(case) {
        let replica = report.is_some_and(|r| matches!(r.state, ServerState::Standby { .. }));
        found.want(replica, Rule::Evidence, || format!("{name} is not known to be a running replica"));
    }
    let accepted = order.is_some_and(|m| matches!(m.order, Order::Failover { accept_data_loss: true, .. }));
    within(case, next, accepted, found);
    if accepted {
        return;
    }
    // A switchover's position bounds the loss exactly, as long as its source has not opened since.
    let exact = matches!(before.phase, Phase::Handover | Phase::ReadOnly);
    for (name, _) in reports(case) {
        let known = case.s.seen.databases.get(name).is_some_and(|d| d.last_contact.is_some());
        let judged = before.phase == Phase::ReadOnly
            && before.transition.as_ref().and_then(|t| t.loss_bound).is_some_and(|b| is_known(&b));
        found.want(known || judged || (exact && before.positions.contains_key(name)), Rule::Loss, || {
            format!("what {name} had when contact was lost is not known")
        });
    }
    if let Some(recorded) = before.transition.as_ref().and_then(|t| t.loss_bound).filter(is_known)
        && before.phase == Phase::ReadOnly
        && before.target.as_ref() == Some(case.s.me)
    {
        let kept = next.transition.as_ref().and_then(|t| t.loss_bound) == Some(recorded);
        found.want(kept, Rule::Loss, || {
            "the loss that was judged when contact was lost would change".to_owned()
        });
    }
}

fn from_offer(case: &Case<'_>, before: &Record, next: &Record, found: &mut Found) {
    let Some(offer) = &before.offer else {
        return found.want(false, Rule::Evidence, || "the record offers nothing".to_owned());
    };
    delivers_nothing(case, found);
    let back = before.previous.as_ref().is_some_and(|p| p.settled && p.site == *case.s.me);
    if offer.never_opened && back {
        return;
    }
    automatic(case, before, found);
    within(case, next, false, found);
    for (name, report) in reports(case) {
        let known = case.s.seen.databases.get(name).is_some_and(|d| d.last_contact.is_some());
        let replica = report.is_some_and(|r| matches!(r.state, ServerState::Standby { .. }));
        found.want(known && replica, Rule::Loss, || format!("what {name} has here is not known"));
    }
}

/// A server that still sends to its replica was not stopped.
fn delivers_nothing(case: &Case<'_>, found: &mut Found) {
    let limit = case.s.installation.timing.veto_age();
    for (name, report) in reports(case) {
        let Some(report) = report else { continue };
        let upstream = report.positions.as_ref().and_then(|p| Some((p.age, p.upstream.as_ref()?)));
        let Some((read, upstream)) = upstream.filter(|(_, u)| u.streams()) else { continue };
        let of_its_own = report.stopped.as_ref().filter(|own| own.clean).map(|own| own.timeline);
        if of_its_own.is_some() && upstream.timeline == of_its_own {
            // Whoever sends that has never been promoted since this copy was the primary.
            continue;
        }
        let since = case.s.seen.databases.get(name).and_then(|d| d.guard.age()).unwrap_or_default();
        let old = upstream.message_age.is_some_and(|m| m.duration() + read.duration() + since >= limit);
        found.want(old, Rule::Evidence, || {
            format!("{name} still receives from the server that is to be replaced")
        });
    }
}

/// What nobody asked for is not done while a person holds it.
fn automatic(case: &Case<'_>, before: &Record, found: &mut Found) {
    let held = before.hold.as_ref().is_some_and(|h| h.until > case.s.wall);
    found.want(!held, Rule::Intent, || "a person holds automatic promotions".to_owned());
}

fn within(case: &Case<'_>, next: &Record, accepted: bool, found: &mut Found) {
    let bound = next.transition.as_ref().and_then(|t| t.loss_bound);
    let ok = case.policy.zip(bound).is_some_and(|(p, b)| {
        let max = &p.failover.max_data_loss;
        let bytes = b.bytes.is_some_and(|n| n <= max.bytes);
        bytes && b.unseen.is_some_and(|t| t.duration() <= max.seconds)
    });
    found.want(ok || accepted, Rule::Loss, || {
        format!("the loss is judged as {bound:?}, more than the policy allows and nobody accepted")
    });
}

fn is_known(bound: &LossBound) -> bool {
    bound.bytes.is_some() && bound.unseen.is_some()
}

fn says_stopped(m: &Move, serial: u64) -> bool {
    let said = matches!(&m.order, Order::Failover { source_stopped: Some(_), .. });
    said && m.serial == Some(serial)
}
