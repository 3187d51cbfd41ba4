//! `bascule why` as people run it, against a real API server: what it says, its exit codes, and what it makes of
//! everything that can be wrong.

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

fn bascule(kubeconfig: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bascule"));
    command.arg("why").args(arguments).env("KUBECONFIG", kubeconfig).env_remove("KUBERNETES_SERVICE_HOST");
    let Output { status, stdout, stderr } = command.output().unwrap();
    Said {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// Asserts that nothing is printed but one error in one line, with all of these words.
fn fails(kubeconfig: &Path, arguments: &[&str], words: &[&str]) {
    let said = bascule(kubeconfig, arguments);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}: {said:?}");
    assert_eq!(said.err.trim_end().lines().count(), 1, "{arguments:?}: {said:?}");
    for word in words {
        assert!(said.err.contains(word), "{arguments:?} does not say {word:?}: {}", said.err);
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The server's kubeconfig with some of its text replaced.
fn changed(server: &ApiServer, name: &str, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(server.kubeconfig()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    let path = server.kubeconfig().with_file_name(name);
    std::fs::write(&path, text.replace(from, to)).unwrap();
    path
}

fn make(server: &ApiServer, namespace: &str) {
    server.kubectl(&["create", "namespace", namespace], "");
    let policy = std::fs::read_to_string(repository().join("examples/shop.yaml")).unwrap();
    let policy = policy.replace("namespace: shop", &format!("namespace: {namespace}"));
    server.kubectl(&["apply", "--server-side", "-f", "-"], &policy);
}

/// Writes a status, once the API server takes it: a changed definition is in force a moment after it was written.
fn write(server: &ApiServer, namespace: &str, status: &Value) {
    let file = server.kubeconfig().with_file_name("status.json");
    std::fs::write(&file, json!({ "status": status }).to_string()).unwrap();
    server.shell(&format!(
        "for i in $(seq 100); do kubectl patch fop shop -n {namespace} --subresource=status --type=merge \
         --patch-file={} && exit 0; sleep 0.2; done; exit 1",
        file.display()
    ));
}

/// The heartbeat of the process `lyon-7`.
fn beat(server: &ApiServer, at: Timestamp) {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "bascule-operator", "namespace": "bascule-system",
            "annotations": { "bascule.dev/unshown-count": "0", "bascule.dev/unshown": "" },
        },
        "spec": {
            "holderIdentity": "lyon-7", "leaseDurationSeconds": 30,
            "renewTime": at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        },
    });
    server.kubectl(&["apply", "--server-side", "-f", "-"], &lease.to_string());
}

fn steady(written: Timestamp) -> Value {
    json!({
        "site": "lyon", "writtenAt": written.to_string(), "observedGeneration": 1,
        "message": "paris writes (epoch 3); lyon follows, 0 B behind.",
        "activeSite": "paris", "epoch": 3, "serial": 12, "phase": "Steady",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Steady", "message": "paris is active",
            "lastTransitionTime": written.to_string(),
        }],
        "gates": [
            { "name": "silence", "verdict": "NotYet", "value": "silent for 400 ms", "threshold": "8 s",
              "age": "300 ms", "message": "silence" },
            { "name": "loss", "verdict": "Pass", "value": "0 bytes", "threshold": "16 MiB", "age": "2 s",
              "message": "loss" },
        ],
    })
}

