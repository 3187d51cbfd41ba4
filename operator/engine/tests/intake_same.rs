//! The same bytes give the same object by intake from git and by a real API server, and every example
//! is valid to both.

// The real server is started and asked from outside of the engine.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../../../crds/tests/server/mod.rs"]
mod server;

use std::{fs, path::Path};

use bascule_core::name::Namespace;
use bascule_crds::{FailoverPolicy, Move, PolicySource};
use bascule_engine::intake::{
    hash::{move_hash, spec_hash},
    moves, policy,
    read::{File, Limits, revision},
};
use serde_json::Value;

use self::server::ApiServer;

/// The YAML files of a folder of the project, by name, split into documents.
fn documents(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let mut files: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .flat_map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            // As kubectl splits a file.
            text.split("\n---\n").map(|document| (name.clone(), format!("{document}\n"))).collect::<Vec<_>>()
        })
        .collect()
}

/// What the API server stores of these bytes: server-side apply, as `kubectl apply` would send it.
async fn apply(server: &ApiServer, namespace: &str, text: &str) -> Value {
    let plural = match text {
        _ if text.contains("kind: FailoverPolicy") => "failoverpolicies",
        _ if text.contains("kind: PolicySource") => "policysources",
        _ => "moves",
    };
    let name = text.lines().find_map(|line| line.trim().strip_prefix("name: ")).unwrap();
    let path = format!(
        "/apis/bascule.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}?fieldManager=test&fieldValidation=Strict"
    );
    server
        .call("PATCH", &path, "application/apply-patch+yaml", text)
        .await
        .unwrap_or_else(|refusal| panic!("{name}: {refusal}\n{text}"))
}

#[tokio::test]
async fn the_same_bytes_give_the_same_object_by_git_and_by_kubectl() {
    let server = ApiServer::start().await;
    server.install_definitions().await;
    server.create_namespace("shop").await;
    let namespace = Namespace::try_from("shop").unwrap();

    let mut compared = 0;
    for folder in ["examples", "operator/engine/tests/awkward"] {
        for (file, text) in documents(folder) {
            let stored = apply(&server, "shop", &text).await;
            if text.contains("kind: PolicySource") {
                let typed: PolicySource = serde_json::from_value(stored.clone()).unwrap();
                assert_eq!(serde_json::to_value(&typed.spec).unwrap(), stored["spec"], "{file}");
                continue;
            }
            let files = [File { path: &file, bytes: text.as_bytes() }];
            let read = revision(&files, &namespace, &Limits::default())
                .unwrap_or_else(|problems| panic!("{file}: {problems:#?}"));
            for sourced in read.policies.values() {
                let object = &sourced.object;
                assert_eq!(serde_json::to_value(&object.spec).unwrap(), stored["spec"], "{file}");
                let typed: FailoverPolicy = serde_json::from_value(stored.clone()).unwrap();
                assert_eq!(object.spec, typed.spec, "{file}");
                assert_eq!(spec_hash(&object.spec), spec_hash(&typed.spec));
                assert_eq!(object.metadata.labels, typed.metadata.labels, "{file}");
                assert_eq!(object.metadata.annotations, typed.metadata.annotations, "{file}");
                let (by_git, by_kubectl) =
                    (policy::convert(object, None).unwrap(), policy::convert(&typed, None).unwrap());
                assert_eq!(by_git.databases, by_kubectl.databases);
                assert_eq!(by_git.spec_hash, by_kubectl.spec_hash);
                compared += 1;
            }
            for sourced in read.moves.values() {
                let object = &sourced.object;
                let typed: Move = serde_json::from_value(stored.clone()).unwrap();
                assert_eq!(object.spec, typed.spec, "{file}");
                let name = object.metadata.name.clone().unwrap();
                assert_eq!(move_hash("shop", &name, &object.spec), move_hash("shop", &name, &typed.spec));
                assert_eq!(moves::convert(object).unwrap(), moves::convert(&typed).unwrap());
                compared += 1;
            }
        }
    }
    assert!(compared >= 8, "{compared}");
    every_spelling_that_intake_takes_is_the_same_text_to_the_api_server(&server, &namespace).await;
}

