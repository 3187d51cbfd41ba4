//! One site's situation, built up in words.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::ballot::claim::Claim;
use bascule_core::ballot::holder::Holder;
use bascule_core::ballot::silence::Observer;
use bascule_core::decide::{Installation, PolicySeen, Situation, decide, note};
use bascule_core::facts::{SCHEMA, SiteFacts};
use bascule_core::few::Few;
use bascule_core::guard::wire::{Disk, Report, ServerState};
use bascule_core::loss::LastContact;
use bascule_core::memory::Memory;
use bascule_core::moves::Move;
use bascule_core::name::SiteName;
use bascule_core::observation::{
    DatabaseView, Fact, FlagValue, Marks, Observation, PodsAsked, ReplicasSeen, TrafficAt, TrafficView,
    WorkloadView,
};
use bascule_core::plan::{Answer, Gate, Plan};
use bascule_core::policy::Policy;
use bascule_core::position::Lsn;
use bascule_core::record::{Phase, Record};
use bascule_core::time::Boottime;
use bascule_core::timing::Profile;
use jiff::Timestamp;

use super::policy::{HASH, policy};
use super::record::wall;
use super::reports::{primary, replica};
use super::{item, site};

/// What is known of the policy object.
#[derive(Clone, Debug)]
pub enum Seen {
    NotListed,
    Absent,
    Present(Box<Policy>),
}

/// The moment of every test, in milliseconds since the machine started.
pub const NOW: u64 = 100_000_000;
const PERIOD: u64 = 250;

/// One site's situation.
#[derive(Clone, Debug)]
pub struct Given {
    pub me: SiteName,
    pub installation: Installation,
    pub policy: Seen,
    pub record: Option<Record>,
    pub seen: Observation,
    pub moves: Vec<Move>,
    pub wall: Timestamp,
    /// For how long each other site has been silent; zero: it lives.
    pub silent: BTreeMap<SiteName, u64>,
    /// For how long the leases have been read.
    pub observed: u64,
    /// For how long the record has had its serial, as far as this process has seen.
    pub unchanged: u64,
    pub lease: Lease,
    /// How long ago it was regained, if it was, in milliseconds.
    pub back: u64,
    pub view: View,
    /// The guards were ordered to lock at this serial.
    pub locking: Option<u64>,
    pub stamps: Vec<(bascule_core::memory::Stamp, u64)>,
}

/// This site's own lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    Alive,
    /// Not renewed for 3 s: longer than `R + F`.
    Lapsed,
    /// Regained just now: everything must be claimed anew.
    Regained,
}

/// How current the record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Current,
    /// A watch said that it may have changed.
    Outdated,
    /// An own write is on its way.
    Writing,
}

impl Given {
    /// A site in a world where all others live and nothing was ever recorded.
    pub fn at(me: &str) -> Self {
        Self {
            me: site(me),
            installation: Installation {
                profile: Profile::Metro,
                timing: Profile::Metro.timing(),
                generation: 0,
                places: bascule_core::decide::Places::Several,
            },
            policy: Seen::Present(Box::new(policy())),
            record: None,
            seen: Observation { high_water: Fact::now(Marks::default()), ..Observation::default() },
            moves: vec![],
            wall: wall(),
            silent: BTreeMap::new(),
            observed: 60_000,
            unchanged: 1_000,
            lease: Lease::Alive,
            back: 50,
            view: View::Current,
            locking: None,
            stamps: vec![],
        }
    }

    /// The record, with everything healthy as it should be at this site in that state.
    pub fn record(mut self, record: Record) -> Self {
        let serial = record.serial;
        let mine = record.active == self.me;
        let report = if mine { primary(serial) } else { replica(serial) };
        self.seen.databases.insert(item("main"), database(report));
        if !mine {
            self = self.contact(0, 150);
        }
        let flag =
            if mine && record.phase == Phase::Steady { FlagValue::ReadWrite } else { FlagValue::ReadOnly };
        self.seen.workloads.insert(item("web"), web(flag, if mine { 3 } else { 0 }));
        self.seen.traffic.insert(item("public"), public(&record.active, record.epoch, 1));
        let others: Vec<SiteName> = self.sites().into_iter().filter(|s| *s != self.me).collect();
        for other in others {
            let mut said = facts(&other);
            said.marks = Some(Marks { generation: 0, epoch: record.epoch, serial: record.serial });
            self.seen.sites.insert(other.clone(), Fact::now(said));
        }
        self.seen.high_water = Fact::now(Marks { generation: 0, epoch: record.epoch, serial: record.serial });
        self.record = Some(record);
        self
    }

    /// The sites of the policy, or paris and lyon while it is not known.
    pub fn sites(&self) -> Vec<SiteName> {
        match &self.policy {
            Seen::Present(p) => p.sites.clone(),
            _ => vec![site("paris"), site("lyon")],
        }
    }

