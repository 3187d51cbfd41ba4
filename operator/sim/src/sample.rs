//! The policy that searches and tests speak of: one database, one web application and one name in two sites, with
//! everything quick.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bascule_core::few::Few;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::policy::{
    After, Backend, Database, Dns, Failover, FenceClass, FlagStore, HttpRoute, Instance, MaxDataLoss,
    Notifications, Policy, ReadOnlyFlag, RefuseWrites, Replicas, Traffic, VerifyProbe, Workload,
    WorkloadKind,
};

#[expect(clippy::expect_used, reason = "every text below is a constant that is a name")]
fn name<T: TryFrom<&'static str, Error: Debug>>(text: &'static str) -> T {
    T::try_from(text).expect("a constant that is a name")
}

/// The policy, with an HTTPRoute of each site's own besides when `routes` says so, whose gateways refuse writes while nobody
/// accepts them when `refusals` does.
pub fn with(routes: bool, refusals: bool) -> Policy {
    let mut policy = policy();
    if routes || refusals {
        let backend = |service| Backend { service: name(service), port: 80 };
        let backends =
            Few::from([(name("paris"), backend("web-paris")), (name("lyon"), backend("web-lyon"))]);
        let refuse_writes = refusals
            .then(|| RefuseWrites { retry_after: Duration::from_secs(30), except_rules: BTreeSet::new() });
        let route = HttpRoute { name: name("web"), rules: BTreeSet::new(), backends, refuse_writes };
        policy.traffic.insert(name("gateway"), Traffic::HttpRoute(route));
    }
    policy
}

/// The policy, in paris and lyon; paris begins.
#[expect(clippy::expect_used, reason = "the key is a constant of two names")]
pub fn policy() -> Policy {
    let instance = Instance {
        stateful_set: name("main"),
        host: "main".to_owned(),
        port: 5432,
        database: "postgres".to_owned(),
        secret: name("main-bascule"),
        replication_host: "main".to_owned(),
        replication_port: 5432,
        replication_secret: name("main-replication"),
    };
    let sites: Vec<SiteName> = vec![name("paris"), name("lyon")];
    let address = |last| vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))];
    let dns = Dns {
        name: "www.shop.example.".to_owned(),
        zone: "shop.example.".to_owned(),
        ttl: Duration::from_secs(1),
        update_servers: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), 53)],
        verify_servers: vec![],
        tsig_secret: name("dns-key"),
        addresses: Few::from([(name("paris"), address(1)), (name("lyon"), address(2))]),
    };
    let flag = ReadOnlyFlag {
        store: FlagStore::ConfigMap,
        name: name("web-flags"),
        key: "READ_ONLY".to_owned(),
        read_only_value: "1".to_owned(),
        read_write_value: "0".to_owned(),
        verify: Some(VerifyProbe { path: "/read-only".to_owned(), port: None, expect_body: "1".to_owned() }),
    };
    let web = Workload {
        kind: WorkloadKind::Deployment,
        name: name("web"),
        replicas: Replicas { active: Some(2), standby: Some(0), read_only: Some(1) },
        read_only: Some(flag),
    };
    Policy {
        key: PolicyKey::new("shop", "shop").expect("two names"),
        generation: 1,
        spec_hash: "same".to_owned(),
        revision: None,
        initial_site: name("paris"),
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
        databases: Few::from([(
            name("main"),
            Database {
                fence: FenceClass::Guard,
                instances: sites.iter().map(|s| (s.clone(), instance.clone())).collect(),
            },
        )]),
        workloads: Few::from([(name("web"), web)]),
        traffic: Few::from([(name("public"), Traffic::Dns(dns))]),
        notifications: Notifications::default(),
        sites,
    }
}
