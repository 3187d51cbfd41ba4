//! The independent checker. It shares no code with the planner and never believes what Bascule says of itself: it goes
//! by the clients' record and by the state of servers, leases and zones. What operators show is judged by these (L5, L6).

mod flags;
mod intent;
mod journal;
mod liveness;
mod recovery;
mod safety;
mod shown;
mod sometimes;
mod traffic;
mod writers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bascule_core::moves::{Move, MoveHash, Order};
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::plan::Step;
use bascule_core::policy::Policy;
use bascule_core::record::Record;

use serde::{Deserialize, Serialize};

use crate::time::Moment;
use crate::world::arbiter::Answer;
use crate::world::dns::Pointed;
use crate::world::postgres::Token;

pub use self::liveness::Unsettled;
pub use self::writers::spares_the_writer;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are named as in docs/guarantees.md")]
pub enum Invariant {
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    S7,
    S8,
    S9,
    S10,
    S11,
    L1,
    L2,
    L3,
    L4,
    L5,
    L6,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::S1,
        Self::S2,
        Self::S3,
        Self::S4,
        Self::S5,
        Self::S6,
        Self::S7,
        Self::S8,
        Self::S9,
        Self::S10,
        Self::S11,
        Self::L1,
        Self::L2,
        Self::L3,
        Self::L4,
        Self::L5,
        Self::L6,
    ];
}

/// Something that must not happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub at: Moment,
    /// What was broken.
    pub invariant: Invariant,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:.3} s: {}", self.invariant, self.at.since_start().as_secs_f64(), self.what)
    }
}

/// Something interesting that a set of runs must have met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sometimes {
    /// A promotion was in flight while the old holder stood still.
    PromotionWhileHolderFrozen,
    /// An effect of an older state was refused by what it was aimed at.
    OldEffectRefused,
    /// A cooldown or a hold kept a role from moving.
    HeldBack,
    /// An unknown lag kept a role from moving.
    LagUnknownBlocked,
    /// An acknowledged write was lost, as was allowed.
    AllowedLoss,
    /// A writer was stopped by its deadline.
    StoppedByDeadline,
    /// A guard extended its own grant.
    GuardExtended,
    /// A switchover was rolled back.
    RolledBack,
    /// A copy was rewound.
    Rewound,
    /// A database was offered.
    Offered,
    /// A grant was withdrawn.
    Withdrawn,
    /// A site came back during the hold.
    Returned,
    /// Two compare-and-swaps met, and one lost.
    CasLost,
    /// An operator started after one that had died with an intent and without its outcome.
    IntentWithoutOutcome,
}

/// What is known not to hold, with the place that says so: counted apart, never hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// An arbiter that was restored or emptied is refused by each site that has seen more, or hears of more from a site
    /// that lives. A site that was away believes it when nobody who knows better lives (docs/guarantees.md, S2).
    ArbiterWentBack,
    /// Two operators of one site act at once: no role lives twice, and each undoes what the other has just written (see
    /// docs/guarantees.md, L3).
    TwoOperators,
}

/// A commit, as its server made it.
#[derive(Clone, Copy, Debug)]
struct Commit {
    at: Moment,
    token: Token,
    database: usize,
    epoch: u64,
    /// A later hold had committed before.
    after_later: Option<(u64, usize)>,
    excused: bool,
}

/// The checker's own record.
#[derive(Clone, Debug)]
pub struct Judge {
    /// What was broken.
    pub violations: Vec<Violation>,
    /// What was met.
    pub met: BTreeSet<Sometimes>,
    /// What does not hold and is known not to.
    pub limits: BTreeSet<Limit>,
    policies: BTreeMap<PolicyKey, Policy>,
    commits: BTreeMap<Token, Commit>,
    acked: BTreeSet<Token>,
    /// The latest hold that committed, by policy.
    latest: BTreeMap<PolicyKey, (u64, usize)>,
    /// The highest epoch and serial ever written.
    highest: BTreeMap<PolicyKey, (u64, u64, u64)>,
    /// When each lease was last written.
    leases: BTreeMap<SiteName, Moment>,
    /// What people have asked for.
    intents: BTreeMap<MoveHash, Move>,
    /// What each traffic target was last pointed at; with a site: its own route.
    pointed: BTreeMap<((PolicyKey, ItemName), Option<usize>), Pointed>,
    /// Databases whose guard has stood still while their server ran, or may have: the fence class does not cover it.
    excused: BTreeSet<usize>,
    /// Which policy each database belongs to, learned when it opens.
    owners: BTreeMap<usize, PolicyKey>,
    /// When the active site changed by itself.
    automatic: BTreeMap<PolicyKey, Vec<Moment>>,
    /// Sites at which something has gone wrong a moment ago, and until when they count as out of reach.
    pub(crate) unreachable: BTreeMap<usize, Moment>,
    /// The arbiter was restored or emptied, and when.
    pub(crate) gone_back: Option<Moment>,
    /// An arbiter that had gone back was believed although nobody who lived could say so: what follows is known.
    believed: bool,
    /// What disturbed the world, and when.
    pub(crate) disturbed: recovery::Disturbances,
    /// What was seen of servers' ends.
    pub(crate) ends: writers::Ends,
    /// Flags that are off where they should not be.
    pub(crate) off: flags::Off,
    /// When flags were set.
    pub(crate) set: flags::Set,
    /// What operators have announced.
    pub(crate) announced: journal::Intents,
    /// What operators show.
    pub(crate) statuses: shown::Statuses,
    /// What only some runs meet.
    pub(crate) known: sometimes::Known,
    /// Of several replicas of a site's operator the one that took over last, by its fence.
    acting: BTreeMap<usize, u64>,
    /// Every change of a record.
    pub changes: Vec<(Moment, PolicyKey, Box<Record>)>,
}

