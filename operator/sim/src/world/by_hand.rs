//! A world whose models are driven by hand, one step at a time: how they are held beside the real servers.
//!
//! Everything runs as it always does, only the deciding parts are taken out: what an operator's engine or a guard's
//! rules would have heard is kept for whoever drives, and what they would have ordered, the driver orders. So a step
//! goes through exactly the code that it goes through in a search.

use std::time::Duration;

use bascule_core::guard::action::{Action, Event as ForRules};
use bascule_core::guard::wire::Report;
use bascule_engine::brain::{Command, Event};

use super::World;
use super::database::{GuardInput, Step};
use super::postgres::{Token, What};
use crate::fault::Fault;

impl World {
    /// From now on this operator's engine decides nothing.
    pub fn drive_operator(&mut self, op: usize) {
        self.operators[op].by_hand = Some(Vec::new());
    }

    /// Orders what its engine would have ordered.
    pub fn command(&mut self, op: usize, command: Command) {
        self.obey(op, command);
    }

    /// What its engine would have heard since the last time.
    pub fn heard(&mut self, op: usize) -> Vec<Event> {
        self.operators[op].by_hand.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From now on this guard's rules decide nothing.
    pub fn drive_guard(&mut self, db: usize) {
        self.databases[db].guard.by_hand = Some(Vec::new());
    }

    /// Orders what its rules would have ordered.
    pub fn order(&mut self, db: usize, action: Action) {
        self.carries_out(db, action);
    }

    /// What its rules would have heard since the last time.
    pub fn told(&mut self, db: usize) -> Vec<ForRules> {
        self.databases[db].guard.by_hand.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What a guard would report now.
    pub fn report(&mut self, db: usize) -> Report {
        let replicas = self.replicas(db);
        let now = self.now;
        self.databases[db].report(now, &replicas)
    }

    /// A fault begins or ends at this moment.
    pub fn fault(&mut self, fault: Fault, on: bool) {
        self.switch(fault, on);
    }

    /// The process of a member of the arbiter starts, or is killed.
    pub fn member_runs(&mut self, member: usize, on: bool) {
        self.arbiter.members[member].up = on;
        self.look_at_leader();
    }

    /// A member of the arbiter stands still, or goes on.
    pub fn member_stands_still(&mut self, member: usize, on: bool) {
        self.freeze_member(member, on);
    }

    /// The container of a guard that does not run starts.
    pub fn start_guard(&mut self, db: usize) {
        let life = self.databases[db].guard.life;
        self.guard_starts(db, life);
    }

    /// A guard's container is killed and stays away.
    pub fn kill_guard(&mut self, db: usize) {
        self.guard_dies(db, false);
    }

    /// A client commits so many rows, one after the other, if it is let in; says whether it was.
    pub fn insert(&mut self, db: usize, rows: u32) -> bool {
        if !self.databases[db].server.run.takes_writers() {
            return false;
        }
        for _ in 0..rows {
            let id = self.next_record();
            if let Some(dir) = &mut self.databases[db].server.dir {
                dir.wal.append(What::Commit(Token::try_from(id).unwrap_or(Token::MAX)), id);
                dir.replayed = dir.wal.records.len();
            }
        }
        self.pump(db);
        true
    }

    /// How many rows a client reads there; `None`: it is not let in.
    pub fn rows(&self, db: usize) -> Option<usize> {
        let server = &self.databases[db].server;
        let dir = server.dir.as_ref().filter(|_| server.run.takes_readers())?;
        let seen = dir.wal.records.iter().take(dir.replayed);
        Some(seen.filter(|r| matches!(r.what, What::Commit(_))).count())
    }

    /// A person puts `standby.signal` into a stopped server's directory; its guard, which looks at the disk again and
    /// again while nothing runs, finds it.
    pub fn put_standby_signal(&mut self, db: usize) {
        if let Some(dir) = &mut self.databases[db].server.dir {
            dir.standby_signal = true;
        }
        let (life, found) = (self.databases[db].guard.life, self.databases[db].disk());
        self.guard_gets(db, life, GuardInput::Event(ForRules::Disk(found)));
    }

    /// Begins one step of the server, as a guard's supervisor does.
    pub fn take_step(&mut self, db: usize, step: Step) {
        self.begin(db, step, Duration::from_millis(1));
    }

    /// A checkpoint of a running primary, at once.
    pub fn checkpoint_now(&mut self, db: usize) {
        let life = self.databases[db].server.life;
        self.checkpoint_ends(db, life, None);
    }

    /// Replay is not held back any more.
    pub fn resume_replay(&mut self, db: usize) {
        self.databases[db].server.replay_lag = Duration::ZERO;
        let received = self.databases[db].server.dir.as_ref().map_or(0, |d| d.wal.records.len());
        self.replay_later(db, received);
    }
}
