//! The databases of a simulated site and their guards: they ask as guards do, and do what they are told at once.
//!
//! The outline of the rules only. A grant that ends is counted and stops nobody, so that one that is late is counted once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bascule_core::guard::wire::{
    Behind, Cluster, ClusterState, Disk, Grant, Hello, HighWater, Instruction, Positions, Report, Role,
    STREAMING, ServerState, Stopped, UpstreamView, slot_of,
};
use bascule_core::name::{ObjectName, PolicyKey, SiteName};
use bascule_core::policy::Policy;
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::record::Record;
use bascule_core::time::{Boottime, Millis};
use bascule_engine::ports::{Clock, GuardEvent, GuardSession, Guards};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::tally::{Moment, Tally, number};

/// How often it is looked whose turn it is to ask.
const TURN: Duration = Duration::from_millis(10);
/// How often what the servers are is written down for the next process: a guard outlives its operator.
const KEEP: Duration = Duration::from_millis(100);
/// Where every server's log stands: nobody writes.
const END: Lsn = Lsn(0x0100_0000);
/// How old a standby's last message from its primary is.
const MESSAGE: Duration = Duration::from_millis(10);

/// What outlives the operator.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    primary: bool,
    open: bool,
    runs: bool,
    empty: bool,
    timeline: u32,
    serial: u64,
    epoch: u64,
    opened: Option<u64>,
    locked: Option<u64>,
    /// Until when it may write, in nanoseconds since the machine's start; none: no leave, or one without an end.
    until: Option<u64>,
    read_only: bool,
    points: Option<(SiteName, u64, u64)>,
}

/// One policy's database in this site, its flag and its name in DNS.
#[derive(Debug)]
pub struct Server {
    key: PolicyKey,
    primary: bool,
    open: bool,
    runs: bool,
    empty: bool,
    timeline: u32,
    serial: u64,
    epoch: u64,
    opened: Option<u64>,
    locked: Option<u64>,
    until: Option<Boottime>,
    wants_primary: bool,
    /// The number of the question that was not answered yet, and when it was asked.
    asked: Option<(u64, Boottime)>,
    nonce: u64,
    /// Whether the application's flag says read-only.
    pub read_only: bool,
    /// Where the name points, with the epoch and the serial it carries.
    pub points: Option<(SiteName, u64, u64)>,
}

/// All of them.
pub struct Servers {
    me: SiteName,
    other: SiteName,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
    all: Mutex<Vec<Option<Server>>>,
    kept: Mutex<Vec<Option<Kept>>>,
    /// Whoever has something to say at once.
    urgent: mpsc::UnboundedSender<usize>,
    hanging: AtomicUsize,
    keeps: AtomicBool,
    alone_since: Mutex<Option<Boottime>>,
}

impl Servers {
    /// The servers of `me`, as the last process left them in `file`, and who asks for them.
    pub fn new(
        me: SiteName,
        other: SiteName,
        clock: Arc<dyn Clock>,
        tally: Arc<Tally>,
        file: &Path,
    ) -> (Arc<Self>, Asking) {
        let (urgent, waiting) = mpsc::unbounded_channel();
        let kept =
            fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let servers = Arc::new(Self {
            me,
            other,
            clock,
            tally,
            all: Mutex::default(),
            kept: Mutex::new(kept),
            urgent,
            hanging: AtomicUsize::new(usize::MAX),
            keeps: AtomicBool::new(false),
            alone_since: Mutex::new(None),
        });
        let asking = Asking { servers: Arc::clone(&servers), waiting, file: file.to_owned() };
        (servers, asking)
    }

    /// The steps of this policy hang from now on.
    pub fn let_hang(&self, policy: usize) {
        self.hanging.store(policy, Ordering::Relaxed);
    }

    /// Whether they hang.
    pub fn hangs(&self, policy: &PolicyKey) -> bool {
        number(policy).is_some_and(|n| n == self.hanging.load(Ordering::Relaxed))
    }

