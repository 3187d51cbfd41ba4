//! What can happen next?

use std::borrow::Cow;
use std::fmt::Write as _;

use bascule_core::decide::{PolicySeen, Situation};
use bascule_core::record::{Entered, Phase, Record};
use jiff::Timestamp;

use super::arbiter::{Kept, Post};
use super::call::Call;
use super::guard::{Guard, Server};
use super::interned::{Interned, Lookup};
use super::operator::Operator;
use super::setting::{Fault, Flow, NOW, Setting, TICK, policy, sites};

/// A whole world: the number of the state of each of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The record; for each site what it keeps for the other one; the operators; the guards.
    parts: [u32; 7],
    pub(super) faults: u8,
    died: bool,
}

const RECORD: usize = 0;
const POST: usize = 1;
const OPERATOR: usize = 3;
const GUARD: usize = 5;

/// Among what else a step depends on: the server is a standby that the other one writes to.
const STREAMS: u32 = 1 << 31;

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
    /// The operator renews, reads the leases and hears its guard, all in one.
    IsRegular(usize),
    Arrives(usize, About),
    Hears(usize, About),
    GivesUp(usize, About),
    Asks(usize),
    Answered(usize),
    Stops(usize),
    GoesOn(usize),
    CatchesUp(usize),
    Thaws(usize),
    ArrivesLate(usize),
    Dies(usize),
    Restarts(usize),
    GuardRestarts(usize),
    Lost(usize, About),
    LostOnTheWayBack(usize, About),
    AsksSlowly(usize),
    Freezes(usize),
    Restored,
    Tick,
    /// Not steps of their own: what follows at once, and what a tick needs and does.
    AnsweredAtOnce(usize),
    IsTold(usize),
    SaysFacts(usize),
    OperatorMayTick(usize),
    GuardMayTick(usize),
    OperatorTicks(usize),
    GuardTicks(usize),
}

