//! Policies and Moves.

use std::time::Duration;

use bascule_core::few::Few;
use bascule_core::moves::{Move, MoveHash, Order};
use bascule_core::name::PolicyKey;
use bascule_core::policy::{
    After, Database, Dns, Failover, FenceClass, FlagStore, Instance, MaxDataLoss, Notifications, Policy,
    ReadOnlyFlag, Replicas, Traffic, VerifyProbe, Workload, WorkloadKind,
};
use jiff::Timestamp;

use super::{item, site};

pub const HASH: &str = "spec-1";

/// One database, one workload with a flag, one traffic target, in paris and lyon.
pub fn policy() -> Policy {
    policy_in(&["paris", "lyon"])
}

pub fn policy_in(names: &[&str]) -> Policy {
    let sites: Vec<_> = names.iter().map(|n| site(n)).collect();
    Policy {
        key: PolicyKey::new("shop", "shop").unwrap(),
        generation: 1,
        spec_hash: HASH.to_owned(),
        revision: None,
        initial_site: sites[0].clone(),
        suspend: false,
        failover: Failover {
            serve_reads_after: After::Elapsed(Duration::from_secs(10)),
            return_after: Duration::from_mins(1),
            promote_after: After::Elapsed(Duration::from_mins(30)),
            max_data_loss: MaxDataLoss { bytes: 16 << 20, seconds: Duration::from_secs(30) },
            cooldown: Duration::from_hours(1),
            switchover_deadline: Duration::from_mins(2),
            offer_for: Duration::from_secs(30),
            restart_grace: Duration::from_secs(30),
        },
        databases: Few::from([(item("main"), database(names))]),
        workloads: Few::from([(item("web"), workload())]),
        traffic: Few::from([(item("public"), traffic(names))]),
        notifications: Notifications::default(),
        sites,
    }
}

pub fn database(names: &[&str]) -> Database {
    let instance = |name: &str| Instance {
        stateful_set: "main".try_into().unwrap(),
        host: "main.shop.svc".to_owned(),
        port: 5432,
        database: "shop".to_owned(),
        secret: "main-bascule".try_into().unwrap(),
        replication_host: format!("{name}.example"),
        replication_port: 5432,
        replication_secret: "main-replication".try_into().unwrap(),
    };
    Database { fence: FenceClass::Guard, instances: names.iter().map(|n| (site(n), instance(n))).collect() }
}

fn workload() -> Workload {
    Workload {
        kind: WorkloadKind::Deployment,
        name: "web".try_into().unwrap(),
        replicas: Replicas { active: None, standby: Some(0), read_only: Some(2) },
        read_only: Some(ReadOnlyFlag {
            store: FlagStore::ConfigMap,
            name: "web-flags".try_into().unwrap(),
            key: "READ_ONLY".to_owned(),
            read_only_value: "1".to_owned(),
            read_write_value: "0".to_owned(),
            verify: Some(VerifyProbe {
                path: "/mode".to_owned(),
                port: None,
                expect_body: "read-only".to_owned(),
            }),
        }),
    }
}

fn traffic(names: &[&str]) -> Traffic {
    let server = "192.0.2.53:53".parse().unwrap();
    Traffic::Dns(Dns {
        name: "www.shop.example.".to_owned(),
        zone: "shop.example.".to_owned(),
        ttl: Duration::from_secs(5),
        update_servers: vec![server],
        verify_servers: vec![server],
        tsig_secret: "dns-key".try_into().unwrap(),
        addresses: names
            .iter()
            .enumerate()
            .map(|(i, n)| (site(n), vec![format!("192.0.2.{}", 10 + i).parse().unwrap()]))
            .collect(),
    })
}

/// A Move about epoch 1 with this name; its hash is its name.
pub fn mv(name: &str, order: Order) -> Move {
    Move {
        hash: MoveHash(name.to_owned()),
        name: name.try_into().unwrap(),
        order,
        from: None,
        epoch: Some(1),
        serial: None,
        not_before: None,
        not_after: None,
        reason: "ticket 4711".to_owned(),
    }
}

pub fn switchover(name: &str, to: &str) -> Move {
    mv(name, Order::Switchover { to: site(to) })
}

pub fn failover(name: &str, to: &str) -> Move {
    mv(name, Order::Failover { to: site(to), source_stopped: None, accept_data_loss: false })
}

/// A person's word that the source is stopped, said of `serial`.
pub fn source_stopped(name: &str, to: &str, serial: u64) -> Move {
    let order = Order::Failover {
        to: site(to),
        source_stopped: Some("Ada saw the rack without power".to_owned()),
        accept_data_loss: true,
    };
    Move { serial: Some(serial), ..mv(name, order) }
}

pub fn hold(name: &str, until: Timestamp) -> Move {
    Move { not_after: Some(until), ..mv(name, Order::Hold) }
}
