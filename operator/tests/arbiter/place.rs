//! Three real members on loopback, each run as its place would run it: two with the arguments that helm renders from the
//! values that `init` wrote and the certificates of its Secret, one with the configuration file for a machine.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::apiserver::ports::free_port;

pub const MEMBERS: [&str; 3] = ["paris", "lyon", "third"];
/// The one on a machine of its own.
pub const MACHINE: &str = "third";
/// How long a member may take to come.
pub const COMES: Duration = Duration::from_mins(1);

pub fn tool(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from).unwrap_or_default();
    assert!(
        path.is_file(),
        "this test needs the real {variable}: run it by `make test-unit`, or name the program in {variable} (found {})",
        path.display()
    );
    path
}

/// Runs `bascule arbiter …`.
pub fn bascule(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bascule")).arg("arbiter").args(args).output().unwrap()
}

/// The same, when it has to succeed.
pub fn done(args: &[&str]) -> String {
    let output = bascule(args);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "bascule arbiter {}: {out}{err}", args.join(" "));
    out
}

/// The same, when it has to be refused.
pub fn refused(args: &[&str]) -> String {
    let output = bascule(args);
    assert!(!output.status.success(), "bascule arbiter {} was taken", args.join(" "));
    String::from_utf8(output.stderr).unwrap()
}

pub fn free_ports(n: usize) -> Vec<u16> {
    (0..n).map(|_| free_port()).collect()
}

struct Member {
    name: &'static str,
    client: u16,
    peer: u16,
    metrics: u16,
    process: Option<Child>,
}

pub struct Places {
    dir: TempDir,
    /// The folder that `init` made last.
    folder: &'static str,
    /// How large a store may become, in bytes; none: as `init` and the chart have it.
    quota: Option<u64>,
    members: Vec<Member>,
}

impl Places {
    /// Makes the arbiter's folder; starts nothing.
    pub fn prepare() -> Self {
        let ports = free_ports(9);
        let member = |(i, name): (usize, &'static str)| Member {
            name,
            client: ports[3 * i],
            peer: ports[3 * i + 1],
            metrics: ports[3 * i + 2],
            process: None,
        };
        let places = Self {
            dir: TempDir::new().unwrap(),
            folder: "arbiter",
            quota: None,
            members: MEMBERS.into_iter().enumerate().map(member).collect(),
        };
        let members = places.given();
        let out = format!("--out={}", places.folder().display());
        let mut args =
            vec!["init", &out, "--site=paris", "--site=lyon", "--machine=third", "--profile=metro"];
        args.extend(members.iter().map(String::as_str));
        done(&args);
        places
    }

