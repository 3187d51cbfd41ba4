//! `bascule check` as people run it: of files, and against a real API server where one thing after the other is wrong.

use std::fs;
use std::path::Path;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::live::{Cluster, Said, answered, condition, gate, program, repository, steady};

fn check(arguments: &[&str]) -> Said {
    answered(program(Path::new("/nowhere/config")).arg("check").args(arguments), "")
}

/// The examples with some text replaced, as files in a directory.
fn files(directory: &Path, changes: &[(&str, &str, &str)]) -> String {
    for example in ["shop.yaml", "pilot-light.yaml", "three-sites.yaml", "move.yaml"] {
        let mut text = fs::read_to_string(repository().join("examples").join(example)).unwrap();
        for (_, from, to) in changes.iter().filter(|(file, ..)| *file == example) {
            assert!(text.contains(from), "{from} is not in {example}");
            text = text.replacen(from, to, 1);
        }
        fs::write(directory.join(example), text).unwrap();
    }
    directory.display().to_string()
}

/// `code object field` of every finding that matters more than a note.
fn codes(said: &Said) -> Vec<String> {
    let report = said.json();
    let text = |f: &Value, key: &str| f[key].as_str().unwrap().to_owned();
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] != "info")
        .map(|f| format!("{} {} {}", text(f, "code"), text(f, "object"), text(f, "field")))
        .collect()
}

