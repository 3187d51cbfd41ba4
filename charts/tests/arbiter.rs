//! The chart of the arbiter's member in the hands of the real helm: what it renders, and what it says of values that are
//! wrong. Both are kept as files under `golden/arbiter/`; `make chart-golden` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod real_helm;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::real_helm::{Answer, folder, golden, helm, objects, of_kind, refused};

fn render(more: &[&str]) -> Answer {
    let chart = folder().join("bascule-arbiter");
    let values = chart.join("ci/paris-values.yaml");
    let head = ["template", "bascule-arbiter", chart.to_str().unwrap(), "-n", "bascule-arbiter"];
    helm(&[&head[..], &["-f", values.to_str().unwrap()], more].concat())
}

fn rendered(more: &[&str]) -> Vec<Value> {
    let answer = render(more);
    assert!(answer.ok, "{more:?}: {}", answer.err);
    objects(&answer.out)
}

#[test]
fn lint_finds_nothing_to_warn_of() {
    let chart = folder().join("bascule-arbiter");
    let values = chart.join("ci/paris-values.yaml");
    let answer = helm(&["lint", "--strict", chart.to_str().unwrap(), "-f", values.to_str().unwrap()]);
    assert!(answer.ok && answer.out.contains("0 chart(s) failed"), "{}{}", answer.out, answer.err);
    assert!(!answer.out.contains("[WARNING]"), "{}", answer.out);
}

#[test]
fn what_is_rendered_is_what_was_looked_at() {
    let everything = [
        "--set",
        "maintenance.enabled=true,maintenance.secretName=bascule-arbiter-maintenance,maintenance.persistence.storageClass=slow",
        "--set",
        "service.loadBalancerClass=metal,service.loadBalancerSourceRanges={198.51.100.0/24},service.annotations.team=platform",
        "--set",
        "image.pullSecrets={registry},nodeSelector.tier=infra,podLabels.team=platform,persistence.storageClass=fast,profile=metro",
        "--set",
        "tolerations[0].operator=Exists,cluster.state=existing,listenAddress=[::]",
    ];
    let few = [
        "--set",
        "networkPolicy.enabled=false,runAsUser=null,priorityClassName=,service.type=HostPort,nodeSelector.node=one,member=third",
    ];
    let node_ports = ["--set-json", NODE_PORTS, "--set", "service.type=NodePort"];
    let cases = [
        ("as-it-comes", &[][..]),
        ("everything-on", &everything),
        ("least", &few),
        ("node-ports", &node_ports),
    ];
    for (name, more) in cases {
        let answer = render(more);
        assert!(answer.ok, "{name}: {}", answer.err);
        golden(&format!("arbiter/rendered/{name}.yaml"), &answer.out);
    }
}

#[test]
fn every_pod_meets_the_restricted_standard_and_there_is_one_member_with_a_volume() {
    let objects = rendered(&["--set", "maintenance.enabled=true,maintenance.secretName=x"]);
    let (sets, jobs) = (of_kind(&objects, "StatefulSet"), of_kind(&objects, "CronJob"));
    assert_eq!((sets.len(), jobs.len()), (1, 1));
    assert_eq!(sets[0]["spec"]["replicas"], 1);
    assert_eq!(sets[0]["spec"]["volumeClaimTemplates"].as_array().unwrap().len(), 1);
    let pods =
        [&sets[0]["spec"]["template"]["spec"], &jobs[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]];
    for pod in pods {
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let containers =
            ["initContainers", "containers"].iter().filter_map(|kind| pod[*kind].as_array()).flatten();
        for container in containers {
            let allowed = &container["securityContext"];
            assert_eq!(allowed["allowPrivilegeEscalation"], false, "{}", container["name"]);
            assert_eq!(allowed["capabilities"]["drop"], json!(["ALL"]), "{}", container["name"]);
            assert_eq!(allowed["readOnlyRootFilesystem"], true, "{}", container["name"]);
            assert!(container["ports"].as_array().into_iter().flatten().all(|p| p["hostPort"].is_null()));
        }
    }
}

#[test]
fn every_value_has_its_place_in_the_schema_and_no_other_is_taken() {
    let read = |name: &str| std::fs::read_to_string(folder().join("bascule-arbiter").join(name)).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values = bascule_charts::values::documented(&read("values.yaml")).unwrap();
    let known: BTreeSet<String> = values.into_iter().map(|v| v.path).collect();
    assert!(known.len() > 35, "{}", known.len());
    let mut listed = BTreeSet::new();
    collect(&schema, "", &mut listed);
    // Helm gives it to every chart that is a part of another.
    listed.remove("global");
    assert_eq!(listed, known, "the schema and values.yaml differ");
}

fn collect(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    assert_eq!(schema["additionalProperties"], false, "{path}: something unknown would be taken");
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if below["properties"].is_object() && path != "resources" {
            collect(below, &path, into);
        } else {
            into.insert(path);
        }
    }
}

