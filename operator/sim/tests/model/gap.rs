//! Who may write: gaps, deadlines, and what is heard after them.

use bascule_core::record::Phase;
use bascule_sim::fault::Fault;
use bascule_sim::time::{Moment, micros};
use bascule_sim::world::arbiter::Answer;
use bascule_sim::world::operator::{Call, Input};
use bascule_sim::world::steering::{Leg, Matter, Whose};

use crate::stage::{
    LYON, PARIS, begin, ends_well, has_leave, last, ms, phase, record, stops, sweep, until, writes,
};

const HOLDER: Whose = Whose::Operator(PARIS);
const GUARD: Whose = Whose::Guard(PARIS);
const TAKER: Whose = Whose::Operator(LYON);
const TAKE: Matter = Matter::Swap(Phase::Promoting);
const RECLAIM: Matter = Matter::Swap(Phase::Steady);

/// Paris was not heard for longer than `R`. Its lease is renewed again, the record still names it, and its re-claim is
/// on its way: until that is applied, lyon may have been first.
pub fn a_lease_that_is_regained_grants_nothing_before_the_re_claim() {
    let world = begin(5);
    let met = sweep(&world, (1_400..3_000).step_by(50), |w, at| {
        let renewals =
            [w.hold(HOLDER, Matter::Renewal, Leg::There), w.hold(GUARD, Matter::Renewal, Leg::There)];
        let claim = w.hold(HOLDER, RECLAIM, Leg::There);
        w.run_for(at);
        for held in renewals {
            w.lose(held);
        }
        let before = last(w, HOLDER, &Matter::Renewal);
        w.run_while(ms(600), |w| w.kept(claim) == 0);
        let waits = w.kept(claim) > 0;
        // It is sent again after each Tq, and held again: for as long as none is applied, nobody writes here.
        let end = w.now + ms(2_000);
        while w.now < end {
            w.step(end);
            let unclaimed = waits && record(w).active == w.sites[PARIS].name;
            assert!(!writes(w, PARIS) || !unclaimed, "{at:?}: it wrote before its re-claim was applied");
        }
        let regained = last(w, HOLDER, &Matter::Renewal) > before;
        let named = record(w).active == w.sites[PARIS].name;
        w.let_go(claim);
        waits && regained && named
    });
    assert!(met > 0, "the lease was never regained with the re-claim on its way");
}

/// The operator is gone and the guard's own question was slow: its time has run out when it reads that its site is
/// still the active one.
pub fn a_guard_whose_time_ran_out_reads_that_its_site_is_active() {
    let world = begin(6);
    let met = sweep(&world, [1_300, 1_500, 1_700, 1_900, 2_100], |w, at| {
        w.strike(Fault::OperatorFrozen(PARIS));
        let reads = w.hold(GUARD, Matter::Record, Leg::There);
        w.run_for(at);
        let ran_out = !has_leave(w, PARIS) && !writes(w, PARIS);
        let named = record(w).active == w.sites[PARIS].name && phase(w).grants();
        let asked = w.kept(reads) > 0;
        let began = w.now;
        w.let_go(reads);
        w.run_for(ms(600));
        let read = last(w, GUARD, &Matter::Record).is_some_and(|t| t > began);
        if ran_out {
            assert!(!has_leave(w, PARIS) && !writes(w, PARIS), "it granted itself what had run out");
        }
        w.relieve(Fault::OperatorFrozen(PARIS));
        ran_out && named && (asked || read)
    });
    assert!(met > 0, "it never read the record after its time had run out");
}

/// A re-claim is applied, and its operator stands still before it hears so. It wakes up beyond the next gap: the answer
/// that waits for it is about the gap before.
pub fn a_re_claim_of_an_older_gap_is_heard_after_the_next() {
    let world = begin(7);
    let met = sweep(&world, (1_300..3_500).step_by(100), |w, at| {
        let renewals =
            [w.hold(HOLDER, Matter::Renewal, Leg::There), w.hold(GUARD, Matter::Renewal, Leg::There)];
        w.run_for(ms(1_500));
        for held in renewals {
            w.lose(held);
        }
        w.run_while(ms(700), |w| last(w, HOLDER, &RECLAIM).is_none());
        let claimed = last(w, HOLDER, &RECLAIM).is_some();
        w.strike(Fault::OperatorFrozen(PARIS));
        w.run_for(at);
        let waits = |i: &Input| matches!(i, Input::Answer(_, _, Answer::Written(_)));
        let heard_late = w.operators[PARIS].inbox.iter().any(waits);
        w.relieve(Fault::OperatorFrozen(PARIS));
        claimed && heard_late
    });
    assert!(met > 0, "no re-claim was heard of after the next gap");
}

