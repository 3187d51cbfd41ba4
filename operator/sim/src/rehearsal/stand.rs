//! A world is brought to where the real one stands: by the operators' own rules as far as they go, and by the words of
//! the record for the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::name::{ItemName, SiteName};
use bascule_core::observation::FlagValue;
use bascule_core::policy::{FenceClass, Policy};
use bascule_core::record::{Entered, Fences, Phase, Promise, Record};
use bascule_core::time::human;

use super::{ASSUMED_REPLICAS, After, CannotStand, Change, Standing};
use crate::fault::{Fault, When};
use crate::scenario::latency;
use crate::world::cluster::App;
use crate::world::{Plan, World};

/// How long everybody is given to hear of what was written into the record.
const HEARD: Duration = Duration::from_secs(3);

/// The world before the change.
pub(super) fn world(standing: &Standing, change: &Change) -> Result<World, CannotStand> {
    let Some(policy) = &standing.policy else { return Ok(from_nothing(standing, change)) };
    // A suspended policy was in force before it was suspended: databases are opened by one that is not.
    let calm = Policy { suspend: false, ..policy.clone() };
    let mut plan = plan_of(standing, vec![calm.clone()]);
    if let After::Becomes(next) = &change.policy {
        plan.more_sites.clone_from(&next.sites);
    }
    let created = standing.epoch == 1 && standing.active == calm.initial_site;
    if !created {
        plan.records = vec![(calm.key.clone(), record(standing, &calm))];
    }
    let mut world = World::new(&plan);
    see(&mut world, standing, &calm);
    let within = Duration::from_mins(1) + standing.profile.timing().l() * 4;
    world.settle(within).map_err(|u| cannot("the policy in force, steady", within, u.0))?;
    // For so long a site that has just started waits with what it cannot know it has not granted before.
    world.run_for(standing.profile.timing().l() * 2);
    fill(&mut world, standing, &calm);
    if policy.suspend || standing.phase == Phase::Unmanaged {
        suspend(&mut world, &calm, policy)?;
    }
    if standing.silent || standing.phase == Phase::ReadOnly {
        lose(&mut world, standing, policy)?;
    }
    if standing.serial.is_some() {
        raise(&mut world, standing, policy);
    }
    stands_still(&world, standing, policy)?;
    for (site, gates) in &standing.obstacles {
        if let Some(site) = world.site_of(site) {
            world.sites[site].cluster.obstacles.insert(policy.key.clone(), gates.clone());
        }
    }
    // Obstacles are met by the next look, which comes at once only when something changes.
    world.run_for(if standing.obstacles.is_empty() { Duration::ZERO } else { LOOKED });
    world.set_clocks(standing.wall);
    Ok(world)
}

/// Within how long an operator looks at everything again.
const LOOKED: Duration = Duration::from_secs(35);

fn plan_of(standing: &Standing, policies: Vec<Policy>) -> Plan {
    let mut plan = Plan::of(policies, standing.seed);
    plan.profile = standing.profile;
    plan.latency = latency(standing.profile);
    plan.tell = true;
    plan.writes_every = None;
    plan.wall = Some(standing.wall);
    plan
}

/// Nothing is there but clusters, data where the policy begins, and operators.
fn from_nothing(standing: &Standing, change: &Change) -> World {
    let policies = match &change.policy {
        After::Becomes(policy) => vec![(**policy).clone()],
        After::Same | After::Gone => Vec::new(),
    };
    let mut world = World::new(&plan_of(standing, policies.clone()));
    for policy in &policies {
        let hash = (policy.key.clone(), policy.spec_hash.clone());
        for site in &mut world.sites {
            let app = |item: &ItemName| (item.clone(), new_app(policy, standing, &site.name, item));
            let apps: BTreeMap<ItemName, App> = policy.workloads.keys().map(app).collect();
            site.cluster.staged.insert(hash.clone(), apps);
        }
    }
    world
}

/// A workload that nobody has met before.
pub(super) fn new_app(policy: &Policy, standing: &Standing, site: &SiteName, item: &ItemName) -> App {
    let seen = standing.seen.get(&(site.clone(), item.clone())).cloned().unwrap_or_default();
    let pods = seen.replicas.unwrap_or(ASSUMED_REPLICAS);
    let flagged = policy.workloads.get(item).is_some_and(|w| w.read_only.is_some());
    App { flagged, instead: Some(seen.flag.unwrap_or(FlagValue::Missing)), ..App::new(pods) }
}

/// The record as it is said to be, before its operators have started.
fn record(standing: &Standing, policy: &Policy) -> Record {
    let timing = standing.profile.timing();
    let class = policy.databases.values().map(|d| d.fence).min().unwrap_or(FenceClass::Guard);
    // One that the policy does not ask for is put right by the active site before anything else is done.
    let promise = Promise {
        fences: Fences::Within { holder: timing.holder, fence: timing.fence },
        lease: timing.lease,
        fence_class: class,
        profile: standing.profile.name().to_owned(),
    };
    let entered = Entered { at: standing.wall, by: standing.active.clone() };
    Record { epoch: standing.epoch, ..Record::first(standing.active.clone(), promise, entered) }
}

