//! A grant is taken back from a guard that nobody hears, while it and its server live.

use std::time::Duration;

use bascule_core::record::Phase;
use bascule_sim::fault::Fault;
use bascule_sim::time::Moment;
use bascule_sim::world::World;
use bascule_sim::world::steering::{Leg, Matter, Whose};

use crate::stage::{PARIS, begin, decided, ends_well, last, ms, phase, stops, until, writes};

const HOLDER: Whose = Whose::Operator(PARIS);
const GUARD: Whose = Whose::Guard(PARIS);
const WITHDRAW: Matter = Matter::Swap(Phase::Withdrawn);
const OFFER: Matter = Matter::Swap(Phase::Offered);

/// How long until a guard that is not heard is given up: the policy's grace, and the decision.
const GRACE: Duration = Duration::from_secs(8);
/// Between the deadline and the last write: a kill, and the look of the watch.
const SLACK: Duration = Duration::from_millis(60);

/// The operator reaches neither guard nor server of paris, which live and reach the arbiter.
fn cut(seed: u64) -> World {
    let mut world = begin(seed);
    world.strike(Fault::PodCut(PARIS));
    world
}

fn rest(world: &mut World) {
    world.relieve(Fault::PodCut(PARIS));
    ends_well(world);
}

fn withdrawn(world: &World) -> Option<Moment> {
    last(world, HOLDER, &WITHDRAW)
}

/// The offer is made; nobody writes then.
fn offered(world: &mut World) -> Moment {
    until(world, "the offer", GRACE, |w| last(w, HOLDER, &OFFER).is_some());
    assert!(!writes(world, PARIS), "offered while it wrote\n{}", world.transcript.text());
    last(world, HOLDER, &OFFER).unwrap()
}

/// The guard keeps its grant alive by itself, and would for ever: the record is what tells it to stop.
pub fn a_guard_that_nobody_hears_reads_that_its_grant_was_withdrawn() {
    let mut w = cut(17);
    until(&mut w, "the withdrawal", GRACE, |w| withdrawn(w).is_some());
    let at = withdrawn(&w).unwrap();
    assert!(writes(&w, PARIS), "its guard had not kept it alive");
    assert!(decided(&w, GUARD, &Matter::Renewal).count() > 3, "its guard has extended nothing");
    let stopped = stops(&mut w, PARIS, ms(3_000));
    let read = decided(&w, GUARD, &Matter::Record).any(|d| d.at > at && d.at < stopped);
    assert!(read, "it has not read the withdrawn record");
    assert!(stopped < offered(&mut w));
    rest(&mut w);
}

/// The guard has read a record that grants. Before it renews the lease the grant is withdrawn; the renewal works, and
/// what it extends counts from the reading.
pub fn the_lease_is_renewed_long_after_the_record_was_read() {
    let mut met = 0;
    for seed in 0..20 {
        let mut w = cut(100 + seed);
        let swap = w.hold(HOLDER, WITHDRAW, Leg::There);
        until(&mut w, "the withdrawal's sending", GRACE, |w| w.kept(swap) > 0);
        let renewal = w.hold(GUARD, Matter::Renewal, Leg::There);
        w.run_while(ms(240), |w| w.kept(renewal) == 0);
        if w.kept(renewal) == 0 {
            w.let_go(swap);
            w.let_go(renewal);
            rest(&mut w);
            continue;
        }
        let read = last(&w, GUARD, &Matter::Record).unwrap();
        w.let_go(swap);
        w.run_for(ms(150));
        let applied = withdrawn(&w).is_some();
        w.let_go(renewal);
        w.run_for(ms(10));
        let renewed =
            last(&w, GUARD, &Matter::Renewal).is_some_and(|t| withdrawn(&w).is_some_and(|at| t > at));
        let between = applied && renewed && withdrawn(&w).is_some_and(|at| at > read);
        let stopped = stops(&mut w, PARIS, ms(3_000));
        if between {
            met += 1;
            let left = stopped.since(read);
            assert!(left <= w.timing.r() + SLACK, "it wrote for {left:?} after the reading");
        }
        offered(&mut w);
        rest(&mut w);
    }
    assert!(met > 0, "no lease was renewed after the withdrawal on an older reading");
}

/// The swap to `Withdrawn` is slow: given up, and applied later. The wait begins with the reading that shows it.
pub fn a_withdrawal_is_applied_long_after_it_was_sent() {
    let mut met = 0;
    for wait in (100..2_600).step_by(250) {
        let mut w = cut(18);
        let swap = w.hold(HOLDER, WITHDRAW, Leg::There);
        until(&mut w, "the withdrawal's sending", GRACE, |w| w.kept(swap) > 0);
        w.run_for(ms(wait));
        w.let_go(swap);
        until(&mut w, "the withdrawal", GRACE, |w| withdrawn(w).is_some());
        let late = decided(&w, HOLDER, &WITHDRAW).any(|d| d.applied && d.given_up);
        met += usize::from(late);
        let at = withdrawn(&w).unwrap();
        let after = offered(&mut w).since(at);
        assert!(after >= shortest(&w), "{wait} ms: offered {after:?} after it was applied");
        rest(&mut w);
    }
    assert!(met > 0, "no withdrawal was applied late");
}

/// The guard extends its grant at the very last moment before it is withdrawn: the whole wait is needed.
pub fn the_last_extension_comes_just_before_the_withdrawal() {
    let mut longest = Duration::ZERO;
    for seed in 0..20 {
        let mut w = cut(200 + seed);
        until(&mut w, "the withdrawal", GRACE, |w| withdrawn(w).is_some());
        let at = withdrawn(&w).unwrap();
        let stopped = stops(&mut w, PARIS, ms(3_000));
        longest = longest.max(stopped.since(at));
        let after = offered(&mut w).since(at);
        assert!(after >= shortest(&w), "offered {after:?} after the withdrawal");
        assert_ne!(phase(&w), Phase::Withdrawn);
        rest(&mut w);
    }
    let r = bascule_core::timing::Profile::Metro.timing().r();
    assert!(longest + ms(250) > r, "the last extension was never a late one: it wrote for {longest:?} only");
}

/// `R+F+G` in true time, on a clock that is one percent fast.
fn shortest(world: &World) -> Duration {
    (world.timing.r() + world.timing.f() + world.timing.g()) * 99 / 100
}
