//! What guards hear, and what becomes of their orders.

use std::time::Duration;

use bascule_core::guard::action::{Action, Event};
use bascule_core::guard::alone::{Untold, Verdict};
use bascule_core::guard::fallback::RecordView;
use bascule_core::guard::grant::Deadline;
use bascule_core::guard::wire::{ClusterState, Disk, HighWater, Instruction, Report, ServerState};
use bascule_core::mutant::forgets;
use bascule_core::name::SiteName;
use bascule_engine::ports::{GuardEvent, GuardSession};

use super::World;
use super::arbiter::{Answer, Caller, Request};
use super::database::{Database, Guard, GuardCall, GuardInput, Standing, Step, StepEnd, past, standing};
use super::happening::Happening;
use super::net::Traffic;
use super::operator::NEAR;
use super::postgres::{DataDir, Run, What};
use super::trial::{Actor, Fate};
use crate::deed::{Deed, Doing, End};
use crate::fault::Fault;
use crate::judge::Sometimes;

/// How often the monitor looks.
const MONITOR: Duration = Duration::from_millis(20);
/// A connection without a word for this long is dead.
const SILENT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two attempts to connect.
const CONNECT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long the first checkpoint of a primary waits.
pub(super) const AFTER_START: Duration = Duration::from_secs(1);
/// How long a container takes to start again.
const CONTAINER: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(1500));

impl World {
    fn guard_lives(&self, db: usize, life: u32) -> bool {
        let it = &self.databases[db].guard;
        it.up && it.life == life
    }

    pub(crate) fn guard_ticks(&mut self, db: usize, life: u32) {
        if !self.guard_lives(db, life) || self.databases[db].guard.tick_at != Some(self.now) {
            return;
        }
        self.databases[db].guard.tick_at = None;
        if !self.databases[db].guard.frozen {
            self.rules(db, Event::Tick { tell: false });
        }
    }

    pub(crate) fn guard_gets(&mut self, db: usize, life: u32, input: GuardInput) {
        if !self.guard_lives(db, life) {
            return;
        }
        if self.databases[db].guard.frozen {
            self.databases[db].guard.inbox.push_back(input);
            return;
        }
        self.guard_takes(db, input);
    }

    /// The guard's process goes on. Its watch is a thread of its own: it may be first or not.
    pub(crate) fn guard_wakes(&mut self, db: usize) {
        let guard = &mut self.databases[db].guard;
        guard.frozen = false;
        let life = guard.life;
        let waiting = std::mem::take(&mut guard.inbox);
        let watch_first = self.databases[db].chance.permille(500);
        if watch_first {
            self.watch_looks(db, life);
        }
        self.rules(db, Event::Tick { tell: false });
        for input in waiting {
            self.guard_gets(db, life, input);
        }
        if self.guard_lives(db, life) {
            self.watch_looks(db, life);
            self.monitor_soon(db);
            if self.databases[db].has_leave(self.now) {
                // It was back in time: nothing of what follows is the pause's.
                self.judge.unexcuse(db);
            }
        }
    }

    fn guard_takes(&mut self, db: usize, input: GuardInput) {
        match input {
            GuardInput::Event(event) => self.rules(db, event),
            GuardInput::Step(number, end) => {
                for event in self.databases[db].step_ended(number, end) {
                    self.rules(db, event);
                }
            }
            GuardInput::Gone(life, why) => {
                if self.databases[db].server.life != life || self.databases[db].server.run != Run::Down {
                    return;
                }
                let now = self.now;
                for event in self.databases[db].gone(&why, now) {
                    self.rules(db, event);
                }
            }
            GuardInput::NeverRan(why) => {
                let it = &self.databases[db];
                if it.server.run == Run::Down && *it.guard.rules.server() == ServerState::Stopping {
                    let now = self.now;
                    for event in self.databases[db].gone(why, now) {
                        self.rules(db, event);
                    }
                } else {
                    self.rules(db, Event::Tick { tell: true });
                }
            }
            GuardInput::Look => self.look_now(db),
            GuardInput::Checkpointed(serial, true) => {
                self.databases[db].guard.checkpointed = Some(serial);
                self.rules(db, Event::Tick { tell: true });
            }
            GuardInput::Checkpointed(serial, false) => self.rules(db, Event::CheckpointFailed { serial }),
            GuardInput::Arbiter(call, member, answer) => self.guard_answered(db, call, member, answer),
            GuardInput::Word(session, event) => {
                if self.databases[db].guard.session.is_some_and(|(s, _, _)| s == session) {
                    self.databases[db].guard.last_word = self.now;
                    self.rules(db, event);
                }
            }
            GuardInput::Cut(session) => {
                let guard = &mut self.databases[db].guard;
                if guard.session.is_some_and(|(s, _, _)| s == session) {
                    guard.session = None;
                    self.rules(db, Event::Disconnected);
                    self.connect_later(db);
                }
            }
        }
    }

