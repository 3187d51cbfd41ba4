//! Whether the person, and the operator's service account, may do what they have to. The API server is asked, nothing is
//! tried.

use anyhow::bail;
use bascule_core::name::{Namespace, ObjectName};
use bascule_core::policy::{FlagStore, Policy, WorkloadKind};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{Api, PostParams};

use super::codes::{OPERATOR_RIGHT_MISSING, RIGHT_MISSING};
use super::files::counted;
use super::live::Asked;
use super::report::Report;

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
struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    /// One object; `None`: all of the namespace.
    name: Option<String>,
    /// What it is for.
    what: &'static str,
}

const fn right(verb: &'static str, group: &'static str, resource: &'static str, what: &'static str) -> Right {
    Right { verb, group, resource, subresource: None, name: None, what }
}

impl Right {
    fn about(self, name: &ObjectName) -> Self {
        Self { name: Some(name.to_string()), ..self }
    }

    fn words(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let sub = self.subresource.map(|s| format!("/{s}")).unwrap_or_default();
        let name = self.name.as_ref().map(|n| format!(" {n}")).unwrap_or_default();
        format!("{} {}{group}{sub}{name}", self.verb, self.resource)
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
    let api = Api::<SelfSubjectAccessReview>::all(asked.cluster.kube().client());
    let namespace = asked.namespace.as_ref().map(Namespace::as_str);
    let mut seen = 0;
    for right in of_commands() {
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(right.attributes(namespace)),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let params = PostParams::default();
        let answer =
            asked.ask("create", "selfsubjectaccessreviews".to_owned(), api.create(&params, &review)).await;
        match answer {
            Err(why) => return report.unseen("your rights", &right.words(), why.to_string()),
            Ok(answer) => {
                seen += 1;
                if let Some(found) = denied(answer.status) {
                    let expected = format!("allowed: {} need it", right.what);
                    report.find(RIGHT_MISSING, "your rights", &right.words(), found, &expected);
                }
            }
        }
    }
    report.looked(format!("{} of yours", counted(seen, "right", "rights")));
}

fn denied(status: Option<SubjectAccessReviewStatus>) -> Option<String> {
    let status = status.unwrap_or_default();
    if status.allowed {
        return None;
    }
    let reason = status.reason.filter(|r| !r.is_empty()).or(status.evaluation_error);
    Some(reason.map_or_else(|| "not allowed".to_owned(), |why| format!("not allowed: {why}")))
}

/// What the operator does with what a policy names, in the policy's namespace.
fn of_operator(policy: &Policy) -> Vec<Right> {
    let mut all = vec![
        right("list", GROUP, "failoverpolicies", "reading policies"),
        right("watch", GROUP, "failoverpolicies", "reading policies"),
        Right {
            subresource: Some("status"),
            ..right("patch", GROUP, "failoverpolicies", "saying what is known")
        },
        right("create", "events.k8s.io", "events", "telling what happened"),
        right("patch", "events.k8s.io", "events", "counting what happens again"),
        right("list", GROUP, "moves", "reading Moves"),
        right("watch", GROUP, "moves", "reading Moves"),
        Right {
            subresource: Some("status"),
            ..right("patch", GROUP, "moves", "saying what became of a Move")
        },
    ];
    for database in policy.databases.values() {
        for instance in database.instances.values() {
            all.push(right("get", "", "secrets", "the database's credentials").about(&instance.secret));
            all.push(
                right("get", "", "secrets", "the replication's credentials")
                    .about(&instance.replication_secret),
            );
        }
        all.push(right("get", "", "pods", "whether a server's node has died"));
    }
    for workload in policy.workloads.values() {
        let resource = match workload.kind {
            WorkloadKind::Deployment => "deployments",
            WorkloadKind::StatefulSet => "statefulsets",
        };
        all.push(right("get", "apps", resource, "a workload's replicas").about(&workload.name));
        all.push(right("patch", "apps", resource, "a workload's replicas").about(&workload.name));
        all.push(right(
            "list",
            "autoscaling",
            "horizontalpodautoscalers",
            "whether something else scales a workload",
        ));
        if let Some(flag) = &workload.read_only {
            let resource = match flag.store {
                FlagStore::ConfigMap => "configmaps",
                FlagStore::Secret => "secrets",
            };
            all.push(right("get", "", resource, "the read-only flag").about(&flag.name));
            all.push(right("patch", "", resource, "the read-only flag").about(&flag.name));
            // A create cannot be limited to a name.
            all.push(right("create", "", resource, "the read-only flag where there is none yet"));
            all.push(right("list", "", "pods", "whether every pod has seen the flag"));
            all.push(right("patch", "", "pods", "letting kubelets look at a changed flag at once"));
        }
    }
    for traffic in policy.traffic.values() {
        all.push(right("get", "", "secrets", "the name servers' key").about(&traffic.dns.tsig_secret));
    }
    let mut once: Vec<Right> = Vec::new();
    for right in all {
        if !once.iter().any(|r| r.words() == right.words()) {
            once.push(right);
        }
    }
    once
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
                    let expected = format!("allowed in namespace {namespace}, for {}", right.what);
                    report.find(OPERATOR_RIGHT_MISSING, &object, &right.words(), found, &expected);
                }
            }
        }
    }
    report.looked(format!("{} of {object} for {}", counted(seen, "right", "rights"), policy.key));
}
