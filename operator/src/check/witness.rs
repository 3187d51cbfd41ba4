//! Whether the witness answers from here, where it is the arbiter, and obeys its rules.

use std::path::Path;

use anyhow::Context as _;
use bascule_adapters::arbiter::{KubernetesArbiter, WitnessSettings};

use super::arbiter::PATIENCE;
use super::codes::{ARBITER_QUORUM, WITNESS_UNRULED};
use super::files::counted;
use super::report::Report;

const OPTION: &str = "--arbiter-kubeconfig";

/// Asks the witness of a kubeconfig; a client for more questions.
pub async fn check(kubeconfig: &Path, report: &mut Report) -> anyhow::Result<KubernetesArbiter> {
    let settings = WitnessSettings { kubeconfig: kubeconfig.to_owned() };
    let client = KubernetesArbiter::new(&settings).await.context(OPTION)?;
    let object = format!("witness {}", client.endpoint());
    match client.version(PATIENCE).await {
        Ok(version) => report.looked(format!("{object}: Kubernetes {version}")),
        Err(why) => {
            report.find(ARBITER_QUORUM, &object, OPTION, why.to_string(), "an API server that is ready");
            return Ok(client);
        }
    }
    match client.leases(PATIENCE).await {
        Ok(leases) => {
            let sites = counted(leases.items.len(), "site has", "sites have");
            report.looked(format!("{object}: {sites} a lease there"));
        }
        Err(why) => {
            let expected = "the kinds of the chart bascule-witness in the kubeconfig's namespace, and the token of an operator";
            report.find(ARBITER_QUORUM, &object, OPTION, why.to_string(), expected);
            return Ok(client);
        }
    }
    match client.is_ruled(PATIENCE).await {
        Ok(true) => report.looked(format!("{object}: a lease that nobody may make is refused there")),
        Ok(false) => {
            let found = "a rehearsed lease of no site is let through".to_owned();
            report.find(WITNESS_UNRULED, &object, "", found, "a refusal by its admission policies");
        }
        Err(why) => report.unseen(&object, "ValidatingAdmissionPolicy", why.to_string()),
    }
    Ok(client)
}
