//! What operators and guards did to the outside: one entry for each intent, with what stood there before.

use std::net::IpAddr;
use std::time::Duration;

use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::FlagValue;
use bascule_core::plan::Step;
use bascule_core::policy::Backend;
use bascule_core::record::Record;

use crate::time::Moment;

/// Something that was done, or tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    /// When it was sent on its way.
    pub at: Moment,
    /// Whose operator or guard did it.
    pub site: SiteName,
    /// For which policy.
    pub policy: PolicyKey,
    /// What.
    pub what: Doing,
    /// How it ended.
    pub end: End,
}

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub enum Doing {
    /// The operator wrote the record.
    Record {
        /// What stood there.
        before: Option<Box<Record>>,
        /// What was written.
        after: Box<Record>,
        /// By which rule, in the journal's words.
        why: String,
    },
    /// The operator ordered its guards to stop and lock.
    Lock,
    /// The operator did a step.
    Step {
        /// Which.
        step: Step,
        /// What it changes, as it stood before.
        before: Before,
        /// What it makes of it, where that is more than the step says.
        after: Before,
    },
    /// The guard did something to its server.
    Guard {
        /// Which database.
        database: ItemName,
        /// What, in the journal's words.
        words: String,
        /// From whose database it follows or is cloned, where it is.
        upstream: Option<SiteName>,
    },
}

/// What a step changes, as it stood.
#[derive(Clone, Debug, PartialEq)]
pub enum Before {
    /// It changes nothing that stays.
    Nothing,
    /// A read-only flag; `None`: there is none.
    Flag(Option<FlagValue>),
    /// A number of replicas; `None`: there is no such workload.
    Replicas(Option<u32>),
    /// What a traffic target says; `None`: nothing.
    Published(Option<(SiteName, Published)>),
    /// Whether a gateway refuses writes.
    Refuses(bool),
}

/// What a traffic target says when it points at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// What an authoritative server publishes for a name.
    Name {
        /// The name, absolute.
        name: String,
        /// Its addresses.
        addresses: Vec<IpAddr>,
        /// How long resolvers may keep them.
        ttl: Duration,
    },
    /// What an HTTPRoute does.
    Route {
        /// Its namespace and name.
        name: String,
        /// The backend that has all the weight.
        backend: Backend,
    },
}

impl Published {
    /// What it is, in words: `DNS www.shop.example.`.
    pub fn target(&self) -> String {
        match self {
            Self::Name { name, .. } => format!("DNS {name}"),
            Self::Route { name, .. } => format!("HTTPRoute {name}"),
        }
    }

    /// How long users may still be sent to where it pointed before, once it is changed.
    pub const fn lingers(&self) -> Duration {
        match self {
            Self::Name { ttl, .. } => *ttl,
            Self::Route { .. } => Duration::ZERO,
        }
    }
}

/// How a deed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was sent, and nothing more is known.
    Open,
    /// It was done.
    Done,
    /// It was not, or nobody knows.
    Failed(String),
}
