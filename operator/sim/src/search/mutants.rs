//! Do the tests bite? Each rule left out once: the judge has to notice it by the invariant that the rule keeps.

use std::collections::BTreeSet;

use bascule_core::mutant::leave_out;
use serde::{Deserialize, Serialize};

use super::case::{Base, Case, Injected};
use super::enumerate::points;
use super::menu::menu;
use crate::fault::When;
use crate::judge::Invariant;

/// A rule that is left out, and the case that shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mutant {
    /// The rule, as [`bascule_core::mutant::forgets`] names it.
    pub rule: String,
    /// What else has to be left out for it to show: the second opinion, where the same mistake is made twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// The file that has the rule.
    pub place: String,
    /// The invariant that it keeps.
    pub expected: Invariant,
    /// Where to look for a case while none is known. A fault that begins at the phase `*` is tried at every boundary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub look: Vec<Case>,
    /// The case that shows it; without the mutant nothing is broken in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<Case>,
}

impl Mutant {
    fn left_out(&self) -> Vec<String> {
        [self.rule.clone()].into_iter().chain(self.with.iter().cloned()).collect()
    }

    /// Whether the case shows this rule and nothing else: nothing is broken with all rules, and with all but those that are
    /// left out besides, the expected invariant holds.
    pub fn is_its_own(&self, base: &Base, faults: &[Injected]) -> bool {
        let whole = base.judged(faults).violations.is_empty();
        leave_out(&self.with);
        let others = self.with.is_empty()
            || base.judged(faults).violations.iter().all(|v| v.invariant != self.expected);
        leave_out(&[]);
        whole && others
    }

    /// Plays a case without the rule; the invariants that were broken, with what was said of the expected one.
    pub fn plays(&self, base: &Base, faults: &[Injected]) -> (BTreeSet<Invariant>, Option<String>) {
        leave_out(&self.left_out());
        let verdict = base.judged(faults);
        leave_out(&[]);
        let said = verdict.violations.iter().find(|v| v.invariant == self.expected).map(|v| v.what.clone());
        (verdict.violations.iter().map(|v| v.invariant).collect(), said)
    }

    /// The story of a case without the rule.
    pub fn tells(&self, base: &Base, faults: &[Injected]) -> String {
        leave_out(&self.left_out());
        let (world, verdict) = base.play(faults);
        leave_out(&[]);
        let broken = verdict.violations.iter().map(|v| format!("BROKEN {v}\n"));
        world.transcript.text() + &broken.collect::<String>()
    }

    /// The first case of these worlds that shows it: nothing on top of the flow, then every fault at every boundary.
    pub fn search(&self, bases: &[Base], goes_on: impl Fn() -> bool) -> Option<Case> {
        let bites = |base: &Base, faults: &[Injected]| {
            let (broken, _) = self.plays(base, faults);
            (broken.contains(&self.expected) && self.is_its_own(base, faults)).then(|| Case {
                routes: base.routes,
                refusals: base.refusals,
                flow: base.flow,
                seed: base.seed,
                faults: faults.to_vec(),
            })
        };
        let any = When::Enters("*".to_owned());
        for hint in &self.look {
            let Some(base) = bases.iter().find(|b| b.flow == hint.flow) else { continue };
            let wild = hint.faults.iter().any(|f| f.when == any);
            for when in points(base).take(if wild { usize::MAX } else { 1 }) {
                let at = |f: &Injected| Injected {
                    when: if f.when == any { when.clone() } else { f.when.clone() },
                    ..f.clone()
                };
                let faults: Vec<Injected> = hint.faults.iter().map(at).collect();
                if let Some(case) = bites(base, &faults) {
                    return Some(case);
                }
            }
        }
        if !self.look.is_empty() {
            return None;
        }
        if let Some(case) = bases.iter().find_map(|base| bites(base, &[])) {
            return Some(case);
        }
        // Every kind of fault soon, not every boundary with the first kind.
        for (fault, lasts) in menu(2) {
            for base in bases {
                for when in points(base) {
                    if !goes_on() {
                        return None;
                    }
                    if let Some(case) = bites(base, &[Injected { when, fault, lasts }]) {
                        return Some(case);
                    }
                }
            }
        }
        None
    }
}
