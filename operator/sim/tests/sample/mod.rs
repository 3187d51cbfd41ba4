//! The policy that the simulator's tests speak of.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::name::PolicyKey;
use bascule_core::policy::{
    After, Database, Dns, Failover, FenceClass, FlagStore, Instance, MaxDataLoss, Policy, ReadOnlyFlag,
    Replicas, Traffic, Workload, WorkloadKind,
};

/// One database, one web application and one name in paris and lyon.
pub fn policy() -> Policy {
    let site = |name: &str| name.try_into().unwrap();
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
    let sites = vec![site("paris"), site("lyon")];
    let instances =
        sites.iter().map(|s: &bascule_core::name::SiteName| (s.clone(), instance.clone())).collect();
    Policy {
        key: PolicyKey::new("shop", "shop").unwrap(),
        generation: 1,
        spec_hash: "same".to_owned(),
        revision: None,
        sites,
        initial_site: site("paris"),
        suspend: false,
        failover: Failover {
            serve_reads_after: After::Elapsed(Duration::from_secs(2)),
            return_after: Duration::from_secs(2),
            promote_after: After::Elapsed(Duration::ZERO),
            max_data_loss: MaxDataLoss { bytes: 1 << 24, seconds: Duration::from_secs(30) },
            cooldown: Duration::ZERO,
            switchover_deadline: Duration::from_secs(20),
            offer_for: Duration::from_secs(10),
            restart_grace: Duration::from_secs(3),
        },
        databases: BTreeMap::from([(
            "main".try_into().unwrap(),
            Database { fence: FenceClass::Guard, instances },
        )]),
        workloads: BTreeMap::from([(
            "web".try_into().unwrap(),
            Workload {
                kind: WorkloadKind::Deployment,
                name: "web".try_into().unwrap(),
                replicas: Replicas { active: Some(2), standby: Some(0), read_only: Some(1) },
                read_only: Some(ReadOnlyFlag {
                    store: FlagStore::ConfigMap,
                    name: "web-flags".try_into().unwrap(),
                    key: "READ_ONLY".to_owned(),
                    read_only_value: "1".to_owned(),
                    read_write_value: "0".to_owned(),
                    verify: None,
                }),
            },
        )]),
        traffic: BTreeMap::from([(
            "public".try_into().unwrap(),
            Traffic {
                dns: Dns {
                    name: "www.shop.example.".to_owned(),
                    zone: "shop.example.".to_owned(),
                    ttl: Duration::from_secs(1),
                    update_servers: vec!["192.0.2.53:53".parse().unwrap()],
                    verify_servers: vec![],
                    tsig_secret: "dns-key".try_into().unwrap(),
                    addresses: BTreeMap::from([
                        (site("paris"), vec!["192.0.2.1".parse().unwrap()]),
                        (site("lyon"), vec!["192.0.2.2".parse().unwrap()]),
                    ]),
                },
            },
        )]),
    }
}
