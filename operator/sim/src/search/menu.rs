//! Which faults are tried at a boundary, and for how long each lasts: a few seconds, and for the singles and the random
//! schedules also so long that everything which waits has come to its end.

use crate::fault::Fault;
use crate::world::Fate;

#[expect(clippy::unnecessary_wraps, reason = "beside None in the table")]
const fn ms(n: u64) -> Option<u64> {
    Some(n)
}

/// Everything that is tried alone at each boundary of a world with so many sites, and drawn from for random schedules.
pub fn whole_menu(sites: usize) -> Vec<(Fault, Option<u64>)> {
    let mut all = menu(sites);
    all.extend(long_menu(sites));
    all
}

/// What is tried in pairs.
pub fn menu(sites: usize) -> Vec<(Fault, Option<u64>)> {
    let fates = [
        Fate::DieBefore,
        Fate::DieAfter,
        Fate::LoseAnswer,
        Fate::Late(400),
        Fate::Late(4000),
        Fate::Twice,
        Fate::Refused,
    ];
    let mut all: Vec<(Fault, Option<u64>)> = fates.into_iter().map(|f| (Fault::Effect(f), None)).collect();
    for s in 0..sites {
        all.extend([
            (Fault::StaleObjects(s), ms(4000)),
            (Fault::SilentWatch(s), ms(6000)),
            (Fault::Relist(s), None),
            (Fault::SecondOperator(s), ms(5000)),
            (Fault::ReplicaFollows(s), ms(5000)),
            (Fault::OperatorFrozen(s), ms(900)),
            (Fault::OperatorFrozen(s), ms(4000)),
            (Fault::OperatorKilled(s), None),
            (Fault::OperatorUpgraded(s), None),
            (Fault::GuardFrozen(s), ms(3500)),
            (Fault::ServerFrozen(s), ms(3500)),
            (Fault::PodFrozen(s), ms(4000)),
            (Fault::SiteFrozen(s), ms(5000)),
            (Fault::ServerKilled(s), None),
            (Fault::GuardKilled(s), None),
            (Fault::ClockSet(s, 7200), ms(6000)),
            (Fault::ClockSet(s, -7200), ms(6000)),
            (Fault::ClockRate(s, 10_000), ms(6000)),
            (Fault::ClockRate(s, -10_000), ms(6000)),
            (Fault::ApiGone(s), ms(4000)),
            (Fault::ApiSilent(s), ms(4000)),
            (Fault::ApiBusy(s), ms(4000)),
            (Fault::ApiSlow(s), ms(5000)),
            (Fault::ApiDeaf(s), ms(4000)),
            (Fault::ApiForbidden(s), ms(4000)),
            (Fault::SecretGone(s), ms(4000)),
            (Fault::SiteLost(s), ms(6000)),
            (Fault::ArbiterCut(s), ms(4000)),
            (Fault::Isolated(s), ms(700)),
            (Fault::Isolated(s), ms(5000)),
            (Fault::Mute(s), ms(5000)),
            (Fault::DeafSite(s), ms(5000)),
            (Fault::Flapping(s), ms(9000)),
            (Fault::Grey(s), ms(6000)),
            (Fault::NameTaken(s), None),
            (Fault::GitHidden(s), ms(4000)),
            (Fault::PolicyDeleted(s), ms(5000)),
            (Fault::PolicyInvalid(s), ms(5000)),
            (Fault::PolicyEdited(s), ms(5000)),
            (Fault::PromotionSlow(s), ms(8000)),
            (Fault::PromotionLate(s), ms(12_000)),
            (Fault::PromotionFails(s), ms(6000)),
            (Fault::RewindFails(s), ms(9000)),
            (Fault::ReplayLags(s), ms(5000)),
            (Fault::PromotedByHand(s), None),
            (Fault::FlagOwned(s), ms(5000)),
            (Fault::PodsDeaf(s), ms(5000)),
            (Fault::PodsNeverStart(s), ms(5000)),
            (Fault::DiskFull(s), ms(5000)),
            (Fault::MarksFrozen(s), ms(5000)),
            (Fault::StopSlow(s), ms(9000)),
            (Fault::ReloadFails(s), ms(5000)),
            (Fault::OldWord(s), None),
            (Fault::GuardLinkCut(s), ms(900)),
            (Fault::GuardLinkCut(s), ms(6500)),
        ]);
    }
    all.extend([
        (Fault::ThirdLost, ms(6000)),
        (Fault::SitesCut, ms(5000)),
        (Fault::LeaderFrozen, ms(3000)),
        (Fault::ArbiterRestored, None),
        (Fault::ArbiterEmptied, None),
        (Fault::LeasesDeleted, None),
        (Fault::GitRewritten, None),
        (Fault::GitInvalid, ms(4000)),
        (Fault::GitDown, ms(4000)),
        (Fault::DnsRefuses, ms(4000)),
        (Fault::DnsStuck, ms(6000)),
    ]);
    all
}

/// Faults that outlast every wait of the rules but a person's, and those that take away what a guard and its operator have
/// of each other.
fn long_menu(sites: usize) -> Vec<(Fault, Option<u64>)> {
    let mut all = Vec::new();
    for s in 0..sites {
        all.extend([
            (Fault::SiteLost(s), ms(15_000)),
            (Fault::SiteLost(s), ms(40_000)),
            (Fault::Isolated(s), ms(15_000)),
            (Fault::ArbiterCut(s), ms(15_000)),
            (Fault::Mute(s), ms(15_000)),
            (Fault::DeafSite(s), ms(15_000)),
            (Fault::OperatorFrozen(s), ms(15_000)),
            (Fault::PodFrozen(s), ms(15_000)),
            (Fault::SiteFrozen(s), ms(15_000)),
            (Fault::GuardLinkCut(s), ms(20_000)),
            (Fault::PodCut(s), ms(8000)),
            (Fault::NodeLost(s), ms(15_000)),
            (Fault::ApiGone(s), ms(20_000)),
            (Fault::ApiSilent(s), ms(15_000)),
            (Fault::PromotionFails(s), ms(15_000)),
            (Fault::DiskFull(s), ms(20_000)),
            (Fault::PodsNeverStart(s), ms(20_000)),
        ]);
    }
    all.extend([
        (Fault::ThirdLost, ms(20_000)),
        (Fault::WitnessLost, ms(20_000)),
        (Fault::SitesCut, ms(20_000)),
        (Fault::DnsRefuses, ms(20_000)),
    ]);
    all
}
