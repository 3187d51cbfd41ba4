//! One policy, once: note, decide, check, commit, act, tell.

use std::sync::Arc;
use std::time::Duration;

use bascule_core::ballot::holder::Holder;
use bascule_core::check::check;
use bascule_core::decide::{PolicySeen, Situation, decide, note};
use bascule_core::facts::{Following, SCHEMA, SiteFacts, following};
use bascule_core::few::Few;
use bascule_core::guard::wire::{Behind, slot_of};
use bascule_core::mutant::forgets;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{Fact, Kept, Marks, newer};
use bascule_core::plan::{Answer, DatabaseRole, Gate, Lane, Plan};
use bascule_core::policy::Policy;
use bascule_core::project::judge;
use bascule_core::time::Boottime;
use jiff::Timestamp;

use super::event::{Command, Look};
use super::policy::{Decided, LaneState, State};
use super::told::Told;
use super::trouble::Call;
use super::words::Words;
use super::{Brain, Identity};
use crate::ports::{JournalEntry, JournalKind};

/// A guard that has not asked for so many of its own periods is not known to live.
const MISSED_QUESTIONS: u32 = 8;

/// What the journal says when the guards are ordered to lock.
pub const ORDERED_TO_LOCK: &str = "the guards are ordered to stop and lock";

/// How often a changing lag is said and shown, and a running time shown, at most.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// How often this site says its facts again because others were written over them, at most: two processes of a site do not
/// give in to each other for as long as both run.
const SAY_OVER: Duration = Duration::from_secs(1);

impl Brain {
    pub(super) fn cycle(&mut self, key: &PolicyKey, now: Boottime, wall: Timestamp) {
        // Taken out for as long: of thousands of policies it is looked for once and not by each part.
        let Some(place) = self.policies.get_mut(key) else { return };
        let mut taken = std::mem::replace(place, self.spare.take().unwrap_or_default());
        let state = &mut *taken;
        self.prepare(key, state, now);
        self.read_record(key, state, now);
        let (plan, situation_ready) = self.think(state, now, wall);
        if plan.waits_for_marks {
            self.want_marks(now);
        }
        if situation_ready {
            self.commit(key, state, &plan, now);
            self.act(key, state, &plan, now);
            self.say(key, state, &plan, now);
        }
        let decided = Decided::of(&plan);
        if plan.transition.is_none() && state.decided != decided {
            let (epoch, serial) = state.epoch_serial();
            self.out.push(Command::Journal(JournalEntry {
                policy: Some(key.clone()),
                epoch,
                serial,
                kind: JournalKind::Observed,
                what: plan.summary.clone(),
            }));
        }
        state.look_again = plan.look_again.filter(|t| *t > now);
        state.decided = decided;
        state.waits_for_marks = plan.waits_for_marks;
        self.instruct(state, &plan, now);
        self.look(state, now);
        self.show(key, state, &plan, now, wall);
        self.raise_mark(key, state, now);
        if let Some((before, at)) = state.wakes_otherwise() {
            self.wake(key, before, at);
        }
        if let Some(place) = self.policies.get_mut(key) {
            self.spare = Some(std::mem::replace(place, taken));
        }
    }

