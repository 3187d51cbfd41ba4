//! Watches.

use std::collections::BTreeMap;

use bascule_adapters::kube::Kube;
use bascule_adapters::kube::watch::{Seen, Watch, Within, watch, watch_within};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, CustomResource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::apiserver::ApiServer;
use crate::{connect, soon};

/// The operator's idea of the kind: stricter than what the API lets in.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(group = "test.bascule.dev", version = "v1", kind = "Thing", namespaced)]
struct ThingSpec {
    size: u32,
}

/// The API's idea of it: anything goes.
async fn install(client: &Client) {
    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": { "name": "things.test.bascule.dev" },
        "spec": {
            "group": "test.bascule.dev", "scope": "Namespaced",
            "names": { "kind": "Thing", "plural": "things", "singular": "thing" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object",
                "properties": { "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            } } }],
        },
    }))
    .unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &crd).await.unwrap();
    let established = kube::runtime::conditions::is_crd_established();
    soon(kube::runtime::wait::await_condition(api, "things.test.bascule.dev", established)).await.unwrap();
}

async fn make(client: &Client, name: &str, size: serde_json::Value) {
    make_in(client, "default", name, size).await;
}

async fn make_in(client: &Client, namespace: &str, name: &str, size: serde_json::Value) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("test.bascule.dev", "v1", "Thing"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let object = DynamicObject::new(name, &kind).data(json!({ "spec": { "size": size } }));
    api.create(&PostParams::default(), &object).await.unwrap();
}

fn started(kube: &Kube) -> Watch<Thing> {
    let (watch, worker) = watch::<Thing>(kube, &(), 8).unwrap();
    tokio::spawn(worker);
    watch
}

#[tokio::test]
async fn one_object_that_cannot_be_read_stops_nothing_and_is_not_a_deletion() {
    let server = ApiServer::start().await;
    let (kube, client) = (connect(&server, "default").await, server.client().await);
    install(&client).await;
    make(&client, "good", json!(1)).await;
    make(&client, "bad", json!("big")).await;
    let mut watch = started(&kube);
    let Seen::Listed { objects, unreadable, .. } = soon(watch.next()).await.unwrap() else { panic!() };
    assert_eq!(objects.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["good"]);
    assert_eq!(unreadable[0].key.to_string(), "default/bad");
    assert!(unreadable[0].reason.contains("size") || unreadable[0].reason.contains("u32"), "{unreadable:?}");

    make(&client, "worse", json!(-1)).await;
    let Seen::Unreadable(worse) = soon(watch.next()).await.unwrap() else { panic!() };
    assert_eq!(worse.key.name, "worse");
    make(&client, "better", json!(2)).await;
    let Seen::Applied(better) = soon(watch.next()).await.unwrap() else { panic!() };
    assert_eq!((better.name_any().as_str(), better.spec.size), ("better", 2));

    let api: Api<Thing> = Api::namespaced(client, "default");
    let _ = api.delete("worse", &DeleteParams::default()).await;
    let Seen::Deleted(key) = soon(watch.next()).await.unwrap() else { panic!() };
    assert_eq!(key.name, "worse");
    let health = watch.health().now();
    assert!(health.listed && health.trouble.is_none() && health.heard.is_some(), "{health:?}");
}

