//! The rights of the operator's service account, on a real API server with RBAC: each call is made with exactly the
//! rights that are listed, and again without the one that it needs.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use bascule_adapters::kube::apply::{
    Kind, Manifest, Origin, Owned, apply, compare, create_move, delete, owned,
};
use bascule_adapters::kube::event::{Telling, Weight, teller};
use bascule_adapters::kube::flag::{self, Flag, Position};
use bascule_adapters::kube::pods::{self, NodeState};
use bascule_adapters::kube::rights::{Names, RIGHTS, Scope};
use bascule_adapters::kube::status::{StatusKey, write};
use bascule_adapters::kube::watch::{Key, Seen, Within, watch_within};
use bascule_adapters::kube::workload::{self, Autoscaler, WorkloadRef};
use bascule_adapters::kube::{Credentials, Kube, cluster, heartbeat, marks, secret};
use bascule_core::heartbeat::{Heartbeat, Unshown};
use bascule_core::name::{Namespace, PolicyKey};
use bascule_core::observation::Marks;
use bascule_core::outcome::Outcome;
use bascule_core::policy::{FlagStore, ReadOnlyFlag, WorkloadKind};
use bascule_crds::{FailoverPolicy, Move, PolicySource};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, PLAIN_USER};
use crate::routes::{Shop, gateway_api};
use crate::soon;

/// The operator's own namespace, and the application's.
const OWN: &str = "own";
const SHOP: &str = "shop";