    /// What `init` made.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join(self.folder)
    }

    /// The members as `init` is told of them.
    fn given(&self) -> Vec<String> {
        let given = |m: &Member| format!("--member={}=127.0.0.1:{}:{}", m.name, m.client, m.peer);
        self.members.iter().map(given).collect()
    }

    /// Gives a member another address, and makes a new folder with the authorities of the old one.
    pub fn moves(&mut self, name: &str) {
        let (at, ports, from) = (self.at(name), free_ports(2), self.folder());
        (self.members[at].client, self.members[at].peer) = (ports[0], ports[1]);
        self.folder = "arbiter-2";
        let (from, out) =
            (format!("--from={}", from.display()), format!("--out={}", self.folder().display()));
        let members = self.given();
        let mut args = vec!["init", &from, &out];
        args.extend(members.iter().map(String::as_str));
        done(&args);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn at(&self, name: &str) -> usize {
        self.members.iter().position(|m| m.name == name).unwrap()
    }

    pub fn endpoint(&self, name: &str) -> String {
        format!("https://127.0.0.1:{}", self.members[self.at(name)].client)
    }

    pub fn endpoints(&self) -> Vec<String> {
        MEMBERS.map(|name| self.endpoint(name)).to_vec()
    }

    pub fn peer_port(&self, name: &str) -> u16 {
        self.members[self.at(name)].peer
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.path("data").join(name)
    }

    /// What the member's pod or unit runs, with the paths of this machine.
    fn command(&self, name: &str, existing: bool) -> Command {
        let mut command = Command::new(tool("BASCULE_ETCD"));
        let data = self.data(name);
        fs::create_dir_all(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let data = data.join("data");
        if name == MACHINE {
            command.arg("--config-file").arg(self.configuration(name, existing, &data));
        } else {
            let certificates = self.secret(name);
            let (certificates, data) = (certificates.to_str().unwrap(), data.to_str().unwrap());
            for argument in self.arguments(name, existing) {
                let there =
                    argument.replace("/etc/etcd/tls", certificates).replace("/var/lib/etcd/data", data);
                assert!(there == argument || !there.contains("/etc/etcd"), "{there}");
                command.arg(there);
            }
        }
        command
    }

    /// The file for the machine; a member that was let in is told so as `replace` says.
    fn configuration(&self, name: &str, existing: bool, data: &Path) -> PathBuf {
        let folder = self.folder().join("members").join(name);
        let text = fs::read_to_string(folder.join("etcd.yaml")).unwrap();
        let metrics = format!("127.0.0.1:{}", self.members[self.at(name)].metrics);
        let state = if existing { "existing" } else { "new" };
        let text = text
            .replace("/etc/bascule-arbiter", folder.to_str().unwrap())
            .replace("/var/lib/bascule-arbiter/data", data.to_str().unwrap())
            .replace("127.0.0.1:2381", &metrics)
            .replace("initial-cluster-state: new", &format!("initial-cluster-state: {state}"));
        let text = match self.quota {
            None => text,
            Some(quota) => {
                let line = text.lines().find(|l| l.starts_with("quota-backend-bytes")).unwrap();
                text.replace(line, &format!("quota-backend-bytes: {quota}"))
            }
        };
        let file = self.path("machine.yaml");
        fs::write(&file, text).unwrap();
        file
    }

    /// The Secret as the pod has it mounted.
    fn secret(&self, name: &str) -> PathBuf {
        let file = self.folder().join("members").join(name).join("secret.yaml");
        let secret: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let mounted = self.path("mounted").join(name);
        fs::create_dir_all(&mounted).unwrap();
        for (key, text) in secret["stringData"].as_object().unwrap() {
            fs::write(mounted.join(key), text.as_str().unwrap()).unwrap();
        }
        mounted
    }

    /// Objects as helm renders them from the values that `init` wrote for a member, and these.
    pub fn rendered(&self, name: &str, more: &[&str]) -> String {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/bascule-arbiter");
        let values = self.folder().join("members").join(name).join("values.yaml");
        let output = Command::new(tool("BASCULE_HELM"))
            .args(["template", "bascule-arbiter", chart.to_str().unwrap(), "-n", "bascule-arbiter"])
            .args(["-f", values.to_str().unwrap()])
            .args(more)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The member's StatefulSet.
    fn stateful_set(&self, name: &str, more: &[&str]) -> Value {
        let only = ["-s", "templates/statefulset.yaml"];
        serde_yaml::from_str(&self.rendered(name, &[&only, more].concat())).unwrap()
    }

    /// The container's arguments.
    fn arguments(&self, name: &str, existing: bool) -> Vec<String> {
        let metrics = format!("metrics.port={}", self.members[self.at(name)].metrics);
        let state = format!("cluster.state={}", if existing { "existing" } else { "new" });
        let quota = self.quota.map(|q| format!("store.quotaBytes={q}"));
        let quota = quota.as_ref().map_or(vec![], |quota| vec!["--set", quota]);
        let set = self.stateful_set(name, &[&["--set", &metrics, "--set", &state], &quota[..]].concat());
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], serde_json::json!(["etcd"]));
        container["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()).collect()
    }

    fn launch(&mut self, name: &str, existing: bool) {
        let log = File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap();
        let process = self
            .command(name, existing)
            .env("GOMEMLIMIT", "96MiB")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let at = self.at(name);
        self.members[at].process = Some(process);
    }

    pub fn start(&mut self, name: &str) {
        self.launch(name, false);
    }

    /// As one that was let in to an arbiter that runs.
    pub fn join(&mut self, name: &str) {
        self.launch(name, true);
    }

    pub fn kill(&mut self, name: &str) {
        let at = self.at(name);
        let mut process = self.members[at].process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// What the pod's probes see: the status of a path of the metrics port; none while nobody answers.
    pub fn probe(&self, name: &str, path: &str) -> Option<u16> {
        use std::io::{Read as _, Write as _};
        let mut stream =
            std::net::TcpStream::connect(("127.0.0.1", self.members[self.at(name)].metrics)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    /// Waits until a probe sees 200.
    pub fn until(&self, name: &str, path: &str) {
        let until = Instant::now() + COMES;
        while self.probe(name, path) != Some(200) {
            assert!(Instant::now() < until, "{name}{path} after {COMES:?}: {}", self.log(name));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// All three, as they are born.
    pub fn born() -> Self {
        Self::born_with(None)
    }

    /// The same with another quota.
    pub fn born_with(quota: Option<u64>) -> Self {
        let mut places = Self::prepare();
        places.quota = quota;
        for name in MEMBERS {
            places.start(name);
        }
        for name in MEMBERS {
            places.until(name, "/readyz");
        }
        places
    }

    /// A line of `/proc/…/status` of a member, in KiB.
    pub fn memory(&self, name: &str, what: &str) -> u64 {
        let id = self.members[self.at(name)].process.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix(&format!("{what}:"))).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(process) = &mut member.process {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}
