//! The chart in the hands of the real helm: what it renders, and what it says of values that are wrong. Both are kept as
//! files under `golden/`; `make chart-golden` writes them anew.
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
    let (chart, values) = (folder().join("bascule"), folder().join("bascule/ci/paris-values.yaml"));
    let head = ["template", "bascule", chart.to_str().unwrap(), "-n", "bascule-system"];
    let values = ["-f", values.to_str().unwrap()];
    helm(&[&head[..], &values, more].concat())
}

fn rendered(more: &[&str]) -> Vec<Value> {
    let answer = render(more);
    assert!(answer.ok, "{more:?}: {}", answer.err);
    objects(&answer.out)
}

/// The definitions are compared by themselves.
const WITHOUT_KINDS: [&str; 4] = ["--set", "crds.enabled=false", "--api-versions", "bascule.dev/v1alpha1"];

#[test]
fn lint_finds_nothing_to_warn_of() {
    let (chart, values) = (folder().join("bascule"), folder().join("bascule/ci/paris-values.yaml"));
    let answer = helm(&["lint", "--strict", chart.to_str().unwrap(), "-f", values.to_str().unwrap()]);
    assert!(answer.ok && answer.out.contains("0 chart(s) failed"), "{}{}", answer.out, answer.err);
    assert!(!answer.out.contains("[WARNING]"), "{}", answer.out);
}

#[test]
fn what_is_rendered_is_what_was_looked_at() {
    let everything = [
        "--api-versions",
        "monitoring.coreos.com/v1",
        "--set",
        "rbac.namespaces={shop,blog},rbac.secretNames={main-bascule,dns-key},image.digest=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "--set",
        "serviceMonitor.enabled=true,serviceMonitor.labels.team=platform,prometheusRule.enabled=true,prometheusRule.allSites=true",
        "--set",
        "prometheusRule.runbookUrl=https://docs.example.org/alerts,networkPolicy.egress.enabled=true,journal.persistence.storageClass=fast",
        "--set",
        "notifications.secretName=bascule-notifications,notifications.channels[0].name=ops-hook,notifications.channels[0].namespaces={shop},notifications.channels[0].webhook.url=https://hooks.example.org/bascule,notifications.channels[0].webhook.secretKey=ops-hook",
        "--set",
        "image.pullSecrets={registry},nodeSelector.tier=infra,podLabels.team=platform,env[0].name=HTTPS_PROXY,env[0].value=http://proxy:3128",
    ];
    let few = [
        "--set",
        "journal.persistence.enabled=false,rbac.people=false,networkPolicy.enabled=false,rbac.secretFlags=true,rbac.httpRoutes=true,runAsUser=null,priorityClassName=",
    ];
    let witness = [
        "--set-json",
        "arbiter.endpoints=[]",
        "--set",
        "arbiter.secretName=,arbiter.witness.secretName=bascule-witness,arbiter.witness.port=443,arbiter.acceptSinglePoint=true,arbiter.election=0s,networkPolicy.egress.enabled=true",
    ];
    let cases =
        [("as-it-comes", &[][..]), ("everything-on", &everything), ("least", &few), ("witness", &witness)];
    for (name, more) in cases {
        let answer = render(&[&WITHOUT_KINDS[..], more].concat());
        assert!(answer.ok, "{name}: {}", answer.err);
        golden(&format!("rendered/{name}.yaml"), &answer.out);
    }
}

