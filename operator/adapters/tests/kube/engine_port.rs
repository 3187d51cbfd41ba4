//! What the engine sees of workloads, and what its steps do.

use bascule_adapters::kube::port::Workloads;
use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::observation::{Fact, FlagValue, Marks, ReplicasSeen};
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step;
use bascule_core::policy::{
    FlagKey, FlagPlace, FlagStore, FlagValues, Policy, ReadOnlyFlag, Replicas, Workload, WorkloadKind,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::environment::variable;
use crate::place;
use crate::workloads::{applied_by, manifest};

pub(crate) fn web() -> ItemName {
    ItemName::try_from("web").unwrap()
}

fn policy(ns: &str) -> Policy {
    let key = FlagKey {
        store: FlagStore::ConfigMap,
        name: "web-flags".try_into().unwrap(),
        key: "READ_ONLY".to_owned(),
        values: FlagValues { read_only: "1".to_owned(), read_write: "0".to_owned() },
    };
    with_flag(ns, ReadOnlyFlag { place: FlagPlace::Key(key), verify: None })
}

pub(crate) fn with_flag(ns: &str, flag: ReadOnlyFlag) -> Policy {
    let workload = Workload {
        kind: WorkloadKind::Deployment,
        name: "web".try_into().unwrap(),
        replicas: Replicas { active: None, standby: Some(0), read_only: Some(2) },
        read_only: Some(flag),
    };
    crate::policy::with_workload(PolicyKey::new(ns, "shop").unwrap(), web(), workload)
}

async fn flags(client: &Client, ns: &str, manager: &str, data: &serde_json::Value) {
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web-flags" }, "data": data });
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), ns);
    api.patch("web-flags", &PatchParams::apply(manager), &Patch::Apply(&object)).await.unwrap();
}

#[tokio::test]
async fn the_engine_sees_a_workload_and_its_steps_take_effect() {
    let ns = "port-free";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "team", ns, &manifest("Deployment", ns, "web", None)).await;
    flags(&client, ns, "team", &json!({ "COLOUR": "blue" })).await;
    let (site, policy) = (Workloads::new(kube), policy(ns));
    let seen = site.look(&policy, &web()).await;
    assert_eq!(seen.flag.value(), Some(&FlagValue::Missing));
    assert_eq!(seen.replicas.value(), Some(&ReplicasSeen { wanted: 1, ready: 0 }));
    assert_eq!(seen.blockers.value().map(Vec::len), Some(0), "{:?}", seen.blockers);
    assert!(matches!(&seen.effective, Fact::Unknown { reason } if reason.contains("verify")), "{seen:?}");

    for step in
        [Step::SetReadOnly { workload: web(), on: true }, Step::Scale { workload: web(), replicas: 2 }]
    {
        assert_eq!(site.perform(&policy, &step).await, Some(Outcome::Done));
    }
    let seen = site.look(&policy, &web()).await;
    assert_eq!(seen.flag.value(), Some(&FlagValue::ReadOnly));
    assert_eq!(seen.replicas.value().unwrap().wanted, 2);

    let marks = Marks { generation: 0, epoch: 1, serial: 2 };
    assert_eq!(site.raise_mark(&policy.key, &marks.into()).await, Outcome::Done);
    assert_eq!(site.marks().await.unwrap()[&policy.key].marks, marks);
}

#[tokio::test]
async fn a_flag_whose_config_map_is_missing_blocks_nothing_and_the_step_creates_it() {
    let ns = "port-no-flags";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "team", ns, &manifest("Deployment", ns, "web", None)).await;
    let (site, policy) = (Workloads::new(kube), policy(ns));
    let seen = site.look(&policy, &web()).await;
    assert_eq!(seen.flag.value(), Some(&FlagValue::Missing));
    assert_eq!(seen.blockers.value().map(Vec::len), Some(0), "{:?}", seen.blockers);
    let step = Step::SetReadOnly { workload: web(), on: true };
    assert_eq!(site.perform(&policy, &step).await, Some(Outcome::Done));
    assert_eq!(site.look(&policy, &web()).await.flag.value(), Some(&FlagValue::ReadOnly));
}

