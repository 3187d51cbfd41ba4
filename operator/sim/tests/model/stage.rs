//! A settled world with two sites, and what the stories need to steer it and to see in it.

use std::time::Duration;

use bascule_core::moves::MoveEnd;
use bascule_core::name::PolicyKey;
use bascule_core::record::{Phase, Record};
use bascule_sim::flow::{Flow, steady, switchover};
use bascule_sim::sample;
use bascule_sim::time::Moment;
use bascule_sim::world::steering::{Decided, Matter, Whose};
use bascule_sim::world::{Plan, World};

use crate::without;

/// The active site at the beginning, in the model's words A.
pub const PARIS: usize = 0;
/// The other one, B.
pub const LYON: usize = 1;

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A settled world in which the other site takes at once.
pub fn begin(seed: u64) -> World {
    without::all_rules();
    let mut policy = sample::policy();
    Flow::SiteLost.fit(&mut policy);
    let mut plan = Plan::of(vec![policy], seed);
    plan.tell = true;
    plan.writes_every = Some(ms(10));
    let mut world = steady(&plan).unwrap_or_else(|why| panic!("it does not begin: {}", why.0));
    world.write_down();
    // Renewals are sent every quarter of a second: a story begins at a new place of that beat with each seed.
    world.run_for(ms(seed * 37 % 250));
    without::the_rules_left_out();
    world
}

pub fn key(world: &World) -> PolicyKey {
    world.policies[0].key.clone()
}

pub fn record(world: &World) -> Record {
    world.record(&key(world)).cloned().unwrap_or_else(|| panic!("there is no record"))
}

pub fn phase(world: &World) -> Phase {
    record(world).phase
}

/// Somebody merges a switchover to lyon.
pub fn switch(world: &mut World) {
    let (from, to) = (world.sites[PARIS].name.clone(), world.sites[LYON].name.clone());
    let mv = switchover("planned", &from, &to, None);
    world.commit_move(&key(world), &mv);
}

/// Whether a client's commit works in a site now.
pub fn writes(world: &World, site: usize) -> bool {
    world.sites[site].up && world.databases[site].server.run.commits()
}

/// Whether the guard of a site has time left.
pub fn has_leave(world: &World, site: usize) -> bool {
    world.databases[site].has_leave(world.now)
}

/// Runs until something holds; it must before `limit`.
#[track_caller]
pub fn until(world: &mut World, what: &str, limit: Duration, holds: impl Fn(&World) -> bool) {
    let came = world.run_while(limit, |w| !holds(w));
    assert!(came, "{what} did not come within {limit:?}\n{}", world.transcript.text());
}

/// The decisions about this matter for these processes, oldest first.
pub fn decided<'a>(
    world: &'a World,
    whose: Whose,
    matter: &'a Matter,
) -> impl DoubleEndedIterator<Item = &'a Decided> {
    world.decided().iter().filter(move |d| d.whose == whose && d.matter == *matter)
}

/// When it was decided last, with effect.
pub fn last(world: &World, whose: Whose, matter: &Matter) -> Option<Moment> {
    decided(world, whose, matter).rfind(|d| d.applied).map(|d| d.at)
}

/// Runs while nobody may take a site's writes for granted: how long it wrote from now on, at most `limit`.
pub fn stops(world: &mut World, site: usize, limit: Duration) -> Moment {
    until(world, "the end of its writes", limit, |w| !writes(w, site));
    world.now
}

/// Lets the rest of a story happen: it settles, and nothing was broken on the way.
#[track_caller]
pub fn ends_well(world: &mut World) {
    let ended = world.settle(Duration::from_secs(150));
    let text = || world.transcript.text();
    assert!(world.judge.violations.is_empty(), "{:?}\n{}", world.judge.violations, text());
    if let Err(why) = ended {
        panic!("it does not settle: {}\n{}", why.0, text());
    }
}

/// Plays a story at each of these moments, from the same beginning, and says how often what is dangerous came up.
#[track_caller]
pub fn sweep(
    world: &World,
    moments: impl IntoIterator<Item = u64>,
    story: impl Fn(&mut World, Duration) -> bool,
) -> usize {
    let mut met = 0;
    for at in moments {
        let mut world = world.clone();
        met += usize::from(story(&mut world, ms(at)));
        ends_well(&mut world);
    }
    met
}

/// How a Move ended, as the record has it.
pub fn verdict(world: &World, name: &str) -> Option<MoveEnd> {
    record(world).moves.iter().find(|v| v.name.as_str() == name).map(|v| v.end)
}
