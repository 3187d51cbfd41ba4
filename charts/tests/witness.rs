//! The chart of the witness in the hands of the real helm: what it renders, and what it says of values that are wrong. Both
//! are kept as files under `golden/witness/`; `make chart-golden` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod real_helm;

use std::collections::BTreeSet;

use bascule_adapters::arbiter::kubernetes::admission;
use serde_json::{Value, json};

use self::real_helm::{Answer, folder, golden, helm, objects, of_kind, refused};

fn render(more: &[&str]) -> Answer {
    let chart = folder().join("bascule-witness");
    let values = chart.join("ci/two-sites-values.yaml");
    let head = ["template", "bascule-witness", chart.to_str().unwrap(), "-n", "arbiter"];
    helm(&[&head[..], &["-f", values.to_str().unwrap()], more].concat())
}

fn rendered(more: &[&str]) -> Vec<Value> {
    let answer = render(more);
    assert!(answer.ok, "{more:?}: {}", answer.err);
    objects(&answer.out)
}

/// The definitions are compared by themselves.
const WITHOUT_KINDS: [&str; 4] =
    ["--set", "crds.enabled=false", "--api-versions", "arbiter.bascule.dev/v1alpha1"];

#[test]
fn lint_finds_nothing_to_warn_of() {
    let chart = folder().join("bascule-witness");
    let values = chart.join("ci/two-sites-values.yaml");
    let answer = helm(&["lint", "--strict", chart.to_str().unwrap(), "-f", values.to_str().unwrap()]);
    assert!(answer.ok && answer.out.contains("0 chart(s) failed"), "{}{}", answer.out, answer.err);
    assert!(!answer.out.contains("[WARNING]"), "{}", answer.out);
}

#[test]
fn what_is_rendered_is_what_was_looked_at() {
    let more = ["--set", "sites={paris,lyon,nice},labels.team=platform"];
    for (name, more) in [("as-it-comes", &[][..]), ("three-sites", &more)] {
        let answer = render(&[&WITHOUT_KINDS[..], more].concat());
        assert!(answer.ok, "{name}: {}", answer.err);
        golden(&format!("witness/rendered/{name}.yaml"), &answer.out);
    }
}

#[test]
fn the_kinds_are_the_ones_that_the_operator_was_built_with_and_stay_unless_told_otherwise() {
    for (more, kept) in [(&[][..], true), (&["--set", "crds.keep=false"], false)] {
        let objects = rendered(more);
        let found = of_kind(&objects, "CustomResourceDefinition");
        let definitions = bascule_crds::witness_definitions().unwrap();
        assert_eq!(found.len(), definitions.len());
        for definition in definitions {
            let name = &definition.json["metadata"]["name"];
            let found = found.iter().find(|o| o["metadata"]["name"] == *name).unwrap();
            let policy = &found["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(*policy, if kept { json!("keep") } else { Value::Null }, "{name}");
            assert_eq!(found["spec"], definition.json["spec"], "{name}");
        }
    }
}

#[test]
fn what_is_installed_is_what_the_adapters_tests_install() {
    let objects = rendered(&WITHOUT_KINDS);
    let sites = ["paris", "lyon"].map(|name| name.try_into().unwrap());
    let name = "arbiter.bascule-witness";
    for wanted in admission::manifests(name, "arbiter", &sites) {
        let same =
            |o: &&Value| o["kind"] == wanted["kind"] && o["metadata"]["name"] == wanted["metadata"]["name"];
        let found = objects.iter().find(same);
        let found = found.unwrap_or_else(|| panic!("{}: {}", wanted["kind"], wanted["metadata"]["name"]));
        for field in ["spec", "rules", "roleRef", "subjects"] {
            assert_eq!(found[field], wanted[field], "{field} of {}", wanted["metadata"]["name"]);
        }
        assert_eq!(found["metadata"]["namespace"], wanted["metadata"]["namespace"]);
    }
    let accounts = of_kind(&objects, "ServiceAccount");
    assert_eq!(accounts.len(), 4);
    for account in accounts {
        let name = &account["metadata"]["name"];
        let tokens = of_kind(&objects, "Secret");
        let token = tokens.iter().find(|o| o["metadata"]["name"] == *name).unwrap();
        assert_eq!(token["type"], "kubernetes.io/service-account-token");
        assert_eq!(token["metadata"]["annotations"]["kubernetes.io/service-account.name"], *name);
    }
}

#[test]
fn every_value_has_its_place_in_the_schema_and_no_other_is_taken() {
    let read = |name: &str| std::fs::read_to_string(folder().join("bascule-witness").join(name)).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values = bascule_charts::values::documented(&read("values.yaml")).unwrap();
    let known: BTreeSet<String> = values.into_iter().map(|v| v.path).collect();
    assert_eq!(known.len(), 5);
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
        if below["properties"].is_object() {
            collect(below, &path, into);
        } else {
            into.insert(path);
        }
    }
}

/// A name, what is set, and what the answer has to name.
const WRONG: &[(&str, &[&str], &str)] = &[
    ("sites-missing", &["sites=[]"], "sites is empty"),
    ("site-alone", &["sites={paris}"], "sites has one"),
    ("site-not-a-name", &["sites={paris,Lyon!}"], "sites[1]"),
    ("site-twice", &["sites={paris,paris}"], "sites names one twice"),
    ("sites-as-text", &["sites=paris"], "/sites"),
    ("server-missing", &["server="], "server is not set"),
    ("server-without-tls", &["server=http://witness:6443"], "server is \"http://witness:6443\""),
    ("server-of-this-machine", &["server=https://127.0.0.1:6443"], "this machine itself"),
    ("kinds-nowhere", &["crds.enabled=false"], "crds.enabled"),
    ("pods-as-elsewhere", &["replicas=1"], "replicas"),
    ("cluster-too-old", &["--kube-version=1.29.3"], "Kubernetes v1.29.3"),
    ("several-at-once", &["sites=[]", "server="], "server is not set"),
];

#[test]
fn wrong_values_are_refused_with_the_field_and_the_way_out() {
    // `--set` has no way to write an empty list.
    refused(WRONG, render, |value| value.ends_with("=[]"), "witness/wrong");
}
