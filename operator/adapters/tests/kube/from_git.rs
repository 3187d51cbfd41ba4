//! What comes from git, with the CRDs as they are installed.

use bascule_adapters::kube::apply::{
    Creation, GIT_MANAGER, Kind, Manifest, Origin, REVISION_ANNOTATION, Standing, apply, compare,
    create_move, delete, heal, owned,
};
use bascule_adapters::kube::status::{StatusKey, write};
use bascule_adapters::kube::watch::Key;
use bascule_adapters::kube::{Failure, Kube};
use bascule_core::outcome::Outcome;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{place, soon};

/// Installs the CRDs once.
async fn installed(client: &Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let install = async || {
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        for name in ["failoverpolicies", "moves"] {
            let name = format!("{name}.bascule.dev");
            let file = format!("{}/../../crds/generated/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&file).unwrap();
            let crd: CustomResourceDefinition = serde_yaml::from_str(&text).unwrap();
            api.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&crd)).await.unwrap();
            let established = kube::runtime::conditions::is_crd_established();
            soon(kube::runtime::wait::await_condition(api.clone(), &name, established)).await.unwrap();
        }
    };
    INSTALLED.get_or_init(install).await;
}

async fn git_place(ns: &str) -> (Kube, Client) {
    let (kube, client, _) = place(ns).await;
    installed(&client).await;
    (kube, client)
}

fn policies(client: &Client, ns: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("bascule.dev", "v1alpha1", "FailoverPolicy");
    Api::namespaced_with(client.clone(), ns, &ApiResource::from_gvk_with_plural(&gvk, "failoverpolicies"))
}

fn origin(ns: &str, name: &str, revision: &str) -> Origin {
    Origin { namespace: ns.to_owned(), name: name.to_owned(), revision: revision.to_owned() }
}

fn manifest(kind: Kind, ns: &str, name: &str, spec: Value) -> Manifest {
    let key = Key { namespace: ns.to_owned(), name: name.to_owned() };
    Manifest {
        kind,
        key,
        labels: [("tier".to_owned(), "customer".to_owned())].into(),
        annotations: [].into(),
        spec,
    }
}

