//! An operator's process: the real engine, fed from the world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bascule_core::facts::SiteFacts;
use bascule_core::guard::wire::Instruction;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::outcome::Outcome;
use bascule_core::record::Record;
use bascule_core::time::Boottime;
use bascule_engine::brain::{Brain, Command, Event, ORDERED_TO_LOCK};
use bascule_engine::ports::{
    ArbiterChange, Cas, GuardEvent, GuardSession, Intent, JournalKind, Renewed, Shown,
};
use jiff::Timestamp;

use super::World;
use super::arbiter::{Answer, Caller, Ranking, Request, Watch};
use super::cluster::Objects;
use super::happening::{Happening, Work};
use super::trial::{Actor, Fate};
use crate::deed::{Deed, Doing, End};
use crate::judge::Sometimes;
use crate::random::Chance;
use crate::time::Moment;

/// A call to the arbiter that waits for its answer.
#[derive(Clone, Debug)]
pub enum Call {
    /// A renewal, sent at.
    Renew(Boottime),
    /// A read of the leases, sent at.
    Leases(Boottime),
    /// A read of a record, sent at.
    Record(PolicyKey, Boottime),
    /// A write of a record.
    Write(PolicyKey, Box<Record>),
    /// A write of facts.
    Facts(PolicyKey, Box<SiteFacts>),
    /// A listing.
    List,
    /// A look whether a member is back: nobody waits for it.
    Probe,
    /// A try to act, by a replica that stands by.
    Act,
}

/// What reaches an operator.
#[derive(Clone, Debug)]
pub enum Input {
    /// For the engine as it is.
    Event(Box<Event>),
    /// A guard's question; stamped when it is taken.
    Asked(Box<GuardEvent>),
    /// A call's answer, from a member.
    Answer(u64, usize, Answer),
    /// A change, by one of its watches.
    Changed(u64, ArbiterChange),
}

/// What people can read of a policy in a site's cluster has changed.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Which policy.
    pub policy: PolicyKey,
    /// In which site's cluster.
    pub site: SiteName,
    /// Which process of its operator shows it; empty when the object is gone.
    pub by: String,
    /// The time of day, by the clock of that site.
    pub wall: Timestamp,
    /// What its operator shows; `None`: the object is gone, and with it its status.
    pub shown: Option<Box<Shown>>,
}

/// What the objects' watch has told so far.
#[derive(Clone, Debug, Default)]
pub struct Reflector {
    told: Option<Objects>,
}

/// The process.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The site.
    pub site: usize,
    /// Counts lives.
    pub life: u32,
    /// It runs.
    pub up: bool,
    /// It is not installed any more: it never starts again.
    pub removed: bool,
    /// It stands still.
    pub frozen: bool,
    /// It is a replica that does not act: it does nothing until it does.
    pub stands_by: bool,
    /// It takes over without waiting for its turn.
    pub eager: bool,
    /// What all that it writes is compared with, where its site has several replicas: of this process alone.
    pub fence: u64,
    /// What came while it stood still.
    pub inbox: VecDeque<Input>,
    /// The engine.
    pub brain: Brain,
    /// Calls that wait.
    pub calls: BTreeMap<u64, Call>,
    /// Whom it asks first.
    pub ranking: Ranking,
    /// When its next tick is due.
    pub tick_at: Option<Moment>,
    /// It has claimed its site's name.
    pub claimed: bool,
    /// What its watch has told it.
    pub reflector: Reflector,
    /// What it shows people.
    pub shown: BTreeMap<PolicyKey, Shown>,
    /// What its journal says it was about to do.
    pub intents: VecDeque<String>,
    /// Chance.
    pub chance: Chance,
    /// How often it was started.
    pub starts: u64,
    /// When it was started last.
    pub started: Moment,
    /// Since when nothing has stood in the way of updating each traffic target.
    pub zones: BTreeMap<(PolicyKey, ItemName), Moment>,
    /// Databases that have let this process in once: what they said stands while they are closed.
    pub asked: BTreeSet<(PolicyKey, ItemName)>,
    /// What its engine would have heard, while somebody decides in its place.
    pub by_hand: Option<Vec<Event>>,
}

