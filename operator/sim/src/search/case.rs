//! One world from its start until it has settled, with the faults that it is given.

use std::collections::BTreeSet;
use std::time::Duration;

use bascule_core::policy::{Policy, Traffic};
use serde::{Deserialize, Serialize};

use super::same_end::End;
use crate::fault::{Fault, When};
use crate::flow::{Flow, steady};
use crate::judge::{Invariant, Limit, Sometimes, Unsettled, Violation, spares_the_writer};
use crate::random::Chance;
use crate::sample;
use crate::time::Moment;
use crate::world::{Boundary, Plan, World};

/// How long a world may take to settle once its faults are over.
const SETTLE: Duration = Duration::from_secs(75);

/// How long everything has to have been well before no status may say otherwise: a watch counts as good after ten seconds,
/// and what was shown is compared with what is so every ten seconds.
const REST: Duration = Duration::from_secs(45);

/// How often a person raises the arbiter's generation: once for each time that it may lose its records, and once more.
const GENERATIONS: usize = 3;

/// A fault that a case injects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Injected {
    /// When.
    pub when: When,
    /// What.
    pub fault: Fault,
    /// For how long, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<u64>,
}

/// A flow with faults. Written as one line of JSON it is what a corpus keeps and what replays it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// The flow.
    pub flow: Flow,
    /// The seed of all chance.
    pub seed: u64,
    /// Whether the policy has an HTTPRoute in each site besides its name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub routes: bool,
    /// Whether the gateways of those routes refuse writes while nobody accepts them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub refusals: bool,
    /// What goes wrong on top of the flow's own.
    pub faults: Vec<Injected>,
}

impl Case {
    /// The policy of its world.
    pub fn policy(&self) -> Policy {
        sample::with(self.routes, self.refusals)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a field so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was broken.
    pub violations: Vec<Violation>,
    /// What was met.
    pub met: BTreeSet<Sometimes>,
    /// What does not hold and is known not to.
    pub limits: BTreeSet<Limit>,
    /// How many things happened.
    pub events: u64,
    /// How many writes the clients made.
    pub writes: usize,
    /// What it came to.
    pub end: End,
    /// When everything had settled.
    pub settled: Result<Moment, Unsettled>,
}

/// A world in which a flow is about to begin: made once for all cases that begin with it.
#[derive(Clone, Debug)]
pub struct Base {
    /// The flow.
    pub flow: Flow,
    /// The seed.
    pub seed: u64,
    /// Whether its policy has an HTTPRoute in each site.
    pub routes: bool,
    /// Whether their gateways refuse writes while nobody accepts them.
    pub refusals: bool,
    world: World,
    /// The boundaries that the flow meets when nothing else goes wrong.
    pub boundaries: Vec<Boundary>,
    /// What the flow comes to when nothing else goes wrong.
    pub end: Option<End>,
    /// The epoch in which it begins.
    pub epoch: u64,
    rests: Rests,
}

/// Which cases go on after everything has settled, until no status may say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rests {
    Each,
    /// The same cases in every run.
    OneOf(u64),
}

impl Base {
    /// Makes the world.
    ///
    /// # Errors
    /// When the policy does not even settle without faults.
    pub fn new(flow: Flow, seed: u64, policy: &Policy, tell: bool) -> Result<Self, Unsettled> {
        let mut plan = Plan::of(flow.policies(policy), seed);
        plan.tell = tell;
        plan.writes_every = Some(flow.writes_every());
        let mut world = steady(&plan)?;
        flow.prepare(&mut world)?;
        let key = world.policies.first().map(|p| p.key.clone());
        let epoch = key.and_then(|k| world.record(&k)).map_or(0, |r| r.epoch);
        world.count_boundaries(true);
        let routes = policy.traffic.values().any(Traffic::is_in_every_site);
        let refusals = policy.traffic.values().any(Traffic::refuses_writes);
        let mut base = Self {
            flow,
            seed,
            routes,
            refusals,
            world,
            boundaries: Vec::new(),
            end: None,
            epoch,
            rests: Rests::Each,
        };
        let quiet = base.play(&[]);
        base.boundaries = quiet.0.boundaries().to_vec();
        base.end = Some(quiet.1.end);
        base.world.count_boundaries(false);
        Ok(base)
    }

