//! A guard and the server beside it, in one site.
//!
//! The guard's rules, its evidence of lost contact and its way of reading histories are the real ones; what is modelled
//! is the supervisor around them: one step of the server at a time, each with its stages.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bascule_core::few::Few;
use bascule_core::guard::action::{Action, Event, Memory};
use bascule_core::guard::alone::Alone;
use bascule_core::guard::contact::{Contact, Kept, Received};
use bascule_core::guard::grant::Deadline;
use bascule_core::guard::lineage::{Fork, fork, same_by_number};
use bascule_core::guard::replicas::Flushed;
use bascule_core::guard::rules::Rules;
use bascule_core::guard::stray::Stray;
use bascule_core::guard::wire::{
    Behind, ClusterState, Disk, Diverged, Hello, Positions, Report, STREAMING, ServerState, Stopped,
    Upstream, UpstreamView, slot_of,
};
use bascule_core::name::{ItemName, ObjectName, PolicyKey, SiteName};
use bascule_core::position::{Lsn, Timeline};
use bascule_core::time::{Boottime, Millis};

use super::postgres::{DataDir, Rec, Run, What, disk};
use crate::random::Chance;
use crate::time::{Machine, Moment};

/// How long things take at a server: the least and the most.
#[derive(Clone, Copy, Debug)]
pub struct Speeds {
    /// A start after a clean stop.
    pub start: (Duration, Duration),
    /// What crash recovery adds.
    pub recovery: (Duration, Duration),
    /// A fast stop.
    pub stop: (Duration, Duration),
    /// Killing every process.
    pub kill: (Duration, Duration),
    /// Leaving recovery.
    pub promote: (Duration, Duration),
    /// A reload of the rules for clients.
    pub reload: (Duration, Duration),
    /// A checkpoint.
    pub checkpoint: (Duration, Duration),
    /// A question to the upstream.
    pub question: (Duration, Duration),
    /// Saving what diverged.
    pub save: (Duration, Duration),
    /// A rewind.
    pub rewind: (Duration, Duration),
    /// A clone.
    pub clone: (Duration, Duration),
    /// A commit's flush.
    pub flush: (Duration, Duration),
}

const fn ms(least: u64, most: u64) -> (Duration, Duration) {
    (Duration::from_millis(least), Duration::from_millis(most))
}

impl Default for Speeds {
    /// As measured on PostgreSQL 15 beside the real guard.
    fn default() -> Self {
        Self {
            start: ms(90, 160),
            recovery: ms(40, 250),
            stop: ms(40, 110),
            kill: ms(6, 30),
            promote: ms(35, 90),
            reload: ms(8, 25),
            checkpoint: ms(8, 60),
            question: ms(15, 50),
            save: ms(20, 60),
            rewind: ms(300, 700),
            clone: ms(600, 1500),
            flush: ms(1, 3),
        }
    }
}

/// How a standby receives.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Counts attempts: what belongs to an older one is ignored.
    pub number: u64,
    /// It is connected.
    pub on: bool,
    /// How many of its primary's records were sent to it.
    pub sent: usize,
    /// The end of log that the primary last reported.
    pub reported: u64,
    /// When the last message came.
    pub heard: Moment,
    /// What the server says that it has received since it was started: before anything has come on this timeline, the
    /// beginning of the segment in which it began.
    pub received: Option<u64>,
}

/// The server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its data directory; `None`: an empty one.
    pub dir: Option<DataDir>,
    /// What it is.
    pub run: Run,
    /// Counts starts and ends: what belongs to an older life is ignored.
    pub life: u64,
    /// Every process of it stands still.
    pub frozen: bool,
    /// How it receives.
    pub stream: Stream,
    /// Whom it follows.
    pub follows: Option<usize>,
    /// Replay is held back by so much.
    pub replay_lag: Duration,
    /// It is the epoch in which it was opened for clients.
    pub opened_in: u64,
    /// How long things take.
    pub speeds: Speeds,
    /// What goes wrong with the next steps.
    pub faults: StepFaults,
}