/// A renewal is applied in time, and its operator stands still before it looks at the reply, for longer than `R`.
pub fn a_renewal_sent_in_time_is_looked_at_too_late() {
    let world = begin(8);
    let r = world.timing.r();
    let met = sweep(&world, (1_300..4_000).step_by(100), |w, at| {
        let before = last(w, HOLDER, &Matter::Renewal);
        until(w, "a renewal", ms(500), |w| last(w, HOLDER, &Matter::Renewal) > before);
        w.strike(Fault::OperatorFrozen(PARIS));
        w.strike(Fault::ArbiterCut(PARIS));
        w.run_for(at);
        w.relieve(Fault::ArbiterCut(PARIS));
        let it = &w.operators[PARIS];
        let waits = |i: &Input| match i {
            Input::Answer(call, _, Answer::Applied) => match it.calls.get(call) {
                Some(Call::Renew(sent)) => w.operator_clock(PARIS).since(*sent) > r,
                _ => false,
            },
            _ => false,
        };
        let late = it.inbox.iter().any(waits);
        // Not a word of a grant before a re-claim, which is slow.
        let claim = w.hold(HOLDER, RECLAIM, Leg::There);
        w.relieve(Fault::OperatorFrozen(PARIS));
        let end = w.now + ms(600);
        while w.now < end {
            w.step(end);
            assert!(
                !late || !has_leave(w, PARIS),
                "{at:?}: granted on a renewal that was looked at too late"
            );
        }
        w.let_go(claim);
        late
    });
    assert!(met > 0, "no renewal was looked at too late");
}

/// Every reply to a renewal takes most of its deadline; then nothing is heard any more. The server has to stop by the
/// sending of the last renewal that worked, not by its receipt.
pub fn every_renewal_is_heard_of_late() {
    let mut w = begin(9);
    let (r, tq) = (w.timing.r(), w.timing.tq());
    let late = tq * 4 / 5;
    let replies = w.hold(HOLDER, Matter::Renewal, Leg::Back);
    // The guard does not ask for itself.
    let own = w.hold(GUARD, Matter::Record, Leg::There);
    let end = w.now + ms(2_000);
    let (mut sent, mut heard) = (w.now, w.now);
    while w.now < end {
        w.run_while(end.since(w.now), |w| w.last_kept(replies).is_none_or(|age| age < late));
        if let Some(age) = w.last_kept(replies).filter(|age| *age >= late) {
            (sent, heard) = (Moment(w.now.0 - micros(age)), w.now);
            w.pass_on(replies);
        }
    }
    assert!(writes(&w, PARIS) && heard.since(sent) >= late, "the replies were not late");
    w.strike(Fault::ArbiterCut(PARIS));
    w.lose(replies);
    let stopped = stops(&mut w, PARIS, ms(3_000));
    let slack = ms(40);
    assert!(stopped.since(sent) <= r + slack, "it wrote for {:?} after the sending", stopped.since(sent));
    w.lose(own);
    w.relieve(Fault::ArbiterCut(PARIS));
    ends_well(&mut w);
}

/// The limit of the fence class `Guard`: a guard that stands still alone stops nobody. The other site takes, and for
/// that time two servers take writes; this is said in status and in docs/guarantees.md, and ends when the guard goes on.
pub fn a_guard_stands_still_alone() {
    let mut w = begin(10);
    w.strike(Fault::GuardFrozen(PARIS));
    // From everything: replication that still delivers would be a veto.
    w.strike(Fault::Isolated(PARIS));
    until(&mut w, "lyon's take", ms(5_000), |w| last(w, TAKER, &TAKE).is_some());
    until(&mut w, "two writers", ms(3_000), |w| writes(w, LYON) && writes(w, PARIS));
    w.relieve(Fault::GuardFrozen(PARIS));
    let woke = w.now;
    let stopped = stops(&mut w, PARIS, ms(1_000));
    assert!(stopped.since(woke) <= w.timing.f(), "it took {:?} to stop", stopped.since(woke));
    w.relieve(Fault::Isolated(PARIS));
    ends_well(&mut w);
}
