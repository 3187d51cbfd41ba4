//! `bascule check` of what lies outside of the cluster: a real name server, and a real arbiter of three members.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bascule_adapters::arbiter::Claim;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::arbiter;
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

/// A way to `port` that takes so long in each direction.
fn slow_way(port: u16, each: Duration) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    let carry = move |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let mut bytes = [0; 16384];
            while let Ok(n) = from.read(&mut bytes) {
                std::thread::sleep(each);
                if n == 0 || to.write_all(&bytes[..n]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    };
    std::thread::spawn(move || {
        for here in listener.incoming().map_while(Result::ok) {
            let Ok(there) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            carry(here.try_clone().unwrap(), there.try_clone().unwrap());
            carry(there, here);
        }
    });
    own
}

#[tokio::test]
async fn before_an_installation_the_arbiter_the_names_in_it_and_the_name_servers_are_asked() {
    let cluster = Cluster::start().await;
    let arbiter = arbiter::Cluster::start().await;
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
    let ask_at = |endpoints: &[String], more: &[&str]| {
        let endpoints = endpoints.join(",");
        let own = ["--arbiter-endpoints", &endpoints, "--arbiter-ca", &ca, "--arbiter-cert", &cert];
        let own = [&own[..], &["--arbiter-key", &key, "--arbiter-election", "300ms"]].concat();
        cluster.run(&[&["check", "--pre", "-o", "json"][..], &own, more].concat())
    };
    let lyon = ["--site", "lyon=test"];

    // Three members that are near enough, and a name that nobody has; then this cluster has it, then another one.
    let said = ask_at(&endpoints, &[&lyon[..], &["--profile", "wan"]].concat());
    assert_eq!(about(&said, "Arbiter"), [] as [(String, String, String); 0], "{said:?}");
    assert!(said.out.contains("site name lyon: free at the arbiter"), "{said:?}");
    assert!(said.out.contains("the profile wan bears that"), "{said:?}");
    let member = arbiter.arbiter("operator", &[0, 1, 2]).await;
    let site = |name: &str| bascule_core::name::SiteName::try_from(name).unwrap();
    let uid =
        cluster.server.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"], "");
    assert_eq!(member.claim_site(&site("lyon"), &uid, arbiter::TQ).await, Claim::Ours);
    assert!(
        ask_at(&endpoints, &lyon).out.contains("site name lyon: this cluster has it at the arbiter already")
    );
    assert_eq!(member.claim_site(&site("paris"), "another-cluster", arbiter::TQ).await, Claim::Ours);
    let said = ask_at(&endpoints, &["--site", "paris=test"]);
    let found = about(&said, "SiteNameTaken");
    assert!(said.code == 2 && found.len() == 1 && found[0].2.contains("another-cluster"), "{said:?}");

    // Too few members, and one that is too far away for the profile.
    let said = ask_at(&endpoints[..2], &lyon);
    assert_eq!(about(&said, "ArbiterSize").len(), 1, "{said:?}");
    let port = endpoints[0].rsplit(':').next().unwrap().parse().unwrap();
    let far = format!("https://127.0.0.1:{}", slow_way(port, Duration::from_millis(40)));
    let with_far = [far, endpoints[1].clone(), endpoints[2].clone()];
    let said = ask_at(&with_far, &[&lyon[..], &["--profile", "region"]].concat());
    let found = about(&said, "ArbiterSlow");
    assert!(
        found.iter().any(|(_, severity, text)| severity == "warning" && text.contains("there and back")),
        "{said:?}"
    );
    let said = ask_at(&with_far, &[&lyon[..], &["--profile", "conservative"]].concat());
    assert_eq!(about(&said, "ArbiterSlow").len(), 0, "{said:?}");

    // With a policy the name servers are asked with the key that is there: the right one, another one, and none.
    let server = NameServer::start("action: update");
    let policy = fs::read_to_string(crate::live::repository().join("examples/shop.yaml")).unwrap();
    let servers = "[\"192.0.2.53:53\", \"198.51.100.53:53\"]";
    let policy = file("shop.yaml", policy.replace(servers, &format!("[\"{}\"]", server.address)).as_bytes());
    let with_key = |secret: &str| {
        let key = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "dns-key", "namespace": "shop" },
            "stringData": { "name": "bascule.", "algorithm": "hmac-sha256", "secret": secret },
        });
        cluster.server.kubectl(&["apply", "-f", "-"], &key.to_string());
        cluster.run(&[&["check", "--pre", "-o", "json", &policy][..], &lyon].concat())
    };
    let said = with_key(SECRET);
    assert!(about(&said, "Dns").iter().all(|(_, severity, _)| severity == "info"), "{said:?}");
    assert!(said.out.contains("lyon: DNS www.shop.example.: its servers"), "{said:?}");
    assert_eq!(
        about(&said, "StatefulSetMissing").len(),
        1,
        "what else the policy names is looked at: {said:?}"
    );
    assert_eq!(about(&said, "SiteUnknown").len(), 1, "there is no context for paris: {said:?}");
    let said = with_key(OTHER);
    assert!(about(&said, "DnsKeyRefused").iter().any(|(_, severity, _)| severity == "error"), "{said:?}");
    assert!(!said.out.contains(OTHER), "{said:?}");
    cluster.server.kubectl(&["delete", "secret", "dns-key", "-n", "shop"], "");
    let said = cluster.run(&[&["check", "--pre", "-o", "json", &policy][..], &lyon].concat());
    assert!(about(&said, "SecretMissing").iter().any(|(_, _, text)| text.contains("dns-key")), "{said:?}");
}
