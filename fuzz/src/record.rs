//! What the arbiter holds: a record, or what a site says about itself.

use bascule_adapters::arbiter::{Revision, Versioned};
use bascule_core::facts::SiteFacts;
use bascule_core::record::Record;
use bascule_engine::brain::Event;
use bascule_engine::ports::ArbiterChange;

use crate::in_words;
use crate::operator::Operator;

/// Reads `bytes` as a record and as facts, and lets an operator of each site live with what was read.
///
/// # Panics
/// When what is refused is not said in words, or when the operator does not rest.
pub fn run(bytes: &[u8]) {
    let stored = Versioned { value: bytes.to_vec(), revision: Revision(1) };
    match stored.parse::<Record>() {
        Err(why) => in_words(&why),
        Ok(record) => {
            for site in [0, 1] {
                let mut found = Operator::new(site, Some(record.clone()));
                found.live(12);
                found.other_lives = false;
                found.live(30);
            }
            let mut lives = Operator::new(1, None);
            lives.live(4);
            lives.rewritten(record);
            lives.live(12);
        }
    }
    match stored.parse::<SiteFacts>() {
        Err(why) => in_words(&why),
        Ok(facts) => {
            for site in [0, 1] {
                let mut heard = Operator::new(site, None);
                heard.live(4);
                let (policy, site) = (heard.key(), facts.site.clone());
                let facts = Box::new(facts.clone());
                heard.hear(Event::Changed(ArbiterChange::Facts { policy, site, facts }));
                heard.live(12);
            }
        }
    }
}