    fn look_now(&mut self, db: usize) {
        if self.databases[db].server.frozen {
            self.monitor_soon(db);
            return;
        }
        let now = self.now;
        if let Some(event) = self.databases[db].look(now) {
            self.rules(db, event);
        }
        if self.databases[db].is_watching_replay() {
            self.monitor_soon(db);
        }
    }

    pub(crate) fn monitor_looks(&mut self, db: usize, life: u32) {
        if self.guard_lives(db, life) && self.databases[db].guard.monitor_at == Some(self.now) {
            self.databases[db].guard.monitor_at = None;
            self.guard_gets(db, life, GuardInput::Look);
        }
    }

    /// The monitor looks at its next turn.
    pub(crate) fn monitor_soon(&mut self, db: usize) {
        if self.databases[db].guard.monitor_at.is_some_and(|at| at > self.now) {
            return;
        }
        let wait = self.databases[db].chance.between(Duration::from_millis(1), MONITOR);
        let at = self.now + wait;
        self.databases[db].guard.monitor_at = Some(at);
        let life = self.databases[db].guard.life;
        self.push(at, Happening::Monitor(db, life));
    }

    /// Gives the rules an event and carries out what they order.
    pub(crate) fn rules(&mut self, db: usize, event: Event) {
        let life = self.databases[db].guard.life;
        if !self.guard_lives(db, life) {
            return;
        }
        if let Some(told) = &mut self.databases[db].guard.by_hand {
            told.push(event);
            return;
        }
        let now = self.databases[db].clock(self.now);
        let extends = matches!(event, Event::LeaseRenewed { done: true, .. });
        let actions = self.databases[db].guard.rules.step(event, now);
        if extends && self.databases[db].guard.rules.fallback_in_use() {
            self.judge.meets(Sometimes::GuardExtended);
        }
        for action in actions {
            self.carry_out(db, action);
            if !self.guard_lives(db, life) {
                return;
            }
        }
        self.look_for_stray(db);
        self.set_guard_tick(db);
    }

    fn set_guard_tick(&mut self, db: usize) {
        let it = &self.databases[db];
        let now = it.clock(self.now);
        let at = it.machine.when(it.guard.rules.wakes(now)).max(self.now + Duration::from_micros(1));
        if it.guard.tick_at != Some(at) {
            let life = it.guard.life;
            self.databases[db].guard.tick_at = Some(at);
            self.push(at, Happening::GuardTick(db, life));
        }
    }

    fn look_for_stray(&mut self, db: usize) {
        let now = self.now;
        let Some(upstream) = self.databases[db].stray_is_due(now) else { return };
        let theirs = self.peer(db, &upstream.host).and_then(|peer| self.feed_of(db, peer));
        let strayed = self.databases[db].strayed(theirs.as_ref());
        if strayed && self.databases[db].guard.rules.following() == Some(&upstream) {
            let wait = self.step_takes(db, |s| s.question);
            let life = self.databases[db].guard.life;
            self.later(wait, Happening::GuardHear(db, life, GuardInput::Event(Event::Strayed)));
        }
    }

    fn carry_out(&mut self, db: usize, action: Action) {
        let fate = match Database::touches(&action) {
            Some(what) => match self.effect(Actor::Guard(db), || what.to_owned()) {
                Some(fate) => fate,
                None => return,
            },
            None => Fate::Go,
        };
        if let Some(what) = action.words() {
            self.transcript.guard(self.now, &self.databases[db].site_name, &what);
        }
        self.guard_does(db, &action);
        self.carries_out(db, action);
        if fate == Fate::DieAfter {
            self.guard_dies(db, true);
        }
    }

