//! A real etcd of three members on loopback, with mutual TLS and users by common name.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

#[allow(clippy::duplicate_mod, reason = "a test that has API servers too has this through them as well")]
#[path = "../ports/mod.rs"]
mod ports;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bascule_adapters::arbiter::{EtcdArbiter, Settings, Tls};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, Permission, TlsOptions};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, SanType,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use self::ports::free_port;

/// Generous for a loaded machine; tests that measure use their own.
pub(crate) const TQ: Duration = Duration::from_secs(2);

/// etcd's election timeout, unless a test wants another.
const ELECTION: Duration = Duration::from_millis(300);

pub(crate) struct Cluster {
    dir: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
    members: Vec<MemberProcess>,
    election: Duration,
}

struct MemberProcess {
    name: String,
    client: u16,
    peer: u16,
    process: Option<Child>,
}

fn etcd_binary() -> PathBuf {
    let path = std::env::var_os("BASCULE_ETCD").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_default();
            Path::new(&home).join(".cache/bascule-sandbox/bin/etcd")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "these tests need a real etcd: {} does not exist; build the sandbox's servers first, or set BASCULE_ETCD",
        path.display()
    );
    path
}

impl Cluster {
    /// Three members with a leader, users and roles: `root`, `operator` (reads all, writes what an operator of paris
    /// or lyon writes), `older` (an operator of paris as it was before a site had several: it may not write which one
    /// acts) and `guard` (reads all, writes the lease of paris only).
    pub(crate) async fn start() -> Self {
        Self::start_with(ELECTION).await
    }