    /// The same, of whose cases only a share goes on after it has settled: that takes longer than the case, and a search
    /// of everything meets each fault many times.
    #[must_use]
    pub const fn rarely_rests(mut self) -> Self {
        self.rests = Rests::OneOf(8);
        self
    }

    fn rests(&self, faults: &[Injected]) -> bool {
        match self.rests {
            Rests::Each => true,
            Rests::OneOf(share) => Chance::of(self.seed, &format!("{faults:?}")).below(share) == 0,
        }
    }

    /// Plays a case to its end.
    pub fn play(&self, faults: &[Injected]) -> (World, Verdict) {
        let mut world = self.world.clone();
        for injected in faults {
            let when = match &injected.when {
                When::At(moment) => When::At(world.now + moment.since_start()),
                other => other.clone(),
            };
            world.plan(when, injected.fault, injected.lasts.map(Duration::from_millis));
        }
        let began = world.now;
        self.flow.begin(&mut world);
        world.run_watched(self.flow.lasts());
        let mut settled = world.settle_unless(SETTLE, World::waits_for_a_generation);
        // What was planned has to be over before it counts as settled, and the time for it begins when the last of it is.
        while world.is_faulty() || (settled.is_err() && !world.waits_for_a_generation()) {
            let left = world.disturbed + SETTLE;
            if !world.is_faulty() && world.now >= left {
                break;
            }
            world.run_watched(Duration::from_millis(500));
            let left = left.since(world.now).max(Duration::from_secs(2));
            settled = world.settle_unless(left, World::waits_for_a_generation);
        }
        for _ in 0..GENERATIONS {
            if settled.is_ok() || !world.waits_for_a_generation() {
                break;
            }
            // Only a person can help, and does.
            world.raise_generation();
            settled = world.settle_unless(SETTLE, |_| false);
        }
        // Nothing goes wrong any more.
        world.stop_counting();
        if settled.is_ok() && self.rests(faults) {
            world.run_watched(REST);
            // A site that waits for a person says so for as long as it waits.
            if world.all_settled().is_ok() && !world.waits_for_a_generation() {
                world.judge_rest();
            }
        }
        self.judge_writers(&mut world, faults, began);
        for app in 0..world.policies.len() {
            world.judge_recovery(app, began, faults.is_empty() && self.flow != Flow::Fleet);
        }
        let verdict = judge(&mut world, settled);
        (world, verdict)
    }
}

impl Base {
    /// What must not have stopped a healthy writer: what is lost in a quiet world, another policy's trouble in any.
    fn judge_writers(&self, world: &mut World, faults: &[Injected], began: Moment) {
        let by_operator =
            |number: u32| self.boundaries.iter().any(|b| b.number == number && b.who.ends_with("operator"));
        let active = self.flow.begins_at();
        let spares = |i: &Injected| match (&i.when, i.fault) {
            (When::Boundary(number), Fault::Effect(_)) => by_operator(*number),
            (_, fault) => spares_the_writer(fault, active),
        };
        // Two things that are lost may be two places.
        if faults.len() > 1 || !faults.iter().all(spares) {
            return;
        }
        match self.flow {
            Flow::Quiet => world.judge_writer(0, active, began, Invariant::L4),
            Flow::Neighbours => world.judge_writer(0, active, began, Invariant::S10),
            _ => {}
        }
    }
}

fn judge(world: &mut World, settled: Result<Moment, Unsettled>) -> Verdict {
    let now = world.now;
    if let Err(why) = &settled
        && !world.a_stranger_has_a_name()
    {
        world.judge.breaks(now, Invariant::L1, format!("it does not settle: {}", why.0));
    }
    let keys: Vec<_> = world.policies.iter().map(|p| p.key.clone()).collect();
    for key in &keys {
        world.judge_rows(key);
    }
    let record = keys.first().and_then(|k| world.record(k));
    let moves = record.iter().flat_map(|r| &r.moves).map(|v| (v.name.to_string(), v.end)).collect();
    let active = record.and_then(|r| world.site_of(&r.active));
    let end = End { active, epoch: record.map_or(0, |r| r.epoch), moves };
    Verdict {
        violations: world.judge.violations.clone(),
        met: world.judge.met.clone(),
        limits: world.judge.limits.clone(),
        events: world.happened,
        writes: world.writes.len(),
        end,
        settled,
    }
}
