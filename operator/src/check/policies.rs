//! What can be said of policies and Moves by themselves, without asking anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bascule_core::policy::{FlagPlace, FlagStore, Policy, Traffic, WorkloadKind};
use bascule_core::time::human;
use bascule_core::timing::{Profile, Timing};
use bascule_engine::intake::moves::{Command, Target};
use jiff::Timestamp;

use super::codes::{
    DATA_LOSS_TIME_TOO_SHORT, MOVE_EXPIRED, MOVE_SITE, MOVE_WITHOUT_POLICY, OVERLAP, SAME_ADDRESS,
    SAME_REPLICATION_HOST, TIMING_PROFILE,
};
use super::report::Report;

/// A policy with its labels.
pub struct Labelled {
    /// The policy.
    pub policy: Policy,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How an object is named in a finding.
pub fn named(policy: &Policy) -> String {
    format!("FailoverPolicy {}", policy.key)
}

/// What each policy says, and what they say together.
pub fn check(all: &[Labelled], timing: &Timing, report: &mut Report) {
    for Labelled { policy, .. } in all {
        data_loss(policy, timing, report);
        addresses(policy, report);
        replication(policy, report);
    }
    overlaps(all, report);
}

/// Whether the timing profile fits an arbiter with this election timeout.
pub fn profile(profile: Profile, election: Duration, report: &mut Report) {
    for violation in profile.timing().violations(election) {
        let object = format!("timing profile {profile}");
        let expected = "every inequality of the protocol's timing holds";
        report.find(TIMING_PROFILE, &object, "--arbiter-election", violation.to_string(), expected);
    }
}

fn data_loss(policy: &Policy, timing: &Timing, report: &mut Report) {
    let guarded = policy.databases.values().any(|d| d.fence.fences());
    let stops = timing.r() + timing.f();
    if !guarded || policy.failover.can_be_certain(stops) {
        return;
    }
    let found =
        format!("{}: a promotion by itself can never happen", human(policy.failover.max_data_loss.seconds));
    let expected = format!(
        "at least {}: only so long after its last sign of life a lost site is certain to have stopped",
        human(stops)
    );
    let field = "spec.failover.promote.maxDataLoss.time";
    report.find(DATA_LOSS_TIME_TOO_SHORT, &named(policy), field, found, &expected);
}

fn addresses(policy: &Policy, report: &mut Report) {
    for (name, traffic) in &policy.traffic {
        // That no two backends are the same is a rule of the API.
        let Some(dns) = traffic.dns() else { continue };
        let mut seen = BTreeMap::new();
        for (site, addresses) in &dns.addresses {
            for address in addresses {
                if let Some(other) = seen.insert(address, site) {
                    let field = format!("spec.traffic[{name}].dns.addresses");
                    let found = format!("{address} for {other} and for {site}");
                    report.find(SAME_ADDRESS, &named(policy), &field, found, "another address for each site");
                }
            }
        }
    }
}

fn replication(policy: &Policy, report: &mut Report) {
    for (name, database) in &policy.databases {
        let mut seen = BTreeMap::new();
        for (site, instance) in &database.instances {
            let place = (instance.replication_host.as_str(), instance.replication_port);
            if let Some(other) = seen.insert(place, site) {
                let field = format!("spec.databases[{name}].postgresql.instances");
                let found = format!("{}:{} for {other} and for {site}", place.0, place.1);
                let expected = "another address for each instance";
                report.find(SAME_REPLICATION_HOST, &named(policy), &field, found, expected);
            }
        }
    }
}

/// What a policy acts on, with the field that names it.
fn acts_on(policy: &Policy) -> Vec<(String, String)> {
    let namespace = &policy.key.namespace;
    let mut all = Vec::new();
    for (name, database) in &policy.databases {
        let sets: BTreeSet<_> = database.instances.values().map(|i| &i.stateful_set).collect();
        for set in sets {
            all.push((format!("StatefulSet {namespace}/{set}"), format!("spec.databases[{name}]")));
        }
    }
    for (name, workload) in &policy.workloads {
        let kind = match workload.kind {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::StatefulSet => "StatefulSet",
        };
        let field = format!("spec.workloads[{name}]");
        all.push((format!("{kind} {namespace}/{}", workload.name), field.clone()));
        if let Some(flag) = &workload.read_only {
            let place = match &flag.place {
                FlagPlace::Key(key) => {
                    let store = match key.store {
                        FlagStore::ConfigMap => "ConfigMap",
                        FlagStore::Secret => "Secret",
                    };
                    Some(format!("{store} {namespace}/{}, key {}", key.name, key.key))
                }
                // It is in the workload itself, which is named already.
                FlagPlace::Variable(_) | FlagPlace::Annotation(_) | FlagPlace::Calls(_) => None,
            };
            all.extend(place.map(|place| (place, format!("{field}.readOnly"))));
        }
    }
    for (name, traffic) in &policy.traffic {
        all.push(match traffic {
            Traffic::Dns(dns) => (format!("DNS name {}", dns.name), format!("spec.traffic[{name}].dns.name")),
            Traffic::HttpRoute(route) => (
                format!("HTTPRoute {namespace}/{}", route.name),
                format!("spec.traffic[{name}].httpRoute.name"),
            ),
        });
    }
    all
}

fn overlaps(all: &[Labelled], report: &mut Report) {
    let mut owners: BTreeMap<String, &Policy> = BTreeMap::new();
    for Labelled { policy, .. } in all {
        let mut own = BTreeSet::new();
        for (object, field) in acts_on(policy) {
            if let Some(other) = owners.get(&object) {
                let found = format!("{object}, which FailoverPolicy {} acts on too", other.key);
                report.find(OVERLAP, &named(policy), &field, found, "an object that no other policy names");
            } else {
                own.insert(object);
            }
        }
        // Within one policy several entries may share a flag.
        owners.extend(own.into_iter().map(|object| (object, policy)));
    }
}

/// What Moves say of policies; `complete`: every policy is known.
pub fn moves(
    all: &[(String, Command)],
    policies: &[Labelled],
    complete: bool,
    now: Timestamp,
    report: &mut Report,
) {
    for (object, mv) in all {
        if let Some(end) = mv.command.not_after.filter(|end| *end < now) {
            let found = format!("{end}, which has passed");
            report.find(MOVE_EXPIRED, object, "spec.notAfter", found, "a time in the future");
        }
        let meant: Vec<&Labelled> =
            policies.iter().filter(|p| mv.target.covers(&p.policy.key, &p.labels)).collect();
        if meant.is_empty() && complete {
            let (field, found) = match &mv.target {
                Target::Policy(key) => ("spec.policyRef.name", key.to_string()),
                Target::Labelled { labels, .. } => ("spec.policySelector.matchLabels", format!("{labels:?}")),
            };
            let known: Vec<String> = policies.iter().map(|p| p.policy.key.to_string()).collect();
            let expected = format!("one of the policies {}", known.join(", "));
            report.find(MOVE_WITHOUT_POLICY, object, field, found, &expected);
        }
        for Labelled { policy, .. } in meant {
            let sites: Vec<&str> = policy.sites.iter().map(bascule_core::name::SiteName::as_str).collect();
            for (field, site) in [("spec.from", mv.command.from.as_ref()), ("spec.to", mv.command.order.to())]
            {
                if let Some(site) = site.filter(|site| !policy.has_site(site)) {
                    let expected = format!("one of {}", sites.join(", "));
                    report.find(MOVE_SITE, object, field, site.to_string(), &expected);
                }
            }
        }
    }
}
