//! The loop: what happens goes into the rules, what they order is carried out, one step of the server at a time.

mod orders;
mod told;
mod unlocked;

use std::sync::Arc;
use std::time::Duration;

use bascule_core::guard::action::{Action, Event};
use bascule_core::guard::contact::Contact;
use bascule_core::guard::fallback::RecordView;
use bascule_core::guard::grant::Deadline;
use bascule_core::guard::rules::Rules;
use bascule_core::guard::stray::Stray;
use bascule_core::guard::wire::{
    ClusterState, Disk, Diverged, FromGuard, FromOperator, Report, Role, ServerState, Stopped, Upstream,
};
use bascule_core::time::{Boottime, Millis};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::arbiter::Arbiter;
use crate::clock;
use crate::effect::ordered;
use crate::journal::Journal;
use crate::link::FromLink;
use crate::monitor::{Seen, keep_contact};
use crate::server::Server;
use crate::store::{DIVERGED, OPENED, REWINDING, STOPPED, StoreError};
use crate::watch::Killed;

/// How often the guard says why it waits.
const SAY_WHY: Duration = Duration::from_secs(10);
/// How often the disk is looked at while no server runs.
const LOOK_AT_DISK: Duration = Duration::from_secs(1);

pub(crate) use orders::postmaster_ends;
use told::Doing;
use unlocked::Word;

/// What the parts tell the loop.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The connection.
    Link(FromLink),
    /// A look at the server.
    Seen(Seen),
    /// A step of the server ended or went on to its next stage.
    Step { number: u64, what: StepEnd },
    /// The postmaster of this start ended and nothing of it runs any more.
    Gone { why: String },
    /// What was to be stopped had not begun to run, and will not.
    NeverRan,
    /// The watch has killed everything.
    Killed(Killed),
    /// A `CHECKPOINT` for this serial is done.
    Checkpointed(u64),
    /// A `CHECKPOINT` for this serial failed, or nobody knows how it ended.
    NotCheckpointed(u64),
    /// Something a person should set differently.
    Advice(Vec<String>),
    /// The arbiter answered, or not.
    Record { number: u64, view: Option<RecordView> },
    /// A standby that does not stream was looked at: its history has left the upstream's, or not.
    Stray {
        upstream: Upstream,
        strayed: bool,
        /// Why it can never stream again; `None`: it may, or nobody knows.
        log_gone: Option<String>,
    },
    /// The lease was renewed, or not.
    Lease { number: u64, done: bool },
    /// A signal to end.
    Terminate,
}

/// How a step of the server went.
#[derive(Debug)]
pub(crate) enum StepEnd {
    /// It is this now.
    Is(ServerState),
    /// The step failed and the server is as it was.
    Failed(String),
    /// The grant ended before it could be done.
    NoLeave,
    /// A part of it begins, in words.
    Begins(&'static str),
    /// What was diverged was saved.
    Saved(Diverged),
}

/// The guard at work.
pub(crate) struct Supervisor {
    pub(crate) rules: Rules,
    pub(crate) server: Arc<Server>,
    pub(crate) arbiter: Option<Arc<Arbiter>>,
    pub(crate) boot: String,
    pub(crate) heard: mpsc::Receiver<Heard>,
    pub(crate) hear: mpsc::Sender<Heard>,
    pub(crate) say: mpsc::Sender<FromGuard>,
    pub(crate) contact: Contact,
    pub(crate) journal: Journal,
    state: State,
}

#[derive(Default)]
struct State {
    step: Option<JoinHandle<()>>,
    step_number: u64,
    seen: Option<Seen>,
    /// The last reading of a primary that has ended since: how far its log is known to have come.
    last_primary: Option<Seen>,
    disk_read: Option<(Disk, Boottime)>,
    stopped: Option<Stopped>,
    checkpointed: Option<u64>,
    advice: Vec<String>,
    trouble: Option<String>,
    link_trouble: Option<String>,
    said_why: Option<Boottime>,
    was_primary: bool,
    step_began: Option<Boottime>,
    stray: Stray,
    slots_due: Option<Boottime>,
    /// Of which upstream the log is gone that this standby needs, and how that was seen.
    log_gone: Option<(Upstream, String)>,
    doing: Doing,
    word: Word,
    exit: bool,
}

impl Supervisor {
    #[expect(clippy::too_many_arguments, reason = "every part is named at the one place that calls it")]
    pub(crate) fn new(
        rules: Rules,
        server: Arc<Server>,
        arbiter: Option<Arc<Arbiter>>,
        boot: String,
        heard: mpsc::Receiver<Heard>,
        hear: mpsc::Sender<Heard>,
        say: mpsc::Sender<FromGuard>,
        contact: Contact,
        journal: Journal,
    ) -> Result<Self, StoreError> {
        let stopped = server.store.read(STOPPED)?;
        let state = State { stopped, ..State::default() };
        Ok(Self { rules, server, arbiter, boot, heard, hear, say, contact, journal, state })
    }

