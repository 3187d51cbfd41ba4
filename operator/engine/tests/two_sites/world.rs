//! Two brains, one arbiter, two simple guards in virtual time.
//!
//! The guard here is a stand-in with the rules' outline only; the real rules have their own tests.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::decide::Installation;
use bascule_core::facts::SiteFacts;
use bascule_core::few::Few;
use bascule_core::guard::wire::{
    Behind, Cluster, ClusterState, Disk, Grant, Hello, HighWater, Instruction, Positions, Report, Role,
    ServerState, Stopped, Upstream, UpstreamView, slot_of,
};
use bascule_core::heartbeat::Heartbeat;
use bascule_core::moves::{Move, MoveHash, Order};
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::observation::{
    Fact, FlagValue, PodsAsked, ReplicasSeen, TrafficAt, TrafficView, WorkloadView,
};
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step;
use bascule_core::policy::{
    After, Dns, Failover, FlagStore, Policy, ReadOnlyFlag, Replicas, Traffic, VerifyProbe, Workload,
    WorkloadKind,
};
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::record::{Phase, Record};
use bascule_core::time::{Boottime, Millis};
use bascule_core::timing::Profile;
use bascule_engine::brain::{Brain, Command, Event, Found, Identity, Look};
use bascule_engine::ports::{
    ArbiterChange, Cas, GuardEvent, GuardSession, Intent, JournalEntry, JournalKind, Listed, NoUpstream,
    Renewed, Shown,
};
use jiff::Timestamp;

pub use crate::sample::{item, key, site};

pub fn policy(promote_after: After) -> Policy {
    let small = crate::sample::policy();
    let failover =
        Failover { promote_after, restart_grace: Duration::from_mins(2), ..small.failover.clone() };
    Policy {
        failover,
        workloads: Few::from([(
            item("web"),
            Workload {
                kind: WorkloadKind::Deployment,
                name: "web".try_into().unwrap(),
                replicas: Replicas { active: None, standby: Some(0), read_only: Some(1) },
                read_only: Some(ReadOnlyFlag {
                    store: FlagStore::ConfigMap,
                    name: "web-flags".try_into().unwrap(),
                    key: "READ_ONLY".to_owned(),
                    read_only_value: "1".to_owned(),
                    read_write_value: "0".to_owned(),
                    verify: Some(VerifyProbe {
                        path: "/mode".to_owned(),
                        port: None,
                        expect_body: "read-only".to_owned(),
                    }),
                }),
            },
        )]),
        traffic: Few::from([(
            item("public"),
            Traffic::Dns(Dns {
                name: "www.shop.example.".to_owned(),
                zone: "shop.example.".to_owned(),
                ttl: Duration::from_secs(5),
                update_servers: vec!["127.0.0.1:53".parse().unwrap()],
                verify_servers: vec![],
                tsig_secret: "dns-key".try_into().unwrap(),
                addresses: Few::from([
                    (site("paris"), vec!["192.0.2.1".parse().unwrap()]),
                    (site("lyon"), vec!["192.0.2.2".parse().unwrap()]),
                ]),
            }),
        )]),
        ..small
    }
}

/// What a guard stands for: one server.
pub struct Server {
    pub state: ServerState,
    pub disk: Disk,
    pub timeline: u32,
    pub lsn: u64,
    pub serial: u64,
    pub locked: Option<u64>,
    pub stopped: Option<Stopped>,
    pub checkpointed: Option<u64>,
    pub opened: Option<u64>,
    pub exited: Option<String>,
    pub deadline: Option<Boottime>,
    pub wanted: Option<Role>,
    pub nonce: u64,
    pub asked: BTreeMap<u64, Boottime>,
    pub last_message: Boottime,
    pub connected: bool,
    /// Bytes that it has received and not replayed.
    pub behind: u64,
}

impl Server {
    pub fn new(primary: bool) -> Self {
        let disk = if primary { cluster(1, false) } else { Disk::Empty };
        Self {
            state: ServerState::Down,
            disk,
            timeline: 1,
            lsn: if primary { 1000 } else { 0 },
            serial: 0,
            locked: None,
            stopped: None,
            checkpointed: None,
            opened: None,
            exited: None,
            deadline: None,
            wanted: None,
            nonce: 0,
            asked: BTreeMap::new(),
            last_message: Boottime::default(),
            connected: false,
            behind: 0,
        }
    }
}