/// Workloads are as they were seen, where they were seen.
fn see(world: &mut World, standing: &Standing, policy: &Policy) {
    for ((site, item), seen) in &standing.seen {
        let Some(site) = world.site_of(site) else { continue };
        let key = (policy.key.clone(), item.clone());
        if let (Some(app), Some(pods)) = (world.sites[site].cluster.apps.get_mut(&key), seen.replicas) {
            (app.wanted, app.ready) = (pods, pods);
        }
    }
}

/// What the record remembers.
fn fill(world: &mut World, standing: &Standing, policy: &Policy) {
    if standing.hold.is_none() && standing.history.is_empty() && standing.verdicts.is_empty() {
        return;
    }
    world.others_write(&policy.key, |record| {
        record.hold.clone_from(&standing.hold);
        record.history.clone_from(&standing.history);
        record.moves.clone_from(&standing.verdicts);
    });
    world.run_for(HEARD);
}

/// The record comes to the serial that it is said to have, by writes that changed nothing else.
fn raise(world: &mut World, standing: &Standing, policy: &Policy) {
    let now = world.record(&policy.key).map(|r| r.serial);
    if let Some(wanted) = standing.serial.filter(|wanted| now.is_some_and(|now| now < *wanted)) {
        world.others_write(&policy.key, |record| record.serial = wanted);
        world.run_for(HEARD);
    }
}

fn suspend(world: &mut World, calm: &Policy, policy: &Policy) -> Result<(), CannotStand> {
    if policy.suspend {
        world.commit_policy(policy);
    } else {
        let suspended = Policy { suspend: true, spec_hash: "suspended".to_owned(), ..calm.clone() };
        world.commit_policy(&suspended);
    }
    let within = Duration::from_mins(1);
    reach(world, policy, within, "Unmanaged", |world| {
        world.record(&policy.key).is_some_and(|r| r.phase == Phase::Unmanaged)
    })
}

/// The active site is lost, and the others have noticed.
fn lose(world: &mut World, standing: &Standing, policy: &Policy) -> Result<(), CannotStand> {
    let Some(site) = world.site_of(&standing.active) else { return Ok(()) };
    let now = world.now;
    world.plan(When::At(now), Fault::SiteLost(site), None);
    let reads = policy.failover.serve_reads_after.elapsed().unwrap_or_default();
    let within = standing.profile.timing().l() * 3 + reads + Duration::from_secs(30);
    if standing.phase == Phase::ReadOnly {
        reach(world, policy, within, "ReadOnly", |world| {
            world.record(&policy.key).is_some_and(|r| r.phase == Phase::ReadOnly)
        })?;
        // What is done because reads are served is done by then.
        let promotes = policy.failover.promote_after.elapsed().unwrap_or(Duration::MAX);
        world.run_for(HEARD.min(promotes / 3));
        return Ok(());
    }
    if standing.phase == Phase::Unmanaged {
        // Nobody acts, and nobody says how long it has been silent.
        world.run_for(standing.profile.timing().l() * 3 / 2);
        return Ok(());
    }
    // Nobody shows at once that silence is proved. By then it is, and what is done without a person has begun.
    let proved = standing.profile.timing().l() * 2;
    let changed = |world: &World| world.record(&policy.key).is_some_and(|r| r.phase != standing.phase);
    world.run_while(proved, |world| !changed(world));
    Ok(())
}

/// What a policy does by itself must not have been done on the way.
fn stands_still(world: &World, standing: &Standing, policy: &Policy) -> Result<(), CannotStand> {
    let Some(record) = world.record(&policy.key).filter(|r| r.epoch != standing.epoch) else { return Ok(()) };
    let wanted = format!("{} lost in epoch {}", standing.active, standing.epoch);
    let why = format!(
        "{} takes the role by itself before anybody's Move is read; a Failover is for when something keeps it from that, which its status says",
        record.active
    );
    Err(cannot(&wanted, standing.profile.timing().l() * 2, why))
}

fn reach(
    world: &mut World,
    policy: &Policy,
    within: Duration,
    wanted: &str,
    reached: impl Fn(&World) -> bool,
) -> Result<(), CannotStand> {
    if world.run_while(within, |world| !reached(world)) {
        return Ok(());
    }
    let phase = world.record(&policy.key).map_or_else(|| "no record".to_owned(), |r| r.phase.to_string());
    let says = world.operators.iter().filter(|o| o.up).filter_map(|o| o.shown.get(&policy.key)).next_back();
    let says = says.map(|s| s.report.sentence.clone()).unwrap_or_default();
    Err(cannot(wanted, within, format!("the record is in {phase}; {says}")))
}

fn cannot(wanted: &str, within: Duration, why: String) -> CannotStand {
    CannotStand { wanted: wanted.to_owned(), within: human(within), why }
}
