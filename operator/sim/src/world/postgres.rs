//! One PostgreSQL server and its data directory, as far as a failover can tell them apart.
//!
//! Histories fork, logs are received before they are replayed, a fast stop sends everything before it ends, a killed
//! server keeps what it has flushed. Nothing here waits: durations are the caller's.

use std::fmt::Write as _;

use bascule_core::guard::lineage::{History, HistoryError};
use bascule_core::guard::wire::{Cluster, ClusterState, Disk};
use bascule_core::position::{Lsn, SystemId, Timeline};

/// What a client wrote: its own number for it.
pub type Token = u32;

/// What a record of the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A transaction that wrote one client's row.
    Commit(Token),
    /// A checkpoint while running.
    Checkpoint,
    /// The last record of a clean stop.
    Shutdown,
    /// The first record of a new timeline.
    EndOfRecovery,
}

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rec {
    /// Where it begins.
    pub start: u64,
    /// Where the next one begins.
    pub end: u64,
    /// The timeline it was written on.
    pub timeline: u32,
    /// What it says.
    pub what: What,
    /// Which record it truly is: two servers may write different ones at the same place. No server sees this.
    pub id: u64,
}

/// A log from its beginning, and how it came to its timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wal {
    /// The timeline that is written or followed now.
    pub timeline: u32,
    /// Each timeline that was left, where, and the mark of the promotion that left it.
    pub ancestors: Vec<(u32, u64, u64)>,
    /// Everything, oldest first.
    pub records: Vec<Rec>,
}

/// Where a log begins.
const FIRST: u64 = 0x0100_0028;

impl Wal {
    /// Where the next record goes.
    pub fn end(&self) -> u64 {
        self.records.last().map_or(FIRST, |r| r.end)
    }

    /// Writes a record.
    pub fn append(&mut self, what: What, id: u64) -> Rec {
        let start = self.end();
        let length = match what {
            What::Commit(_) => 150 + id % 64,
            What::Checkpoint | What::Shutdown => 114,
            What::EndOfRecovery => 42,
        };
        let rec = Rec { start, end: start + length, timeline: self.timeline, what, id };
        self.records.push(rec);
        rec
    }

    /// A promotion leaves the present timeline.
    pub fn fork(&mut self, timeline: u32, mark: u64, id: u64) {
        self.ancestors.push((self.timeline, self.end(), mark));
        self.timeline = timeline;
        self.append(What::EndOfRecovery, id);
    }

    /// The timeline history, read as the guard reads the server's file.
    pub fn history(&self) -> Result<History, HistoryError> {
        let mut text = String::new();
        for (timeline, end, mark) in &self.ancestors {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "# bascule promotion {mark:x}\n{timeline}\t{}\tno recovery target specified\n",
                Lsn(*end)
            );
        }
        History::parse(Timeline(self.timeline), &text)
    }

    /// Whether a standby with this log can stream from a server with `theirs`, as the two servers would find out: by
    /// timeline numbers and positions alone.
    pub fn streams_from(&self, theirs: &Self) -> bool {
        let end = self.end();
        if self.timeline == theirs.timeline {
            return end <= theirs.end();
        }
        theirs.ancestors.iter().any(|(timeline, left, _)| *timeline == self.timeline && end <= *left)
    }

    /// How many of these records are truly those of `theirs`.
    pub fn common(&self, theirs: &Self) -> usize {
        let differs = |(a, b): (&Rec, &Rec)| a.id != b.id;
        let all = self.records.len().min(theirs.records.len());
        self.records.iter().zip(&theirs.records).position(differs).unwrap_or(all)
    }
}

/// A data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// Which database.
    pub system: SystemId,
    /// Its log, as far as it is flushed.
    pub wal: Wal,
    /// How many of the log's records are replayed.
    pub replayed: usize,
    /// The state in the control file.
    pub control: ClusterState,
    /// Where the latest checkpoint begins, and its timeline.
    pub checkpoint: (u64, u32),
    /// `standby.signal` lies there.
    pub standby_signal: bool,
    /// A rewind was begun and not finished.
    pub half_rewound: bool,
}

impl DataDir {
    /// A new database, stopped cleanly.
    pub fn initdb(system: u64, id: u64) -> Self {
        let mut wal = Wal { timeline: 1, ancestors: Vec::new(), records: Vec::new() };
        let rec = wal.append(What::Shutdown, id);
        Self {
            system: SystemId(system),
            wal,
            replayed: 1,
            control: ClusterState::ShutDown,
            checkpoint: (rec.start, 1),
            standby_signal: false,
            half_rewound: false,
        }
    }