/// The parts of a world, each copied when it is changed.
struct Parts<'a> {
    kept: Cow<'a, Kept>,
    posts: [Cow<'a, Post>; 2],
    operators: [Cow<'a, Operator>; 2],
    guards: [Cow<'a, Guard>; 2],
    /// What else a step depends on.
    also: u32,
}

/// Every state of every part that was met, and what became of it in each step.
pub(super) struct World {
    setting: Setting,
    kept: Interned<Kept>,
    posts: Interned<Post>,
    operators: Interned<Operator>,
    guards: Interned<Guard>,
    known: Lookup<(Do, [u32; 5]), Option<[u32; 4]>>,
    /// Which lease revisions an operator and a record remember, found once for each.
    remembered: Lookup<(usize, u32), u32>,
    steps: Vec<Do>,
}

impl World {
    /// A world in which nothing has happened for long, and its state.
    pub(super) fn quiet(setting: &Setting) -> Result<(Self, State), String> {
        let mut world = Self {
            setting: Setting { flow: Flow::Silence, ..setting.clone() },
            kept: Interned::default(),
            posts: Interned::default(),
            operators: Interned::default(),
            guards: Interned::default(),
            known: Lookup::default(),
            remembered: Lookup::default(),
            steps: steps(setting),
        };
        let record = first_record(setting);
        let kept =
            world.kept.number(Kept { record, revision: 1, late: vec![], backup: None, restored: false });
        let post = world.posts.number(Post { lease: 1, facts: None });
        let operators = [0, 1].map(|x| world.operators.number(Operator::new(x, setting)));
        let guards = [0, 1].map(|x| world.guards.number(Guard::new(x == 1)));
        let parts = [kept, post, post, operators[0], operators[1], guards[0], guards[1]];
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

    /// How many states of its parts were met: records, operators, guards.
    pub(super) const fn met(&self) -> [usize; 3] {
        [self.kept.len(), self.operators.len(), self.guards.len()]
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
                    // Servers that do nothing for long are for the fine search.
                    for step in [Do::Stops(x), Do::GoesOn(x), Do::CatchesUp(x)] {
                        if !self.setting.fine && self.act(s, step).is_some() {
                            return None;
                        }
                    }
                }
                for x in [0, 1] {
                    next = self.act(next, Do::OperatorTicks(x))?;
                    next = self.act(next, Do::GuardTicks(x))?;
                }
                return Some(self.at_once(s, next));
            }
            Do::Dies(_) if s.died => return None,
            Do::Dies(_) => next.died = true,
            _ if is_fault(step) && s.faults >= self.setting.most => return None,
            _ if is_fault(step) => next.faults += 1,
            _ => {}
        }
        let next = self.act(next, step)?;
        Some(self.at_once(s, next))
    }

    /// What follows at once where nothing is in its way: guards are told and answered, and the other site is told.
    fn at_once(&mut self, before: State, mut s: State) -> State {
        for x in [0, 1] {
            if before.parts[OPERATOR + x] == s.parts[OPERATOR + x] {
                continue;
            }
            for step in [Do::AnsweredAtOnce(x), Do::IsTold(x), Do::SaysFacts(x)] {
                s = self.act(s, step).unwrap_or(s);
            }
        }
        s
    }

    /// Does it, or remembers what it did to the same parts before.
    fn act(&mut self, s: State, step: Do) -> Option<State> {
        let touched = touches(step);
        let also = self.also(s, step);
        let mut on = [also; 5];
        for (on, part) in on.iter_mut().zip(touched) {
            *on = part.map_or(0, |p| s.parts[p]);
        }
        let key = (step, on);
        let done = if let Some(done) = self.known.get(&key) {
            *done
        } else {
            let done = self.really(s, step, touched, also);
            self.known.insert(key, done);
            done
        };
        let mut next = s;
        for (part, number) in touched.into_iter().zip(done?) {
            if let Some(part) = part {
                next.parts[part] = number;
            }
        }
        Some(next)
    }

    /// What a step depends on besides the parts that it touches, as a number.
    fn also(&mut self, s: State, step: Do) -> u32 {
        match step {
            Do::IsRegular(x) | Do::Arrives(x, About::Renewal) | Do::LostOnTheWayBack(x, About::Renewal) => {
                let (other, record) = (s.parts[OPERATOR + 1 - x], s.parts[RECORD]);
                let (operators, kept) = (&self.operators, &self.kept);
                let by =
                    *self.remembered.entry((2, other)).or_insert_with(|| operators.get(other).remembers());
                let late =
                    *self.remembered.entry((x, record)).or_insert_with(|| kept.get(record).remembers(x));
                let regular = matches!(step, Do::IsRegular(_)) && self.streams(s, x);
                by | late | if regular { STREAMS } else { 0 }
            }
            Do::Asks(x) | Do::AsksSlowly(x) | Do::GuardMayTick(x) if self.streams(s, x) => STREAMS,
            _ => 0,
        }
    }

    /// Whether the server of site `x` is a standby that the other one writes to.
    fn streams(&self, s: State, x: usize) -> bool {
        let [me, other] = [x, 1 - x].map(|x| self.guards.get(s.parts[GUARD + x]));
        matches!(me.server, Server::Standby { .. })
            && other.server == Server::Open
            && me.timeline == other.timeline
    }

    fn really(&mut self, s: State, step: Do, touched: [Option<usize>; 4], also: u32) -> Option<[u32; 4]> {
        let mut p = Parts {
            kept: Cow::Borrowed(self.kept.get(s.parts[RECORD])),
            posts: [0, 1].map(|x| Cow::Borrowed(self.posts.get(s.parts[POST + x]))),
            operators: [0, 1].map(|x| Cow::Borrowed(self.operators.get(s.parts[OPERATOR + x]))),
            guards: [0, 1].map(|x| Cow::Borrowed(self.guards.get(s.parts[GUARD + x]))),
            also,
        };
        if !perform(step, &mut p, &self.setting) {
            return None;
        }
        let kept = changed(p.kept);
        let posts = p.posts.map(changed);
        let operators = p.operators.map(changed);
        let guards = p.guards.map(changed);
        let mut next = s.parts;
        if let Some(kept) = kept {
            next[RECORD] = self.kept.number(kept);
        }
        for (x, post) in posts.into_iter().enumerate() {
            next[POST + x] = post.map_or(next[POST + x], |p| self.posts.number(p));
        }
        for (x, operator) in operators.into_iter().enumerate() {
            next[OPERATOR + x] = operator.map_or(next[OPERATOR + x], |o| self.operators.number(o));
        }
        for (x, guard) in guards.into_iter().enumerate() {
            next[GUARD + x] = guard.map_or(next[GUARD + x], |g| self.guards.number(g));
        }
        Some(touched.map(|part| part.map_or(0, |p| next[p])))
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
        if before.parts[RECORD] == s.parts[RECORD] {
            return None;
        }
        let (was, is) = (self.kept.get(before.parts[RECORD]), self.kept.get(s.parts[RECORD]));
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
            let planned =
                new.transition.as_ref().is_some_and(|t| t.cause == bascule_core::record::Cause::Planned);
            if planned && (source.is_writer() || !all) {
                return Some("S5: a planned take without all that was written".to_owned());
            }
        }
        None
    }

    /// The state in one line, for people.
    pub(super) fn words(&self, s: State) -> String {
        let a = self.kept.get(s.parts[RECORD]);
        let mut line = format!(
            "record: {} {} (epoch {}, serial {})",
            a.record.active, a.record.phase, a.record.epoch, a.record.serial
        );
        for x in [0, 1] {
            let (o, g) = (self.operators.get(s.parts[OPERATOR + x]), self.guards.get(s.parts[GUARD + x]));
            let me = &sites()[x];
            let grants = o.claim.grant(&o.holder, me, o.now()).is_ok();
            // Writing to a String cannot fail.
            let _ = write!(
                line,
                "; {me}: {:?}{}{}{}",
                g.server,
                g.locked.map_or_else(String::new, |at| format!(" locked at {at}")),
                if grants { ", grants" } else { "" },
                if o.frozen { ", frozen" } else { "" }
            );
        }
        line
    }
}