#[test]
fn files_are_checked_without_a_cluster() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let name = empty.path().display().to_string();
    check(&[&name]).fails(&[&format!(
        "found no FailoverPolicy, no Move and no PolicySource in {name}, expected at least one"
    )]);

    let directory = tempfile::tempdir().unwrap();
    let found = |changes: &[(&str, &str, &str)], more: &[&str]| {
        let all = files(directory.path(), changes);
        let arguments: Vec<&str> = [&[all.as_str(), "-o", "json"], more].concat();
        check(&arguments)
    };
    // A Move of the year 2026 is over some day, so it gets another one.
    let later = ("move.yaml", "notAfter: \"2026-11-28T14:00:00Z\"", "notAfter: \"2126-11-28T14:00:00Z\"");
    let said = found(&[later], &[]);
    assert_eq!((said.code, codes(&said)), (0, Vec::new()), "{said:?}");
    check(&[&files(directory.path(), &[later])])
        .says(0, &["4 files: nothing is wrong.", "3 policies and 1 Move of namespace shop"]);

    let said = found(&[later, ("shop.yaml", "www.shop.example.", "www.elsewhere.example.")], &[]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("expected a name in the zone 'shop.example.'"), "{said:?}");
    let place = &said.json()["findings"][0]["object"];
    assert!(place.as_str().unwrap().contains("shop.yaml:"), "the line is named: {place}");

    for (file, from, to, code) in [
        (
            "shop.yaml",
            "time: 1m",
            "time: 5s",
            "DataLossTimeTooShort FailoverPolicy shop/shop spec.failover.promote.maxDataLoss.time",
        ),
        (
            "shop.yaml",
            "[\"198.51.100.10\"]",
            "[\"192.0.2.10\"]",
            "SameAddress FailoverPolicy shop/shop spec.traffic[public].dns.addresses",
        ),
        (
            "shop.yaml",
            "replicationHost: 198.51.100.10",
            "replicationHost: 203.0.113.10",
            "SameReplicationHost FailoverPolicy shop/shop spec.databases[main].postgresql.instances",
        ),
        (
            "pilot-light.yaml",
            "name: wiki.shop.example.",
            "name: www.shop.example.",
            "Overlap FailoverPolicy shop/wiki spec.traffic[public].dns.name",
        ),
        (
            "move.yaml",
            "policyRef: { name: shop }",
            "policyRef: { name: shpo }",
            "MoveWithoutPolicy Move shop/2026-11-28-paris-kernel",
        ),
        ("move.yaml", "to: lyon", "to: lyn", "MoveSite Move shop/2026-11-28-paris-kernel"),
    ] {
        let said = found(&[later, (file, from, to)], &[]);
        let codes = codes(&said);
        assert!(
            codes.len() == 1 && codes[0].starts_with(code.split(" spec.policy").next().unwrap()),
            "{code}: {codes:?}"
        );
        assert_eq!(said.code, if code.starts_with("SameAddress") { 0 } else { 2 }, "{said:?}");
    }
    let past = (
        "move.yaml",
        "notBefore: \"2026-11-28T12:00:00Z\"\n  notAfter: \"2026-11-28T14:00:00Z\"",
        "notAfter: \"2020-11-28T14:00:00Z\"",
    );
    let said = found(&[past], &[]);
    assert_eq!((said.code, codes(&said).len()), (0, 1), "a warning is no error: {said:?}");
    assert_eq!(found(&[past], &["--strict"]).code, 2);
    let said = found(&[later], &["--profile", "metro"]);
    assert!(codes(&said).iter().all(|c| c.starts_with("TimingProfile")) && said.code == 2, "{said:?}");
    found(&[later], &["--profile", "metro", "--arbiter-election", "300ms"]).says(0, &[]);

    // What says where git is, is read for itself; among the policies that are read from there it would be refused.
    let source = fs::read_to_string(repository().join("examples/source.yaml")).unwrap();
    let with_source = |text: &str| {
        let all = files(directory.path(), &[later]);
        fs::write(directory.path().join("source.yaml"), text).unwrap();
        check(&[&all, "-o", "json"])
    };
    let said = with_source(&source);
    assert_eq!((said.code, codes(&said)), (0, Vec::new()), "{said:?}");
    assert!(said.out.contains("1 source of namespace shop"), "{said:?}");
    check(&[&repository().join("examples/source.yaml").display().to_string()])
        .says(0, &["nothing is wrong."]);
    let said = with_source(&source.replace("interval: 30s", "interval: 30"));
    let found = codes(&said);
    assert!(found.len() == 1 && found[0].ends_with("spec.interval"), "{found:?}");
    assert!(found[0].starts_with("FileInvalid ") && found[0].contains("source.yaml:"), "{found:?}");
    assert_eq!(said.code, 2);
    let said = with_source(&format!("{source}---\n{}", source.replace("path: shop", "path: web")));
    assert!(codes(&said)[0].ends_with(" metadata.name"), "one name is there twice: {said:?}");
    let said = with_source(&source.replace("path: shop", "path: ."));
    let found = codes(&said);
    assert!(
        found.len() == 1 && found[0].starts_with("SourceInItsFolder PolicySource shop/policies"),
        "{found:?}"
    );
    assert_eq!(said.code, 0, "from here it is not known which repository it is: {said:?}");
    let policy = fs::read_to_string(repository().join("examples/shop.yaml")).unwrap();
    let said = with_source(&format!("{source}---\n{}", policy.replacen("name: shop", "name: another", 1)));
    let found = codes(&said);
    assert!(
        found.len() == 1 && found[0].starts_with("FileInvalid "),
        "beside a policy it is refused: {found:?}"
    );
    assert!(said.out.contains("keep other objects outside of spec.path"), "{said:?}");
    fs::remove_file(directory.path().join("source.yaml")).unwrap();

    check(&["/nowhere.yaml"]).fails(&["/nowhere.yaml", "a YAML file, or a directory"]);
    check(&["examples", "--context", "lyon"]).fails(&["with FILE none is asked"]);
    check(&["x.yaml", "--profile", "galaxy"]).fails(&["--profile"]);
}

