//! Read-only flags in the environment of a workload's pods.

use bascule_adapters::kube::flag::{FlagValue, Position};
use bascule_adapters::kube::read_only::{observe, rehearse, set};
use bascule_adapters::kube::workload::WorkloadRef;
use bascule_adapters::kube::{Kube, Rehearsal};
use bascule_core::outcome::Outcome;
use bascule_core::policy::{FlagPlace, FlagValues, FlagVariable, WorkloadKind};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::place;
use crate::workloads::{applied_by, manifest};

pub(crate) fn variable(container: Option<&str>, name: &str) -> FlagPlace {
    FlagPlace::Variable(FlagVariable {
        container: container.map(ToOwned::to_owned),
        name: name.to_owned(),
        values: FlagValues { read_only: "1".to_owned(), read_write: "0".to_owned() },
    })
}

fn web(ns: &str) -> WorkloadRef {
    WorkloadRef::new(ns, WorkloadKind::Deployment, "web")
}

/// A Deployment with this environment in its container.
pub(crate) fn with_env(ns: &str, env: &Value) -> Value {
    let mut manifest = manifest("Deployment", ns, "web", None);
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = env.clone();
    manifest
}

/// The environment of a container of the template, as it stands.
async fn env(client: &Client, ns: &str, container: usize) -> Value {
    let api: Api<Deployment> = Api::namespaced(client.clone(), ns);
    let found = serde_json::to_value(api.get("web").await.unwrap()).unwrap();
    found["spec"]["template"]["spec"]["containers"][container]["env"].clone()
}

async fn says(kube: &Kube, ns: &str, place: &FlagPlace) -> FlagValue {
    observe(kube, &web(ns), place).await.unwrap().value
}

#[tokio::test]
async fn a_variable_is_set_and_undone_and_the_others_are_left_alone() {
    let ns = "env-set";
    let (kube, client, _) = place(ns).await;
    let git = with_env(ns, &json!([{ "name": "COLOUR", "value": "blue" }]));
    applied_by(&client, "team", ns, &git).await;
    let flag = variable(None, "READ_ONLY");
    assert_eq!(says(&kube, ns, &flag).await, FlagValue::Absent);
    for position in [Position::ReadOnly, Position::ReadWrite] {
        assert_eq!(rehearse(&kube, &web(ns), &flag, position).await, Rehearsal::Possible);
    }
    assert_eq!(says(&kube, ns, &flag).await, FlagValue::Absent, "a dry run changes nothing");

    for (position, value) in [(Position::ReadOnly, "1"), (Position::ReadWrite, "0")] {
        assert_eq!(set(&kube, &web(ns), &flag, position).await, Outcome::Done);
        let seen = observe(&kube, &web(ns), &flag).await.unwrap();
        assert_eq!(seen.value, FlagValue::At(position));
        assert_eq!(seen.owners[0].manager, "bascule-read-only:c/READ_ONLY");
        // What git applies afterwards without the variable leaves it.
        applied_by(&client, "team", ns, &git).await;
        let expected =
            json!([{ "name": "COLOUR", "value": "blue" }, { "name": "READ_ONLY", "value": value }]);
        assert_eq!(env(&client, ns, 0).await, expected);
    }
}

#[tokio::test]
async fn a_stateful_sets_template_is_changed_like_a_deployments() {
    let ns = "env-stateful";
    let (kube, client, _) = place(ns).await;
    let object: StatefulSet = serde_json::from_value(manifest("StatefulSet", ns, "web", None)).unwrap();
    let api: Api<StatefulSet> = Api::namespaced(client, ns);
    api.patch("web", &PatchParams::apply("team"), &Patch::Apply(&object)).await.unwrap();
    let (workload, flag) =
        (WorkloadRef::new(ns, WorkloadKind::StatefulSet, "web"), variable(Some("c"), "READ_ONLY"));
    let before = api.get("web").await.unwrap().metadata.generation;
    assert_eq!(set(&kube, &workload, &flag, Position::ReadOnly).await, Outcome::Done);
    let seen = observe(&kube, &workload, &flag).await.unwrap();
    assert_eq!(seen.value, FlagValue::At(Position::ReadOnly));
    assert_ne!(api.get("web").await.unwrap().metadata.generation, before, "its pods are replaced");
}

