//! etcd: compare-and-swap, leases, the watch, members that die or stand still, and a store that goes back in time.

#[path = "../arbiter/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bascule_adapters::arbiter::{Identity, SiteArbiter};
use bascule_core::facts::SiteFacts;
use bascule_core::few::Few;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::outcome::Outcome;
use bascule_core::record::Record;
use bascule_engine::brain::{Command, Event};
use bascule_engine::ports::{Arbiter, ArbiterChange, Cas, Listed, Renewed};
use bascule_sim::fault::Fault;
use bascule_sim::side_by_side::{Letters, Step, Subject, compare};
use bascule_sim::world::arbiter::Ranking;
use serde_json::json;
use tokio::sync::mpsc;

use self::Member::{Leader, Other, Own};
use self::Site::{Lyon, Paris};
use self::cluster::{Cluster, TQ};
use crate::world::{Driven, policy};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    Paris,
    Lyon,
}

impl Site {
    const ALL: [Self; 2] = [Paris, Lyon];

    pub(crate) fn name(self) -> SiteName {
        SiteName::try_from(if self == Paris { "paris" } else { "lyon" }).unwrap()
    }

    pub(crate) const fn other(self) -> Self {
        if matches!(self, Paris) { Lyon } else { Paris }
    }
}

/// A member: the one that paris asks first, the one that lyon asks first, and the one that leads at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Own,
    Other,
    Leader,
}

/// What a writer believes is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Nothing,
    /// What it has last read or written.
    Read,
    /// What it knew before that.
    Stale,
}

#[derive(Debug)]
pub(crate) enum Do {
    Renew(Site),
    /// Repeats it until it is applied.
    RenewAgain(Site),
    /// Waits until no late copy of a renewal moves a lease any more.
    Settle,
    /// Reads the leases and says which of them have moved since this site's last look.
    Leases(Site),
    Read(Site),
    /// Writes a record with this serial.
    Write(Site, From, u64),
    /// The same, if the other site's lease has not moved since the last look.
    Take(Site, From, u64),
    Facts(Site, u64),
    /// Lists and watches.
    Watch(Site),
    /// Waits for so many changes.
    Changes(Site, usize),
    AskFirst(Site, Member),
    /// Waits until there is a leader and every running member answers.
    AwaitLeader,
    Backup,
    // What goes wrong.
    Kill(Member),
    Start(Member),
    Freeze(Member),
    Thaw(Member),
    Restore,
    Empty,
    /// Another cluster is installed with this site's name.
    Reinstall(Site),
}

impl Step for Do {
    fn fails(&self) -> bool {
        matches!(
            self,
            Self::Write(_, From::Stale, _)
                | Self::Kill(_)
                | Self::Freeze(_)
                | Self::Restore
                | Self::Empty
                | Self::Reinstall(_)
        )
    }
}

/// What a site remembers of its questions, as the engine does.
#[derive(Default)]
pub(crate) struct Memory {
    read: Option<i64>,
    before: Option<i64>,
    leases: BTreeMap<SiteName, i64>,
}

impl Memory {
    fn read(&mut self, revision: Option<i64>) {
        if self.read != revision {
            self.before = std::mem::replace(&mut self.read, revision);
        }
    }

    pub(crate) const fn from(&self, from: From) -> Option<i64> {
        match from {
            From::Nothing => None,
            From::Read => self.read,
            From::Stale => self.before,
        }
    }

    pub(crate) fn unchanged(&self, site: Site) -> (SiteName, i64) {
        (site.name(), self.leases.get(&site.name()).copied().unwrap_or(0))
    }
}

/// The questions and answers as lines, the same for both.
#[derive(Default)]
pub(crate) struct Said {
    letters: Letters,
    of: BTreeMap<Site, Memory>,
}

impl Said {
    pub(crate) fn memory(&mut self, site: Site) -> &mut Memory {
        self.of.entry(site).or_default()
    }

    pub(crate) fn renewed(result: &Renewed) -> String {
        match result {
            Renewed::Applied => "applied",
            Renewed::NotActing { .. } => "another replica acts",
            Renewed::NameTaken { .. } => "the name is another cluster's",
            Renewed::Unknown { .. } => "unknown",
        }
        .to_owned()
    }