    fn prepare(&mut self, key: &PolicyKey, state: &mut State, now: Boottime) {
        let stale_after = self.id.installation.timing.p() * MISSED_QUESTIONS;
        let known = self.marks.value().and_then(|all| all.get(key));
        let marks = match &self.marks {
            Fact::Known { .. } => Fact::Known {
                value: known.map(|k| k.marks).unwrap_or_default(),
                age: self.marks_heard_at.map_or(Duration::ZERO, |t| now.since(t)),
            },
            Fact::Unknown { reason } => Fact::unknown(reason.clone()),
        };
        let kept = known.and_then(|k| k.role.clone());
        state.share_role(kept.as_ref());
        state.seen.role_seen = newer(kept, state.role_seen.clone());
        // A mark is raised after a change was seen. An arbiter may go back in time in between, and what this process and
        // the guards have seen counts as much as what was written down.
        state.seen.seen_marks = state.highest_seen(now);
        state.seen.high_water_old_since = self.marks_old_since;
        for due in [
            &mut state.read_again_at,
            &mut state.write_not_before,
            &mut state.write_facts_at,
            &mut state.say_at,
            &mut state.raise_again_at,
            &mut state.show_at,
            &mut state.show_later_at,
            &mut state.compare_at,
        ] {
            if due.is_some_and(|t| now >= t) {
                *due = None;
            }
        }
        for (lane, it) in &mut state.lanes {
            if it.not_before.is_some_and(|t| now >= t) {
                it.not_before = None;
            }
            if it.pointed.as_ref().is_some_and(|(_, until)| now >= *until) {
                it.pointed = None;
            }
            if it.refusing.is_some_and(|(_, until)| now >= until) {
                it.refusing = None;
            }
            if let (Lane::Flag(name), Some((_, until))) = (lane, it.flag_put)
                && now >= until
            {
                // What pods said just after it was put says nothing about now.
                (it.flag_put, it.unseen) = (None, true);
                state.looks.now(&Look::Workload(name.clone()));
            }
        }
        // What is as if nothing had ever been done there is not kept.
        state.lanes.retain(|_, it| *it != LaneState::default());
        state.refresh(now, stale_after);
        state.seen.advice = advice(&self.unreadable, state);
        state.seen.high_water = match &state.mark_unwritable {
            Some(reason) => Fact::unknown(format!("this site's high-water mark cannot be written: {reason}")),
            None => marks,
        };
    }

    /// Asks for the record when it is wanted or when nothing can be written without it.
    fn read_record(&mut self, key: &PolicyKey, state: &mut State, now: Boottime) {
        let alive = self.holder.remaining(now).is_some();
        let needed = state.read_wanted
            || !state.record_known
            || (alive && state.claim.must_read(&self.holder))
            || (state.claim.current().is_none() && state.claim.view().is_some() && !state.claim.is_writing());
        if needed
            && !state.reading
            && !state.claim.is_writing()
            && state.read_again_at.is_none_or(|t| now >= t)
        {
            state.reading = true;
            state.read_again_at = None;
            self.out.push(Command::ReadRecord(key.clone()));
        }
    }

    /// Decides. The second value says whether anything may be written or done: not while the record is unread.
    fn think(&self, state: &mut State, now: Boottime, wall: Timestamp) -> (Plan, bool) {
        if !state.record_known {
            let why = state.read_failed.clone().unwrap_or_else(|| "being read".to_owned());
            return (Plan { summary: format!("the record is not known: {why}"), ..Plan::default() }, false);
        }
        let mut memory = std::mem::take(&mut state.memory);
        let s =
            situation(&self.id, &self.holder, &self.observer, state, self.intent_listed, &memory, now, wall);
        let mut noted = memory.clone();
        note(&mut noted, &s);
        memory = noted;
        let s =
            situation(&self.id, &self.holder, &self.observer, state, self.intent_listed, &memory, now, wall);
        let mut plan = decide(&s);
        let mut violations = check(s.claim.view().map(|v| &v.record), &plan, &s);
        if forgets("a second opinion") {
            violations.clear();
        }
        state.memory = memory;
        state.frozen = violations.first().map(ToString::to_string);
        if let Some(why) = &state.frozen {
            // The rules and their second opinion disagree: a defect. Nothing is written or done on it; grants that
            // stand go on, so that a mistake here stops no healthy database.
            plan.transition = None;
            plan.lock = false;
            plan.steps.clear();
            plan.databases.values_mut().for_each(|order| order.role = DatabaseRole::Keep);
            plan.summary.clone_from(why);
        }
        (plan, true)
    }