    /// A checkpoint of a running primary.
    pub fn checkpoint(&mut self, what: What, id: u64) -> Rec {
        let rec = self.wal.append(what, id);
        self.replayed = self.wal.records.len();
        self.checkpoint = (rec.start, self.wal.timeline);
        rec
    }

    /// The rows in it, as a primary sees them.
    pub fn rows(&self) -> impl Iterator<Item = Token> + '_ {
        self.wal.records.iter().filter_map(|r| match r.what {
            What::Commit(token) => Some(token),
            What::Checkpoint | What::Shutdown | What::EndOfRecovery => None,
        })
    }

    /// Where replay stands.
    pub fn replay_end(&self) -> u64 {
        self.replayed.checked_sub(1).and_then(|i| self.wal.records.get(i)).map_or(FIRST, |r| r.end)
    }
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Nothing runs.
    Down,
    /// It starts.
    Starting {
        /// As a primary.
        writer: bool,
    },
    /// It follows.
    Standby {
        /// Clients may read.
        open: bool,
    },
    /// It leaves recovery.
    Promoting,
    /// It writes.
    Primary {
        /// Clients may write.
        open: bool,
    },
    /// It was told to stop and takes no more sessions.
    Stopping,
    /// Its first process is dead; what clients had begun goes on.
    Orphans,
}

impl Run {
    /// Whether a client's commit works now.
    pub const fn commits(self) -> bool {
        matches!(self, Self::Primary { open: true } | Self::Orphans)
    }

    /// Whether a new session of a client is let in and may write.
    pub const fn takes_writers(self) -> bool {
        matches!(self, Self::Primary { open: true })
    }

    /// Whether a client may read.
    pub const fn takes_readers(self) -> bool {
        matches!(self, Self::Primary { open: true } | Self::Standby { open: true })
    }

    /// Whether it is a primary, closed or open.
    pub const fn is_primary(self) -> bool {
        matches!(self, Self::Primary { .. })
    }

    /// Whether it answers replicas: one that leaves recovery does all the while.
    pub const fn feeds(self) -> bool {
        matches!(self, Self::Primary { .. } | Self::Standby { .. } | Self::Promoting)
    }
}

/// What the guard reads from a directory, as from `pg_controldata`.
pub fn disk(dir: Option<&DataDir>) -> Disk {
    dir.map_or(Disk::Empty, |d| {
        Disk::Cluster(Cluster {
            system_id: d.system,
            timeline: Timeline(d.checkpoint.1.max(d.wal.timeline)),
            state: d.control,
            checkpoint: Lsn(d.checkpoint.0),
            standby_signal: d.standby_signal,
            half_rewound: d.half_rewound,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary() -> DataDir {
        let mut dir = DataDir::initdb(7, 1);
        for id in 2..10 {
            dir.wal.append(What::Commit(u32::try_from(id).unwrap()), id);
        }
        dir
    }

    #[test]
    fn a_copy_streams_until_it_has_something_of_its_own() {
        let mut paris = primary();
        let mut lyon = paris.clone();
        assert!(lyon.wal.streams_from(&paris.wal));
        lyon.wal.fork(2, 77, 100);
        assert!(!lyon.wal.streams_from(&paris.wal), "timeline 2 is unknown to paris");
        assert!(paris.wal.streams_from(&lyon.wal), "paris ends where timeline 1 was left");
        paris.wal.append(What::Commit(1000), 101);
        assert!(!paris.wal.streams_from(&lyon.wal), "paris is past the fork");
        assert_eq!(paris.wal.common(&lyon.wal), 9);
    }

    #[test]
    fn the_history_is_the_one_that_the_guard_reads() {
        use bascule_core::guard::lineage::{Fork, fork};
        let mut paris = primary();
        let mut lyon = paris.clone();
        let left = lyon.wal.end();
        lyon.wal.fork(2, 77, 100);
        paris.wal.append(What::Commit(1000), 101);
        let found = fork(&paris.wal.history().unwrap(), &lyon.wal.history().unwrap());
        assert_eq!(found, Fork::At { timeline: Timeline(1), lsn: Lsn(left) });
    }
}