    pub(crate) fn leases<E: Display>(
        &mut self,
        site: Site,
        result: Result<BTreeMap<SiteName, i64>, E>,
    ) -> Vec<String> {
        let Ok(found) = result else { return vec!["unknown".to_owned()] };
        let before = std::mem::replace(&mut self.memory(site).leases, found.clone());
        let word = |of: Site| match (before.get(&of.name()), found.get(&of.name())) {
            (_, None) => "none",
            (None, Some(_)) => "new",
            (Some(a), Some(b)) if a == b => "as before",
            (Some(a), Some(b)) if a < b => "moved",
            (Some(_), Some(_)) => "went back",
        };
        Site::ALL.into_iter().map(|of| format!("lease of {of:?}: {}", word(of))).collect()
    }

    pub(crate) fn record<E: Display>(
        &mut self,
        site: Site,
        result: Result<Option<(Record, i64)>, E>,
    ) -> String {
        match result {
            Err(_) => "unknown".to_owned(),
            Ok(None) => {
                self.memory(site).read(None);
                "none".to_owned()
            }
            Ok(Some((record, revision))) => {
                self.memory(site).read(Some(revision));
                format!("serial {} by {} at {}", record.serial, record.entered.by, self.letters.of(revision))
            }
        }
    }

    pub(crate) fn written(&mut self, site: Site, result: &Cas) -> String {
        match result {
            Cas::Applied(revision) => {
                self.memory(site).read(Some(*revision));
                format!("applied at {}", self.letters.of(*revision))
            }
            Cas::Conflict => "conflict".to_owned(),
            Cas::Unknown { .. } => "unknown".to_owned(),
        }
    }

    pub(crate) fn outcome(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Done => "done",
            Outcome::Refused { .. } => "refused",
            Outcome::Unknown { .. } => "unknown",
        }
        .to_owned()
    }

    pub(crate) fn listed<E: Display>(&mut self, result: &Result<Listed, E>) -> Vec<String> {
        let Ok(listed) = result else { return vec!["unknown".to_owned()] };
        let mut lines: Vec<String> =
            listed.records.values().map(|r| format!("a record at {}", self.letters.of(*r))).collect();
        lines.extend(
            listed.facts.iter().map(|((_, site), f)| format!("facts of {site}, question {}", f.question)),
        );
        lines.extend(listed.unreadable.iter().map(|_| "something unreadable".to_owned()));
        if lines.is_empty() { vec!["nothing".to_owned()] } else { lines }
    }

    pub(crate) fn change(&mut self, change: &ArbiterChange) -> String {
        match change {
            ArbiterChange::Record { revision, .. } => {
                format!("the record is at {}", self.letters.of(*revision))
            }
            ArbiterChange::Facts { site, facts, .. } => {
                format!("facts of {site}, question {}", facts.question)
            }
            ArbiterChange::Broken { .. } => "the watch broke".to_owned(),
        }
    }
}

pub(crate) fn record(site: Site, serial: u64) -> Record {
    serde_json::from_value(json!({
        "schema": 1, "generation": 0, "epoch": 1, "serial": serial, "active": "paris", "phase": "Steady",
        "promise": { "fences": "never", "lease": 2000, "fenceClass": "Guard", "profile": "metro" },
        "settled": true,
        "entered": { "at": "2026-11-28T03:02:00Z", "by": site.name() },
    }))
    .unwrap()
}

pub(crate) fn facts(site: Site, question: u64) -> SiteFacts {
    SiteFacts {
        diverged: Few::new(),
        marks: None,
        schema: 1,
        site: site.name(),
        question,
        number: 1,
        answers: Few::new(),
        spec_hash: None,
        revision: None,
        blockers: Vec::new(),
        ready_for: None,
        cannot_prove: None,
        candidacy: None,
        disks: Few::new(),
        behind: Few::new(),
        lag_bytes: Few::new(),
        not_streaming: Few::new(),
        sizes: Few::new(),
    }
}

