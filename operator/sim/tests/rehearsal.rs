//! A rehearsal tells what operators then do: it is held against worlds that came to stand where they stand by their own
//! way, with another seed, and against what was truly written there: the arbiter's changes and the operators' journals.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::moves::{Move, MoveEnd, MoveHash, Order};
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::policy::{After as Wait, FenceClass, Policy, Traffic};
use bascule_core::record::Phase;
use bascule_core::timing::Profile;
use bascule_sim::deed::{Doing, End};
use bascule_sim::fault::{Fault, When};
use bascule_sim::flow;
use bascule_sim::rehearsal::{After, Change, Rehearsed, Standing, rehearse};
use bascule_sim::sample;
use bascule_sim::world::{Plan, World};
use jiff::Timestamp;

const PROFILE: Profile = Profile::Region;

fn paris() -> SiteName {
    "paris".try_into().unwrap()
}

fn lyon() -> SiteName {
    "lyon".try_into().unwrap()
}

fn policy() -> Policy {
    let mut policy = sample::policy();
    policy.failover.promote_after = Wait::Elapsed(Duration::from_mins(1));
    policy
}

/// A world that has settled with this policy, by its own way.
fn settled(policy: &Policy) -> World {
    let mut plan = Plan::of(vec![policy.clone()], 4711);
    plan.profile = PROFILE;
    plan.tell = true;
    let mut world = World::new(&plan);
    world.settle(Duration::from_mins(1)).unwrap();
    world
}

/// What a person reads there before the change.
fn read(world: &World, policy: &Policy) -> Standing {
    let record = world.record(&policy.key).unwrap();
    Standing {
        policy: Some(policy.clone()),
        active: record.active.clone(),
        epoch: record.epoch,
        serial: Some(record.serial),
        phase: record.phase.clone(),
        silent: !world.sites[world.site_of(&record.active).unwrap()].up,
        hold: record.hold.clone(),
        history: record.history.clone(),
        verdicts: record.moves.clone(),
        obstacles: BTreeMap::new(),
        seen: BTreeMap::new(),
        wall: wall(world),
        profile: PROFILE,
        seed: 1,
    }
}

fn wall(world: &World) -> Timestamp {
    world.sites[1].machine.wall(world.now)
}

/// A record as the arbiter took it: phase, active site, epoch, serial.
type Written = (String, String, u64, u64);

/// What is done: the records in order, and each site's steps and its guards' steps.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    records: Vec<Written>,
    steps: BTreeMap<String, Vec<String>>,
    guards: BTreeMap<String, Vec<String>>,
}

fn sorted(mut map: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    // What runs in lanes of its own has no order among itself, and what is tried again is the same step.
    for words in map.values_mut() {
        words.sort();
        words.dedup();
    }
    map
}

/// What the operators and guards of a world did since, by the arbiter and by their journals.
fn truly(world: &World, key: &PolicyKey, since: (usize, Vec<usize>, usize)) -> Done {
    let (changes, intents, lines) = since;
    let records = world.judge.changes[changes..].iter().filter(|(_, k, _)| k == key);
    let records = records.map(|(_, _, r)| written(r)).collect();
    let (mut steps, mut guards): (BTreeMap<_, Vec<String>>, BTreeMap<_, Vec<String>>) = Default::default();
    for (op, before) in world.operators.iter().zip(intents) {
        assert!(op.intents.len() < 64, "the oldest may be missing");
        let site = world.sites[op.site].name.to_string();
        for what in op.intents.iter().skip(before).filter(|what| is_step(what)) {
            steps.entry(site.clone()).or_default().push(without_serial(what));
        }
    }
    for line in &world.transcript.lines()[lines..] {
        if let Some(site) = line.who.strip_suffix(" guard") {
            guards.entry(site.to_owned()).or_default().push(line.what.clone());
        }
    }
    Done { records, steps: sorted(steps), guards: sorted(guards) }
}

/// Whether an intent of the journal is a step; the others are writes of the record and the order to lock.
fn is_step(what: &str) -> bool {
    ["set the read-only flag", "clear the read-only flag", "scale ", "point ", "verify a write"]
        .iter()
        .any(|words| what.starts_with(words))
}

