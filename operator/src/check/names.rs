//! Whether the name servers would take a change. They are sent updates that cannot take effect.

use std::time::Duration;

use bascule_adapters::dns::{DnsTarget, DnsTargetSpec, SiteAddresses};
use bascule_adapters::finding::Severity as Matters;
use bascule_core::policy::Policy;

use super::codes::{self, Code, Severity};
use super::live::Asked;
use super::policies::named;
use super::references;
use super::report::Report;

/// How long all servers of a name may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks the servers of every name of the policy.
pub async fn check(asked: &Asked, policy: &Policy, report: &mut Report) {
    for (name, traffic) in &policy.traffic {
        let Some(dns) = traffic.dns() else { continue };
        let field = format!("spec.traffic[{name}].dns");
        let secret = format!("{field}.tsigSecretRef");
        let Some(tsig) = references::key(asked, policy, &secret, dns.tsig_secret.as_str(), report).await
        else {
            continue;
        };
        let addresses: Result<Vec<_>, _> = dns
            .addresses
            .iter()
            .map(|(site, ips)| SiteAddresses::new(site.clone(), ips.iter().copied()))
            .collect();
        let target = addresses.and_then(|addresses| {
            DnsTarget::new(DnsTargetSpec {
                name: dns.name.clone(),
                zone: dns.zone.clone(),
                ttl: dns.ttl,
                update_servers: dns.update_servers.clone(),
                verify_servers: dns.verify_servers.clone(),
                tsig,
                addresses,
            })
        });
        let target = match target {
            Ok(target) => target,
            Err(why) => {
                report.find(
                    codes::POLICY_INVALID,
                    &named(policy),
                    &field,
                    why.to_string(),
                    "a name that can be published",
                );
                continue;
            }
        };
        for found in target.preflight(PATIENCE).await {
            let Some(code) = codes::of(found.code) else {
                report.unseen(&named(policy), &field, found.to_string());
                continue;
            };
            // Where another server takes the updates, this one is a reserve; nowhere it matters more than its code says.
            let severity = match found.severity {
                Matters::Block => code.severity,
                Matters::Warn => code.severity.max(Severity::Warning),
                Matters::Info => Severity::Info,
            };
            let code = Code { severity, ..code };
            report.find(
                code,
                &named(policy),
                &format!("{field}.{}", found.field),
                found.found,
                &found.expected,
            );
        }
        report.looked(format!("DNS {}: its servers, and whether they would take a change", dns.name));
    }
}
