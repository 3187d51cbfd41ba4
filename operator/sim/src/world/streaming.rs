//! The log on its way from a primary to its replicas.

use std::time::Duration;

use super::World;
use super::database::Database;
use super::happening::Happening;
use super::net::Traffic;
use super::postgres::{DataDir, Rec, Run};

/// How soon a receiver tries again (`wal_retrieve_retry_interval`, as preflight wants it).
const RETRY: Duration = Duration::from_millis(250);
/// How long a receiver waits for a word (`wal_receiver_timeout`, as preflight wants it).
const RECEIVER: Duration = Duration::from_millis(1500);
/// How often a primary says that it lives when it has nothing to send.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// How long a file of the log is.
const SEGMENT: u64 = 16 << 20;
/// How long a small record takes to replay.
const REPLAY: Duration = Duration::from_micros(400);

impl World {
    /// A standby tries to stream after a pause.
    pub(crate) fn stream_soon(&mut self, db: usize, wait: Duration) {
        let stream = &mut self.databases[db].server.stream;
        stream.number += 1;
        let number = stream.number;
        self.later(wait, Happening::Stream(db, number));
    }

    pub(crate) fn stream_begins(&mut self, db: usize, number: u64) {
        let it = &self.databases[db];
        if it.server.stream.number != number || !matches!(it.server.run, Run::Standby { .. }) {
            return;
        }
        let Some(peer) = it.server.follows else { return };
        let theirs = if it.server.frozen { None } else { self.feed_of(db, peer) };
        let ours = self.databases[db].server.dir.as_ref();
        // The slots of its replicas are made when it opens, and stay.
        let has_slot = self.databases[peer].beside.opened.is_some();
        let theirs = theirs.filter(|_| has_slot);
        let fits = theirs.as_ref().zip(ours).is_some_and(|(theirs, ours)| ours.wal.streams_from(&theirs.wal));
        if !fits {
            self.stream_soon(db, RETRY);
            return;
        }
        let Some(theirs) = theirs else { return };
        let now = self.now;
        let server = &mut self.databases[db].server;
        let Some(dir) = &mut server.dir else { return };
        let own = dir.wal.records.len();
        if dir.wal.timeline != theirs.wal.timeline || server.stream.received.is_none() {
            server.stream.received = Some(dir.wal.end() / SEGMENT * SEGMENT);
        }
        if dir.wal.timeline != theirs.wal.timeline {
            dir.wal.timeline = theirs.wal.timeline;
            dir.wal.ancestors.clone_from(&theirs.wal.ancestors);
        }
        server.stream.on = true;
        server.stream.sent = own;
        server.stream.heard = now;
        server.stream.reported = theirs.wal.end();
        self.learns_its_lag(db);
        self.later(KEEPALIVE, Happening::Receiver(db, number));
        self.monitor_soon(db);
        self.pump(peer);
    }

    /// Sends what is new to every replica.
    pub(crate) fn pump(&mut self, from: usize) {
        let followers: Vec<usize> = (0..self.databases.len())
            .filter(|d| {
                self.databases[*d].server.follows == Some(from) && self.databases[*d].server.stream.on
            })
            .collect();
        for db in followers {
            let sent = self.databases[db].server.stream.sent;
            let Some(theirs) = &self.databases[from].server.dir else { continue };
            let new: Vec<Rec> = theirs.wal.records.get(sent..).unwrap_or_default().to_vec();
            let (reported, upto) = (theirs.wal.end(), theirs.wal.records.len());
            if new.is_empty() {
                continue;
            }
            let (a, b) = (self.databases[from].site, self.databases[db].site);
            let (a, b) = (self.sites[a].place, self.sites[b].place);
            let Some(travel) = self.net.travel(a, b, Traffic::Replication) else { continue };
            let number = self.databases[db].server.stream.number;
            self.databases[db].server.stream.sent = upto;
            // Never out of order: what was sent before arrives before.
            let at = (self.now + travel).max(self.last_arrival.get(&db).copied().unwrap_or_default());
            self.last_arrival.insert(db, at);
            self.push(at, Happening::Wal(db, number, new, reported));
        }
    }

    pub(crate) fn wal_arrives(&mut self, db: usize, number: u64, records: Vec<Rec>, reported: u64) {
        let now = self.now;
        let it = &mut self.databases[db];
        if it.server.stream.number != number || !it.server.stream.on {
            return;
        }
        if it.server.frozen {
            self.later(Duration::from_millis(20), Happening::Wal(db, number, records, reported));
            return;
        }
        if it.server.faults.disk_full {
            return;
        }
        let Some(dir) = &mut it.server.dir else { return };
        for rec in records {
            if rec.start == dir.wal.end() {
                dir.wal.records.push(rec);
                it.server.stream.received = Some(rec.end);
            }
        }
        it.server.stream.heard = now;
        it.server.stream.reported = it.server.stream.reported.max(reported);
        let upto = dir.wal.records.len();
        self.learns_its_lag(db);
        self.replay_later(db, upto);
    }

    /// What was received up to here is replayed a moment later, or much later.
    pub(crate) fn replay_later(&mut self, db: usize, upto: usize) {
        let server = &self.databases[db].server;
        let (life, wait) = (server.life, REPLAY + server.replay_lag);
        self.later(wait, Happening::Replay(db, life, upto));
    }