/// Every right by its index in the list, with one of its verbs.
type Verb = (usize, &'static str);
type Call<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;
type Use = for<'a> fn(&'a Stand) -> Call<'a>;
/// Scope, group, resource and verb of a right.
type Needed = (Scope, &'static str, &'static str, &'static str);

struct Stand {
    /// Where Bascule's own kinds may be used: in this namespace alone, or everywhere.
    kinds: Option<&'static str>,
    server: ApiServer,
    /// With all rights, for setting up.
    admin: Client,
    /// With the rights that are listed.
    kube: Kube,
}

/// `calls![verb of group/resource in scope: |stand| what is done]`: the one call that needs it.
macro_rules! calls {
    ($($scope:ident $group:literal $resource:literal $verb:literal => $call:expr;)+) => {
        vec![$(((Scope::$scope, $group, $resource, $verb), {
            let call: Use = |stand| Box::pin($call(stand));
            call
        })),+]
    };
}

/// Every right that is listed, with a call that needs it.
fn uses() -> Vec<(Needed, Use)> {
    calls![
        Kinds "bascule.dev" "failoverpolicies" "get" => policy_compared;
        Kinds "bascule.dev" "failoverpolicies" "list" => policies_owned;
        Kinds "bascule.dev" "failoverpolicies" "watch" => policies_watched;
        Kinds "bascule.dev" "failoverpolicies" "create" => policy_compared;
        Kinds "bascule.dev" "failoverpolicies" "patch" => policy_applied;
        Kinds "bascule.dev" "failoverpolicies" "delete" => policy_deleted;
        Kinds "bascule.dev" "failoverpolicies/status" "patch" => policy_status;
        Kinds "bascule.dev" "moves" "get" => move_created;
        Kinds "bascule.dev" "moves" "list" => moves_owned;
        Kinds "bascule.dev" "moves" "watch" => moves_watched;
        Kinds "bascule.dev" "moves" "create" => move_created;
        Kinds "bascule.dev" "moves" "delete" => move_deleted;
        Kinds "bascule.dev" "moves/status" "patch" => move_status;
        Kinds "bascule.dev" "policysources" "get" => source_looked_at;
        Kinds "bascule.dev" "policysources" "list" => sources_watched;
        Kinds "bascule.dev" "policysources" "watch" => sources_watched;
        Kinds "bascule.dev" "policysources/status" "patch" => source_status;
        Cluster "" "namespaces" "get" => cluster_named;
        Cluster "" "nodes" "get" => node_looked_at;
        Own "" "configmaps" "get" => marks_read;
        Own "" "configmaps" "patch" => mark_raised;
        Own "" "configmaps" "create" => first_mark_raised;
        Own "coordination.k8s.io" "leases" "patch" => heart_beaten;
        Own "coordination.k8s.io" "leases" "create" => first_heart_beaten;
        Own "" "services" "get" => writes_refused;
        Own "gateway.networking.k8s.io" "referencegrants" "list" => writes_refused;
        Applications "" "secrets" "get" => secret_read;
        Applications "" "secrets" "create" => secret_flag_created;
        Applications "" "secrets" "patch" => secret_flag_created;
        Applications "" "configmaps" "get" => flag_created;
        Applications "" "configmaps" "create" => flag_created;
        Applications "" "configmaps" "patch" => flag_created;
        Applications "" "pods" "get" => node_looked_at;
        Applications "" "pods" "list" => pods_touched;
        Applications "" "pods" "patch" => pods_touched;
        Applications "apps" "deployments" "get" => deployment_looked_at;
        Applications "apps" "deployments" "patch" => deployment_scaled;
        Applications "apps" "statefulsets" "get" => stateful_set_looked_at;
        Applications "apps" "statefulsets" "patch" => stateful_set_scaled;
        Applications "autoscaling" "horizontalpodautoscalers" "list" => deployment_looked_at;
        Applications "gateway.networking.k8s.io" "httproutes" "get" => route_pointed;
        Applications "gateway.networking.k8s.io" "httproutes" "patch" => route_pointed;
        Applications "gateway.networking.k8s.io" "httproutes" "list" => route_watched;
        Applications "gateway.networking.k8s.io" "httproutes" "watch" => route_watched;
        Applications "gateway.networking.k8s.io" "gateways" "get" => gateway_looked_at;
        Applications "events.k8s.io" "events" "create" => told_twice;
        Applications "events.k8s.io" "events" "patch" => told_twice;
    ]
}

#[tokio::test]
async fn every_listed_right_is_enough_and_without_any_one_of_them_the_call_that_needs_it_is_refused() {
    let stand = stand(None).await;
    let uses = uses();
    let used: BTreeSet<_> = uses.iter().map(|(what, _)| *what).collect();
    let listed: BTreeSet<_> = RIGHTS
        .iter()
        .flat_map(|r| r.verbs.iter().map(|(verb, _)| (r.scope, r.group, r.resource, *verb)))
        .collect();
    assert_eq!(used, listed, "each right that is listed has a call here that needs it, and no other");

    for ((scope, group, resource, verb), call) in uses {
        let index = RIGHTS
            .iter()
            .position(|r| {
                (r.scope, r.group, r.resource) == (scope, group, resource)
                    && r.verbs.iter().any(|(v, _)| *v == verb)
            })
            .unwrap();
        let what = format!("{verb} {group}/{resource} in {scope:?}");
        if let Err(why) = soon(call(&stand)).await {
            panic!("{what}, with every right that is listed: {why}");
        }
        stand.grant(Some((index, verb))).await;
        stand.until_authorized(index, verb, false).await;
        match soon(call(&stand)).await {
            Ok(()) => panic!("{what}: nothing was missed without it; is it needed?"),
            Err(why) => assert!(why.contains("forbidden") || why.contains("Forbidden"), "{what}: {why}"),
        }
        stand.grant(None).await;
        stand.until_authorized(index, verb, true).await;
    }
}

#[tokio::test]
async fn an_operator_of_named_namespaces_needs_no_right_in_any_other() {
    let stand = stand(Some(SHOP)).await;
    for ((scope, group, resource, verb), call) in uses() {
        if let Err(why) = soon(call(&stand)).await {
            panic!("{verb} {group}/{resource} in {scope:?}, with rights in {SHOP} alone: {why}");
        }
    }
    let all = Within::default();
    let (kind, plural) = ("FailoverPolicy", "failoverpolicies");
    let refused = soon(watched_within::<FailoverPolicy>(&stand, &all, kind, plural, "shop")).await;
    assert!(refused.unwrap_err().contains("forbidden"));
    // One that cannot be listed holds up none of the others, and what is in it is not taken for nothing.
    let both = Within::new([OWN, SHOP].map(|name| Namespace::try_from(name).unwrap()));
    let (mut seen, worker) = watch_within::<FailoverPolicy>(&stand.kube, &both, 16).unwrap();
    let worker = tokio::spawn(worker);
    let Some(Seen::Listed { of, .. }) = soon(seen.next()).await else { panic!() };
    assert_eq!(of.as_deref(), Some(SHOP));
    soon(async {
        while seen.health().now().trouble.is_none_or(|trouble| !trouble.contains("forbidden")) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!seen.everything_listed() && !seen.health().now().listed);
    worker.abort();
    let mut elsewhere = policy("shop");
    elsewhere.key.namespace = OWN.to_owned();
    let refused = compare(&stand.kube, &elsewhere, &origin("aaaa")).await.unwrap_err().to_string();
    assert!(refused.contains("forbidden"), "{refused}");
}

async fn stand(kinds: Option<&'static str>) -> Stand {
    let server = ApiServer::start().await;
    let admin = server.client().await;
    for namespace in [OWN, SHOP, "kube-system"] {
        // The API server makes some by itself, sooner or later.
        let api = Api::<DynamicObject>::all_with(admin.clone(), &resource("", "Namespace", "namespaces"));
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        api.patch(namespace, &PatchParams::apply("test"), &Patch::Apply(&object)).await.unwrap();
    }
    for definition in bascule_crds::definitions().unwrap() {
        let name = definition.json["metadata"]["name"].as_str().unwrap().to_owned();
        let api: Api<
            k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
        > = Api::all(admin.clone());
        api.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&definition.json)).await.unwrap();
        let established = kube::runtime::conditions::is_crd_established();
        soon(kube::runtime::wait::await_condition(api, &name, established)).await.unwrap();
    }
    gateway_api(&server).await;
    let path = server.plain_kubeconfig(server.address().port());
    let kube = Kube::connect(&Credentials::Kubeconfig { path, context: None }, Some(OWN)).await.unwrap();
    let stand = Stand { kinds, server, admin, kube };
    stand.objects().await;
    stand.grant(None).await;
    for (index, right) in RIGHTS.iter().enumerate() {
        for (verb, _) in right.verbs {
            stand.until_authorized(index, verb, true).await;
        }
    }
    stand
}

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    let version = if group == "bascule.dev" { "v1alpha1" } else { "v1" };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

