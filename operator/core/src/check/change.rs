//! Changes of the record.

use std::sync::Arc;
use std::time::Duration;

use super::{Case, Found, Rule, effects, take, understood};
use crate::guard::wire::{Disk, Report};
use crate::memory::Stamp;
use crate::moves::{Move, Order};
use crate::name::ItemName;
use crate::observation::RoleSeen;
use crate::plan::Change;
use crate::record::{Fences, Phase, Record};

pub(super) fn check(case: &Case<'_>, change: &Change, found: &mut Found) {
    let next = &change.next;
    found.want(case.lease(), Rule::Lease, || "this site's own lease has no time left".to_owned());
    if raised(case, change) {
        return anew(case, change, found);
    }
    let Some(before) = case.before else { return first(case, next, found) };
    view(case, before, found);
    found.want(understood(before), Rule::Understood, || {
        format!("the record has schema {} and phase {}", before.schema, before.phase)
    });
    let known = next.phase == before.phase || !matches!(next.phase, Phase::Unknown(_));
    found.want(known, Rule::Understood, || format!("this version never writes {}", next.phase));
    numbers(before, next, found);
    memory(case, before, next, found);
    if let Some(doing) = next.doing.as_ref().filter(|d| before.doing.as_ref() != Some(d)) {
        found.want(open_move(case, before, &doing.hash.0).is_some(), Rule::Intent, || {
            format!("Move {} is begun, which does not exist or has its verdict", doing.name)
        });
    }
    if before.active == next.active {
        same_active(case, before, change, found);
    } else {
        take::check(case, before, change, found);
    }
}

/// Whether the generation of the record grows.
fn raised(case: &Case<'_>, change: &Change) -> bool {
    let mark = case.s.seen.known_marks();
    let known = mark.epoch > 0 || mark.serial > 0;
    known && change.next.generation > case.before.map_or(mark.generation, |b| b.generation)
}

/// A record of a new generation: only as a person has said, only above all that was seen, and nobody gains the role.
fn anew(case: &Case<'_>, change: &Change, found: &mut Found) {
    let (next, mark) = (&change.next, case.s.seen.known_marks());
    let by_a_person = next.generation == case.s.installation.generation && case.policy.is_some();
    found.want(by_a_person, Rule::Intent, || {
        format!("generation {} is not the one that a person has set", next.generation)
    });
    let lost = case
        .before
        .is_none_or(|b| b.generation < mark.generation || b.epoch < mark.epoch || b.serial < mark.serial);
    found.want(lost, Rule::WentBack, || "the arbiter has lost nothing of this record".to_owned());
    if let Some(before) = case.before {
        let current = case.s.claim.current().is_some_and(|v| v.record == *before);
        found.want(current, Rule::View, || "this is not the record as it was last read".to_owned());
        found.want(before.unknown == next.unknown, Rule::Memory, || {
            "what this version does not know would be lost".to_owned()
        });
    }
    let leaps = |next: u64, seen: u64| next.checked_sub(seen).is_some_and(|leap| leap >= 1 << 16);
    found.want(leaps(next.epoch, mark.epoch), Rule::Epoch, || {
        format!("epoch {} is too near to {}, which was seen", next.epoch, mark.epoch)
    });
    found.want(leaps(next.serial, mark.serial), Rule::Serial, || {
        format!("serial {} is too near to {}, which was seen", next.serial, mark.serial)
    });
    let seen = case.s.seen.high_water.value().is_some();
    let role = case.s.seen.role_seen.as_ref().filter(|_| seen);
    let same = role.is_some_and(|r| r.hold == next.hold && as_it_was(case, r, next));
    found.want(same, Rule::Writer, || {
        format!("{} is not known to have had the role on these terms", next.active)
    });
    found.want(next.phase == Phase::Promoting && !next.settled, Rule::Writer, || {
        format!("a record made anew would be {}", next.phase)
    });
    for site in case.policy.iter().flat_map(|p| p.other_sites(case.s.me)) {
        let facts = case.s.seen.sites.get(site).and_then(|f| f.value());
        let answered =
            facts.is_some_and(|f| f.marks.is_some() && f.answers.get(case.s.me) == Some(&case.s.question));
        let silent = case.s.observer.window(site).map(|w| w.silent_for()).unwrap_or_default();
        found.want(answered || silent >= next.promise.lease.duration(), Rule::Evidence, || {
            format!("{site} has neither said what it has seen nor been silent for long enough")
        });
    }
}

