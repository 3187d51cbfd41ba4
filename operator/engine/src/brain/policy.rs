//! What the engine knows of one policy.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bascule_core::ballot::claim::Claim;
use bascule_core::facts::SiteFacts;
use bascule_core::few::Few;
use bascule_core::guard::wire::{Report, Upstream};
use bascule_core::heartbeat;
use bascule_core::loss::LastContact;
use bascule_core::memory::Memory;
use bascule_core::moves::Move;
use bascule_core::mutant::forgets;
use bascule_core::name::{ItemName, ObjectName, SiteName};
use bascule_core::observation::{Fact, Marks, Observation, RoleSeen};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Lane, Plan, Step};
use bascule_core::policy::Policy;
use bascule_core::time::Boottime;

use super::event::{Found, Look};
use super::looks::Looks;
use super::said::Said;
use super::told::Told;
use super::trouble::{Call, News, Troubles};
use crate::ports::{GuardSession, NoUpstream};

/// The first wait after a step that was not done; doubled up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait between two tries of a step.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How soon a traffic target is pointed again when some server still answers something else.
const POINT_AGAIN: Duration = Duration::from_secs(5);

/// How long pods have to see a flag before their kubelets are made to look again.
const PUT_AGAIN: Duration = Duration::from_secs(5);

/// How soon all the words that people were shown are compared with those of now: the running times and the ages in them,
/// and what a promotion would need although nobody asks for one.
const COMPARE_EVERY: Duration = heartbeat::EVERY;

/// How long ago that may be for this site to vouch for what people see: a loop that is later than this stands still.
const COMPARED: Duration = COMPARE_EVERY.saturating_add(Duration::from_secs(5));

/// How often people are shown a state that changes, at most.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// One policy.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) invalid: Option<String>,
    pub(super) gone: bool,
    pub(super) moves: Vec<Move>,
    pub(super) claim: Claim,
    pub(super) memory: Memory,
    pub(super) seen: Observation,
    /// Boxed: a map of one keeps room for eleven, which for thousands of policies is most of what they need.
    pub(super) guards: Few<ItemName, Box<Guard>>,
    /// Which pod speaks for each database, and since when it is not connected.
    pub(super) bound: Few<ItemName, (ObjectName, Option<Boottime>)>,
    /// The hold in which the grants that are remembered were given.
    granted_in: u64,
    pub(super) upstreams: Few<(ItemName, SiteName), Way>,
    /// What was heard of the other sites; what they said is in `seen`.
    pub(super) heard: Few<SiteName, Heard>,
    pub(super) looks: Looks,
    pub(super) lanes: Few<Lane, LaneState>,
    /// What was decided last, as far as it is told when it changes.
    pub(super) decided: Decided,
    /// What was decided last waits for the marks to be read.
    pub(super) waits_for_marks: bool,
    pub(super) look_again: Option<Boottime>,
    /// A read of the record is in flight.
    pub(super) reading: bool,
    pub(super) read_wanted: bool,
    /// A read counts for what was wanted only when it was sent after the wish.
    pub(super) read_wanted_since: Option<Boottime>,
    pub(super) read_failed: Option<String>,
    pub(super) read_again_at: Option<Boottime>,
    /// The highest marks of any record that this process has seen.
    pub(super) seen_marks: Marks,
    /// Who had the role in the newest record that this process has seen.
    pub(super) role_seen: Option<Arc<RoleSeen>>,
    /// Higher marks that others have seen and when each was first heard of, until the record is read after that.
    unread_marks: Few<Marks, Boottime>,
    /// The record was read at least once, or known not to exist.
    pub(super) record_known: bool,
    /// The deadline that the record promises, as it was last counted among all records'.
    pub(super) promised: Option<Duration>,
    writes_failed: u32,
    /// A write whose outcome is not known is not followed by another one at once.
    pub(super) write_not_before: Option<Boottime>,
    /// When the newest successful read of the record was sent.
    pub(super) fresh_since: Option<Boottime>,
    pub(super) pending: Vec<Pending>,
    pub(super) facts: Option<Box<Said>>,
    /// Others may read something else than `facts`: a later writing may have been applied, or may still be.
    pub(super) facts_in_doubt: bool,
    /// The number of what this process has said last.
    pub(super) said: u64,
    /// Something else was written over that: by another process of this site, or by an earlier writing that came late.
    pub(super) spoken_over: bool,
    pub(super) writing_facts: bool,
    pub(super) write_facts_at: Option<Boottime>,
    /// When this site's facts were last written.
    pub(super) facts_at: Option<Boottime>,
    /// When a change that can wait is due to be said.
    pub(super) say_at: Option<Boottime>,
    pub(super) facts_failures: u32,
    pub(super) troubles: Troubles,
    pub(super) raising: bool,
    pub(super) raise_again_at: Option<Boottime>,
    pub(super) mark_unwritable: Option<String>,
    pub(super) frozen: Option<String>,
    /// What people were shown last.
    pub(super) shown: Option<Told>,
    pub(super) shown_at: Option<Boottime>,
    pub(super) show_at: Option<Boottime>,
    /// When a change that can wait is due to be shown.
    pub(super) show_later_at: Option<Boottime>,
    /// When all of what people were shown is compared with what is so then; `None`: it is due.
    pub(super) compare_at: Option<Boottime>,
    /// When it was last shown, or found to be the same still.
    pub(super) agrees_at: Option<Boottime>,
    pub(super) publishing: bool,
    /// The last showing failed: this site's API server was away, or refused it.
    unpublished: bool,
    /// The entry among the brain's wakes: [`State::next_tick`] as it was after the last change.
    pub(super) wakes_at: Option<Boottime>,
}

