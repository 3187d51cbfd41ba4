//! Real servers under real guards: each guard is process 1 of a pid namespace of its own, as in a pod.

#[path = "../../../adapters/tests/ports/mod.rs"]
pub(crate) mod ports;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bascule_core::guard::wire::{
    FromGuard, FromOperator, Grant, Instruction, MAX_FRAME, Report, Role, Timing, Upstream,
};
use bascule_core::time::Millis;
use futures::{SinkExt, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use self::ports::free_port;

pub(crate) const BIN: &str = "/usr/lib/postgresql/15/bin";
/// PostgreSQL refuses root: servers and guards run as `nobody`.
const NOBODY: u32 = 65534;
/// How long anything that must happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// The profile `metro`.
pub(crate) const TIMING: Timing = Timing { p: Millis(250), tq: Millis(250), r: Millis(1250), f: Millis(300) };

/// What the test's operator says to one guard.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) role: Role,
    pub(crate) serial: u64,
    pub(crate) epoch: u64,
    /// Milliseconds that each answer grants.
    pub(crate) grant: Option<u64>,
    /// Answers nothing: frozen, dead or cut off.
    pub(crate) deaf: bool,
    pub(crate) checkpoint: bool,
}

impl Orders {
    fn instruction(&self, fresh: bool) -> Instruction {
        let serves = matches!(self.role, Role::Serve { .. } | Role::Keep);
        Instruction {
            serial: self.serial,
            epoch: self.epoch,
            generation: 0,
            role: self.role.clone(),
            grant: self.grant.filter(|_| serves).map(|ms| Grant::For { remaining: Millis(ms) }),
            fresh,
            checkpoint: self.checkpoint,
            unmanaged: false,
            timing: TIMING,
        }
    }
}

/// One guard as the operator knows it.
struct Desk {
    orders: Mutex<Orders>,
    report: watch::Sender<Option<Report>>,
    /// To the connection that stands now.
    tell: Mutex<Option<mpsc::Sender<FromOperator>>>,
}

/// An operator that says what the test wants, and one directory with everything.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    port: u16,
    desks: Arc<Mutex<BTreeMap<String, Arc<Desk>>>>,
}

/// One guard with its data directory.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    pub(crate) port: u16,
    desk: Arc<Desk>,
    process: Option<Child>,
    command: Vec<String>,
}

fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE
        .get_or_init(|| {
            assert!(nix::unistd::geteuid().is_root(), "these tests need root: they make pid namespaces");
            let dir = own_dir();
            open_dir(&dir);
            let out = as_nobody(&format!("{BIN}/initdb"))
                .args(["-U", "postgres", "-A", "trust", "-N", "-D"])
                .arg(dir.join("data"))
                .output()
                .unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let mut hba = std::fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(dir.join("data/pg_hba.conf"))
                .unwrap();
            hba.write_all(b"host all all 127.0.0.1/32 trust\n").unwrap();
            // Where the target directory lies, `nobody` may have no way in.
            std::fs::copy(env!("CARGO_BIN_EXE_bascule-guard"), dir.join("bascule-guard")).unwrap();
            dir
        })
        .as_path()
}