    pub fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        if let Seen::Present(p) = &mut self.policy {
            change(p);
        }
        self
    }

    pub fn suspended(self) -> Self {
        self.policy(|p| p.suspend = true)
    }

    pub fn deleted(mut self) -> Self {
        self.policy = Seen::Absent;
        self
    }

    pub fn silent(mut self, name: &str, ms: u64) -> Self {
        self.silent.insert(site(name), ms);
        self.observed = self.observed.max(ms + 10_000);
        self
    }

    /// An open server of the site that takes over was opened in that hold.
    pub fn report(mut self, mut report: Report) -> Self {
        if let Some(record) =
            self.record.as_ref().filter(|r| r.phase == Phase::Promoting && r.active == self.me)
            && report.state == (ServerState::Primary { open: true })
            && report.opened_epoch == Some(1)
        {
            report.opened_epoch = Some(record.epoch);
        }
        self.seen.databases.entry(item("main")).or_default().guard = Fact::now(report.into());
        self
    }

    pub fn guard_unknown(mut self) -> Self {
        self.seen.databases.entry(item("main")).or_default().guard =
            Fact::unknown("its guard is not connected: reset by peer");
        self
    }

    /// The database's node is dead: neither guard nor server answers.
    pub fn node_dead(self) -> Self {
        let mut given = self.guard_unknown();
        let no_way = Gate::new("database/main/ConnectUnreachable", Answer::Unknown, "no route", "a session");
        given.seen.databases.entry(item("main")).or_default().preflight = Fact::now(vec![no_way]);
        given
    }

    /// What the replica last knew: `gap` bytes missing, said `ago` milliseconds ago.
    pub fn contact(mut self, gap: u64, ago: u64) -> Self {
        self.seen.databases.entry(item("main")).or_default().last_contact = Some(LastContact {
            reported_end: Lsn(0x2FF_0000 + gap),
            received: Lsn(0x2FF_0000),
            reported_at: Boottime::from_millis(NOW - ago),
        });
        self
    }

    pub fn facts(mut self, name: &str, change: impl FnOnce(&mut SiteFacts)) -> Self {
        let mut f = facts(&site(name));
        if let Some(r) = &self.record {
            f.marks = Some(Marks { generation: 0, epoch: r.epoch, serial: r.serial });
        }
        change(&mut f);
        self.seen.sites.insert(site(name), Fact::now(f));
        self
    }

    pub fn flag(mut self, flag: FlagValue) -> Self {
        let wanted =
            self.seen.workloads.get(&item("web")).and_then(|w| w.replicas.value()).map_or(0, |r| r.wanted);
        self.seen.workloads.insert(item("web"), web(flag, wanted));
        self
    }

    pub fn traffic_at(mut self, name: &str, epoch: u64, serial: u64) -> Self {
        self.seen.traffic.insert(item("public"), public(&site(name), epoch, serial));
        self
    }

    pub fn verified(mut self, epoch: u64) -> Self {
        self.seen.databases.entry(item("main")).or_default().write_verified = Some(epoch);
        self
    }

    pub fn moved(mut self, mv: Move) -> Self {
        self.moves.push(mv);
        self
    }

    /// The record has been as it is for so long.
    pub fn for_ms(mut self, ms: u64) -> Self {
        self.unchanged = ms;
        if let Some(r) = &mut self.record {
            r.entered.at = self.wall.checked_sub(Duration::from_millis(ms)).unwrap();
        }
        self
    }

    pub fn locking(mut self) -> Self {
        self.locking = self.record.as_ref().map(|r| r.serial);
        self
    }

    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = lease;
        self
    }

    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    pub fn stamped(mut self, stamp: bascule_core::memory::Stamp, ago: u64) -> Self {
        self.stamps.push((stamp, ago));
        self
    }

    fn holder(&self) -> Holder {
        let mut h = Holder::new(self.installation.timing.r());
        let end = if self.lease == Lease::Alive { NOW - 100 } else { NOW - 3_000 - self.back };
        for t in (end - 200 * PERIOD..=end).step_by(PERIOD as usize) {
            h.renewed(ms(t), ms(t + 5));
        }
        h
    }

    fn claim(&self, holder: &mut Holder) -> Claim {
        let mut c = Claim::default();
        let floor = if self.lease == Lease::Alive { 600 } else { 4_000 + self.back };
        let read_at = NOW - self.unchanged.clamp(floor, 40_000);
        let Some(record) = &self.record else {
            c.read(holder, &self.me, None, ms(read_at), ms(read_at + 5));
            return c;
        };
        if record.active == self.me {
            let mut before = record.clone();
            before.phase = Phase::Steady;
            before.serial = record.serial.saturating_sub(1);
            c.sending(holder, &self.me, &before);
            c.applied(holder, &self.me, before, 1, ms(read_at - 20));
            // That reads are served elsewhere was written by the site that serves them.
            if record.phase.grants() || record.phase == Phase::ReadOnly {
                c.read(holder, &self.me, Some((record.clone(), 2)), ms(read_at - 5), ms(read_at));
            } else {
                c.sending(holder, &self.me, record);
                c.applied(holder, &self.me, record.clone(), 2, ms(read_at));
            }
        } else {
            c.read(holder, &self.me, Some((record.clone(), 2)), ms(read_at - 5), ms(read_at));
        }
        if let Some(serial) = self.locking {
            c.lock_ordered(serial);
        }
        if self.lease == Lease::Regained {
            holder.renewed(ms(NOW - self.back - 10), ms(NOW - self.back));
            for since in (250..self.back.saturating_sub(50)).step_by(250) {
                holder.renewed(ms(NOW - self.back + since), ms(NOW - self.back + since + 10));
            }
        }
        match self.view {
            View::Current => {}
            View::Outdated => c.outdated(ms(NOW)),
            View::Writing => c.sending(holder, &self.me, record),
        }
        c
    }

    fn observer(&self) -> Observer {
        let mut o = Observer::new(self.installation.timing.tq());
        let others: Vec<SiteName> = self.sites().into_iter().filter(|s| *s != self.me).collect();
        let first = NOW - 100 - self.observed / PERIOD * PERIOD;
        for t in (first..NOW).step_by(PERIOD as usize) {
            let found = others
                .iter()
                .map(|s| {
                    let end = NOW - self.silent.get(s).copied().unwrap_or(0);
                    (s.clone(), i64::try_from(t.min(end)).unwrap())
                })
                .collect();
            o.read(ms(t), ms(t + 5), &found);
        }
        o
    }

    fn memory(&self) -> Memory {
        let mut m = Memory::default();
        if let Some(r) = &self.record {
            m.see(r, ms(NOW - self.unchanged));
        }
        for (stamp, ago) in &self.stamps {
            m.stamp(*stamp, ms(NOW - ago));
        }
        m
    }

    /// Looks at the situation as the rules get it.
    pub fn look<T>(&self, look: impl FnOnce(&Situation<'_>) -> T) -> T {
        let mut holder = self.holder();
        let claim = self.claim(&mut holder);
        let observer = self.observer();
        let mut memory = self.memory();
        let blank = Memory::default();
        let mut s = Situation {
            me: &self.me,
            now: ms(NOW),
            wall: self.wall,
            installation: &self.installation,
            policy: match &self.policy {
                Seen::NotListed => PolicySeen::NotListed,
                Seen::Absent => PolicySeen::Absent,
                Seen::Present(p) => PolicySeen::Present(p),
            },
            holder: &holder,
            observer: &observer,
            claim: &claim,
            seen: &self.seen,
            moves: &self.moves,
            question: 7,
            memory: &blank,
        };
        let before = memory.clone();
        s.memory = &before;
        note(&mut memory, &s);
        s.memory = &memory;
        look(&s)
    }

    /// Decides. A moment that has passed is no moment to decide again: it would hide one that is to come.
    pub fn plan(&self) -> Plan {
        let plan = self.look(decide);
        assert!(plan.look_again.is_none_or(|t| t > ms(NOW)), "{:?} has passed: {plan:?}", plan.look_again);
        plan
    }
}

