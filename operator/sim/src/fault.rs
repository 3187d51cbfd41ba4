//! Everything that can go wrong, each with the rows of the catalogue that it stands for.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Moment;
use crate::world::World;
use crate::world::trial::Fate;

/// When a fault begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum When {
    /// At a moment.
    At(Moment),
    /// At a boundary of an effect, before the effect.
    Boundary(u32),
    /// When a record enters this phase.
    Enters(String),
}

/// A fault that is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it begins.
    pub when: When,
    /// What.
    pub fault: Fault,
    /// For how long; `None`: for good, or it is over at once.
    pub lasts: Option<Duration>,
    /// It has begun.
    pub begun: bool,
    /// It is over.
    pub over: bool,
}

/// A fault. Sites are numbers in the policy's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Something happens to the effect at whose boundary it waits, or to who has it done.
    Effect(Fate),
    /// After a restart an operator is first served old objects.
    StaleObjects(usize),
    /// The watch of objects misses events.
    SilentWatch(usize),
    /// The watch is gone (410): everything is listed anew.
    Relist(usize),
    /// Two operators are active in a site.
    SecondOperator(usize),
    /// Another replica of a site's operator takes over while the one that acts goes on; when it is over, another one does
    /// again.
    ReplicaFollows(usize),
    /// An operator stands still, and goes on with what it had decided.
    OperatorFrozen(usize),
    /// An operator is killed, and started again.
    OperatorKilled(usize),
    /// An operator is replaced by the next version: stopped and started at once.
    OperatorUpgraded(usize),
    /// A guard stands still while its server runs.
    GuardFrozen(usize),
    /// A server stands still while its guard runs.
    ServerFrozen(usize),
    /// Guard and server stand still together.
    PodFrozen(usize),
    /// A whole site stands still.
    SiteFrozen(usize),
    /// A server's processes are killed.
    ServerKilled(usize),
    /// The servers of every policy in a site are killed at the same moment: of a thousand, where there are so many.
    AllKilled(usize),
    /// A guard's container is killed, and started again.
    GuardKilled(usize),
    /// The machine under a database dies, with its guard; its operator lives elsewhere.
    NodeLost(usize),
    /// A wall clock is set to another time.
    ClockSet(usize, i32),
    /// A clock runs fast or slow, by this many parts per million.
    ClockRate(usize, i32),
    /// The API server refuses connections.
    ApiGone(usize),
    /// The API server does not answer.
    ApiSilent(usize),
    /// The API server says 429.
    ApiBusy(usize),
    /// The API server is slow: admission takes half a second.
    ApiSlow(usize),
    /// The API server applies writes and its answers are lost.
    ApiDeaf(usize),
    /// A verb that is needed is forbidden, or the credentials are revoked.
    ApiForbidden(usize),
    /// The Secret is gone.
    SecretGone(usize),
    /// A site loses power; at the end it comes back.
    SiteLost(usize),
    /// The third place loses power.
    ThirdLost,
    /// The third place's member of the arbiter is gone, and nothing else.
    WitnessLost,
    /// The line between two sites is cut.
    SitesCut,
    /// A site is cut from the arbiter.
    ArbiterCut(usize),
    /// A site is cut from everything.
    Isolated(usize),
    /// Nothing leaves a site.
    Mute(usize),
    /// Nothing reaches a site.
    DeafSite(usize),
    /// A site's lines come and go.
    Flapping(usize),
    /// A site's lines are slow and lose packets.
    Grey(usize),
    /// The arbiter's leader stands still.
    LeaderFrozen,
    /// The arbiter is restored from the backup that was made before the flow began.
    ArbiterRestored,
    /// The arbiter is emptied.
    ArbiterEmptied,
    /// Somebody deletes the leases.
    LeasesDeleted,
    /// Another cluster is installed with this site's name.
    NameTaken(usize),
    /// Git's history is rewritten: the head is what it was before the flow began.
    GitRewritten,
    /// The head is no valid revision.
    GitInvalid,
    /// Git does not answer.
    GitDown,
    /// One site sees an old head.
    GitHidden(usize),
    /// The policy is deleted at one site.
    PolicyDeleted(usize),
    /// The policy's object at one site becomes invalid.
    PolicyInvalid(usize),
    /// The policy is edited at one site.
    PolicyEdited(usize),
    /// A promotion takes long.
    PromotionSlow(usize),
    /// A promotion takes longer than anybody waits.
    PromotionLate(usize),
    /// A promotion fails.
    PromotionFails(usize),
    /// A rewind is not possible.
    RewindFails(usize),
    /// Replay lags.
    ReplayLags(usize),
    /// Somebody promotes the standby by hand.
    PromotedByHand(usize),
    /// A person unlocks the database: its guard obeys nobody and stops for no deadline, until it is given back.
    Unlocked(usize),
    /// The DNS server refuses updates.
    DnsRefuses,
    /// A secondary of the zone never transfers.
    DnsStuck,
    /// Another controller owns the read-only flag.
    FlagOwned(usize),
    /// Pods never see the flag.
    PodsDeaf(usize),
    /// No pod starts.
    PodsNeverStart(usize),
    /// The disk under a database is full.
    DiskFull(usize),
    /// The marks cannot be written.
    MarksFrozen(usize),
    /// A stop takes a minute.
    StopSlow(usize),
    /// New rules for clients are not loaded.
    ReloadFails(usize),
    /// A guard hears an operator's old word again.
    OldWord(usize),
    /// No message passes between a guard and its operator.
    GuardLinkCut(usize),
    /// The operator reaches neither guard nor server, which live and reach everything else.
    PodCut(usize),
}

