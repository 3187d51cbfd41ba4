//! The peer: Patroni from Debian in the sandbox's own places, with a data node in each site and a third vote at the third
//! place. It has members of etcd of its own, for the arbiter's know their users by certificates, which Patroni cannot show
//! to etcd's gateway; they are of the same version and timing, and without TLS, which spares Patroni some work.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::by_hand::HBA;
use super::client::{Before, Change, Seen, back, moved, writes, writes_through};
use super::proxy::{self, Listed};
use super::series::{Act, System};
use super::sql;
use crate::command::{SHORT, finish};
use crate::process::Recorded;
use crate::shop::SETTINGS;
use crate::waiting::until;
use crate::world::cgroup::Cgroups;
use crate::world::guest::GUEST_HOME;
use crate::world::{ArbiterTiming, Place, World};

const PORT: u16 = 5532;
const REST_PORT: u16 = 8008;
/// Where the proxy takes sessions for it.
const PROXY_PORT: u16 = 5602;
const CLIENT_PORT: u16 = 2679;
const PEER_PORT: u16 = 2680;
const NAME: &str = "patroni";
const ETCD: &str = "patroni-etcd";
const USER: &str = "postgres";
const SCOPE: &str = "bench";

/// How long its first start may take.
const BOOTSTRAP: Duration = Duration::from_mins(2);
/// How long it may take to be steady again: with its defaults a node is looked at every ten seconds.
const STEADY: Duration = Duration::from_mins(3);
/// How long its API may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a switchover that it was asked for may take until it says so; nothing waits for that.
const SWITCHOVER: Duration = Duration::from_mins(2);

/// The running peer.
pub(super) struct Patroni<'a> {
    world: &'a World,
    timing: ArbiterTiming,
}

/// ttl, `loop_wait` and `retry_timeout` of a configuration, in seconds.
fn settings(system: System) -> Result<(u64, u64, u64)> {
    match system {
        System::Patroni => Ok((30, 10, 10)),
        System::PatroniTuned => Ok((20, 1, 3)),
        System::Bascule | System::BasculeRegion | System::BasculeWan | System::ByHand => {
            bail!("{system:?} is not Patroni")
        }
    }
}

impl<'a> Patroni<'a> {
    /// Starts all of it; paris leads.
    pub(super) async fn start(world: &'a World) -> Result<Self> {
        let peer = Self { world, timing: ArbiterTiming::default() };
        for place in Place::ALL {
            peer.start_etcd(place)?;
        }
        until("Patroni's etcd", BOOTSTRAP, || async {
            tokio::task::block_in_place(|| peer.etcdctl(&["endpoint", "health"])).map(|_| ())
        })
        .await?;
        peer.start_node(Place::Paris)?;
        let leads = || async {
            let address = Place::Paris.address();
            let leader = rest(Place::Paris, "GET", "/patroni", None).await?;
            ensure!(leader["role"] == "master", "paris says {leader}");
            sql::superuser(address, PORT, "postgres").await.map(|_| ())
        };
        until("Patroni's first node", BOOTSTRAP, leads).await?;
        sql::make_application(Place::Paris.address(), PORT).await?;
        peer.start_node(Place::Lyon)?;
        peer.steady().await?;
        Ok(peer)
    }

    fn start_etcd(&self, place: Place) -> Result<()> {
        let folder = self.world.run().place(place).join("guest").join(ETCD);
        fs::create_dir_all(&folder)?;
        let url = |place: Place, port: u16| format!("http://{}:{port}", place.address());
        let members = Place::ALL.map(|p| format!("{p}={}", url(p, PEER_PORT))).join(",");
        let flag = |name: &str, value: String| format!("--{name}={value}");
        self.world.start_guest(
            place,
            ETCD,
            &[
                self.world.tools().server("etcd").display().to_string(),
                flag("name", place.to_string()),
                flag("data-dir", folder.join("data").display().to_string()),
                flag("initial-cluster", members),
                flag("initial-cluster-token", "bascule-peer".to_owned()),
                flag("initial-advertise-peer-urls", url(place, PEER_PORT)),
                flag("listen-peer-urls", url(place, PEER_PORT)),
                flag("listen-client-urls", url(place, CLIENT_PORT)),
                flag("advertise-client-urls", url(place, CLIENT_PORT)),
                flag("heartbeat-interval", self.timing.heartbeat.as_millis().to_string()),
                flag("election-timeout", self.timing.election.as_millis().to_string()),
            ],
        )
    }