impl Stand {
    /// Gives the operator's user all rights, but for one verb of one of them.
    async fn grant(&self, without: Option<Verb>) {
        for (scope, name) in [
            (Scope::Cluster, "cluster"),
            (Scope::Kinds, "kinds"),
            (Scope::Own, "own"),
            (Scope::Applications, "applications"),
        ] {
            let rules: Vec<Value> = RIGHTS
                .iter()
                .enumerate()
                .filter(|(_, right)| right.scope == scope)
                .map(|(index, right)| {
                    let kept = |verb: &&str| without != Some((index, *verb));
                    let verbs: Vec<&str> = right.verbs.iter().map(|(v, _)| *v).filter(kept).collect();
                    let mut rule =
                        json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": verbs });
                    if let Names::Only(names) = right.names {
                        rule["resourceNames"] = json!(names);
                    }
                    rule
                })
                .filter(|rule| rule["verbs"] != json!([]))
                .collect();
            let namespace = self.namespace(scope);
            let role =
                json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name });
            let user =
                json!([{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": PLAIN_USER }]);
            self.rbac("ClusterRole", "clusterroles", None, name, json!({ "rules": rules })).await;
            let binding = json!({ "roleRef": role, "subjects": user });
            match namespace {
                None => self.rbac("ClusterRoleBinding", "clusterrolebindings", None, name, binding).await,
                some => self.rbac("RoleBinding", "rolebindings", some, name, binding).await,
            }
        }
    }

    /// Where rights of a scope are given; `None`: everywhere.
    fn namespace(&self, scope: Scope) -> Option<&'static str> {
        match scope {
            Scope::Cluster => None,
            Scope::Kinds => self.kinds,
            Scope::Own => Some(OWN),
            Scope::Applications => Some(SHOP),
        }
    }

