//! What guards hear, and what becomes of their orders.

use std::time::Duration;

use bascule_core::guard::action::{Action, Event};
use bascule_core::guard::wire::ServerState;
use bascule_core::name::SiteName;

use super::World;
use super::arbiter::Request;
use super::database::{Database, Guard, GuardCall, GuardInput, Step};
use super::happening::Happening;
use super::postgres::Run;
use super::trial::{Actor, Fate};
use crate::deed::{Deed, Doing, End};
use crate::judge::Sometimes;

/// How often the monitor looks.
pub(super) const MONITOR: Duration = Duration::from_millis(20);
/// How long a container takes to start again.
const CONTAINER: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(1500));

impl World {
    pub(super) fn guard_lives(&self, db: usize, life: u32) -> bool {
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
}
