//! An operator whose arbiter is a witness, as a real process, with a real API server of its site and another one at the
//! witness.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

mod live;
#[path = "../adapters/tests/stores/stored.rs"]
mod stored;
#[path = "../adapters/tests/stores/witness.rs"]
mod witness;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bascule_adapters::arbiter::{Cas, Claim, KubernetesArbiter, Renewal};
use bascule_core::name::PolicyKey;
use bascule_core::record::{Fences, Record};

// Where the witness looks for it.
use crate::live::apiserver;
use crate::live::{Cluster, WEB};
use crate::stored::{bytes, record_of, site};
use crate::witness::{TQ, Witness};

/// Far above what anything here needs on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// An operator of paris; it ends with this value.
struct Operator {
    process: Child,
    folder: tempfile::TempDir,
}

impl Operator {
    fn start(cluster: &Cluster, witness: &Path, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        certificates(folder.path());
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_bascule"))
            .arg("operator")
            .args(["--site", "paris", "--profile", "region", "--arbiter-election", "0s"])
            .args(["--kubeconfig", &cluster.file().display().to_string()])
            .args(["--arbiter-kubeconfig", &witness.display().to_string()])
            .args(["--guard-certificates", &folder.path().display().to_string()])
            .args(["--guard-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--journal", &file("journal"), "--git-cache", &file("git")])
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What guards would be shown: no guard connects here.
fn certificates(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for (name, text) in [("ca.crt", &cert), ("tls.crt", &cert), ("tls.key", &key)] {
        fs::write(folder.join(name), text).unwrap();
    }
}

fn web() -> PolicyKey {
    PolicyKey::new("web", "web").unwrap()
}

/// A witness that has a record with paris active, under a promise to fence; and lyon, which has been silent since.
async fn begun() -> (Witness, KubernetesArbiter) {
    let witness = Witness::start().await;
    let lyon = witness.arbiter("operator-lyon").await;
    let mut record = record_of("paris", 1, 1, "begun");
    record["promise"]["fences"] = serde_json::json!({ "within": { "holder": 2500, "fence": 500 } });
    record["promise"]["profile"] = "region".into();
    record["promise"]["lease"] = 4000.into();
    assert!(matches!(lyon.cas(&web(), None, bytes(&record), None, TQ).await, Cas::Applied { .. }));
    assert_eq!(lyon.claim_site(&site("lyon"), "uid-lyon", TQ).await, Claim::Ours);
    assert!(matches!(lyon.renew(&site("lyon"), "uid-lyon", b"last", TQ).await, Renewal::Applied { .. }));
    (witness, lyon)
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    for namespace in ["bascule-system", "web"] {
        cluster.server.kubectl(&["create", "namespace", namespace], "");
    }
    cluster.server.kubectl(&["delete", "fop", "shop", "-n", "shop"], "");
    cluster.server.kubectl(&["apply", "--server-side", "-f", "-"], WEB);
    cluster
}

/// Waits until the record is what is waited for.
async fn record_until(
    operator: &Operator,
    arbiter: &KubernetesArbiter,
    what: &str,
    holds: impl Fn(&Record) -> bool,
) -> Record {
    let since = Instant::now();
    loop {
        let found = arbiter.record(&web(), TQ).await.unwrap().unwrap();
        let record: Record = found.parse().unwrap();
        if holds(&record) {
            return record;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: {record:?}\n{}", operator.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the policy's condition `Advice` has these words.
async fn advised(operator: &Operator, cluster: &Cluster, words: &str) {
    let path = "jsonpath={.status.conditions[?(@.type==\"Advice\")].message}";
    let since = Instant::now();
    loop {
        let said = cluster.server.kubectl(&["get", "fop", "web", "-n", "web", "-o", path], "");
        if said.contains(words) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{words:?} is not advised: {said:?}\n{}", operator.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_witness_that_nobody_has_accepted_the_active_site_lives_writes_the_promise_never_and_says_why()
{
    let ((witness, lyon), cluster) = tokio::join!(begun(), cluster());
    let operator = Operator::start(&cluster, &witness.kubeconfig("operator-paris"), &[]);
    let record =
        record_until(&operator, &lyon, "the promise is never", |r| r.promise.fences == Fences::Never).await;
    assert!(record.active == site("paris") && record.epoch == 1 && record.serial > 1, "{record:?}");
    assert_eq!(record.unknown["ofALaterVersion"]["word"], "begun", "what no version knows is kept");
    let leases = lyon.leases(TQ).await.unwrap().items;
    assert!(leases.iter().any(|lease| lease.site == site("paris")), "{leases:?}\n{}", operator.log());
    advised(&operator, &cluster, "nothing is promoted by itself").await;
    assert!(operator.log().contains("single point"), "{}", operator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_witness_that_is_accepted_the_active_site_keeps_its_promise_to_fence() {
    let ((witness, lyon), cluster) = tokio::join!(begun(), cluster());
    let accepts = ["--arbiter-accept-single-point"];
    let operator = Operator::start(&cluster, &witness.kubeconfig("operator-paris"), &accepts);
    let record = record_until(&operator, &lyon, "the role is claimed again", |r| r.serial > 1).await;
    assert!(matches!(record.promise.fences, Fences::Within { .. }), "{record:?}");
    advised(&operator, &cluster, "the active site stops by itself").await;
}

#[test]
fn check_says_what_a_witness_is_and_that_one_without_its_rules_is_none() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ((witness, _lyon), cluster) = runtime.block_on(async { tokio::join!(begun(), cluster()) });
    let check = |kubeconfig: &Path| {
        let mut command = live::program(&cluster.file());
        command.args(["check", "--pre", "--site", "paris=test", "--profile", "wan", "--arbiter-kubeconfig"]);
        live::answered(command.arg(kubeconfig), "")
    };
    let well = check(&witness.kubeconfig("operator-paris"));
    assert!(!well.out.contains("WitnessUnruled") && !well.out.contains("ArbiterQuorum"), "{well:?}");
    well.says(
        well.code,
        &["a lease that nobody may make is refused there", "site name paris: free at the arbiter"],
    );
    // The kinds are there, and in this namespace nobody made rules for them.
    let unruled = check(&witness.server.kubeconfig());
    unruled.says(2, &["WitnessUnruled", "docs/checks.md#witnessunruled"]);
    let mut foreign = live::program(&cluster.file());
    foreign.args(["check", "--arbiter-kubeconfig"]).arg(cluster.file());
    live::answered(&mut foreign, "").says(2, &["ArbiterQuorum", "the kinds of the chart bascule-witness"]);
}