    async fn rbac(&self, kind: &str, plural: &str, namespace: Option<&str>, name: &str, mut object: Value) {
        let resource = resource("rbac.authorization.k8s.io", kind, plural);
        object["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
        object["kind"] = json!(kind);
        object["metadata"] = json!({ "name": name });
        let api: Api<DynamicObject> = match namespace {
            None => Api::all_with(self.admin.clone(), &resource),
            Some(namespace) => Api::namespaced_with(self.admin.clone(), namespace, &resource),
        };
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap();
    }

    /// The authorizer reads roles through a watch: a change is not there at once.
    async fn until_authorized(&self, index: usize, verb: &str, expected: bool) {
        let right = RIGHTS[index];
        let namespace = self.namespace(right.scope);
        let (resource, subresource) = match right.resource.split_once('/') {
            Some((resource, sub)) => (resource, Some(sub)),
            None => (right.resource, None),
        };
        let name = match right.names {
            Names::Only(names) => Some(names[0]),
            Names::Any | Names::Listed => None,
        };
        let review: SelfSubjectAccessReview = serde_json::from_value(json!({
            "spec": { "resourceAttributes": { "group": right.group, "resource": resource, "verb": verb,
                "subresource": subresource, "namespace": namespace, "name": name } },
        }))
        .unwrap();
        let api: Api<SelfSubjectAccessReview> = Api::all(self.kube.client());
        let settled = async {
            loop {
                let answer = api.create(&PostParams::default(), &review).await.unwrap();
                if answer.status.unwrap().allowed == expected {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        soon(settled).await;
    }

    fn own<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// What there is before the first call.
    async fn objects(&self) {
        use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
        use k8s_openapi::api::core::v1::{Node, Pod};
        let post = PostParams::default();
        for kind in ["Deployment", "StatefulSet"] {
            let object = crate::workloads::manifest(kind, SHOP, "web", Some(1));
            if kind == "Deployment" {
                let object: Deployment = serde_json::from_value(object).unwrap();
                self.own::<Deployment>(SHOP).create(&post, &object).await.unwrap();
            } else {
                let object: StatefulSet = serde_json::from_value(object).unwrap();
                self.own::<StatefulSet>(SHOP).create(&post, &object).await.unwrap();
            }
        }
        let node: Node = serde_json::from_value(json!({ "metadata": { "name": "node" } })).unwrap();
        Api::all(self.admin.clone()).create(&post, &node).await.unwrap();
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        Api::<Node>::all(self.admin.clone())
            .patch_status("node", &PatchParams::default(), &Patch::Merge(ready))
            .await
            .unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "main-0", "labels": { "app": "web" } },
            "spec": {
                "nodeName": "node",
                "containers": [{ "name": "c", "image": "none",
                    "volumeMounts": [{ "name": "flags", "mountPath": "/flags" }] }],
                "volumes": [{ "name": "flags", "configMap": { "name": "flags" } }],
            },
        }))
        .unwrap();
        self.own::<Pod>(SHOP).create(&post, &pod).await.unwrap();
        let running = json!({ "status": { "phase": "Running" } });
        self.own::<Pod>(SHOP)
            .patch_status("main-0", &PatchParams::default(), &Patch::Merge(running))
            .await
            .unwrap();
        self.secret("database", json!({ "password": "x" })).await;
        let sources = Api::<DynamicObject>::namespaced_with(self.admin.clone(), SHOP, &source_kind());
        let source: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "bascule.dev/v1alpha1", "kind": "PolicySource", "metadata": { "name": "fleet" },
            "spec": { "url": "https://git.example.org/fleet.git", "ref": { "branch": "main" }, "path": ".", "interval": "1m" },
        }))
        .unwrap();
        sources.create(&post, &source).await.unwrap();
        self.admin_policy("shop").await;
        self.admin_move("to-lyon").await;
    }

    async fn secret(&self, name: &str, data: Value) {
        use k8s_openapi::api::core::v1::Secret;
        let object =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        self.own::<Secret>(SHOP)
            .patch(name, &PatchParams::apply("test"), &Patch::Apply(&object))
            .await
            .unwrap();
    }

    async fn delete<K>(&self, namespace: &str, name: &str)
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        match self.own::<K>(namespace).delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// A handle with all rights.
    async fn admin_kube(&self) -> Kube {
        let credentials = Credentials::Kubeconfig { path: self.server.kubeconfig(), context: None };
        Kube::connect(&credentials, Some(OWN)).await.unwrap()
    }

    async fn admin_policy(&self, name: &str) -> Owned {
        let kube = self.admin_kube().await;
        assert_eq!(apply(&kube, &policy(name), &origin("aaaa")).await, Outcome::Done);
        let owned = owned(&kube, Kind::Policy, &origin("aaaa")).await.unwrap();
        owned.into_iter().find(|o| o.key.name == name).unwrap()
    }

    async fn admin_move(&self, name: &str) -> Owned {
        let kube = self.admin_kube().await;
        let _ = create_move(&kube, &switchover(name), &origin("aaaa")).await;
        let owned = owned(&kube, Kind::Move, &origin("aaaa")).await.unwrap();
        owned.into_iter().find(|o| o.key.name == name).unwrap()
    }
}

