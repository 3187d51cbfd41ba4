//! What do the record and the leases say?

use bascule_core::ballot::claim::RecordRevision;
use bascule_core::ballot::silence::LeaseRevision;
use bascule_core::facts::SiteFacts;
use bascule_core::record::Record;

/// A compare-and-swap.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    pub(super) by: usize,
    pub(super) expected: RecordRevision,
    pub(super) next: Record,
    /// The other site's lease, which must not have changed.
    pub(super) lease: Option<LeaseRevision>,
}

/// The record, as it is kept in the middle, and the writes of it that nobody waits for.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) revision: RecordRevision,
    /// Writes whose sender has given up, and that may still arrive.
    pub(super) late: Vec<Write>,
    /// What a backup holds: the record before its last change.
    pub(super) backup: Option<(Record, RecordRevision)>,
    pub(super) restored: bool,
}

/// What one site keeps in the middle for the other one.
#[derive(Clone, Debug)]
pub(super) struct Post {
    /// Its lease's revision. Only whether two are equal means anything, so one that nobody remembers is given again.
    pub(super) lease: LeaseRevision,
    pub(super) facts: Option<SiteFacts>,
}

impl Kept {
    /// Applies a write if nothing has changed; returns the new revision. `lease` is the other site's.
    pub(super) fn apply(&mut self, w: &Write, lease: LeaseRevision, keep: bool) -> Option<RecordRevision> {
        if self.revision != w.expected || w.lease.is_some_and(|seen| seen != lease) {
            return None;
        }
        self.backup = keep.then(|| (self.record.clone(), self.revision));
        self.record = w.next.clone();
        self.revision += 1;
        Some(self.revision)
    }

    /// The revisions of site `x`'s lease that late writes remember, one bit each.
    pub(super) fn remembers(&self, x: usize) -> u32 {
        let seen = self.late.iter().filter(|w| w.by != x).filter_map(|w| w.lease);
        seen.fold(0, |all, revision| all | bit(revision))
    }
}

impl Post {
    /// The site renews; `known` are the revisions of its lease that somebody remembers, one bit each.
    pub(super) fn renew(&mut self, known: u32) {
        let taken = known | bit(self.lease);
        // Far fewer things remember a revision than there are numbers for them.
        self.lease = LeaseRevision::from(taken.trailing_ones()) + 1;
    }
}

/// The bit of a revision; revisions count from one.
pub(super) const fn bit(revision: LeaseRevision) -> u32 {
    1 << ((revision - 1) & 31)
}
