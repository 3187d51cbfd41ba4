//! What each fault does: its beginning, its time, its end. One function each, by what it hits.

mod arbiter;
mod clocks;
mod copy;
mod database;
mod disks;
mod late;
mod lines;
mod memory;
mod namespace;
mod passwords;
mod people;
mod places;
mod unlocked;

pub(super) use copy::made_anew;
pub(super) use namespace::installed_again;
pub(super) use passwords::as_at_first;
pub(super) use unlocked::{Word, given_back};

use std::time::Duration;

use anyhow::Result;

use super::fault::Fault;
use super::ground::Ground;

/// Does one fault from its beginning to its end. What could not be done is an error: another fault may have taken
/// what it needed.
pub async fn inflict(fault: Fault, on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let place = |spot| {
        on.roles.place(spot).ok_or_else(|| anyhow::anyhow!("{spot} is no place to which that happens"))
    };
    match fault {
        Fault::GuardFrozen(at) => database::guard_frozen(on, place(at)?, lasts).await,
        Fault::DatabaseFrozen(at) => database::database_frozen(on, place(at)?, lasts).await,
        Fault::GuardKilled(at) => database::guard_killed(on, place(at)?),
        Fault::ServerFrozen(at) => database::server_frozen(on, place(at)?, lasts).await,
        Fault::ServerKilled(at) => database::server_killed(on, place(at)?),
        Fault::BackendKilled(at) => database::backend_killed(on, place(at)?),
        Fault::PodDeleted(at) => database::pod_deleted(on, place(at)?),
        Fault::OutOfMemory(at) => memory::out_of_memory(on, place(at)?, lasts).await,
        Fault::DiskFull(at) => database::disk_full(on, place(at)?, lasts).await,
        Fault::DiskSlow(at) => disks::database_slow(on, place(at)?, lasts).await,
        Fault::MemberSlow(at) => disks::member_slow(on, place(at)?, lasts).await,
        Fault::MemberDiskFull(at) => arbiter::member_disk_full(on, place(at)?, lasts).await,
        Fault::PromotionSlow => disks::promotion_slow(on, lasts).await,
        Fault::MemberReplaced(at) => arbiter::member_replaced(on, place(at)?, lasts).await,
        Fault::ApiSlow(at) => late::api_slow(on, place(at)?, lasts).await,
        Fault::ApiRefuses(at) => places::api_refuses(on, place(at)?, lasts).await,
        Fault::DnsSlow(at) => late::dns_slow(on, place(at)?, lasts).await,
        Fault::ClockAhead(at) => clocks::stepped(on, place(at)?, clocks::HOUR, lasts).await,
        Fault::ClockBehind(at) => clocks::stepped(on, place(at)?, -clocks::HOUR, lasts).await,
        Fault::ClockFast(at) => clocks::wrong(on, place(at)?, clocks::RATE, lasts).await,
        Fault::ClockSlow(at) => clocks::wrong(on, place(at)?, -clocks::RATE, lasts).await,
        Fault::UpdatesRefused => places::updates_refused(on, lasts).await,
        Fault::NoTransfer(at) => places::no_transfer(on, place(at)?, lasts).await,
        Fault::LogRemoved => copy::log_removed(on, lasts).await,
        Fault::TimingEdited(at) => people::timing_edited(on, place(at)?, lasts).await,
        Fault::SuspendedAt(at) => people::suspended_at(on, place(at)?, lasts).await,
        Fault::PasswordRotated => passwords::rotated(on, &passwords::OPERATOR, lasts).await,
        Fault::ReplicationPasswordRotated => passwords::rotated(on, &passwords::REPLICATION, lasts).await,
        Fault::ReplayPaused => database::replay_paused(on, lasts).await,
        Fault::StandbyPromoted => database::standby_promoted(on).await,
        Fault::SlotDropped => database::slot_dropped(on).await,
        Fault::Superuser => database::superuser(on, lasts).await,
        Fault::Unlocked => unlocked::active_unlocked(on, lasts).await,
        Fault::PodsFrozen(at) => places::pods_frozen(on, place(at)?, lasts).await,
        Fault::PlaceFrozen(at) => places::place_frozen(on, place(at)?, lasts).await,
        Fault::PowerLoss(at) => places::power_loss(on, place(at)?, lasts).await,
        Fault::NodeKilled(at) => places::node_killed(on, place(at)?, lasts).await,
        Fault::OperatorKilled(at) => places::operator_killed(on, place(at)?, lasts).await,
        Fault::OperatorFrozen(at) => places::operator_frozen(on, place(at)?, lasts).await,
        Fault::DnsKilled(at) => places::dns_killed(on, place(at)?, lasts).await,
        Fault::DnsFrozen(at) => places::dns_frozen(on, place(at)?, lasts).await,
        Fault::ApiKilled(at) => places::api_killed(on, place(at)?, lasts).await,
        Fault::ApiFrozen(at) => places::api_frozen(on, place(at)?, lasts).await,
        Fault::GitGone => places::git_gone(on, lasts).await,
        Fault::GitFrozen => places::git_frozen(on, lasts).await,
        Fault::OneWay(from, to) => lines::one_way(on, on.roles.end(from), on.roles.end(to), lasts).await,
        Fault::Cut(a, b) => lines::cut(on, on.roles.end(a), on.roles.end(b), lasts).await,
        Fault::Flapping(a, b) => lines::flapping(on, on.roles.end(a), on.roles.end(b), lasts).await,
        Fault::Alone(at) => lines::alone(on, place(at)?, lasts).await,
        Fault::NoArbiter(at) => lines::no_arbiter(on, place(at)?, lasts).await,
        Fault::NoReplication => lines::no_replication(on, lasts).await,
        Fault::ThinLine => lines::thin_line(on, lasts).await,
        Fault::LeadersFrozen => arbiter::leaders_frozen(on, lasts).await,
        Fault::MemberKilled(at) => arbiter::member_killed(on, place(at)?, lasts).await,
        Fault::MemberFrozen(at) => arbiter::member_frozen(on, place(at)?, lasts).await,
        Fault::Switchover => people::switchovers(on, 1).await,
        Fault::TwoSwitchovers => people::switchovers(on, 2).await,
        Fault::Failover => people::failover(on).await,
        Fault::Held => people::held(on, lasts).await,
        Fault::Abort => people::abort(on).await,
        Fault::PolicyDeleted(at) => people::policy_deleted(on, place(at)?),
        Fault::NamespaceDeleted(at) => namespace::deleted(on, place(at)?, lasts).await,
        Fault::PolicyRemoved => people::policy_removed(on, lasts).await,
        Fault::Suspended => people::suspended(on, lasts).await,
    }
}
