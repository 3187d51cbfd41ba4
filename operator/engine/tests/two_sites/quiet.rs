//! What must not happen while nothing happens.

use std::time::Duration;

use bascule_core::guard::wire::{Role, ServerState};
use bascule_core::policy::{After, Policy};
use bascule_engine::brain::Event;
use bascule_engine::ports::{Intent, TargetChanged};

use crate::world::{World, item, key, policy, site};

/// Paris active, lyon following, everything quiet.
pub fn quiet() -> World {
    let mut w = World::new(&policy(After::Never));
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

#[test]
fn a_quiet_fleet_writes_no_record_and_no_facts_and_shows_its_state_with_fresh_ages() {
    let mut w = quiet();
    w.run(40_000);
    let (from, record) = (w.log.len(), w.record.clone());
    w.run(300_000);
    assert_eq!(w.record, record);
    assert_eq!(count(&w, from, "write facts"), 0);
    let shown = count(&w, from, "publish");
    assert!((9..=11).contains(&shown), "every thirty seconds in five minutes: {shown}");
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