/// A directory for the life of this process. Nothing runs at its end, so the next one removes what it left.
fn own_dir() -> PathBuf {
    const NAME: &str = "bascule-guard-test.";
    let root = std::env::temp_dir();
    for entry in std::fs::read_dir(&root).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix(NAME)
            && !Path::new("/proc").join(pid).exists()
        {
            // Another run may be removing it too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let dir = root.join(format!("{NAME}{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

/// Gives a directory to whom the guards run as.
pub(crate) fn open_dir(dir: &Path) {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
}

pub(crate) fn as_nobody(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]).env("LC_ALL", "C");
    command
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_dir(dir.path());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        for (name, subject) in [("operator", "operator.test"), ("guard", "shop.web.guards.bascule")] {
            let at = dir.path().join(name);
            std::fs::create_dir(&at).unwrap();
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec![subject.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
            std::fs::write(at.join("ca.crt"), ca.pem()).unwrap();
            std::fs::write(at.join("tls.crt"), certificate.pem()).unwrap();
            std::fs::write(at.join("tls.key"), key.serialize_pem()).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let desks: Arc<Mutex<BTreeMap<String, Arc<Desk>>>> = Arc::default();
        tokio::spawn(operate(listener, dir.path().join("operator"), desks.clone()));
        Self { dir, port, desks }
    }

    /// A guard with a copy of a fresh cluster, or an empty place; the operator has it wait.
    pub(crate) fn node(&self, name: &str, with_cluster: bool) -> Node {
        self.node_with(name, with_cluster, &[])
    }

    pub(crate) fn node_with(&self, name: &str, with_cluster: bool, options: &[&str]) -> Node {
        let root = self.dir.path().join(name);
        std::fs::create_dir(&root).unwrap();
        open_dir(&root);
        let data = root.join("data");
        if with_cluster {
            let copied =
                Command::new("cp").arg("-a").arg(template().join("data")).arg(&data).status().unwrap();
            assert!(copied.success());
        }
        let desk = Arc::new(Desk {
            orders: Mutex::new(Orders {
                role: Role::Wait { why: "the test has not decided".into() },
                serial: 1,
                epoch: 1,
                grant: None,
                deaf: false,
                checkpoint: false,
            }),
            report: watch::Sender::new(None),
            tell: Mutex::new(None),
        });
        self.desks.lock().unwrap().insert(name.to_owned(), desk.clone());
        let port = free_port();
        let mut command: Vec<String> = ["--pid", "--fork", "--mount-proc", "--", "setpriv"]
            .into_iter()
            .chain(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .map(str::to_owned)
            .chain([template().join("bascule-guard").display().to_string()])
            .collect();
        let certificates = self.dir.path().join("guard").display().to_string();
        let operator = format!("127.0.0.1:{}", self.port);
        let data = data.display().to_string();
        for (option, value) in [
            ("--namespace", "web"),
            ("--policy", "shop"),
            ("--database", "main"),
            ("--site", "paris"),
            ("--instance", name),
            ("--operator", &operator),
            ("--operator-name", "operator.test"),
            ("--certificates", &certificates),
            ("--data", &data),
            ("--bin", BIN),
            ("--replication-hba", "host replication all 127.0.0.1/32 trust"),
        ] {
            if !options.contains(&option) {
                command.extend([option.to_owned(), value.to_owned()]);
            }
        }
        command.extend(options.iter().map(|o| (*o).to_owned()));
        command.extend(["--".to_owned(), format!("{BIN}/postgres")]);
        let own = root.display();
        for setting in [
            format!("port={port}"),
            format!("unix_socket_directories={own}"),
            "listen_addresses=127.0.0.1".to_owned(),
            "shared_buffers=32MB".to_owned(),
            "wal_log_hints=on".to_owned(),
            "wal_retrieve_retry_interval=10ms".to_owned(),
            "max_slot_wal_keep_size=1GB".to_owned(),
            "wal_keep_size=64MB".to_owned(),
            "log_line_prefix=%m [%p] ".to_owned(),
        ] {
            command.extend(["-c".to_owned(), setting]);
        }
        Node { name: name.to_owned(), root, port, desk, process: None, command }
    }
}

async fn operate(listener: TcpListener, dir: PathBuf, desks: Arc<Mutex<BTreeMap<String, Arc<Desk>>>>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(dir.join("tls.crt")).unwrap()],
            PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, desks) = (acceptor.clone(), desks.clone());
        tokio::spawn(async move { attend(acceptor, tcp, desks).await });
    }
}

async fn attend(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    desks: Arc<Mutex<BTreeMap<String, Arc<Desk>>>>,
) -> Option<()> {
    tcp.set_nodelay(true).ok()?;
    let tls = acceptor.accept(tcp).await.ok()?;
    let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec();
    let mut framed = Framed::new(tls, codec);
    let FromGuard::Hello(hello) = serde_json::from_slice(&framed.next().await?.ok()?).ok()? else {
        return None;
    };
    let desk = desks.lock().unwrap().get(hello.instance.as_str())?.clone();
    let (tell, mut telling) = mpsc::channel(16);
    *desk.tell.lock().unwrap() = Some(tell);
    loop {
        let say = tokio::select! {
            told = telling.recv() => told?,
            frame = framed.next() => {
                let FromGuard::Ask(ask) = serde_json::from_slice(&frame?.ok()?).ok()? else { return None };
                let orders = desk.orders.lock().unwrap().clone();
                desk.report.send_replace(Some(ask.report));
                if orders.deaf {
                    continue;
                }
                FromOperator::Answer { nonce: ask.nonce, instruction: orders.instruction(ask.fresh) }
            }
        };
        framed.send(Bytes::from(serde_json::to_vec(&say).unwrap())).await.ok()?;
    }
}

