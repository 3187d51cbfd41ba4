//! Real Knot servers for the tests: one directory and one loopback port each, gone when dropped.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bascule_core::name::SiteName;
use secrecy::SecretString;
use tempfile::TempDir;

use super::{DnsTarget, DnsTargetSpec, Mark, SiteAddresses, TsigKey};

/// The secret of the key that the servers know.
pub(super) const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
/// A secret that they do not know.
pub(super) const OTHER_SECRET: &str = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb28=";

/// A port that is free at `ip` for UDP and TCP.
pub(super) fn free_port(ip: Ipv4Addr) -> u16 {
    for _ in 0..100 {
        let tcp = std::net::TcpListener::bind((ip, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        if std::net::UdpSocket::bind((ip, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on {ip}");
}

/// What a server is for.
pub(super) enum Role<'a> {
    /// It has the zone and takes updates; it notifies these.
    Primary { notify: &'a [SocketAddr] },
    /// It copies the zone from there. Whether it forwards updates is up to `forwards`.
    Secondary { of: SocketAddr, forwards: bool },
    /// It has the zone, but lets nobody update it.
    Closed,
    /// It lets the key change only A records.
    OnlyA,
}

/// A running knotd.
pub(super) struct Knot {
    pub(super) address: SocketAddr,
    child: Child,
    dir: TempDir,
}

impl Knot {
    /// Starts a primary of zone `shop.example.` with `records` in it.
    pub(super) fn primary(records: &str) -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
        Self::start(at, &Role::Primary { notify: &[] }, records)
    }

    pub(super) fn start(address: SocketAddr, role: &Role<'_>, records: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let at = |a: &SocketAddr| format!("{}@{}", a.ip(), a.port());
        let mut remotes = String::new();
        let mut zone = String::from(
            "  - domain: shop.example.\n    file: zone\n    zonefile-sync: -1\n    semantic-checks: on\n",
        );
        match role {
            Role::Primary { notify } => {
                for (i, secondary) in notify.iter().enumerate() {
                    write!(remotes, "  - id: s{i}\n    address: {}\n", at(secondary)).unwrap();
                }
                zone.push_str("    acl: [update, transfer]\n");
                if !notify.is_empty() {
                    let ids: Vec<String> = (0..notify.len()).map(|i| format!("s{i}")).collect();
                    writeln!(zone, "    notify: [{}]", ids.join(", ")).unwrap();
                }
            }
            Role::Secondary { of, forwards } => {
                write!(remotes, "  - id: primary\n    address: {}\n    key: k\n", at(of)).unwrap();
                let acl = if *forwards { "[update, notify]" } else { "[notify]" };
                write!(zone, "    master: primary\n    acl: {acl}\n").unwrap();
            }
            Role::Closed => zone.push_str("    acl: [transfer]\n"),
            Role::OnlyA => zone.push_str("    acl: [only-a]\n"),
        }
        let remote = if remotes.is_empty() { String::new() } else { format!("remote:\n{remotes}") };
        let conf = format!(
            "server:\n  rundir: {d}\n  listen: {listen}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {d}\n\
             log:\n  - target: stderr\n    any: info\n\
             key:\n  - id: k\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
             {remote}\
             acl:\n  - id: update\n    key: k\n    action: update\n\
             \x20 - id: only-a\n    key: k\n    action: update\n    update-type: [A]\n\
             \x20 - id: transfer\n    key: k\n    action: transfer\n\
             \x20 - id: notify\n    address: 127.0.0.0/8\n    action: notify\n\
             template:\n  - id: default\n    storage: {d}\n\
             zone:\n{zone}",
            d = dir.path().display(),
            listen = at(&address),
        );
        let file = format!(
            "$ORIGIN shop.example.\n$TTL 60\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\nns1 A 127.0.0.1\n{records}\n"
        );
        std::fs::write(dir.path().join("knot.conf"), conf).unwrap();
        if !matches!(role, Role::Secondary { .. }) {
            std::fs::write(dir.path().join("zone"), file).unwrap();
        }
        let (child, lines) = launch(dir.path());
        // From here on the server ends with the value, also when the test fails below.
        let knot = Self { address, child, dir };
        // A secondary is ready when it has copied the zone.
        let ready = match role {
            Role::Secondary { .. } => "zone updated",
            _ => "server started",
        };
        await_line(&lines, ready);
        knot
    }

    /// Starts a killed server again, with what it had stored.
    pub(super) fn start_again(&mut self) {
        let (child, lines) = launch(self.dir.path());
        self.child = child;
        await_line(&lines, "server started");
    }

    /// Runs one command of the server's own control tool.
    pub(super) fn control(&self, args: &[&str]) {
        let socket = self.dir.path().join("knot.sock");
        let status = Command::new("knotc").arg("-s").arg(socket).args(args).stdout(Stdio::null()).status();
        assert!(status.unwrap().success(), "knotc {args:?}");
    }

    /// Stops the server for good.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Starts the server of this directory; its log comes line by line.
fn launch(dir: &Path) -> (Child, Receiver<String>) {
    let mut child = Command::new("/usr/sbin/knotd")
        .args(["-c".as_ref(), dir.join("knot.conf").as_os_str()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("knotd of the package knot is needed for this test");
    let log = BufReader::new(child.stderr.take().unwrap());
    let (send, lines) = std::sync::mpsc::channel();
    // The log is read to its end, so that the server never waits for a reader.
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    (child, lines)
}

fn await_line(lines: &Receiver<String>, text: &str) {
    let (mut seen, deadline) = (String::new(), Instant::now() + Duration::from_secs(30));
    while !seen.lines().last().is_some_and(|l| l.contains(text)) {
        let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let Ok(line) = line else { panic!("knotd does not get ready:\n{seen}") };
        seen.push_str(&line);
        seen.push('\n');
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        // It may have been stopped by the test already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A site's name.
pub(super) fn site(name: &str) -> SiteName {
    SiteName::try_from(name).unwrap()
}

/// A mark.
pub(super) fn mark(epoch: u64, serial: u64, at: &str) -> Mark {
    Mark { epoch, serial, site: site(at) }
}

/// A key with this secret.
pub(super) fn key(secret: &str) -> TsigKey {
    TsigKey::new("k", "hmac-sha256", &SecretString::from(secret)).unwrap()
}

/// `www.shop.example.` with one IPv4 and one IPv6 address per site.
pub(super) fn spec(update: &[SocketAddr], verify: &[SocketAddr]) -> DnsTargetSpec {
    let ip = |s: &str| s.parse::<IpAddr>().unwrap();
    DnsTargetSpec {
        name: "www.shop.example.".to_owned(),
        zone: "shop.example.".to_owned(),
        ttl: Duration::from_secs(5),
        update_servers: update.to_vec(),
        verify_servers: verify.to_vec(),
        tsig: key(SECRET),
        addresses: vec![
            SiteAddresses::new(site("paris"), [ip("192.0.2.10"), ip("2001:db8::10")]).unwrap(),
            SiteAddresses::new(site("lyon"), [ip("198.51.100.10"), ip("2001:db8::20")]).unwrap(),
        ],
    }
}

/// [`spec`], checked.
pub(super) fn target(update: &[SocketAddr], verify: &[SocketAddr]) -> DnsTarget {
    DnsTarget::new(spec(update, verify)).unwrap()
}
