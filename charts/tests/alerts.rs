//! The alerts of the chart in the hands of the real promtool: each fires when it should, with its words, and not before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod real_helm;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use self::real_helm::{folder, helm, objects, of_kind};

const CASES: &str = include_str!("alerts.yaml");

/// The groups of rules as the chart renders them, with what needs all sites.
fn groups() -> Value {
    let (chart, values) = (folder().join("bascule"), folder().join("bascule/ci/paris-values.yaml"));
    let head = ["template", "bascule", chart.to_str().unwrap(), "-n", "bascule-system"];
    let on = ["-f", values.to_str().unwrap(), "--api-versions", "monitoring.coreos.com/v1"];
    let set = ["--set", "prometheusRule.enabled=true,prometheusRule.allSites=true"];
    let answer = helm(&[&head[..], &on, &set].concat());
    assert!(answer.ok, "{}", answer.err);
    let objects = objects(&answer.out);
    let rules = of_kind(&objects, "PrometheusRule");
    assert_eq!(rules.len(), 1);
    rules[0]["spec"]["groups"].clone()
}

fn rules(groups: &Value) -> Vec<&Value> {
    groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect()
}

fn promtool() -> PathBuf {
    let named = std::env::var_os("BASCULE_PROMTOOL").map(PathBuf::from);
    let program = named.unwrap_or_else(|| PathBuf::from("/usr/bin/promtool"));
    assert!(
        program.is_file(),
        "this test needs the real promtool: `make prepare` installs it (Debian's package prometheus), or name it in BASCULE_PROMTOOL"
    );
    program
}

#[test]
fn every_alert_fires_when_it_should_with_its_words_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let written = serde_yaml::to_string(&json!({ "groups": groups() })).unwrap();
    fs::write(directory.path().join("rules.yaml"), written).unwrap();
    fs::write(directory.path().join("alerts.yaml"), CASES).unwrap();
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]] {
        let output = Command::new(promtool()).args(arguments).current_dir(directory.path()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "promtool {arguments:?}:\n{out}{err}");
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let cases: Value = serde_yaml::from_str(CASES).unwrap();
    let asked: Vec<&Value> = cases["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    let named = |fires: bool| -> BTreeSet<&str> {
        let so = |case: &&&Value| case["exp_alerts"].as_array().unwrap().is_empty() != fires;
        asked.iter().filter(so).map(|case| case["alertname"].as_str().unwrap()).collect()
    };
    let groups = groups();
    let alerts: BTreeSet<&str> =
        rules(&groups).into_iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert!(alerts.len() >= 16, "{alerts:?}");
    assert_eq!(named(true), alerts, "those that fire in a case");
    assert_eq!(named(false), alerts, "those that do not fire in a case");
}

/// The words of an expression that begin so, to where the name ends.
fn names<'a>(expression: &'a str, begin: &str) -> Vec<&'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    expression
        .match_indices(begin)
        .map(|(at, _)| {
            let rest = &expression[at..];
            let end =
                begin.len() + rest[begin.len()..].find(|c| !is_name(c)).unwrap_or(rest.len() - begin.len());
            &rest[..end]
        })
        .collect()
}

#[test]
fn alerts_ask_for_series_that_the_operator_has_and_for_reasons_that_conditions_have() {
    let read = |path: &str| fs::read_to_string(folder().parent().unwrap().join(path)).unwrap();
    let (metrics, conditions) = (read("operator/src/metrics.rs"), read("docs/conditions.md"));
    let (mut series, mut reasons) = (0, 0);
    let groups = groups();
    for rule in rules(&groups) {
        let expression = rule["expr"].as_str().unwrap();
        for name in names(expression, "bascule_") {
            let registered = format!("\"{}\"", name.trim_start_matches("bascule_"));
            assert!(metrics.contains(&registered), "{expression}: the operator has no {name}");
            series += 1;
        }
        for reason in names(expression, "reason=\"") {
            let title = format!("#### Ready: {}\n", reason.trim_start_matches("reason=\""));
            assert!(conditions.contains(&title), "{expression}: Ready has no {reason}");
            reasons += 1;
        }
    }
    assert!(series >= 16 && reasons >= 2, "expressions are read wrongly: {series}, {reasons}");
}
