//! Has a person taken a database out of Bascule's care?
//!
//! Its guard stops for no deadline and no order then. So this site promises nothing for as long as that lasts: the record
//! says so to the others, who take nothing by silence from a site that has not promised to stop. A person's statement
//! that the server is off is all that is left.

use std::time::Duration;

use crate::decide::next;
use crate::decide::situation::Situation;
use crate::guard::unlocked::Unlocked;
use crate::guard::wire::Report;
use crate::name::ItemName;
use crate::plan::{Answer, Gate, Plan};
use crate::policy::Policy;
use crate::record::{Fences, Phase, Record};

/// The databases of this site that run by a person's word now.
pub(crate) fn here<'a>(s: &'a Situation<'_>) -> impl Iterator<Item = (&'a ItemName, &'a Unlocked)> {
    s.seen.databases.iter().filter_map(|(name, d)| Some((name, d.guard.value()?.unlocked()?)))
}

/// Whether a database of the policy does in this site.
pub(super) fn any(s: &Situation<'_>, policy: &Policy) -> bool {
    here(s).any(|(name, _)| policy.databases.contains_key(name))
}

/// The same as a gate, for a database that does.
pub(super) fn gate(name: &ItemName, report: &Report, age: Duration) -> Option<Gate> {
    let word = report.unlocked()?;
    let needed = "a person gives it back: bascule guard lock, in its own container";
    Some(Gate::new(&format!("database/{name}/unlocked"), Answer::No, word.words(), needed).aged(Some(age)))
}

/// Takes the promise back while this site has the role. Returns whether it has to.
pub(super) fn promise_nothing(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) -> bool {
    // In the other phases this site has given the role up, and whoever takes it promises for himself.
    let has_it =
        matches!(record.phase, Phase::Steady | Phase::Requested | Phase::Returning | Phase::Promoting);
    if !has_it || record.promise.fences == Fences::Never || !any(s, policy) {
        return false;
    }
    let mut next = next::phase(s, record, record.phase.clone());
    next.promise.fences = Fences::Never;
    next::propose(s, plan, next, "a person has unlocked a database: nobody promises that it stops");
    true
}
