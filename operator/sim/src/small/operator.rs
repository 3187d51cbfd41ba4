//! What does one operator know, and what follows from what it hears? The core decides; this is the loop around it, in the
//! engine's order: read the record if it must be, decide, lock, write.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::ballot::claim::{Claim, Grant, NoGrant, RecordRevision};
use bascule_core::ballot::holder::Holder;
use bascule_core::ballot::silence::{LeaseRevision, Observer};
use bascule_core::facts::SiteFacts;
use bascule_core::few::Few;
use bascule_core::guard::wire::Report;
use bascule_core::memory::Memory;
use bascule_core::observation::Marks;
use bascule_core::plan::{DatabaseRole, Plan, Step};
use bascule_core::record::{Cause, Record};
use bascule_core::time::Boottime;

use super::arbiter::{Write, bit};
use super::call::Call;
use super::guard::{Answer, Role, Told};
use super::setting::{LeftOut, NOW, STEP, Setting, TICK, database, sites};
use super::situation;

/// A question of its guard that waits for an answer.
#[derive(Clone, Copy, Debug)]
struct Question {
    fresh: bool,
    received: Boottime,
}

/// One operator, with what it has on its way to the arbiter and to its guard.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    pub(super) site: usize,
    pub(super) frozen: bool,
    /// How many things have happened in this tick that must be told apart in time.
    moment: u8,
    /// A read of the record was sent at this very moment: what is heard next is heard later.
    sent_now: bool,
    starts: u64,
    pub(super) holder: Holder,
    pub(super) observer: Observer,
    pub(super) claim: Claim,
    pub(super) memory: Memory,
    /// The marks as they are written down here; they outlive the process.
    pub(super) marks: Marks,
    pub(super) seen: Marks,
    pub(super) heard: Option<(SiteFacts, Boottime)>,
    pub(super) report: Option<(Report, Boottime)>,
    pub(super) granted: Few<String, Boottime>,
    granted_in: u64,
    pub(super) verified: Option<u64>,
    record_known: bool,
    read_wanted: bool,
    fresh_since: Option<Boottime>,
    pub(super) renewal: Call<(), ()>,
    pub(super) leases: Call<(), (LeaseRevision, Option<SiteFacts>)>,
    pub(super) record: Call<(), (Record, RecordRevision)>,
    /// The answer is the new revision, or that something had changed.
    pub(super) write: Call<Write, Option<RecordRevision>>,
    question: Option<Question>,
    pub(super) answer: Option<Answer>,
    /// The answer to the last question is on its way for as long as one likes.
    pub(super) slow: bool,
    /// What its guard was told last.
    pub(super) told: Option<Told>,
    /// What its guard should know.
    pub(super) wanted: Option<Told>,
    /// What the other site should know.
    pub(super) facts: Option<SiteFacts>,
    /// What this operator did or saw that must never be.
    pub(super) wrong: Option<String>,
}

impl Operator {
    pub(super) fn new(site: usize, setting: &Setting) -> Self {
        let t = setting.installation().timing;
        Self {
            site,
            frozen: false,
            moment: 0,
            sent_now: false,
            starts: 0,
            holder: Holder::new(t.r()),
            observer: Observer::new(t.tq()),
            claim: Claim::default(),
            memory: Memory::default(),
            marks: Marks::default(),
            seen: Marks::default(),
            heard: None,
            report: None,
            granted: Few::new(),
            granted_in: 0,
            verified: None,
            record_known: false,
            read_wanted: true,
            fresh_since: None,
            renewal: Call::None,
            leases: Call::None,
            record: Call::None,
            write: Call::None,
            question: None,
            answer: None,
            slow: false,
            told: None,
            wanted: None,
            facts: None,
            wrong: None,
        }
    }

    /// The process ends and another begins; what it had sent is on its way still.
    pub(super) fn restart(&mut self, setting: &Setting) {
        let marks = self.marks;
        let starts = self.starts + 1;
        *self = Self { starts, marks, ..Self::new(self.site, setting) };
        self.cycle(setting);
    }

