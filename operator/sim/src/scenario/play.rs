//! What happens, and when it is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::{Policy, Traffic};
use bascule_core::record::Phase;
use bascule_core::timing::Profile;
use jiff::Timestamp;

use super::account::{Account, follows};
use super::asking::{self, Asked, Onlooker};
use super::promise::{self, Judgement};
use super::story::{self, Line, Teller};
use super::{Event, Question, Scenario, What, missing};
use crate::fault::When;
use crate::flow;
use crate::time::{Machine, Moment};
use crate::world::client::{Outcome, Write};
use crate::world::postgres::Run;
use crate::world::{Plan, World};

/// What has happened.
#[derive(Clone, Debug)]
pub struct Played {
    /// The policy, as `NAMESPACE/NAME`.
    pub policy: String,
    /// What was asked for.
    pub scenario: Scenario,
    /// How long a message takes from one place to another.
    pub latency: Duration,
    /// What the policy says that is not simulated.
    pub not_simulated: Vec<String>,
    /// How long everything took to become steady, from nothing.
    pub start_took: Duration,
    /// For how long it was watched from then on.
    pub watched: Duration,
    /// Why it was not watched any longer.
    pub ended: &'static str,
    /// What happened, in order.
    pub lines: Vec<Line>,
    /// The sum of it.
    pub account: Account,
    /// What became of the policy's promises.
    pub promises: Vec<Judgement>,
}

impl Played {
    /// Whether no promise was broken.
    pub fn held(&self) -> bool {
        !self.promises.iter().any(Judgement::is_broken)
    }

    /// Whether nothing more happens before a person acts.
    pub(super) fn is_stuck(&self) -> bool {
        [NOTHING_LEFT, A_PERSON].contains(&self.ended)
    }
}

/// The policy does not even begin.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSteady {
    /// Nobody acts on it.
    #[error(
        "spec.suspend is true: nobody acts on this policy, whatever happens. To see what it would do, give it with spec.suspend: false"
    )]
    Suspended,
    /// It waits for something even when nothing goes wrong.
    #[error("the policy does not become steady within {within}, with nothing wrong: {why}")]
    Waits {
        /// For how long it was watched.
        within: String,
        /// For what.
        why: String,
    },
}

/// Why it ended, when somebody wanted to see no more.
const CUT_SHORT: &str = "--for has passed";
/// Why it ended, when nothing moves any more.
const NOTHING_LEFT: &str = "no operator sees anything left to do";
const A_PERSON: &str = "nothing more happens before a person acts";
/// How often somebody looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long something must stand in the way to be told, when time alone may end it.
const NOTICED: Duration = Duration::from_secs(1);
/// How long a state must last to be believed.
const STAYS: Duration = Duration::from_secs(3);
/// How long the arrival of what waits for nothing in particular is waited for.
const REST: Duration = Duration::from_mins(2);

/// How long a message takes from one place to another, one way: within the round trips of the profile.
pub const fn latency(profile: Profile) -> Duration {
    Duration::from_millis(match profile {
        Profile::Metro => 1,
        Profile::Region => 10,
        Profile::Wan => 40,
        Profile::Conservative => 100,
    })
}