#[tokio::test]
async fn flags_of_one_workload_leave_each_other_alone() {
    let ns = "env-two";
    let (kube, client, _) = place(ns).await;
    let mut git = manifest("Deployment", ns, "web", None);
    let containers = git["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({ "name": "d", "image": "none" }));
    applied_by(&client, "team", ns, &git).await;
    let flags = [("c", "READ_ONLY"), ("c", "REFUSE"), ("d", "READ_ONLY")].map(|(c, v)| variable(Some(c), v));
    for flag in &flags {
        assert_eq!(set(&kube, &web(ns), flag, Position::ReadOnly).await, Outcome::Done);
    }
    assert_eq!(set(&kube, &web(ns), &flags[0], Position::ReadWrite).await, Outcome::Done);
    assert_eq!(
        env(&client, ns, 0).await,
        json!([{ "name": "READ_ONLY", "value": "0" }, { "name": "REFUSE", "value": "1" }])
    );
    assert_eq!(env(&client, ns, 1).await, json!([{ "name": "READ_ONLY", "value": "1" }]));
}

#[tokio::test]
async fn a_variable_that_git_owns_is_contended_until_its_line_has_run() {
    let ns = "env-contended";
    let (kube, client, server) = place(ns).await;
    let git = with_env(ns, &json!([{ "name": "READ_ONLY", "value": "0" }]));
    applied_by(&client, "argocd-controller", ns, &git).await;
    let flag = variable(None, "READ_ONLY");
    assert_eq!(rehearse(&kube, &web(ns), &flag, Position::ReadWrite).await, Rehearsal::Possible);
    let Rehearsal::Contended { contentions } = rehearse(&kube, &web(ns), &flag, Position::ReadOnly).await
    else {
        panic!()
    };
    assert_eq!(contentions[0].manager, "argocd-controller");
    let lines = contentions[0].release.join("\n");
    assert!(
        lines.contains("leave spec.template.spec.containers[c].env[READ_ONLY] out of Deployment web"),
        "{lines}"
    );
    let ignored = r#"group: "apps", kind: Deployment, name: web, jqPathExpressions: ['.spec.template.spec.containers[] | select(.name == "c") | .env[] | select(.name == "READ_ONLY")']"#;
    assert!(lines.contains(ignored), "{lines}");
    assert!(matches!(set(&kube, &web(ns), &flag, Position::ReadOnly).await, Outcome::Refused { .. }));
    assert_eq!(says(&kube, ns, &flag).await, FlagValue::At(Position::ReadWrite));

    server.shell(contentions[0].release.last().unwrap());
    assert_eq!(says(&kube, ns, &flag).await, FlagValue::At(Position::ReadWrite), "the value stays");
    assert_eq!(rehearse(&kube, &web(ns), &flag, Position::ReadOnly).await, Rehearsal::Possible);
    assert_eq!(set(&kube, &web(ns), &flag, Position::ReadOnly).await, Outcome::Done);
    // Git without the variable neither takes it away nor sets it back.
    applied_by(&client, "argocd-controller", ns, &manifest("Deployment", ns, "web", None)).await;
    assert_eq!(says(&kube, ns, &flag).await, FlagValue::At(Position::ReadOnly));
}

#[tokio::test]
async fn git_with_an_empty_environment_neither_stands_in_the_way_nor_takes_the_variable_away() {
    let ns = "env-empty";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "team", ns, &with_env(ns, &json!([]))).await;
    let flag = variable(None, "READ_ONLY");
    assert_eq!(rehearse(&kube, &web(ns), &flag, Position::ReadOnly).await, Rehearsal::Possible);
    assert_eq!(set(&kube, &web(ns), &flag, Position::ReadOnly).await, Outcome::Done);
    applied_by(&client, "team", ns, &with_env(ns, &json!([]))).await;
    assert_eq!(says(&kube, ns, &flag).await, FlagValue::At(Position::ReadOnly));
}

#[tokio::test]
async fn a_variable_that_kubectl_applied_is_contended_until_its_line_has_run() {
    let ns = "env-kubectl";
    let (kube, _, server) = place(ns).await;
    let git = with_env(ns, &json!([{ "name": "READ_ONLY", "value": "0" }]));
    server.kubectl(&["apply", "-f", "-"], &git.to_string());
    let flag = variable(None, "READ_ONLY");
    let Rehearsal::Contended { contentions } = rehearse(&kube, &web(ns), &flag, Position::ReadOnly).await
    else {
        panic!()
    };
    assert_eq!(contentions[0].manager, "kubectl-client-side-apply");
    server.shell(contentions[0].release.last().unwrap());
    assert_eq!(set(&kube, &web(ns), &flag, Position::ReadOnly).await, Outcome::Done);
}

