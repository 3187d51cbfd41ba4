//! No operator: the guard asks a real arbiter itself, and only to extend what it holds.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::Client;

use crate::roles::serves;
use crate::world::ports::free_port;
use crate::world::{PATIENCE, TIMING, World};

struct Etcd {
    process: Child,
    endpoint: String,
    _dir: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn binary() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let path = std::env::var_os("BASCULE_ETCD")
        .map_or_else(|| Path::new(&home).join(".cache/bascule-sandbox/bin/etcd"), PathBuf::from);
    assert!(path.is_file(), "this test needs a real etcd: {} does not exist", path.display());
    path
}

async fn etcd() -> (Etcd, Client) {
    let dir = tempfile::tempdir().unwrap();
    let urls = [(); 2].map(|()| format!("http://127.0.0.1:{}", free_port()));
    let process = Command::new(binary())
        .args(["--name", "m", "--data-dir"])
        .arg(dir.path().join("data"))
        .args(["--listen-client-urls", &urls[0], "--advertise-client-urls", &urls[0]])
        .args(["--listen-peer-urls", &urls[1], "--initial-advertise-peer-urls", &urls[1]])
        .args(["--initial-cluster", &format!("m={}", urls[1]), "--unsafe-no-fsync", "--log-level", "error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let etcd = Etcd { process, endpoint: urls[0].clone(), _dir: dir };
    let began = Instant::now();
    loop {
        let ready = async {
            let client = Client::connect([&etcd.endpoint], None).await?;
            client.kv_client().put("ready", "yes", None).await?;
            Ok::<_, etcd_client::Error>(client)
        };
        if let Ok(Ok(client)) = tokio::time::timeout(Duration::from_secs(1), ready).await {
            return (etcd, client);
        }
        assert!(began.elapsed() < PATIENCE, "etcd does not come up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn record(active: &str, phase: &str, serial: u64) -> String {
    serde_json::json!({
        "schema": 1, "generation": 0, "epoch": 1, "serial": serial, "active": active, "phase": phase,
        "promise": { "fences": { "within": { "holder": 1250, "fence": 300 } }, "lease": 2000,
                     "fenceClass": "Guard", "profile": "metro" },
        "settled": true, "entered": { "at": "2026-01-01T00:00:00Z", "by": "paris" },
    })
    .to_string()
}

async fn put(client: &Client, key: &str, value: String) {
    client.kv_client().put(key, value, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_outlives_the_absence_of_its_operator_until_the_record_says_otherwise() {
    let (etcd, client) = etcd().await;
    put(&client, "/bascule/v1/site/paris", "uid-of-paris".into()).await;
    put(&client, "/bascule/v1/record/web/shop", record("paris", "Steady", 2)).await;
    let world = World::new().await;
    let options = ["--arbiter", &etcd.endpoint, "--cluster-uid", "uid-of-paris"];
    let mut a = world.node_with("a", true, &options);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    a.order(|o| o.deaf = true);
    // Several times R + F: without the arbiter it would be dead.
    tokio::time::sleep((TIMING.r.duration() + TIMING.f.duration()) * 4).await;
    a.sql("SELECT 1").await;
    let report = a.last_report().unwrap();
    assert!(report.fallback && serves(&report), "{report:?}");
    let lease = client.kv_client().get("/bascule/v1/lease/paris", None).await.unwrap();
    assert!(lease.kvs()[0].version() > 3, "the site's lease is renewed");
    // A harmless change of the record goes on; one that takes the right to write away ends it within R + F.
    put(&client, "/bascule/v1/record/web/shop", record("paris", "Requested", 3)).await;
    tokio::time::sleep(TIMING.r.duration() * 2).await;
    a.sql("SELECT 1").await;
    put(&client, "/bascule/v1/record/web/shop", record("paris", "Withdrawn", 4)).await;
    let began = Instant::now();
    while !a.processes().is_empty() {
        assert!(began.elapsed() < PATIENCE, "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let limit = TIMING.r.duration() + TIMING.f.duration() + Duration::from_secs(1);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    // Nothing is begun by the fallback.
    put(&client, "/bascule/v1/record/web/shop", record("paris", "Steady", 5)).await;
    tokio::time::sleep(TIMING.r.duration()).await;
    assert_eq!(a.processes(), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_name_that_belongs_to_another_cluster_is_not_renewed() {
    let (etcd, client) = etcd().await;
    put(&client, "/bascule/v1/site/paris", "uid-of-another".into()).await;
    put(&client, "/bascule/v1/record/web/shop", record("paris", "Steady", 2)).await;
    let world = World::new().await;
    let options = ["--arbiter", &etcd.endpoint, "--cluster-uid", "uid-of-paris"];
    let mut a = world.node_with("a", true, &options);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    a.order(|o| o.deaf = true);
    let began = Instant::now();
    while !a.processes().is_empty() {
        assert!(began.elapsed() < PATIENCE, "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(client.kv_client().get("/bascule/v1/lease/paris", None).await.unwrap().kvs().is_empty());
}
