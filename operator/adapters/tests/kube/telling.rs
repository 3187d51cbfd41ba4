//! Read-only flags that each pod is told by HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bascule_adapters::kube::flag::Position;
use bascule_adapters::kube::port::Workloads;
use bascule_adapters::kube::tell::tell;
use bascule_core::observation::FlagValue;
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step;
use bascule_core::policy::{CallMethod, FlagCall, FlagCalls, FlagPlace, Policy, ReadOnlyFlag, VerifyProbe};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::engine_port::{web, with_flag};
use crate::place;
use crate::verifying::pod;
use crate::workloads::{applied_by, manifest};

fn call(method: CallMethod, body: &str, status: Option<u16>) -> FlagCall {
    FlagCall {
        method,
        path: "/read-only".to_owned(),
        body: body.to_owned(),
        content_type: "application/json".to_owned(),
        status,
    }
}

fn calls(port: u16) -> FlagCalls {
    FlagCalls {
        port: Some(port),
        read_only: call(CallMethod::Put, "{\"on\": true}", Some(204)),
        read_write: call(CallMethod::Delete, "", None),
    }
}

fn policy(ns: &str, port: u16) -> Policy {
    let verify =
        VerifyProbe { path: "/mode".to_owned(), port: Some(port), expect_body: "read-only".to_owned() };
    with_flag(ns, ReadOnlyFlag { place: FlagPlace::Calls(calls(port)), verify: Some(verify) })
}

/// An application that says what it was told, each instance by itself at its own address.
#[derive(Clone, Default)]
struct Shop(Arc<Mutex<BTreeMap<String, bool>>>);

