//! Who holds the role: phases, locks, serials, statements.

use bascule_core::moves::{Move, MoveEnd, MoveHash, Order};
use bascule_core::record::Phase;
use bascule_sim::fault::Fault;
use bascule_sim::world::World;
use bascule_sim::world::postgres::Run;
use bascule_sim::world::steering::{Leg, Matter, Whose};

use crate::stage::{
    LYON, PARIS, begin, decided, ends_well, has_leave, key, last, ms, phase, record, sweep, switch, until,
    verdict, writes,
};

const HOLDER: Whose = Whose::Operator(PARIS);
const GUARD: Whose = Whose::Guard(PARIS);
const TAKER: Whose = Whose::Operator(LYON);
const TAKE: Matter = Matter::Swap(Phase::Promoting);

/// Paris has handed over and lyon's take is on its way. Paris lives, its lease is renewed, its guard asks: the record
/// names it, and its phase grants nothing. So it is after a restart of its operator, which may only roll back.
pub fn a_guard_asks_between_two_holds() {
    for restarts in [false, true] {
        let mut w = begin(11);
        let take = w.hold(TAKER, TAKE, Leg::There);
        switch(&mut w);
        until(&mut w, "the handover", ms(8_000), |w| phase(w) == Phase::Handover);
        let back = w.hold(HOLDER, Matter::Swap(Phase::Steady), Leg::There);
        if restarts {
            w.strike(Fault::OperatorKilled(PARIS));
        }
        let answers = w.databases[PARIS].guard.last_word;
        let end = w.now + ms(6_000);
        while w.now < end {
            w.step(end);
            assert!(!has_leave(&w, PARIS), "granted in Handover");
            assert!(!writes(&w, PARIS), "it writes in Handover");
        }
        assert_eq!(phase(&w), Phase::Handover);
        assert!(w.databases[PARIS].guard.last_word > answers, "its guard was not answered");
        assert_eq!(
            w.kept(back) > 0,
            restarts,
            "only an operator that started in Handover rolls back so soon"
        );
        w.let_go(back);
        if restarts {
            until(&mut w, "the rollback", ms(3_000), |w| phase(w) == Phase::Steady);
        }
        w.let_go(take);
        w.run_for(ms(1_000));
        let lost = decided(&w, TAKER, &TAKE).any(|d| !d.applied);
        assert!(lost || !restarts, "the two swaps never met");
        ends_well(&mut w);
    }
}

/// A grant of the time before the lock reaches the guard when it has locked and stopped.
pub fn an_old_grant_reaches_a_locked_guard() {
    let mut met = 0;
    for seed in 12..24 {
        let mut w = begin(seed);
        switch(&mut w);
        until(&mut w, "the request", ms(8_000), |w| phase(w) == Phase::Requested);
        let answers = w.hold(GUARD, Matter::Grant, Leg::Back);
        let take = w.hold(TAKER, TAKE, Leg::There);
        w.run_while(ms(4_000), |w| w.databases[PARIS].server.run != Run::Down);
        let is_locked = |w: &World| w.databases[PARIS].guard.rules.memory().locked.is_some();
        let locked = w.databases[PARIS].server.run == Run::Down && is_locked(&w) && w.kept(answers) > 0;
        met += usize::from(locked);
        w.let_go(answers);
        let end = w.now + ms(200);
        while w.now < end {
            w.step(end);
            let between = matches!(phase(&w), Phase::Requested | Phase::Handover);
            assert!(!locked || !between || is_locked(&w), "an old grant took the lock off");
            assert!(!locked || !between || !writes(&w, PARIS), "an old grant opened it again");
        }
        w.let_go(take);
        ends_well(&mut w);
    }
    assert!(met > 0, "no old grant reached a locked guard");
}

/// As long as the swap to `Handover` is on its way, nothing is opened again: it may be applied at any moment.
pub fn a_handover_is_on_its_way_when_its_site_gives_it_up() {
    let mut w = begin(13);
    let handover = w.hold(HOLDER, Matter::Swap(Phase::Handover), Leg::There);
    switch(&mut w);
    until(&mut w, "the handover's sending", ms(8_000), |w| w.kept(handover) > 0);
    let end = w.now + ms(3_000);
    while w.now < end && last(&w, HOLDER, &Matter::Swap(Phase::Steady)).is_none() {
        w.step(end);
        let back = last(&w, HOLDER, &Matter::Swap(Phase::Steady)).is_some();
        assert!(back || !has_leave(&w, PARIS), "granted with its handover on the way");
        assert!(back || !writes(&w, PARIS), "it opened with its handover on the way");
    }
    let waited = w.last_kept(handover).is_some_and(|age| age >= w.timing.tq());
    assert!(waited || w.kept(handover) > 1, "it was never given up");
    w.let_go(handover);
    ends_well(&mut w);
}

/// The swap to `Handover` is slow: paris gives it up and does not know what became of it. While it may still be applied
/// nothing is opened again, and rolling back is a swap of its own.
pub fn a_handover_is_applied_after_its_site_gave_it_up() {
    let world = begin(13);
    let met = sweep(&world, (100..3_000).step_by(100), |w, at| {
        let handover = w.hold(HOLDER, Matter::Swap(Phase::Handover), Leg::There);
        switch(w);
        until(w, "the handover's sending", ms(8_000), |w| w.kept(handover) > 0);
        w.run_for(at);
        let back = last(w, HOLDER, &Matter::Swap(Phase::Steady)).is_some();
        assert!(back || !writes(w, PARIS), "{at:?}: it opened with its handover on the way");
        w.let_go(handover);
        w.run_for(ms(20));
        let late = decided(w, HOLDER, &Matter::Swap(Phase::Handover)).any(|d| d.applied && d.given_up);
        assert!(!late || !writes(w, PARIS), "{at:?}: it writes in Handover");
        let refused = decided(w, HOLDER, &Matter::Swap(Phase::Handover)).any(|d| !d.applied && d.given_up);
        assert!(!back || refused, "{at:?}: rolled back, and the old handover was not refused");
        late
    });
    assert!(met > 0, "no handover was applied late");
}

