//! Chance: a flow, a seed, and a few faults at any of its boundaries.

use bascule_core::policy::{Policy, Traffic};

use super::case::{Base, Case, Injected};
use super::enumerate::{Failure, Found, worst};
use super::menu::whole_menu;
use crate::fault::When;
use crate::flow::Flow;
use crate::judge::Invariant;
use crate::random::Chance;

/// How many cases are played in each world before another one is made.
const CASES: u64 = 24;

/// Plays random cases for as long as `goes_on` says so. The same number gives the same cases.
pub fn explore(policy: &Policy, number: u64, mut goes_on: impl FnMut() -> bool) -> Found {
    let mut found = Found::default();
    let mut chance = Chance::of(number, "explore");
    // A thousand policies take as long as ten thousand cases.
    let flows: Vec<Flow> = Flow::ALL.into_iter().filter(|flow| *flow != Flow::Fleet).collect();
    while goes_on() {
        let Some(flow) = chance.pick(&flows).copied() else { break };
        let menu = whole_menu(flow.sites());
        let seed = chance.below(1 << 32);
        let base = match Base::new(flow, seed, policy, false) {
            Ok(base) => base,
            Err(why) => {
                let at = crate::time::Moment(0);
                let what = format!("it does not even begin: {}", why.0);
                let violation = crate::judge::Violation { at, invariant: Invariant::L1, what };
                let routes = policy.traffic.values().any(Traffic::is_in_every_site);
                let refusals = policy.traffic.values().any(Traffic::refuses_writes);
                found.failures.push(Failure {
                    case: Case { flow, seed, routes, refusals, faults: Vec::new() },
                    violation,
                });
                continue;
            }
        };
        let boundaries = base.boundaries.len().max(1) as u64;
        for _ in 0..CASES {
            if !goes_on() {
                break;
            }
            let mut faults = Vec::new();
            for _ in 0..=chance.below(4) {
                let Some((fault, lasts)) = chance.pick(&menu).copied() else { continue };
                let number = u32::try_from(chance.below(boundaries + 6)).unwrap_or(0);
                let lasts = lasts.map(|ms| ms / 2 + chance.below(ms));
                faults.push(Injected { when: When::Boundary(number), fault, lasts });
            }
            found.plays(&base, &faults);
        }
    }
    found
}

/// Makes a failing case smaller for as long as it breaks the same invariant: fewer faults, then shorter ones.
pub fn shrink(case: &Case, policy: &Policy) -> Case {
    let Ok(base) = Base::new(case.flow, case.seed, policy, false) else { return case.clone() };
    let breaks = |faults: &[Injected]| worst(&base.play(faults).1.violations).map(|v| v.invariant);
    let Some(invariant) = breaks(&case.faults) else { return case.clone() };
    let mut faults = case.faults.clone();
    let mut at = 0;
    while at < faults.len() {
        let mut fewer = faults.clone();
        fewer.remove(at);
        if breaks(&fewer) == Some(invariant) {
            faults = fewer;
        } else {
            at += 1;
        }
    }
    for at in 0..faults.len() {
        while let Some(lasts) = faults[at].lasts.filter(|ms| *ms > 200) {
            let mut shorter = faults.clone();
            shorter[at].lasts = Some(lasts / 2);
            if breaks(&shorter) != Some(invariant) {
                break;
            }
            faults = shorter;
        }
    }
    Case { faults, ..case.clone() }
}
