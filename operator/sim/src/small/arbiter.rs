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

/// What is kept in the middle.
#[derive(Clone, Debug)]
pub(super) struct Arbiter {
    pub(super) record: Record,
    pub(super) revision: RecordRevision,
    /// The leases' revisions. Only whether two are equal means anything, so a revision that nobody remembers is given
    /// again.
    pub(super) leases: [LeaseRevision; 2],
    pub(super) facts: [Option<SiteFacts>; 2],
    /// Writes whose sender has given up, and that may still arrive.
    pub(super) late: Vec<Write>,
    /// What a backup holds: the record before its last change.
    pub(super) backup: Option<(Record, RecordRevision)>,
    pub(super) restored: bool,
}

impl Arbiter {
    /// Applies a write if nothing has changed; returns the new revision.
    pub(super) fn apply(&mut self, w: &Write, keep: bool) -> Option<RecordRevision> {
        let lease = w.lease.is_none_or(|r| self.leases[1 - w.by] == r);
        if self.revision != w.expected || !lease {
            return None;
        }
        self.backup = keep.then(|| (self.record.clone(), self.revision));
        self.record = w.next.clone();
        self.revision += 1;
        Some(self.revision)
    }

    /// Site `x` renews; `known` are the revisions of its lease that somebody remembers.
    pub(super) fn renew(&mut self, x: usize, known: &[LeaseRevision]) {
        let known_late = |r: LeaseRevision| self.late.iter().any(|w| w.by != x && w.lease == Some(r));
        let free = (1..).find(|r| *r != self.leases[x] && !known.contains(r) && !known_late(*r));
        // There are more numbers than memories.
        self.leases[x] = free.unwrap_or(LeaseRevision::MAX);
    }
}