/// Plays a scenario with a policy, before the eyes of `onlooker`.
///
/// # Errors
/// When the policy does not work even when nothing goes wrong.
pub fn play(policy: &Policy, scenario: &Scenario, onlooker: &mut dyn Onlooker) -> Result<Played, NotSteady> {
    if policy.suspend {
        return Err(NotSteady::Suspended);
    }
    let latency = latency(scenario.profile);
    let mut plan = Plan::of(vec![policy.clone()], scenario.seed);
    plan.profile = scenario.profile;
    plan.latency = latency;
    plan.tell = true;
    plan.writes_every = (!policy.databases.is_empty()).then_some(scenario.writes_every);
    // From the beginning on: what the record and the status say of the past has then one time of day.
    plan.wall = scenario.time_of_day();
    let mut world = World::new(&plan);
    world.publications = (!scenario.why.is_empty()).then(Vec::new);
    let right = right_clock(plan.wall);
    world.dns.ttl = policy.traffic.values().map(Traffic::lingers).max().unwrap_or_default();
    let within = Duration::from_mins(1) + scenario.profile.timing().l() * 4;
    let steady = world
        .settle(within)
        .map_err(|u| NotSteady::Waits { within: bascule_core::time::human(within), why: u.0 })?;
    let began = world.now;
    world.remember();
    let mut player = Player {
        teller: Teller::new(&world, began),
        world,
        policy,
        began,
        right,
        questions: questions(policy, scenario),
        lasting: lasting(scenario),
        named: BTreeMap::new(),
        streaming: BTreeMap::new(),
        writing: BTreeMap::new(),
        quiet_since: None,
        stuck_since: None,
    };
    let ended = player.run(scenario, onlooker);
    let watched = player.world.now.since(began);
    let Player { world, mut teller, .. } = player;
    let account = Account::of(&world, policy, scenario, began);
    teller.clients(&account);
    let end = match ended {
        CUT_SHORT => promise::End::CutShort,
        NOTHING_LEFT | A_PERSON => promise::End::Stuck,
        _ => promise::End::Seen,
    };
    let promises = promise::judge(policy, scenario, &account, end);
    Ok(Played {
        policy: policy.key.to_string(),
        scenario: scenario.clone(),
        latency,
        not_simulated: missing::of(policy),
        start_took: steady.since(flow::BEGINNING),
        watched,
        ended,
        lines: teller.finish(watched),
        account,
        promises,
    })
}

fn lasting(scenario: &Scenario) -> Vec<Option<usize>> {
    let for_good = |e: &Event| match &e.what {
        What::Fault { kind, site } if kind.ends && e.lasts.is_none() => {
            Some(site.as_ref().map(|(at, _)| *at))
        }
        What::Fault { .. } | What::Switch(_) | What::Move(_) | What::Revert(_) => None,
    };
    scenario.events.iter().filter_map(for_good).collect()
}

/// The clock of whoever asks: nobody sets it wrong.
fn right_clock(at_first: Option<Timestamp>) -> Machine {
    let mut right = Machine::new(Duration::ZERO, 0);
    if let Some(wall) = at_first {
        let by = wall.duration_since(right.wall(Moment(0)));
        right.step_wall(i64::try_from(by.as_micros()).unwrap_or_default());
    }
    right
}

/// Every question at every site that it is asked at, in order, each once.
fn questions(policy: &Policy, scenario: &Scenario) -> VecDeque<(Duration, usize)> {
    let is_asked = |q: &Question, site: usize| q.site.as_ref().is_none_or(|s| *s == policy.sites[site]);
    let all = scenario.why.iter().flat_map(|q| (0..policy.sites.len()).map(move |site| (q, site)));
    let all = all.filter(|(q, site)| is_asked(q, *site)).map(|(q, site)| (q.at, site));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What an operator names as standing in the way.
struct Named {
    gate: String,
    answer: Answer,
    since: Moment,
    words: String,
    told: bool,
}

struct Player<'a> {
    world: World,
    policy: &'a Policy,
    began: Moment,
    /// The clock of whoever asks.
    right: Machine,
    /// What is still to be asked: when, and at which site.
    questions: VecDeque<(Duration, usize)>,
    teller: Teller,
    /// What goes on for good, by site; `None`: about no site in particular.
    lasting: Vec<Option<usize>>,
    /// What each operator last named as standing in the way, by operator.
    named: BTreeMap<usize, Named>,
    /// Whether each site's replica streams, as it was last shown.
    streaming: BTreeMap<String, bool>,
    /// Whether each database takes writes.
    writing: BTreeMap<usize, bool>,
    quiet_since: Option<Moment>,
    stuck_since: Option<(Moment, u64)>,
}