    fn folder(&self, site: Place) -> Result<PathBuf> {
        self.world.guest_folder(site, NAME, USER)
    }

    fn start_node(&self, site: Place) -> Result<()> {
        let folder = self.folder(site)?;
        // YAML that happens to be JSON.
        fs::write(folder.join("patroni.yaml"), serde_json::to_vec_pretty(&configuration(site)?)?)?;
        let argv = ["/usr/bin/patroni".to_owned(), format!("{GUEST_HOME}/patroni.yaml")];
        self.world.start_guest_as(site, NAME, &folder, USER, &argv)
    }

    fn etcdctl(&self, args: &[&str]) -> Result<String> {
        let endpoints = Place::ALL.map(|p| format!("{}:{CLIENT_PORT}", p.address())).join(",");
        let mut command = std::process::Command::new(self.world.tools().server("etcdctl"));
        command.args(["--dial-timeout=1s", "--command-timeout=3s", "--endpoints", &endpoints]).args(args);
        finish(command, None, SHORT)
    }

    /// What a proxy has to know of it.
    pub(super) fn listed() -> Listed {
        let server = |site: Place| {
            let address = site.address();
            (site, (address, PORT).into(), (address, REST_PORT).into())
        };
        Listed {
            name: NAME,
            port: PROXY_PORT,
            path: "/primary".to_owned(),
            servers: Place::SITES.map(server).into(),
        }
    }

    /// Waits until a standby streams from this site's server.
    pub(super) async fn followed(&self, active: Place) -> Result<()> {
        until("Patroni's standby to stream", STEADY, || async {
            sql::ensure_streams(&sql::superuser(active.address(), PORT, "postgres").await?).await
        })
        .await
    }

    /// Starts what ran at a place that has its power again.
    pub(super) fn power_again(&self, site: Place) -> Result<()> {
        self.start_etcd(site)?;
        self.start_node(site)
    }

    /// Who leads, once the other one follows it and has everything.
    pub(super) async fn steady(&self) -> Result<(Place, Place)> {
        until("a steady pair of Patroni's", STEADY, || async {
            for site in Place::SITES {
                let other = site.other_site().context("a site")?;
                let leader = rest(site, "GET", "/patroni", None).await?;
                if leader["role"] != "master" {
                    continue;
                }
                ensure!(leader["state"] == "running", "the leader is {leader}");
                let replica = rest(other, "GET", "/patroni", None).await?;
                ensure!(
                    replica["role"] == "replica" && replica["state"] == "running",
                    "the replica is {replica}"
                );
                ensure!(leader["timeline"] == replica["timeline"], "the timelines differ");
                sql::ensure_followed(site.address(), PORT).await?;
                // And Patroni itself sees it so: a switchover is refused otherwise.
                let cluster = rest(site, "GET", "/cluster", None).await?;
                let members = cluster["members"].as_array().context("no members")?;
                ensure!(members.len() == 2, "the members are {members:?}");
                for member in members {
                    let name = member["name"].as_str().unwrap_or_default();
                    let role = if name == site.name() { "leader" } else { "replica" };
                    ensure!(
                        member["role"] == role && member["state"] == "running",
                        "{name} is seen as {member}"
                    );
                }
                return Ok((site, other));
            }
            bail!("nobody leads")
        })
        .await
    }

