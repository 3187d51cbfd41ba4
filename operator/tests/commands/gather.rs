//! `bascule gather` as people run it, against a real API server in which secrets are planted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::live::{Cluster, steady};

/// Where people put secrets, each with the word that must not be told.
const PLANTED: &str = "
apiVersion: v1
kind: Secret
metadata: { name: main-bascule, namespace: shop }
stringData: { username: bascule, password: planted-in-secret, again: planted-in-secret }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: web-config, namespace: shop, annotations: { example.org/token: planted-in-annotation } }
data: { config.ini: 'password = planted-in-configmap' }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
        - name: web
          image: registry.example.org/web:1
          command: [/bin/web, --password=planted-in-option, planted-in-word]
          args: ['PASSWORD=planted-in-assignment']
          env: [{ name: DATABASE_PASSWORD, value: planted-in-environment }]
          readinessProbe: { httpGet: { port: 80, httpHeaders: [{ name: Authorization, value: planted-in-header }] } }
---
apiVersion: v1
kind: Event
metadata: { name: pulled, namespace: shop }
involvedObject: { kind: Pod, name: web, namespace: shop }
message: 'cannot pull https://robot:planted-in-address@registry.example.org/web:1'
reason: Failed
type: Warning
";

fn files(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        })
        .collect()
}

#[tokio::test]
async fn an_archive_has_what_is_known_and_no_secret() {
    let mut cluster = Cluster::start().await;
    cluster.write("shop", &steady(Timestamp::now()));
    // Client-side, so that the whole Secret stands in an annotation, too.
    cluster.server.kubectl(&["apply", "-f", "-"], PLANTED);
    let applied = cluster.server.kubectl(&["get", "secret", "main-bascule", "-n", "shop", "-o", "yaml"], "");
    assert!(
        applied.contains("last-applied-configuration") && applied.contains("planted-in-secret"),
        "{applied}"
    );
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("2026-11-28.log");
    std::fs::write(&journal, "2026-11-28T03:00:00.000Z paris shop/shop epoch=3 serial=12 outcome: done\n")
        .unwrap();
    let (journal, out) = (journal.display().to_string(), directory.path().join("a.tar"));
    let path = out.display().to_string();

    let said = cluster.run(&["gather", "--out", &path, "--journal", &journal]);
    said.says(0, &["a.tar: 12 files", "as fingerprints only"]);
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let all = files(&out);
    for name in [
        "README.txt",
        "shop/shop/why.json",
        "shop/shop/status.json",
        "shop/failoverpolicies.json",
        "shop/moves.json",
        "shop/policysources.json",
        "shop/deployments.json",
        "shop/statefulsets.json",
        "shop/pods.json",
        "shop/events.json",
        "shop/configmaps.json",
        "shop/secrets.json",
        "journal/0-2026-11-28.log",
    ] {
        assert!(all.contains_key(&format!("bascule/{name}")), "{name} is not in it: {:?}", all.keys());
    }
    // `planted` in base64, at each of the three places where it may begin.
    for word in ["planted", "cGxhbnRlZ", "BsYW50ZW", "wbGFudGVk"] {
        for (name, text) in &all {
            assert!(!text.contains(word), "{name} tells {word}: {text}");
        }
    }
    // What helps is there.
    let secrets: Value = serde_json::from_str(&all["bascule/shop/secrets.json"]).unwrap();
    let data = &secrets[0]["data"];
    assert_eq!(secrets[0]["metadata"]["name"], "main-bascule", "{secrets}");
    assert_eq!(data["password"], data["again"], "the same value has the same fingerprint: {data}");
    assert_ne!(data["password"], data["username"], "{data}");
    assert!(data["password"].as_str().unwrap().starts_with("sha256:"), "{data}");
    let web = &all["bascule/shop/deployments.json"];
    assert!(web.contains("registry.example.org/web:1") && web.contains("DATABASE_PASSWORD"), "{web}");
    assert!(web.contains("--password=sha256:"), "{web}");
    assert!(all["bascule/shop/events.json"].contains("@registry.example.org/web:1"));
    assert!(all["bascule/shop/failoverpolicies.json"].contains("paris writes (epoch 3)"));
    assert!(all["bascule/README.txt"].contains("shop/secrets.json"));

    // Another archive has other fingerprints, and none is overwritten.
    cluster.run(&["gather", "--out", &path]).fails(&["--out", "expected a file that does not exist yet"]);
    let second = directory.path().join("b.tar");
    cluster.run(&["gather", "-n", "shop", "--out", &second.display().to_string()]).says(0, &[]);
    assert_ne!(files(&second)["bascule/shop/secrets.json"], all["bascule/shop/secrets.json"]);

    // What one may not read is named, and keeps the rest from nothing.
    cluster.server.kubectl(
        &["create", "clusterrole", "looks", "--verb=get,list", "--resource=failoverpolicies.bascule.dev"],
        "",
    );
    cluster
        .server
        .kubectl(&["create", "clusterrolebinding", "looks", "--clusterrole=looks", "--user=nobody"], "");
    let nobody = cluster.changed("nobody", "test-admin-token}", "test-admin-token, as: nobody}");
    let third = directory.path().join("c.tar");
    let said = Cluster::run_as(&nobody, &["gather", "--out", &third.display().to_string()]);
    said.says(2, &["8 could not be read"]);
    let readme = files(&third)["bascule/README.txt"].clone();
    assert!(readme.contains("shop/secrets: ") && readme.contains("you may not list secrets"), "{readme}");

    cluster.server.stop();
    let fourth = directory.path().join("d.tar");
    cluster.run(&["gather", "--out", &fourth.display().to_string()]).fails(&["no connection"]).in_time();
    assert!(!fourth.exists(), "no archive is left behind");
}
