//! What can happen next?

use bascule_core::decide::{PolicySeen, Situation};
use bascule_core::record::{Entered, Phase, Record, SCHEMA};
use jiff::Timestamp;

use super::arbiter::Arbiter;
use super::call::Call;
use super::guard::{Guard, Server};
use super::interned::{Interned, Lookup};
use super::operator::Operator;
use super::setting::{Fault, Flow, NOW, Setting, TICK, policy, sites};

/// A whole world: the number of the state of each of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The arbiter, the two operators, the two guards.
    parts: [u32; 5],
    pub(super) faults: u8,
    died: bool,
}

const ARBITER: usize = 0;
const OPERATOR: usize = 1;
const GUARD: usize = 3;

/// A call to the arbiter, by what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum About {
    Renewal,
    Leases,
    Record,
    Write,
}

const CALLS: [About; 4] = [About::Renewal, About::Leases, About::Record, About::Write];

/// One step. The number is the site's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Do {
    Arrives(usize, About),
    Hears(usize, About),
    GivesUp(usize, About),
    SaysFacts(usize),
    Asks(usize),
    Answered(usize),
    IsTold(usize),
    Stops(usize),
    GoesOn(usize),
    CatchesUp(usize),
    Thaws(usize),
    ArrivesLate(usize),
    Dies(usize),
    Restarts(usize),
    GuardRestarts(usize),
    Lost(usize, About),
    Freezes(usize),
    Restored,
    Tick,
    /// Not steps of their own: what a tick needs and does.
    OperatorMayTick(usize),
    GuardMayTick(usize),
    OperatorTicks(usize),
    GuardTicks(usize),
}

/// The parts that one step changes, or looks at.
struct Parts<'a> {
    arbiter: &'a mut Arbiter,
    operators: &'a mut [Operator; 2],
    guards: &'a mut [Guard; 2],
}

/// Every state of every part that was met, and what became of it in each step.
pub(super) struct World {
    setting: Setting,
    arbiters: Interned<Arbiter>,
    operators: Interned<Operator>,
    guards: Interned<Guard>,
    known: Lookup<(Do, [u32; 3]), Option<[u32; 3]>>,
    steps: Vec<Do>,
}

impl World {
    /// A world in which nothing has happened for long, and its state.
    pub(super) fn quiet(setting: &Setting) -> Result<(Self, State), String> {
        let mut world = Self {
            setting: Setting { flow: Flow::Silence, ..setting.clone() },
            arbiters: Interned::default(),
            operators: Interned::default(),
            guards: Interned::default(),
            known: Lookup::default(),
            steps: steps(setting),
        };
        let arbiter = Arbiter {
            record: first_record(setting),
            revision: 1,
            leases: [1, 1],
            facts: [None, None],
            late: vec![],
            backup: None,
            restored: false,
        };
        let operators = [0, 1].map(|x| world.operators.number(Operator::new(x, setting)));
        let guards = [0, 1].map(|x| world.guards.number(Guard::new(x == 1)));
        let parts = [world.arbiters.number(arbiter), operators[0], operators[1], guards[0], guards[1]];
        let mut s = State { parts, faults: 0, died: false };
        let mut before = Vec::new();
        for _ in 0..40 {
            // All that can happen in a tick, in one order.
            let mut left = 1000;
            while let Some((_, next)) = world.next(s).into_iter().find(|(step, _)| is_healthy(*step)) {
                s = next;
                left -= 1;
                if left == 0 {
                    return Err("a tick of a quiet world never ends".to_owned());
                }
            }
            let next = world.step(s, Do::Tick).ok_or("a quiet world stands still")?;
            if before.contains(&next) && world.guards.get(next.parts[GUARD]).server == Server::Open {
                // What was learnt on the way was learnt of another flow.
                world.known.clear();
                world.setting = setting.clone();
                return Ok((world, next));
            }
            before.push(next);
            s = next;
        }
        Err("a world without faults does not come to rest".to_owned())
    }

    /// How many states of its parts were met: arbiters, operators, guards.
    pub(super) const fn met(&self) -> [usize; 3] {
        [self.arbiters.len(), self.operators.len(), self.guards.len()]
    }

