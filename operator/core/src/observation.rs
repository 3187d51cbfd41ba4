//! What a site's operator has seen of its own cluster and heard from the others.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::facts::SiteFacts;
use crate::few::Few;
use crate::guard::wire::{HighWater, Report};
use crate::loss::LastContact;
use crate::name::{ItemName, SiteName};
use crate::plan::Gate;
use crate::record::{HoldUntil, Promise, Record};
use crate::time::Boottime;

/// Something that was looked at: its value and how old it is, or why it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// It was seen.
    Known {
        /// What was seen.
        value: T,
        /// How long ago.
        age: Duration,
    },
    /// It is not known.
    Unknown {
        /// Why, for the person who must act.
        reason: String,
    },
}

impl<T> Fact<T> {
    /// A fact that was just seen.
    pub const fn now(value: T) -> Self {
        Self::Known { value, age: Duration::ZERO }
    }

    /// A fact that is not known.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }

    /// The value, if it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown { .. } => None,
        }
    }

    /// Its age, if it is known.
    pub const fn age(&self) -> Option<Duration> {
        match self {
            Self::Known { age, .. } => Some(*age),
            Self::Unknown { .. } => None,
        }
    }
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self::unknown("not looked at yet")
    }
}

/// Everything a site's operator knows about one policy, apart from the ballot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Its own databases.
    pub databases: Few<ItemName, DatabaseView>,
    /// Its own workloads.
    pub workloads: Few<ItemName, WorkloadView>,
    /// The traffic targets.
    pub traffic: Few<ItemName, TrafficView>,
    /// What the other sites said.
    pub sites: Few<SiteName, Fact<SiteFacts>>,
    /// The highest epoch, serial and generation this site has ever seen for this policy, as old as the reading of it.
    pub high_water: Fact<Marks>,
    /// The highest of them that this process and its guards have seen, or that another site has said: what is not written
    /// down yet, or cannot be.
    pub seen_marks: Marks,
    /// Since when `high_water` is being read again, if it is: this site came back, or its watch of the arbiter broke, as it
    /// does when an arbiter is restored. Another process of this site may have raised it since it was read.
    pub high_water_old_since: Option<Boottime>,
    /// Who had the role in the newest record that this site has seen, as it is written down or as this process knows it.
    pub role_seen: Option<Arc<RoleSeen>>,
    /// What a person should know that stands in nobody's way, as gates that are passed.
    pub advice: Vec<Gate>,
}

impl Observation {
    /// The highest marks that are known here, wherever they are kept.
    pub fn known_marks(&self) -> Marks {
        self.high_water.value().copied().unwrap_or_default().max(self.seen_marks)
    }
}

/// High-water marks kept outside the arbiter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marks {
    /// The arbiter's generation.
    pub generation: u64,
    /// The record's epoch.
    pub epoch: u64,
    /// The record's serial.
    pub serial: u64,
}

/// Who had the role in the newest record that a site has seen, and on what terms. A record that is made anew is made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleSeen {
    /// Of which record.
    pub at: Marks,
    /// The site that might write.
    pub active: SiteName,
    /// What it had undertaken.
    pub promise: Promise,
    /// No automatic promotion until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldUntil>,
}

impl From<&Record> for RoleSeen {
    fn from(record: &Record) -> Self {
        Self {
            at: Marks::from(record),
            active: record.active.clone(),
            promise: record.promise.clone(),
            hold: record.hold.clone(),
        }
    }
}

/// What a site keeps of a record outside the arbiter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The highest numbers that it has seen.
    pub marks: Marks,
    /// Who had the role. Missing where an older version wrote it down.
    pub role: Option<Arc<RoleSeen>>,
}

impl Kept {
    /// The higher of both: each number by itself, and the newer role.
    #[must_use]
    pub fn higher(self, other: Self) -> Self {
        Self {
            marks: Marks {
                generation: self.marks.generation.max(other.marks.generation),
                epoch: self.marks.epoch.max(other.marks.epoch),
                serial: self.marks.serial.max(other.marks.serial),
            },
            role: newer(self.role, other.role),
        }
    }
}

impl From<Marks> for Kept {
    fn from(marks: Marks) -> Self {
        Self { marks, role: None }
    }
}

/// The newer of two roles.
pub fn newer(a: Option<Arc<RoleSeen>>, b: Option<Arc<RoleSeen>>) -> Option<Arc<RoleSeen>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.at > a.at { b } else { a }),
        (a, b) => a.or(b),
    }
}

impl From<&Record> for Marks {
    fn from(record: &Record) -> Self {
        Self { generation: record.generation, epoch: record.epoch, serial: record.serial }
    }
}

