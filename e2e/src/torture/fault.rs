//! The vocabulary: every fault that a schedule may name, in words that a person reads and a schedule's file keeps.

use std::fmt;
use std::str::FromStr;

use crate::world::{End, Place};

/// A place by what it is when a schedule begins, so that the same schedule means the same whoever is active then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spot {
    /// The site that is active when the schedule begins.
    Active,
    /// The other site.
    Standby,
    /// The third place.
    Third,
    /// The outside world: clients and git.
    Host,
}

use Spot::{Active, Host, Standby, Third};

/// Who is who when a schedule begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The active site.
    pub active: Place,
    /// The other one.
    pub standby: Place,
}

impl Roles {
    /// One end of a link.
    pub fn end(self, spot: Spot) -> End {
        match spot {
            Active => End::Place(self.active),
            Standby => End::Place(self.standby),
            Third => End::Place(Place::Third),
            Host => End::Host,
        }
    }

    /// A place; `None` for the outside world.
    pub fn place(self, spot: Spot) -> Option<Place> {
        match self.end(spot) {
            End::Place(place) => Some(place),
            End::Host => None,
        }
    }
}

/// One fault, or one thing that a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The guard stands still while its server runs.
    GuardFrozen(Spot),
    /// Guard and server stand still together, and go on together.
    DatabaseFrozen(Spot),
    /// Every pod of a site stands still.
    PodsFrozen(Spot),
    /// A whole place stands still.
    PlaceFrozen(Spot),
    /// Power loss, and power again.
    PowerLoss(Spot),
    /// The machine under a site's pods dies; the site's own servers live on another.
    NodeKilled(Spot),
    /// The operator is killed, and starts again.
    OperatorKilled(Spot),
    /// The operator stands still.
    OperatorFrozen(Spot),
    /// The guard is killed, its container with it.
    GuardKilled(Spot),
    /// Every process of the server stands still under its living guard.
    ServerFrozen(Spot),
    /// The server's first process is killed under its guard.
    ServerKilled(Spot),
    /// One of the server's backends is killed: the server recovers from the crash by itself.
    BackendKilled(Spot),
    /// The kernel ends a process of the database's container for want of memory.
    OutOfMemory(Spot),
    /// The database's pod is deleted.
    PodDeleted(Spot),
    /// Nothing passes from one end to another.
    OneWay(Spot, Spot),
    /// Nothing passes between two ends.
    Cut(Spot, Spot),
    /// Nothing passes between two ends, every other second and a half.
    Flapping(Spot, Spot),
    /// A place is alone.
    Alone(Spot),
    /// A site reaches no member of the arbiter.
    NoArbiter(Spot),
    /// Replication does not pass between the sites; everything else does.
    NoReplication,
    /// Replication towards the standby gets 20 kB a second.
    ThinLine,
    /// Whichever member of the arbiter leads stands still for a second and a half, again and again.
    LeadersFrozen,
    /// A member of the arbiter is killed, and starts again.
    MemberKilled(Spot),
    /// A member of the arbiter stands still.
    MemberFrozen(Spot),
    /// A DNS server is killed: its port refuses. It starts again.
    DnsKilled(Spot),
    /// A DNS server stands still: it answers nobody.
    DnsFrozen(Spot),
    /// A site's API server is killed, and starts again.
    ApiKilled(Spot),
    /// A site's API server, its etcd and its controllers stand still.
    ApiFrozen(Spot),
    /// The git server is gone.
    GitGone,
    /// The git server takes connections and answers nobody.
    GitFrozen,
    /// The disk under a site's database has no room.
    DiskFull(Spot),
    /// Whatever guard and server of a site sync takes a fifth of a second.
    DiskSlow(Spot),
    /// Whatever a member of the arbiter syncs takes a fifth of a second.
    MemberSlow(Spot),
    /// The disk under a member of the arbiter has no room.
    MemberDiskFull(Spot),
    /// A member of the arbiter is removed, and a new one with an empty disk added in its place.
    MemberReplaced(Spot),
    /// A site's API server answers late, again and again.
    ApiSlow(Spot),
    /// A site's API server refuses the operator with 429.
    ApiRefuses(Spot),
    /// A DNS server answers late.
    DnsSlow(Spot),
    /// The wall clock of a site's operator, guard and database is an hour ahead.
    ClockAhead(Spot),
    /// It is an hour behind.
    ClockBehind(Spot),
    /// Every clock of a site runs fast, by as much as the protocol allows for.
    ClockFast(Spot),
    /// It runs slow by as much.
    ClockSlow(Spot),
    /// The DNS primary refuses updates.
    UpdatesRefused,
    /// The DNS primary gives the zone to a site's secondary no more.
    NoTransfer(Spot),
    /// The log that the standby needs next is removed at the active server, with its slot. A person makes the copy anew.
    LogRemoved,
    /// Somebody edits the policy's timing by hand, at one site only, again and again.
    TimingEdited(Spot),
    /// Somebody suspends the policy by hand, at one site only, again and again.
    SuspendedAt(Spot),
    /// The password of the operator's role is changed in the server and in the Secrets of both sites, and later again.
    PasswordRotated,
    /// The same of the role by which the standby replicates.
    ReplicationPasswordRotated,
    /// Whatever the standby's server syncs while it leaves recovery takes seconds: a promotion in that time ends late.
    PromotionSlow,
    /// Somebody pauses the standby's replay.
    ReplayPaused,
    /// Somebody promotes the standby by hand.
    StandbyPromoted,
    /// Somebody drops the standby's slot at the active server.
    SlotDropped,
    /// A person takes the database that is active then out of Bascule's care, and gives it back.
    Unlocked,
    /// A superuser at the active server opens a session that takes locks and writes, whatever its flags say.
    Superuser,
    /// A person merges a Move `Switchover`.
    Switchover,
    /// Two of them in one commit.
    TwoSwitchovers,
    /// A person merges a Move `Failover`, without a word of what is stopped.
    Failover,
    /// A person merges a `Hold`, and later a `Resume`.
    Held,
    /// A person merges an `Abort`.
    Abort,
    /// The policy's object is deleted in one site's cluster; the site takes it from git again.
    PolicyDeleted(Spot),
    /// The namespace of the application is deleted in one site's cluster, with all that is in it but the data. A person
    /// installs it again.
    NamespaceDeleted(Spot),
    /// The policy's file is deleted in git, and later committed again.
    PolicyRemoved,
    /// The policy is suspended, and later not.
    Suspended,
}

