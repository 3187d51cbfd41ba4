//! HTTPRoutes on a real API server with the Gateway API's own definitions. No gateway runs: what one would say is
//! written into the route's status.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bascule_adapters::kube::Kube;
use bascule_adapters::kube::route::{MARK, REFUSING_RULE, Responder, RouteTraffic, WRITES_MARK};
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::observation::{Fact, TrafficAt, TrafficView, Writes};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::{Backend, HttpRoute, RefuseWrites};
use bascule_engine::ports::TargetChanged;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::apiserver::ApiServer;
use crate::{connect, place, soon};

const DEADLINE: Duration = Duration::from_secs(10);

/// The definitions of HTTPRoutes and what belongs to them as the Go module of the Gateway API has them.
fn definitions() -> String {
    let modules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../e2e/gateway");
    let asked = Command::new("go")
        .args(["mod", "download", "-json", "sigs.k8s.io/gateway-api"])
        .current_dir(&modules)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "go mod download in {}: {said}", modules.display());
    let told: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let folder = PathBuf::from(told["Dir"].as_str().unwrap()).join("config/crd/standard");
    let read = |kind: &str| {
        std::fs::read_to_string(folder.join(format!("gateway.networking.k8s.io_{kind}.yaml"))).unwrap()
    };
    KINDS.map(read).join("\n---\n")
}

/// What is installed of it.
const KINDS: [&str; 3] = ["httproutes", "gateways", "referencegrants"];

/// Installs HTTPRoutes in a cluster that has none.
pub(crate) async fn gateway_api(server: &ApiServer) {
    // Another test of this binary may do the same at the same moment.
    server.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &definitions());
    for kind in KINDS {
        let definition = format!("crd/{kind}.gateway.networking.k8s.io");
        server.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", &definition], "");
    }
}

fn site(name: &str) -> SiteName {
    SiteName::try_from(name).unwrap()
}

/// The route of a shop, and whoever writes it.
pub(crate) struct Shop {
    kube: Kube,
    admin: Client,
    key: PolicyKey,
    route: HttpRoute,
    api: Api<DynamicObject>,
    pub(crate) target: RouteTraffic,
}

/// The Service of a responder.
const RESPONDER: &str = "responder";

impl Shop {
    pub(crate) fn of(kube: &Kube, admin: Client, namespace: &str) -> Self {
        let backend = |name: &str| {
            let service = format!("web-{name}");
            (site(name), Backend { service: service.as_str().try_into().unwrap(), port: 80 })
        };
        let route = HttpRoute {
            name: "web".try_into().unwrap(),
            rules: std::collections::BTreeSet::new(),
            backends: [backend("paris"), backend("lyon")].into(),
            refuse_writes: None,
        };
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
        let api = Api::namespaced_with(
            admin.clone(),
            namespace,
            &ApiResource::from_gvk_with_plural(&kind, "httproutes"),
        );
        let key = PolicyKey::new(namespace, "shop").unwrap();
        let target = RouteTraffic::new(kube.clone(), key.clone(), route.clone());
        Self { kube: kube.clone(), admin, key, route, api, target }
    }

    fn fresh(&self) -> RouteTraffic {
        RouteTraffic::new(self.kube.clone(), self.key.clone(), self.route.clone())
    }

    /// The same, whose policy asks for writes to be refused, with the responder of this namespace.
    pub(crate) fn refusing(mut self, namespace: &str) -> Self {
        self.route.refuse_writes =
            Some(RefuseWrites { retry_after: Duration::from_secs(45), except_rules: BTreeSet::new() });
        let responder =
            Responder { namespace: namespace.to_owned(), service: RESPONDER.to_owned(), port: 80 };
        self.target = self.fresh().answered_by(Some(responder));
        self
    }

