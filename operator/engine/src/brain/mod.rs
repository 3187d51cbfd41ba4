//! The loop as a state machine: events in, commands out.
//!
//! Nothing here reads a clock or does I/O. The same events at the same moments give the same commands, in the
//! operator and in the simulator.
//!
//! Flow: an event changes what is known; every policy that it touches is decided anew ([`cycle`]); the decision's
//! change of the record is written first, effects follow from the record as it is then seen.
//!
//! Guarantees: a guard's question is answered from the state at the moment of answering; nothing is granted after a
//! gap in the site lease before the role is re-claimed; at most one write of a record and one effect per lane are in
//! flight; after an unknown outcome the world is looked at again before anything else.

mod cycle;
mod event;
mod guards;
mod looks;
mod policy;
mod quick;
mod said;
mod told;
mod trouble;
mod words;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bascule_core::ballot::holder::Holder;
use bascule_core::ballot::silence::Observer;
use bascule_core::decide::Installation;
use bascule_core::heartbeat::{self, Heartbeat, Unshown};
use bascule_core::mutant::forgets;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{Fact, Kept};
use bascule_core::outcome::Outcome;
use bascule_core::record::Fences;
use bascule_core::time::Boottime;
use jiff::Timestamp;

pub use self::cycle::ORDERED_TO_LOCK;
pub use self::event::{Command, Event, Found, Look};
use self::policy::{State, wait_after};
use self::trouble::{Call, News, Troubles};
use crate::ports::{
    ArbiterChange, Cas, GuardSession, Intent, JournalEntry, JournalKind, Renewed, TargetChanged,
};

/// The longest wait before the arbiter is listed again after a failure: meanwhile nothing is heard of the other sites. It
/// is no longer than the lease either, for one that comes back waits twice as long for what the others have seen.
const LIST_AGAIN: Duration = Duration::from_secs(4);

/// A watch that has held for so long is a good one: when it breaks, the arbiter is listed again at once.
const GOOD_WATCH: Duration = Duration::from_secs(10);

/// How soon a heartbeat that failed is tried again.
const BEAT_AGAIN: Duration = Duration::from_secs(2);

/// How long to wait before the marks are read again after a failure.
const MARKS_AGAIN: Duration = Duration::from_secs(2);

/// Who this operator is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its site.
    pub site: SiteName,
    /// A number of this process: its question to the other sites. Another one after every start.
    pub question: u64,
    /// The installation's settings.
    pub installation: Installation,
}

/// The engine's state.
#[derive(Clone, Debug)]
pub struct Brain {
    id: Identity,
    holder: Holder,
    observer: Observer,
    policies: BTreeMap<PolicyKey, Box<State>>,
    /// What takes a policy's place while it is decided.
    spare: Option<Box<State>>,
    sessions: BTreeMap<GuardSession, (PolicyKey, ItemName)>,
    intent_listed: bool,
    arbiter_listed: bool,
    marks: Fact<BTreeMap<PolicyKey, Kept>>,
    /// When the marks were last read.
    marks_heard_at: Option<Boottime>,
    /// How many readings of the marks are under way.
    marks_asked: u32,
    /// Since when the marks are being read again: this site came back, its watch of the arbiter broke, or what it is about to
    /// do needs them as they are now.
    marks_old_since: Option<Boottime>,
    next_renewal: Boottime,
    next_lease_read: Boottime,
    list_at: Option<Boottime>,
    /// When the listing that is being watched from succeeded.
    listed_at: Option<Boottime>,
    /// How often the arbiter had to be listed again since the last good watch.
    relists: u32,
    /// What the last listing could not read.
    unreadable: Vec<String>,
    troubles: Troubles,
    /// When the heart beats next.
    beat_at: Boottime,
    /// A beat is under way.
    beating: bool,
    /// What went wrong with it. It says nothing about the policies, and a status says nothing about it.
    beat_troubles: Troubles,
    read_marks_at: Option<Boottime>,
    /// Every site that a policy here has named.
    sites: BTreeSet<SiteName>,
    /// The deadlines that records of this site promise, each with how many promise it: thousands of records are not asked
    /// at every read of one.
    promised: BTreeMap<Duration, usize>,
    /// When each policy wants to be decided again, the earliest first: thousands of them are not asked at every event.
    wakes: BTreeSet<(Boottime, PolicyKey)>,
    dirty: BTreeSet<PolicyKey>,
    out: Vec<Command>,
}

