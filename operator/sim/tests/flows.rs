//! Each flow comes to its end when nothing else goes wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(clippy::disallowed_macros, reason = "a test that fails shows the stories")]

use std::time::Duration;

use bascule_core::policy::Policy;
use bascule_sim::fault::{Fault, When};
use bascule_sim::flow::{Flow, steady};
use bascule_sim::sample;
use bascule_sim::search::{Base, Injected};
use bascule_sim::world::Plan;

fn run(flow: Flow, seed: u64) -> (String, usize, u64) {
    run_of(&sample::policy(), flow, seed)
}

fn run_of(policy: &Policy, flow: Flow, seed: u64) -> (String, usize, u64) {
    let mut plan = Plan::of(flow.policies(policy), seed);
    plan.tell = true;
    let mut world = match steady(&plan) {
        Ok(world) => world,
        Err(e) => panic!("it does not even begin: {}", e.0),
    };
    flow.prepare(&mut world).unwrap();
    flow.begin(&mut world);
    world.run_for(flow.lasts());
    let ended = world.settle(Duration::from_mins(1));
    let text = world.transcript.text();
    if let Err(why) = ended {
        panic!("{}\n{text}", why.0);
    }
    assert!(world.judge.violations.is_empty(), "{:?}\n{text}", world.judge.violations);
    let key = world.policies[0].key.clone();
    let active = world.record(&key).and_then(|r| world.site_of(&r.active)).unwrap();
    (text, active, world.happened)
}

#[test]
fn every_flow_ends_where_it_should_without_a_violation() {
    for flow in Flow::ALL.into_iter().filter(|f| !matches!(f, Flow::ArbiterRestored | Flow::Fleet)) {
        let (text, active, happened) = run(flow, 1);
        println!("==== {} ({happened} events)\n{text}", flow.name());
        assert_eq!(active, flow.ends_at(), "{}\n{text}", flow.name());
    }
}

#[test]
fn every_flow_ends_where_it_should_with_gateways_that_refuse_writes_while_nobody_accepts_them() {
    let policy = sample::with(true, true);
    for flow in Flow::ALL.into_iter().filter(|f| !matches!(f, Flow::ArbiterRestored | Flow::Fleet)) {
        let (text, active, _) = run_of(&policy, flow, 1);
        assert_eq!(active, flow.ends_at(), "{}\n{text}", flow.name());
        if matches!(flow, Flow::Switchover | Flow::SiteLostHold) {
            for told in ["refuse writes", "let writes pass"] {
                assert!(
                    text.contains(&format!("have the gateway of gateway {told}")),
                    "{}: {told}\n{text}",
                    flow.name()
                );
            }
        }
    }
}

#[test]
fn of_two_standbys_the_one_that_has_more_takes_over_whoever_sees_the_silence_first() {
    for seed in 2..=7 {
        let (text, active, _) = run(Flow::ThreeLagging, seed);
        assert_eq!(active, Flow::ThreeLagging.ends_at(), "seed {seed}\n{text}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_another_story() {
    let (a, _, _) = run(Flow::SiteLost, 7);
    assert_eq!(a, run(Flow::SiteLost, 7).0);
    assert_ne!(a, run(Flow::SiteLost, 8).0);
}

#[test]
fn a_switchover_is_carried_out_wherever_the_operator_of_its_target_starts_again() {
    let base = Base::new(Flow::Switchover, 1, &sample::policy(), true).unwrap_or_else(|e| panic!("{}", e.0));
    for boundary in &base.boundaries {
        let when = When::Boundary(boundary.number);
        let (world, _) = base.play(&[Injected { when, fault: Fault::OperatorKilled(1), lasts: None }]);
        let text = world.transcript.text();
        // What a closed server does not let it see it has to see before the server is closed.
        assert!(!text.contains("not ready within"), "killed at boundary {}\n{text}", boundary.number);
    }
}

#[test]
fn another_replica_that_takes_over_at_any_boundary_of_a_switchover_breaks_nothing() {
    let base = Base::new(Flow::Switchover, 1, &sample::policy(), false).unwrap_or_else(|e| panic!("{}", e.0));
    for boundary in &base.boundaries {
        for site in 0..2 {
            let when = When::Boundary(boundary.number);
            let fault = Fault::ReplicaFollows(site);
            let verdict = base.judged(&[Injected { when, fault, lasts: Some(5000) }]);
            let at = format!("boundary {}, site {site}", boundary.number);
            assert!(verdict.violations.is_empty(), "{at}: {:?}", verdict.violations);
            assert!(verdict.settled.is_ok(), "{at}: it does not settle");
        }
    }
}