impl Player<'_> {
    fn run(&mut self, scenario: &Scenario, onlooker: &mut dyn Onlooker) -> &'static str {
        let mut people: Vec<&Event> = Vec::new();
        for event in &scenario.events {
            match &event.what {
                What::Fault { kind, site } => {
                    let fault = kind.fault(site.as_ref().map_or(0, |(at, _)| *at));
                    self.world.plan(When::At(self.began + event.at), fault, event.lasts);
                }
                What::Switch(_) | What::Move(_) | What::Revert(_) => people.push(event),
            }
        }
        people.sort_by_key(|e| e.at);
        let mut people = people.into_iter().peekable();
        let last =
            scenario.events.iter().map(|e| e.at + e.lasts.unwrap_or_default()).max().unwrap_or_default();
        let asked = self.questions.back().map(|(at, _)| *at).unwrap_or_default();
        let longest = scenario.lasts.unwrap_or_else(|| (last + self.patience(scenario)).max(asked));
        let end = self.began + longest;
        let bound_by = if scenario.lasts.is_some() { CUT_SHORT } else { "it was watched for long enough" };
        self.tell_plan(scenario);
        loop {
            let mut next = (self.world.now + LOOK).min(end);
            if let Some(event) = people.peek() {
                next = next.min(self.began + event.at);
            }
            self.answers(next, onlooker);
            self.world.run_until(next);
            self.shows(onlooker);
            while let Some(event) = people.next_if(|e| self.began + e.at <= self.world.now) {
                self.person(event);
            }
            onlooker.is_at(self.world.now.since(self.began));
            self.look();
            if self.world.now >= end {
                return bound_by;
            }
            let over = self.world.now.since(self.began) >= last;
            if scenario.lasts.is_none()
                && over
                && let Some(why) = self.nothing_more()
                && self.questions.is_empty()
            {
                return why;
            }
        }
    }

    /// What is asked until then. It is nobody's look: the story stays as it would be.
    fn answers(&mut self, until: Moment, onlooker: &mut dyn Onlooker) {
        while let Some((at, site)) = self.questions.pop_front_if(|(at, _)| self.began + *at <= until) {
            self.world.run_until(self.began + at);
            self.shows(onlooker);
            onlooker.is_asked(Asked {
                at,
                site: self.world.sites[site].name.clone(),
                wall: self.right.wall(self.world.now),
                object: asking::object(&self.world, site, &self.policy.key),
                heartbeat: self.world.sites[site].cluster.heartbeat.clone(),
            });
        }
    }

    /// What people can read has changed.
    fn shows(&mut self, onlooker: &mut dyn Onlooker) {
        for publication in self.world.publications.iter_mut().flat_map(std::mem::take) {
            onlooker.sees(&publication);
        }
    }

    /// How long after the last event something may still be waited for.
    fn patience(&self, scenario: &Scenario) -> Duration {
        let f = &self.policy.failover;
        let reads = f.serve_reads_after.elapsed().unwrap_or_default();
        let promote = f.promote_after.elapsed().unwrap_or_default();
        let waits = [reads, promote, f.return_after, f.offer_for, f.restart_grace, f.switchover_deadline];
        waits.iter().sum::<Duration>() + scenario.profile.timing().l() * 2 + REST
    }

    fn tell_plan(&mut self, scenario: &Scenario) {
        for event in &scenario.events {
            let What::Fault { kind, site } = &event.what else { continue };
            let name = site.as_ref().map(|(_, name)| name.as_str());
            self.teller.at(event.at, story::FAULT, &kind.begins(name));
            if let Some(lasts) = event.lasts {
                self.teller.at(event.at + lasts, story::FAULT, &kind.over(name));
            }
        }
    }

    /// Somebody merges a Move.
    fn person(&mut self, event: &Event) {
        let key = self.policy.key.clone();
        match &event.what {
            What::Fault { .. } => {}
            What::Move(mv) => self.world.commit_move(&key, mv),
            What::Revert(mv) => self.world.revert_move(&key, mv),
            What::Switch(to) => {
                let Some((from, epoch)) = self.world.record(&key).map(|r| (r.active.clone(), r.epoch)) else {
                    return;
                };
                if from == *to {
                    self.teller.at(
                        event.at,
                        story::PERSON,
                        &format!("no Move is needed: {to} is active already"),
                    );
                    return;
                }
                let mut mv = flow::switchover(&format!("switch-to-{to}"), &from, to, Some(epoch));
                "somebody wants to see it".clone_into(&mut mv.reason);
                self.world.commit_move(&key, &mv);
            }
        }
    }

    /// What people would see now that they did not see before.
    fn look(&mut self) {
        for op in 0..self.world.operators.len() {
            let it = &self.world.operators[op];
            let Some(shown) = it.shown.get(&self.policy.key).filter(|_| it.up && !it.frozen) else {
                continue;
            };
            let stands = (shown.report.ready != Some(true)).then(|| first_no(&shown.report.gates)).flatten();
            let Some(gate) = stands else {
                self.named.remove(&op);
                continue;
            };
            let known = self.named.get(&op).is_some_and(|n| n.gate == gate.name && n.answer == gate.answer);
            if !known {
                let (gate_name, words) = (gate.name.clone(), gate_words(gate));
                let since = self.world.now;
                let named = Named { gate: gate_name, answer: gate.answer, since, words, told: false };
                self.named.insert(op, named);
            }
            // What is over in a moment keeps nobody waiting.
            let wait = if gate.answer == Answer::No { Duration::ZERO } else { NOTICED };
            let Some(named) = self.named.get_mut(&op) else { continue };
            if !named.told && self.world.now.since(named.since) >= wait {
                named.told = true;
                let site = &self.world.sites[self.world.operators[op].site].name;
                self.teller.at(named.since.since(self.began), site.as_str(), &named.words);
            }
        }
        self.streams();
        self.writers();
        self.teller.hear(&self.world);
    }

    /// Which databases take no writes any more, whoever stopped them.
    fn writers(&mut self) {
        let now = self.world.now.since(self.began);
        for (at, it) in self.world.databases.iter().enumerate().filter(|(_, d)| d.policy == self.policy.key) {
            let writes = it.server.run.takes_writers();
            if self.writing.insert(at, writes) == Some(true) && !writes {
                self.teller.at(now, it.site_name.as_str(), "its database takes no writes any more");
            }
        }
    }

    /// Which replicas have stopped to follow, and which follow again, as the operators show it.
    fn streams(&mut self) {
        let now = self.world.now.since(self.began);
        let living = self.world.operators.iter().filter(|o| o.up && !o.frozen);
        for op in living {
            // Each of its own: two that differ for a moment are no news.
            let (site, shown) = (&self.world.sites[op.site].name, op.shown.get(&self.policy.key));
            let Some(row) = shown.and_then(|s| s.report.sites.iter().find(|row| row.name == *site)) else {
                continue;
            };
            let Some(streams) = row.streaming else { continue };
            let before = self.streaming.insert(row.name.to_string(), streams);
            if before.unwrap_or(true) == streams {
                continue;
            }
            let why = row.not_streaming.as_deref().unwrap_or("it does not receive");
            let what = if streams {
                "its replica streams again".to_owned()
            } else {
                format!("its replica does not stream: {why}")
            };
            self.teller.at(now, row.name.as_str(), &what);
        }
    }

    /// Why nothing more will happen, if so.
    fn nothing_more(&mut self) -> Option<&'static str> {
        let now = self.world.now;
        if self.at_rest() {
            let since = *self.quiet_since.get_or_insert(now);
            if now.since(since) >= self.believed_after() {
                return Some("all is steady");
            }
            return None;
        }
        self.quiet_since = None;
        let serial = self.world.record(&self.policy.key).map_or(0, |r| r.serial);
        let Some(why) = self.standstill() else {
            self.stuck_since = None;
            return None;
        };
        match self.stuck_since {
            Some((since, at)) if at == serial => {
                (now.since(since) >= self.world.timing.l() * 3).then_some(why)
            }
            _ => {
                self.stuck_since = Some((now, serial));
                None
            }
        }
    }

    /// How long a rest must last to be believed: what goes on is noticed within `L`, and then waited for once more.
    fn believed_after(&self) -> Duration {
        let l = self.world.timing.l();
        if self.lasting.is_empty() { l + STAYS } else { l * 3 }
    }

    /// Whether all that can be reached is as record and policy want it.
    fn at_rest(&self) -> bool {
        let (world, key) = (&self.world, &self.policy.key);
        if self.lasting.is_empty() {
            return world.settled(key).is_ok() && self.moves_are_judged() && self.all_say_so();
        }
        let Some(record) = world.record(key).filter(|r| r.phase == Phase::Steady) else { return false };
        let Some(active) = world.site_of(&record.active) else { return false };
        let open = world
            .databases
            .iter()
            .filter(|d| d.site == active)
            .all(|d| d.server.run == (Run::Primary { open: true }) && !d.server.frozen);
        let works = |w: &&Write| w.outcome == Outcome::Acked && w.site == active && follows(world, w);
        let worked = world.writes.iter().rev().take(400).find(works).map(|w| w.ended);
        let written =
            world.clients.is_empty() || worked.is_some_and(|t| world.now.since(t) < Duration::from_secs(2));
        let asked = world.dns.servers.iter().filter(|s| s.up && !self.is_struck(s.place.0));
        let names = asked.flat_map(|s| &s.names);
        let routes = world.sites.iter().enumerate().filter(|(at, s)| s.up && !self.is_struck(*at));
        let routed =
            routes.flat_map(|(_, s)| s.cluster.routes.of(key)).all(|(_, to)| to.site == record.active);
        let named = names.filter(|((p, _), _)| p == key).all(|(_, to)| to.site == record.active);
        let pointed = named && routed;
        // A site that works follows; one that something is wrong with may never.
        let follows = world.databases.iter().filter(|d| d.site != active).all(|d| {
            self.is_struck(d.site) || (matches!(d.server.run, Run::Standby { .. }) && d.server.stream.on)
        });
        let calm = world.judge.changes.last().is_none_or(|(at, ..)| world.now.since(*at) >= STAYS);
        open && written && (pointed || self.is_struck(active)) && follows && calm && self.moves_are_judged()
    }

    /// Whether what people are shown has caught up with it.
    fn all_say_so(&self) -> bool {
        let shown =
            self.world.operators.iter().filter(|o| o.up).filter_map(|o| o.shown.get(&self.policy.key));
        let mut shown = shown.peekable();
        shown.peek().is_some()
            && shown.all(|s| {
                s.report.ready == Some(true)
                    && s.report.sites.iter().all(|site| site.streaming != Some(false))
            })
    }

    fn moves_are_judged(&self) -> bool {
        let Some(record) = self.world.record(&self.policy.key) else { return false };
        let merged = self.world.git.head.moves.get(&self.policy.key);
        merged.is_none_or(|all| all.iter().all(|m| record.verdict(&m.hash).is_some()))
    }

    /// Whether a lasting fault is about this site, or about none in particular.
    fn is_struck(&self, site: usize) -> bool {
        self.lasting.iter().any(|at| at.is_none_or(|at| at == site))
    }

    /// Why nothing moves, if nothing does: every operator that lives waits for a person, or has nothing to do.
    fn standstill(&self) -> Option<&'static str> {
        let living = self.world.operators.iter().filter(|o| o.up && !o.frozen);
        let shown: Vec<_> = living.filter_map(|o| o.shown.get(&self.policy.key)).collect();
        let content = |s: &bascule_engine::ports::Shown| s.report.ready == Some(true) || s.trouble.is_some();
        if shown.iter().all(|s| content(s)) {
            return Some(NOTHING_LEFT);
        }
        let waits = shown.iter().all(|s| s.report.stalled || content(s));
        waits.then_some(A_PERSON)
    }
}

/// The first gate that is not passed: what waits for its time comes after what does not.
pub(super) fn first_no(gates: &[Gate]) -> Option<&Gate> {
    let with = |answer: Answer| gates.iter().find(move |g| g.answer == answer);
    with(Answer::No).or_else(|| with(Answer::Unknown)).or_else(|| with(Answer::NotYet))
}

/// A gate that is not passed, in words.
pub(super) fn gate_words(gate: &Gate) -> String {
    let says = match gate.answer {
        Answer::Yes => "says yes",
        Answer::No => "says no",
        Answer::NotYet => "waits",
        Answer::Unknown => "does not know",
    };
    format!("gate {} {says}: {}; needed: {}", gate.name, gate.found, gate.needed)
}