pub(crate) fn shop() -> PolicyKey {
    policy().key
}

// ---- the model

pub(crate) struct Model {
    driven: Driven,
    said: Said,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { driven: Driven::new(policy()), said: Said::default() }
    }

    const fn member(member: Member) -> usize {
        match member {
            Own => 0,
            Other => 1,
            Leader => 2,
        }
    }

    fn renew(&mut self, site: Site) -> Renewed {
        self.driven.ask(site as usize, Command::Renew, |event| match event {
            Event::Renewed { result, .. } => Some(result),
            _ => None,
        })
    }

    fn write(&mut self, site: Site, from: From, serial: u64, unchanged: Option<(SiteName, i64)>) -> String {
        let expected = self.said.memory(site).from(from);
        let next = Box::new(record(site, serial));
        let command = Command::Write { policy: shop(), expected, next, unchanged_lease: unchanged };
        let result = self.driven.ask(site as usize, command, |event| match event {
            Event::Written { result, .. } => Some(result),
            _ => None,
        });
        self.said.written(site, &result)
    }
}

impl Subject<Do> for Model {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        let world = &mut self.driven.world;
        match step {
            Do::Renew(site) => vec![Said::renewed(&self.renew(*site))],
            Do::RenewAgain(site) => {
                for _ in 0..1000 {
                    if self.renew(*site) == Renewed::Applied {
                        return vec!["applied".to_owned()];
                    }
                    self.driven.world.run_for(Duration::from_millis(50));
                }
                vec!["never".to_owned()]
            }
            Do::Settle => {
                world.run_for(Duration::from_secs(2));
                vec![]
            }
            Do::Leases(site) => {
                let result = self.driven.ask(*site as usize, Command::ReadLeases, |event| match event {
                    Event::Leases { result, .. } => Some(result),
                    _ => None,
                });
                self.said.leases(*site, result)
            }
            Do::Read(site) => {
                let result =
                    self.driven.ask(*site as usize, Command::ReadRecord(shop()), |event| match event {
                        Event::Record { result, .. } => Some(result),
                        _ => None,
                    });
                let result = result.map(|found| found.map(|(record, revision)| (*record, revision)));
                vec![self.said.record(*site, result)]
            }
            Do::Write(site, from, serial) => vec![self.write(*site, *from, *serial, None)],
            Do::Take(site, from, serial) => {
                let unchanged = self.said.memory(*site).unchanged(site.other());
                vec![self.write(*site, *from, *serial, Some(unchanged))]
            }
            Do::Facts(site, question) => {
                let facts = Box::new(facts(*site, *question));
                let command = Command::WriteFacts { policy: shop(), facts };
                let outcome = self.driven.ask(*site as usize, command, |event| match event {
                    Event::FactsWritten { outcome, .. } => Some(outcome),
                    _ => None,
                });
                vec![Said::outcome(&outcome)]
            }
            Do::Watch(site) => {
                let result = self.driven.ask(*site as usize, Command::ListAndWatch, |event| match event {
                    Event::Listed(result) => Some(result),
                    _ => None,
                });
                self.said.listed(&result)
            }
            Do::Changes(site, count) => {
                let mut lines = Vec::new();
                for _ in 0..*count {
                    let change = self.driven.hear(*site as usize, |event| match event {
                        Event::Changed(change) => Some(change),
                        _ => None,
                    });
                    lines.push(self.said.change(&change));
                }
                // Records and facts are watched apart: nobody says which of the two is told first.
                lines.sort();
                lines
            }
            Do::AskFirst(site, member) => {
                let first = Self::member(*member);
                let order = [first].into_iter().chain((0..3).filter(|m| *m != first)).collect();
                world.operators[*site as usize].ranking = Ranking::new(order);
                vec![]
            }
            Do::AwaitLeader => {
                assert!(world.run_while(Duration::from_mins(1), |w| w.arbiter.leader.is_none()), "no leader");
                vec![]
            }
            Do::Backup => {
                world.remember();
                vec![]
            }
            Do::Kill(member) => {
                world.member_runs(Self::member(*member), false);
                vec![]
            }
            Do::Start(member) => {
                world.member_runs(Self::member(*member), true);
                vec![]
            }
            Do::Freeze(member) => {
                world.member_stands_still(Self::member(*member), true);
                vec![]
            }
            Do::Thaw(member) => {
                world.member_stands_still(Self::member(*member), false);
                vec![]
            }
            Do::Restore => {
                world.fault(Fault::ArbiterRestored, true);
                self.said.letters = Letters::default();
                vec![]
            }
            Do::Empty => {
                world.fault(Fault::ArbiterEmptied, true);
                self.said.letters = Letters::default();
                vec![]
            }
            Do::Reinstall(site) => {
                world.sites[*site as usize].cluster.uid = 6666;
                world.operators[*site as usize].claimed = false;
                vec![]
            }
        }
    }
}

