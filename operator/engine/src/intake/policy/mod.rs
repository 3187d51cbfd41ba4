//! From a `FailoverPolicy` of the API to the core's Policy: parsed once, checked whole. After this
//! nobody looks at text again.

mod entries;
mod notifications;

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use bascule_core::{
    name::{PolicyKey, SiteName},
    policy as core,
};
use bascule_crds::{
    self as api, FailoverPolicy, FailoverPolicySpec,
    text::{self, DurationBounds, Wait, bounds},
};

use self::entries::Convert;
use super::{Findings, Invalid, hash::spec_hash};

/// Makes the core's policy of an object, whichever way it came. `revision` is the git revision that
/// the object came from.
///
/// # Errors
/// Everything that is wrong with it, by field. The API server refuses the same objects with the same
/// words; this is what holds when its definitions are older or newer than the operator.
pub fn convert(object: &FailoverPolicy, revision: Option<String>) -> Result<core::Policy, Invalid> {
    let mut findings = Findings::default();
    // Without `..`: a new field of the API cannot be forgotten here.
    let FailoverPolicySpec {
        sites,
        initial_site,
        suspend,
        failover,
        databases,
        workloads,
        traffic,
        probes,
        notifications,
    } = &object.spec;
    if probes.is_some() {
        findings.add("spec.probes", "probes is not supported by this version of Bascule yet; remove it");
    }
    if databases.is_empty() && workloads.is_empty() && traffic.is_empty() {
        findings.add(
            "spec",
            "the policy would do nothing: expected at least one entry in databases, workloads or traffic",
        );
    }

    let key = key(object, &mut findings);
    let sites = site_names(sites, &mut findings);
    let initial_site = findings.check("spec.initialSite", site(initial_site));
    if let Some(initial) = &initial_site
        && !sites.contains(initial)
    {
        let reason = format!("initialSite: found '{initial}', expected one of spec.sites: {}", join(&sites));
        findings.add("spec.initialSite", reason);
    }
    let failover = convert_failover(failover, &mut findings);
    let mut convert = Convert { sites: &sites, findings: &mut findings };
    let databases = convert.items("spec.databases", databases, |entry| &entry.name, Convert::database);
    let workloads = convert.items("spec.workloads", workloads, |entry| &entry.name, Convert::workload);
    let traffic = convert.items("spec.traffic", traffic, |entry| &entry.name, Convert::traffic);

    let routes = traffic.values().filter_map(|t| t.http_route());
    let mut named = BTreeSet::new();
    if !routes.map(|route| &route.name).all(|name| named.insert(name)) {
        findings.add(
            "spec.traffic",
            "traffic[].httpRoute.name: two entries name the same HTTPRoute; give all of its rules to one entry",
        );
    }

    let notifications = notifications::convert(notifications.as_ref(), &mut findings);

    let policy = key.zip(initial_site).zip(failover).map(|((key, initial_site), failover)| core::Policy {
        key,
        generation: object.metadata.generation.unwrap_or_default(),
        spec_hash: spec_hash(&object.spec),
        revision,
        sites: sites.clone(),
        initial_site,
        suspend: *suspend,
        failover,
        databases,
        workloads,
        traffic,
        notifications,
    });
    findings.finish(policy)
}

fn key(object: &FailoverPolicy, findings: &mut Findings) -> Option<PolicyKey> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if text::label::check(name).is_err() {
        findings.add("metadata.name", "metadata.name: expected at most 63 lower-case letters, digits and hyphens (the name becomes part of the arbiter's keys)");
        return None;
    }
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    findings.check("metadata", PolicyKey::new(namespace, name))
}

