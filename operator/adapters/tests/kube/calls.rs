//! One call, one answer, one deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bascule_adapters::kube::workload::{WorkloadRef, set_replicas};
use bascule_adapters::kube::{ConnectError, Credentials, Failure, Kube, cluster, secret};
use bascule_core::outcome::Outcome;
use bascule_core::policy::WorkloadKind;
use k8s_openapi::api::core::v1::Secret;
use kube::Config;
use kube::api::{Api, PostParams};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::apiserver::ApiServer;
use crate::workloads::{applied_by, manifest};
use crate::{connect, place};

/// A server that answers every request with the same bytes, and counts the requests.
pub(crate) async fn answering(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    count.fetch_add(
                        String::from_utf8_lossy(&buffer[..n]).matches(" HTTP/1.1\r\n").count(),
                        Ordering::SeqCst,
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, asked)
}

pub(crate) fn plain(address: SocketAddr) -> Kube {
    let config = Config::new(format!("http://{address}").parse().unwrap());
    Kube::from_config(config, Some("bascule")).unwrap()
}

#[tokio::test]
async fn a_server_that_is_unavailable_is_asked_exactly_once() {
    let (address, asked) =
        answering("HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n").await;
    let failure = cluster::uid(&plain(address)).await.unwrap_err();
    assert!(matches!(failure, Failure::Unknown { .. }), "{failure}");
    // Longer than the client's own first retries would take.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_was_sent_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = cluster::uid(&plain(free)).await.unwrap_err();
    assert!(matches!(failure, Failure::NotSent { .. }), "{failure}");
    assert!(matches!(Outcome::from(failure), Outcome::Refused { .. }));
}

#[tokio::test]
async fn a_frozen_api_server_costs_one_deadline_and_the_outcome_is_unknown() {
    let server = ApiServer::start().await;
    let ns = server.namespace("frozen").await;
    applied_by(&server.client().await, "t", &ns, &manifest("Deployment", &ns, "web", None)).await;
    let kube = connect(&server, &ns).await.within(Duration::from_secs(1));
    let web = WorkloadRef::new(&ns, WorkloadKind::Deployment, "web");
    assert_eq!(set_replicas(&kube, &web, 2).await, Outcome::Done);
    server.freeze();
    let started = Instant::now();
    let outcome = set_replicas(&kube, &web, 3).await;
    let took = started.elapsed();
    server.thaw();
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(set_replicas(&kube.within(crate::LONG), &web, 4).await, Outcome::Done, "it works again");
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() {
    let credentials = Credentials::Kubeconfig { path: "/does/not/exist".into(), context: None };
    let error = Kube::connect(&credentials, None).await.unwrap_err();
    assert!(matches!(error, ConnectError::Kubeconfig { .. }));
    assert!(error.to_string().contains("/does/not/exist"), "{error}");
}

#[tokio::test]
async fn the_cluster_has_an_identity_and_says_that_it_works() {
    let (kube, _, _) = place("identity").await;
    let uid = cluster::uid(&kube).await.unwrap();
    assert_eq!(uid.len(), 36, "{uid}");
    assert_eq!(cluster::uid(&kube).await.unwrap(), uid);
    assert!(cluster::health(&kube).await.unwrap().version.starts_with('v'));
}

#[tokio::test]
async fn a_kind_that_is_not_installed_is_not_an_object_that_is_missing() {
    use bascule_adapters::kube::apply::{Kind, Origin, owned};

    let server = ApiServer::start().await;
    let kube = connect(&server, "default").await;
    let origin = Origin { namespace: "a".into(), name: "b".into(), revision: "c".into() };
    let failure = owned(&kube, Kind::Move, &origin).await.unwrap_err();
    assert!(matches!(failure, Failure::Refused { code: 404, .. }), "{failure:?}");
}

#[tokio::test]
async fn a_secret_is_read_by_key_and_what_is_missing_is_named() {
    let ns = "secrets";
    let (kube, client, _) = place(ns).await;
    let missing = secret::read(&kube, ns, "db", &["username", "password"]).await.unwrap_err().to_string();
    assert_eq!(missing, "Secret secrets/db does not exist; create it with the keys username, password");

    let object = json!({
        "metadata": { "name": "db" },
        "stringData": { "username": "bascule", "password": "geheim\n", "empty": "" },
    });
    let api: Api<Secret> = Api::namespaced(client, ns);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let found = secret::read(&kube, ns, "db", &["username", "password"]).await.unwrap();
    assert_eq!(found.text("password").unwrap().expose_secret(), "geheim", "without the line end");
    assert!(!format!("{found:?}").contains("geheim"));

    let missing = secret::read(&kube, ns, "db", &["token"]).await.unwrap_err().to_string();
    assert_eq!(missing, "Secret secrets/db has no key \"token\"; it has empty, password, username");
    let empty = secret::read(&kube, ns, "db", &["empty"]).await.unwrap_err().to_string();
    assert!(empty.contains("\"empty\" is empty"), "{empty}");
}