    /// Makes the responder's Service in this namespace.
    pub(crate) async fn responder(&self, namespace: &str) {
        let api: Api<Service> = Api::namespaced(self.admin.clone(), namespace);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": RESPONDER },
            "spec": { "selector": { "app": "bascule" }, "ports": [{ "name": "responder", "port": 80 }] },
        });
        api.patch(RESPONDER, &PatchParams::apply("test").force(), &Patch::Apply(&service)).await.unwrap();
    }

    /// Lets routes of the shop's namespace lead to it.
    pub(crate) async fn granted(&self, namespace: &str) {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant");
        let resource = ApiResource::from_gvk_with_plural(&kind, "referencegrants");
        let api: Api<DynamicObject> = Api::namespaced_with(self.admin.clone(), namespace, &resource);
        let name = format!("from-{}", self.key.namespace);
        let grant = json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": { "name": name },
            "spec": {
                "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": self.key.namespace.as_str() }],
                "to": [{ "group": "", "kind": "Service", "name": RESPONDER }],
            },
        });
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&grant)).await.unwrap();
    }

    pub(crate) async fn refuse(&self, on: bool, epoch: u64, serial: u64) -> Outcome {
        soon(self.target.refuse(on, &site("paris"), epoch, serial, DEADLINE)).await
    }

    async fn rules(&self) -> Vec<Value> {
        self.now().await.data["spec"]["rules"].as_array().unwrap().clone()
    }

    /// The names of its rules.
    async fn names(&self) -> Vec<String> {
        self.rules().await.iter().map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn writes(&self) -> Option<Writes> {
        self.at().await.writes
    }

    /// A Gateway that says this of whether it is programmed.
    async fn gateway(&self, programmed: &str) {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
        let resource = ApiResource::from_gvk_with_plural(&kind, "gateways");
        let namespace = self.key.namespace.as_str();
        let api: Api<DynamicObject> = Api::namespaced_with(self.admin.clone(), namespace, &resource);
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": { "name": "public" },
            "spec": { "gatewayClassName": "none", "listeners": [{ "name": "web", "port": 80, "protocol": "HTTP" }] },
        });
        api.patch("public", &PatchParams::apply("test"), &Patch::Apply(&gateway)).await.unwrap();
        let said = json!({ "status": { "conditions": [{ "type": "Programmed", "status": programmed,
            "observedGeneration": 1, "reason": "Said", "message": "as it is",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }] } });
        api.patch_status("public", &PatchParams::default(), &Patch::Merge(said)).await.unwrap();
    }

    /// Applies the route as `manager` has it, with these weights.
    pub(crate) async fn applied(&self, manager: &str, paris: u32, lyon: u32) -> DynamicObject {
        let backends = json!([
            { "name": "web-paris", "port": 80, "weight": paris }, { "name": "web-lyon", "port": 80, "weight": lyon },
        ]);
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "web" },
            "spec": {
                "parentRefs": [{ "name": "public" }], "hostnames": ["www.shop.example"],
                "rules": [
                    { "name": "pages", "backendRefs": backends, "timeouts": { "request": "5s" } },
                    { "name": "pictures", "matches": [{ "path": { "value": "/pictures" } }],
                      "backendRefs": [{ "name": "pictures", "port": 80 }] },
                ]
            }
        });
        self.api.patch("web", &PatchParams::apply(manager).force(), &Patch::Apply(&route)).await.unwrap()
    }

    async fn merged(&self, patch: Value) {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.api.patch("web", &params, &Patch::Merge(patch)).await.unwrap();
    }

    async fn now(&self) -> DynamicObject {
        self.api.get("web").await.unwrap()
    }

    /// The weights of the first rule: paris, lyon.
    async fn weights(&self) -> (u64, u64) {
        let route = self.now().await;
        let weight = |i: usize| route.data["spec"]["rules"][0]["backendRefs"][i]["weight"].as_u64().unwrap();
        (weight(0), weight(1))
    }

    /// Where changes of the route are told from now on.
    pub(crate) fn follow(&mut self) -> mpsc::Receiver<TargetChanged> {
        let (told, changes) = mpsc::channel(8);
        let traffic = "gateway".try_into().unwrap();
        let changed = TargetChanged { policy: self.key.clone(), traffic };
        self.target = self.fresh().followed(changed, told);
        changes
    }

    /// What the finding of this code says, if there is one.
    pub(crate) async fn found(&self, code: &str) -> Option<String> {
        let found = soon(self.target.findings(&self.kube, &site("paris"))).await;
        let found = found.unwrap_or_else(|why| panic!("{why:?}"));
        found.findings.iter().find(|f| f.code == code).map(ToString::to_string)
    }

    pub(crate) async fn point(&self, to: &str, epoch: u64, serial: u64) -> Outcome {
        soon(self.target.point(&site(to), epoch, serial, DEADLINE)).await
    }

    async fn look(&self) -> TrafficView {
        soon(self.target.look("traffic/gateway", &site("paris"), DEADLINE)).await
    }

    async fn at(&self) -> TrafficAt {
        match self.look().await.at {
            Fact::Known { value, .. } => value,
            Fact::Unknown { reason } => panic!("{reason}"),
        }
    }

    async fn gates(&self) -> Vec<Gate> {
        match self.look().await.blockers {
            Fact::Known { value, .. } => value,
            Fact::Unknown { reason } => panic!("{reason}"),
        }
    }

    async fn gate(&self, code: &str) -> Gate {
        let all = self.gates().await;
        all.iter()
            .find(|g| g.name == format!("traffic/gateway/{code}"))
            .cloned()
            .unwrap_or_else(|| panic!("{all:?}"))
    }

    /// A gateway's controller says this of the route as it is now, less so many generations.
    async fn says(&self, behind: i64, conditions: &[(&str, &str)]) {
        let generation = self.now().await.metadata.generation.unwrap() - behind;
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status)| {
                json!({ "type": kind, "status": status, "observedGeneration": generation, "reason": "Said",
                        "message": "as it is", "lastTransitionTime": "2026-01-01T00:00:00Z" })
            })
            .collect();
        let parents = json!([{ "parentRef": { "name": "public" }, "controllerName": "example.org/gateways", "conditions": conditions }]);
        let patch = json!({ "status": { "parents": parents } });
        self.api.patch_status("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
}