impl Judge {
    /// A judge of these policies.
    pub fn new(policies: &[Policy]) -> Self {
        Self {
            violations: Vec::new(),
            met: BTreeSet::new(),
            limits: BTreeSet::new(),
            policies: policies.iter().map(|p| (p.key.clone(), p.clone())).collect(),
            commits: BTreeMap::new(),
            acked: BTreeSet::new(),
            latest: BTreeMap::new(),
            highest: BTreeMap::new(),
            leases: BTreeMap::new(),
            intents: BTreeMap::new(),
            pointed: BTreeMap::new(),
            excused: BTreeSet::new(),
            owners: BTreeMap::new(),
            automatic: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            gone_back: None,
            believed: false,
            disturbed: recovery::Disturbances::default(),
            ends: writers::Ends::default(),
            off: flags::Off::default(),
            set: flags::Set::default(),
            announced: journal::Intents::default(),
            statuses: shown::Statuses::default(),
            known: sometimes::Known::default(),
            acting: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn breaks(&mut self, at: Moment, invariant: Invariant, what: String) {
        let may_follow = matches!(
            invariant,
            Invariant::S1 | Invariant::S3 | Invariant::S4 | Invariant::S5 | Invariant::S7 | Invariant::L1
        );
        if self.believed && may_follow {
            self.limits.insert(Limit::ArbiterWentBack);
            return;
        }
        let same = |v: &&Violation| v.invariant == invariant && v.what == what;
        if self.violations.iter().find(same).is_none() {
            self.violations.push(Violation { at, invariant, what });
        }
    }

    pub(crate) fn adopts(&mut self, policy: &Policy) {
        self.policies.insert(policy.key.clone(), policy.clone());
    }

    pub(crate) fn intends(&mut self, mv: &Move) {
        self.intents.insert(mv.hash.clone(), mv.clone());
    }

    /// Whether a person has said that the holder is stopped.
    fn somebody_said_stopped(&self) -> bool {
        let said = |m: &Move| matches!(&m.order, Order::Failover { source_stopped: Some(_), .. });
        self.intents.values().any(said)
    }

    pub(crate) fn excuse(&mut self, database: usize) {
        self.excused.insert(database);
    }

    pub(crate) fn unexcuse(&mut self, database: usize) {
        self.excused.remove(&database);
    }

    /// The arbiter's store was put back: from now on each site is held to what it has seen itself.
    pub(crate) fn goes_back(&mut self, now: Moment) {
        self.gone_back = Some(now);
    }

    fn believes(&mut self) {
        self.believed = true;
        self.limits.insert(Limit::ArbiterWentBack);
    }

    pub(crate) fn flag_is_out_of_reach(&mut self, site: usize, until: Moment) {
        let known = self.unreachable.entry(site).or_insert(until);
        *known = until.max(*known);
    }

    pub(crate) fn meets(&mut self, what: Sometimes) {
        self.met.insert(what);
    }

    /// Another cluster was installed with a site's name; an arbiter that was emptied has forgotten whose it was.
    pub(crate) fn second_install(&mut self, now: Moment, known: bool, answer: &Answer) {
        if !known && self.gone_back.is_some() {
            self.limits.insert(Limit::ArbiterWentBack);
        } else if !matches!(answer, Answer::NameTaken(_)) {
            self.breaks(now, Invariant::S2, "one name was installed twice".to_owned());
        }
    }

    pub(crate) fn performs(&mut self, site: &SiteName, step: &Step, intents: &VecDeque<String>) {
        let words = step.words();
        if !intents.contains(&words) {
            self.breaks(
                Moment(0),
                Invariant::S11,
                format!("{site} did {words:?} without having said so before"),
            );
        }
    }
}
