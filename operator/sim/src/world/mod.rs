//! The world: actors, what connects them, and one queue of what happens when.

pub mod arbiter;
pub mod client;
pub mod cluster;
pub mod database;
pub mod dns;
pub mod git;
pub mod net;
pub mod operator;
pub mod postgres;
pub mod routes;

mod asking;
mod build;
mod by_hand;
mod calling;
mod ending;
pub(crate) mod happening;
mod inflicting;
mod intent;
mod looking;
mod replicas;
mod serving;
mod standing;
pub mod steering;
mod stepping;
mod streaming;
pub(crate) mod trial;
mod wishing;
mod working;

use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bascule_core::guard::unlocked::Unlocked;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::policy::Policy;
use bascule_core::timing::{Profile, Timing};

pub use self::build::Plan;
pub use self::happening::Happening;
pub use self::trial::{Boundary, Fate};

use self::arbiter::Arbiter;
use self::client::{Client, Write};
use self::cluster::Cluster;
use self::database::Database;
use self::dns::Dns;
use self::git::Git;
use self::happening::Queued;
use self::inflicting::OneWay;
use self::net::{Net, Place};
use self::operator::Operator;
use self::trial::Trial;
use crate::fault::{Fault, Planned};
use crate::judge::Judge;
use crate::random::Chance;
use crate::time::{Machine, Moment};
use crate::transcript::Transcript;

/// A site.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// Its place on the net.
    pub place: Place,
    /// The clock of the machine under its operators and its API server.
    pub machine: Machine,
    /// Its cluster.
    pub cluster: Cluster,
    /// It has power.
    pub up: bool,
    /// Counts lives.
    pub lives: u32,
    /// It has several replicas of its operator: who of them acts is written in the arbiter.
    pub elected: bool,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    /// The present.
    pub now: Moment,
    queue: BinaryHeap<Queued>,
    numbers: u64,
    /// The seed.
    pub seed: u64,
    /// The timing profile of the installation.
    pub profile: Profile,
    /// The arbiter's generation, as the installation's values say.
    pub generation: u64,
    /// Its timings.
    pub timing: Timing,
    /// The sites.
    pub sites: Vec<Site>,
    /// The operators.
    pub operators: Vec<Operator>,
    /// The databases, each with its guard.
    pub databases: Vec<Database>,
    /// The arbiter.
    pub arbiter: Arbiter,
    /// The lines.
    pub net: Net,
    /// The DNS servers.
    pub dns: Dns,
    /// The repository.
    pub git: Git,
    /// The clients.
    pub clients: Vec<Client>,
    /// What the clients remember.
    pub writes: Vec<Write>,
    /// Which client wrote each.
    pub writers: Vec<usize>,
    /// The policies as they were committed first, by number.
    pub policies: Vec<Policy>,
    /// What is to go wrong.
    pub faults: Vec<Planned>,
    trial: Trial,
    /// Messages that a test holds back.
    steering: steering::Steering,
    /// Who watches.
    pub judge: Judge,
    /// What is told.
    pub transcript: Transcript,
    chance: Chance,
    records: u64,
    /// How many things have happened.
    pub happened: u64,
    /// Messages between guards and operators whose connection passes nothing now, by database.
    held: BTreeMap<usize, Vec<happening::HeldWord>>,
    /// Which of the members that were asked have not answered a call yet.
    asked_of: BTreeMap<u64, Vec<usize>>,
    /// When the last records that were sent to a replica arrive.
    last_arrival: BTreeMap<usize, Moment>,
    /// Sites whose lines come and go: until when, and whether they are cut now.
    pub(crate) flaps: BTreeMap<usize, (Moment, bool)>,
    /// Sites that hear nothing, or are not heard.
    pub(crate) one_way: BTreeMap<Fault, OneWay>,
    /// When a fault last began or ended.
    pub(crate) disturbed: Moment,
    /// The member that was frozen as the leader.
    pub(crate) frozen_leader: Option<usize>,
    /// The usual latency of a line.
    pub(crate) latency: Duration,
    /// What people can read has changed since somebody last looked; `None`: nobody looks.
    pub(crate) publications: Option<Vec<operator::Publication>>,
}

impl World {
    /// Does what happens next; `false`: nothing is left before `until`.
    pub fn step(&mut self, until: Moment) -> bool {
        let Some(next) = self.queue.peek() else { return false };
        if next.at > until {
            self.now = self.now.max(until);
            return false;
        }
        let Some(next) = self.queue.pop() else { return false };
        self.now = self.now.max(next.at);
        self.happened += 1;
        self.happen(*next.what);
        true
    }

    /// Lets the world run until a moment.
    pub fn run_until(&mut self, until: Moment) {
        while self.step(until) {}
    }