// ---- the real thing

struct Real {
    cluster: Cluster,
    said: Said,
    ports: BTreeMap<Site, Arc<SiteArbiter>>,
    watches: BTreeMap<Site, mpsc::Receiver<ArbiterChange>>,
    /// Which members are meant: own, other, leader.
    members: [usize; 3],
}

impl Real {
    async fn start(election: Duration) -> Self {
        let cluster = Cluster::start_with(election).await;
        let leader = cluster.wait_for_leader().await;
        let members = [(leader + 1) % 3, (leader + 2) % 3, leader];
        let mut real = Self {
            cluster,
            said: Said::default(),
            ports: BTreeMap::new(),
            watches: BTreeMap::new(),
            members,
        };
        real.connect(Paris, "uid-paris", [Own, Other, Leader]).await;
        real.connect(Lyon, "uid-lyon", [Other, Own, Leader]).await;
        real
    }

    const fn member(&self, member: Member) -> usize {
        match member {
            Own => self.members[0],
            Other => self.members[1],
            Leader => self.members[2],
        }
    }

    async fn connect(&mut self, site: Site, uid: &str, order: [Member; 3]) {
        let order = order.map(|m| self.member(m));
        let identity =
            Identity { site: site.name(), cluster: uid.to_owned(), instance: "i".to_owned(), by: "operator" };
        let port = SiteArbiter::new(self.cluster.arbiter("operator", &order).await, identity, TQ);
        self.ports.insert(site, Arc::new(port));
    }

    async fn write(
        &mut self,
        site: Site,
        from: From,
        serial: u64,
        unchanged: Option<(SiteName, i64)>,
    ) -> String {
        let expected = self.said.memory(site).from(from);
        let next = record(site, serial);
        let result = self.ports[&site].write(&shop(), expected, &next, unchanged.as_ref(), TQ).await;
        self.said.written(site, &result)
    }
}

