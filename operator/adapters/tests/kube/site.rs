//! This site as the engine sees it: what is made of Secrets, and the pod of a database.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bascule_adapters::guards::Disks;
use bascule_adapters::kube::Kube;
use bascule_adapters::kube::ownership::Rehearsal;
use bascule_adapters::kube::workload::{WorkloadRef, rehearse_replicas};
use bascule_adapters::site::{LocalSite, Publisher};
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::Fact;
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::{Database, Dns, FenceClass, Instance, Policy, Traffic, WorkloadKind};
use bascule_core::timing::Profile;
use bascule_engine::ports::{Shown, Site};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::calls::{answering, plain};
use crate::place;

struct Nobody;

#[async_trait]
impl Publisher for Nobody {
    async fn publish(&self, _: Shown) -> Outcome {
        Outcome::Done
    }

    fn unwritten(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

fn main_db() -> ItemName {
    ItemName::try_from("main").unwrap()
}

fn policy(ns: &str, port: u16, dns: SocketAddr) -> Policy {
    let site = |name: &str| SiteName::try_from(name).unwrap();
    let instance = Instance {
        stateful_set: "main".try_into().unwrap(),
        host: "127.0.0.1".to_owned(),
        port,
        database: "postgres".to_owned(),
        secret: "role".try_into().unwrap(),
        replication_host: "127.0.0.1".to_owned(),
        replication_port: port,
        replication_secret: "role".try_into().unwrap(),
    };
    let ip = |s: &str| vec![s.parse().unwrap()];
    let dns = Dns {
        name: "www.shop.example.".to_owned(),
        zone: "shop.example.".to_owned(),
        ttl: Duration::from_secs(5),
        update_servers: vec![dns],
        verify_servers: vec![dns],
        tsig_secret: "tsig".try_into().unwrap(),
        addresses: [(site("paris"), ip("192.0.2.10")), (site("lyon"), ip("198.51.100.10"))].into(),
    };
    let database = Database { fence: FenceClass::Guard, instances: [(site("paris"), instance)].into() };
    Policy {
        databases: [(main_db(), database)].into(),
        traffic: [(main_db(), Traffic::Dns(dns))].into(),
        ..crate::policy::empty(PolicyKey::new(ns, "shop").unwrap())
    }
}

async fn secret(client: &Client, ns: &str, name: &str, data: &Value) {
    let object =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
    let api: Api<Secret> = Api::namespaced(client.clone(), ns);
    api.patch(name, &PatchParams::apply("team").force(), &Patch::Apply(&object)).await.unwrap();
}

/// Takes sessions as PostgreSQL does up to the role's name, and lets nobody in.
async fn roles() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let roles = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u32().await.unwrap();
            let mut startup = vec![0; length as usize - 4];
            stream.read_exact(&mut startup).await.unwrap();
            let words: Vec<_> = startup[4..].split(|b| *b == 0).map(String::from_utf8_lossy).collect();
            let user = words.iter().position(|w| w == "user").unwrap();
            roles.lock().unwrap().push(words[user + 1].clone().into_owned());
            let fields = b"SFATAL\0VFATAL\0C28P01\0Mno\0\0";
            stream.write_all(b"E").await.unwrap();
            stream.write_u32(u32::try_from(fields.len()).unwrap() + 4).await.unwrap();
            stream.write_all(fields).await.unwrap();
        }
    });
    (port, seen)
}

/// Hears questions and answers none; the last one is kept.
async fn questions() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let last = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&last);
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (n, _) = socket.recv_from(&mut buffer).await.unwrap();
            // Only signed ones carry a key's name; they are the longer ones.
            if buffer[..n].windows(11).any(|w| w == b"hmac-sha256") {
                *heard.lock().unwrap() = buffer[..n].to_vec();
            }
        }
    });
    (address, last)
}

fn local_site(kube: &Kube) -> LocalSite {
    LocalSite::new(
        "paris".try_into().unwrap(),
        kube.clone(),
        Profile::Wan.timing(),
        Disks::default(),
        Box::new(Nobody),
    )
}

#[tokio::test]
async fn a_changed_secret_leads_to_another_role_and_another_key_at_the_next_look() {
    let ns = "site-secrets";
    let (kube, client, _) = place(ns).await;
    let ((port, roles), (dns, question)) = (roles().await, questions().await);
    let (site, policy) = (local_site(&kube), policy(ns, port, dns));
    let missing = site.database(&policy, &main_db(), true).await;
    let missing = &missing.value().unwrap()[0];
    assert!(missing.found.contains("Secret site-secrets/role does not exist"), "{missing:?}");
    assert_eq!(missing.answer, Answer::No, "{missing:?}");
    for (role, key) in [("first", "key-one"), ("first", "key-one"), ("second", "key-two")] {
        secret(&client, ns, "role", &json!({ "username": role, "password": "x" })).await;
        let tsig = json!({ "name": key, "algorithm": "hmac-sha256", "secret": "c2VjcmV0c2VjcmV0" });
        secret(&client, ns, "tsig", &tsig).await;
        let main_db = main_db();
        let (gates, _) =
            tokio::join!(site.database(&policy, &main_db, true), site.traffic(&policy, &main_db));
        let gates = gates.value().unwrap().clone();
        assert!(gates.iter().any(|g| g.name == "database/main/ConnectPassword"), "{gates:?}");
        assert_eq!(roles.lock().unwrap().last().map(String::as_str), Some(role));
        let heard = question.lock().unwrap().clone();
        assert!(heard.windows(key.len()).any(|w| w == key.as_bytes()), "{key} signed no question");
    }
}