pub fn cluster(timeline: u32, standby: bool) -> Disk {
    Disk::Cluster(Cluster {
        system_id: SystemId(7),
        timeline: Timeline(timeline),
        state: ClusterState::ShutDown,
        checkpoint: Lsn(1),
        standby_signal: standby,
        half_rewound: false,
    })
}

pub struct Place {
    pub brain: Brain,
    pub server: Server,
    pub alive: bool,
    pub flag: bool,
    /// What the pods have seen of the flag.
    pub heard: bool,
    pub replicas: u32,
    pub ready: Option<u32>,
    pub faults: Faults,
}

/// What does not work at a site, with what is said about it.
#[derive(Default)]
pub struct Faults {
    pub renew: Option<String>,
    pub leases: Option<String>,
    pub list: Option<String>,
    /// Nobody answers a listing, and no deadline has passed yet.
    pub lost_list: bool,
    pub facts: Option<String>,
    /// A mark is written, and nobody hears of it.
    pub raised: Option<String>,
    pub upstream: Option<NoUpstream>,
    /// A flag is set, and no pod is told.
    pub untold: Option<String>,
    pub unreadable: Vec<String>,
    /// People cannot be shown anything.
    pub unpublished: Option<String>,
    /// Nobody says whether a heartbeat was written.
    pub lost_beat: bool,
    /// The watch of the arbiter breaks as soon as it is opened.
    pub watch: bool,
}

pub struct World {
    pub now: Boottime,
    pub queue: BTreeMap<(Boottime, u64), (SiteName, Event)>,
    pub seq: u64,
    pub places: BTreeMap<SiteName, Place>,
    pub record: Option<(Record, i64)>,
    pub leases: BTreeMap<SiteName, i64>,
    pub facts: BTreeMap<SiteName, SiteFacts>,
    pub revision: i64,
    pub traffic: (SiteName, u64, u64),
    pub story: Vec<String>,
    pub log: Vec<(Boottime, SiteName, &'static str)>,
    pub journal: Vec<(SiteName, JournalEntry)>,
    pub shown: BTreeMap<SiteName, Shown>,
    /// The heartbeats of each site, with the moments at which they were sent.
    pub beats: BTreeMap<SiteName, Vec<(Boottime, Heartbeat)>>,
    /// The link between the databases; the arbiter is reached without it.
    pub link: bool,
    pub marks: BTreeMap<SiteName, BTreeMap<PolicyKey, bascule_core::observation::Kept>>,
}

pub const TICK: Duration = Duration::from_millis(10);

impl World {
    pub fn new(policy: &Policy) -> Self {
        let installation = Installation {
            profile: Profile::Metro,
            timing: Profile::Metro.timing(),
            generation: 0,
            places: bascule_core::decide::Places::Several,
        };
        let now = Boottime::from_millis(1_000_000);
        let place = |name: &str, question: u64, primary: bool| {
            let id = Identity { site: site(name), question, installation: installation.clone() };
            let server = Server::new(primary);
            Place {
                brain: Brain::new(id, now),
                server,
                alive: true,
                flag: true,
                heard: true,
                replicas: if primary { 2 } else { 0 },
                ready: None,
                faults: Faults::default(),
            }
        };
        let mut world = Self {
            now,
            queue: BTreeMap::new(),
            seq: 0,
            places: BTreeMap::from([
                (site("paris"), place("paris", 1, true)),
                (site("lyon"), place("lyon", 2, false)),
            ]),
            record: None,
            leases: BTreeMap::new(),
            facts: BTreeMap::new(),
            revision: 0,
            traffic: (site("paris"), 0, 0),
            story: Vec::new(),
            log: Vec::new(),
            journal: Vec::new(),
            shown: BTreeMap::new(),
            beats: BTreeMap::new(),
            link: true,
            marks: BTreeMap::new(),
        };
        for name in ["paris", "lyon"] {
            world.later(&site(name), 1, Event::Intent(Intent::Policy(Box::new(policy.clone()))));
            world.later(&site(name), 2, Event::Intent(Intent::Listed));
            world.connect(&site(name));
        }
        world
    }