impl Subject<Do> for Real {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        match step {
            Do::Renew(site) => vec![Said::renewed(&self.ports[site].renew(TQ).await)],
            Do::RenewAgain(site) => {
                let end = Instant::now() + Duration::from_mins(1);
                while Instant::now() < end {
                    if self.ports[site].renew(TQ).await == Renewed::Applied {
                        return vec!["applied".to_owned()];
                    }
                }
                vec!["never".to_owned()]
            }
            Do::Settle => {
                // A late copy that was sent before is decided before whatever is asked now, or it was lost: only one
                // that a member has not read yet may still come.
                let port = &self.ports[&Paris];
                let mut seen = port.leases(TQ).await;
                let mut still = 0;
                while still < 3 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let again = port.leases(TQ).await;
                    still = if again == seen { still + 1 } else { 0 };
                    seen = again;
                }
                vec![]
            }
            Do::Leases(site) => {
                let result = self.ports[site].leases(TQ).await;
                self.said.leases(*site, result)
            }
            Do::Read(site) => {
                let result = self.ports[site].record(&shop(), TQ).await;
                vec![self.said.record(*site, result)]
            }
            Do::Write(site, from, serial) => vec![self.write(*site, *from, *serial, None).await],
            Do::Take(site, from, serial) => {
                let unchanged = self.said.memory(*site).unchanged(site.other());
                vec![self.write(*site, *from, *serial, Some(unchanged)).await]
            }
            Do::Facts(site, question) => {
                let facts = facts(*site, *question);
                vec![Said::outcome(&self.ports[site].put_facts(&shop(), &facts, TQ).await)]
            }
            Do::Watch(site) => {
                let result = self.ports[site].list(TQ * 4).await;
                if let Ok(listed) = &result {
                    let port = Arc::clone(&self.ports[site]);
                    let (send, changes) = mpsc::channel(64);
                    let revision = listed.revision;
                    tokio::spawn(async move { port.watch(revision, send).await });
                    self.watches.insert(*site, changes);
                }
                self.said.listed(&result)
            }
            Do::Changes(site, count) => {
                let mut lines = Vec::new();
                for _ in 0..*count {
                    let watch = self.watches.get_mut(site).unwrap();
                    let change = tokio::time::timeout(Duration::from_mins(1), watch.recv()).await;
                    let line = match change {
                        Ok(Some(change)) => self.said.change(&change),
                        Ok(None) => "the watch has ended".to_owned(),
                        Err(_) => "nothing within a minute".to_owned(),
                    };
                    lines.push(line);
                }
                lines.sort();
                lines
            }
            Do::AskFirst(site, member) => {
                let rest = [Own, Other, Leader].into_iter().filter(|m| m != member);
                let order: Vec<Member> = [*member].into_iter().chain(rest).collect();
                let uid = format!("uid-{}", site.name());
                self.connect(*site, &uid, order.try_into().unwrap()).await;
                vec![]
            }
            Do::AwaitLeader => {
                self.cluster.wait_for_leader().await;
                vec![]
            }
            Do::Backup => {
                self.cluster.back_up().await;
                vec![]
            }
            Do::Kill(member) => {
                self.cluster.kill(self.member(*member));
                vec![]
            }
            Do::Start(member) => {
                self.cluster.restart(self.member(*member));
                vec![]
            }
            Do::Freeze(member) => {
                self.cluster.freeze(self.member(*member));
                vec![]
            }
            Do::Thaw(member) => {
                self.cluster.thaw(self.member(*member));
                vec![]
            }
            Do::Restore => {
                self.cluster.restore().await;
                self.said.letters = Letters::default();
                vec![]
            }
            Do::Empty => {
                self.cluster.empty().await;
                self.said.letters = Letters::default();
                vec![]
            }
            Do::Reinstall(site) => {
                self.connect(*site, "uid-of-another", [Own, Other, Leader]).await;
                vec![]
            }
        }
    }
}

/// Plays a script on both.
async fn play(script: &[Do]) {
    compare(script, Model::new(), Real::start(Duration::from_millis(300)).await).await;
}