    /// What a guard does to its server is kept.
    fn guard_does(&mut self, db: usize, action: &Action) {
        let quiet = matches!(action, Action::Remember(_) | Action::RenewLease { .. });
        let Some(short) = Database::touches(action).filter(|_| !quiet) else { return };
        let it = &self.databases[db];
        let (now, words) = (self.now, action.words().unwrap_or_else(|| short.to_owned()));
        let upstream = match action {
            Action::Join { upstream } | Action::Clone { upstream } => {
                SiteName::try_from(upstream.host.as_str()).ok()
            }
            _ => None,
        };
        self.transcript.begins(|| Deed {
            at: now,
            site: it.site_name.clone(),
            policy: it.policy.clone(),
            what: Doing::Guard { database: it.name.clone(), words, upstream },
            end: End::Open,
        });
    }

    pub(super) fn carries_out(&mut self, db: usize, action: Action) {
        let speeds = self.databases[db].server.speeds;
        match action {
            Action::Watch(deadline) => {
                self.databases[db].guard.watch = deadline;
                self.set_watch(db);
            }
            Action::Kill => {
                self.meets_deadline(db);
                self.kill(db);
            }
            Action::Stop { by } => self.stop(db, by),
            Action::RemoveTrigger | Action::Exit => {}
            Action::StartPrimary => self.begin(db, Step::Primary, Duration::from_millis(5)),
            Action::StartOrphan => self.begin(db, Step::Orphan, Duration::from_millis(5)),
            Action::Join { upstream } => {
                let half = self.databases[db].server.dir.as_ref().is_some_and(|d| d.half_rewound);
                let wait = self.databases[db].takes(speeds.question);
                let step = if half { Step::Rewind(upstream) } else { Step::Standing(upstream) };
                self.begin(db, step, wait);
            }
            Action::Clone { upstream } => {
                let wait = self.databases[db].takes(speeds.clone);
                self.begin(db, Step::Clone(upstream), wait);
            }
            Action::Promote { close } => {
                let now = self.now;
                self.databases[db].end_contact(now);
                let (step, wait) = if close {
                    (Step::CloseFirst, self.databases[db].takes(speeds.reload))
                } else {
                    (Step::Promote, Duration::from_millis(1))
                };
                self.begin(db, step, wait);
            }
            Action::Open { epoch, slots: _ } => {
                self.databases[db].beside.opened = Some(epoch);
                let wait = self.databases[db].takes(speeds.reload) / 2;
                self.begin(db, Step::LetIn(epoch), wait);
            }
            Action::OpenStandby => {
                let wait = self.databases[db].takes(speeds.reload);
                self.begin(db, Step::OpenStandby, wait);
            }
            Action::Close => {
                let wait = self.databases[db].takes(speeds.reload);
                self.begin(db, Step::Close, wait);
            }
            Action::Checkpoint { serial } => self.checkpoint(db, Some(serial), Duration::ZERO),
            Action::Ask { nonce, fresh } => self.asks(db, nonce, fresh),
            Action::ReadRecord { number } => {
                let policy = self.databases[db].policy.clone();
                self.guard_calls(db, GuardCall::Record(number), &Request::Record(policy));
            }
            Action::RenewLease { number } => {
                let site = self.databases[db].site;
                let request = Request::Renew {
                    site: self.sites[site].name.clone(),
                    cluster: self.sites[site].cluster.uid,
                    claimed: true,
                };
                self.guard_calls(db, GuardCall::Renew(number), &request);
            }
            Action::Remember(memory) => {
                if !self.databases[db].server.faults.disk_full {
                    self.databases[db].beside.memory = memory;
                }
            }
        }
    }