    /// The other site lost its power.
    pub fn other_died(&self) {
        *self.alone_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
    }

    /// From now on what the servers are is written down, for this process will be killed.
    pub fn keep_from_now_on(&self) {
        self.keeps.store(true, Ordering::Relaxed);
    }

    /// Looks at or changes the server of a policy.
    pub fn with<T>(&self, policy: &PolicyKey, change: impl FnOnce(&mut Server) -> T) -> Option<T> {
        let n = number(policy)?;
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(n)?.as_mut().map(change)
    }

    /// The record was seen: the active site has pointed the name at itself, or soon will.
    pub fn record(&self, policy: &PolicyKey, record: &Record) {
        if record.active != self.me {
            self.with(policy, |s| s.points = Some((record.active.clone(), record.epoch, record.serial)));
        }
    }

    /// The operator has heard of a policy; a guard of its database connects when there is none yet.
    fn meet(&self, policy: &Policy) -> Option<(usize, Hello)> {
        let n = number(&policy.key)?;
        let (database, spec) = policy.databases.first_key_value()?;
        spec.instances.get(&self.me)?;
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= n {
            all.resize_with(n + 1, || None);
        }
        let place = all.get_mut(n).filter(|server| server.is_none())?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_mut(n).and_then(Option::take);
        let primary = policy.initial_site == self.me;
        *place = Some(Server::new(policy.key.clone(), primary, kept));
        let hello = Hello {
            protocol: bascule_core::guard::wire::PROTOCOL,
            policy: policy.key.clone(),
            database: database.clone(),
            site: self.me.clone(),
            instance: ObjectName::try_from("main-0").ok()?,
            boot: format!("boot-{n}"),
            postgres_version: "15.20".to_owned(),
        };
        Some((n, hello))
    }

    /// The next question of a server, if none waits for its answer.
    fn ask(&self, n: usize) -> Option<GuardEvent> {
        let now = self.clock.now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let server = all.get_mut(n)?.as_mut()?;
        if server.open && server.until.is_some_and(|until| now > until) {
            server.until = None;
            self.tally.expired();
        }
        // A question whose answer was lost is asked again.
        if server.asked.is_some_and(|(_, at)| now.since(at) < Duration::from_secs(1)) {
            return None;
        }
        server.nonce += 1;
        server.asked = Some((server.nonce, now));
        self.tally.begun("question");
        let alone = *self.alone_since.lock().unwrap_or_else(PoisonError::into_inner);
        Some(GuardEvent::Asked {
            session: GuardSession(n as u64),
            nonce: server.nonce,
            fresh: server.wants_primary && !server.open,
            report: Box::new(server.report(n, &self.other, alone, now)),
            received: now,
        })
    }

    fn keep(&self, file: &Path) {
        let kept: Vec<Option<Kept>> = {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().map(|server| server.as_ref().map(Server::kept)).collect()
        };
        let Ok(bytes) = serde_json::to_vec(&kept) else { return };
        let next = file.with_extension("next");
        // A file that cannot be written makes the next process believe that nobody may write: the count says so.
        if fs::write(&next, bytes).is_ok() {
            let _ = fs::rename(&next, file);
        }
    }

    fn obey(&self, session: GuardSession, nonce: Option<u64>, i: &Instruction) {
        let n = session.0 as usize;
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(server) = all.get_mut(n).and_then(Option::as_mut) else { return };
        let asked = server.asked.filter(|(of, _)| Some(*of) == nonce).map(|(_, at)| at);
        if asked.is_some() {
            server.asked = None;
            self.tally.ended("question", true);
        }
        let (changed, granted) = server.obey(i, asked);
        if granted {
            self.tally.note(Moment::Granted, &server.key);
        }
        if changed {
            self.tally.note(Moment::Begun, &server.key);
            // Nobody receives any more only at the end.
            let _ = self.urgent.send(n);
        }
    }
}

impl Guards for Servers {
    fn answer(&self, session: GuardSession, nonce: u64, instruction: Instruction) {
        self.obey(session, Some(nonce), &instruction);
    }

