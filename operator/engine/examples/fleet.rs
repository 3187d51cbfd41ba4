//! What the engine needs for each policy of a fleet: bytes and time at rest, and time at a restart.
//!
//!     cargo run --release -p bascule-engine --example fleet -- 100 1000 10000
//!
//! `--kinds` tells by which kinds of events the time goes by. Time is by medians: what else the machine does is left out.
//!
//! Two sites, each with its own brain, and for each policy a database with a guard, a workload and a name. Paris has every
//! role, lyon follows. Whatever comes in is read from JSON as it is from a wire, so that nothing is shared that would not be;
//! what is made of it outside the brain is not counted.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a measurement reads the clock and tells what it has found, and one that meets what it does not expect ends; an allocator that counts is unsafe by its signature"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bascule_core::decide::{Installation, Places};
use bascule_core::facts::SiteFacts;
use bascule_core::guard::wire::{
    Behind, Cluster, ClusterState, Disk, Grant, Hello, HighWater, Instruction, Positions, Report, Role,
    ServerState, Upstream, UpstreamView, slot_of,
};
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::observation::{
    Fact, FlagValue, Kept, Marks, PodsAsked, ReplicasSeen, RoleSeen, TrafficAt, TrafficView, WorkloadView,
};
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step;
use bascule_core::policy::Policy;
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::record::Record;
use bascule_core::time::{Boottime, Millis};
use bascule_core::timing::Profile;
use bascule_engine::brain::{Brain, Command, Event, Found, Identity, Look};
use bascule_engine::ports::{ArbiterChange, Cas, GuardEvent, GuardSession, Intent, Listed, Renewed};
use jiff::Timestamp;

/// Counts what is allocated, as large as the C library makes it.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PIECES: AtomicUsize = AtomicUsize::new(0);

/// With the word in front that holds its size, in steps of 16 bytes.
const fn taken(size: usize) -> usize {
    let whole = (size + 8 + 15) & !15;
    if whole < 32 { 32 } else { whole }
}