/// A step without the record's serial. A plan does not tell it: whether addresses that are right already are marked
/// before a promotion ends or just after it depends on when they were looked at last.
fn without_serial(words: &str) -> String {
    let Some((before, after)) = words.split_once(", serial ") else { return words.to_owned() };
    format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn written(r: &bascule_core::record::Record) -> Written {
    (r.phase.to_string(), r.active.to_string(), r.epoch, r.serial)
}

/// The same, as it was told before.
fn told(rehearsed: &Rehearsed) -> Done {
    let (mut steps, mut guards): (BTreeMap<_, Vec<String>>, BTreeMap<_, Vec<String>>) = Default::default();
    let mut records = Vec::new();
    for (_, deed) in &rehearsed.deeds {
        let site = deed.site.to_string();
        match &deed.what {
            Doing::Record { after, .. } if deed.end == End::Done => records.push(written(after)),
            Doing::Record { .. } | Doing::Lock => {}
            Doing::Step { step, .. } => steps.entry(site).or_default().push(without_serial(&step.words())),
            // The journal has no line for these two.
            Doing::Guard { words, .. } if words == "checkpoint" || words == "stop" => {}
            Doing::Guard { words, .. } => guards.entry(site).or_default().push(words.clone()),
        }
    }
    Done { records, steps: sorted(steps), guards: sorted(guards) }
}

fn since(world: &World) -> (usize, Vec<usize>, usize) {
    let intents = world.operators.iter().map(|o| o.intents.len()).collect();
    (world.judge.changes.len(), intents, world.transcript.lines().len())
}

/// Rehearses from what is read in a world, then lets the world do it, and holds the two to be the same.
fn same(mut world: World, before: &Policy, change: &Change) -> (Rehearsed, Done) {
    let key = before.key.clone();
    let rehearsed = rehearse(&read(&world, before), change, &mut |_| {}).unwrap();
    let begun = since(&world);
    if let After::Becomes(next) = &change.policy {
        world.commit_policy(next);
    }
    if matches!(change.policy, After::Gone) {
        world.commit(|objects| {
            objects.policies.remove(&key);
        });
    }
    for mv in &change.moves {
        world.commit_move(&key, mv);
    }
    world.run_for(Duration::from_secs(40));
    let truth = truly(&world, &key, begun);
    assert_eq!(told(&rehearsed), truth, "what was told is on the left");
    assert_eq!(rehearsed.after.as_ref().map(written), world.record(&key).map(written));
    (rehearsed, truth)
}

fn moves(mv: Move) -> Change {
    Change { policy: After::Same, moves: vec![mv] }
}

fn becomes(policy: Policy) -> Change {
    let policy = Policy { spec_hash: "another".to_owned(), ..policy };
    Change { policy: After::Becomes(Box::new(policy)), moves: vec![] }
}

fn failover(epoch: u64, serial: Option<u64>, stopped: Option<&str>) -> Move {
    Move {
        hash: MoveHash("failover".to_owned()),
        order: Order::Failover {
            to: lyon(),
            source_stopped: stopped.map(ToOwned::to_owned),
            accept_data_loss: stopped.is_some(),
        },
        serial,
        ..flow::switchover("failover", &paris(), &lyon(), Some(epoch))
    }
}

fn end(rehearsed: &Rehearsed) -> Option<MoveEnd> {
    rehearsed.verdicts[0].1.as_ref().map(|v| v.end)
}

#[test]
fn a_planned_switchover() {
    let policy = policy();
    let (told, truth) =
        same(settled(&policy), &policy, &moves(flow::switchover("planned", &paris(), &lyon(), Some(1))));
    assert_eq!(end(&told), Some(MoveEnd::Done));
    let phases: Vec<&str> = truth.records.iter().map(|(phase, ..)| phase.as_str()).collect();
    assert_eq!(phases, ["Requested", "Handover", "Promoting", "Steady"]);
    assert!(told.transition.unwrap().write_pause_ms.is_some());
}

#[test]
fn a_switchover_back_after_roles_have_truly_moved() {
    let policy = policy();
    let mut world = settled(&policy);
    for (name, from, to, epoch) in [("there", paris(), lyon(), 1), ("back", lyon(), paris(), 2)] {
        world.commit_move(&policy.key, &flow::switchover(name, &from, &to, Some(epoch)));
        world.run_for(Duration::from_secs(40));
    }
    let (told, truth) = same(world, &policy, &moves(flow::switchover("again", &paris(), &lyon(), Some(3))));
    assert_eq!(end(&told), Some(MoveEnd::Done));
    assert_eq!(truth.records.last().map(|r| r.2), Some(4));
}

#[test]
fn a_failover_while_reads_are_served() {
    let policy = policy();
    let mut world = settled(&policy);
    world.plan(When::At(world.now), Fault::SiteLost(0), None);
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.record(&policy.key).unwrap().phase, Phase::ReadOnly);
    let (told, _) = same(world, &policy, &moves(failover(1, None, None)));
    assert_eq!(end(&told), Some(MoveEnd::Done));
    assert!(told.transition.unwrap().transition.loss_bound.is_some());
}