    pub(crate) fn replayed(&mut self, db: usize, life: u64, upto: usize) {
        let server = &mut self.databases[db].server;
        let recovers = matches!(server.run, Run::Standby { .. } | Run::Promoting);
        if server.life != life || !recovers {
            return;
        }
        if server.frozen {
            self.later(Duration::from_millis(20), Happening::Replay(db, life, upto));
            return;
        }
        if let Some(dir) = &mut server.dir {
            dir.replayed = dir.replayed.max(upto.min(dir.wal.records.len()));
        }
    }

    /// Whether a receiver still hears its primary.
    pub(crate) fn receiver_looks(&mut self, db: usize, number: u64) {
        let it = &self.databases[db];
        if it.server.stream.number != number || !it.server.stream.on {
            return;
        }
        let Some(peer) = it.server.follows else { return };
        let (a, b) = (self.sites[self.databases[peer].site].place, self.sites[it.site].place);
        let theirs = &self.databases[peer].server;
        let hears = self.net.joined(a, b, Traffic::Replication)
            && self.sites[self.databases[peer].site].up
            && theirs.run.feeds()
            && !theirs.frozen;
        let end = theirs.dir.as_ref().map_or(0, |d| d.wal.end());
        let timeline = |db: usize| self.databases[db].server.dir.as_ref().map(|d| d.wal.timeline);
        // Its end was said while the line was down, and is heard once it is not.
        let left = theirs.run.is_primary() && timeline(peer) != timeline(db);
        if self.databases[db].server.frozen {
            self.later(KEEPALIVE, Happening::Receiver(db, number));
            return;
        }
        let now = self.now;
        if hears && left {
            self.stream_ends(db);
            return;
        }
        if hears {
            let stream = &mut self.databases[db].server.stream;
            stream.heard = now;
            stream.reported = stream.reported.max(end);
            self.pump(peer);
            self.later(KEEPALIVE, Happening::Receiver(db, number));
            return;
        }
        let quiet = now.since(self.databases[db].server.stream.heard);
        if quiet >= RECEIVER {
            self.stream_ends(db);
        } else {
            let wait = RECEIVER.saturating_sub(quiet).min(KEEPALIVE).max(Duration::from_millis(1));
            self.later(wait, Happening::Receiver(db, number));
        }
    }

    /// A receiver has lost its primary. The monitor sees it at its next turn; what it had seen before is its evidence.
    pub(crate) fn stream_ends(&mut self, db: usize) {
        if !self.databases[db].server.stream.on {
            return;
        }
        let now = self.now;
        if self.databases[db].guard.up && !self.databases[db].guard.frozen {
            // The last look while it streamed; what it says is no news.
            let _ = self.databases[db].look(now);
        }
        self.databases[db].server.stream.on = false;
        self.monitor_soon(db);
        if matches!(self.databases[db].server.run, Run::Standby { .. }) {
            self.stream_soon(db, RETRY);
        }
    }

    /// A server that fed others has ended, or has left the timeline that they asked for: those that can hear of it do.
    pub(crate) fn feed_ends(&mut self, from: usize) {
        let followers: Vec<usize> = (0..self.databases.len())
            .filter(|d| {
                self.databases[*d].server.follows == Some(from) && self.databases[*d].server.stream.on
            })
            .collect();
        for db in followers {
            let (a, b) = (self.databases[from].site, self.databases[db].site);
            let hears = self.sites[a].up
                && self.net.passes(self.sites[a].place, self.sites[b].place, Traffic::Replication);
            if hears {
                // After everything that was sent before.
                let number = self.databases[db].server.stream.number;
                let last = self.last_arrival.get(&db).copied().unwrap_or_default();
                let at = (self.now + Duration::from_millis(1)).max(last + Duration::from_micros(10));
                self.push(at, Happening::FeedEnded(db, number));
            }
        }
    }

    pub(crate) fn feed_ended(&mut self, db: usize, number: u64) {
        if self.databases[db].server.stream.number == number {
            self.stream_ends(db);
        }
    }

    /// The database that a replica reaches under this name.
    pub(crate) fn peer(&self, db: usize, host: &str) -> Option<usize> {
        let me = &self.databases[db];
        self.databases.iter().position(|d| {
            d.policy == me.policy && d.name == me.name && d.site != me.site && d.site_name.as_str() == host
        })
    }

    /// What a replica would get from a peer: its directory, if the two can talk and the peer answers.
    pub(crate) fn feed_of(&self, db: usize, peer: usize) -> Option<DataDir> {
        let theirs = &self.databases[peer];
        let (a, b) = (self.sites[self.databases[db].site].place, self.sites[theirs.site].place);
        let joined = self.net.joined(a, b, Traffic::Replication) && self.sites[theirs.site].up;
        let answers = theirs.server.run.feeds() && !theirs.server.frozen;
        theirs.server.dir.clone().filter(|_| joined && answers)
    }

    /// What each replica of a primary has confirmed to have flushed.
    pub(crate) fn replicas(&self, db: usize) -> Vec<(bascule_core::name::SiteName, u64)> {
        let streams = |d: &Database| d.server.follows == Some(db) && d.server.stream.on;
        let of = self.databases.iter().filter(|d| streams(d));
        of.map(|d| (d.site_name.clone(), d.server.dir.as_ref().map_or(0, |dir| dir.wal.end()))).collect()
    }
}