fn source_kind() -> ApiResource {
    resource("bascule.dev", "PolicySource", "policysources")
}

fn origin(revision: &str) -> Origin {
    Origin { namespace: SHOP.to_owned(), name: "fleet".to_owned(), revision: revision.to_owned() }
}

fn manifest(kind: Kind, name: &str, spec: Value) -> Manifest {
    let key = Key { namespace: SHOP.to_owned(), name: name.to_owned() };
    Manifest { kind, key, labels: [].into(), annotations: [].into(), spec }
}

fn policy(name: &str) -> Manifest {
    let spec = json!({
        "sites": [{ "name": "paris" }, { "name": "lyon" }],
        "initialSite": "paris",
        "failover": { "serveReads": { "after": "10s", "returnAfter": "5m" }, "cooldown": "1h",
            "promote": { "after": "30m", "maxDataLoss": { "bytes": "16Mi", "time": "30s" } } },
        "workloads": [{ "name": "web", "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "replicas": { "standby": 0 } }],
    });
    manifest(Kind::Policy, name, spec)
}

fn switchover(name: &str) -> Manifest {
    let spec = json!({ "policyRef": { "name": "shop" }, "type": "Switchover", "from": "paris", "to": "lyon",
        "epoch": 3, "reason": "a test" });
    manifest(Kind::Move, name, spec)
}

fn said(outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Refused { reason } | Outcome::Unknown { reason } => Err(reason),
    }
}

async fn policy_compared(s: &Stand) -> Result<(), String> {
    compare(&s.kube, &policy("shop"), &origin("aaaa")).await.map(drop).map_err(|f| f.to_string())
}

async fn policies_owned(s: &Stand) -> Result<(), String> {
    owned(&s.kube, Kind::Policy, &origin("aaaa")).await.map(drop).map_err(|f| f.to_string())
}

async fn moves_owned(s: &Stand) -> Result<(), String> {
    owned(&s.kube, Kind::Move, &origin("aaaa")).await.map(drop).map_err(|f| f.to_string())
}

async fn policy_applied(s: &Stand) -> Result<(), String> {
    said(apply(&s.kube, &policy("shop"), &origin("bbbb")).await)
}

async fn policy_deleted(s: &Stand) -> Result<(), String> {
    let gone = s.admin_policy("gone").await;
    said(delete(&s.kube, Kind::Policy, &gone, &origin("aaaa")).await)
}

async fn move_deleted(s: &Stand) -> Result<(), String> {
    let gone = s.admin_move("gone").await;
    said(delete(&s.kube, Kind::Move, &gone, &origin("aaaa")).await)
}

async fn move_created(s: &Stand) -> Result<(), String> {
    use bascule_adapters::kube::apply::Creation;
    s.delete::<Move>(SHOP, "new").await;
    match create_move(&s.kube, &switchover("new"), &origin("aaaa")).await {
        Creation::Created => Ok(()),
        Creation::Refused { reason } | Creation::Unknown { reason } => Err(reason),
        other => Err(format!("{other:?}")),
    }
}

async fn status_of(s: &Stand, kind: &str, plural: &str, name: &str, status: Value) -> Result<(), String> {
    let resource = resource("bascule.dev", kind, plural);
    let api = Api::<DynamicObject>::namespaced_with(s.admin.clone(), SHOP, &resource);
    let key = StatusKey {
        api_version: "bascule.dev/v1alpha1".into(),
        kind: kind.to_owned().into(),
        plural: plural.to_owned().into(),
        namespace: SHOP.to_owned(),
        name: name.to_owned(),
        uid: api.get(name).await.unwrap().uid().unwrap(),
    };
    said(write(&s.kube, &key, &status).await)
}

async fn policy_status(s: &Stand) -> Result<(), String> {
    status_of(s, "FailoverPolicy", "failoverpolicies", "shop", json!({ "message": "steady" })).await
}

async fn move_status(s: &Stand) -> Result<(), String> {
    status_of(s, "Move", "moves", "to-lyon", json!({ "message": "done" })).await
}

async fn source_status(s: &Stand) -> Result<(), String> {
    status_of(s, "PolicySource", "policysources", "fleet", json!({ "observedGeneration": 1 })).await
}

/// Everything is listed and a change made since is seen, or the watch says what is wrong.
async fn watched<K>(s: &Stand, kind: &str, plural: &str, name: &str) -> Result<(), String>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let within = Within::new(s.kinds.map(|namespace| Namespace::try_from(namespace).unwrap()));
    watched_within::<K>(s, &within, kind, plural, name).await
}