/// What makes a plan different enough to be told: not the ages in it. Of the first gate that blocks a hash is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    transition: bool,
    blocker: Option<u64>,
}

impl Decided {
    /// What is told of this plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let blocker = plan.first_blocker().map(|gate| {
            let mut blocker = DefaultHasher::new();
            (&gate.name, gate.answer).hash(&mut blocker);
            blocker.finish()
        });
        Self { transition: plan.transition.is_some(), blocker }
    }
}

/// How a replica here reaches a database elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    /// As it was last looked up.
    pub(super) upstream: Option<Upstream>,
    /// Why the last look failed.
    pub(super) failed: Option<String>,
}

/// Another site's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// The question that came with it.
    pub(super) question: u64,
    /// What it has seen of the record.
    pub(super) marks: Option<Marks>,
    /// When it was heard.
    pub(super) at: Boottime,
}

/// A guard of this site.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) session: GuardSession,
    pub(super) report: Option<(Arc<Report>, Boottime)>,
    /// `report` is what is seen of the database: it has not changed since the last look.
    pub(super) shown: bool,
    /// The hash of what it was told last.
    pub(super) told: Option<u64>,
}

/// A guard's question that waits for a read of the record sent after it.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) session: GuardSession,
    pub(super) database: ItemName,
    pub(super) nonce: u64,
    pub(super) received: Boottime,
}

/// One lane's effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneState {
    pub(super) busy: bool,
    pub(super) failures: u32,
    pub(super) not_before: Option<Boottime>,
    /// Where a flag was put last, and until when the same is not done again: its pods have that long to see it.
    pub(super) flag_put: Option<(bool, Boottime)>,
    /// Where a target was pointed last, and until when the same is not done again.
    pub(super) pointed: Option<(SiteName, Boottime)>,
    /// Whether a gateway was told last to refuse writes, and until when the same is not done again.
    pub(super) refusing: Option<(bool, Boottime)>,
    /// What it changed has not been looked at since: what is known is older than the effect.
    pub(super) unseen: bool,
}

impl LaneState {
    /// Whether `step` may begin now.
    pub(super) fn takes(&self, step: &Step, now: Boottime) -> bool {
        let put = match step {
            Step::SetReadOnly { on, .. } => {
                self.flag_put.is_some_and(|(last, until)| *on == last && now < until)
            }
            Step::PointTraffic { site, .. } => {
                self.pointed.as_ref().is_some_and(|(last, until)| site == last && now < *until)
            }
            Step::RefuseWrites { on, .. } => {
                self.refusing.is_some_and(|(last, until)| *on == last && now < until)
            }
            Step::Scale { .. } | Step::VerifyWrite { .. } => false,
        };
        !(self.busy || self.unseen || put || self.not_before.is_some_and(|t| now < t))
    }
}

