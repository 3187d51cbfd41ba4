//! Whether the operator's pod would be admitted into the namespace of the release.

use bascule_core::name::Namespace;
use k8s_openapi::api::core::v1::{Namespace as Object, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::check::codes::POD_REFUSED;
use crate::check::live::Asked;
use crate::check::report::Report;
use crate::check::rights::{refused, right};
use crate::why::trouble::Trouble;

/// The label of a namespace by which it enforces a Pod Security level.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// The name of the pod that is tried and never made.
const TRIED: &str = "bascule-check-pre";

/// What is known of the namespace of the release.
pub enum Place {
    /// It is there; the level that it enforces, if any.
    There(Option<String>),
    /// It is not there yet.
    Missing,
    /// It cannot be known.
    Unknown,
}

impl Place {
    /// Whether it has to be created.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// Looks at the namespace.
pub async fn namespace(asked: &Asked, release: &Namespace, report: &mut Report) -> Place {
    let api = Api::<Object>::all(asked.cluster.kube().client());
    let what = format!("namespaces {release}");
    match asked.ask("get", what, api.get_opt(release.as_str())).await {
        Ok(Some(found)) => Place::There(found.labels().get(ENFORCE).cloned()),
        Ok(None) => {
            report.looked(format!(
                "namespace {release}: not there yet, the cluster's defaults will hold in it"
            ));
            Place::Missing
        }
        Err(why) => {
            report.unseen(&format!("Namespace {release}"), "", why.to_string());
            Place::Unknown
        }
    }
}

/// Tries a pod like the operator's as a dry run, where there is a namespace for it.
pub async fn pod(asked: &Asked, release: &Namespace, place: &Place, report: &mut Report) {
    let Place::There(level) = place else { return };
    let object = format!("Namespace {release}");
    let right = right("create", "", "pods", "a dry run of the operator's pod");
    match refused(asked, &right, Some(release.as_str())).await {
        Ok(None) => {}
        Ok(Some(why)) => {
            let why = format!("you may not {}, so none was tried: {why}", right.words());
            return report.unseen(&object, "pods", why);
        }
        Err(why) => return report.unseen(&object, "pods", why.to_string()),
    }
    let pod: Pod = match serde_json::from_value(like_the_operators()) {
        Ok(pod) => pod,
        Err(why) => return report.unseen(&object, "pods", why.to_string()),
    };
    let api = Api::<Pod>::namespaced(asked.cluster.kube().client(), release.as_str());
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let what = format!("pods in namespace {release}");
    match asked.ask("create", what, api.create(&params, &pod)).await {
        Ok(_) => {
            let level = level.as_ref().map_or_else(
                || "it enforces no Pod Security level by itself".to_owned(),
                |level| format!("it enforces the Pod Security level {level}"),
            );
            report.looked(format!("namespace {release}: it takes a pod like the operator's; {level}"));
        }
        Err(Trouble::Forbidden { reason, .. } | Trouble::Refused { reason, code: 400..=499, .. }) => {
            let expected = "a dry run of a pod like the operator's is taken";
            report.find(POD_REFUSED, &object, "pods", reason, expected);
        }
        Err(why) => report.unseen(&object, "pods", why.to_string()),
    }
}

/// A pod with what admission looks at in the chart's: who it runs as, what it may, and what it asks for.
fn like_the_operators() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": TRIED },
        "spec": {
            "enableServiceLinks": false,
            "priorityClassName": "system-cluster-critical",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "operator",
                "image": concat!("ghcr.io/bascule/bascule:", env!("CARGO_PKG_VERSION")),
                "imagePullPolicy": "IfNotPresent",
                "args": ["operator"],
                "resources": {
                    "limits": { "memory": "512Mi" },
                    "requests": { "cpu": "50m", "memory": "64Mi" },
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
                "volumeMounts": [{ "name": "git", "mountPath": "/var/cache/bascule" }],
            }],
            "volumes": [{ "name": "git", "emptyDir": { "sizeLimit": "1Gi" } }],
        },
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;

    use super::*;

    #[test]
    fn the_pod_that_is_tried_is_like_the_charts() {
        let rendered = include_str!("../../../../charts/tests/golden/rendered/as-it-comes.yaml");
        let all = serde_yaml::Deserializer::from_str(rendered).map(|d| Value::deserialize(d).unwrap());
        let mut runs_pods =
            all.into_iter().filter(|o| o["kind"] == "StatefulSet" || o["kind"] == "Deployment");
        let chart = runs_pods.next().unwrap();
        let (chart, tried) = (&chart["spec"]["template"]["spec"], &like_the_operators()["spec"]);
        for field in ["securityContext", "priorityClassName", "enableServiceLinks"] {
            assert_eq!(chart[field], tried[field], "{field}");
        }
        let (chart, tried) = (&chart["containers"][0], &tried["containers"][0]);
        for field in ["securityContext", "resources", "image", "imagePullPolicy", "args", "name"] {
            assert_eq!(chart[field], tried[field], "{field}");
        }
    }
}