/// `--set` of one field of an entry leaves the entry's others out.
const NODE_PORTS: &str = r#"members=[{"name":"paris","clientUrl":"https://192.0.2.1:32379","peerUrl":"https://192.0.2.1:32380"},{"name":"lyon","clientUrl":"https://192.0.2.2:32379","peerUrl":"https://192.0.2.2:32380"},{"name":"third","clientUrl":"https://[2001:db8::7]:2379","peerUrl":"https://[2001:db8::7]:2380"}]"#;
const TWO: &str = r#"members=[{"name":"paris","clientUrl":"https://a:2379","peerUrl":"https://a:2380"},{"name":"lyon","clientUrl":"https://b:2379","peerUrl":"https://b:2380"}]"#;
const NAMED_TWICE: &str = r#"members=[{"name":"paris","clientUrl":"https://a:2379","peerUrl":"https://a:2380"},{"name":"paris","clientUrl":"https://b:2379","peerUrl":"https://b:2380"},{"name":"c","clientUrl":"https://c:2379","peerUrl":"https://c:2380"}]"#;
const URLS_TWICE: &str = r#"members=[{"name":"paris","clientUrl":"https://a:2379","peerUrl":"https://a:2380"},{"name":"b","clientUrl":"https://a:2379","peerUrl":"https://b:2380"},{"name":"c","clientUrl":"https://c:2379","peerUrl":"https://c:2380"}]"#;
const PLAIN_HTTP: &str = r#"members=[{"name":"paris","clientUrl":"http://a:2379","peerUrl":"https://a"},{"name":"b","clientUrl":"https://b:2379","peerUrl":"https://b:2380"},{"name":"c","clientUrl":"https://c:2379","peerUrl":"https://c:2380"}]"#;
const NO_PEER: &str = r#"members=[{"name":"paris","clientUrl":"https://a:2379"}]"#;
const LOW_PORT: &str = r#"members=[{"name":"paris","clientUrl":"https://a:443","peerUrl":"https://a:2380"},{"name":"b","clientUrl":"https://b:2379","peerUrl":"https://b:2380"},{"name":"c","clientUrl":"https://c:2379","peerUrl":"https://c:2380"}]"#;
const NOT_A_NAME: &str = r#"members=[{"name":"paris","clientUrl":"https://a:2379","peerUrl":"https://a:2380"},{"name":"Lyon!","clientUrl":"https://b:2379","peerUrl":"https://b:2380"},{"name":"c","clientUrl":"https://c:2379","peerUrl":"https://c:2380"}]"#;

/// A name, what is set, and what the answer has to name.
const WRONG: &[(&str, &[&str], &str)] = &[
    ("member-missing", &["member="], "member is not set"),
    ("member-of-another-arbiter", &["member=nice"], "member is \"nice\""),
    ("members-missing", &["members=[]"], "members is empty"),
    ("members-two", &[TWO], "members has 2"),
    ("members-named-twice", &[NAMED_TWICE], "members names one twice"),
    ("members-with-the-same-url", &[URLS_TWICE], "members[1].clientUrl"),
    ("members-without-tls-and-port", &[PLAIN_HTTP], "members[0].clientUrl"),
    ("members-without-a-field", &[NO_PEER], "peerUrl"),
    ("members-not-a-name", &[NOT_A_NAME], "members[1].name"),
    ("port-of-root", &[LOW_PORT], "port 443"),
    ("token-missing", &["cluster.token="], "cluster.token"),
    ("state-unknown", &["cluster.state=old"], "/cluster/state"),
    ("secret-missing", &["tls.secretName="], "tls.secretName"),
    ("profile-unknown", &["profile=galaxy"], "/profile"),
    ("replicas-as-elsewhere", &["replicas=3"], "replicas"),
    ("quota-too-small", &["store.quotaBytes=1024"], "/store/quotaBytes"),
    ("keeps-without-unit", &["store.keeps=abc"], "/store/keeps"),
    ("service-type-unknown", &["service.type=Ingress"], "/service/type"),
    ("node-port-out-of-range", &["service.type=NodePort"], "service.type is NodePort"),
    ("host-port-of-any-node", &["service.type=HostPort"], "service.type is HostPort"),
    (
        "ranges-without-load-balancer",
        &["service.type=ClusterIP", "service.loadBalancerSourceRanges={10.0.0.0/8}"],
        "service.loadBalancerSourceRanges",
    ),
    ("metrics-at-a-taken-port", &["metrics.port=2380"], "metrics.port"),
    ("size-not-a-quantity", &["persistence.size=lots"], "/persistence/size"),
    ("without-a-volume", &["persistence.enabled=false"], "persistence"),
    ("etcd-too-old", &["image.tag=v3.6.8"], "image.tag"),
    ("etcd-of-another-line", &["image.tag=3.5.30-0"], "image.tag"),
    ("digest-not-a-digest", &["maintenance.image.digest=v1"], "maintenance.image.digest"),
    ("memory-limit-as-kubernetes-writes-it", &["goMemoryLimit=96Mi"], "/goMemoryLimit"),
    ("root", &["runAsUser=0"], "/runAsUser"),
    ("maintenance-as-nobody", &["maintenance.enabled=true"], "maintenance.secretName"),
    ("schedule-not-a-schedule", &["maintenance.schedule=daily"], "/maintenance/schedule"),
    ("cluster-too-old", &["--kube-version=1.27.3"], "Kubernetes v1.27.3"),
    ("several-at-once", &["member=", "cluster.token=", "tls.secretName="], "cluster.token"),
];

#[test]
fn wrong_values_are_refused_with_the_field_and_the_way_out() {
    // `--set` has no way to write a list of objects, or an empty one.
    refused(WRONG, render, |value| value.starts_with("members="), "arbiter/wrong");
}
