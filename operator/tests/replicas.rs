//! Two replicas of one site's operator, as real processes, with a real API server and a real arbiter of three members, and
//! with a real PostgreSQL under its guard.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

#[path = "../adapters/tests/arbiter/cluster.rs"]
mod arbiter;
mod guarded;
mod live;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bascule_adapters::arbiter::{EtcdArbiter, Revision};
use bascule_core::ballot::spare::Spare;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::policy::FenceClass;
use bascule_core::record::{Entered, Fences, Phase, Promise, Record};
use bascule_core::timing::{Profile, Timing};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::arbiter::TQ;
use crate::guarded::{Database, Service};
use crate::live::apiserver::ports::free_port;
use crate::live::{Cluster, WEB};

const TIMING: Timing = Profile::Region.timing();

/// Far above what anything here needs on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The policy of a database, which PORT leads to. That its guard is not there yet is no loss while a test begins.
const DATABASE: &str = r"
apiVersion: bascule.dev/v1alpha1
kind: FailoverPolicy
metadata: { name: shop, namespace: web }
spec:
  sites: [{ name: paris }, { name: lyon }]
  initialSite: paris
  failover:
    serveReads: { after: 10s, returnAfter: 1m }
    promote: { after: 30s, maxDataLoss: { bytes: 16Mi, time: 1m } }
    databaseLost: { restartGrace: 2m }
    cooldown: 10m
  databases:
    - name: main
      postgresql:
        fence: Guard
        instances:
          - site: paris
            statefulSet: main
            host: 127.0.0.1
            port: PORT
            replicationHost: 127.0.0.1
            replicationPort: PORT
            secretRef: { name: main-bascule }
            replicationSecretRef: { name: main-replication }
          - site: lyon
            statefulSet: main
            host: main.web.svc
            replicationHost: 198.51.100.10
            secretRef: { name: main-bascule }
            replicationSecretRef: { name: main-replication }
---
apiVersion: v1
kind: Secret
metadata: { name: main-bascule, namespace: web }
stringData: { username: postgres, password: unused }
---
apiVersion: v1
kind: Secret
metadata: { name: main-replication, namespace: web }
stringData: { username: postgres, password: unused }
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: main, namespace: web }
spec:
  serviceName: main
  replicas: 1
  selector: { matchLabels: { app: main } }
  template:
    metadata: { labels: { app: main } }
    spec: { containers: [{ name: postgres, image: postgres }] }
";

/// The site paris, and what its operators need.
struct Site {
    cluster: Cluster,
    arbiter: arbiter::Cluster,
    etcd: EtcdArbiter,
    folder: TempDir,
}

/// One replica; it ends with this value.
struct Replica {
    name: &'static str,
    http: u16,
    guards: u16,
    process: Child,
    journal: PathBuf,
}

