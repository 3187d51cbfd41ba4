//! Questions to the arbiter on their way there and back.

use bascule_engine::ports::ArbiterChange;
use std::time::Duration;

use super::World;
use super::arbiter::{Answer, Asked, Caller, Changed, Request};
use super::database::GuardInput;
use super::happening::Happening;
use super::net::{Place, Traffic};
use super::operator::Input;
use super::trial::Fate;
use bascule_engine::brain::Event;

impl World {
    /// Sends a question to members.
    pub(crate) fn ask(
        &mut self,
        by: Caller,
        from: Place,
        call: u64,
        members: &[usize],
        request: &Request,
        fate: Fate,
    ) {
        self.asked_of.insert(call, members.to_vec());
        let fence = match by {
            Caller::Operator(op, _) => Some(self.operators[op].fence),
            Caller::Guard(..) => None,
        };
        for member in members {
            let to = self.arbiter.members[*member].place;
            let Some(travel) = self.net.travel(from, to, Traffic::Arbiter) else { continue };
            let call_seen = if fate.loses_answer() { u64::MAX } else { call };
            let restores = self.arbiter.restores;
            let request = request.clone();
            let asked = Asked { by, from, call: call_seen, member: *member, request, restores, fence };
            if fate == Fate::Refused {
                self.reply_to(&asked, Answer::NotSent("refused on purpose".to_owned()));
                continue;
            }
            if fate == Fate::Twice {
                let again = Asked { call: u64::MAX, ..asked.clone() };
                self.later(travel + Duration::from_millis(3), Happening::AtMember(again));
            }
            self.later(travel + fate.lateness(), Happening::AtMember(asked));
        }
    }

    pub(crate) fn at_member(&mut self, asked: Asked) {
        if let Some(asked) = self.steer_question(asked) {
            self.reaches_member(asked);
        }
    }

    pub(crate) fn reaches_member(&mut self, asked: Asked) {
        let member = &self.arbiter.members[asked.member];
        if asked.restores != self.arbiter.restores {
            self.reply_to(&asked, Answer::Failed("connection reset by peer".to_owned()));
            return;
        }
        if !member.up {
            self.reply_to(&asked, Answer::NotSent("connection refused".to_owned()));
            return;
        }
        if member.frozen {
            self.arbiter.held.push(asked);
            return;
        }
        match self.arbiter.takes(&self.net, asked.member) {
            Some(takes) => {
                let term = self.arbiter.term;
                self.later(takes, Happening::Decide(asked, term));
            }
            None if asked.request.writes()
                && self.arbiter.lands_in_a_log(&self.net, self.now, asked.member) =>
            {
                self.arbiter.tail.push(asked);
            }
            None => self.reply_to(&asked, Answer::Failed("etcdserver: no leader".to_owned())),
        }
    }

    pub(crate) fn decide(&mut self, asked: &Asked, term: u64) {
        let member = &self.arbiter.members[asked.member];
        if asked.restores != self.arbiter.restores {
            self.reply_to(asked, Answer::Failed("connection reset by peer".to_owned()));
            return;
        }
        if term != self.arbiter.term || self.arbiter.takes(&self.net, asked.member).is_none() {
            if asked.request.writes() && self.arbiter.lands_in_a_log(&self.net, self.now, asked.member) {
                self.arbiter.tail.push(asked.clone());
                return;
            }
            // Lost with its leader: nobody will ever say what became of it, and it was not applied.
            if member.works() {
                self.reply_to(asked, Answer::Failed("etcdserver: leader changed".to_owned()));
            }
            return;
        }
        self.applies(asked);
    }

    fn applies(&mut self, asked: &Asked) {
        let (answer, changed) = if self.comes_too_late(asked) {
            (Answer::NotActing, None)
        } else {
            self.arbiter.store.decide(&asked.request)
        };
        self.note_decided(asked, &answer);
        self.judge_replica(asked, &answer);
        if let Some(changed) = changed {
            self.changed(asked.by, &changed);
        }
        self.reply_to(asked, answer);
    }

    pub(super) fn changed(&mut self, by: Caller, changed: &Changed) {
        self.judge_store(by, changed);
        let change = match changed {
            Changed::Lease(_) => return,
            Changed::Record { policy, revision, .. } => {
                ArbiterChange::Record { policy: policy.clone(), revision: *revision }
            }
            Changed::Facts { policy, site } => {
                let Some((facts, _)) = self.arbiter.store.facts.get(&(policy.clone(), site.clone())) else {
                    return;
                };
                let facts = Box::new(facts.clone());
                ArbiterChange::Facts { policy: policy.clone(), site: site.clone(), facts }
            }
        };
        let watchers: Vec<(usize, u32, usize, u64)> =
            self.arbiter.watches.iter().map(|(op, w)| (*op, w.life, w.member, w.number)).collect();
        for (op, life, member, number) in watchers {
            self.tell_watcher(op, life, member, number, change.clone());
        }
    }

    fn tell_watcher(&mut self, op: usize, life: u32, member: usize, number: u64, change: ArbiterChange) {
        let (from, to) = (self.arbiter.members[member].place, self.sites[self.operators[op].site].place);
        let follows = self.arbiter.takes(&self.net, member).is_some();
        let travel = self.net.travel(from, to, Traffic::Arbiter).filter(|_| follows);
        match travel {
            Some(travel) => {
                let mut at = self.now + travel + Duration::from_micros(300);
                if let Some(watch) = self.arbiter.watches.get_mut(&op).filter(|w| w.number == number) {
                    at = at.max(watch.arrives);
                    watch.arrives = at;
                }
                self.push(at, Happening::Hear(op, life, Input::Changed(number, change)));
            }
            None => self.watch_breaks(op),
        }
    }