/// What a fault may do to the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing, however many others of this kind come with it.
    Never,
    /// Nothing, when it is the only one beside faults that do nothing.
    NotAlone,
    /// It may move.
    May,
}

impl Fault {
    /// Every fault of the vocabulary.
    pub fn all() -> Vec<Self> {
        let sites = [Active, Standby];
        let places = [Active, Standby, Third];
        let ends = [Active, Standby, Third, Host];
        let mut all = Vec::new();
        for at in sites {
            all.extend([
                Self::GuardFrozen(at),
                Self::DatabaseFrozen(at),
                Self::PodsFrozen(at),
                Self::NodeKilled(at),
                Self::OperatorKilled(at),
                Self::OperatorFrozen(at),
                Self::GuardKilled(at),
                Self::ServerFrozen(at),
                Self::ServerKilled(at),
                Self::BackendKilled(at),
                Self::OutOfMemory(at),
                Self::PodDeleted(at),
                Self::NoArbiter(at),
                Self::ApiKilled(at),
                Self::ApiFrozen(at),
                Self::DiskFull(at),
                Self::DiskSlow(at),
                Self::ApiSlow(at),
                Self::ApiRefuses(at),
                Self::NoTransfer(at),
                Self::PolicyDeleted(at),
                Self::NamespaceDeleted(at),
                Self::TimingEdited(at),
                Self::SuspendedAt(at),
                Self::ClockAhead(at),
                Self::ClockBehind(at),
                Self::ClockFast(at),
                Self::ClockSlow(at),
            ]);
        }
        for at in places {
            all.extend([
                Self::PlaceFrozen(at),
                Self::PowerLoss(at),
                Self::Alone(at),
                Self::MemberKilled(at),
                Self::MemberFrozen(at),
                Self::DnsKilled(at),
                Self::DnsFrozen(at),
                Self::DnsSlow(at),
                Self::MemberSlow(at),
                Self::MemberDiskFull(at),
                Self::MemberReplaced(at),
            ]);
        }
        for (number, a) in ends.into_iter().enumerate() {
            for b in ends.into_iter().skip(number + 1) {
                all.extend([Self::OneWay(a, b), Self::OneWay(b, a), Self::Cut(a, b), Self::Flapping(a, b)]);
            }
        }
        all.extend([
            Self::NoReplication,
            Self::ThinLine,
            Self::LeadersFrozen,
            Self::GitGone,
            Self::GitFrozen,
            Self::PromotionSlow,
            Self::ReplayPaused,
            Self::StandbyPromoted,
            Self::SlotDropped,
            Self::Superuser,
            Self::Unlocked,
            Self::Switchover,
            Self::TwoSwitchovers,
            Self::Failover,
            Self::Held,
            Self::Abort,
            Self::PolicyRemoved,
            Self::Suspended,
            Self::UpdatesRefused,
            Self::LogRemoved,
            Self::PasswordRotated,
            Self::ReplicationPasswordRotated,
        ]);
        all
    }

