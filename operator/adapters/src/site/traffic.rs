//! Looks at a traffic target: where every authoritative server points, and whether it could be moved.

use bascule_core::name::ItemName;
use bascule_core::observation::{Fact, TrafficAt, TrafficView};
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::{Policy, Traffic};

use super::{DNS, LOOK, gate, no_entry};
use crate::dns::{DnsTarget, DnsTargetSpec, MarkFound, SiteAddresses, TsigKey};
use crate::kube::client::Kube;
use crate::kube::secret;

/// The target as the DNS adapter knows it, its key read from the Secret.
pub(super) async fn target(kube: &Kube, policy: &Policy, t: &Traffic) -> Result<DnsTarget, String> {
    let keys = ["name", "algorithm", "secret"];
    let namespace = policy.key.namespace.as_str();
    let found = secret::read(&kube.within(LOOK), namespace, t.dns.tsig_secret.as_str(), &keys)
        .await
        .map_err(|e| crate::kube::failure::chain(&e))?;
    let text = |key| {
        use secrecy::ExposeSecret;
        found.text(key).map(|v| v.expose_secret().to_owned()).map_err(|e| e.to_string())
    };
    let shared = found.text("secret").map_err(|e| e.to_string())?;
    let tsig = TsigKey::new(&text("name")?, &text("algorithm")?, &shared).map_err(|e| e.to_string())?;
    let addresses: Result<Vec<SiteAddresses>, _> = t
        .dns
        .addresses
        .iter()
        .map(|(site, ips)| SiteAddresses::new(site.clone(), ips.iter().copied()))
        .collect();
    DnsTarget::new(DnsTargetSpec {
        name: t.dns.name.clone(),
        zone: t.dns.zone.clone(),
        ttl: t.dns.ttl,
        update_servers: t.dns.update_servers.clone(),
        verify_servers: t.dns.verify_servers.clone(),
        tsig,
        addresses: addresses.map_err(|e| e.to_string())?,
    })
    .map_err(|e| e.to_string())
}

pub(super) async fn look(kube: &Kube, policy: &Policy, name: &ItemName) -> TrafficView {
    let Some(t) = policy.traffic.get(name) else {
        return TrafficView { at: no_entry(name), blockers: no_entry(name) };
    };
    let target = match target(kube, policy, t).await {
        Ok(target) => target,
        Err(reason) => {
            let gate = Gate::new(
                &format!("traffic/{name}"),
                Answer::No,
                reason.clone(),
                "a target that can be used",
            );
            return TrafficView { at: Fact::Unknown { reason }, blockers: Fact::now(vec![gate]) };
        }
    };
    let (answers, findings) = tokio::join!(target.observe(DNS), target.preflight(DNS));
    let blockers = findings.iter().filter_map(|f| gate(&format!("traffic/{name}"), f)).collect();
    let at = match answers {
        Fact::Unknown { reason } => Fact::Unknown { reason },
        Fact::Known { value, age } => Fact::Known { value: judge_nothing(t, &value), age },
    };
    TrafficView { at, blockers: Fact::now(blockers) }
}

/// Puts the servers' answers together: the one site that all of them name, or who differs.
fn judge_nothing(t: &Traffic, answers: &[crate::dns::Answer]) -> TrafficAt {
    let mut at = TrafficAt::default();
    let mut sites = Vec::new();
    for answer in answers {
        match &answer.result {
            Fact::Unknown { reason } => at.differing.push(format!("{}: {reason}", answer.server)),
            Fact::Known { value, .. } => {
                let site = t.dns.addresses.iter().find(|(_, ips)| {
                    ips.iter().copied().collect::<std::collections::BTreeSet<_>>() == value.addresses
                });
                if let MarkFound::Mark(mark) = &value.mark {
                    (at.epoch, at.serial) = (at.epoch, at.serial).max((mark.epoch, mark.serial));
                }
                match site {
                    Some((site, _)) => sites.push((answer.server.to_string(), site.clone())),
                    None if value.addresses.is_empty() => {
                        at.differing.push(format!("{} has no address for {}", answer.server, t.dns.name));
                    }
                    None => at.differing.push(format!("{} answers {:?}", answer.server, value.addresses)),
                }
            }
        }
    }
    match sites.first().map(|(_, site)| site.clone()) {
        Some(first) if at.differing.is_empty() && sites.iter().all(|(_, site)| *site == first) => {
            at.site = Some(first);
        }
        _ => at.differing.extend(sites.iter().map(|(server, site)| format!("{server} answers {site}"))),
    }
    at
}
