//! What the operator keeps in its own cluster: marks, status, Events.

use std::time::Duration;

use bascule_adapters::kube::event::{Telling, Weight, teller};
use bascule_adapters::kube::marks::{MARKS, Raising, raise, read};
use bascule_adapters::kube::status::{StatusKey, desk, write};
use bascule_core::name::PolicyKey;
use bascule_core::observation::{Kept, Marks, RoleSeen};
use bascule_core::outcome::Outcome;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::workloads::{applied_by, manifest};
use crate::{place, soon};

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn mark(generation: u64, epoch: u64, serial: u64) -> Kept {
    Marks { generation, epoch, serial }.into()
}

#[tokio::test]
async fn a_mark_rises_and_never_falls() {
    let ns = "marks";
    let (kube, client, _) = place(ns).await;
    let shop = PolicyKey::new("shop", "web.v2").unwrap();
    assert!(read(&kube).await.unwrap().marks.is_empty());
    assert_eq!(raise(&kube, &shop, &mark(0, 3, 17)).await, Outcome::Done);
    assert_eq!(raise(&kube, &shop, &mark(0, 2, 99)).await, Outcome::Done);
    assert_eq!(raise(&kube, &shop, &mark(1, 1, 1)).await, Outcome::Done);
    assert_eq!(read(&kube).await.unwrap().marks[&shop], mark(1, 3, 99));

    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    let before = api.get(MARKS).await.unwrap().resource_version();
    assert_eq!(raise(&kube, &shop, &mark(0, 3, 99)).await, Outcome::Done);
    assert_eq!(api.get(MARKS).await.unwrap().resource_version(), before, "nothing is written for nothing");
}

fn role(serial: u64, active: &str) -> RoleSeen {
    serde_json::from_value(json!({
        "at": { "generation": 0, "epoch": 3, "serial": serial }, "active": active,
        "promise": { "fences": "never", "lease": 2000, "fenceClass": "Guard", "profile": "metro" },
    }))
    .unwrap()
}

#[tokio::test]
async fn who_had_the_role_is_kept_beside_the_mark_and_no_older_word_replaces_it() {
    let (kube, client, _) = place("marks-role").await;
    let shop = PolicyKey::new("shop", "shop").unwrap();
    // As a version without roles has written it.
    let api: Api<ConfigMap> = Api::namespaced(client, "marks-role");
    let old = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": MARKS }, "data": {
        "shop.shop": json!({ "generation": 0, "epoch": 3, "serial": 17 }).to_string(),
    } });
    api.patch(MARKS, &PatchParams::apply("t"), &Patch::Apply(old)).await.unwrap();
    assert_eq!(read(&kube).await.unwrap().marks[&shop], mark(0, 3, 17));
    for (serial, active) in [(18, "lyon"), (16, "paris")] {
        let kept = Kept { role: Some(role(serial, active).into()), ..mark(0, 3, serial) };
        assert_eq!(raise(&kube, &shop, &kept).await, Outcome::Done);
    }
    let kept = Kept { role: Some(role(18, "lyon").into()), ..mark(0, 3, 18) };
    assert_eq!(read(&kube).await.unwrap().marks[&shop], kept);
}

#[tokio::test]
async fn marks_that_are_raised_at_the_same_time_are_all_kept() {
    let (kube, _, _) = place("marks-together").await;
    let policies: Vec<_> = (0..4).map(|n| PolicyKey::new("shop", format!("p{n}")).unwrap()).collect();
    let first = mark(0, 1, 1);
    let raised = policies.iter().map(|policy| raise(&kube, policy, &first));
    let outcomes = futures::future::join_all(raised).await;
    let marks = read(&kube).await.unwrap().marks;
    for (policy, outcome) in policies.iter().zip(outcomes) {
        // One that lost every race says so; none is lost that was reported done.
        assert_eq!(outcome.is_done(), marks.contains_key(policy), "{outcome:?}");
    }
}

