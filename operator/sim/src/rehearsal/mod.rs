//! What the operators will do, before they do it: the real ones, in a world that stands where the real one stands.
//!
//! | file | question |
//! |---|---|
//! | `stand` | how is a world brought to where the real one stands? |
//! | `run` | what is done when the change is merged, and when is it over? |

mod run;
mod stand;

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::moves::{Move, Verdict};
use bascule_core::name::{ItemName, SiteName};
use bascule_core::observation::FlagValue;
use bascule_core::plan::Gate;
use bascule_core::policy::Policy;
use bascule_core::project::TransitionRow;
use bascule_core::record::{HoldUntil, Phase, Record, Transition};
use bascule_core::timing::Profile;
use jiff::Timestamp;

use crate::deed::Deed;

pub use self::run::rehearse;

/// Where things stand before the change: known, or assumed and said to be.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The policy in force; `None`: there is none, and no record.
    pub policy: Option<Policy>,
    /// The site that is active.
    pub active: SiteName,
    /// The record's epoch.
    pub epoch: u64,
    /// Its serial, when it is known.
    pub serial: Option<u64>,
    /// Its phase: `Steady`, `Unmanaged` or `ReadOnly`.
    pub phase: Phase,
    /// The active site is silent.
    pub silent: bool,
    /// A hold that is in force.
    pub hold: Option<HoldUntil>,
    /// The transitions so far, newest first.
    pub history: Vec<Transition>,
    /// What became of earlier Moves.
    pub verdicts: Vec<Verdict>,
    /// What stands in the way of a promotion, by site.
    pub obstacles: BTreeMap<SiteName, Vec<Gate>>,
    /// Workloads as they were seen, by site.
    pub seen: BTreeMap<(SiteName, ItemName), Seen>,
    /// The time of day at the moment of the change.
    pub wall: Timestamp,
    /// The timing profile of the installation.
    pub profile: Profile,
    /// The seed of all chance.
    pub seed: u64,
}

/// A workload as it was seen; what is `None` is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its replicas.
    pub replicas: Option<u32>,
    /// Its read-only flag.
    pub flag: Option<FlagValue>,
}

/// What is merged, all of it at once.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The policy as it shall be.
    pub policy: After,
    /// Moves that are new.
    pub moves: Vec<Move>,
}

/// What becomes of the policy.
#[derive(Clone, Debug, Default)]
pub enum After {
    /// It stays as it is.
    #[default]
    Same,
    /// It is this from now on.
    Becomes(Box<Policy>),
    /// It is deleted.
    Gone,
}

/// What was done because of a change.
#[derive(Clone, Debug, Default)]
pub struct Rehearsed {
    /// What operators and guards did, in order, each with its time since the change.
    pub deeds: Vec<(Duration, Deed)>,
    /// The record before.
    pub before: Option<Record>,
    /// The record after.
    pub after: Option<Record>,
    /// What became of each Move; `None`: it waits.
    pub verdicts: Vec<(Move, Option<Verdict>)>,
    /// What still waits when nothing more happens, by the site that says so.
    pub waits: Vec<(SiteName, Gate)>,
    /// What each database is, before and after, where that is not the same.
    pub databases: Vec<DatabaseRole>,
    /// The transition that took place, with its measures.
    pub transition: Option<TransitionRow>,
    /// How long it took until nothing more was done.
    pub took: Duration,
    /// It was not over when it was not watched any longer.
    pub goes_on: bool,
}

/// What a database is in a site, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseRole {
    /// The site.
    pub site: SiteName,
    /// The database.
    pub database: ItemName,
    /// What it was; `None`: there was none.
    pub before: Option<String>,
    /// What it is.
    pub after: String,
}

/// The world cannot be brought to where things are said to stand.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the simulated world does not come to stand as it should ({wanted}) within {within}: {why}")]
pub struct CannotStand {
    wanted: String,
    within: String,
    why: String,
}

/// How many replicas a workload is taken to have of which nothing is known: what Kubernetes makes of one that says
/// nothing.
pub const ASSUMED_REPLICAS: u32 = 1;
