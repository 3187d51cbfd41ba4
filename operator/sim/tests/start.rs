//! A world settles from nothing, whatever its seed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use bascule_sim::flow::steady;
use bascule_sim::sample;
use bascule_sim::world::{Plan, World};
use std::time::Duration;

#[test]
fn every_seed_begins() {
    for seed in 0..200 {
        let mut plan = Plan::of(vec![sample::policy()], seed);
        plan.tell = true;
        if let Err(why) = steady(&plan) {
            let mut world = World::new(&plan);
            let _ = world.settle(Duration::from_secs(20));
            panic!("seed {seed}: {}\n{}", why.0, world.transcript.text());
        }
    }
}
