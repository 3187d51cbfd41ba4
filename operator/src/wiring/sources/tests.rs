//! Revisions on a real API server.

use std::time::Duration;

use bascule_adapters::git::Reference;
use bascule_adapters::kube::apply::{Kind, Manifest, Origin};
use bascule_adapters::kube::client::{Credentials, Kube};
use bascule_adapters::kube::watch::Key;
use bascule_crds::{FailoverPolicy, Move, PolicySource};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::apiserver::ApiServer;
use super::revision::{Item, Taken, Taker, Trouble};
use super::{Accepted, Place, unless, was_applied};

/// A namespace of its own on the shared server, with the definitions installed.
async fn place(ns: &str) -> (Kube, Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    // Several tests ask; the first one installs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let server = ApiServer::shared().await;
    let client = server.client().await;
    let install = async || {
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        for definition in bascule_crds::definitions().unwrap() {
            let crd: CustomResourceDefinition = serde_json::from_value(definition.json.clone()).unwrap();
            let name = crd.name_any();
            api.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&crd)).await.unwrap();
            let established = kube::runtime::conditions::is_crd_established();
            kube::runtime::wait::await_condition(api.clone(), &name, established).await.unwrap();
        }
        // A kind that is established may be without its storage for a moment yet, and nothing tells when it has it.
        while Api::<FailoverPolicy>::all(client.clone()).list(&ListParams::default()).await.is_err()
            || Api::<Move>::all(client.clone()).list(&ListParams::default()).await.is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    INSTALLED.get_or_init(install).await;
    server.namespace(ns).await;
    let credentials = Credentials::Kubeconfig { path: server.kubeconfig(), context: None };
    (Kube::connect(&credentials, Some(ns)).await.unwrap(), client)
}

fn item(kind: Kind, ns: &str, name: &str, spec: Value) -> Item {
    let manifest = Manifest {
        kind,
        key: Key { namespace: ns.to_owned(), name: name.to_owned() },
        labels: [("tier".to_owned(), "customer".to_owned())].into(),
        annotations: [].into(),
        spec,
    };
    Item { manifest, file: format!("{name}.yaml"), line: 1 }
}

fn policy(ns: &str, name: &str, cooldown: &str) -> Item {
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
    item(Kind::Policy, ns, name, spec)
}

fn to_lyon(ns: &str, name: &str, reason: &str) -> Item {
    let spec = json!({
        "policyRef": { "name": "shop" }, "type": "Switchover", "from": "paris", "to": "lyon", "epoch": 3,
        "reason": reason,
    });
    item(Kind::Move, ns, name, spec)
}

async fn take(kube: &Kube, revision: &str, items: &[Item]) -> Result<Taken, Trouble> {
    taker(kube, revision).take(items, |_| false).await
}

fn taker<'a>(kube: &'a Kube, revision: &str) -> Taker<'a> {
    let origin = Origin {
        namespace: kube.own_namespace().to_owned(),
        name: "main".to_owned(),
        revision: revision.to_owned(),
    };
    Taker { kube, origin }
}

async fn cooldown(client: &Client, ns: &str, name: &str) -> Option<String> {
    let api: Api<FailoverPolicy> = Api::namespaced(client.clone(), ns);
    let object = api.get_opt(name).await.unwrap()?;
    serde_json::to_value(&object.spec).unwrap()["failover"]["cooldown"].as_str().map(str::to_owned)
}

async fn moves(client: &Client, ns: &str) -> Vec<String> {
    let api: Api<Move> = Api::namespaced(client.clone(), ns);
    api.list(&ListParams::default()).await.unwrap().into_iter().map(|m| m.name_any()).collect()
}

async fn edit(client: &Client, ns: &str, name: &str, what: Value) {
    let by = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let api: Api<FailoverPolicy> = Api::namespaced(client.clone(), ns);
    api.patch(name, &by, &Patch::Merge(what)).await.unwrap();
}

#[tokio::test]
async fn an_edit_by_hand_is_put_back_by_the_first_round_after_a_restart_and_by_a_new_revision() {
    let ns = "source-edit";
    let (kube, client) = place(ns).await;
    let shop = |cooldown| [policy(ns, "shop", cooldown)];
    assert_eq!(take(&kube, "aaaa", &shop("1h")).await, Ok(Taken::default()));
    for (revision, said) in [("aaaa", "1h"), ("bbbb", "2h")] {
        let by_hand = json!({ "metadata": { "labels": { "tier": "none" } }, "spec": { "failover": { "cooldown": "9h" } } });
        edit(&client, ns, "shop", by_hand).await;
        let taken = take(&kube, revision, &shop(said)).await.unwrap();
        assert_eq!(cooldown(&client, ns, "shop").await.as_deref(), Some(said));
        let [put_back] = &taken.put_back[..] else { panic!("{taken:?}") };
        for named in ["/spec/failover/cooldown", "/metadata/labels/tier", "kubectl-edit"] {
            assert!(put_back.what.contains(named), "{put_back:?}");
        }
    }
    // What only git changes is nobody's edit.
    assert_eq!(take(&kube, "cccc", &shop("3h")).await, Ok(Taken::default()));
    assert_eq!(cooldown(&client, ns, "shop").await.as_deref(), Some("3h"));
}

