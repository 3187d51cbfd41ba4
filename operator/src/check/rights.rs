//! Whether the person, and the operator's service account, may do what they have to. The API server is asked, nothing is
//! tried.

use std::collections::BTreeSet;

use anyhow::bail;
use bascule_adapters::kube::rights::{RIGHTS, Right as Given, Scope};
use bascule_core::name::{Namespace, ObjectName};
use bascule_core::policy::{FlagStore, Policy, Traffic, WorkloadKind};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{Api, PostParams};

use super::codes::{NOT_WATCHED, OPERATOR_RIGHT_MISSING, RIGHT_MISSING};
use super::files::counted;
use super::live::Asked;
use super::policies::named;
use super::report::Report;
use crate::why::trouble::Trouble;

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    namespace: Namespace,
    name: ObjectName,
}

impl Account {
    /// Reads `NAMESPACE/NAME`.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let Some((namespace, name)) = text.split_once('/') else {
            bail!("--operator: found {text:?}, expected NAMESPACE/NAME of the operator's service account");
        };
        Ok(Self { namespace: Namespace::try_from(namespace)?, name: ObjectName::try_from(name)? })
    }

    /// As the API server calls it.
    fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

/// Something that may be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    /// One object; `None`: all of the namespace.
    name: Option<String>,
    /// What it is for.
    what: &'static str,
}

/// A right on all objects of a resource; `what` it is for.
pub const fn right(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    what: &'static str,
) -> Right {
    Right { verb, group, resource, subresource: None, name: None, what }
}

impl Right {
    /// As RBAC says it.
    pub fn words(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let sub = self.subresource.map(|s| format!("/{s}")).unwrap_or_default();
        let name = self.name.as_ref().map(|n| format!(" {n}")).unwrap_or_default();
        format!("{} {}{group}{sub}{name}", self.verb, self.resource)
    }

    /// Whether a policy is not seen at all without it.
    fn sees_policies(&self) -> bool {
        (self.verb, self.group, self.resource, self.subresource) == ("list", GROUP, "failoverpolicies", None)
    }

    /// What it is for.
    pub const fn what(&self) -> &'static str {
        self.what
    }

    fn attributes(&self, namespace: Option<&str>) -> ResourceAttributes {
        ResourceAttributes {
            group: Some(self.group.to_owned()),
            name: self.name.clone(),
            namespace: namespace.map(ToOwned::to_owned),
            resource: Some(self.resource.to_owned()),
            subresource: self.subresource.map(ToOwned::to_owned),
            verb: Some(self.verb.to_owned()),
            ..ResourceAttributes::default()
        }
    }
}

const GROUP: &str = "bascule.dev";

/// What the commands of this program need.
fn of_commands() -> [Right; 5] {
    [
        right("list", GROUP, "failoverpolicies", "status, why, plan, check"),
        right("watch", GROUP, "failoverpolicies", "status -w"),
        right("list", GROUP, "moves", "plan, history"),
        right("watch", GROUP, "moves", "following a Move to its end"),
        right("create", GROUP, "moves", "switchover, failover, hold, resume, abort"),
    ]
}

/// Whether the person may do what the commands need.
pub async fn of_the_person(asked: &Asked, report: &mut Report) {
    let namespace = asked.namespace.as_ref().map(Namespace::as_str);
    let mut seen = 0;
    for right in of_commands() {
        match refused(asked, &right, namespace).await {
            Err(why) => return report.unseen("your rights", &right.words(), why.to_string()),
            Ok(refused) => {
                seen += 1;
                if let Some(found) = refused {
                    let expected = format!("allowed: {} need it", right.what);
                    report.find(RIGHT_MISSING, "your rights", &right.words(), found, &expected);
                }
            }
        }
    }
    report.looked(format!("{} of yours", counted(seen, "right", "rights")));
}

/// Why the person may not do something; `None`: it is allowed.
pub async fn refused(
    asked: &Asked,
    right: &Right,
    namespace: Option<&str>,
) -> Result<Option<String>, Trouble> {
    let api = Api::<SelfSubjectAccessReview>::all(asked.cluster.kube().client());
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(right.attributes(namespace)),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let params = PostParams::default();
    let what = "selfsubjectaccessreviews".to_owned();
    let answer = asked.ask("create", what, api.create(&params, &review)).await?;
    Ok(denied(answer.status))
}

fn denied(status: Option<SubjectAccessReviewStatus>) -> Option<String> {
    let status = status.unwrap_or_default();
    if status.allowed {
        return None;
    }
    let reason = status.reason.filter(|r| !r.is_empty()).or(status.evaluation_error);
    Some(reason.map_or_else(|| "not allowed".to_owned(), |why| format!("not allowed: {why}")))
}

/// Which of the operator's rights a policy needs in its namespace, on which objects, and what for: those of the one list
/// that the chart gives. A right that is new there is asked for in general, until it is said here for which objects.
fn of_operator(policy: &Policy) -> Vec<Right> {
    let mut all = Vec::new();
    for given in RIGHTS.iter().filter(|r| in_the_namespace(r)) {
        let (resource, subresource) =
            given.resource.split_once('/').map_or((given.resource, None), |(of, sub)| (of, Some(sub)));
        for (verb, what) in given.verbs {
            let right =
                |name: Option<String>| Right { verb, group: given.group, resource, subresource, name, what };
            all.extend(objects(policy, given, verb).into_iter().map(right));
        }
    }
    all
}