    fn commit(&mut self, key: &PolicyKey, state: &mut State, plan: &Plan, now: Boottime) {
        if plan.lock && forgets("a lock is one policy's") {
            self.policies.values_mut().for_each(|other| other.claim.lock_ordered(0));
            state.claim.lock_ordered(0);
        }
        let (epoch, serial) = state.epoch_serial();
        if plan.lock && state.claim.locking().is_none() {
            state.claim.lock_ordered(serial);
            self.out.push(Command::Journal(JournalEntry {
                policy: Some(key.clone()),
                epoch,
                serial,
                kind: JournalKind::Intent,
                what: ORDERED_TO_LOCK.to_owned(),
            }));
            self.dirty.insert(key.clone());
        }
        let Some(change) = &plan.transition else { return };
        let expected = match (state.claim.view(), state.claim.current()) {
            (None, _) if !state.claim.is_writing() => None,
            (Some(_), Some(view)) => Some(view.revision),
            _ => return,
        };
        if self.holder.remaining(now).is_none() || state.write_not_before.is_some() {
            return;
        }
        state.claim.sending(&self.holder, &self.id.site, &change.next);
        self.out.push(Command::Journal(JournalEntry {
            policy: Some(key.clone()),
            epoch: change.next.epoch,
            serial: change.next.serial,
            kind: if forgets("a write is announced") { JournalKind::Observed } else { JournalKind::Intent },
            what: change.why.clone(),
        }));
        self.out.push(Command::Write {
            policy: key.clone(),
            expected,
            next: Box::new(change.next.clone()),
            unchanged_lease: change.unchanged_lease.clone(),
        });
    }

    fn act(&mut self, key: &PolicyKey, state: &mut State, plan: &Plan, now: Boottime) {
        let another = if forgets("a step is for its own policy") { self.another_policy(key) } else { None };
        let Some(policy) = another.or_else(|| state.policy.clone()) else { return };
        let (epoch, serial) = state.epoch_serial();
        for step in &plan.steps {
            let lane = state.lanes.entry(step.lane()).or_default();
            if !lane.takes(step, now) {
                continue;
            }
            lane.busy = true;
            self.out.push(Command::Journal(JournalEntry {
                policy: Some(key.clone()),
                epoch,
                serial,
                kind: if forgets("a step is announced") {
                    JournalKind::Observed
                } else {
                    JournalKind::Intent
                },
                what: step.words(),
            }));
            self.out.push(Command::Perform {
                policy: Arc::clone(&policy),
                step: step.clone(),
                lane: step.lane(),
            });
        }
    }

    /// A policy that is not meant: only a search that leaves a rule out asks for one.
    fn another_policy(&self, key: &PolicyKey) -> Option<Arc<Policy>> {
        self.policies.values().filter_map(|s| s.policy.clone()).find(|p| p.key != *key)
    }

    fn look(&mut self, state: &mut State, now: Boottime) {
        let Some(policy) = state.policy.clone() else { return };
        let record = state.claim.view().map(|v| &v.record);
        let active = record.is_some_and(|r| r.active == self.id.site);
        for what in state.looks.due(&self.id.site, &policy, record, now) {
            self.out.push(Command::Look { policy: Arc::clone(&policy), what, active });
        }
    }

    /// Shows people the state, when it says something new.
    fn show(&mut self, key: &PolicyKey, state: &mut State, plan: &Plan, now: Boottime, wall: Timestamp) {
        let alive = self.holder.remaining(now).is_some();
        if state.policy.is_none() && state.invalid.is_none() {
            return;
        }
        if state.publishing || state.show_at.is_some_and(|t| now < t) {
            return;
        }
        let s = situation(
            &self.id,
            &self.holder,
            &self.observer,
            state,
            self.intent_listed,
            &state.memory,
            now,
            wall,
        );
        let judged = judge(&s, plan);
        let record = state.claim.view().map(|v| &v.record);
        let trouble = match (&state.read_failed, alive) {
            (Some(why), _) => Some(format!("the record cannot be read: {why}")),
            (None, false) => {
                let why = self.troubles.reason(Call::Renew).unwrap_or("the arbiter was not reached yet");
                Some(format!("this site's lease is not renewed: {why}"))
            }
            (None, true) => {
                let lasting = || self.troubles.words().or_else(|| state.troubles.words());
                state.frozen.clone().or_else(lasting)
            }
        };
        let trouble = trouble.filter(|_| !forgets("an operator that is cut off says so"));
        let mut told = Told::of(state, plan, record, &judged, trouble.as_ref());
        let before = state.shown.as_ref().filter(|before| before.says(&told));
        let same_lags = before.is_some_and(|before| before.says_lags(&told));
        if same_lags && state.compare_at.is_some() {
            return;
        }
        let due = before.map(|_| state.shown_at.map_or(now, |t| t + LAG_EVERY)).filter(|due| now < *due);
        let report = (same_lags || due.is_none()).then(|| judged.report(&s, plan));
        told.words = report.as_ref().map(Words::of).unwrap_or_default();
        if same_lags && before.is_some_and(|before| before.words.still_say(&told.words)) {
            state.agrees(now);
            return;
        }
        let (None, Some(report)) = (due, report) else {
            state.show_later_at = due;
            // Until then nothing of it has to be compared again.
            state.compare_at = due;
            return;
        };
        state.shown = Some(told);
        state.agrees_at = Some(now);
        state.publishing = true;
        self.out.push(Command::Publish(Box::new(crate::ports::Shown {
            policy: state.policy.clone(),
            key: key.clone(),
            invalid: state.invalid.clone(),
            report,
            moves: state.moves.clone(),
            record: state.claim.view().map(|v| v.record.clone()),
            trouble,
        })));
    }

