//! A witness: an API server with the arbiter's kinds, accounts and rules, as the chart installs them.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bascule_adapters::arbiter::kubernetes::admission::manifests;
use bascule_adapters::arbiter::{KubernetesArbiter, WitnessSettings};
use bascule_crds::witness::{PolicyRecord, SiteFacts, SiteLease};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::apiserver::ApiServer;
use crate::stored::{record_of, site};

/// Generous for a loaded machine.
pub(crate) const TQ: Duration = Duration::from_secs(5);

/// What every wait fails at rather than hang.
const LONG: Duration = Duration::from_mins(1);

pub(crate) struct Witness {
    pub(crate) server: &'static ApiServer,
    pub(crate) namespace: String,
    files: TempDir,
}

impl Witness {
    /// In a namespace of its own of the API server that all tests share.
    pub(crate) async fn start() -> Self {
        static DEFINED: OnceCell<&'static ApiServer> = OnceCell::const_new();
        let defined = DEFINED.get_or_init(|| async {
            let server = ApiServer::shared().await;
            define(server);
            server
        });
        let server: &'static ApiServer = *defined.await;
        Self::at(server).await
    }

    /// At an API server of its own, which the test may freeze.
    pub(crate) async fn alone() -> Self {
        // It ends with the test's process.
        let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await));
        define(server);
        Self::at(server).await
    }

    async fn at(server: &'static ApiServer) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let namespace = format!("witness-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.namespace(&namespace).await;
        let sites = ["paris", "lyon"].map(site);
        let all: Vec<String> =
            manifests(&namespace, &namespace, &sites).iter().map(Value::to_string).collect();
        server.kubectl(&["apply", "-f", "-"], &all.join("\n---\n"));
        let witness = Self { server, namespace, files: tempfile::tempdir().unwrap() };
        witness.until_ruled().await;
        witness
    }

    /// Waits until every admission policy is obeyed: an API server learns of a new one a moment later.
    async fn until_ruled(&self) {
        let owner = json!({ "owner": "u", "acting": { "replica": "", "count": 0 } });
        let tried = [
            (ApiResource::erase::<SiteLease>(&()), "paris", owner),
            (
                ApiResource::erase::<PolicyRecord>(&()),
                "shop.web",
                json!({ "record": record_of("paris", 1, 1, "") }),
            ),
            (ApiResource::erase::<SiteFacts>(&()), "paris.shop.web", json!({ "facts": {} })),
        ];
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let end = Instant::now() + LONG;
        for (kind, name, spec) in tried {
            let object = DynamicObject::new(name, &kind).data(json!({ "spec": spec }));
            let api = self.api(&kind).await;
            loop {
                let answer = api.create(&params, &object).await;
                if matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403) {
                    break;
                }
                assert!(Instant::now() < end, "an administrator may still write a {}: {answer:?}", kind.kind);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The objects of a kind, with all rights.
    pub(crate) async fn api(&self, kind: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.server.client().await, &self.namespace, kind)
    }

    /// A kubeconfig with a token of an account.
    pub(crate) fn kubeconfig(&self, account: &str) -> PathBuf {
        let token = self.server.kubectl(&["create", "token", account, "-n", &self.namespace], "");
        let path = self.files.path().join(format!("{account}.kubeconfig"));
        std::fs::write(&path, self.server.kubeconfig_of(token.trim(), &self.namespace)).unwrap();
        path
    }

    /// A client with the token of an account.
    pub(crate) async fn arbiter(&self, account: &str) -> KubernetesArbiter {
        KubernetesArbiter::new(&WitnessSettings { kubeconfig: self.kubeconfig(account) }).await.unwrap()
    }

    /// Runs kubectl as an account, with what it is given to read; what it printed, or its complaint.
    pub(crate) fn kubectl_as(
        &self,
        account: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, String> {
        let user = format!("--as=system:serviceaccount:{}:{account}", self.namespace);
        let all = [&[user.as_str(), "-n", &self.namespace], arguments].concat();
        self.server.kubectl_says(&all, input)
    }
}

/// Installs the kinds, and waits until they are served.
fn define(server: &ApiServer) {
    for definition in bascule_crds::witness_definitions().unwrap() {
        server.kubectl(&["apply", "--server-side", "-f", "-"], &definition.json.to_string());
    }
    server.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "");
}
