//! Every boundary with every fault, singly; then with a second one.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Base, Case, Injected};
use super::menu::{menu, whole_menu};
use crate::fault::When;
use crate::flow::Flow;
use crate::judge::{Invariant, Limit, Sometimes, Violation};
use crate::time::Moment;

/// How many boundaries after the first fault the second begins at most.
pub const APART: usize = 6;

/// A case that broke something.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The case.
    pub case: Case,
    /// What was broken first.
    pub violation: Violation,
}

/// How often each fault was tried in each flow, and at how many boundaries.
pub type Coverage = BTreeMap<(&'static str, String), u32>;

/// What a search has found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What broke.
    pub failures: Vec<Failure>,
    /// What was met.
    pub met: BTreeSet<Sometimes>,
    /// What does not hold and is known not to, and in how many cases.
    pub limits: BTreeMap<Limit, u32>,
    /// What was tried.
    pub coverage: Coverage,
    /// How many cases were played.
    pub cases: u64,
    /// The events of each case.
    pub events: Vec<u64>,
    /// The clients' writes of each case.
    pub writes: Vec<usize>,
}

impl Found {
    /// Adds what another search has found.
    pub fn join(&mut self, other: Self) {
        self.failures.extend(other.failures);
        self.met.extend(other.met);
        for (limit, n) in other.limits {
            *self.limits.entry(limit).or_default() += n;
        }
        for (key, n) in other.coverage {
            *self.coverage.entry(key).or_default() += n;
        }
        self.cases += other.cases;
        self.events.extend(other.events);
        self.writes.extend(other.writes);
    }

    pub(super) fn plays(&mut self, base: &Base, faults: &[Injected]) {
        let verdict = base.judged(faults);
        self.cases += 1;
        self.met.extend(verdict.met);
        for limit in verdict.limits {
            *self.limits.entry(limit).or_default() += 1;
        }
        self.events.push(verdict.events);
        self.writes.push(verdict.writes);
        for fault in faults.iter().map(|i| i.fault).chain(base.flow.own_faults()) {
            for row in fault.rows() {
                *self.coverage.entry((base.flow.name(), (*row).to_owned())).or_default() += 1;
            }
        }
        if let Some(violation) = worst(&verdict.violations) {
            let case = Case {
                flow: base.flow,
                seed: base.seed,
                routes: base.routes,
                refusals: base.refusals,
                faults: faults.to_vec(),
            };
            self.failures.push(Failure { case, violation });
        }
    }
}

/// A broken safety before a broken liveness.
pub(super) fn worst(violations: &[Violation]) -> Option<Violation> {
    let rank = |v: &&Violation| (v.invariant >= Invariant::L1, v.at);
    violations.iter().min_by_key(rank).cloned()
}

/// Each fault alone at each boundary. `part` of `parts`: for several threads.
pub fn singles(base: &Base, part: usize, parts: usize) -> Found {
    let mut found = Found::default();
    if base.flow == Flow::Fleet {
        // A thousand at once is one case.
        if part == 0 {
            found.plays(base, &[]);
        }
        return found;
    }
    for (n, (when, (fault, lasts))) in points(base)
        .flat_map(|w| whole_menu(base.flow.sites()).into_iter().map(move |f| (w.clone(), f)))
        .enumerate()
    {
        if n % parts == part && !(matches!(when, When::At(_)) && fault.fate().is_some()) {
            found.plays(base, &[Injected { when, fault, lasts }]);
        }
    }
    found
}

/// Where a fault can begin: at each boundary; in a world in which nothing happens, at some moments.
pub(super) fn points(base: &Base) -> impl Iterator<Item = When> + '_ {
    let moments: &[u64] = if base.boundaries.is_empty() { &[40, 390, 1170] } else { &[] };
    let boundaries = base.boundaries.iter().map(|b| When::Boundary(b.number));
    boundaries.chain(moments.iter().map(|ms| When::At(Moment::from_millis(*ms))))
}

/// Where the first of two faults begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Each pair at one boundary of the flow, another one for each pair.
    Somewhere,
    /// Each pair at each boundary; of all these cases, one share of so many, scattered over all of them.
    Everywhere {
        /// Which share, from 0 on.
        share: u64,
        /// How many shares make up the whole.
        of: u64,
    },
}

impl Begins {
    /// Whether the `n`-th case of everything is played.
    fn plays(self, n: usize) -> bool {
        match self {
            Self::Somewhere => true,
            // Neighbours fall into different shares.
            Self::Everywhere { share, of } => {
                ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % of.max(1) == share
            }
        }
    }
}

/// Each pair of faults; the second begins up to [`APART`] boundaries after the first. `part` of `parts`: for several
/// threads.
pub fn pairs(base: &Base, part: usize, parts: usize, begins: Begins) -> Found {
    let mut found = Found::default();
    if base.flow == Flow::Fleet {
        return found;
    }
    let points: Vec<When> = points(base).collect();
    let menu = menu(base.flow.sites());
    let mut n = 0;
    for (i, (first, first_lasts)) in menu.iter().enumerate() {
        for (j, (second, second_lasts)) in menu.iter().enumerate() {
            // Neighbours in the menu fall on boundaries that are not neighbours.
            let walks = i * 31 + j * 17;
            let chosen = match begins {
                Begins::Somewhere => vec![walks % points.len()],
                Begins::Everywhere { .. } => (0..points.len()).collect(),
            };
            for at in chosen {
                n += 1;
                if n % parts != part || !begins.plays(n) {
                    continue;
                }
                let later = (at + (i + j * 3) % (APART + 1)).min(points.len() + APART);
                let when = points[at].clone();
                let then = match (&when, points.get(later)) {
                    // What follows the last boundary without a fault may come with one.
                    (When::Boundary(number), None) => {
                        When::Boundary(number + u32::try_from(later - at).unwrap_or_default())
                    }
                    (_, Some(point)) => point.clone(),
                    (_, None) => when.clone(),
                };
                let moments = [(&when, first), (&then, second)];
                if moments.iter().any(|(w, f)| matches!(w, When::At(_)) && f.fate().is_some()) {
                    continue;
                }
                let faults = [
                    Injected { when, fault: *first, lasts: *first_lasts },
                    Injected { when: then, fault: *second, lasts: *second_lasts },
                ];
                found.plays(base, &faults);
            }
        }
    }
    found
}
