//! One brain at its desk: everything that comes in and goes out is in the test's hand.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::decide::Installation;
use bascule_core::few::Few;
use bascule_core::guard::wire::{
    Cluster, ClusterState, Disk, Hello, HighWater, Instruction, Report, ServerState,
};
use bascule_core::name::PolicyKey;
use bascule_core::observation::Kept;
use bascule_core::outcome::Outcome;
use bascule_core::policy::{FenceClass, Policy};
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::record::{Entered, Fences, Phase, Promise, Record};
use bascule_core::time::Boottime;
use bascule_core::timing::{Profile, Timing};
use bascule_engine::brain::{Brain, Command, Event, Identity};
use bascule_engine::ports::{Cas, GuardEvent, GuardSession, Intent, Listed, Renewed};
use jiff::Timestamp;

pub use crate::sample::{item, key, policy, site};

/// Paris in `Steady`, epoch 1, serial 10, under the promise of `profile`.
pub fn record(profile: Profile) -> Record {
    let t = profile.timing();
    let promise = Promise {
        fences: Fences::Within { holder: t.holder, fence: t.fence },
        lease: t.lease,
        fence_class: FenceClass::Guard,
        profile: profile.name().to_owned(),
    };
    let entered = Entered { at: Timestamp::UNIX_EPOCH, by: site("paris") };
    Record { serial: 10, ..Record::first(site("paris"), promise, entered) }
}

/// A guard's report.
pub fn report(boot: &str, state: ServerState) -> Report {
    Report {
        serial: 11,
        locked: None,
        boot: boot.to_owned(),
        state,
        disk: Disk::Cluster(Cluster {
            system_id: SystemId(7),
            timeline: Timeline(1),
            state: ClusterState::InProduction,
            checkpoint: Lsn(1),
            standby_signal: false,
            half_rewound: false,
        }),
        positions: None,
        replicas: Few::new(),
        stopped: None,
        checkpointed: None,
        opened_epoch: Some(1),
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
    }
}

pub const OPEN: ServerState = ServerState::Primary { open: true };

/// How the arbiter answers a compare-and-swap.
pub type Arbiter = fn(Option<i64>, Option<i64>) -> Cas;

/// Paris' brain, its arbiter, and what it said.
pub struct Desk {
    pub brain: Brain,
    pub now: Boottime,
    pub timing: Timing,
    pub record: Option<(Record, i64)>,
    pub said: Vec<(Boottime, Command)>,
    pub cas: Option<Arbiter>,
    /// Reads of the record are answered by this one instead.
    pub reads: Option<(Record, i64)>,
    /// How writing this site's facts ends.
    pub facts: Outcome,
    /// The policy's reads of its record are not answered.
    pub mute: bool,
    /// This site's high-water marks, as they are written down.
    pub marks: BTreeMap<PolicyKey, Kept>,
    nonce: u64,
}

impl Desk {
    pub fn new(profile: Profile, record: Record) -> Self {
        let now = Boottime::from_millis(1_000_000);
        let installation = Installation {
            profile,
            timing: profile.timing(),
            generation: 0,
            places: bascule_core::decide::Places::Several,
        };
        let id = Identity { site: site("paris"), question: 1, installation };
        Self {
            brain: Brain::new(id, now),
            now,
            timing: profile.timing(),
            record: Some((record, 100)),
            said: Vec::new(),
            cas: None,
            reads: None,
            facts: Outcome::Done,
            mute: false,
            nonce: 0,
            marks: BTreeMap::new(),
        }
    }

    /// The same with the policy listed, its role claimed, for a second.
    pub fn running(profile: Profile, record: Record, policy: Option<Policy>) -> Self {
        let mut desk = Self::new(profile, record);
        desk.give(Event::Tick);
        if let Some(policy) = policy {
            desk.give(Event::Intent(Intent::Policy(Box::new(policy))));
        }
        desk.give(Event::Intent(Intent::Listed));
        desk.claims();
        desk
    }

    /// Runs until the role is claimed although no guard has connected and lyon says nothing.
    pub fn claims(&mut self) {
        let lease = self.timing.l();
        self.run(u64::try_from(lease.as_millis()).unwrap() * 2 + 300);
    }