    /// Its present moment, on its own clock.
    pub(super) fn now(&self) -> Boottime {
        NOW + STEP * u32::from(self.moment)
    }

    /// Its question to the other site: another one whenever it comes back.
    pub(super) fn asks(&self) -> u64 {
        self.starts * 100 + self.holder.returns()
    }

    /// The revisions of the other site's lease that it remembers, one bit each.
    pub(super) fn remembers(&self) -> u32 {
        let window = self.observer.window(&sites()[1 - self.site]).map(|w| w.revision);
        let read =
            if let Call::Answered(_, (), (revision, _)) = &self.leases { Some(*revision) } else { None };
        let write = if let Call::Sent(_, write) = &self.write { write.lease } else { None };
        [window, read, write].into_iter().flatten().fold(0, |all, revision| all | bit(revision))
    }

    /// Something is heard: after what was sent before.
    fn hears(&mut self) {
        if self.moment == 0 || self.sent_now {
            self.moment += 1;
            self.sent_now = false;
        }
    }

    /// Whether nothing more is due in this tick.
    pub(super) fn may_tick(&self) -> bool {
        let waits = !self.slow && (self.question.is_some_and(|q| !q.fresh) || self.answer.is_some());
        let calls = self.renewal.is_over() && self.leases.is_over() && self.record.is_over();
        self.frozen || (calls && self.write.is_over() && !waits && self.told == self.wanted)
    }

    /// A tick passes: what was lost is known, and the next renewal and read of the leases are sent.
    pub(super) fn tick(&mut self, setting: &Setting) {
        self.holder.let_pass(TICK);
        self.observer.let_pass(TICK);
        self.claim.let_pass(TICK);
        self.memory.let_pass(TICK);
        let moments = [self.heard.as_mut().map(|h| &mut h.1), self.report.as_mut().map(|r| &mut r.1)];
        for t in moments.into_iter().flatten().chain(self.granted.values_mut()).chain(&mut self.fresh_since) {
            *t = *t - TICK;
        }
        if let Some(q) = &mut self.question {
            q.received = q.received - TICK;
        }
        self.renewal.let_pass();
        self.leases.let_pass();
        self.record.let_pass();
        self.write.let_pass();
        (self.moment, self.sent_now) = (0, false);
        if self.frozen {
            // Nobody waits longer for an answer; and moments that far back are no longer told apart.
            if self.record.sent().is_some_and(|t| NOW.since(t) >= TICK * 5) {
                self.record.lose();
            }
            return;
        }
        if let Call::Lost(()) = self.leases {
            self.observer.failed();
        }
        if let Call::Lost(()) = self.record {
            self.record = Call::None;
        }
        if let Call::Lost(_) = self.write {
            self.claim.lost_or_unknown(NOW);
            self.read_wanted = true;
            self.write = Call::None;
        }
        self.renewal = Call::Sent(NOW, ());
        self.leases = Call::Sent(NOW, ());
        self.cycle(setting);
    }

    /// It goes on where it stopped.
    pub(super) fn thaw(&mut self, setting: &Setting) {
        self.frozen = false;
        self.cycle(setting);
    }

    pub(super) fn hear_renewal(&mut self, setting: &Setting) {
        let Call::Answered(sent, (), ()) = self.renewal else { return };
        self.renewal = Call::None;
        self.hears();
        let now = self.now();
        let counted = if setting.without == Some(LeftOut::CountFromSending) { now } else { sent };
        self.holder.renewed(counted, now);
        self.cycle(setting);
    }

    pub(super) fn hear_leases(&mut self, setting: &Setting) {
        let Call::Answered(sent, (), (revision, facts)) = std::mem::take(&mut self.leases) else { return };
        self.hears();
        let [a, b] = sites();
        let other = if self.site == 0 { b } else { a };
        self.observer.read(sent, self.now(), &BTreeMap::from([(other, revision)]));
        if let Some(facts) = facts
            && self.heard.as_ref().is_none_or(|(known, _)| *known != facts)
        {
            self.heard = Some((facts, self.now()));
        }
        self.cycle(setting);
    }

