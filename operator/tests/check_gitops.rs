//! `bascule check` where Flux, Argo CD or Helm apply the same objects: who owns what Bascule must write is found by a dry run,
//! and told with the lines that let it go. The other appliers are played by kubectl under their names, the way they apply.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

mod live;

use std::fs;
use std::process::Command;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::live::{Cluster, Said, repository, steady};

/// The definitions of HTTPRoutes as the Go module of the Gateway API has them.
fn http_routes() -> String {
    let modules = repository().join("e2e/gateway");
    let asked = Command::new("go")
        .args(["mod", "download", "-json", "sigs.k8s.io/gateway-api"])
        .current_dir(&modules)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "go mod download in {}: {said}", modules.display());
    let told: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let folder = std::path::Path::new(told["Dir"].as_str().unwrap()).join("config/crd/standard");
    fs::read_to_string(folder.join("gateway.networking.k8s.io_httproutes.yaml")).unwrap()
}

/// A cluster with routes, and in each of these namespaces the policy `shop` with replicas, a flag and a route.
async fn start(namespaces: &[&str]) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.server.kubectl(&["apply", "--server-side", "-f", "-"], &http_routes());
    cluster.server.kubectl(
        &["wait", "--for=condition=Established", "--timeout=60s", "crd/httproutes.gateway.networking.k8s.io"],
        "",
    );
    for namespace in namespaces {
        cluster.server.kubectl(&["create", "namespace", namespace], "");
        let policy = json!({
            "apiVersion": "bascule.dev/v1alpha1", "kind": "FailoverPolicy",
            "metadata": { "name": "shop", "namespace": namespace },
            "spec": {
                "sites": [{ "name": "paris" }, { "name": "lyon" }], "initialSite": "paris",
                "failover": {
                    "serveReads": { "after": "10s", "returnAfter": "5m" },
                    "promote": { "after": "30m", "maxDataLoss": { "bytes": "16Mi", "time": "30s" } },
                },
                "workloads": [{
                    "name": "web",
                    "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                    "replicas": { "active": 3, "readOnly": 3, "standby": 1 },
                    "readOnly": { "configMapKey": {
                        "name": "web-flags", "key": "READ_ONLY", "readOnlyValue": "1", "readWriteValue": "0",
                    } },
                }],
                "traffic": [{ "name": "gateway", "httpRoute": { "name": "web", "backends": [
                    { "site": "paris", "service": "web-paris", "port": 80 },
                    { "site": "lyon", "service": "web-lyon", "port": 80 },
                ] } }],
            },
        });
        cluster.server.kubectl(&["apply", "--server-side", "-f", "-"], &policy.to_string());
    }
    cluster
}

/// What git has: the workload, the flag in its environment, the route. `all`: with what belongs to Bascule, too.
fn manifests(namespace: &str, all: bool) -> String {
    // Every such tool marks what is its own.
    let labels = json!({ "app.kubernetes.io/part-of": "shop" });
    let named = |name: &str| json!({ "name": name, "namespace": namespace, "labels": labels });
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": named("web"),
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{
                    "name": "web", "image": "web", "envFrom": [{ "configMapRef": { "name": "web-flags" } }],
                }] },
            },
        },
    });
    let mut flags = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": named("web-flags") });
    if all {
        deployment["spec"]["replicas"] = json!(3);
        flags["data"] = json!({ "READ_ONLY": "0" });
    }
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": named("web"),
        "spec": { "parentRefs": [{ "name": "public" }], "rules": [{ "backendRefs": [
            { "name": "web-paris", "port": 80, "weight": 1 }, { "name": "web-lyon", "port": 80, "weight": 0 },
        ] }] },
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": [deployment, flags, route] }).to_string()
}

/// Applies as a tool does that sends everything to the server and takes what others own.
fn server_side(cluster: &Cluster, manager: &str, text: &str) {
    let manager = format!("--field-manager={manager}");
    cluster.server.kubectl(&["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"], text);
}

/// What is said of who owns what in a namespace: `code field`, what was found, and the lines.
fn owned(cluster: &Cluster, namespace: &str) -> Vec<(String, String, String)> {
    cluster.write(namespace, &steady(Timestamp::now()));
    let said: Said = cluster.run(&["check", "-n", namespace, "-o", "json"]);
    let report = said.json();
    let text = |f: &Value, key: &str| f[key].as_str().unwrap().to_owned();
    let about = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| ["Contended", "RouteOwned", "RouteContended"].contains(&f["code"].as_str().unwrap()));
    about
        .map(|f| (format!("{} {}", text(f, "code"), text(f, "field")), text(f, "found"), text(f, "expected")))
        .collect()
}

fn codes(found: &[(String, String, String)]) -> Vec<&str> {
    found.iter().map(|(code, ..)| code.as_str()).collect()
}

/// Runs the last line of each finding that has one: it lets the field go in the cluster.
fn let_go(cluster: &Cluster, found: &[(String, String, String)]) {
    for (code, _, expected) in found.iter().filter(|(code, ..)| code.starts_with("Contended")) {
        let line = expected.lines().last().unwrap();
        assert!(line.starts_with("kubectl "), "{code}: {expected}");
        cluster.server.shell(line);
    }
}