    fn tell(&self, session: GuardSession, instruction: Instruction) {
        self.obey(session, None, &instruction);
    }

    fn refuse(&self, _: GuardSession, reason: String) {
        eprintln!("a simulated guard was refused: {reason}");
    }
}

impl Server {
    fn new(key: PolicyKey, primary: bool, kept: Option<Kept>) -> Self {
        let at = |nanos: u64| Boottime::new(Duration::from_nanos(nanos));
        match kept {
            None => Self {
                key,
                primary: false,
                open: false,
                runs: false,
                empty: !primary,
                timeline: 1,
                serial: 0,
                epoch: 0,
                opened: None,
                locked: None,
                until: None,
                wants_primary: false,
                asked: None,
                nonce: 0,
                read_only: true,
                points: None,
            },
            Some(k) => Self {
                key,
                primary: k.primary,
                open: k.open,
                runs: k.runs,
                empty: k.empty,
                timeline: k.timeline,
                serial: k.serial,
                epoch: k.epoch,
                opened: k.opened,
                locked: k.locked,
                until: k.until.map(at),
                wants_primary: k.primary,
                asked: None,
                nonce: 1 << 32,
                read_only: k.read_only,
                points: k.points,
            },
        }
    }

    fn kept(&self) -> Kept {
        Kept {
            primary: self.primary,
            open: self.open,
            runs: self.runs,
            empty: self.empty,
            timeline: self.timeline,
            serial: self.serial,
            epoch: self.epoch,
            opened: self.opened,
            locked: self.locked,
            until: self.until.map(|t| t.since_boot().as_nanos() as u64),
            read_only: self.read_only,
            points: self.points.clone(),
        }
    }

    /// Does what it is told; whether its role has changed, and whether it has leave to write.
    fn obey(&mut self, i: &Instruction, asked: Option<Boottime>) -> (bool, bool) {
        if i.serial < self.serial {
            return (false, false);
        }
        let before = (self.primary, self.open, self.runs, self.locked, self.wants_primary);
        (self.serial, self.epoch) = (i.serial, self.epoch.max(i.epoch));
        let unlocked = self.locked.is_none_or(|at| i.serial > at);
        let mut granted = false;
        self.wants_primary = matches!(i.role, Role::Serve { .. });
        match &i.role {
            Role::Lock if self.locked.is_none_or(|at| at < i.serial) => {
                (self.primary, self.open, self.runs) = (false, false, false);
                (self.locked, self.until) = (Some(i.serial), None);
            }
            Role::Follow { open, .. } if unlocked => {
                (self.primary, self.open, self.runs, self.empty) = (false, *open, true, false);
                (self.locked, self.until) = (None, None);
            }
            Role::Serve { open, .. } if unlocked => {
                granted = asked.is_some() && i.grant.is_some();
                if let (Some(asked), Some(grant)) = (asked, &i.grant) {
                    self.until = match grant {
                        Grant::For { remaining } => Some(asked + remaining.duration()),
                        Grant::Unlimited => None,
                    };
                    if i.fresh && !self.primary {
                        self.timeline += u32::from(self.runs);
                        (self.primary, self.runs, self.locked) = (true, true, None);
                    }
                    if self.primary {
                        self.open = *open;
                        self.opened = self.opened.max(Some(i.epoch));
                    }
                }
            }
            _ => {
                granted = asked.is_some() && i.grant.is_some();
                if let (Some(asked), Some(Grant::For { remaining })) = (asked, &i.grant) {
                    self.until = Some(asked + remaining.duration());
                }
            }
        }
        let changed = before != (self.primary, self.open, self.runs, self.locked, self.wants_primary);
        (changed, granted && self.open)
    }

