//! Replicas, and who owns them.

use bascule_adapters::kube::workload::{
    Autoscaler, SCALE_MANAGER, WorkloadRef, observe, rehearse_replicas, set_replicas,
};
use bascule_adapters::kube::{Contention, Rehearsal};
use bascule_core::outcome::Outcome;
use bascule_core::policy::WorkloadKind;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::place;

pub(crate) fn manifest(kind: &str, namespace: &str, name: &str, replicas: Option<u32>) -> Value {
    let mut manifest = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "c", "image": "none", "ports": [{ "containerPort": 8080 }] }] },
            },
        },
    });
    if kind == "StatefulSet" {
        manifest["spec"]["serviceName"] = json!(name);
    }
    if let Some(replicas) = replicas {
        manifest["spec"]["replicas"] = json!(replicas);
    }
    manifest
}

pub(crate) async fn applied_by(client: &Client, manager: &str, namespace: &str, manifest: &Value) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let name = manifest["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply(manager), &Patch::Apply(manifest)).await.unwrap();
}

async fn replicas(client: &Client, namespace: &str) -> (i32, String) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = api.get("web").await.unwrap();
    (found.spec.as_ref().unwrap().replicas.unwrap(), found.resource_version().unwrap())
}

fn web(namespace: &str) -> WorkloadRef {
    WorkloadRef::new(namespace, WorkloadKind::Deployment, "web")
}

fn contended(rehearsal: Rehearsal) -> Contention {
    let Rehearsal::Contended { mut contentions } = rehearsal else { panic!("{rehearsal:?}") };
    assert_eq!(contentions.len(), 1);
    contentions.remove(0)
}

#[tokio::test]
async fn replicas_that_nobody_owns_are_set_and_then_owned() {
    let ns = "replicas-free";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "some-team", ns, &manifest("Deployment", ns, "web", None)).await;
    let before = observe(&kube, &web(ns)).await.unwrap();
    assert_eq!((before.replicas, before.ready, before.autoscaler), (1, 0, Autoscaler::Absent));
    assert!(before.replicas_owners.is_empty(), "{:?}", before.replicas_owners);
    assert!(before.generation > before.observed_generation, "no controller has looked at it");
    assert_eq!(before.selector, "app=web");

    assert_eq!(set_replicas(&kube, &web(ns), 3).await, Outcome::Done);
    let after = observe(&kube, &web(ns)).await.unwrap();
    assert_eq!(after.replicas, 3);
    assert_eq!(after.replicas_owners[0].manager, SCALE_MANAGER);
    assert_eq!(set_replicas(&kube, &web(ns), 0).await, Outcome::Done, "our own field is ours to change");
}

#[tokio::test]
async fn a_stateful_set_is_scaled_like_a_deployment() {
    let ns = "replicas-stateful";
    let (kube, client, _) = place(ns).await;
    let object: StatefulSet = serde_json::from_value(manifest("StatefulSet", ns, "web", None)).unwrap();
    let api: Api<StatefulSet> = Api::namespaced(client, ns);
    api.patch("web", &PatchParams::apply("t"), &Patch::Apply(&object)).await.unwrap();
    let workload = WorkloadRef::new(ns, WorkloadKind::StatefulSet, "web");
    assert_eq!(set_replicas(&kube, &workload, 2).await, Outcome::Done);
    assert_eq!(observe(&kube, &workload).await.unwrap().replicas, 2);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_names_the_manager_that_stands_in_the_way() {
    let ns = "replicas-contended";
    let (kube, client, server) = place(ns).await;
    applied_by(&client, "argocd-controller", ns, &manifest("Deployment", ns, "web", Some(3))).await;
    let before = replicas(&client, ns).await;

    let contention = contended(rehearse_replicas(&kube, &web(ns), 0).await);
    assert_eq!(contention.manager, "argocd-controller");
    assert_eq!(contention.field, ".spec.replicas");
    let lines = contention.release.join("\n");
    assert!(lines.contains("jsonPointers: [\"/spec/replicas\"]"), "{lines}");
    assert!(lines.contains("RespectIgnoreDifferences=true"), "{lines}");
    assert_eq!(rehearse_replicas(&kube, &web(ns), 3).await, Rehearsal::Possible, "the value that is there");
    assert_eq!(replicas(&client, ns).await, before, "a dry run changes nothing");

    let outcome = set_replicas(&kube, &web(ns), 0).await;
    let Outcome::Refused { reason } = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("argocd-controller") && reason.contains(".spec.replicas"), "{reason}");
    assert_eq!(replicas(&client, ns).await, before, "nothing is taken by force");

    server.shell(contention.release.last().unwrap());
    assert_eq!(replicas(&client, ns).await.0, 3, "the line releases the field and leaves its value");
    assert_eq!(rehearse_replicas(&kube, &web(ns), 0).await, Rehearsal::Possible);
    assert_eq!(set_replicas(&kube, &web(ns), 0).await, Outcome::Done);
}

