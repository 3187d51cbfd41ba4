//! Records in each phase. Paris is active, lyon the target, unless a test says otherwise.

use bascule_core::few::Few;
use bascule_core::loss::LossBound;
use bascule_core::moves::MoveHash;
use bascule_core::policy::FenceClass;
use bascule_core::position::{Lsn, Position, SystemId, Timeline};
use bascule_core::record::{
    Cause, Entered, Fences, MoveInProgress, Offer, Phase, PreviousHold, Promise, Record, Transition,
};
use bascule_core::time::Millis;
use jiff::Timestamp;

use super::{item, site};

/// The wall clock of every test.
pub fn wall() -> Timestamp {
    "2026-11-28T03:02:00Z".parse().unwrap()
}

/// Where paris stopped for a switchover.
pub const STOPPED_AT: Lsn = Lsn(0x300_0028);

pub fn stop_position() -> Position {
    Position { system_id: SystemId(77), timeline: Timeline(1), lsn: STOPPED_AT }
}

/// Paris is active in `phase`, quietly, at serial 10 of epoch 1.
pub fn in_phase(phase: Phase) -> Record {
    let mut r = Record {
        serial: 10,
        phase: phase.clone(),
        sizes: Few::from([(item("web"), 3)]),
        ..Record::first(site("paris"), fences(), Entered { at: wall(), by: site("paris") })
    };
    match phase {
        Phase::Requested | Phase::Handover => {
            r.target = Some(site("lyon"));
            r.doing = Some(doing("kernel"));
            r.transition = Some(transition(Cause::Planned, None));
            if phase == Phase::Handover {
                r.positions = Few::from([(item("main"), stop_position())]);
            }
        }
        Phase::ReadOnly | Phase::Returning => {
            r.target = Some(site("lyon"));
            r.transition = Some(transition(Cause::SiteLost, Some(small_loss())));
            r.entered.by = site("lyon");
        }
        Phase::Offered => {
            r.offer = Some(Offer {
                never_opened: false,
                ends: Few::new(),
                reason: "main died: killed by signal 9".to_owned(),
            });
            r.transition = Some(transition(Cause::DatabaseDead, None));
        }
        Phase::Promoting => {
            r.epoch = 2;
            r.active = site("lyon");
            r.settled = false;
            r.previous = Some(PreviousHold { site: site("paris"), settled: true });
            r.entered.by = site("lyon");
            r.transition = Some(Transition { epoch: 2, ..transition(Cause::SiteLost, Some(small_loss())) });
        }
        Phase::Unmanaged => r.promise.fences = Fences::Never,
        Phase::Steady | Phase::Withdrawn | Phase::Unknown(_) => {}
    }
    r
}

pub fn steady() -> Record {
    in_phase(Phase::Steady)
}

pub fn fences() -> Promise {
    Promise {
        fences: Fences::Within { holder: Millis(1250), fence: Millis(300) },
        lease: Millis(2000),
        fence_class: FenceClass::Guard,
        profile: "metro".to_owned(),
    }
}

pub fn never_fences(mut r: Record) -> Record {
    r.promise.fences = Fences::Never;
    r
}

pub fn doing(name: &str) -> MoveInProgress {
    MoveInProgress {
        hash: MoveHash(name.to_owned()),
        name: name.try_into().unwrap(),
        reason: "ticket 4711".to_owned(),
        not_after: None,
    }
}

/// 2.1 MiB known, 3.4 s unseen.
pub fn small_loss() -> LossBound {
    LossBound { bytes: Some(2_202_009), unseen: Some(Millis(3_400)) }
}

/// A transition from paris to lyon.
pub fn transition(cause: Cause, loss_bound: Option<LossBound>) -> Transition {
    Transition {
        cause,
        from: site("paris"),
        to: site("lyon"),
        epoch: 1,
        began: wall(),
        ended: None,
        phases: vec![],
        loss_bound,
        measured_loss: None,
    }
}

/// A finished transition that ended `ago` seconds before the test's wall clock.
pub fn finished(cause: Cause, ago: i64) -> Transition {
    let ended = wall().checked_sub(jiff::SignedDuration::from_secs(ago)).unwrap();
    Transition { ended: Some(ended), began: ended, ..transition(cause, None) }
}
