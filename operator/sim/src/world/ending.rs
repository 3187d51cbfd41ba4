//! How servers end: told to stop, killed, or past a deadline that only the watch looks at.

use std::time::Duration;

use bascule_core::guard::grant::Deadline;
use bascule_core::guard::wire::ClusterState;

use super::World;
use super::database::GuardInput;
use super::happening::Happening;
use super::postgres::{DataDir, Run, What};
use super::serving::MONITOR;

impl World {
    /// The fast stop of whatever runs.
    pub(super) fn stop(&mut self, db: usize, by: bascule_core::time::Boottime) {
        self.databases[db].abort();
        let it = &mut self.databases[db];
        if it.server.run == Run::Down {
            let life = it.guard.life;
            let input = GuardInput::NeverRan("it was stopped before it ran");
            self.later(Duration::from_micros(200), Happening::GuardHear(db, life, input));
            return;
        }
        let was_primary = it.server.run.is_primary();
        let standing = matches!(it.server.run, Run::Standby { .. });
        let took = it.server.run.takes_writers();
        it.server.run = Run::Stopping;
        let speeds = it.server.speeds;
        let usual = it.takes(speeds.stop);
        let takes = it.server.faults.stop.unwrap_or(usual);
        let end = self.now + takes;
        if took {
            self.judge.ends.ended(self.now, db);
        }
        let patience = self.databases[db].machine.when(by);
        let life = self.databases[db].server.life;
        let clean = (was_primary || standing) && end <= patience;
        if was_primary && clean {
            self.transcript.fact(self.now, &self.databases[db].site_name, "its database is being stopped");
        }
        // Past the end of patience every process is killed.
        let end = if clean { end } else { patience + Duration::from_millis(20) };
        self.push(end, Happening::Ends(db, life, clean && was_primary));
    }

    /// Every process is killed.
    pub(crate) fn kill(&mut self, db: usize) {
        if self.databases[db].server.run == Run::Down && self.databases[db].guard.step.is_none() {
            return;
        }
        self.databases[db].abort();
        let it = &mut self.databases[db];
        let speeds = it.server.speeds;
        let takes = it.takes(speeds.kill);
        if it.server.run == Run::Down {
            let life = it.guard.life;
            let input = GuardInput::NeverRan("it was killed before it ran");
            self.later(takes, Happening::GuardHear(db, life, input));
            return;
        }
        let life = it.server.life;
        self.later(takes, Happening::Ends(db, life, false));
    }

    /// A server ends: cleanly, with everything sent, or not.
    pub(crate) fn server_ends(&mut self, db: usize, life: u64, clean: bool) {
        if self.databases[db].server.life != life || self.databases[db].server.run == Run::Down {
            return;
        }
        if self.databases[db].server.frozen {
            // A stopped process dies of SIGKILL all the same; a fast stop waits.
            if clean {
                self.later(MONITOR, Happening::Ends(db, life, clean));
                return;
            }
        }
        if clean {
            let id = self.next_record();
            if let Some(dir) = &mut self.databases[db].server.dir {
                dir.checkpoint(What::Shutdown, id);
                dir.control = ClusterState::ShutDown;
            }
            self.learns_its_lag(db);
            self.pump(db);
        } else if self.databases[db].server.run == Run::Stopping
            && let Some(dir) = &mut self.databases[db].server.dir
            && dir.standby_signal
        {
            dir.control = ClusterState::ShutDownInRecovery;
        }
        let why = if clean { "it was stopped" } else { "killed by signal 9" };
        self.server_is_gone(db, why);
    }

    /// Nothing of the server runs any more.
    pub(crate) fn server_is_gone(&mut self, db: usize, why: &str) {
        // What a primary that was killed has of its own, only its upstream can tell.
        let may_have_more = |dir: &DataDir| !dir.standby_signal && dir.control != ClusterState::ShutDown;
        if self.databases[db].server.dir.as_ref().is_some_and(may_have_more) {
            self.is_no_copy(db);
        }
        self.judge.unexcuse(db);
        if self.databases[db].server.run.takes_writers() {
            self.judge.ends.ended(self.now, db);
        }
        let it = &mut self.databases[db];
        it.server.run = Run::Down;
        it.server.life += 1;
        it.server.frozen = false;
        it.server.stream.on = false;
        it.server.stream.number += 1;
        let (life, guard) = (it.server.life, it.guard.life);
        let wait = Duration::from_micros(400);
        self.later(wait, Happening::GuardHear(db, guard, GuardInput::Gone(life, why.to_owned())));
        self.feed_ends(db);
    }

    pub(crate) fn set_watch(&mut self, db: usize) {
        let it = &self.databases[db];
        if let Deadline::At(end) = it.guard.watch {
            let (at, life) = (it.machine.when(end), it.guard.life);
            self.push(at, Happening::Watch(db, life));
        }
    }

    /// The watch: a thread of its own, which asks nobody.
    pub(crate) fn watch_looks(&mut self, db: usize, life: u32) {
        if !self.guard_lives(db, life) || self.databases[db].guard.frozen {
            return;
        }
        let it = &self.databases[db];
        let writer = match it.server.run {
            Run::Starting { writer } => writer,
            Run::Promoting | Run::Primary { .. } | Run::Orphans => true,
            Run::Stopping => it.server.dir.as_ref().is_some_and(|d| !d.standby_signal),
            Run::Down | Run::Standby { .. } => false,
        };
        if it.guard.watch.has_passed(it.clock(self.now)) && writer {
            self.meets_deadline(db);
            self.kill(db);
        }
    }
}
