//! What Bascule reported in its record, read from the arbiter's own history, by a reader of its own.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::shop::{NAMESPACE, POLICY};
use crate::world::World;
use crate::world::arbiter::PREFIX;

/// One state of the record; what the checker does not need is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// What a person raises when the arbiter has lost records.
    #[serde(default)]
    pub generation: u64,
    /// The fencing token.
    pub epoch: u64,
    /// One more with every change.
    pub serial: u64,
    /// The site that may write.
    pub active: String,
    /// Where a transition stands.
    pub phase: String,
    /// When the phase was entered.
    pub entered: Entered,
    /// What the active site has promised.
    pub promise: Promise,
    /// The transition that is under way.
    pub transition: Option<Transition>,
    /// The last finished ones, newest first.
    #[serde(default)]
    pub history: Vec<Transition>,
}

/// What the active site has promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// The timing profile that it keeps to.
    pub profile: String,
    /// Within what it stops by itself.
    #[serde(default)]
    pub fences: serde_json::Value,
}

impl Promise {
    /// Whether only a person can say that the site has stopped.
    pub fn is_nothing(&self) -> bool {
        self.fences == "never"
    }
}

/// When a phase was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// By the clock of the machine, which all sites of the sandbox share.
    pub at: jiff::Timestamp,
}

/// A change of the active site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Why; `Planned` promises that nothing is lost.
    pub cause: String,
    /// The site that had the role.
    pub from: String,
    /// The site that gets it.
    pub to: String,
    /// The epoch that it leads to.
    pub epoch: u64,
    /// The most that may be lost; none means nothing.
    pub loss_bound: Option<LossBound>,
    /// What the saved log of the old site holds.
    pub measured_loss: Option<MeasuredLoss>,
}

/// The most that may be lost; what is missing is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossBound {
    /// Bytes that were known and not received.
    pub bytes: Option<u64>,
    /// Milliseconds in which writes may have been acknowledged unseen.
    pub unseen: Option<u64>,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredLoss {
    /// Committed transactions past the fork.
    pub transactions: u64,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    value: String,
    mod_revision: u64,
}

/// The record now.
pub fn record(world: &World) -> Result<Record> {
    at(world, None).map(|(record, _)| record)
}

/// Every state of the record from this serial on, the oldest first.
pub fn records_since(world: &World, serial: u64) -> Result<Vec<Record>> {
    let (mut record, mut revision) = at(world, None)?;
    let mut found = Vec::new();
    while record.serial > serial {
        found.push(record);
        (record, revision) = at(world, Some(revision - 1))?;
    }
    found.push(record);
    found.reverse();
    Ok(found)
}

/// The record as of a revision of the arbiter, and the revision that wrote it.
fn at(world: &World, revision: Option<u64>) -> Result<(Record, u64)> {
    let key = format!("{PREFIX}v1/record/{NAMESPACE}/{POLICY}");
    let revision = revision.map(|r| format!("--rev={r}"));
    let args = ["get", &key, "-w", "json"].into_iter().chain(revision.as_deref());
    let text = world.arbiter().ctl("root", &args.collect::<Vec<_>>())?;
    let answer: Answer = serde_json::from_str(&text).context("etcdctl's answer")?;
    let kv = answer.kvs.first().with_context(|| format!("{key} is not there"))?;
    let value = STANDARD.decode(&kv.value)?;
    let record = serde_json::from_slice(&value)
        .with_context(|| format!("cannot read the record {}", String::from_utf8_lossy(&value)))?;
    Ok((record, kv.mod_revision))
}