impl Brain {
    /// An engine that knows nothing yet. Give it a [`Event::Tick`] first.
    pub fn new(id: Identity, now: Boottime) -> Self {
        let observer = Observer::new(id.installation.timing.tq());
        Self::observing(id, observer, now)
    }

    /// The same, but what this process has read of the leases so far counts: a spare replica has read them all the time.
    pub fn observing(id: Identity, observer: Observer, now: Boottime) -> Self {
        let timing = id.installation.timing;
        Self {
            holder: Holder::new(timing.r()),
            observer,
            policies: BTreeMap::new(),
            spare: None,
            sessions: BTreeMap::new(),
            intent_listed: false,
            arbiter_listed: false,
            marks: Fact::unknown("this site's high-water marks have not been read yet"),
            marks_heard_at: None,
            marks_asked: 0,
            marks_old_since: Some(now),
            next_renewal: now,
            next_lease_read: now,
            list_at: Some(now),
            listed_at: None,
            relists: 0,
            unreadable: Vec::new(),
            troubles: Troubles::default(),
            beat_at: now,
            beating: false,
            beat_troubles: Troubles::default(),
            read_marks_at: Some(now),
            sites: BTreeSet::new(),
            promised: BTreeMap::new(),
            wakes: BTreeSet::new(),
            dirty: BTreeSet::new(),
            out: Vec::new(),
            id,
        }
    }

    /// Takes an event at `now` and returns what is to be done, in order.
    pub fn handle(&mut self, event: Event, now: Boottime, wall: Timestamp) -> Vec<Command> {
        self.take(event, now);
        self.timers(now);
        while let Some(key) = self.dirty.pop_first() {
            self.cycle(&key, now, wall);
        }
        self.beat(now, wall);
        std::mem::take(&mut self.out)
    }

    /// When the brain wants a [`Event::Tick`] at the latest.
    pub fn next_tick(&self) -> Boottime {
        let policies = self.wakes.first().map(|(at, _)| *at);
        debug_assert_eq!(
            policies,
            self.policies.values().filter_map(|state| state.next_tick()).min(),
            "whatever changes when a policy is due notes it"
        );
        let beat = self.may_beat().then_some(self.beat_at);
        let others =
            [Some(self.next_renewal), Some(self.next_lease_read), self.list_at, self.read_marks_at, beat];
        others.into_iter().flatten().chain(policies).min().unwrap_or(self.next_renewal)
    }

    /// Notes when a policy wants to be decided again, after something has changed about it.
    fn set_wake(&mut self, key: &PolicyKey) {
        if let Some((before, at)) = self.policies.get_mut(key).and_then(|state| state.wakes_otherwise()) {
            self.wake(key, before, at);
        }
    }

    /// A policy that wanted to be decided again at `before` wants it at `at`.
    fn wake(&mut self, key: &PolicyKey, before: Option<Boottime>, at: Option<Boottime>) {
        let key = self.known(key);
        if let Some(before) = before {
            self.wakes.remove(&(before, key.clone()));
        }
        self.wakes.extend(at.map(|at| (at, key)));
    }

    /// Whether policies, records and marks have all been read once.
    pub const fn is_ready(&self) -> bool {
        self.intent_listed && self.arbiter_listed && self.marks.value().is_some()
    }

    /// The name of this process, as it writes and vouches for what it wrote.
    pub fn writer(&self) -> String {
        heartbeat::writer(&self.id.site, self.id.question)
    }

    /// How long this site's lease still lasts.
    pub fn lease_remaining(&self, now: Boottime) -> Option<Duration> {
        self.holder.remaining(now)
    }

    /// Not before the policies were listed: of one that is not known yet nobody could say that it is not as its status says.
    const fn may_beat(&self) -> bool {
        self.intent_listed && !self.beating
    }