/// How many intents of the journal the judge looks back on.
const INTENTS: usize = 64;
/// How soon a process that has ended by itself is started again: what a kubelet makes of it after some tries.
const CRASH_LOOP: Duration = Duration::from_secs(10);
/// How long a call to the own API server takes.
pub(super) const API: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(8));
/// How long a message takes between a guard and its operator.
pub(super) const NEAR: Duration = Duration::from_micros(250);

impl World {
    /// Whether an operator's process of this life can do anything.
    pub(super) fn lives(&self, op: usize, life: u32) -> bool {
        let it = &self.operators[op];
        it.up && it.life == life
    }

    pub(crate) fn operator_ticks(&mut self, op: usize, life: u32) {
        let it = &self.operators[op];
        if !self.lives(op, life) || it.tick_at != Some(self.now) {
            return;
        }
        self.operators[op].tick_at = None;
        if !self.operators[op].frozen {
            self.think(op, Event::Tick);
        }
    }

    pub(crate) fn operator_hears(&mut self, op: usize, life: u32, input: Input) {
        if !self.lives(op, life) {
            return;
        }
        if self.operators[op].frozen {
            self.operators[op].inbox.push_back(input);
            return;
        }
        self.takes(op, input);
    }

    /// It goes on: what has waited comes at once, in any order that its runtime may see it.
    pub(crate) fn operator_wakes(&mut self, op: usize) {
        self.operators[op].frozen = false;
        // What waited for it is heard only now.
        self.facts_listed(op);
        let waiting = std::mem::take(&mut self.operators[op].inbox);
        let life = self.operators[op].life;
        let ticks_first = self.operators[op].chance.permille(500);
        if ticks_first {
            self.think(op, Event::Tick);
        }
        for input in waiting {
            if !self.lives(op, life) {
                return;
            }
            if self.operators[op].frozen {
                self.operators[op].inbox.push_back(input);
            } else {
                self.takes(op, input);
            }
        }
        if !ticks_first && self.lives(op, life) && !self.operators[op].frozen {
            self.think(op, Event::Tick);
        }
    }

    fn takes(&mut self, op: usize, input: Input) {
        let now = self.operator_clock(op);
        match input {
            Input::Event(event) => self.think(op, *event),
            Input::Asked(mut event) => {
                if let GuardEvent::Asked { received, .. } = &mut *event {
                    *received = now;
                }
                self.think(op, Event::Guard(*event));
            }
            Input::Changed(number, change) => {
                if self.arbiter.watches.get(&op).is_some_and(|w| w.number == number) {
                    self.think(op, Event::Changed(change));
                }
            }
            Input::Answer(call, member, answer) => self.answered(op, call, member, answer),
        }
    }

    /// What the machine under an operator shows.
    pub fn operator_clock(&self, op: usize) -> Boottime {
        self.sites[self.operators[op].site].machine.boottime(self.now)
    }

    pub(crate) fn think(&mut self, op: usize, event: Event) {
        if self.operators[op].stands_by {
            return;
        }
        if let Some(heard) = &mut self.operators[op].by_hand {
            heard.push(event);
            return;
        }
        let life = self.operators[op].life;
        let machine = &self.sites[self.operators[op].site].machine;
        let (now, wall) = (machine.boottime(self.now), machine.wall(self.now));
        let ends = ends_an_intent(&event);
        let commands = self.operators[op].brain.handle(event, now, wall);
        if ends {
            self.judge_outcome(op, &commands);
        }
        for command in commands {
            self.obey(op, command);
            if !self.lives(op, life) {
                return;
            }
        }
        self.set_tick(op);
    }

    fn set_tick(&mut self, op: usize) {
        let it = &self.operators[op];
        let at =
            self.sites[it.site].machine.when(it.brain.next_tick()).max(self.now + Duration::from_micros(1));
        if it.tick_at != Some(at) {
            let life = it.life;
            self.operators[op].tick_at = Some(at);
            self.push(at, Happening::Tick(op, life));
        }
    }

