//! Who may take: silence, and when the record was read.

use std::time::Duration;

use bascule_core::record::Phase;
use bascule_sim::fault::Fault;
use bascule_sim::world::World;
use bascule_sim::world::steering::{Held, Leg, Matter, Whose};

use crate::stage::{LYON, PARIS, begin, decided, ends_well, last, ms, phase, stops, sweep, until};

const TAKER: Whose = Whose::Operator(LYON);
const HOLDER: Whose = Whose::Operator(PARIS);
const TAKE: Matter = Matter::Swap(Phase::Promoting);
const RECLAIM: Matter = Matter::Swap(Phase::Steady);

/// Paris is not heard by the arbiter any more: neither its operator's renewals nor its guard's.
fn silence(world: &mut World) -> [Held; 2] {
    [
        world.hold(HOLDER, Matter::Renewal, Leg::There),
        world.hold(Whose::Guard(PARIS), Matter::Renewal, Leg::There),
    ]
}

/// It is heard again; what it said meanwhile is lost.
fn heard_again(world: &mut World, silence: [Held; 2]) {
    for held in silence {
        world.lose(held);
    }
}

/// Lyon has seen `L` of silence and has not read the record since. Paris comes back and re-claims; then the record is
/// read, with the new serial, and the silence is the old one.
pub fn the_record_is_read_only_after_the_holder_came_back() {
    let world = begin(1);
    let l = world.timing.l();
    let met = sweep(&world, (1_900..2_700).step_by(10), |w, at| {
        let was = last(w, HOLDER, &Matter::Renewal);
        let quiet = silence(w);
        let reads = w.hold(TAKER, Matter::Record, Leg::There);
        let takes = w.hold(TAKER, TAKE, Leg::There);
        w.run_for(at);
        let seen = last(w, TAKER, &Matter::Leases);
        heard_again(w, quiet);
        // Lyon sees nothing newer of the lease until it has read the record.
        let looks = w.hold(TAKER, Matter::Leases, Leg::There);
        w.run_while(ms(700), |w| last(w, HOLDER, &RECLAIM).is_none());
        w.let_go(reads);
        w.run_for(ms(30));
        w.let_go(looks);
        w.lose(takes);
        let claimed = last(w, HOLDER, &RECLAIM);
        let read = last(w, TAKER, &Matter::Record);
        let silent = was.zip(seen).is_some_and(|(was, seen)| seen.since(was) >= l);
        silent && claimed.zip(read).is_some_and(|(claimed, read)| read > claimed)
    });
    assert!(met > 0, "the record was never read after the re-claim with the silence complete");
}

/// The replies to lyon's reads of the lease take almost their whole deadline: counted from the first sending to the
/// last receipt the silence is `L`, and paris comes back at that moment.
pub fn slow_reads_make_the_silence_look_longer() {
    let world = begin(2);
    let (l, tq) = (world.timing.l(), world.timing.tq());
    let slow = tq * 9 / 10;
    let met = sweep(&world, (1_800..2_300).step_by(20), |w, at| {
        let quiet = silence(w);
        let replies = w.hold(TAKER, Matter::Leases, Leg::Back);
        let (began, end) = (w.now, w.now + at);
        let (mut first, mut longest) = (None, ms(0));
        while w.now < end {
            w.run_while(end.since(w.now), |w| w.last_kept(replies).is_none_or(|age| age < slow));
            if w.kept(replies) > 0 {
                let sent = last(w, TAKER, &Matter::Leases).unwrap();
                let from = *first.get_or_insert(sent);
                w.pass_on(replies);
                longest = longest.max(w.now.since(from));
            }
        }
        let taken = last(w, TAKER, &TAKE).is_some_and(|at| at > began);
        heard_again(w, quiet);
        w.let_go(replies);
        longest >= l && !taken
    });
    assert!(met > 0, "the silence never looked long enough without being it");
}

