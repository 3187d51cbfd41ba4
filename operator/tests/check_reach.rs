//! `bascule check` of what lies outside of the cluster: a real name server, and a real arbiter of three members.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

#[path = "../adapters/tests/arbiter/cluster.rs"]
mod arbiter;
mod live;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::live::{Cluster, Said, steady};

/// The secret of the key that the name server knows, and another one.
const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
const OTHER: &str = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb28=";

/// A Knot server with zone `shop.example.`; it ends with this value.
struct NameServer {
    address: String,
    child: Child,
    _dir: TempDir,
}

impl NameServer {
    /// `updates`: what the key may do.
    fn start(updates: &str) -> Self {
        let port = (0..100)
            .find_map(|_| {
                let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let port = tcp.local_addr().unwrap().port();
                UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
            })
            .unwrap();
        let dir = TempDir::new().unwrap();
        let d = dir.path().display();
        let mut conf = format!(
            "server:\n  rundir: {d}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
        );
        write!(conf, "database:\n  storage: {d}\nlog:\n  - target: stderr\n    any: info\n").unwrap();
        write!(conf, "key:\n  - id: bascule\n    algorithm: hmac-sha256\n    secret: {SECRET}\n").unwrap();
        write!(conf, "acl:\n  - id: own\n    key: bascule\n    {updates}\n").unwrap();
        write!(conf, "zone:\n  - domain: shop.example.\n    storage: {d}\n    file: zone\n    acl: own\n")
            .unwrap();
        let zone = "$ORIGIN shop.example.\n$TTL 60\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\nns1 A 127.0.0.1\nwww 5 A 192.0.2.10\n";
        fs::write(dir.path().join("knot.conf"), conf).unwrap();
        fs::write(dir.path().join("zone"), zone).unwrap();
        let mut child = Command::new("/usr/sbin/knotd")
            .args(["-c".as_ref(), dir.path().join("knot.conf").as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("knotd of the package knot is needed for this test");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(log.any(|line| line.contains("server started")), "knotd does not get ready");
        // It must never wait for a reader.
        std::thread::spawn(move || log.count());
        Self { address: format!("127.0.0.1:{port}"), child, _dir: dir }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Code, severity and what was found of everything about `word`.
fn about(said: &Said, word: &str) -> Vec<(String, String, String)> {
    let report = said.json();
    let text = |f: &Value, key: &str| f[key].as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap().clone();
    let all = all.iter().map(|f| (text(f, "code"), text(f, "severity"), text(f, "found")));
    all.filter(|(code, ..)| code.starts_with(word)).collect()
}

#[tokio::test]
async fn name_servers_and_the_arbiter_are_asked_where_they_can_be_reached() {
    let cluster = Cluster::start().await;
    cluster.write("shop", &steady(Timestamp::now()));
    let use_server = |server: &NameServer, secret: &str| {
        let patch = json!([
            { "op": "replace", "path": "/spec/traffic/0/dns/updateServers", "value": [server.address] },
            { "op": "replace", "path": "/spec/traffic/0/dns/verifyServers", "value": [server.address] },
        ]);
        cluster
            .server
            .kubectl(&["patch", "fop", "shop", "-n", "shop", "--type=json", "-p", &patch.to_string()], "");
        let key = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "dns-key", "namespace": "shop" },
            "stringData": { "name": "bascule.", "algorithm": "hmac-sha256", "secret": secret },
        });
        cluster.server.kubectl(&["delete", "secret", "dns-key", "-n", "shop", "--ignore-not-found"], "");
        cluster.server.kubectl(&["create", "-f", "-"], &key.to_string());
        about(&cluster.run(&["check", "-o", "json"]), "Dns")
    };

    // A name server that takes updates of the key, and one that knows no such secret, and one that lets the key change too little.
    let well = NameServer::start("action: update");
    let found = use_server(&well, SECRET);
    assert!(found.iter().all(|(_, severity, _)| severity == "info"), "{found:?}");
    let found = use_server(&well, OTHER);
    assert!(
        found.iter().any(|(code, severity, _)| code == "DnsKeyRefused" && severity == "error"),
        "{found:?}"
    );
    assert!(!found.iter().any(|(_, _, text)| text.contains(OTHER)), "{found:?}");
    let closed = NameServer::start("action: update\n    update-type: [A]");
    let found = use_server(&closed, SECRET);
    assert!(
        found.iter().any(|(code, severity, _)| code == "DnsUpdateRefused" && severity == "error"),
        "{found:?}"
    );

    // The arbiter: all of it, one member dead, two members dead, and a stranger's certificate.
    let mut arbiter = arbiter::Cluster::start().await;
    let endpoints: Vec<String> = (0..3).map(|i| arbiter.endpoint(i)).collect();
    let tls = arbiter.settings("operator", endpoints.clone()).tls;
    let directory = TempDir::new().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (ca, cert) = (file("ca.crt", &tls.ca), file("tls.crt", &tls.cert));
    let key = file("tls.key", tls.key.expose_secret());
    let ask = |more: &[&str]| {
        let endpoints = endpoints.join(",");
        let own = ["--arbiter-endpoints", &endpoints, "--arbiter-ca", &ca, "--arbiter-cert", &cert];
        cluster.run(&[&["check", "-o", "json"][..], &own, more].concat())
    };
    let with_key = ["--arbiter-key", key.as_str()];
    let said = ask(&with_key);
    assert_eq!(about(&said, "Arbiter"), [] as [(String, String, String); 0], "{said:?}");
    assert!(said.out.contains("3 members of the arbiter"), "{said:?}");
    arbiter.kill(2);
    // The dead one may have been the leader: until another is elected the living say that they see none.
    let mut found = about(&ask(&with_key), "Arbiter");
    for _ in 0..40 {
        if found.len() == 1 {
            break;
        }
        found = about(&ask(&with_key), "Arbiter");
    }
    assert_eq!(found.len(), 1, "two of three are enough: {found:?}");
    assert_eq!((found[0].0.as_str(), found[0].1.as_str()), ("ArbiterMember", "warning"), "{found:?}");
    arbiter.kill(1);
    let said = ask(&with_key);
    let found = about(&said, "ArbiterQuorum");
    assert!(said.code == 2 && found.len() == 1 && found[0].2 == "1 of 3 answer", "{said:?}");
    ask(&["--arbiter-key", "/nowhere.key"]).fails(&["--arbiter-key /nowhere.key cannot be read"]);
    ask(&[]).refuses(&["--arbiter-key <FILE>"]);
}