fn site_names(sites: &[api::Site], findings: &mut Findings) -> Vec<SiteName> {
    if !(2..=5).contains(&sites.len()) {
        findings.add("spec.sites", format!("found {} sites, expected two to five", sites.len()));
    }
    let mut names = Vec::new();
    for (i, api::Site { name }) in sites.iter().enumerate() {
        let Some(name) = findings.check(format!("spec.sites[{i}].name"), site(name)) else { continue };
        if names.contains(&name) {
            findings.add(
                format!("spec.sites[{i}]"),
                format!("Duplicate value: {name} stands earlier in the list: remove one of the two"),
            );
        } else {
            names.push(name);
        }
    }
    names
}

fn site(text: &str) -> Result<SiteName, text::Refusal> {
    let refused = text::label::check(text);
    // The core's grammar of a site's name is the same.
    refused.and_then(|()| {
        SiteName::try_from(text)
            .map_err(|refusal| text::Refusal { found: text.to_owned(), expected: refusal.to_string() })
    })
}

fn join<T: Display>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A duration where `Never` is not among the accepted texts.
fn duration(at: &str, text: &str, bounds: DurationBounds, findings: &mut Findings) -> Option<Duration> {
    match findings.check(at, bounds.parse(text))? {
        Wait::For(duration) => Some(duration),
        Wait::Never => None,
    }
}

fn after(at: &str, text: &str, bounds: DurationBounds, findings: &mut Findings) -> Option<core::After> {
    findings.check(at, bounds.parse(text)).map(|wait| match wait {
        Wait::For(duration) => core::After::Elapsed(duration),
        Wait::Never => core::After::Never,
    })
}

fn convert_failover(failover: &api::Failover, findings: &mut Findings) -> Option<core::Failover> {
    let api::Failover { serve_reads, promote, database_lost, switchover_deadline, cooldown } = failover;
    let api::ServeReads { after: reads_after, return_after } = serve_reads;
    let api::Promote { after: promote_after, max_data_loss } = promote;
    let api::DatabaseLost { offer_for, restart_grace } = database_lost;

    let at = |field: &str| format!("spec.failover.{field}");
    let serve_reads_after = after(&at("serveReads.after"), reads_after, bounds::SERVE_READS_AFTER, findings);
    let return_after = duration(&at("serveReads.returnAfter"), return_after, bounds::RETURN_AFTER, findings);
    let promote_after = after(&at("promote.after"), promote_after, bounds::PROMOTE_AFTER, findings);
    if max_data_loss.is_none() && matches!(promote_after, Some(core::After::Elapsed(_))) {
        findings.add(
            at("promote.maxDataLoss"),
            "promote.maxDataLoss is missing: promotion by itself ('after' is not Never) needs both bounds, for example {bytes: 16Mi, time: 30s}",
        );
    }
    let max_data_loss = match max_data_loss {
        // Nothing may be lost: only a Move that accepts it promotes with less than certainty.
        None => Some(core::MaxDataLoss { bytes: 0, seconds: Duration::ZERO }),
        Some(api::MaxDataLoss { bytes, time }) => {
            let bytes = findings.check(at("promote.maxDataLoss.bytes"), text::bytes::parse(bytes));
            let time = duration(&at("promote.maxDataLoss.time"), time, bounds::DATA_LOSS_TIME, findings);
            bytes.zip(time).map(|(bytes, seconds)| core::MaxDataLoss { bytes, seconds })
        }
    };
    let offer_for = duration(&at("databaseLost.offerFor"), offer_for, bounds::OFFER_FOR, findings);
    let restart_grace =
        duration(&at("databaseLost.restartGrace"), restart_grace, bounds::RESTART_GRACE, findings);
    let switchover_deadline =
        duration(&at("switchoverDeadline"), switchover_deadline, bounds::SWITCHOVER_DEADLINE, findings);
    let cooldown = duration(&at("cooldown"), cooldown, bounds::COOLDOWN, findings);

    Some(core::Failover {
        serve_reads_after: serve_reads_after?,
        return_after: return_after?,
        promote_after: promote_after?,
        max_data_loss: max_data_loss?,
        cooldown: cooldown?,
        switchover_deadline: switchover_deadline?,
        offer_for: offer_for?,
        restart_grace: restart_grace?,
    })
}
