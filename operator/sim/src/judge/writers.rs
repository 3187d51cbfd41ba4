//! A healthy writer goes on: whatever one place, git, an operator or a link loses (L4), and whatever goes wrong with
//! another policy (S10).

use bascule_core::name::PolicyKey;

use super::Invariant;
use crate::fault::Fault;
use crate::time::Moment;
use crate::world::World;
use crate::world::client::Outcome;

/// Servers that ended while they took writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends(Vec<(Moment, usize)>);

impl Ends {
    pub(crate) fn ended(&mut self, at: Moment, database: usize) {
        self.0.push((at, database));
    }
}

/// Whether a fault leaves the active site's database, its guard, and the clients' way to them alone: then it must not
/// stop the writer. What it takes is one place, git, an operator, a site's API server or a link, or an intent.
#[expect(clippy::match_same_arms, reason = "one line for each kind of thing that is lost")]
pub const fn spares_the_writer(fault: Fault, active: usize) -> bool {
    match fault {
        // The operator, its cluster, and what people say.
        Fault::StaleObjects(_)
        | Fault::SilentWatch(_)
        | Fault::Relist(_)
        | Fault::SecondOperator(_)
        | Fault::ReplicaFollows(_)
        | Fault::OperatorFrozen(_)
        | Fault::OperatorKilled(_)
        | Fault::OperatorUpgraded(_)
        | Fault::ApiGone(_)
        | Fault::ApiSilent(_)
        | Fault::ApiBusy(_)
        | Fault::ApiSlow(_)
        | Fault::ApiDeaf(_)
        | Fault::ApiForbidden(_)
        | Fault::SecretGone(_)
        | Fault::NameTaken(_)
        | Fault::MarksFrozen(_)
        | Fault::OldWord(_)
        | Fault::GuardLinkCut(_)
        | Fault::PolicyDeleted(_)
        | Fault::PolicyInvalid(_)
        | Fault::PolicyEdited(_)
        | Fault::FlagOwned(_)
        | Fault::PodsDeaf(_)
        | Fault::PodsNeverStart(_) => true,
        // Git.
        Fault::GitRewritten | Fault::GitInvalid | Fault::GitDown | Fault::GitHidden(_) => true,
        // The third place, a member, a name server, the link between the sites.
        Fault::ThirdLost
        | Fault::WitnessLost
        | Fault::SitesCut
        | Fault::LeaderFrozen
        | Fault::LeasesDeleted => true,
        Fault::DnsRefuses | Fault::DnsStuck => true,
        // Clocks, within what the timing allows for.
        Fault::ClockSet(..) | Fault::ClockRate(..) => true,
        // Steps that nothing asks for while nothing happens.
        Fault::PromotionSlow(_)
        | Fault::PromotionLate(_)
        | Fault::PromotionFails(_)
        | Fault::RewindFails(_)
        | Fault::StopSlow(_)
        | Fault::ReloadFails(_)
        | Fault::ReplayLags(_) => true,
        // The other site, or a part of it.
        Fault::GuardFrozen(s)
        | Fault::ServerFrozen(s)
        | Fault::PodFrozen(s)
        | Fault::SiteFrozen(s)
        | Fault::ServerKilled(s)
        | Fault::AllKilled(s)
        | Fault::NodeLost(s)
        | Fault::GuardKilled(s)
        | Fault::SiteLost(s)
        | Fault::PromotedByHand(s)
        | Fault::Unlocked(s)
        | Fault::DiskFull(s)
        | Fault::Mute(s)
        | Fault::DeafSite(s)
        | Fault::Isolated(s)
        | Fault::Flapping(s)
        | Fault::Grey(s) => s != active,
        // An operator that reaches neither the guard nor its server cannot tell them from what went with a dead node.
        Fault::PodCut(s) => s != active,
        // A site that cannot ask the arbiter has lost two of its three places.
        Fault::ArbiterCut(s) => s != active,
        // An arbiter that goes back in time is refused, which stops who has to re-claim; a step of the guard's own that
        // dies is the guard's death.
        Fault::ArbiterRestored | Fault::ArbiterEmptied | Fault::Effect(_) => false,
    }
}

impl World {
    /// No write to the active site's database failed since `since`, and it never ended.
    pub(crate) fn judge_writer(&mut self, app: usize, active: usize, since: Moment, broken: Invariant) {
        let Some(policy) = self.policies.get(app).map(|p| p.key.clone()) else { return };
        let failed = |outcome| matches!(outcome, Outcome::Refused | Outcome::Unknown);
        let mine = self.writes.iter().filter(|w| w.app == app && w.site == active && w.sent >= since);
        let lost: Vec<(Moment, Outcome)> =
            mine.filter(|w| failed(w.outcome)).map(|w| (w.sent, w.outcome)).collect();
        if let Some((at, outcome)) = lost.first() {
            let what = format!(
                "{} writes of {policy} to a healthy site failed, the first is {outcome:?}",
                lost.len()
            );
            self.judge.breaks(*at, broken, what);
        }
        let ended = self.judge.ends.0.iter().filter(|(at, _)| *at >= since);
        let here = |db: usize| self.databases[db].policy == policy && self.databases[db].site == active;
        let stopped = ended.into_iter().find(|(_, db)| here(*db)).map(|(at, _)| *at);
        if let Some(at) = stopped {
            self.judge.breaks(at, broken, format!("the healthy writer of {policy} was stopped"));
        }
        self.judge_stays(&policy, active, broken);
    }

    fn judge_stays(&mut self, policy: &PolicyKey, active: usize, broken: Invariant) {
        let now = self.now;
        let found = self.record(policy).and_then(|r| self.site_of(&r.active));
        if found != Some(active) {
            let what = format!("the role of {policy} moved away from a healthy writer, to {found:?}");
            self.judge.breaks(now, broken, what);
        }
    }
}
