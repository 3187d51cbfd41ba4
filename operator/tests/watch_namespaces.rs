//! An operator that is limited to named namespaces: a real process whose user has rights in these alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

#[path = "../adapters/tests/arbiter/cluster.rs"]
mod arbiter;
mod live;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bascule_adapters::kube::rights::{Names, RIGHTS, Right, Scope};
use jiff::{Timestamp, ToSpan as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::live::Cluster;
use crate::live::apiserver::PLAIN_USER;
use crate::live::apiserver::ports::free_port;

/// Far above what anything here needs on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

const POLICY: &str = r"
apiVersion: bascule.dev/v1alpha1
kind: FailoverPolicy
metadata: { name: web, namespace: NAMESPACE }
spec:
  sites: [{ name: paris }, { name: lyon }]
  initialSite: paris
  workloads:
    - name: web
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: web }
      replicas: { active: 2, standby: 0 }
";

/// The operator; it ends with this value.
struct Operator {
    http: u16,
    process: Child,
}

impl Operator {
    fn ready(&self) -> bool {
        let Ok(mut tcp) = TcpStream::connect(("127.0.0.1", self.http)) else { return false };
        tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut said = String::new();
        let asked = tcp
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .and_then(|()| tcp.read_to_string(&mut said));
        asked.is_ok() && said.starts_with("HTTP/1.1 200")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The rules of these scopes, as the chart gives them.
fn rules(scopes: &[Scope]) -> Vec<Value> {
    let rule = |right: &Right| {
        let verbs: Vec<&str> = right.verbs.iter().map(|(verb, _)| *verb).collect();
        let mut rule = json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": verbs });
        if let Names::Only(names) = right.names {
            rule["resourceNames"] = json!(names);
        }
        rule
    };
    RIGHTS.iter().filter(|right| scopes.contains(&right.scope)).map(rule).collect()
}

/// Gives the operator's user what the chart gives for these namespaces, and nothing in any other.
fn grant(cluster: &Cluster, namespaces: &[&str]) {
    let give = |kind: &str, namespace: Option<&str>, scopes: &[Scope]| {
        let (api, group) = ("rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io");
        let mut metadata = json!({ "name": "operator" });
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        let all = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": api, "kind": kind, "metadata": metadata, "rules": rules(scopes) },
            { "apiVersion": api, "kind": format!("{kind}Binding"), "metadata": metadata,
                "roleRef": { "apiGroup": group, "kind": kind, "name": "operator" },
                "subjects": [{ "apiGroup": group, "kind": "User", "name": PLAIN_USER }] },
        ] });
        cluster.server.kubectl(&["apply", "-f", "-"], &all.to_string());
    };
    give("ClusterRole", None, &[Scope::Cluster]);
    give("Role", Some("bascule-system"), &[Scope::Own]);
    for namespace in namespaces {
        give("Role", Some(namespace), &[Scope::Kinds, Scope::Applications]);
    }
}

fn until(what: &str, log: &Path, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        let log = || fs::read_to_string(log).unwrap_or_default();
        assert!(since.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn an_operator_of_named_namespaces_acts_there_with_rights_there_alone_and_sees_no_policy_elsewhere() {
    // The policy shop/shop is there, and nobody's here.
    let cluster = Cluster::start().await;
    let make = |namespace: &str| cluster.server.kubectl(&["create", "namespace", namespace], "");
    make("bascule-system");
    for namespace in ["web", "blog", "elsewhere"] {
        make(namespace);
        let policy = POLICY.replace("NAMESPACE", namespace);
        cluster.server.kubectl(&["apply", "--server-side", "-f", "-"], &policy);
    }
    grant(&cluster, &["web", "blog"]);
    let arbiter = arbiter::Cluster::start_with(Duration::from_millis(300)).await;
    let folder = TempDir::new().unwrap();
    let tls = arbiter.settings("operator", vec![arbiter.endpoint(0)]).tls;
    for (name, content) in
        [("ca.crt", &tls.ca[..]), ("tls.crt", &tls.cert), ("tls.key", tls.key.expose_secret())]
    {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let http = free_port();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let endpoints: Vec<String> = (0..3).map(|i| arbiter.endpoint(i)).collect();
    let log = folder.path().join("log");
    let kubeconfig = cluster.server.plain_kubeconfig(cluster.server.address().port());
    let out = File::create(&log).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_bascule"))
        .args(["operator", "--site", "paris", "--profile", "region", "--arbiter-election", "300ms"])
        .args(["--kubeconfig", &kubeconfig.display().to_string(), "--watch-namespaces", "web,blog"])
        .args(["--arbiter-endpoints", &endpoints.join(","), "--arbiter-ca", &file("ca.crt")])
        .args(["--arbiter-cert", &file("tls.crt"), "--arbiter-key", &file("tls.key")])
        .args(["--guard-certificates", &folder.path().display().to_string()])
        .args(["--guard-listen", "127.0.0.1:0", "--git-cache", &file("git")])
        .args(["--http-listen", &format!("127.0.0.1:{http}")])
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let operator = Operator { http, process };

    let field = |kind: &str, namespace: &str, name: &str, path: &str| {
        cluster.server.kubectl(&["get", kind, name, "-n", namespace, "-o", &format!("jsonpath={path}")], "")
    };
    let site = |namespace: &str| field("fop", namespace, "web", "{.status.site}");
    until("both policies have a status", &log, || site("web") == "paris" && site("blog") == "paris");
    until("the operator is ready", &log, || operator.ready());
    // What people do later is seen at once, there and nowhere else.
    let soon = (Timestamp::now() + 1.hours()).to_string();
    for namespace in ["elsewhere", "web"] {
        let hold = json!({
            "apiVersion": "bascule.dev/v1alpha1", "kind": "Move",
            "metadata": { "name": "hold", "namespace": namespace },
            "spec": { "policyRef": { "name": "web" }, "type": "Hold", "epoch": 1, "notAfter": soon, "reason": "a test" },
        });
        cluster.server.kubectl(&["create", "-f", "-"], &hold.to_string());
    }
    until("the Move has a status", &log, || !field("moves", "web", "hold", "{.status}").is_empty());
    for (namespace, policy) in [("elsewhere", "web"), ("shop", "shop")] {
        assert_eq!(field("fop", namespace, policy, "{.status}"), "", "{namespace}/{policy} was seen");
    }
    assert_eq!(field("moves", "elsewhere", "hold", "{.status}"), "");
    let said = fs::read_to_string(&log).unwrap();
    assert!(!said.contains("orbidden"), "a right is missing:\n{said}");
}
