//! Two sites, an arbiter in the middle, and a clock that moves when it is told to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bascule_core::ballot::claim::{Claim, Grant};
use bascule_core::ballot::holder::Holder;
use bascule_core::ballot::silence::Observer;
use bascule_core::check::check;
use bascule_core::decide::{Installation, PolicySeen, Situation, decide, note};
use bascule_core::facts::{SCHEMA, SiteFacts};
use bascule_core::few::Few;
use bascule_core::guard::wire::{Behind, slot_of};
use bascule_core::loss::LastContact;
use bascule_core::memory::Memory;
use bascule_core::moves::Move;
use bascule_core::name::SiteName;
use bascule_core::observation::{
    DatabaseView, Fact, FlagValue, Marks, Observation, PodsAsked, ReplicasSeen, TrafficAt, TrafficView,
    WorkloadView,
};
use bascule_core::plan::{Answer, Gate, Plan, Step};
use bascule_core::policy::Policy;
use bascule_core::position::Lsn;
use bascule_core::project::project;
use bascule_core::record::Record;
use bascule_core::time::{Boottime, Millis};
use bascule_core::timing::Profile;
use jiff::Timestamp;

use crate::database::Database;
use crate::world::policy::policy;
use crate::world::{item, site};

/// How often everything looks.
const TICK: u64 = 250;
/// When a story begins, on every machine's clock.
const START: u64 = 1_000_000;

fn ms(t: u64) -> Boottime {
    Boottime::from_millis(t)
}

/// What a look at a server finds whose node died.
fn nobody_answers() -> Gate {
    Gate::new("database/main/ConnectUnreachable", Answer::Unknown, "no route", "a session")
}

struct Site {
    name: SiteName,
    up: bool,
    operator: bool,
    node: bool,
    holder: Holder,
    observer: Observer,
    claim: Claim,
    memory: Memory,
    marks: Marks,
    db: Database,
    contact: Option<LastContact>,
    verified: Option<u64>,
    flag: FlagValue,
    replicas: u32,
    plan: Plan,
}

impl Site {
    fn new(name: &str, standby: bool) -> Self {
        let t = Profile::Metro.timing();
        Self {
            name: site(name),
            up: true,
            operator: true,
            node: true,
            holder: Holder::new(t.r()),
            observer: Observer::new(t.tq()),
            claim: Claim::default(),
            memory: Memory::default(),
            marks: Marks::default(),
            db: Database::new(standby),
            contact: None,
            verified: None,
            flag: FlagValue::ReadWrite,
            replicas: if standby { 0 } else { 3 },
            plan: Plan::default(),
        }
    }

    /// Whether its operator does.
    fn works(&self) -> bool {
        self.up && self.operator
    }

    fn restart(&mut self) {
        let t = Profile::Metro.timing();
        self.holder = Holder::new(t.r());
        self.observer = Observer::new(t.tq());
        self.claim = Claim::default();
        self.memory = Memory::default();
        self.verified = None;
    }
}

/// The world.
pub struct Sim {
    now: u64,
    revision: i64,
    record: Option<(Record, i64)>,
    leases: BTreeMap<SiteName, i64>,
    facts: BTreeMap<SiteName, SiteFacts>,
    traffic: (SiteName, u64, u64),
    sites: Vec<Site>,
    pub policy: Policy,
    pub deleted: bool,
    pub moves: Vec<Move>,
    said: BTreeMap<String, String>,
    transcript: String,
}

impl Sim {
    /// Paris with a primary, lyon with its replica, nothing recorded yet.
    pub fn new() -> Self {
        Self {
            now: START,
            revision: 0,
            record: None,
            leases: BTreeMap::new(),
            facts: BTreeMap::new(),
            traffic: (site("paris"), 0, 0),
            sites: vec![Site::new("paris", false), Site::new("lyon", true)],
            policy: policy(),
            deleted: false,
            moves: vec![],
            said: BTreeMap::new(),
            transcript: String::new(),
        }
    }

    /// The same, running quietly since a minute; its transcript starts now.
    pub fn running(change: impl FnOnce(&mut Policy)) -> Self {
        let mut sim = Self::new();
        change(&mut sim.policy);
        sim.run(60);
        sim.transcript.clear();
        sim.now_is("running");
        sim
    }

    pub fn record(&self) -> &Record {
        &self.record.as_ref().unwrap().0
    }

    pub fn database(&mut self, name: &str) -> &mut Database {
        &mut self.at(name).db
    }

    fn at(&mut self, name: &str) -> &mut Site {
        let name = site(name);
        self.sites.iter_mut().find(|s| s.name == name).unwrap()
    }