    /// Lets the world run for a time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets the world run until something holds; answers whether it did before `limit` had passed.
    pub fn run_while(&mut self, limit: Duration, goes_on: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while goes_on(self) {
            if !self.step(end) {
                return !goes_on(self);
            }
        }
        true
    }

    pub(crate) fn push(&mut self, at: Moment, what: Happening) {
        self.numbers += 1;
        self.queue.push(Queued { at: at.max(self.now), number: self.numbers, what: Box::new(what) });
    }

    pub(crate) fn later(&mut self, wait: Duration, what: Happening) {
        self.push(self.now + wait, what);
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn next_record(&mut self) -> u64 {
        self.records += 1;
        self.records
    }

    /// A site by its name.
    pub fn site_of(&self, name: &SiteName) -> Option<usize> {
        self.sites.iter().position(|s| s.name == *name)
    }

    /// The third place.
    pub fn third(&self) -> Place {
        Place(self.sites.len())
    }

    /// The outside, with git and the clients.
    pub fn outside(&self) -> Place {
        Place(self.sites.len() + 1)
    }

    /// The database of a policy in a site.
    pub fn database_at(&self, policy: &PolicyKey, site: usize) -> Option<usize> {
        self.databases.iter().position(|d| d.policy == *policy && d.site == site)
    }

    /// The record of a policy, as the arbiter holds it.
    pub fn record(&self, policy: &PolicyKey) -> Option<&bascule_core::record::Record> {
        self.arbiter.store.records.get(policy).map(|(record, _)| record)
    }

    pub(crate) fn chance_between(&mut self, least: Duration, most: Duration) -> Duration {
        self.chance.between(least, most)
    }

    /// What git, the arbiter and the guards are at now is what old things go back to later.
    pub fn remember(&mut self) {
        self.git.remembered = Some(Box::new(self.git.head.clone()));
        self.arbiter.backup = Some(Box::new(self.arbiter.store.clone()));
        for db in &mut self.databases {
            db.old_word = db.last_word.clone();
        }
    }

    /// The arbiter's revisions have begun anew: every watch ends.
    pub(crate) fn arbiter_lost_its_memory(&mut self) {
        let watchers: Vec<usize> = self.arbiter.watches.keys().copied().collect();
        for op in watchers {
            self.watch_breaks(op);
        }
        self.arbiter.tail.clear();
        self.arbiter.restores += 1;
        self.judge.goes_back(self.now);
    }

    /// A guard hears an old word again.
    pub(crate) fn repeat_old_word(&mut self, db: usize) {
        let Some((session, _, _)) = self.databases[db].guard.session else { return };
        let Some(instruction) = self.databases[db].old_word.clone() else { return };
        let word = Happening::Word { database: db, session, nonce: None, instruction };
        self.later(Duration::from_millis(1), word);
    }

    /// Somebody with a superuser's session promotes a standby.
    pub(crate) fn promoted_by_hand(&mut self, db: usize) {
        let postgres::Run::Standby { open } = self.databases[db].server.run else { return };
        let (mark, id) = (self.next_record(), self.next_record());
        let it = &mut self.databases[db];
        if let Some(dir) = &mut it.server.dir {
            let next = dir.wal.timeline + 1;
            dir.wal.fork(next, mark, id);
            dir.replayed = dir.wal.records.len();
            dir.standby_signal = false;
            dir.control = bascule_core::guard::wire::ClusterState::InProduction;
        }
        it.server.follows = None;
        it.server.stream.on = false;
        it.server.stream.number += 1;
        it.server.run = postgres::Run::Primary { open };
        self.feed_ends(db);
        self.checkpoint(db, None, stepping::AFTER_START);
        self.judge.excuse(db);
        self.is_no_copy(db);
        self.monitor_soon(db);
    }

    /// A person writes the word beside the data, and its guard, if it runs, finds it.
    pub(crate) fn unlocks(&mut self, db: usize, on: bool) {
        let at = self.databases[db].machine.wall(self.now);
        let before = self.databases[db].beside.memory.unlocked.clone();
        let word = match before.filter(|_| !on) {
            Some(before) => Unlocked { until: Some(at), ..before },
            None => Unlocked { since: at, reason: "the simulator".to_owned(), promote: false, until: None },
        };
        self.databases[db].beside.memory.unlocked = Some(word.clone());
        let life = self.databases[db].guard.life;
        let event = bascule_core::guard::action::Event::Unlocked(Some(word));
        self.guard_gets(db, life, database::GuardInput::Event(event));
    }

    /// Whether a fault is on that will be over, or one at a moment has not begun.
    pub fn is_faulty(&self) -> bool {
        self.faults.iter().any(|f| match f.when {
            crate::fault::When::At(_) if !f.begun => true,
            _ => f.begun && f.lasts.is_some() && !f.over,
        })
    }
}
