//! What a site does next, with the reasons: data, complete, and made before anything is done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ballot::silence::LeaseRevision;
use crate::few::Few;
use crate::name::{ItemName, SiteName};
use crate::record::Record;
use crate::time::Boottime;

/// What a site does next for one policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The change of the record, if one is due.
    pub transition: Option<Change>,
    /// What each database of this site shall be.
    pub databases: Few<ItemName, DatabaseOrder>,
    /// The guards are being ordered to lock: from now on nothing is granted until a later own write succeeds.
    pub lock: bool,
    /// Effects that are due, at most one for each lane.
    pub steps: Vec<Step>,
    /// Every question that was asked, with its answer.
    pub gates: Vec<Gate>,
    /// Why this site cannot be promoted: what it tells the others.
    pub blockers: Vec<Gate>,
    /// The `Requested` serial for which this site, as the target, is ready.
    pub ready_for: Option<u64>,
    /// The serial of the `Handover` record for which this site can never prove that it has everything.
    pub cannot_prove: Option<u64>,
    /// What this site would bring if it took the role, when there are others that could: what it tells them.
    pub candidacy: Option<crate::facts::Candidacy>,
    /// This site's high-water marks have to be read again before the record is believed.
    pub waits_for_marks: bool,
    /// When to decide again although nothing has changed.
    pub look_again: Option<Boottime>,
    /// The state in one sentence, for people.
    pub summary: String,
}

impl Plan {
    /// Decide again at `at`, a moment that is still to come, or earlier.
    pub fn again(&mut self, at: Boottime) {
        self.look_again = Some(self.look_again.map_or(at, |t| t.min(at)));
    }

    /// Decide again at `at`, unless that moment has come by `now`: it would hide a later one that is still to come.
    pub fn again_when(&mut self, at: Boottime, now: Boottime) {
        if at > now {
            self.again(at);
        }
    }

    /// The first gate that blocks.
    pub fn first_blocker(&self) -> Option<&Gate> {
        self.gates.iter().find(|g| g.answer != Answer::Yes)
    }
}

/// A change of the record by compare-and-swap.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The record as it shall be; its serial is one above the present one.
    pub next: Record,
    /// A take: the transaction also compares this lease.
    pub unchanged_lease: Option<(SiteName, LeaseRevision)>,
    /// Which rule makes it, in words for the journal.
    pub why: String,
}

/// What a database of this site shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseOrder {
    /// Its role.
    pub role: DatabaseRole,
    /// Run a checkpoint now.
    pub checkpoint: bool,
}

/// The role of a database in one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseRole {
    /// Go on as you are.
    Keep,
    /// No role yet.
    Wait {
        /// For whom or what.
        why: String,
    },
    /// A replica of another site's database.
    Follow {
        /// Which site's.
        site: SiteName,
        /// Whether clients may read.
        open: bool,
    },
    /// The primary.
    Serve {
        /// Whether clients may connect.
        open: bool,
    },
    /// Stop and stay down.
    Lock,
}

/// One effect on this site's own cluster or on the traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step {
    /// Set a workload's read-only flag and have its pods look at once.
    SetReadOnly {
        /// The workload.
        workload: ItemName,
        /// The flag's meaning.
        on: bool,
    },
    /// Scale a workload.
    Scale {
        /// The workload.
        workload: ItemName,
        /// How many replicas.
        replicas: u32,
    },
    /// Point a traffic target at a site.
    PointTraffic {
        /// The target.
        traffic: ItemName,
        /// The site.
        site: SiteName,
        /// The record's epoch that the record set will carry.
        epoch: u64,
        /// The record's serial that the record set will carry.
        serial: u64,
    },
    /// Have this site's own gateway refuse writes, or let them reach the application.
    RefuseWrites {
        /// The target.
        traffic: ItemName,
        /// Whether they are refused.
        on: bool,
        /// The record's epoch that the target will carry.
        epoch: u64,
        /// The record's serial that the target will carry.
        serial: u64,
    },
    /// Commit a write through the operator's own role.
    VerifyWrite {
        /// The database.
        database: ItemName,
        /// The epoch it proves.
        epoch: u64,
    },
}

/// What one effect at a time is allowed for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lane {
    /// A workload's flag.
    Flag(ItemName),
    /// A workload's replicas.
    Scale(ItemName),
    /// A traffic target.
    Traffic(ItemName),
    /// A database's verification.
    Verify(ItemName),
}

impl Step {
    /// The lane it runs in.
    pub fn lane(&self) -> Lane {
        match self {
            Self::SetReadOnly { workload, .. } => Lane::Flag(workload.clone()),
            Self::Scale { workload, .. } => Lane::Scale(workload.clone()),
            Self::PointTraffic { traffic, .. } | Self::RefuseWrites { traffic, .. } => {
                Lane::Traffic(traffic.clone())
            }
            Self::VerifyWrite { database, .. } => Lane::Verify(database.clone()),
        }
    }

    /// The step in words, for the journal.
    pub fn words(&self) -> String {
        match self {
            Self::SetReadOnly { workload, on: true } => format!("set the read-only flag of {workload}"),
            Self::SetReadOnly { workload, on: false } => format!("clear the read-only flag of {workload}"),
            Self::Scale { workload, replicas } => format!("scale {workload} to {replicas}"),
            Self::PointTraffic { traffic, site, epoch, serial } => {
                format!("point {traffic} at {site} (epoch {epoch}, serial {serial})")
            }
            Self::RefuseWrites { traffic, on: true, epoch, serial } => {
                format!("have the gateway of {traffic} refuse writes (epoch {epoch}, serial {serial})")
            }
            Self::RefuseWrites { traffic, on: false, epoch, serial } => {
                format!("have the gateway of {traffic} let writes pass (epoch {epoch}, serial {serial})")
            }
            Self::VerifyWrite { database, epoch } => format!("verify a write in {database} (epoch {epoch})"),
        }
    }
}