    /// Says that this site's operator lives, and for which policies it does not vouch. After everything else, so that it
    /// speaks of the state that follows from the event; out of the loop itself, so that a loop that hangs falls silent.
    fn beat(&mut self, now: Boottime, wall: Timestamp) {
        if !self.may_beat() || now < self.beat_at {
            return;
        }
        self.beat_at = next_beat(self.beat_at, heartbeat::EVERY, now);
        self.beating = true;
        let unshown = self.policies.iter().filter(|(_, state)| state.is_unshown(now));
        let unshown = Unshown::of(unshown.map(|(key, _)| key.to_string()).collect());
        self.out.push(Command::Beat(Box::new(Heartbeat { by: self.writer(), at: wall, unshown })));
    }

    fn beaten(&mut self, outcome: &Outcome, now: Boottime) {
        self.beating = false;
        let news = match outcome {
            Outcome::Done => self.beat_troubles.went_well(Call::Beat, now),
            Outcome::Refused { reason } | Outcome::Unknown { reason } => {
                self.beat_at = self.beat_at.min(now + BEAT_AGAIN);
                self.beat_troubles.failed(Call::Beat, reason, now)
            }
        };
        self.take_news(News { shows: false, ..news }, None);
    }

    fn timers(&mut self, now: Boottime) {
        let period = self.id.installation.timing.p();
        if now >= self.next_renewal {
            self.out.push(Command::Renew);
            self.next_renewal = next_beat(self.next_renewal, period, now);
        }
        if now >= self.next_lease_read {
            self.out.push(Command::ReadLeases);
            self.next_lease_read = next_beat(self.next_lease_read, period, now);
        }
        if self.list_at.is_some_and(|t| now >= t) {
            self.list_at = None;
            self.listed_at = None;
            self.out.push(Command::ListAndWatch);
        }
        // Also after a lease that was regained, which begins the watch anew without a failure: what is said of the old one
        // ends with it.
        if self.watch_is_good(now) {
            self.relists = 0;
            let news = self.troubles.went_well(Call::Watch, now);
            self.take_news(news, None);
        }
        if self.read_marks_at.is_some_and(|t| now >= t) {
            self.read_marks();
        }
        // Whoever is due is decided, which notes when it is due next.
        let due = self.wakes.iter().take_while(|(at, _)| now >= *at);
        self.dirty.extend(due.map(|(_, key)| key.clone()));
    }

    fn take(&mut self, event: Event, now: Boottime) {
        match event {
            Event::Tick => {}
            Event::Renewed { sent, result } => self.renewed(sent, result, now),
            Event::Leases { sent, received, result } => {
                match result {
                    Ok(mut found) => {
                        // A lease that was never written is seen too, as one that does not change.
                        for site in &self.sites {
                            found.entry(site.clone()).or_insert(0);
                        }
                        self.observer.read(sent, received, &found);
                        let news = self.troubles.went_well(Call::Leases, now);
                        self.take_news(news, None);
                    }
                    Err(reason) => {
                        self.observer.failed();
                        let news = self.troubles.failed(Call::Leases, &reason, now);
                        self.take_news(news, None);
                    }
                }
                // Only a site that may have to act on another's silence decides at every beat.
                let due = self
                    .policies
                    .iter()
                    .filter(|(_, s)| s.watches_leases(&self.id.site))
                    .map(|(k, _)| k.clone());
                self.dirty.extend(due);
            }
            Event::Record { policy, sent, received, result } => {
                self.record_read(&policy, sent, received, result, now);
            }
            Event::Written { policy, next, result } => self.written(&policy, *next, &result, now),
            Event::FactsWritten { policy, facts, outcome } => {
                if let Some(state) = self.policies.get_mut(&policy) {
                    let news = state.facts_written(&facts, &outcome, now);
                    self.dirty.insert(policy.clone());
                    self.take_news(news, Some(policy));
                }
            }
            Event::Listed(result) => self.listed(result, now),
            Event::Changed(change) => self.changed(change, now),
            Event::Guard(event) => self.guard(event, now),
            Event::Intent(intent) => self.intent(intent),
            Event::Marks(result) => self.marks_read(result, now),
            Event::MarkRaised { policy, kept, outcome } => self.mark_raised(policy, *kept, &outcome, now),
            Event::Seen { policy, what, found } => {
                if let Some(state) = self.policies.get_mut(&policy) {
                    // A server may end a moment later than its guard's connection.
                    let settled = found.is_settled() && !state.misses_guard(&what);
                    state.looks.ended(&what, settled, now);
                    state.saw(what, found);
                    self.dirty.insert(policy);
                }
            }
            Event::TrafficChanged(TargetChanged { policy, traffic }) => {
                // A policy that does not name it any more is not looked at for it.
                if let Some(state) = self.policies.get_mut(&policy)
                    && state.policy.as_ref().is_some_and(|p| p.traffic.contains_key(&traffic))
                {
                    state.looks.now(&Look::Traffic(traffic));
                    self.dirty.insert(policy);
                }
            }
            Event::Done { policy, step, outcome } => self.done(policy, &step, &outcome, now),
            Event::Beaten { outcome } => self.beaten(&outcome, now),
            Event::Published { policy, outcome } => {
                if let Some(state) = self.policies.get_mut(&policy)
                    && state.published(&outcome, now)
                {
                    self.dirty.insert(policy.clone());
                }
                self.set_wake(&policy);
            }
        }
    }

