//! Every boundary of an effect is counted, and a fault may be waiting at it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::World;
use super::happening::Happening;
use crate::fault::{Fault, When};

/// Whose effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An operator's.
    Operator(usize),
    /// A guard's.
    Guard(usize),
}

/// What becomes of one effect and of who has it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// Nothing special.
    Go,
    /// The process dies before it.
    DieBefore,
    /// The process dies after it, before it hears of it.
    DieAfter,
    /// It is done and its answer is lost.
    LoseAnswer,
    /// It is done so many milliseconds later, when nobody waits any more.
    Late(u16),
    /// It is done twice.
    Twice,
    /// It is refused.
    Refused,
}

impl Fate {
    /// How much later it is done.
    pub const fn lateness(self) -> Duration {
        match self {
            Self::Late(ms) => Duration::from_millis(ms as u64),
            _ => Duration::ZERO,
        }
    }

    /// Whether who asked for it never hears how it went.
    pub const fn loses_answer(self) -> bool {
        matches!(self, Self::LoseAnswer | Self::Late(_))
    }
}

/// One boundary, as a run without faults has met it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boundary {
    /// Its number.
    pub number: u32,
    /// Who: `paris operator`, `lyon guard`.
    pub who: String,
    /// What.
    pub what: String,
}

/// The counting.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    counting: bool,
    count: u32,
    recording: bool,
    seen: Vec<Boundary>,
}

impl World {
    /// From now on boundaries are counted, and remembered if wanted.
    pub fn count_boundaries(&mut self, remember: bool) {
        self.trial = Trial { counting: true, recording: remember, ..Trial::default() };
    }

    /// Boundaries are not counted any more.
    pub fn stop_counting(&mut self) {
        self.trial.counting = false;
    }

    /// The boundaries that were met while they were remembered.
    pub fn boundaries(&self) -> &[Boundary] {
        &self.trial.seen
    }

    /// How many were counted.
    pub const fn counted(&self) -> u32 {
        self.trial.count
    }

    /// An effect is about to be ordered. `None`: whoever orders it is gone.
    pub(crate) fn effect(&mut self, actor: Actor, what: impl FnOnce() -> String) -> Option<Fate> {
        if !self.trial.counting {
            return Some(Fate::Go);
        }
        let number = self.trial.count;
        self.trial.count += 1;
        if self.trial.recording {
            let who = match actor {
                Actor::Operator(op) => format!("{} operator", self.sites[self.operators[op].site].name),
                Actor::Guard(db) => format!("{} guard", self.databases[db].site_name),
            };
            self.trial.seen.push(Boundary { number, who, what: what() });
        }
        let mut fate = Fate::Go;
        for at in 0..self.faults.len() {
            if self.faults[at].when != When::Boundary(number) || self.faults[at].begun {
                continue;
            }
            if let Some(own) = self.faults[at].fault.fate() {
                self.faults[at].begun = true;
                self.judge.disturbed.once(self.now);
                self.judge.disturbed.once(self.now + own.lateness());
                let who = self.actor_name(actor);
                self.transcript.fault(self.now, &format!("{who}: {}", self.faults[at].fault.words(self)));
                fate = own;
            } else {
                self.fault_begins(at);
            }
        }
        if fate == Fate::DieBefore {
            match actor {
                Actor::Operator(op) => {
                    self.operator_dies(op);
                    self.restart_operator(op);
                }
                Actor::Guard(db) => self.guard_dies(db, true),
            }
            return None;
        }
        let alive = match actor {
            Actor::Operator(op) => self.operators[op].up && !self.operators[op].frozen,
            Actor::Guard(db) => self.databases[db].guard.up,
        };
        // A process that stands still from this moment on goes on with the same step when it wakes: too late, perhaps.
        let frozen =
            matches!(actor, Actor::Operator(op) if self.operators[op].up && self.operators[op].frozen);
        if frozen {
            return Some(Fate::Late(u16::try_from(self.longest_freeze().as_millis()).unwrap_or(u16::MAX)));
        }
        alive.then_some(fate)
    }

    /// A record has entered a phase.
    pub(crate) fn entered(&mut self, phase: &str) {
        for at in 0..self.faults.len() {
            if matches!(&self.faults[at].when, When::Enters(p) if p == phase) && !self.faults[at].begun {
                // Not in the middle of what is happening now.
                self.later(Duration::from_micros(1), Happening::Fault(at));
            }
        }
    }

    fn longest_freeze(&self) -> Duration {
        let freezes = |f: &&super::Planned| {
            f.begun && !f.over && matches!(f.fault, Fault::OperatorFrozen(_) | Fault::SiteFrozen(_))
        };
        self.faults.iter().filter(freezes).filter_map(|f| f.lasts).max().unwrap_or_default()
    }

    fn actor_name(&self, actor: Actor) -> String {
        match actor {
            Actor::Operator(op) => format!("{}'s operator", self.sites[self.operators[op].site].name),
            Actor::Guard(db) => format!("{}'s guard", self.databases[db].site_name),
        }
    }

    /// An operator's process dies.
    pub(crate) fn operator_dies(&mut self, op: usize) {
        if !self.operators[op].up {
            return;
        }
        self.arbiter.watches.remove(&op);
        let it = &mut self.operators[op];
        it.up = false;
        it.life += 1;
        it.frozen = false;
        it.stands_by = false;
        it.calls.clear();
        it.inbox.clear();
        it.tick_at = None;
        let sessions: Vec<u64> = self
            .databases
            .iter()
            .filter_map(|d| d.guard.session.filter(|(_, o, _)| *o == op).map(|(session, _, _)| session))
            .collect();
        for session in sessions {
            self.cut_session(session);
        }
    }

    /// A person who has understood that the arbiter has lost records raises its generation in the values of all sites: the
    /// operators start anew, one site after the other.
    pub(crate) fn raise_generation(&mut self) {
        self.generation += 1;
        for op in 0..self.operators.len() {
            self.operator_dies(op);
            self.restart_operator(op);
        }
    }

    /// It is started again some time later.
    pub(crate) fn restart_operator(&mut self, op: usize) {
        let wait = self.operators[op].chance.between(Duration::from_millis(700), Duration::from_millis(2500));
        self.later(wait, Happening::OperatorStarts(op));
    }

    /// A clock was set to another rate: the next tick is another moment.
    pub(crate) fn nudge_operator(&mut self, op: usize) {
        if self.operators[op].up && !self.operators[op].frozen {
            self.think(op, bascule_engine::brain::Event::Tick);
        }
    }

    /// The same for a guard, and for its watch.
    pub(crate) fn nudge_guard(&mut self, db: usize) {
        let life = self.databases[db].guard.life;
        if self.databases[db].guard.up && !self.databases[db].guard.frozen {
            self.rules(db, bascule_core::guard::action::Event::Tick { tell: false });
            self.set_watch(db);
            self.watch_looks(db, life);
        }
    }
}
