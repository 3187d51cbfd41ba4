//! docs/guarantees.md says of each promise who checks it: the checks and the tests that it names are there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(clippy::disallowed_methods, reason = "the page and the sources lie in files")]

use std::path::{Path, PathBuf};

/// Every promise, and how many a person would count.
const PROMISES: [&str; 17] =
    ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "L1", "L2", "L3", "L4", "L5", "L6"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The row of each promise.
fn rows() -> Vec<(&'static str, String)> {
    let page = read(&root().join("docs/guarantees.md"));
    let row = |promise: &str| {
        let begins = format!("| {promise} |");
        let mut found = page.lines().filter(|l| l.starts_with(&begins));
        let row = found.next().unwrap_or_else(|| panic!("{promise} has no row")).to_owned();
        assert_eq!(found.next(), None, "{promise} has two rows");
        row
    };
    PROMISES.iter().map(|promise| (*promise, row(promise))).collect()
}

/// What stands between backquotes.
fn quoted(row: &str) -> Vec<&str> {
    row.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_promise_names_its_check_in_the_simulator_and_the_check_speaks_of_it() {
    for (promise, row) in rows() {
        let checks: Vec<&str> =
            quoted(&row).into_iter().filter(|q| q.starts_with("operator/sim/src/")).collect();
        assert!(
            row.contains("simulator: ") && !checks.is_empty(),
            "{promise} names no check of the simulator"
        );
        for check in checks {
            let text = read(&root().join(check));
            let speaks = text.split("Invariant::").any(|rest| {
                rest.strip_prefix(promise).is_some_and(|r| !r.starts_with(|c: char| c.is_ascii_digit()))
            });
            assert!(speaks, "{check} does not judge {promise}");
        }
    }
}

#[test]
fn every_promise_names_a_test_on_real_parts() {
    for (promise, row) in rows() {
        let real = ["; real: ", "scenario: `", "scenarios: `", "story: ", "every scenario ends"];
        assert!(real.iter().any(|word| row.contains(word)), "{promise} names no test on real parts");
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let mut sources = String::new();
    let mut folders = vec![root().join("operator"), root().join("e2e"), root().join("crds")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                sources.push_str(&read(&path));
            }
        }
    }
    let is_name = |q: &&str| {
        q.matches('_').count() >= 3
            && q.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    for (promise, row) in rows() {
        for name in quoted(&row).into_iter().filter(is_name) {
            let exists =
                [format!("fn {name}("), format!("case::{name}(")].iter().any(|text| sources.contains(text));
            assert!(exists, "{promise} names {name}, which is no test");
        }
    }
}