    fn renewed(&mut self, sent: Boottime, result: Renewed, now: Boottime) {
        match result {
            Renewed::Applied => {
                let news = self.troubles.went_well(Call::Renew, now);
                self.take_news(news, None);
                if self.holder.renewed(sent, now) {
                    self.note_site("this site's lease was regained after a gap; every role is re-claimed");
                    self.marks_old_since = Some(now);
                    self.read_marks_at = Some(now);
                    for (key, state) in &mut self.policies {
                        state.want_read(now);
                        // Failures from while the arbiter was away say nothing about now: the others wait for this site's
                        // question, and this site for their answers.
                        state.write_facts_at = None;
                        state.write_not_before = None;
                        self.dirty.insert(key.clone());
                    }
                    // A listing that is under way, and a watch that looks well, may have been lost with the way to the
                    // arbiter. At the start nothing has been.
                    self.relists = 0;
                    if self.list_at.is_some() || self.holder.returns() > 1 {
                        self.list_at = Some(now);
                    }
                }
            }
            Renewed::NameTaken { owner } => {
                let reason = format!(
                    "the site name {} belongs to another cluster (UID {owner}): one of the two was installed with the wrong site.name; if that cluster is gone for good, delete the key that ends in site/{} from the arbiter (at a witness: the SiteLease of that name)",
                    self.id.site, self.id.site
                );
                self.out.push(Command::Stop { reason });
            }
            Renewed::NotActing { who } => self.out.push(Command::StandDown { who }),
            Renewed::Unknown { reason } => {
                let news = self.troubles.failed(Call::Renew, &reason, now);
                self.take_news(news, None);
            }
        }
    }

    fn record_read(
        &mut self,
        policy: &PolicyKey,
        sent: Boottime,
        received: Boottime,
        result: Result<Option<(Box<bascule_core::record::Record>, i64)>, String>,
        now: Boottime,
    ) {
        let Some(state) = self.policies.get_mut(policy) else { return };
        state.reading = false;
        match result {
            Ok(found) => {
                state.read_failed = None;
                state.record_known = true;
                let found = found.map(|(record, revision)| (*record, revision));
                // One that was overtaken settles nothing: whoever waits for a read waits for the next one, which is
                // sent after what has overtaken this one.
                if state.claim.read(&self.holder, &self.id.site, found, sent, received) {
                    state.note_marks();
                    state.fresh_since = Some(sent);
                    if state.read_wanted_since.is_none_or(|t| sent >= t) {
                        state.read_wanted = false;
                        state.read_wanted_since = None;
                    }
                }
                self.bind_holder(policy);
            }
            Err(reason) => {
                state.read_failed = Some(reason);
                state.read_again_at = Some(now + self.id.installation.timing.p());
            }
        }
        self.dirty.insert(policy.clone());
    }

