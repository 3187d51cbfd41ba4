//! What a site tells the others about itself: information, never authority.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::guard::wire::{Behind, Disk, Diverged};
use crate::name::{ItemName, SiteName};
use crate::plan::Gate;

/// The layout of [`SiteFacts`] that this version writes.
pub const SCHEMA: u32 = 1;

/// One site's facts about one policy. Written only by that site, and only when something changed or was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteFacts {
    /// The layout.
    pub schema: u32,
    /// Who speaks.
    pub site: SiteName,
    /// This operator's question to the others: facts that answer it were gathered after it was asked.
    pub question: u64,
    /// The others' questions that these facts answer.
    pub answers: BTreeMap<SiteName, u64>,
    /// The hash of the policy's spec as this site has it.
    pub spec_hash: Option<String>,
    /// The git revision it came from.
    pub revision: Option<String>,
    /// Why this site cannot be promoted now; empty: it can.
    pub blockers: Vec<Gate>,
    /// The serial of the `Requested` record for which this site, as its target, is ready.
    pub ready_for: Option<u64>,
    /// What lies on its databases' disks; absent while no guard is connected.
    pub disks: BTreeMap<ItemName, Disk>,
    /// How far its replicas are behind, in bytes; for people.
    pub lag_bytes: BTreeMap<ItemName, u64>,
    /// How far the other sites' replicas are behind this site's databases while it is active, as last worth saying
    /// ([`Behind::to_say`]); a replica that keeps up is absent. Where a line is slow the standby learns of its own lag
    /// too late, so what the active site said counts in the loss gate.
    #[serde(default)]
    pub behind: BTreeMap<ItemName, BTreeMap<SiteName, Behind>>,
    /// Log past the fork that its databases saved when they last came back on another history.
    #[serde(default)]
    pub diverged: BTreeMap<ItemName, Diverged>,
    /// Replicas of each workload as observed.
    pub sizes: BTreeMap<ItemName, u32>,
}