/// What goes wrong with steps of the server, until it is taken back.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepFaults {
    /// A promotion takes this long.
    pub promote: Option<Duration>,
    /// A promotion fails.
    pub promote_fails: bool,
    /// A fast stop takes this long.
    pub stop: Option<Duration>,
    /// A rewind is not possible.
    pub rewind_fails: bool,
    /// The disk is full: nothing can be written.
    pub disk_full: bool,
    /// A reload does not show.
    pub reload_fails: bool,
}

/// What is kept beside the data.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The rules' memory.
    pub memory: Memory,
    /// The epoch in which it was opened last.
    pub opened: Option<u64>,
    /// How the last stop of a primary ended.
    pub stopped: Option<Stopped>,
    /// What diverged last.
    pub diverged: Option<Diverged>,
    /// The rows in it: what a person would find in the saved log.
    pub saved: Vec<Rec>,
    /// The evidence of lost contact.
    pub contact: Option<Kept>,
}

/// A step of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start as a primary.
    Primary,
    /// Start as a standby that nobody feeds.
    Orphan,
    /// Ask the upstream where the histories part.
    Standing(Upstream),
    /// End cleanly without the upstream's word.
    Recover,
    /// Save what is past the fork.
    Save(Upstream, Fork, bool),
    /// Rewind.
    Rewind(Upstream),
    /// Start as a standby.
    Standby(Upstream),
    /// Clone.
    Clone(Upstream),
    /// Close before promoting.
    CloseFirst,
    /// Leave recovery.
    Promote,
    /// Let clients in; the epoch.
    LetIn(u64),
    /// They are in: the confirmation.
    Opened,
    /// Let readers in.
    OpenStandby,
    /// Keep clients out.
    Close,
}

/// How a step went, as the supervisor hears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// The server is this now.
    Is(ServerState),
    /// It failed and left the server as it was.
    Failed(String),
    /// There was no leave any more.
    NoLeave,
}

/// The guard's process.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Counts lives.
    pub life: u32,
    /// It runs.
    pub up: bool,
    /// It stands still.
    pub frozen: bool,
    /// What came while it stood still.
    pub inbox: VecDeque<GuardInput>,
    /// The rules.
    pub rules: Rules,
    /// The evidence.
    pub contact: Contact,
    received: Received,
    flushed: Flushed,
    pub(super) stray: Stray,
    /// The connection's number, and the operator at its other end.
    pub session: Option<(u64, usize, u32)>,
    /// Counts attempts to connect.
    pub attempt: u32,
    /// When the operator's last word came.
    pub last_word: Moment,
    /// When the next tick is due.
    pub tick_at: Option<Moment>,
    /// The watch.
    pub watch: Deadline,
    /// Questions to the arbiter that wait.
    pub calls: BTreeMap<u64, GuardCall>,
    /// The step that is under way, and its number.
    pub step: Option<Step>,
    /// Counts steps.
    pub number: u64,
    was_primary: bool,
    last_primary: Option<(Positions, Boottime)>,
    last_replay: Option<Lsn>,
    /// The serial of the last checkpoint that was asked for and done.
    pub checkpointed: Option<u64>,
    trouble: Option<String>,
    /// This copy is known to have left its upstream's history.
    pub strayed: bool,
    /// How long its upstream has been silent.
    pub alone: Alone,
    /// It has its own way to the arbiter.
    pub has_arbiter: bool,
    /// A monitor's look is due.
    pub monitor_at: Option<Moment>,
    /// What its rules would have heard, while somebody decides in their place.
    pub by_hand: Option<Vec<Event>>,
}

/// A question of a guard to the arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardCall {
    /// A read of the record, with the rules' number.
    Record(u64),
    /// A renewal of the lease.
    Renew(u64),
}