    fn report(&self, n: usize, other: &SiteName, alone: Option<Boottime>, now: Boottime) -> Report {
        let state = match (self.runs, self.primary) {
            (false, _) => ServerState::Down,
            (true, true) => ServerState::Primary { open: self.open },
            (true, false) => ServerState::Standby { open: self.open },
        };
        let timeline = Some(Timeline(self.timeline));
        let standby = self.runs && !self.primary;
        let upstream = UpstreamView {
            status: if alone.is_none() { STREAMING } else { "waiting" }.to_owned(),
            timeline,
            reported_end: Some(END),
            message_age: Some(Millis::from(MESSAGE + alone.map_or(Duration::ZERO, |t| now.since(t)))),
        };
        let cluster = Cluster {
            system_id: SystemId(n as u64 + 1),
            timeline: Timeline(self.timeline),
            state: match (self.runs, self.primary) {
                (true, true) => ClusterState::InProduction,
                (true, false) => ClusterState::InArchiveRecovery,
                (false, _) => ClusterState::ShutDown,
            },
            checkpoint: Lsn(END.0 - 112),
            standby_signal: standby,
            half_rewound: false,
        };
        let none = Some(Behind { bytes: 0, time: Some(Millis(0)) });
        Report {
            serial: self.serial,
            locked: self.locked,
            boot: format!("boot-{n}"),
            state,
            disk: if self.empty { Disk::Empty } else { Disk::Cluster(cluster) },
            positions: self.runs.then(|| Positions {
                timeline,
                flush: self.primary.then_some(END),
                receive: standby.then_some(END),
                replay: standby.then_some(END),
                upstream: standby.then_some(upstream),
                age: Millis(1),
            }),
            replicas: none
                .filter(|_| self.primary && self.open)
                .map(|b| (slot_of(other), b))
                .into_iter()
                .collect(),
            stopped: self.locked.map(|serial| Stopped {
                serial,
                system_id: SystemId(n as u64 + 1),
                timeline: Timeline(self.timeline),
                checkpoint: Lsn(END.0 - 112),
                clean: true,
            }),
            checkpointed: Some(self.serial),
            opened_epoch: self.opened,
            diverged: None,
            contact_lost: None,
            high_water: HighWater { epoch: self.epoch, serial: self.serial, generation: 0 },
            exited: None,
            sigterm: false,
            fallback: false,
            unlimited: false,
            log_gone: None,
            unlocked: None,
            notes: Vec::new(),
        }
    }
}

/// Asks for all servers.
pub struct Asking {
    servers: Arc<Servers>,
    waiting: mpsc::UnboundedReceiver<usize>,
    file: PathBuf,
}

impl Asking {
    /// Lets every guard ask once in `every`, spread over that time, until nobody listens. Guards connect when `met` names
    /// their policies.
    pub async fn run(
        mut self,
        every: Duration,
        mut met: mpsc::UnboundedReceiver<Arc<Policy>>,
        into: mpsc::Sender<GuardEvent>,
    ) {
        let turns = (every.as_millis() / TURN.as_millis()).max(1) as usize;
        let mut clock = tokio::time::interval(TURN);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut turn, mut kept) = (0, tokio::time::Instant::now());
        loop {
            let mut events = Vec::new();
            tokio::select! {
                Some(policy) = met.recv() => {
                    if let Some((n, hello)) = self.servers.meet(&policy) {
                        events.push(GuardEvent::Connected { session: GuardSession(n as u64), hello });
                        events.extend(self.servers.ask(n));
                    }
                }
                Some(n) = self.waiting.recv() => events.extend(self.servers.ask(n)),
                _ = clock.tick() => {
                    let len = self.servers.all.lock().unwrap_or_else(PoisonError::into_inner).len();
                    for n in (turn..len).step_by(turns) {
                        events.extend(self.servers.ask(n));
                    }
                    turn = (turn + 1) % turns;
                    if kept.elapsed() >= KEEP && self.servers.keeps.load(Ordering::Relaxed) {
                        self.servers.keep(&self.file);
                        kept = tokio::time::Instant::now();
                    }
                }
            }
            for event in events {
                if into.send(event).await.is_err() {
                    return;
                }
            }
        }
    }
}