/// One question that a decision depends on, with its answer and evidence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// The question's stable name, e.g. `loss`, `silence`, `promise`.
    pub name: String,
    /// The answer.
    pub answer: Answer,
    /// What was found.
    pub found: String,
    /// What is needed.
    pub needed: String,
    /// How old the finding is, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// A gate's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// It is as it must be.
    Yes,
    /// It is not, and waiting alone will not change it.
    No,
    /// Not yet: time or an event will tell.
    NotYet,
    /// It is not known, which denies.
    Unknown,
}

impl Answer {
    /// The one of the two that stands more in the way.
    const fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::NotYet, _) | (_, Self::NotYet) => Self::NotYet,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

impl Gate {
    /// A gate with an answer.
    pub fn new(name: &str, answer: Answer, found: impl Into<String>, needed: impl Into<String>) -> Self {
        Self { name: name.to_owned(), answer, found: found.into(), needed: needed.into(), age_ms: None }
    }

    /// A gate that is passed when `ok`, otherwise answered `otherwise`.
    pub fn when(
        ok: bool,
        otherwise: Answer,
        name: &str,
        found: impl Into<String>,
        needed: impl Into<String>,
    ) -> Self {
        Self::new(name, if ok { Answer::Yes } else { otherwise }, found, needed)
    }

    /// With the age of the finding.
    pub fn aged(mut self, age: Option<Duration>) -> Self {
        self.age_ms = age.map(|a| crate::time::Millis::from(a).0);
        self
    }

    /// Takes in another answer to the question of the same name.
    fn take_in(&mut self, other: Self) {
        if *self == other || (self.passed() && other.passed() && self.found == other.found) {
            return;
        }
        // What is passed already is no part of why the whole is not.
        if self.passed() != other.passed() {
            if self.passed() {
                *self = other;
            }
            return;
        }
        self.answer = self.answer.worse(other.answer);
        for (mine, theirs) in [(&mut self.found, other.found), (&mut self.needed, other.needed)] {
            if !mine.split("; ").any(|said| said == theirs) {
                mine.push_str("; ");
                mine.push_str(&theirs);
            }
        }
        self.age_ms = self.age_ms.max(other.age_ms);
    }

    /// Whether it is passed.
    pub const fn passed(&self) -> bool {
        matches!(self.answer, Answer::Yes)
    }

    /// The gate in one line: `loss: No: 2.1 s unseen (needed: at most 1 s)`.
    pub fn words(&self) -> String {
        format!("{}: {} (needed: {})", self.name, self.found, self.needed)
    }
}

/// The gates with each name once: gates that share one become one gate with the worst answer and the words of all.
/// A name is a key in status and a label of a metric, where a second gate with it would be lost.
pub fn merged(gates: impl IntoIterator<Item = Gate>) -> Vec<Gate> {
    let mut found: Vec<Gate> = Vec::new();
    for gate in gates {
        match found.iter_mut().find(|g| g.name == gate.name) {
            None => found.push(gate),
            Some(first) => first.take_in(gate),
        }
    }
    found
}

/// Whether every gate is passed.
pub fn all_passed<'a>(gates: impl IntoIterator<Item = &'a Gate>) -> bool {
    gates.into_iter().all(Gate::passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_of_one_name_become_one_with_the_worst_answer_and_the_words_of_all() {
        let gate = |answer, found: &str| Gate::new("veto", answer, found, "silence");
        let all = [
            gate(Answer::Yes, "old"),
            gate(Answer::NotYet, "main is silent for 1 s"),
            gate(Answer::No, "cache still receives"),
            Gate::new("loss", Answer::Yes, "nothing", "nothing"),
            gate(Answer::No, "cache still receives"),
        ];
        let merged = merged(all);
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0], gate(Answer::No, "main is silent for 1 s; cache still receives"));
    }

    #[test]
    fn of_two_answers_the_one_that_stands_more_in_the_way_counts() {
        let order = [Answer::No, Answer::Unknown, Answer::NotYet, Answer::Yes];
        for (i, a) in order.into_iter().enumerate() {
            for (j, b) in order.into_iter().enumerate() {
                assert_eq!(a.worse(b), order[i.min(j)]);
            }
        }
    }

    #[test]
    fn what_is_passed_is_told_once_for_each_thing_that_was_found() {
        let passed = |found: &str, needed: &str| Gate::new("disk", Answer::Yes, found, needed);
        assert_eq!(merged([passed("a", "x"), passed("a", "y")]), [passed("a", "x")]);
        assert_eq!(merged([passed("a", "x"), passed("b", "x")]), [passed("a; b", "x")]);
        assert_eq!(merged([passed("a", "x"), passed("b", "y")]), [passed("a; b", "x; y")]);
    }

    #[test]
    fn a_plan_is_made_again_at_the_earliest_moment_that_is_still_to_come() {
        let (mut plan, ms) = (Plan::default(), Boottime::from_millis);
        plan.again_when(ms(5), ms(6));
        plan.again_when(ms(6), ms(6));
        assert_eq!(plan.look_again, None);
        plan.again_when(ms(9), ms(6));
        plan.again_when(ms(7), ms(6));
        plan.again(ms(8));
        assert_eq!(plan.look_again, Some(ms(7)));
    }
}