impl State {
    /// Takes note of the marks of the record as it is seen now.
    pub(super) fn note_marks(&mut self) {
        if let Some(view) = self.claim.view() {
            let (r, marks) = (&view.record, Marks::from(&view.record));
            self.seen_marks = self.seen_marks.max(marks);
            if self.role_seen.as_ref().is_none_or(|role| marks > role.at) {
                self.role_seen = Some(Arc::new(RoleSeen::from(r)));
            }
        }
    }

    /// What is written down of who had the role is kept once.
    pub(super) fn share_role(&mut self, written: Option<&Arc<RoleSeen>>) {
        if let (Some(written), Some(seen)) = (written, &mut self.role_seen)
            && !Arc::ptr_eq(written, seen)
            && written == seen
        {
            *seen = Arc::clone(written);
        }
    }

    /// The highest marks that this process or one of its guards has seen, or another site has said. They may have heard of
    /// a change before this process: what they have seen counts once the record was read after they were first heard to have
    /// seen it, and asks for that read.
    pub(super) fn highest_seen(&mut self, now: Boottime) -> Marks {
        if forgets("what was seen counts before it is written down") {
            return Marks::default();
        }
        let reports = self.guards.values().filter_map(|g| g.report.as_ref());
        let guards = reports.map(|(r, at)| (Marks::from(r.high_water), *at));
        let sites = self.heard.values().filter_map(|heard| Some((heard.marks?, heard.at)));
        let mut above: Few<Marks, Boottime> = Few::new();
        for (marks, received) in guards.chain(sites).filter(|(m, _)| *m > self.seen_marks) {
            // Reports may come faster than reads: the first of them counts.
            let first = self.unread_marks.get(&marks).copied().unwrap_or(received);
            above.entry(marks).and_modify(|t| *t = (*t).min(first)).or_insert(first);
        }
        for (marks, first) in &above {
            if self.fresh_since.is_some_and(|sent| sent >= *first) {
                self.seen_marks = self.seen_marks.max(*marks);
            } else {
                self.want_read(now);
            }
        }
        above.retain(|marks, _| *marks > self.seen_marks);
        self.unread_marks = above;
        self.seen_marks
    }

    /// When this policy wants to be decided again.
    pub(super) fn next_tick(&self) -> Option<Boottime> {
        let lanes = self.lanes.values().filter(|l| !l.busy);
        let until = |l: &LaneState| l.pointed.as_ref().map(|(_, until)| *until);
        let told = |of: Option<(bool, Boottime)>| of.map(|(_, until)| until);
        let lanes =
            lanes.flat_map(|l| [l.not_before, told(l.flag_put), told(l.refusing), until(l)]).flatten();
        // Without a policy nothing is looked at: a look that is due stays due.
        let looks = self.policy.as_ref().and_then(|_| self.looks.next());
        [
            self.look_again,
            self.read_again_at,
            self.write_not_before,
            self.raise_again_at,
            self.write_facts_at,
            self.say_at,
            self.show_at,
            self.show_later_at,
            self.compare_at,
            looks,
        ]
        .into_iter()
        .flatten()
        .chain(lanes)
        .min()
    }

    /// When this policy wanted to be decided again before and when it does now, where that is another moment.
    pub(super) fn wakes_otherwise(&mut self) -> Option<(Option<Boottime>, Option<Boottime>)> {
        let at = self.next_tick();
        let before = std::mem::replace(&mut self.wakes_at, at);
        (before != at).then_some((before, at))
    }

    /// Whether another site's silence can change what this site does.
    pub(super) fn watches_leases(&self, me: &SiteName) -> bool {
        self.claim
            .view()
            .is_none_or(|v| v.record.active != *me || v.record.phase != bascule_core::record::Phase::Steady)
            || !self.moves.is_empty()
    }

    /// A read that is sent after `now` is wanted.
    pub(super) fn want_read(&mut self, now: Boottime) {
        self.read_wanted = true;
        self.read_wanted_since = Some(now);
    }

    pub(super) fn epoch_serial(&self) -> (u64, u64) {
        self.claim.view().map_or((0, 0), |v| (v.record.epoch, v.record.serial))
    }