/// What comes to a guard.
#[derive(Clone, Debug)]
pub enum GuardInput {
    /// For the rules as it is.
    Event(Event),
    /// A step went on.
    Step(u64, StepEnd),
    /// Nothing of the server runs any more.
    Gone(u64, String),
    /// The watch has killed everything, or a stop met nothing.
    NeverRan(&'static str),
    /// A look at the server.
    Look,
    /// A checkpoint's end.
    Checkpointed(u64, bool),
    /// A member of the arbiter answered.
    Arbiter(u64, usize, Option<super::arbiter::Answer>),
    /// The operator's word came over this connection.
    Word(u64, Event),
    /// The connection with this number ended.
    Cut(u64),
}

/// A database in one site.
#[derive(Clone, Debug)]
pub struct Database {
    /// The policy.
    pub policy: PolicyKey,
    /// Its name there.
    pub name: ItemName,
    /// The site.
    pub site: usize,
    /// The site's name.
    pub site_name: SiteName,
    /// The clock of the machine under it.
    pub machine: Machine,
    /// Counts the machine's lives.
    pub machine_life: u32,
    /// The guard.
    pub guard: Guard,
    /// The server.
    pub server: Server,
    /// What is kept beside the data.
    pub beside: Beside,
    /// The operator's last word, and one from before the flow.
    pub last_word: Option<Box<bascule_core::guard::wire::Instruction>>,
    /// An old one.
    pub old_word: Option<Box<bascule_core::guard::wire::Instruction>>,
    /// No message passes between the guard and the operator.
    pub link_cut: bool,
    /// The operator's own role does not reach the server either.
    pub out_of_reach: bool,
    /// Chance.
    pub chance: Chance,
}

impl Guard {
    /// A guard that has just started.
    pub fn new(beside: &Beside, found: Disk, machine: String, now: Boottime, life: u32) -> Self {
        Self {
            life,
            up: true,
            frozen: false,
            inbox: VecDeque::new(),
            rules: Rules::new(beside.memory.clone(), found, now).with_arbiter(true),
            contact: Contact::new(beside.contact.clone(), machine),
            received: Received::default(),
            flushed: Flushed::default(),
            stray: Stray::default(),
            session: None,
            attempt: 0,
            last_word: Moment(0),
            tick_at: None,
            watch: Deadline::None,
            calls: BTreeMap::new(),
            step: None,
            number: 0,
            was_primary: false,
            last_primary: None,
            last_replay: None,
            checkpointed: None,
            trouble: None,
            strayed: false,
            alone: Alone::default(),
            has_arbiter: true,
            monitor_at: None,
            by_hand: None,
        }
    }

    fn boot(&self) -> String {
        format!("boot-{}", self.life)
    }
}

impl Database {
    /// What it says of itself when it connects.
    pub fn hello(&self) -> Hello {
        Hello {
            protocol: bascule_core::guard::wire::PROTOCOL,
            policy: self.policy.clone(),
            database: self.name.clone(),
            site: self.site_name.clone(),
            instance: instance(&self.name),
            boot: self.guard.boot(),
            postgres_version: "15.20".to_owned(),
        }
    }

    /// The clock of its machine.
    pub fn clock(&self, now: Moment) -> Boottime {
        self.machine.boottime(now)
    }

    /// A time between the two.
    pub fn takes(&mut self, of: (Duration, Duration)) -> Duration {
        self.chance.between(of.0, of.1)
    }

    /// The disk as the guard reads it.
    pub fn disk(&self) -> Disk {
        disk(self.server.dir.as_ref())
    }

