//! The real helm, and what is kept of its answers.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize as _;
use serde_json::Value;

/// What `helm` answered.
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn helm(args: &[&str]) -> Answer {
    let program = std::env::var_os("BASCULE_HELM").map(PathBuf::from).filter(|p| p.is_file());
    let program = program.expect(
        "this test needs the real helm: build it with `make prepare`, and run the test by `make test-chart`, or name it in BASCULE_HELM",
    );
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        // No cluster is asked.
        .env("KUBECONFIG", "/dev/null")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn objects(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|o| o["kind"] == kind).collect()
}

/// Compares with what is kept, or keeps it.
pub(crate) fn golden(path: &str, found: &str) {
    let file = folder().join("tests/golden").join(path);
    if std::env::var_os("BASCULE_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, found).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    if kept != found {
        let line = kept.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
        let show = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
        panic!(
            "{}, line {}:\n  kept  {}\n  found {}\nif that is meant, run `make chart-golden` and look at the difference",
            file.display(),
            line + 1,
            show(&kept),
            show(found)
        );
    }
}

/// Each of these values must be refused with the field that is named, in the words that are kept in `kept`, a folder of
/// `golden`: (name of the case, values, field). `is_json` says which of them `--set` has no way to write.
pub(crate) fn refused(
    cases: &[(&str, &[&str], &str)],
    render: impl Fn(&[&str]) -> Answer,
    is_json: impl Fn(&str) -> bool,
    kept: &str,
) {
    for (name, set, field) in cases {
        let flag = |value: &str| if is_json(value) { "--set-json" } else { "--set" };
        let more: Vec<&str> = match set {
            [version] if version.starts_with("--kube-version=") => vec![version],
            set => set.iter().flat_map(|value| [flag(value), value]).collect(),
        };
        let answer = render(&more);
        assert!(!answer.ok, "{name}: {set:?} was taken");
        assert!(answer.err.contains(field), "{name}: {field} is not named: {}", answer.err);
        // Where in which template it was found says nothing to who reads this.
        let around = |l: &&str| !l.contains("execution error at") && !l.starts_with("Use --debug");
        let told: Vec<&str> = answer.err.lines().filter(around).collect();
        golden(&format!("{kept}/{name}.txt"), &format!("{}\n\n{}\n", more.join(" "), told.join("\n").trim()));
    }
    let files = std::fs::read_dir(folder().join("tests/golden").join(kept)).unwrap();
    let files: BTreeSet<String> = files
        .map(|f| Path::new(&f.unwrap().file_name()).file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let named: BTreeSet<String> = cases.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(files, named, "a file that no case writes is left in golden/{kept}");
}
