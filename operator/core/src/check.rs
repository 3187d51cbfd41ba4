//! A second opinion: refuses what breaks an invariant.
//!
//! It shares no rule with [`crate::decide`] on purpose: the same mistake would have to be made twice, in two ways. It
//! asks less (not whether something is due, only whether it is allowed), so it never stands in the way of a right
//! decision. The engine asks it before every commit and every effect, and freezes the policy on a violation.

mod change;
mod effects;
mod take;

use std::fmt;

use crate::decide::{PolicySeen, Situation};
use crate::plan::Plan;
use crate::policy::Policy;
use crate::record::{Phase, Record, SCHEMA};

/// The invariant that a plan would break. The numbers are those of the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// S2: the serial grows by one with every change, and the generation stays.
    Serial,
    /// S2: the epoch grows by one exactly when the active site changes.
    Epoch,
    /// Nothing is written from a view of the record that may be overtaken.
    View,
    /// Nothing is written or moved without time left on the own lease.
    Lease,
    /// A record of a newer version is never changed.
    Understood,
    /// An arbiter that answers with less than was seen before is not believed.
    WentBack,
    /// Each change of phase has its writer.
    Writer,
    /// S3: a take needs a proof, a proved silence of a site that promised to stop, or a person's statement.
    Evidence,
    /// S4: what a take may lose is known, and within what the policy or a person accepts.
    Loss,
    /// S5: a handover needs the positions of clean stops, a planned take their proof.
    Proof,
    /// S6: traffic carries the record's serial and is pointed only by the site that it is to reach.
    Traffic,
    /// S7: a read-only flag is cleared only by a site that grants, and a gateway lets writes pass only on their way to one.
    Flags,
    /// S8: only a policy in force and a Move without a verdict start anything.
    Intent,
    /// S10: a policy touches only what it names.
    Named,
    /// A database's role follows from the record.
    Role,
    /// Only the active site locks, and what it offers is locked.
    Lock,
    /// A verdict that must be remembered is never dropped, nor what this version does not know.
    Memory,
}

impl Rule {
    /// Its stable name, for metrics and the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Epoch => "epoch",
            Self::View => "view",
            Self::Lease => "lease",
            Self::Understood => "understood",
            Self::WentBack => "wentBack",
            Self::Writer => "writer",
            Self::Evidence => "evidence",
            Self::Loss => "loss",
            Self::Proof => "proof",
            Self::Traffic => "traffic",
            Self::Flags => "flags",
            Self::Intent => "intent",
            Self::Named => "named",
            Self::Role => "role",
            Self::Lock => "lock",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A plan would break an invariant: a mistake in this program, never of its user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan breaks the rule {rule}: {message}; nothing more is done for this policy, please report it")]
pub struct Violation {
    /// Which invariant.
    pub rule: Rule,
    /// What was found and what is allowed.
    pub message: String,
}

/// Everything that is wrong with `plan`, made from the record `before` in situation `s`; empty: it may be carried out.
pub fn check(before: Option<&Record>, plan: &Plan, s: &Situation<'_>) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    let case = Case { s, before, policy: in_force(s) };
    if let Some(change) = &plan.transition {
        change::check(&case, change, &mut found);
    }
    effects::check(&case, plan, &mut found);
    found.0
}

/// What is judged against.
struct Case<'a> {
    s: &'a Situation<'a>,
    before: Option<&'a Record>,
    /// The policy, if it is there, names this site and is not suspended.
    policy: Option<&'a Policy>,
}

impl Case<'_> {
    /// Whether this site is the active one.
    fn mine(&self) -> bool {
        self.before.is_some_and(|r| r.active == *self.s.me)
    }

    /// Whether the own lease has time left.
    fn lease(&self) -> bool {
        self.s.holder.remaining(self.s.now).is_some()
    }

    /// Whether this site grants by the holder's rule.
    fn grants(&self) -> bool {
        self.s.claim.grant(self.s.holder, self.s.me, self.s.now).is_ok()
    }

    /// The policy as it lies there, in force or suspended.
    fn present(&self) -> Option<&Policy> {
        match self.s.policy {
            PolicySeen::Present(policy) => Some(policy),
            PolicySeen::NotListed | PolicySeen::Absent => None,
        }
    }
}

struct Found(Vec<Violation>);

impl Found {
    fn want(&mut self, ok: bool, rule: Rule, message: impl FnOnce() -> String) {
        if !ok {
            self.0.push(Violation { rule, message: message() });
        }
    }
}

fn in_force<'a>(s: &Situation<'a>) -> Option<&'a Policy> {
    match s.policy {
        PolicySeen::Present(p) if !p.suspend && p.sites.contains(s.me) => Some(p),
        _ => None,
    }
}

/// Whether this version may change the record.
fn understood(record: &Record) -> bool {
    record.schema <= SCHEMA && !matches!(record.phase, Phase::Unknown(_))
}
