//! What a guard and its operator say to each other.

use bascule_core::guard::wire::{Ask, Behind, FromGuard, MAX_FRAME};

use crate::world::reports::primary;

#[test]
fn a_question_about_as_many_replicas_as_anybody_has_fits_into_a_frame() {
    let mut report = primary(10);
    let behind = Behind { bytes: u64::MAX, time: None };
    report.replicas = (0..100).map(|n| (format!("{n:063}"), behind)).collect();
    let ask = Ask { nonce: u64::MAX, fresh: true, report };
    let said = serde_json::to_vec(&FromGuard::Ask(Box::new(ask))).unwrap();
    assert!(said.len() > 10_000 && said.len() <= MAX_FRAME, "{} bytes", said.len());
}