    pub(super) fn obey(&mut self, op: usize, command: Command) {
        let now = self.operator_clock(op);
        match command {
            Command::Renew => {
                let it = &self.operators[op];
                let site = &self.sites[it.site];
                let (name, cluster, claimed) = (site.name.clone(), site.cluster.uid, it.claimed);
                self.call(op, Call::Renew(now), Request::Renew { site: name, cluster, claimed }, Fate::Go);
            }
            Command::ReadLeases => self.call(op, Call::Leases(now), Request::Leases, Fate::Go),
            Command::ReadRecord(policy) => {
                self.call(op, Call::Record(policy.clone(), now), Request::Record(policy), Fate::Go);
            }
            Command::Write { policy, expected, next, unchanged_lease } => {
                self.writes_record(op, &policy, &next);
                self.judge_written(op, &policy, &next);
                let what = || format!("record {}", next.phase);
                let Some(fate) = self.effect(Actor::Operator(op), what) else { return };
                let request =
                    Request::Write { policy: policy.clone(), expected, next: next.clone(), unchanged_lease };
                self.call(op, Call::Write(policy, next), request, fate);
                self.then_dies(op, fate);
            }
            Command::WriteFacts { policy, facts } => {
                let Some(fate) = self.effect(Actor::Operator(op), || "say facts".to_owned()) else { return };
                let request = Request::Facts { policy: policy.clone(), facts: facts.clone() };
                self.call(op, Call::Facts(policy, facts), request, fate);
                self.then_dies(op, fate);
            }
            Command::ListAndWatch => {
                self.arbiter.watches.remove(&op);
                self.call(op, Call::List, Request::List, Fate::Go);
            }
            Command::Answer { session, nonce, instruction } => {
                self.speak(op, session, Some(nonce), instruction);
            }
            Command::Tell { session, instruction } => self.speak(op, session, None, instruction),
            Command::Refuse { session, .. } => self.cut_session(session.0),
            Command::ReadMarks => {
                let cluster = &self.sites[self.operators[op].site].cluster;
                let result = match cluster.read_fails() {
                    Some(why) => Err(why.to_owned()),
                    None => Ok(cluster.marks.clone()),
                };
                self.reply(op, API, Event::Marks(result));
            }
            Command::RaiseMark { policy, kept } => {
                let Some(fate) = self.effect(Actor::Operator(op), || "raise the mark".to_owned()) else {
                    return;
                };
                self.send_work(op, Work::Mark(policy, kept), fate);
            }
            Command::Look { policy, what, active: _ } => self.looks(op, &policy, what),
            Command::Perform { policy, step, lane: _ } => {
                let site = self.operators[op].site;
                self.judge.performs(&self.sites[site].name, &step, &self.operators[op].intents);
                self.steps(op, &policy, &step);
                let Some(fate) = self.effect(Actor::Operator(op), || step.words()) else { return };
                let work = self.work_of(site, policy, step);
                self.send_work(op, work, fate);
            }
            Command::Publish(shown) => {
                let policy = shown.key.clone();
                let site = self.operators[op].site;
                let outcome = match self.sites[site].cluster.read_fails() {
                    Some(why) => Outcome::unknown(why),
                    None => Outcome::Done,
                };
                if outcome.is_done() {
                    self.judge_ages(op, &shown);
                    self.sites[site].cluster.published += 1;
                    let written =
                        (self.operators[op].brain.writer(), self.sites[site].machine.wall(self.now));
                    self.sites[site].cluster.written.insert(policy.clone(), written);
                    self.cluster_written(site);
                    self.publishes(site, &policy, Some(&shown));
                    self.operators[op].shown.insert(policy.clone(), *shown);
                }
                self.reply(op, API, Event::Published { policy, outcome });
            }
            Command::Beat(heartbeat) => {
                let site = self.operators[op].site;
                let outcome = match self.sites[site].cluster.read_fails() {
                    Some(why) => Outcome::unknown(why),
                    None => Outcome::Done,
                };
                if outcome.is_done() {
                    self.sites[site].cluster.heartbeat = Some(*heartbeat);
                    self.cluster_written(site);
                }
                self.reply(op, API, Event::Beaten { outcome });
            }
            Command::Journal(entry) => {
                self.judge_journal(op, &entry);
                let it = &mut self.operators[op];
                if entry.kind == JournalKind::Intent {
                    it.intents.push_back(entry.what.clone());
                    if it.intents.len() > INTENTS {
                        it.intents.pop_front();
                    }
                }
                if let Some(policy) = entry.policy.as_ref().filter(|_| entry.what == ORDERED_TO_LOCK) {
                    self.begins(op, policy, |_| Doing::Lock);
                }
                let site = &self.sites[self.operators[op].site].name;
                self.transcript.journal(self.now, site, &entry);
            }
            Command::Stop { reason } => {
                let site = self.sites[self.operators[op].site].name.clone();
                self.transcript.fact(self.now, &site, &reason);
                self.operator_dies(op);
                self.later(CRASH_LOOP, Happening::OperatorStarts(op));
            }
            Command::StandDown { who } => {
                let site = self.sites[self.operators[op].site].name.clone();
                self.transcript.fact(self.now, &site, &format!("it acts no more: {who} does"));
                self.operator_dies(op);
                self.restart_operator(op);
            }
        }
    }

