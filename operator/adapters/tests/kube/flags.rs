//! Read-only flags.

use bascule_adapters::kube::Rehearsal;
use bascule_adapters::kube::flag::{
    FLAG_MANAGER, Flag, FlagValue, Intake, Position, REFRESH_ANNOTATION, observe, refresh, rehearse, set,
};
use bascule_core::outcome::Outcome;
use bascule_core::policy::{FlagKey, FlagStore, FlagValues};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::place;

fn spec(store: FlagStore) -> FlagKey {
    FlagKey {
        store,
        name: "web-flags".try_into().unwrap(),
        key: "READ_ONLY".to_owned(),
        values: FlagValues { read_only: "1".to_owned(), read_write: "0".to_owned() },
    }
}

fn holder(kind: &str, data: &Value) -> Value {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "web-flags" }, field: data })
}

#[tokio::test]
async fn a_config_maps_key_is_set_and_its_other_keys_are_left_alone() {
    let ns = "flag-config-map";
    let (kube, client, _) = place(ns).await;
    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    let object = holder("ConfigMap", &json!({ "COLOUR": "blue" }));
    api.patch("web-flags", &PatchParams::apply("team"), &Patch::Apply(&object)).await.unwrap();
    let spec = spec(FlagStore::ConfigMap);
    let flag = Flag { namespace: ns, spec: &spec };
    assert_eq!(observe(&kube, flag).await.unwrap().value, FlagValue::Absent);

    for position in [Position::ReadOnly, Position::ReadWrite] {
        assert_eq!(rehearse(&kube, flag, position).await, Rehearsal::Possible);
        assert_eq!(set(&kube, flag, position).await, Outcome::Done);
        let seen = observe(&kube, flag).await.unwrap();
        assert_eq!(seen.value, FlagValue::At(position));
        assert_eq!(seen.owners[0].manager, FLAG_MANAGER);
    }
    let data = api.get("web-flags").await.unwrap().data.unwrap();
    assert_eq!(data["COLOUR"], "blue");
    assert_eq!(data["READ_ONLY"], "0");
}

#[tokio::test]
async fn a_secrets_key_is_set_too_and_an_odd_value_is_not_repeated() {
    let ns = "flag-secret";
    let (kube, client, _) = place(ns).await;
    let api: Api<Secret> = Api::namespaced(client, ns);
    let object = holder("Secret", &json!({ "READ_ONLY": "hunter2", "password": "x" }));
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let spec = spec(FlagStore::Secret);
    let flag = Flag { namespace: ns, spec: &spec };
    let seen = observe(&kube, flag).await.unwrap();
    assert_eq!(seen.value, FlagValue::Other);
    assert!(!format!("{seen:?}").contains("hunter2"));

    let Rehearsal::Contended { contentions } = rehearse(&kube, flag, Position::ReadOnly).await else {
        panic!()
    };
    assert_eq!(contentions[0].field, ".data.READ_ONLY");
    api.patch("web-flags", &PatchParams::default(), &Patch::Merge(json!({ "data": { "READ_ONLY": null } })))
        .await
        .unwrap();
    assert_eq!(set(&kube, flag, Position::ReadOnly).await, Outcome::Done);
    let data = api.get("web-flags").await.unwrap().data.unwrap();
    assert_eq!(data["READ_ONLY"].0, b"1");
    assert_eq!(data["password"].0, b"x");
}

#[tokio::test]
async fn two_flags_in_one_holder_leave_each_other_alone_also_when_they_are_set_at_the_same_time() {
    for (ns, store) in [("flag-two", FlagStore::ConfigMap), ("flag-two-secret", FlagStore::Secret)] {
        let (kube, _, _) = place(ns).await;
        let specs = ["WEB", "API", "JOBS", "MAIL"].map(|key| FlagKey { key: key.to_owned(), ..spec(store) });
        let says = async |n: usize| observe(&kube, Flag { namespace: ns, spec: &specs[n] }).await.unwrap();
        let set =
            async |n: usize, position| set(&kube, Flag { namespace: ns, spec: &specs[n] }, position).await;

        assert_eq!(set(0, Position::ReadOnly).await, Outcome::Done);
        assert_eq!(set(1, Position::ReadWrite).await, Outcome::Done);
        let rehearsed = rehearse(&kube, Flag { namespace: ns, spec: &specs[2] }, Position::ReadOnly).await;
        assert_eq!(rehearsed, Rehearsal::Possible);
        assert_eq!(says(0).await.value, FlagValue::At(Position::ReadOnly), "the first is still there");
        assert_eq!(says(1).await.value, FlagValue::At(Position::ReadWrite));

        for position in [Position::ReadWrite, Position::ReadOnly] {
            let all = tokio::join!(set(0, position), set(1, position), set(2, position), set(3, position));
            assert_eq!(all, (Outcome::Done, Outcome::Done, Outcome::Done, Outcome::Done));
            for (n, spec) in specs.iter().enumerate() {
                let seen = says(n).await;
                assert_eq!(seen.value, FlagValue::At(position), "{}", spec.key);
                assert_eq!(seen.owners[0].manager, FLAG_MANAGER);
            }
        }
    }
}