impl Site {
    /// The policy web is active here; the other site has been silent for ever.
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        for namespace in ["bascule-system", "web"] {
            cluster.server.kubectl(&["create", "namespace", namespace], "");
        }
        cluster.server.kubectl(&["delete", "fop", "shop", "-n", "shop"], "");
        cluster.server.kubectl(&["apply", "--server-side", "-f", "-"], WEB);
        let arbiter = arbiter::Cluster::start_with(Duration::from_millis(300)).await;
        let etcd = arbiter.arbiter("operator", &[0, 1, 2]).await;
        let record = serde_json::to_vec(&steady()).unwrap();
        etcd.cas(&policy(), None, record, None, TQ).await;
        arbiter.raw("root").await.put("/bascule/v1/lease/lyon", "long ago", None).await.unwrap();
        let folder = TempDir::new().unwrap();
        let tls = arbiter.settings("operator", vec![arbiter.endpoint(0)]).tls;
        for (name, content) in
            [("ca.crt", &tls.ca[..]), ("tls.crt", &tls.cert), ("tls.key", tls.key.expose_secret())]
        {
            fs::write(folder.path().join(name), content).unwrap();
        }
        guarded::certificates(folder.path());
        Self { cluster, arbiter, etcd, folder }
    }

    fn replica(&self, name: &'static str) -> Replica {
        let (http, guards) = (free_port(), free_port());
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let endpoints: Vec<String> = (0..3).map(|i| self.arbiter.endpoint(i)).collect();
        let journal = self.folder.path().join(format!("{name}-journal"));
        let log = File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_bascule"))
            .arg("operator")
            .args(["--site", "paris", "--profile", "region", "--arbiter-election", "300ms"])
            .args(["--kubeconfig".into(), self.cluster.file().display().to_string()])
            .args(["--arbiter-endpoints", &endpoints.join(","), "--arbiter-ca", &file("ca.crt")])
            .args(["--arbiter-cert", &file("tls.crt"), "--arbiter-key", &file("tls.key")])
            .args(["--guard-certificates", &file("guards")])
            .args(["--guard-listen", &format!("127.0.0.1:{guards}")])
            .args(["--http-listen", &format!("127.0.0.1:{http}"), "--replica-ip", "127.0.0.1"])
            .args(["--journal", &journal.display().to_string(), "--git-cache", &file(&format!("{name}-git"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Replica { name, http, guards, process, journal }
    }

    /// A database of a policy of its own, which is active here.
    async fn database(&self, service: &Service) -> Database {
        let shop = PolicyKey::new("web", "shop").unwrap();
        self.etcd.cas(&shop, None, serde_json::to_vec(&steady()).unwrap(), None, TQ).await;
        let port = free_port();
        let policy = DATABASE.replace("PORT", &port.to_string());
        self.cluster.server.kubectl(&["apply", "--server-side", "-f", "-"], &policy);
        Database::start(self, port, service)
    }

    /// A replica that acts, has re-claimed the role, and has done what is to be done; and one that stands by and knows the
    /// other site to be silent.
    async fn pair(&self) -> (Replica, Replica) {
        let first = self.replica("first");
        self.until("the first one acts", || first.acts()).await;
        let second = self.replica("second");
        self.until("the second one stands by", || second.stands_by()).await;
        self.written_after(1, Instant::now()).await;
        self.scaled().await;
        Self::watched().await;
        self.until("one acts and the other stands by", || first.acts() && second.stands_by()).await;
        (first, second)
    }

    /// Waits until a replica that stands by has watched the silent site for `L`: else it would have to wait for the rest.
    async fn watched() {
        tokio::time::sleep(TIMING.l() + TIMING.p()).await;
    }

    /// Waits until the Deployment has the size of an active site.
    async fn scaled(&self) {
        let size = || {
            let path = "jsonpath={.spec.replicas}";
            self.cluster.server.kubectl(&["get", "deployment", "web", "-n", "web", "-o", path], "")
        };
        self.until("the workload has its size", || size() == "2").await;
    }

    async fn record(&self) -> (Record, Revision) {
        let found = self.etcd.record(&policy(), TQ).await.unwrap().unwrap();
        (found.parse().unwrap(), found.revision)
    }

    /// Waits until the record was written after `before`; how long that took since `since`.
    async fn written_after(&self, before: u64, since: Instant) -> Duration {
        loop {
            if self.record().await.0.serial > before {
                return since.elapsed();
            }
            assert!(since.elapsed() < PATIENCE, "the record is not written: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn logs(&self) -> String {
        let log = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{}\n{}", path.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        ["first.log", "second.log", "third.log"].map(|n| log(&self.folder.path().join(n))).join("\n")
    }
}

impl Replica {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// What it answers to `GET path`; empty when it does not.
    fn text(&self, path: &str) -> String {
        let Ok(mut tcp) = TcpStream::connect(("127.0.0.1", self.http)) else { return String::new() };
        tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut said = String::new();
        let asked = tcp.write_all(request.as_bytes()).and_then(|()| tcp.read_to_string(&mut said));
        asked.map(|_| said).unwrap_or_default()
    }

    fn acts(&self) -> bool {
        self.text("/metrics").contains("\nbascule_operator_leader 1\n")
    }

    fn stands_by(&self) -> bool {
        self.text("/readyz").contains("stands by")
    }

    /// Waits for its end.
    async fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "{} does not end", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every line of its journal.
    fn journal(&self) -> Vec<String> {
        let files = fs::read_dir(&self.journal).into_iter().flatten().map(|f| f.unwrap().path());
        let read: BTreeMap<PathBuf, String> =
            files.filter_map(|f| Some((f.clone(), fs::read_to_string(f).ok()?))).collect();
        read.values().flat_map(|text| text.lines().map(str::to_owned)).collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn policy() -> PolicyKey {
    PolicyKey::new("web", "web").unwrap()
}

fn steady() -> Record {
    let paris: SiteName = "paris".try_into().unwrap();
    let promise = Promise {
        fences: Fences::Within { holder: TIMING.holder, fence: TIMING.fence },
        lease: TIMING.lease,
        fence_class: FenceClass::Guard,
        profile: "region".to_owned(),
    };
    Record::first(paris.clone(), promise, Entered { at: Timestamp::now(), by: paris })
}

#[tokio::test]
async fn when_the_acting_replica_is_killed_or_told_to_end_the_other_one_goes_on_at_once() {
    let site = Site::start().await;
    let (first, mut second) = site.pair().await;

    let before = site.record().await.0.serial;
    let killed = Instant::now();
    drop(first);
    let took = site.written_after(before, killed).await;
    println!("killed: the next write came after {took:?}");
    assert!(took < Spare::silence(&TIMING), "{took:?}: it waited for the lease to run out\n{}", site.logs());
    site.until("the second one acts", || second.acts()).await;
    // It does steps, too.
    site.cluster.server.kubectl(&["scale", "deployment", "web", "-n", "web", "--replicas=0"], "");
    site.scaled().await;

    let third = site.replica("third");
    site.until("the third one stands by", || third.stands_by()).await;
    Site::watched().await;
    let before = site.record().await.0.serial;
    let told = Instant::now();
    second.signal(Signal::TERM);
    let took = site.written_after(before, told).await;
    println!("told to end: the next write came after {took:?}");
    assert!(took < Spare::silence(&TIMING), "{took:?}: it waited for the lease to run out\n{}", site.logs());
    assert!(second.ended().await.success());
    site.until("the third one acts", || third.acts()).await;
    assert_eq!(site.record().await.0.epoch, 1, "the role has not moved");
}

#[tokio::test]
async fn a_frozen_replica_is_followed_once_its_lease_has_run_out_and_does_nothing_when_it_thaws() {
    let site = Site::start().await;
    let (mut first, second) = site.pair().await;
    let before = site.record().await.0.serial;
    let frozen = Instant::now();
    first.signal(Signal::STOP);
    let took = site.written_after(before, frozen).await;
    println!("frozen: the next write came after {took:?}");
    assert!(took + TIMING.p() >= TIMING.r(), "{took:?}: the frozen one's lease had time left");
    site.until("the second one acts", || second.acts()).await;
    site.scaled().await;
    let (_, revision) = site.record().await;
    let said = first.journal().len();

    first.signal(Signal::CONT);
    assert!(first.ended().await.success(), "it ends to stand by when it is started again");
    let since: Vec<String> = first.journal().split_off(said);
    assert!(!since.iter().any(|line| line.contains(" intent: ")), "{since:?}");
    assert!(!since.iter().any(|line| line.contains(" done: ")), "{since:?}");
    assert_eq!(site.record().await.1, revision, "nobody has written the record since");
    assert!(second.acts());
}

/// A Move that means no policy: its status says so.
const MOVE_TO_NOBODY: &str = r"
apiVersion: bascule.dev/v1alpha1
kind: Move
metadata: { name: nobody, namespace: web }
spec: { policyRef: { name: nobody }, type: Switchover, from: paris, to: lyon, epoch: 1, reason: test }
";

#[tokio::test]
async fn a_status_that_another_replica_writes_late_is_written_over() {
    let site = Site::start().await;
    let first = site.replica("first");
    site.until("it acts", || first.acts()).await;
    site.cluster.server.kubectl(&["apply", "--server-side", "-f", "-"], MOVE_TO_NOBODY);
    let says = |kind: &str, name: &str, path: &str| {
        let path = format!("jsonpath={{.status.{path}}}");
        site.cluster.server.kubectl(&["get", kind, name, "-n", "web", "-o", &path], "")
    };
    let writer = || says("fop", "web", "heartbeat.writer");
    let message = || says("move", "nobody", "message");
    site.until("the statuses are there", || !writer().is_empty() && message().contains("no FailoverPolicy"))
        .await;
    let (wrote, said) = (writer(), message());
    // Twice: a replica may have more than one under way when it is frozen.
    for time in 1..=2 {
        let patch = |kind: &str, name: &str, status: &str| {
            let patch = format!(r#"{{"status":{status}}}"#);
            let late =
                ["patch", kind, name, "-n", "web", "--subresource=status", "--type=merge", "-p", &patch];
            site.cluster.server.kubectl(&late, "");
        };
        patch("fop", "web", r#"{"heartbeat":{"writer":"paris-late"},"message":"late"}"#);
        patch("move", "nobody", r#"{"message":"late","state":"Requested"}"#);
        site.until(&format!("its own status is there again, time {time}"), || {
            writer() == wrote && says("fop", "web", "message") != "late"
        })
        .await;
        site.until(&format!("the Move's is there again, time {time}"), || message() == said).await;
    }
}

#[tokio::test]
async fn without_an_api_server_the_other_replica_takes_over_all_the_same_and_keeps_the_role() {
    let site = Site::start().await;
    let (first, second) = site.pair().await;
    site.cluster.server.freeze();
    let before = site.record().await.0.serial;
    let killed = Instant::now();
    drop(first);
    let took = site.written_after(before, killed).await;
    println!("killed without an API server: the next write came after {took:?}");
    site.until("the second one acts", || second.acts()).await;
    let (record, _) = site.record().await;
    assert_eq!((record.epoch, record.active.as_str(), record.phase), (1, "paris", Phase::Steady));
    let lease = async || {
        let leases = site.etcd.leases(TQ).await.unwrap().items;
        leases.into_iter().find(|l| l.site.as_str() == "paris").unwrap().beat.revision
    };
    let seen = lease().await;
    let since = Instant::now();
    while lease().await <= seen {
        assert!(since.elapsed() < PATIENCE, "the lease is not renewed: {}", site.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.cluster.server.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_acting_replica_is_killed_its_databases_go_on_under_the_grants_of_the_other_one() {
    let site = Site::start().await;
    let (first, second) = site.pair().await;
    let service = Service::new().await;
    for replica in [&first, &second] {
        service.leads_to(replica.guards);
    }
    let database = site.database(&service).await;
    let writes = database.writes().await;
    assert_eq!(service.spoke(second.guards), None, "a replica that stands by speaks with no guard");

    let killed = Instant::now();
    drop(first);
    site.until("the second one acts", || second.acts()).await;
    site.until("the guard finds it", || service.spoke(second.guards).is_some()).await;
    let found = service.spoke(second.guards).unwrap() - killed;
    // The last grant of the killed one has run out long before: without another one the guard would stop its server.
    tokio::time::sleep((TIMING.r() + TIMING.f()) * 2).await;
    let pause = writes.longest_pause(killed).await;
    println!("killed: the guard was answered again after {found:?}; no row for at most {pause:?}");
    assert!(found < TIMING.r(), "{found:?}: the grant had run out\n{}", database.log());
    assert!(pause < TIMING.r(), "{pause:?}\n{}", database.log());
    let said = database.log();
    assert!(!said.contains("killed every process of the server"), "{said}");
    let (record, _) = site.record().await;
    assert_eq!((record.epoch, record.active.as_str(), record.phase), (1, "paris", Phase::Steady));
}