#[tokio::test]
async fn hundreds_of_marks_that_are_raised_at_once_take_a_few_writes() {
    let ns = "marks-hundreds";
    let (kube, client, _) = place(ns).await;
    let raising = Raising::new(kube.clone());
    let policies: Vec<_> = (0..300).map(|n| PolicyKey::new("shop", format!("p{n}")).unwrap()).collect();
    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    let (first, second) = (mark(0, 1, 1), mark(0, 1, 2));
    let raised = policies.iter().map(|policy| raising.raise(policy, &first));
    let outcomes = futures::future::join_all(raised).await;
    assert!(outcomes.iter().all(Outcome::is_done), "{outcomes:?}");
    assert_eq!(read(&kube).await.unwrap().marks.len(), policies.len());
    let from = api.get(MARKS).await.unwrap().resource_version().unwrap();
    let changes = kube::api::WatchParams::default().fields(&format!("metadata.name={MARKS}")).timeout(1);
    let again = policies.iter().map(|policy| raising.raise(policy, &second));
    assert!(futures::future::join_all(again).await.iter().all(Outcome::is_done));
    let writes = api.watch(&changes, &from).await.unwrap().count().await;
    assert!((1..=3).contains(&writes), "{writes} writes for {} marks", policies.len());
    assert!(read(&kube).await.unwrap().marks.values().all(|m| *m == mark(0, 1, 2)));
}

#[tokio::test]
async fn one_mark_that_cannot_be_read_keeps_no_other_from_being_raised_with_it() {
    let ns = "marks-one-odd";
    let (kube, client, _) = place(ns).await;
    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    let odd = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": MARKS }, "data": { "shop.odd": "lots" } });
    api.patch(MARKS, &PatchParams::apply("t"), &Patch::Apply(odd)).await.unwrap();
    let raising = Raising::new(kube.clone());
    let (good, odd) = (PolicyKey::new("shop", "web").unwrap(), PolicyKey::new("shop", "odd").unwrap());
    let (good_told, odd_told) =
        futures::future::join(raising.raise(&good, &mark(0, 1, 1)), raising.raise(&odd, &mark(0, 9, 9)))
            .await;
    assert_eq!(good_told, Outcome::Done);
    assert!(
        matches!(&odd_told, Outcome::Refused { reason } if reason.contains("data.shop.odd")),
        "{odd_told:?}"
    );
    assert_eq!(api.get(MARKS).await.unwrap().data.unwrap()["shop.odd"], "lots");
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_is_reported_and_never_overwritten() {
    let ns = "marks-odd";
    let (kube, client, _) = place(ns).await;
    let api: Api<ConfigMap> = Api::namespaced(client, ns);
    let odd = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": MARKS }, "data": {
        "shop.web": "lots", "nodot": "{}",
    } });
    api.patch(MARKS, &PatchParams::apply("t"), &Patch::Apply(odd)).await.unwrap();
    let marks = read(&kube).await.unwrap();
    assert_eq!(marks.unreadable.keys().collect::<Vec<_>>(), ["nodot", "shop.web"]);
    let outcome = raise(&kube, &PolicyKey::new("shop", "web").unwrap(), &mark(0, 9, 9)).await;
    assert!(
        matches!(&outcome, Outcome::Refused { reason } if reason.contains("data.shop.web")),
        "{outcome:?}"
    );
    assert_eq!(api.get(MARKS).await.unwrap().data.unwrap()["shop.web"], "lots");
}

#[tokio::test]
async fn status_is_written_whole_and_only_to_the_object_that_was_meant() {
    let ns = "status-write";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "t", ns, &manifest("Deployment", ns, "web", None)).await;
    let api: Api<Deployment> = Api::namespaced(client, ns);
    let key = StatusKey::of(&api.get("web").await.unwrap());
    assert_eq!(write(&kube, &key, &json!({ "replicas": 3, "readyReplicas": 2 })).await, Outcome::Done);
    assert_eq!(write(&kube, &key, &json!({ "replicas": 3 })).await, Outcome::Done);
    let status = api.get("web").await.unwrap().status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (Some(3), None));
    let other = StatusKey { uid: "00000000-0000-0000-0000-000000000000".to_owned(), ..key };
    assert!(matches!(write(&kube, &other, &json!({ "replicas": 9 })).await, Outcome::Refused { .. }));
}