async fn watched_within<K>(
    s: &Stand,
    within: &Within,
    kind: &str,
    plural: &str,
    name: &str,
) -> Result<(), String>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (mut seen, worker) = watch_within::<K>(&s.kube, within, 16).map_err(|e| e.to_string())?;
    let health = seen.health();
    let worker = tokio::spawn(worker);
    let trouble = async {
        loop {
            if let Some(trouble) = health.now().trouble {
                return trouble;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let change = async {
        while let Some(what) = seen.next().await {
            match what {
                Seen::Listed { .. } => {
                    let mark = jiff::Timestamp::now().to_string();
                    let patch = json!({ "metadata": { "annotations": { "test": mark } } });
                    Api::<DynamicObject>::namespaced_with(
                        s.admin.clone(),
                        SHOP,
                        &resource("bascule.dev", kind, plural),
                    )
                    .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .unwrap();
                }
                _ => return,
            }
        }
    };
    let result = tokio::select! {
        () = change => Ok(()),
        trouble = trouble => Err(trouble),
    };
    worker.abort();
    result
}

async fn policies_watched(s: &Stand) -> Result<(), String> {
    watched::<FailoverPolicy>(s, "FailoverPolicy", "failoverpolicies", "shop").await
}

async fn moves_watched(s: &Stand) -> Result<(), String> {
    watched::<Move>(s, "Move", "moves", "to-lyon").await
}

async fn sources_watched(s: &Stand) -> Result<(), String> {
    watched::<PolicySource>(s, "PolicySource", "policysources", "fleet").await
}

/// As the operator looks at a source that it cannot read.
async fn source_looked_at(s: &Stand) -> Result<(), String> {
    let api: Api<PolicySource> = Api::namespaced(s.kube.client(), SHOP);
    api.get_metadata_opt("fleet").await.map(drop).map_err(|e| e.to_string())
}

async fn cluster_named(s: &Stand) -> Result<(), String> {
    cluster::uid(&s.kube).await.map(drop).map_err(|f| f.to_string())
}

async fn node_looked_at(s: &Stand) -> Result<(), String> {
    let facts = pods::observe(&s.kube, SHOP, "main-0", 5432).await.map_err(|f| f.to_string())?;
    match facts.unwrap().node_state {
        NodeState::Ready => Ok(()),
        NodeState::Unknown { reason } => Err(reason),
        other => Err(format!("{other:?}")),
    }
}

fn key() -> PolicyKey {
    PolicyKey::new(SHOP, "shop").unwrap()
}

async fn marks_read(s: &Stand) -> Result<(), String> {
    marks::read(&s.kube).await.map(drop).map_err(|f| f.to_string())
}

async fn mark_raised(s: &Stand) -> Result<(), String> {
    // Higher than before in every call.
    let stored = marks::read(&s.admin_kube().await).await.unwrap();
    let serial = stored.marks.get(&key()).map_or(0, |k| k.marks.serial) + 1;
    let first = Marks { generation: 0, epoch: 1, serial };
    said(marks::raise(&s.admin_kube().await, &key(), &first.into()).await).unwrap();
    said(marks::raise(&s.kube, &key(), &Marks { serial: serial + 1, ..first }.into()).await)
}

async fn first_mark_raised(s: &Stand) -> Result<(), String> {
    s.delete::<k8s_openapi::api::core::v1::ConfigMap>(OWN, marks::MARKS).await;
    said(marks::raise(&s.kube, &key(), &Marks { generation: 0, epoch: 1, serial: 1 }.into()).await)
}

async fn heart_beaten(s: &Stand) -> Result<(), String> {
    let beat =
        Heartbeat { by: "paris-1".to_owned(), at: jiff::Timestamp::now(), unshown: Unshown::default() };
    said(heartbeat::write(&s.admin_kube().await, &beat).await).unwrap();
    said(heartbeat::write(&s.kube, &Heartbeat { at: jiff::Timestamp::now(), ..beat }).await)
}

async fn first_heart_beaten(s: &Stand) -> Result<(), String> {
    s.delete::<k8s_openapi::api::coordination::v1::Lease>(OWN, heartbeat::HEARTBEAT).await;
    let beat =
        Heartbeat { by: "paris-1".to_owned(), at: jiff::Timestamp::now(), unshown: Unshown::default() };
    said(heartbeat::write(&s.kube, &beat).await)
}

async fn secret_read(s: &Stand) -> Result<(), String> {
    secret::read(&s.kube, SHOP, "database", &["password"]).await.map(drop).map_err(|e| e.to_string())
}

fn flag_in(store: FlagStore) -> ReadOnlyFlag {
    ReadOnlyFlag {
        store,
        name: "flags".try_into().unwrap(),
        key: "READ_ONLY".to_owned(),
        read_only_value: "1".to_owned(),
        read_write_value: "0".to_owned(),
        verify: None,
    }
}

async fn flag_created(s: &Stand) -> Result<(), String> {
    s.delete::<k8s_openapi::api::core::v1::ConfigMap>(SHOP, "flags").await;
    let spec = flag_in(FlagStore::ConfigMap);
    said(flag::set(&s.kube, Flag { namespace: SHOP, spec: &spec }, Position::ReadOnly).await)
}

async fn secret_flag_created(s: &Stand) -> Result<(), String> {
    s.delete::<k8s_openapi::api::core::v1::Secret>(SHOP, "flags").await;
    let spec = flag_in(FlagStore::Secret);
    said(flag::set(&s.kube, Flag { namespace: SHOP, spec: &spec }, Position::ReadOnly).await)
}

async fn pods_touched(s: &Stand) -> Result<(), String> {
    let spec = flag_in(FlagStore::ConfigMap);
    let serial = jiff::Timestamp::now().to_string();
    let touched = flag::refresh(&s.kube, Flag { namespace: SHOP, spec: &spec }, "app=web", &serial).await;
    for pod in touched.map_err(|f| f.to_string())? {
        said(pod.touched.ok_or("the pod does not mount the flag")?)?;
    }
    Ok(())
}

async fn looked_at(s: &Stand, kind: WorkloadKind) -> Result<(), String> {
    let facts = workload::observe(&s.kube, &WorkloadRef::new(SHOP, kind, "web")).await;
    match facts.map_err(|f| f.to_string())?.autoscaler {
        Autoscaler::Unknown { reason } => Err(reason),
        _ => Ok(()),
    }
}

async fn scaled(s: &Stand, kind: WorkloadKind) -> Result<(), String> {
    said(workload::set_replicas(&s.kube, &WorkloadRef::new(SHOP, kind, "web"), 1).await)
}

async fn deployment_looked_at(s: &Stand) -> Result<(), String> {
    looked_at(s, WorkloadKind::Deployment).await
}

async fn deployment_scaled(s: &Stand) -> Result<(), String> {
    scaled(s, WorkloadKind::Deployment).await
}

async fn stateful_set_looked_at(s: &Stand) -> Result<(), String> {
    looked_at(s, WorkloadKind::StatefulSet).await
}

async fn stateful_set_scaled(s: &Stand) -> Result<(), String> {
    scaled(s, WorkloadKind::StatefulSet).await
}

async fn told_twice(s: &Stand) -> Result<(), String> {
    let (teller, worker) = teller(&s.kube, "paris", 8);
    // Another object in each call, so that the first of both is new.
    let name = format!("shop-{}", jiff::Timestamp::now().as_nanosecond());
    for _ in 0..2 {
        teller.tell(Telling {
            about: ObjectReference {
                api_version: Some("bascule.dev/v1alpha1".to_owned()),
                kind: Some("FailoverPolicy".to_owned()),
                namespace: Some(SHOP.to_owned()),
                name: Some(name.clone()),
                uid: Some(name.clone()),
                ..ObjectReference::default()
            },
            weight: Weight::Normal,
            reason: "Test".to_owned(),
            action: "Test".to_owned(),
            note: "a test".to_owned(),
        });
    }
    let lost = teller.losses();
    drop(teller);
    worker.await;
    match lost.load(std::sync::atomic::Ordering::Relaxed) {
        0 => Ok(()),
        lost => Err(format!("{lost} Events were forbidden or lost")),
    }
}

async fn route_pointed(s: &Stand) -> Result<(), String> {
    let shop = Shop::of(&s.kube, s.admin.clone(), SHOP);
    // Applied anew each time, so that there is something to change.
    shop.applied("test", 1, 0).await;
    said(shop.point("lyon", 1, 1).await)
}

/// A change of the route is told, or the look says why none can be.
async fn route_watched(s: &Stand) -> Result<(), String> {
    let mut shop = Shop::of(&s.kube, s.admin.clone(), SHOP);
    shop.applied("test", 1, 0).await;
    let mut changes = shop.follow();
    let unwatched = async {
        loop {
            if let Some(found) = shop.found("RouteUnwatched").await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    // What is there when the watch begins is told once; a watch that works tells what is changed later too.
    let told = async {
        changes.recv().await;
        shop.applied("test", 0, 1).await;
        changes.recv().await;
    };
    tokio::select! {
        () = told => Ok(()),
        why = unwatched => Err(why),
    }
}

async fn gateway_looked_at(s: &Stand) -> Result<(), String> {
    let shop = Shop::of(&s.kube, s.admin.clone(), SHOP);
    shop.applied("test", 1, 0).await;
    // There is none: that is known only to whoever may ask.
    match shop.found("RouteGatewayUnknown").await {
        None => Ok(()),
        Some(why) => Err(why),
    }
}

async fn writes_refused(s: &Stand) -> Result<(), String> {
    let shop = Shop::of(&s.kube, s.admin.clone(), SHOP).refusing(OWN);
    shop.applied("test", 1, 0).await;
    shop.responder(OWN).await;
    shop.granted(OWN).await;
    said(shop.refuse(true, 1, 1).await)
}
