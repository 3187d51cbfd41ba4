//! What a guard says to its operator.

use bascule_adapters::fuzz::guard_said;
use bascule_engine::brain::Event;
use bascule_engine::ports::GuardEvent;

use crate::operator::Operator;
use crate::{in_words, wait};

/// Hears `bytes`, frames as they come over a connection, and lets an operator live with them.
///
/// # Panics
/// When the end of the connection is not said in words, or when the operator does not rest.
pub fn run(bytes: &[u8]) {
    let (events, why) = wait(guard_said(bytes));
    in_words(&why);
    if events.is_empty() {
        return;
    }
    for site in [0, 1] {
        let mut operator = Operator::new(site, None);
        operator.live(4);
        for event in &events {
            let mut event = event.clone();
            if let GuardEvent::Asked { received, .. } = &mut event {
                *received = operator.now();
            }
            operator.hear(Event::Guard(event));
            operator.live(1);
        }
        operator.live(12);
        operator.other_lives = false;
        operator.live(30);
    }
}