    /// Everything that can happen, with what it leads to.
    pub(super) fn next(&mut self, s: State) -> Vec<(Do, State)> {
        let mut found = Vec::new();
        for i in 0..self.steps.len() {
            let step = self.steps[i];
            if let Some(next) = self.step(s, step)
                && next != s
            {
                found.push((step, next));
            }
        }
        found
    }

    /// What `step` leads to; `None`: it cannot happen.
    fn step(&mut self, s: State, step: Do) -> Option<State> {
        let mut next = s;
        match step {
            Do::Tick => {
                for x in [0, 1] {
                    self.act(s, Do::OperatorMayTick(x))?;
                    self.act(s, Do::GuardMayTick(x))?;
                }
                for x in [0, 1] {
                    next = self.act(next, Do::OperatorTicks(x))?;
                    next = self.act(next, Do::GuardTicks(x))?;
                }
                return Some(next);
            }
            Do::Dies(_) if s.died => return None,
            Do::Dies(_) => next.died = true,
            _ if is_fault(step) && s.faults >= self.setting.most => return None,
            _ if is_fault(step) => next.faults += 1,
            _ => {}
        }
        self.act(next, step)
    }

    /// Does it, or remembers what it did to the same parts before.
    fn act(&mut self, s: State, step: Do) -> Option<State> {
        let touched = touches(step);
        let key = (step, touched.map(|part| part.map_or(0, |p| s.parts[p])));
        let done = match self.known.get(&key) {
            Some(done) => *done,
            None => {
                let done = self.really(s, step, touched);
                self.known.insert(key, done);
                done
            }
        };
        let mut next = s;
        for (part, number) in touched.into_iter().zip(done?) {
            if let Some(part) = part {
                next.parts[part] = number;
            }
        }
        Some(next)
    }

    fn really(&mut self, s: State, step: Do, touched: [Option<usize>; 3]) -> Option<[u32; 3]> {
        let mut arbiter = self.arbiters.get(s.parts[ARBITER]).clone();
        let mut operators = [0, 1].map(|x| self.operators.get(s.parts[OPERATOR + x]).clone());
        let mut guards = [0, 1].map(|x| self.guards.get(s.parts[GUARD + x]).clone());
        let parts = Parts { arbiter: &mut arbiter, operators: &mut operators, guards: &mut guards };
        if !perform(step, parts, &self.setting) {
            return None;
        }
        let [a, b] = operators;
        let [c, d] = guards;
        Some(touched.map(|part| match part {
            None => 0,
            Some(ARBITER) => self.arbiters.number(arbiter.clone()),
            Some(OPERATOR) => self.operators.number(a.clone()),
            Some(GUARD) => self.guards.number(c.clone()),
            Some(p) if p < GUARD => self.operators.number(b.clone()),
            Some(_) => self.guards.number(d.clone()),
        }))
    }

    /// What must never be, if it is so after `step` led from `before` to `s`.
    pub(super) fn wrong(&self, before: State, s: State) -> Option<String> {
        let guards = [0, 1].map(|x| self.guards.get(s.parts[GUARD + x]));
        if guards.iter().all(|g| g.server == Server::Open) {
            return Some("S1: both databases are open for writes".to_owned());
        }
        for x in [0, 1] {
            if let Some(why) = &self.operators.get(s.parts[OPERATOR + x]).wrong {
                return Some(format!("{}: {why}", sites()[x]));
            }
        }
        if before.parts[ARBITER] == s.parts[ARBITER] {
            return None;
        }
        let (was, is) = (self.arbiters.get(before.parts[ARBITER]), self.arbiters.get(s.parts[ARBITER]));
        let (old, new) = (&was.record, &is.record);
        if was.revision == is.revision || is.restored != was.restored {
            return None;
        }
        let moved = u64::from(old.active != new.active);
        if new.serial != old.serial + 1 || new.epoch != old.epoch + moved {
            return Some(format!(
                "S2: epoch {}, serial {} became epoch {}, serial {}",
                old.epoch, old.serial, new.epoch, new.serial
            ));
        }
        // A taker that nobody's silence speaks for has all that was written.
        if moved == 1 && old.phase == Phase::Handover {
            let x = usize::from(new.active == sites()[1]);
            let (taker, source) = (guards[x], guards[1 - x]);
            let all = (taker.timeline, taker.log) >= (source.timeline, source.log);
            let planned = new.transition.as_ref().is_some_and(|t| t.cause == bascule_core::record::Cause::Planned);
            if planned && (source.is_writer() || !all) {
                return Some("S5: a planned take without all that was written".to_owned());
            }
        }
        None
    }

