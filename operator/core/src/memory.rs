//! What one operator process remembers of a policy between two decisions.
//!
//! Nothing here decides who may write. It holds the moments from which deadlines and durations are counted on this
//! machine's clock; losing it (a restart) makes things later, never wrong.

use std::time::Duration;

use crate::few::Few;
use crate::record::{Entered, Phase, Record};
use crate::time::Boottime;

/// A moment that a transition's times are measured between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stamp {
    /// The target has said that it is ready: from here on users are made read-only.
    TargetReady,
    /// Every workload's pods have seen the read-only flag.
    ReadOnlySeen,
    /// The guards were ordered to lock.
    LockOrdered,
    /// Every guard has confirmed that its server stopped.
    Stopped,
    /// The standby has proved that it has everything.
    Proved,
    /// Every database is a primary.
    Promoted,
    /// Every database takes clients.
    Opened,
    /// A write was verified in every database.
    WriteVerified,
    /// Every traffic target answers this site.
    TrafficMoved,
    /// The returned site's server has been open and healthy since.
    StableSince,
    /// Every guard has taken an instruction that follows from this record, with this process's timing.
    TimingHeard,
    /// A database's guard has been gone since.
    GuardGone,
    /// A database that Kubernetes asked to stop has been down since.
    DeadSince,
}

/// The memory of one policy.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    serial: u64,
    since: Option<Boottime>,
    phase: Option<(u64, Phase, Entered)>,
    phase_since: Option<Boottime>,
    epoch: u64,
    epoch_settled: Option<Boottime>,
    stamps: Few<Stamp, Boottime>,
}

impl Memory {
    /// This record is what is seen at `now`.
    pub fn see(&mut self, record: &Record, now: Boottime) {
        let (epoch, serial, settled) = (record.epoch, record.serial, record.settled);
        let same = self.phase.as_ref().is_some_and(|(known, phase, entered)| {
            *known == epoch && *phase == record.phase && *entered == record.entered
        });
        if !same {
            self.phase = Some((epoch, record.phase.clone(), record.entered.clone()));
            self.phase_since = Some(now);
        }
        if self.since.is_none() || self.serial != serial {
            self.serial = serial;
            self.since = Some(now);
            self.stamps.clear();
        }
        if self.epoch != epoch {
            self.epoch = epoch;
            self.epoch_settled = None;
        }
        if settled && self.epoch_settled.is_none() {
            self.epoch_settled = Some(now);
        }
    }

    /// No record is there: whatever comes next is seen for the first time.
    pub fn see_none(&mut self) {
        *self = Self::default();
    }

    /// The same knowledge when `by` more has passed, told without moving the clock: every moment lies that much further
    /// back, at most at the machine's start. Only for a search that must see that two states differ in nothing but when.
    pub fn let_pass(&mut self, by: Duration) {
        for moment in [&mut self.since, &mut self.phase_since, &mut self.epoch_settled].into_iter().flatten()
        {
            *moment = *moment - by;
        }
        for moment in self.stamps.values_mut() {
            *moment = *moment - by;
        }
    }

    /// How long the record has been in its present phase, as far as this process has seen.
    pub fn in_phase(&self, now: Boottime) -> Duration {
        self.phase_since.map_or(Duration::ZERO, |t| now.since(t))
    }

    /// How long the record has had its present serial, as far as this process has seen.
    pub fn unchanged_for(&self, now: Boottime) -> Duration {
        self.since.map_or(Duration::ZERO, |t| now.since(t))
    }

    /// When this process first saw the record with its present serial.
    pub const fn phase_seen(&self) -> Option<Boottime> {
        self.since
    }

    /// When this process first saw the present hold settled.
    pub const fn settled_seen(&self) -> Option<Boottime> {
        self.epoch_settled
    }

    /// Remembers the first time that `what` was true in this phase.
    pub fn stamp(&mut self, what: Stamp, now: Boottime) {
        self.stamps.entry(what).or_insert(now);
    }

    /// Forgets `what`: it is no longer true.
    pub fn clear(&mut self, what: Stamp) {
        self.stamps.remove(&what);
    }