/// What the example policy names at lyon, as it should be.
fn whole(cluster: &Cluster) {
    let yaml = "
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: main, namespace: shop }
spec:
  serviceName: main
  selector: { matchLabels: { app: main } }
  template:
    metadata: { labels: { app: main } }
    spec:
      containers:
        - { name: postgres, image: postgres, command: [/opt/bascule/bascule, guard, postgres, --, postgres] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers: [{ name: web, image: web }]
---
apiVersion: v1
kind: ConfigMap
metadata: { name: web-flags, namespace: shop }
---
apiVersion: v1
kind: Secret
metadata: { name: main-bascule, namespace: shop }
stringData: { username: bascule, password: planted-1 }
---
apiVersion: v1
kind: Secret
metadata: { name: main-replication, namespace: shop }
stringData: { username: replication, password: planted-2 }
---
apiVersion: v1
kind: Secret
metadata: { name: dns-key, namespace: shop }
stringData: { name: bascule., algorithm: hmac-sha256, secret: c2VjcmV0LXBsYW50ZWQtMw== }
";
    cluster.server.kubectl(&["apply", "--server-side", "--field-manager=test", "-f", "-"], yaml);
    // The value of the flag belongs to Bascule.
    let flag = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web-flags", "namespace": "shop" },
        "data": { "READ_ONLY": "0" },
    });
    cluster.server.kubectl(
        &["apply", "--server-side", "--field-manager=bascule-read-only", "-f", "-"],
        &flag.to_string(),
    );
    // Name servers that nobody runs: loopback answers at once that there is none.
    let servers = json!([
        { "op": "replace", "path": "/spec/traffic/0/dns/updateServers", "value": ["127.0.0.1:9"] },
        { "op": "replace", "path": "/spec/traffic/0/dns/verifyServers", "value": ["127.0.0.1:9"] },
    ]);
    cluster
        .server
        .kubectl(&["patch", "fop", "shop", "-n", "shop", "--type=json", "-p", &servers.to_string()], "");
}