    /// Puts a configuration in force; returns when the leases of both nodes have its ttl.
    pub(super) async fn configure(&self, system: System) -> Result<()> {
        let (ttl, loop_wait, retry_timeout) = settings(system)?;
        let (leader, _) = self.steady().await?;
        let wanted = json!({ "ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout });
        let now = rest(leader, "GET", "/config", None).await?;
        if ["ttl", "loop_wait", "retry_timeout"].iter().any(|key| now[key] != wanted[key]) {
            rest(leader, "PATCH", "/config", Some(&wanted)).await?;
        }
        let keys = ["leader", "members/paris", "members/lyon"].map(|key| format!("/patroni/{SCOPE}/{key}"));
        until("Patroni's nodes to work with their new ttl", STEADY, || async {
            for key in &keys {
                let granted = tokio::task::block_in_place(|| self.granted_ttl(key))?;
                ensure!(granted == ttl, "the lease of {key} is granted for {granted} s");
            }
            Ok(())
        })
        .await
    }

    fn granted_ttl(&self, key: &str) -> Result<u64> {
        let found: Value = serde_json::from_str(&self.etcdctl(&["get", key, "-w", "json"])?)?;
        // etcdctl writes it as a number.
        let lease = found["kvs"][0]["lease"].as_i64().with_context(|| format!("{key} has no lease"))?;
        let lease = format!("{lease:x}");
        let told = self.etcdctl(&["lease", "timetolive", &lease, "-w", "json"])?;
        let told: Value = serde_json::from_str(&told)?;
        told["granted-ttl"].as_u64().with_context(|| format!("the lease of {key} is told as {told}"))
    }

    /// The first process of a site's server.
    fn server(&self, site: Place) -> Result<Recorded> {
        let file = self.folder(site)?.join("data/postmaster.pid");
        let inside = fs::read_to_string(&file).with_context(|| format!("no server runs in {site}"))?;
        let inside = inside.lines().next().unwrap_or_default().trim();
        // The number is the place's own: the host's is found by it.
        for number in Cgroups::detect()?.processes(&format!("{}/guest", site.link()))? {
            let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            if numbers.split_whitespace().last() == Some(inside) {
                return Recorded::of(number);
            }
        }
        bail!("process {inside} is not found in {site}")
    }

    /// Lets it happen once, until the client writes again.
    pub(super) async fn measure(&self, act: Act) -> Result<(Place, Seen)> {
        let (from, to) = self.steady().await?;
        let client = if act.by_proxy() {
            until("the proxy to find Patroni's leader", STEADY, || proxy::works(PROXY_PORT)).await?;
            writes_through(proxy::database(PROXY_PORT)?).await?
        } else {
            writes(vec![sql::database(from, PORT)?, sql::database(to, PORT)?], from).await?
        };
        let seen = match act {
            Act::Planned | Act::PlannedProxy => {
                let order = json!({ "leader": from.name(), "candidate": to.name() });
                let before = Before::now();
                let asked = rest_within(SWITCHOVER, from, "POST", "/switchover", Some(&order));
                let seen = async {
                    match act {
                        Act::Planned => moved(client, before, from, to).await,
                        _ => back(client, before, Some(to)).await,
                    }
                };
                let (seen, answer) = tokio::join!(seen, asked);
                // It may have no answer for us: the leader that was asked ends its server meanwhile.
                seen.with_context(|| format!("Patroni answered {answer:?}"))?
            }
            Act::DatabaseKilled => {
                let server = self.server(from)?;
                let before = Before::now();
                ensure!(server.signal(Signal::KILL)?, "the server of {from} has ended by itself");
                back(client, before, None).await?
            }
            Act::SiteKilled | Act::Returned => {
                let before = Before::now();
                self.world.kill(from)?;
                moved(client, before, from, to).await?
            }
            other => bail!("Patroni is not measured by {other:?}"),
        };
        Ok((from, seen))
    }

    /// Waits for the steady pair, and tells what the change was like.
    pub(super) async fn settle(&self, from: Place, seen: Seen) -> Result<Change> {
        let rows = crate::client::rows(&sql::database(seen.at, PORT)?).await?;
        let (lost, two_writers) = (seen.lost(&rows), seen.two_writers(from));
        self.steady().await?;
        Ok(Change { seen, phases: BTreeMap::new(), lost, two_writers })
    }
}

/// A node's configuration: the shop's settings and authentication, and Patroni's defaults in everything else.
fn configuration(site: Place) -> Result<Value> {
    let mut parameters = BTreeMap::new();
    for setting in SETTINGS {
        let (name, value) = setting.split_once('=').context("a setting is name=value")?;
        // Patroni makes it itself, of `listen`.
        if name != "listen_addresses" {
            parameters.insert(name, value);
        }
    }
    let (ttl, loop_wait, retry_timeout) = settings(System::Patroni)?;
    let address = site.address();
    Ok(json!({
        "scope": SCOPE,
        "namespace": "/patroni/",
        "name": site.name(),
        "restapi": { "listen": format!("{address}:{REST_PORT}"), "connect_address": format!("{address}:{REST_PORT}") },
        "etcd3": { "hosts": Place::ALL.map(|p| format!("{}:{CLIENT_PORT}", p.address())) },
        "bootstrap": {
            "dcs": {
                "ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout,
                "maximum_lag_on_failover": 1_048_576,
                "postgresql": { "use_pg_rewind": true, "use_slots": true, "parameters": parameters },
            },
            "initdb": [{ "encoding": "UTF8" }, { "locale": "C.UTF-8" }],
        },
        "postgresql": {
            "listen": format!("{address}:{PORT}"),
            "connect_address": format!("{address}:{PORT}"),
            "data_dir": format!("{GUEST_HOME}/data"),
            "bin_dir": "/usr/lib/postgresql/15/bin",
            "pgpass": format!("{GUEST_HOME}/pgpass"),
            // A spread checkpoint would only delay the beginning.
            "basebackup": [{ "checkpoint": "fast" }],
            "pg_hba": HBA.map(|line| line.replace("host replication replication", "host replication replicator")),
            "authentication": {
                "superuser": { "username": sql::SUPERUSER, "password": sql::SUPERUSER_PASSWORD },
                "replication": { "username": "replicator", "password": sql::SUPERUSER_PASSWORD },
            },
            "parameters": { "unix_socket_directories": GUEST_HOME },
        },
    }))
}

async fn rest(site: Place, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    rest_within(ANSWER, site, method, path, body).await
}

/// Asks a node's API. Anything that is no JSON is answered as a text.
async fn rest_within(
    deadline: Duration,
    site: Place,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let ask = async {
        let mut stream = TcpStream::connect((site.address(), REST_PORT)).await?;
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {site}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // Small answers: more than this is none of Patroni's.
        stream.take(1 << 20).read_to_end(&mut answer).await?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(deadline, ask)
        .await
        .with_context(|| format!("Patroni in {site} has not answered {method} {path} within {deadline:?}"))?
        .with_context(|| format!("Patroni in {site} does not answer {method} {path}"))?;
    let (_, said) = answer.split_once("\r\n\r\n").context("an answer that is not HTTP")?;
    Ok(serde_json::from_str(said).unwrap_or_else(|_| Value::String(said.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_the_shops_settings_and_its_own_addresses() {
        let lyon = configuration(Place::Lyon).unwrap();
        let parameters = &lyon["bootstrap"]["dcs"]["postgresql"]["parameters"];
        assert_eq!(parameters["wal_retrieve_retry_interval"], "100ms");
        assert_eq!(parameters.as_object().unwrap().len(), SETTINGS.len() - 1);
        assert_eq!(lyon["postgresql"]["listen"], "10.90.0.12:5532");
        assert_eq!(settings(System::PatroniTuned).unwrap(), (20, 1, 3));
        assert!(settings(System::Bascule).is_err());
    }
}