    /// What a look at the running server finds; `None`: none answers.
    fn positions(&self, now: Moment) -> Option<Positions> {
        let dir = self.server.dir.as_ref()?;
        let end = Lsn(dir.wal.end());
        match self.server.run {
            Run::Primary { .. } => Some(Positions {
                timeline: Some(Timeline(dir.wal.timeline)),
                flush: Some(end),
                receive: None,
                replay: None,
                upstream: None,
                age: Millis(0),
            }),
            Run::Standby { .. } | Run::Promoting => {
                let stream = &self.server.stream;
                let upstream = stream.on.then(|| UpstreamView {
                    status: STREAMING.to_owned(),
                    timeline: Some(Timeline(dir.wal.timeline)),
                    reported_end: Some(Lsn(stream.reported)),
                    message_age: Some(Millis::from(now.since(stream.heard))),
                });
                Some(Positions {
                    timeline: stream.on.then_some(Timeline(dir.wal.timeline)),
                    flush: None,
                    receive: stream.received.map(Lsn),
                    replay: Some(Lsn(dir.replay_end())),
                    upstream,
                    age: Millis(0),
                })
            }
            Run::Down | Run::Starting { .. } | Run::Stopping | Run::Orphans => None,
        }
    }

    /// The monitor's look: what it noticed is told to the rules by the event it answers.
    pub fn look(&mut self, now: Moment) -> Option<Event> {
        let tick = |tell| Some(Event::Tick { tell });
        let mut positions = self.positions(now)?;
        let in_recovery = !self.server.run.is_primary();
        self.guard.received.complete(in_recovery, &mut positions);
        // It may still be closing, with its receiver on its way out.
        if self.server.run == Run::Promoting || *self.guard.rules.server() == ServerState::Promoting {
            return tick(false);
        }
        let at = self.clock(now);
        if !in_recovery {
            self.guard.last_primary = Some((positions, at));
            if matches!(self.guard.rules.server(), ServerState::Standby { .. }) {
                // Nobody here promoted it.
                self.guard.was_primary = true;
                return Some(Event::Server { state: ServerState::Primary { open: true }, died: None });
            }
            return tick(false);
        }
        let mut tell = false;
        if self.guard.contact.take(&positions, at) {
            tell = true;
            self.beside.contact = self.guard.contact.kept().cloned();
        }
        tell |= self.guard.contact.is_lost() && self.guard.last_replay != positions.replay;
        self.guard.last_replay = positions.replay;
        tick(tell)
    }

    /// Whether the monitor has something to wait for: the end of replay that somebody else waits for.
    pub fn is_watching_replay(&self) -> bool {
        let behind = |d: &DataDir| d.replayed < d.wal.records.len();
        self.guard.contact.is_lost() && self.server.dir.as_ref().is_some_and(behind)
    }

    /// Whether it is time to look whether this standby can ever stream again.
    pub fn stray_is_due(&mut self, now: Moment) -> Option<Upstream> {
        let at = self.clock(now);
        let follows = self.guard.rules.following().cloned();
        let running = self.server.run != Run::Down;
        let due = self.guard.stray.is_due(follows.is_some() && running, self.server.stream.on, at);
        follows.filter(|_| due)
    }

    /// The stray look's result.
    pub fn strayed(&mut self, theirs: Option<&DataDir>) -> bool {
        self.guard.stray.looked();
        let (Some(ours), Some(theirs)) = (&self.server.dir, theirs) else { return false };
        matches!(standing(ours, theirs), Ok(Standing::Diverged { .. }))
    }