    /// Takes the policy as it is now; returns whether it differs from the last one. What was seen of a part that is
    /// the same stays known: a guard that is told to wait for a moment forgets why it had given up.
    pub(super) fn set_policy(&mut self, policy: Policy) -> bool {
        if self.policy.as_deref() == Some(&policy) {
            return false;
        }
        self.seen.workloads.retain(|name, _| policy.workloads.contains_key(name));
        self.seen.traffic.retain(|name, _| policy.traffic.contains_key(name));
        self.seen
            .databases
            .retain(|name, _| policy.databases.contains_key(name) || self.guards.contains_key(name));
        let old = self.policy.as_ref();
        let same_database =
            |name: &ItemName| old.is_some_and(|o| o.databases.get(name) == policy.databases.get(name));
        self.upstreams.retain(|(name, _), _| same_database(name));
        self.looks.forget(|look| match look {
            Look::Workload(name) => old.is_none_or(|o| o.workloads.get(name) != policy.workloads.get(name)),
            Look::Traffic(name) => old.is_none_or(|o| o.traffic.get(name) != policy.traffic.get(name)),
            Look::Database(name) | Look::Upstream(name, _) => !same_database(name),
        });
        self.policy = Some(Arc::new(policy));
        true
    }

    pub(super) fn heard(&mut self, site: SiteName, facts: SiteFacts, now: Boottime) {
        let heard = Heard { question: facts.question, marks: facts.marks, at: now };
        self.heard.insert(site.clone(), heard);
        self.seen.sites.insert(site, Fact::now(facts));
    }

    /// Whether this is a look at a database whose guard is not connected.
    pub(super) fn misses_guard(&self, what: &Look) -> bool {
        matches!(what, Look::Database(name) if !self.guards.contains_key(name))
    }

    pub(super) fn saw(&mut self, what: Look, found: Found) {
        let lanes = match &what {
            Look::Workload(name) => vec![Lane::Flag(name.clone()), Lane::Scale(name.clone())],
            Look::Traffic(name) => vec![Lane::Traffic(name.clone())],
            Look::Database(_) | Look::Upstream(..) => Vec::new(),
        };
        // A look that began before the effect ended is followed by another one.
        if !self.looks.is_due_again(&what) {
            for lane in lanes {
                if let Some(state) = self.lanes.get_mut(&lane) {
                    state.unseen = false;
                }
            }
        }
        match (what, found) {
            (Look::Workload(name), Found::Workload(view)) => {
                self.seen.workloads.insert(name, *view);
            }
            (Look::Traffic(name), Found::Traffic(view)) => {
                self.seen.traffic.insert(name, *view);
            }
            (Look::Database(name), Found::Database(found)) => {
                self.seen.databases.entry(name).or_default().preflight = found;
            }
            (Look::Upstream(name, site), Found::Upstream(found)) => {
                let way = self.upstreams.entry((name, site)).or_default();
                match found {
                    Ok(upstream) => *way = Way { upstream: Some(upstream), failed: None },
                    Err(NoUpstream::Missing { reason }) => {
                        *way = Way { upstream: None, failed: Some(reason) };
                    }
                    // A guard that is told nothing better goes on by what is known: its server may have to start again
                    // while nothing can be looked up.
                    Err(NoUpstream::Unknown { reason }) => way.failed = Some(reason),
                }
            }
            _ => {}
        }
    }

    pub(super) fn step_ended(&mut self, step: &Step, outcome: &Outcome, now: Boottime) {
        let lane = self.lanes.entry(step.lane()).or_default();
        lane.busy = forgets("what failed is tried again") && !outcome.is_done();
        if outcome.is_done() {
            // One of the two things that are done to a target says nothing about the other.
            let (pointed, refusing) = (lane.pointed.take(), lane.refusing);
            let unseen = !matches!(step, Step::VerifyWrite { .. });
            *lane = LaneState { pointed, refusing, unseen, ..LaneState::default() };
            // A name server that died with its site differs for as long as it is dead: no reason to hurry.
            if let Step::PointTraffic { site, .. } = step {
                lane.pointed = Some((site.clone(), now + POINT_AGAIN));
            }
            if let Step::RefuseWrites { on, .. } = step {
                lane.refusing = Some((*on, now + POINT_AGAIN));
            }
            if let Step::SetReadOnly { on, .. } = step {
                lane.flag_put = Some((*on, now + PUT_AGAIN));
            }
            if let Step::VerifyWrite { database, epoch } = step {
                self.seen.databases.entry(database.clone()).or_default().write_verified = Some(*epoch);
            }
        } else {
            lane.not_before = Some(now + wait_after(lane.failures));
            lane.failures = lane.failures.saturating_add(1);
        }
        let target = match step {
            Step::SetReadOnly { workload, .. } | Step::Scale { workload, .. } => {
                Look::Workload(workload.clone())
            }
            Step::PointTraffic { traffic, .. } | Step::RefuseWrites { traffic, .. } => {
                Look::Traffic(traffic.clone())
            }
            Step::VerifyWrite { .. } => return,
        };
        if matches!(outcome, Outcome::Unknown { .. }) {
            self.looks.doubted(&target, now);
        }
        self.looks.now(&target);
    }