    /// Runs until the pod is asked to end and nothing runs any more.
    pub(crate) async fn run(mut self) {
        let mut event = Event::Tick { tell: false };
        loop {
            let now = clock::now();
            for action in self.rules.step(event, now) {
                self.carry_out(action);
            }
            if self.state.exit {
                return;
            }
            self.look_at_word(now);
            self.note_operator(now);
            self.say_why(now);
            self.look_for_stray(now);
            self.keep_slots(now);
            let wait = clock::now().until(self.rules.wakes(clock::now())).unwrap_or_default();
            event = match tokio::time::timeout(wait, self.heard.recv()).await {
                Ok(Some(heard)) => self.hears(heard),
                Ok(None) => return,
                Err(_) => self.look_at_disk(),
            };
        }
    }

    fn hears(&mut self, heard: Heard) -> Event {
        let tick = |tell| Event::Tick { tell };
        match heard {
            Heard::Link(FromLink::Up) => {
                self.state.link_trouble = None;
                Event::Connected
            }
            Heard::Link(FromLink::Down(why)) => {
                if self.state.link_trouble.as_ref() != Some(&why) {
                    tracing::warn!(%why, "no operator");
                }
                self.state.link_trouble = Some(why);
                Event::Disconnected
            }
            Heard::Link(FromLink::Said(said)) => match *said {
                FromOperator::Answer { nonce, instruction } => {
                    self.state.word.heard(&instruction);
                    Event::Answered { nonce, instruction }
                }
                FromOperator::Tell { instruction } => {
                    self.state.word.heard(&instruction);
                    Event::Told { instruction }
                }
                // The connection turns a refusal into its end.
                FromOperator::Refuse { .. } => Event::Disconnected,
            },
            Heard::Seen(seen) => self.sees(seen),
            Heard::Step { number, what } => self.step_ended(number, what),
            Heard::Gone { why } => self.gone(why),
            Heard::Killed(killed) => {
                tracing::warn!(took = ?killed.took, late = ?killed.late, "killed every process of the server");
                self.tells_killed(killed);
                self.never_ran("it was killed before it ran")
            }
            Heard::NeverRan => self.never_ran("it was stopped before it ran"),
            Heard::Checkpointed(serial) => {
                self.state.checkpointed = Some(serial);
                tick(true)
            }
            Heard::NotCheckpointed(serial) => Event::CheckpointFailed { serial },
            Heard::Advice(advice) => {
                self.state.advice = advice;
                tick(true)
            }
            Heard::Record { number, view } => Event::RecordRead { number, view },
            Heard::Stray { upstream, strayed, log_gone } => {
                self.state.stray.looked();
                let follows = self.rules.following() == Some(&upstream);
                if let Some(why) = &log_gone {
                    tracing::warn!(%why, "this standby can follow no more");
                }
                self.state.log_gone = log_gone.filter(|_| follows).map(|why| (upstream.clone(), why));
                if strayed && follows {
                    tracing::warn!("the upstream's history has left this standby's: it joins again");
                    return Event::Strayed;
                }
                tick(false)
            }
            Heard::Lease { number, done } => Event::LeaseRenewed { number, done },
            Heard::Terminate => Event::Sigterm,
        }
    }

    fn sees(&mut self, seen: Seen) -> Event {
        let expected = self.rules.server();
        // A primary where a standby was expected: nobody here promoted it.
        let stranger = !seen.reading.in_recovery && matches!(expected, ServerState::Standby { .. });
        // During a promotion the receiver is on its way out: its last words are no contact.
        if self.server.running().is_none() || *expected == ServerState::Promoting {
            return Event::Tick { tell: false };
        }
        let mut tell = false;
        if seen.reading.in_recovery && self.contact.take(&seen.reading.positions, seen.at) {
            tell = true;
            self.write_contact();
        }
        // Without a primary only the rest of what was received is replayed: somebody waits for its end.
        let replay = |seen: &Seen| seen.reading.positions.replay;
        tell |= self.contact.is_lost() && self.state.seen.as_ref().map(replay) != Some(replay(&seen));
        self.state.seen = Some(seen);
        if stranger {
            tracing::error!("the standby was promoted by somebody else");
            self.state.was_primary = true;
            return Event::Server { state: ServerState::Primary { open: true }, died: None };
        }
        Event::Tick { tell }
    }

