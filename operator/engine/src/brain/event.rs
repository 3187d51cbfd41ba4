//! What the brain hears and what it orders.

use std::collections::BTreeMap;
use std::sync::Arc;

use bascule_core::ballot::claim::RecordRevision;
use bascule_core::ballot::silence::LeaseRevision;
use bascule_core::facts::SiteFacts;
use bascule_core::guard::wire::{Instruction, Upstream};
use bascule_core::heartbeat::Heartbeat;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{Fact, Kept, PodsAsked, TrafficAt, TrafficView, WorkloadView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Gate, Lane, Step};
use bascule_core::policy::Policy;
use bascule_core::record::Record;
use bascule_core::time::Boottime;

use crate::ports::{
    ArbiterChange, Cas, GuardEvent, GuardSession, Intent, JournalEntry, Listed, NoUpstream, Renewed, Shown,
    TargetChanged,
};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A moment the brain asked for has come, or the first one.
    Tick,
    /// A renewal ended.
    Renewed {
        /// When it was sent.
        sent: Boottime,
        /// How it ended.
        result: Renewed,
    },
    /// A read of all leases ended.
    Leases {
        /// When it was sent.
        sent: Boottime,
        /// When its reply was received.
        received: Boottime,
        /// What it found.
        result: Result<BTreeMap<SiteName, LeaseRevision>, String>,
    },
    /// A read of a record ended.
    Record {
        /// Whose.
        policy: PolicyKey,
        /// When it was sent.
        sent: Boottime,
        /// When its reply was received.
        received: Boottime,
        /// What it found.
        result: Result<Option<(Box<Record>, RecordRevision)>, String>,
    },
    /// A compare-and-swap ended.
    Written {
        /// Whose record.
        policy: PolicyKey,
        /// What was written, or was to be.
        next: Box<Record>,
        /// How it ended.
        result: Cas,
    },
    /// The writing of this site's facts ended.
    FactsWritten {
        /// About which policy.
        policy: PolicyKey,
        /// What was written, or was to be.
        facts: Box<SiteFacts>,
        /// How it ended.
        outcome: Outcome,
    },
    /// The arbiter was listed.
    Listed(Result<Listed, String>),
    /// The arbiter changed.
    Changed(ArbiterChange),
    /// A guard did something.
    Guard(GuardEvent),
    /// People want something.
    Intent(Intent),
    /// This site's high-water marks were read.
    Marks(Result<BTreeMap<PolicyKey, Kept>, String>),
    /// A mark was raised.
    MarkRaised {
        /// Whose.
        policy: PolicyKey,
        /// To what.
        kept: Box<Kept>,
        /// How it ended.
        outcome: Outcome,
    },
    /// A look ended.
    Seen {
        /// For which policy.
        policy: PolicyKey,
        /// At what.
        what: Look,
        /// What was seen.
        found: Found,
    },
    /// A traffic target of this site's cluster was changed, by whomever.
    TrafficChanged(TargetChanged),
    /// A step ended.
    Done {
        /// For which policy.
        policy: PolicyKey,
        /// Which.
        step: Step,
        /// How it ended.
        outcome: Outcome,
    },
    /// The state of a policy was shown to people, or not.
    Published {
        /// Which policy.
        policy: PolicyKey,
        /// How it ended.
        outcome: Outcome,
    },
    /// The heartbeat was written, or not.
    Beaten {
        /// How it ended.
        outcome: Outcome,
    },
}

/// What can be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// A workload: its flag, its pods, its replicas.
    Workload(ItemName),
    /// Where a traffic target points.
    Traffic(ItemName),
    /// A database's settings, grants and Secrets.
    Database(ItemName),
    /// How a replica here reaches another site's database.
    Upstream(ItemName, SiteName),
}

/// What a look has found.
#[derive(Clone, Debug)]
pub enum Found {
    /// A workload.
    Workload(Box<WorkloadView>),
    /// A traffic target.
    Traffic(Box<TrafficView>),
    /// A database's findings.
    Database(Fact<Vec<Gate>>),
    /// A way to a database.
    Upstream(Result<Upstream, NoUpstream>),
}

impl Found {
    /// Whether everything about it is known and nothing of it is about to change or to be mended.
    pub(super) fn is_settled(&self) -> bool {
        let open = |gates: &Fact<Vec<Gate>>| gates.value().is_some_and(|g| g.iter().all(Gate::passed));
        match self {
            Self::Workload(w) => {
                let heard = |p: &PodsAsked| p.unknown == 0 && (p.read_only == 0 || p.read_only == p.pods);
                w.flag.value().is_some()
                    && w.effective.value().is_none_or(heard)
                    && w.replicas.value().is_some_and(|r| r.ready >= r.wanted)
                    && open(&w.blockers)
            }
            Self::Traffic(t) => {
                let agreed = |at: &TrafficAt| at.differing.is_empty() && at.silent.is_empty();
                t.at.value().is_some_and(agreed) && open(&t.blockers)
            }
            Self::Database(found) => open(found),
            Self::Upstream(found) => found.is_ok(),
        }
    }
}

/// Something to be done by the runner.
#[derive(Clone, Debug)]
pub enum Command {
    /// Renew this site's lease.
    Renew,
    /// Read all leases.
    ReadLeases,
    /// Read a record.
    ReadRecord(PolicyKey),
    /// Write a record.
    Write {
        /// Whose.
        policy: PolicyKey,
        /// From which revision; `None`: there must be none.
        expected: Option<RecordRevision>,
        /// What.
        next: Box<Record>,
        /// The lease that must be unchanged.
        unchanged_lease: Option<(SiteName, LeaseRevision)>,
    },
    /// Write this site's facts.
    WriteFacts {
        /// About which policy.
        policy: PolicyKey,
        /// What.
        facts: Box<SiteFacts>,
    },
    /// List the arbiter, then watch it from there.
    ListAndWatch,
    /// Answer a guard.
    Answer {
        /// Which.
        session: GuardSession,
        /// Its nonce.
        nonce: u64,
        /// What.
        instruction: Box<Instruction>,
    },
    /// Tell a guard.
    Tell {
        /// Which.
        session: GuardSession,
        /// What.
        instruction: Box<Instruction>,
    },
    /// End a guard's connection.
    Refuse {
        /// Which.
        session: GuardSession,
        /// Why, for the person who must act.
        reason: String,
    },
    /// Read the high-water marks.
    ReadMarks,
    /// Raise a high-water mark.
    RaiseMark {
        /// Whose.
        policy: PolicyKey,
        /// To what.
        kept: Box<Kept>,
    },
    /// Look at something.
    Look {
        /// For which policy.
        policy: Arc<Policy>,
        /// At what.
        what: Look,
        /// Whether this site is the active one.
        active: bool,
    },
    /// Do a step.
    Perform {
        /// For which policy.
        policy: Arc<Policy>,
        /// Which.
        step: Step,
        /// In which lane.
        lane: Lane,
    },
    /// Show people the state of a policy.
    Publish(Box<Shown>),
    /// Tell people that this operator lives, and vouches for what it has shown.
    Beat(Box<Heartbeat>),
    /// Write into the journal.
    Journal(JournalEntry),
    /// This site's name belongs to another cluster: stop.
    Stop {
        /// Why, for the person who must act.
        reason: String,
    },
    /// Another replica of this site's operator acts: do nothing more.
    StandDown {
        /// Who acts, in words.
        who: String,
    },
}
