//! What does a guard do next? A state machine over events and the time, without a clock of its own.
//!
//! Every call of [`Rules::step`] looks at the deadline first: a guard that wakes up late kills before anything else.

mod remembered;
mod talk;
mod unlocked;

use std::time::Duration;

use super::action::{Action, Event, Memory};
use super::fallback::Fallback;
use super::grant::{Deadline, Grants};
use super::wire::{Disk, HighWater, Instruction, Role, ServerState, Timing, Upstream};
use crate::mutant::forgets;
use crate::time::{Boottime, Millis};
use remembered::{REMEMBERED, Remembered};

/// How long a fast stop may take when no deadline bounds it, before the server is stopped without asking it.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a guard that remembers an unmanaged role waits for an operator before it goes by what it remembers.
pub const UNMANAGED_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last report of a guard that was asked to end may wait for its answer.
pub const FAREWELL: Duration = Duration::from_millis(300);
/// How long after a checkpoint that failed the next one may begin.
const CHECKPOINT_AGAIN: Duration = Duration::from_secs(1);
/// The first and the longest pause before something that failed is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What needs a grant and a fresh answer: each of these is asked for anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Start,
    Promote,
    Open,
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Rules {
    memory: Memory,
    grants: Grants,
    /// What the watch was last armed with. It outlives the grant: a server that is being stopped must still be
    /// gone in time.
    watch: Deadline,
    fallback: Fallback,
    role: Option<Role>,
    role_epoch: u64,
    timing: Timing,
    server: ServerState,
    stopping_writer: bool,
    /// Opening or closing is under way and not confirmed yet.
    access_pending: bool,
    /// The epoch of the last order to open that was given for this server, while it is open or is being opened.
    opened_in: Option<u64>,
    /// Opening was begun and nothing has confirmed since how the server stands: clients may be connected.
    ajar: bool,
    following: Option<Upstream>,
    disk: Disk,
    need: Option<(Need, Boottime)>,
    permitted: bool,
    connected: bool,
    silent_since: Option<Boottime>,
    ask_at: Boottime,
    tell: bool,
    retry_at: Boottime,
    failures: u32,
    checkpoint_asked: Option<u64>,
    checkpoint_at: Boottime,
    exited: Option<String>,
    leaving: Option<Leaving>,
    started: Boottime,
    remembered: Remembered,
}

/// The way out after SIGTERM.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    /// The last report's nonce and when to go without its answer.
    farewell: Option<(u64, Boottime)>,
    gone: bool,
}

impl Rules {
    /// A guard that has just started: nothing runs, no grant is held, whatever was held before.
    pub fn new(memory: Memory, disk: Disk, now: Boottime) -> Self {
        Self {
            grants: Grants::default(),
            watch: Deadline::None,
            fallback: Fallback::default(),
            role: None,
            role_epoch: memory.high_water.epoch,
            timing: Timing { p: Millis(1000), tq: Millis(1000), r: Millis(5000), f: Millis(1000) },
            server: ServerState::Down,
            stopping_writer: false,
            access_pending: false,
            opened_in: None,
            ajar: false,
            following: None,
            disk,
            need: None,
            permitted: false,
            connected: false,
            silent_since: Some(now),
            ask_at: now,
            tell: false,
            retry_at: now,
            failures: 0,
            checkpoint_asked: None,
            checkpoint_at: now,
            exited: None,
            leaving: None,
            started: now,
            remembered: Remembered::default(),
            memory,
        }
    }

    /// Whether the guard can ask the arbiter itself.
    pub const fn with_arbiter(mut self, has: bool) -> Self {
        self.remembered.has_arbiter = has;
        self
    }

    /// The role in force; `None` until one was given.
    pub const fn role(&self) -> Option<&Role> {
        self.role.as_ref()
    }

    /// Whom the standby was started to follow; `None`: nobody.
    pub fn following(&self) -> Option<&Upstream> {
        self.following.as_ref().filter(|_| self.is_standby())
    }

    /// What the server is, as the rules know it.
    pub const fn server(&self) -> &ServerState {
        &self.server
    }

    /// The timing in force.
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// What is kept beside the data.
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The lock as it may be reported: only once nothing is or becomes a primary.
    pub fn locked(&self) -> Option<u64> {
        if self.unlocked().is_some() {
            // It may be started at any moment, whatever a lock says.
            return None;
        }
        if self.server.is_down() || forgets("a lock is reported once nothing runs") {
            self.memory.locked
        } else {
            None
        }
    }

