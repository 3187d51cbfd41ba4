//! What a change of a record means against what people and policies said of it (S4, S8).

use std::time::Duration;

use bascule_core::name::PolicyKey;
use bascule_core::policy::After;
use bascule_core::record::{Cause, Phase, Record};

use super::{Invariant, Limit};
use crate::world::World;
use crate::world::arbiter::{Answer, Asked, Caller, Request};

/// A record is written when something changes. Fewer than so many changes in so long: a transition with everything that it
/// may meet has eight, and a role that is claimed anew again and again is claimed every five seconds at most.
const CHURN: (usize, Duration) = (14, Duration::from_secs(5));

impl World {
    /// Nobody writes a record all the time.
    fn judge_churn(&mut self, policy: &PolicyKey) {
        let recent = self.judge.changes.iter().rev().take_while(|(at, ..)| self.now.since(*at) < CHURN.1);
        let changes = recent.filter(|(_, key, _)| key == policy).count();
        if changes >= CHURN.0 && self.judge.disturbed.two_operators_since(self.now, CHURN.1) {
            self.judge.limits.insert(Limit::TwoOperators);
        } else if changes >= CHURN.0 {
            let what = format!("the record of {policy} was written {} times within {:?}", CHURN.0, CHURN.1);
            self.judge.breaks(self.now, Invariant::L3, what);
        }
    }

    /// Of several replicas of a site only the one that took over last writes, whatever another one has sent before.
    pub(crate) fn judge_replica(&mut self, asked: &Asked, answer: &Answer) {
        let (Caller::Operator(op, _), Some(fence)) = (asked.by, asked.fence) else { return };
        if !matches!(answer, Answer::Applied | Answer::Written(_)) {
            return;
        }
        let site = self.operators[op].site;
        if matches!(asked.request, Request::Act { .. }) {
            self.judge.acting.insert(site, fence);
        } else if self.judge.acting.get(&site).is_some_and(|acts| *acts != fence) {
            let what = format!("a replica of {} that does not act has written", self.sites[site].name);
            self.judge.breaks(self.now, Invariant::L3, what);
        }
    }

    /// A record was changed.
    pub(crate) fn judge_intent(
        &mut self,
        by: Caller,
        policy: &PolicyKey,
        before: Option<&Record>,
        next: &Record,
    ) {
        let site = match by {
            Caller::Operator(op, _) => self.operators[op].site,
            Caller::Guard(db, _) => self.databases[db].site,
        };
        self.judges_risk(policy, &next.phase, site);
        self.judge_churn(policy);
        let Some(before) = before else { return };
        if let Some(doing) =
            next.doing.as_ref().filter(|d| before.doing.as_ref().is_none_or(|b| b.hash != d.hash))
        {
            let judged = |r: &Record| r.moves.iter().any(|v| v.hash == doing.hash);
            let earlier = self.judge.changes.iter().filter(|(_, key, _)| key == policy);
            if judged(before)
                || (earlier.into_iter().any(|(.., r)| judged(r)) && self.judge.gone_back.is_none())
            {
                let what = format!("Move {} is carried out again, after its verdict", doing.name);
                self.judge.breaks(self.now, Invariant::S8, what);
            }
        }
        // A record that is made anew moves no role, whatever the restored one says.
        if before.active == next.active || next.generation > before.generation {
            return;
        }
        let cause = next.transition.as_ref().map(|t| t.cause);
        let by_itself = !matches!(cause, Some(Cause::Planned | Cause::Forced | Cause::PromotionFailed));
        let silent = !matches!(before.phase, Phase::Handover | Phase::Offered);
        if by_itself && silent {
            self.judge_known_loss(policy, site);
        }
        if !by_itself {
            return;
        }
        if before.hold.is_some() {
            let what = format!("the role of {policy} moved by itself while a person held it");
            self.judge.breaks(self.now, Invariant::S8, what);
        }
        let never = self.judge.policies.get(policy).is_some_and(|p| p.failover.promote_after == After::Never);
        if never {
            let what = format!("the role of {policy} moved by itself, and the policy says Never");
            self.judge.breaks(self.now, Invariant::S8, what);
        }
    }
}