impl Shop {
    async fn start(&self, ip: &'static str, port: u16) -> u16 {
        let listener = TcpListener::bind((ip, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        self.0.lock().unwrap().insert(ip.to_owned(), false);
        let modes = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let asked = whole(&mut stream).await;
                let answer = answer(&asked, modes.lock().unwrap().get_mut(ip).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }
}

/// An application that answers whatever it is told with the same words, or with nothing at all.
async fn always(ip: &str, port: u16, response: Option<String>) {
    let listener = TcpListener::bind((ip, port)).await.unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(response) = &response else {
                silent.push(stream);
                continue;
            };
            whole(&mut stream).await;
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
}

/// A request with its body: the head says how long that is.
async fn whole(stream: &mut tokio::net::TcpStream) -> String {
    let mut asked = Vec::new();
    loop {
        let mut part = [0; 1024];
        let n = stream.read(&mut part).await.unwrap();
        asked.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&asked).into_owned();
        let length = |head: &str| {
            let line = head.lines().find_map(|l| l.strip_prefix("content-length: ").map(str::to_owned));
            line.map_or(0, |n| n.parse::<usize>().unwrap())
        };
        if n == 0 || text.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= length(head)) {
            return text;
        }
    }
}

fn answer(asked: &str, read_only: &mut bool) -> String {
    let line = asked.lines().next().unwrap();
    let (status, body) = match line {
        "GET /mode HTTP/1.1" => ("200 OK", if *read_only { "read-only" } else { "read-write" }),
        "PUT /read-only HTTP/1.1" => {
            assert!(asked.contains("content-type: application/json\r\n"), "{asked}");
            assert!(asked.ends_with("\r\n\r\n{\"on\": true}"), "{asked}");
            *read_only = true;
            return "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
        }
        "DELETE /read-only HTTP/1.1" => {
            *read_only = false;
            ("202 Accepted", "")
        }
        other => panic!("{other}"),
    };
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn gone(client: &Client, ns: &str, name: &str) {
    let api: Api<Pod> = Api::namespaced(client.clone(), ns);
    api.delete(name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
        .await
        .unwrap();
}

#[tokio::test]
async fn every_pod_is_told_and_asked_also_one_that_comes_later_and_told_again_when_it_is_undone() {
    let ns = "tell-all";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "team", ns, &manifest("Deployment", ns, "web", None)).await;
    let shop = Shop::default();
    let port = shop.start("127.0.13.1", 0).await;
    let (site, policy) = (Workloads::new(kube), policy(ns, port));
    let flag = async || site.look(&policy, &web()).await.flag.value().cloned();
    let perform = async |on| site.perform(&policy, &Step::SetReadOnly { workload: web(), on }).await.unwrap();

    assert_eq!(flag().await, Some(FlagValue::NoPods));
    assert_eq!(perform(true).await, Outcome::Done, "nobody is there to be told");
    shop.start("127.0.13.2", port).await;
    for (name, ip) in [("a", "127.0.13.1"), ("b", "127.0.13.2")] {
        pod(&client, ns, name, Some(ip), 1, "Running").await;
    }
    assert_eq!(flag().await, Some(FlagValue::ReadWrite));
    assert_eq!(perform(true).await, Outcome::Done);
    let seen = site.look(&policy, &web()).await;
    assert_eq!(seen.flag.value(), Some(&FlagValue::ReadOnly));
    let asked = seen.effective.value().unwrap();
    assert_eq!((asked.read_only, asked.pods, asked.unknown), (2, 2, 0));
    assert_eq!(seen.blockers.value().map(Vec::len), Some(0), "{seen:?}");

    shop.start("127.0.13.3", port).await;
    pod(&client, ns, "c-later", Some("127.0.13.3"), 1, "Running").await;
    let seen = site.look(&policy, &web()).await;
    assert_eq!(seen.flag.value(), Some(&FlagValue::Other("2 of 3 pods are read-only".to_owned())));
    assert!(seen.effective.value().unwrap().say_otherwise(true), "it is told because it says otherwise");
    assert_eq!(perform(true).await, Outcome::Done);
    assert_eq!(flag().await, Some(FlagValue::ReadOnly));

    assert_eq!(perform(false).await, Outcome::Done);
    assert_eq!(flag().await, Some(FlagValue::ReadWrite));
    assert!(shop.0.lock().unwrap().values().all(|read_only| !read_only));
}

#[tokio::test]
async fn it_is_done_only_when_every_pod_has_answered_as_expected_and_who_did_not_is_named() {
    let ns = "tell-some";
    let (kube, client, _) = place(ns).await;
    applied_by(&client, "team", ns, &manifest("Deployment", ns, "web", None)).await;
    let shop = Shop::default();
    let port = shop.start("127.0.14.1", 0).await;
    let answers_500 = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops".to_owned();
    let answers_200 = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned();
    for (ip, response) in
        [("127.0.14.2", Some(answers_500)), ("127.0.14.3", Some(answers_200)), ("127.0.14.4", None)]
    {
        always(ip, port, response).await;
    }
    for (name, ip) in [
        ("a-takes-it", "127.0.14.1"),
        ("b-fails", "127.0.14.2"),
        ("c-other-status", "127.0.14.3"),
        ("d-hangs", "127.0.14.4"),
        ("e-refuses", "127.0.14.5"),
    ] {
        pod(&client, ns, name, Some(ip), 1, "Running").await;
    }
    let started = Instant::now();
    let limit = Duration::from_secs(1);
    let told = tell(&kube, ns, "app=web", &calls(port), Position::ReadOnly, limit).await.unwrap();
    let outcome = |name: &str| &told.iter().find(|t| t.pod == name).unwrap().outcome;
    assert_eq!(outcome("a-takes-it"), &Outcome::Done);
    for (name, words) in [
        ("b-fails", "answered 500 \"oops\", expected 204"),
        ("c-other-status", "answered 200 \"\", expected 204"),
        ("d-hangs", "did not answer within 1s"),
    ] {
        assert!(matches!(outcome(name), Outcome::Unknown { reason } if reason.contains(words)), "{told:?}");
    }
    let words = "no connection";
    assert!(
        matches!(outcome("e-refuses"), Outcome::Refused { reason } if reason.contains(words)),
        "{told:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let (site, policy) = (Workloads::new(kube), policy(ns, port));
    let step = Step::SetReadOnly { workload: web(), on: true };
    let all = site.perform(&policy, &step).await.unwrap();
    let words = "4 of 5 pods were not told: b-fails: ";
    assert!(matches!(&all, Outcome::Unknown { reason } if reason.contains(words)), "{all:?}");
    assert!(matches!(&all, Outcome::Unknown { reason } if reason.ends_with("; and 1 more")), "{all:?}");
    for name in ["a-takes-it", "b-fails", "c-other-status", "d-hangs"] {
        gone(&client, ns, name).await;
    }
    let none = site.perform(&policy, &step).await.unwrap();
    assert!(matches!(&none, Outcome::Refused { reason } if reason.contains("1 of 1 pods")), "{none:?}");
    let flag = site.look(&policy, &web()).await.flag;
    assert_eq!(flag.value(), Some(&FlagValue::Other("none of 1 pods answered".to_owned())), "told again");
}