    pub(super) fn hear_record(&mut self, setting: &Setting) {
        let Call::Answered(sent, (), found) = std::mem::take(&mut self.record) else { return };
        self.hears();
        let me = &sites()[self.site];
        let marks = Marks::from(&found.0);
        if self.claim.read(&self.holder, me, Some(found), sent, self.now()) {
            if marks < self.marks && !setting.has(super::setting::Fault::ArbiterRestored) {
                self.wrong = Some(format!("S2: the record went back from {:?} to {marks:?}", self.marks));
            }
            self.fresh_since = Some(sent);
            self.read_wanted = false;
        }
        self.record_known = true;
        self.cycle(setting);
    }

    pub(super) fn hear_write(&mut self, setting: &Setting) {
        let Call::Answered(_, write, done) = std::mem::take(&mut self.write) else { return };
        self.hears();
        let me = &sites()[self.site];
        if let Some(revision) = done {
            let now = self.now();
            self.claim.applied(&self.holder, me, write.next, revision, now);
        } else {
            self.claim.lost_or_unknown(self.now());
            self.read_wanted = true;
        }
        self.cycle(setting);
    }

    /// Its guard asks.
    pub(super) fn hear_guard(&mut self, report: Report, fresh: bool, setting: &Setting) {
        self.hears();
        let received = self.now();
        self.question = Some(Question { fresh, received });
        self.read_wanted |= fresh;
        self.report = Some((report, received));
        self.cycle(setting);
    }

    /// Its guard is gone.
    pub(super) fn guard_gone(&mut self, setting: &Setting) {
        if let Some((report, _)) = self.report.take() {
            self.granted.remove(&report.boot);
        }
        (self.question, self.answer, self.told, self.slow) = (None, None, None, false);
        if !self.frozen {
            self.cycle(setting);
        }
    }

    /// Decides, and does what follows, as often as something follows.
    fn cycle(&mut self, setting: &Setting) {
        loop {
            self.take_marks();
            self.read_record();
            if !self.record_known {
                return;
            }
            let plan = self.think(setting);
            if plan.lock && self.claim.locking().is_none() {
                let serial = self.claim.view().map_or(0, |v| v.record.serial);
                self.claim.lock_ordered(serial);
                continue;
            }
            if self.write(&plan) || self.verify(&plan) {
                continue;
            }
            self.say(&plan, setting);
            return;
        }
    }

    /// What guards and the other site have seen counts once the record was read after their word.
    fn take_marks(&mut self) {
        if let Some(view) = self.claim.view() {
            self.seen = self.seen.max(Marks::from(&view.record));
            self.marks = self.marks.max(Marks::from(&view.record));
            if self.granted_in != view.record.epoch {
                self.granted_in = view.record.epoch;
                self.granted.clear();
            }
        }
        let guard = self.report.as_ref().map(|(r, at)| (Marks::from(r.high_water), *at));
        let other = self.heard.as_ref().and_then(|(f, at)| Some((f.marks?, *at)));
        for (marks, received) in guard.into_iter().chain(other) {
            if marks <= self.seen {
                continue;
            }
            if self.fresh_since.is_some_and(|sent| sent >= received) {
                self.seen = self.seen.max(marks);
            } else {
                self.read_wanted = true;
            }
        }
    }

    fn read_record(&mut self) {
        let alive = self.holder.remaining(self.now()).is_some();
        let overtaken = self.claim.view().is_some() && self.claim.current().is_none();
        let needed = self.read_wanted
            || !self.record_known
            || (alive && self.claim.must_read(&self.holder))
            || overtaken;
        let free = matches!(self.record, Call::None) && !self.claim.is_writing();
        // Not more often in one tick than can be told apart.
        if needed && free && self.moment < 4 {
            self.record = Call::Sent(self.now(), ());
            self.sent_now = true;
        }
    }

    fn think(&mut self, setting: &Setting) -> Plan {
        let (plan, memory, wrong) = situation::decide_for(self, setting);
        self.memory = memory;
        self.wrong = self.wrong.take().or(wrong);
        plan
    }