    fn step_takes(
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

    /// The fast stop of whatever runs.
    fn stop(&mut self, db: usize, by: bascule_core::time::Boottime) {
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

    fn asks(&mut self, db: usize, nonce: u64, fresh: bool) {
        let Some((session, _, _)) = self.databases[db].guard.session else { return };
        let replicas = self.replicas(db);
        let now = self.now;
        let report: Report = self.databases[db].report(now, &replicas);
        let question = Happening::Question { database: db, session, nonce, fresh, report: Box::new(report) };
        self.pass(db, question);
    }

    pub(crate) fn question(&mut self, db: usize, session: u64, nonce: u64, fresh: bool, report: Box<Report>) {
        let Some((current, op, life)) = self.databases[db].guard.session else { return };
        if current != session {
            return;
        }
        let session = GuardSession(session);
        let received = self.operator_clock(op);
        self.tell_guard_event(op, life, GuardEvent::Asked { session, nonce, fresh, report, received });
    }

    pub(crate) fn word(
        &mut self,
        db: usize,
        session: u64,
        nonce: Option<u64>,
        instruction: Box<Instruction>,
    ) {
        self.databases[db].last_word = Some(instruction.clone());
        let life = self.databases[db].guard.life;
        let instruction = *instruction;
        let marks = HighWater {
            epoch: instruction.epoch,
            serial: instruction.serial,
            generation: instruction.generation,
        };
        if self.databases[db].guard.rules.memory().high_water.is_above(&marks) {
            self.judge.meets(Sometimes::OldEffectRefused);
        }
        let event = match nonce {
            Some(nonce) => Event::Answered { nonce, instruction },
            None => Event::Told { instruction },
        };
        self.guard_gets(db, life, GuardInput::Word(session, event));
    }

    fn connect_later(&mut self, db: usize) {
        let guard = &mut self.databases[db].guard;
        let pause = CONNECT.0.saturating_mul(1 << guard.attempt.min(8)).min(CONNECT.1);
        guard.attempt += 1;
        let life = guard.life;
        self.later(pause, Happening::Connect(db, life));
    }

    pub(crate) fn connect(&mut self, db: usize, life: u32) {
        if !self.guard_lives(db, life) || self.databases[db].guard.session.is_some() {
            return;
        }
        if self.databases[db].guard.frozen {
            self.later(MONITOR, Happening::Connect(db, life));
            return;
        }
        let site = self.databases[db].site;
        let turn = self.databases[db].guard.attempt as usize;
        let replicas: Vec<usize> = (0..self.operators.len())
            // One that stands by does not listen.
            .filter(|o| self.operators[*o].site == site && self.operators[*o].acts())
            .collect();
        let to = replicas.get(turn % replicas.len().max(1)).copied();
        let reachable = to.filter(|o| !self.operators[*o].frozen && !self.databases[db].link_cut);
        let Some(op) = reachable else {
            self.connect_later(db);
            return;
        };
        let session = self.next_number();
        let operator_life = self.operators[op].life;
        let now = self.now;
        let guard = &mut self.databases[db].guard;
        guard.session = Some((session, op, operator_life));
        guard.attempt = 0;
        guard.last_word = now;
        let hello = self.databases[db].hello();
        let event = GuardEvent::Connected { session: GuardSession(session), hello };
        self.tell_guard_event(op, operator_life, event);
        self.later(SILENT, Happening::Silent(db, session));
        self.rules(db, Event::Connected);
    }

    /// Whether a connection has been silent for too long.
    pub(crate) fn silent(&mut self, db: usize, session: u64) {
        let guard = &self.databases[db].guard;
        if guard.session.is_none_or(|(s, _, _)| s != session) || !guard.up {
            return;
        }
        let quiet = self.now.since(guard.last_word);
        if quiet < SILENT {
            self.later(SILENT.saturating_sub(quiet), Happening::Silent(db, session));
        } else {
            self.cut_session(session);
        }
    }

    /// A connection ends, for both of its ends.
    pub(crate) fn cut_session(&mut self, session: u64) {
        let found = self.databases.iter().position(|d| d.guard.session.is_some_and(|(s, _, _)| s == session));
        let Some(db) = found else { return };
        let Some((_, op, life)) = self.databases[db].guard.session else { return };
        self.held.remove(&db);
        let gone =
            GuardEvent::Gone { session: GuardSession(session), reason: "the connection ended".to_owned() };
        let event = bascule_engine::brain::Event::Guard(gone);
        let input = super::operator::Input::Event(Box::new(event));
        self.later(NEAR, Happening::Hear(op, life, input));
        let guard = self.databases[db].guard.life;
        self.later(NEAR, Happening::GuardHear(db, guard, GuardInput::Cut(session)));
    }

    fn guard_calls(&mut self, db: usize, what: GuardCall, request: &Request) {
        if !self.databases[db].guard.has_arbiter {
            let life = self.databases[db].guard.life;
            let event = match what {
                GuardCall::Record(number) => Event::RecordRead { number, view: None },
                GuardCall::Renew(number) => Event::LeaseRenewed { number, done: false },
            };
            self.later(NEAR, Happening::GuardHear(db, life, GuardInput::Event(event)));
            return;
        }
        let call = self.next_number();
        let it = &mut self.databases[db];
        it.guard.calls.insert(call, what);
        let by = Caller::Guard(db, it.guard.life);
        let tq = it.guard.rules.timing().tq.duration();
        let overdue = it.machine.when(it.clock(self.now) + tq);
        let place = self.sites[self.databases[db].site].place;
        let members: Vec<usize> = (0..self.arbiter.members.len()).collect();
        self.ask(by, place, call, &members, request, Fate::Go);
        self.push(overdue, Happening::Overdue(by, call));
    }

    fn guard_answered(&mut self, db: usize, call: u64, member: usize, answer: Option<Answer>) {
        let Some(what) = self.databases[db].guard.calls.get(&call).copied() else { return };
        // One member's failure is not the end while others may answer; the deadline is.
        if answer.is_none() && self.still_asked(call, member) {
            return;
        }
        self.databases[db].guard.calls.remove(&call);
        let me = &self.databases[db].site_name;
        let event = match what {
            GuardCall::Record(number) => {
                let view = match answer {
                    Some(Answer::Record(Some((record, _)))) => Some(RecordView {
                        active_here: record.active == *me,
                        phase_grants: record.is_understood() && record.phase.grants(),
                        fences: record.promise.fences,
                        marks: HighWater {
                            epoch: record.epoch,
                            serial: record.serial,
                            generation: record.generation,
                        },
                    }),
                    _ => None,
                };
                Event::RecordRead { number, view }
            }
            GuardCall::Renew(number) => {
                let done = matches!(answer, Some(Answer::Applied));
                Event::LeaseRenewed { number, done }
            }
        };
        self.rules(db, event);
    }

    /// The guard's process dies. With its container everything beside it dies too: it is process 1.
    pub(crate) fn guard_dies(&mut self, db: usize, restarts: bool) {
        if !self.databases[db].guard.up {
            return;
        }
        if let Some((session, _, _)) = self.databases[db].guard.session {
            self.cut_session(session);
        }
        // What it had heard and not lost yet was written down nowhere.
        if !self.databases[db].guard.contact.is_lost() {
            self.is_no_copy(db);
        }
        let it = &mut self.databases[db];
        it.guard.up = false;
        it.guard.number += 1;
        it.guard.session = None;
        let running = it.server.run != Run::Down;
        if running {
            self.server_is_gone(db, "killed with its container");
        }
        // Nobody is left to hear of it.
        self.databases[db].guard.life += 1;
        if restarts {
            let it = &mut self.databases[db];
            let wait = it.takes(CONTAINER);
            let life = it.guard.life;
            self.later(wait, Happening::GuardStarts(db, life));
        }
    }

    /// The container starts.
    pub(crate) fn guard_starts(&mut self, db: usize, life: u32) {
        let site = self.databases[db].site;
        let it = &self.databases[db];
        if it.guard.up || it.guard.life != life || !self.sites[site].up {
            return;
        }
        let now = self.now;
        let at = it.clock(now);
        let machine = format!("machine-{}", it.machine_life);
        self.databases[db].guard = Guard::new(&it.beside, it.disk(), machine, at, life);
        self.later(Duration::from_millis(5), Happening::Connect(db, life));
        self.rules(db, Event::Tick { tell: false });
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