/// The steps of this search, in the order in which a quiet world takes them.
fn steps(setting: &Setting) -> Vec<Do> {
    let mut found = Vec::new();
    for x in [0, 1] {
        found.push(Do::IsRegular(x));
        found.extend(CALLS.map(|c| Do::Arrives(x, c)));
        found.extend([Do::Asks(x), Do::Stops(x), Do::GoesOn(x), Do::CatchesUp(x)]);
        if setting.has(Fault::OperatorFreezes) {
            found.extend([Do::Thaws(x), Do::Freezes(x)]);
            if setting.fine {
                found.extend(CALLS.iter().flat_map(|c| [Do::Hears(x, *c), Do::GivesUp(x, *c)]));
            }
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
            found.extend(CALLS.iter().flat_map(|c| [Do::Lost(x, *c), Do::LostOnTheWayBack(x, *c)]));
            found.extend([Do::AsksSlowly(x), Do::Answered(x)]);
        }
        // One for each fault that leaves a write on its way.
        found.extend((setting.most > x as u8).then_some(Do::ArrivesLate(x)));
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
        Do::Restarts(_)
            | Do::GuardRestarts(_)
            | Do::Lost(_, _)
            | Do::LostOnTheWayBack(_, _)
            | Do::AsksSlowly(_)
            | Do::Freezes(_)
            | Do::Restored
    )
}

/// Whether it happens in a quiet world, within a tick.
const fn is_healthy(step: Do) -> bool {
    !is_fault(step) && !matches!(step, Do::Tick | Do::Dies(_) | Do::GivesUp(_, _) | Do::ArrivesLate(_))
}

/// The parts that a step changes or depends on, and no others.
const fn touches(step: Do) -> [Option<usize>; 4] {
    match step {
        Do::Arrives(x, About::Renewal) | Do::LostOnTheWayBack(x, About::Renewal) => {
            [Some(POST + x), Some(OPERATOR + x), None, None]
        }
        Do::Arrives(x, About::Leases) | Do::LostOnTheWayBack(x, About::Leases) => {
            [Some(POST + 1 - x), Some(OPERATOR + x), None, None]
        }
        Do::Arrives(x, _) | Do::LostOnTheWayBack(x, _) => {
            [Some(RECORD), Some(OPERATOR + x), Some(POST + 1 - x), None]
        }
        Do::IsRegular(x) => [Some(POST + x), Some(OPERATOR + x), Some(POST + 1 - x), Some(GUARD + x)],
        Do::SaysFacts(x) | Do::OperatorMayTick(x) => [Some(POST + x), Some(OPERATOR + x), None, None],
        Do::Lost(x, _) | Do::GivesUp(x, _) => [Some(RECORD), Some(OPERATOR + x), None, None],
        Do::Hears(x, _) | Do::Thaws(x) | Do::Freezes(x) | Do::OperatorTicks(x) => {
            [Some(OPERATOR + x), None, None, None]
        }
        Do::Asks(x)
        | Do::AsksSlowly(x)
        | Do::GuardMayTick(x)
        | Do::Answered(x)
        | Do::AnsweredAtOnce(x)
        | Do::IsTold(x)
        | Do::GuardRestarts(x) => [Some(GUARD + x), Some(OPERATOR + x), None, None],
        Do::Stops(x) | Do::Dies(x) | Do::GuardTicks(x) => [Some(GUARD + x), None, None, None],
        Do::GoesOn(x) | Do::CatchesUp(x) => [Some(GUARD + x), Some(GUARD + 1 - x), None, None],
        Do::ArrivesLate(_) => [Some(RECORD), Some(POST), Some(POST + 1), None],
        Do::Restored => [Some(RECORD), None, None, None],
        Do::Restarts(x) => [Some(RECORD), Some(OPERATOR + x), Some(GUARD + x), None],
        Do::Tick => [None, None, None, None],
    }
}

