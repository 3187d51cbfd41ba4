//! `bascule history`, `journal`, `tree`, `version` and `completion` as people run them.

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
        .says(0, &["6 entries in 5 files: whole.", "6 lines have no seal"]);
    let file = directory.path().join("lyon/2026-11-28.log");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.trim_end()).unwrap();
    alone(&["journal", "--verify", &lyon]).says(2, &["NOT WHOLE", "2026-11-28.log:2: it is cut off"]);

    alone(&["journal", "/nowhere"]).fails(&["a journal was expected at /nowhere"]);
    alone(&["journal", &directory.path().display().to_string()]).fails(&["found no .log file there"]);
    alone(&["journal"]).refuses(&["<PATH>"]);
}

/// A person's own entries: beside the operator's file, chained, shown with the others.
#[test]
fn a_persons_own_entry_is_written_into_a_copy_and_is_found_when_it_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().display().to_string();
    let operators = "2026-11-27T12:00:01.000Z paris shop/shop epoch=3 serial=12 outcome: paris is active\n";
    fs::write(directory.path().join("2026-11-27.log"), operators).unwrap();
    let said = alone(&[
        "journal",
        "add",
        "told the shop",
        "--dir",
        &dir,
        "--policy",
        "shop/shop",
        "--site",
        "paris",
    ]);
    said.says(0, &[".notes.log: ", " paris shop/shop epoch=0 serial=0 note: ", ": told the shop"]);
    alone(&["journal", "add", "a switch\nreplaced", "--reason", "it smoked", "--who", "anna", "--dir", &dir])
        .says(0, &[" - - epoch=0 serial=0 note: anna: a switch / replaced (why: it smoked)"]);
    assert_eq!(fs::read_to_string(directory.path().join("2026-11-27.log")).unwrap(), operators);

    // Shown with the others, and by itself.
    let said = alone(&["journal", &dir]);
    assert_eq!((said.code, said.out.lines().count()), (0, 4), "{said:?}");
    let said = alone(&["journal", &dir, "--kind", "note", "-o", "json"]);
    let last: serde_json::Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["who"], &last["what"]),
        (&json!("anna"), &json!("a switch / replaced (why: it smoked)"))
    );

    // What is printed of one file is a copy that fits; what is changed does not.
    alone(&["journal", "--verify", &dir]).says(0, &["3 entries in 2 files: whole.", "3 lines are chained"]);
    let notes = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().path());
    let notes = notes.into_iter().find(|p| p.to_string_lossy().ends_with(".notes.log")).unwrap();
    let printed = alone(&["journal", &notes.display().to_string()]).out;
    assert_eq!(printed, fs::read_to_string(&notes).unwrap());
    fs::write(&notes, printed.replace("told the shop", "asked the shop")).unwrap();
    alone(&["journal", "--verify", &dir])
        .says(2, &["NOT WHOLE, one problem", ".notes.log:2: it was changed", "expected #2-"]);
    let found = alone(&["journal", "--verify", "-o", "json", &dir]).json();
    assert_eq!(
        (&found["problems"][0]["kind"], &found["problems"][0]["line"]),
        (&json!("changed"), &json!(2))
    );

    // Many at once take turns.
    let together = tempfile::tempdir().unwrap();
    let dir_of_all = together.path().display().to_string();
    let children: Vec<_> = (0..8)
        .map(|n| {
            let mut child = program(Path::new("/nowhere/config"));
            child.args(["journal", "add", &format!("entry {n}"), "--who", "anna", "--dir", &dir_of_all]);
            child.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    alone(&["journal", "--verify", &dir_of_all]).says(0, &["8 entries in ", ": whole."]);

    // A line that was cut off is told, and the chain fits all the same.
    let file = fs::read_dir(together.path()).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() - 3]).unwrap();
    alone(&["journal", "--verify", &dir_of_all]).says(
        2,
        &[".notes.log:9: it is cut off after ", "The chain fits: nothing is missing but what is told here."],
    );

    // What is not written says so, and what to do.
    alone(&["journal", "add", "x"]).fails(&["--dir: found none", "kubectl exec -n bascule-system"]);
    alone(&["journal", "add", " ", "--dir", &dir]).fails(&["TEXT: found nothing"]);
    alone(&["journal", "add", "x", "--dir", "/nowhere"]).fails(&["--dir /nowhere"]);
    alone(&["journal", "add", "x", "--dir", &notes.display().to_string()])
        .fails(&["found a file, expected the folder"]);
    alone(&["journal", "add", "x", "--policy", "shop", "--dir", &dir]).fails(&["--policy: found \"shop\""]);
    alone(&["journal", "add"]).refuses(&["<TEXT>"]);
    alone(&["journal", &dir, "add", "x"]).fails(&["a journal was expected at add"]);
}

/// A file system of 64 KiB is filled by entries to the last byte: what was said to be written is there and whole, what
/// was not said so is not there, and with room again it goes on.
#[test]
fn a_full_disk_takes_an_entry_wholly_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=64k none "$1" || exit 77
i=0
while "$2" journal add "$3 $i" --who anna --dir "$1" >/dev/null 2>"$1.err"; do i=$((i+1)); [ $i -lt 500 ] || exit 78; done
cat "$1.err"
echo "entries: $i"
"$2" journal --verify "$1" || exit 79
ls "$1"
"$2" journal add "$3 again" --who anna --dir "$1" && exit 80
first=$(ls "$1" | head -1)
mount -o remount,size=128k "$1"
"$2" journal add "room again" --who anna --dir "$1" || exit 81
"$2" journal --verify "$1" || exit 82
grep -c 'room again' "$1/$first""#;
    let dir = directory.path().join("journal");
    fs::create_dir(&dir).unwrap();
    let words = "words ".repeat(150);
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh"])
        .arg(&dir)
        .args([env!("CARGO_BIN_EXE_bascule"), words.trim()])
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) && !output.stdout.is_empty() => output,
        other => {
            println!("no file system of its own can be mounted here: {other:?}");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said.contains("nothing was written, expected a new line there; make room"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    let written: usize =
        said.lines().find_map(|l| l.strip_prefix("entries: ")).and_then(|n| n.parse().ok()).unwrap();
    assert!(written > 40, "{said}");
    assert!(said.contains(&format!("{written} entries in 1 file: whole.")), "{said}");
    assert!(said.contains(&format!("{} entries in 1 file: whole.", written + 1)), "{said}");
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