#[tokio::test]
async fn a_mark_of_the_revision_that_was_edited_by_hand_blocks_nothing() {
    let ns = "source-mark";
    let (kube, client) = place(ns).await;
    let shop = [policy(ns, "shop", "1h")];
    take(&kube, "aaaa", &shop).await.unwrap();
    let api: Api<FailoverPolicy> = Api::namespaced(client.clone(), ns);
    for label in [json!(null), json!("shop.other")] {
        let mark = json!({ "metadata": {
            "annotations": { "bascule.dev/revision": "mine" }, "labels": { "bascule.dev/source": label },
        } });
        edit(&client, ns, "shop", mark).await;
        take(&kube, "bbbb", &shop).await.unwrap();
        let found = api.get("shop").await.unwrap();
        assert_eq!(found.annotations()["bascule.dev/revision"], "bbbb");
        assert_eq!(found.labels()["bascule.dev/source"], "source-mark.main");
    }
}

#[tokio::test]
async fn a_revision_of_which_one_object_is_refused_changes_nothing() {
    let ns = "source-whole";
    let (kube, client) = place(ns).await;
    take(&kube, "aaaa", &[policy(ns, "shop", "1h"), to_lyon(ns, "old", "kernel")]).await.unwrap();
    let wrong = policy(ns, "wrong", "soon");
    let revision = [policy(ns, "shop", "2h"), wrong, to_lyon(ns, "new", "kernel")];
    let Err(Trouble::Refused { why, errors }) = take(&kube, "bbbb", &revision).await else {
        panic!("it was taken");
    };
    assert!(why.contains("wrong.yaml") && why.contains("cooldown"), "{why}");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(cooldown(&client, ns, "shop").await.as_deref(), Some("1h"));
    assert_eq!(moves(&client, ns).await, ["old"]);
    // The same without the policies: nothing is deleted.
    let empty = take(&kube, "cccc", &[]).await;
    assert!(matches!(&empty, Err(Trouble::Refused { why, .. }) if why.contains("no policy")), "{empty:?}");
    assert_eq!(moves(&client, ns).await, ["old"]);
}

#[tokio::test]
async fn a_move_whose_name_is_taken_is_reported_and_keeps_no_other_from_being_cancelled() {
    let ns = "source-moves";
    let (kube, client) = place(ns).await;
    let shop = || policy(ns, "shop", "1h");
    take(&kube, "aaaa", &[shop(), to_lyon(ns, "kept", "a"), to_lyon(ns, "gone", "a")]).await.unwrap();
    let taken = take(&kube, "bbbb", &[shop(), to_lyon(ns, "kept", "another")]).await.unwrap();
    let [conflict] = &taken.conflicts[..] else { panic!("{taken:?}") };
    assert_eq!(conflict.file, "kept.yaml");
    assert!(conflict.reason.contains("another name"), "{conflict:?}");
    assert_eq!(moves(&client, ns).await, ["kept"]);
}

#[tokio::test]
async fn a_move_that_an_earlier_revision_created_is_not_created_again() {
    let ns = "source-again";
    let (kube, client) = place(ns).await;
    let first = [policy(ns, "shop", "1h"), to_lyon(ns, "once", "a")];
    take(&kube, "aaaa", &first).await.unwrap();
    let api: Api<Move> = Api::namespaced(client.clone(), ns);
    api.delete("once", &DeleteParams::default()).await.unwrap();
    let second = [policy(ns, "shop", "1h"), to_lyon(ns, "once", "a"), to_lyon(ns, "next", "b")];
    let handled = |manifest: &Manifest| first.iter().any(|item| item.manifest == *manifest);
    taker(&kube, "bbbb").take(&second, handled).await.unwrap();
    assert_eq!(moves(&client, ns).await, ["next"]);
}

