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
    let named = [
        "--set",
        "watchNamespaces={shop,bascule-system},rbac.secretNames={main-bascule,dns-key},rbac.secretFlags=true,rbac.httpRoutes=true",
    ];
    let one = ["--set", "replicas=1"];
    let three = [
        "--api-versions",
        "monitoring.coreos.com/v1",
        "--set",
        "replicas=3,journal.persistence.storageClass=fast,prometheusRule.enabled=true",
        "--set",
        "networkPolicy.egress.enabled=true,networkPolicy.egress.ports={6443},networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=platform",
    ];
    let witness = [
        "--set-json",
        "arbiter.endpoints=[]",
        "--set",
        "arbiter.secretName=,arbiter.witness.secretName=bascule-witness,arbiter.witness.port=443,arbiter.acceptSinglePoint=true,arbiter.election=0s,networkPolicy.egress.enabled=true",
    ];
    for (name, more) in [
        ("as-it-comes", &[][..]),
        ("everything-on", &everything),
        ("least", &few),
        ("named-namespaces", &named),
        ("one-replica", &one),
        ("three-replicas", &three),
        ("witness", &witness),
    ] {
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
fn with_named_namespaces_nothing_of_the_whole_cluster_is_given_but_what_has_no_namespace() {
    let objects = rendered(&["--set", "watchNamespaces={shop,blog},rbac.people=false"]);
    let roles = of_kind(&objects, "ClusterRole");
    let resources: BTreeSet<&str> = roles
        .iter()
        .flat_map(|role| role["rules"].as_array().unwrap())
        .flat_map(|rule| rule["resources"].as_array().unwrap())
        .map(|resource| resource.as_str().unwrap())
        .collect();
    assert_eq!((roles.len(), resources), (1, BTreeSet::from(["namespaces", "nodes"])));
    assert_eq!(of_kind(&objects, "ClusterRoleBinding").len(), 1);
    // In each of them: everything that is there without names, but in a Role.
    let everywhere = rendered(&["--set", "rbac.people=false"]);
    let all: BTreeSet<String> = of_kind(&everywhere, "ClusterRole")
        .iter()
        .flat_map(|role| role["rules"].as_array().unwrap())
        .filter(|rule| !["namespaces", "nodes"].contains(&rule["resources"][0].as_str().unwrap()))
        .map(Value::to_string)
        .collect();
    for namespace in ["shop", "blog"] {
        let here = |kind: &str| -> Vec<&Value> {
            of_kind(&objects, kind).into_iter().filter(|o| o["metadata"]["namespace"] == namespace).collect()
        };
        let (roles, bindings) = (here("Role"), here("RoleBinding"));
        assert_eq!((roles.len(), bindings.len()), (1, 1), "{namespace}");
        let rules = roles[0]["rules"].as_array().unwrap().iter().map(Value::to_string);
        assert_eq!(rules.collect::<BTreeSet<_>>(), all, "{namespace}");
        assert_eq!(bindings[0]["roleRef"]["kind"], "Role");
        assert_eq!(bindings[0]["roleRef"]["name"], roles[0]["metadata"]["name"]);
        assert_eq!(bindings[0]["subjects"][0]["namespace"], "bascule-system");
    }
    let deployment = of_kind(&objects, "StatefulSet")[0];
    let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(env.contains(&json!({ "name": "BASCULE_WATCH_NAMESPACES", "value": "shop,blog" })), "{env:?}");
}

#[test]
fn a_responder_has_a_port_a_service_rights_and_a_grant_for_each_namespace_and_is_nowhere_unless_asked_for() {
    let on = "responder.enabled=true,rbac.httpRoutes=true,responder.namespaces={shop,blog}";
    let objects = rendered(&["--api-versions", "gateway.networking.k8s.io/v1beta1", "--set", on]);
    let services = of_kind(&objects, "Service");
    let responder = services.iter().find(|s| s["metadata"]["name"] == "bascule-responder").unwrap();
    assert_eq!(responder["metadata"]["labels"]["bascule.dev/responder"], "true");
    assert_eq!(
        responder["spec"]["ports"],
        json!([{ "name": "responder", "port": 80, "targetPort": "responder" }])
    );
    let pod = &of_kind(&objects, "StatefulSet")[0]["spec"]["template"]["spec"]["containers"][0];
    let ports = pod["ports"].as_array().unwrap();
    assert!(ports.contains(&json!({ "name": "responder", "containerPort": 8081 })), "{ports:?}");
    let env = pod["env"].as_array().unwrap();
    for (name, value) in
        [("BASCULE_RESPONDER_LISTEN", "0.0.0.0:8081"), ("BASCULE_RESPONDER_SERVICE", "bascule-responder:80")]
    {
        assert!(env.contains(&json!({ "name": name, "value": value })), "{name}: {env:?}");
    }
    let ingress = &of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"];
    assert!(
        ingress.as_array().unwrap().contains(&json!({ "ports": [{ "port": "responder" }] })),
        "{ingress}"
    );
    let grants = of_kind(&objects, "ReferenceGrant");
    let from: Vec<&Value> = grants.iter().map(|g| &g["spec"]["from"][0]["namespace"]).collect();
    assert_eq!(from, ["shop", "blog"]);
    for grant in grants {
        assert_eq!(grant["metadata"]["namespace"], "bascule-system");
        assert_eq!(
            grant["spec"]["to"],
            json!([{ "group": "", "kind": "Service", "name": "bascule-responder" }])
        );
    }
    let rules: Vec<&Value> =
        of_kind(&objects, "Role").into_iter().flat_map(|role| role["rules"].as_array().unwrap()).collect();
    let given = |resource: &str, verb: &str| {
        rules.iter().any(|r| r["resources"] == json!([resource]) && r["verbs"] == json!([verb]))
    };
    assert!(given("services", "get") && given("referencegrants", "list"), "{rules:?}");

    let plain = render(&WITHOUT_KINDS);
    assert!(plain.ok && !plain.out.to_lowercase().contains("responder"), "{}", plain.out);
}

#[test]
fn several_replicas_have_a_journal_each_know_their_address_and_are_taken_away_one_at_a_time() {
    let objects = rendered(&["--set", "replicas=3,networkPolicy.metricsFrom[0].podSelector.matchLabels.a=b"]);
    assert!(of_kind(&objects, "Deployment").is_empty());
    assert!(of_kind(&objects, "PersistentVolumeClaim").is_empty(), "one claim for all");
    let set = of_kind(&objects, "StatefulSet")[0];
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "journal");
    let pod = &set["spec"]["template"]["spec"];
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!names(&pod["volumes"]).contains(&"journal".to_owned()), "another volume of that name");
    assert!(names(&pod["containers"][0]["volumeMounts"]).contains(&"journal".to_owned()));
    let env = pod["containers"][0]["env"].as_array().unwrap();
    let address = env.iter().find(|e| e["name"] == "BASCULE_REPLICA_IP").unwrap();
    assert_eq!(address["valueFrom"]["fieldRef"]["fieldPath"], "status.podIP");

    let labels = &set["spec"]["selector"]["matchLabels"];
    let services = of_kind(&objects, "Service");
    let of_the_set = services.iter().find(|s| s["metadata"]["name"] == set["spec"]["serviceName"]).unwrap();
    assert_eq!((&of_the_set["spec"]["clusterIP"], &of_the_set["spec"]["selector"]), (&json!("None"), labels));
    let budget = of_kind(&objects, "PodDisruptionBudget")[0];
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    // They ask each other at the port of health and metrics, whoever else may.
    let allowed = of_kind(&objects, "NetworkPolicy")[0]["spec"]["ingress"].as_array().unwrap();
    let http = allowed.iter().find(|rule| rule["ports"][0]["port"] == "http").unwrap();
    let from = http["from"].as_array().unwrap();
    assert!(from.iter().any(|f| &f["podSelector"]["matchLabels"] == labels), "{from:?}");
}