    /// Why the server died by itself; until it runs again.
    pub fn exited(&self) -> Option<&str> {
        self.exited.as_deref()
    }

    /// Whether the pod was asked to end.
    pub const fn sigterm(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether the guard extends its own grant.
    pub const fn fallback_in_use(&self) -> bool {
        self.fallback.in_use()
    }

    /// Until when the server may write.
    pub const fn deadline(&self) -> Deadline {
        self.grants.deadline()
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn wakes(&self, now: Boottime) -> Boottime {
        let mut at = now + Duration::from_secs(1);
        if let Deadline::At(end) = self.watch {
            at = at.min(end);
        }
        if self.connected {
            at = at.min(self.ask_at);
        }
        // A question that is under way wakes the guard with its answer.
        if self.may_fall_back(now)
            && let Some(next) = self.fallback.wakes()
        {
            let since = self.silent_since.unwrap_or(now) + self.timing.tq.duration();
            at = at.min(next.max(since));
        }
        if self.retry_at > now {
            at = at.min(self.retry_at);
        }
        if let Some(Leaving { farewell: Some((_, end)), .. }) = self.leaving {
            at = at.min(end);
        }
        at.max(now)
    }

    /// Takes what happened and says what to do, in order.
    pub fn step(&mut self, event: Event, now: Boottime) -> Vec<Action> {
        let mut out = Vec::new();
        self.expire(now, &mut out);
        let killed = out.len();
        let before = self.memory.clone();
        match event {
            Event::Tick { tell } => self.tell |= tell,
            Event::Connected => {
                self.connected = true;
                self.tell = true;
            }
            Event::Disconnected => {
                self.connected = false;
                self.silent_since.get_or_insert(now);
            }
            Event::Answered { nonce, instruction } => self.answered(nonce, &instruction, now, &mut out),
            Event::Told { instruction } => {
                self.accept(&instruction, now, &mut out);
            }
            Event::Server { state, died } => {
                // Only a promotion that was ordered here makes a primary of a standby.
                let stranger =
                    matches!(self.server, ServerState::Standby { .. }) && state.is_or_becomes_primary();
                self.server_changed(state, died, now);
                if stranger {
                    self.kill(&mut out);
                }
            }
            Event::Disk(disk) => {
                if disk != self.disk && matches!(self.server, ServerState::Failed { .. }) {
                    self.server = ServerState::Down;
                    self.retry_at = now;
                }
                self.tell |= disk != self.disk;
                self.disk = disk;
            }
            Event::Failed => {
                self.access_pending = false;
                self.back_off(now);
                self.tell = true;
            }
            Event::CheckpointFailed { serial } => {
                if self.checkpoint_asked == Some(serial) {
                    self.checkpoint_asked = None;
                    self.checkpoint_at = now + CHECKPOINT_AGAIN;
                }
            }
            Event::Strayed => {
                // Joining again looks closer, and rewinds it.
                let follows = matches!(self.role, Some(Role::Follow { .. })) && self.unlocked().is_none();
                if self.is_standby() && follows {
                    self.stop(now, &mut out);
                }
            }
            Event::RecordRead { number: REMEMBERED, view } => self.confirm_remembered(view, now),
            Event::RecordRead { number, view } => {
                self.heed_promise(view);
                let step = self.fallback.read(number, view, self.memory.high_water);
                self.fall_back(step, now, &mut out);
            }
            Event::LeaseRenewed { number, done } => {
                let step = self.fallback.renewed(number, done, self.timing.r.duration());
                self.fall_back(step, now, &mut out);
            }
            Event::Unlocked(word) => self.take_word(word, now, &mut out),
            Event::Sigterm => {
                if self.leaving.is_none() {
                    self.leaving = Some(Leaving { farewell: None, gone: false });
                    self.tell = true;
                }
            }
        }
        self.reconcile(now, &mut out);
        self.arm(killed, now, &mut out);
        if self.memory != before {
            out.push(Action::Remember(self.memory.clone()));
        }
        self.ask(now, &mut out);
        if self.may_fall_back(now) && self.is_silent(now) {
            let step = self.fallback.begin(now, self.timing.ask_every());
            self.fall_back(step, now, &mut out);
        }
        out
    }

    const fn has_standby_signal(&self) -> bool {
        matches!(&self.disk, Disk::Cluster(c) if c.standby_signal)
    }

    const fn is_standby(&self) -> bool {
        matches!(self.server, ServerState::Standby { .. } | ServerState::Starting { writer: false })
    }

    fn is_writer(&self) -> bool {
        self.server.is_or_becomes_primary()
            || (self.stopping_writer && matches!(self.server, ServerState::Stopping))
    }

    fn expire(&mut self, now: Boottime, out: &mut Vec<Action>) {
        if self.grants.deadline().has_passed(now) {
            self.grants.clear();
        }
        if self.watch.has_passed(now) && self.is_writer() {
            self.kill(out);
        }
    }

    fn kill(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Kill);
        if self.server == ServerState::Promoting {
            out.push(Action::RemoveTrigger);
        }
        self.stopping_writer = true;
        self.set(ServerState::Stopping);
    }

    /// The watch follows the grant; a grant that is gone leaves the old end in force while a writer is being
    /// stopped.
    fn arm(&mut self, at: usize, now: Boottime, out: &mut Vec<Action>) {
        let wanted = match self.grants.deadline() {
            Deadline::None if self.is_writer() && !self.watch.has_passed(now) => return,
            other => other,
        };
        if wanted != self.watch {
            self.watch = wanted;
            // Before whatever this step starts: a server never runs unwatched.
            out.insert(at, Action::Watch(wanted));
        }
    }

    fn answered(&mut self, nonce: u64, ins: &Instruction, now: Boottime, out: &mut Vec<Action>) {
        let Some(asked) = self.grants.answered(nonce) else { return };
        if let Some(leaving) = &mut self.leaving
            && leaving.farewell.is_some_and(|(n, _)| n == nonce)
        {
            leaving.gone = true;
        }
        if !self.accept(ins, now, out) {
            return;
        }
        // An answer that leaves a writer without a grant is no more than silence to it.
        if ins.grant.is_some() || !matches!(ins.role, Role::Keep | Role::Serve { .. }) {
            self.silent_since = None;
            self.fallback.abandon();
        }
        if !matches!(self.role, Some(Role::Serve { .. })) || self.memory.locked.is_some() {
            return;
        }
        let Some(grant) = ins.grant else { return };
        self.grants.take(grant, asked.at);
        let in_time = self.need.is_some_and(|(_, since)| asked.at >= since);
        let serves = matches!(ins.role, Role::Serve { .. });
        // A fresh answer whose own grant ended on its way says what the record was, not what it is: no later grant
        // that nobody read the record for revives it.
        self.permitted =
            ins.fresh && asked.fresh && in_time && serves && grant.deadline(asked.at).is_live(now);
    }

    /// Takes the role of an instruction; `false` when the whole of it is refused.
    fn accept(&mut self, ins: &Instruction, now: Boottime, out: &mut Vec<Action>) -> bool {
        let marks = HighWater { epoch: ins.epoch, serial: ins.serial, generation: ins.generation };
        if self.unlocked().is_some() {
            // Nobody's word counts before the person's who gives it back: not even as heard.
            return false;
        }
        if self.memory.high_water.is_above(&marks) && !forgets("what is older than the lock frees nothing") {
            return false;
        }
        let frees = matches!(ins.role, Role::Follow { .. } | Role::Serve { .. });
        let older = self.memory.locked.is_some_and(|at| ins.serial <= at);
        if frees && older && !forgets("what is older than the lock frees nothing") {
            return false;
        }
        self.memory.high_water = marks;
        self.timing = ins.timing;
        // It is ordered with every answer for as long as it is wanted.
        let may = matches!(self.server, ServerState::Primary { .. }) && now >= self.checkpoint_at;
        if ins.checkpoint && self.checkpoint_asked != Some(ins.serial) && may {
            self.checkpoint_asked = Some(ins.serial);
            out.push(Action::Checkpoint { serial: ins.serial });
        }
        if ins.role == Role::Keep {
            return true;
        }
        if frees {
            self.memory.locked = None;
        }
        if !matches!(ins.role, Role::Serve { .. } | Role::Wait { .. }) {
            self.grants.clear();
        }
        if ins.role == Role::Lock {
            self.memory.locked = Some(ins.serial);
        }
        if !matches!(ins.role, Role::Wait { .. }) {
            self.memory.unmanaged = (frees && ins.unmanaged).then(|| ins.role.clone());
        }
        let changed = self.role.as_ref().is_none_or(|old| match (old, &ins.role) {
            (Role::Wait { .. }, Role::Wait { .. }) => false,
            (a, b) => a != b,
        });
        if changed {
            self.failures = 0;
            self.retry_at = now;
            self.tell = true;
            if matches!(self.server, ServerState::Failed { .. }) {
                self.server = ServerState::Down;
            }
        }
        self.role = Some(ins.role.clone());
        self.role_epoch = ins.epoch;
        true
    }

    fn server_changed(&mut self, state: ServerState, died: Option<String>, now: Boottime) {
        let failed = match &state {
            ServerState::Failed { reason, .. } => Some(reason.clone()),
            _ => died,
        };
        if let Some(why) = failed {
            let kept = self.memory.unmanaged.is_some() || self.unlocked().is_some();
            if self.is_writer() && self.leaving.is_none() && !kept {
                // A dead primary is the record's business: it comes back only by a later decision.
                self.memory.locked = Some(self.memory.high_water.serial);
                self.grants.clear();
            }
            self.exited = Some(why);
            self.back_off(now);
        }
        if self.server == ServerState::Stopping && !state.is_down() {
            return;
        }
        if matches!(state, ServerState::Standby { .. } | ServerState::Primary { .. }) {
            self.exited = None;
            if self.server != state {
                self.failures = 0;
            }
        }
        if state == ServerState::Stopping {
            self.stopping_writer |= self.server.is_or_becomes_primary();
        } else {
            self.stopping_writer = false;
        }
        self.access_pending = false;
        if state != (ServerState::Primary { open: true }) {
            self.opened_in = None;
        }
        self.ajar = false;
        self.remembered.confirmed &= !state.is_down();
        // What was permitted was asked for what was known before. The same word again counts too: a kill that crosses
        // the news of the end makes two of one end, and nobody can tell them from two ends.
        (self.need, self.permitted) = (None, false);
        self.set(state);
    }

    fn back_off(&mut self, now: Boottime) {
        let pause = BACKOFF.0.saturating_mul(1 << self.failures.min(10)).min(BACKOFF.1);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + pause;
    }

    fn stop(&mut self, now: Boottime, out: &mut Vec<Action>) {
        // A rewind that is cut short leaves a copy that nobody can use; it never writes for clients.
        let waits = matches!(self.server, ServerState::Stopping | ServerState::Rewinding);
        if self.server.is_down() || waits {
            return;
        }
        self.stopping_writer = self.server.is_or_becomes_primary();
        if self.stopping_writer && self.watch == Deadline::None {
            // It never had leave: somebody else promoted it, and no deadline would end it.
            self.kill(out);
            return;
        }
        if self.server == ServerState::Promoting {
            out.push(Action::RemoveTrigger);
        }
        out.push(Action::Stop { by: now + PATIENCE });
        self.set(ServerState::Stopping);
    }

    fn set(&mut self, state: ServerState) {
        self.tell |= self.server != state;
        self.server = state;
    }

    /// Moves the server towards its role, one step.
    fn reconcile(&mut self, now: Boottime, out: &mut Vec<Action>) {
        if self.leaving.is_some() {
            self.need = None;
            self.stop(now, out);
            self.leave(now, out);
            return;
        }
        if let Some(promote) = self.unlocked().map(|u| u.promote) {
            self.run_unlocked(promote, now, out);
            return;
        }
        let role = self.role.clone().or_else(|| self.remembered_role(now, out));
        let live = self.grants.deadline().is_live(now);
        let serves = matches!(role, Some(Role::Serve { .. } | Role::Wait { .. }));
        if self.server.is_or_becomes_primary() && !live && serves && self.memory.unmanaged.is_none() {
            self.kill(out);
            return;
        }
        match role {
            None | Some(Role::Keep | Role::Wait { .. }) => self.need = None,
            Some(Role::Lock) => {
                self.need = None;
                if forgets("a locked server is stopped") {
                    return;
                }
                self.stop(now, out);
            }
            Some(Role::Follow { upstream, open }) => {
                self.need = None;
                self.follow(upstream, open, now, out);
            }
            Some(Role::Serve { open, slots }) => self.serve(open, slots, now, out),
        }
    }

    fn follow(&mut self, upstream: Upstream, open: bool, now: Boottime, out: &mut Vec<Action>) {
        match &self.server {
            state if state.is_or_becomes_primary() => self.stop(now, out),
            ServerState::Down if forgets("a copy that is down is started") => {}
            ServerState::Down | ServerState::Failed { .. } if now >= self.retry_at => {
                if matches!(&self.server, ServerState::Failed { commands, .. } if !commands.is_empty()) {
                    return;
                }
                match &self.disk {
                    Disk::Empty => {
                        out.push(Action::Clone { upstream });
                        self.set(ServerState::Cloning);
                    }
                    Disk::Cluster(_) => {
                        self.following = Some(upstream.clone());
                        out.push(Action::Join { upstream });
                        self.set(ServerState::Starting { writer: false });
                    }
                    Disk::Unreadable { .. } => {}
                }
            }
            _ if self.is_standby() && self.following.as_ref() != Some(&upstream) => self.stop(now, out),
            ServerState::Standby { open: is }
                if (*is != open || (self.ajar && !open)) && now >= self.retry_at && !self.access_pending =>
            {
                self.access_pending = true;
                self.ajar |= open;
                out.push(if open { Action::OpenStandby } else { Action::Close });
            }
            _ => {}
        }
    }

    fn serve(&mut self, open: bool, slots: Vec<String>, now: Boottime, out: &mut Vec<Action>) {
        if self.memory.unmanaged.is_some() && self.grants.deadline() == Deadline::None {
            self.grants.resume_without_end();
        }
        let standby_on_disk = self.has_standby_signal();
        let unlocked = self.unlocked().is_some();
        let servable = matches!(&self.disk, Disk::Cluster(c) if !c.half_rewound);
        let down = match &self.server {
            ServerState::Down => true,
            // A new attempt may help, and the lock has made sure that somebody wants one.
            ServerState::Failed { commands, .. } => commands.is_empty(),
            _ => false,
        };
        let need = match &self.server {
            _ if down && (now < self.retry_at || (self.memory.locked.is_some() && !unlocked)) => None,
            _ if down && !servable => {
                let reason = match &self.disk {
                    Disk::Empty => {
                        "the data directory is empty: a primary is never made from nothing".to_owned()
                    }
                    Disk::Cluster(_) => {
                        "a rewind was begun and not finished: this copy cannot be served".to_owned()
                    }
                    Disk::Unreadable { reason } => reason.clone(),
                };
                self.set(ServerState::Failed { reason, commands: Vec::new() });
                None
            }
            _ if down && standby_on_disk => {
                self.following = None;
                out.push(Action::StartOrphan);
                self.set(ServerState::Starting { writer: false });
                None
            }
            _ if down => Some(Need::Start),
            ServerState::Standby { .. } if now >= self.retry_at => Some(Need::Promote),
            _ if self.access_pending => None,
            ServerState::Primary { open: false } if open && now >= self.retry_at => Some(Need::Open),
            // The record was made anew in another epoch, and this site has kept its role: what is open was opened in that
            // epoch from here on.
            ServerState::Primary { open: true }
                if open && self.opened_in != Some(self.role_epoch) && now >= self.retry_at =>
            {
                Some(Need::Open)
            }
            ServerState::Primary { open: true } if !open => {
                out.push(Action::Close);
                self.access_pending = true;
                None
            }
            _ => None,
        };
        if need != self.need.map(|(n, _)| n) {
            self.need = need.map(|n| (n, now));
            self.permitted = false;
            self.tell |= need.is_some();
        }
        let Some((need, _)) = self.need else { return };
        let by_memory = self.memory.unmanaged.is_some() || unlocked;
        if !(self.permitted || by_memory) || !self.grants.deadline().is_live(now) {
            return;
        }
        self.need = None;
        self.permitted = false;
        match need {
            Need::Start => {
                out.push(Action::StartPrimary);
                self.set(ServerState::Starting { writer: true });
            }
            Need::Promote => {
                let close = self.ajar || self.server != ServerState::Standby { open: false };
                out.push(Action::Promote { close });
                self.set(ServerState::Promoting);
            }
            Need::Open => {
                self.opened_in = Some(self.role_epoch);
                out.push(Action::Open { epoch: self.role_epoch, slots });
                self.access_pending = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