impl Node {
    pub(crate) fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.root.join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(&self.command).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // A guard must not inherit what the test runner ignores or blocks.
        command.process_group(0).env("RUST_LOG", "info").current_dir("/");
        self.process = Some(command.spawn().unwrap());
    }

    /// The guard's process as this namespace sees it.
    pub(crate) fn pid(&self) -> Pid {
        let parent = self.process.as_ref().expect("started").id();
        let began = Instant::now();
        loop {
            if let Some(child) = child_of(parent) {
                return child;
            }
            assert!(began.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the guard's process.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("started");
        tokio::task::spawn_blocking(move || process.wait().unwrap()).await.unwrap()
    }

    /// Every process in the guard's pid namespace but the guard, as this namespace sees them.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let guard = self.pid();
        let space = std::fs::read_link(format!("/proc/{guard}/ns/pid")).unwrap();
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid != guard.as_raw())
            .filter(|pid| std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|s| s == space))
            .filter(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
            })
            .collect()
    }

    /// Changes what the operator answers from now on, and tells it at once.
    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders)) {
        let mut orders = self.desk.orders.lock().unwrap();
        change(&mut orders);
        if !orders.deaf
            && let Some(tell) = &*self.desk.tell.lock().unwrap()
        {
            let _ = tell.try_send(FromOperator::Tell { instruction: orders.instruction(false) });
        }
    }

    pub(crate) fn serve(&self, serial: u64, epoch: u64) {
        self.order(|o| {
            o.role = Role::Serve { open: true, slots: vec!["bascule_other".into()] };
            (o.serial, o.epoch, o.grant) = (serial, epoch, Some(TIMING.r.0));
        });
    }

    pub(crate) fn follow(&self, serial: u64, whom: &Node) {
        let upstream = Upstream {
            host: "127.0.0.1".into(),
            port: whom.port,
            user: "postgres".into(),
            password: String::new(),
            slot: "bascule_other".into(),
            application_name: self.name.clone(),
            sslmode: "prefer".into(),
        };
        self.order(|o| {
            o.role = Role::Follow { upstream, open: true };
            o.serial = serial;
        });
    }

    /// What a person does in the guard's own container: `unlock` or `lock`.
    pub(crate) fn beside(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid().to_string(), "--pid", "--mount", "--", "setpriv"]);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(template().join("bascule-guard")).args(words).current_dir("/");
        let out = command.stdin(Stdio::null()).output().unwrap();
        let said = [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
        (out.status.success(), said)
    }

    pub(crate) fn lock(&self, serial: u64) {
        self.order(|o| {
            o.role = Role::Lock;
            o.serial = serial;
        });
    }

    /// The first report from now on that `is` as wanted; panics with the last one and the guard's log otherwise.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Report) -> bool) -> Report {
        let mut reports = self.desk.report.subscribe();
        let found = tokio::time::timeout(PATIENCE, reports.wait_for(|r| r.as_ref().is_some_and(&is))).await;
        if let Ok(Ok(report)) = found {
            return report.clone().unwrap();
        }
        let log = self.log();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        let text: Vec<&str> = tail.into_iter().rev().collect();
        let last = self.last_report();
        panic!("{}: never {what}\nlast report: {last:#?}\nlog:\n{}", self.name, text.join("\n"))
    }

    pub(crate) fn last_report(&self) -> Option<Report> {
        self.desk.report.borrow().clone()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    /// A client's session by TCP.
    pub(crate) async fn client(&self) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").dbname("postgres");
        config.connect_timeout(Duration::from_secs(5));
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    /// One statement in a session of its own.
    pub(crate) async fn sql(&self, statement: &str) -> Vec<String> {
        let client = self.client().await.unwrap();
        let rows = client.simple_query(statement).await.unwrap();
        let text = |m: tokio_postgres::SimpleQueryMessage| match m {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        };
        rows.into_iter().filter_map(text).collect()
    }
}

fn child_of(parent: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Process 1 of the namespace, and every process of the namespace with it. Killing its parent is not
            // enough: a process that has changed its user does not die with its parent.
            if let Some(guard) = child_of(process.id()) {
                let _ = kill(guard, Signal::SIGKILL);
            }
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