/// Whether the site that `next` makes active is known to have had the role, on terms that are no weaker.
fn as_it_was(case: &Case<'_>, role: &RoleSeen, next: &Record) -> bool {
    let (mark, same) = (case.s.seen.known_marks(), role.active == next.active);
    if role.at == mark {
        return same && role.promise == next.promise;
    }
    // Known by its numbers alone: with each epoch the role went from one of two sites to the other.
    let two = case.policy.is_some_and(|p| p.sites.len() == 2);
    let counted = mark
        .epoch
        .checked_sub(role.at.epoch)
        .is_some_and(|n| if two { (n % 2 == 0) == same } else { n == 0 && same });
    let slow = next.promise.lease.duration() >= Duration::from_secs(30);
    let never = (role.promise.fences == Fences::Never) == (next.promise.fences == Fences::Never);
    role.at.generation == mark.generation && counted && slow && never
}

fn first(case: &Case<'_>, next: &Record, found: &mut Found) {
    let initial = case.policy.is_some_and(|p| p.initial_site == *case.s.me);
    found.want(initial, Rule::Intent, || "only the initial site of a policy in force begins".to_owned());
    found.want(next.active == *case.s.me && next.phase == Phase::Steady, Rule::Writer, || {
        format!("the first record makes {} {}", next.active, next.phase)
    });
    found.want(next.serial == 1, Rule::Serial, || format!("the first serial is {}", next.serial));
    found.want(next.epoch == 1, Rule::Epoch, || format!("the first epoch is {}", next.epoch));
    let m = case.s.seen.known_marks();
    let blank = case.s.seen.high_water.value().is_some() && m.epoch == 0 && m.serial == 0;
    found.want(blank, Rule::WentBack, || "this site does not know that there was never a record".to_owned());
}

fn view(case: &Case<'_>, before: &Record, found: &mut Found) {
    let current = case.s.claim.current().is_some_and(|v| v.record == *before);
    found.want(current, Rule::View, || {
        format!("serial {} is not the record as it was last read or written", before.serial)
    });
    let m = case.s.seen.known_marks();
    let behind = before.generation < m.generation
        || (before.generation == m.generation && (before.epoch < m.epoch || before.serial < m.serial));
    found.want(!behind, Rule::WentBack, || {
        format!("epoch {}, serial {} were seen already", m.epoch, m.serial)
    });
}

fn numbers(before: &Record, next: &Record, found: &mut Found) {
    let step = before.serial.checked_add(1) == Some(next.serial) && before.generation == next.generation;
    found.want(step, Rule::Serial, || {
        format!(
            "serial {} of generation {} would follow {} of {}",
            next.serial, next.generation, before.serial, before.generation
        )
    });
    let moved = u64::from(before.active != next.active);
    found.want(before.epoch.checked_add(moved) == Some(next.epoch), Rule::Epoch, || {
        format!(
            "epoch {} with {} active would follow {} with {}",
            next.epoch, next.active, before.epoch, before.active
        )
    });
}

fn memory(case: &Case<'_>, before: &Record, next: &Record, found: &mut Found) {
    found.want(before.unknown == next.unknown && before.schema <= next.schema, Rule::Memory, || {
        "what this version does not know would be lost".to_owned()
    });
    for v in &before.moves {
        let needed = v.epoch >= next.epoch || v.not_after.is_some_and(|t| t > case.s.wall);
        let kept = next.moves.iter().any(|n| n.hash == v.hash);
        found.want(kept || !needed, Rule::Memory, || format!("the verdict on Move {} would be lost", v.name));
    }
    if let Some(doing) = before.doing.as_ref().filter(|d| next.doing.as_ref() != Some(d)) {
        let judged = next.moves.iter().any(|v| v.hash == doing.hash);
        found.want(judged, Rule::Memory, || format!("Move {} would end without a verdict", doing.name));
    }
}

/// The Move with this hash, if it exists and has no verdict.
pub(super) fn open_move<'a>(case: &Case<'a>, before: &Record, hash: &str) -> Option<&'a Move> {
    let judged = before.moves.iter().any(|v| v.hash.0 == hash);
    case.s.moves.iter().find(|m| m.hash.0 == hash && !judged)
}

