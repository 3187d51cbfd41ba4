//! The names and the policy that the engine's tests speak of.

use std::time::Duration;

use bascule_core::few::Few;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::policy::{
    After, Database, Failover, FenceClass, Instance, MaxDataLoss, Notifications, Policy,
};

pub fn site(name: &str) -> SiteName {
    name.try_into().unwrap()
}

pub fn item(name: &str) -> ItemName {
    name.try_into().unwrap()
}

pub fn key() -> PolicyKey {
    PolicyKey::new("shop", "shop").unwrap()
}

/// One database in paris and lyon, nothing else.
pub fn policy() -> Policy {
    let instance = Instance {
        stateful_set: "main".try_into().unwrap(),
        host: "main".to_owned(),
        port: 5432,
        database: "postgres".to_owned(),
        secret: "main-bascule".try_into().unwrap(),
        replication_host: "main".to_owned(),
        replication_port: 5432,
        replication_secret: "main-replication".try_into().unwrap(),
    };
    let sites = [site("paris"), site("lyon")];
    let instances = sites.iter().map(|s| (s.clone(), instance.clone())).collect();
    Policy {
        key: key(),
        generation: 1,
        spec_hash: "same".to_owned(),
        revision: None,
        sites: sites.to_vec(),
        initial_site: site("paris"),
        suspend: false,
        failover: Failover {
            serve_reads_after: After::Elapsed(Duration::from_secs(2)),
            return_after: Duration::from_secs(5),
            promote_after: After::Elapsed(Duration::ZERO),
            max_data_loss: MaxDataLoss { bytes: 1 << 24, seconds: Duration::from_secs(30) },
            cooldown: Duration::ZERO,
            switchover_deadline: Duration::from_mins(1),
            offer_for: Duration::from_secs(3),
            restart_grace: Duration::from_secs(30),
        },
        databases: Few::from([(item("main"), Database { fence: FenceClass::Guard, instances })]),
        workloads: Few::new(),
        traffic: Few::new(),
        notifications: Notifications::default(),
    }
}