#[test]
fn a_failover_on_a_persons_word_that_the_source_is_stopped() {
    // A fence that another operator keeps, and no promotion by itself: the record promises nothing.
    let mut policy = policy();
    policy.failover.promote_after = Wait::Never;
    policy.databases.values_mut().for_each(|d| d.fence = FenceClass::External);
    let mut world = settled(&policy);
    world.run_for(Duration::from_secs(5));
    world.plan(When::At(world.now), Fault::SiteLost(0), None);
    world.run_for(Duration::from_secs(20));
    let record = world.record(&policy.key).unwrap().clone();
    assert_eq!(record.promise.fences, bascule_core::record::Fences::Never);
    // Said of the state before, it is stale; said of this one, it is done.
    let (told, _) = same(world.clone(), &policy, &moves(failover(1, Some(record.serial - 1), Some("me"))));
    assert_eq!(end(&told), Some(MoveEnd::Stale));
    let (told, _) = same(world, &policy, &moves(failover(1, Some(record.serial), Some("me"))));
    assert_eq!(end(&told), Some(MoveEnd::Done), "{:?}", told.verdicts);
}

#[test]
fn a_failover_of_a_site_that_lives_is_refused() {
    let policy = policy();
    let (told, truth) = same(settled(&policy), &policy, &moves(failover(1, None, None)));
    assert_eq!(end(&told), Some(MoveEnd::Refused));
    assert_eq!(truth.records.len(), 1, "the verdict alone");
    assert!(truth.steps.is_empty() && truth.guards.is_empty());
}

#[test]
fn a_move_of_a_past_epoch_is_stale() {
    let policy = policy();
    let mut world = settled(&policy);
    world.commit_move(&policy.key, &flow::switchover("first", &paris(), &lyon(), Some(1)));
    world.run_for(Duration::from_secs(40));
    let (told, truth) = same(world, &policy, &moves(flow::switchover("late", &paris(), &lyon(), Some(1))));
    assert_eq!(end(&told), Some(MoveEnd::Stale));
    assert!(truth.steps.is_empty() && truth.guards.is_empty());
}

#[test]
fn replicas_that_change_are_scaled_where_their_role_has_them() {
    let policy = policy();
    let mut next = policy.clone();
    let replicas = &mut next.workloads.values_mut().next().unwrap().replicas;
    (replicas.active, replicas.standby) = (Some(5), Some(1));
    let (_, truth) = same(settled(&policy), &policy, &becomes(next));
    assert_eq!(truth.steps["paris"], ["scale web to 5"]);
    assert_eq!(truth.steps["lyon"], ["scale web to 1"]);
    assert!(truth.records.is_empty());
}

#[test]
fn addresses_that_change_are_published_only_where_the_role_is() {
    let policy = policy();
    let addressed = |site: SiteName| {
        let mut next = policy.clone();
        let Some(Traffic::Dns(dns)) = next.traffic.values_mut().next() else {
            panic!("the sample has a name")
        };
        dns.addresses.insert(site, vec!["192.0.2.99".parse().unwrap()]);
        next
    };
    let (_, truth) = same(settled(&policy), &policy, &becomes(addressed(paris())));
    assert_eq!(truth.steps["paris"], ["point public at paris (epoch 1)"]);
    let (_, truth) = same(settled(&policy), &policy, &becomes(addressed(lyon())));
    assert!(truth.steps.is_empty(), "{truth:?}");
}