    /// The whole report.
    pub fn report(&mut self, now: Moment, replicas: &[(SiteName, u64)]) -> Report {
        // The monitor has looked a moment ago.
        if !self.server.frozen {
            // What it would tell at once is in this report; a primary that nobody made one, its next look tells.
            let _ = self.look(now);
        }
        let at = self.clock(now);
        let down = self.guard.rules.server().is_down();
        let running = self.positions(now).map(|mut p| {
            let in_recovery = !self.server.run.is_primary();
            self.guard.received.complete(in_recovery, &mut p);
            p
        });
        let last = self.guard.last_primary.as_ref().filter(|_| down);
        let positions = running
            .clone()
            .or_else(|| last.map(|(p, seen)| Positions { age: Millis::from(at.since(*seen)), ..p.clone() }));
        let own = running.and_then(|p| p.flush);
        let confirmed: Vec<(String, Lsn)> =
            replicas.iter().map(|(site, lsn)| (slot_of(site), Lsn(*lsn))).collect();
        let replicas: Few<String, Behind> =
            own.map(|own| self.guard.flushed.take(own, &confirmed, at)).unwrap_or_default();
        let rules = &self.guard.rules;
        let mut notes: Vec<String> = self.guard.trouble.clone().into_iter().collect();
        notes.extend(rules.waits_for().map(str::to_owned));
        Report {
            serial: rules.memory().high_water.serial,
            locked: rules.locked(),
            boot: self.guard.boot(),
            state: rules.server().clone(),
            disk: self.disk(),
            positions,
            replicas,
            stopped: self.beside.stopped.clone(),
            checkpointed: self.guard.checkpointed,
            opened_epoch: self.beside.opened,
            diverged: self.beside.diverged.clone(),
            contact_lost: self.guard.contact.lost(at),
            high_water: rules.memory().high_water,
            exited: rules.exited().map(str::to_owned),
            sigterm: rules.sigterm(),
            fallback: rules.fallback_in_use(),
            unlimited: rules.deadline() == Deadline::Never,
            log_gone: None,
            unlocked: rules.memory().unlocked.clone(),
            notes,
        }
    }

    /// Whether a step that makes or keeps a writer may go on: the watch's word.
    pub fn has_leave(&self, now: Moment) -> bool {
        self.guard.watch.is_live(self.clock(now))
    }

    /// Begins a step; answers its number. What the one before may still do counts for nothing.
    pub fn begin(&mut self, step: Step) -> u64 {
        self.guard.number += 1;
        if matches!(step, Step::Primary | Step::Promote | Step::CloseFirst) {
            self.guard.was_primary = true;
        }
        self.guard.step = Some(step);
        self.guard.number
    }

    /// Ends the step that is under way.
    pub fn abort(&mut self) {
        self.guard.number += 1;
        self.guard.step = None;
    }

    /// A standby's contact ends with it.
    pub fn end_contact(&mut self, now: Moment) {
        let at = self.clock(now);
        if self.guard.contact.end(at) {
            self.beside.contact = self.guard.contact.kept().cloned();
        }
    }

    /// What the supervisor makes of the end of a step: events for the rules, in order.
    pub fn step_ended(&mut self, number: u64, end: StepEnd) -> Vec<Event> {
        if number != self.guard.number {
            return vec![Event::Tick { tell: false }];
        }
        match end {
            StepEnd::Is(state) => {
                if !state.is_busy() {
                    self.guard.step = None;
                    self.guard.trouble = None;
                }
                self.guard.was_primary |= state.is_or_becomes_primary();
                if state.is_down() {
                    return vec![Event::Disk(self.disk()), Event::Server { state, died: None }];
                }
                vec![Event::Server { state, died: None }]
            }
            StepEnd::Failed(why) => {
                self.guard.step = None;
                self.guard.trouble = Some(why.clone());
                let state = self.guard.rules.server();
                if state.is_busy() && self.server.run == Run::Down {
                    let state = ServerState::Failed { reason: why, commands: Vec::new() };
                    return vec![Event::Disk(self.disk()), Event::Server { state, died: None }];
                }
                vec![Event::Failed]
            }
            StepEnd::NoLeave => {
                self.guard.step = None;
                if self.server.run == Run::Down {
                    return vec![Event::Server { state: ServerState::Down, died: None }];
                }
                vec![Event::Failed]
            }
        }
    }

