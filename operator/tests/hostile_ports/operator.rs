//! The real operator's process, and a guard's connection to it.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bascule_core::few::Few;
use bascule_core::guard::wire::{
    Ask, Disk, FromGuard, FromOperator, Hello, HighWater, PROTOCOL, Report, ServerState,
};
use bascule_core::name::PolicyKey;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::arbiter;
use crate::live::Cluster;

/// Far above what a start needs on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many files the process may have open: what Linux gives to whoever asks for no more.
const FILES: u32 = 1024;

/// An operator of paris. It ends with this value.
pub(crate) struct Operator {
    /// Health and metrics.
    pub(crate) http: SocketAddr,
    /// The guards' port.
    pub(crate) guards: SocketAddr,
    process: Child,
    authority: Arc<PathBuf>,
    directory: TempDir,
    _arbiter: arbiter::Cluster,
    _cluster: Cluster,
}

impl Operator {
    /// Starts it with an API server and an arbiter of its own, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        let (cluster, arbiter) = (Cluster::start().await, arbiter::Cluster::start().await);
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        let endpoints: Vec<String> = (0..3).map(|i| arbiter.endpoint(i)).collect();
        let tls = arbiter.settings("operator", endpoints.clone()).tls;
        std::fs::write(at("arbiter.ca"), &tls.ca).unwrap();
        std::fs::write(at("arbiter.crt"), &tls.cert).unwrap();
        std::fs::write(at("arbiter.key"), tls.key.expose_secret()).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        issue(&ca, &at("operator"), "operator.test");
        issue(&ca, &at("guard"), "shop.shop.guards.bascule");
        let held: Vec<TcpListener> =
            (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let ports: Vec<SocketAddr> = held.iter().map(|l| l.local_addr().unwrap()).collect();
        drop(held);
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        cluster.server.kubectl(&["create", "namespace", "bascule-system"], "");
        let process = Command::new("sh")
            .args(["-c", &format!("ulimit -n {FILES}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_bascule"))
            .args(["operator", "--site=paris", "--profile=wan", "--arbiter-election=300ms"])
            .arg(option("kubeconfig", &cluster.file()))
            .arg(format!("--arbiter-endpoints={}", endpoints.join(",")))
            .arg(option("arbiter-ca", &at("arbiter.ca")))
            .arg(option("arbiter-cert", &at("arbiter.crt")))
            .arg(option("arbiter-key", &at("arbiter.key")))
            .arg(option("guard-certificates", &at("operator")))
            .arg(option("git-cache", &at("cache")))
            .arg(format!("--http-listen={}", ports[0]))
            .arg(format!("--guard-listen={}", ports[1]))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(at("out")).unwrap())
            .stderr(std::fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let authority = Arc::new(at("operator/ca.crt"));
        let (http, guards) = (ports[0], ports[1]);
        let mut started =
            Self { http, guards, process, authority, directory, _arbiter: arbiter, _cluster: cluster };
        let end = Instant::now() + PATIENCE;
        while !crate::asked(http, "/readyz").await.starts_with("HTTP/1.1 200") {
            let ended = started.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{}", started.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        started
    }

    /// Who signs the operator's certificate.
    pub(crate) fn authority(&self) -> Arc<PathBuf> {
        Arc::clone(&self.authority)
    }

    /// The end of what it has written to its log.
    pub(crate) fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name)).unwrap();
        let text = read("out") + &read("log");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The most memory that it has ever had, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let mut status = String::new();
        let path = format!("/proc/{}/status", self.process.id());
        std::fs::File::open(path).and_then(|mut f| f.read_to_string(&mut status)).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("it lives");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// How many files and connections it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    /// A guard's connection, with the certificate of one.
    pub(crate) async fn guard(&self) -> std::io::Result<Guard> {
        let own = self.directory.path().join("guard");
        let tls = connect(self.guards, &self.authority, Some(&own)).await?;
        Ok(Guard { tls, nonce: 0 })
    }

    /// Ends it as a kubelet does.
    pub(crate) fn ends_when_asked(&mut self) {
        kill_process(Pid::from_raw(self.process.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
        let ended = self.process.wait().unwrap();
        assert!(ended.success(), "{ended}\n{}", self.log());
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn issue(ca: &CertifiedIssuer<'_, KeyPair>, directory: &Path, name: &str) {
    std::fs::create_dir(directory).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    for (file, text) in
        [("ca.crt", ca.pem()), ("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())]
    {
        std::fs::write(directory.join(file), text).unwrap();
    }
}

/// Connects to the guards' port, with the certificate of a directory or without one.
pub(crate) async fn connect(
    port: SocketAddr,
    authority: &Path,
    own: Option<&Path>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    let config = match own {
        Some(own) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(own.join("tls.crt")).unwrap()],
                PrivateKeyDer::from_pem_file(own.join("tls.key")).unwrap(),
            )
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    let tcp = TcpStream::connect(port).await?;
    let name = ServerName::try_from("operator.test").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// A guard's end of a connection.
pub(crate) struct Guard {
    tls: TlsStream<TcpStream>,
    nonce: u64,
}

impl Guard {
    /// Says who it is.
    pub(crate) async fn greets(&mut self) {
        let hello = Hello {
            protocol: PROTOCOL,
            policy: PolicyKey::new("shop", "shop").unwrap(),
            database: "main".try_into().unwrap(),
            site: "paris".try_into().unwrap(),
            instance: "main-0".try_into().unwrap(),
            boot: "b1".into(),
            postgres_version: "15.20".into(),
        };
        self.says(&FromGuard::Hello(hello)).await;
    }

    /// Asks what it is to do; the nonce of the answer.
    pub(crate) async fn asks(&mut self) -> u64 {
        self.nonce += 1;
        let report = Report {
            serial: 0,
            locked: None,
            boot: "b1".into(),
            state: ServerState::Down,
            disk: Disk::Empty,
            positions: None,
            replicas: Few::new(),
            stopped: None,
            checkpointed: None,
            opened_epoch: None,
            diverged: None,
            contact_lost: None,
            high_water: HighWater::default(),
            exited: None,
            sigterm: false,
            fallback: false,
            unlimited: false,
            log_gone: None,
            unlocked: None,
            notes: Vec::new(),
        };
        self.says(&FromGuard::Ask(Box::new(Ask { nonce: self.nonce, fresh: true, report }))).await;
        self.nonce
    }

    async fn says(&mut self, message: &FromGuard) {
        let bytes = serde_json::to_vec(message).unwrap();
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        // Whether it came is in what is heard.
        let _ = self.tls.write_all(&[&length[..], &bytes].concat()).await;
    }

    /// The next message, until the connection ends.
    pub(crate) async fn hears(&mut self) -> Option<FromOperator> {
        let length = self.tls.read_u32().await.ok()?;
        let mut bytes = vec![0; length as usize];
        self.tls.read_exact(&mut bytes).await.ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}