    /// The state in one line, for people.
    pub(super) fn words(&self, s: State) -> String {
        let a = self.arbiters.get(s.parts[ARBITER]);
        let mut line = format!(
            "record: {} {} (epoch {}, serial {})",
            a.record.active, a.record.phase, a.record.epoch, a.record.serial
        );
        for x in [0, 1] {
            let (o, g) = (self.operators.get(s.parts[OPERATOR + x]), self.guards.get(s.parts[GUARD + x]));
            let me = &sites()[x];
            let grants = o.claim.grant(&o.holder, me, o.now()).is_ok();
            line.push_str(&format!(
                "; {me}: {:?}{}{}{}",
                g.server,
                g.locked.map_or_else(String::new, |at| format!(" locked at {at}")),
                if grants { ", grants" } else { "" },
                if o.frozen { ", frozen" } else { "" }
            ));
        }
        line
    }
}

/// The steps of this search, in the order in which a quiet world takes them.
fn steps(setting: &Setting) -> Vec<Do> {
    let mut found = Vec::new();
    for x in [0, 1] {
        found.extend(CALLS.iter().flat_map(|c| [Do::Arrives(x, *c), Do::Hears(x, *c)]));
        found.extend([Do::SaysFacts(x), Do::Answered(x), Do::IsTold(x), Do::Asks(x)]);
        found.extend([Do::Stops(x), Do::GoesOn(x), Do::CatchesUp(x), Do::ArrivesLate(x)]);
        if setting.has(Fault::OperatorFreezes) {
            found.extend([Do::Thaws(x), Do::Freezes(x)]);
            found.extend(CALLS.map(|c| Do::GivesUp(x, c)));
        }
        if setting.flow == Flow::Offered {
            found.push(Do::Dies(x));
        }
        if setting.has(Fault::OperatorRestarts) {
            found.push(Do::Restarts(x));
        }
        if setting.has(Fault::GuardRestarts) {
            found.push(Do::GuardRestarts(x));
        }
        if setting.has(Fault::MessageLost) {
            found.extend(CALLS.map(|c| Do::Lost(x, c)));
        }
    }
    if setting.has(Fault::ArbiterRestored) {
        found.push(Do::Restored);
    }
    found.push(Do::Tick);
    found
}

const fn is_fault(step: Do) -> bool {
    matches!(
        step,
        Do::Restarts(_) | Do::GuardRestarts(_) | Do::Lost(_, _) | Do::Freezes(_) | Do::Restored
    )
}

/// Whether it happens in a quiet world, within a tick.
const fn is_healthy(step: Do) -> bool {
    !is_fault(step) && !matches!(step, Do::Tick | Do::Dies(_) | Do::GivesUp(_, _) | Do::ArrivesLate(_))
}

/// The parts that a step changes or depends on, and no others.
const fn touches(step: Do) -> [Option<usize>; 3] {
    match step {
        Do::Arrives(x, About::Renewal) => [Some(ARBITER), Some(OPERATOR + x), Some(OPERATOR + 1 - x)],
        Do::Arrives(x, _) | Do::SaysFacts(x) | Do::Lost(x, _) | Do::GivesUp(x, _) | Do::OperatorMayTick(x) => {
            [Some(ARBITER), Some(OPERATOR + x), None]
        }
        Do::Hears(x, _) | Do::Thaws(x) | Do::Freezes(x) | Do::OperatorTicks(x) => [Some(OPERATOR + x), None, None],
        Do::Asks(x) | Do::GuardMayTick(x) => [Some(GUARD + x), Some(OPERATOR + x), Some(GUARD + 1 - x)],
        Do::Answered(x) | Do::IsTold(x) | Do::GuardRestarts(x) => [Some(GUARD + x), Some(OPERATOR + x), None],
        Do::Stops(x) | Do::Dies(x) | Do::GuardTicks(x) => [Some(GUARD + x), None, None],
        Do::GoesOn(x) | Do::CatchesUp(x) => [Some(GUARD + x), Some(GUARD + 1 - x), None],
        Do::ArrivesLate(_) | Do::Restored => [Some(ARBITER), None, None],
        Do::Restarts(x) => [Some(ARBITER), Some(OPERATOR + x), Some(GUARD + x)],
        Do::Tick => [None, None, None],
    }
}