/// Everything in one life of the server: it takes long to start, and each part stands on the one before.
#[tokio::test]
async fn a_cluster_is_checked_and_each_thing_that_is_wrong_has_its_code() {
    let mut cluster = Cluster::start().await;
    whole(&cluster);
    cluster.write("shop", &steady(Timestamp::now()));
    let run = |more: &[&str]| cluster.run(&[&["check", "-o", "json"][..], more].concat());
    let dns = ["DnsServerUnreachable", "DnsVerifyServer"];
    let expect = |what: &str, code: i32, wanted: &[&str]| {
        cluster.write("shop", &steady(Timestamp::now()));
        let said = run(&[]);
        let found: Vec<String> =
            codes(&said).into_iter().filter(|c| !dns.iter().any(|d| c.starts_with(d))).collect();
        assert_eq!((said.code, found.len()), (code, wanted.len()), "{what}: {found:#?}\n{said:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.starts_with(wanted), "{what}: {found} is not {wanted}");
        }
        assert!(!said.out.contains("planted"), "{what}: a secret is told: {}", said.out);
    };

    // All is well, but for name servers that cannot be reached from here.
    expect("as it should be", 0, &[]);
    let said = run(&[]);
    assert!(codes(&said).iter().all(|c| dns.iter().any(|d| c.starts_with(d))), "{said:?}");
    assert!(codes(&said).len() >= 2, "{said:?}");
    for looked in [
        "the API server's clock",
        "3 definitions",
        "5 rights of yours",
        "what it names in lyon",
        "DNS www.shop.example.",
    ] {
        assert!(said.out.contains(looked), "{looked}: {said:?}");
    }
    cluster.run(&["check"]).says(
        0,
        &[
            "context test of kubeconfig",
            "DnsServerUnreachable FailoverPolicy shop/shop",
            "docs/checks.md#dnsserverunreachable",
        ],
    );

    // One thing after the other; each is put right before the next.
    let set = |arguments: &[&str]| cluster.server.kubectl(arguments, "");
    let patched = |kind: &str, name: &str, patch: &Value| {
        cluster
            .server
            .kubectl(&["patch", kind, name, "-n", "shop", "--type=merge", "-p", &patch.to_string()], "");
    };
    let pod = |spec: Value| json!({ "spec": { "template": { "spec": spec } } });
    let container = |more: Value| {
        let mut c = json!({ "name": "postgres", "image": "postgres", "command": ["/opt/bascule/bascule", "guard", "postgres", "--", "postgres"] });
        c.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pod(json!({ "containers": [c] }))
    };
    patched("statefulset", "main", &pod(json!({ "shareProcessNamespace": true })));
    expect(
        "shared processes",
        2,
        &["SharedProcesses StatefulSet shop/main spec.template.spec.shareProcessNamespace"],
    );
    patched("statefulset", "main", &pod(json!({ "shareProcessNamespace": null })));
    patched("statefulset", "main", &container(json!({ "command": ["postgres"] })));
    expect("no guard", 2, &["GuardAbsent StatefulSet shop/main"]);
    patched(
        "statefulset",
        "main",
        &container(json!({ "livenessProbe": { "exec": { "command": ["pg_isready"] } } })),
    );
    expect(
        "a probe of the server",
        0,
        &["LivenessProbe StatefulSet shop/main spec.template.spec.containers[postgres].livenessProbe"],
    );
    patched("statefulset", "main", &container(json!({})));
    let spilo = |value: Value| json!({ "metadata": { "labels": { "application": value } } });
    patched("statefulset", "main", &spilo(json!("spilo")));
    expect("another operator", 2, &["AnotherOperator StatefulSet shop/main metadata"]);
    patched("statefulset", "main", &spilo(Value::Null));
    // The Service that the policy's host names leads to pods of another operator, whoever has the StatefulSet.
    let service = |selector: Value| {
        let spec = json!({ "selector": selector, "ports": [{ "port": 5432 }] });
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "main", "namespace": "shop" }, "spec": spec })
    };
    let create = |object: &Value| cluster.server.kubectl(&["create", "-f", "-"], &object.to_string());
    create(&service(json!({ "app": "main" })));
    expect("a Service of its own", 0, &[]);
    set(&["delete", "service", "main", "-n", "shop"]);
    create(&service(json!({ "cnpg.io/cluster": "main", "cnpg.io/instanceRole": "primary" })));
    expect("another operator's Service", 2, &["AnotherOperator Service shop/main spec.selector"]);
    set(&["delete", "service", "main", "-n", "shop"]);
    // An operator that makes pods without a StatefulSet is known by them; any other pod of such a name is nobody's.
    let lone = |name: &str, labels: Value| {
        let containers = json!([{ "name": "postgres", "image": "postgres" }]);
        let metadata = json!({ "name": name, "namespace": "shop", "labels": labels });
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": { "containers": containers } })
    };
    set(&["delete", "statefulset", "main", "-n", "shop"]);
    create(&lone("main-0", json!({ "app": "main" })));
    create(&lone("mainframe-1", json!({ "cnpg.io/cluster": "mainframe" })));
    expect("pods, and none of another operator", 2, &["StatefulSetMissing FailoverPolicy shop/shop"]);
    create(&lone("main-1", json!({ "cnpg.io/cluster": "main" })));
    expect("pods of another operator", 2, &["AnotherOperator Pod shop/main-1 metadata"]);
    set(&["delete", "pods", "--all", "-n", "shop", "--now"]);
    whole(&cluster);
    expect("all is well again", 0, &[]);
    set(&["scale", "deployment", "web", "-n", "shop", "--replicas=3"]);
    expect("scaled by hand", 0, &[]);
    let replicas = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "shop" }, "spec": { "replicas": 3 } });
    cluster.server.kubectl(
        &["apply", "--server-side", "--field-manager=argocd-controller", "-f", "-"],
        &replicas.to_string(),
    );
    expect(
        "another controller has the replicas",
        2,
        &["Contended FailoverPolicy shop/shop spec.workloads[web].replicas"],
    );
    let let_go = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "shop" } });
    cluster.server.kubectl(
        &["apply", "--server-side", "--field-manager=argocd-controller", "-f", "-"],
        &let_go.to_string(),
    );
    expect("it lets go", 0, &[]);
    patched(
        "deployment",
        "web",
        &pod(
            json!({ "volumes": [{ "name": "uploads", "persistentVolumeClaim": { "claimName": "uploads" } }] }),
        ),
    );
    expect("a volume", 0, &["UnreplicatedVolume FailoverPolicy shop/shop spec.workloads[web].targetRef"]);
    patched("deployment", "web", &pod(json!({ "volumes": null })));
    set(&["autoscale", "deployment", "web", "-n", "shop", "--min=1", "--max=3"]);
    expect("an autoscaler", 0, &["Autoscaler FailoverPolicy shop/shop spec.workloads[web].replicas"]);
    set(&["delete", "hpa", "web", "-n", "shop"]);
    patched("secret", "main-bascule", &json!({ "data": { "password": null } }));
    expect(
        "a key is missing",
        2,
        &[
            "SecretUnusable FailoverPolicy shop/shop spec.databases[main].postgresql.instances[lyon].secretRef",
        ],
    );
    patched("secret", "main-bascule", &json!({ "stringData": { "password": "planted-1" } }));
    patched("secret", "dns-key", &json!({ "stringData": { "algorithm": "hmac-md5" } }));
    expect(
        "an old algorithm",
        2,
        &["SecretUnusable FailoverPolicy shop/shop spec.traffic[public].dns.tsigSecretRef"],
    );
    patched("secret", "dns-key", &json!({ "stringData": { "algorithm": "hmac-sha256" } }));
    patched("configmap", "web-flags", &json!({ "data": { "READ_ONLY": "perhaps" } }));
    expect(
        "a flag that says neither",
        2,
        &[
            "Contended FailoverPolicy shop/shop spec.workloads[web].readOnly",
            "FlagValue ConfigMap shop/web-flags data.READ_ONLY",
        ],
    );
    set(&["delete", "configmap", "web-flags", "-n", "shop"]);
    expect("no flag", 0, &["FlagMissing FailoverPolicy shop/shop spec.workloads[web].readOnly"]);
    set(&["create", "configmap", "web-flags", "-n", "shop", "--from-literal=OTHER=1"]);
    patched("configmap", "web-flags", &json!({ "immutable": true }));
    let said = run(&[]);
    assert!(
        codes(&said).iter().any(|c| c.starts_with("FlagImmutable ConfigMap shop/web-flags immutable")),
        "{said:?}"
    );
    set(&["delete", "configmap", "web-flags", "-n", "shop"]);
    set(&[
        "create",
        "configmap",
        "web-flags",
        "-n",
        "shop",
        "--field-manager=bascule-read-only",
        "--from-literal=OTHER=1",
    ]);
    set(&["delete", "deployment", "web", "-n", "shop"]);
    set(&["delete", "statefulset", "main", "-n", "shop"]);
    set(&["delete", "secret", "main-replication", "-n", "shop"]);
    expect("nothing is there", 2, &["StatefulSetMissing", "SecretMissing", "WorkloadMissing", "FlagMissing"]);

    // What the operator says.
    let says = |status: &Value, wanted: &str| {
        cluster.write("shop", status);
        let said = run(&[]);
        assert!(codes(&said).iter().any(|c| c.starts_with(wanted)), "{wanted}: {said:?}");
    };
    let now = Timestamp::now();
    says(&steady(now - 10.minutes()), "OperatorSilent FailoverPolicy shop/shop status");
    let mut deaf = steady(now);
    deaf["conditions"][0] = condition("Ready", "Unknown", "ArbiterUnreachable", "no member answered", now);
    says(&deaf, "ArbiterUnheard FailoverPolicy shop/shop");
    let mut differ = steady(now);
    differ["sites"][0]["specHash"] = json!("b");
    says(&differ, "SpecsDiffer FailoverPolicy shop/shop");
    let mut blocked = steady(now);
    blocked["gates"][1] = gate("loss", "Block", "25165824 bytes known", "at most 16777216 bytes");
    says(&blocked, "Blocked FailoverPolicy shop/shop");
    let mut deaf_people = steady(now);
    let unknown =
        condition("ChannelsKnown", "False", "UnknownChannel", "this site has no channel pager", now);
    deaf_people["conditions"].as_array_mut().unwrap().push(unknown);
    says(&deaf_people, "ChannelUnknown FailoverPolicy shop/shop spec.notifications");
    let mut ahead = steady(now);
    ahead["writtenAt"] = json!((now + 10.minutes()).to_string());
    says(&ahead, "Clock FailoverPolicy shop/shop status.writtenAt");
    let mut refused = steady(now);
    refused["conditions"][0] = condition("Accepted", "False", "Invalid", "spec.sites: found one", now);
    says(&refused, "PolicyNotAccepted FailoverPolicy shop/shop");
    cluster.write("shop", &steady(now));

    // A source, and Moves.
    cluster
        .server
        .kubectl(&["apply", "-f", &repository().join("examples/source.yaml").display().to_string()], "");
    assert!(codes(&run(&[])).iter().any(|c| c.starts_with("SourceFailing PolicySource shop/policies")));
    let mv = fs::read_to_string(repository().join("examples/move.yaml")).unwrap();
    cluster.server.kubectl(&["create", "-f", "-"], &mv.replace("to: lyon", "to: lille"));
    assert!(
        codes(&run(&[])).iter().any(|c| c.starts_with("MoveSite Move shop/2026-11-28-paris-kernel spec.to"))
    );

    // Rights: the operator's, with one that is missing, and a person's.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "operator" },
        "rules": [
            { "apiGroups": ["bascule.dev"], "resources": ["failoverpolicies", "moves"], "verbs": ["list", "watch"] },
            { "apiGroups": ["bascule.dev"], "resources": ["failoverpolicies/status", "moves/status"], "verbs": ["patch"] },
            { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch"] },
            { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"] },
            { "apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["list"] },
            { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
            { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"] },
        ],
    });
    cluster.server.kubectl(&["create", "-f", "-"], &role.to_string());
    set(&[
        "create",
        "clusterrolebinding",
        "operator",
        "--clusterrole=operator",
        "--serviceaccount=bascule-system:bascule",
    ]);
    let said = run(&["--operator", "bascule-system/bascule"]);
    let missing: Vec<String> =
        codes(&said).into_iter().filter(|c| c.starts_with("OperatorRightMissing")).collect();
    assert_eq!(
        missing,
        ["OperatorRightMissing ServiceAccount bascule-system/bascule patch deployments.apps web"],
        "{said:?}"
    );
    // An operator of the namespace shop does not see a policy elsewhere: that is said, and not what follows from it.
    let account = "--serviceaccount=bascule-system:limited";
    set(&["create", "rolebinding", "limited", "-n", "shop", "--clusterrole=operator", account]);
    cluster.make("blog");
    let said = run(&["--operator", "bascule-system/limited"]);
    let seen = |of: &str| -> Vec<String> { codes(&said).into_iter().filter(|c| c.starts_with(of)).collect() };
    assert_eq!(seen("NotWatched"), ["NotWatched FailoverPolicy blog/shop metadata.namespace"], "{said:?}");
    assert_eq!(
        seen("OperatorRightMissing"),
        ["OperatorRightMissing ServiceAccount bascule-system/limited patch deployments.apps web"],
        "{said:?}"
    );
    set(&["delete", "fop", "shop", "-n", "blog"]);
    cluster
        .run(&["check", "--operator", "bascule"])
        .fails(&["--operator: found \"bascule\"", "NAMESPACE/NAME"]);
    set(&["create", "clusterrole", "looks", "--verb=list", "--resource=failoverpolicies.bascule.dev"]);
    set(&["create", "clusterrolebinding", "looks", "--clusterrole=looks", "--user=nobody"]);
    let nobody = cluster.changed("nobody", "test-admin-token}", "test-admin-token, as: nobody}");
    let said = Cluster::run_as(&nobody, &["check", "-o", "json"]);
    let rights: Vec<String> = codes(&said).into_iter().filter(|c| c.starts_with("RightMissing")).collect();
    assert_eq!(rights.len(), 4, "{said:?}");
    assert!(
        said.out.contains("NotChecked") && said.out.contains("you may not list policysources.bascule.dev"),
        "{said:?}"
    );

    // Definitions of another version, none at all, and nobody who answers.
    let patch = json!([{ "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "another" }]);
    set(&["patch", "crd", "moves.bascule.dev", "--type=json", "-p", &patch.to_string()]);
    assert!(
        codes(&run(&[]))
            .iter()
            .any(|c| c.starts_with("DefinitionsDiffer CustomResourceDefinition moves.bascule.dev"))
    );
    set(&["delete", "crd", "failoverpolicies.bascule.dev"]);
    cluster.server.shell("for i in $(seq 150); do kubectl get fop -A || exit 0; sleep 0.2; done; exit 1");
    let said = run(&[]);
    assert_eq!(
        (said.code, codes(&said)),
        (2, vec!["DefinitionsMissing CustomResourceDefinition ".to_owned()]),
        "{said:?}"
    );
    cluster.server.stop();
    cluster.run(&["check"]).fails(&["no connection: tcp connect error", "--context"]).in_time();
}