    /// Whoever looks on is told at their next look.
    pub(super) fn publishes(&mut self, site: usize, policy: &PolicyKey, shown: Option<&Shown>) {
        let Some(publications) = &mut self.publications else { return };
        let site = &self.sites[site];
        publications.push(Publication {
            policy: policy.clone(),
            site: site.name.clone(),
            by: site.cluster.written.get(policy).map(|(by, _)| by.clone()).unwrap_or_default(),
            wall: site.machine.wall(self.now),
            shown: shown.cloned().map(Box::new),
        });
    }

    /// What an operator is about to do is kept, with what stands there now.
    pub(super) fn begins(&mut self, op: usize, policy: &PolicyKey, what: impl FnOnce(&Self) -> Doing) {
        if !self.transcript.is_on() {
            return;
        }
        let site = self.sites[self.operators[op].site].name.clone();
        let deed = Deed { at: self.now, site, policy: policy.clone(), what: what(self), end: End::Open };
        self.transcript.begins(|| deed);
    }

    fn writes_record(&mut self, op: usize, policy: &PolicyKey, next: &Record) {
        self.begins(op, policy, |world| Doing::Record {
            before: world.record(policy).cloned().map(Box::new),
            after: Box::new(next.clone()),
            why: world.operators[op].intents.back().cloned().unwrap_or_default(),
        });
    }

    fn record_written(&mut self, op: usize, policy: &PolicyKey, next: &Record, end: End) {
        let site = self.sites[self.operators[op].site].name.clone();
        self.transcript.write_ended(&site, policy, next.serial, end);
    }

    /// An answer that comes after some time without doing anything on its way.
    pub(super) fn reply(&mut self, op: usize, takes: (Duration, Duration), event: Event) {
        let site = self.operators[op].site;
        let slower = self.sites[site].cluster.delay();
        let it = &mut self.operators[op];
        let wait = it.chance.between(takes.0, takes.1) + slower;
        let life = it.life;
        self.later(wait, Happening::Hear(op, life, Input::Event(Box::new(event))));
    }

    pub(super) fn then_dies(&mut self, op: usize, fate: Fate) {
        if fate == Fate::DieAfter {
            self.leaves_unresolved(op);
            self.operator_dies(op);
            self.restart_operator(op);
        }
    }