    pub fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.now = self.now + Duration::from_millis(10);
            if self.brain.next_tick() <= self.now {
                self.give(Event::Tick);
            }
        }
    }

    pub fn give(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let wall = Timestamp::UNIX_EPOCH + self.now.since_boot();
            for command in self.brain.handle(event, self.now, wall) {
                if let Some(answer) = self.answer(&command) {
                    events.insert(0, answer);
                }
                self.said.push((self.now, command));
            }
        }
    }

    fn answer(&mut self, command: &Command) -> Option<Event> {
        let (sent, received) = (self.now, self.now);
        Some(match command {
            Command::Renew => Event::Renewed { sent, result: Renewed::Applied },
            Command::ReadLeases => {
                let at = i64::try_from(self.now.since_boot().as_millis()).unwrap();
                let found = [(site("paris"), at), (site("lyon"), at)].into();
                Event::Leases { sent, received, result: Ok(found) }
            }
            Command::ReadRecord(_) if self.mute => return None,
            Command::ReadRecord(policy) => {
                let found = self.reads.clone().or_else(|| self.record.clone());
                let result = Ok(found.map(|(r, rev)| (Box::new(r), rev)));
                Event::Record { policy: policy.clone(), sent, received, result }
            }
            Command::Write { policy, expected, next, .. } => {
                let present = self.record.as_ref().map(|(_, rev)| *rev);
                let result = match self.cas {
                    Some(cas) => cas(present, *expected),
                    None if present == *expected => Cas::Applied(present.unwrap_or(0) + 1),
                    None => Cas::Conflict,
                };
                if let Cas::Applied(revision) = result {
                    self.record = Some(((**next).clone(), revision));
                }
                Event::Written { policy: policy.clone(), next: next.clone(), result }
            }
            Command::WriteFacts { policy, facts } => {
                let outcome = self.facts.clone();
                Event::FactsWritten { policy: policy.clone(), facts: facts.clone(), outcome }
            }
            Command::ListAndWatch => {
                let records = self.record.iter().map(|(_, rev)| (key(), *rev)).collect();
                let listed = Listed { records, revision: 1, ..Listed::default() };
                Event::Listed(Ok(listed))
            }
            Command::ReadMarks => Event::Marks(Ok(self.marks.clone())),
            Command::RaiseMark { policy, kept } => {
                self.marks.insert(policy.clone(), *kept.clone());
                Event::MarkRaised { policy: policy.clone(), kept: kept.clone(), outcome: Outcome::Done }
            }
            Command::Publish(shown) => Event::Published { policy: shown.key.clone(), outcome: Outcome::Done },
            Command::Beat(_) => Event::Beaten { outcome: Outcome::Done },
            _ => return None,
        })
    }

    pub fn connect(&mut self, session: u64, instance: &str, boot: &str) {
        let hello = Hello {
            protocol: 1,
            policy: key(),
            database: item("main"),
            site: site("paris"),
            instance: instance.try_into().unwrap(),
            boot: boot.to_owned(),
            postgres_version: "15.20".to_owned(),
        };
        self.give(Event::Guard(GuardEvent::Connected { session: GuardSession(session), hello }));
    }

    pub fn gone(&mut self, session: u64) {
        let reason = "it closed the connection".to_owned();
        self.give(Event::Guard(GuardEvent::Gone { session: GuardSession(session), reason }));
    }

    /// The guard asks; what it is answered.
    pub fn ask(&mut self, session: u64, report: Report) -> Option<Instruction> {
        self.ask_for(session, report, false)
    }

    /// The guard asks; whether it needs a record read since.
    pub fn ask_for(&mut self, session: u64, report: Report, fresh: bool) -> Option<Instruction> {
        self.nonce += 1;
        let nonce = self.nonce;
        self.give(Event::Guard(GuardEvent::Asked {
            session: GuardSession(session),
            nonce,
            fresh,
            report: Box::new(report),
            received: self.now,
        }));
        self.said.iter().rev().find_map(|(_, c)| match c {
            Command::Answer { session: to, nonce: n, instruction } if *n == nonce => {
                assert_eq!(to.0, session);
                Some((**instruction).clone())
            }
            _ => None,
        })
    }

    /// The guard asks every 200 ms for so long; the last answer.
    pub fn asks(&mut self, session: u64, report: &Report, ms: u64) -> Option<Instruction> {
        let mut last = None;
        for _ in 0..ms.div_ceil(200) {
            last = self.ask(session, report.clone());
            self.run(200);
        }
        last
    }

    /// Why this connection was refused, if it was.
    pub fn refused(&self, session: u64) -> Option<String> {
        self.said.iter().find_map(|(_, c)| match c {
            Command::Refuse { session: s, reason } if s.0 == session => Some(reason.clone()),
            _ => None,
        })
    }

    pub fn phase(&self) -> Phase {
        self.record.as_ref().unwrap().0.phase.clone()
    }
    /// How often a command that fits was given.
    pub fn count(&self, fits: impl Fn(&Command) -> bool) -> usize {
        self.said.iter().filter(|(_, c)| fits(c)).count()
    }
}
