//! Steering: single messages are held back, let go or lost at a moment that a test chooses, and what the arbiter decides
//! is written down. Chance finds an interleaving when it likes; a story needs it now.
//!
//! A hand is laid on one kind of message of one process, on its way there or back. What it holds is out of everybody's
//! sight, as on a slow line: its caller's deadline goes on, and what is let go later arrives later. Nothing is made up:
//! no message is changed, and none comes twice.

use std::time::Duration;

use bascule_core::record::Phase;

use super::World;
use super::arbiter::{Answer, Asked, Caller, Request};
use super::happening::Happening;
use super::net::Traffic;
use crate::fault::Fault;
use crate::time::Moment;

/// Whose messages: processes by their site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The operators of a site.
    Operator(usize),
    /// The guards of a site.
    Guard(usize),
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matter {
    /// The site's lease is renewed.
    Renewal,
    /// The leases are read.
    Leases,
    /// The record is read.
    Record,
    /// The record is to enter this phase.
    Swap(Phase),
    /// Facts and listings.
    Other,
    /// A guard's question to its operator, or the operator's answer to one.
    Grant,
    /// What an operator tells a guard unasked.
    Told,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// On its way to the arbiter, or from a guard to its operator.
    There,
    /// On its way back.
    Back,
}

/// A hand on messages.
#[derive(Clone, Debug)]
struct Hand {
    whose: Whose,
    matter: Matter,
    leg: Leg,
    /// Since when each waits.
    kept: Vec<(Moment, Happening)>,
    open: bool,
}

/// What the arbiter has decided.
#[derive(Clone, Debug)]
pub struct Decided {
    /// When.
    pub at: Moment,
    /// Who had asked.
    pub whose: Whose,
    /// About what.
    pub matter: Matter,
    /// A swap that was applied, anything else that was answered.
    pub applied: bool,
    /// Whoever had asked did not wait for it any more.
    pub given_up: bool,
}

/// All hands, and the arbiter's decisions since the first was laid on.
#[derive(Clone, Debug, Default)]
pub struct Steering {
    on: bool,
    hands: Vec<Hand>,
    decided: Vec<Decided>,
}

/// The number of a hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(usize);

const fn matter(request: &Request) -> Option<Matter> {
    Some(match request {
        Request::Renew { .. } => Matter::Renewal,
        Request::Leases => Matter::Leases,
        Request::Record(_) => Matter::Record,
        Request::Facts { .. } | Request::List | Request::Act { .. } => Matter::Other,
        Request::Write { .. } => return None,
    })
}

impl World {
    /// From now on messages of this kind are held.
    pub fn hold(&mut self, whose: Whose, matter: Matter, leg: Leg) -> Held {
        self.steering.on = true;
        self.steering.hands.push(Hand { whose, matter, leg, kept: Vec::new(), open: false });
        Held(self.steering.hands.len() - 1)
    }

    /// How many wait.
    pub fn kept(&self, held: Held) -> usize {
        self.steering.hands[held.0].kept.len()
    }

    /// For how long the last one has waited.
    pub fn last_kept(&self, held: Held) -> Option<Duration> {
        self.steering.hands[held.0].kept.last().map(|(at, _)| self.now.since(*at))
    }

    /// What waits goes on now, in its order; what comes later passes.
    pub fn let_go(&mut self, held: Held) {
        self.steering.hands[held.0].open = true;
        self.pass_on(held);
    }

    /// What waits goes on now, in its order; what comes later is held as before.
    pub fn pass_on(&mut self, held: Held) {
        for (_, what) in std::mem::take(&mut self.steering.hands[held.0].kept) {
            // In the order in which they were held, before anything that is sent now.
            self.later(Duration::ZERO, Happening::Steered(Box::new(what)));
        }
    }

    /// What waits is lost; what comes later passes.
    pub fn lose(&mut self, held: Held) {
        let hand = &mut self.steering.hands[held.0];
        hand.open = true;
        hand.kept.clear();
    }

    /// From now on what the arbiter decides is written down.
    pub fn write_down(&mut self) {
        self.steering.on = true;
    }

    /// What the arbiter has decided since then.
    pub fn decided(&self) -> &[Decided] {
        &self.steering.decided
    }