/// The record's reply comes after the last look at the lease that would prove the silence: that look proves nothing for
/// what was read later.
pub fn the_record_is_read_anew_after_the_last_look_at_the_lease() {
    let world = begin(3);
    let l = world.timing.l();
    let met = sweep(&world, (2_000..2_600).step_by(10), |w, at| {
        let was = last(w, HOLDER, &Matter::Renewal).unwrap();
        let quiet = silence(w);
        w.run_for(ms(1_700));
        // Its own lease is all that lyon writes from here on: the record has to be read again.
        let reads = w.hold(TAKER, Matter::Record, Leg::Back);
        w.strike(Fault::Relist(LYON));
        w.run_for(at.saturating_sub(ms(1_700)));
        let looks = w.hold(TAKER, Matter::Leases, Leg::There);
        heard_again(w, quiet);
        let seen = last(w, TAKER, &Matter::Leases).unwrap();
        w.let_go(reads);
        w.run_while(ms(200), |w| last(w, HOLDER, &RECLAIM).is_none());
        let taken = decided(w, TAKER, &TAKE).any(|d| d.applied && d.at > was);
        w.let_go(looks);
        seen.since(was) >= l && !taken && last(w, HOLDER, &RECLAIM).is_some()
    });
    assert!(met > 0, "the last look never came before the record's reply");
}

/// Lyon's reads of the lease fail for as long as a silence must last, while paris renews it.
pub fn the_lease_is_renewed_while_the_reads_of_it_fail() {
    let world = begin(4);
    let l = world.timing.l();
    let met = sweep(&world, (250..3_500).step_by(250), |w, at| {
        let quiet = silence(w);
        w.run_for(ms(1_000));
        heard_again(w, quiet);
        let reads = w.hold(TAKER, Matter::Leases, Leg::There);
        let began = w.now;
        w.run_for(at);
        let renewed = decided(w, HOLDER, &Matter::Renewal).filter(|d| d.at > began).count();
        let silent_for = w.now.since(began) + ms(1_000);
        assert_eq!(decided(w, TAKER, &TAKE).count(), 0, "a failed read was taken for silence");
        w.lose(reads);
        w.run_for(ms(300));
        assert_eq!(decided(w, TAKER, &TAKE).count(), 0, "a failed read was taken for silence");
        silent_for >= l && renewed > 0
    });
    assert!(met > 0, "the reads never failed for long enough");
}

/// Paris's clocks run as slowly as they may and lyon's as fast: of the distance between the two deadlines nothing but
/// the drift's own share is left.
pub fn the_clocks_drift_apart_as_far_as_they_may() {
    for seed in 0..12 {
        let mut w = begin(seed);
        w.strike(Fault::ClockRate(PARIS, -10_000));
        w.strike(Fault::ClockRate(LYON, 10_000));
        w.run_for(ms(3_000));
        // The guard hears nobody: it has what it was last granted.
        w.strike(Fault::Isolated(PARIS));
        let (slow, fast) = (shown(&w, PARIS), shown(&w, LYON));
        let stopped = stops(&mut w, PARIS, ms(4_000));
        until(&mut w, "lyon's take", ms(6_000), |w| last(w, TAKER, &TAKE).is_some());
        let taken = last(&w, TAKER, &TAKE).unwrap();
        assert!(taken >= stopped, "taken {:?} before the holder had stopped", stopped.since(taken));
        let passed = |site, since| shown(&w, site).saturating_sub(since).as_secs_f64();
        let apart = passed(LYON, fast) / passed(PARIS, slow);
        assert!(apart > 1.0199, "the clocks are only {apart} apart");
        w.relieve(Fault::Isolated(PARIS));
        w.relieve(Fault::ClockRate(PARIS, -10_000));
        w.relieve(Fault::ClockRate(LYON, 10_000));
        ends_well(&mut w);
        assert_eq!(phase(&w), Phase::Steady);
    }
}

/// What the clock of a site's machine shows.
fn shown(world: &World, site: usize) -> Duration {
    world.sites[site].machine.boottime(world.now).since_boot()
}
