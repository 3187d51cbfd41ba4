//! What a change of a record means against what people and policies said of it (S4, S8).

use bascule_core::name::PolicyKey;
use bascule_core::policy::After;
use bascule_core::record::{Cause, Phase, Record};

use super::Invariant;
use crate::world::World;
use crate::world::arbiter::Caller;

impl World {
    /// A record was changed.
    pub(crate) fn judge_intent(&mut self, by: Caller, policy: &PolicyKey, before: Option<&Record>, next: &Record) {
        let site = match by {
            Caller::Operator(op, _) => self.operators[op].site,
            Caller::Guard(db, _) => self.databases[db].site,
        };
        self.judges_risk(policy, &next.phase, site);
        let Some(before) = before else { return };
        if before.active == next.active {
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
