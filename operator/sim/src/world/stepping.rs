//! What guards do to their servers, stage by stage: start, follow, rewind, clone, promote, open, checkpoint.

use std::time::Duration;

use bascule_core::guard::alone::{Untold, Verdict};
use bascule_core::guard::wire::{ClusterState, Disk, ServerState};
use bascule_core::mutant::forgets;

use super::World;
use super::database::{GuardInput, Standing, Step, StepEnd, past, standing};
use super::happening::Happening;
use super::postgres::{DataDir, Run, What};
use super::serving::MONITOR;
use crate::fault::Fault;
use crate::judge::Sometimes;

/// How long the first checkpoint of a primary waits.
pub(super) const AFTER_START: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn step_takes(
        &mut self,
        db: usize,
        of: impl Fn(&super::database::Speeds) -> (Duration, Duration),
    ) -> Duration {
        let it = &mut self.databases[db];
        let between = of(&it.server.speeds);
        it.takes(between)
    }

    pub(super) fn begin(&mut self, db: usize, step: Step, wait: Duration) {
        let number = self.databases[db].begin(step.clone());
        self.later(wait, Happening::Stage(db, number, step));
    }

    fn goes_on(&mut self, db: usize, step: Step, wait: Duration) {
        let number = self.databases[db].guard.number;
        self.databases[db].guard.step = Some(step.clone());
        self.later(wait, Happening::Stage(db, number, step));
    }

    fn step_ends(&mut self, db: usize, end: StepEnd) {
        let (life, number) = (self.databases[db].guard.life, self.databases[db].guard.number);
        self.later(Duration::from_micros(50), Happening::GuardHear(db, life, GuardInput::Step(number, end)));
    }

    fn step_fails(&mut self, db: usize, why: &str) {
        // A promotion that is not known to have worked is given up.
        if *self.databases[db].guard.rules.server() == ServerState::Promoting {
            self.kill(db);
        }
        self.step_ends(db, StepEnd::Failed(why.to_owned()));
    }

    /// A stage of a step is due. A frozen guard does nothing; what its server was told goes on.
    pub(crate) fn stage(&mut self, db: usize, number: u64, step: Step) {
        let it = &self.databases[db];
        if !it.guard.up || it.guard.number != number || !self.sites[it.site].up {
            return;
        }
        let of_server = matches!(step, Step::Promote | Step::Opened);
        let stands = (it.guard.frozen && !of_server) || it.server.frozen;
        if stands {
            self.later(MONITOR, Happening::Stage(db, number, step));
            return;
        }
        let speeds = it.server.speeds;
        let faults = it.server.faults;
        if faults.disk_full && !matches!(step, Step::Standing(_) | Step::Promote | Step::Opened) {
            if matches!(self.databases[db].server.run, Run::Starting { .. }) {
                self.server_is_gone(db, "no space left on device");
            } else {
                self.step_fails(db, "no space left on device");
            }
            return;
        }
        match step {
            Step::Primary => self.start(db, true),
            Step::Orphan => {
                self.databases[db].server.follows = None;
                if let Some(dir) = &mut self.databases[db].server.dir {
                    dir.standby_signal = true;
                }
                self.start(db, false);
            }
            Step::Standing(upstream) => self.stands(db, upstream),
            Step::Save(upstream, found, by_number) => {
                let saved = self.databases[db].server.dir.as_ref().and_then(|d| past(d, found));
                if let Some((diverged, rows)) = saved.filter(|_| !forgets("what diverged is saved")) {
                    self.databases[db].beside.diverged = Some(diverged);
                    self.databases[db].beside.saved.extend(rows);
                }
                if !by_number {
                    let reason = "promoted apart to timelines of the same number".to_owned();
                    let commands = vec!["mv data data.kept".to_owned()];
                    self.step_ends(db, StepEnd::Is(ServerState::Failed { reason, commands }));
                    return;
                }
                if faults.rewind_fails {
                    let reason = "pg_rewind: could not find the WAL before the fork".to_owned();
                    let commands = vec!["mv data data.kept".to_owned()];
                    self.step_ends(db, StepEnd::Is(ServerState::Failed { reason, commands }));
                    return;
                }
                if let Some(dir) = &mut self.databases[db].server.dir {
                    dir.half_rewound = true;
                }
                let wait = self.databases[db].takes(speeds.rewind);
                self.goes_on(db, Step::Rewind(upstream), wait);
            }
            Step::Recover => self.recovers(db),
            Step::Rewind(upstream) => self.rewinds(db, &upstream),
            Step::Standby(upstream) => {
                let follows = self.peer(db, &upstream.host);
                self.databases[db].server.follows = follows;
                if let Some(dir) = &mut self.databases[db].server.dir {
                    dir.standby_signal = true;
                }
                self.start(db, false);
            }
            Step::Clone(upstream) => self.clones(db, &upstream),
            Step::CloseFirst => {
                if faults.reload_fails {
                    self.step_fails(db, "the server did not load its new rules for clients");
                    return;
                }
                let run = &mut self.databases[db].server.run;
                *run = match *run {
                    Run::Standby { .. } => Run::Standby { open: false },
                    Run::Primary { .. } => Run::Primary { open: false },
                    other => other,
                };
                self.goes_on(db, Step::Promote, Duration::from_millis(1));
            }
            Step::Promote => self.promotes(db),
            Step::LetIn(epoch) => self.lets_in(db, epoch),
            Step::Opened => self.step_ends(db, StepEnd::Is(ServerState::Primary { open: true })),
            Step::OpenStandby => {
                if faults.reload_fails {
                    self.step_fails(db, "the server did not load its new rules for clients");
                } else if matches!(self.databases[db].server.run, Run::Standby { .. }) {
                    self.databases[db].server.run = Run::Standby { open: true };
                    self.step_ends(db, StepEnd::Is(ServerState::Standby { open: true }));
                }
            }
            Step::Close => {
                if faults.reload_fails {
                    self.step_fails(db, "the server did not load its new rules for clients");
                    return;
                }
                match self.databases[db].server.run {
                    Run::Standby { .. } => {
                        self.databases[db].server.run = Run::Standby { open: false };
                        self.step_ends(db, StepEnd::Is(ServerState::Standby { open: false }));
                    }
                    Run::Primary { .. } => {
                        self.databases[db].server.run = Run::Primary { open: false };
                        self.step_ends(db, StepEnd::Is(ServerState::Primary { open: false }));
                    }
                    _ => {}
                }
            }
        }
    }

    /// A server is spawned, and takes sessions some time later.
    fn start(&mut self, db: usize, writer: bool) {
        let now = self.now;
        let it = &mut self.databases[db];
        let step = it.guard.step.clone();
        match it.server.run {
            Run::Down => {
                if writer && !it.has_leave(now) {
                    self.step_ends(db, StepEnd::NoLeave);
                    return;
                }
                let Some(dir) = &it.server.dir else {
                    self.step_fails(db, "the data directory is empty");
                    return;
                };
                if writer && dir.standby_signal {
                    self.step_fails(db, "standby.signal lies in the data directory");
                    return;
                }
                let clean = matches!(dir.control, ClusterState::ShutDown | ClusterState::ShutDownInRecovery);
                let speeds = it.server.speeds;
                let mut wait = it.takes(speeds.start);
                if !clean {
                    wait += it.takes(speeds.recovery);
                }
                it.server.life += 1;
                it.server.run = Run::Starting { writer };
                it.server.stream = super::database::Stream {
                    number: it.server.stream.number + 1,
                    ..super::database::Stream::default()
                };
                if let Some(step) = step {
                    self.goes_on(db, step, wait);
                }
            }
            Run::Starting { writer } => {
                let run = if writer { Run::Primary { open: false } } else { Run::Standby { open: false } };
                it.server.run = run;
                if let Some(dir) = &mut it.server.dir {
                    dir.control =
                        if writer { ClusterState::InProduction } else { ClusterState::InArchiveRecovery };
                    if writer {
                        dir.replayed = dir.wal.records.len();
                    }
                }
                if writer {
                    self.checkpoint(db, None, AFTER_START);
                    self.step_ends(db, StepEnd::Is(ServerState::Primary { open: false }));
                } else {
                    self.stream_soon(db, Duration::from_millis(5));
                    let upto = self.databases[db].server.dir.as_ref().map_or(0, |d| d.wal.records.len());
                    self.replay_later(db, upto);
                    self.monitor_soon(db);
                    self.step_ends(db, StepEnd::Is(ServerState::Standby { open: false }));
                }
            }
            _ => {}
        }
    }

    /// The upstream is asked where the histories part.
    fn stands(&mut self, db: usize, upstream: bascule_core::guard::wire::Upstream) {
        let peer = self.peer(db, &upstream.host);
        let theirs = peer.and_then(|peer| self.feed_of(db, peer));
        let primary = peer.is_some_and(|p| self.databases[p].server.run.is_primary());
        let it = &self.databases[db];
        let Some(ours) = &it.server.dir else {
            self.step_fails(db, "the data directory is empty");
            return;
        };
        let later = |reason: &str| {
            StepEnd::Is(ServerState::Failed { reason: reason.to_owned(), commands: Vec::new() })
        };
        let untold = match &theirs {
            None => Some((Untold::Silent, "the upstream does not answer")),
            Some(_) if !ours.standby_signal && !primary => {
                Some((Untold::Undecided, "the upstream is itself a standby still"))
            }
            Some(_) => None,
        };
        let (Some(theirs), None) = (theirs, untold) else {
            let Some((answer, why)) = untold else { return };
            let (now, Disk::Cluster(found)) = (self.databases[db].clock(self.now), self.databases[db].disk())
            else {
                return;
            };
            let guard = &mut self.databases[db].guard;
            match guard.alone.untold(answer, &found, guard.strayed, now) {
                Verdict::Start => self.goes_on(db, Step::Standby(upstream), Duration::from_millis(1)),
                Verdict::Recover => {
                    let wait = self.step_takes(db, |s| s.recovery);
                    self.goes_on(db, Step::Recover, wait);
                }
                Verdict::Wait => self.step_ends(db, later(why)),
            }
            return;
        };
        match standing(ours, &theirs) {
            Err(reason) => {
                let commands = vec!["mv data data.kept".to_owned()];
                self.step_ends(db, StepEnd::Is(ServerState::Failed { reason, commands }));
            }
            Ok(Standing::Follows) => {
                self.databases[db].guard.strayed = false;
                self.goes_on(db, Step::Standby(upstream), Duration::from_millis(1));
            }
            Ok(Standing::Diverged { fork, by_number }) => {
                self.databases[db].guard.strayed = true;
                let number = self.databases[db].guard.number;
                for event in self.databases[db].step_ended(number, StepEnd::Is(ServerState::Rewinding)) {
                    self.rules(db, event);
                }
                if self.databases[db].guard.number != number {
                    return;
                }
                let wait = self.step_takes(db, |s| s.save);
                self.goes_on(db, Step::Save(upstream, fork, by_number), wait);
            }
        }
    }

    /// A copy that was killed as a primary comes to a clean end, with all that it has.
    fn recovers(&mut self, db: usize) {
        let id = self.next_record();
        if let Some(dir) = &mut self.databases[db].server.dir {
            dir.checkpoint(What::Shutdown, id);
            dir.control = ClusterState::ShutDown;
        }
        self.step_ends(db, StepEnd::Is(ServerState::Down));
    }

    fn rewinds(&mut self, db: usize, upstream: &bascule_core::guard::wire::Upstream) {
        let theirs = self.peer(db, &upstream.host).and_then(|peer| self.feed_of(db, peer));
        let failed = |reason: &str| {
            StepEnd::Is(ServerState::Failed { reason: reason.to_owned(), commands: Vec::new() })
        };
        let Some(theirs) = theirs else {
            self.step_ends(db, failed("the upstream does not answer"));
            return;
        };
        if !self.peer(db, &upstream.host).is_some_and(|p| self.databases[p].server.run.is_primary()) {
            // Of three sites the role may have moved on meanwhile; a standby is not asked for the end of its log.
            self.step_ends(db, failed("recovery is in progress: the upstream is a standby itself"));
            return;
        }
        if theirs.checkpoint.1 != theirs.wal.timeline {
            // Its first checkpoint after its promotion is waited for.
            self.goes_on(db, Step::Rewind(upstream.clone()), Duration::from_millis(50));
            return;
        }
        if let Some(dir) = &mut self.databases[db].server.dir {
            let replayed = theirs.wal.records.iter().take_while(|r| r.start <= theirs.checkpoint.0).count();
            *dir = DataDir {
                replayed,
                control: ClusterState::InArchiveRecovery,
                standby_signal: true,
                half_rewound: false,
                ..theirs
            };
        }
        self.databases[db].guard.strayed = false;
        self.judge.meets(Sometimes::Rewound);
        self.step_ends(db, StepEnd::Is(ServerState::Down));
    }

    fn clones(&mut self, db: usize, upstream: &bascule_core::guard::wire::Upstream) {
        let theirs = self.peer(db, &upstream.host).and_then(|peer| self.feed_of(db, peer));
        let Some(theirs) = theirs else {
            let reason = "the upstream does not answer".to_owned();
            self.step_ends(db, StepEnd::Is(ServerState::Failed { reason, commands: Vec::new() }));
            return;
        };
        let copy = DataDir {
            replayed: theirs.wal.records.len(),
            control: ClusterState::InArchiveRecovery,
            standby_signal: true,
            half_rewound: false,
            ..theirs
        };
        self.databases[db].server.dir = Some(copy);
        self.step_ends(db, StepEnd::Is(ServerState::Down));
    }

    fn promotes(&mut self, db: usize) {
        let now = self.now;
        let faults = self.databases[db].server.faults;
        match self.databases[db].server.run {
            Run::Standby { .. } => {
                if !self.databases[db].has_leave(now) {
                    self.step_ends(db, StepEnd::NoLeave);
                    return;
                }
                if faults.promote_fails {
                    self.step_fails(db, "the server did not leave recovery");
                    return;
                }
                let (policy, site) = (self.databases[db].policy.clone(), self.databases[db].site);
                self.judge_flags(&policy, site, "is promoted");
                self.meets_frozen_holder(db);
                self.databases[db].server.run = Run::Promoting;
                self.databases[db].server.stream.on = false;
                self.databases[db].server.stream.number += 1;
                let usual = self.step_takes(db, |s| s.promote);
                if let Some(late) = faults.promote {
                    // What has begun takes its time, also when its cause is over.
                    let under_way = Fault::PromotionSlow(self.databases[db].site);
                    self.judge.disturbed.begins(self.now, under_way, true);
                    self.judge.disturbed.ends(self.now + late, under_way);
                }
                self.goes_on(db, Step::Promote, faults.promote.unwrap_or(usual));
            }
            Run::Promoting => {
                let (mark, id) = (self.next_record(), self.next_record());
                let it = &mut self.databases[db];
                if let Some(dir) = &mut it.server.dir {
                    let newest = dir.wal.timeline;
                    // The guard leaves a number free when somebody else may have taken the next.
                    let stopped = it.beside.stopped.as_ref().is_some_and(|s| s.timeline.0 == newest);
                    dir.wal.fork(newest + 1 + u32::from(stopped), mark, id);
                    dir.replayed = dir.wal.records.len();
                    dir.standby_signal = false;
                    dir.control = ClusterState::InProduction;
                }
                it.server.follows = None;
                it.server.run = Run::Primary { open: false };
                self.feed_ends(db);
                self.checkpoint(db, None, AFTER_START);
                self.step_ends(db, StepEnd::Is(ServerState::Primary { open: false }));
            }
            // Somebody else has promoted it: it has left recovery, which is what the guard asks for.
            Run::Primary { .. } => {
                let end = if self.databases[db].has_leave(now) {
                    StepEnd::Is(ServerState::Primary { open: false })
                } else {
                    StepEnd::NoLeave
                };
                self.step_ends(db, end);
            }
            Run::Down | Run::Starting { .. } | Run::Stopping | Run::Orphans => {}
        }
    }

    fn lets_in(&mut self, db: usize, epoch: u64) {
        let now = self.now;
        if !self.databases[db].has_leave(now) {
            self.step_ends(db, StepEnd::NoLeave);
            return;
        }
        if self.databases[db].server.faults.reload_fails {
            self.step_fails(db, "the server did not load its new rules for clients");
            return;
        }
        if !self.databases[db].server.run.is_primary() {
            return;
        }
        self.databases[db].server.run = Run::Primary { open: true };
        self.databases[db].server.opened_in = epoch;
        self.transcript.fact(now, &self.databases[db].site_name, "its database takes writes");
        self.judge_opening(db, epoch);
        self.judge.opens(now, db, epoch);
        let wait = self.step_takes(db, |s| s.reload) / 2;
        self.goes_on(db, Step::Opened, wait);
    }

    pub(super) fn checkpoint(&mut self, db: usize, serial: Option<u64>, wait: Duration) {
        let it = &mut self.databases[db];
        let speeds = it.server.speeds;
        let takes = it.takes(speeds.checkpoint);
        let life = it.server.life;
        self.later(wait + takes, Happening::Checkpoint(db, life, serial));
    }

    pub(crate) fn checkpoint_ends(&mut self, db: usize, life: u64, serial: Option<u64>) {
        let it = &self.databases[db];
        if it.server.life == life && it.server.frozen {
            self.later(MONITOR, Happening::Checkpoint(db, life, serial));
            return;
        }
        let works = it.server.life == life && it.server.run.is_primary() && !it.server.faults.disk_full;
        if works {
            let id = self.next_record();
            if let Some(dir) = &mut self.databases[db].server.dir {
                dir.checkpoint(What::Checkpoint, id);
            }
            self.pump(db);
        }
        let goes_on = self.databases[db].server.life == life && self.databases[db].server.run.is_primary();
        if serial.is_none() && !works && goes_on {
            // The first one is tried again: without it no copy can be brought back to this server.
            self.checkpoint(db, None, AFTER_START * 2);
        }
        if let Some(serial) = serial {
            let guard = self.databases[db].guard.life;
            self.guard_gets(db, guard, GuardInput::Checkpointed(serial, works));
        }
    }
}
