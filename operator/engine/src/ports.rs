//! What the engine needs from the outside. Adapters implement these for real; the simulator for its world.
//!
//! Every call is under a deadline of its implementation's or of the caller's, reports a fact or does one step, and
//! never judges. No call retries a write by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_core::ballot::claim::RecordRevision;
use bascule_core::ballot::silence::LeaseRevision;
use bascule_core::facts::SiteFacts;
use bascule_core::guard::wire::{Hello, Instruction, Report, Upstream};
use bascule_core::heartbeat::Heartbeat;
use bascule_core::moves::Move;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{Fact, Kept, TrafficView, WorkloadView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Gate, Step};
use bascule_core::policy::Policy;
use bascule_core::record::Record;
use bascule_core::time::Boottime;
use jiff::Timestamp;
use tokio::sync::mpsc;

pub use bascule_core::journal::{JournalEntry, JournalKind};

/// The clocks of this machine.
pub trait Clock: Send + Sync + 'static {
    /// The time since boot, suspended time included.
    fn now(&self) -> Boottime;
    /// The wall clock, for people and for the bounds that people write.
    fn wall(&self) -> Timestamp;
}

/// How a renewal of the site lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It was applied.
    Applied,
    /// Another cluster owns this site name.
    NameTaken {
        /// That cluster's UID.
        owner: String,
    },
    /// Another replica of this site's operator acts now, or nobody does. Nothing was written.
    NotActing {
        /// Who acts, in words.
        who: String,
    },
    /// It may or may not have been applied.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// How a compare-and-swap ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Cas {
    /// It was applied, at this revision.
    Applied(RecordRevision),
    /// Another write, or the other site's renewal, came first; nothing was changed.
    Conflict,
    /// It may or may not have been applied, or may be later: read before anything else.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Everything the arbiter holds beside the leases.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Policies that have a record, with its revision.
    pub records: BTreeMap<PolicyKey, RecordRevision>,
    /// What the sites said.
    pub facts: BTreeMap<(PolicyKey, SiteName), SiteFacts>,
    /// What could not be read, in words.
    pub unreadable: Vec<String>,
    /// The revision of the whole listing: a watch continues from here.
    pub revision: i64,
}

/// A change in the arbiter, as its watch saw it: a reason to look, never authority.
#[derive(Clone, Debug)]
pub enum ArbiterChange {
    /// A record changed.
    Record {
        /// Whose.
        policy: PolicyKey,
        /// Its new revision.
        revision: RecordRevision,
    },
    /// A site said something.
    Facts {
        /// About which policy.
        policy: PolicyKey,
        /// Who.
        site: SiteName,
        /// What.
        facts: Box<SiteFacts>,
    },
    /// The watch broke: list again.
    Broken {
        /// Why.
        reason: String,
    },
}

/// The store that decides.
#[async_trait]
pub trait Arbiter: Send + Sync + 'static {
    /// Renews this site's lease once, at several members if there are.
    async fn renew(&self, deadline: Duration) -> Renewed;
    /// Reads every lease, linearizably.
    async fn leases(&self, deadline: Duration) -> Result<BTreeMap<SiteName, LeaseRevision>, String>;
    /// How many calls that are made at the same moment travel in one request at most: reads of records, writes of records,
    /// writes of facts. Each ends as if it had been made alone.
    fn together(&self) -> usize {
        1
    }
    /// Reads a record, linearizably. A record that cannot be parsed is an error, never an absent one.
    async fn record(
        &self,
        policy: &PolicyKey,
        deadline: Duration,
    ) -> Result<Option<(Record, RecordRevision)>, String>;
    /// Writes a record if it is still at `expected` (`None`: if there is none), in one step, sent once. Where a lease is
    /// given, it is not written if that lease is seen to have moved: in the same transaction where the store has any, else
    /// by a read before. The protocol needs no more than the record's own comparison.
    async fn write(
        &self,
        policy: &PolicyKey,
        expected: Option<RecordRevision>,
        next: &Record,
        unchanged_lease: Option<&(SiteName, LeaseRevision)>,
        deadline: Duration,
    ) -> Cas;
    /// Writes this site's facts about a policy.
    async fn put_facts(&self, policy: &PolicyKey, facts: &SiteFacts, deadline: Duration) -> Outcome;
    /// Lists records and facts.
    async fn list(&self, deadline: Duration) -> Result<Listed, String>;
    /// Sends every change after `revision` until the watch breaks; the last item sent is `Broken`.
    async fn watch(&self, revision: i64, into: mpsc::Sender<ArbiterChange>);
}

/// A connection of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuardSession(pub u64);