    pub fn later(&mut self, to: &SiteName, ms: u64, event: Event) {
        self.seq += 1;
        self.queue.insert((self.now + Duration::from_millis(ms), self.seq), (to.clone(), event));
    }

    pub fn connect(&mut self, at: &SiteName) {
        let hello = Hello {
            protocol: 1,
            policy: key(),
            database: item("main"),
            site: at.clone(),
            instance: "main-0".try_into().unwrap(),
            boot: "b".to_owned(),
            postgres_version: "15.20".to_owned(),
        };
        self.seq += 1;
        let number = self.seq;
        let session = GuardSession(number);
        self.later(at, 3, Event::Guard(GuardEvent::Connected { session, hello }));
        let server = &mut self.places.get_mut(at).unwrap().server;
        server.connected = true;
        server.nonce = number << 20;
    }

    pub fn session(&self, at: &SiteName) -> GuardSession {
        GuardSession(self.places[at].server.nonce >> 20)
    }

    /// Runs until `done`, or panics with the story so far.
    pub fn until(&mut self, what: &str, limit_s: u64, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !done(self) {
            assert!(
                self.now.since(start) < Duration::from_secs(limit_s),
                "{what} did not happen within {limit_s} s\nrecord: {:#?}\n{}",
                self.record.as_ref().map(|(r, _)| (r.epoch, r.serial, &r.phase, &r.active, &r.moves)),
                self.story.join("\n")
            );
            self.step();
        }
        self.now.since(start)
    }