fn same_active(case: &Case<'_>, before: &Record, change: &Change, found: &mut Found) {
    let next = &change.next;
    let mine = before.active == *case.s.me;
    let allowed = if mine { by_the_active(before, next) } else { by_another(before, next) };
    found.want(allowed, Rule::Writer, || {
        format!(
            "{} would go from {} to {} while {} is active",
            case.s.me, before.phase, next.phase, before.active
        )
    });
    let finished = mine && before.phase == Phase::Promoting && next.phase == Phase::Steady;
    found.want(next.settled == (before.settled || finished), Rule::Writer, || {
        "a hold is settled only by its own promotion's end".to_owned()
    });
    if !mine {
        found.want(before.promise == next.promise, Rule::Writer, || {
            format!("only {} changes its promise", before.active)
        });
    }
    if before.promise.fences == Fences::Never && matches!(next.promise.fences, Fences::Within { .. }) {
        let all =
            reports(case).all(|(name, r)| vouches(case, before, name) && r.is_some_and(|r| !r.unlimited));
        found.want(all, Rule::Evidence, || "a guard may still hold a grant without a deadline".to_owned());
    }
    if let (Fences::Within { holder, fence }, Fences::Within { holder: r, fence: f }) =
        (before.promise.fences, next.promise.fences)
        && (r < holder || f < fence || next.promise.lease < before.promise.lease)
    {
        let old = holder.duration() + fence.duration();
        let heard = case.s.memory.at(Stamp::TimingHeard).is_some_and(|at| case.s.now.since(at) >= old);
        found.want(heard, Rule::Evidence, || {
            "a grant under the longer promise may not have run out".to_owned()
        });
    }
    if next.phase == before.phase {
        return;
    }
    match next.phase {
        Phase::Requested => requested(case, before, next, found),
        Phase::ReadOnly => {
            found.want(case.policy.is_some(), Rule::Intent, || "no policy in force".to_owned());
            found.want(next.target.as_ref() == Some(case.s.me), Rule::Writer, || {
                "reads are served by the site that says so".to_owned()
            });
            take::silence(case, before, change, found);
        }
        Phase::Handover => {
            found.want(case.policy.is_some(), Rule::Intent, || "no policy in force".to_owned());
            handover(case, before, next, found);
        }
        Phase::Offered => offered(case, before, next, found),
        Phase::Withdrawn => withdrawn(case, before, found),
        Phase::Unmanaged => {
            let unwanted = case.policy.is_none();
            found.want(unwanted, Rule::Intent, || "the policy is in force".to_owned());
            found.want(next.promise.fences == Fences::Never, Rule::Writer, || {
                "an unmanaged site promises nothing".to_owned()
            });
        }
        Phase::Steady if before.phase == Phase::Promoting => finished_promotion(case, before, found),
        _ => {}
    }
}

/// Which changes of phase belong to the active site (design 6.1 and 6.4).
fn by_the_active(before: &Record, next: &Record) -> bool {
    use Phase::{Handover, Offered, Promoting, ReadOnly, Requested, Returning, Steady, Unmanaged, Withdrawn};
    if before.phase == next.phase {
        return true;
    }
    match (&before.phase, &next.phase) {
        (Steady, Requested)
        | (Requested, Handover)
        | (ReadOnly, Returning)
        | (Steady | Returning | Promoting, Offered | Unmanaged | Withdrawn)
        | (Withdrawn, Offered)
        | (Promoting, Steady) => true,
        (Requested | Handover | Offered | Withdrawn | Returning | Unmanaged, Steady) => before.settled,
        (Requested | Handover | Offered | Withdrawn | Returning | Unmanaged, Promoting) => !before.settled,
        _ => false,
    }
}

/// Which changes belong to any other site: the request, reads, and what concerns Moves only.
fn by_another(before: &Record, next: &Record) -> bool {
    if before.phase == next.phase && before.target == next.target {
        let mut same = next.clone();
        same.serial = before.serial;
        same.schema = before.schema;
        same.moves.clone_from(&before.moves);
        same.hold.clone_from(&before.hold);
        return same == *before;
    }
    match next.phase {
        Phase::Requested => before.phase == Phase::Steady,
        Phase::ReadOnly => !matches!(before.phase, Phase::Unmanaged | Phase::Unknown(_)),
        _ => false,
    }
}

fn requested(case: &Case<'_>, before: &Record, next: &Record, found: &mut Found) {
    let known = case.policy.is_some_and(|p| next.target.as_ref().is_some_and(|t| p.sites.contains(t)));
    found.want(known, Rule::Intent, || "no policy in force names the target".to_owned());
    let asked = next.doing.as_ref().and_then(|d| open_move(case, before, &d.hash.0)).is_some_and(|m| {
        matches!(&m.order, Order::Switchover { to } if Some(to) == next.target.as_ref())
            && m.epoch.is_none_or(|e| e == before.epoch)
    });
    found.want(asked, Rule::Intent, || "no open Move asks for this switchover at this epoch".to_owned());
}

fn handover(case: &Case<'_>, before: &Record, next: &Record, found: &mut Found) {
    let ordered = case.s.claim.locking();
    for (name, report) in reports(case) {
        let exact = vouches(case, before, name)
            && report.zip(ordered).is_some_and(|(r, serial)| {
                let stop = r.stopped.as_ref().filter(|x| x.clean && x.serial >= serial);
                is_locked(r, serial)
                    && stop.zip(next.positions.get(name)).is_some_and(|(x, p)| {
                        (x.system_id, x.timeline, x.checkpoint) == (p.system_id, p.timeline, p.lsn)
                    })
            });
        found
            .want(exact, Rule::Proof, || format!("{name} has not confirmed the clean stop that is recorded"));
    }
}

