//! `bascule history`, `journal`, `tree`, `version` and `completion` as people run them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

mod live;

use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use serde_json::json;

use crate::live::{Cluster, Said, answered, gate, program, steady};

fn alone(arguments: &[&str]) -> Said {
    answered(program(Path::new("/nowhere/config")).args(arguments), "")
}

#[test]
fn journals_are_read_from_copies_with_every_cluster_dead() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (name, text) in [
        (
            "paris/2026-11-27.log",
            "2026-11-27T12:00:01.000Z paris shop/shop epoch=3 serial=12 outcome: paris is active\n",
        ),
        (
            "paris/2026-11-28.log",
            "2026-11-28T03:00:01.000Z paris - epoch=0 serial=0 observed: its lease is lost\n",
        ),
        (
            "lyon/2026-11-28.log",
            "2026-11-28T03:00:00.000Z lyon eu/shop epoch=1 serial=1 intent: another\n2026-11-28T03:00:02.000Z lyon shop/shop epoch=4 serial=13 outcome: lyon takes the role\n",
        ),
        (
            "guard/journal.1.log",
            "2026-11-28T03:00:00.500Z lyon shop/shop epoch=3 serial=12 observed: main: follows\n",
        ),
        (
            "guard/journal.log",
            "2026-11-28T03:00:02.500Z lyon shop/shop epoch=4 serial=13 intent: main: promote\n",
        ),
    ] {
        fs::create_dir_all(directory.path().join(name).parent().unwrap()).unwrap();
        fs::write(directory.path().join(name), text).unwrap();
    }
    let (paris, lyon, guard) = (path("paris"), path("lyon"), path("guard"));

    // Merged by time, and filtered.
    let said = alone(&["journal", &paris, &lyon, &guard]);
    let times: Vec<&str> = said.out.lines().map(|l| &l[..24]).collect();
    assert_eq!((said.code, times.len()), (0, 6), "{said:?}");
    assert!(times.is_sorted(), "{times:?}");
    let said = alone(&[
        "journal",
        &paris,
        &lyon,
        &guard,
        "--policy",
        "shop/shop",
        "--since",
        "2026-11-28T00:00:00Z",
    ]);
    assert_eq!(said.out.lines().count(), 3, "{said:?}");
    let said = alone(&["journal", &lyon, "--kind", "outcome", "--site", "lyon", "-o", "json"]);
    assert_eq!(said.json()["what"], "lyon takes the role", "{said:?}");
    alone(&["history", "shop/shop", "--journal", &paris, "--journal", &lyon]).says(
        0,
        &["shop/shop (told by journals)", "4      2026-11-28 03:00:02 UTC  lyon     lyon takes the role"],
    );

    // Whole, and not.
    alone(&["journal", "--verify", &paris, &lyon, &guard])
        .says(0, &["6 entries in 5 files: whole.", "not chained"]);
    let file = directory.path().join("lyon/2026-11-28.log");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.trim_end()).unwrap();
    alone(&["journal", "--verify", &lyon]).says(2, &["NOT WHOLE", "2026-11-28.log:2: it is cut off"]);

    alone(&["journal", "/nowhere"]).fails(&["a journal was expected at /nowhere"]);
    alone(&["journal", &directory.path().display().to_string()]).fails(&["found no .log file there"]);
    alone(&["journal"]).refuses(&["<PATH>"]);
}