#[tokio::test]
async fn status_is_written_only_when_it_changed_and_the_newest_wins() {
    let ns = "status-desk";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "t", ns, &manifest("Deployment", ns, "web", None)).await;
    let api: Api<Deployment> = Api::namespaced(client, ns);
    let object = api.get("web").await.unwrap();
    let key = StatusKey::of(&object);
    let changes = api.watch(&WatchParams::default(), &object.resource_version().unwrap()).await.unwrap();
    let mut changes = Box::pin(changes.filter_map(async |event| match event.unwrap() {
        WatchEvent::Modified(object) => object.status.and_then(|s| s.replicas),
        _ => None,
    }));
    let (desk, worker) = desk(&kube, 2, Duration::from_millis(500));
    let worker = tokio::spawn(worker);
    let put = |n: i32| desk.put(&key, json!({ "replicas": n })).unwrap();
    put(1);
    assert_eq!(soon(changes.next()).await, Some(1));
    // The same again is dropped; what comes within the pause is coalesced into the newest.
    put(1);
    for n in 2..=50 {
        put(n);
    }
    assert_eq!(soon(changes.next()).await, Some(50));
    put(50);
    put(51);
    assert_eq!(soon(changes.next()).await, Some(51));
    assert!(desk.troubles().is_empty());

    // What the API refuses is told, and not tried again until something else is put.
    desk.put(&key, json!({ "replicas": "many" })).unwrap();
    soon(until(|| !desk.troubles().is_empty())).await;
    assert_eq!(desk.unwritten(), [key.clone()].into());
    put(52);
    assert_eq!(soon(changes.next()).await, Some(52));
    // The watch may show the write before the writer has its answer.
    soon(until(|| desk.troubles().is_empty())).await;
    assert!(desk.unwritten().is_empty());
    let key = |n: u8| StatusKey { name: n.to_string(), ..key.clone() };
    desk.put(&key(1), json!({})).unwrap();
    desk.put(&key(2), json!({})).expect_err("more than it holds");
    api.delete("web", &DeleteParams::default()).await.unwrap();
    worker.abort();
}

#[tokio::test]
async fn equal_events_are_counted_in_one_object_and_a_full_queue_never_waits() {
    let ns = "events";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "t", ns, &manifest("Deployment", ns, "web", None)).await;
    let object = Api::<Deployment>::namespaced(client.clone(), ns).get("web").await.unwrap();
    let (teller, worker) = teller(&kube, "paris", 2);
    let telling = |note: &str| Telling {
        about: ObjectReference { ..object.object_ref(&()) },
        weight: Weight::Warning,
        reason: "Contended".to_owned(),
        action: "Rehearse".to_owned(),
        note: note.to_owned(),
    };
    teller.tell(telling(&"ä".repeat(2000)));
    teller.tell(telling("again"));
    teller.tell(telling("one too many"));
    assert_eq!(teller.lost(), 1);
    let still = teller.clone();
    drop(teller);
    let worker = tokio::spawn(worker);
    let api: Api<Event> = Api::namespaced(client, ns);
    soon(async {
        loop {
            let found = api.list(&ListParams::default()).await.unwrap().items;
            assert!(found.len() <= 1);
            if let [event] = &found[..]
                && event.series.as_ref().is_some_and(|s| s.count == 2)
            {
                assert_eq!(event.reporting_controller.as_deref(), Some("bascule"));
                assert_eq!(event.regarding.as_ref().unwrap().name.as_deref(), Some("web"));
                assert!(event.note.as_ref().unwrap().len() <= 1024);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(still);
    soon(worker).await.unwrap();
}