// SAFETY: every call is the system allocator's own; the counters touch nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(taken(layout.size()), Ordering::Relaxed);
        PIECES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(taken(layout.size()), Ordering::Relaxed);
        PIECES.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(taken(size), Ordering::Relaxed);
        LIVE.fetch_sub(taken(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SITES: [&str; 2] = ["paris", "lyon"];
const PARIS: usize = 0;
const LYON: usize = 1;

/// How often a guard asks.
const ASK: Duration = Duration::from_millis(250);

/// The steps of the world.
const TICK: Duration = Duration::from_millis(10);

fn site(at: usize) -> SiteName {
    SITES[at].try_into().unwrap()
}

/// A name of its own for whoever asks, as it is read from a wire.
fn key(number: usize) -> PolicyKey {
    PolicyKey::new("shop", format!("application-{number:05}")).unwrap()
}

fn number(key: &PolicyKey) -> usize {
    key.name.as_str().rsplit_once('-').unwrap().1.parse().unwrap()
}

fn policy(number: usize) -> Policy {
    let instance = serde_json::json!({
        "stateful_set": "main", "host": "main.shop.svc", "port": 5432, "database": "postgres",
        "secret": "main-bascule", "replication_host": "main.shop.example.com", "replication_port": 5432,
        "replication_secret": "main-replication",
    });
    serde_json::from_value(serde_json::json!({
        "key": key(number),
        "generation": 1,
        "spec_hash": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "revision": "main@sha1:0123456789abcdef0123456789abcdef01234567",
        "sites": SITES,
        "initial_site": "paris",
        "suspend": false,
        "failover": {
            "serve_reads_after": {"Elapsed": Duration::from_secs(2)},
            "return_after": Duration::from_secs(5),
            "promote_after": {"Elapsed": Duration::ZERO},
            "max_data_loss": {"bytes": 1 << 24, "seconds": Duration::from_secs(30)},
            "cooldown": Duration::from_mins(10),
            "switchover_deadline": Duration::from_mins(1),
            "offer_for": Duration::from_secs(3),
            "restart_grace": Duration::from_secs(20),
        },
        "databases": {"main": {"fence": "Guard", "instances": {"paris": instance, "lyon": instance}}},
        "workloads": {"web": {
            "kind": "Deployment", "name": "web", "replicas": {"standby": 0, "read_only": 1},
            "read_only": {
                "store": "ConfigMap", "name": "web-flags", "key": "READ_ONLY", "read_only_value": "1",
                "read_write_value": "0", "verify": {"path": "/mode", "expect_body": "read-only"},
            },
        }},
        "traffic": {"public": {"dns": {
            "name": format!("app-{number}.shop.example.com."), "zone": "shop.example.com.",
            "ttl": Duration::from_secs(5), "update_servers": ["192.0.2.53:53"],
            "verify_servers": ["192.0.2.53:53", "198.51.100.53:53"], "tsig_secret": "dns-key",
            "addresses": {"paris": ["192.0.2.1"], "lyon": ["198.51.100.1"]},
        }}},
        "notifications": {"channels": ["pager"], "users": {}},
    }))
    .unwrap()
}

/// A server with its guard.
#[derive(Clone, Default)]
struct Server {
    session: u64,
    nonce: u64,
    serial: u64,
    opened: Option<u64>,
    standby: bool,
    up: bool,
    /// It was granted to since its guard connected.
    granted: bool,
    flag: bool,
    replicas: u32,
}

struct Place {
    brain: Brain,
    servers: Vec<Server>,
    /// The marks, and the role as JSON.
    marks: Vec<Option<(Marks, Option<String>)>>,
}

/// What was done by the brain of one place: how long each event took, by its kind.
#[derive(Default)]
struct Done(BTreeMap<&'static str, Vec<Duration>>);

impl Done {
    /// How many events of this kind there were, and how long one took. The median: a machine that does something else
    /// meanwhile interrupts a few of them.
    fn of(&self, kind: &str) -> (usize, Duration) {
        let mut took = self.0.get(kind).cloned().unwrap_or_default();
        took.sort_unstable();
        (took.len(), took.get(took.len() / 2).copied().unwrap_or_default())
    }

    /// How long all of them took.
    fn all(&self) -> Duration {
        self.0.keys().map(|kind| self.of(kind)).map(|(count, took)| took * count as u32).sum()
    }

    /// What takes the most, for each policy.
    fn words(&self, policies: usize) -> String {
        let mut kinds: Vec<(Duration, &str, usize, Duration)> = Vec::new();
        for kind in self.0.keys() {
            let (count, took) = self.of(kind);
            kinds.push((took * count as u32, kind, count, took));
        }
        kinds.sort_unstable();
        let words = kinds.iter().rev().take(8).map(|(all, kind, count, took)| {
            let each = *count as f64 / policies as f64;
            format!("{kind} {:.1} = {each:.1} x {:.1}", micros(*all, policies), micros(*took, 1))
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

const fn kind(event: &Event) -> &'static str {
    match event {
        Event::Tick => "tick",
        Event::Renewed { .. } => "renewed",
        Event::Leases { .. } => "leases",
        Event::Record { .. } => "record",
        Event::Written { .. } => "written",
        Event::FactsWritten { .. } => "facts written",
        Event::Listed(_) => "listed",
        Event::Changed(_) => "changed",
        Event::Guard(GuardEvent::Asked { .. }) => "asked",
        Event::Guard(_) => "guard",
        Event::Intent(_) => "intent",
        Event::Marks(_) => "marks",
        Event::MarkRaised { .. } => "mark raised",
        Event::Seen { .. } => "seen",
        Event::TrafficChanged(_) => "traffic changed",
        Event::Done { .. } => "done",
        Event::Published { .. } => "published",
        Event::Beaten { .. } => "beaten",
    }
}

struct World {
    now: Boottime,
    policies: usize,
    queue: BTreeMap<Boottime, VecDeque<(usize, Event)>>,
    places: Vec<Place>,
    done: [Done; 2],
    records: Vec<Option<(String, i64)>>,
    facts: Vec<[Option<String>; 2]>,
    leases: [i64; 2],
    revision: i64,
    traffic: Vec<(usize, u64, u64)>,
}

fn brain(at: usize, question: u64, now: Boottime) -> Brain {
    let installation = Installation {
        profile: Profile::Metro,
        timing: Profile::Metro.timing(),
        generation: 0,
        places: Places::Several,
    };
    Brain::new(Identity { site: site(at), question, installation }, now)
}

fn disk(standby: bool) -> Disk {
    Disk::Cluster(Cluster {
        system_id: SystemId(7),
        timeline: Timeline(1),
        state: if standby { ClusterState::InArchiveRecovery } else { ClusterState::InProduction },
        checkpoint: Lsn(1),
        standby_signal: standby,
        half_rewound: false,
    })
}

impl World {
    fn new(policies: usize) -> Self {
        let now = Boottime::from_millis(1_000_000);
        let place = |at: usize| Place {
            brain: brain(at, 1, now),
            servers: vec![
                Server {
                    standby: at == LYON,
                    flag: true,
                    replicas: if at == PARIS { 2 } else { 0 },
                    ..Server::default()
                };
                policies
            ],
            marks: vec![None; policies],
        };
        let mut world = Self {
            now,
            policies,
            queue: BTreeMap::new(),
            places: vec![place(PARIS), place(LYON)],
            done: [Done::default(), Done::default()],
            records: vec![None; policies],
            facts: vec![[None, None]; policies],
            leases: [0; 2],
            revision: 0,
            traffic: vec![(PARIS, 0, 0); policies],
        };
        world.tell(PARIS);
        world.tell(LYON);
        world
    }

    /// Tells the brain at a place of its policies and its guards, as after a start.
    fn tell(&mut self, at: usize) {
        for n in 0..self.policies {
            self.later(at, 1, Event::Intent(Intent::Policy(Box::new(policy(n)))));
        }
        self.later(at, 2, Event::Intent(Intent::Listed));
        for n in 0..self.policies {
            let server = &mut self.places[at].servers[n];
            server.session += (2 * self.policies) as u64;
            server.granted = false;
            let session = GuardSession(server.session + n as u64);
            let hello = Hello {
                protocol: 1,
                policy: key(n),
                database: "main".try_into().unwrap(),
                site: site(at),
                instance: "main-0".try_into().unwrap(),
                boot: "0123456789abcdef0123456789abcdef".to_owned(),
                postgres_version: "17.4".to_owned(),
            };
            self.later(at, 3, Event::Guard(GuardEvent::Connected { session, hello }));
        }
    }

    fn later(&mut self, at: usize, ms: u64, event: Event) {
        let due = self.now + Duration::from_millis(ms);
        self.queue.entry(due).or_default().push_back((at, event));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let began = self.now;
        while !done(self) {
            assert!(self.now.since(began) < Duration::from_mins(2), "{what}");
            self.step();
        }
        self.now.since(began)
    }

    fn step(&mut self) {
        self.now = self.now + TICK;
        self.ask();
        while self.queue.first_key_value().is_some_and(|(due, _)| *due <= self.now) {
            let (_, events) = self.queue.pop_first().unwrap();
            for (at, event) in events {
                self.deliver(at, event);
            }
        }
        for at in [PARIS, LYON] {
            if self.places[at].brain.next_tick() <= self.now {
                self.deliver(at, Event::Tick);
            }
        }
    }

    fn deliver(&mut self, at: usize, event: Event) {
        let kind = kind(&event);
        let wall = Timestamp::UNIX_EPOCH + self.now.since_boot();
        let began = Instant::now();
        let commands = self.places[at].brain.handle(event, self.now, wall);
        let took = began.elapsed();
        self.done[at].0.entry(kind).or_default().push(took);
        for command in commands {
            self.obey(at, command);
        }
    }

    /// Every guard asks in its turn.
    fn ask(&mut self) {
        let turns = ASK.as_millis() / TICK.as_millis();
        let turn = self.now.since_boot().as_millis() / TICK.as_millis() % turns;
        for at in [PARIS, LYON] {
            for n in (0..self.policies).filter(|n| *n as u128 % turns == turn) {
                let report = self.report(at, n);
                let server = &mut self.places[at].servers[n];
                server.nonce += 1;
                let asked = GuardEvent::Asked {
                    session: GuardSession(server.session + n as u64),
                    nonce: server.nonce,
                    fresh: !server.up && !server.standby,
                    report: serde_json::from_str(&report).unwrap(),
                    received: self.now,
                };
                self.later(at, 0, Event::Guard(asked));
            }
        }
    }

    fn report(&self, at: usize, n: usize) -> String {
        let (server, other) = (&self.places[at].servers[n], &self.places[1 - at].servers[n]);
        let end = Lsn(self.now.since_boot().as_millis() as u64);
        let keeps_up = Behind { bytes: 0, time: Some(Millis(0)) };
        let open = server.up && !server.standby;
        let receiver = UpstreamView {
            status: "streaming".to_owned(),
            timeline: Some(Timeline(1)),
            reported_end: Some(end),
            message_age: Some(Millis(self.now.since_boot().as_millis() as u64 / 10 % 90)),
        };
        let state = match (server.up, server.standby) {
            (false, _) => ServerState::Down,
            (true, true) => ServerState::Standby { open: true },
            (true, false) => ServerState::Primary { open: true },
        };
        let follows = server.standby && other.up;
        let report = Report {
            serial: server.serial,
            locked: None,
            boot: "0123456789abcdef0123456789abcdef".to_owned(),
            state,
            disk: disk(server.standby),
            positions: server.up.then(|| Positions {
                timeline: Some(Timeline(1)),
                flush: open.then_some(end),
                receive: server.standby.then_some(end),
                replay: server.standby.then_some(end),
                upstream: follows.then_some(receiver),
                age: Millis(1),
            }),
            replicas: (open && other.up).then(|| (slot_of(&site(1 - at)), keeps_up)).into_iter().collect(),
            stopped: None,
            checkpointed: None,
            opened_epoch: server.opened,
            diverged: None,
            contact_lost: None,
            high_water: HighWater::default(),
            exited: None,
            sigterm: false,
            fallback: false,
            unlimited: false,
            log_gone: None,
            unlocked: None,
            notes: vec![],
        };
        serde_json::to_string(&report).unwrap()
    }

    fn obey(&mut self, at: usize, command: Command) {
        let sent = self.now;
        match command {
            Command::Renew => {
                self.revision += 1;
                self.leases[at] = self.revision;
                self.later(at, 2, Event::Renewed { sent, result: Renewed::Applied });
            }
            Command::ReadLeases => {
                let found = [PARIS, LYON].map(|of| (site(of), self.leases[of])).into();
                let received = sent + Duration::from_millis(2);
                self.later(at, 2, Event::Leases { sent, received, result: Ok(found) });
            }
            Command::ReadRecord(policy) => {
                let found = self.records[number(&policy)].as_ref();
                let result = Ok(found.map(|(json, revision)| (read::<Box<Record>>(json), *revision)));
                let received = sent + Duration::from_millis(2);
                self.later(at, 2, Event::Record { policy, sent, received, result });
            }
            Command::Write { policy, expected, next, .. } => {
                let n = number(&policy);
                let result = if self.records[n].as_ref().map(|(_, revision)| *revision) == expected {
                    self.revision += 1;
                    self.records[n] = Some((serde_json::to_string(&next).unwrap(), self.revision));
                    for to in [PARIS, LYON] {
                        let change = ArbiterChange::Record { policy: key(n), revision: self.revision };
                        self.later(to, 2, Event::Changed(change));
                    }
                    Cas::Applied(self.revision)
                } else {
                    Cas::Conflict
                };
                self.later(at, 2, Event::Written { policy, next, result });
            }
            Command::WriteFacts { policy, facts } => {
                let (n, json) = (number(&policy), serde_json::to_string(&facts).unwrap());
                for to in [PARIS, LYON] {
                    let facts: Box<SiteFacts> = read(&json);
                    let change = ArbiterChange::Facts { policy: key(n), site: site(at), facts };
                    self.later(to, 2, Event::Changed(change));
                }
                self.facts[n][at] = Some(json);
                self.later(at, 2, Event::FactsWritten { policy, facts, outcome: Outcome::Done });
            }
            Command::ListAndWatch => {
                let records = self.records.iter().enumerate();
                let records = records.filter_map(|(n, r)| Some((key(n), r.as_ref()?.1))).collect();
                let mut facts = BTreeMap::new();
                for (n, said) in self.facts.iter().enumerate() {
                    for of in [PARIS, LYON] {
                        facts.extend(said[of].as_ref().map(|json| ((key(n), site(of)), read(json))));
                    }
                }
                let listed = Listed { records, facts, unreadable: Vec::new(), revision: self.revision };
                self.later(at, 2, Event::Listed(Ok(listed)));
            }
            Command::Answer { session, instruction, .. } | Command::Tell { session, instruction } => {
                self.instruct(at, session, &instruction);
            }
            Command::ReadMarks => {
                let marks = self.places[at].marks.iter().enumerate().filter_map(|(n, kept)| {
                    let (marks, role) = kept.as_ref()?;
                    let role = role.as_ref().map(|json| read::<RoleSeen>(json).into());
                    Some((key(n), Kept { marks: *marks, role }))
                });
                let marks = marks.collect();
                self.later(at, 2, Event::Marks(Ok(marks)));
            }
            Command::RaiseMark { policy, kept } => {
                let text = |role: &RoleSeen| serde_json::to_string(role).unwrap();
                let role = kept.role.as_ref().map(|role| text(role));
                self.places[at].marks[number(&policy)] = Some((kept.marks, role));
                self.later(at, 2, Event::MarkRaised { policy, kept, outcome: Outcome::Done });
            }
            Command::Look { policy, what, .. } => {
                let found = self.look(at, number(&policy.key), &what);
                self.later(at, 3, Event::Seen { policy: policy.key.clone(), what, found });
            }
            Command::Perform { policy, step, .. } => {
                let n = number(&policy.key);
                let server = &mut self.places[at].servers[n];
                match &step {
                    Step::SetReadOnly { on, .. } => server.flag = *on,
                    Step::Scale { replicas, .. } => server.replicas = *replicas,
                    Step::PointTraffic { site: to, epoch, serial, .. } => {
                        self.traffic[n] = (usize::from(*to == site(LYON)), *epoch, *serial);
                    }
                    Step::VerifyWrite { .. } | Step::RefuseWrites { .. } => {}
                }
                self.later(at, 5, Event::Done { policy: policy.key.clone(), step, outcome: Outcome::Done });
            }
            Command::Publish(shown) => {
                self.later(at, 1, Event::Published { policy: shown.key.clone(), outcome: Outcome::Done });
            }
            Command::Beat(_) => self.later(at, 1, Event::Beaten { outcome: Outcome::Done }),
            Command::Journal(_) => {}
            Command::StandDown { who: why }
            | Command::Refuse { reason: why, .. }
            | Command::Stop { reason: why } => panic!("{why}"),
        }
    }

    fn instruct(&mut self, at: usize, session: GuardSession, instruction: &Instruction) {
        let n = session.0 as usize % (2 * self.policies);
        let server = &mut self.places[at].servers[n];
        if session.0 != server.session + n as u64 {
            return;
        }
        server.serial = server.serial.max(instruction.serial);
        match (&instruction.role, instruction.grant) {
            (Role::Follow { .. }, _) => server.up = true,
            (Role::Serve { .. }, Some(Grant::For { .. })) => {
                server.granted = true;
                if instruction.fresh {
                    (server.up, server.opened) = (true, Some(instruction.epoch));
                }
            }
            _ => {}
        }
    }

    fn look(&self, at: usize, n: usize, what: &Look) -> Found {
        let server = &self.places[at].servers[n];
        match what {
            Look::Workload(_) => {
                let pods = server.replicas;
                let asked = PodsAsked { pods, read_only: if server.flag { pods } else { 0 }, unknown: 0 };
                Found::Workload(Box::new(WorkloadView {
                    flag: Fact::now(if server.flag { FlagValue::ReadOnly } else { FlagValue::ReadWrite }),
                    effective: Fact::now(asked),
                    replicas: Fact::now(ReplicasSeen { wanted: pods, ready: pods }),
                    blockers: Fact::now(vec![]),
                }))
            }
            Look::Traffic(_) => {
                let (to, epoch, serial) = self.traffic[n];
                let seen = TrafficAt { site: Some(site(to)), serial, epoch, ..TrafficAt::default() };
                Found::Traffic(Box::new(TrafficView { at: Fact::now(seen), blockers: Fact::now(vec![]) }))
            }
            Look::Database(_) => Found::Database(Fact::now(vec![])),
            Look::Upstream(_, of) => Found::Upstream(Ok(Upstream {
                host: format!("main.{of}.shop.example.com"),
                port: 5432,
                user: "replication".to_owned(),
                password: "correct horse battery staple".to_owned(),
                slot: slot_of(&site(at)),
                application_name: slot_of(&site(at)),
                sslmode: "verify-full".to_owned(),
            })),
        }
    }

    /// Whether every policy's role is held at paris, and its server open.
    fn granted(&self) -> bool {
        self.places[PARIS].servers.iter().all(|s| s.granted && s.up)
    }

    /// Ends the brain at a place and puts a new one there; returns what it had: bytes, and in how many pieces.
    fn restart(&mut self, at: usize) -> (usize, usize) {
        // What is on its way to it is nobody's any more.
        for events in self.queue.values_mut() {
            events.retain(|(to, _)| *to != at);
        }
        let new = brain(at, 2, self.now);
        let before = (LIVE.load(Ordering::Relaxed), PIECES.load(Ordering::Relaxed));
        let old = std::mem::replace(&mut self.places[at].brain, new);
        drop(old);
        (before.0 - LIVE.load(Ordering::Relaxed), before.1 - PIECES.load(Ordering::Relaxed))
    }
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn micros(time: Duration, of: usize) -> f64 {
    time.as_secs_f64() * 1e6 / of as f64
}

fn main() {
    let (counts, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|arg| arg.parse::<usize>().is_ok());
    let counts: Vec<usize> = counts.iter().map(|n| n.parse().unwrap()).collect();
    let counts = if counts.is_empty() { vec![100, 1000] } else { counts };
    println!("policies | site  | B/policy | pieces | µs/question | rest, % of a core | restart, µs/policy");
    for policies in counts {
        let mut world = World::new(policies);
        world.until("every policy is served", World::granted);
        world.run(Duration::from_secs(40));
        let rest = Duration::from_secs(20);
        world.done = [Done::default(), Done::default()];
        world.run(rest);
        let quiet = std::mem::take(&mut world.done);
        for at in [PARIS, LYON] {
            let (bytes, pieces) = world.restart(at);
            world.done[at] = Done::default();
            world.tell(at);
            if at == PARIS {
                world.until("every role is re-claimed", World::granted);
            } else {
                world.run(Duration::from_secs(3));
            }
            let again = std::mem::take(&mut world.done[at]);
            let (_, question) = quiet[at].of("asked");
            println!(
                "{policies:>8} | {:<5} | {:>8.0} | {:>6.1} | {:>11.2} | {:>17.2} | {:>18.1}",
                SITES[at],
                bytes as f64 / policies as f64,
                pieces as f64 / policies as f64,
                micros(question, 1),
                quiet[at].all().as_secs_f64() / rest.as_secs_f64() * 100.0,
                micros(again.all(), policies),
            );
            if words.iter().any(|word| word == "--kinds") {
                println!("at rest, µs a policy in {rest:?}: {}", quiet[at].words(policies));
                println!("at a restart, µs a policy: {}", again.words(policies));
            }
            world.run(Duration::from_secs(20));
        }
    }
}