    /// Sends what the plan changes of the record.
    fn write(&mut self, plan: &Plan) -> bool {
        let (Some(change), Some(view)) = (&plan.transition, self.claim.current()) else { return false };
        if self.holder.remaining(self.now()).is_none() || !matches!(self.write, Call::None) {
            return false;
        }
        let next = told_simply(&change.next);
        let lease = change.unchanged_lease.as_ref().map(|(_, r)| *r);
        let write = Write { by: self.site, expected: view.revision, next, lease };
        self.claim.sending(&self.holder, &sites()[self.site], &write.next);
        self.write = Call::Sent(self.now(), write);
        true
    }

    /// A write through its own role, done at once where the server is known to be open.
    fn verify(&mut self, plan: &Plan) -> bool {
        let epoch = self.claim.view().map(|v| v.record.epoch);
        let asked = plan.steps.iter().any(|s| matches!(s, Step::VerifyWrite { .. }));
        let open = self
            .report
            .as_ref()
            .is_some_and(|(r, _)| r.state == bascule_core::guard::wire::ServerState::Primary { open: true });
        if !(asked && open) || self.verified == epoch {
            return false;
        }
        self.verified = epoch;
        true
    }

    /// What its guard and the other site are to hear.
    fn say(&mut self, plan: &Plan, setting: &Setting) {
        self.facts = Some(situation::facts(self, plan));
        let order = plan.databases.get(&database());
        self.wanted = self.claim.view().map(|view| Told {
            epoch: view.record.epoch,
            serial: view.record.serial,
            role: match order.map(|o| &o.role) {
                None | Some(DatabaseRole::Keep) => Role::Keep,
                Some(DatabaseRole::Wait { .. }) => Role::Wait,
                Some(DatabaseRole::Follow { open, .. }) => Role::Follow { open: *open },
                Some(DatabaseRole::Serve { .. }) => Role::Serve,
                Some(DatabaseRole::Lock) => Role::Lock,
            },
            checkpoint: order.is_some_and(|o| o.checkpoint),
        });
        let (Some(q), Some(told)) = (self.question, self.wanted) else { return };
        let read = self.fresh_since.is_some_and(|sent| sent >= q.received);
        let fresh = q.fresh && (read || setting.without == Some(LeftOut::FreshAnswer));
        if (q.fresh && !fresh) || self.answer.is_some() {
            return;
        }
        let grant = self.grant(setting).filter(|_| matches!(told.role, Role::Serve | Role::Keep));
        self.question = None;
        if let Some((report, _)) = self.report.as_ref().filter(|_| grant.is_some()) {
            self.granted.insert(report.boot.clone(), self.now());
        }
        self.answer = Some(Answer { told, grant, fresh });
    }

    /// For how many whole ticks after this one the server may run.
    fn grant(&self, setting: &Setting) -> Option<u8> {
        let (me, now) = (&sites()[self.site], self.now());
        let granted = self.claim.grant_as(&self.holder, me, now, true);
        let left = match granted {
            Ok(Grant::For(left)) => Some(left),
            Err(NoGrant::NotClaimed | NoGrant::RecordNotRead)
                if setting.without == Some(LeftOut::Reclaim)
                    && self.claim.view().is_some_and(|v| v.record.lets_write(me)) =>
            {
                self.holder.remaining(now)
            }
            Ok(Grant::Unlimited) | Err(_) => None,
        };
        let late = if setting.without == Some(LeftOut::StopInTime) { TICK } else { Duration::ZERO };
        left.map(|left| ((left + late).as_millis() / TICK.as_millis()).try_into().unwrap_or(u8::MAX))
    }
}

/// The record without what was only measured or told: no rule that matters here reads it, and two runs that differ in it
/// are one.
fn told_simply(next: &Record) -> Record {
    let mut next = next.clone();
    if let Some(t) = &mut next.transition {
        t.phases.clear();
    }
    next.history.retain(|t| t.cause == Cause::Initial);
    for verdict in &mut next.moves {
        verdict.message.clear();
    }
    if let Some(offer) = &mut next.offer {
        offer.reason.clear();
    }
    next
}