/// The database is dead and nothing is heard of the guard that should have locked it.
pub fn a_database_dies_and_its_guard_is_not_heard() {
    let world = begin(14);
    let met = sweep(&world, [400, 800, 1_200, 1_600, 2_400], |w, at| {
        let questions = w.hold(GUARD, Matter::Grant, Leg::There);
        w.strike(Fault::ServerKilled(PARIS));
        w.run_for(at);
        let dead = w.databases[PARIS].server.run == Run::Down;
        let offers = decided(w, HOLDER, &Matter::Swap(Phase::Offered)).count();
        assert_eq!(offers, 0, "{at:?}: offered without the guard's word");
        w.let_go(questions);
        dead
    });
    assert!(met > 0, "the database was never dead");
    a_lock_is_ordered_and_not_heard();
}

/// A promotion has failed and its guard is ordered to lock. It is heard and does not hear: it asks, and no answer comes.
fn a_lock_is_ordered_and_not_heard() {
    let mut w = begin(14);
    w.databases[LYON].server.faults.promote = Some(ms(200_000));
    switch(&mut w);
    until(&mut w, "the promotion", ms(9_000), |w| w.databases[LYON].server.run == Run::Promoting);
    w.run_for(ms(57_000));
    let words = [
        w.hold(Whose::Guard(LYON), Matter::Grant, Leg::Back),
        w.hold(Whose::Guard(LYON), Matter::Told, Leg::Back),
    ];
    let end = w.now + ms(6_000);
    while w.now < end {
        w.step(end);
        let runs = w.databases[LYON].server.run == Run::Promoting;
        assert!(!runs || phase(&w) != Phase::Offered, "offered without the guard's word");
    }
    assert!(w.kept(words[1]) > 0, "no lock was ordered");
    for held in words {
        w.let_go(held);
    }
    w.databases[LYON].server.faults.promote = None;
    ends_well(&mut w);
}

/// Somebody saw paris stopped, at a serial. Meanwhile it was taken back into service, which is a new serial: the
/// statement is about a time that is over.
pub fn a_person_saw_it_stopped_before_it_went_on() {
    let mut w = begin(15);
    let mut policy = w.policies[0].clone();
    policy.suspend = true;
    policy.generation += 1;
    w.commit_policy(&policy);
    until(&mut w, "the promise of nothing", ms(5_000), |w| phase(w) == Phase::Unmanaged);
    let seen = record(&w).serial;
    policy.suspend = false;
    policy.generation += 1;
    w.commit_policy(&policy);
    until(&mut w, "the new promise", ms(5_000), |w| phase(w) == Phase::Steady);
    policy.suspend = true;
    policy.generation += 1;
    w.commit_policy(&policy);
    until(&mut w, "the promise of nothing", ms(5_000), |w| phase(w) == Phase::Unmanaged);
    assert!(record(&w).serial > seen, "nothing has changed since");
    let statement = |serial: u64, name: &str| Move {
        hash: MoveHash(name.to_owned()),
        name: name.try_into().unwrap(),
        order: Order::Failover {
            to: w.sites[LYON].name.clone(),
            source_stopped: Some("somebody was in the room".to_owned()),
            accept_data_loss: true,
        },
        from: Some(w.sites[PARIS].name.clone()),
        epoch: None,
        serial: Some(serial),
        not_before: None,
        not_after: None,
        reason: "paris is off".to_owned(),
    };
    let stale = statement(seen, "seen-before");
    // Paris writes on, without a deadline, and is not heard: this is the person's mistake.
    w.strike(Fault::ArbiterCut(PARIS));
    policy.suspend = false;
    policy.generation += 1;
    w.commit_policy(&policy);
    w.commit_move(&key(&w), &stale);
    until(&mut w, "the verdict", ms(20_000), |w| verdict(w, "seen-before").is_some());
    assert_eq!(verdict(&w, "seen-before"), Some(MoveEnd::Stale), "an old statement counted");
    assert!(writes(&w, PARIS) && decided(&w, TAKER, &TAKE).all(|d| !d.applied), "taken on an old statement");
    w.relieve(Fault::ArbiterCut(PARIS));
    ends_well(&mut w);
}

/// The active site dies between the request of a switchover and its handover.
pub fn a_site_is_lost_in_the_middle_of_a_request() {
    let mut w = begin(16);
    let handover = w.hold(HOLDER, Matter::Swap(Phase::Handover), Leg::There);
    switch(&mut w);
    until(&mut w, "the request", ms(8_000), |w| phase(w) == Phase::Requested);
    w.run_for(ms(300));
    assert_eq!(phase(&w), Phase::Requested);
    w.strike(Fault::SiteLost(PARIS));
    w.lose(handover);
    until(&mut w, "lyon's take", ms(8_000), |w| last(w, TAKER, &TAKE).is_some());
    until(&mut w, "lyon's writes", ms(4_000), |w| writes(w, LYON));
    w.relieve(Fault::SiteLost(PARIS));
    ends_well(&mut w);
    assert_eq!(verdict(&w, "planned"), Some(MoveEnd::BecameFailover));
}