    fn raise_mark(&mut self, key: &PolicyKey, state: &mut State, now: Boottime) {
        let Some(marks) = self.marks.value() else { return };
        // A raise that failed is tried again though the arbiter has gone back meanwhile: what was seen was seen.
        let shown = state.claim.view().map(|v| Marks::from(&v.record)).unwrap_or_default();
        let found = shown.max(state.seen_marks);
        let known = marks.get(key);
        let rises = found > known.map(|k| k.marks).unwrap_or_default();
        let newer_role = state
            .role_seen
            .as_ref()
            .is_some_and(|role| known.and_then(|k| k.role.as_ref()).is_none_or(|before| role.at > before.at));
        let wanted = rises || newer_role;
        if state.raising {
            return;
        }
        if wanted && state.raise_again_at.is_none_or(|t| now >= t) {
            state.raising = true;
            let kept = Box::new(Kept { marks: found, role: state.role_seen.clone() });
            self.out.push(Command::RaiseMark { policy: key.clone(), kept });
        }
        // A raise whose answer was lost is there, as the marks that were read since say.
        let written = !wanted && !forgets("a mark that is there was written");
        if written && state.mark_unwritable.take().is_some() {
            self.dirty.insert(key.clone());
        }
    }

    /// Tells the other sites what has changed here, or what they asked.
    fn say(&mut self, key: &PolicyKey, state: &mut State, plan: &Plan, now: Boottime) {
        if state.policy.is_none() || state.writing_facts || state.write_facts_at.is_some() {
            return;
        }
        let facts = facts(&self.id, question(&self.id, &self.holder), state, plan);
        if let Some(old) = &state.facts
            && !state.facts_in_doubt
            && !old.leaves_unsaid(&facts)
        {
            let wait = match (state.spoken_over, old.lags_otherwise(&facts)) {
                (true, _) => SAY_OVER,
                (false, true) => LAG_EVERY,
                (false, false) => return,
            };
            let due = state.facts_at.map_or(now, |t| t + wait);
            if now < due {
                state.say_at = Some(due);
                return;
            }
        }
        state.writing_facts = true;
        state.said = facts.number;
        self.out.push(Command::WriteFacts { policy: key.clone(), facts: Box::new(facts) });
    }
}

/// This process's question to the other sites. It is another one whenever the site comes back: an answer to an earlier one
/// says nothing of what has happened since.
pub(super) const fn question(id: &Identity, holder: &Holder) -> u64 {
    id.question.wrapping_add(holder.returns())
}

#[expect(clippy::too_many_arguments, reason = "a situation is made of exactly these parts, in one place")]
fn situation<'a>(
    id: &'a Identity,
    holder: &'a Holder,
    observer: &'a bascule_core::ballot::silence::Observer,
    state: &'a State,
    listed: bool,
    memory: &'a bascule_core::memory::Memory,
    now: Boottime,
    wall: Timestamp,
) -> Situation<'a> {
    let policy = match &state.policy {
        Some(policy) => PolicySeen::Present(policy),
        // An object that exists but was never valid here is not an absent one.
        None if listed && state.invalid.is_none() => PolicySeen::Absent,
        None => PolicySeen::NotListed,
    };
    Situation {
        me: &id.site,
        now,
        wall,
        installation: &id.installation,
        policy,
        holder,
        observer,
        claim: &state.claim,
        seen: &state.seen,
        moves: &state.moves,
        question: question(id, holder),
        memory,
    }
}