/// What guards do.
#[derive(Clone, Debug)]
pub enum GuardEvent {
    /// One connected.
    Connected {
        /// Its connection.
        session: GuardSession,
        /// Who it is.
        hello: Hello,
    },
    /// One asks.
    Asked {
        /// Its connection.
        session: GuardSession,
        /// To be echoed.
        nonce: u64,
        /// Whether the answer needs a read of the record made after the question arrived.
        fresh: bool,
        /// What it sees.
        report: Box<Report>,
        /// When the question arrived.
        received: Boottime,
    },
    /// Its connection ended.
    Gone {
        /// Its connection.
        session: GuardSession,
        /// Why.
        reason: String,
    },
}

/// The guards of this site's databases. Sending never blocks: a guard that does not read is dropped by the adapter.
pub trait Guards: Send + Sync + 'static {
    /// Answers a question.
    fn answer(&self, session: GuardSession, nonce: u64, instruction: Instruction);
    /// Tells something unasked; it never extends a deadline.
    fn tell(&self, session: GuardSession, instruction: Instruction);
    /// Ends the connection; the guard's own log shows the reason.
    fn refuse(&self, session: GuardSession, reason: String);
}

/// What people want, as it changes.
#[derive(Clone, Debug)]
pub enum Intent {
    /// A valid policy was created or changed.
    Policy(Box<Policy>),
    /// A policy object exists and is not valid; the last valid one stays in force.
    Invalid {
        /// Which.
        policy: PolicyKey,
        /// Field, found, expected, way out.
        reason: String,
    },
    /// A policy object is gone.
    PolicyGone(PolicyKey),
    /// The policy object has not got what people were shown of it: it is another one of the same name.
    ShowAgain(PolicyKey),
    /// The Moves about a policy that exist now.
    Moves {
        /// Which policy.
        policy: PolicyKey,
        /// All of them.
        moves: Vec<Move>,
    },
    /// Policies and Moves have been listed completely.
    Listed,
}

/// Why the way to a database is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoUpstream {
    /// What describes it is not there, or cannot be used: a way that was known before is gone.
    Missing {
        /// What, and what to do.
        reason: String,
    },
    /// It could not be looked up: a way that was known before still holds.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// A traffic target of this site's own cluster that was changed: a reason to look, never a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetChanged {
    /// Whose.
    pub policy: PolicyKey,
    /// Which.
    pub traffic: ItemName,
}

/// This site's own cluster, and the traffic.
#[async_trait]
pub trait Site: Send + Sync + 'static {
    /// Looks at one workload of the policy.
    async fn workload(&self, policy: &Policy, name: &ItemName) -> WorkloadView;
    /// Looks at one traffic target.
    async fn traffic(&self, policy: &Policy, name: &ItemName) -> TrafficView;
    /// Waits, without an end, for a change of a traffic target that was looked at before. Whoever stops waiting misses
    /// nothing; changes that follow closely on each other may be told as one. Without a watch nothing is ever told.
    async fn traffic_changed(&self) -> TargetChanged {
        std::future::pending().await
    }
    /// Looks at one database through the operator's own role: settings, grants, Secrets.
    async fn database(&self, policy: &Policy, name: &ItemName, active: bool) -> Fact<Vec<Gate>>;
    /// How a replica here reaches the database of `site`.
    async fn upstream(
        &self,
        policy: &Policy,
        name: &ItemName,
        site: &SiteName,
    ) -> Result<Upstream, NoUpstream>;
    /// Does one step, once, under its deadline.
    async fn perform(&self, policy: &Policy, step: &Step) -> Outcome;
    /// This site's high-water marks, with what else is kept beside them.
    async fn marks(&self) -> Result<BTreeMap<PolicyKey, Kept>, String>;
    /// Raises a mark; it never falls.
    async fn raise_mark(&self, policy: &PolicyKey, kept: &Kept) -> Outcome;
    /// Shows people the state of a policy. Only the newest state matters.
    async fn publish(&self, shown: Shown) -> Outcome;
    /// Tells people that this operator lives. What was published and has not reached them yet is named in it, too.
    async fn beat(&self, heartbeat: Heartbeat) -> Outcome;
}

/// The state of a policy as this site's operator sees it, for people.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The policy, if it is known.
    pub policy: Option<Arc<Policy>>,
    /// Which policy.
    pub key: PolicyKey,
    /// Why the present object is not valid, if so.
    pub invalid: Option<String>,
    /// What people are told.
    pub report: bascule_core::project::Report,
    /// The Moves that exist, for their status.
    pub moves: Vec<Move>,
    /// The record.
    pub record: Option<Record>,
    /// What is wrong with this site's own standing: its lease, the arbiter.
    pub trouble: Option<String>,
}

/// Where the journal goes. Writing never blocks and never fails the caller.
pub trait Journal: Send + Sync + 'static {
    /// Adds an entry.
    fn write(&self, entry: JournalEntry);
}