    fn write_contact(&mut self) {
        if let Err(e) = keep_contact(&self.contact, &self.server) {
            self.trouble(&e);
        }
    }

    fn trouble(&mut self, e: &dyn std::error::Error) {
        let text = crate::link::in_full(e);
        tracing::error!(error = %text, "beside the data");
        self.state.trouble = Some(text);
    }

    fn step_ended(&mut self, number: u64, what: StepEnd) -> Event {
        if number != self.state.step_number {
            return Event::Tick { tell: false };
        }
        match what {
            StepEnd::Is(state) => {
                self.tells_state(&state);
                if !state.is_busy() {
                    self.state.step = None;
                    self.state.trouble = None;
                }
                self.state.was_primary |= state.is_or_becomes_primary();
                let took = self.state.step_began.map(|began| clock::now().since(began));
                tracing::info!(?state, ?took, "server");
                if state.is_down() {
                    return self.read_disk_with(state);
                }
                self.after_start(&state);
                Event::Server { state, died: None }
            }
            StepEnd::Failed(why) => {
                self.state.step = None;
                tracing::warn!(%why, "a step failed");
                self.tells_end_of_step(&format!("failed: {why}"));
                self.state.trouble = Some(why.clone());
                match self.rules.server() {
                    // It may have left recovery or not: a promotion that is not known to have worked is given up.
                    ServerState::Promoting => {
                        self.kill(bascule_boundary::begin(ordered(&Action::Kill)));
                        Event::Tick { tell: true }
                    }
                    // Nothing runs that could be heard of ending.
                    state if state.is_busy() && self.server.running().is_none() => {
                        let disk = self.read_disk();
                        self.apply(Event::Disk(disk));
                        let state = ServerState::Failed { reason: why, commands: Vec::new() };
                        Event::Server { state, died: None }
                    }
                    _ => Event::Failed,
                }
            }
            StepEnd::NoLeave => {
                self.state.step = None;
                self.tells_end_of_step("not done: the grant ended before");
                match self.server.running() {
                    Some(_) => Event::Failed,
                    None => Event::Server { state: ServerState::Down, died: None },
                }
            }
            StepEnd::Begins(what) => {
                self.tells_part(what);
                Event::Tick { tell: false }
            }
            StepEnd::Saved(diverged) => {
                self.tells_saved(&diverged);
                tracing::warn!(
                    bytes = diverged.bytes,
                    transactions = diverged.transactions,
                    path = diverged.path,
                    "saved what the new history does not have"
                );
                Event::Tick { tell: true }
            }
        }
    }

    /// A stop or a kill met nothing that runs. Its word may come late, when another start is under way already: that
    /// one is not ended by it, or its postmaster would run without anybody who knows of it.
    fn never_ran(&mut self, why: &str) -> Event {
        if self.server.running().is_none() && self.rules.server() == &ServerState::Stopping {
            return self.gone(why.to_owned());
        }
        Event::Tick { tell: true }
    }

    /// Nothing of the server runs any more.
    fn gone(&mut self, why: String) -> Event {
        self.server.gone();
        self.state.last_primary = self.state.seen.take().filter(|seen| !seen.reading.in_recovery);
        if self.contact.end(clock::now()) {
            self.write_contact();
        }
        let disk = self.read_disk();
        // The watch may have been quicker than the rules: they look at the deadline before they hear of the end.
        self.apply(Event::Disk(disk.clone()));
        let asked = *self.rules.server() == ServerState::Stopping;
        if std::mem::take(&mut self.state.was_primary)
            && let Disk::Cluster(c) = &disk
        {
            let stopped = Stopped {
                serial: self.rules.memory().high_water.serial,
                system_id: c.system_id,
                timeline: c.timeline,
                checkpoint: c.checkpoint,
                clean: c.state == ClusterState::ShutDown,
            };
            let took = self.state.step_began.map(|began| clock::now().since(began));
            tracing::info!(?stopped, ?took, "the primary has stopped");
            if let Some(seen) = self.state.last_primary.as_ref().filter(|_| stopped.clean) {
                self.contact.stopped(&stopped, seen.at, clock::now());
                self.write_contact();
            }
            if let Err(e) = self.server.store.write(STOPPED, &stopped) {
                self.trouble(&e);
            }
            self.state.stopped = Some(stopped);
        }
        self.abort_step();
        if !asked {
            tracing::error!(%why, "the server died");
        }
        self.tells_gone(asked, &why);
        Event::Server { state: ServerState::Down, died: (!asked).then_some(why) }
    }

