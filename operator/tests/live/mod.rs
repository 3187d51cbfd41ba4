//! The command line as people run it, against a real API server that has Bascule's definitions and the policy shop/shop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

#[path = "../../adapters/tests/apiserver/mod.rs"]
pub mod apiserver;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::apiserver::ApiServer;

/// The policy web/web of paris and lyon, first active in paris, and the Deployment that it scales.
pub const WEB: &str = r"
apiVersion: bascule.dev/v1alpha1
kind: FailoverPolicy
metadata: { name: web, namespace: web }
spec:
  sites: [{ name: paris }, { name: lyon }]
  initialSite: paris
  workloads:
    - name: web
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: web }
      replicas: { active: 2, standby: 0 }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: web }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: web }] }
";

/// What a run printed, how it ended, and how long it took.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Asserts the exit code and that all of these words were printed.
    pub fn says(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(self.out.contains(word), "{word:?} was not said:\n{}\n{}", self.out, self.err);
        }
        self
    }

    /// Asserts that nothing was printed but one error in one line, with all of these words.
    pub fn fails(&self, words: &[&str]) -> &Self {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{self:#?}");
        assert_eq!(self.err.trim_end().lines().count(), 1, "{self:#?}");
        self.refuses(words)
    }

    /// Asserts that there was an error with all of these words, after whatever was printed.
    pub fn refuses(&self, words: &[&str]) -> &Self {
        assert_eq!(self.code, 1, "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} was not said:\n{}\n{}", self.out, self.err);
        }
        self
    }

    /// Asserts that the answer came in time for somebody who waits.
    pub fn in_time(&self) -> &Self {
        assert!(self.took < Duration::from_secs(5), "{self:#?}");
        self
    }
}

/// The program, ready for its arguments.
pub fn program(kubeconfig: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bascule"));
    command.env("KUBECONFIG", kubeconfig).env_remove("KUBERNETES_SERVICE_HOST");
    command
}

/// Runs it; `input` is what it is told when it asks.
pub fn answered(command: &mut Command, input: &str) -> Said {
    use std::io::Write as _;

    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    // It may end without having asked.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Said {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
        took: begun.elapsed(),
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A cluster with the definitions, the namespace shop and the example policy in it.
pub struct Cluster {
    pub server: ApiServer,
}

impl Cluster {
    pub async fn start() -> Self {
        let server = ApiServer::start().await;
        let definitions = repository().join("crds/generated").display().to_string();
        server.kubectl(&["apply", "--server-side", "-f", &definitions], "");
        // A new kind is served a moment after it is established.
        server.shell("for i in $(seq 150); do kubectl get fop,moves,policysources -A && exit 0; sleep 0.2; done; exit 1");
        let cluster = Self { server };
        cluster.make("shop");
        cluster
    }

    /// The example policy in a namespace of its own.
    pub fn make(&self, namespace: &str) {
        self.server.kubectl(&["create", "namespace", namespace], "");
        let policy = std::fs::read_to_string(repository().join("examples/shop.yaml")).unwrap();
        let policy = policy.replace("namespace: shop", &format!("namespace: {namespace}"));
        self.server.kubectl(&["apply", "--server-side", "-f", "-"], &policy);
    }

    /// Writes what an operator would.
    pub fn write(&self, namespace: &str, status: &Value) {
        let patch = json!({ "status": status }).to_string();
        self.server.kubectl(
            &["patch", "fop", "shop", "-n", namespace, "--subresource=status", "--type=merge", "-p", &patch],
            "",
        );
    }

    pub fn file(&self) -> PathBuf {
        self.server.kubeconfig()
    }

    /// The server's kubeconfig with some of its text replaced.
    pub fn changed(&self, name: &str, from: &str, to: &str) -> PathBuf {
        let text = std::fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        let path = self.file().with_file_name(name);
        std::fs::write(&path, text.replace(from, to)).unwrap();
        path
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        Self::run_as(&self.file(), arguments)
    }

    pub fn run_as(kubeconfig: &Path, arguments: &[&str]) -> Said {
        answered(program(kubeconfig).args(arguments), "")
    }
}

/// A steady pair as lyon tells it.
pub fn steady(written: Timestamp) -> Value {
    json!({
        "site": "lyon", "writtenAt": written.to_string(), "observedGeneration": 1,
        "message": "paris writes (epoch 3); lyon follows, 0 B behind.",
        "activeSite": "paris", "epoch": 3, "serial": 12, "phase": "Steady", "specHash": "a", "lag": "0 B",
        "conditions": [condition("Ready", "True", "Steady", "paris is active", written)],
        "gates": [
            gate("silence", "NotYet", "paris has been silent for 400 ms", "8 s"),
            gate("loss", "Pass", "0 bytes known, 0 ms unseen", "at most 16777216 bytes and 60 s unseen"),
        ],
        "sites": [
            { "name": "paris", "role": "Primary", "specHash": "a", "lag": { "reportAgeMs": 400 }, "age": "400 ms" },
            { "name": "lyon", "role": "Standby", "specHash": "a", "promotable": true, "lag": { "bytes": 0 } },
        ],
    })
}

/// Paris is lost, and lyon serves reads.
pub fn reads(written: Timestamp) -> Value {
    let mut status = steady(written);
    status["message"] = json!(
        "Reads served from lyon since 03:02. Promotes 03:32 unless held. At most 2.1 MiB and what was written in 6 s at risk, last heard 03:01:58."
    );
    status["phase"] = json!("ReadOnly");
    status["conditions"] =
        json!([condition("Ready", "False", "ReadOnly", "paris is silent; lyon serves reads", written)]);
    status["gates"] = json!([
        gate("silence", "Pass", "paris has been silent for 12 s", "8 s"),
        gate("promote", "NotYet", "reads have been served for 0 ms", "30 m"),
        gate("loss", "Pass", "2202009 bytes known, 6 s unseen", "at most 16777216 bytes and 60 s unseen"),
    ]);
    status["sites"][0] = json!({ "name": "paris", "role": "Unknown", "specHash": "a" });
    status["sites"][1]["lag"] = json!({ "bytes": 2_202_009 });
    status
}

pub fn gate(name: &str, verdict: &str, found: &str, needed: &str) -> Value {
    let message = format!("{name}: {found} (needed: {needed})");
    json!({ "name": name, "verdict": verdict, "value": found, "threshold": needed, "age": "0 ms", "message": message })
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str, since: Timestamp) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
}
