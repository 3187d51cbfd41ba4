//! What must not happen while nothing happens.

use std::time::Duration;

use bascule_core::guard::wire::{Role, ServerState};
use bascule_core::heartbeat::Unshown;
use bascule_core::policy::{After, Policy};
use bascule_core::time::read_human;
use bascule_engine::brain::Event;
use bascule_engine::ports::{Intent, TargetChanged};
use jiff::Timestamp;

use crate::world::{World, item, key, policy, site, switchover};

/// Paris active, lyon following, everything quiet.
pub fn quiet() -> World {
    quiet_by(&policy(After::Never))
}

/// The same by another policy.
fn quiet_by(policy: &Policy) -> World {
    let mut w = World::new(policy);
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.until("lyon follows", 5, |w| {
        matches!(w.places[&site("lyon")].server.state, ServerState::Standby { .. })
    });
    w.run(5_000);
    w
}

/// What lyon orders from now on while it is told `policy`.
fn told(w: &mut World, policy: &Policy) -> Vec<&'static str> {
    let from = w.log.len();
    w.later(&site("lyon"), 1, Event::Intent(Intent::Policy(Box::new(policy.clone()))));
    w.run(40);
    w.log[from..].iter().filter(|(_, at, _)| *at == site("lyon")).map(|(_, _, what)| *what).collect()
}

#[test]
fn a_policy_that_is_told_again_unchanged_is_not_looked_at_and_not_told_to_guards() {
    let mut w = quiet();
    let orders = told(&mut w, &policy(After::Never));
    for what in ["look", "tell", "publish", "write facts"] {
        assert!(!orders.contains(&what), "{what} among {orders:?}");
    }
}

#[test]
fn a_change_elsewhere_in_the_policy_leaves_the_way_to_the_primary_known() {
    let mut w = quiet();
    let mut changed = policy(After::Never);
    changed.failover.cooldown = Duration::from_mins(7);
    changed.generation += 1;
    let orders = told(&mut w, &changed);
    assert!(!orders.contains(&"tell") && !orders.contains(&"look"), "{orders:?}");
}

#[test]
fn what_changed_in_the_policy_is_looked_at_again() {
    let mut w = quiet();
    let mut changed = policy(After::Never);
    changed.workloads.get_mut(&item("web")).unwrap().replicas.read_only = Some(2);
    let orders = told(&mut w, &changed);
    assert_eq!(orders.iter().filter(|what| **what == "look").count(), 1, "{orders:?}");
    assert!(!orders.contains(&"tell"), "{orders:?}");
    for instance in changed.databases.get_mut(&item("main")).unwrap().instances.values_mut() {
        instance.replication_port = 6432;
    }
    told(&mut w, &changed);
    w.run(100);
    let wanted = w.places[&site("lyon")].server.wanted.clone();
    assert!(matches!(wanted, Some(Role::Follow { .. })), "{wanted:?}");
}

#[test]
fn a_traffic_target_that_was_changed_is_looked_at_at_once_and_another_policys_is_not() {
    let mut w = quiet();
    for (traffic, looks) in [("public", 1), ("elsewhere", 0)] {
        let from = w.log.len();
        let changed = TargetChanged { policy: key(), traffic: item(traffic) };
        w.later(&site("lyon"), 1, Event::TrafficChanged(changed));
        w.run(40);
        assert_eq!(count(&w, from, "look"), looks, "{traffic}");
    }
}

/// How often lyon ordered `what` since `from` orders of both sites.
fn count(w: &World, from: usize, what: &str) -> usize {
    w.log[from..].iter().filter(|(_, at, order)| *at == site("lyon") && *order == what).count()
}

/// What the last heartbeat of lyon does not vouch for.
fn unshown(w: &World) -> &Unshown {
    &w.beats[&site("lyon")].last().unwrap().1.unshown
}

#[test]
fn a_quiet_fleet_writes_nothing_but_a_heartbeat_that_vouches_for_what_was_shown() {
    let mut w = quiet();
    w.run(40_000);
    let (from, record, began) = (w.log.len(), w.record.clone(), w.now);
    w.run(300_000);
    assert_eq!(w.record, record);
    for what in ["write facts", "write record", "publish"] {
        let ordered = w.log[from..].iter().filter(|(_, _, order)| *order == what).count();
        assert_eq!(ordered, 0, "{what}");
    }
    for (at, by) in [("paris", "paris-1"), ("lyon", "lyon-2")] {
        let beats: Vec<_> = w.beats[&site(at)].iter().filter(|(sent, _)| *sent > began).collect();
        assert!((29..=31).contains(&beats.len()), "every ten seconds in five minutes: {}", beats.len());
        for (sent, beat) in beats {
            assert_eq!((beat.by.as_str(), &beat.unshown), (by, &Unshown::default()));
            assert_eq!(beat.at, Timestamp::UNIX_EPOCH + sent.since_boot());
        }
    }
}

#[test]
fn what_could_not_be_shown_is_named_by_the_heartbeat_until_it_is_shown() {
    let mut w = quiet();
    w.run(12_000);
    assert_eq!(unshown(&w), &Unshown::default());
    let refused = Some("failoverpolicies/status: forbidden".to_owned());
    w.places.get_mut(&site("lyon")).unwrap().faults.unpublished = refused;
    let mut changed = policy(After::Never);
    changed.generation += 1;
    told(&mut w, &changed);
    w.run(12_000);
    assert_eq!(unshown(&w), &Unshown::These([key().to_string()].into()));
    w.places.get_mut(&site("lyon")).unwrap().faults.unpublished = None;
    w.run(12_000);
    assert_eq!(unshown(&w), &Unshown::default());
    let shown = w.shown[&site("lyon")].policy.as_ref().unwrap();
    assert_eq!(shown.generation, changed.generation);
}

