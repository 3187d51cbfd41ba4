//! The scripts of this test binary, held against a list and against `docs/models.md`.

use std::collections::BTreeSet;

/// The least number of scripts that a model is told apart from the real thing by.
const LEAST: usize = 5;

/// Panics when the scripts of a module are not those of the list, when they are too few, or when one is not in the docs.
pub(crate) fn check(module: &str, listed: &[&str]) {
    let own = std::env::current_exe().unwrap();
    let output = std::process::Command::new(own).args(["--list", "--format", "terse"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let of_module =
        |line: &str| Some(line.strip_suffix(": test")?.strip_prefix(module)?.strip_prefix("::")?.to_owned());
    let there: BTreeSet<String> = text.lines().filter_map(of_module).collect();
    let listed: BTreeSet<String> = listed.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(there, listed, "the scripts of {module} and the list of them differ");
    assert!(listed.len() >= LEAST, "{module} has {} scripts, and {LEAST} are the least", listed.len());
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/models.md")).unwrap();
    for name in &listed {
        assert!(docs.contains(&format!("`{name}`")), "docs/models.md does not name {module}'s script {name}");
    }
}
