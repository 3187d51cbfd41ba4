//! One site's cluster as its operator meets it: objects with owners, pods that see a flag when they see it, a server
//! that may be gone, slow, busy, or behind.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::blocker;
use bascule_core::heartbeat::Heartbeat;
use bascule_core::moves::Move;
use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::observation::{Fact, FlagValue, Kept, PodsAsked, ReplicasSeen, WorkloadView};
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::Policy;
use jiff::Timestamp;

use super::routes::Routes;
use crate::time::Moment;

/// How the API server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// As it should.
    Well,
    /// It refuses connections.
    Gone,
    /// It does not answer.
    Silent,
    /// It says 429 to everything.
    Busy,
    /// Every call takes this much longer.
    Slow(Duration),
    /// It refuses this verb of everything: RBAC.
    Forbidden,
    /// Writes are applied and their answers are lost.
    Deaf,
}

/// A workload with its flag.
#[derive(Clone, Debug)]
pub struct App {
    /// It has a flag: one without serves whatever it is asked for.
    pub flagged: bool,
    /// The flag in its ConfigMap: read-only.
    pub flag: bool,
    /// What the key holds instead of one of the policy's two values, until the flag is set.
    pub instead: Option<FlagValue>,
    /// Whose field the flag is; `None`: Bascule's, or nobody's.
    pub flag_owner: Option<&'static str>,
    /// What the pods have seen of the flag, and since when.
    pub seen: bool,
    /// How long pods take to see a flag; `None`: never.
    pub flag_delay: Option<Duration>,
    /// `spec.replicas`.
    pub wanted: u32,
    /// Pods that run.
    pub ready: u32,
    /// Whose field the number is.
    pub wanted_owner: Option<&'static str>,
    /// How long a pod takes to start; `None`: none ever does.
    pub start_delay: Option<Duration>,
}

impl App {
    /// A workload with so many pods, read-only.
    pub const fn new(pods: u32) -> Self {
        Self {
            flagged: true,
            flag: true,
            instead: None,
            flag_owner: None,
            seen: true,
            flag_delay: Some(Duration::from_millis(30)),
            wanted: pods,
            ready: pods,
            wanted_owner: None,
            start_delay: Some(Duration::from_millis(800)),
        }
    }

    /// What the flag says.
    pub fn flag_value(&self) -> FlagValue {
        let value = if self.flag { FlagValue::ReadOnly } else { FlagValue::ReadWrite };
        self.instead.clone().unwrap_or(value)
    }

    /// What a look at it finds.
    pub fn view(&self, name: &ItemName) -> WorkloadView {
        let owned = |what: &str, owner: Option<&str>| {
            let gate = blocker::contended(name, what);
            owner.map(|o| Gate::new(&gate, Answer::No, format!("{o} owns {what}"), "Bascule owns it"))
        };
        let blockers = [owned("readOnlyFlag", self.flag_owner), owned("replicas", self.wanted_owner)];
        WorkloadView {
            flag: Fact::now(self.flag_value()),
            effective: Fact::now(PodsAsked {
                pods: self.ready,
                read_only: if self.seen { self.ready } else { 0 },
                unknown: 0,
            }),
            replicas: Fact::now(ReplicasSeen { wanted: self.wanted, ready: self.ready }),
            blockers: Fact::now(blockers.into_iter().flatten().collect()),
        }
    }

    /// What a look that fails finds.
    pub fn unseen(why: &str) -> WorkloadView {
        WorkloadView {
            flag: Fact::unknown(why),
            effective: Fact::unknown(why),
            replicas: Fact::unknown(why),
            blockers: Fact::unknown(why),
        }
    }
}

/// What is stored of people's intent: the objects, each version of them in order.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Which commit of the repository they are.
    pub version: u64,
    /// The cluster's own count of changes: a watch never tells an older one after a newer one.
    pub resource_version: u64,
    /// The policies that exist, or why the present one is not valid.
    pub policies: BTreeMap<PolicyKey, Result<Policy, String>>,
    /// The Moves that exist.
    pub moves: BTreeMap<PolicyKey, Vec<Move>>,
}

