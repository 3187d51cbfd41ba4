//! The real helm, and what is kept of its answers.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::path::PathBuf;
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