#[test]
fn a_shell_completes_commands_and_options() {
    let said = alone(&["completion", "bash"]);
    assert_eq!(said.code, 0, "{said:?}");
    let complete = |words: &str, n: u8| {
        let line = format!(
            "{}\nCOMP_WORDS=({words}); COMP_CWORD={n}; _bascule bascule \"${{COMP_WORDS[{n}]}}\" \"\"; echo \"${{COMPREPLY[@]}}\"",
            said.out
        );
        let output = Command::new("bash").args(["--norc", "-c", &line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete("bascule swi", 1).trim(), "switchover");
    assert!(complete("bascule failover --accept", 2).contains("--accept-data-loss"));
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        assert!(alone(&["completion", shell]).says(0, &["switchover"]).out.len() > 1000, "{shell}");
    }
    assert_eq!(complete("bascule git", 1).trim(), "", "what is for the operator alone is not offered");
}

#[tokio::test]
async fn what_a_cluster_remembers_is_told() {
    let mut cluster = Cluster::start().await;
    cluster
        .run(&["history", "shop"])
        .says(0, &["nothing can be told: no operator has ever written its status"]);
    let mut status = steady(Timestamp::now());
    status["history"] = json!([{
        "epoch": 3, "cause": "Switchover", "move": "kernel", "from": "lyon", "to": "paris",
        "finishedAt": "2026-11-20T12:00:03Z", "ms": 3200,
    }]);
    status["moves"] =
        json!([{ "name": "kernel", "hash": "a", "state": "Done", "message": "the role moved" }]);
    status["gates"] = json!([
        gate("silence", "NotYet", "paris has been silent for 400 ms", "8 s"),
        gate("database/main/lag", "Block", "20971520 bytes behind", "at most 16777216 bytes"),
    ]);
    cluster.write("shop", &status);
    cluster.run(&["history", "shop"]).says(
        0,
        &["3      2026-11-20 12:00:03 UTC  lyon  paris  Switchover  3.2 s", "kernel  Done   the role moved"],
    );
    let history = cluster.run(&["history", "-o", "json"]).json();
    assert_eq!(history["policies"][0]["transitions"][0]["move"], "kernel", "{history}");

    // The tree: only what is wrong is unfolded.
    let hold = json!({
        "apiVersion": "bascule.dev/v1alpha1", "kind": "Move", "metadata": { "name": "night", "namespace": "shop" },
        "spec": { "policyRef": { "name": "shop" }, "type": "Hold", "epoch": 3, "notAfter": "2126-01-01T00:00:00Z", "reason": "why" },
    });
    cluster.server.kubectl(&["create", "-f", "-"], &hold.to_string());
    let tree = cluster.run(&["tree", "shop"]);
    tree.says(
        0,
        &[
            "FailoverPolicy shop/shop  paris writes (epoch 3)",
            "├─ site paris  ACTIVE, Primary, heard",
            "├─ site lyon  Standby, 0 B behind, heard",
            "│  ├─ database main  StatefulSet main",
            "│  │  └─ x database/main/lag  No: 20971520 bytes behind (needed: at most 16777216 bytes)",
            "│  └─ workload web  Deployment web",
            "├─ traffic public  DNS www.shop.example.",
            "└─ Move night  Hold, not seen yet",
        ],
    );
    assert!(!tree.out.contains("silence"), "what only waits for its time is not wrong: {}", tree.out);
    assert_eq!(cluster.run(&["tree", "-o", "json"]).json()[0]["wrong"], true);

    // Versions.
    let version = env!("CARGO_PKG_VERSION");
    alone(&["version"]).says(0, &[&format!("bascule {version} for"), "API bascule.dev/v1alpha1"]);
    let told = cluster.run(&["version", "--check"]);
    told.says(0, &["Kubernetes v", "same     failoverpolicies.bascule.dev"]);
    let patch = json!([{ "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "another" }]);
    cluster
        .server
        .kubectl(&["patch", "crd", "moves.bascule.dev", "--type=json", "-p", &patch.to_string()], "");
    cluster.run(&["version", "--check"]).says(2, &["differs  moves.bascule.dev"]);

    cluster.server.stop();
    for command in ["history", "tree"] {
        cluster.run(&[command, "shop"]).fails(&["no connection: tcp connect error", "--context"]).in_time();
    }
    cluster.run(&["version", "--check"]).fails(&["asked to get /version"]).in_time();
}
