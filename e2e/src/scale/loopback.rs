//! Two API servers with their stores, and the arbiter's three members, on free ports of the loopback interface. No nodes and
//! no controllers: a fleet of ten thousand policies has nothing to run on one machine.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::process::Recorded;
use crate::waiting::until;
use crate::world::pki::Pki;

/// How long a server may take to answer for the first time.
const READY: Duration = Duration::from_secs(90);
const TOKEN: &str = "measured";
/// The arbiter's users: all the same here.
const ARBITER_USER: &str = "operator";

/// A process that ends with this one.
#[derive(Debug)]
pub struct Tied(Child);

impl Tied {
    /// Starts it; what it says goes to `log`.
    pub fn start(command: &Command, log: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = tied(command);
        command.stdout(file.try_clone()?).stderr(file).stdin(Stdio::null());
        let started = command.spawn();
        Ok(Self(started.with_context(|| format!("cannot start {:?}", command.get_args().nth(3)))?))
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        // It has ended already when this fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same command, killed by the kernel when this process ends.
pub fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    tied
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Everything that outlives one fleet.
#[derive(Debug)]
pub struct Servers {
    programs: PathBuf,
    folder: PathBuf,
    pki: Pki,
    sites: Vec<ApiServer>,
}

/// A site's API server.
#[derive(Debug)]
pub struct ApiServer {
    /// Who it belongs to.
    pub site: &'static str,
    folder: PathBuf,
    _processes: [Tied; 2],
}

/// The arbiter; its data goes with it.
#[derive(Debug)]
pub struct Arbiter {
    /// Each member's address.
    pub endpoints: Vec<String>,
    folder: PathBuf,
    processes: Vec<Tied>,
}

impl Servers {
    /// Starts the API servers of these sites in an empty folder. `programs` has etcd, etcdctl and kube-apiserver.
    pub async fn start(programs: PathBuf, folder: &Path, sites: &[&'static str]) -> Result<Self> {
        let pki = Pki::create(folder.join("pki"))?;
        pki.issue(ARBITER_USER, &["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let guards = folder.join("guards");
        fs::create_dir_all(&guards)?;
        let own = pki.identity(ARBITER_USER);
        for (from, to) in [(pki.ca(), "ca.crt"), (own.cert, "tls.crt"), (own.key, "tls.key")] {
            fs::copy(from, guards.join(to))?;
        }
        let started = sites
            .iter()
            .map(|site| ApiServer::start(&programs, &folder.join(site), site))
            .collect::<Result<_>>()?;
        let servers = Self { programs, folder: folder.to_owned(), pki, sites: started };
        for site in &servers.sites {
            site.ready().await?;
        }
        Ok(servers)
    }

    /// The API servers.
    pub fn sites(&self) -> &[ApiServer] {
        &self.sites
    }

    /// An arbiter of three members that holds nothing, with the timing of the profile that is measured.
    pub async fn arbiter(&self, name: &str) -> Result<Arbiter> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        let ports = (0..6).map(|_| free_port()).collect::<Result<Vec<u16>>>()?;
        let url = |port: &u16| format!("https://127.0.0.1:{port}");
        let (clients, peers) = ports.split_at(3);
        let cluster: Vec<String> =
            peers.iter().enumerate().map(|(n, p)| format!("m{n}={}", url(p))).collect();
        let identity = self.pki.identity(ARBITER_USER);
        let mut processes = Vec::new();
        for (n, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let mut etcd = Command::new(self.programs.join("etcd"));
            etcd.args(["--log-level", "warn", "--name", &format!("m{n}")])
                .arg("--data-dir")
                .arg(folder.join(format!("m{n}")))
                .args(["--initial-cluster", &cluster.join(",")])
                .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
                .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
                .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
                .args(["--client-cert-auth", "--peer-client-cert-auth"]);
            for of in ["", "peer-"] {
                etcd.arg(format!("--{of}trusted-ca-file")).arg(self.pki.ca());
                etcd.arg(format!("--{of}cert-file")).arg(&identity.cert);
                etcd.arg(format!("--{of}key-file")).arg(&identity.key);
            }
            processes.push(Tied::start(&etcd, &folder.join(format!("m{n}.log")))?);
        }
        let arbiter = Arbiter { endpoints: clients.iter().map(url).collect(), folder, processes };
        // Open ports are not enough: the first election would be measured as the operator's start.
        until("the arbiter's members to decide", READY, || self.decides(&arbiter)).await?;
        Ok(arbiter)
    }

    /// Whether every member answers what a majority has agreed on.
    async fn decides(&self, arbiter: &Arbiter) -> Result<()> {
        let identity = self.pki.identity(ARBITER_USER);
        let mut etcdctl = tokio::process::Command::new(self.programs.join("etcdctl"));
        etcdctl.arg("--endpoints").arg(arbiter.endpoints.join(","));
        etcdctl.arg("--cacert").arg(self.pki.ca());
        etcdctl.arg("--cert").arg(&identity.cert).arg("--key").arg(&identity.key);
        etcdctl.args(["--command-timeout", "2s", "endpoint", "health"]).kill_on_drop(true);
        let asked = etcdctl.output().await.context("etcdctl lies beside etcd")?;
        if !asked.status.success() {
            bail!("{}", crate::command::tail(&String::from_utf8_lossy(&asked.stderr), 1000));
        }
        Ok(())
    }

    /// Options of an operator of `site` that uses this arbiter.
    pub fn operator_options(&self, site: &ApiServer, arbiter: &Arbiter) -> Vec<String> {
        let identity = self.pki.identity(ARBITER_USER);
        let file = |name: &str, path: &Path| format!("--{name}={}", path.display());
        vec![
            format!("--site={}", site.site),
            file("kubeconfig", &site.kubeconfig()),
            format!("--arbiter-endpoints={}", arbiter.endpoints.join(",")),
            file("arbiter-ca", &self.pki.ca()),
            file("arbiter-cert", &identity.cert),
            file("arbiter-key", &identity.key),
            file("guard-certificates", &self.folder.join("guards")),
            file("journal", &arbiter.folder.join(format!("journal-{}", site.site))),
            file("git-cache", &arbiter.folder.join(format!("git-{}", site.site))),
            "--guard-listen=127.0.0.1:0".to_owned(),
            "--http-listen=127.0.0.1:0".to_owned(),
            "--profile=wan".to_owned(),
        ]
    }
}

impl Arbiter {
    /// Where its data and what belongs to its time is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends it.
    pub fn end(mut self) -> Result<()> {
        self.processes.clear();
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

impl ApiServer {
    fn start(programs: &Path, folder: &Path, site: &'static str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let key = rcgen::KeyPair::generate()?;
        fs::write(folder.join("sa.key"), key.serialize_pem())?;
        fs::write(folder.join("sa.pub"), key.public_key_pem())?;
        fs::write(folder.join("tokens.csv"), format!("{TOKEN},admin,1,system:masters\n"))?;
        let [client, peer, port] = [free_port()?, free_port()?, free_port()?];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut etcd = Command::new(programs.join("etcd"));
        etcd.args(["--name", "store", "--log-level", "warn", "--unsafe-no-fsync"])
            .arg("--data-dir")
            .arg(folder.join("etcd"))
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("store={}", url(peer))]);
        let etcd = Tied::start(&etcd, &folder.join("etcd.log"))?;
        let mut server = Command::new(programs.join("kube-apiserver"));
        server
            .args(["--etcd-servers", &url(client), "--bind-address", "127.0.0.1"])
            .args(["--secure-port", &port.to_string(), "--cert-dir"])
            .arg(folder.join("certs"))
            .arg("--service-account-key-file")
            .arg(folder.join("sa.pub"))
            .arg("--service-account-signing-key-file")
            .arg(folder.join("sa.key"))
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .arg("--token-auth-file")
            .arg(folder.join("tokens.csv"))
            .args(["--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/24"])
            .args(["--disable-admission-plugins", "ServiceAccount", "--endpoint-reconciler-type", "none"])
            .args(["--profiling=false"]);
        let server = Tied::start(&server, &folder.join("kube-apiserver.log"))?;
        let started = Self { site, folder: folder.to_owned(), _processes: [etcd, server] };
        fs::write(
            started.kubeconfig(),
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                 clusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority: {}}}}}]\n\
                 users: [{{name: u, user: {{token: {TOKEN}}}}}]\n\
                 contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
                folder.join("certs/apiserver.crt").display(),
            ),
        )?;
        Ok(started)
    }

    /// The kubeconfig of somebody with all rights.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// A client with all rights.
    pub async fn client(&self) -> Result<kube::Client> {
        let file = Kubeconfig::read_from(self.kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    async fn ready(&self) -> Result<()> {
        until("the API server", READY, || async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            match self.client().await?.request_text(request).await?.as_str() {
                "ok" => Ok(()),
                other => bail!("it says {other}"),
            }
        })
        .await
    }
}

/// Memory and processor time of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// The part of it that is its own and no file's.
    pub own: u64,
    /// Processor time since its start, in seconds.
    pub cpu: f64,
}

impl Usage {
    /// Of a process that runs.
    pub fn of(process: Recorded) -> Result<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", process.pid));
        let status = read("status").context("the operator has ended")?;
        let kib = |name: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        let stat = read("stat")?;
        let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        // Linux tells user space of a hundred ticks a second on every machine.
        Ok(Self {
            resident: kib("VmRSS:").context("no VmRSS")? * 1024,
            own: kib("RssAnon:").context("no RssAnon")? * 1024,
            cpu: ticks as f64 / 100.0,
        })
    }
}
