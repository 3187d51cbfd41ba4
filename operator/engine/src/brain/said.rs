//! What this site has told the other sites last, and is there anything new to say?

use std::hash::{DefaultHasher, Hash, Hasher};

use bascule_core::facts::{SiteFacts, magnitude};
use bascule_core::few::Few;
use bascule_core::guard::wire::{Behind, Disk};
use bascule_core::name::{ItemName, SiteName};

/// What was said, in short: of thousands of policies' words only whether they are the same is asked.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The arbiter's generation and the epoch of the marks.
    hold: Option<(u64, u64)>,
    /// What cannot wait when it changes.
    urgent: u64,
    /// What can.
    lags: u64,
    /// All of it.
    whole: u64,
    /// How far the other sites' replicas are behind.
    pub(super) behind: Few<ItemName, Few<SiteName, Behind>>,
}

impl Said {
    /// These facts, in short.
    pub(super) fn of(facts: &SiteFacts) -> Self {
        Self {
            hold: hold(facts),
            urgent: urgent(facts),
            lags: lags(facts),
            whole: hash(facts),
            behind: facts.behind.clone(),
        }
    }

    /// Whether that is what these facts say.
    pub(super) fn is(&self, facts: &SiteFacts) -> bool {
        self.whole == hash(facts)
    }

    /// Whether the new facts say something that these do not and that cannot wait. Positions and ages change all the time
    /// and are no reason to write.
    pub(super) fn leaves_unsaid(&self, new: &SiteFacts) -> bool {
        // What was said in an earlier hold counts for nothing to who shows this one.
        hold(new).is_some_and(|new| self.hold.is_none_or(|old| old < new)) || self.urgent != urgent(new)
    }

    /// Whether a replica's lag has another order of magnitude, or has become known or unknown.
    pub(super) fn lags_otherwise(&self, new: &SiteFacts) -> bool {
        self.lags != lags(new)
    }
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn hold(facts: &SiteFacts) -> Option<(u64, u64)> {
    facts.marks.map(|marks| (marks.generation, marks.epoch))
}

fn urgent(facts: &SiteFacts) -> u64 {
    let disk = |disk: &Disk| match disk {
        Disk::Empty => (0, None, false),
        Disk::Unreadable { .. } => (1, None, false),
        Disk::Cluster(c) => (2, Some(c.system_id), c.standby_signal),
    };
    let mut urgent = DefaultHasher::new();
    (facts.question, &facts.answers, &facts.spec_hash, &facts.revision).hash(&mut urgent);
    facts.blockers.len().hash(&mut urgent);
    for gate in &facts.blockers {
        (&gate.name, gate.answer).hash(&mut urgent);
    }
    (facts.ready_for, facts.cannot_prove, &facts.candidacy).hash(&mut urgent);
    facts.disks.len().hash(&mut urgent);
    for (name, found) in &facts.disks {
        (name, disk(found)).hash(&mut urgent);
    }
    (&facts.sizes, &facts.diverged, &facts.behind).hash(&mut urgent);
    urgent.finish()
}

fn lags(facts: &SiteFacts) -> u64 {
    let mut lags = DefaultHasher::new();
    facts.lag_bytes.len().hash(&mut lags);
    for (name, lag) in &facts.lag_bytes {
        (name, magnitude(*lag)).hash(&mut lags);
    }
    facts.not_streaming.hash(&mut lags);
    lags.finish()
}