async fn shop(namespace: &str) -> Shop {
    let (kube, admin, server) = place(namespace).await;
    gateway_api(server).await;
    Shop::of(&kube, admin, namespace)
}

fn reason(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn pointing_a_route_gives_all_weight_to_one_backend_and_changes_nothing_else() {
    let shop = shop("routes-pointed").await;
    let before = shop.applied("test", 1, 0).await;
    assert_eq!(shop.point("lyon", 5, 12).await, Outcome::Done);
    let after = shop.now().await;
    assert_eq!(shop.weights().await, (0, 100));
    assert_eq!(
        after.metadata.annotations.as_ref().unwrap()[MARK],
        "v=1 epoch=5 serial=12 site=lyon policy=shop"
    );
    let mut expected = before.data["spec"].clone();
    expected["rules"][0]["backendRefs"][0]["weight"] = json!(0);
    expected["rules"][0]["backendRefs"][1]["weight"] = json!(100);
    assert_eq!(after.data["spec"], expected);

    assert_eq!(shop.point("lyon", 5, 12).await, Outcome::Done);
    assert_eq!(
        shop.now().await.metadata.resource_version,
        after.metadata.resource_version,
        "it stood already"
    );
    assert_eq!(shop.point("paris", 6, 20).await, Outcome::Done);
    assert_eq!(shop.weights().await, (100, 0));
}

#[tokio::test]
async fn an_operator_that_is_behind_moves_nothing_back() {
    let shop = shop("routes-behind").await;
    shop.applied("test", 1, 0).await;
    assert_eq!(shop.point("lyon", 5, 12).await, Outcome::Done);
    for (epoch, serial) in [(5, 11), (4, 99)] {
        let why = reason(shop.point("paris", epoch, serial).await);
        assert!(why.contains("HTTPRoute routes-behind/web: it carries a newer state already: v=1 epoch=5 serial=12 site=lyon"), "{why}");
    }
    let why = reason(shop.point("paris", 5, 12).await);
    assert!(why.contains("the same epoch and serial for another site"), "{why}");
    assert_eq!(shop.weights().await, (0, 100));
}

#[tokio::test]
async fn a_change_that_was_begun_before_somebody_else_wrote_is_refused() {
    let shop = shop("routes-raced").await;
    shop.applied("test", 1, 0).await;
    let begun = soon(shop.target.begin(&site("lyon"), 5, 12, DEADLINE)).await.unwrap();
    // The backends have changed places: by its place each weight would go to the other site.
    shop.merged(json!({ "spec": { "rules": [{ "backendRefs": [
        { "name": "web-lyon", "port": 80, "weight": 0 }, { "name": "web-paris", "port": 80, "weight": 1 } ] }] } }))
    .await;
    let why = reason(soon(shop.target.finish(begun, DEADLINE)).await);
    assert!(why.contains("409"), "{why}");
    assert_eq!(shop.weights().await, (0, 1));
    assert_eq!(shop.point("lyon", 5, 12).await, Outcome::Done);
    assert_eq!(shop.weights().await, (100, 0), "lyon is the first one now");
}

#[tokio::test]
async fn a_cluster_without_the_gateway_api_says_so_and_so_does_a_route_that_is_missing() {
    let server = ApiServer::start().await;
    server.namespace("shop").await;
    let shop = Shop::of(&connect(&server, "shop").await, server.client().await, "shop");
    let gate = shop.gate("RouteApiMissing").await;
    assert_eq!(gate.answer, Answer::No);
    assert!(gate.needed.contains("gateway.networking.k8s.io/v1"), "{gate:?}");
    assert!(matches!(shop.look().await.at, Fact::Unknown { .. }));
    assert!(!shop.point("lyon", 5, 12).await.is_done());

    gateway_api(&server).await;
    let gate = shop.gate("RouteMissing").await;
    assert_eq!(gate.answer, Answer::No);
    assert!(gate.found.contains("HTTPRoute shop/web does not exist"), "{gate:?}");
    assert!(reason(shop.point("lyon", 5, 12).await).contains("HTTPRoute shop/web does not exist"));
}

#[tokio::test]
async fn a_route_that_does_not_fit_the_policy_is_refused_and_left_alone() {
    for (name, backends, code, found) in [
        (
            "missing",
            json!([{ "name": "web-paris", "port": 80 }]),
            "RouteBackendMissing",
            "has the backend web-lyon:80 of lyon 0 times",
        ),
        (
            "twice",
            json!([{ "name": "web-paris", "port": 80 }, { "name": "web-lyon", "port": 80 }, { "name": "web-lyon", "port": 80 }]),
            "RouteBackendMissing",
            "of lyon 2 times",
        ),
        (
            "foreign",
            json!([{ "name": "web-paris", "port": 80 }, { "name": "web-lyon", "port": 80 }, { "name": "canary", "port": 80 }]),
            "RouteForeignBackend",
            "gives weight 1 to canary:80",
        ),
    ] {
        let shop = shop(&format!("routes-{name}")).await;
        shop.applied("test", 1, 0).await;
        shop.merged(json!({ "spec": { "rules": [{ "backendRefs": backends }] } })).await;
        let before = shop.now().await.metadata.resource_version;
        let gate = shop.gate(code).await;
        assert!(gate.answer == Answer::No && gate.found.contains(found), "{gate:?}");
        let why = reason(shop.point("lyon", 5, 12).await);
        assert!(why.contains(found), "{why}");
        assert_eq!(shop.now().await.metadata.resource_version, before);
    }
}

#[tokio::test]
async fn a_route_with_a_foreign_mark_is_left_alone() {
    for (name, mark, found) in [
        ("other", "v=1 epoch=1 serial=1 site=paris policy=other", "the mark of FailoverPolicy other"),
        ("nobody", "paris, please", "which is no mark"),
    ] {
        let shop = shop(&format!("routes-mark-{name}")).await;
        shop.applied("test", 1, 0).await;
        shop.merged(json!({ "metadata": { "annotations": { MARK: mark } } })).await;
        let gate = shop.gate("RouteForeignMark").await;
        assert!(gate.answer == Answer::No && gate.found.contains(found), "{gate:?}");
        assert!(!shop.point("lyon", 5, 12).await.is_done());
        assert_eq!(shop.weights().await, (1, 0));
        assert_eq!(shop.at().await.site, None);
    }
}

#[tokio::test]
async fn a_route_leads_to_a_site_when_its_mark_its_weights_and_its_gateways_say_so() {
    let shop = shop("routes-looked").await;
    shop.gateway("True").await;
    shop.applied("test", 1, 0).await;
    let at = shop.at().await;
    assert_eq!((at.site, at.epoch, at.serial), (None, 0, 0));
    assert_eq!(at.differing, ["weights pages: lyon 0, paris 1, and no mark of Bascule"]);

    assert_eq!(shop.point("lyon", 5, 12).await, Outcome::Done);
    let at = shop.at().await;
    assert_eq!((at.site.as_ref(), at.epoch, at.serial), (Some(&site("lyon")), 5, 12));
    assert_eq!(at.silent, ["Gateway public has not reported on the route"]);
    assert!(at.differing.is_empty() && !at.is_proven());
    assert_eq!(shop.gate("RouteUnreported").await.answer, Answer::Yes, "nobody waits for it");

    shop.says(1, &[("Accepted", "True"), ("ResolvedRefs", "True")]).await;
    let at = shop.at().await;
    assert!(!at.leads(&site("lyon")) && at.differing[0].contains("Accepted is of generation"), "{at:?}");
    shop.says(0, &[("Accepted", "True"), ("ResolvedRefs", "False")]).await;
    let at = shop.at().await;
    assert_eq!(at.differing, ["Gateway public: ResolvedRefs is False: Said: as it is"]);
    assert_eq!(shop.gate("RouteNotServed").await.answer, Answer::No);
    shop.says(0, &[("Accepted", "True"), ("ResolvedRefs", "True")]).await;
    let at = shop.at().await;
    assert!(at.leads(&site("lyon")) && at.is_proven(), "{at:?}");
    assert_eq!(shop.gates().await, []);
}

#[tokio::test]
async fn weights_that_a_gitops_tool_sets_back_are_told_with_the_lines_that_stop_it_and_written_again() {
    for (name, manager, lines) in [
        ("flux", "kustomize-controller", "kustomize.toolkit.fluxcd.io/ssa: IfNotPresent"),
        (
            "argo",
            "argocd-controller",
            "jqPathExpressions: [\".spec.rules[].backendRefs[].weight\"]}] and syncPolicy: {syncOptions: [RespectIgnoreDifferences=true]}",
        ),
    ] {
        let shop = shop(&format!("routes-{name}")).await;
        shop.applied(manager, 1, 0).await;
        let gate = shop.gate("RouteOwned").await;
        assert!(gate.answer == Answer::Yes && gate.needed.contains(lines), "{gate:?}");
        assert_eq!(shop.point("lyon", 5, 12).await, Outcome::Done);
        assert!(shop.gates().await.iter().all(|g| !g.name.ends_with("RouteContended")));

        shop.applied(manager, 1, 0).await;
        let at = shop.at().await;
        assert_eq!((at.site, at.serial), (None, 12), "{:?}", at.differing);
        let gate = shop.gate("RouteContended").await;
        assert!(gate.answer == Answer::No && gate.needed.contains(lines), "{gate:?}");
        assert!(
            gate.found.contains(&format!("{manager:?} has set the weights to pages: lyon 0, paris 1")),
            "{gate:?}"
        );
        assert_eq!(shop.point("lyon", 5, 12).await, Outcome::Done);
        assert_eq!(shop.weights().await, (0, 100));
        assert_eq!(shop.gate("RouteContended").await.answer, Answer::No, "it will come again");
    }
}

#[tokio::test]
async fn weights_that_an_admission_policy_keeps_are_found_before_they_are_needed() {
    let shop = shop("routes-kept").await;
    shop.applied("test", 1, 0).await;
    let server = ApiServer::shared().await;
    let policy = "\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: routes-kept}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: routes-kept}}
    resourceRules: [{apiGroups: [gateway.networking.k8s.io], apiVersions: ['*'], operations: [UPDATE], resources: [httproutes]}]
  validations: [{expression: 'object.spec.rules == oldObject.spec.rules', message: rules are frozen}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: routes-kept}
spec: {policyName: routes-kept, validationActions: [Deny]}
";
    server.kubectl(&["apply", "-f", "-"], policy);
    // An admission policy is in force a moment after it was written.
    let refused = async {
        loop {
            // Another target each time: one that went well is believed for a while.
            let fresh = Shop::of(&connect(server, "routes-kept").await, server.client().await, "routes-kept");
            let gates = fresh.gates().await;
            if let Some(gate) = gates.into_iter().find(|g| g.name.ends_with("RoutePatchRefused")) {
                return gate;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let gate = soon(Box::pin(refused)).await;
    assert!(gate.answer == Answer::No && gate.found.contains("rules are frozen"), "{gate:?}");
    assert_eq!(shop.weights().await, (1, 0));
}

#[tokio::test]
async fn a_silent_api_server_makes_the_route_unknown_and_a_sent_change_too() {
    let server = ApiServer::start().await;
    server.namespace("shop").await;
    gateway_api(&server).await;
    let shop = Shop::of(&connect(&server, "shop").await, server.client().await, "shop");
    shop.applied("test", 1, 0).await;
    let begun = soon(shop.target.begin(&site("lyon"), 5, 12, DEADLINE)).await.unwrap();
    server.freeze();
    let short = Duration::from_millis(600);
    let view = soon(shop.target.look("traffic/gateway", &site("paris"), short)).await;
    assert!(matches!((&view.at, &view.blockers), (Fact::Unknown { .. }, Fact::Unknown { .. })), "{view:?}");
    let ended = soon(shop.target.finish(begun, short)).await;
    assert!(matches!(ended, Outcome::Unknown { .. }), "{ended:?}");
    let ended = soon(shop.target.point(&site("lyon"), 5, 12, short)).await;
    assert!(matches!(ended, Outcome::Refused { .. }), "nothing was sent but a question: {ended:?}");
    server.thaw();
}

#[tokio::test]
async fn a_change_of_a_route_is_told_at_once_and_many_that_follow_closely_are_told_as_few() {
    let mut shop = shop("routes-followed").await;
    let mut changes = shop.follow();
    soon(changes.recv()).await.expect("what is there when the watch begins is told");
    shop.applied("test", 1, 0).await;
    let told = soon(changes.recv()).await.expect("the change");
    assert_eq!(
        (told.policy.to_string().as_str(), told.traffic.as_ref()),
        ("routes-followed/shop", "gateway")
    );
    for weight in 2..42 {
        shop.applied("test", weight, 0).await;
    }
    soon(changes.recv()).await.expect("the last change");
    // Whatever is still told is told at a pace: forty changes took far less than that many pauses.
    let mut more = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(2), changes.recv()).await {
        more += 1;
    }
    assert!(more < 20, "{more} of 40 changes were told one by one");
    assert_eq!(shop.found("RouteUnwatched").await, None);
}

#[tokio::test]
async fn what_a_gateway_says_of_itself_is_told_and_stands_in_nobodys_way() {
    let (kube, admin, server) = place("routes-gateway").await;
    gateway_api(server).await;
    let shop = Shop::of(&kube, admin, "routes-gateway");
    shop.applied("test", 1, 0).await;
    assert_eq!(shop.point("lyon", 5, 12).await, Outcome::Done);
    shop.says(0, &[("Accepted", "True"), ("ResolvedRefs", "True")]).await;
    let gate = shop.gate("RouteGatewayNotReady").await;
    assert!(
        gate.answer == Answer::Yes && gate.found.contains("Gateway routes-gateway/public does not exist"),
        "{gate:?}"
    );

    for (status, code) in
        [("False", Some("RouteGatewayNotReady")), ("Unknown", Some("RouteGatewayUnknown")), ("True", None)]
    {
        shop.gateway(status).await;
        let at = shop.at().await;
        assert!(at.leads(&site("lyon")), "a Gateway's own word moves nothing: {at:?}");
        assert_eq!(at.is_proven(), status != "False", "{at:?}");
        for each in ["RouteGatewayNotReady", "RouteGatewayUnknown"] {
            assert_eq!(shop.found(each).await.is_some(), code == Some(each), "{status}: {each}");
        }
    }
}

/// A shop whose writes can be refused, in a namespace of its own beside the responder's.
async fn refusing(namespace: &str) -> Shop {
    let (kube, admin, server) = place(namespace).await;
    gateway_api(server).await;
    let responders = format!("{namespace}-responder");
    server.namespace(&responders).await;
    let shop = Shop::of(&kube, admin, namespace).refusing(&responders);
    shop.responder(&responders).await;
    shop.granted(&responders).await;
    shop.gateway("True").await;
    shop
}

#[tokio::test]
async fn writes_are_refused_by_rules_behind_the_others_which_keep_their_places_and_pass_when_they_are_taken_away()
 {
    let shop = refusing("routes-refused").await;
    let before = shop.applied("test", 1, 0).await;
    assert_eq!(shop.writes().await, Some(Writes::Pass));
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);

    let during = shop.now().await;
    let rules = during.data["spec"]["rules"].as_array().unwrap();
    let (refusing, others) = rules.split_last().unwrap();
    assert_eq!(
        json!(others),
        before.data["spec"]["rules"],
        "the others are as they were, and where they were"
    );
    assert_eq!(refusing["name"], REFUSING_RULE);
    let methods: Vec<&Value> = refusing["matches"].as_array().unwrap().iter().map(|m| &m["method"]).collect();
    assert_eq!(methods, ["POST", "PUT", "PATCH", "DELETE"]);
    assert!(refusing["matches"].as_array().unwrap().iter().all(|m| m["path"]["value"] == "/"), "{rules:?}");
    let backend = &refusing["backendRefs"][0];
    assert_eq!(
        (&backend["name"], &backend["namespace"]),
        (&json!(RESPONDER), &json!("routes-refused-responder"))
    );
    let headers = &refusing["filters"][0]["requestHeaderModifier"]["set"];
    assert_eq!(headers[0], json!({ "name": "x-bascule-policy", "value": "routes-refused/shop" }));
    assert_eq!(headers[1], json!({ "name": "x-bascule-retry-after", "value": "45" }));
    let mark = &during.metadata.annotations.as_ref().unwrap()[WRITES_MARK];
    assert_eq!(mark, "v=1 epoch=5 serial=12 site=paris policy=shop writes=refused");
    shop.says(0, &[("Accepted", "True"), ("ResolvedRefs", "True")]).await;
    assert_eq!(shop.writes().await, Some(Writes::Refused));

    let version = shop.now().await.metadata.resource_version;
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    assert_eq!(shop.now().await.metadata.resource_version, version, "it stood already");

    // Users move meanwhile.
    assert_eq!(shop.point("lyon", 5, 13).await, Outcome::Done);
    assert_eq!(shop.at().await.site, Some(site("lyon")));
    assert_eq!(shop.writes().await, Some(Writes::Refused));

    assert_eq!(shop.refuse(false, 5, 14).await, Outcome::Done);
    let after = shop.now().await;
    let mut expected = before.data["spec"].clone();
    expected["rules"][0]["backendRefs"][0]["weight"] = json!(0);
    expected["rules"][0]["backendRefs"][1]["weight"] = json!(100);
    assert_eq!(after.data["spec"], expected);
    assert_eq!(shop.writes().await, Some(Writes::Pass));
    let mark = &after.metadata.annotations.as_ref().unwrap()[WRITES_MARK];
    assert!(mark.ends_with("writes=passed"), "{mark}");
}

#[tokio::test]
async fn an_operator_that_is_behind_has_no_writes_refused_and_lets_none_pass() {
    let shop = refusing("routes-refused-behind").await;
    shop.applied("test", 1, 0).await;
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    for (epoch, serial) in [(5, 11), (4, 99)] {
        let why = reason(shop.refuse(false, epoch, serial).await);
        assert!(why.contains("by a newer state already: v=1 epoch=5 serial=12 site=paris"), "{why}");
    }
    assert_eq!(shop.writes().await, Some(Writes::Refused));
    // Within one state of the record it changes with what this site sees.
    assert_eq!(shop.refuse(false, 5, 12).await, Outcome::Done);
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    assert_eq!(shop.writes().await, Some(Writes::Refused));
}

#[tokio::test]
async fn nothing_leads_to_a_responder_that_is_not_there_or_that_the_route_may_not_use() {
    let (kube, admin, server) = place("routes-unanswered").await;
    gateway_api(server).await;
    server.namespace("routes-unanswered-responder").await;
    let shop = Shop::of(&kube, admin, "routes-unanswered").refusing("routes-unanswered-responder");
    shop.applied("test", 1, 0).await;
    let before = shop.now().await.metadata.resource_version;
    for code in ["RouteResponderMissing", "RouteResponderGrant"] {
        let gate = shop.gate(code).await;
        assert_eq!(gate.answer, Answer::Yes, "it stands in nobody's way: {gate:?}");
        assert!(matches!(shop.writes().await, Some(Writes::CannotRefuse(_))));
        let why = reason(shop.refuse(true, 5, 12).await);
        assert!(why.contains("responder"), "{why}");
        assert_eq!(shop.now().await.metadata.resource_version, before);
        shop.responder("routes-unanswered-responder").await;
    }
    shop.granted("routes-unanswered-responder").await;
    assert_eq!(shop.writes().await, Some(Writes::Pass));
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);

    // A grant that is taken away again leaves writes without an answer: better the application's own.
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant");
    let resource = ApiResource::from_gvk_with_plural(&kind, "referencegrants");
    let grants: Api<DynamicObject> =
        Api::namespaced_with(shop.admin.clone(), "routes-unanswered-responder", &resource);
    grants.delete("from-routes-unanswered", &kube::api::DeleteParams::default()).await.unwrap();
    assert!(matches!(shop.writes().await, Some(Writes::Lost(_))));
    assert_eq!(shop.refuse(false, 5, 12).await, Outcome::Done);
    assert!(matches!(shop.writes().await, Some(Writes::CannotRefuse(_))));

    let none = RouteTraffic::new(shop.kube.clone(), shop.key.clone(), shop.route.clone()).answered_by(None);
    let found = soon(none.findings(&shop.kube, &site("paris"))).await.unwrap();
    assert!(
        found.findings.iter().any(|f| f.found.contains("this installation has no responder")),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_rule_that_somebody_else_has_called_so_is_left_alone() {
    let shop = refusing("routes-reserved").await;
    shop.applied("test", 1, 0).await;
    let mut rules = shop.now().await.data["spec"]["rules"].clone();
    rules[1]["name"] = json!(REFUSING_RULE);
    shop.merged(json!({ "spec": { "rules": rules } })).await;
    let before = shop.now().await.metadata.resource_version;
    assert!(matches!(shop.writes().await, Some(Writes::CannotRefuse(_))));
    assert!(shop.gate("RouteWritesPass").await.found.contains("is none of Bascule's"));
    let why = reason(shop.refuse(true, 5, 12).await);
    assert!(why.contains("give it another name"), "{why}");
    assert_eq!(shop.refuse(false, 5, 12).await, Outcome::Done, "nothing of Bascule's is there");
    assert_eq!(shop.now().await.metadata.resource_version, before);
}

#[tokio::test]
async fn rules_that_were_copied_from_another_route_are_left_alone_without_their_mark() {
    let shop = refusing("routes-copied").await;
    shop.applied("test", 1, 0).await;
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    shop.merged(json!({ "metadata": { "annotations": { WRITES_MARK: null } } })).await;
    let before = shop.now().await.metadata.resource_version;
    assert!(matches!(shop.writes().await, Some(Writes::CannotRefuse(_))));
    assert!(shop.gate("RouteWritesPass").await.found.contains("is no mark of this policy"));
    for on in [true, false] {
        let why = reason(shop.refuse(on, 5, 12).await);
        assert!(why.contains("take the rule out"), "{why}");
    }
    assert_eq!(shop.now().await.metadata.resource_version, before);
}

#[tokio::test]
async fn rules_that_change_during_a_hold_are_followed() {
    let shop = refusing("routes-refused-changed").await;
    shop.applied("test", 1, 0).await;
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    let mut rules = shop.now().await.data["spec"]["rules"].clone();
    rules[0]["matches"] = json!([{ "path": { "type": "PathPrefix", "value": "/shop" } }]);
    shop.merged(json!({ "spec": { "rules": rules } })).await;
    assert!(matches!(shop.writes().await, Some(Writes::Mixed(_))));
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    assert_eq!(shop.writes().await, Some(Writes::Refused));
    let rules = shop.now().await.data["spec"]["rules"].clone();
    assert_eq!(rules.as_array().unwrap().len(), 3);
    assert_eq!(rules[2]["matches"][0]["path"]["value"], "/shop");

    // Bascule's stand last again when somebody has put one behind them.
    let mut rules = rules.as_array().unwrap().clone();
    rules
        .push(json!({ "name": "films", "matches": [{ "path": { "type": "PathPrefix", "value": "/films" } }],
        "backendRefs": [{ "name": "films", "port": 80 }] }));
    shop.merged(json!({ "spec": { "rules": rules } })).await;
    assert!(matches!(shop.writes().await, Some(Writes::Mixed(_))));
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    assert_eq!(shop.writes().await, Some(Writes::Refused));
    assert_eq!(shop.names().await, ["pages", "pictures", "films", REFUSING_RULE]);
}

/// Puts the rules that refuse writes in front of the others, as an older operator did.
async fn put_in_front(shop: &Shop) {
    let mut rules = shop.now().await.data["spec"]["rules"].as_array().unwrap().clone();
    rules.rotate_right(1);
    shop.merged(json!({ "spec": { "rules": rules } })).await;
    assert_eq!(shop.names().await, [REFUSING_RULE, "pages", "pictures"]);
}

#[tokio::test]
async fn rules_that_an_older_operator_has_put_in_front_are_moved_behind_while_they_are_needed() {
    let shop = refusing("routes-refused-in-front").await;
    let before = shop.applied("test", 1, 0).await;
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    put_in_front(&shop).await;
    let found = shop.writes().await;
    assert!(matches!(&found, Some(Writes::Mixed(_))), "{found:?}");
    // The record is still the one by which the older operator has put them there.
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    assert_eq!(shop.names().await, ["pages", "pictures", REFUSING_RULE]);
    assert_eq!(json!(shop.rules().await[..2]), before.data["spec"]["rules"]);
    assert_eq!(shop.writes().await, Some(Writes::Refused));
}

#[tokio::test]
async fn rules_that_an_older_operator_has_put_in_front_are_taken_away_when_writes_may_pass() {
    let shop = refusing("routes-refused-in-front-passed").await;
    let before = shop.applied("test", 1, 0).await;
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    put_in_front(&shop).await;
    // Users move meanwhile: the weights are those of the route's own rules, wherever they stand.
    assert_eq!(shop.point("lyon", 5, 13).await, Outcome::Done);
    assert_eq!(shop.point("paris", 5, 14).await, Outcome::Done);
    assert_eq!(shop.refuse(false, 5, 15).await, Outcome::Done);
    let mut expected = before.data["spec"]["rules"].clone();
    expected[0]["backendRefs"][0]["weight"] = json!(100);
    assert_eq!(json!(shop.rules().await), expected);
    assert_eq!(shop.writes().await, Some(Writes::Pass));
}

#[tokio::test]
async fn rules_in_front_that_could_not_stand_behind_stay_until_writes_may_pass() {
    let shop = refusing("routes-refused-in-front-only").await;
    shop.applied("test", 1, 0).await;
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    put_in_front(&shop).await;
    let post = json!([{ "path": { "type": "PathPrefix", "value": "/" }, "method": "POST" }]);
    let mut rules = shop.rules().await;
    // An older operator has repeated a match that has a method itself.
    (rules[0]["matches"], rules[1]["matches"]) = (post.clone(), post);
    shop.merged(json!({ "spec": { "rules": rules } })).await;
    let stands = shop.now().await.metadata.resource_version;
    assert_eq!(shop.writes().await, Some(Writes::Refused), "they do what they are for");
    assert!(shop.gate("RouteWritesPass").await.found.contains("pages matches the method POST itself"));
    assert_eq!(shop.now().await.metadata.resource_version, stands);
    assert_eq!(shop.refuse(false, 5, 12).await, Outcome::Done);
    assert_eq!(shop.names().await, ["pages", "pictures"]);
    let found = shop.writes().await;
    assert!(matches!(&found, Some(Writes::CannotRefuse(_))), "{found:?}");
    let why = reason(shop.refuse(true, 5, 13).await);
    assert!(why.contains("leave the method out of its matches"), "{why}");
}

#[tokio::test]
async fn rules_that_a_gitops_tool_takes_out_are_told_and_put_back() {
    let shop = refusing("routes-refused-argo").await;
    shop.applied("argocd-controller", 1, 0).await;
    assert_eq!(shop.point("paris", 5, 11).await, Outcome::Done);
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    shop.applied("argocd-controller", 100, 0).await;
    assert_eq!(shop.writes().await, Some(Writes::Pass));
    let gate = shop.gate("RouteContended").await;
    assert!(gate.found.contains("has taken out the rules by which writes are refused"), "{gate:?}");
    assert!(gate.needed.contains("jqPathExpressions: [\".spec.rules\"]"), "{gate:?}");
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    assert_eq!(shop.writes().await, Some(Writes::Refused));
}

#[tokio::test]
async fn a_policy_that_asks_for_it_no_more_finds_what_it_left_and_takes_it_away() {
    let mut shop = refusing("routes-refused-no-more").await;
    shop.applied("test", 1, 0).await;
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    shop.route.refuse_writes = None;
    shop.target = shop.fresh();
    assert_eq!(shop.writes().await, Some(Writes::Refused));
    assert!(!shop.refuse(true, 5, 13).await.is_done());
    assert_eq!(shop.refuse(false, 5, 13).await, Outcome::Done);
    assert_eq!(shop.writes().await, None);
    assert_eq!(shop.now().await.data["spec"]["rules"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn rules_that_a_gateway_turns_the_route_down_for_are_taken_out_and_not_tried_again_at_once() {
    let shop = refusing("routes-refused-turned-down").await;
    shop.applied("test", 1, 0).await;
    shop.says(0, &[("Accepted", "True"), ("ResolvedRefs", "False")]).await;
    assert!(matches!(shop.writes().await, Some(Writes::CannotRefuse(_))), "it is not served as it is");
    shop.says(0, &[("Accepted", "True"), ("ResolvedRefs", "True")]).await;
    assert_eq!(shop.writes().await, Some(Writes::Pass));
    assert_eq!(shop.refuse(true, 5, 12).await, Outcome::Done);
    // It knows no matches by method.
    shop.says(0, &[("Accepted", "False"), ("ResolvedRefs", "True")]).await;
    let found = shop.writes().await;
    assert!(matches!(&found, Some(Writes::Lost(why)) if why.contains("Accepted is False")), "{found:?}");
    assert_eq!(shop.refuse(false, 5, 12).await, Outcome::Done);
    shop.says(0, &[("Accepted", "True"), ("ResolvedRefs", "True")]).await;
    let found = shop.writes().await;
    assert!(
        matches!(&found, Some(Writes::CannotRefuse(why)) if why.contains("did not serve it")),
        "{found:?}"
    );
}
