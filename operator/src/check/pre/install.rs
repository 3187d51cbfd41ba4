//! Whether the person may create what the chart creates.

use bascule_adapters::kube::rights::{Names, RIGHTS, Scope};
use bascule_core::name::Namespace;
use futures::future::join_all;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, ObjectMeta, PostParams};

use crate::check::codes::INSTALL_RIGHT_MISSING;
use crate::check::files::counted;
use crate::check::live::Asked;
use crate::check::report::Report;
use crate::check::rights::{Right, refused, right};
use crate::why::trouble::Trouble;

const RBAC: &str = "rbac.authorization.k8s.io";
/// Whose rights they are, in a finding.
const OBJECT: &str = "your rights";
/// The name of the role that is tried and never made.
const TRIED: &str = "bascule-check-pre";

/// What the chart creates in no namespace: group and resource.
const OF_CLUSTER: [(&str, &str); 3] = [
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    (RBAC, "clusterroles"),
    (RBAC, "clusterrolebindings"),
];

/// What it creates in the namespace of the release; Helm keeps the release in Secrets.
const OF_RELEASE: [(&str, &str); 8] = [
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "statefulsets"),
    ("policy", "poddisruptionbudgets"),
    ("networking.k8s.io", "networkpolicies"),
    (RBAC, "roles"),
    (RBAC, "rolebindings"),
];

/// Asks for each right; for roles also whether what is in them may be given away.
pub async fn rights(asked: &Asked, release: &Namespace, namespace_missing: bool, report: &mut Report) {
    let both = |(group, resource): (&'static str, &'static str)| {
        [right("create", group, resource, "helm install"), right("patch", group, resource, "helm upgrade")]
    };
    let cluster = OF_CLUSTER.into_iter().flat_map(both);
    let namespace =
        namespace_missing.then(|| right("create", "", "namespaces", "the namespace of the release"));
    let cluster = cluster.chain(namespace).map(|r| (r, None));
    let own = OF_RELEASE.into_iter().flat_map(both).map(|r| (r, Some(release.as_str())));
    let all: Vec<(Right, Option<&str>)> = cluster.chain(own).collect();
    let answers = join_all(all.iter().map(|(right, place)| refused(asked, right, *place))).await;
    let mut may_make_roles = true;
    for ((right, place), answer) in all.iter().zip(answers) {
        match answer {
            Err(why) => return report.unseen(OBJECT, &right.words(), why.to_string()),
            Ok(None) => {}
            Ok(Some(found)) => {
                may_make_roles &= !right.words().ends_with(&format!("clusterroles.{RBAC}"));
                let place =
                    place.map_or_else(|| "in the cluster".to_owned(), |n| format!("in namespace {n}"));
                let expected = format!("allowed {place}: {} needs it", right.what());
                report.find(INSTALL_RIGHT_MISSING, OBJECT, &right.words(), found, &expected);
            }
        }
    }
    report.looked(format!(
        "{} of yours to install and upgrade the chart",
        counted(all.len(), "right", "rights")
    ));
    if may_make_roles {
        given_away(asked, report).await;
    }
}

/// Whether the operator's rights may be given: nobody gives what he does not have himself.
async fn given_away(asked: &Asked, report: &mut Report) {
    let api = Api::<ClusterRole>::all(asked.cluster.kube().client());
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let role = role();
    let what = "clusterroles.rbac.authorization.k8s.io with the operator's rights".to_owned();
    match asked.ask("create", what, api.create(&params, &role)).await {
        Ok(_) => report.looked("a dry run of the operator's role".to_owned()),
        Err(Trouble::Forbidden { reason, .. }) => {
            let expected = "a role with the operator's rights (docs/rbac.md): whoever creates it has these rights, or the verb escalate on clusterroles";
            report.find(INSTALL_RIGHT_MISSING, OBJECT, "create clusterroles: rules", reason, expected);
        }
        Err(why) => report.unseen(OBJECT, "create clusterroles: rules", why.to_string()),
    }
}

/// The rules that the chart's ClusterRoles have unless it is told otherwise.
fn role() -> ClusterRole {
    let own = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let given = RIGHTS.iter().filter(|r| r.only_for.is_none() && r.scope != Scope::Own);
    let rules = given.map(|r| PolicyRule {
        api_groups: Some(vec![r.group.to_owned()]),
        resources: Some(vec![r.resource.to_owned()]),
        resource_names: match r.names {
            Names::Only(names) => Some(own(names)),
            Names::Any | Names::Listed => None,
        },
        verbs: r.verbs.iter().map(|(verb, _)| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    });
    let metadata = ObjectMeta { name: Some(TRIED.to_owned()), ..ObjectMeta::default() };
    ClusterRole { metadata, rules: Some(rules.collect()), ..ClusterRole::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The chart as it comes.
    const RENDERED: &str = include_str!("../../../../charts/tests/golden/rendered/as-it-comes.yaml");

    #[test]
    fn every_kind_that_the_chart_creates_is_asked_for() {
        let plural = |kind: &str| match kind {
            "NetworkPolicy" => "networkpolicies".to_owned(),
            other => format!("{}s", other.to_lowercase()),
        };
        let created: BTreeSet<String> =
            RENDERED.lines().filter_map(|l| l.strip_prefix("kind: ")).map(plural).collect();
        assert!(created.len() >= 9, "{created:?}");
        let asked: BTreeSet<String> =
            OF_CLUSTER.iter().chain(&OF_RELEASE).map(|(_, resource)| (*resource).to_owned()).collect();
        let beside: BTreeSet<String> = ["secrets", "customresourcedefinitions"].map(ToOwned::to_owned).into();
        assert_eq!(asked, created.union(&beside).cloned().collect());
    }

    #[test]
    fn the_role_has_the_rights_of_the_one_list() {
        let rules = role().rules.unwrap();
        assert!(rules.len() > 10, "{rules:?}");
        assert!(rules.iter().all(|r| !r.verbs.is_empty() && r.resources.is_some()));
    }
}