#[tokio::test]
async fn what_others_own_is_a_blocker_with_the_lines_that_release_it() {
    let ns = "port-contended";
    let (kube, client, server) = place(ns).await;
    applied_by(&client, "argocd-controller", ns, &manifest("Deployment", ns, "web", Some(2))).await;
    flags(&client, ns, "kustomize-controller", &json!({ "READ_ONLY": "0" })).await;
    let policy = policy(ns);
    let seen = Workloads::new(kube.clone()).look(&policy, &web()).await;
    let blockers = seen.blockers.value().unwrap();
    let names: Vec<&str> = blockers.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names, ["contended/web/readOnlyFlag", "contended/web/replicas"], "{blockers:#?}");
    assert!(
        blockers[0].found.contains("kustomize-controller")
            && blockers[0].needed.contains("data.READ_ONLY out")
    );
    assert!(blockers[1].found.contains("argocd-controller") && blockers[1].needed.contains("/spec/replicas"));
    for blocker in blockers {
        server.shell(blocker.needed.lines().last().unwrap());
    }
    let seen = Workloads::new(kube).look(&policy, &web()).await;
    assert_eq!(seen.blockers.value().map(Vec::len), Some(0), "{:?}", seen.blockers);
}

#[tokio::test]
async fn a_workload_that_is_missing_blocks_and_is_not_created() {
    let ns = "port-missing";
    let (kube, _, _) = place(ns).await;
    let site = Workloads::new(kube);
    let seen = site.look(&policy(ns), &web()).await;
    let blocker = &seen.blockers.value().unwrap()[0];
    assert_eq!(blocker.name, "workload/web/exists");
    assert!(blocker.found.contains("does not exist"));
    let step = Step::Scale { workload: web(), replicas: 2 };
    assert!(matches!(site.perform(&policy(ns), &step).await, Some(Outcome::Refused { .. })));
}

#[tokio::test]
async fn a_variable_is_in_effect_when_every_pod_was_started_with_it_or_says_so() {
    let ns = "port-environment";
    let (kube, client, server) = place(ns).await;
    applied_by(&client, "team", ns, &manifest("Deployment", ns, "web", None)).await;
    let place = variable(None, "READ_ONLY");
    let policy = with_flag(ns, ReadOnlyFlag { place, verify: None });
    let site = Workloads::new(kube);
    let pods: Api<Pod> = Api::namespaced(client, ns);
    // As the workload's controller makes it, with a container that somebody adds to every pod.
    let pod = async |name: &str, value: Option<&str>, phase: &str| {
        let env: Vec<_> = value.iter().map(|v| json!({ "name": "READ_ONLY", "value": v })).collect();
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": "web" } },
            "spec": { "containers": [
                { "name": "injected", "image": "none" }, { "name": "c", "image": "none", "env": env },
            ] },
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        let status = json!({ "status": { "phase": phase } });
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    };
    let effective = async || {
        let view = site.look(&policy, &web()).await;
        let asked = *view.effective.value().unwrap_or_else(|| panic!("{view:?}"));
        (view.flag.value().cloned().unwrap(), asked.read_only, asked.pods)
    };
    pod("old-0", None, "Running").await;
    pod("old-1", Some("0"), "Pending").await;
    pod("done", None, "Succeeded").await;
    let seen = site.look(&policy, &web()).await;
    assert_eq!(seen.blockers.value().map(Vec::len), Some(0), "{seen:?}");
    assert_eq!(effective().await, (FlagValue::Missing, 0, 2));

    let step = Step::SetReadOnly { workload: web(), on: true };
    assert_eq!(site.perform(&policy, &step).await, Some(Outcome::Done));
    assert_eq!(effective().await, (FlagValue::ReadOnly, 0, 2), "set, and in no pod yet");
    pod("new-0", Some("1"), "Running").await;
    assert_eq!(effective().await, (FlagValue::ReadOnly, 1, 3));
    for old in ["old-0", "old-1"] {
        server.kubectl(&["-n", ns, "delete", "pod", old, "--grace-period=0", "--force"], "");
    }
    assert_eq!(effective().await, (FlagValue::ReadOnly, 1, 1), "in every pod");

    let step = Step::SetReadOnly { workload: web(), on: false };
    assert_eq!(site.perform(&policy, &step).await, Some(Outcome::Done));
    assert_eq!(effective().await, (FlagValue::ReadWrite, 1, 1), "undone, and the pod has it still");
}

#[tokio::test]
async fn a_flag_for_a_container_that_is_not_there_blocks_with_the_field_and_what_was_found() {
    let ns = "port-no-container";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "team", ns, &manifest("Deployment", ns, "web", None)).await;
    let place = variable(Some("shop"), "READ_ONLY");
    let policy = with_flag(ns, ReadOnlyFlag { place, verify: None });
    let seen = Workloads::new(kube).look(&policy, &web()).await;
    let blocker = &seen.blockers.value().unwrap()[0];
    assert_eq!(blocker.name, "workload/web/readOnlyFlag");
    assert!(blocker.found.contains("spec.template.spec.containers: found c, expected shop"), "{blocker:?}");
    assert!(matches!(&seen.flag, Fact::Unknown { reason } if reason.contains("expected shop")), "{seen:?}");
}
