//! The three places: their names, numbers and addresses. Everything else about a place follows from its number.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The host's own address on the bridge: the outside world, with the git server and the clients.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 1);
/// Port on which the arbiter's members serve clients.
pub const ARBITER_CLIENT_PORT: u16 = 2479;
/// Port on which the arbiter's members speak to each other.
pub const ARBITER_PEER_PORT: u16 = 2480;
/// PostgreSQL's port in every pod.
pub const POSTGRES_PORT: u16 = 5432;
/// Port of each place's DNS server.
pub const DNS_PORT: u16 = 53;
/// Port of the git server.
pub const GIT_PORT: u16 = 8443;
/// Port of the node on which each site publishes the demo's web application.
pub const WEB_PORT: u16 = 30080;
/// Address of the cluster's DNS, inside each site.
pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A site: one Kubernetes cluster, an arbiter member, a DNS server.
    Paris,
    /// The other site.
    Lyon,
    /// The third place: an arbiter member and the primary DNS server. A cluster only in a world of three sites.
    Third,
}

impl Place {
    /// All places.
    pub const ALL: [Place; 3] = [Place::Paris, Place::Lyon, Place::Third];
    /// The places that always have a cluster; [`World::sites`](super::World::sites) are those of one world.
    pub const SITES: [Place; 2] = [Place::Paris, Place::Lyon];

    /// This place alone, as a list.
    pub fn alone(self) -> &'static [Place] {
        match self {
            Place::Paris => &[Place::Paris],
            Place::Lyon => &[Place::Lyon],
            Place::Third => &[Place::Third],
        }
    }

    /// The name by which the operator, the node and the logs call it.
    pub fn name(self) -> &'static str {
        match self {
            Place::Paris => "paris",
            Place::Lyon => "lyon",
            Place::Third => "third",
        }
    }

    /// Its number in addresses.
    pub fn number(self) -> u8 {
        match self {
            Place::Paris => 1,
            Place::Lyon => 2,
            Place::Third => 3,
        }
    }

    /// The other one of the two sites that every world has; for the third place there is none.
    pub fn other_site(self) -> Option<Place> {
        match self {
            Place::Paris => Some(Place::Lyon),
            Place::Lyon => Some(Place::Paris),
            Place::Third => None,
        }
    }

    /// Address of the place's machine on the bridge.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, 0, 10 + self.number())
    }

    /// Network of the site's pods.
    pub fn pods(self) -> String {
        format!("10.244.{}.0/24", self.number())
    }

    /// Network of the site's services.
    pub fn services(self) -> String {
        format!("10.96.{}.0/24", self.number())
    }

    /// The API server, as host and place see it.
    pub fn api(self) -> String {
        format!("https://{}:6443", self.address())
    }

    /// Name of its network namespace, its cable on the bridge and its cgroup.
    pub fn link(self) -> String {
        format!("bascule-{}", self.name())
    }

    /// A fixed hardware address: with a new one after each boot, neighbours would talk to the old one for a minute.
    pub fn mac(self) -> String {
        format!("02:00:0a:5a:00:1{}", self.number())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Place::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| format!("no place `{text}`; there are paris, lyon and third"))
    }
}