fn facts(id: &Identity, question: u64, state: &State, plan: &Plan) -> SiteFacts {
    let policy = state.policy.as_ref();
    let reports = || state.guards.iter().filter_map(|(name, g)| Some((name.clone(), &g.report.as_ref()?.0)));
    let active = state.claim.view().is_none_or(|v| v.record.active == id.site);
    let followers = state.seen.databases.iter().filter(|_| !active);
    let follows: Vec<(ItemName, Following)> =
        followers.filter_map(|(name, d)| Some((name.clone(), following(d.guard.value()?)?))).collect();
    SiteFacts {
        schema: SCHEMA,
        site: id.site.clone(),
        question,
        number: state.said + 1,
        answers: state.heard.iter().map(|(site, heard)| (site.clone(), heard.question)).collect(),
        marks: marks_to_say(state),
        spec_hash: policy.map(|p| p.spec_hash.clone()),
        revision: policy.and_then(|p| p.revision.clone()),
        blockers: plan.blockers.clone(),
        ready_for: plan.ready_for,
        cannot_prove: plan.cannot_prove,
        candidacy: plan.candidacy.clone(),
        disks: reports().map(|(name, r)| (name, r.disk.clone())).collect(),
        lag_bytes: follows
            .iter()
            .filter_map(|(name, f)| match f {
                Following::Streaming { lag, .. } => Some((name.clone(), (*lag)?)),
                Following::Broken(_) => None,
            })
            .collect(),
        not_streaming: follows
            .iter()
            .filter_map(|(name, f)| match f {
                Following::Streaming { .. } => None,
                Following::Broken(why) => Some((name.clone(), why.clone())),
            })
            .collect(),
        behind: behind(id, state),
        diverged: reports().filter_map(|(name, r)| Some((name, r.diverged.clone()?))).collect(),
        sizes: state
            .seen
            .workloads
            .iter()
            .filter_map(|(name, w)| Some((name.clone(), w.replicas.value()?.wanted)))
            .collect(),
    }
}

/// What this site has seen of the record, when that is all of it: a write whose outcome is not known yet may have been
/// applied, and an answer without it would let another site believe that nothing has happened (the protocol's model
/// finds two writers).
fn marks_to_say(state: &State) -> Option<Marks> {
    let current = match state.claim.view() {
        Some(_) => state.claim.current().is_some(),
        None => state.record_known && !state.claim.is_writing(),
    };
    (current && state.seen.high_water.value().is_some()).then(|| state.seen.known_marks())
}

/// How far the other sites' replicas are behind this site's open databases, as it is to be said.
fn behind(id: &Identity, state: &State) -> Few<ItemName, Few<SiteName, Behind>> {
    let active = state.claim.view().is_some_and(|v| v.record.active == id.site);
    let Some(policy) = state.policy.as_ref().filter(|_| active) else { return Few::new() };
    let of = |name: &ItemName, site: &SiteName| {
        let said = state.facts.as_ref().and_then(|f| f.behind.get(name)?.get(site).copied());
        let report = state.guards.get(name).and_then(|g| g.report.as_ref()).map(|(report, _)| report);
        Behind::to_say(said, report.and_then(|r| r.replicas.get(&slot_of(site)).copied()))
    };
    let databases = policy.databases.iter().map(|(name, database)| {
        let others = database.instances.keys().filter(|site| **site != id.site);
        (name.clone(), others.filter_map(|site| Some((site.clone(), of(name, site)?))).collect())
    });
    databases.filter(|(_, sites): &(_, Few<_, _>)| !sites.is_empty()).collect()
}

/// What is known of the ways here and elsewhere that stands in nobody's way.
fn advice(unreadable: &[String], state: &State) -> Vec<Gate> {
    let mut gates = Vec::new();
    for ((name, site), way) in &state.upstreams {
        if let (Some(_), Some(why)) = (&way.upstream, &way.failed) {
            gates.push(Gate::new(
                &format!("database/{name}/upstream/{site}"),
                Answer::Yes,
                format!("the way to {site} could not be looked up, the last known one holds: {why}"),
                "a look at it",
            ));
        }
    }
    if !unreadable.is_empty() {
        let what = unreadable.join("; ");
        gates.push(Gate::new("arbiter/unreadable", Answer::Yes, what, "entries that this version can read"));
    }
    gates
}
