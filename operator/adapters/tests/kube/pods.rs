//! The pod of a database.

use bascule_adapters::kube::pods::{NodeState, observe};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::place;

fn database(node: Option<&str>, more: &Value) -> Pod {
    let mut pod = json!({
        "metadata": { "name": "main-0" },
        "spec": { "nodeName": node, "containers": [{ "name": "postgres", "image": "none" }] },
    });
    for (field, value) in more.as_object().unwrap() {
        pod["spec"][field] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_known_to_be_absent() {
    let (kube, _, _) = place("pod-absent").await;
    assert_eq!(observe(&kube, "pod-absent", "main-0", 5432).await.unwrap(), None);
}

#[tokio::test]
async fn a_pods_node_and_end_are_told() {
    let ns = "pod-node";
    let (kube, client, _) = place(ns).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), ns);
    pods.create(&PostParams::default(), &database(Some("pod-node-1"), &json!({}))).await.unwrap();
    let facts = async || observe(&kube, ns, "main-0", 5432).await.unwrap().unwrap();
    assert_eq!(facts().await.node_state, NodeState::Gone);

    let nodes: Api<Node> = Api::all(client);
    let node: Node = serde_json::from_value(json!({ "metadata": { "name": "pod-node-1" } })).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    assert!(matches!(facts().await.node_state, NodeState::Unknown { .. }));
    for (status, expected) in [
        ("True", NodeState::Ready),
        ("Unknown", NodeState::NotReady { status: "Unknown".to_owned(), message: "silent".to_owned() }),
    ] {
        let patch = json!({ "status": { "conditions": [{ "type": "Ready", "status": status, "message": "silent" }] } });
        nodes.patch_status("pod-node-1", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        assert_eq!(facts().await.node_state, expected);
    }
    let before = facts().await;
    assert_eq!((before.phase.as_str(), before.terminating), ("Pending", false));
    let patch = json!({ "status": { "phase": "Running", "podIP": "127.0.0.9" } });
    pods.patch_status("main-0", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    pods.delete("main-0", &DeleteParams::default()).await.unwrap();
    let after = facts().await;
    assert_eq!((after.phase.as_str(), after.terminating), ("Running", true), "no kubelet has ended it");
    assert_eq!(after.ip.as_deref(), Some("127.0.0.9"));
}

#[tokio::test]
async fn what_would_break_the_guard_is_found_in_the_pods_spec() {
    let probes = [
        json!({ "exec": { "command": ["pg_isready", "-q"] } }),
        json!({ "exec": { "command": ["sh", "-c", "exec /usr/bin/pg_isready -h localhost"] } }),
        json!({ "tcpSocket": { "port": 5432 } }),
        json!({ "tcpSocket": { "port": "pg" } }),
    ];
    for (n, probe) in probes.into_iter().enumerate() {
        let ns = format!("pod-spec-{n}");
        let (kube, client, _) = place(&ns).await;
        let pods: Api<Pod> = Api::namespaced(client, &ns);
        let ports = json!([{ "name": "pg", "containerPort": 5432 }]);
        let containers = json!([
            { "name": "postgres", "image": "none", "livenessProbe": probe, "ports": ports },
            { "name": "guarded", "image": "none", "livenessProbe": { "httpGet": { "port": 9000 } } },
        ]);
        let more = json!({ "shareProcessNamespace": n == 0, "hostPID": n == 1, "containers": containers });
        pods.create(&PostParams::default(), &database(None, &more)).await.unwrap();
        let facts = observe(&kube, &ns, "main-0", 5432).await.unwrap().unwrap();
        assert_eq!(facts.liveness_on_server, ["postgres"]);
        assert_eq!((facts.shares_processes, facts.host_processes), (n == 0, n == 1));
        assert_eq!(facts.node_state, NodeState::Unassigned);
    }
}
