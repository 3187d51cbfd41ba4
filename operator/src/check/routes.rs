//! Whether the routes of a site's cluster would take a change, and whether their gateways would serve it. Nothing is
//! changed: the weights are patched by a dry run.

use bascule_adapters::finding::{Finding, Severity as Matters};
use bascule_adapters::kube::route::{Responder, RouteTraffic, Unseen};
use bascule_core::name::SiteName;
use bascule_core::policy::Policy;

use super::codes::{self, Code, Severity};
use super::live::Asked;
use super::policies::named;
use super::report::Report;

/// Looks at every route of the policy in the cluster of `site`.
pub async fn check(asked: &Asked, policy: &Policy, site: &SiteName, report: &mut Report) {
    for (name, traffic) in &policy.traffic {
        let Some(route) = traffic.http_route() else { continue };
        let field = format!("spec.traffic[{name}].httpRoute");
        let kube = asked.cluster.kube();
        let mut target = RouteTraffic::new(kube.clone(), policy.key.clone(), route.clone());
        if route.refuse_writes.is_some() {
            // The operator knows its own by its settings; from here it is found by its label.
            match Responder::find(kube).await {
                Ok(found) => target = target.answered_by(found),
                Err(why) => {
                    report.unseen(&named(policy), &format!("{field}.refuseWrites"), why.to_string());
                }
            }
        }
        match target.findings(kube, site).await {
            Ok(found) => {
                for finding in found.findings {
                    told(policy, &field, finding, report);
                }
                if let Some(why) = found.unknown {
                    report.unseen(&named(policy), &field, why);
                }
                let words =
                    format!("HTTPRoute {}/{}: its rules, its gateways", policy.key.namespace, route.name);
                report.looked(words);
            }
            Err(Unseen::No(finding)) => told(policy, &field, *finding, report),
            Err(Unseen::Unknown(why)) => report.unseen(&named(policy), &field, why),
        }
    }
}

fn told(policy: &Policy, field: &str, finding: Finding, report: &mut Report) {
    // Whoever asks is not the operator, whose rights are looked at apart.
    let code = codes::of(finding.code).filter(|code| code.name != codes::ROUTE_FORBIDDEN.name);
    let Some(code) = code else {
        return report.unseen(&named(policy), field, finding.to_string());
    };
    let severity = match finding.severity {
        Matters::Block => code.severity,
        Matters::Warn => code.severity.max(Severity::Warning),
        Matters::Info => Severity::Info,
    };
    let expected = if finding.hint.is_empty() {
        finding.expected
    } else {
        format!("{}; {}", finding.expected, finding.hint)
    };
    let found = format!("{}: {}", finding.field, finding.found);
    report.find(Code { severity, ..code }, &named(policy), field, found, &expected);
}
