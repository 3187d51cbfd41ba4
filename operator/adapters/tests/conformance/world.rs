//! The simulator's world in which only models act: its engines are silent, and who drives a model orders in their place.

use std::sync::Arc;
use std::time::Duration;

use bascule_core::plan::Step;
use bascule_core::policy::Policy;
use bascule_engine::brain::{Command, Event, Found, Look};
use bascule_sim::sample;
use bascule_sim::world::{Plan, World};

/// Longer than anything takes that must happen, in the world's own time.
const LONG: Duration = Duration::from_mins(2);

/// A policy without databases: no guard acts.
pub(crate) fn policy() -> Policy {
    let mut policy = sample::policy();
    policy.databases.clear();
    policy
}

/// Paris is operator 0, lyon operator 1.
pub(crate) struct Driven {
    pub(crate) world: World,
    pub(crate) policy: Arc<Policy>,
}

impl Driven {
    pub(crate) fn new(policy: Policy) -> Self {
        let mut world = World::new(&Plan { writes_every: None, ..Plan::of(vec![policy.clone()], 1) });
        for op in 0..world.operators.len() {
            world.drive_operator(op);
        }
        world.run_for(Duration::from_secs(5));
        for op in 0..world.operators.len() {
            world.heard(op);
        }
        Self { world, policy: Arc::new(policy) }
    }

    /// Orders and waits for the first answer that fits.
    pub(crate) fn ask<T>(&mut self, op: usize, command: Command, fits: impl Fn(Event) -> Option<T>) -> T {
        self.world.command(op, command);
        self.hear(op, fits)
    }

    /// Waits for the first event that fits; those before it are gone.
    pub(crate) fn hear<T>(&mut self, op: usize, fits: impl Fn(Event) -> Option<T>) -> T {
        let end = self.world.now + LONG;
        loop {
            let mut heard = self.world.heard(op).into_iter();
            if let Some(found) = heard.find_map(&fits) {
                // What came after it is for those who ask later.
                self.world.operators[op].by_hand = Some(heard.collect());
                return found;
            }
            assert!(self.world.step(end), "the model never answered");
        }
    }

    pub(crate) fn perform(&mut self, op: usize, step: Step) -> bascule_core::outcome::Outcome {
        let command = Command::Perform { policy: self.policy.clone(), lane: step.lane(), step };
        self.ask(op, command, |event| match event {
            Event::Done { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    pub(crate) fn look(&mut self, op: usize, what: Look) -> Found {
        let command = Command::Look { policy: self.policy.clone(), what, active: true };
        self.ask(op, command, |event| match event {
            Event::Seen { found, .. } => Some(found),
            _ => None,
        })
    }
}