    fn answered(&mut self, op: usize, call: u64, member: usize, answer: Answer) {
        let late = member == usize::MAX;
        let mut more = false;
        // What comes after its deadline nobody hears any more.
        if !late && (self.operators[op].calls.contains_key(&call) || self.asked_of.contains_key(&call)) {
            self.operators[op].ranking.note(member, !answer.is_none(), self.now);
            more = self.still_asked(call, member);
        }
        if !self.operators[op].calls.contains_key(&call) {
            return;
        }
        // With two members asked, one failure is not yet the end.
        if answer.is_none() && more {
            return;
        }
        let Some(waiting) = self.operators[op].calls.remove(&call) else { return };
        let received = self.operator_clock(op);
        let why = match &answer {
            Answer::Failed(why) if why.is_empty() => "no answer in time".to_owned(),
            Answer::Failed(why) | Answer::NotSent(why) => why.clone(),
            Answer::NotActing => "not written: another replica of this site's operator acts".to_owned(),
            _ => "an answer that does not fit".to_owned(),
        };
        let event = match (waiting, answer) {
            (Call::Renew(sent), Answer::Applied) => {
                self.operators[op].claimed = true;
                Event::Renewed { sent, result: Renewed::Applied }
            }
            (Call::Renew(sent), Answer::NameTaken(owner)) => {
                Event::Renewed { sent, result: Renewed::NameTaken { owner: format!("cluster-{owner}") } }
            }
            (Call::Renew(sent), Answer::NotClaimed) => {
                let reason = "the arbiter has forgotten the name: it was emptied or restored from an old backup; when what it knew is lost for good, raise arbiter.generation in all sites";
                Event::Renewed { sent, result: Renewed::Unknown { reason: reason.to_owned() } }
            }
            (Call::Renew(sent), Answer::NotActing) => {
                Event::Renewed { sent, result: Renewed::NotActing { who: "another replica".to_owned() } }
            }
            (Call::Renew(sent), _) => Event::Renewed { sent, result: Renewed::Unknown { reason: why } },
            (Call::Leases(sent), Answer::Leases(found)) => {
                Event::Leases { sent, received, result: Ok(found) }
            }
            (Call::Leases(sent), _) => Event::Leases { sent, received, result: Err(why) },
            (Call::Record(policy, sent), Answer::Record(found)) => {
                Event::Record { policy, sent, received, result: Ok(found) }
            }
            (Call::Record(policy, sent), _) => Event::Record { policy, sent, received, result: Err(why) },
            (Call::Write(policy, next), Answer::Written(revision)) => {
                self.record_written(op, &policy, &next, End::Done);
                Event::Written { policy, next, result: Cas::Applied(revision) }
            }
            (Call::Write(policy, next), Answer::Conflict) => {
                self.record_written(op, &policy, &next, End::Failed("somebody else was first".to_owned()));
                self.judge.meets(Sometimes::CasLost);
                Event::Written { policy, next, result: Cas::Conflict }
            }
            (Call::Write(policy, next), _) => {
                self.record_written(op, &policy, &next, End::Failed(why.clone()));
                Event::Written { policy, next, result: Cas::Unknown { reason: why } }
            }
            (Call::Facts(policy, facts), Answer::Applied) => {
                Event::FactsWritten { policy, facts, outcome: Outcome::Done }
            }
            (Call::Facts(policy, facts), Answer::NotSent(_) | Answer::NotActing) => {
                Event::FactsWritten { policy, facts, outcome: Outcome::refused(why) }
            }
            (Call::Facts(policy, facts), _) => {
                Event::FactsWritten { policy, facts, outcome: Outcome::unknown(why) }
            }
            (Call::List, Answer::Listed(listed)) => {
                self.facts_listed(op);
                let number = self.next_number();
                let life = self.operators[op].life;
                self.arbiter.watches.insert(op, Watch { life, member, number, arrives: self.now });
                self.catch_up(op, number, listed.revision);
                Event::Listed(Ok(*listed))
            }
            (Call::List, _) => Event::Listed(Err(why)),
            (Call::Probe, _) => return,
            (Call::Act, answer) => {
                self.tried_to_act(op, &answer);
                return;
            }
        };
        self.think(op, event);
    }