/// Spellings, in all styles of YAML, that some reader might take for a number, a time or a truth value.
fn spellings() -> Vec<String> {
    let numbers = [
        "0",
        "1",
        "7",
        "8",
        "9",
        "10",
        "010",
        "08",
        "1_000",
        "0x1F",
        "0xfg",
        "0X1f",
        "0b11",
        "0b12",
        "0o17",
        "0o18",
        "0O7",
        "1e3",
        "1E3",
        "1e",
        "1e+",
        "1e+3",
        "12e03",
        "1.",
        "1.5",
        ".5",
        ".",
        "..",
        "1.2.3",
        "1:30",
        "1:60",
        "190:20:30",
        "190:20:30.15",
        "1:2:3:4",
        ".inf",
        ".Inf",
        ".INF",
        ".nan",
        ".NaN",
        "inf",
        "nan",
        "Infinity",
        "0_",
        "_1",
        "1__0",
        "0x_1F",
        "0b_1",
        "0x",
        "0b",
        "0o",
        "1_.5",
        "1._5",
        "9223372036854775808",
        "123abc",
        "4711a",
        "1e1000",
        "00",
        "0.0",
        "0e0",
        "1d",
        "1f",
        "10s",
        "16Mi",
        "0.5Gi",
        "1k",
    ];
    let words = [
        "on",
        "On",
        "ON",
        "oN",
        "off",
        "yes",
        "Yes",
        "yEs",
        "no",
        "n",
        "N",
        "y",
        "true",
        "True",
        "tRue",
        "false",
        "null",
        "Null",
        "nULL",
        "~",
        "~a",
        "=",
        "<<",
        "only",
        "none",
        "nope",
        "NULLS",
        "none.",
        "2026-11-28",
        "2026-11-28T12:00:00Z",
        "2026-11-28 12:00:00",
        "2026-11-28t12:00:00.5+01:00",
        "2026-1-2",
        "12:00",
        "12:00:00",
        "192.0.2.1",
        "192.0.2.53:53",
        "2001:db8::1",
        "::1",
        "1::",
        "a:b",
        "a: ",
        "a#b",
        "a b",
        "a  b",
        "-a",
        "--",
        "- ",
        "?a",
        ":a",
        "%a",
        "@a",
        "`a",
        "!a",
        "&a",
        "*a",
        "|",
        ">",
        "[]",
        "{}",
        "a]",
        "a}",
        "a,b",
        "'",
        "a'b",
        "a\"b",
        "\\",
        "a\\n",
        "é",
        "日本",
        "\u{1F600}",
        "\u{a0}a",
        "a\u{a0}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}a",
        "\t",
        "a\tb",
    ];
    let mut all: Vec<String> = words.into_iter().map(str::to_owned).collect();
    for number in numbers {
        all.extend(["", "-", "+", "--"].map(|sign| format!("{sign}{number}")));
    }
    // A block that holds nothing but a tab is refused by the API server's reader and no other.
    let styles = |s: &String| {
        let block = if s == "\t" { "tab" } else { s };
        [
            s.clone(),
            format!("\"{s}\""),
            format!("'{s}'"),
            format!("|-\n      {block}"),
            format!(">\n      {block}\n\n      {block}"),
        ]
    };
    all.iter().flat_map(styles).collect()
}

async fn every_spelling_that_intake_takes_is_the_same_text_to_the_api_server(
    server: &ApiServer,
    namespace: &Namespace,
) {
    let object = |annotations: &str| {
        format!(
            "apiVersion: bascule.dev/v1alpha1\nkind: Move\nmetadata:\n  name: spellings\n  annotations:\n{annotations}\
             spec: {{policyRef: {{name: shop}}, type: Abort, epoch: 1, reason: x}}\n"
        )
    };
    let mut taken = Vec::new();
    for (i, spelling) in spellings().iter().enumerate() {
        let text = object(&format!("    k{i}: {spelling}\n"));
        let files = [File { path: "a.yaml", bytes: text.as_bytes() }];
        if let Ok(read) = revision(&files, namespace, &Limits::default()) {
            let annotations = read.moves["spellings"].object.metadata.annotations.clone().unwrap();
            taken.push((format!("    k{i}: {spelling}\n"), annotations));
        }
    }
    let share = (taken.len(), spellings().len());
    assert!(share.0 > 40 && share.0 < share.1, "{share:?}");
    let mut wrong = Vec::new();
    for (line, expected) in &taken {
        let path = "/apis/bascule.dev/v1alpha1/namespaces/shop/moves/spellings?fieldManager=test&dryRun=All&fieldValidation=Strict";
        match server.call("PATCH", path, "application/apply-patch+yaml", object(line)).await {
            Ok(stored) => {
                let found = &stored["metadata"]["annotations"];
                if *found != serde_json::to_value(expected).unwrap() {
                    wrong.push(format!("{line:?}: {found} to the API server, {expected:?} to intake"));
                }
            }
            Err(refusal) => {
                wrong.push(format!("{line:?}: {expected:?} to intake, refused by the API server: {refusal}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), taken.len(), wrong.join("\n"));
}