/// The part, if it was changed.
fn changed<T: Clone>(part: Cow<'_, T>) -> Option<T> {
    if let Cow::Owned(part) = part { Some(part) } else { None }
}

/// Does `step`; `false`: it cannot happen.
fn perform(step: Do, p: &mut Parts<'_>, setting: &Setting) -> bool {
    match step {
        Do::IsRegular(x) => {
            if setting.fine || p.operators[x].frozen {
                return false;
            }
            let mut done = false;
            for about in [About::Renewal, About::Leases] {
                if arrives(x, about, p, setting) {
                    done = true;
                    hears(about, &mut p.operators[x], setting);
                }
            }
            (!p.guards[x].asked_now && perform(Do::Asks(x), p, &Setting { fine: true, ..setting.clone() }))
                || done
        }
        Do::Arrives(x, About::Renewal | About::Leases) if !setting.fine && !p.operators[x].frozen => false,
        Do::Asks(x) if !setting.fine && !p.guards[x].asked_now => false,
        Do::Arrives(x, about) => {
            let done = arrives(x, about, p, setting);
            // Whoever works hears of it at once: what it does then is on its way for as long.
            if done {
                hears(about, &mut p.operators[x], setting);
            }
            done
        }
        Do::LostOnTheWayBack(x, about) => arrives(x, about, p, setting) && lose(x, about, p),
        Do::Hears(x, about) => hears(about, &mut p.operators[x], setting),
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
            if o.frozen || o.facts.is_none() || p.posts[x].facts == o.facts {
                return false;
            }
            let facts = o.facts.clone();
            p.posts[x].to_mut().facts = facts;
            true
        }
        Do::Asks(x) | Do::AsksSlowly(x) => {
            if p.operators[x].frozen
                || p.operators[x].answer.is_some()
                || !p.guards[x].asks(p.also & STREAMS != 0)
            {
                return false;
            }
            let (report, fresh) = p.guards[x].to_mut().ask(p.also & STREAMS != 0);
            let o = p.operators[x].to_mut();
            o.slow = matches!(step, Do::AsksSlowly(_));
            o.hear_guard(report, fresh, setting);
            true
        }
        Do::Answered(x) | Do::AnsweredAtOnce(x) => {
            let o = &p.operators[x];
            if o.answer.is_none() || o.slow == matches!(step, Do::AnsweredAtOnce(_)) {
                return false;
            }
            let o = p.operators[x].to_mut();
            let Some(answer) = o.answer.take() else { return false };
            o.slow = false;
            o.told = Some(answer.told);
            p.guards[x].to_mut().answered(answer);
            true
        }
        Do::IsTold(x) => {
            let o = &p.operators[x];
            let connected = o.report.is_some() && o.answer.is_none() && !o.frozen;
            let Some(told) = o.wanted.filter(|w| connected && o.told != Some(*w)) else { return false };
            p.operators[x].to_mut().told = Some(told);
            p.guards[x].to_mut().take(told);
            true
        }
        Do::Stops(x) => p.guards[x].is_to_stop() && p.guards[x].to_mut().stop(),
        Do::GoesOn(x) | Do::CatchesUp(x) => {
            let [a, b] = &mut p.guards;
            let (me, other) = if x == 0 { (a, b) } else { (b, a) };
            if matches!(step, Do::GoesOn(_)) { me.to_mut().go_on(other) } else { me.to_mut().catch_up(other) }
        }
        Do::Thaws(x) => {
            let frozen = p.operators[x].frozen;
            if frozen {
                p.operators[x].to_mut().thaw(setting);
            }
            if frozen && !setting.fine {
                for about in CALLS {
                    hears(about, &mut p.operators[x], setting);
                }
            }
            frozen
        }
        Do::Freezes(x) => {
            !p.operators[x].frozen && !std::mem::replace(&mut p.operators[x].to_mut().frozen, true)
        }
        Do::ArrivesLate(i) => {
            if i >= p.kept.late.len() {
                return false;
            }
            let kept = p.kept.to_mut();
            let write = kept.late.remove(i);
            kept.apply(&write, p.posts[1 - write.by].lease, setting.has(Fault::ArbiterRestored));
            true
        }
        Do::Dies(x) => {
            let open = p.guards[x].server == Server::Open;
            if open {
                p.guards[x].to_mut().dies();
            }
            open
        }
        Do::Restarts(x) => {
            if let Call::Sent(_, write) = &p.operators[x].write {
                let write = write.clone();
                p.kept.to_mut().late.push(write);
            }
            p.operators[x].to_mut().restart(setting);
            p.guards[x].to_mut().disconnected();
            true
        }
        Do::GuardRestarts(x) => {
            p.guards[x].to_mut().restart();
            p.operators[x].to_mut().guard_gone(setting);
            true
        }
        Do::Restored => {
            let Some((record, revision)) = p.kept.backup.clone() else { return false };
            *p.kept.to_mut() = Kept { record, revision, late: vec![], backup: None, restored: true };
            true
        }
        Do::OperatorMayTick(x) => {
            let o = &p.operators[x];
            o.may_tick() && (o.frozen || o.facts.is_none() || p.posts[x].facts == o.facts)
        }
        Do::GuardMayTick(x) => p.operators[x].frozen || p.guards[x].has_told(p.also & STREAMS != 0),
        Do::OperatorTicks(x) => {
            p.operators[x].to_mut().tick(setting);
            true
        }
        Do::GuardTicks(x) => {
            p.guards[x].to_mut().tick();
            true
        }
        Do::Tick => false,
    }
}