    pub fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.step();
        }
    }

    pub fn step(&mut self) {
        self.now = self.now + TICK;
        let names: Vec<SiteName> = self.places.keys().cloned().collect();
        for name in &names {
            self.serve(name);
        }
        while let Some((&at, _)) = self.queue.first_key_value() {
            if at.0 > self.now {
                break;
            }
            let (to, event) = self.queue.remove(&at).unwrap();
            self.deliver(&to, event);
        }
        for name in &names {
            if self.places[name].alive && self.places[name].brain.next_tick() <= self.now {
                self.deliver(name, Event::Tick);
            }
        }
        let open =
            self.places.values().filter(|p| p.server.state == ServerState::Primary { open: true }).count();
        assert!(open <= 1, "two open primaries\n{}", self.story.join("\n"));
    }

    pub fn deliver(&mut self, to: &SiteName, event: Event) {
        let place = self.places.get_mut(to).unwrap();
        if !place.alive {
            return;
        }
        let commands = place.brain.handle(event, self.now, Timestamp::UNIX_EPOCH + self.now.since_boot());
        for command in commands {
            self.obey(to, command);
        }
    }

    pub fn obey(&mut self, me: &SiteName, command: Command) {
        let sent = self.now;
        self.log.push((sent, me.clone(), kind(&command)));
        match command {
            Command::Renew => {
                if let Some(reason) = self.places[me].faults.renew.clone() {
                    return self.later(me, 2, Event::Renewed { sent, result: Renewed::Unknown { reason } });
                }
                self.revision += 1;
                self.leases.insert(me.clone(), self.revision);
                self.later(me, 2, Event::Renewed { sent, result: Renewed::Applied });
            }
            Command::ReadLeases => {
                let result = self.places[me].faults.leases.clone().map_or(Ok(self.leases.clone()), Err);
                let received = sent + Duration::from_millis(2);
                self.later(me, 2, Event::Leases { sent, received, result });
            }
            Command::ReadRecord(policy) => {
                let result = Ok(self.record.clone().map(|(r, rev)| (Box::new(r), rev)));
                let received = sent + Duration::from_millis(2);
                self.later(me, 2, Event::Record { policy, sent, received, result });
            }
            Command::Write { policy, expected, next, unchanged_lease } => {
                let same = self.record.as_ref().map(|(_, rev)| *rev) == expected;
                let silent =
                    unchanged_lease.is_none_or(|(s, rev)| self.leases.get(&s).copied().unwrap_or(0) == rev);
                let result = if same && silent {
                    self.revision += 1;
                    self.record = Some(((*next).clone(), self.revision));
                    for other in ["paris", "lyon"] {
                        let change =
                            ArbiterChange::Record { policy: policy.clone(), revision: self.revision };
                        self.later(&site(other), 2, Event::Changed(change));
                    }
                    Cas::Applied(self.revision)
                } else {
                    Cas::Conflict
                };
                self.later(me, 2, Event::Written { policy, next, result });
            }
            Command::WriteFacts { policy, facts } => {
                if let Some(reason) = self.places[me].faults.facts.clone() {
                    let outcome = Outcome::Unknown { reason };
                    return self.later(me, 2, Event::FactsWritten { policy, facts, outcome });
                }
                self.facts.insert(me.clone(), (*facts).clone());
                for other in ["paris", "lyon"] {
                    let change = ArbiterChange::Facts {
                        policy: policy.clone(),
                        site: me.clone(),
                        facts: facts.clone(),
                    };
                    self.later(&site(other), 2, Event::Changed(change));
                }
                self.later(me, 2, Event::FactsWritten { policy, facts, outcome: Outcome::Done });
            }
            Command::ListAndWatch => {
                let records = self.record.iter().map(|(_, rev)| (key(), *rev)).collect();
                let facts = self.facts.iter().map(|(s, f)| ((key(), s.clone()), f.clone())).collect();
                let faults = &self.places[me].faults;
                if faults.lost_list {
                    return;
                }
                if let Some(reason) = faults.list.clone() {
                    return self.later(me, 2, Event::Listed(Err(reason)));
                }
                let (unreadable, broken) = (faults.unreadable.clone(), faults.watch);
                let listed = Listed { records, facts, unreadable, revision: self.revision };
                self.later(me, 2, Event::Listed(Ok(listed)));
                if broken {
                    let reason = "the watch was cancelled".to_owned();
                    self.later(me, 3, Event::Changed(ArbiterChange::Broken { reason }));
                }
            }
            Command::Answer { session, nonce, instruction } if session == self.session(me) => {
                self.instruct(me, Some(nonce), *instruction);
            }
            Command::Tell { session, instruction } if session == self.session(me) => {
                self.instruct(me, None, *instruction);
            }
            Command::Answer { .. } | Command::Tell { .. } => {}
            Command::ReadMarks => {
                let marks = self.marks.get(me).cloned().unwrap_or_default();
                self.later(me, 2, Event::Marks(Ok(marks)));
            }
            Command::RaiseMark { policy, kept } => {
                self.marks.entry(me.clone()).or_default().insert(policy.clone(), *kept.clone());
                let lost = self.places[me].faults.raised.clone();
                let outcome = lost.map_or(Outcome::Done, |reason| Outcome::Unknown { reason });
                self.later(me, 2, Event::MarkRaised { policy, kept, outcome });
            }
            Command::Look { policy, what, .. } => {
                let found = self.look(me, &what);
                self.later(me, 3, Event::Seen { policy: policy.key.clone(), what, found });
            }
            Command::Perform { policy, step, .. } => {
                let place = self.places.get_mut(me).unwrap();
                let mut outcome = Outcome::Done;
                match &step {
                    Step::SetReadOnly { on, .. } => {
                        place.flag = *on;
                        match place.faults.untold.clone() {
                            None => place.heard = *on,
                            Some(reason) => outcome = Outcome::Unknown { reason },
                        }
                    }
                    Step::Scale { replicas, .. } => place.replicas = *replicas,
                    Step::PointTraffic { site, epoch, serial, .. } => {
                        self.traffic = (site.clone(), *epoch, *serial);
                    }
                    Step::VerifyWrite { .. } | Step::RefuseWrites { .. } => {}
                }
                self.later(me, 5, Event::Done { policy: policy.key.clone(), step, outcome });
            }
            Command::Publish(shown) => {
                let policy = shown.key.clone();
                if self.places[me].faults.unpublished.is_none() {
                    self.shown.insert(me.clone(), *shown);
                }
                let outcome = match self.places[me].faults.unpublished.clone() {
                    None => Outcome::Done,
                    Some(reason) => Outcome::Refused { reason },
                };
                self.later(me, 1, Event::Published { policy, outcome });
            }
            Command::Beat(heartbeat) => {
                self.beats.entry(me.clone()).or_default().push((sent, *heartbeat));
                if !self.places[me].faults.lost_beat {
                    self.later(me, 1, Event::Beaten { outcome: Outcome::Done });
                }
            }
            Command::Journal(entry) => {
                self.journal.push((me.clone(), entry.clone()));
                if entry.kind != JournalKind::Outcome {
                    self.story.push(format!(
                        "{:>9.3} {me}: {}",
                        self.now.since_boot().as_secs_f64(),
                        entry.what
                    ));
                }
            }
            Command::StandDown { who } => panic!("{me}: {who} acts"),
            Command::Refuse { reason, .. } | Command::Stop { reason } => panic!("{me}: {reason}"),
        }
    }

    pub fn look(&self, me: &SiteName, what: &Look) -> Found {
        let place = &self.places[me];
        match what {
            Look::Workload(_) => {
                let asked = PodsAsked {
                    pods: place.replicas,
                    read_only: if place.heard { place.replicas } else { 0 },
                    unknown: 0,
                };
                Found::Workload(Box::new(WorkloadView {
                    flag: Fact::now(if place.flag { FlagValue::ReadOnly } else { FlagValue::ReadWrite }),
                    effective: Fact::now(asked),
                    replicas: Fact::now(ReplicasSeen {
                        wanted: place.replicas,
                        ready: place.ready.unwrap_or(place.replicas),
                    }),
                    blockers: Fact::now(vec![]),
                }))
            }
            Look::Traffic(_) => {
                let (site, epoch, serial) = self.traffic.clone();
                let at = TrafficAt { site: Some(site), serial, epoch, ..TrafficAt::default() };
                Found::Traffic(Box::new(TrafficView { at: Fact::now(at), blockers: Fact::now(vec![]) }))
            }
            Look::Database(_) => Found::Database(Fact::now(vec![])),
            Look::Upstream(_, of) => Found::Upstream(place.faults.upstream.clone().map_or(
                Ok(Upstream {
                    host: of.to_string(),
                    port: 5432,
                    user: "r".to_owned(),
                    password: "p".to_owned(),
                    slot: "s".to_owned(),
                    application_name: "a".to_owned(),
                    sslmode: "prefer".to_owned(),
                }),
                Err,
            )),
        }
    }

    /// The server of a site lives on: writes, follows, stops at its deadline, asks.
    pub fn serve(&mut self, at: &SiteName) {
        if !self.places[at].alive {
            return;
        }
        let now = self.now;
        let other = self.places.iter().find(|(n, _)| *n != at).map(|(n, _)| n.clone()).unwrap();
        let upstream = {
            let o = &self.places[&other];
            (self.link && o.alive && matches!(o.server.state, ServerState::Primary { .. }))
                .then_some((o.server.timeline, o.server.lsn))
        };
        let follows = {
            let o = &self.places[&other];
            let standby = matches!(o.server.state, ServerState::Standby { .. });
            (self.link && o.alive && standby).then(|| slot_of(&other))
        };
        let server = &mut self.places.get_mut(at).unwrap().server;
        let connected = matches!(server.state, ServerState::Primary { .. }).then_some(follows).flatten();
        let keeps_up = Behind { bytes: 0, time: Some(Millis(0)) };
        let followers = connected.into_iter().map(|slot| (slot, keeps_up)).collect();
        if server.deadline.is_some_and(|d| now >= d) && server.state.is_or_becomes_primary() {
            server.state = ServerState::Down;
            server.deadline = None;
        }
        match server.state {
            ServerState::Primary { open: true } => server.lsn += 10,
            ServerState::Standby { .. } => {
                if let Some((timeline, lsn)) = upstream {
                    server.timeline = timeline;
                    server.lsn = lsn;
                    server.last_message = now;
                }
            }
            _ => {}
        }
        let period = now.since_boot().as_millis().is_multiple_of(100);
        if server.connected && period {
            server.nonce += 1;
            let nonce = server.nonce;
            server.asked.insert(nonce, now);
            let fresh = matches!(server.wanted, Some(Role::Serve { .. }))
                && server.state != (ServerState::Primary { open: true })
                && server.exited.is_none();
            let report = report(server, upstream.is_some(), &followers, now);
            let session = self.session(at);
            let asked = GuardEvent::Asked {
                session,
                nonce,
                fresh,
                report: Box::new(report),
                received: now + Duration::from_millis(1),
            };
            self.later(at, 1, Event::Guard(asked));
        }
    }

    pub fn instruct(&mut self, at: &SiteName, nonce: Option<u64>, i: Instruction) {
        if i.role == Role::Lock && self.places[at].server.state == (ServerState::Primary { open: true }) {
            // A clean stop sends everything, the shutdown checkpoint included.
            let lsn = self.places[at].server.lsn;
            for place in
                self.places.values_mut().filter(|p| matches!(p.server.state, ServerState::Standby { .. }))
            {
                place.server.lsn = lsn;
            }
        }
        let server = &mut self.places.get_mut(at).unwrap().server;
        if i.serial < server.serial {
            return;
        }
        server.serial = i.serial;
        if i.checkpoint {
            server.checkpointed = Some(i.serial);
        }
        let unlocked = server.locked.is_none_or(|l| i.serial > l);
        let asked = nonce.and_then(|n| server.asked.remove(&n));
        match &i.role {
            Role::Lock if server.locked.is_none_or(|l| l < i.serial) => {
                if !server.state.is_down() || server.stopped.is_none() {
                    let clean = server.exited.is_none();
                    server.stopped = Some(Stopped {
                        serial: i.serial,
                        system_id: SystemId(7),
                        timeline: Timeline(server.timeline),
                        checkpoint: Lsn(server.lsn.saturating_sub(1)),
                        clean,
                    });
                    server.disk = Disk::Cluster(Cluster {
                        system_id: SystemId(7),
                        timeline: Timeline(server.timeline),
                        state: if clean { ClusterState::ShutDown } else { ClusterState::InProduction },
                        checkpoint: Lsn(server.lsn.saturating_sub(1)),
                        standby_signal: false,
                        half_rewound: false,
                    });
                }
                server.state = ServerState::Down;
                server.locked = Some(i.serial);
                server.deadline = None;
            }
            Role::Follow { open, .. } if unlocked => {
                server.locked = None;
                server.exited = None;
                server.disk = cluster(server.timeline, true);
                server.state = ServerState::Standby { open: *open };
            }
            Role::Serve { open, .. } if unlocked => {
                if let (Some(asked), Some(Grant::For { remaining })) = (asked, i.grant) {
                    server.deadline = Some(asked + remaining.duration());
                    server.locked = None;
                    if i.fresh && !matches!(server.state, ServerState::Primary { .. }) {
                        if matches!(server.state, ServerState::Standby { .. }) {
                            server.timeline += 1;
                        }
                        server.exited = None;
                        server.opened = Some(i.epoch);
                        server.disk = cluster(server.timeline, false);
                        server.state = ServerState::Primary { open: *open };
                    }
                }
            }
            _ => {}
        }
        server.wanted = Some(i.role);
    }

    pub fn phase(&self) -> Option<(&Phase, &str, u64)> {
        self.record.as_ref().map(|(r, _)| (&r.phase, r.active.as_str(), r.epoch))
    }

    pub fn is(&self, phase: &Phase, active: &str, epoch: u64) -> bool {
        self.phase() == Some((phase, active, epoch))
    }

    pub fn open(&self, at: &str) -> bool {
        let p = &self.places[&site(at)];
        p.alive && p.server.state == ServerState::Primary { open: true }
    }

    pub fn settled(&self, at: &str, epoch: u64) -> bool {
        let other = if at == "paris" { "lyon" } else { "paris" };
        self.is(&Phase::Steady, at, epoch)
            && self.open(at)
            && !self.places[&site(at)].flag
            && self.places[&site(other)].flag
            && self.traffic.0 == site(at)
    }

    pub fn moves(&mut self, moves: &[Move]) {
        for name in ["paris", "lyon"] {
            self.later(&site(name), 1, Event::Intent(Intent::Moves { policy: key(), moves: moves.to_vec() }));
        }
    }

    pub fn kill(&mut self, at: &str) {
        let place = self.places.get_mut(&site(at)).unwrap();
        place.alive = false;
        place.server.state = ServerState::Down;
        self.queue.retain(|_, (to, _)| to.as_str() != at);
    }

    pub fn boot(&mut self, at: &str) {
        let installation = Installation {
            profile: Profile::Metro,
            timing: Profile::Metro.timing(),
            generation: 0,
            places: bascule_core::decide::Places::Several,
        };
        let id = Identity { site: site(at), question: self.seq + 100, installation };
        let now = self.now;
        let place = self.places.get_mut(&site(at)).unwrap();
        place.alive = true;
        place.brain = Brain::new(id, now);
        let policy = policy(After::Elapsed(Duration::from_secs(3)));
        place.server.locked = None;
        place.server.deadline = None;
        place.server.wanted = None;
        place.server.stopped = None;
        self.later(&site(at), 1, Event::Intent(Intent::Policy(Box::new(policy))));
        self.later(&site(at), 2, Event::Intent(Intent::Listed));
        self.connect(&site(at));
    }
}

