//! Which moments of a transition have come, for deadlines and measured times.

use crate::decide::situation::{PolicySeen, Situation, all_in};
use crate::decide::{planned, witness};
use crate::guard::wire::{ClusterState, Disk, Report, ServerState, Stopped};
use crate::memory::{Memory, Stamp};
use crate::mutant::forgets;
use crate::observation::{FlagValue, Observation};
use crate::policy::Policy;
use crate::record::{Phase, Record};

/// Brings `memory` up to what the situation shows. Called before each decision.
pub fn note(memory: &mut Memory, s: &Situation<'_>) {
    let Some(view) = s.claim.view() else { return memory.see_none() };
    let record = &view.record;
    memory.see(record, s.now);
    let PolicySeen::Present(policy) = &s.policy else { return };
    let mine = record.active == *s.me;
    let mut set = |what, holds: bool| {
        if holds {
            memory.stamp(what, s.now);
        }
    };
    set(Stamp::ReadOnlySeen, read_only_seen(policy, s.seen));
    let requested = mine && record.phase == Phase::Requested;
    set(Stamp::TargetReady, requested && planned::target_can_take(s, policy, record));
    set(Stamp::LockOrdered, s.claim.locking().is_some());
    set(Stamp::Stopped, s.claim.locking().is_some_and(|serial| stopped(s, policy, record, serial)));
    set(Stamp::Proved, !mine && record.phase == Phase::Handover && proved(policy, s.seen, record));
    set(
        Stamp::Promoted,
        mine && all_databases(policy, s.seen, |state| matches!(state, ServerState::Primary { .. })),
    );
    let open =
        mine && all_databases(policy, s.seen, |state| matches!(state, ServerState::Primary { open: true }));
    // Of a record that was made anew the server may be open since before.
    let in_this_hold = |r: &Report| record.phase != Phase::Promoting || r.opened_epoch == Some(record.epoch);
    let opened = open
        && all_in(policy.databases.keys(), &s.seen.databases, |d| {
            d.guard.value().is_some_and(|r| in_this_hold(r))
        });
    set(Stamp::Opened, opened);
    set(
        Stamp::WriteVerified,
        mine && all_in(policy.databases.keys(), &s.seen.databases, |d| {
            d.write_verified == Some(record.epoch)
        }),
    );
    set(Stamp::TimingHeard, mine && heard(s, policy, record));
    set(
        Stamp::TrafficMoved,
        all_in(policy.traffic.keys(), &s.seen.traffic, |t| t.at.value().is_some_and(|at| at.leads(s.me))),
    );
    if open {
        memory.stamp(Stamp::StableSince, s.now);
    } else {
        memory.clear(Stamp::StableSince);
    }
    if mine && witness::gone(s, policy, record).is_some() {
        memory.stamp(Stamp::GuardGone, s.now);
    } else {
        memory.clear(Stamp::GuardGone);
    }
    let told_to_stop =
        s.seen.databases.values().any(|d| d.guard.value().is_some_and(|r| r.sigterm && r.state.is_down()));
    if mine && told_to_stop {
        memory.stamp(Stamp::DeadSince, s.now);
    } else {
        memory.clear(Stamp::DeadSince);
    }
}

/// Whether every workload with a flag has it set to read-only, and every pod that can be asked says so.
pub(super) fn read_only_seen(policy: &Policy, seen: &Observation) -> bool {
    if forgets("users are read-only before the stop") {
        return true;
    }
    let flagged =
        policy.workloads.iter().filter_map(|(name, w)| w.read_only.as_ref().map(|flag| (name, flag)));
    flagged.into_iter().all(|(name, flag)| {
        seen.workloads.get(name).is_some_and(|w| {
            let set = w.flag.value() == Some(&FlagValue::ReadOnly);
            let heard = flag.verify.is_none()
                || w.effective.value().is_some_and(|pods| pods.unknown == 0 && pods.read_only == pods.pods);
            set && heard
        })
    })
}

/// Whether every guard has confirmed a clean stop and a lock at `serial` or later.
fn stopped(s: &Situation<'_>, policy: &Policy, record: &Record, serial: u64) -> bool {
    locked(s, policy, record, serial)
        && all_in(policy.databases.keys(), &s.seen.databases, |d| {
            d.guard.value().is_some_and(|r| r.state.is_down() && clean_stop(r, serial).is_some())
        })
}

/// The clean stop that was ordered at `serial`: not an older one, and the disk says the same. A guard that was
/// restarted remembers its last stop, which says nothing about what was written since.
pub(super) fn clean_stop(report: &Report, serial: u64) -> Option<&Stopped> {
    let Disk::Cluster(disk) = &report.disk else { return None };
    report.stopped.as_ref().filter(|stop| {
        stop.clean
            && stop.serial >= serial
            && disk.state == ClusterState::ShutDown
            && (disk.system_id, disk.timeline, disk.checkpoint)
                == (stop.system_id, stop.timeline, stop.checkpoint)
    })
}

/// Whether every guard whose word counts has confirmed that it is locked at `serial` or later, however its server
/// ended.
pub(super) fn locked(s: &Situation<'_>, policy: &Policy, record: &Record, serial: u64) -> bool {
    forgets("a role is offered only after the lock")
        || witness::missing(s, policy, record).is_none()
            && all_in(policy.databases.keys(), &s.seen.databases, |d| {
                d.guard.value().is_some_and(|r| r.locked.is_some_and(|at| at >= serial))
            })
}

/// Whether every guard whose word counts has taken an instruction that follows from this very record.
fn heard(s: &Situation<'_>, policy: &Policy, record: &Record) -> bool {
    witness::missing(s, policy, record).is_none()
        && all_in(policy.databases.keys(), &s.seen.databases, |d| {
            d.guard.value().is_some_and(|r| r.serial >= record.serial)
        })
}

/// Whether every standby has replayed past the recorded shutdown checkpoint, on the same history.
pub(super) fn proved(policy: &Policy, seen: &Observation, record: &Record) -> bool {
    if forgets("the target proves that it has everything") {
        return true;
    }
    policy.databases.keys().all(|name| {
        let (Some(stop), Some(report)) =
            (record.positions.get(name), seen.databases.get(name).and_then(|d| d.guard.value()))
        else {
            return false;
        };
        let same_database = matches!(&report.disk, Disk::Cluster(c) if c.system_id == stop.system_id);
        let standby = matches!(report.state, ServerState::Standby { .. });
        same_database
            && standby
            && report.positions.as_ref().is_some_and(|p| {
                p.timeline == Some(stop.timeline) && p.replay.is_some_and(|replay| replay > stop.lsn)
            })
    })
}

pub(super) fn all_databases(
    policy: &Policy,
    seen: &Observation,
    test: impl Fn(&ServerState) -> bool,
) -> bool {
    all_in(policy.databases.keys(), &seen.databases, |d| d.guard.value().is_some_and(|r| test(&r.state)))
}
