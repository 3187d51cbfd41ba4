//! A crash and a restart come to the same end as if nothing had been (S9).

use bascule_core::moves::MoveEnd;

use super::case::{Base, Injected, Verdict};
use crate::fault::Fault;
use crate::flow::Flow;
use crate::judge::{Invariant, Violation};
use crate::time::Moment;
use crate::world::Fate;

/// What a settled world has come to. The flags, sizes and names of both sites follow from the active one: a world in which
/// they do not is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The active site.
    pub active: Option<usize>,
    /// In which epoch.
    pub epoch: u64,
    /// What became of the Moves, by name, the newest first.
    pub moves: Vec<(String, MoveEnd)>,
}

impl Base {
    /// Plays a case, and compares its end with the one that the flow has without faults where that must be the same.
    pub fn judged(&self, faults: &[Injected]) -> Verdict {
        let (_, mut verdict) = self.play(faults);
        let one = faults.len() == 1 && faults.iter().all(|i| is_a_crash(i.fault));
        if one
            && verdict.settled.is_ok()
            && let Some(quiet) = &self.end
            && !self.may_end(quiet, &verdict.end)
        {
            let what = format!("it ends with {:?}, not with {quiet:?}", verdict.end);
            verdict.violations.push(Violation { at: Moment(0), invariant: Invariant::S9, what });
        }
        verdict
    }

    /// The same end; or one of four others, which a restart may bring about by itself:
    ///
    /// - Nothing has moved: the site that had the role has it in the same epoch, and the Move that was begun, if one was, says
    ///   that it was rolled back. The source of a switchover that had to re-claim its role gives the switchover up. What was to be
    ///   replaced because it was silent or dead was there again before the role was taken: its own restart mended it, or the
    ///   taker's restart took longer.
    /// - The target of a switchover has the role once, and its Move says that it became a failover: the source's operator
    ///   was away for `L` after it had handed over.
    /// - Its source has the role again: the target's operator was away for `L` after it had taken, before its guard was granted
    ///   anything that it could extend by itself.
    /// - Of several sites that could take by themselves another one has: the operator of the first was away, and lost its turn.
    ///
    /// An arbiter that is restored later than the restart has lost what nobody had seen by then: the record is made anew with
    /// the site that began, and the Move is stale.
    fn may_end(&self, quiet: &End, found: &End) -> bool {
        let (from, once) = (self.epoch, self.epoch + 1);
        let newest = found.moves.first().map(|(_, end)| *end);
        let planned = self.flow.is_planned();
        let at_home = found.active == Some(self.flow.begins_at());
        let stays = at_home && found.epoch == from && (!planned || newest == Some(MoveEnd::RolledBack));
        let taken = planned && !at_home && found.epoch == once && newest == Some(MoveEnd::BecameFailover);
        let taken_back =
            planned && at_home && found.epoch == once + 1 && newest == Some(MoveEnd::BecameFailover);
        let others_turn = !planned && self.flow.sites() > 2 && !at_home && found.epoch == once;
        // Whoever dies as he says so says it a moment after everything else has settled.
        let unsaid = (found.active, found.epoch) == (quiet.active, quiet.epoch) && newest.is_none();
        let stale = at_home && newest == Some(MoveEnd::Stale);
        let lost = self.flow == Flow::ArbiterRestored && (stale || unsaid);
        found == quiet || stays || taken || taken_back || others_turn || lost
    }
}

/// Whoever dies at a boundary is started again; whoever misses an answer finds out; an order that is given twice is the
/// same order.
const fn is_a_crash(fault: Fault) -> bool {
    matches!(fault, Fault::Effect(Fate::DieBefore | Fate::DieAfter | Fate::LoseAnswer | Fate::Twice))
}