pub fn report(server: &Server, streaming: bool, followers: &Few<String, Behind>, now: Boottime) -> Report {
    let standby = matches!(server.state, ServerState::Standby { .. });
    let up = !server.state.is_down();
    Report {
        serial: server.serial,
        locked: server.locked,
        boot: "b".to_owned(),
        state: server.state.clone(),
        disk: server.disk.clone(),
        positions: up.then(|| Positions {
            timeline: Some(Timeline(server.timeline)),
            flush: (!standby).then_some(Lsn(server.lsn)),
            receive: standby.then_some(Lsn(server.lsn)),
            replay: standby.then_some(Lsn(server.lsn)),
            upstream: standby.then(|| UpstreamView {
                status: if streaming { "streaming" } else { "waiting" }.to_owned(),
                timeline: Some(Timeline(server.timeline)),
                reported_end: Some(Lsn(server.lsn + server.behind)),
                message_age: Some(Millis::from(now.since(server.last_message))),
            }),
            age: Millis(1),
        }),
        replicas: followers.clone(),
        stopped: server.stopped.clone(),
        checkpointed: server.checkpointed,
        opened_epoch: server.opened,
        diverged: None,
        contact_lost: None,
        high_water: HighWater::default(),
        exited: server.exited.clone(),
        sigterm: false,
        fallback: false,
        unlimited: false,
        log_gone: None,
        unlocked: None,
        notes: vec![],
    }
}

pub fn switchover(name: &str, from: &str, to: &str, epoch: u64) -> Move {
    Move {
        hash: MoveHash(format!("hash of {name}")),
        name: name.try_into().unwrap(),
        order: Order::Switchover { to: site(to) },
        from: Some(site(from)),
        epoch: Some(epoch),
        serial: None,
        not_before: None,
        not_after: None,
        reason: "kernel update".to_owned(),
    }
}

fn kind(command: &Command) -> &'static str {
    match command {
        Command::Renew => "renew",
        Command::ReadLeases => "read leases",
        Command::ReadRecord(_) => "read record",
        Command::Write { .. } => "write record",
        Command::WriteFacts { .. } => "write facts",
        Command::ListAndWatch => "list",
        Command::Answer { .. } => "answer",
        Command::Tell { .. } => "tell",
        Command::Refuse { .. } => "refuse",
        Command::ReadMarks => "read marks",
        Command::RaiseMark { .. } => "raise mark",
        Command::Look { .. } => "look",
        Command::Perform { .. } => "perform",
        Command::Publish(_) => "publish",
        Command::Beat(_) => "beat",
        Command::Journal(_) => "journal",
        Command::Stop { .. } | Command::StandDown { .. } => "stop",
    }
}
