//! Every fault, and its end. A fault is in effect when its function returns.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};

use super::World;
use super::cgroup::Cgroups;
use super::network;
use super::parts::Group;
use super::place::{ARBITER_CLIENT_PORT, ARBITER_PEER_PORT, POSTGRES_PORT, Place};
use super::replicas::Replica;
use super::teardown;
use crate::command::{run, run_with_input};
use crate::process::Recorded;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A place, with everything in it.
    Place(Place),
    /// The outside world: clients and git.
    Host,
}

impl From<Place> for End {
    fn from(place: Place) -> Self {
        End::Place(place)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Place(place) => place.fmt(f),
            End::Host => f.pad("host"),
        }
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "host" {
            return Ok(End::Host);
        }
        text.parse().map(End::Place).map_err(|e| format!("{e}, and host"))
    }
}

/// A cut between places. Packets vanish, as on a broken cable; nobody is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    ways: Vec<(End, End)>,
    ports: Vec<u16>,
    closed: Vec<(Place, u16)>,
}

impl Cut {
    /// Nothing passes between two ends, in both directions.
    pub fn between(a: impl Into<End>, b: impl Into<End>) -> Self {
        let (a, b) = (a.into(), b.into());
        Self { ways: vec![(a, b), (b, a)], ..Self::default() }
    }

    /// Nothing passes from one end to another; the way back stays.
    pub fn one_way(from: impl Into<End>, to: impl Into<End>) -> Self {
        Self { ways: vec![(from.into(), to.into())], ..Self::default() }
    }

    /// A place is alone: cut from every other place and from the host.
    pub fn isolate(place: Place) -> Self {
        let others = Place::ALL.into_iter().filter(|p| *p != place).map(End::Place).chain([End::Host]);
        let ways = others.flat_map(|o| [(place.into(), o), (o, place.into())]).collect();
        Self { ways, ..Self::default() }
    }

    /// A site reaches no member of the arbiter any more, its own included; everything else passes.
    pub fn from_arbiter(site: Place) -> Self {
        let ports = vec![ARBITER_CLIENT_PORT, ARBITER_PEER_PORT];
        let closed = ports.iter().map(|port| (site, *port)).collect();
        let others = Place::ALL.into_iter().filter(|p| *p != site);
        let ways = others.flat_map(|o| [(site.into(), o.into()), (o.into(), site.into())]).collect();
        Self { ways, ports, closed }
    }

    /// PostgreSQL between the sites does not pass: replication stands still, everything else goes on.
    pub fn replication() -> Self {
        Self { ports: vec![POSTGRES_PORT], ..Self::between(Place::Paris, Place::Lyon) }
    }

    /// Narrows a cut to these TCP ports (of whichever side listens).
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports.extend(ports);
        self
    }

    /// What nft is told; a place's own filter is apart.
    fn elements(&self) -> Result<Vec<(&'static str, String)>> {
        let mut elements = Vec::new();
        for way in &self.ways {
            let (set, key) = match *way {
                (End::Place(from), End::Place(to)) => {
                    ensure!(from != to, "a place cannot be cut from itself");
                    ("cut", format!("\"{}\" . \"{}\"", from.link(), to.link()))
                }
                (End::Place(from), End::Host) => ("to_host", format!("\"{}\"", from.link())),
                (End::Host, End::Place(to)) => ("from_host", format!("\"{}\"", to.link())),
                (End::Host, End::Host) => bail!("the host cannot be cut from itself"),
            };
            if self.ports.is_empty() {
                elements.push((set, key));
            } else {
                let set = match set {
                    "cut" => "cut_port",
                    "to_host" => "to_host_port",
                    _ => "from_host_port",
                };
                elements.extend(self.ports.iter().map(|port| (set, format!("{key} . {port}"))));
            }
        }
        Ok(elements)
    }

    fn apply(&self, verb: &str) -> Result<()> {
        // One transaction: the whole cut, or nothing of it.
        let batch: String = self
            .elements()?
            .into_iter()
            .map(|(set, key)| format!("{verb} element bridge {} {set} {{ {key} }}\n", network::TABLE))
            .collect();
        run_with_input("nft", ["-f", "-"], &batch)?;
        for (place, port) in &self.closed {
            let batch = format!("{verb} element inet {} closed {{ {port} }}\n", network::TABLE);
            network::within(*place, "nft", &["-f", "-"], &batch)?;
        }
        Ok(())
    }
}