#[tokio::test]
async fn a_policy_that_was_made_by_hand_is_adopted_when_it_says_the_same_and_never_overwritten() {
    let ns = "source-adopt";
    let (kube, client) = place(ns).await;
    let by_hand = policy(ns, "shop", "1h").manifest.spec;
    let object = json!({
        "apiVersion": "bascule.dev/v1alpha1", "kind": "FailoverPolicy", "metadata": { "name": "shop" },
        "spec": by_hand,
    });
    let api: Api<FailoverPolicy> = Api::namespaced(client.clone(), ns);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let refused = take(&kube, "aaaa", &[policy(ns, "shop", "2h")]).await;
    let Err(Trouble::Refused { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("made by hand") && why.contains("/spec/failover/cooldown"), "{why}");
    assert_eq!(cooldown(&client, ns, "shop").await.as_deref(), Some("1h"));
    let mut same = policy(ns, "shop", "1h");
    same.manifest.labels.clear();
    take(&kube, "bbbb", &[same]).await.unwrap();
    assert_eq!(api.get("shop").await.unwrap().annotations()["bascule.dev/revision"], "bbbb");
}

#[tokio::test]
async fn while_git_is_unchanged_edits_and_deletions_are_healed_and_one_trouble_holds_up_no_other() {
    let ns = "source-heal";
    let (kube, client) = place(ns).await;
    let items = [policy(ns, "a", "1h"), policy(ns, "b", "1h"), policy(ns, "c", "1h"), to_lyon(ns, "m", "x")];
    take(&kube, "aaaa", &items).await.unwrap();
    let stolen = json!({ "metadata": {
        "labels": { "bascule.dev/source": "shop.other" }, "annotations": { "bascule.dev/source": "shop/other" },
    } });
    edit(&client, ns, "a", stolen).await;
    edit(&client, ns, "b", json!({ "spec": { "suspend": true } })).await;
    let policies: Api<FailoverPolicy> = Api::namespaced(client.clone(), ns);
    policies.delete("c", &DeleteParams::default()).await.unwrap();
    let api: Api<Move> = Api::namespaced(client.clone(), ns);
    api.delete("m", &DeleteParams::default()).await.unwrap();

    let (taken, trouble) = taker(&kube, "aaaa").heal(&items).await;
    let names: Vec<&str> = taken.put_back.iter().map(|p| p.policy.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    assert!(taken.put_back[1].what.contains("deleted by hand"), "{taken:?}");
    assert!(
        matches!(&trouble, Some(Trouble::Refused { why, .. }) if why.contains("shop/other")),
        "{trouble:?}"
    );
    assert!(!policies.get("b").await.unwrap().spec.suspend);
    assert_eq!(cooldown(&client, ns, "c").await.as_deref(), Some("1h"));
    assert_eq!(moves(&client, ns).await, Vec::<String>::new(), "a Move is never healed");
}

#[test]
fn a_changed_url_ref_or_path_is_read_anew_although_the_commit_is_the_same() {
    let place = Place {
        url: "https://git.example.org/ops.git".to_owned(),
        reference: Reference::Branch("main".to_owned()),
        path: "shop".to_owned(),
    };
    let accepted = Accepted {
        commit: "aaaa".to_owned(),
        place: place.clone(),
        items: Vec::new(),
        conflicts: Vec::new(),
    };
    assert_eq!(unless(Some(&accepted), &place).as_deref(), Some("aaaa"));
    assert_eq!(unless(None, &place), None);
    for changed in [
        Place { url: "https://mirror.example.org/ops.git".to_owned(), ..place.clone() },
        Place { reference: Reference::Tag("main".to_owned()), ..place.clone() },
        Place { path: "blog".to_owned(), ..place.clone() },
    ] {
        assert_eq!(unless(Some(&accepted), &changed), None, "{changed:?}");
    }
}

#[test]
fn after_a_restart_a_revision_counts_as_applied_only_for_the_spec_that_it_was_applied_for() {
    let object = |generation: i64, reason: &str| -> PolicySource {
        let condition = json!({
            "type": "Ready", "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-11-01T00:00:00Z",
        });
        let object = json!({
            "apiVersion": "bascule.dev/v1alpha1", "kind": "PolicySource",
            "metadata": { "namespace": "shop", "name": "main", "generation": generation },
            "spec": { "url": "https://git.example.org/ops.git" },
            "status": { "observedGeneration": 2, "lastAcceptedRevision": "aaaa", "conditions": [condition] },
        });
        serde_json::from_value(object).unwrap()
    };
    assert!(was_applied(&object(2, "Applied"), "aaaa"));
    assert!(!was_applied(&object(2, "Applied"), "bbbb"));
    assert!(!was_applied(&object(3, "Applied"), "aaaa"), "another path may have other Moves");
    assert!(!was_applied(&object(2, "Suspended"), "aaaa"));
}
