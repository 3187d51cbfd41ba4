//! What people were shown last, and whether it still says the same.

use std::hash::{Hash, Hasher};

use bascule_core::facts::magnitude;
use bascule_core::plan::{Gate, Plan};
use bascule_core::project::Judged;
use bascule_core::record::Record;

use super::policy::State;
use super::quick::Quick;
use super::words::Words;

/// What must change for people to be shown the state again at once: answers and states, not ages and positions.
///
/// It is compared with every event, and of thousands of policies it would be much of the memory: it is kept as a hash. All
/// the words are compared now and then: what a promotion would need although nobody asks for one is among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Everything but the lags and the words.
    same: u64,
    /// What changes often without being urgent: how far the replicas are behind.
    lags: u64,
    /// All the words, in short.
    pub(super) words: Words,
}

impl Told {
    /// What is told by showing this, but for the words.
    pub(super) fn of(
        state: &State,
        plan: &Plan,
        record: Option<&Record>,
        judged: &Judged,
        trouble: Option<&String>,
    ) -> Self {
        let mut same = Quick::default();
        record.map(|r| (r.serial, r.phase.name())).hash(&mut same);
        for gate in gates(state, plan) {
            (&gate.name, gate.answer).hash(&mut same);
        }
        // Where one list ends and the next begins.
        0xff_u8.hash(&mut same);
        for s in judged.sites() {
            (&s.name, s.role, s.lives, s.promotable, s.streaming, &s.spec_hash, &s.revision).hash(&mut same);
        }
        0xff_u8.hash(&mut same);
        for c in judged.conditions() {
            (&c.kind, c.status, &c.reason).hash(&mut same);
        }
        0xff_u8.hash(&mut same);
        for mv in &state.moves {
            mv.hash.hash(&mut same);
        }
        0xff_u8.hash(&mut same);
        state.policy.as_ref().map(|p| (p.generation, &p.revision)).hash(&mut same);
        (&state.invalid, trouble).hash(&mut same);
        let mut lags = Quick::default();
        for row in judged.sites() {
            row.lag.bytes.map(magnitude).hash(&mut lags);
        }
        Self { same: same.finish(), lags: lags.finish(), words: Words::default() }
    }

    /// Whether showing `now` would tell nothing that cannot wait.
    pub(super) const fn says(&self, now: &Self) -> bool {
        self.same == now.same
    }

    /// Whether what changes often without being urgent is the same too.
    pub(super) const fn says_lags(&self, now: &Self) -> bool {
        self.lags == now.lags
    }
}

fn gates<'a>(state: &'a State, plan: &'a Plan) -> impl Iterator<Item = &'a Gate> {
    plan.gates.iter().chain(&plan.blockers).chain(&state.seen.advice)
}