    fn written(
        &mut self,
        policy: &PolicyKey,
        next: bascule_core::record::Record,
        result: &Cas,
        now: Boottime,
    ) {
        let Some(state) = self.policies.get_mut(policy) else { return };
        let (kind, what) = match result {
            Cas::Applied(_) if forgets("an outcome is journaled") => {
                (JournalKind::Observed, format!("recorded {}", next.phase))
            }
            Cas::Applied(_) => (JournalKind::Outcome, format!("recorded {}", next.phase)),
            Cas::Conflict => {
                (JournalKind::Outcome, format!("not recorded: another site was first ({})", next.phase))
            }
            Cas::Unknown { reason } => {
                (JournalKind::Outcome, format!("unknown whether {} was recorded: {reason}", next.phase))
            }
        };
        let (epoch, serial) = (next.epoch, next.serial);
        match result {
            Cas::Applied(revision) => {
                state.claim.applied(&self.holder, &self.id.site, next, *revision, now);
                state.note_marks();
            }
            Cas::Conflict | Cas::Unknown { .. } => {
                state.claim.lost_or_unknown(now);
                state.want_read(now);
            }
        }
        state.wrote(matches!(result, Cas::Unknown { .. }), now);
        self.out.push(Command::Journal(JournalEntry {
            policy: Some(policy.clone()),
            epoch,
            serial,
            kind,
            what,
        }));
        self.bind_holder(policy);
        self.dirty.insert(policy.clone());
    }

    /// A gap in this site's lease is judged by the shortest deadline that any of its records promises. That of `changed`
    /// was read or written.
    fn bind_holder(&mut self, changed: &PolicyKey) {
        let Some(state) = self.policies.get_mut(changed) else { return };
        let view = state.claim.view().filter(|v| v.record.active == self.id.site);
        let now = view.and_then(|v| match v.record.promise.fences {
            Fences::Within { holder, .. } => Some(holder.duration()),
            Fences::Never => None,
        });
        let before = std::mem::replace(&mut state.promised, now);
        if before != now {
            if let Some(before) = before
                && let Some(n) = self.promised.get_mut(&before)
            {
                *n -= 1;
                if *n == 0 {
                    self.promised.remove(&before);
                }
            }
            if let Some(now) = now {
                *self.promised.entry(now).or_default() += 1;
            }
        }
        let r = self.id.installation.timing.r();
        self.holder.promise(self.promised.keys().next().map_or(r, |least| r.min(*least)));
    }

    fn listed(&mut self, result: Result<crate::ports::Listed, String>, now: Boottime) {
        match result {
            Err(reason) => {
                self.relists = self.relists.max(1);
                self.list_again(now);
                let news = self.troubles.failed(Call::List, &reason, now);
                self.take_news(news, None);
            }
            Ok(listed) => {
                if std::mem::replace(&mut self.arbiter_listed, true) {
                    // What broke the watch may have been a restored arbiter: what another process of this site knows of it
                    // by now is written down.
                    self.marks_old_since.get_or_insert(now);
                    self.read_marks_at = Some(now);
                }
                self.listed_at = Some(now);
                let news = self.troubles.went_well(Call::List, now);
                self.take_news(news, None);
                self.could_not_read(listed.unreadable);
                // An emptied arbiter lists nothing, and its watch tells of nothing that is gone.
                for (key, state) in &mut self.policies {
                    if state.claim.view().is_some() && !listed.records.contains_key(key) {
                        state.claim.outdated(now);
                        state.want_read(now);
                        self.dirty.insert(key.clone());
                    }
                }
                for (key, revision) in listed.records {
                    let state = self.state(&key);
                    if state.claim.view().is_none_or(|v| v.revision != revision) {
                        state.claim.outdated(now);
                        state.want_read(now);
                    }
                    self.dirty.insert(key);
                }
                let mut own = BTreeMap::new();
                for ((key, site), facts) in listed.facts {
                    if site == self.id.site {
                        own.insert(key, facts);
                    } else {
                        self.state(&key).heard(site, facts, now);
                        self.dirty.insert(key);
                    }
                }
                // An arbiter that was restored has old facts of this site, or none: the others wait for the present ones.
                for (key, state) in &mut self.policies {
                    if let Some(said) = &state.facts
                        && !own.get(key).is_some_and(|facts| said.is(facts))
                    {
                        state.facts_in_doubt = true;
                        self.dirty.insert(key.clone());
                    }
                }
            }
        }
    }