/// Whether a right is used for a policy where the policy is, and not for a source of policies or for the site.
fn in_the_namespace(right: &Given) -> bool {
    match right.scope {
        Scope::Applications => true,
        Scope::Kinds => ["failoverpolicies", "moves"].iter().any(|kind| right.resource.starts_with(kind)),
        Scope::Cluster | Scope::Own => false,
    }
}

/// The objects on which a policy needs a verb; `None` is all of the namespace. Nothing: it does not need it.
fn objects(policy: &Policy, right: &Given, verb: &str) -> BTreeSet<Option<String>> {
    let named = |name: &ObjectName| Some(name.to_string());
    let any_if = |needed: bool| needed.then_some(None).into_iter().collect();
    let workloads = |kind: WorkloadKind| policy.workloads.values().filter(move |w| w.kind == kind);
    let flags = || policy.workloads.values().filter_map(|w| w.read_only.as_ref());
    let keys = || flags().filter_map(|f| f.place.key());
    let flags_in = |store: FlagStore| keys().filter(move |k| k.store == store).map(|k| &k.name);
    match (right.group, right.resource, verb) {
        // What writes policies and Moves are sources.
        (GROUP, "failoverpolicies" | "moves", verb) => any_if(["list", "watch"].contains(&verb)),
        ("apps", "deployments", _) => workloads(WorkloadKind::Deployment).map(|w| named(&w.name)).collect(),
        ("apps", "statefulsets", _) => workloads(WorkloadKind::StatefulSet).map(|w| named(&w.name)).collect(),
        ("autoscaling", _, _) => any_if(!policy.workloads.is_empty()),
        // A create cannot be limited to a name.
        ("", "configmaps", "create") => any_if(flags_in(FlagStore::ConfigMap).next().is_some()),
        ("", "configmaps", _) => flags_in(FlagStore::ConfigMap).map(named).collect(),
        ("", "secrets", "create") => any_if(flags_in(FlagStore::Secret).next().is_some()),
        ("", "secrets", "patch") => flags_in(FlagStore::Secret).map(named).collect(),
        ("", "secrets", _) => {
            let instances = policy.databases.values().flat_map(|d| d.instances.values());
            let of_databases = instances.flat_map(|i| [&i.secret, &i.replication_secret]);
            let keys = policy.traffic.values().filter_map(|t| Some(&t.dns()?.tsig_secret));
            of_databases.chain(keys).chain(flags_in(FlagStore::Secret)).map(named).collect()
        }
        // A list and a watch cannot be limited to a name; which Gateway a route is attached to, it says itself.
        ("gateway.networking.k8s.io", "httproutes", "list" | "watch")
        | ("gateway.networking.k8s.io", "gateways", _) => {
            any_if(policy.traffic.values().any(Traffic::is_in_every_site))
        }
        ("gateway.networking.k8s.io", _, _) => {
            policy.traffic.values().filter_map(|t| named(&t.http_route()?.name).into()).collect()
        }
        ("", "pods", "get") => any_if(!policy.databases.is_empty()),
        ("", "pods", _) => any_if(flags().next().is_some()),
        _ => any_if(true),
    }
}

/// Whether the operator's service account may do what the policy needs.
pub async fn of_the_operator(asked: &Asked, account: &Account, policy: &Policy, report: &mut Report) {
    let api = Api::<SubjectAccessReview>::all(asked.cluster.kube().client());
    let namespace = policy.key.namespace.as_str();
    let object = format!("ServiceAccount {}/{}", account.namespace, account.name);
    let all = of_operator(policy);
    let seen = all.len();
    for right in all {
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", account.namespace),
            "system:authenticated".to_owned(),
        ];
        let spec = SubjectAccessReviewSpec {
            user: Some(account.user()),
            groups: Some(groups.to_vec()),
            resource_attributes: Some(right.attributes(Some(namespace))),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let params = PostParams::default();
        let answer =
            asked.ask("create", "subjectaccessreviews".to_owned(), api.create(&params, &review)).await;
        match answer {
            Err(why) => return report.unseen(&object, &right.words(), why.to_string()),
            Ok(answer) => {
                if let Some(found) = denied(answer.status) {
                    if right.sees_policies() {
                        // What else it may not do there follows from that.
                        let found =
                            format!("{object} may not list policies in namespace {namespace}: {found}");
                        let expected = "a namespace that the operator watches";
                        report.find(NOT_WATCHED, &named(policy), "metadata.namespace", found, expected);
                        break;
                    }
                    let expected = format!("allowed in namespace {namespace}: {}", right.what);
                    report.find(OPERATOR_RIGHT_MISSING, &object, &right.words(), found, &expected);
                }
            }
        }
    }
    report.looked(format!("{} of {object} for {}", counted(seen, "right", "rights"), policy.key));
}