#[test]
fn a_deleted_policy_leaves_everything_as_it_is_and_says_so_in_the_record() {
    let policy = policy();
    let (_, truth) = same(settled(&policy), &policy, &Change { policy: After::Gone, moves: vec![] });
    assert_eq!(truth.records, [("Unmanaged".to_owned(), "paris".to_owned(), 1, 2)]);
    assert!(truth.steps.is_empty() && truth.guards.is_empty());
}

#[test]
fn a_suspended_policy_and_one_that_is_taken_up_again() {
    let policy = policy();
    let suspended = Policy { suspend: true, spec_hash: "suspended".to_owned(), ..policy.clone() };
    let (_, truth) = same(settled(&policy), &policy, &becomes(suspended.clone()));
    assert_eq!(truth.records[0].0, "Unmanaged");
    let mut world = settled(&policy);
    world.commit_policy(&suspended);
    world.run_for(Duration::from_secs(20));
    let (_, truth) = same(world, &suspended, &becomes(policy));
    assert_eq!(truth.records.len(), 1);
    assert_eq!(truth.records[0].0, "Steady");
}

#[test]
fn a_move_to_a_suspended_policy_waits() {
    let policy = policy();
    let mut world = settled(&policy);
    let suspended = Policy { suspend: true, spec_hash: "suspended".to_owned(), ..policy.clone() };
    world.commit_policy(&suspended);
    world.run_for(Duration::from_secs(20));
    let (told, _) = same(world, &suspended, &moves(flow::switchover("planned", &paris(), &lyon(), Some(1))));
    assert_eq!(end(&told), None);
}

#[test]
fn nobody_takes_a_suspended_policy_from_a_site_that_is_lost() {
    let policy = policy();
    let mut world = settled(&policy);
    let suspended = Policy { suspend: true, spec_hash: "suspended".to_owned(), ..policy.clone() };
    world.commit_policy(&suspended);
    world.run_for(Duration::from_secs(20));
    world.plan(When::At(world.now), Fault::SiteLost(0), None);
    world.run_for(Duration::from_secs(20));
    let (_, truth) = same(world, &suspended, &Change::default());
    assert!(truth.records.is_empty(), "{truth:?}");
}

#[test]
fn the_timing_of_a_failover_changes_nothing_before_there_is_one() {
    let policy = policy();
    let mut next = policy.clone();
    next.failover.promote_after = Wait::Elapsed(Duration::from_secs(5));
    let (_, truth) = same(settled(&policy), &policy, &becomes(next));
    assert_eq!(truth, Done { records: vec![], steps: BTreeMap::new(), guards: BTreeMap::new() });
}

#[test]
fn nothing_changes_nothing() {
    let policy = policy();
    let (_, truth) = same(settled(&policy), &policy, &Change::default());
    assert_eq!(truth, Done { records: vec![], steps: BTreeMap::new(), guards: BTreeMap::new() });
}

#[test]
fn what_blocks_the_target_refuses_the_move_by_the_rules() {
    let policy = policy();
    let mut standing = read(&settled(&policy), &policy);
    let gate = bascule_core::plan::Gate::new(
        "database/main/preflight",
        bascule_core::plan::Answer::No,
        "max_wal_senders is 2",
        "at least 5",
    );
    standing.obstacles.insert(lyon(), vec![gate]);
    let change = moves(flow::switchover("planned", &paris(), &lyon(), Some(1)));
    let told = rehearse(&standing, &change, &mut |_| {}).unwrap();
    assert_eq!(end(&told), Some(MoveEnd::Refused));
    assert!(
        told.verdicts[0].1.as_ref().unwrap().message.contains("max_wal_senders is 2"),
        "{:?}",
        told.verdicts
    );
    assert_eq!(told.after.unwrap().active, paris());
}

#[test]
fn the_same_standing_gives_the_same_bytes() {
    let policy = policy();
    let standing = read(&settled(&policy), &policy);
    let change = moves(flow::switchover("planned", &paris(), &lyon(), Some(1)));
    let text = || format!("{:?}", rehearse(&standing, &change, &mut |_| {}).unwrap());
    assert_eq!(text(), text());
}