#[tokio::test]
async fn kubectl_apply_owns_replicas_even_when_the_manifest_leaves_them_out() {
    let ns = "replicas-kubectl";
    let (kube, client, server) = place(ns).await;
    server.kubectl(&["apply", "-f", "-"], &manifest("Deployment", ns, "web", None).to_string());
    let contention = contended(rehearse_replicas(&kube, &web(ns), 0).await);
    assert_eq!(contention.manager, "kubectl-client-side-apply");
    server.shell(contention.release.last().unwrap());
    assert_eq!(set_replicas(&kube, &web(ns), 4).await, Outcome::Done);
    // The next apply of the same manifest leaves the field alone.
    server.kubectl(&["apply", "-f", "-"], &manifest("Deployment", ns, "web", None).to_string());
    assert_eq!(replicas(&client, ns).await.0, 4);
}

#[tokio::test]
async fn kubectl_apply_server_side_leaves_replicas_free() {
    let ns = "replicas-server-side";
    let (kube, _, server) = place(ns).await;
    let manifest = manifest("Deployment", ns, "web", None).to_string();
    server.kubectl(&["apply", "--server-side", "-f", "-"], &manifest);
    assert_eq!(rehearse_replicas(&kube, &web(ns), 0).await, Rehearsal::Possible);
}

#[tokio::test]
async fn a_person_who_scaled_by_hand_is_named_with_the_subresource() {
    let ns = "replicas-by-hand";
    let (kube, client, server) = place(ns).await;
    applied_by(&client, "some-team", ns, &manifest("Deployment", ns, "web", Some(3))).await;
    server.kubectl(&["-n", ns, "scale", "deployment", "web", "--replicas=7"], "");
    let contention = contended(rehearse_replicas(&kube, &web(ns), 0).await);
    assert_eq!((contention.manager.as_str(), contention.subresource.as_deref()), ("kubectl", Some("scale")));
    server.shell(contention.release.last().unwrap());
    assert_eq!(set_replicas(&kube, &web(ns), 0).await, Outcome::Done);
}

#[tokio::test]
async fn what_a_co_owner_releases_keeps_its_value() {
    let ns = "replicas-co-owned";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "some-team", ns, &manifest("Deployment", ns, "web", Some(5))).await;
    assert_eq!(set_replicas(&kube, &web(ns), 5).await, Outcome::Done, "the same value conflicts with nobody");
    applied_by(&client, "some-team", ns, &manifest("Deployment", ns, "web", None)).await;
    assert_eq!(replicas(&client, ns).await.0, 5);
    assert_eq!(rehearse_replicas(&kube, &web(ns), 0).await, Rehearsal::Possible);
}

#[tokio::test]
async fn a_workload_that_is_missing_is_refused_and_not_created() {
    let ns = "replicas-missing";
    let (kube, client, _) = place(ns).await;
    assert!(observe(&kube, &web(ns)).await.unwrap_err().is_missing());
    let outcome = set_replicas(&kube, &web(ns), 1).await;
    assert_eq!(outcome, Outcome::refused(format!("Deployment {ns}/web does not exist")));
    let api: Api<Deployment> = Api::namespaced(client, ns);
    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_autoscaler_that_targets_the_workload_is_reported() {
    let ns = "replicas-hpa";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "t", ns, &manifest("Deployment", ns, "web", None)).await;
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client, ns);
    for (name, target) in [("other", "api"), ("ours", "web")] {
        let object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": name },
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": target },
                "minReplicas": 2, "maxReplicas": 9,
            },
        });
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    let found = observe(&kube, &web(ns)).await.unwrap().autoscaler;
    assert_eq!(found, Autoscaler::Present { name: "ours".to_owned(), min: 2, max: 9 });
}