fn field(cluster: &Cluster, namespace: &str, object: &str, path: &str) -> String {
    let path = format!("jsonpath={path}");
    cluster.server.kubectl(&["get", object, "-n", namespace, "-o", &path], "")
}

/// Replicas and flag, as they are.
fn values(cluster: &Cluster, namespace: &str) -> (String, String) {
    (
        field(cluster, namespace, "deployment/web", "{.spec.replicas}"),
        field(cluster, namespace, "configmap/web-flags", "{.data.READ_ONLY}"),
    )
}

const REPLICAS: &str = "Contended spec.workloads[web].replicas";
const FLAG: &str = "Contended spec.workloads[web].readOnly";
const ROUTE: &str = "RouteOwned spec.traffic[gateway].httpRoute";

#[tokio::test]
async fn an_applier_that_owns_replicas_environment_and_weights_is_told_to_let_go_in_an_order_that_changes_nothing()
 {
    let tools = [("flux", "kustomize-controller"), ("argo", "argocd-controller")];
    let cluster = start(&tools.map(|(namespace, _)| namespace)).await;
    let page = fs::read_to_string(repository().join("docs/gitops.md")).unwrap();
    for (namespace, manager) in tools {
        server_side(&cluster, manager, &manifests(namespace, true));
        let found = owned(&cluster, namespace);
        assert_eq!(codes(&found), [REPLICAS, FLAG, ROUTE], "{manager}: {found:#?}");
        for (code, said, expected) in &found {
            assert!(said.contains(&format!("{manager:?}")), "{code}: {said}");
            // What a person reads at three in the morning stands in the documentation, word for word.
            for line in expected.lines() {
                let line = line.trim().replace(&format!("-n {namespace} "), "-n shop ");
                let line = line.replace(&format!("namespace: {namespace},"), "namespace: shop,");
                let words = if code == ROUTE { line.rsplit("; ").next().unwrap() } else { line.as_str() };
                assert!(page.contains(words), "{manager}: docs/gitops.md does not have {words:?}");
            }
        }

        // Let go in the cluster alone: nothing changes, and it comes back with the next round of the tool.
        let_go(&cluster, &found);
        assert_eq!(codes(&owned(&cluster, namespace)), [ROUTE], "{manager}");
        assert_eq!(values(&cluster, namespace), ("3".to_owned(), "0".to_owned()), "{manager}");
        server_side(&cluster, manager, &manifests(namespace, true));
        let found = owned(&cluster, namespace);
        assert_eq!(codes(&found), [REPLICAS, FLAG, ROUTE], "{manager}: git has it still");

        // As the lines say: the tool stands still, the field is let go, git does not have it any more.
        let_go(&cluster, &found);
        server_side(&cluster, manager, &manifests(namespace, false));
        assert_eq!(codes(&owned(&cluster, namespace)), [ROUTE], "{manager}");
        assert_eq!(values(&cluster, namespace), ("3".to_owned(), "0".to_owned()), "{manager}");
        // And it stays so.
        server_side(&cluster, manager, &manifests(namespace, false));
        assert_eq!(codes(&owned(&cluster, namespace)), [ROUTE], "{manager}");
    }
}

#[tokio::test]
async fn what_a_tool_alone_owns_goes_with_it_when_git_lets_go_first() {
    let cluster = start(&["order"]).await;
    server_side(&cluster, "kustomize-controller", &manifests("order", true));
    server_side(&cluster, "kustomize-controller", &manifests("order", false));
    // Which is why the lines tell to stop the tool until the field was let go in the cluster.
    assert_eq!(values(&cluster, "order"), ("1".to_owned(), String::new()));
}

#[tokio::test]
async fn argo_cd_that_applies_on_its_own_side_keeps_off_once_it_was_told_to_ignore() {
    let cluster = start(&["classic"]).await;
    let apply = |text: &str| {
        cluster.server.kubectl(&["apply", "--field-manager=argocd-controller", "-f", "-"], text);
    };
    apply(&manifests("classic", true));
    let found = owned(&cluster, "classic");
    assert_eq!(codes(&found), [REPLICAS, FLAG], "{found:#?}");
    let page = fs::read_to_string(repository().join("docs/gitops.md")).unwrap();
    for (_, _, expected) in &found {
        assert!(expected.starts_with("in the Argo CD Application that syncs it"), "{expected}");
        assert!(!expected.contains("ServerSideApply"), "{expected}");
        for line in expected.lines().map(|l| l.trim().replace("-n classic ", "-n shop ")) {
            assert!(page.contains(&line), "docs/gitops.md does not have {line:?}");
        }
    }
    let_go(&cluster, &found);
    assert_eq!(codes(&owned(&cluster, "classic")), [] as [&str; 0]);
    // With RespectIgnoreDifferences it sends the values that are there: no difference, and nothing to own.
    apply(&manifests("classic", true));
    assert_eq!(codes(&owned(&cluster, "classic")), [] as [&str; 0]);
    assert_eq!(values(&cluster, "classic"), ("3".to_owned(), "0".to_owned()));
}