/// The moment so many milliseconds before the test's.
pub fn moment(ago: u64) -> Boottime {
    ms(NOW - ago)
}

fn ms(t: u64) -> Boottime {
    Boottime::from_millis(t)
}

pub fn database(report: Report) -> DatabaseView {
    DatabaseView {
        granted: Few::from([(report.boot.clone(), ms(NOW - 100))]),
        guard: Fact::now(report.into()),
        last_contact: None,
        preflight: Fact::now(vec![]),
        write_verified: None,
    }
}

pub fn web(flag: FlagValue, wanted: u32) -> WorkloadView {
    let pods = PodsAsked {
        pods: wanted,
        read_only: if flag == FlagValue::ReadOnly { wanted } else { 0 },
        unknown: 0,
    };
    WorkloadView {
        flag: Fact::now(flag),
        effective: Fact::now(pods),
        replicas: Fact::now(ReplicasSeen { wanted, ready: wanted }),
        blockers: Fact::now(vec![]),
    }
}

pub fn public(at: &SiteName, epoch: u64, serial: u64) -> TrafficView {
    TrafficView {
        at: Fact::now(TrafficAt { site: Some(at.clone()), serial, epoch, ..TrafficAt::default() }),
        blockers: Fact::now(vec![]),
    }
}

/// What a healthy site says: it has answered question 7 of every other site.
pub fn facts(name: &SiteName) -> SiteFacts {
    let Disk::Cluster(mut c) = replica(0).disk else { unreachable!("a replica has a cluster") };
    c.standby_signal = *name != site("paris");
    SiteFacts {
        diverged: Few::new(),
        schema: SCHEMA,
        site: name.clone(),
        question: 7,
        number: 1,
        answers: ["paris", "lyon", "milan"].iter().map(|s| (site(s), 7)).collect(),
        marks: Some(Marks::default()),
        spec_hash: Some(HASH.to_owned()),
        revision: None,
        blockers: vec![],
        ready_for: None,
        cannot_prove: None,
        candidacy: None,
        disks: Few::from([(item("main"), Disk::Cluster(c))]),
        behind: Few::new(),
        lag_bytes: Few::from([(item("main"), 0)]),
        not_streaming: Few::new(),
        sizes: Few::from([(item("web"), if *name == site("paris") { 3 } else { 0 })]),
    }
}
