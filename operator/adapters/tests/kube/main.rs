//! The Kubernetes adapter against a real API server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../apiserver/mod.rs"]
mod apiserver;

mod annotations;
mod calls;
mod engine_port;
mod environment;
mod flags;
mod from_git;
mod keeping;
mod pods;
mod policy;
mod rights;
mod routes;
mod site;
mod telling;
mod verifying;
mod watching;
mod workloads;

use std::time::Duration;

use bascule_adapters::kube::{Credentials, Kube};

use apiserver::ApiServer;

/// What every test would fail at rather than hang.
const LONG: Duration = Duration::from_secs(30);

async fn connect(server: &ApiServer, namespace: &str) -> Kube {
    let credentials = Credentials::Kubeconfig { path: server.kubeconfig(), context: None };
    Kube::connect(&credentials, Some(namespace)).await.unwrap()
}

/// A handle on the shared server, a namespace of its own, and a client for setting up and for looking.
async fn place(namespace: &str) -> (Kube, kube::Client, &'static ApiServer) {
    let server = ApiServer::shared().await;
    server.namespace(namespace).await;
    (connect(server, namespace).await, server.client().await, server)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("nothing happened in time")
}