    /// Nothing of the server runs any more: events for the rules, in order.
    pub fn gone(&mut self, why: &str, now: Moment) -> Vec<Event> {
        self.end_contact(now);
        let found = self.disk();
        let asked = *self.guard.rules.server() == ServerState::Stopping;
        if std::mem::take(&mut self.guard.was_primary)
            && let Disk::Cluster(c) = &found
        {
            let stopped = Stopped {
                serial: self.guard.rules.memory().high_water.serial,
                system_id: c.system_id,
                timeline: c.timeline,
                checkpoint: c.checkpoint,
                clean: c.state == ClusterState::ShutDown,
            };
            if let Some((_, lived)) = self.guard.last_primary.as_ref().filter(|_| stopped.clean) {
                let (lived, at) = (*lived, self.machine.boottime(now));
                self.guard.contact.stopped(&stopped, lived, at);
                self.beside.contact = self.guard.contact.kept().cloned();
            }
            self.beside.stopped = Some(stopped);
        }
        self.abort();
        self.guard.received = Received::default();
        self.guard.flushed = Flushed::default();
        let died = (!asked).then(|| why.to_owned());
        vec![Event::Disk(found), Event::Server { state: ServerState::Down, died }]
    }

    /// What an order of the rules is, for the list of boundaries; `None`: it touches nothing outside the guard.
    pub fn touches(action: &Action) -> Option<&'static str> {
        Some(match action {
            Action::Kill => "kill",
            Action::Stop { .. } => "stop",
            Action::RemoveTrigger => "remove the trigger",
            Action::StartPrimary => "start as a primary",
            Action::StartOrphan => "start without an upstream",
            Action::Join { .. } => "join",
            Action::Clone { .. } => "clone",
            Action::Promote { .. } => "promote",
            Action::Open { .. } => "open",
            Action::OpenStandby => "open for reads",
            Action::Close => "close",
            Action::Checkpoint { .. } => "checkpoint",
            Action::Remember(_) => "remember",
            Action::RenewLease { .. } => "renew the lease",
            Action::Watch(_) | Action::Ask { .. } | Action::ReadRecord { .. } | Action::Exit => return None,
        })
    }
}

/// What standing beside the upstream's history finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can follow.
    Follows,
    /// It has to be brought back.
    Diverged {
        /// From where.
        fork: Fork,
        /// By numbers alone the fork is the same.
        by_number: bool,
    },
}

/// Where two copies part, as the guard finds out.
pub fn standing(ours: &DataDir, theirs: &DataDir) -> Result<Standing, String> {
    if ours.system != theirs.system {
        return Err("they never were copies of each other".to_owned());
    }
    let (own, other) = (ours.wal.history(), theirs.wal.history());
    let (Ok(own), Ok(other)) = (own, other) else { return Err("a history cannot be read".to_owned()) };
    let found = fork(&own, &other);
    match found {
        Fork::None => Ok(Standing::Follows),
        Fork::Strangers => Err("the two histories have no timeline in common".to_owned()),
        Fork::At { lsn, .. } => {
            let past = ours.wal.records.last().is_some_and(|r| r.start >= lsn.0);
            if !past && ours.checkpoint.0 < lsn.0 {
                return Ok(Standing::Follows);
            }
            Ok(Standing::Diverged { fork: found, by_number: same_by_number(&own, &other) })
        }
    }
}

/// What lies past a fork: counted and saved.
pub fn past(ours: &DataDir, found: Fork) -> Option<(Diverged, Vec<Rec>)> {
    let Fork::At { timeline, lsn } = found else { return None };
    let saved: Vec<Rec> = ours.wal.records.iter().filter(|r| r.start >= lsn.0).copied().collect();
    let end = Lsn(ours.wal.end().max(lsn.0));
    let transactions = saved.iter().filter(|r| matches!(r.what, What::Commit(_))).count() as u64;
    let path = format!("diverged/{timeline}-{lsn}-{end}");
    let bytes = end.ahead_of(lsn);
    Some((Diverged { timeline, fork: lsn, end, bytes, transactions, path }, saved))
}

/// The pod's name.
pub fn instance(name: &ItemName) -> ObjectName {
    #[expect(clippy::expect_used, reason = "an item's name with an ordinal is a name: both are labels")]
    format!("{name}-0").try_into().expect("a label with an ordinal")
}

/// The name of a Move that has none that can be used.
pub fn move_name() -> ObjectName {
    #[expect(clippy::expect_used, reason = "a constant that is a label")]
    ObjectName::try_from("unnamed").expect("a label")
}