#[tokio::test]
async fn a_live_cluster_is_explained_and_so_is_everything_that_is_wrong() {
    let mut server = ApiServer::start().await;
    let file = server.kubeconfig();
    let here = format!("context test of kubeconfig {} (from KUBECONFIG) (https://127.0.0.1:", file.display());

    // Without the definitions, and then without a policy.
    fails(&file, &[], &[&here, "knows no FailoverPolicy", "crds/generated/", "--context"]);
    fails(&file, &["shop/shop"], &[&here, "knows no FailoverPolicy"]);
    let definitions = repository().join("crds/generated").display().to_string();
    server.kubectl(&["apply", "--server-side", "-f", &definitions], "");
    // A new kind is served a moment after it is established.
    server.shell("for i in $(seq 150); do kubectl get fop -A && exit 0; sleep 0.2; done; exit 1");
    let said = bascule(&file, &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("There is no FailoverPolicy in any namespace of context test"), "{said:?}");
    fails(&file, &["shop"], &["there is no FailoverPolicy shop", "there is none at all"]);

    // A policy that no operator has seen.
    make(&server, "shop");
    let said = bascule(&file, &["shop"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("First blocker: status/missing"), "{said:?}");
    assert!(said.out.contains("failoverpolicies/status"), "{said:?}");

    // One that is well, by every way to name it.
    write(&server, "shop", &steady(Timestamp::now()));
    for way in [&["shop"][..], &["shop/shop"], &["shop", "-n", "shop"], &["shop", "--context", "test"]] {
        let said = bascule(&file, way);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.starts_with("shop/shop: paris writes (epoch 3)"), "{said:?}");
        assert!(said.out.contains("Nothing blocks.") && said.out.contains("~ silence: NotYet"), "{said:?}");
    }
    let said = bascule(&file, &["shop", "-o", "json"]);
    let explained: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&explained["blocks"], &explained["site"]), (&json!(false), &json!("lyon")), "{said:?}");

    // One whose operator has died.
    write(&server, "shop", &steady(Timestamp::now() - 42.minutes()));
    let said = bascule(&file, &["shop"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("First blocker: status/stale: Unknown, 42 m old"), "{said:?}");
    assert!(said.out.contains("silence: NotYet, 42 m old"), "{said:?}");

    // One at rest, of whose operator nothing is known, that lives, and that has died since.
    server.kubectl(&["create", "namespace", "bascule-system"], "");
    let mut at_rest = steady(Timestamp::now() - 42.minutes());
    at_rest["heartbeat"] =
        json!({ "namespace": "bascule-system", "name": "bascule-operator", "writer": "lyon-7" });
    write(&server, "shop", &at_rest);
    let said = bascule(&file, &["shop"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("status/unheard"), "{said:?}");
    assert!(said.out.contains("there is no Lease bascule-system/bascule-operator"), "{said:?}");
    beat(&server, Timestamp::now());
    let said = bascule(&file, &["shop"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("Told by  lyon, 42 m ago; still so"), "{said:?}");
    let token = "{token: test-admin-token}";
    let reader = changed(&server, "reader", token, "{token: test-admin-token, as: reader}");
    let reads =
        ["create", "clusterrole", "reader", "--verb=get,list", "--resource=failoverpolicies.bascule.dev"];
    server.kubectl(&reads, "");
    server.kubectl(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", "--user=reader"], "");
    server.shell("for i in $(seq 100); do kubectl auth can-i list fop -A --as reader && exit 0; sleep 0.2; done; exit 1");
    let said = bascule(&reader, &["shop"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("whether it lives is not known: you may not get the Lease"), "{said:?}");
    assert!(said.out.contains("needed  the right to get leases in namespace bascule-system"), "{said:?}");
    beat(&server, Timestamp::now() - 40.seconds());
    let said = bascule(&file, &["shop"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("First blocker: status/stale: Unknown, 42 m old"), "{said:?}");
    assert!(said.out.contains("was last alive 4"), "{said:?}");

    // Two of one name.
    make(&server, "eu");
    fails(&file, &["shop"], &["several policies", "eu/shop", "shop/shop"]);
    let said = bascule(&file, &[]);
    assert_eq!((said.code, said.out.lines().count()), (2, 3), "{said:?}");
    let said = bascule(&file, &["-n", "eu", "-o", "json"]);
    let all: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(all["policies"][0]["firstBlocker"]["code"], "status/missing", "{said:?}");

    // A status of another version hides no other policy.
    let verdicts = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/gates/items/properties/verdict/enum/-";
    let patch = json!([{ "op": "add", "path": verdicts, "value": "Perhaps" }]).to_string();
    server.kubectl(&["patch", "crd", "failoverpolicies.bascule.dev", "--type=json", "-p", &patch], "");
    let mut later = steady(Timestamp::now());
    later["gates"][0]["verdict"] = json!("Perhaps");
    write(&server, "eu", &later);
    let said = bascule(&file, &[]);
    assert!(said.out.contains("status/unreadable: unknown variant `Perhaps`"), "{said:?}");
    assert!(said.out.contains("shop/shop  paris"), "{said:?}");

    // Slips.
    let example = repository().join("examples/shop.yaml").display().to_string();
    let instead = format!("bascule simulate {example} --why TIME");
    fails(&file, &[&example], &["found the file", &instead]);
    fails(&file, &["shop/shpo"], &["no FailoverPolicy shop/shpo; did you mean", "shop/shop"]);
    fails(&file, &["shop", "-n", "shp"], &["no FailoverPolicy shp/shop; did you mean"]);
    fails(&file, &["-n", "shp"], &["there is no namespace shp; leave -n out"]);
    fails(&file, &["shop", "--context", "tset"], &["has no context tset; did you mean test?"]);
    fails(&file, &["fop/shop/x"], &["NAME or NAMESPACE/NAME", "\"shop/x\" is not a name"]);
    fails(Path::new("/nowhere/config"), &[], &["kubeconfig /nowhere/config", "--kubeconfig FILE"]);
    let nobody = file.with_file_name("nobody");
    let text = "contexts: [{name: lyon, context: {cluster: c, user: nobody}}]\ncurrent-context: lyon\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n";
    std::fs::write(&nobody, text).unwrap();
    fails(&nobody, &[], &["context lyon names the user nobody, which is not in the file"]);
    let broken = server.kubeconfig().with_file_name("broken");
    std::fs::write(&broken, "users:\n- name: a\n  user:\n    token: s3cret: s3cret\n    password: s3cret\n")
        .unwrap();
    let files = format!("{}:{}", file.display(), broken.display());
    for files in [broken.as_path(), Path::new(&files)] {
        fails(files, &[], &[&format!("kubeconfig {} ", broken.display()), "line 4, column "]);
        assert!(!bascule(files, &[]).err.contains("s3cret"), "{:?}", bascule(files, &[]));
    }
    let none = changed(&server, "no-current", "current-context: test", "current-context: \"\"");
    fails(&none, &[], &["has no current context", "--context NAME; it has test"]);
    assert_eq!(bascule(&file, &["--bogus"]).code, 1, "2 says that something blocks");

    // Rights.
    let nobody = changed(&server, "nobody", token, "{token: test-admin-token, as: nobody}");
    let rights =
        ["you may not list failoverpolicies.bascule.dev in all namespaces", "ask for a role", "with -n"];
    fails(&nobody, &[], &rights);
    fails(&nobody, &["shop"], &rights);
    let rights = ["you may not get failoverpolicies.bascule.dev shop in namespace shop", "\"nobody\""];
    fails(&nobody, &["shop/shop"], &rights);
    let stranger = changed(&server, "stranger", token, "{token: of-yesterday}");
    fails(&stranger, &[], &["the credentials are not accepted", "log in again"]);

    // Nobody there, and somebody who says nothing.
    server.freeze();
    fails(
        &file,
        &["shop/shop"],
        &[&here, "no answer when asked to get failoverpolicies.bascule.dev shop in namespace shop"],
    );
    server.thaw();
    server.stop();
    fails(
        &file,
        &[],
        &[
            &here,
            "no answer when asked to list",
            "no connection: tcp connect error",
            "refused",
            "does that site live?",
        ],
    );
}
