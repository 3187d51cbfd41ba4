//! How the next record is made from the present one.

use crate::decide::situation::Situation;
use crate::few::Few;
use crate::moves::{Move, MoveEnd, Verdict};
use crate::mutant::forgets;
use crate::name::SiteName;
use crate::plan::{Change, Plan};
use crate::policy::Policy;
use crate::record::{Cause, Entered, HISTORY, Phase, PhaseTime, PreviousHold, Record, SCHEMA, Transition};
use crate::time::Millis;

/// The most verdicts a record keeps beyond those it must.
const VERDICTS: usize = 32;

/// The present record with its serial raised, entered now by this site in `phase`.
pub(super) fn phase(s: &Situation<'_>, record: &Record, phase: Phase) -> Record {
    let mut next = record.clone();
    next.schema = SCHEMA;
    next.serial += u64::from(!forgets("every change raises the serial"));
    if next.phase != phase {
        next.entered = Entered { at: s.wall, by: s.me.clone() };
    }
    next.phase = phase;
    next
}

/// The record of a take: this site becomes active with the next epoch, in `Promoting`, under its own promise. It has
/// granted nothing yet, so any promise may be written at once.
pub(super) fn promoted(s: &Situation<'_>, policy: &Policy, record: &Record) -> Record {
    let mut next = phase(s, record, Phase::Promoting);
    next.epoch += u64::from(!forgets("a new holder has a new epoch"));
    next.previous = Some(PreviousHold { site: record.active.clone(), settled: record.settled });
    next.active = s.me.clone();
    next.promise = s.promise(policy);
    next.settled = false;
    next.target = None;
    next.offer = None;
    next.positions = Few::new();
    if let Some(t) = &mut next.transition {
        t.epoch = next.epoch;
        t.to = s.me.clone();
    }
    next
}

/// The record back in `Steady` (or `Promoting`, when this hold never settled) with nothing in progress.
pub(super) fn settled_again(s: &Situation<'_>, record: &Record) -> Record {
    let mut next = phase(s, record, if record.settled { Phase::Steady } else { Phase::Promoting });
    next.target = None;
    next.offer = None;
    next.positions = Few::new();
    if record.settled {
        next.transition = None;
    }
    next
}

/// Notes that a transition begins.
pub(super) fn begin(s: &Situation<'_>, next: &mut Record, cause: Cause, to: &SiteName) {
    next.transition = Some(Transition {
        cause,
        from: next.active.clone(),
        to: to.clone(),
        epoch: next.epoch,
        began: s.wall,
        ended: None,
        phases: vec![],
        loss_bound: None,
        measured_loss: None,
    });
}

/// Adds how long one part of the transition took here, if that is known.
pub(super) fn took(s: &Situation<'_>, next: &mut Record, name: &str, time: Option<Millis>) {
    if let (Some(t), Some(took)) = (&mut next.transition, time) {
        t.phases.push(PhaseTime { name: name.to_owned(), site: s.me.clone(), took });
    }
}

/// Moves the transition under way into the history.
pub(super) fn end(s: &Situation<'_>, next: &mut Record) {
    if let Some(mut t) = next.transition.take() {
        t.ended = Some(s.wall);
        next.history.insert(0, t);
        next.history.truncate(HISTORY);
    }
}

/// Keeps the verdict on `mv`.
pub(super) fn judge(
    s: &Situation<'_>,
    next: &mut Record,
    mv: &Move,
    end: MoveEnd,
    message: impl Into<String>,
) {
    next.moves.retain(|v| v.hash != mv.hash);
    next.moves.insert(
        0,
        Verdict {
            hash: mv.hash.clone(),
            name: mv.name.clone(),
            end,
            message: message.into(),
            epoch: next.epoch,
            at: s.wall,
            not_after: mv.not_after,
        },
    );
    forget(s, next);
}

/// Ends the Move in progress with a verdict.
pub(super) fn judge_doing(s: &Situation<'_>, next: &mut Record, end: MoveEnd, message: impl Into<String>) {
    let Some(doing) = next.doing.take() else { return };
    next.moves.retain(|v| v.hash != doing.hash);
    next.moves.insert(
        0,
        Verdict {
            hash: doing.hash,
            name: doing.name,
            end,
            message: message.into(),
            epoch: next.epoch,
            at: s.wall,
            not_after: doing.not_after,
        },
    );
    forget(s, next);
}

/// Verdicts older than the present epoch may go when there are many: their Moves name an epoch of the past, and are
/// stale without them. One whose Move names no epoch stays until that Move's own deadline has passed.
fn forget(s: &Situation<'_>, next: &mut Record) {
    let mut kept = 0;
    let epoch = next.epoch;
    next.moves.retain(|v| {
        kept += 1;
        kept <= VERDICTS || v.epoch >= epoch || v.not_after.is_some_and(|t| t > s.wall)
    });
}

/// Proposes `next`, for the reason `why`; never without the own lease, nor from a view that may be overtaken.
pub(super) fn propose(s: &Situation<'_>, plan: &mut Plan, next: Record, why: impl Into<String>) {
    if plan.transition.is_none() && s.may_write() {
        plan.transition = Some(Change { next, unchanged_lease: None, why: why.into() });
    }
}
