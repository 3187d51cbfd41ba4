//! Real PostgreSQL servers for the tests: one directory and one loopback port each, gone when dropped.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

#[path = "../../tests/ports/mod.rs"]
mod ports;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use self::ports::free_port;
use super::{PostgresTarget, ROLE_SQL, Tls};

const BIN: &str = "/usr/lib/postgresql/15/bin";
/// `initdb` and `postgres` refuse to run as root, so root lends them another user.
const NOBODY: u32 = 65534;

/// The password of the role that [`ROLE_SQL`] makes here.
pub(super) const PASSWORD: &str = "not'easy";

/// What preflight advises, with one more setting per test.
pub(super) const GOOD: &str = "wal_receiver_timeout=2s,wal_sender_timeout=2s,wal_receiver_status_interval=1s,\
    wal_retrieve_retry_interval=100ms,max_slot_wal_keep_size=64MB";

fn command(program: &str) -> Command {
    let mut command = Command::new(format!("{BIN}/{program}"));
    command.env_clear().env("LC_ALL", "C.UTF-8").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("PostgreSQL 15 is needed for this test");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A running server.
pub(super) struct Server {
    pub(super) port: u16,
    dir: TempDir,
    settings: String,
    child: Option<Child>,
    log: Option<Receiver<String>>,
}

impl Server {
    /// A place without data.
    pub(super) fn empty(settings: &str) -> Self {
        let dir = TempDir::new().unwrap();
        if rustix::process::geteuid().is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { port: free_port(), dir, settings: settings.to_owned(), child: None, log: None }
    }

    /// A new cluster with `settings` (`name=value,…`) that does not run yet.
    pub(super) fn stopped(settings: &str) -> Self {
        let server = Self::empty(settings);
        run(command("initdb")
            .args(["-U", "postgres", "-A", "trust", "-N", "--data-checksums", "--wal-segsize=1", "-D"])
            .arg(server.data()));
        server.write_hba("host all all 127.0.0.1/32 scram-sha-256\n");
        server
    }

    /// A new primary with `settings` (`name=value,…`) and the operator's role.
    pub(super) fn primary(settings: &str) -> Self {
        let mut server = Self::stopped(settings);
        server.start();
        let script = server.dir.path().join("role.sql");
        std::fs::write(&script, ROLE_SQL).unwrap();
        run(command("psql")
            .args(["-X", "-q", "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-v"])
            .arg(format!("password={PASSWORD}"))
            .args(["-p", &server.port.to_string(), "-h"])
            .arg(server.dir.path())
            .arg("-f")
            .arg(script));
        server
    }

    /// A standby of this server, with slot `follower`.
    pub(super) fn standby(&self, settings: &str) -> Self {
        let mut server = Self::empty(settings);
        run(command("pg_basebackup")
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-R",
                "-C",
                "-S",
                "follower",
                "-X",
                "stream",
                "-c",
                "fast",
            ])
            .args(["-p", &self.port.to_string(), "-D"])
            .arg(server.data()));
        server.write_hba("host all all 127.0.0.1/32 scram-sha-256\n");
        server.start();
        server
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Lets the superuser in by socket, replication by loopback, and everyone else by `rest`.
    pub(super) fn write_hba(&self, rest: &str) {
        let text = format!("local all postgres trust\nhost replication postgres 127.0.0.1/32 trust\n{rest}");
        std::fs::write(self.dir.path().join("hba"), text).unwrap();
    }

    /// Starts it and waits until it takes sessions.
    pub(super) fn start(&mut self) {
        let mut args = command("postgres");
        args.arg("-D").arg(self.data());
        let mut set = |text: String| {
            args.arg("-c").arg(text);
        };
        set(format!("port={}", self.port));
        set("listen_addresses=127.0.0.1".to_owned());
        set(format!("unix_socket_directories={}", self.dir.path().display()));
        set(format!("hba_file={}", self.dir.path().join("hba").display()));
        set("shared_buffers=16MB".to_owned());
        for setting in self.settings.split(',').filter(|s| !s.trim().is_empty()) {
            set(setting.trim().to_owned());
        }
        let mut child = args.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // The log is read to its end, so that the server never waits for a reader.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        self.child = Some(child);
        self.log = Some(log);
        self.await_log("ready to accept");
    }

    /// Waits for a line of the server's log.
    pub(super) fn await_log(&self, text: &str) {
        let (mut seen, deadline) = (String::new(), Instant::now() + Duration::from_mins(1));
        while !seen.lines().last().is_some_and(|l| l.contains(text)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.as_ref().unwrap().recv_timeout(left) else {
                panic!("no line with {text:?} in the log:\n{seen}");
            };
            writeln!(seen, "{line}").unwrap();
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap())
    }

    /// Sends a signal to the postmaster and each of its processes.
    pub(super) fn signal_all(&self, signal: Signal) {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero()));
        for child in children.unwrap().split_whitespace() {
            let _ = kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), signal);
        }
        kill_process(pid, signal).unwrap();
    }

    /// Stops it at once.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill_process(Pid::from_child(&child), Signal::QUIT);
            child.wait().unwrap();
        }
    }

    /// Other settings from its next start on.
    pub(super) fn set(&mut self, settings: String) {
        self.settings = settings;
    }

    /// Sends a signal to the postmaster.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Sends a signal to the postmaster and waits for its end.
    pub(super) fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), signal).unwrap();
            child.wait().unwrap();
        }
    }

    /// Kills the postmaster and each of its processes at once.
    pub(super) fn kill(&mut self) {
        self.signal_all(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// Runs one of the server's own programs as its user; what it wrote on its output, or on its error output.
    pub(super) fn tool(program: &str, args: &[&str]) -> Result<String, String> {
        let output = command(program).args(args).output().expect("PostgreSQL 15 is needed for this test");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Puts an empty file of this name into the data directory.
    pub(super) fn touch(&self, name: &str) {
        let path = self.data().join(name);
        std::fs::write(&path, "").unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// A superuser's session by socket, if one is let in.
    pub(super) async fn try_superuser(&self) -> Option<Client> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.dir.path()).port(self.port).user("postgres").dbname("postgres");
        config.connect_timeout(Duration::from_secs(5));
        let (client, connection) = config.connect(NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// A superuser's session, by socket.
    pub(super) async fn superuser(&self) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.dir.path()).port(self.port).user("postgres").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Runs statements as a superuser.
    pub(super) async fn sql(&self, statements: &str) {
        self.superuser().await.batch_execute(statements).await.unwrap();
    }

    /// How the operator connects.
    pub(super) fn target(&self) -> PostgresTarget {
        PostgresTarget {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "bascule".to_owned(),
            password: SecretString::from(PASSWORD),
            secret: "main-bascule".to_owned(),
            dbname: "postgres".to_owned(),
            tls: Tls::Off,
        }
    }

    /// A directory of its own that only the server may enter, with these files in it.
    pub(super) fn private_files(&self, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.dir.path().join("private");
        std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            if rustix::process::geteuid().is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        if rustix::process::geteuid().is_root() {
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        dir
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal_all(Signal::CONT);
            self.stop();
        }
    }
}