// ---- the scripts

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_of_one_record_one_wins_and_the_loser_conflicts_until_it_has_read() {
    play(&[
        Do::Read(Paris),
        Do::Write(Paris, From::Nothing, 1),
        Do::Write(Lyon, From::Nothing, 1),
        Do::Read(Lyon),
        Do::Write(Lyon, From::Read, 2),
        Do::Write(Paris, From::Read, 2),
        Do::Read(Paris),
        Do::Write(Paris, From::Stale, 3),
        Do::Write(Paris, From::Read, 3),
        Do::Read(Lyon),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_conflicts_when_the_lease_moved_and_is_applied_when_it_stands_still() {
    play(&[
        Do::Renew(Paris),
        Do::Renew(Lyon),
        Do::Write(Paris, From::Nothing, 1),
        Do::Settle,
        Do::Read(Lyon),
        Do::Leases(Lyon),
        Do::Renew(Paris),
        Do::Take(Lyon, From::Read, 2),
        Do::Settle,
        Do::Leases(Lyon),
        Do::Leases(Lyon),
        Do::Take(Lyon, From::Stale, 2),
        Do::Take(Lyon, From::Read, 2),
        Do::Write(Lyon, From::Stale, 3),
        Do::Read(Paris),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_the_first_clusters_and_an_emptied_store_has_forgotten_it() {
    play(&[
        Do::Renew(Paris),
        Do::Write(Paris, From::Nothing, 1),
        Do::Facts(Paris, 7),
        Do::Watch(Lyon),
        Do::Empty,
        Do::Changes(Lyon, 1),
        Do::RenewAgain(Lyon),
        Do::Renew(Paris),
        Do::Leases(Lyon),
        Do::Read(Paris),
        Do::Watch(Lyon),
        Do::Reinstall(Paris),
        Do::Renew(Paris),
        Do::Reinstall(Lyon),
        Do::Renew(Lyon),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_at_a_frozen_member_is_unknown_and_comes_too_late_when_another_came_first() {
    play(&[
        Do::Write(Paris, From::Nothing, 1),
        Do::Read(Lyon),
        Do::Freeze(Own),
        Do::Write(Paris, From::Read, 2),
        Do::Read(Lyon),
        Do::Write(Lyon, From::Read, 3),
        Do::Read(Paris),
        Do::Thaw(Own),
        Do::AwaitLeader,
        Do::Read(Lyon),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_known_and_with_it_everything_goes_on() {
    play(&[
        Do::Renew(Paris),
        Do::Write(Paris, From::Nothing, 1),
        Do::Kill(Other),
        Do::Renew(Paris),
        Do::Read(Lyon),
        Do::Kill(Leader),
        Do::Renew(Paris),
        Do::Leases(Paris),
        Do::Read(Paris),
        Do::Facts(Paris, 1),
        Do::Start(Leader),
        Do::Start(Other),
        Do::RenewAgain(Paris),
        Do::Read(Paris),
        Do::Write(Paris, From::Read, 2),
        Do::Read(Lyon),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_leader_took_without_a_majority_is_applied_when_that_leader_leads_again() {
    let script = [
        Do::AskFirst(Paris, Leader),
        Do::Write(Paris, From::Nothing, 1),
        Do::Kill(Own),
        Do::Kill(Other),
        Do::Write(Paris, From::Read, 2),
        Do::Read(Lyon),
        Do::Start(Other),
        Do::RenewAgain(Lyon),
        Do::Read(Lyon),
        Do::Write(Paris, From::Read, 3),
        Do::Read(Paris),
    ];
    // Long enough that the leader still believes that it leads when the write comes.
    compare(&script, Model::new(), Real::start(Duration::from_secs(2)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_when_the_leader_dies_is_unknown_and_renewals_come_back_under_the_next() {
    play(&[
        Do::Renew(Paris),
        Do::Write(Paris, From::Nothing, 1),
        Do::Kill(Leader),
        Do::Write(Paris, From::Read, 2),
        Do::RenewAgain(Paris),
        Do::Read(Lyon),
        Do::Write(Lyon, From::Read, 3),
        Do::Read(Paris),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_records_and_facts_in_their_order_no_leases_and_breaks_with_its_member() {
    play(&[
        Do::Write(Paris, From::Nothing, 1),
        Do::Facts(Lyon, 1),
        Do::Watch(Paris),
        Do::Renew(Lyon),
        Do::Facts(Lyon, 2),
        Do::Read(Lyon),
        Do::Write(Lyon, From::Read, 2),
        Do::Changes(Paris, 2),
        Do::Kill(Own),
        Do::Write(Lyon, From::Read, 3),
        Do::Changes(Paris, 1),
        Do::Watch(Paris),
        Do::Facts(Lyon, 3),
        Do::Changes(Paris, 1),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_holds_the_old_record_and_a_write_from_the_newer_one_conflicts() {
    play(&[
        Do::Renew(Paris),
        Do::Write(Paris, From::Nothing, 1),
        Do::Backup,
        Do::AwaitLeader,
        Do::Settle,
        Do::Leases(Lyon),
        Do::Write(Paris, From::Read, 2),
        Do::Renew(Paris),
        Do::Watch(Lyon),
        Do::Restore,
        Do::Changes(Lyon, 1),
        Do::RenewAgain(Lyon),
        Do::Write(Paris, From::Read, 3),
        Do::Read(Paris),
        Do::Write(Paris, From::Read, 3),
        Do::Watch(Lyon),
        Do::Renew(Paris),
    ])
    .await;
}
