//! Asking every pod.

use std::time::{Duration, Instant};

use bascule_adapters::kube::verify::{Answer, ask};
use bascule_core::policy::VerifyProbe;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::place;

/// An HTTP server at `ip` that answers every request with `response`, or with nothing at all.
async fn serve(ip: &str, port: u16, response: Option<String>) -> u16 {
    let listener = TcpListener::bind((ip, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(response) = &response else {
                silent.push(stream);
                continue;
            };
            let mut request = [0; 1024];
            let n = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            assert!(request.starts_with("GET /mode HTTP/1.1\r\n"), "{request}");
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
    port
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub(crate) async fn pod(client: &Client, ns: &str, name: &str, ip: Option<&str>, port: u16, phase: &str) {
    let api: Api<Pod> = Api::namespaced(client.clone(), ns);
    let pod = json!({
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": "none", "ports": [{ "containerPort": port }] }] },
    });
    api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let ips: Vec<_> = ip.iter().map(|ip| json!({ "ip": ip })).collect();
    let status = json!({ "status": { "phase": phase, "podIP": ip, "podIPs": ips } });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

fn probe(port: Option<u16>) -> VerifyProbe {
    VerifyProbe { path: "/mode".to_owned(), port, expect_body: "read-only".to_owned() }
}

#[tokio::test]
async fn every_running_pod_is_asked_at_its_own_address_and_judged_by_itself() {
    let ns = "verify-all";
    let (kube, client, _) = place(ns).await;
    let port = serve("127.0.11.1", 0, Some(http("200 OK", "read-only\n"))).await;
    for (ip, response) in [
        ("127.0.11.2", Some(http("200 OK", "read-write"))),
        ("127.0.11.3", Some(http("302 Found", "read-only"))),
        ("127.0.11.4", Some(http("200 OK", &"x".repeat(5000)))),
        ("127.0.11.5", None),
        ("127.0.11.7", Some(http("503 Service Unavailable", "read-only"))),
        ("127.0.11.8", Some(http("203 Non-Authoritative Information", "read-only"))),
    ] {
        serve(ip, port, response).await;
    }
    for (name, ip) in [
        ("a-seen", Some("127.0.11.1")),
        ("b-writes", Some("127.0.11.2")),
        ("c-redirects", Some("127.0.11.3")),
        ("d-talks", Some("127.0.11.4")),
        ("e-hangs", Some("127.0.11.5")),
        ("f-refuses", Some("127.0.11.6")),
        ("g-nowhere", None),
        ("i-fails", Some("127.0.11.7")),
        ("j-relays", Some("127.0.11.8")),
    ] {
        pod(&client, ns, name, ip, port, "Running").await;
    }
    pod(&client, ns, "h-finished", Some("127.0.11.1"), port, "Succeeded").await;

    let started = Instant::now();
    let answers = ask(&kube, ns, "app=web", &probe(None), Duration::from_secs(1)).await.unwrap();
    let told = |pod: &str| &answers.pods.iter().find(|p| p.pod == pod).unwrap().answer;
    assert_eq!(told("a-seen"), &Answer::Seen);
    assert_eq!(told("b-writes"), &Answer::NotYet { found: "200 \"read-write\"".to_owned() });
    for (pod, why) in [
        ("c-redirects", "302"),
        ("i-fails", "503"),
        ("j-relays", "203"),
        ("d-talks", "4096"),
        ("e-hangs", "within"),
        ("f-refuses", "no connection"),
        ("g-nowhere", "no address"),
    ] {
        assert!(matches!(told(pod), Answer::Unknown { reason } if reason.contains(why)), "{:?}", told(pod));
    }
    assert_eq!((answers.pods.len(), answers.seen(), answers.unknown()), (9, 1, 7));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn many_pods_are_asked_at_the_same_time_on_the_port_that_is_named() {
    let ns = "verify-many";
    let (kube, client, _) = place(ns).await;
    let port = serve("127.0.12.1", 0, None).await;
    for n in 0..20 {
        pod(&client, ns, &format!("web-{n}"), Some("127.0.12.1"), 1, "Running").await;
    }
    let started = Instant::now();
    let answers = ask(&kube, ns, "app=web", &probe(Some(port)), Duration::from_secs(1)).await.unwrap();
    assert_eq!(answers.unknown(), 20);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_workload_without_running_pods_has_no_answers() {
    let ns = "verify-none";
    let (kube, _, _) = place(ns).await;
    let answers = ask(&kube, ns, "app=web", &probe(None), Duration::from_secs(1)).await.unwrap();
    assert!(answers.pods.is_empty());
}
