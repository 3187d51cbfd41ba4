//! A real Kubernetes API server with its etcd, on free loopback ports, for tests. No nodes and no controllers.
//!
//! The binaries are those of the sandbox: `$KUBEBUILDER_ASSETS`, or `~/.cache/bascule-sandbox/bin`. Where they are
//! missing the test fails and says so; nothing is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]
#![allow(dead_code, reason = "each test binary uses its own part of this")]

#[allow(clippy::duplicate_mod, reason = "a test that has an arbiter too has this through it as well")]
#[path = "../ports/mod.rs"]
pub(crate) mod ports;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use self::ports::free_port;

/// A start that takes longer than this has failed.
const START: Duration = Duration::from_secs(90);
const TOKEN: &str = "test-admin-token";
/// The token of a user who has only what a binding gives to [`PLAIN_USER`].
const PLAIN_TOKEN: &str = "test-plain-token";
/// Its name.
pub(crate) const PLAIN_USER: &str = "plain";

/// An API server with its store. Both end with this value, and with the test process however that ends.
pub(crate) struct ApiServer {
    dir: TempDir,
    port: u16,
    etcd: Child,
    etcd_port: u16,
    server: Child,
    extra: &'static [&'static str],
}

impl ApiServer {
    /// The one that all tests of a binary share. Each test uses a namespace of its own: see [`ApiServer::namespace`].
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One that the test may freeze and restart.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more arguments for kube-apiserver.
    pub(crate) async fn start_with(extra: &'static [&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        std::fs::write(dir.path().join("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(
            dir.path().join("tokens.csv"),
            format!("{TOKEN},admin,1,system:masters\n{PLAIN_TOKEN},plain,2\n"),
        )
        .unwrap();
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let client_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let mut command = binary("etcd");
        command
            .args(["--name", "test", "--unsafe-no-fsync", "--log-level", "warn"])
            .args(["--data-dir".as_ref(), dir.path().join("etcd").as_os_str()])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("test={peer_url}")]);
        let etcd = spawn(&command, &dir.path().join("etcd.log"));
        let server = spawn_server(dir.path(), etcd_port, port, extra);
        let mut started = Self { dir, port, etcd, etcd_port, server, extra };
        started.write_kubeconfig();
        started.ready().await;
        started
    }

    /// A kubeconfig with all rights.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// The configuration that the kubeconfig holds.
    pub(crate) async fn config(&self) -> Config {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
    }

    /// A client with all rights, for setting up and for looking.
    pub(crate) async fn client(&self) -> Client {
        Client::try_from(self.config().await).unwrap()
    }

    /// Makes a namespace for one test.
    pub(crate) async fn namespace(&self, name: &str) -> String {
        use k8s_openapi::api::core::v1::Namespace;

        let object = Namespace {
            metadata: kube::core::ObjectMeta {
                name: Some(name.to_owned()),
                ..kube::core::ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let api = kube::Api::all(self.client().await);
        api.create(&kube::api::PostParams::default(), &object).await.unwrap();
        name.to_owned()
    }

    /// Runs the real kubectl and returns what it printed; panics when it fails.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        self.kubectl_says(arguments, input).unwrap_or_else(|said| panic!("kubectl {arguments:?}: {said}"))
    }

    /// Runs the real kubectl: what it printed, or its complaint when it fails.
    pub(crate) fn kubectl_says(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        use std::io::Write;

        let mut command = binary("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    /// Runs a line of shell in which `kubectl` is the real one, for this cluster.
    pub(crate) fn shell(&self, line: &str) {
        let path = format!("{}:{}", assets().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("PATH", path).env("KUBECONFIG", self.kubeconfig());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Stops the API server in its tracks: connections stay open and nothing answers.
    pub(crate) fn freeze(&self) {
        let server = Pid::from_child(&self.server);
        kill_process(server, Signal::STOP).unwrap();
        // It stands still when the kernel says so, and not when the signal was sent.
        let stopped = waitpid(Some(server), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "{stopped:?}");
    }

    /// Lets a frozen API server go on.
    pub(crate) fn thaw(&self) {
        kill_process(Pid::from_child(&self.server), Signal::CONT).unwrap();
    }

    /// Kills the API server and waits for its end. The store lives on.
    pub(crate) fn stop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts a stopped API server again, at the same address.
    pub(crate) async fn start_again(&mut self) {
        self.server = spawn_server(self.dir.path(), self.etcd_port, self.port, self.extra);
        self.ready().await;
    }

    /// Deletes an object as another API server of the same cluster would, and has the store forget every version before.
    pub(crate) fn deleted_behind_its_back(&self, key: &str) {
        assert_eq!(self.etcdctl(&["del", key]).trim(), "1", "{key}");
        let status: serde_json::Value =
            serde_json::from_str(&self.etcdctl(&["endpoint", "status", "-w", "json"])).unwrap();
        let revision = status[0]["Status"]["header"]["revision"].as_u64().unwrap();
        self.etcdctl(&["compaction", &revision.to_string()]);
    }

    fn etcdctl(&self, arguments: &[&str]) -> String {
        let mut command = binary("etcdctl");
        command.arg(format!("--endpoints=http://127.0.0.1:{}", self.etcd_port)).args(arguments);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn ready(&mut self) {
        let started = Instant::now();
        let ca = self.dir.path().join("certs/apiserver.crt");
        loop {
            if let Some(status) = self.etcd.try_wait().unwrap() {
                panic!("etcd ended with {status} while it was starting: {}", self.log("etcd"));
            }
            if let Some(status) = self.server.try_wait().unwrap() {
                let log = self.log("kube-apiserver");
                panic!("kube-apiserver ended with {status} while it was starting: {log}");
            }
            if ca.exists() && self.is_ready().await {
                return;
            }
            let log = || self.log("kube-apiserver");
            assert!(started.elapsed() < START, "kube-apiserver is not ready after {START:?}: {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        let mut config = self.config().await;
        config.default_retry = false;
        let Ok(client) = Client::try_from(config) else { return false };
        let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(2), client.request_text(request)).await;
        matches!(answer, Ok(Ok(text)) if text == "ok")
    }

    fn log(&self, name: &str) -> String {
        let file = self.dir.path().join(format!("{name}.log"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn write_kubeconfig(&self) {
        self.write_whole(&self.kubeconfig(), &self.kubeconfig_at(self.port, TOKEN));
    }

    /// Writes a file that others may read at the same time: they find it as it was or as it is.
    fn write_whole(&self, path: &Path, text: &str) {
        let mut file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.persist(path).unwrap();
    }

    /// A kubeconfig of the user without rights of its own, by way of `port`.
    pub(crate) fn plain_kubeconfig(&self, port: u16) -> PathBuf {
        let path = self.dir.path().join(format!("kubeconfig-{port}"));
        self.write_whole(&path, &self.kubeconfig_at(port, PLAIN_TOKEN));
        path
    }

    /// A kubeconfig with all rights, by way of `port`.
    pub(crate) fn kubeconfig_by(&self, port: u16) -> PathBuf {
        let path = self.dir.path().join(format!("kubeconfig-admin-{port}"));
        self.write_whole(&path, &self.kubeconfig_at(port, TOKEN));
        path
    }

    /// The kubeconfig of whoever has `token`, in a namespace.
    pub(crate) fn kubeconfig_of(&self, token: &str, namespace: &str) -> String {
        let context = "context: {cluster: test, user: user";
        self.kubeconfig_at(self.port, token).replace(context, &format!("{context}, namespace: {namespace}"))
    }

    fn kubeconfig_at(&self, port: u16, token: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority: {}}}}}]\n\
             users: [{{name: user, user: {{token: {token}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: user}}}}]\n",
            self.dir.path().join("certs/apiserver.crt").display(),
        )
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.etcd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn assets() -> PathBuf {
    std::env::var_os("KUBEBUILDER_ASSETS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/bascule-sandbox/bin"),
        PathBuf::from,
    )
}

fn binary(name: &str) -> Command {
    let path = assets().join(name);
    let shown = path.display();
    assert!(path.exists(), "{shown} is missing: build the sandbox's binaries, or set KUBEBUILDER_ASSETS");
    Command::new(path)
}

fn spawn_server(dir: &Path, etcd_port: u16, port: u16, extra: &[&str]) -> Child {
    let key = dir.join("sa.key");
    let mut command = binary("kube-apiserver");
    command
        .args(["--etcd-servers", &format!("http://127.0.0.1:{etcd_port}")])
        .args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()])
        .args(["--cert-dir".as_ref(), dir.join("certs").as_os_str()])
        .args(["--service-account-key-file".as_ref(), key.as_os_str()])
        .args(["--service-account-signing-key-file".as_ref(), key.as_os_str()])
        .args(["--service-account-issuer", "https://kubernetes.default.svc"])
        .args(["--token-auth-file".as_ref(), dir.join("tokens.csv").as_os_str()])
        .args(["--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/24"])
        // Without a controller manager no namespace gets a service account, and no pod could be made.
        .args(["--disable-admission-plugins", "ServiceAccount"])
        .args(["--enable-priority-and-fairness=false", "--profiling=false"])
        .args(["--endpoint-reconciler-type", "none"])
        .args(extra);
    spawn(&command, &dir.join("kube-apiserver.log"))
}

/// Starts a process that ends when this one does, killed or not.
///
/// The kernel ties that to the thread that starts the process, and a test's thread ends before the test binary does:
/// so one thread starts them all and stays.
fn spawn(command: &Command, log: &Path) -> Child {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static KEEPER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    tied.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let (answer, child) = mpsc::channel();
    keeper.lock().unwrap().send((tied, answer)).unwrap();
    child.recv().unwrap().unwrap()
}