#[tokio::test]
async fn a_flag_that_somebody_else_has_taken_since_is_not_taken_back_with_another_one() {
    let ns = "flag-two-taken";
    let (kube, client, _) = place(ns).await;
    let specs = ["WEB", "API"].map(|key| FlagKey { key: key.to_owned(), ..spec(FlagStore::ConfigMap) });
    for spec in &specs {
        assert_eq!(set(&kube, Flag { namespace: ns, spec }, Position::ReadOnly).await, Outcome::Done);
    }
    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    let taken = holder("ConfigMap", &json!({ "WEB": "0" }));
    api.patch("web-flags", &PatchParams::apply("somebody").force(), &Patch::Apply(&taken)).await.unwrap();

    assert_eq!(set(&kube, Flag { namespace: ns, spec: &specs[1] }, Position::ReadWrite).await, Outcome::Done);
    let data = api.get("web-flags").await.unwrap().data.unwrap();
    assert_eq!((data["WEB"].as_str(), data["API"].as_str()), ("0", "0"));
    let again = set(&kube, Flag { namespace: ns, spec: &specs[0] }, Position::ReadOnly).await;
    assert!(matches!(again, Outcome::Refused { .. }), "{again:?}");
}

#[tokio::test]
async fn a_key_that_git_owns_is_contended_until_its_line_has_run() {
    let ns = "flag-contended";
    let (kube, client, server) = place(ns).await;
    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    let object = holder("ConfigMap", &json!({ "READ_ONLY": "0" }));
    api.patch("web-flags", &PatchParams::apply("kustomize-controller"), &Patch::Apply(&object))
        .await
        .unwrap();
    let spec = spec(FlagStore::ConfigMap);
    let flag = Flag { namespace: ns, spec: &spec };
    assert_eq!(rehearse(&kube, flag, Position::ReadWrite).await, Rehearsal::Possible, "it says so already");
    let Rehearsal::Contended { contentions } = rehearse(&kube, flag, Position::ReadOnly).await else {
        panic!()
    };
    assert_eq!(contentions[0].manager, "kustomize-controller");
    let lines = contentions[0].release.join("\n");
    assert!(lines.contains("leave data.READ_ONLY out of ConfigMap web-flags"), "{lines}");
    assert!(lines.contains("kustomize.toolkit.fluxcd.io/ssa: IfNotPresent"), "{lines}");
    assert!(matches!(set(&kube, flag, Position::ReadOnly).await, Outcome::Refused { .. }));
    assert_eq!(observe(&kube, flag).await.unwrap().value, FlagValue::At(Position::ReadWrite));
    server.shell(contentions[0].release.last().unwrap());
    assert_eq!(set(&kube, flag, Position::ReadOnly).await, Outcome::Done);
}

#[tokio::test]
async fn a_manager_of_an_empty_map_is_contended_until_its_line_has_run() {
    let ns = "flag-empty-map";
    let (kube, client, server) = place(ns).await;
    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    api.patch("web-flags", &PatchParams::apply("team"), &Patch::Apply(&holder("ConfigMap", &json!({}))))
        .await
        .unwrap();
    let spec = spec(FlagStore::ConfigMap);
    let flag = Flag { namespace: ns, spec: &spec };
    let Rehearsal::Contended { contentions } = rehearse(&kube, flag, Position::ReadOnly).await else {
        panic!()
    };
    assert_eq!(contentions[0].field, ".data");
    server.shell(contentions[0].release.last().unwrap());
    assert_eq!(set(&kube, flag, Position::ReadOnly).await, Outcome::Done);
}