    /// A watch that missed something is noticed to be broken: by its keepalive, within a few deadlines.
    pub(crate) fn watch_breaks(&mut self, op: usize) {
        let Some(watch) = self.arbiter.watches.remove(&op) else { return };
        let wait = self.timing.tq() * 2;
        let change = ArbiterChange::Broken { reason: "the watch was silent for too long".to_owned() };
        let event = Event::Changed(change);
        self.later(wait, Happening::Hear(op, watch.life, Input::Event(Box::new(event))));
    }

    /// What changed between a listing and the beginning of its watch.
    pub(crate) fn catch_up(&mut self, op: usize, number: u64, since: i64) {
        let Some(watch) = self.arbiter.watches.get(&op) else { return };
        let (life, member) = (watch.life, watch.member);
        let store = &self.arbiter.store;
        let records = store.records.iter().filter(|(_, (_, revision))| *revision > since);
        let mut missed: Vec<ArbiterChange> = records
            .map(|(policy, (_, revision))| ArbiterChange::Record {
                policy: policy.clone(),
                revision: *revision,
            })
            .collect();
        let facts = store.facts.iter().filter(|(_, (_, revision))| *revision > since);
        missed.extend(facts.map(|((policy, site), (facts, _))| ArbiterChange::Facts {
            policy: policy.clone(),
            site: site.clone(),
            facts: Box::new(facts.clone()),
        }));
        for change in missed {
            self.tell_watcher(op, life, member, number, change);
        }
    }

    fn reply_to(&mut self, asked: &Asked, answer: Answer) {
        if asked.call == u64::MAX {
            return;
        }
        let from = self.arbiter.members[asked.member].place;
        let Some(travel) = self.net.travel(from, asked.from, Traffic::Arbiter) else { return };
        let answer = match asked.by {
            Caller::Operator(op, life) => {
                Happening::Hear(op, life, Input::Answer(asked.call, asked.member, answer))
            }
            Caller::Guard(db, life) => {
                let failed = answer.is_none();
                let input = GuardInput::Arbiter(asked.call, asked.member, (!failed).then_some(answer));
                Happening::GuardHear(db, life, input)
            }
        };
        if let Some(answer) = self.steer_answer(asked, answer) {
            self.later(travel, answer);
        }
    }

    /// Notes that a member has answered; whether another one may still answer.
    pub(crate) fn still_asked(&mut self, call: u64, member: usize) -> bool {
        let Some(left) = self.asked_of.get_mut(&call) else { return false };
        left.retain(|m| *m != member);
        !left.is_empty()
    }

    /// A call's time is over. Members that did not answer it, whoever else did, are asked last from now on.
    pub(crate) fn answer_caller(&mut self, by: Caller, call: u64, member: usize, answer: Answer) {
        let silent = self.asked_of.remove(&call).unwrap_or_default();
        match by {
            Caller::Operator(op, life) => {
                if self.operators[op].life != life {
                    return;
                }
                for member in silent {
                    self.operators[op].ranking.note(member, false, self.now);
                }
                if self.operators[op].calls.contains_key(&call) {
                    self.operator_hears(op, life, Input::Answer(call, member, answer));
                }
            }
            Caller::Guard(db, life) => {
                if self.databases[db].guard.calls.contains_key(&call) {
                    self.guard_gets(db, life, GuardInput::Arbiter(call, member, None));
                }
            }
        }
    }

    /// Something has changed about members or lines between them: is there still a leader?
    pub(crate) fn look_at_leader(&mut self) {
        if self.arbiter.leads(&self.net) {
            return;
        }
        let (now, wait) = (self.now, self.arbiter.election);
        if let Some(leader) = self.arbiter.leader.take() {
            self.arbiter.term += 1;
            self.arbiter.believes = Some((leader, now + wait));
            self.arbiter.tail.clear();
        }
        let term = self.arbiter.term;
        self.later(wait, Happening::Election(term));
    }

    pub(crate) fn elect(&mut self, term: u64) {
        if term != self.arbiter.term || self.arbiter.leader.is_some() {
            return;
        }
        if let Some(winner) = self.arbiter.winner(&self.net) {
            self.arbiter.leader = Some(winner);
            self.arbiter.term += 1;
            let of = self.arbiter.believes.take().map(|(leader, _)| leader);
            let tail = std::mem::take(&mut self.arbiter.tail);
            for asked in tail.iter().filter(|_| of == Some(winner)) {
                self.applies(asked);
            }
        } else {
            let wait = self.arbiter.election;
            self.later(wait, Happening::Election(term));
        }
    }

    /// A frozen member goes on: it answers what has waited.
    pub(crate) fn member_wakes(&mut self, member: usize) {
        self.arbiter.members[member].frozen = false;
        let (mine, rest) =
            std::mem::take(&mut self.arbiter.held).into_iter().partition(|a| a.member == member);
        self.arbiter.held = rest;
        let mine: Vec<Asked> = mine;
        for asked in mine {
            self.reaches_member(asked);
        }
        self.look_at_leader();
    }
}
