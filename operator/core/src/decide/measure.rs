//! How much was really lost, once the old site has returned and its log was saved?

use crate::decide::next;
use crate::decide::situation::Situation;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::record::{Cause, MeasuredLoss, Record};

/// The active site in `Steady`: writes what the returned site counted into the history of the transition it lost by.
///
/// A divergence belongs to that transition when it was written on the timeline just before this site's: each promotion
/// begins a new one.
pub(super) fn loss(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if plan.lock {
        return;
    }
    let Some(last) = record.history.first() else { return };
    let unplanned = !matches!(last.cause, Cause::Planned | Cause::Initial);
    if !unplanned || last.measured_loss.is_some() || last.from == *s.me {
        return;
    }
    let facts = s.facts(&last.from);
    let Some(facts) = facts.value() else { return };
    let mut total = MeasuredLoss { bytes: 0, transactions: 0, saved: String::new() };
    let mut counted = false;
    for name in policy.databases.keys() {
        let here = s
            .seen
            .databases
            .get(name)
            .and_then(|d| d.guard.value())
            .and_then(|r| r.positions.as_ref()?.timeline);
        let (Some(here), Some(found)) = (here, facts.diverged.get(name)) else { continue };
        if found.timeline.0.saturating_add(1) != here.0 {
            continue;
        }
        counted = true;
        total.bytes = total.bytes.saturating_add(found.bytes);
        total.transactions = total.transactions.saturating_add(found.transactions);
        if !total.saved.is_empty() {
            total.saved.push_str(", ");
        }
        total.saved.push_str(last.from.as_str());
        total.saved.push(':');
        total.saved.push_str(&found.path);
    }
    if !counted {
        return;
    }
    let words = format!(
        "{} is back: {} bytes with {} committed transactions were not in the new history; saved in {}",
        last.from, total.bytes, total.transactions, total.saved
    );
    let mut next = next::phase(s, record, record.phase.clone());
    if let Some(t) = next.history.first_mut() {
        t.measured_loss = Some(total);
    }
    next::propose(s, plan, next, words);
}