    /// A write of the record ended: an arbiter that refuses it at once is asked again after a pause that grows.
    pub(super) fn wrote(&mut self, failed: bool, now: Boottime) {
        if failed {
            self.write_not_before = Some(now + wait_after(self.writes_failed));
            self.writes_failed = self.writes_failed.saturating_add(1);
        } else {
            self.writes_failed = 0;
            self.write_not_before = None;
        }
    }

    pub(super) fn facts_written(&mut self, facts: &SiteFacts, outcome: &Outcome, now: Boottime) -> News {
        self.writing_facts = false;
        match outcome {
            Outcome::Done => {
                self.facts = Some(Box::new(Said::of(facts)));
                self.facts_in_doubt = false;
                self.facts_at = Some(now);
                self.facts_failures = 0;
                self.troubles.went_well(Call::Facts, now)
            }
            Outcome::Refused { reason } | Outcome::Unknown { reason } => {
                self.facts_in_doubt |= matches!(outcome, Outcome::Unknown { .. });
                self.write_facts_at = Some(now + wait_after(self.facts_failures));
                self.facts_failures = self.facts_failures.saturating_add(1);
                self.troubles.failed(Call::Facts, reason, now)
            }
        }
    }

    /// The state was shown to people, or not; returns whether it is the first time since it failed: this site's API server
    /// is there again. What failed while it was away says nothing about now.
    pub(super) fn published(&mut self, outcome: &Outcome, now: Boottime) -> bool {
        self.publishing = false;
        if !outcome.is_done() {
            self.shown = None;
        }
        let back = std::mem::replace(&mut self.unpublished, !outcome.is_done()) && outcome.is_done();
        if back {
            for (lane, state) in &mut self.lanes {
                if matches!((lane, state.failures), (Lane::Flag(_) | Lane::Scale(_), 1..)) {
                    (state.failures, state.not_before) = (0, None);
                }
            }
            for name in self.policy.iter().flat_map(|p| p.workloads.keys()) {
                self.looks.now(&Look::Workload(name.clone()));
            }
        }
        self.shown_at = Some(now);
        self.show_at = Some(now + SHOW_EVERY);
        self.compare_at = Some(now + COMPARE_EVERY);
        back
    }

    /// Whether people see something else than what is so: it could not be shown, is being shown, or was not compared for so
    /// long that nobody knows. Without an object there is nothing to show.
    pub(super) fn is_unshown(&self, now: Boottime) -> bool {
        let there = self.policy.is_some() || self.invalid.is_some();
        let compared = self.agrees_at.is_some_and(|t| now.since(t) <= COMPARED);
        let agrees = self.shown.is_some() && !self.publishing && !self.unpublished && compared;
        there && !agrees
    }

    /// What people were shown is the same at `now`.
    pub(super) fn agrees(&mut self, now: Boottime) {
        self.agrees_at = Some(now);
        self.compare_at = Some(now + COMPARE_EVERY);
    }

    /// A grant was given to the guard process `boot`, or that process has said that it is down and ends.
    pub(super) fn granted(&mut self, database: &ItemName, boot: &str, at: Option<Boottime>) {
        let granted = &mut self.seen.databases.entry(database.clone()).or_default().granted;
        match (granted.get_mut(boot), at) {
            (Some(last), Some(at)) => *last = at,
            (None, Some(at)) => {
                granted.insert(boot.to_owned(), at);
            }
            (_, None) => {
                granted.remove(boot);
            }
        }
    }

