//! A Move: one person's command, acted on at most once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::{ObjectName, SiteName};

/// The hash of a Move's content. The same text is the same Move, whoever applies it and however often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MoveHash(pub String);

/// A command of a person, about one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// What identifies it.
    pub hash: MoveHash,
    /// The object's name, for people.
    pub name: ObjectName,
    /// What is asked for.
    pub order: Order,
    /// The site that the person believes to be active; a fact, refused when false.
    pub from: Option<SiteName>,
    /// The epoch that the person saw; refused when the record has another.
    pub epoch: Option<u64>,
    /// The serial that the person saw; refused when the record has another.
    pub serial: Option<u64>,
    /// Not acted on earlier.
    pub not_before: Option<Timestamp>,
    /// Not acted on later.
    pub not_after: Option<Timestamp>,
    /// Why, in the person's words.
    pub reason: String,
}

/// What a Move asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Order {
    /// Planned: move the role with no loss.
    Switchover {
        /// The site that becomes active.
        to: SiteName,
    },
    /// Unplanned: promote although the active site cannot be asked.
    Failover {
        /// The site that becomes active.
        to: SiteName,
        /// Who saw that the source is stopped, in words.
        source_stopped: Option<String>,
        /// Promote even when the loss gate says no.
        accept_data_loss: bool,
    },
    /// No automatic promotion until the Move's `notAfter`.
    Hold,
    /// End a hold.
    Resume,
    /// Give up a switchover that has not reached its point of no return.
    Abort,
}

impl Order {
    /// The site that becomes active, where the order names one.
    pub const fn to(&self) -> Option<&SiteName> {
        match self {
            Self::Switchover { to } | Self::Failover { to, .. } => Some(to),
            Self::Hold | Self::Resume | Self::Abort => None,
        }
    }

    /// The name of the kind of order.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Switchover { .. } => "Switchover",
            Self::Failover { .. } => "Failover",
            Self::Hold => "Hold",
            Self::Resume => "Resume",
            Self::Abort => "Abort",
        }
    }
}

/// How a Move ended, kept in the record under its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Which Move.
    pub hash: MoveHash,
    /// Its object's name, for people.
    pub name: ObjectName,
    /// How it ended.
    pub end: MoveEnd,
    /// Why, with the values found and expected.
    pub message: String,
    /// The epoch of the record when it was given.
    pub epoch: u64,
    /// When, by the clock of the site that gave it; for people.
    pub at: Timestamp,
    /// The Move's own deadline: until then the verdict must be remembered, if the Move names no epoch.
    pub not_after: Option<Timestamp>,
}

/// The ways a Move ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveEnd {
    /// It was carried out.
    Done,
    /// It was never started.
    Refused,
    /// It was started and undone before its point of no return.
    RolledBack,
    /// It names a state of the past.
    Stale,
    /// The source was lost in the middle, and the role moved without its help.
    BecameFailover,
}