    fn changed(&mut self, change: ArbiterChange, now: Boottime) {
        match change {
            ArbiterChange::Record { policy, revision } => {
                let state = self.state(&policy);
                if state.claim.view().is_none_or(|v| v.revision < revision) {
                    state.claim.outdated(now);
                    state.want_read(now);
                    self.dirty.insert(policy);
                }
            }
            ArbiterChange::Facts { policy, site, facts } => {
                if site != self.id.site {
                    self.state(&policy).heard(site, *facts, now);
                    self.dirty.insert(policy);
                } else if let Some(state) = self.policies.get_mut(&policy) {
                    let last = (cycle::question(&self.id, &self.holder), state.said);
                    state.spoken_over = (facts.question, facts.number) != last
                        && !forgets("what was written over is said again");
                    if state.spoken_over {
                        self.dirty.insert(policy);
                    }
                }
            }
            ArbiterChange::Broken { reason } => {
                if self.watch_is_good(now) {
                    self.relists = 0;
                }
                self.list_again(now);
                let news = self.troubles.failed(Call::Watch, &reason, now);
                self.take_news(news, None);
            }
        }
    }

    /// Whether the watch has held for long enough to be trusted.
    fn watch_is_good(&self, now: Boottime) -> bool {
        self.listed_at.is_some_and(|t| now.since(t) >= GOOD_WATCH)
    }

    /// The arbiter is listed again: at once after a good watch, then later and later.
    fn list_again(&mut self, now: Boottime) {
        let wait = self.relists.checked_sub(1).map_or(Duration::ZERO, wait_after);
        self.relists = self.relists.saturating_add(1);
        if forgets("a broken watch is begun anew") {
            return;
        }
        self.list_at = Some(now + wait.min(LIST_AGAIN).min(self.id.installation.timing.l()));
    }

    fn could_not_read(&mut self, what: Vec<String>) {
        if what == self.unreadable {
            return;
        }
        let line = if what.is_empty() {
            "everything in the arbiter can be read again".to_owned()
        } else {
            format!("unreadable in the arbiter: {}", what.join("; "))
        };
        self.unreadable = what;
        self.take_news(News { line: Some(line), shows: true }, None);
    }

    /// Journals what has become of a call, and shows it where it shows.
    fn take_news(&mut self, news: News, policy: Option<PolicyKey>) {
        if news.shows {
            match &policy {
                Some(key) => self.dirty.extend([key.clone()]),
                None => self.dirty.extend(self.policies.keys().cloned()),
            }
        }
        if let Some(what) = news.line {
            let known = policy.as_ref().and_then(|key| self.policies.get(key));
            let (epoch, serial) = known.map_or((0, 0), |state| state.epoch_serial());
            self.out.push(Command::Journal(JournalEntry {
                policy,
                epoch,
                serial,
                kind: JournalKind::Observed,
                what,
            }));
        }
    }

    fn intent(&mut self, intent: Intent) {
        match intent {
            Intent::Policy(policy) => {
                let mut policy = policy.under(&self.id.installation);
                let key = self.known(&policy.key);
                policy.key.clone_from(&key);
                for site in &policy.sites {
                    if !self.sites.contains(site) {
                        self.sites.insert(site.clone());
                    }
                }
                let state = self.state(&key);
                let was_invalid = state.invalid.take().is_some();
                state.gone = false;
                if state.set_policy(policy) || was_invalid {
                    self.dirty.insert(key);
                }
            }
            Intent::Invalid { policy, reason } => {
                let state = self.state(&policy);
                state.gone = false;
                state.invalid = Some(reason);
                self.dirty.insert(policy);
            }
            Intent::PolicyGone(key) => {
                if let Some(state) = self.policies.get_mut(&key) {
                    state.gone = true;
                    state.policy = None;
                    state.invalid = None;
                    // An object of the same name that comes later has no status.
                    state.shown = None;
                    self.dirty.insert(key);
                }
            }
            Intent::ShowAgain(key) => {
                if let Some(state) = self.policies.get_mut(&key) {
                    state.shown = None;
                    self.dirty.insert(key);
                }
            }
            Intent::Moves { policy, moves } => {
                let state = self.state(&policy);
                if state.moves != moves {
                    state.moves = moves;
                    self.dirty.insert(policy);
                }
            }
            Intent::Listed => {
                self.intent_listed = true;
                self.dirty.extend(self.policies.keys().cloned());
            }
        }
    }