#[tokio::test]
async fn a_template_that_cannot_have_the_flag_is_refused_with_field_and_reason_and_left_as_it_is() {
    let ns = "env-unfit";
    let (kube, client, _) = place(ns).await;
    let from = json!({ "configMapKeyRef": { "name": "web-flags", "key": "READ_ONLY" } });
    let mut git = with_env(ns, &json!([{ "name": "FROM_ELSEWHERE", "valueFrom": from }]));
    let containers = git["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({ "name": "proxy", "image": "none" }));
    applied_by(&client, "team", ns, &git).await;
    for (flag, words) in [
        (
            variable(Some("shop"), "READ_ONLY"),
            "Deployment env-unfit/web: spec.template.spec.containers: found c, proxy, expected shop, which readOnly.environment.container of the policy names",
        ),
        (
            variable(None, "READ_ONLY"),
            "spec.template.spec.containers: found c, proxy, expected a single one, or its name in readOnly.environment.container",
        ),
        (
            variable(Some("c"), "FROM_ELSEWHERE"),
            "spec.template.spec.containers[c].env[FROM_ELSEWHERE].valueFrom: the variable takes its value from elsewhere",
        ),
    ] {
        let rehearsed = rehearse(&kube, &web(ns), &flag, Position::ReadOnly).await;
        let Rehearsal::Refused { reason } = &rehearsed else { panic!("{rehearsed:?}") };
        assert!(reason.contains(words), "{reason}");
        let outcome = set(&kube, &web(ns), &flag, Position::ReadOnly).await;
        assert!(matches!(&outcome, Outcome::Refused { reason } if reason.contains(words)), "{outcome:?}");
    }
    assert_eq!(says(&kube, ns, &variable(Some("c"), "FROM_ELSEWHERE")).await, FlagValue::Other);
    assert_eq!(env(&client, ns, 0).await, git["spec"]["template"]["spec"]["containers"][0]["env"]);
    assert_eq!(env(&client, ns, 1).await, Value::Null);
}

#[tokio::test]
async fn a_workload_whose_pods_would_keep_their_environment_is_refused_in_rehearsal() {
    let ns = "env-kept";
    let (kube, client, _) = place(ns).await;
    let mut paused = manifest("Deployment", ns, "web", None);
    paused["spec"]["paused"] = json!(true);
    applied_by(&client, "team", ns, &paused).await;
    let api: Api<StatefulSet> = Api::namespaced(client, ns);
    for (name, strategy) in [
        ("on-delete", json!({ "type": "OnDelete" })),
        ("partition", json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } })),
    ] {
        let mut object = manifest("StatefulSet", ns, name, None);
        object["spec"]["updateStrategy"] = strategy;
        api.patch(name, &PatchParams::apply("team"), &Patch::Apply(&object)).await.unwrap();
    }
    for (kind, name, words) in [
        (WorkloadKind::Deployment, "web", "spec.paused: found true"),
        (WorkloadKind::StatefulSet, "on-delete", "spec.updateStrategy.type: found OnDelete"),
        (WorkloadKind::StatefulSet, "partition", "spec.updateStrategy.rollingUpdate.partition: found 2"),
    ] {
        let workload = WorkloadRef::new(ns, kind, name);
        let rehearsed = rehearse(&kube, &workload, &variable(None, "READ_ONLY"), Position::ReadOnly).await;
        assert!(
            matches!(&rehearsed, Rehearsal::Refused { reason } if reason.contains(words)),
            "{rehearsed:?}"
        );
    }
}

#[tokio::test]
async fn a_workload_that_is_missing_is_not_created_by_its_flag() {
    let ns = "env-missing";
    let (kube, _, _) = place(ns).await;
    let flag = variable(None, "READ_ONLY");
    assert!(observe(&kube, &web(ns), &flag).await.unwrap_err().is_missing());
    let outcome = set(&kube, &web(ns), &flag, Position::ReadOnly).await;
    assert_eq!(outcome, Outcome::refused(format!("Deployment {ns}/web does not exist")));
}
