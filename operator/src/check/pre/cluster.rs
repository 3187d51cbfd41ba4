//! What is asked of one cluster before an installation, in which order. Where nobody answers nothing more is asked.

use std::time::Duration;

use bascule_core::name::{Namespace, SiteName};
use bascule_core::time::human;
use bascule_crds::definitions;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;

use super::sites::Asking;
use super::{admission, install, storage};
use crate::check::codes::{API_SERVER_UNREACHABLE, DEFINITIONS_DIFFER, KUBERNETES_VERSION};
use crate::check::files::counted;
use crate::check::live::{self, Asked, Clock};
use crate::check::policies::Labelled;
use crate::check::report::Report;
use crate::check::{names, references};
use crate::version::is_ours;
use crate::why::trouble::Trouble;

/// The oldest minor version of Kubernetes 1 that the chart takes.
const OLDEST: u32 = 30;

/// A cluster as it was seen.
pub struct Seen {
    /// How findings call it.
    pub label: String,
    /// The site that it shall be.
    pub site: Option<SiteName>,
    /// Which cluster it is; `None`: not known.
    pub uid: Option<String>,
    /// What its clock said.
    pub clock: Option<Clock>,
    /// What was found and looked at.
    pub report: Report,
}

/// How long everything that is asked of one cluster may take: one that stops answering in between is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Looks at a cluster; `release` is the namespace of the chart.
pub async fn look(one: &Asking, release: &Namespace, policies: &[Labelled]) -> Seen {
    let mut seen = Seen {
        label: one.label.clone(),
        site: one.site.clone(),
        uid: None,
        clock: None,
        report: Report::of_cluster(&one.label),
    };
    if answers(&one.asked, &mut seen.report).await {
        let whole = tokio::time::timeout(PATIENCE, inside(one, release, policies, &mut seen)).await;
        if whole.is_err() {
            let found = format!("not everything was answered within {}", human(PATIENCE));
            seen.report.find(
                API_SERVER_UNREACHABLE,
                "API server",
                "",
                found,
                "each answer within four seconds",
            );
        }
    }
    seen
}

async fn inside(one: &Asking, release: &Namespace, policies: &[Labelled], seen: &mut Seen) {
    let (asked, report) = (&one.asked, &mut seen.report);
    live::health(asked, report).await;
    seen.clock = live::clock(asked, report).await;
    match bascule_adapters::kube::cluster::uid(asked.cluster.kube()).await {
        Ok(uid) => seen.uid = Some(uid),
        Err(why) => report.unseen("Namespace kube-system", "metadata.uid", why.to_string()),
    }
    kinds(asked, report).await;
    let namespace = admission::namespace(asked, release, report).await;
    install::rights(asked, release, namespace.is_missing(), report).await;
    admission::pod(asked, release, &namespace, report).await;
    storage::classes(asked, report).await;
    if let Some(site) = &one.site {
        for Labelled { policy, .. } in policies.iter().filter(|p| p.policy.has_site(site)) {
            references::check(asked, policy, site, report).await;
            names::check(asked, policy, report).await;
        }
    }
}

/// Whether anybody answers who knows the person, and whether the version is one that can be used.
async fn answers(asked: &Asked, report: &mut Report) -> bool {
    let client = asked.cluster.kube().client();
    let object = "API server";
    match asked.ask("get", "/version".to_owned(), client.apiserver_version()).await {
        Err(why) => {
            let server = &asked.cluster.place().server;
            let found = match why {
                Trouble::Unreachable { reason, .. } => format!("{server} does not answer: {reason}"),
                Trouble::Credentials { reason, .. } => {
                    format!("{server} does not accept the credentials: {reason}")
                }
                other => other.to_string(),
            };
            report.find(API_SERVER_UNREACHABLE, object, "/version", found, "an answer within four seconds");
            false
        }
        Ok(found) => {
            if too_old(&found.major, &found.minor) {
                let expected = format!("1.{OLDEST} or newer");
                report.find(KUBERNETES_VERSION, object, "/version", found.git_version, &expected);
            }
            true
        }
    }
}

/// Whether the chart refuses this version. A server that was built without a version says 0 or nothing.
fn too_old(major: &str, minor: &str) -> bool {
    let number = |text: &str| -> u32 {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_default()
    };
    number(major) == 1 && number(minor) < OLDEST
}

/// Which definitions are there. None is as it should be; others than this program's belong to another version.
async fn kinds(asked: &Asked, report: &mut Report) {
    let Ok(own) = definitions() else { return };
    let api = Api::<CustomResourceDefinition>::all(asked.cluster.kube().client());
    let (mut there, mut missing) = (0, Vec::new());
    for definition in own {
        let name = definition.json["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let object = format!("CustomResourceDefinition {name}");
        let what = format!("customresourcedefinitions {name}");
        match asked.ask("get", what, api.get_opt(&name)).await {
            Err(why) => return report.unseen(&object, "", why.to_string()),
            Ok(None) => missing.push(object),
            Ok(Some(found)) => {
                there += 1;
                if !is_ours(&found, definition.schema()) {
                    let expected = format!("the schema of {}", env!("CARGO_PKG_VERSION"));
                    let found = "another schema, of another version of Bascule".to_owned();
                    report.find(DEFINITIONS_DIFFER, &object, "spec.versions", found, &expected);
                }
            }
        }
    }
    if there == 0 {
        return report.looked("the definitions: none yet, the chart brings them".to_owned());
    }
    for object in missing {
        let found = "none, while others of Bascule's are there".to_owned();
        report.find(
            DEFINITIONS_DIFFER,
            &object,
            "",
            found,
            "all of one version, or none before an installation",
        );
    }
    report.looked(format!(
        "{} that {} there already",
        counted(there, "definition", "definitions"),
        if there == 1 { "is" } else { "are" }
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_version_is_that_of_the_chart() {
        let chart = include_str!("../../../../charts/bascule/templates/checks.yaml");
        assert!(chart.contains(&format!("(eq $major 1) (lt $minor {OLDEST})")), "{OLDEST}");
        for (major, minor, old) in [
            ("1", "29", true),
            ("1", "30", false),
            ("1", "36+", false),
            ("1", "27-gke.1", true),
            ("2", "0", false),
            ("0", "0", false),
            ("", "", false),
        ] {
            assert_eq!(too_old(major, minor), old, "{major}.{minor}");
        }
    }
}