#[tokio::test]
async fn a_secret_that_nobody_could_ask_for_is_unknown_and_one_that_was_refused_is_not() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let (down, _) = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let (busy, _) = answering("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n").await;
    let (forbids, _) = answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let told =
        [(nobody, Answer::Unknown), (down, Answer::Unknown), (busy, Answer::Unknown), (forbids, Answer::No)];
    for (server, answer) in told {
        let site = local_site(&plain(server));
        let policy = policy("site-away", 9, "127.0.0.1:9".parse().unwrap());
        let main_db = main_db();
        let (database, traffic) =
            tokio::join!(site.database(&policy, &main_db, true), site.traffic(&policy, &main_db));
        let of = |found: &Fact<Vec<Gate>>, item: &str| {
            let gate = found.value().unwrap().iter().find(|g| g.name == item).unwrap();
            assert!(gate.found.contains("ecretRef: "), "{gate:?}");
            gate.answer
        };
        assert_eq!(of(&database, "database/main"), answer, "{database:?}");
        assert_eq!(of(&traffic.blockers, "traffic/main"), answer, "{traffic:?}");
    }
}

#[tokio::test]
async fn a_pod_of_another_operator_or_whose_guard_could_not_end_its_server_blocks_and_a_liveness_probe_is_advised_against()
 {
    let ns = "site-pod";
    let (kube, client, _) = place(ns).await;
    let (port, _) = roles().await;
    secret(&client, ns, "role", &json!({ "username": "bascule", "password": "x" })).await;
    let (site, policy) = (local_site(&kube), policy(ns, port, "127.0.0.1:9".parse().unwrap()));
    let about_pod = async || -> Vec<Gate> {
        let found = site.database(&policy, &main_db(), false).await;
        let mut gates = found.value().unwrap().clone();
        gates.retain(|g| g.name.starts_with("database/main/pod"));
        gates
    };
    assert_eq!(about_pod().await, [], "a pod that is not there has no faults");
    let pod = json!({
        "metadata": { "name": "main-0", "labels": { "cnpg.io/cluster": "main" } },
        "spec": { "nodeName": "gone", "shareProcessNamespace": true, "containers": [
            { "name": "postgres", "image": "none", "livenessProbe": { "exec": { "command": ["pg_isready"] } } },
        ] },
    });
    let api: Api<Pod> = Api::namespaced(client, ns);
    api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let gates = about_pod().await;
    let told: Vec<_> = gates.iter().map(|g| (g.name.as_str(), g.answer)).collect();
    assert_eq!(
        told,
        [
            ("database/main/pod/anotherOperator", Answer::No),
            ("database/main/pod/sharedProcessNamespace", Answer::No),
            ("database/main/pod/livenessProbe", Answer::Yes),
            ("database/main/pod/node", Answer::Yes),
        ]
    );
    assert!(gates[0].found.contains("CloudNativePG"), "{gates:?}");
    assert!(gates[1].found.contains("Pod site-pod/main-0 has shareProcessNamespace: true"), "{gates:?}");
    assert!(gates[2].found.contains("container postgres"), "{gates:?}");
}

#[tokio::test]
async fn what_a_busy_api_server_did_not_say_is_unknown_and_no_refusal() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-type: application/json\r\ncontent-length: 133\r\n\r\n\
        {\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"Too many requests, try later\",\"reason\":\"TooManyRequests\",\"code\":429}";
    let ill = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    for answer in [busy, ill] {
        let kube = plain(answering(answer).await.0);
        let (site, policy) = (local_site(&kube), policy("busy", 9, "127.0.0.1:9".parse().unwrap()));
        let database = site.database(&policy, &main_db(), true).await;
        let traffic = site.traffic(&policy, &main_db()).await;
        for found in [&database, &traffic.blockers] {
            let gates = found.value().unwrap();
            let told = gates.iter().find(|g| g.found.contains("ecretRef")).unwrap();
            assert_eq!(told.answer, Answer::Unknown, "{told:?}");
            assert!(gates.iter().all(|g| g.answer != Answer::No), "{gates:?}");
        }
        let web = WorkloadRef::new("busy", WorkloadKind::Deployment, "web");
        let rehearsal = rehearse_replicas(&kube, &web, 2).await;
        assert!(matches!(rehearsal, Rehearsal::Unknown { .. }), "{rehearsal:?}");
    }
}