    fn read_disk(&mut self) -> Disk {
        let disk = crate::control::read(&self.server.data, self.server.store.has(REWINDING));
        self.state.disk_read = Some((disk.clone(), clock::now()));
        disk
    }

    fn read_disk_with(&mut self, state: ServerState) -> Event {
        let disk = self.read_disk();
        self.apply(Event::Disk(disk));
        Event::Server { state, died: None }
    }

    fn apply(&mut self, event: Event) {
        for action in self.rules.step(event, clock::now()) {
            self.carry_out(action);
        }
    }

    fn look_at_disk(&mut self) -> Event {
        let now = clock::now();
        let due = self.state.disk_read.as_ref().is_none_or(|(_, at)| now.since(*at) >= LOOK_AT_DISK);
        if due && self.rules.server().is_down() && self.state.step.is_none() {
            return Event::Disk(self.read_disk());
        }
        Event::Tick { tell: false }
    }

    fn say_why(&mut self, now: Boottime) {
        if !self.rules.server().is_down() || self.state.said_why.is_some_and(|at| now.since(at) < SAY_WHY) {
            return;
        }
        self.state.said_why = Some(now);
        let why = match self.rules.server() {
            ServerState::Failed { reason, commands } => format!("{reason}; {}", commands.join("; ")),
            _ if self.rules.unlocked().is_some() => {
                let trouble = self.state.trouble.as_deref().unwrap_or("it is being started");
                format!("unlocked by a person: {trouble}")
            }
            _ => match (self.rules.role(), self.rules.memory().locked) {
                (_, Some(serial)) => format!("locked at serial {serial} until a later decision"),
                (None, _) if self.rules.waits_for().is_some() => {
                    self.rules.waits_for().unwrap_or_default().to_owned()
                }
                (None, _) => match &self.state.link_trouble {
                    Some(trouble) => format!("no role yet: {trouble}"),
                    None => "no role yet: the operator has not decided".to_owned(),
                },
                (Some(Role::Wait { why }), _) => why.clone(),
                (Some(role), _) => {
                    let trouble = self.state.trouble.as_deref().unwrap_or("waiting for the operator's word");
                    format!("role {}: {trouble}", role.name())
                }
            },
        };
        tracing::info!(%why, "the server is down");
    }

    fn report(&mut self) -> Report {
        let now = clock::now();
        let disk = match &self.state.disk_read {
            Some((disk, at)) if now.since(*at) < LOOK_AT_DISK => disk.clone(),
            _ => self.read_disk(),
        };
        let store = &self.server.store;
        let last = self.state.last_primary.as_ref().filter(|_| self.rules.server().is_down());
        let positions = self.state.seen.as_ref().or(last).map(|seen| {
            let mut positions = seen.reading.positions.clone();
            positions.age = Millis::from(now.since(seen.at));
            positions
        });
        let mut notes = self.state.advice.clone();
        notes.extend(self.state.trouble.clone());
        notes.extend(self.rules.waits_for().map(str::to_owned));
        notes.extend(self.server.watch.left());
        let mut unread = |e: &StoreError, so: &str| notes.push(format!("{}; {so}", crate::link::in_full(e)));
        let opened_epoch = store.read(OPENED).unwrap_or_else(|e| {
            unread(&e, "it counts as opened in this hold");
            Some(self.rules.memory().high_water.epoch)
        });
        let diverged = store.read(DIVERGED).unwrap_or_else(|e| {
            unread(&e, "what diverged last is not known");
            None
        });
        Report {
            serial: self.rules.memory().high_water.serial,
            locked: self.rules.locked(),
            boot: self.boot.clone(),
            state: self.rules.server().clone(),
            disk,
            positions,
            replicas: self.state.seen.as_ref().map(|seen| seen.replicas.clone()).unwrap_or_default(),
            stopped: self.state.stopped.clone(),
            checkpointed: self.state.checkpointed,
            opened_epoch,
            diverged,
            contact_lost: self.contact.lost(now),
            high_water: self.rules.memory().high_water,
            exited: self.rules.exited().map(str::to_owned),
            sigterm: self.rules.sigterm(),
            fallback: self.rules.fallback_in_use(),
            unlocked: self.rules.memory().unlocked.clone(),
            unlimited: self.rules.deadline() == Deadline::Never,
            log_gone: self.state.log_gone.as_ref().map(|(_, why)| why.clone()),
            notes,
        }
    }
}

#[cfg(test)]
mod tests;