/// Does `step`; `false`: it cannot happen.
fn perform(step: Do, p: Parts<'_>, setting: &Setting) -> bool {
    match step {
        Do::Arrives(x, about) => arrives(x, about, p, setting),
        Do::Hears(x, about) => hears(x, about, &mut p.operators[x], setting),
        Do::GivesUp(x, about) => {
            let o = &p.operators[x];
            let sent = match about {
                About::Renewal => o.renewal.sent(),
                About::Leases => o.leases.sent(),
                About::Record => o.record.sent(),
                About::Write => o.write.sent(),
            };
            !o.frozen && sent.is_some_and(|t| NOW.since(t) >= TICK) && lose(x, about, p)
        }
        Do::Lost(x, about) => lose(x, about, p),
        Do::SaysFacts(x) => {
            let o = &p.operators[x];
            if o.frozen || o.facts.is_none() || p.arbiter.facts[x] == o.facts {
                return false;
            }
            p.arbiter.facts[x].clone_from(&o.facts);
            true
        }
        Do::Asks(x) => {
            let streams = streams(&p.guards[x], &p.guards[1 - x]);
            if p.operators[x].frozen || p.operators[x].answer.is_some() {
                return false;
            }
            let Some((report, fresh)) = p.guards[x].ask(streams) else { return false };
            p.operators[x].hear_guard(report, fresh, setting);
            true
        }
        Do::Answered(x) => {
            let Some(answer) = p.operators[x].answer.take() else { return false };
            p.operators[x].told = Some(answer.told);
            p.guards[x].answered(answer);
            true
        }
        Do::IsTold(x) => {
            let o = &mut p.operators[x];
            let connected = o.report.is_some() && o.answer.is_none() && !o.frozen;
            let Some(told) = o.wanted.filter(|w| connected && o.told != Some(*w)) else { return false };
            o.told = Some(told);
            p.guards[x].take(told);
            true
        }
        Do::Stops(x) => p.guards[x].stop(),
        Do::GoesOn(x) => {
            let [a, b] = p.guards;
            if x == 0 { a.go_on(b) } else { b.go_on(a) }
        }
        Do::CatchesUp(x) => {
            let [a, b] = p.guards;
            if x == 0 { a.catch_up(b) } else { b.catch_up(a) }
        }
        Do::Thaws(x) => {
            let frozen = p.operators[x].frozen;
            p.operators[x].thaw(setting);
            frozen
        }
        Do::Freezes(x) => !std::mem::replace(&mut p.operators[x].frozen, true),
        Do::ArrivesLate(i) => {
            if i >= p.arbiter.late.len() {
                return false;
            }
            let write = p.arbiter.late.remove(i);
            p.arbiter.apply(&write, setting.has(Fault::ArbiterRestored));
            true
        }
        Do::Dies(x) => {
            let open = p.guards[x].server == Server::Open;
            if open {
                p.guards[x].dies();
            }
            open
        }
        Do::Restarts(x) => {
            if let Call::Sent(_, write) = &p.operators[x].write {
                p.arbiter.late.push(write.clone());
            }
            p.operators[x].restart(setting);
            p.guards[x].disconnected();
            true
        }
        Do::GuardRestarts(x) => {
            p.guards[x].restart();
            p.operators[x].guard_gone(setting);
            true
        }
        Do::Restored => {
            let Some((record, revision)) = p.arbiter.backup.take() else { return false };
            (p.arbiter.record, p.arbiter.revision) = (record, revision);
            p.arbiter.late.clear();
            p.arbiter.restored = true;
            true
        }
        Do::OperatorMayTick(x) => {
            let o = &p.operators[x];
            o.may_tick() && (o.frozen || o.facts.is_none() || p.arbiter.facts[x] == o.facts)
        }
        Do::GuardMayTick(x) => p.operators[x].frozen || p.guards[x].has_told(streams(&p.guards[x], &p.guards[1 - x])),
        Do::OperatorTicks(x) => {
            p.operators[x].tick(setting);
            true
        }
        Do::GuardTicks(x) => {
            p.guards[x].tick();
            true
        }
        Do::Tick => false,
    }
}

