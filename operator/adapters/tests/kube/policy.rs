//! Policies with little in them.

use std::time::Duration;

use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::policy::{After, Failover, MaxDataLoss, Notifications, Policy, Workload};

pub(crate) fn with_workload(key: PolicyKey, name: ItemName, workload: Workload) -> Policy {
    Policy { workloads: [(name, workload)].into(), ..empty(key) }
}

/// A policy of paris and lyon with nothing in it.
pub(crate) fn empty(key: PolicyKey) -> Policy {
    let site = |name: &str| SiteName::try_from(name).unwrap();
    Policy {
        key,
        generation: 1,
        spec_hash: "hash".to_owned(),
        revision: None,
        sites: vec![site("paris"), site("lyon")],
        initial_site: site("paris"),
        suspend: false,
        failover: Failover {
            serve_reads_after: After::Never,
            return_after: Duration::from_mins(5),
            promote_after: After::Never,
            max_data_loss: MaxDataLoss { bytes: 0, seconds: Duration::ZERO },
            cooldown: Duration::from_hours(1),
            switchover_deadline: Duration::from_mins(1),
            offer_for: Duration::from_secs(30),
            restart_grace: Duration::from_mins(1),
        },
        databases: [].into(),
        workloads: [].into(),
        traffic: [].into(),
        notifications: Notifications::default(),
    }
}