fn offered(case: &Case<'_>, before: &Record, next: &Record, found: &mut Found) {
    let past = matches!(before.phase, Phase::Promoting | Phase::Returning) && case.present().is_some();
    found.want(case.policy.is_some() || past, Rule::Intent, || "no policy in force".to_owned());
    if before.phase == Phase::Withdrawn {
        let waited = case.s.memory.unchanged_for(case.s.now);
        let over = waited >= before.promise.lease.duration()
            && waited >= case.s.installation.timing.withdrawal_wait();
        found.want(over, Rule::Evidence, || "what was granted before may not have run out".to_owned());
    }
    let ordered = case.s.claim.locking();
    for (name, report) in reports(case).filter(|_| before.phase != Phase::Withdrawn) {
        let locked = vouches(case, before, name)
            && report.zip(ordered).is_some_and(|(r, serial)| is_locked(r, serial));
        found.want(locked, Rule::Lock, || format!("{name} is offered and not confirmed to be locked"));
    }
    if next.offer.as_ref().is_none_or(|o| o.never_opened) {
        let proved = next.offer.is_some()
            && before.phase == Phase::Promoting
            && before.previous.as_ref().is_some_and(|p| p.settled)
            && reports(case).all(|(name, _)| unopened(case, before, name));
        found.want(proved, Rule::Loss, || "nothing proves that nothing was opened in this hold".to_owned());
    }
}

fn withdrawn(case: &Case<'_>, before: &Record, found: &mut Found) {
    let present = matches!(before.phase, Phase::Promoting | Phase::Returning) && case.present().is_some();
    found.want(case.policy.is_some() || present, Rule::Intent, || "no policy in force".to_owned());
    let held = before.hold.as_ref().is_some_and(|h| h.until > case.s.wall);
    found.want(!held, Rule::Intent, || "a person holds automatic promotions".to_owned());
    found.want(before.promise.fences != Fences::Never, Rule::Evidence, || {
        "a grant without a deadline never runs out".to_owned()
    });
    let all = reports(case).all(|(name, _)| vouches(case, before, name));
    found.want(!all, Rule::Lock, || "every guard is there and can be asked to lock".to_owned());
}

/// Whether the marker beside this database says that it was not opened in this hold. One that is missing says so only
/// of the one guard process that was granted to.
fn unopened(case: &Case<'_>, before: &Record, name: &ItemName) -> bool {
    let Some(view) = case.s.seen.databases.get(name) else { return false };
    let Some(report) = view.guard.value() else { return false };
    let marked = match report.opened_epoch {
        Some(epoch) => epoch < before.epoch,
        None => view.granted.len() == 1 && view.granted.contains_key(&report.boot),
    };
    marked && vouches(case, before, name) && matches!(report.disk, Disk::Cluster(_))
}

fn finished_promotion(case: &Case<'_>, before: &Record, found: &mut Found) {
    let verified = case.present().is_some_and(|p| effects::all_verified(case, p, before));
    found.want(verified, Rule::Proof, || format!("no write was verified at epoch {}", before.epoch));
}

/// Each database of the policy with its guard's report.
pub(super) fn reports<'a>(case: &'a Case<'a>) -> impl Iterator<Item = (&'a ItemName, Option<&'a Report>)> {
    let names = case.present().into_iter().flat_map(|p| p.databases.keys());
    names.map(|name| (name, case.s.seen.databases.get(name).and_then(|d| d.guard.value()).map(Arc::as_ref)))
}

/// Whether what this database's guard says ends the writing: it has this hold's data, and whoever else was granted to
/// has stopped.
fn vouches(case: &Case<'_>, before: &Record, name: &ItemName) -> bool {
    let Some(view) = case.s.seen.databases.get(name) else { return false };
    // One that a person has unlocked stops for nobody.
    let Some(report) = view.guard.value().filter(|r| r.unlocked().is_none()) else { return false };
    let ended = |at: &crate::time::Boottime| {
        case.s.now.since(*at) >= before.promise.lease.duration()
            && case.s.now.since(*at) >= case.s.installation.timing.withdrawal_wait()
    };
    let others = view.granted.iter().all(|(boot, at)| *boot == report.boot || ended(at));
    let earlier = case.s.holder.gap_ended().is_some_and(|at| ended(&at));
    others && earlier && (!before.settled || report.opened_epoch == Some(before.epoch))
}

fn is_locked(report: &Report, serial: u64) -> bool {
    report.locked >= Some(serial) && !report.state.is_or_becomes_primary() && !report.state.is_busy()
}