/// Whether the server of `g` is a standby that the other one writes to.
fn streams(g: &Guard, other: &Guard) -> bool {
    matches!(g.server, Server::Standby { .. }) && other.server == Server::Open && g.timeline == other.timeline
}

/// A message is there, and done.
fn arrives(x: usize, about: About, p: Parts<'_>, setting: &Setting) -> bool {
    let [a, b] = p.operators;
    let (o, other) = if x == 0 { (a, b) } else { (b, a) };
    match about {
        About::Renewal => {
            let Call::Sent(sent, ()) = o.renewal else { return false };
            o.renewal = Call::Answered(sent, (), ());
            let mut known: Vec<i64> = other.observer.window(&sites()[x]).map(|w| w.revision).into_iter().collect();
            if let Call::Answered(_, _, (revision, _)) = &other.leases {
                known.push(*revision);
            }
            if let Call::Sent(_, write) = &other.write {
                known.extend(write.lease);
            }
            p.arbiter.renew(x, &known);
        }
        About::Leases => {
            let Call::Sent(sent, ()) = o.leases else { return false };
            let found = (p.arbiter.leases[1 - x], p.arbiter.facts[1 - x].clone());
            o.leases = Call::Answered(sent, (), found);
        }
        About::Record => {
            let Call::Sent(sent, ()) = o.record else { return false };
            o.record = Call::Answered(sent, (), (p.arbiter.record.clone(), p.arbiter.revision));
        }
        About::Write => {
            let Call::Sent(sent, write) = o.write.clone() else { return false };
            let done = p.arbiter.apply(&write, setting.has(Fault::ArbiterRestored));
            o.write = Call::Answered(sent, write, done);
        }
    }
    true
}

fn hears(_x: usize, about: About, o: &mut Operator, setting: &Setting) -> bool {
    let answered = match about {
        About::Renewal => matches!(o.renewal, Call::Answered(..)),
        About::Leases => matches!(o.leases, Call::Answered(..)),
        About::Record => matches!(o.record, Call::Answered(..)),
        About::Write => matches!(o.write, Call::Answered(..)),
    };
    if o.frozen || !answered {
        return false;
    }
    match about {
        About::Renewal => o.hear_renewal(setting),
        About::Leases => o.hear_leases(setting),
        About::Record => o.hear_record(setting),
        About::Write => o.hear_write(setting),
    }
    true
}

/// A message, or its answer, is lost. What was not there yet may still arrive, if it writes the record.
fn lose(x: usize, about: About, p: Parts<'_>) -> bool {
    let o = &mut p.operators[x];
    match about {
        About::Renewal if !o.renewal.is_over() => o.renewal.lose(),
        About::Leases if !o.leases.is_over() => o.leases.lose(),
        About::Record if !o.record.is_over() => o.record.lose(),
        About::Write if !o.write.is_over() => {
            if let Call::Sent(_, write) = &o.write {
                p.arbiter.late.push(write.clone());
            }
            o.write.lose();
        }
        _ => return false,
    }
    true
}

/// The first site has had the role for long.
fn first_record(setting: &Setting) -> Record {
    let [me, _] = sites();
    let op = Operator::new(0, setting);
    let (installation, policy) = (setting.installation(), policy());
    let s = Situation {
        me: &me,
        now: NOW,
        wall: Timestamp::UNIX_EPOCH,
        installation: &installation,
        policy: PolicySeen::Present(&policy),
        holder: &op.holder,
        observer: &op.observer,
        claim: &op.claim,
        seen: &bascule_core::observation::Observation::default(),
        moves: &[],
        question: 0,
        memory: &op.memory,
    };
    Record {
        schema: SCHEMA,
        generation: 0,
        epoch: 1,
        serial: 1,
        promise: s.promise(&policy),
        active: me.clone(),
        phase: Phase::Steady,
        settled: true,
        previous: None,
        target: None,
        doing: None,
        hold: None,
        positions: Default::default(),
        offer: None,
        transition: None,
        entered: Entered { at: Timestamp::UNIX_EPOCH, by: me },
        moves: vec![],
        history: vec![],
        sizes: Default::default(),
        unknown: Default::default(),
    }
}