/// What stands still in mid-air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything in the place.
    Whole,
    /// etcd, API server, controller manager, scheduler.
    ControlPlane,
    /// The API server alone.
    ApiServer,
    /// containerd, kubelet, kube-proxy and the cluster's DNS.
    Node,
    /// All pods.
    Pods,
    /// The Bascule operator, each replica of it.
    Operator,
    /// One replica of it.
    OneReplica(Replica),
    /// The arbiter's member.
    Arbiter,
    /// The DNS server.
    Dns,
}

impl Scope {
    fn cgroup(self, place: Place, sites: &[Place]) -> Result<String> {
        let part = match self {
            Scope::Whole => return Ok(place.link()),
            Scope::ControlPlane => Group::ControlPlane.folder(),
            Scope::ApiServer => "cp/apiserver",
            Scope::Node => Group::Node.folder(),
            Scope::Pods => "kubepods",
            Scope::Operator => Group::Operator.folder(),
            Scope::OneReplica(replica) => {
                ensure!(sites.contains(&place), "{place} has no operator");
                return Ok(format!("{}/{}/{}", place.link(), Group::Operator.folder(), replica.part()));
            }
            Scope::Arbiter => Group::Arbiter.folder(),
            Scope::Dns => Group::Dns.folder(),
        };
        let needs_cluster = !matches!(self, Scope::Whole | Scope::Arbiter | Scope::Dns);
        ensure!(sites.contains(&place) || !needs_cluster, "{place} has no cluster");
        Ok(format!("{}/{part}", place.link()))
    }
}

impl World {
    /// Cuts. Further cuts add up.
    pub fn cut(&self, cut: &Cut) -> Result<()> {
        cut.apply("add")
    }

    /// Takes one cut back.
    pub fn uncut(&self, cut: &Cut) -> Result<()> {
        cut.apply("delete")
    }