#[test]
fn one_replica_is_a_deployment_as_before_and_stands_for_no_election() {
    let objects = rendered(&["--set", "replicas=1"]);
    assert!(of_kind(&objects, "StatefulSet").is_empty());
    assert!(of_kind(&objects, "PodDisruptionBudget").is_empty(), "it would only stop a drain");
    let deployment = of_kind(&objects, "Deployment")[0];
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(!env.iter().any(|e| e["name"] == "BASCULE_REPLICA_IP"));
    assert_eq!(of_kind(&objects, "PersistentVolumeClaim").len(), 1);
}

#[test]
fn every_alert_is_explained_and_no_other() {
    let on = "prometheusRule.enabled=true,prometheusRule.allSites=true,replicas=2";
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
    ("replicas-four", &["replicas=4"], "replicas"),
    ("replicas-none", &["replicas=0"], "replicas"),
    ("replicas-as-text", &["replicas=two"], "/replicas"),
    (
        "replicas-with-one-claim",
        &["replicas=2", "journal.persistence.existingClaim=bascule-journal"],
        "journal.persistence.existingClaim",
    ),
    ("may-act-as-text", &["arbiter.replicasMayAct=perhaps"], "/arbiter/replicasMayAct"),
    ("port-below-1024", &["guards.port=443"], "/guards/port"),
    ("ports-the-same", &["http.port=7443"], "http.port"),
    (
        "responder-at-a-port-of-another",
        &["responder.enabled=true", "rbac.httpRoutes=true", "responder.port=8080"],
        "responder.port",
    ),
    ("responder-that-no-route-leads-to", &["responder.enabled=true"], "rbac.httpRoutes"),
    ("responder-for-namespaces-and-none", &["responder.namespaces={shop}"], "responder.namespaces"),
    (
        "responder-without-the-gateway-api",
        &["responder.enabled=true", "rbac.httpRoutes=true", "responder.namespaces={shop}"],
        "responder.namespaces",
    ),
    ("listen-address-of-one-interface", &["listenAddress=127.0.0.1"], "/listenAddress"),
    ("digest-not-a-digest", &["image.digest=v1.2.3"], "image.digest"),
    ("pull-policy-unknown", &["image.pullPolicy=Sometimes"], "/image/pullPolicy"),
    ("root", &["runAsUser=0"], "/runAsUser"),
    ("account-of-nobody", &["serviceAccount.create=false"], "serviceAccount.name"),
    ("namespaces-without-rbac", &["rbac.create=false", "rbac.namespaces={shop}"], "rbac.namespaces"),
    ("namespaces-as-pattern", &["rbac.namespaces={shop-*}"], "rbac.namespaces"),
    ("watched-as-pattern", &["watchNamespaces={shop-*}"], "watchNamespaces"),
    ("watched-twice", &["watchNamespaces={shop,shop}"], "watchNamespaces"),
    (
        "watched-and-given-elsewhere",
        &["watchNamespaces={shop}", "rbac.namespaces={shop,blog}"],
        "rbac.namespaces",
    ),
    (
        "claim-without-persistence",
        &["replicas=1", "journal.persistence.enabled=false", "journal.persistence.existingClaim=x"],
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
    ("several-at-once", &["site.name=", "replicas=9", "guards.secretName="], "replicas"),
];

#[test]
fn wrong_values_are_refused_with_the_field_and_the_way_out() {
    // `--set` has no way to write an empty list.
    refused(WRONG, render, |value| value.ends_with("=[]"), "wrong");
}
