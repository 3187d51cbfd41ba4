//! One site's operator without anything around it: what its brain orders is done at once, in a small world of which
//! the input is a part.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bascule_core::decide::Installation;
use bascule_core::guard::wire::Upstream;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::observation::Fact;
use bascule_core::outcome::Outcome;
use bascule_core::policy::Policy;
use bascule_core::record::Record;
use bascule_core::time::Boottime;
use bascule_core::timing::Profile;
use bascule_engine::brain::{Brain, Command, Event, Found, Identity, Look};
use bascule_engine::ports::{ArbiterChange, Cas, Intent, Listed, Renewed};
use bascule_sim::sample;
use jiff::Timestamp;

/// What one moment may cause at most: a brain that orders more never rests.
const MOST: usize = 500;

/// An operator and what it finds.
pub(crate) struct Operator {
    brain: Brain,
    now: Boottime,
    site: SiteName,
    policy: Policy,
    record: Option<Record>,
    revision: i64,
    beats: i64,
    /// Whether the other site's lease changes.
    pub(crate) other_lives: bool,
    due: VecDeque<Event>,
}

impl Operator {
    /// The operator of one of the sample's sites, which has just started and finds this record.
    pub(crate) fn new(site: usize, record: Option<Record>) -> Self {
        let policy = sample::policy();
        let site = policy.sites[site].clone();
        let now = Boottime::from_millis(1_000_000);
        let profile = Profile::Metro;
        let installation = Installation {
            profile,
            timing: profile.timing(),
            generation: 0,
            places: bascule_core::decide::Places::Several,
        };
        let id = Identity { site: site.clone(), question: 7, installation };
        let mut this = Self {
            brain: Brain::new(id, now),
            now,
            site,
            record,
            revision: 10,
            beats: 1,
            other_lives: true,
            due: VecDeque::new(),
            policy: policy.clone(),
        };
        this.hear(Event::Intent(Intent::Policy(Box::new(policy))));
        this.hear(Event::Intent(Intent::Listed));
        this
    }

    /// The policy's key.
    pub(crate) fn key(&self) -> PolicyKey {
        self.policy.key.clone()
    }

    /// The moment.
    pub(crate) const fn now(&self) -> Boottime {
        self.now
    }

    /// Another record is there, as somebody else wrote it.
    pub(crate) fn rewritten(&mut self, record: Record) {
        self.record = Some(record);
        self.revision += 1;
        let change = ArbiterChange::Record { policy: self.key(), revision: self.revision };
        self.hear(Event::Changed(change));
    }

    /// Something happened; all that follows at once is done.
    pub(crate) fn hear(&mut self, event: Event) {
        self.due.push_back(event);
        let mut handled = 0;
        while let Some(event) = self.due.pop_front() {
            handled += 1;
            assert!(handled < MOST, "it never rests: {event:?}");
            let since = self.now.since(Boottime::default());
            let wall = Timestamp::UNIX_EPOCH.saturating_add(since).unwrap_or(Timestamp::MAX);
            for command in self.brain.handle(event, self.now, wall) {
                self.obey(command);
            }
        }
    }

    /// Lets time pass, from one moment that the brain asks for to the next.
    pub(crate) fn live(&mut self, moments: usize) {
        for _ in 0..moments {
            let next = self.brain.next_tick();
            self.now = next.max(self.now + Duration::from_millis(1));
            self.hear(Event::Tick);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.now;
        let event = match command {
            Command::Renew => {
                self.beats += 1;
                Event::Renewed { sent: now, result: Renewed::Applied }
            }
            Command::ReadLeases => {
                let beat = |s: &SiteName| if *s == self.site || self.other_lives { self.beats } else { 1 };
                let leases = self.policy.sites.iter().map(|s| (s.clone(), beat(s))).collect();
                Event::Leases { sent: now, received: now, result: Ok(leases) }
            }
            Command::ReadRecord(policy) => {
                let found = self.record.clone().map(|r| (Box::new(r), self.revision));
                Event::Record { policy, sent: now, received: now, result: Ok(found) }
            }
            Command::Write { policy, expected, next, .. } => {
                let there = self.record.is_some().then_some(self.revision);
                let result = if expected == there {
                    self.revision += 1;
                    self.record = Some((*next).clone());
                    Cas::Applied(self.revision)
                } else {
                    Cas::Conflict
                };
                Event::Written { policy, next, result }
            }
            Command::WriteFacts { policy, facts } => {
                Event::FactsWritten { policy, facts, outcome: Outcome::Done }
            }
            Command::ListAndWatch => {
                let records = self.record.iter().map(|_| (self.policy.key.clone(), self.revision)).collect();
                let listed = Listed { records, revision: self.revision, ..Listed::default() };
                Event::Listed(Ok(listed))
            }
            Command::ReadMarks => Event::Marks(Ok(BTreeMap::new())),
            Command::RaiseMark { policy, kept } => Event::MarkRaised { policy, kept, outcome: Outcome::Done },
            Command::Look { policy, what, .. } => {
                let found = match &what {
                    Look::Database(_) => Found::Database(Fact::now(Vec::new())),
                    Look::Upstream(..) => Found::Upstream(Ok(upstream())),
                    // Nobody answers.
                    Look::Workload(_) | Look::Traffic(_) => return,
                };
                Event::Seen { policy: policy.key.clone(), what, found }
            }
            Command::Perform { policy, step, .. } => {
                Event::Done { policy: policy.key.clone(), step, outcome: Outcome::Done }
            }
            Command::Publish(shown) => Event::Published { policy: shown.key.clone(), outcome: Outcome::Done },
            Command::Beat(_) => Event::Beaten { outcome: Outcome::Done },
            Command::Answer { .. }
            | Command::Tell { .. }
            | Command::Refuse { .. }
            | Command::Journal(_)
            | Command::Stop { .. }
            | Command::StandDown { .. } => return,
        };
        self.due.push_back(event);
    }
}

fn upstream() -> Upstream {
    Upstream {
        host: "main".to_owned(),
        port: 5432,
        user: "replication".to_owned(),
        password: String::new(),
        slot: "bascule_lyon".to_owned(),
        application_name: "lyon".to_owned(),
        sslmode: "require".to_owned(),
    }
}
