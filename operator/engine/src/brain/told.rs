//! What people were shown last, and whether it still says the same.

use bascule_core::facts::magnitude;
use bascule_core::moves::MoveHash;
use bascule_core::plan::{Answer, Gate};
use bascule_core::project::{Condition, Judged, SiteRow};
use bascule_core::record::Record;

use super::policy::State;
use super::words::Words;

/// What must change for people to be shown the state again at once: answers and states, not ages and positions.
///
/// It is compared with every event and made only when something is shown. All the words are compared now and then: what a
/// promotion would need although nobody asks for one is among them.
#[derive(Clone, Debug)]
pub(super) struct Told {
    serial: Option<u64>,
    phase: Option<String>,
    gates: Vec<(String, Answer)>,
    sites: Vec<SiteRow>,
    conditions: Vec<Condition>,
    moves: Vec<MoveHash>,
    generation: Option<(i64, Option<String>)>,
    invalid: Option<String>,
    trouble: Option<String>,
    /// All the words, in short.
    pub(super) words: Words,
}

impl Told {
    /// What is told by showing this, but for the words.
    pub(super) fn of(
        state: &State,
        record: Option<&Record>,
        judged: &Judged,
        trouble: Option<&String>,
    ) -> Self {
        Self {
            serial: record.map(|r| r.serial),
            phase: record.map(|r| r.phase.name().to_owned()),
            gates: gates(state).map(|g| (g.name.clone(), g.answer)).collect(),
            sites: judged.sites().to_vec(),
            conditions: judged.conditions().to_vec(),
            moves: state.moves.iter().map(|m| m.hash.clone()).collect(),
            generation: state.policy.as_ref().map(|p| (p.generation, p.revision.clone())),
            invalid: state.invalid.clone(),
            trouble: trouble.cloned(),
            words: Words::default(),
        }
    }

    /// Whether showing this would tell nothing that cannot wait.
    pub(super) fn says(
        &self,
        state: &State,
        record: Option<&Record>,
        judged: &Judged,
        trouble: Option<&String>,
    ) -> bool {
        self.serial == record.map(|r| r.serial)
            && self.phase.as_deref() == record.map(|r| r.phase.name())
            && gates(state)
                .map(|g| (g.name.as_str(), g.answer))
                .eq(self.gates.iter().map(|(name, answer)| (name.as_str(), *answer)))
            && judged.sites().iter().map(of_site).eq(self.sites.iter().map(of_site))
            && judged.conditions().iter().map(of_condition).eq(self.conditions.iter().map(of_condition))
            && state.moves.iter().map(|m| &m.hash).eq(&self.moves)
            && self.generation.as_ref().map(|(number, revision)| (*number, revision))
                == state.policy.as_ref().map(|p| (p.generation, &p.revision))
            && self.invalid == state.invalid
            && self.trouble.as_ref() == trouble
    }

    /// Whether what changes often without being urgent is the same too: how far the replicas are behind.
    pub(super) fn says_lags(&self, judged: &Judged) -> bool {
        judged.sites().iter().map(lag).eq(self.sites.iter().map(lag))
    }
}

fn gates(state: &State) -> impl Iterator<Item = &Gate> {
    state.plan.gates.iter().chain(&state.plan.blockers).chain(&state.seen.advice)
}

fn of_site(s: &SiteRow) -> impl PartialEq + '_ {
    (&s.name, s.role, s.lives, s.promotable, s.streaming, &s.spec_hash, &s.revision)
}

fn of_condition(c: &Condition) -> impl PartialEq + '_ {
    (&c.kind, c.status, &c.reason)
}

fn lag(s: &SiteRow) -> Option<u32> {
    s.lag.bytes.map(magnitude)
}
