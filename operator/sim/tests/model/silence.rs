//! Who may take: silence, and when the record was read.

use std::time::Duration;

use bascule_core::record::Phase;
use bascule_sim::fault::Fault;
use bascule_sim::time::{Moment, micros};
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

/// What it has said last arrives now.
fn said_last_arrives(world: &mut World, silence: [Held; 2]) {
    for held in silence {
        world.let_go(held);
    }
}

/// The look at the lease that completes lyon's silence is heard of late. Meanwhile paris comes back and re-claims, and lyon
/// reads the record: with the new serial, and an old silence.
pub fn the_record_is_read_only_after_the_holder_came_back() {
    let world = begin(1);
    let (l, tq) = (world.timing.l(), world.timing.tq());
    let met = sweep(&world, (0..300).step_by(10), |w, at| {
        w.run_for(at);
        let was = last(w, HOLDER, &Matter::Renewal).unwrap();
        let quiet = silence(w);
        // The look before it is heard of in time, or the series would break.
        w.run_while(ms(3_500), |w| silent(w, was) + ms(20) < l);
        w.run_for(ms(10));
        let replies = w.hold(TAKER, Matter::Leases, Leg::Back);
        w.run_while(ms(600), |w| silent(w, was) < l + ms(4));
        let seen = last(w, TAKER, &Matter::Leases);
        said_last_arrives(w, quiet);
        let before = last(w, HOLDER, &RECLAIM);
        w.run_while(ms(200), |w| last(w, HOLDER, &RECLAIM) == before);
        let claimed = last(w, HOLDER, &RECLAIM);
        w.run_for(ms(10));
        let read = last(w, TAKER, &Matter::Record);
        let heard = w.last_kept(replies).is_some_and(|age| age < tq);
        w.let_go(replies);
        w.run_for(ms(30));
        heard && claimed > seen && read > claimed
    });
    assert!(met > 0, "the record was never read after the re-claim with the silence complete");
}

/// For how long lyon's looks at the lease have shown what was so at that moment.
fn silent(w: &World, was: Moment) -> Duration {
    let mut looks = decided(w, TAKER, &Matter::Leases).filter(|d| d.at > was);
    let first = looks.next().map(|d| d.at);
    first.zip(looks.next_back().map(|d| d.at)).map(|(first, last)| last.since(first)).unwrap_or_default()
}

/// Lyon asks for the record after a gap of its own, and the question is slow. Meanwhile it looks at the lease for the last
/// time, and then paris comes back and re-claims; only then the record is read. The look was sent after the question and
/// before the reply: it proves nothing for what was read.
pub fn the_record_is_read_anew_after_the_last_look_at_the_lease() {
    let world = begin(3);
    let (l, tq) = (world.timing.l(), world.timing.tq());
    let met = sweep(&world, (250..500).step_by(10), |w, at| {
        let was = last(w, HOLDER, &Matter::Renewal).unwrap();
        let quiet = silence(w);
        let own = w.hold(TAKER, Matter::Renewal, Leg::There);
        w.run_while(ms(3_500), |w| silent(w, was) + ms(300) < l);
        w.run_for(at);
        let reads = w.hold(TAKER, Matter::Record, Leg::There);
        w.let_go(own);
        w.run_while(ms(600), |w| silent(w, was) + ms(20) < l);
        w.run_for(ms(10));
        let replies = w.hold(TAKER, Matter::Leases, Leg::Back);
        w.run_while(ms(600), |w| silent(w, was) < l + ms(4));
        let seen = last(w, TAKER, &Matter::Leases).unwrap();
        w.run_for(ms(2));
        let asked = w.last_kept(reads).map(|age| Moment(w.now.0 - micros(age)));
        said_last_arrives(w, quiet);
        let before = last(w, HOLDER, &RECLAIM);
        w.run_while(ms(200), |w| last(w, HOLDER, &RECLAIM) == before);
        let claimed = last(w, HOLDER, &RECLAIM);
        // Its watch tells lyon before the reply does.
        w.run_for(ms(10));
        let lives = asked.is_some_and(|asked| asked < seen && w.now.since(asked) < tq);
        w.pass_on(reads);
        w.run_for(ms(8));
        let read = last(w, TAKER, &Matter::Record);
        let heard = w.last_kept(replies).is_some_and(|age| age < tq);
        w.let_go(replies);
        w.run_for(ms(30));
        w.let_go(reads);
        lives && heard && claimed > Some(seen) && read > claimed
    });
    assert!(met > 0, "the last look never came between the question for the record and its reply");
}

/// A look of lyon at the lease is slow: sent before paris's last renewal, it shows it. From its sending the silence would
/// be longer than it is.
pub fn a_look_is_sent_before_the_last_renewal_and_shows_it() {
    let world = begin(2);
    let met = sweep(&world, (20..=240).step_by(20), |w, at| {
        let looks = w.hold(TAKER, Matter::Leases, Leg::There);
        w.run_while(ms(400), |w| w.kept(looks) == 0);
        let renewals = w.hold(HOLDER, Matter::Renewal, Leg::There);
        w.run_for(at);
        let renews = w.kept(renewals) > 0;
        w.let_go(renewals);
        w.run_for(ms(2));
        let (renewed, early) = (w.now, w.last_kept(looks));
        let quiet = silence(w);
        w.let_go(looks);
        w.run_while(ms(3_500), |w| last(w, TAKER, &TAKE).is_none());
        let taken = last(w, TAKER, &TAKE);
        heard_again(w, quiet);
        renews && early.is_some_and(|age| age >= ms(150)) && taken.is_some_and(|at| at > renewed)
    });
    assert!(met > 0, "no take began with a look that was sent well before the last renewal");
}

/// A look of lyon shows the silence, and is heard of when paris has renewed again. Until its receipt the silence would be
/// longer than it was.
pub fn a_look_is_heard_of_after_the_renewal_that_ended_the_silence() {
    let world = begin(2);
    let l = world.timing.l();
    let met = sweep(&world, (60..200).step_by(10), |w, at| {
        let quiet = silence(w);
        let claim = w.hold(HOLDER, RECLAIM, Leg::There);
        // The receipt of the first look that shows the silence.
        let first = w.hold(TAKER, Matter::Leases, Leg::Back);
        w.run_while(ms(300), |w| w.kept(first) == 0);
        w.run_for(at);
        w.let_go(first);
        let began = w.now;
        w.run_for(ms(1_850).saturating_sub(at));
        let replies = w.hold(TAKER, Matter::Leases, Leg::Back);
        w.run_while(ms(300), |w| w.kept(replies) == 0);
        let looked = w.now;
        said_last_arrives(w, quiet);
        w.run_for(ms(210));
        let renewed = last(w, HOLDER, &Matter::Renewal).is_some_and(|at| at >= looked);
        let heard = w.now;
        w.let_go(replies);
        w.run_for(ms(30));
        w.let_go(claim);
        renewed && looked.since(began) < l && heard.since(began) >= l
    });
    assert!(met > 0, "no look at the silence was heard of after the renewal that ended it");
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
