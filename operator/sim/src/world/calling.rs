//! The lines of a guard: to its operator, and to the arbiter when it has to ask by itself.

use std::time::Duration;

use bascule_core::guard::action::Event;
use bascule_core::guard::fallback::RecordView;
use bascule_core::guard::wire::{HighWater, Instruction, Report};
use bascule_engine::ports::{GuardEvent, GuardSession};

use super::World;
use super::arbiter::{Answer, Caller, Request};
use super::database::{GuardCall, GuardInput};
use super::happening::Happening;
use super::operator::NEAR;
use super::serving::MONITOR;
use super::trial::Fate;
use crate::judge::Sometimes;

/// A connection without a word for this long is dead.
const SILENT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two attempts to connect.
const CONNECT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

impl World {
    pub(super) fn asks(&mut self, db: usize, nonce: u64, fresh: bool) {
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

    pub(super) fn connect_later(&mut self, db: usize) {
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

    pub(super) fn guard_calls(&mut self, db: usize, what: GuardCall, request: &Request) {
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

    pub(super) fn guard_answered(&mut self, db: usize, call: u64, member: usize, answer: Option<Answer>) {
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
}
