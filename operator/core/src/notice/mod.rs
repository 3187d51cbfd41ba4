//! Which people are told what, and when: a read-only application, a role that moved, one that is back, a decision that
//! only a person can make, a site that nobody could take over from, a switchover that is planned.
//!
//! Decided from the record and the judgements alone, by every site for itself; what this site has seen is the only
//! memory, and it is made anew from the status and the record when an operator starts. Nothing is stored for it, at the
//! price of some notices twice: see [`due::FRESH`].

mod due;
mod speaker;
mod words;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::due::{FRESH, Memory, due};
use crate::moves::Move;
use crate::name::{ItemName, PolicyKey, SiteName};
use crate::policy::Policy;
use crate::project::{Condition, SiteRow};
use crate::record::Record;

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The active site is lost; reads are served from another one.
    ReadOnly,
    /// Another site writes.
    Moved,
    /// The site that was lost writes again.
    Back,
    /// Nothing more happens before a person acts.
    DecisionNeeded,
    /// If the active site were lost now, no other could take over.
    Unprotected,
    /// A switchover will begin at a known time.
    Planned,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::ReadOnly, Self::Moved, Self::Back, Self::DecisionNeeded, Self::Unprotected, Self::Planned];

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "readOnly",
            Self::Moved => "moved",
            Self::Back => "back",
            Self::DecisionNeeded => "decisionNeeded",
            Self::Unprotected => "unprotected",
            Self::Planned => "planned",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whom a notice speaks to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Audience {
    /// Those who look after the application: the operator's words.
    Administrators,
    /// Those who use it: the policy's words in this language.
    Users(String),
}

/// One message for one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The same for the same happening, whichever site tells it and however often: by it a receiver knows duplicates.
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// About which policy.
    pub policy: PolicyKey,
    /// The record's epoch.
    pub epoch: u64,
    /// The record's serial.
    pub serial: u64,
    /// The site that tells it.
    pub site: SiteName,
    /// Since when it is so, as far as the site that tells it knows.
    pub since: Timestamp,
    /// The channel it goes to.
    pub channel: ItemName,
    /// Whom it speaks to.
    pub audience: Audience,
    /// Its subject: one line.
    pub subject: String,
    /// Its text.
    pub text: String,
}

/// What one site knows of a policy, as far as notices need it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The record, if there is one.
    pub record: Option<Record>,
    /// The state in words.
    pub sentence: String,
    /// The judgements.
    pub conditions: Vec<Condition>,
    /// What is known of each site.
    pub sites: Vec<SiteRow>,
    /// The Moves that exist, each with the time at which its object was made.
    pub moves: Vec<(Move, Timestamp)>,
}

impl Case {
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }

    fn epoch(&self) -> u64 {
        self.record.as_ref().map_or(0, |r| r.epoch)
    }

    fn serial(&self) -> u64 {
        self.record.as_ref().map_or(0, |r| r.serial)
    }
}
