//! A real PostgreSQL under a real guard of this program, which reaches the site's replicas of the operator as through a
//! Service: each connection leads to the next one of them, and only the one that acts listens. Needs root.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{Client, NoTls};

use crate::{PATIENCE, Site};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// PostgreSQL refuses root: server and guard run as `nobody`.
const NOBODY: u32 = 65534;

/// The name in the operators' certificate.
const OPERATOR: &str = "operator.test";

/// Certificates for the guards' connections: `guards` is the operators' folder, `guard` that of the guard of web/shop.
pub fn certificates(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    for (name, subject) in [("guards", OPERATOR), ("guard", "shop.web.guards.bascule")] {
        let at = folder.join(name);
        fs::create_dir(&at).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![subject.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        fs::write(at.join("ca.crt"), ca.pem()).unwrap();
        fs::write(at.join("tls.crt"), certificate.pem()).unwrap();
        fs::write(at.join("tls.key"), key.serialize_pem()).unwrap();
    }
}

/// What stands between guards and replicas.
pub struct Service {
    port: u16,
    replicas: Arc<Mutex<Vec<u16>>>,
    /// To which replica a connection was made, and when it brought its first word back.
    spoke: Arc<Mutex<Vec<(u16, Instant)>>>,
}

impl Service {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (replicas, spoke) = (Arc::<Mutex<Vec<u16>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (known, says) = (Arc::clone(&replicas), Arc::clone(&spoke));
        tokio::spawn(async move {
            let mut turn = 0;
            while let Ok((client, _)) = listener.accept().await {
                let to = {
                    let known = known.lock().unwrap();
                    known[turn % known.len()]
                };
                turn += 1;
                tokio::spawn(pass(client, to, Arc::clone(&says)));
            }
        });
        Self { port, replicas, spoke }
    }

    /// Leads to this port of a replica as well.
    pub fn leads_to(&self, port: u16) {
        self.replicas.lock().unwrap().push(port);
    }

    /// When the replica with this port first spoke with a guard.
    pub fn spoke(&self, port: u16) -> Option<Instant> {
        self.spoke.lock().unwrap().iter().find(|(to, _)| *to == port).map(|(_, at)| *at)
    }
}

async fn pass(mut client: TcpStream, to: u16, says: Arc<Mutex<Vec<(u16, Instant)>>>) {
    // Where nobody listens the client learns it at once.
    let Ok(mut replica) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut asks, mut hears) = client.split();
    let (mut answers, mut asked) = replica.split();
    let back = async {
        answers.readable().await?;
        says.lock().unwrap().push((to, Instant::now()));
        tokio::io::copy(&mut answers, &mut hears).await
    };
    // Ends when either side has gone.
    tokio::select! {
        _ = tokio::io::copy(&mut asks, &mut asked) => {}
        _ = back => {}
    }
}

/// A server under a guard that has no way to the arbiter: it runs by the grants of the operator alone. Both end with this
/// value.
pub struct Database {
    root: TempDir,
    port: u16,
    guard: Child,
}

fn as_nobody(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]).env("LC_ALL", "C");
    command
}

fn open_to_nobody(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
}

impl Database {
    /// The database main of web/shop, with its port; its guard reaches operators through `service`.
    pub fn start(site: &Site, port: u16, service: &Service) -> Self {
        assert!(geteuid().is_root(), "this test needs root: a guard is process 1 of a namespace of its own");
        let root = TempDir::new().unwrap();
        open_to_nobody(root.path());
        let path = |name: &str| root.path().join(name);
        let made = as_nobody(&format!("{BIN}/initdb"))
            .args(["-U", "postgres", "-A", "trust", "-N", "-D"])
            .arg(path("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(path("data/pg_hba.conf"), "host all all 127.0.0.1/32 trust\n").unwrap();
        // Where the target directory lies, `nobody` may have no way in. The guard keeps its marks in a folder `bascule`.
        fs::copy(env!("CARGO_BIN_EXE_bascule"), path("program")).unwrap();
        fs::create_dir(path("guard")).unwrap();
        for file in ["ca.crt", "tls.crt", "tls.key"] {
            fs::copy(site.folder.path().join("guard").join(file), path("guard").join(file)).unwrap();
        }
        let log = File::create(path("log")).unwrap();
        let text = |name: &str| path(name).display().to_string();
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--mount-proc", "--", "setpriv", "--reuid=65534", "--regid=65534"])
            .args(["--clear-groups", &text("program"), "guard", "postgres", "--namespace", "web"])
            .args(["--policy", "shop", "--database", "main", "--site", "paris", "--instance", "main-0"])
            .args(["--operator", &format!("127.0.0.1:{}", service.port), "--operator-name", OPERATOR])
            .args(["--certificates", &text("guard"), "--data", &text("data"), "--bin", BIN])
            .args(["--replication-hba", "host replication all 127.0.0.1/32 trust"])
            .args(["--", &format!("{BIN}/postgres")]);
        for setting in [
            format!("port={port}"),
            format!("unix_socket_directories={}", root.path().display()),
            "listen_addresses=127.0.0.1".to_owned(),
            "shared_buffers=32MB".to_owned(),
            "wal_log_hints=on".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        command.env("RUST_LOG", "info").current_dir("/").stdin(Stdio::null());
        let guard = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { root, port, guard }
    }

    /// The last of what the guard said.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.root.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").dbname("postgres");
        config.connect_timeout(Duration::from_secs(5));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    /// Begins to write, row by row in one session, once the server takes writes.
    pub async fn writes(&self) -> Writes {
        let since = Instant::now();
        let client = loop {
            if let Ok(client) = self.client().await
                && client.batch_execute("CREATE TABLE IF NOT EXISTS written (n bigserial)").await.is_ok()
            {
                break client;
            }
            assert!(since.elapsed() < PATIENCE, "the server never takes writes:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let written = Arc::new(Mutex::new(vec![Instant::now()]));
        let into = Arc::clone(&written);
        let session = tokio::spawn(async move {
            loop {
                if let Err(why) = client.batch_execute("INSERT INTO written DEFAULT VALUES").await {
                    return why.to_string();
                }
                into.lock().unwrap().push(Instant::now());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Writes { written, session }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let parent = self.guard.id();
        // Process 1 of the namespace, and every process of the namespace with it. Killing its parent is not enough: a
        // process that has changed its user does not die with its parent.
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let first = children.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        if let Some(guard) = first {
            let _ = kill_process(guard, Signal::KILL);
        }
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

/// One session that writes all along.
pub struct Writes {
    written: Arc<Mutex<Vec<Instant>>>,
    session: tokio::task::JoinHandle<String>,
}

impl Writes {
    /// The longest time without a row from `since` until now; panics when the session has ended.
    pub async fn longest_pause(self, since: Instant) -> Duration {
        if self.session.is_finished() {
            let why = self.session.await.unwrap();
            panic!("the session broke: {why}");
        }
        self.session.abort();
        let written = self.written.lock().unwrap();
        let from = written.iter().rposition(|at| *at <= since).unwrap_or(0);
        let ends = written[from..].iter().skip(1).copied().chain([Instant::now()]);
        written[from..].iter().zip(ends).map(|(a, b)| b - *a).max().unwrap()
    }
}