impl Fault {
    /// The rows of the fault catalogue that it stands for.
    #[expect(clippy::match_same_arms, reason = "one line for each fault or two, in the order of the faults")]
    pub const fn rows(self) -> &'static [&'static str] {
        match self {
            Self::Effect(Fate::Go) => &[],
            Self::Effect(Fate::DieBefore) => &["F1"],
            Self::Effect(Fate::DieAfter) => &["F2"],
            Self::Effect(Fate::LoseAnswer) => &["F3"],
            Self::Effect(Fate::Late(_)) => &["F4"],
            Self::Effect(Fate::Twice) => &["F5"],
            Self::Effect(Fate::Refused) | Self::ApiForbidden(_) | Self::SecretGone(_) => &["F40"],
            Self::StaleObjects(_) => &["F6"],
            Self::SilentWatch(_) => &["F7"],
            Self::Relist(_) => &["F8"],
            Self::SecondOperator(_) | Self::ReplicaFollows(_) => &["F9"],
            Self::OperatorFrozen(_) => &["F10", "F14"],
            Self::OperatorKilled(_) => &["F1"],
            Self::OperatorUpgraded(_) => &["F32"],
            Self::GuardFrozen(_) => &["F11"],
            Self::ServerFrozen(_) => &["F12"],
            Self::PodFrozen(_) | Self::SiteFrozen(_) => &["F13"],
            Self::ServerKilled(_) | Self::GuardKilled(_) | Self::NodeLost(_) => &["F36"],
            Self::AllKilled(_) => &["F43"],
            Self::ClockSet(..) | Self::ClockRate(..) => &["F15"],
            Self::ApiGone(_) | Self::ApiSilent(_) | Self::ApiDeaf(_) => &["F16"],
            Self::ApiBusy(_) | Self::ApiSlow(_) => &["F41"],
            Self::SiteLost(_) => &["F17", "F35"],
            Self::ThirdLost | Self::WitnessLost | Self::LeaderFrozen => &["F25"],
            Self::SitesCut => &["F18"],
            Self::ArbiterCut(_) => &["F19", "F23"],
            Self::Isolated(_) => &["F20", "F23", "F49"],
            Self::Mute(_) | Self::DeafSite(_) => &["F21"],
            Self::Grey(_) => &["F22"],
            Self::Flapping(_) => &["F24"],
            Self::ArbiterRestored | Self::ArbiterEmptied => &["F26"],
            Self::LeasesDeleted => &["F48"],
            Self::NameTaken(_) => &["F45"],
            Self::GitRewritten => &["F27"],
            Self::GitInvalid | Self::PolicyInvalid(_) => &["F28"],
            Self::PolicyDeleted(_) | Self::PolicyEdited(_) => &["F29"],
            Self::GitDown | Self::GitHidden(_) => &["F30"],
            Self::PromotionSlow(_) | Self::PromotionFails(_) | Self::RewindFails(_) => &["F33"],
            Self::PromotionLate(_) => &["F4", "F33"],
            Self::ReplayLags(_) => &["F34"],
            Self::PromotedByHand(_) | Self::Unlocked(_) => &["F44"],
            Self::DnsRefuses | Self::DnsStuck => &["F37"],
            Self::FlagOwned(_) | Self::PodsDeaf(_) | Self::PodsNeverStart(_) => &["F39"],
            Self::DiskFull(_) | Self::MarksFrozen(_) => &["F42"],
            Self::StopSlow(_) | Self::ReloadFails(_) => &["F46"],
            Self::OldWord(_) => &["F47"],
            Self::GuardLinkCut(_) | Self::PodCut(_) => &["F16"],
        }
    }

    /// What it makes of one effect, if that is what it is.
    pub const fn fate(self) -> Option<Fate> {
        match self {
            Self::Effect(fate) => Some(fate),
            _ => None,
        }
    }

    /// In words.
    pub fn words(self, world: &World) -> String {
        let site = |s: usize| world.sites.get(s).map_or("?", |s| s.name.as_str());
        match self {
            Self::Effect(Fate::Go) => "nothing".to_owned(),
            Self::Effect(Fate::DieBefore) => "dies before this step".to_owned(),
            Self::Effect(Fate::DieAfter) => "dies right after this step".to_owned(),
            Self::Effect(Fate::LoseAnswer) => "the answer to this step is lost".to_owned(),
            Self::Effect(Fate::Late(ms)) => format!("this step is done {ms} ms late"),
            Self::Effect(Fate::Twice) => "this step is done twice".to_owned(),
            Self::Effect(Fate::Refused) => "this step is refused".to_owned(),
            other => {
                let mut text = format!("{other:?}");
                if let Some(at) = other.site() {
                    // Writing to a String cannot fail.
                    let _ = write!(text, " ({})", site(at));
                }
                text
            }
        }
    }

    /// The site that it is about, if it is about one.
    pub const fn site(self) -> Option<usize> {
        match self {
            Self::StaleObjects(s)
            | Self::SilentWatch(s)
            | Self::Relist(s)
            | Self::SecondOperator(s)
            | Self::ReplicaFollows(s)
            | Self::OperatorFrozen(s)
            | Self::OperatorKilled(s)
            | Self::OperatorUpgraded(s)
            | Self::GuardFrozen(s)
            | Self::ServerFrozen(s)
            | Self::PodFrozen(s)
            | Self::SiteFrozen(s)
            | Self::ServerKilled(s)
            | Self::AllKilled(s)
            | Self::GuardKilled(s)
            | Self::NodeLost(s)
            | Self::ClockSet(s, _)
            | Self::ClockRate(s, _)
            | Self::ApiGone(s)
            | Self::ApiSilent(s)
            | Self::ApiBusy(s)
            | Self::ApiSlow(s)
            | Self::ApiDeaf(s)
            | Self::ApiForbidden(s)
            | Self::SecretGone(s)
            | Self::SiteLost(s)
            | Self::ArbiterCut(s)
            | Self::Isolated(s)
            | Self::Mute(s)
            | Self::DeafSite(s)
            | Self::Flapping(s)
            | Self::Grey(s)
            | Self::NameTaken(s)
            | Self::GitHidden(s)
            | Self::PolicyDeleted(s)
            | Self::PolicyInvalid(s)
            | Self::PolicyEdited(s)
            | Self::PromotionSlow(s)
            | Self::PromotionLate(s)
            | Self::PromotionFails(s)
            | Self::RewindFails(s)
            | Self::ReplayLags(s)
            | Self::PromotedByHand(s)
            | Self::Unlocked(s)
            | Self::FlagOwned(s)
            | Self::PodsDeaf(s)
            | Self::PodsNeverStart(s)
            | Self::DiskFull(s)
            | Self::MarksFrozen(s)
            | Self::StopSlow(s)
            | Self::ReloadFails(s)
            | Self::OldWord(s)
            | Self::GuardLinkCut(s)
            | Self::PodCut(s) => Some(s),
            Self::Effect(_)
            | Self::ThirdLost
            | Self::WitnessLost
            | Self::SitesCut
            | Self::LeaderFrozen
            | Self::ArbiterRestored
            | Self::ArbiterEmptied
            | Self::LeasesDeleted
            | Self::GitRewritten
            | Self::GitInvalid
            | Self::GitDown
            | Self::DnsRefuses
            | Self::DnsStuck => None,
        }
    }
}

/// Every row of the catalogue that must be injectable.
pub fn required_rows() -> Vec<String> {
    // F31 is a webhook's, F38 a proxy's of several instances: neither exists in this version.
    let left_out = [31, 38];
    (1..=49).filter(|n| !left_out.contains(n)).map(|n| format!("F{n}")).collect()
}
