//! `bascule plan --against live` against a real API server: what it takes from there, and what it makes of everything
//! that can be wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::live::apiserver::ApiServer;

/// What a run printed, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn plan(kubeconfig: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bascule"));
    command.arg("plan").args(arguments).current_dir(repository());
    command.env("KUBECONFIG", kubeconfig).env_remove("KUBERNETES_SERVICE_HOST");
    let Output { status, stdout, stderr } = command.output().unwrap();
    Said {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn fails(kubeconfig: &Path, arguments: &[&str], words: &[&str]) {
    let said = plan(kubeconfig, arguments);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}: {said:?}");
    for word in words {
        assert!(said.err.contains(word), "{arguments:?} does not say {word:?}: {}", said.err);
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An example with some of its text replaced, in a file beside the kubeconfig.
fn changed(server: &ApiServer, name: &str, example: &str, changes: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(repository().join("examples").join(example)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in {example}");
        text = text.replacen(from, to, 1);
    }
    let path = server.kubeconfig().with_file_name(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Writes a status, once the API server takes it: a changed definition is in force a moment after it was written.
fn write(server: &ApiServer, status: &Value) {
    let file = server.kubeconfig().with_file_name("status.json");
    fs::write(&file, json!({ "status": status }).to_string()).unwrap();
    server.shell(&format!(
        "for i in $(seq 100); do kubectl patch fop shop -n shop --subresource=status --type=merge \
         --patch-file={} && exit 0; sleep 0.2; done; exit 1",
        file.display()
    ));
}

/// Lyon is active in epoch 7, after a switchover that was measured.
fn at_lyon(written: Timestamp) -> Value {
    json!({
        "site": "paris", "writtenAt": written.to_string(), "observedGeneration": 1,
        "message": "lyon writes (epoch 7); paris follows, 0 B behind.",
        "activeSite": "lyon", "epoch": 7, "serial": 31, "phase": "Steady", "lag": "0 B",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Steady", "message": "lyon is active",
            "lastTransitionTime": written.to_string(),
        }],
        "gates": [
            { "name": "silence", "verdict": "NotYet", "value": "silent for 400 ms", "threshold": "8 s",
              "age": "300 ms", "message": "silence" },
            { "name": "loss", "verdict": "Pass", "value": "512 bytes known, 1.2 s unseen", "threshold": "16 MiB",
              "age": "2 s", "message": "loss" },
        ],
        "sites": [
            { "name": "lyon", "role": "Primary" },
            { "name": "paris", "role": "Standby", "promotable": true },
        ],
        "lastTransition": {
            "cause": "Switchover", "from": "paris", "to": "lyon", "epoch": 7, "writePauseMs": 131,
            "finishedAt": "2026-11-20T10:00:00Z",
        },
        "history": [{
            "epoch": 7, "cause": "Switchover", "from": "paris", "to": "lyon", "finishedAt": "2026-11-20T10:00:00Z",
            "ms": 3200,
        }],
    })
}

fn of_epoch_7(server: &ApiServer, name: &str) -> String {
    let changes = [
        ("epoch: 1", "epoch: 7"),
        ("from: paris", "from: lyon"),
        ("to: lyon", "to: paris"),
        ("  notBefore: \"2026-11-28T12:00:00Z\"\n  notAfter: \"2026-11-28T14:00:00Z\"\n", ""),
    ];
    changed(server, name, "move.yaml", &changes)
}

/// Everything in one life of the server: it takes long to start, and each part stands on the one before.
#[tokio::test]
async fn what_the_cluster_knows_is_what_the_plan_begins_with() {
    let mut server = ApiServer::start().await;
    let file = server.kubeconfig();
    let here = "context test of kubeconfig";
    let shop = "examples/shop.yaml";

    fails(&file, &[shop, "--against", "live"], &[here, "knows no FailoverPolicy", "crds/generated/"]);
    let definitions = repository().join("crds/generated").display().to_string();
    server.kubectl(&["apply", "--server-side", "-f", &definitions], "");
    // A new kind is served a moment after it is established.
    server.shell("for i in $(seq 150); do kubectl get fop,moves -A && exit 0; sleep 0.2; done; exit 1");
    server.kubectl(&["create", "namespace", "shop"], "");

    // A policy that is not there yet, and a Move for one that is not there.
    let said = plan(&file, &[shop, "--against", "live", "-o", "json"]);
    assert_eq!((said.code, &said.json()["policies"][0]["change"]), (2, &json!("new")), "{said:?}");
    fails(
        &file,
        &["examples/move.yaml", "--against", "live"],
        &["examples/move.yaml:2: Move 2026-11-28-paris-kernel: it is for the policy shop/shop", here],
    );

    // It is there, and no operator has said anything: what it would know is assumed, and said to be.
    let text = fs::read_to_string(repository().join(shop)).unwrap();
    server.kubectl(&["apply", "--server-side", "-f", "-"], &text);
    let said = plan(&file, &[shop, "--against", "live"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with(&format!("Nothing changes: FILE says what {here}")), "{said:?}");
    let back = of_epoch_7(&server, "back.yaml");
    let said = plan(&file, &[&back, "--against", "live"]);
    assert!(said.out.contains("Blocker    status/missing: Unknown"), "{said:?}");
    assert!(said.out.contains("current epoch: unknown; 7 is assumed, as Move"), "{said:?}");

    // The operator has said where it stands, and the workloads of its site are there.
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "shop" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "web" }] },
            },
        },
    });
    server.kubectl(&["apply", "-f", "-"], &deployment.to_string());
    write(&server, &at_lyon(Timestamp::now()));
    let said = plan(&file, &[&back, "--against", "live", "-o", "json"]);
    assert_eq!(said.code, 2, "{said:?}");
    let json = said.json();
    let policy = &json["policies"][0];
    let now = &policy["now"];
    assert_eq!((&now["active"], &now["epoch"], &now["serial"]), (&json!("lyon"), &json!(7), &json!(31)));
    assert!(now["toldBy"].as_str().unwrap().starts_with("paris"), "{now}");
    let act = &policy["acts"][0];
    assert_eq!(act["moves"][0]["verdict"], "Done", "{act}");
    assert_eq!(act["blockers"], json!([]), "{act}");
    let steps = act["steps"].as_array().unwrap();
    let points = steps.iter().find(|s| s["kind"] == "traffic").unwrap();
    // Requested 32, Handover 33, Promoting 34.
    assert_eq!(points["what"], "point public at paris (epoch 8, serial 34)", "{points}");
    let last = act["expected"]["lastHere"].as_str().unwrap();
    assert_eq!(last, "epoch 7: 3.2 s in all, database pause 131 ms, finished 2026-11-20T10:00:00Z");
    let unknown = policy["unknown"].to_string();
    assert!(!unknown.contains("current epoch"), "{unknown}");
    assert!(unknown.contains("the read-only flag of web at paris: unknown"), "no ConfigMap: {unknown}");
    assert!(!unknown.contains("replicas of web at paris"), "the Deployment is there: {unknown}");

    // A Move of another epoch, and one against a site that lives.
    let said = plan(
        &file,
        &["examples/move.yaml", "--against", "live", "--at", "2026-11-28T12:30:00Z", "-o", "json"],
    );
    let blocker = said.json()["policies"][0]["acts"][0]["blockers"][0].clone();
    assert_eq!(blocker["code"], "move/2026-11-28-paris-kernel", "{said:?}");
    assert_eq!(blocker["found"], "Stale: it names epoch 1; lyon is active at epoch 7");
    let changes = [("epoch: 1", "epoch: 7"), ("from: paris", "from: lyon"), ("to: lyon", "to: paris")];
    let lost = changed(&server, "lost.yaml", "move-failover.yaml", &changes);
    let said = plan(&file, &[&lost, "--against", "live"]);
    assert!(said.out.contains("Refused: lyon is active and its lease lives: "), "{said:?}");
    assert!(said.out.contains("if it lives, only lyon can give its role up"), "{said:?}");

    // Lyon is lost: paris serves reads, and the same Move is carried out. How much is at risk is what paris says.
    let mut silent = at_lyon(Timestamp::now());
    silent["phase"] = json!("ReadOnly");
    silent["gates"][0] =
        json!({ "name": "silence", "verdict": "Pass", "value": "silent for 30 s", "message": "" });
    write(&server, &silent);
    let said = plan(&file, &[&lost, "--against", "live"]);
    assert!(said.out.contains("(Failover to paris): Done"), "{said:?}");
    assert!(said.out.contains("lyon is silent (told by paris"), "{said:?}");
    assert!(said.out.contains("as far as is known now: 512 bytes known, 1.2 s unseen"), "{said:?}");

    // The target could not be promoted: the rules refuse the Move, and what stands in the way is named.
    let mut blocked = at_lyon(Timestamp::now());
    blocked["sites"][1] = json!({
        "name": "paris", "role": "Standby", "promotable": false,
        "reason": "database/main/preflight: max_wal_senders is 2 (needed: at least 5)",
    });
    write(&server, &blocked);
    let said = plan(&file, &[&back, "--against", "live"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("(Switchover to paris): Refused"), "{said:?}");
    assert!(said.out.contains("Blocker    database/main/preflight: No"), "{said:?}");
    assert!(said.out.contains("found   max_wal_senders is 2"), "{said:?}");

    // The sites act by different specs: the switchover is taken back at its deadline.
    let mut differing = at_lyon(Timestamp::now());
    differing["sites"][0]["specHash"] = json!("aaaa");
    differing["sites"][1]["specHash"] = json!("bbbb");
    write(&server, &differing);
    let said = plan(&file, &[&back, "--against", "live"]);
    assert!(said.out.contains("(Switchover to paris): RolledBack"), "{said:?}");
    assert!(said.out.contains("found   paris acts by spec bbbb, lyon by spec aaaa"), "{said:?}");

    // The operator does not hear the arbiter: what it knows may be over.
    let mut deaf = at_lyon(Timestamp::now());
    deaf["conditions"][0]["status"] = json!("Unknown");
    deaf["conditions"][0]["reason"] = json!("ArbiterUnreachable");
    write(&server, &deaf);
    let said = plan(&file, &[&back, "--against", "live"]);
    assert!(said.out.contains("Blocker    condition/Ready: Unknown"), "{said:?}");

    // A transition is under way; a status that is old; one of another version.
    let mut under_way = at_lyon(Timestamp::now());
    under_way["phase"] = json!("Promoting");
    write(&server, &under_way);
    fails(&file, &[&back, "--against", "live"], &["the record is in Promoting", "bascule why shop/shop"]);
    write(&server, &at_lyon(Timestamp::now() - 42.minutes()));
    let said = plan(&file, &[&back, "--against", "live"]);
    assert!(said.out.contains("Blocker    status/stale: Unknown"), "{said:?}");
    let mut newer = at_lyon(Timestamp::now());
    newer["phase"] = json!("Levitating");
    write(&server, &newer);
    fails(&file, &[&back, "--against", "live"], &["\"Levitating\", which this program does not know"]);
    write(&server, &at_lyon(Timestamp::now()));

    // A Move that is there already, and one of its name that says something else.
    server.kubectl(&["apply", "-f", "-"], &fs::read_to_string(&back).unwrap());
    let said = plan(&file, &[&back, "--against", "live"]);
    assert_eq!(said.code, 0, "{said:?}");
    let other = changed(
        &server,
        "other.yaml",
        "move.yaml",
        &[("ticket 4711", "ticket 4712"), ("epoch: 1", "epoch: 7")],
    );
    let said = plan(&file, &[&other, "--against", "live"]);
    assert!(said.out.contains("a Move never changes"), "{said:?}");

    // What came from git and is not in the directory any more is deleted; what somebody applied by hand is not.
    let empty = server.kubeconfig().with_file_name("policies");
    fs::create_dir(&empty).unwrap();
    fs::copy(repository().join("examples/read-only.yaml"), empty.join("archive.yaml")).unwrap();
    let directory = empty.display().to_string();
    let said = plan(&file, &[&directory, "--against", "live"]);
    assert!(!said.out.contains("deleted"), "{said:?}");
    server.kubectl(&["annotate", "fop", "shop", "-n", "shop", "bascule.dev/source=shop/policies"], "");
    let said = plan(&file, &[&directory, "--against", "live"]);
    assert!(said.out.contains("shop/shop: deleted"), "{said:?}");
    assert!(said.out.contains("Unmanaged"), "{said:?}");

    // Rights, slips, and nobody there.
    fails(&file, &[shop, "--against", "live", "--context", "tset"], &["no context tset; did you mean test?"]);
    fails(&file, &[shop, "--context", "test"], &["--against live"]);
    server.stop();
    fails(
        &file,
        &[shop, "--against", "live"],
        &[here, "no answer when asked to list", "does that site live?"],
    );
}