fn policy(ns: &str, cooldown: &str) -> Manifest {
    let spec = json!({
        "sites": [{ "name": "paris" }, { "name": "lyon" }],
        "initialSite": "paris",
        "failover": {
            "serveReads": { "after": "10s", "returnAfter": "5m" },
            "promote": { "after": "30m", "maxDataLoss": { "bytes": "16Mi", "time": "30s" } },
            "cooldown": cooldown,
        },
        "workloads": [{ "name": "web", "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "replicas": { "standby": 0 } }],
    });
    manifest(Kind::Policy, ns, "shop", spec)
}

fn switchover(ns: &str, reason: &str) -> Manifest {
    let spec = json!({
        "policyRef": { "name": "shop" }, "type": "Switchover", "from": "paris", "to": "lyon", "epoch": 3,
        "reason": reason,
    });
    manifest(Kind::Move, ns, "to-lyon", spec)
}

#[tokio::test]
async fn a_policy_is_applied_with_its_source_and_a_new_revision_changes_it() {
    let ns = "git-apply";
    let (kube, client) = git_place(ns).await;
    let source = origin(ns, "main", "aaaa");
    assert_eq!(compare(&kube, &policy(ns, "1h"), &source).await.unwrap(), Standing::Absent);
    assert_eq!(apply(&kube, &policy(ns, "1h"), &source).await, Outcome::Done);
    assert_eq!(compare(&kube, &policy(ns, "1h"), &source).await.unwrap(), Standing::Same);
    let before = policies(&client, ns).get("shop").await.unwrap();
    assert_eq!(before.annotations()[REVISION_ANNOTATION], "aaaa");
    assert_eq!(before.labels()["tier"], "customer");

    assert_eq!(apply(&kube, &policy(ns, "1h"), &source).await, Outcome::Done);
    let again = policies(&client, ns).get("shop").await.unwrap();
    assert_eq!(again.resource_version(), before.resource_version(), "the same again writes nothing");

    assert_eq!(apply(&kube, &policy(ns, "2h"), &origin(ns, "main", "bbbb")).await, Outcome::Done);
    let after = policies(&client, ns).get("shop").await.unwrap();
    assert_eq!(after.data["spec"]["failover"]["cooldown"], "2h");
    assert_eq!(after.annotations()[REVISION_ANNOTATION], "bbbb");
}

#[tokio::test]
async fn an_edit_by_hand_is_reported_by_field_and_healed_when_asked() {
    let ns = "git-heal";
    let (kube, client) = git_place(ns).await;
    let source = origin(ns, "main", "aaaa");
    apply(&kube, &policy(ns, "1h"), &source).await;
    let edit = json!({ "spec": { "suspend": true, "failover": { "cooldown": "9h" } } });
    let by = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    policies(&client, ns).patch("shop", &by, &Patch::Merge(edit)).await.unwrap();

    let Standing::Edited { edits, managers } = compare(&kube, &policy(ns, "1h"), &source).await.unwrap()
    else {
        panic!("the edit was not seen");
    };
    let fields: Vec<_> = edits.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(fields, ["/spec/failover/cooldown", "/spec/suspend"]);
    assert_eq!(managers, ["kubectl-edit"]);

    let outcome = apply(&kube, &policy(ns, "1h"), &source).await;
    assert!(
        matches!(&outcome, Outcome::Refused { reason } if reason.contains("kubectl-edit")),
        "{outcome:?}"
    );
    assert_eq!(heal(&kube, &policy(ns, "1h"), &source).await, Outcome::Done);
    assert_eq!(compare(&kube, &policy(ns, "1h"), &source).await.unwrap(), Standing::Same);
    // What was healed by git can be changed by git.
    assert_eq!(apply(&kube, &policy(ns, "3h"), &origin(ns, "main", "bbbb")).await, Outcome::Done);
    let found = policies(&client, ns).get("shop").await.unwrap();
    assert_eq!(found.data["spec"]["failover"]["cooldown"], "3h");
    assert!(found.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(GIT_MANAGER)));
}

#[tokio::test]
async fn a_policy_that_was_deleted_by_hand_is_healed_too() {
    let ns = "git-heal-deleted";
    let (kube, client) = git_place(ns).await;
    assert_eq!(heal(&kube, &policy(ns, "1h"), &origin(ns, "main", "aaaa")).await, Outcome::Done);
    assert!(policies(&client, ns).get_opt("shop").await.unwrap().is_some());
}

#[tokio::test]
async fn an_object_of_another_source_is_left_alone() {
    let ns = "git-two";
    let (kube, _) = git_place(ns).await;
    let (first, second) = (origin(ns, "first", "aaaa"), origin(ns, "second", "bbbb"));
    apply(&kube, &policy(ns, "1h"), &first).await;
    for outcome in
        [apply(&kube, &policy(ns, "2h"), &second).await, heal(&kube, &policy(ns, "2h"), &second).await]
    {
        assert!(
            matches!(&outcome, Outcome::Refused { reason } if reason.contains("git-two/first")),
            "{outcome:?}"
        );
    }
    let standing = compare(&kube, &policy(ns, "2h"), &second).await.unwrap();
    assert_eq!(standing, Standing::OtherSource { source: "git-two/first".to_owned() });
    assert!(owned(&kube, Kind::Policy, &second).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_spec_that_the_api_refuses_names_its_field() {
    let ns = "git-refused";
    let (kube, _) = git_place(ns).await;
    let outcome = apply(&kube, &policy(ns, "soon"), &origin(ns, "main", "aaaa")).await;
    assert!(matches!(&outcome, Outcome::Refused { reason } if reason.contains("cooldown")), "{outcome:?}");
    let failure = compare(&kube, &policy("no-such-namespace", "1h"), &origin(ns, "main", "a")).await;
    assert_eq!(failure.unwrap(), Standing::Absent);
    let outcome = apply(&kube, &policy("no-such-namespace", "1h"), &origin(ns, "main", "a")).await;
    assert!(
        matches!(&outcome, Outcome::Refused { reason } if reason.contains("no-such-namespace")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_move_is_created_once_and_never_changed() {
    let ns = "git-move";
    let (kube, _) = git_place(ns).await;
    let source = origin(ns, "main", "aaaa");
    assert_eq!(create_move(&kube, &switchover(ns, "kernel"), &source).await, Creation::Created);
    assert_eq!(create_move(&kube, &switchover(ns, "kernel"), &source).await, Creation::AlreadyThere);
    assert_eq!(create_move(&kube, &switchover(ns, "another"), &source).await, Creation::DifferentThere);
    let refused = create_move(&kube, &manifest(Kind::Move, ns, "empty", json!({})), &source).await;
    assert!(matches!(refused, Creation::Refused { .. }), "{refused:?}");
}

#[tokio::test]
async fn only_what_the_source_owns_is_listed_and_deleted() {
    let ns = "git-prune";
    let (kube, client) = git_place(ns).await;
    let source = origin(ns, "main", "aaaa");
    apply(&kube, &policy(ns, "1h"), &source).await;
    let mut by_hand = policy(ns, "1h");
    by_hand.key.name = "by-hand".to_owned();
    apply(&kube, &by_hand, &origin(ns, "other", "a")).await;

    let found = owned(&kube, Kind::Policy, &source).await.unwrap();
    assert_eq!(found.iter().map(|o| o.key.name.as_str()).collect::<Vec<_>>(), ["shop"]);
    assert_eq!(found[0].revision, "aaaa");
    let others = owned(&kube, Kind::Policy, &origin(ns, "other", "a")).await.unwrap();
    let outcome = delete(&kube, Kind::Policy, &others[0], &source).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");

    assert_eq!(delete(&kube, Kind::Policy, &found[0], &source).await, Outcome::Done);
    assert_eq!(delete(&kube, Kind::Policy, &found[0], &source).await, Outcome::Done, "gone is gone");
    // An object that has taken the name since is not the one that was meant.
    apply(&kube, &policy(ns, "1h"), &source).await;
    assert_eq!(delete(&kube, Kind::Policy, &found[0], &source).await, Outcome::Done);
    assert!(policies(&client, ns).get_opt("shop").await.unwrap().is_some());
}

#[tokio::test]
async fn a_refusal_keeps_the_fields_apart_from_the_words() {
    let ns = "git-fields";
    let (kube, _) = git_place(ns).await;
    let mut broken = policy(ns, "1h");
    broken.spec["sites"] = json!("paris");
    // The object must be there for `compare` to fill in the defaults.
    apply(&kube, &policy(ns, "1h"), &origin(ns, "main", "a")).await;
    let failure = compare(&kube, &broken, &origin(ns, "main", "a")).await.unwrap_err();
    let Failure::Refused { fields, .. } = &failure else { panic!("{failure:?}") };
    assert!(fields.iter().any(|f| f == "spec.sites"), "{failure:?}");
}

#[tokio::test]
async fn a_status_in_which_a_part_becomes_unknown_is_taken() {
    let ns = "status-unknown";
    let (kube, client) = git_place(ns).await;
    let source = origin(ns, "main", "aaaa");
    assert!(apply(&kube, &policy(ns, "1h"), &source).await.is_done());
    let object = policies(&client, ns).get("shop").await.unwrap();
    let key = StatusKey {
        api_version: "bascule.dev/v1alpha1".into(),
        kind: "FailoverPolicy".into(),
        plural: "failoverpolicies".into(),
        namespace: ns.to_owned(),
        name: "shop".to_owned(),
        uid: object.metadata.uid.clone().unwrap(),
    };
    let known = json!({ "sites": [{ "name": "lyon", "lag": { "bytes": 0 } }] });
    assert_eq!(write(&kube, &key, &known).await, Outcome::Done);
    let unknown = json!({ "sites": [{ "name": "lyon", "lag": {} }] });
    assert_eq!(write(&kube, &key, &unknown).await, Outcome::Done);
    let status = &policies(&client, ns).get("shop").await.unwrap().data["status"];
    assert_eq!(status["sites"], json!([{ "name": "lyon" }]));
}