    /// Brings the facts with an age up to `now`.
    pub(super) fn refresh(&mut self, now: Boottime, stale_after: Duration) {
        let (epoch, _) = self.epoch_serial();
        if self.granted_in != epoch {
            self.granted_in = epoch;
            self.seen.databases.values_mut().for_each(|d| d.granted.clear());
        }
        for (name, guard) in &mut self.guards {
            let view = self.seen.databases.entry(name.clone()).or_default();
            match &guard.report {
                Some((report, at)) if now.since(*at) <= stale_after => {
                    match &mut view.guard {
                        Fact::Known { age, .. } if guard.shown => *age = now.since(*at),
                        known => *known = Fact::Known { value: Arc::clone(report), age: now.since(*at) },
                    }
                    guard.shown = true;
                    if let Some(contact) = contact(report, *at) {
                        view.last_contact = Some(contact);
                    }
                }
                Some((_, at)) => {
                    let age = bascule_core::time::human(now.since(*at));
                    view.guard = Fact::unknown(format!("the guard's last report is {age} old"));
                }
                None => view.guard = Fact::unknown("the guard has connected and not reported yet"),
            }
        }
        for (site, heard) in &self.heard {
            if let Some(Fact::Known { age, .. }) = self.seen.sites.get_mut(site) {
                *age = now.since(heard.at);
            }
        }
    }
}

/// How long to wait after so many failures before the one that has just come.
pub(super) fn wait_after(failures: u32) -> Duration {
    (FIRST_WAIT * 2_u32.saturating_pow(failures.min(8))).min(LONGEST_WAIT)
}

/// What a standby's report says of its last contact with the primary, on this machine's clock. A report that says
/// nothing leaves what was known before.
fn contact(report: &Report, received_at: Boottime) -> Option<LastContact> {
    if let Some(lost) = &report.contact_lost {
        let noticed = received_at - lost.since?.duration();
        return Some(LastContact {
            reported_end: lost.reported_end?,
            received: lost.received?,
            reported_at: noticed - lost.report_age?.duration(),
        });
    }
    let p = report.positions.as_ref()?;
    let upstream = p.upstream.as_ref().filter(|u| u.streams())?;
    Some(LastContact {
        reported_end: upstream.reported_end?,
        received: p.held()?,
        reported_at: received_at - p.age.duration() - upstream.message_age?.duration(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(serial: u64) -> Marks {
        Marks { generation: 0, epoch: 1, serial }
    }

    fn ms(n: u64) -> Boottime {
        Boottime::from_millis(n)
    }

    fn says(state: &mut State, serial: u64, at: Boottime) {
        let heard = Heard { question: 1, marks: Some(marks(serial)), at };
        state.heard.insert("lyon".try_into().unwrap(), heard);
    }

    #[test]
    fn what_was_seen_elsewhere_counts_after_a_read_that_was_sent_later() {
        let mut state = State::default();
        says(&mut state, 7, ms(100));
        assert_eq!(state.highest_seen(ms(100)), Marks::default());
        assert!(state.read_wanted);
        state.fresh_since = Some(ms(99));
        assert_eq!(state.highest_seen(ms(150)), Marks::default());
        state.fresh_since = Some(ms(100));
        assert_eq!(state.highest_seen(ms(200)), marks(7));
    }

    #[test]
    fn words_that_come_faster_than_reads_do_not_put_off_what_they_say() {
        let mut state = State::default();
        says(&mut state, 7, ms(100));
        state.highest_seen(ms(100));
        says(&mut state, 7, ms(300));
        state.highest_seen(ms(300));
        state.fresh_since = Some(ms(101));
        says(&mut state, 7, ms(500));
        assert_eq!(state.highest_seen(ms(500)), marks(7));
    }

    #[test]
    fn a_word_that_was_taken_back_waits_anew_when_it_is_heard_again() {
        let mut state = State::default();
        says(&mut state, 7, ms(100));
        state.highest_seen(ms(100));
        says(&mut state, 0, ms(200));
        state.highest_seen(ms(200));
        state.fresh_since = Some(ms(201));
        says(&mut state, 7, ms(300));
        assert_eq!(state.highest_seen(ms(300)), Marks::default());
    }
}