    /// A fault begins now, and lasts until it is taken back.
    pub fn strike(&mut self, fault: Fault) {
        self.transcript.fault(self.now, &fault.words(self));
        self.switch(fault, true);
    }

    /// A fault is taken back.
    pub fn relieve(&mut self, fault: Fault) {
        self.transcript.fault(self.now, &format!("over: {}", fault.words(self)));
        self.switch(fault, false);
    }

    fn whose(&self, by: Caller) -> Whose {
        match by {
            Caller::Operator(op, _) => Whose::Operator(self.operators[op].site),
            Caller::Guard(db, _) => Whose::Guard(self.databases[db].site),
        }
    }

    fn matter_of(request: &Request) -> Matter {
        match (matter(request), request) {
            (Some(matter), _) => matter,
            (None, Request::Write { next, .. }) => Matter::Swap(next.phase.clone()),
            (None, _) => Matter::Other,
        }
    }

    /// Takes a message if a hand is on its kind.
    fn takes_hold(&mut self, whose: Whose, matter: &Matter, leg: Leg, what: Happening) -> Option<Happening> {
        let now = self.now;
        let mine = |h: &&mut Hand| !h.open && (h.whose, &h.matter, h.leg) == (whose, matter, leg);
        match self.steering.hands.iter_mut().find(mine) {
            Some(hand) => {
                hand.kept.push((now, what));
                None
            }
            None => Some(what),
        }
    }

    /// A question reaches a member, unless it is held.
    pub(crate) fn steer_question(&mut self, asked: Asked) -> Option<Asked> {
        if !self.steering.on {
            return Some(asked);
        }
        let (whose, matter) = (self.whose(asked.by), Self::matter_of(&asked.request));
        match self.takes_hold(whose, &matter, Leg::There, Happening::AtMember(asked))? {
            Happening::AtMember(asked) => Some(asked),
            _ => None,
        }
    }

    /// An answer leaves a member, unless it is held.
    pub(crate) fn steer_answer(&mut self, asked: &Asked, answer: Happening) -> Option<Happening> {
        if !self.steering.on {
            return Some(answer);
        }
        let (whose, matter) = (self.whose(asked.by), Self::matter_of(&asked.request));
        self.takes_hold(whose, &matter, Leg::Back, answer)
    }

    /// A message between a guard and its operator, unless it is held.
    pub(crate) fn steer_word(&mut self, database: usize, word: Happening) -> Option<Happening> {
        if !self.steering.on {
            return Some(word);
        }
        let whose = Whose::Guard(self.databases[database].site);
        let (matter, leg) = match &word {
            Happening::Question { .. } => (Matter::Grant, Leg::There),
            Happening::Word { nonce: Some(_), .. } => (Matter::Grant, Leg::Back),
            _ => (Matter::Told, Leg::Back),
        };
        self.takes_hold(whose, &matter, leg, word)
    }

    /// What was held goes on: no hand takes it twice.
    pub(crate) fn steered(&mut self, what: Happening) {
        match what {
            Happening::AtMember(asked) => self.reaches_member(asked),
            other => self.happen(other),
        }
    }

    /// The arbiter has decided.
    pub(crate) fn note_decided(&mut self, asked: &Asked, answer: &Answer) {
        if !self.steering.on {
            return;
        }
        let whose = self.whose(asked.by);
        let given_up = match asked.by {
            Caller::Operator(op, life) => {
                let it = &self.operators[op];
                !it.up || it.life != life || !it.calls.contains_key(&asked.call)
            }
            Caller::Guard(db, life) => {
                let it = &self.databases[db].guard;
                !it.up || it.life != life || !it.calls.contains_key(&asked.call)
            }
        };
        let applied = !matches!(answer, Answer::Conflict | Answer::NotActing | Answer::Failed(_));
        let matter = Self::matter_of(&asked.request);
        self.steering.decided.push(Decided { at: self.now, whose, matter, applied, given_up });
    }

    /// Whether a site reaches the arbiter's members.
    pub fn reaches_arbiter(&self, site: usize) -> bool {
        let here = self.sites[site].place;
        self.arbiter.members.iter().any(|m| m.works() && self.net.joined(here, m.place, Traffic::Arbiter))
    }
}
