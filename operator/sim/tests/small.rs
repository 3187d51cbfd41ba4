//! Small worlds, exhaustively. Each search here is over in seconds; `make sim-small` goes further.

use bascule_sim::small::{Fault, Flow, LeftOut, Limits, Outcome, Setting, explore};

/// Faults after which a world comes to an end soon: an operator that is frozen for any time makes a hundred times as many.
const QUICK: [Fault; 4] =
    [Fault::OperatorRestarts, Fault::GuardRestarts, Fault::MessageLost, Fault::ArbiterRestored];

#[expect(clippy::unwrap_used, reason = "a test: a world that cannot be searched fails it")]
fn search(flow: Flow, faults: &[Fault], most: u8, without: Option<LeftOut>, states: usize) -> Outcome {
    let limits = Limits { states, depth: usize::MAX };
    let setting = Setting { flow, faults: faults.to_vec(), most, without, fine: false, limits };
    explore(&setting).unwrap()
}

fn holds_to_the_end(flow: Flow, faults: &[Fault], most: u8) {
    let out = search(flow, faults, most, None, 1_000_000);
    assert_eq!(out.violation, None);
    assert!(out.closed, "not closed: {out:?}");
}

fn finds_two_writers(faults: &[Fault], most: u8, without: LeftOut) {
    let out = search(Flow::Silence, faults, most, Some(without), 150_000);
    let story = out.violation.unwrap_or_else(|| format!("none in {} states", out.states));
    assert!(story.starts_with("S1: both databases are open for writes"), "{story}");
}

#[test]
fn no_order_of_steps_with_one_fault_breaks_anything() {
    holds_to_the_end(Flow::Silence, &QUICK, 1);
}

#[test]
fn no_order_of_steps_of_a_switchover_breaks_anything() {
    holds_to_the_end(Flow::Planned, &[], 0);
}

#[test]
fn no_order_of_steps_of_an_offer_breaks_anything() {
    holds_to_the_end(Flow::Offered, &[], 0);
}

#[test]
fn a_frozen_operator_breaks_nothing_as_far_as_the_search_goes() {
    let out = search(Flow::Silence, &[Fault::OperatorFreezes], 1, None, 20_000);
    assert_eq!(out.violation, None);
    assert!(out.depth >= 15, "every state within {} steps only", out.depth);
}

#[test]
fn half_of_the_silence_is_not_enough() {
    finds_two_writers(&[Fault::OperatorFreezes], 1, LeftOut::WholeSilence);
}

#[test]
fn a_server_that_is_stopped_one_tick_late_is_found() {
    finds_two_writers(&[Fault::OperatorFreezes], 1, LeftOut::StopInTime);
}