    /// Something happens from outside.
    pub fn happens(&mut self, what: &str) {
        self.line(&format!("*** {what}"));
    }

    pub fn kill(&mut self, name: &str) {
        self.happens(&format!("{name} loses its power"));
        let s = self.at(name);
        s.up = false;
        s.db.power_off();
        let label = format!("{name} db");
        self.said.remove(&label);
    }

    pub fn revive(&mut self, name: &str) {
        self.happens(&format!("{name} starts again"));
        let now = self.now;
        let s = self.at(name);
        s.up = true;
        s.restart();
        s.db.boots(now);
    }

    pub fn restart_operator(&mut self, name: &str) {
        self.happens(&format!("the operator of {name} restarts"));
        self.at(name).restart();
    }

    pub fn pod_restarts(&mut self, name: &str) {
        self.happens(&format!("the database's pod in {name} restarts"));
        let now = self.now;
        self.at(name).db.boots(now);
    }

    pub fn node_dies(&mut self, name: &str) {
        self.happens(&format!("the node of the database in {name} dies, its guard with it"));
        let s = self.at(name);
        s.node = false;
        s.db.power_off();
    }

    pub fn node_returns(&mut self, name: &str) {
        self.happens(&format!("the node of the database in {name} is back"));
        let now = self.now;
        let s = self.at(name);
        s.node = true;
        s.db.boots(now);
    }

    pub fn operator_stops(&mut self, name: &str) {
        self.happens(&format!("the operator of {name} stops"));
        self.at(name).operator = false;
    }

    pub fn server_dies(&mut self, name: &str) {
        self.happens(&format!("the server in {name} is killed"));
        self.at(name).db.dies();
    }

    pub fn moved(&mut self, mv: Move) {
        self.happens(&format!("Move {} ({}): {}", mv.name, mv.order.kind(), mv.reason));
        self.moves.push(mv);
    }

    fn line(&mut self, text: &str) {
        let t = (self.now - START) as f64 / 1000.0;
        let _ = writeln!(self.transcript, "{t:>7.2}  {text}");
    }

    fn changed(&mut self, what: &str, value: String) {
        if self.said.get(what) != Some(&value) {
            self.line(&format!("{what}: {value}"));
            self.said.insert(what.to_owned(), value);
        }
    }

    /// What a person would be told now, by each site that lives.
    pub fn now_is(&mut self, what: &str) {
        self.line(&format!("--- {what}"));
        for i in 0..self.sites.len() {
            if self.sites[i].works() {
                let text = self.with(i, |s, plan| project(s, plan).sentence);
                let line = format!("    {} says: {text}", self.sites[i].name);
                self.line(&line);
            }
        }
    }

    /// The story so far.
    pub fn told(&self) -> &str {
        &self.transcript
    }