#[tokio::test]
async fn a_watch_goes_on_after_the_api_server_was_gone() {
    let mut server = ApiServer::start().await;
    let (kube, client) = (connect(&server, "default").await, server.client().await);
    install(&client).await;
    let mut watch = started(&kube);
    let Seen::Listed { objects, .. } = soon(watch.next()).await.unwrap() else { panic!() };
    assert!(objects.is_empty());

    server.stop();
    let health = watch.health();
    soon(async {
        while health.now().trouble.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    server.start_again().await;
    make(&server.client().await, "late", json!(3)).await;
    // It either resumes, or lists everything anew: both show the object, in a moment that the back-off decides.
    let found = tokio::time::timeout(3 * crate::LONG, async {
        loop {
            match watch.next().await.unwrap() {
                Seen::Applied(object) if object.name_any() == "late" => return true,
                Seen::Listed { objects, .. } if objects.iter().any(|o| o.name_any() == "late") => {
                    return true;
                }
                _ => {}
            }
        }
    });
    assert!(found.await.unwrap());
    assert!(health.now().trouble.is_none());
}

#[tokio::test]
async fn a_watch_whose_version_is_gone_lists_anew_and_misses_no_deletion() {
    let mut server = ApiServer::start().await;
    let (kube, client) = (connect(&server, "default").await, server.client().await);
    install(&client).await;
    make(&client, "goes", json!(1)).await;
    make(&client, "stays", json!(2)).await;
    let mut watch = started(&kube);
    let Seen::Listed { objects, .. } = soon(watch.next()).await.unwrap() else { panic!() };
    assert_eq!(objects.len(), 2);

    server.stop();
    server.deleted_behind_its_back("/registry/test.bascule.dev/things/default/goes");
    server.start_again().await;
    let listed = tokio::time::timeout(3 * crate::LONG, async {
        loop {
            match watch.next().await.unwrap() {
                Seen::Listed { objects, .. } => return objects,
                Seen::Deleted(key) => panic!("{key} was told as an event: nothing was gone"),
                _ => {}
            }
        }
    });
    let names: Vec<String> = listed.await.unwrap().iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["stays"]);
    assert!(watch.health().now().trouble.is_none());
}

#[tokio::test]
async fn a_quiet_watch_is_heard_all_the_same_and_its_worker_ends_with_its_consumer() {
    let server = ApiServer::shared().await;
    let kube = connect(server, "default").await;
    let (mut watch, worker) = watch::<NamespaceLike>(&kube, &namespaces(), 8).unwrap();
    let worker = tokio::spawn(worker);
    assert!(matches!(soon(watch.next()).await.unwrap(), Seen::Listed { .. }));
    let health = watch.health();
    drop(watch);
    soon(worker).await.unwrap();
    assert!(health.now().heard.unwrap() < crate::LONG);
}

#[tokio::test]
async fn only_named_namespaces_are_seen_and_what_is_said_of_one_is_said_of_no_other() {
    let mut server = ApiServer::start().await;
    let (kube, client) = (connect(&server, "default").await, server.client().await);
    install(&client).await;
    for namespace in ["one", "two", "other"] {
        server.namespace(namespace).await;
        make_in(&client, namespace, "early", json!(1)).await;
    }
    let name = |text: &str| bascule_core::name::Namespace::try_from(text).unwrap();
    let within = Within::new(["two", "one"].map(name));
    let (mut watch, worker) = watch_within::<Thing>(&kube, &within, 8).unwrap();
    tokio::spawn(worker);
    let mut listed = BTreeMap::new();
    while !watch.everything_listed() {
        let Seen::Listed { of, objects, .. } = soon(watch.next()).await.unwrap() else { panic!() };
        let keys: Vec<String> =
            objects.iter().map(|o| format!("{}/{}", o.namespace().unwrap(), o.name_any())).collect();
        assert!(listed.insert(of.unwrap(), keys).is_none(), "listed twice: {listed:?}");
    }
    let expected = [("one", "one/early"), ("two", "two/early")];
    let expected = expected.map(|(of, key)| (of.to_owned(), vec![key.to_owned()]));
    assert_eq!(listed, BTreeMap::from(expected));
    assert!(watch.health().now().heard.is_some());

    make_in(&client, "other", "late", json!(2)).await;
    make_in(&client, "two", "late", json!(2)).await;
    let Seen::Applied(late) = soon(watch.next()).await.unwrap() else { panic!() };
    assert_eq!((late.namespace().unwrap().as_str(), late.name_any().as_str()), ("two", "late"));
    let api: Api<Thing> = Api::namespaced(client, "one");
    api.delete("early", &DeleteParams::default()).await.unwrap();
    let Seen::Deleted(key) = soon(watch.next()).await.unwrap() else { panic!() };
    assert_eq!(key.to_string(), "one/early");

    // Whatever fails in one of them is told for the whole.
    server.stop();
    let health = watch.health();
    soon(async {
        while health.now().trouble.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

type NamespaceLike = DynamicObject;

fn namespaces() -> ApiResource {
    ApiResource::erase::<Namespace>(&())
}
