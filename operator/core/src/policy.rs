//! A validated policy: what people want, with nothing left to check.
//!
//! Intake makes these from the Kubernetes types. After that nobody looks at raw text again.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::Installation;
use crate::few::Few;
use crate::name::{ItemName, ObjectName, PolicyKey, SiteName};

/// How long to wait before doing something by itself, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum After {
    /// A person decides.
    Never,
    /// By itself, after this time.
    Elapsed(Duration),
}

impl After {
    /// The time to wait, when it is not never.
    pub const fn elapsed(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Elapsed(d) => Some(d),
        }
    }
}

/// What users want for one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Which policy.
    pub key: PolicyKey,
    /// Kubernetes' `metadata.generation`, for `observedGeneration`.
    pub generation: i64,
    /// The canonical hash of its spec: sites with different hashes do not switch over.
    pub spec_hash: String,
    /// The git revision it came from, when it came from git.
    pub revision: Option<String>,
    /// Its sites in order of preference; at least two.
    pub sites: Vec<SiteName>,
    /// Where it starts while there is no record.
    pub initial_site: SiteName,
    /// Observe only, act no more: the record goes to `Unmanaged`.
    pub suspend: bool,
    /// What happens when the active site is lost.
    pub failover: Failover,
    /// Its databases.
    pub databases: Few<ItemName, Database>,
    /// Its workloads.
    pub workloads: Few<ItemName, Workload>,
    /// Its traffic targets.
    pub traffic: Few<ItemName, Traffic>,
    /// Whom to tell, and in which words.
    #[serde(default)]
    pub notifications: Notifications,
}

impl Policy {
    /// Whether `site` takes part in this policy.
    pub fn has_site(&self, site: &SiteName) -> bool {
        self.sites.contains(site)
    }

    /// The policy as it acts in this installation: where the arbiter is a single point that nobody has accepted, as one whose
    /// `promote.after` is `Never`.
    #[must_use]
    pub fn under(mut self, installation: &Installation) -> Self {
        if !installation.moves_by_itself() {
            self.failover.promote_after = After::Never;
        }
        self
    }

    /// Every other site, in order of preference.
    pub fn other_sites<'a>(&'a self, me: &'a SiteName) -> impl Iterator<Item = &'a SiteName> {
        self.sites.iter().filter(move |s| *s != me)
    }
}

/// Who is told when something happens to the application. Channels are named here; where each of them leads is a setting
/// of each site's operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notifications {
    /// The channels of the administrators: every kind of notice, in the operator's words.
    pub channels: Vec<ItemName>,
    /// The users, by language: some kinds, in the policy's words.
    pub users: Few<String, UserWords>,
}

impl Notifications {
    /// Whether nobody is to be told anything.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.users.is_empty()
    }

    /// Every channel that is named, each once.
    pub fn named(&self) -> BTreeSet<&ItemName> {
        self.channels.iter().chain(self.users.values().flat_map(|u| &u.channels)).collect()
    }
}

/// What users of one language are told. A kind without words is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserWords {
    /// The channels that reach them.
    pub channels: Vec<ItemName>,
    /// The subject of mails, the first line elsewhere.
    pub subject: String,
    /// When the application is read-only.
    pub read_only: Option<String>,
    /// When it writes again, from another site.
    pub moved: Option<String>,
    /// When it writes again, from the site where it was.
    pub back: Option<String>,
    /// When a switchover is planned for later.
    pub planned: Option<String>,
}

/// What happens by itself when the active site is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// When a silent site's reads are served elsewhere.
    pub serve_reads_after: After,
    /// How long a site that came back must be stable before its traffic returns.
    pub return_after: Duration,
    /// When a replica is promoted for good, counted from the start of `ReadOnly`.
    pub promote_after: After,
    /// The most that may be lost by a promotion that nobody asked for.
    pub max_data_loss: MaxDataLoss,
    /// No second automatic transition for this long after the first verified write.
    pub cooldown: Duration,
    /// How long a switchover may take before its point of no return.
    pub switchover_deadline: Duration,
    /// How long a dead database is offered to other sites before its own site starts it again.
    pub offer_for: Duration,
    /// How long a stop that Kubernetes asked for may last before it counts as a dead database.
    pub restart_grace: Duration,
}

impl Failover {
    /// Whether a promotion that nobody asked for can ever keep within `max_data_loss`, when a lost site is certain to
    /// have stopped only `stops` after its last sign of life.
    pub fn can_be_certain(&self, stops: Duration) -> bool {
        self.promote_after == After::Never || self.max_data_loss.seconds >= stops
    }
}

/// Both bounds must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxDataLoss {
    /// The known gap in bytes of write-ahead log.
    pub bytes: u64,
    /// The time in which writes may have been acknowledged unseen.
    pub seconds: Duration,
}

/// One database of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// How its old primary is stopped.
    pub fence: FenceClass,
    /// Its instance in each site.
    pub instances: Few<SiteName, Instance>,
}

/// How an old primary is kept from writing (design: fence classes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FenceClass {
    /// Read-only by SQL: never enough to promote by itself.
    Advisory,
    /// Another operator's fence.
    External,
    /// The guard stops the server at its deadline.
    Guard,
    /// Clients reach the server only through a forwarder that checks the deadline.
    Gate,
}

impl FenceClass {
    /// Whether a holder of this class stops by itself after losing the arbiter.
    pub const fn fences(self) -> bool {
        matches!(self, Self::Guard | Self::Gate | Self::External)
    }

