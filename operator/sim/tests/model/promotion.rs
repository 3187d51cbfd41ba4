//! Promotions that come late, fail, or are not heard of.

use bascule_core::record::{Phase, PreviousHold};
use bascule_sim::fault::Fault;
use bascule_sim::world::World;
use bascule_sim::world::postgres::Run;
use bascule_sim::world::steering::{Leg, Matter, Whose};

use crate::stage::{
    LYON, PARIS, begin, ends_well, has_leave, last, ms, phase, record, switch, until, writes,
};

const TAKER: Whose = Whose::Operator(LYON);
const GUARD: Whose = Whose::Guard(LYON);
const TAKE: Matter = Matter::Swap(Phase::Promoting);
/// How long a promotion may take before it counts as failed, and the rest.
const FAILED: u64 = 75_000;

/// Lyon takes and begins to promote; the promotion takes longer than the grant, which is not renewed. It must not open
/// when it is done: somebody else may have the role again.
pub fn a_promotion_outlasts_the_grant_it_began_with() {
    let mut w = begin(19);
    w.databases[LYON].server.faults.promote = Some(ms(2_500));
    w.strike(Fault::SiteLost(PARIS));
    until(&mut w, "the promotion", ms(8_000), |w| w.databases[LYON].server.run == Run::Promoting);
    w.relieve(Fault::SiteLost(PARIS));
    w.strike(Fault::ArbiterCut(LYON));
    let mut outlasted = false;
    let end = w.now + ms(5_000);
    while w.now < end {
        w.step(end);
        let becoming = matches!(w.databases[LYON].server.run, Run::Promoting | Run::Primary { .. });
        outlasted |= becoming && !has_leave(&w, LYON);
        assert!(has_leave(&w, LYON) || !writes(&w, LYON), "it opened without a grant");
    }
    assert!(outlasted, "the grant outlasted the promotion");
    w.databases[LYON].server.faults.promote = None;
    w.relieve(Fault::ArbiterCut(LYON));
    ends_well(&mut w);
}

/// Lyon opens, clients write, and before its operator hears of it the guard's container dies and never starts again as
/// a writer. What it wrote beside the data before it opened says that this hold did open.
pub fn a_guard_restarts_after_it_opened_and_before_it_was_heard() {
    let mut w = begin(20);
    switch(&mut w);
    until(&mut w, "lyon's take", ms(9_000), |w| last(w, TAKER, &TAKE).is_some());
    // Its reports are not heard from the moment of the promotion on.
    until(&mut w, "the end of the promotion", ms(4_000), |w| {
        matches!(w.databases[LYON].server.run, Run::Primary { .. })
    });
    until(&mut w, "lyon's first row", ms(4_000), |w| writes(w, LYON));
    let reports = w.hold(GUARD, Matter::Grant, Leg::There);
    let epoch = record(&w).epoch;
    until(&mut w, "an acknowledged row", ms(1_000), |w| {
        w.writes.iter().any(|row| row.site == LYON && row.committed.is_some())
    });
    assert_eq!(phase(&w), Phase::Promoting, "its operator has heard that it opened");
    w.strike(Fault::DiskFull(LYON));
    w.strike(Fault::GuardKilled(LYON));
    w.lose(reports);
    assert_eq!(w.databases[LYON].beside.opened, Some(epoch));
    until(&mut w, "the offer", ms(FAILED), |w| {
        w.judge.changes.iter().any(|(_, _, r)| r.phase == Phase::Offered)
    });
    let said = |w: &World| {
        let offers = w.judge.changes.iter().filter(|(_, _, r)| r.phase == Phase::Offered && r.epoch == epoch);
        offers.filter_map(|(_, _, r)| r.offer.as_ref()).any(|offer| offer.never_opened)
    };
    assert!(!said(&w), "it was said that nothing was opened");
    w.relieve(Fault::DiskFull(LYON));
    ends_well(&mut w);
}

/// Lyon cannot be promoted and hands the role back; paris cannot open either and offers it in its turn. Lyon's hold
/// never reached `Steady`: nobody is excused from the loss gate for it.
pub fn two_promotions_fail_one_after_the_other() {
    let mut w = begin(21);
    w.strike(Fault::PromotionFails(LYON));
    switch(&mut w);
    let offers = |w: &World| w.judge.changes.iter().filter(|(_, _, r)| r.phase == Phase::Offered).count();
    until(&mut w, "the first offer", ms(FAILED), |w| offers(w) == 1);
    let first = record(&w);
    assert!(first.offer.is_some_and(|offer| offer.never_opened), "the first is excused");
    w.strike(Fault::DiskFull(PARIS));
    until(&mut w, "the second offer", ms(FAILED), |w| offers(w) >= 2);
    let second = w.judge.changes.iter().rfind(|(_, _, r)| r.phase == Phase::Offered).unwrap().2.clone();
    let lyon = w.sites[LYON].name.clone();
    assert_eq!(second.active, w.sites[PARIS].name);
    assert_eq!(second.previous, Some(PreviousHold { site: lyon, settled: false }));
    assert!(!second.offer.is_some_and(|offer| offer.never_opened), "a hold that never settled was excused");
    w.relieve(Fault::DiskFull(PARIS));
    w.relieve(Fault::PromotionFails(LYON));
    ends_well(&mut w);
}

/// A promotion is given up while the server is on its way out of recovery: what its trigger has begun must not be
/// completed after the guard has confirmed its lock.
pub fn a_promotion_completes_after_it_was_given_up() {
    let mut w = begin(22);
    w.databases[LYON].server.faults.promote = Some(ms(90_000));
    switch(&mut w);
    until(&mut w, "the promotion", ms(9_000), |w| w.databases[LYON].server.run == Run::Promoting);
    let (life, timeline) = {
        let server = &w.databases[LYON].server;
        (server.life, server.dir.as_ref().unwrap().wal.timeline)
    };
    until(&mut w, "the offer", ms(FAILED), |w| phase(w) == Phase::Offered);
    let server = &w.databases[LYON].server;
    assert!(
        !matches!(server.run, Run::Promoting | Run::Primary { .. }),
        "confirmed with a promotion under way"
    );
    assert_ne!(server.life, life, "the server that was becoming a primary lives on");
    until(&mut w, "paris, which takes it back", ms(9_000), |w| writes(w, PARIS));
    let end = w.now + ms(40_000);
    while w.now < end {
        w.step(end);
        let server = &w.databases[LYON].server;
        assert!(!server.run.is_primary(), "the promotion completed");
        let dir = |db: usize| w.databases[db].server.dir.as_ref().unwrap();
        let follows = dir(LYON).wal.timeline == timeline || dir(LYON).wal.streams_from(&dir(PARIS).wal);
        assert!(follows, "it left its history, and not for that of paris");
    }
    w.databases[LYON].server.faults.promote = None;
    ends_well(&mut w);
}
