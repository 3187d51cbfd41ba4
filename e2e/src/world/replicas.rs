//! Two replicas of a site's operator, as processes of one place: which of them acts, and how do guards reach it?

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::operator::{END, GUARD_PORT, HTTP_PORT, OPERATOR};
use super::place::Place;
use super::release::SYSTEM;
use super::{World, control};
use crate::init::Ended;

/// The Service by which guards reach the replicas of a site.
pub(super) const OPERATORS: &str = "operators";

/// How long a replica may take to answer.
const ANSWER: Duration = Duration::from_millis(500);

/// One of a site's replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// The one that every site has.
    First,
    /// The one that a site has in a world of two replicas.
    Second,
}

impl Replica {
    /// All that a site can have.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Name of its part, and of its log.
    pub const fn part(self) -> &'static str {
        match self {
            Self::First => OPERATOR,
            Self::Second => "operator-2",
        }
    }

    /// They share an address: each has ports of its own.
    const fn further(self) -> u16 {
        match self {
            Self::First => 0,
            Self::Second => 200,
        }
    }

    /// Where it listens for guards.
    pub(super) const fn guard_port(self) -> u16 {
        GUARD_PORT + self.further()
    }

    /// Where it tells its health and metrics.
    pub(super) const fn http_port(self) -> u16 {
        HTTP_PORT + self.further()
    }

    fn http(self, site: Place) -> SocketAddr {
        SocketAddr::new(site.address().into(), self.http_port())
    }
}

/// What the operator at this address tells of itself, as text.
fn metrics(at: SocketAddr) -> Result<String> {
    let mut tcp = TcpStream::connect_timeout(&at, ANSWER)?;
    tcp.set_read_timeout(Some(ANSWER))?;
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n")?;
    let mut said = String::new();
    tcp.read_to_string(&mut said)?;
    Ok(said)
}

/// Whether the operator whose health port this is says that it acts, and that it holds its site's lease.
pub fn acts_at(at: SocketAddr) -> bool {
    // One that does not answer does not say so.
    metrics(at).is_ok_and(|said| {
        said.contains("\nbascule_operator_leader 1\n") && said.contains("\nbascule_site_lease_alive 1\n")
    })
}

impl World {
    /// The replicas that each site has.
    pub fn replicas(&self) -> &'static [Replica] {
        if self.options().replicas > 1 { &Replica::ALL } else { &[Replica::First] }
    }

    /// Folders of a site's journals: one for each replica that has written.
    pub fn journals(&self, site: Place) -> Vec<PathBuf> {
        // Where operators are pods their journals lie in folders of the same names.
        let folders = Replica::ALL.map(|replica| self.replica_journal(site, replica));
        folders.into_iter().filter(|folder| folder.exists()).collect()
    }

    /// Folder of the journal of one replica.
    pub fn replica_journal(&self, site: Place, replica: Replica) -> PathBuf {
        self.replica_folder(site, replica).join("journal")
    }

    pub(super) fn replica_folder(&self, site: Place, replica: Replica) -> PathBuf {
        self.run().place(site).join(replica.part())
    }

    /// Whether this replica says that it acts, and that it holds its site's lease.
    pub fn replica_acts(&self, site: Place, replica: Replica) -> bool {
        acts_at(replica.http(site))
    }

    /// The replica that acts, when exactly one says so and the other one stands by.
    pub fn acting(&self, site: Place) -> Result<Replica> {
        let acts = Replica::ALL.map(|replica| self.replica_acts(site, replica));
        ensure!(acts[0] != acts[1], "the replicas of {site} act: {acts:?}");
        let acts = if acts[0] { Replica::First } else { Replica::Second };
        let spare = metrics(acts.other().http(site))?;
        ensure!(spare.contains("\nbascule_operator_leader 0\n"), "no other replica of {site} stands by");
        Ok(acts)
    }

    /// Kills one replica as a crash would; returns when it is gone.
    pub fn kill_replica(&self, site: Place, replica: Replica) -> Result<()> {
        control::signal(self.run(), site, replica.part(), Signal::SIGKILL)?;
        self.replica_ended(site, replica).map(drop)
    }

    /// Waits until one replica has ended; answers how.
    pub fn replica_ended(&self, site: Place, replica: Replica) -> Result<Ended> {
        control::await_end(self.run(), site, replica.part(), END)
    }

    /// The Service by which guards reach the replicas: one of them listens. No pods are behind it.
    pub(crate) fn operators_service(site: Place) -> Vec<Value> {
        let slice = |replica: Replica| {
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": replica.part(), "namespace": SYSTEM,
                    "labels": { "kubernetes.io/service-name": OPERATORS },
                },
                "addressType": "IPv4",
                "ports": [{ "name": "guards", "port": replica.guard_port(), "protocol": "TCP" }],
                "endpoints": [{ "addresses": [site.address().to_string()], "conditions": { "ready": true } }],
            })
        };
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": OPERATORS, "namespace": SYSTEM },
            "spec": { "ports": [{ "name": "guards", "port": GUARD_PORT, "protocol": "TCP" }] },
        });
        [service].into_iter().chain(Replica::ALL.map(slice)).collect()
    }
}