#[test]
fn a_heartbeat_that_is_under_way_is_not_followed_by_another_one() {
    let mut w = quiet();
    w.places.get_mut(&site("lyon")).unwrap().faults.lost_beat = true;
    w.run(12_000);
    let from = w.log.len();
    w.run(60_000);
    assert_eq!(count(&w, from, "beat"), 0);
}

#[test]
fn a_change_within_the_pause_after_a_state_was_shown_is_shown_when_the_pause_ends() {
    let mut w = quiet();
    let mut changed = policy(After::Never);
    for cooldown in [7, 8] {
        changed.failover.cooldown = Duration::from_mins(cooldown);
        changed.generation += 1;
        told(&mut w, &changed);
    }
    w.run(1_100);
    let shown = w.shown[&site("lyon")].policy.as_ref().unwrap();
    assert_eq!(shown.failover.cooldown, Duration::from_mins(8));
}

#[test]
fn an_object_that_takes_anothers_place_is_shown_the_state() {
    let mut w = quiet();
    w.run(40_000);
    let from = w.log.len();
    w.later(&site("lyon"), 1, Event::Intent(Intent::ShowAgain(key())));
    w.run(1_000);
    assert_eq!(count(&w, from, "publish"), 1);
    w.later(&site("lyon"), 1, Event::Intent(Intent::PolicyGone(key())));
    w.later(&site("lyon"), 2, Event::Intent(Intent::Policy(Box::new(policy(After::Never)))));
    w.run(2_000);
    assert!(count(&w, from, "publish") >= 2);
}

/// After a switchover to lyon by a policy with this cooldown.
fn after_a_switchover(cooldown: Duration) -> World {
    let mut policy = policy(After::Never);
    policy.failover.cooldown = cooldown;
    let mut w = quiet_by(&policy);
    w.moves(&[switchover("to-lyon", "paris", "lyon", 1)]);
    w.until("lyon takes over", 30, |w| w.settled("lyon", 2));
    w.run(40_000);
    w
}

/// How much longer ago the last transition was than paris shows, and how long it shows.
fn cooldown(w: &World) -> Option<(Duration, Duration)> {
    let gates = &w.shown[&site("paris")].report.gates;
    let found = &gates.iter().find(|g| g.name == "cooldown")?.found;
    let shown = read_human(found.strip_suffix(" since the last transition")?)?;
    let ended = w.record.as_ref()?.0.history.first()?.ended?;
    let wall = Timestamp::UNIX_EPOCH + w.now.since_boot();
    let true_age = Duration::try_from(wall.duration_since(ended)).ok()?;
    Some((true_age.saturating_sub(shown), shown))
}

#[test]
fn a_running_time_in_a_status_is_brought_up_to_date_less_and_less_often() {
    let mut w = after_a_switchover(Duration::from_hours(1));
    let from = w.log.len();
    for _ in 0..600 {
        w.run(1_000);
        let (late, shown) = cooldown(&w).expect("paris shows how long ago the transition was");
        // From two minutes on it is told in whole minutes.
        let words = Duration::from_secs(if shown + late < Duration::from_mins(2) { 0 } else { 60 });
        let most = Duration::from_secs(11) + Duration::from_secs(10).max(shown / 10) + words;
        assert!(late <= most, "{late:?} more than {shown:?}");
    }
    let ordered = w.log[from..].iter();
    let shown = ordered.filter(|(_, at, order)| *at == site("paris") && *order == "publish").count();
    assert!((8..=35).contains(&shown), "in ten minutes: {shown}");
}

#[test]
fn long_after_a_switchover_nothing_is_written_either() {
    let mut w = after_a_switchover(Duration::from_secs(20));
    let from = w.log.len();
    w.run(300_000);
    let shown = w.log[from..].iter().filter(|(_, _, order)| *order == "publish").count();
    assert_eq!(shown, 0);
}

#[test]
fn a_lag_that_grows_is_said_by_its_magnitude_and_not_with_every_byte() {
    let mut w = quiet();
    let from = w.log.len();
    for behind in 0..600_u64 {
        w.places.get_mut(&site("lyon")).unwrap().server.behind = behind * 10_000;
        w.run(100);
    }
    let written = count(&w, from, "write facts");
    assert!((4..=8).contains(&written), "seven magnitudes in a minute: {written}");
    let lag = w.shown[&site("paris")].report.sites[1].lag.bytes;
    assert!(lag.is_some_and(|bytes| bytes > 4_000_000), "{lag:?}");
}

#[test]
fn a_replica_that_is_cut_off_from_its_primary_is_told_by_both_sites() {
    let mut w = quiet();
    w.link = false;
    w.run(10_000);
    for name in ["paris", "lyon"] {
        let report = &w.shown[&site(name)].report;
        let status = |kind: &str| report.conditions.iter().find(|c| c.kind == kind).unwrap().status;
        for kind in ["ReplicationHealthy", "FailoverPossible", "SwitchoverPossible"] {
            assert_eq!(status(kind), Some(false), "{kind} in {name}: {:#?}", report.conditions);
        }
        assert_eq!(report.lag.bytes, None);
    }
    w.link = true;
    w.run(10_000);
    let report = &w.shown[&site("paris")].report;
    assert!(report.conditions.iter().any(|c| c.kind == "ReplicationHealthy" && c.status == Some(true)));
}
