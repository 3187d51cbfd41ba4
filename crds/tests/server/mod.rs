//! A real etcd and a real kube-apiserver on free loopback ports, for one test.

// Shared by the tests of two crates, each of which uses a part of it.
#![allow(unreachable_pub, dead_code, clippy::unwrap_used, clippy::panic)]

#[path = "../../../operator/adapters/tests/ports/mod.rs"]
mod ports;

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kube::{Client, Config, client::Body, config::AuthInfo};
use serde_json::Value;

use self::ports::free_port;

/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_mins(2);
const TOKEN: &str = "test-token";

/// The running servers. They end when this is dropped.
pub struct ApiServer {
    children: Vec<Child>,
    folder: tempfile::TempDir,
    client: Client,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // An error means that it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Where the servers' programs are: `KUBEBUILDER_ASSETS`, or what the sandbox has built, newest first.
fn programs() -> PathBuf {
    let complete =
        |folder: &PathBuf| ["etcd", "kube-apiserver"].iter().all(|name| folder.join(name).is_file());
    let asked = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let cache = env::var_os("BASCULE_CACHE").map_or_else(
        || {
            let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
            env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("bascule-sandbox")
        },
        PathBuf::from,
    );
    let mut built: Vec<_> = fs::read_dir(&cache)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("servers-"))
        .map(|entry| (entry.metadata().unwrap().modified().unwrap(), entry.path()))
        .collect();
    built.sort();
    let candidates = asked.into_iter().chain(built.into_iter().rev().map(|(_, folder)| folder));
    candidates.into_iter().find(complete).unwrap_or_else(|| {
        panic!(
            "this test needs a real API server, and neither KUBEBUILDER_ASSETS nor {} has etcd and kube-apiserver.\n\
             Build them once with `cargo run -p bascule-e2e --bin bascule-sandbox -- prepare --no-binaries` (Go needed, about five minutes), \
             or point KUBEBUILDER_ASSETS at a folder that has both.",
            cache.display()
        )
    })
}

fn start(program: &Path, log: &Path, arguments: &[String]) -> Child {
    let log = fs::File::create(log).unwrap();
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap()
}

impl ApiServer {
    /// Starts both and waits until they answer.
    pub async fn start() -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let [client_port, peer_port, api_port] = [(); 3].map(|()| free_port());
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(at("sa.key"), key.serialize_pem()).unwrap();
        fs::write(at("sa.pub"), key.public_key_pem()).unwrap();
        fs::write(at("tokens.csv"), format!("{TOKEN},admin,1,system:masters\n")).unwrap();
        let etcd = start(
            &programs.join("etcd"),
            &folder.path().join("etcd.log"),
            &[
                format!("--data-dir={}", at("etcd")),
                "--unsafe-no-fsync".to_owned(),
                format!("--listen-client-urls=http://127.0.0.1:{client_port}"),
                format!("--advertise-client-urls=http://127.0.0.1:{client_port}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"),
                format!("--initial-cluster=default=http://127.0.0.1:{peer_port}"),
            ],
        );
        let api = start(
            &programs.join("kube-apiserver"),
            &folder.path().join("apiserver.log"),
            &[
                format!("--etcd-servers=http://127.0.0.1:{client_port}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                format!("--secure-port={api_port}"),
                format!("--cert-dir={}", at("certs")),
                format!("--service-account-key-file={}", at("sa.pub")),
                format!("--service-account-signing-key-file={}", at("sa.key")),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--token-auth-file={}", at("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
                "--enable-priority-and-fairness=false".to_owned(),
                "--profiling=false".to_owned(),
            ],
        );
        let mut config = Config::new(format!("https://127.0.0.1:{api_port}").parse().unwrap());
        // A certificate that the server makes for itself, on loopback, for this test alone.
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo { token: Some(TOKEN.into()), ..AuthInfo::default() };
        // An error says that the process has a provider already: another test of this program.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_from(config).unwrap();
        let mut server = Self { children: vec![etcd, api], folder, client };
        server.until_ready().await;
        server
    }

    async fn until_ready(&mut self) {
        let begin = Instant::now();
        loop {
            let request = http::Request::get("/readyz").body(Body::empty()).unwrap();
            if let Ok(answer) = self.client.send(request).await
                && answer.status().is_success()
            {
                return;
            }
            for child in &mut self.children {
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "a server ended ({ended:?}):\n{}", self.logs());
            }
            assert!(begin.elapsed() < PATIENCE, "the API server is not ready:\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn logs(&self) -> String {
        let tail = |log: &str| {
            let text = fs::read_to_string(self.folder.path().join(log)).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            format!("--- {log}\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        [tail("etcd.log"), tail("apiserver.log")].join("\n")
    }

    /// One request. The refusal is the API server's own message.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Vec<u8>>,
    ) -> Result<Value, String> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content_type)
            .header("Accept", "application/json")
            .body(Body::from(body.into()))
            .unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.client.send(request)).await.unwrap().unwrap();
        let status = answer.status();
        let warnings: Vec<_> =
            answer.headers().get_all("Warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        let bytes = answer.into_body().collect_bytes().await.unwrap();
        let value: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        if !status.is_success() {
            let message = value["message"].as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            return Err(message);
        }
        assert!(warnings.is_empty(), "{method} {path}: the API server warns: {warnings:?}");
        Ok(value)
    }

    /// Installs all definitions of this API and waits until they are served.
    pub async fn install_definitions(&self) {
        const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for definition in bascule_crds::definitions().unwrap() {
            self.call("POST", PATH, "application/json", definition.json.to_string())
                .await
                .unwrap_or_else(|refusal| panic!("{}: {refusal}", definition.file));
            let name = definition.json["metadata"]["name"].as_str().unwrap().to_owned();
            let begin = Instant::now();
            loop {
                let found =
                    self.call("GET", &format!("{PATH}/{name}"), "application/json", "").await.unwrap();
                let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
                if conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True") {
                    break;
                }
                assert!(begin.elapsed() < PATIENCE, "{name} is not established: {conditions:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Makes a namespace.
    pub async fn create_namespace(&self, name: &str) {
        let body =
            serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.call("POST", "/api/v1/namespaces", "application/json", body.to_string()).await.unwrap();
    }
}