    /// These cuts are in force from now on, and no other one; none is open for a moment in between.
    pub fn cut_only<'c>(&self, cuts: impl IntoIterator<Item = &'c Cut>) -> Result<()> {
        let mut batch = flushed();
        let mut closed: BTreeMap<Place, String> = BTreeMap::new();
        for cut in cuts {
            for (set, key) in cut.elements()? {
                batch += &format!("add element bridge {} {set} {{ {key} }}\n", network::TABLE);
            }
            for (place, port) in &cut.closed {
                *closed.entry(*place).or_default() +=
                    &format!("add element inet {} closed {{ {port} }}\n", network::TABLE);
            }
        }
        run_with_input("nft", ["-f", "-"], &batch)?;
        for place in self.powered()? {
            let flush = format!("flush set inet {} closed\n", network::TABLE);
            let batch = flush + closed.get(&place).map_or("", String::as_str);
            network::within(place, "nft", &["-f", "-"], &batch)?;
        }
        Ok(())
    }

    /// Takes every cut and every limit back.
    pub fn heal(&self) -> Result<()> {
        run_with_input("nft", ["-f", "-"], &flushed())?;
        for place in self.powered()? {
            let batch = format!("flush set inet {} closed\n", network::TABLE);
            network::within(place, "nft", &["-f", "-"], &batch)?;
            self.unlimit(place)?;
        }
        Ok(())
    }

    /// Gives a place this many times the processor time of anything else on the machine, where they compete for it: for
    /// measurements beside other work. Until the place loses its power.
    pub fn prefer(&self, place: Place, times: u32) -> Result<()> {
        Cgroups::detect()?.prefer(&place.link(), times)
    }

    /// Stops a part of a place in mid-air; every process of it stands still when this returns.
    pub fn freeze(&self, place: Place, scope: Scope) -> Result<()> {
        Cgroups::detect()?.freeze(&scope.cgroup(place, self.sites())?)
    }

    /// Lets it go on.
    pub fn thaw(&self, place: Place, scope: Scope) -> Result<()> {
        Cgroups::detect()?.thaw(&scope.cgroup(place, self.sites())?)
    }

    /// Every process of a part of a place.
    pub fn processes_in(&self, place: Place, scope: Scope) -> Result<Vec<Recorded>> {
        let numbers = Cgroups::detect()?.processes(&scope.cgroup(place, self.sites())?)?;
        // What ends while it is looked at is left out.
        Ok(numbers.into_iter().filter_map(|number| Recorded::of(number).ok()).collect())
    }

    /// True while this scope itself is frozen.
    pub fn frozen(&self, place: Place, scope: Scope) -> bool {
        match (Cgroups::detect(), scope.cgroup(place, self.sites())) {
            (Ok(cgroups), Ok(path)) => cgroups.frozen(&path),
            _ => false,
        }
    }

    /// Power loss: the cable is dead first, so that no last packet tells anybody, then every process is gone. The
    /// disk stays. Gone when this returns.
    pub fn kill(&self, place: Place) -> Result<()> {
        ensure!(self.powered()?.contains(&place), "{place} has no power already");
        network::set_link(place, false)?;
        teardown::power_off(self.run(), place)
    }

    /// Lets at most this many bytes per second arrive at a place from another, on one TCP port: what is more waits
    /// in a queue, as on a thin line.
    pub fn limit(&self, from: Place, to: Place, port: u16, bytes_per_second: u64) -> Result<()> {
        self.unlimit(to)?;
        let dev = to.link();
        let class = |args: &[&str]| run("tc", [&["class", "add", "dev", &dev], args].concat());
        run("tc", ["qdisc", "add", "dev", &dev, "root", "handle", "1:", "htb", "default", "1"])?;
        class(&["parent", "1:", "classid", "1:1", "htb", "rate", "10gbit", "quantum", "60000"])?;
        let rate = format!("{bytes_per_second}bps");
        class(&["parent", "1:", "classid", "1:2", "htb", "rate", &rate, "burst", "4k", "quantum", "1514"])?;
        // The filter of this kernel's tc may be missing; the packet filter's mark of a class always works.
        let chain = slow_chain(to);
        let source = |net: &str| {
            format!("add rule bridge {} {chain} oifname \"{dev}\" ip saddr {net}", network::TABLE)
        };
        let class = "meta priority set 1:2";
        let own: Ipv4Addr = from.address();
        let mut batch = format!("add chain bridge {} {chain} {LIMIT_HOOK}\n", network::TABLE);
        for net in [from.pods(), from.services(), own.to_string()] {
            for side in ["sport", "dport"] {
                batch += &format!("{} tcp {side} {port} {class}\n", source(&net));
            }
        }
        run_with_input("nft", ["-f", "-"], &batch)?;
        Ok(())
    }

    /// Takes the limits of what arrives at a place back.
    pub fn unlimit(&self, to: Place) -> Result<()> {
        let dev = to.link();
        if run("tc", ["qdisc", "show", "dev", &dev])?.contains("htb") {
            run("tc", ["qdisc", "del", "dev", &dev, "root"])?;
            let batch = format!(
                "add chain bridge {table} {chain} {LIMIT_HOOK}\ndelete chain bridge {table} {chain}\n",
                table = network::TABLE,
                chain = slow_chain(to)
            );
            run_with_input("nft", ["-f", "-"], &batch)?;
        }
        Ok(())
    }
}

/// No cut at all, for the host's filter.
fn flushed() -> String {
    let sets = ["cut", "cut_port", "to_host", "to_host_port", "from_host", "from_host_port"];
    sets.map(|set| format!("flush set bridge {} {set}\n", network::TABLE)).concat()
}

/// Chain of the filter that picks out what is slowed down on its way to a place.
fn slow_chain(to: Place) -> String {
    format!("slow_{to}")
}

/// Before the cuts, which drop.
const LIMIT_HOOK: &str = "{ type filter hook forward priority -10; }";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_by_port_names_both_directions_and_every_port() {
        let cut = Cut::from_arbiter(Place::Paris);
        let elements = cut.elements().unwrap();
        assert_eq!(elements.len(), 8);
        assert!(elements.iter().all(|(set, _)| *set == "cut_port"));
        assert!(elements.contains(&("cut_port", "\"bascule-lyon\" . \"bascule-paris\" . 2480".to_owned())));
        assert_eq!(cut.closed, vec![(Place::Paris, 2479), (Place::Paris, 2480)]);
    }

    #[test]
    fn an_isolated_place_reaches_neither_places_nor_host() {
        let elements = Cut::isolate(Place::Lyon).elements().unwrap();
        assert_eq!(elements.len(), 6);
        assert!(elements.contains(&("to_host", "\"bascule-lyon\"".to_owned())));
        assert!(elements.contains(&("from_host", "\"bascule-lyon\"".to_owned())));
    }
}