    /// What it has in common with others: a draw takes a family first, so that the many cuts do not crowd out the
    /// rest.
    pub fn family(self) -> &'static str {
        match self {
            Self::GuardFrozen(_) | Self::DatabaseFrozen(_) | Self::PodsFrozen(_) | Self::PlaceFrozen(_) => {
                "frozen"
            }
            Self::PowerLoss(_) | Self::NodeKilled(_) => "machines",
            Self::OperatorKilled(_) | Self::OperatorFrozen(_) => "operators",
            Self::GuardKilled(_) | Self::ServerFrozen(_) | Self::ServerKilled(_) | Self::BackendKilled(_) => {
                "servers"
            }
            Self::OutOfMemory(_) | Self::PodDeleted(_) | Self::DiskFull(_) => "containers",
            Self::DiskSlow(_) | Self::MemberSlow(_) | Self::PromotionSlow => "slow disks",
            Self::OneWay(..) => "one-way cuts",
            Self::Cut(..) | Self::Alone(_) | Self::NoArbiter(_) => "cuts",
            Self::Flapping(..) => "flapping links",
            Self::NoReplication | Self::ThinLine | Self::ReplayPaused => "replication",
            Self::StandbyPromoted
            | Self::SlotDropped
            | Self::LogRemoved
            | Self::Superuser
            | Self::Unlocked => "hands",
            Self::LeadersFrozen
            | Self::MemberKilled(_)
            | Self::MemberFrozen(_)
            | Self::MemberDiskFull(_)
            | Self::MemberReplaced(_) => "arbiter",
            Self::DnsKilled(_)
            | Self::DnsFrozen(_)
            | Self::DnsSlow(_)
            | Self::UpdatesRefused
            | Self::NoTransfer(_) => "DNS",
            Self::ApiKilled(_) | Self::ApiFrozen(_) | Self::GitGone | Self::GitFrozen => "APIs",
            Self::ApiSlow(_) | Self::ApiRefuses(_) => "busy APIs",
            Self::PasswordRotated | Self::ReplicationPasswordRotated => "passwords",
            Self::ClockAhead(_) | Self::ClockBehind(_) | Self::ClockFast(_) | Self::ClockSlow(_) => "clocks",
            Self::Switchover | Self::TwoSwitchovers | Self::Failover => "people who move",
            Self::Held | Self::Abort => "people who hold",
            Self::PolicyDeleted(_)
            | Self::NamespaceDeleted(_)
            | Self::PolicyRemoved
            | Self::Suspended
            | Self::TimingEdited(_)
            | Self::SuspendedAt(_) => "policies",
        }
    }

    /// Whether times of day that a site has written may be wrong by it.
    pub fn steps_a_clock(self) -> bool {
        matches!(self, Self::ClockAhead(_) | Self::ClockBehind(_))
    }

    /// Whether it is no fault but what people ask for.
    pub fn is_asked_for(self) -> bool {
        matches!(self.family(), "people who move" | "people who hold")
    }

    /// What it may do to the role.
    pub fn harm(self) -> Harm {
        match self {
            Self::GitGone
            | Self::GitFrozen
            | Self::DnsKilled(_)
            | Self::DnsFrozen(_)
            | Self::DnsSlow(_)
            | Self::UpdatesRefused
            | Self::NoTransfer(_)
            | Self::DiskSlow(Standby)
            | Self::LogRemoved
            | Self::TimingEdited(_)
            | Self::PasswordRotated
            | Self::ReplicationPasswordRotated
            | Self::ClockAhead(_)
            | Self::ClockBehind(_)
            | Self::ClockFast(_)
            | Self::ClockSlow(_)
            | Self::GuardFrozen(Standby)
            | Self::DatabaseFrozen(Standby)
            | Self::PodsFrozen(Standby)
            | Self::NodeKilled(Standby)
            | Self::GuardKilled(Standby)
            | Self::ServerFrozen(Standby)
            | Self::ServerKilled(Standby)
            | Self::BackendKilled(Standby)
            | Self::OutOfMemory(Standby)
            | Self::PodDeleted(Standby)
            | Self::NamespaceDeleted(Standby)
            | Self::DiskFull(Standby)
            | Self::NoReplication
            | Self::ThinLine
            | Self::PromotionSlow
            | Self::ReplayPaused
            | Self::StandbyPromoted
            | Self::SlotDropped
            | Self::Held
            | Self::Abort => Harm::Never,
            Self::PlaceFrozen(Standby | Third)
            | Self::PowerLoss(Standby | Third)
            | Self::Alone(Standby | Third)
            | Self::OperatorKilled(_)
            | Self::OperatorFrozen(_)
            | Self::PodDeleted(Active)
            | Self::GuardKilled(Active)
            | Self::NoArbiter(Standby)
            | Self::OneWay(..)
            | Self::Cut(..)
            | Self::MemberKilled(_)
            | Self::MemberFrozen(_)
            | Self::ApiKilled(_)
            | Self::ApiFrozen(_)
            | Self::ApiSlow(_)
            | Self::ApiRefuses(_)
            | Self::DiskSlow(Active)
            | Self::MemberSlow(_)
            | Self::MemberDiskFull(_)
            | Self::MemberReplaced(_)
            | Self::Superuser => Harm::NotAlone,
            _ => Harm::May,
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Active => "the active site",
            Standby => "the standby site",
            Third => "the third place",
            Host => "the outside world",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GuardFrozen(at) => write!(f, "the guard of {at} stands still while its server runs"),
            Self::DatabaseFrozen(at) => write!(f, "guard and server of {at} stand still"),
            Self::PodsFrozen(at) => write!(f, "every pod of {at} stands still"),
            Self::PlaceFrozen(at) => write!(f, "all of {at} stands still"),
            Self::PowerLoss(at) => write!(f, "{at} has no power"),
            Self::NodeKilled(at) => write!(f, "the machine under the pods of {at} is dead"),
            Self::OperatorKilled(at) => write!(f, "the operator of {at} is killed"),
            Self::OperatorFrozen(at) => write!(f, "the operator of {at} stands still"),
            Self::GuardKilled(at) => write!(f, "the guard of {at} is killed"),
            Self::ServerFrozen(at) => write!(f, "the server of {at} stands still under its guard"),
            Self::ServerKilled(at) => write!(f, "the server of {at} is killed under its guard"),
            Self::BackendKilled(at) => write!(f, "a backend of the server of {at} is killed"),
            Self::OutOfMemory(at) => write!(f, "the database of {at} is out of memory"),
            Self::PodDeleted(at) => write!(f, "the database's pod of {at} is deleted"),
            Self::OneWay(from, to) => write!(f, "nothing passes from {from} to {to}"),
            Self::Cut(a, b) => write!(f, "nothing passes between {a} and {b}"),
            Self::Flapping(a, b) => write!(f, "the line between {a} and {b} goes up and down"),
            Self::Alone(at) => write!(f, "{at} reaches nobody"),
            Self::NoArbiter(at) => write!(f, "{at} reaches no member of the arbiter"),
            Self::NoReplication => f.write_str("replication does not pass"),
            Self::ThinLine => f.write_str("replication has a thin line"),
            Self::LeadersFrozen => f.write_str("the arbiter's leaders stand still, one after the other"),
            Self::MemberKilled(at) => write!(f, "the arbiter's member of {at} is killed"),
            Self::MemberFrozen(at) => write!(f, "the arbiter's member of {at} stands still"),
            Self::DnsKilled(at) => write!(f, "the DNS server of {at} refuses"),
            Self::DnsFrozen(at) => write!(f, "the DNS server of {at} stands still"),
            Self::ApiKilled(at) => write!(f, "the API server of {at} is killed"),
            Self::ApiFrozen(at) => write!(f, "the API server of {at} stands still"),
            Self::GitGone => f.write_str("git is gone"),
            Self::GitFrozen => f.write_str("git stands still"),
            Self::DiskFull(at) => write!(f, "the database's disk of {at} is full"),
            Self::DiskSlow(at) => write!(f, "the database's disk of {at} is slow"),
            Self::MemberSlow(at) => write!(f, "the disk of the arbiter's member of {at} is slow"),
            Self::MemberDiskFull(at) => write!(f, "the disk of the arbiter's member of {at} is full"),
            Self::MemberReplaced(at) => write!(f, "the arbiter's member of {at} is replaced by a new one"),
            Self::ApiSlow(at) => write!(f, "the API server of {at} answers late"),
            Self::ApiRefuses(at) => write!(f, "the API server of {at} refuses the operator with 429"),
            Self::DnsSlow(at) => write!(f, "the DNS server of {at} answers late"),
            Self::ClockAhead(at) => write!(f, "the wall clock of {at} is an hour ahead"),
            Self::ClockBehind(at) => write!(f, "the wall clock of {at} is an hour behind"),
            Self::ClockFast(at) => write!(f, "the clocks of {at} run fast"),
            Self::ClockSlow(at) => write!(f, "the clocks of {at} run slow"),
            Self::UpdatesRefused => f.write_str("the DNS primary refuses updates"),
            Self::NoTransfer(at) => write!(f, "the DNS server of {at} gets no transfer"),
            Self::LogRemoved => f.write_str("the log that the standby needs is removed"),
            Self::TimingEdited(at) => write!(f, "somebody edits the policy's timing at {at} by hand"),
            Self::SuspendedAt(at) => write!(f, "somebody suspends the policy at {at} by hand"),
            Self::PasswordRotated => f.write_str("the password of the operator's role is rotated"),
            Self::ReplicationPasswordRotated => f.write_str("the password of replication is rotated"),
            Self::PromotionSlow => f.write_str("the standby's server takes long to leave recovery"),
            Self::ReplayPaused => f.write_str("somebody pauses the standby's replay"),
            Self::StandbyPromoted => f.write_str("somebody promotes the standby by hand"),
            Self::SlotDropped => f.write_str("somebody drops the standby's slot"),
            Self::Superuser => f.write_str("a superuser locks and writes at the active server"),
            Self::Unlocked => f.write_str("a person unlocks the active database, and gives it back"),
            Self::Switchover => f.write_str("a person merges a Switchover"),
            Self::TwoSwitchovers => f.write_str("a person merges two Switchovers at once"),
            Self::Failover => f.write_str("a person merges a Failover"),
            Self::Held => f.write_str("a person merges a Hold, and a Resume after it"),
            Self::Abort => f.write_str("a person merges an Abort"),
            Self::PolicyDeleted(at) => write!(f, "the policy's object of {at} is deleted"),
            Self::NamespaceDeleted(at) => write!(f, "the application's namespace of {at} is deleted"),
            Self::PolicyRemoved => f.write_str("the policy is removed from git"),
            Self::Suspended => f.write_str("the policy is suspended"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all()
            .into_iter()
            .find(|fault| fault.to_string() == text)
            .ok_or_else(|| format!("no fault is called {text:?}; `bascule-torture faults` lists them"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_words_of_its_own_and_is_found_by_them() {
        let all = Fault::all();
        let words: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), all.len());
        for fault in all {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert!("the guard of nobody stands still".parse::<Fault>().is_err());
    }
}