/// The cluster of one site.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The UID of its namespace `kube-system`.
    pub uid: u64,
    /// How its API server behaves.
    pub api: Api,
    /// The workloads of each policy.
    pub apps: BTreeMap<(PolicyKey, ItemName), App>,
    /// The HTTPRoutes of each policy.
    pub routes: Routes,
    /// Workloads as a changed policy names them: they are looked at with that policy, which its hash tells.
    pub staged: BTreeMap<(PolicyKey, String), BTreeMap<ItemName, App>>,
    /// What else stands in a promotion's way here, by policy: found with the first look at a database, or at whatever
    /// the policy has.
    pub obstacles: BTreeMap<PolicyKey, Vec<Gate>>,
    /// High-water marks.
    pub marks: BTreeMap<PolicyKey, Kept>,
    /// Marks cannot be written.
    pub marks_frozen: bool,
    /// The objects.
    pub objects: Objects,
    /// What a follower of the API server's store still serves to those who list.
    pub stale: Option<Box<Objects>>,
    /// Until when the watch of objects tells nothing.
    pub watch_silent_until: Moment,
    /// Secrets that cannot be read, by what for.
    pub missing_secret: bool,
    /// How often a status was written.
    pub published: u64,
    /// Who wrote each policy's status last, and when by that one's clock.
    pub written: BTreeMap<PolicyKey, (String, Timestamp)>,
    /// The heartbeat of the site's operator.
    pub heartbeat: Option<Heartbeat>,
}

impl Cluster {
    /// A cluster without anything in it.
    pub fn new(uid: u64) -> Self {
        Self {
            uid,
            api: Api::Well,
            apps: BTreeMap::new(),
            routes: Routes::default(),
            staged: BTreeMap::new(),
            obstacles: BTreeMap::new(),
            marks: BTreeMap::new(),
            marks_frozen: false,
            objects: Objects::default(),
            stale: None,
            watch_silent_until: Moment(0),
            missing_secret: false,
            published: 0,
            written: BTreeMap::new(),
            heartbeat: None,
        }
    }

    /// Whoever acts by this policy meets its workloads.
    pub fn meets(&mut self, policy: &Policy) {
        let Some(apps) = self.staged.remove(&(policy.key.clone(), policy.spec_hash.clone())) else { return };
        self.apps.retain(|(key, app), _| *key != policy.key || policy.workloads.contains_key(app));
        self.apps.extend(apps.into_iter().map(|(name, app)| ((policy.key.clone(), name), app)));
    }

    /// What stands in the way beside what is looked at; `item` is the first thing that the policy has to look at.
    pub fn obstacles(&self, policy: &Policy, item: &ItemName) -> Vec<Gate> {
        let mut items = policy.databases.keys().chain(policy.workloads.keys()).chain(policy.traffic.keys());
        let first = items.next() == Some(item);
        self.obstacles.get(&policy.key).filter(|_| first).cloned().unwrap_or_default()
    }

    /// Why a read fails now, if it does.
    pub const fn read_fails(&self) -> Option<&'static str> {
        match self.api {
            Api::Gone => Some("the API server refuses connections"),
            Api::Silent => Some("the API server did not answer within 5 s"),
            Api::Busy => Some("the API server is busy (429)"),
            Api::Forbidden => Some("forbidden (403)"),
            Api::Well | Api::Slow(_) | Api::Deaf => None,
        }
    }

    /// How much longer a call takes now.
    pub const fn delay(&self) -> Duration {
        match self.api {
            Api::Slow(by) => by,
            Api::Silent | Api::Deaf => Duration::from_secs(5),
            Api::Well | Api::Gone | Api::Busy | Api::Forbidden => Duration::ZERO,
        }
    }
}
