//! What is believed of a status that is not written anew: the judge finds what should not be, and what should.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::time::Duration;

use bascule_sim::fault::Fault;
use bascule_sim::flow::steady;
use bascule_sim::judge::Invariant;
use bascule_sim::sample;
use bascule_sim::world::{Plan, World};

/// A steady world that has been so for a minute and a half.
fn at_rest() -> World {
    let mut world = steady(&Plan::of(vec![sample::policy()], 3)).unwrap_or_else(|why| panic!("{}", why.0));
    world.run_watched(Duration::from_secs(90));
    assert!(world.judge.violations.is_empty(), "{:?}", world.judge.violations);
    world
}

fn broken(world: &World) -> Vec<(Invariant, String)> {
    world.judge.violations.iter().map(|v| (v.invariant, v.what.clone())).collect()
}

#[test]
fn at_rest_statuses_are_old_and_believed_and_nothing_is_written_but_the_heartbeat() {
    let mut world = at_rest();
    let written = |w: &World| w.sites.iter().map(|s| s.cluster.published).collect::<Vec<_>>();
    let before = written(&world);
    world.run_watched(Duration::from_mins(5));
    assert_eq!(written(&world), before);
    assert_eq!(broken(&world), []);
    for site in world.sites.iter().filter(|s| !s.cluster.written.is_empty()) {
        let beat = site.cluster.heartbeat.as_ref().unwrap();
        assert_eq!(beat.unshown.count(), 0);
        let now = site.machine.wall(world.now);
        assert!(now.duration_since(beat.at).as_secs() <= 11, "{beat:?} at {now}");
        assert!(site.cluster.written.values().all(|(by, at)| *by == beat.by && *at < beat.at));
    }
}

#[test]
fn the_status_of_a_dead_operator_is_not_believed_and_the_judge_would_see_it() {
    let mut world = at_rest();
    world.fault(Fault::OperatorFrozen(0), true);
    world.run_watched(Duration::from_mins(1));
    assert_eq!(broken(&world), [], "its last heartbeat is too old");
    // Somebody else's word in its name.
    let now = world.sites[0].machine.wall(world.now);
    world.sites[0].cluster.heartbeat.as_mut().unwrap().at = now;
    world.run_watched(Duration::from_secs(1));
    let found = broken(&world);
    assert!(found.iter().any(|(i, what)| *i == Invariant::L5 && what.contains("is believed")), "{found:?}");
}

#[test]
fn the_status_of_an_operator_that_lives_is_believed_and_the_judge_would_see_it_if_not() {
    let mut world = at_rest();
    for _ in 0..8 {
        // Nobody reads what its heartbeat says.
        world.sites[0].cluster.heartbeat = None;
        world.run_watched(Duration::from_millis(250));
    }
    let found = broken(&world);
    assert!(found.iter().any(|(i, what)| *i == Invariant::L6 && what.contains("lives")), "{found:?}");
}