    /// When `what` was first true in this phase.
    pub fn at(&self, what: Stamp) -> Option<Boottime> {
        self.stamps.get(&what).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    fn at(serial: u64, phase: Phase) -> Record {
        Record { serial, phase, ..sample() }
    }

    fn ms(t: u64) -> Boottime {
        Boottime::from_millis(t)
    }

    #[test]
    fn any_other_reading_of_the_record_ends_what_is_counted_from_it() {
        let mut m = Memory::default();
        m.see(&at(4, Phase::Withdrawn), ms(0));
        m.see(&at(4, Phase::Withdrawn), ms(900));
        assert_eq!(m.unchanged_for(ms(1_000)), Duration::from_secs(1));
        m.see(&at(5, Phase::Withdrawn), ms(1_000));
        assert_eq!(m.unchanged_for(ms(1_500)), Duration::from_millis(500));
        m.see_none();
        m.see(&at(5, Phase::Withdrawn), ms(2_000));
        assert_eq!(m.unchanged_for(ms(2_100)), Duration::from_millis(100));
    }

    #[test]
    fn a_write_that_keeps_the_phase_does_not_start_its_time_anew() {
        let mut m = Memory::default();
        m.see(&at(4, Phase::ReadOnly), ms(0));
        m.see(&at(5, Phase::ReadOnly), ms(900));
        assert_eq!(m.in_phase(ms(1_000)), Duration::from_secs(1));
        m.see(&at(6, Phase::Steady), ms(1_000));
        m.see(
            &Record {
                entered: Entered { at: jiff::Timestamp::MAX, ..sample().entered },
                ..at(7, Phase::Steady)
            },
            ms(1_500),
        );
        assert_eq!(m.in_phase(ms(1_600)), Duration::from_millis(100), "it was left and entered again");
    }

    #[test]
    fn the_time_in_a_phase_starts_anew_with_another_epoch_phase_or_entry() {
        let other = |change: fn(&mut Record)| {
            let mut m = Memory::default();
            m.see(&at(4, Phase::ReadOnly), ms(0));
            let mut next = at(4, Phase::ReadOnly);
            change(&mut next);
            m.see(&next, ms(900));
            m.in_phase(ms(1_000))
        };
        assert_eq!(other(|_| {}), Duration::from_secs(1));
        assert_eq!(other(|r| r.epoch += 1), Duration::from_millis(100));
        assert_eq!(other(|r| r.phase = Phase::Steady), Duration::from_millis(100));
        assert_eq!(other(|r| r.entered.by = "lyon".try_into().unwrap()), Duration::from_millis(100));
    }

    #[test]
    fn a_hold_is_settled_since_it_was_first_seen_so_in_its_epoch() {
        let hold = |epoch, settled| Record { epoch, settled, ..sample() };
        let mut m = Memory::default();
        m.see(&hold(1, false), ms(0));
        assert_eq!(m.settled_seen(), None);
        m.see(&hold(1, true), ms(500));
        m.see(&hold(1, true), ms(700));
        assert_eq!(m.settled_seen(), Some(ms(500)));
        m.see(&hold(2, false), ms(900));
        assert_eq!(m.settled_seen(), None);
        m.see(&hold(2, true), ms(1_000));
        assert_eq!(m.settled_seen(), Some(ms(1_000)));
    }

    #[test]
    fn a_stamp_is_the_first_moment_until_it_is_no_longer_true_or_the_record_changes() {
        let mut m = Memory::default();
        m.see(&at(4, Phase::Steady), ms(0));
        m.stamp(Stamp::Opened, ms(10));
        m.stamp(Stamp::Opened, ms(20));
        assert_eq!(m.at(Stamp::Opened), Some(ms(10)));
        m.clear(Stamp::Opened);
        assert_eq!(m.at(Stamp::Opened), None);
        m.stamp(Stamp::Opened, ms(30));
        m.see(&at(4, Phase::Steady), ms(40));
        assert_eq!(m.at(Stamp::Opened), Some(ms(30)));
        m.see(&at(5, Phase::Steady), ms(50));
        assert_eq!(m.at(Stamp::Opened), None);
    }

    #[test]
    fn what_happened_and_then_let_pass_is_what_had_happened_earlier() {
        let seen_from = |start: u64| {
            let mut m = Memory::default();
            m.see(&at(4, Phase::Steady), ms(start));
            m.stamp(Stamp::Opened, ms(start + 10));
            m
        };
        let mut later = seen_from(900);
        later.let_pass(Duration::from_millis(400));
        assert_eq!(format!("{later:?}"), format!("{:?}", seen_from(500)));
    }
}