    /// The same with another election timeout.
    pub(crate) async fn start_with(election: Duration) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test arbiter");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let members = (0..3)
            .map(|i| MemberProcess {
                name: format!("m{i}"),
                client: free_port(),
                peer: free_port(),
                process: None,
            })
            .collect();
        let mut cluster = Self { dir: TempDir::new().unwrap(), ca, members, election };
        let (cert, key) = cluster.certificate(None);
        for (name, text) in [("ca.pem", cluster.ca.pem()), ("cert.pem", cert), ("key.pem", key)] {
            std::fs::write(cluster.dir.path().join(name), text).unwrap();
        }
        for i in 0..3 {
            cluster.launch(i);
        }
        cluster.wait_for_leader().await;
        cluster.make_users().await;
        cluster
    }

    /// A certificate and its key: a client's with a common name, or the members' own without one.
    fn certificate(&self, common_name: Option<&str>) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.ca).unwrap().pem(), key.serialize_pem())
    }

    fn launch(&mut self, i: usize) {
        let initial: Vec<_> =
            self.members.iter().map(|m| format!("{}=https://127.0.0.1:{}", m.name, m.peer)).collect();
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let member = &self.members[i];
        let client = format!("https://127.0.0.1:{}", member.client);
        let peer = format!("https://127.0.0.1:{}", member.peer);
        let log = std::fs::File::create(self.dir.path().join(format!("{}.log", member.name))).unwrap();
        let process = Command::new(etcd_binary())
            .args(["--name", &member.name, "--data-dir", &file(&member.name)])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &initial.join(","), "--initial-cluster-token", "test"])
            .args(["--cert-file", &file("cert.pem"), "--key-file", &file("key.pem")])
            .args(["--trusted-ca-file", &file("ca.pem"), "--client-cert-auth"])
            .args(["--peer-cert-file", &file("cert.pem"), "--peer-key-file", &file("key.pem")])
            .args(["--peer-trusted-ca-file", &file("ca.pem"), "--peer-client-cert-auth"])
            .args([
                "--heartbeat-interval",
                "50",
                "--election-timeout",
                &self.election.as_millis().to_string(),
            ])
            .args(["--unsafe-no-fsync", "--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.members[i].process = Some(process);
    }

    pub(crate) fn endpoint(&self, i: usize) -> String {
        format!("https://127.0.0.1:{}", self.members[i].client)
    }

    /// A client that asks the members in this order, as `user`.
    pub(crate) async fn arbiter(&self, user: &str, order: &[usize]) -> EtcdArbiter {
        self.arbiter_at(user, order.iter().map(|i| self.endpoint(*i)).collect()).await
    }

    /// A client with this cluster's certificates for any endpoints.
    pub(crate) async fn arbiter_at(&self, user: &str, endpoints: Vec<String>) -> EtcdArbiter {
        EtcdArbiter::new(self.settings(user, endpoints)).await.unwrap()
    }

    /// What a client with this cluster's certificates is made of.
    pub(crate) fn settings(&self, user: &str, endpoints: Vec<String>) -> Settings {
        let (cert, key) = self.certificate(Some(user));
        Settings {
            endpoints,
            tls: Tls {
                ca: self.ca.pem().into_bytes(),
                cert: cert.into_bytes(),
                key: key.into_bytes().into(),
            },
            connect_timeout: Duration::from_millis(500),
        }
    }

    /// The library's own client, for what the adapter has no business doing.
    pub(crate) async fn raw(&self, user: &str) -> Client {
        let (cert, key) = self.certificate(Some(user));
        let tls = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(self.ca.pem()))
            .identity(Identity::from_pem(cert, key));
        Client::connect([self.endpoint(0)], Some(ConnectOptions::new().with_tls(tls))).await.unwrap()
    }

    async fn make_users(&self) {
        let mut root = self.raw("root").await;
        let no_password = || Some(etcd_client::UserAddOptions::new().with_no_pwd());
        root.user_add("root", "", no_password()).await.unwrap();
        root.user_grant_role("root", "root").await.unwrap();
        let read_all = || Permission::read("/bascule/v1/").with_prefix();
        root.role_add("operator").await.unwrap();
        root.role_grant_permission("operator", Permission::read_write("/bascule/v1/").with_prefix())
            .await
            .unwrap();
        root.role_add("guard").await.unwrap();
        root.role_grant_permission("guard", read_all()).await.unwrap();
        root.role_grant_permission("guard", Permission::read_write("/bascule/v1/lease/paris")).await.unwrap();
        root.role_add("older").await.unwrap();
        root.role_grant_permission("older", read_all()).await.unwrap();
        for key in ["/bascule/v1/lease/paris", "/bascule/v1/site/paris"] {
            root.role_grant_permission("older", Permission::read_write(key)).await.unwrap();
        }
        for user in ["operator", "older", "guard"] {
            root.user_add(user, "", no_password()).await.unwrap();
            root.user_grant_role(user, user).await.unwrap();
        }
        root.auth_enable().await.unwrap();
    }

    /// Waits until every running member sees a leader, and says which member it is.
    pub(crate) async fn wait_for_leader(&self) -> usize {
        let running: Vec<_> = (0..3).filter(|i| self.members[*i].process.is_some()).collect();
        let arbiter = self.arbiter("root", &running).await;
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            let status = arbiter.status(TQ).await;
            let states: Vec<_> = status.members.iter().map(|m| m.state.as_ref().ok()).collect();
            let leaders: Vec<_> =
                states.iter().map(|s| s.and_then(|s| s.details.as_ref().ok()?.leader)).collect();
            if let Some(leader) = leaders[0]
                && leaders.iter().all(|l| *l == Some(leader))
                && let Some(at) = states.iter().position(|s| s.is_some_and(|s| s.id == leader))
            {
                return running[at];
            }
            assert!(tokio::time::Instant::now() < deadline, "no leader after 60 s: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn signal(&self, i: usize, signal: Signal) {
        let id = self.members[i].process.as_ref().unwrap().id();
        kill_process(Pid::from_raw(id.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Returns when every thread has stopped: on a busy machine one of them answers for a while yet.
    pub(crate) fn freeze(&self, i: usize) {
        self.signal(i, Signal::STOP);
        let pid = self.members[i].process.as_ref().unwrap().id();
        let deadline = Instant::now() + Duration::from_secs(10);
        let stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { return true };
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
        };
        while !std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(stopped) {
            assert!(Instant::now() < deadline, "the member does not stop");
            std::thread::yield_now();
        }
    }

    pub(crate) fn thaw(&self, i: usize) {
        self.signal(i, Signal::CONT);
    }

    pub(crate) fn kill(&mut self, i: usize) {
        let mut process = self.members[i].process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub(crate) fn restart(&mut self, i: usize) {
        self.launch(i);
    }

    /// Stops every member and does something to their directories meanwhile.
    async fn while_stopped(&mut self, act: impl Fn(&Path)) {
        for i in 0..3 {
            self.kill(i);
        }
        for member in &self.members {
            act(&self.dir.path().join(&member.name));
        }
        for i in 0..3 {
            self.launch(i);
        }
        self.wait_for_leader().await;
    }

    /// Keeps a copy of everything that is stored.
    pub(crate) async fn back_up(&mut self) {
        self.while_stopped(|dir| copy(dir, &dir.with_extension("backup"))).await;
    }

    /// Puts the copy back: the store has gone back in time.
    pub(crate) async fn restore(&mut self) {
        self.while_stopped(|dir| {
            std::fs::remove_dir_all(dir).unwrap();
            copy(&dir.with_extension("backup"), dir);
        })
        .await;
    }

    /// Begins anew with nothing stored.
    pub(crate) async fn empty(&mut self) {
        self.while_stopped(|dir| std::fs::remove_dir_all(dir).unwrap()).await;
        self.make_users().await;
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success(), "{} cannot be copied", from.display());
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(process) = &mut member.process {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}