    /// Asks the arbiter.
    #[expect(clippy::needless_pass_by_value, reason = "a question is made for one call")]
    pub(super) fn call(&mut self, op: usize, waiting: Call, request: Request, fate: Fate) {
        let number = self.next_number();
        let members = if request.doubled() { 2 } else { 1 };
        let members = self.operators[op].ranking.first(members);
        self.operators[op].calls.insert(number, waiting);
        let by = Caller::Operator(op, self.operators[op].life);
        let place = self.sites[self.operators[op].site].place;
        let mut tq = self.timing.tq();
        if matches!(request, Request::List) {
            tq *= 4;
        }
        self.ask(by, place, number, &members, &request, fate);
        let overdue = self.sites[self.operators[op].site].machine.when(self.operator_clock(op) + tq);
        self.push(overdue, Happening::Overdue(by, number));
        let probes = self.operators[op].ranking.probes(self.now, self.timing.tq() * 4);
        if !probes.is_empty() {
            let number = self.next_number();
            self.operators[op].calls.insert(number, Call::Probe);
            self.ask(by, place, number, &probes, &Request::Leases, Fate::Go);
            self.push(overdue, Happening::Overdue(by, number));
        }
    }

    /// An operator's word to a guard.
    fn speak(&mut self, op: usize, session: GuardSession, nonce: Option<u64>, instruction: Box<Instruction>) {
        let life = self.operators[op].life;
        let mine = |d: &super::database::Database| {
            d.guard.session.is_some_and(|(s, o, l)| (s, o, l) == (session.0, op, life))
        };
        let Some(database) = self.databases.iter().position(mine) else { return };
        let word = Happening::Word { database, session: session.0, nonce, instruction };
        self.pass(database, word);
    }

    /// A message between a guard and its operator: kept while the connection passes nothing.
    pub(crate) fn pass(&mut self, database: usize, word: Happening) {
        let Some(word) = self.steer_word(database, word) else { return };
        if self.databases[database].link_cut {
            self.held.entry(database).or_default().push(super::happening::HeldWord(word));
        } else {
            self.later(NEAR, word);
        }
    }

    /// The connection passes messages again: those that waited come first.
    pub(crate) fn pass_again(&mut self, database: usize) {
        self.databases[database].link_cut = false;
        for word in self.held.remove(&database).unwrap_or_default() {
            self.later(NEAR, word.0);
        }
    }

    pub(crate) fn tell_guard_event(&mut self, op: usize, life: u32, event: GuardEvent) {
        let input = if matches!(event, GuardEvent::Asked { .. }) {
            Input::Asked(Box::new(event))
        } else {
            Input::Event(Box::new(Event::Guard(event)))
        };
        self.operator_hears(op, life, input);
    }

    /// People's intent as the objects' watch tells it: what differs from what was told before.
    pub(crate) fn objects_told(&mut self, op: usize, life: u32, objects: &Objects) {
        if !self.lives(op, life) {
            return;
        }
        let told = self.operators[op].reflector.told.as_ref();
        if told.is_some_and(|t| t.resource_version > objects.resource_version) {
            return;
        }
        let before = self.operators[op].reflector.told.replace(objects.clone());
        let first = before.is_none();
        let before = before.unwrap_or_default();
        let mut told = Vec::new();
        for (key, policy) in &objects.policies {
            if before.policies.get(key) != Some(policy) {
                told.push(match policy {
                    Ok(policy) => Intent::Policy(Box::new(policy.clone())),
                    Err(reason) => Intent::Invalid { policy: key.clone(), reason: reason.clone() },
                });
            }
        }
        for key in before.policies.keys().filter(|k| !objects.policies.contains_key(*k)) {
            told.push(Intent::PolicyGone(key.clone()));
        }
        for key in objects.policies.keys().chain(before.policies.keys()) {
            let moves = |o: &Objects| o.moves.get(key).cloned().unwrap_or_default();
            if moves(&before) != moves(objects) {
                told.push(Intent::Moves { policy: key.clone(), moves: moves(objects) });
            }
        }
        if first {
            told.push(Intent::Listed);
        }
        for intent in told {
            self.operator_hears(op, life, Input::Event(Box::new(Event::Intent(intent))));
        }
    }
}

/// Whether an event says how something ended that an intent of the journal announced.
const fn ends_an_intent(event: &Event) -> bool {
    matches!(event, Event::Done { .. } | Event::Written { .. })
}