    pub fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 1000 / TICK {
            self.tick();
        }
    }

    fn tick(&mut self) {
        for i in 0..self.sites.len() {
            if self.sites[i].works() {
                self.renew(i);
            }
        }
        for _ in 0..6 {
            for i in 0..self.sites.len() {
                if self.sites[i].works() {
                    self.read(i);
                    self.act(i);
                }
                self.replicate();
                self.one_writer();
            }
            self.tell();
        }
        self.now += TICK;
        for s in self.sites.iter_mut().filter(|s| s.up) {
            s.db.watch(self.now);
            if s.db.writes() {
                s.db.lsn += 1000;
            }
        }
        self.replicate();
        self.tell();
    }

    fn renew(&mut self, i: usize) {
        self.revision += 1;
        let s = &mut self.sites[i];
        self.leases.insert(s.name.clone(), self.revision);
        s.holder.renewed(ms(self.now), ms(self.now));
    }

    fn read(&mut self, i: usize) {
        let s = &mut self.sites[i];
        let seen = s.claim.view().map(|v| v.revision);
        let known = self.record.as_ref().map(|(_, r)| *r);
        if seen != known || s.claim.current().is_none() || s.claim.must_reclaim(&s.holder, &s.name) {
            s.claim.read(&s.holder, &s.name, self.record.clone(), ms(self.now), ms(self.now));
        }
        s.observer.read(ms(self.now), ms(self.now), &self.leases);
    }

    fn replicate(&mut self) {
        let source =
            self.sites.iter().find(|s| s.up && s.node && (s.db.writes() || s.db.report().locked.is_some()));
        let from = source.map(|s| (s.name.clone(), s.db.timeline, s.db.lsn, s.db.writes()));
        let now = self.now;
        for s in &mut self.sites {
            let follows = matches!(s.db.state, bascule_core::guard::wire::ServerState::Standby { .. });
            let Some((_, timeline, lsn, writes)) =
                from.clone().filter(|(n, ..)| *n != s.name && follows && s.up)
            else {
                s.db.streams = false;
                continue;
            };
            s.db.streams = writes;
            if !s.db.lagging && s.db.timeline <= timeline {
                s.db.timeline = timeline;
                s.db.lsn = lsn;
            }
            if writes {
                s.db.upstream_end = lsn;
                s.contact = Some(LastContact {
                    reported_end: Lsn(lsn),
                    received: Lsn(s.db.lsn),
                    reported_at: ms(now),
                });
            }
        }
        let connected: Few<String, Behind> = self
            .sites
            .iter()
            .filter(|s| s.db.streams)
            .map(|s| (slot_of(&s.name), Behind { bytes: 0, time: Some(Millis(0)) }))
            .collect();
        for s in &mut self.sites {
            s.db.replicas = if s.db.writes() { connected.clone() } else { Few::new() };
        }
    }

    fn one_writer(&self) {
        let writers: Vec<&SiteName> = self.sites.iter().filter(|s| s.db.writes()).map(|s| &s.name).collect();
        assert!(writers.len() <= 1, "two writers: {writers:?}\n{}", self.transcript);
    }

    fn seen(&self, i: usize) -> Observation {
        let me = &self.sites[i];
        let flag = me.flag.clone();
        let pods = PodsAsked {
            pods: me.replicas,
            read_only: if flag == FlagValue::ReadOnly { me.replicas } else { 0 },
            unknown: 0,
        };
        let (at, epoch, serial) = self.traffic.clone();
        Observation {
            databases: Few::from([(
                item("main"),
                DatabaseView {
                    guard: if me.node {
                        Fact::now(me.db.report().into())
                    } else {
                        Fact::unknown("its guard is not connected")
                    },
                    last_contact: me.contact,
                    preflight: Fact::now(if me.node { vec![] } else { vec![nobody_answers()] }),
                    write_verified: me.verified,
                    granted: Few::from([(me.db.report().boot, ms(self.now))]),
                },
            )]),
            workloads: Few::from([(
                item("web"),
                WorkloadView {
                    flag: Fact::now(flag),
                    effective: Fact::now(pods),
                    replicas: Fact::now(ReplicasSeen { wanted: me.replicas, ready: me.replicas }),
                    blockers: Fact::now(vec![]),
                },
            )]),
            traffic: Few::from([(
                item("public"),
                TrafficView {
                    at: Fact::now(TrafficAt { site: Some(at), serial, epoch, ..TrafficAt::default() }),
                    blockers: Fact::now(vec![]),
                },
            )]),
            sites: self
                .facts
                .iter()
                .filter(|(name, _)| **name != me.name)
                .map(|(name, f)| (name.clone(), Fact::now(f.clone())))
                .collect(),
            high_water: Fact::now(me.marks),
            seen_marks: me.marks,
            role_seen: None,
            high_water_old_since: None,
            advice: vec![],
        }
    }

    fn wall(&self) -> Timestamp {
        let start: Timestamp = "2026-11-28T03:00:00Z".parse().unwrap();
        start.checked_add(std::time::Duration::from_millis(self.now - START)).unwrap()
    }

    /// Decides for site `i` and looks at the result.
    fn with<T>(&mut self, i: usize, look: impl FnOnce(&Situation<'_>, &Plan) -> T) -> T {
        let seen = self.seen(i);
        let wall = self.wall();
        let me = &mut self.sites[i];
        let mut noted = me.memory.clone();
        let installation = Installation {
            profile: Profile::Metro,
            timing: Profile::Metro.timing(),
            generation: 0,
            places: bascule_core::decide::Places::Several,
        };
        let mut s = Situation {
            me: &me.name,
            now: ms(self.now),
            wall,
            installation: &installation,
            policy: if self.deleted { PolicySeen::Absent } else { PolicySeen::Present(&self.policy) },
            holder: &me.holder,
            observer: &me.observer,
            claim: &me.claim,
            seen: &seen,
            moves: &self.moves,
            question: 1,
            memory: &me.memory,
        };
        note(&mut noted, &s);
        s.memory = &noted;
        let plan = decide(&s);
        let found = check(s.claim.view().map(|v| &v.record), &plan, &s);
        assert_eq!(found, vec![], "{}", self.transcript);
        let out = look(&s, &plan);
        me.plan = plan;
        me.memory = noted;
        out
    }

    fn act(&mut self, i: usize) {
        self.with(i, |_, _| ());
        let plan = self.sites[i].plan.clone();
        let name = self.sites[i].name.clone();
        self.facts.insert(
            name.clone(),
            SiteFacts {
                schema: SCHEMA,
                site: name.clone(),
                question: 1,
                number: 1,
                answers: self.sites.iter().map(|s| (s.name.clone(), 1)).collect(),
                marks: Some(self.sites[i].marks),
                spec_hash: Some(self.policy.spec_hash.clone()),
                revision: None,
                blockers: plan.blockers.clone(),
                ready_for: plan.ready_for,
                cannot_prove: plan.cannot_prove,
                candidacy: plan.candidacy.clone(),
                disks: Few::from([(item("main"), self.sites[i].db.report().disk)]),
                behind: Few::new(),
                lag_bytes: self.lag(i),
                not_streaming: Few::new(),
                sizes: Few::from([(item("web"), self.sites[i].replicas)]),
                diverged: Few::new(),
            },
        );
        for step in &plan.steps {
            self.perform(i, step);
        }
        let me = &mut self.sites[i];
        if let Some(view) = me.claim.view() {
            let (serial, epoch) = (view.record.serial, view.record.epoch);
            let view_phase = view.record.phase.clone();
            if plan.lock && me.claim.locking().is_none() {
                me.claim.lock_ordered(serial);
            }
            me.marks = Marks { generation: 0, epoch, serial };
            let grant = match me.claim.grant(&me.holder, &me.name, ms(self.now)) {
                Ok(Grant::For(left)) => Some(self.now + u64::try_from(left.as_millis()).unwrap()),
                Ok(Grant::Unlimited) => Some(u64::MAX),
                Err(_) => None,
            };
            if let Some(order) = plan.databases.get(&item("main")).filter(|_| me.node) {
                let unmanaged = view_phase == bascule_core::record::Phase::Unmanaged
                    && (self.deleted || self.policy.suspend);
                me.db.obey(&order.role, serial, epoch, order.checkpoint, grant, unmanaged);
            }
        }
        if let Some(change) = plan.transition {
            self.write(i, change);
        }
    }

    fn lag(&self, i: usize) -> Few<bascule_core::name::ItemName, u64> {
        let s = &self.sites[i];
        let known = s.contact.filter(|_| s.db.streams);
        known.map(|c| (item("main"), c.reported_end.ahead_of(Lsn(s.db.lsn)))).into_iter().collect()
    }

    fn write(&mut self, i: usize, change: bascule_core::plan::Change) {
        let me = &mut self.sites[i];
        let expected = me.claim.view().map(|v| v.revision);
        me.claim.sending(&me.holder, &me.name, &change.next);
        let same_lease =
            change.unchanged_lease.as_ref().is_none_or(|(site, rev)| self.leases.get(site) == Some(rev));
        if self.record.as_ref().map(|(_, r)| *r) != expected || !same_lease {
            me.claim.lost_or_unknown(ms(self.now));
            return;
        }
        self.revision += 1;
        self.record = Some((change.next.clone(), self.revision));
        me.claim.applied(&me.holder, &me.name, change.next.clone(), self.revision, ms(self.now));
        let r = &change.next;
        let text = format!(
            "{} writes {} (epoch {}, serial {}): {}",
            me.name, r.phase, r.epoch, r.serial, change.why
        );
        self.line(&text);
    }

    fn perform(&mut self, i: usize, step: &Step) {
        let me = &mut self.sites[i];
        match step {
            Step::SetReadOnly { on, .. } => {
                me.flag = if *on { FlagValue::ReadOnly } else { FlagValue::ReadWrite };
            }
            Step::Scale { replicas, .. } => me.replicas = *replicas,
            Step::PointTraffic { site, epoch, serial, .. } => self.traffic = (site.clone(), *epoch, *serial),
            Step::RefuseWrites { .. } => {}
            Step::VerifyWrite { epoch, .. } => {
                if me.db.writes() {
                    me.verified = Some(*epoch);
                }
            }
        }
    }

    fn tell(&mut self) {
        for i in 0..self.sites.len() {
            let s = &self.sites[i];
            if !s.up {
                continue;
            }
            let db = format!("{:?}", s.db.state)
                .replace("Down", if s.db.report().locked.is_some() { "down and locked" } else { "down" })
                .replace("Primary { open: true }", "a primary, takes writes")
                .replace("Standby { open: true }", "a replica, open for reads")
                .replace("Standby { open: false }", "a replica, closed");
            let name = s.name.clone();
            let flag = if s.flag == FlagValue::ReadOnly { "read-only" } else { "read-write" };
            let web = format!("{flag}, {} pods", s.replicas);
            self.changed(&format!("{name} db"), db);
            self.changed(&format!("{name} web"), web);
        }
        let at = self.traffic.0.to_string();
        self.changed("traffic", at);
    }
}