    fn read_marks(&mut self) {
        self.read_marks_at = None;
        self.marks_asked += 1;
        self.out.push(Command::ReadMarks);
    }

    /// What a policy is about to do needs the marks as they are written down now: one reading is for all that wait.
    fn want_marks(&mut self, now: Boottime) {
        if self.marks_old_since.is_none() {
            self.marks_old_since = Some(now);
            self.read_marks();
        }
    }

    fn marks_read(&mut self, result: Result<BTreeMap<PolicyKey, Kept>, String>, now: Boottime) {
        self.marks_asked = self.marks_asked.saturating_sub(1);
        match result {
            Ok(marks) => {
                let marks = marks.into_iter().map(|(key, kept)| (self.known(&key), kept));
                let marks: BTreeMap<PolicyKey, Kept> = marks.collect();
                let before = std::mem::replace(&mut self.marks, Fact::now(marks));
                self.marks_heard_at = Some(now);
                // An answer to an earlier question says nothing of what was written since.
                self.marks_old_since = self.marks_old_since.filter(|_| self.marks_asked > 0);
                // They are read before each role is taken: of thousands of policies those are decided for which they say
                // something new, or that wait for them.
                let new = |key: &PolicyKey| {
                    before.value().is_none_or(|b| b.get(key) != self.marks.value().and_then(|m| m.get(key)))
                };
                let due = self.policies.iter().filter(|(key, s)| s.waits_for_marks || new(key));
                self.dirty.extend(due.map(|(key, _)| key.clone()));
            }
            Err(reason) => {
                if self.marks.value().is_none() {
                    self.marks = Fact::Unknown { reason };
                }
                self.read_marks_at = Some(now + MARKS_AGAIN);
            }
        }
    }

    fn mark_raised(&mut self, policy: PolicyKey, kept: Kept, outcome: &Outcome, now: Boottime) {
        let Some(state) = self.policies.get_mut(&policy) else { return };
        state.raising = false;
        match outcome {
            Outcome::Done => {
                if let Fact::Known { value, .. } = &mut self.marks {
                    let before = value.remove(&policy).unwrap_or_default();
                    value.insert(policy.clone(), before.higher(kept));
                }
                state.mark_unwritable = None;
            }
            Outcome::Refused { reason } | Outcome::Unknown { reason } => {
                state.mark_unwritable = Some(reason.clone());
                state.raise_again_at = Some(now + MARKS_AGAIN);
            }
        }
        self.dirty.insert(policy);
    }

    fn done(&mut self, policy: PolicyKey, step: &bascule_core::plan::Step, outcome: &Outcome, now: Boottime) {
        let Some(state) = self.policies.get_mut(&policy) else { return };
        let what = match outcome {
            Outcome::Done => format!("done: {}", step.words()),
            Outcome::Refused { reason } => {
                format!("refused: {}: {reason}", step.words())
            }
            Outcome::Unknown { reason } => {
                format!("unknown: {}: {reason}", step.words())
            }
        };
        let (epoch, serial) = state.epoch_serial();
        let policy_key = Some(policy.clone());
        self.out.push(Command::Journal(JournalEntry {
            policy: policy_key,
            epoch,
            serial,
            kind: JournalKind::Outcome,
            what,
        }));
        state.step_ended(step, outcome, now);
        self.dirty.insert(policy);
    }

    fn note_site(&mut self, what: &str) {
        self.out.push(Command::Journal(JournalEntry {
            policy: None,
            epoch: 0,
            serial: 0,
            kind: JournalKind::Observed,
            what: what.to_owned(),
        }));
    }

    /// The key as it is kept, if it is: one that came with an event has texts of its own.
    fn known(&self, key: &PolicyKey) -> PolicyKey {
        self.policies.get_key_value(key).map_or(key, |(known, _)| known).clone()
    }

    fn state(&mut self, key: &PolicyKey) -> &mut State {
        self.policies.entry(key.clone()).or_default()
    }
}

/// The next beat of a fixed rate: beats that were missed are not made up for.
fn next_beat(last: Boottime, period: Duration, now: Boottime) -> Boottime {
    let next = last + period;
    if next > now { next } else { now + period }
}