#[tokio::test]
async fn a_holder_that_is_missing_is_created_by_setting_and_not_by_rehearsing() {
    for (ns, store) in [("flag-missing", FlagStore::ConfigMap), ("flag-missing-secret", FlagStore::Secret)] {
        let (kube, _, server) = place(ns).await;
        let spec = spec(store);
        let flag = Flag { namespace: ns, spec: &spec };
        for position in [Position::ReadOnly, Position::ReadWrite] {
            assert_eq!(rehearse(&kube, flag, position).await, Rehearsal::Possible);
        }
        assert!(observe(&kube, flag).await.unwrap_err().is_missing());
        assert_eq!(set(&kube, flag, Position::ReadOnly).await, Outcome::Done);
        let seen = observe(&kube, flag).await.unwrap();
        assert_eq!(seen.value, FlagValue::At(Position::ReadOnly));
        assert_eq!(seen.owners[0].manager, FLAG_MANAGER);
        assert_eq!(set(&kube, flag, Position::ReadWrite).await, Outcome::Done);
        assert_eq!(observe(&kube, flag).await.unwrap().value, FlagValue::At(Position::ReadWrite));
        let kind = if store == FlagStore::Secret { "secret" } else { "configmap" };
        let label = "app.kubernetes.io/managed-by=bascule";
        assert!(
            server.kubectl(&["-n", ns, "get", kind, "-l", label, "-o", "name"], "").contains("web-flags")
        );
    }
}

#[tokio::test]
async fn an_immutable_holder_is_seen_and_refused_with_the_reason() {
    let ns = "flag-immutable";
    let (kube, client, _) = place(ns).await;
    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    let mut object = holder("ConfigMap", &json!({}));
    object["immutable"] = json!(true);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let spec = spec(FlagStore::ConfigMap);
    let flag = Flag { namespace: ns, spec: &spec };
    assert!(observe(&kube, flag).await.unwrap().immutable);
    let Rehearsal::Refused { reason } = rehearse(&kube, flag, Position::ReadOnly).await else { panic!() };
    assert!(reason.contains("immutable"), "{reason}");
}

#[tokio::test]
async fn each_running_pod_that_mounts_the_flag_is_touched_and_no_other() {
    let ns = "flag-refresh";
    let (kube, client, _) = place(ns).await;
    let api: Api<Pod> = Api::namespaced(client, ns);
    let mounted = json!([{ "name": "flags", "configMap": { "name": "web-flags" } }]);
    let projected =
        json!([{ "name": "flags", "projected": { "sources": [{ "configMap": { "name": "web-flags" } }] } }]);
    let at = json!([{ "name": "flags", "mountPath": "/flags" }]);
    let sub_path = json!([{ "name": "flags", "mountPath": "/flags/x", "subPath": "READ_ONLY" }]);
    let env = json!([{ "configMapRef": { "name": "web-flags" } }]);
    for (name, phase, volumes, mounts, env_from) in [
        ("a-mounts", "Running", &mounted, &at, json!([])),
        ("b-projects", "Running", &projected, &at, json!([])),
        ("c-sub-path", "Running", &mounted, &sub_path, json!([])),
        ("d-environment", "Running", &mounted, &at, env),
        ("e-other", "Running", &json!([]), &json!([]), json!([])),
        ("f-pending", "Pending", &mounted, &at, json!([])),
    ] {
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": "web" } },
            "spec": { "volumes": volumes, "containers": [
                { "name": "c", "image": "none", "volumeMounts": mounts, "envFrom": env_from },
            ] },
        });
        api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        let status = json!({ "status": { "phase": phase } });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
    let spec = spec(FlagStore::ConfigMap);
    let flag = Flag { namespace: ns, spec: &spec };
    let refreshed = refresh(&kube, flag, "app=web", "17").await.unwrap();
    let told: Vec<_> = refreshed.iter().map(|r| (r.pod.as_str(), r.intake, r.touched.clone())).collect();
    assert_eq!(
        told,
        [
            ("a-mounts", Intake::Mounted, Some(Outcome::Done)),
            ("b-projects", Intake::Mounted, Some(Outcome::Done)),
            ("c-sub-path", Intake::SubPath, None),
            ("d-environment", Intake::Environment, None),
            ("e-other", Intake::Absent, None),
        ]
    );
    for pod in api.list(&ListParams::default()).await.unwrap() {
        let touched = pod.annotations().get(REFRESH_ANNOTATION).map(String::as_str);
        let expected = ["a-mounts", "b-projects"].contains(&pod.name_any().as_str()).then_some("17");
        assert_eq!(touched, expected, "{}", pod.name_any());
    }
}