impl From<HighWater> for Marks {
    fn from(seen: HighWater) -> Self {
        Self { generation: seen.generation, epoch: seen.epoch, serial: seen.serial }
    }
}

/// What is known of a database in this site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatabaseView {
    /// The guard's last report.
    pub guard: Fact<Arc<Report>>,
    /// What this standby last knew of its primary.
    pub last_contact: Option<LastContact>,
    /// What is wrong with its settings, grants and Secrets. A gate that is passed stands in nobody's way and is told
    /// as advice.
    pub preflight: Fact<Vec<Gate>>,
    /// The epoch in which a write was verified through the operator's role.
    pub write_verified: Option<u64>,
    /// Every guard process that this operator has granted to in this hold, by its boot, and when it last did.
    pub granted: Few<String, Boottime>,
}

/// What is known of a workload in this site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadView {
    /// The value of its read-only flag.
    pub flag: Fact<FlagValue>,
    /// Whether its pods have seen the flag.
    pub effective: Fact<PodsAsked>,
    /// Its replicas.
    pub replicas: Fact<ReplicasSeen>,
    /// What cannot be written here because somebody else owns it, or does not exist. A gate that is passed is advice.
    pub blockers: Fact<Vec<Gate>>,
}

/// The value of a read-only flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagValue {
    /// Writes are refused.
    ReadOnly,
    /// Writes are accepted.
    ReadWrite,
    /// Neither of the two values of the policy.
    Other(String),
    /// The key does not exist.
    Missing,
}

/// How many pods were asked and what they said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodsAsked {
    /// Running pods.
    pub pods: u32,
    /// Pods that say they are read-only.
    pub read_only: u32,
    /// Pods that did not answer.
    pub unknown: u32,
}

impl PodsAsked {
    /// Whether a pod has answered that its flag is not what it should be. Who did not answer may have seen it.
    #[must_use]
    pub fn say_otherwise(&self, read_only: bool) -> bool {
        if read_only { self.read_only.saturating_add(self.unknown) < self.pods } else { self.read_only > 0 }
    }
}

/// Replicas as observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicasSeen {
    /// `spec.replicas`.
    pub wanted: u32,
    /// `status.readyReplicas`.
    pub ready: u32,
}

/// Where a traffic target points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficView {
    /// As every authoritative server answers.
    pub at: Fact<TrafficAt>,
    /// What prevents this site from moving it. A gate that is passed is advice.
    pub blockers: Fact<Vec<Gate>>,
}

/// Where a target points: what the authoritative servers of a name answer, or what an HTTPRoute and the gateways that
/// serve it say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficAt {
    /// The site whose addresses every server that answers has, or that an HTTPRoute gives all its weight; `None` while
    /// they differ or say something else.
    pub site: Option<SiteName>,
    /// The serial that the target carries.
    pub serial: u64,
    /// The epoch that it carries.
    pub epoch: u64,
    /// Which servers or gateways say something else, in words. A gateway that has not taken over the weights yet is
    /// among them although the weights are right already: users go elsewhere.
    pub differing: Vec<String>,
    /// Which servers or gateways do not answer, in words. A dead site's own server is often among them, and resolvers
    /// ask another: nothing waits for it, but nobody calls the target converged either.
    pub silent: Vec<String>,
    /// What becomes of writes on their way to the application; `None`: nobody but the application refuses any.
    pub writes: Option<Writes>,
}

/// What a gateway does with writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// They reach the application, and the gateway could be told to refuse them.
    Pass,
    /// The gateway answers them: later.
    Refused,
    /// Neither of both as it was written, in words: somebody else has changed it, or the route has other rules since.
    Mixed(String),
    /// They reach the application, and the gateway cannot be told to refuse them, in words.
    CannotRefuse(String),
    /// They do not reach the application, and who should answer them does not either, in words.
    Lost(String),
}

impl Writes {
    /// What becomes of them, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Pass => "writes reach the application".to_owned(),
            Self::Refused => "writes are refused".to_owned(),
            Self::Mixed(why) => format!("writes are refused in part: {why}"),
            Self::CannotRefuse(why) => format!("writes cannot be refused: {why}"),
            Self::Lost(why) => format!("writes are refused, and nobody answers them: {why}"),
        }
    }
}

impl TrafficAt {
    /// Whether users are sent to `site` by everybody who answers.
    pub fn leads(&self, site: &SiteName) -> bool {
        self.site.as_ref() == Some(site) && self.differing.is_empty()
    }

    /// Whether everybody answers, and the same.
    pub const fn is_proven(&self) -> bool {
        self.differing.is_empty() && self.silent.is_empty()
    }

    /// What keeps it from being proven, in words.
    pub fn doubts(&self) -> Vec<&str> {
        self.differing.iter().chain(&self.silent).map(String::as_str).collect()
    }
}