#[test]
fn the_kinds_are_the_ones_that_the_operator_was_built_with_and_stay_unless_told_otherwise() {
    for (more, kept) in [(&[][..], true), (&["--set", "crds.keep=false"], false)] {
        let objects = rendered(more);
        let found = of_kind(&objects, "CustomResourceDefinition");
        let definitions = bascule_crds::definitions().unwrap();
        assert_eq!(found.len(), definitions.len());
        for definition in definitions {
            let name = &definition.json["metadata"]["name"];
            let found = found.iter().find(|o| o["metadata"]["name"] == *name).unwrap();
            let policy = &found["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(*policy, if kept { json!("keep") } else { Value::Null }, "{name}");
            assert_eq!(found["spec"], definition.json["spec"], "{name}");
        }
    }
    assert!(of_kind(&rendered(&WITHOUT_KINDS), "CustomResourceDefinition").is_empty());
}

#[test]
fn secrets_are_read_only_where_and_by_the_names_that_are_listed() {
    let objects = rendered(&["--set", "rbac.namespaces={shop},rbac.secretNames={main-bascule}"]);
    let secret_rules: Vec<&Value> = of_kind(&objects, "ClusterRole")
        .iter()
        .chain(&of_kind(&objects, "Role"))
        .flat_map(|role| role["rules"].as_array().unwrap())
        .filter(|rule| rule["resources"].as_array().unwrap().contains(&json!("secrets")))
        .collect();
    assert_eq!(secret_rules.len(), 1, "{secret_rules:?}");
    assert_eq!(secret_rules[0]["resourceNames"], json!(["main-bascule"]));
    assert_eq!(secret_rules[0]["verbs"], json!(["get"]));
    let bound: Vec<&Value> =
        objects.iter().filter(|o| o["roleRef"]["name"] == "bascule-applications").collect();
    assert_eq!(bound.len(), 1);
    assert_eq!(
        (&bound[0]["kind"], &bound[0]["metadata"]["namespace"]),
        (&json!("RoleBinding"), &json!("shop"))
    );
}

#[test]
fn every_alert_is_explained_and_no_other() {
    let on = "prometheusRule.enabled=true,prometheusRule.allSites=true";
    let objects = rendered(&["--api-versions", "monitoring.coreos.com/v1", "--set", on]);
    let rules = of_kind(&objects, "PrometheusRule");
    let alerts: BTreeSet<String> = rules[0]["spec"]["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap().to_owned())
        .collect();
    let page = std::fs::read_to_string(folder().parent().unwrap().join("docs/alerts.md")).unwrap();
    let explained: BTreeSet<String> =
        page.lines().filter_map(|l| l.strip_prefix("### ")).map(str::to_owned).collect();
    assert_eq!(alerts, explained);
}

#[test]
fn every_value_has_its_place_in_the_schema_and_no_other_is_taken() {
    let read = |name: &str| std::fs::read_to_string(folder().join("bascule").join(name)).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values = bascule_charts::values::documented(&read("values.yaml")).unwrap();
    assert!(values.len() > 40, "{}", values.len());
    for value in &values {
        let mut place = &schema;
        for part in value.path.split('.') {
            assert_eq!(
                place["additionalProperties"], false,
                "{}: something unknown would be taken",
                value.path
            );
            place = &place["properties"][part];
            assert!(place.is_object(), "{} is not in values.schema.json", value.path);
        }
    }
    let known: BTreeSet<String> = values.into_iter().map(|v| v.path).collect();
    let mut listed = BTreeSet::new();
    collect(&schema, "", &mut listed);
    // Helm gives it to every chart that is a part of another.
    listed.remove("global");
    assert_eq!(listed, known, "the schema and values.yaml differ");
}

fn collect(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if below["properties"].is_object() && path != "resources" {
            collect(below, &path, into);
        } else {
            into.insert(path);
        }
    }
}

/// A name, what is set, and the field that the answer has to name.
const WRONG: &[(&str, &[&str], &str)] = &[
    ("site-missing", &["site.name="], "site.name"),
    ("site-not-a-name", &["site.name=Paris!"], "site.name"),
    ("site-under-another-key", &["siteName=paris"], "siteName"),
    ("endpoints-missing", &["arbiter.endpoints=[]"], "arbiter.endpoints"),
    ("endpoints-as-text", &["arbiter.endpoints=https://a:2379"], "/arbiter/endpoints"),
    ("endpoints-two", &["arbiter.endpoints={https://a:2379,https://b:2379}"], "arbiter.endpoints"),
    (
        "endpoints-without-tls",
        &["arbiter.endpoints={http://a:2379,https://b:2379,https://c:2379}"],
        "arbiter.endpoints[0]",
    ),
    (
        "endpoints-without-port",
        &["arbiter.endpoints={https://a:2379,https://b,https://c:2379}"],
        "arbiter.endpoints[1]",
    ),
    (
        "endpoints-twice",
        &["arbiter.endpoints={https://a:2379,https://a:2379,https://c:2379}"],
        "arbiter.endpoints",
    ),
    ("arbiter-secret-missing", &["arbiter.secretName="], "arbiter.secretName"),
    ("arbiter-twice", &["arbiter.witness.secretName=w", "arbiter.secretName="], "arbiter.witness.secretName"),
    (
        "witness-with-certificates",
        &["arbiter.witness.secretName=w", "arbiter.endpoints=[]"],
        "arbiter.secretName is \"bascule-arbiter\"",
    ),
    ("single-point-of-members", &["arbiter.acceptSinglePoint=true"], "arbiter.acceptSinglePoint"),
    ("witness-port-of-nothing", &["arbiter.witness.port=0"], "/arbiter/witness/port"),
    ("guards-secret-missing", &["guards.secretName="], "guards.secretName"),
    ("election-too-slow-for-the-profile", &["profile=metro", "arbiter.election=1s"], "arbiter.election"),
    ("election-without-unit", &["arbiter.election=abc"], "arbiter.election"),
    ("generation-below-zero", &["arbiter.generation=-1"], "/arbiter/generation"),
    ("profile-unknown", &["profile=galaxy"], "/profile"),
    ("replicas-two", &["replicas=2"], "replicas"),
    ("replicas-none", &["replicas=0"], "replicas"),
    ("port-below-1024", &["guards.port=443"], "/guards/port"),
    ("ports-the-same", &["http.port=7443"], "http.port"),
    ("listen-address-of-one-interface", &["listenAddress=127.0.0.1"], "/listenAddress"),
    ("digest-not-a-digest", &["image.digest=v1.2.3"], "image.digest"),
    ("pull-policy-unknown", &["image.pullPolicy=Sometimes"], "/image/pullPolicy"),
    ("root", &["runAsUser=0"], "/runAsUser"),
    ("account-of-nobody", &["serviceAccount.create=false"], "serviceAccount.name"),
    ("namespaces-without-rbac", &["rbac.create=false", "rbac.namespaces={shop}"], "rbac.namespaces"),
    ("namespaces-as-pattern", &["rbac.namespaces={shop-*}"], "rbac.namespaces"),
    (
        "claim-without-persistence",
        &["journal.persistence.enabled=false", "journal.persistence.existingClaim=x"],
        "journal.persistence.existingClaim",
    ),
    ("journal-of-no-day", &["journal.days=0"], "/journal/days"),
    ("size-not-a-quantity", &["journal.persistence.size=lots"], "/journal/persistence/size"),
    ("channel-of-no-way", &["notifications.channels[0].name=ops"], "notifications.channels[0]"),
    (
        "channel-of-two-ways",
        &[
            "notifications.channels[0].name=ops",
            "notifications.channels[0].slack.urlKey=a",
            "notifications.channels[0].matrix.urlKey=b",
            "notifications.secretName=n",
        ],
        "slack, matrix",
    ),
    (
        "channel-twice",
        &[
            "notifications.secretName=n",
            "notifications.channels[0].name=ops",
            "notifications.channels[0].slack.urlKey=a",
            "notifications.channels[1].name=ops",
            "notifications.channels[1].slack.urlKey=b",
        ],
        "notifications.channels[1].name",
    ),
    (
        "channel-without-its-secret",
        &["notifications.channels[0].name=ops", "notifications.channels[0].slack.urlKey=a"],
        "notifications.secretName",
    ),
    (
        "channel-as-an-unknown-way",
        &["notifications.channels[0].name=ops", "notifications.channels[0].teams.urlKey=a"],
        "/notifications/channels/0",
    ),
    ("channel-not-a-name", &["notifications.channels[0].name=Ops"], "/notifications/channels/0/name"),
    (
        "mail-to-nobody",
        &[
            "notifications.channels[0].name=ops",
            "notifications.channels[0].smtp.host=mail",
            "notifications.channels[0].smtp.from=a@example.org",
        ],
        "/notifications/channels/0/smtp",
    ),
    (
        "mail-password-in-the-clear",
        &[
            "notifications.secretName=n",
            "notifications.channels[0].name=ops",
            "notifications.channels[0].smtp.host=mail",
            "notifications.channels[0].smtp.from=a@example.org",
            "notifications.channels[0].smtp.to={b@example.org}",
            "notifications.channels[0].smtp.security=none",
            "notifications.channels[0].smtp.username=u",
            "notifications.channels[0].smtp.passwordKey=p",
        ],
        "notifications.channels[0].smtp.security",
    ),
    (
        "mail-that-cannot-leave",
        &[
            "networkPolicy.egress.enabled=true",
            "notifications.channels[0].name=ops",
            "notifications.channels[0].smtp.host=mail",
            "notifications.channels[0].smtp.from=a@example.org",
            "notifications.channels[0].smtp.to={b@example.org}",
        ],
        "networkPolicy.egress.ports",
    ),
    ("env-that-the-chart-sets", &["env[0].name=BASCULE_SITE", "env[0].value=lyon"], "env[0]"),
    (
        "egress-without-policy",
        &["networkPolicy.enabled=false", "networkPolicy.egress.enabled=true"],
        "networkPolicy.egress.enabled",
    ),
    (
        "egress-to-nothing",
        &["networkPolicy.egress.enabled=true", "networkPolicy.egress.ports=[]"],
        "networkPolicy.egress.ports",
    ),
    ("kinds-nowhere", &["crds.enabled=false"], "crds.enabled"),
    ("monitor-without-its-kind", &["serviceMonitor.enabled=true"], "serviceMonitor.enabled"),
    ("alerts-without-their-kind", &["prometheusRule.enabled=true"], "prometheusRule.enabled"),
    ("cluster-too-old", &["--kube-version=1.27.3"], "Kubernetes v1.27.3"),
    ("several-at-once", &["site.name=", "replicas=3", "guards.secretName="], "replicas"),
];

#[test]
fn wrong_values_are_refused_with_the_field_and_the_way_out() {
    // `--set` has no way to write an empty list.
    refused(WRONG, render, |value| value.ends_with("=[]"), "wrong");
}