/// A message is there, and done.
fn arrives(x: usize, about: About, p: &mut Parts<'_>, setting: &Setting) -> bool {
    let keep = setting.has(Fault::ArbiterRestored);
    let there = match about {
        About::Renewal => matches!(p.operators[x].renewal, Call::Sent(..)),
        // On one connection, so in the order of sending.
        About::Leases => {
            let before = matches!(p.operators[x].renewal, Call::Sent(..));
            matches!(p.operators[x].leases, Call::Sent(..)) && !before
        }
        About::Record => matches!(p.operators[x].record, Call::Sent(..)),
        About::Write => matches!(p.operators[x].write, Call::Sent(..)),
    };
    if !there {
        return false;
    }
    let o = p.operators[x].to_mut();
    match about {
        About::Renewal => {
            o.renewal.answered(());
            p.posts[x].to_mut().renew(p.also & !STREAMS);
        }
        About::Leases => o.leases.answered((p.posts[1 - x].lease, p.posts[1 - x].facts.clone())),
        About::Record => o.record.answered((p.kept.record.clone(), p.kept.revision)),
        About::Write => {
            let Call::Sent(_, write) = &o.write else { return false };
            let done = p.kept.to_mut().apply(write, p.posts[1 - x].lease, keep);
            o.write.answered(done);
        }
    }
    true
}

fn hears(about: About, o: &mut Cow<'_, Operator>, setting: &Setting) -> bool {
    let answered = match about {
        About::Renewal => matches!(o.renewal, Call::Answered(..)),
        About::Leases => matches!(o.leases, Call::Answered(..)),
        About::Record => matches!(o.record, Call::Answered(..)),
        About::Write => matches!(o.write, Call::Answered(..)),
    };
    if o.frozen || !answered {
        return false;
    }
    let o = o.to_mut();
    match about {
        About::Renewal => o.hear_renewal(setting),
        About::Leases => o.hear_leases(setting),
        About::Record => o.hear_record(setting),
        About::Write => o.hear_write(setting),
    }
    true
}

/// A message, or its answer, is lost. What was not there yet may still arrive, if it writes the record.
fn lose(x: usize, about: About, p: &mut Parts<'_>) -> bool {
    let over = match about {
        About::Renewal => p.operators[x].renewal.is_over(),
        About::Leases => p.operators[x].leases.is_over(),
        About::Record => p.operators[x].record.is_over(),
        About::Write => p.operators[x].write.is_over(),
    };
    if over {
        return false;
    }
    let o = p.operators[x].to_mut();
    match about {
        About::Renewal => o.renewal.lose(),
        About::Leases => o.leases.lose(),
        About::Record => o.record.lose(),
        About::Write => {
            if let Call::Sent(_, write) = &o.write {
                p.kept.to_mut().late.push(write.clone());
            }
            o.write.lose();
        }
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
    let promise = s.promise(&policy);
    Record::first(me.clone(), promise, Entered { at: Timestamp::UNIX_EPOCH, by: me })
}