    /// What the class does not cover, in words for status.
    pub const fn does_not_cover(self) -> &'static str {
        match self {
            Self::Gate => "nothing known",
            Self::Guard => {
                "a guard frozen alone while its server runs; server and guard paused together and waking: writes may be acknowledged until the guard runs"
            }
            Self::External => "what the other operator's documentation says",
            Self::Advisory => "clients that do not cooperate; never enough to promote by itself",
        }
    }
}

/// A database's server in one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The StatefulSet that runs it.
    pub stateful_set: ObjectName,
    /// Where this site's operator reaches it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database to connect to.
    pub database: String,
    /// The Secret with the operator's role.
    pub secret: ObjectName,
    /// Where the other sites' replicas reach it.
    pub replication_host: String,
    /// The port for replication.
    pub replication_port: u16,
    /// The Secret with the replication role.
    pub replication_secret: ObjectName,
}

/// One workload of a policy, the same object in every site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// The object's name.
    pub name: ObjectName,
    /// How many replicas it has in each role.
    pub replicas: Replicas,
    /// How it is told to refuse writes.
    pub read_only: Option<ReadOnlyFlag>,
}

/// The kinds of workloads Bascule scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

/// Replicas per role. While none is written, the number belongs to somebody else in every role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// While its site is active; `None`: what was observed while active.
    pub active: Option<u32>,
    /// While its site stands by; `None`: left as it is.
    pub standby: Option<u32>,
    /// While its site serves reads only; `None`: as while active.
    pub read_only: Option<u32>,
}

/// A read-only flag in a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOnlyFlag {
    /// Where the flag lives.
    pub store: FlagStore,
    /// The object's name.
    pub name: ObjectName,
    /// The key in it.
    pub key: String,
    /// The value that means: refuse writes.
    pub read_only_value: String,
    /// The value that means: accept writes.
    pub read_write_value: String,
    /// How every pod is asked whether it has seen the flag.
    pub verify: Option<VerifyProbe>,
}

/// The kind of object a flag lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagStore {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// An HTTP question to every running pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProbe {
    /// The path.
    pub path: String,
    /// The port; `None`: the pod's first declared container port.
    pub port: Option<u16>,
    /// The body (trimmed) that means: read-only.
    pub expect_body: String,
}

/// One traffic target of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Traffic {
    /// A DNS record set: one for all sites, pointed at a site by that site.
    Dns(Dns),
    /// An HTTPRoute: each site has its own, and points it at whoever serves.
    HttpRoute(HttpRoute),
}

impl Traffic {
    /// Whether it can be pointed at `site`: it has an address or a backend there.
    pub fn leads_to(&self, site: &SiteName) -> bool {
        match self {
            Self::Dns(dns) => dns.addresses.get(site).is_some_and(|a| !a.is_empty()),
            Self::HttpRoute(route) => route.backends.contains_key(site),
        }
    }

    /// Whether every site has one of its own, which nobody else can point.
    pub const fn is_in_every_site(&self) -> bool {
        match self {
            Self::Dns(_) => false,
            Self::HttpRoute(_) => true,
        }
    }

    /// How long users may still be sent to where it pointed before, once it is changed: what resolvers keep.
    pub const fn lingers(&self) -> Duration {
        match self {
            Self::Dns(dns) => dns.ttl,
            Self::HttpRoute(_) => Duration::ZERO,
        }
    }

    /// The record set, if it is one.
    pub const fn dns(&self) -> Option<&Dns> {
        match self {
            Self::Dns(dns) => Some(dns),
            Self::HttpRoute(_) => None,
        }
    }

    /// Whether its gateway is to refuse writes while nobody accepts them.
    pub const fn refuses_writes(&self) -> bool {
        match self {
            Self::Dns(_) => false,
            Self::HttpRoute(route) => route.refuse_writes.is_some(),
        }
    }

    /// The HTTPRoute, if it is one.
    pub const fn http_route(&self) -> Option<&HttpRoute> {
        match self {
            Self::HttpRoute(route) => Some(route),
            Self::Dns(_) => None,
        }
    }
}

/// A Gateway API HTTPRoute of the policy's namespace, whose weights follow the active site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The object's name, the same in every site.
    pub name: ObjectName,
    /// The rules whose weights are Bascule's, by name; empty: every rule that has one of the backends.
    pub rules: BTreeSet<String>,
    /// The backend that leads to each site, the same in every site's route.
    pub backends: Few<SiteName, Backend>,
    /// How gateways answer writes while nobody accepts them; `None`: they reach the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuse_writes: Option<RefuseWrites>,
}

/// How a gateway answers writes while nobody accepts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefuseWrites {
    /// When clients are asked to try again: `Retry-After`, in whole seconds.
    pub retry_after: Duration,
    /// The rules whose requests reach the application all the same, by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub except_rules: BTreeSet<String>,
}

/// A Service that an HTTPRoute sends requests to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// The Service's name.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// A record set that follows the active site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// The name, absolute, with its final dot.
    pub name: String,
    /// The zone, absolute, with its final dot.
    pub zone: String,
    /// How long resolvers may keep an answer.
    pub ttl: Duration,
    /// The servers that take updates, in the order they are tried.
    pub update_servers: Vec<SocketAddr>,
    /// The servers that must all answer the new addresses; empty: the zone's NS.
    pub verify_servers: Vec<SocketAddr>,
    /// The Secret with the TSIG key.
    pub tsig_secret: ObjectName,
    /// Each site's addresses; never empty.
    pub addresses: Few<SiteName, Vec<IpAddr>>,
}
