//! The arbiter: a store that decides one thing after the other, kept by members of which a majority must be joined.
//!
//! What is decided is linearizable by construction; what the members add is where a question goes, how long it takes,
//! and that its answer may be lost or that it takes effect after the asker has given up.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::facts::SiteFacts;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::record::Record;
use bascule_engine::ports::Listed;

use super::net::{Net, Place, Traffic};
use crate::time::Moment;

/// Everything that is stored.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Grows with every write; a store that was emptied begins anew.
    pub revision: i64,
    /// Which cluster owns a site's name.
    pub owners: BTreeMap<SiteName, u64>,
    /// When each lease was last written.
    pub leases: BTreeMap<SiteName, i64>,
    /// Records.
    pub records: BTreeMap<PolicyKey, (Record, i64)>,
    /// Facts.
    pub facts: BTreeMap<(PolicyKey, SiteName), (SiteFacts, i64)>,
    /// Which replica of a site's operator acts, by its fence; nobody yet, where there is none.
    pub acting: BTreeMap<SiteName, u64>,
}

/// A question to the store.
#[derive(Clone, Debug)]
pub enum Request {
    /// Claim the site's name, if nobody has, and renew its lease.
    Renew {
        /// Which site.
        site: SiteName,
        /// The cluster that asks.
        cluster: u64,
        /// It has claimed the name before: it never claims it twice.
        claimed: bool,
    },
    /// Read all leases.
    Leases,
    /// Read a record.
    Record(PolicyKey),
    /// Compare and swap.
    Write {
        /// Whose record.
        policy: PolicyKey,
        /// From which revision.
        expected: Option<i64>,
        /// What.
        next: Box<Record>,
        /// The lease that must be unchanged.
        unchanged_lease: Option<(SiteName, i64)>,
    },
    /// Write facts.
    Facts {
        /// About which policy.
        policy: PolicyKey,
        /// What.
        facts: Box<SiteFacts>,
    },
    /// List everything.
    List,
    /// Claim the site's name, if nobody has, and let this replica act in it.
    Act {
        /// Which site.
        site: SiteName,
        /// The cluster that asks.
        cluster: u64,
        /// Who has acted so far.
        expected: Option<u64>,
        /// The replica's fence.
        fence: u64,
    },
}

impl Request {
    /// Whether it changes something.
    pub const fn writes(&self) -> bool {
        matches!(self, Self::Renew { .. } | Self::Write { .. } | Self::Facts { .. } | Self::Act { .. })
    }

    /// Whether it goes to two members at once.
    pub const fn doubled(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Facts { .. } | Self::Act { .. })
    }

    /// Whether it is compared with who acts, where a site has several replicas of its operator.
    pub const fn is_fenced(&self) -> bool {
        matches!(self, Self::Renew { .. } | Self::Write { .. } | Self::Facts { .. })
    }
}

/// An answer of the store.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Applied.
    Applied,
    /// The name is another cluster's.
    NameTaken(u64),
    /// The name is nobody's any more.
    NotClaimed,
    /// The leases.
    Leases(BTreeMap<SiteName, i64>),
    /// The record.
    Record(Option<(Box<Record>, i64)>),
    /// The compare-and-swap was applied.
    Written(i64),
    /// Something else came first.
    Conflict,
    /// Nothing was written: the replica that asked does not act.
    NotActing,
    /// Everything.
    Listed(Box<Listed>),
    /// It never left the asker's machine: it was certainly not done.
    NotSent(String),
    /// It was not done, or nobody knows.
    Failed(String),
}

impl Answer {
    /// Whether it says nothing of what was asked.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Failed(_))
    }
}

/// What a write changed: for watchers and for the judge.
#[derive(Clone, Debug)]
pub enum Changed {
    /// A lease.
    Lease(SiteName),
    /// A record, from what to what.
    Record {
        /// Whose.
        policy: PolicyKey,
        /// Its new revision.
        revision: i64,
        /// What was there.
        before: Option<Box<Record>>,
    },
    /// Facts.
    Facts {
        /// About which policy.
        policy: PolicyKey,
        /// Whose.
        site: SiteName,
    },
}

impl Store {
    /// Decides one question.
    pub fn decide(&mut self, request: &Request) -> (Answer, Option<Changed>) {
        match request {
            Request::Renew { site, cluster, claimed } => match self.owners.get(site) {
                Some(owner) if owner != cluster => (Answer::NameTaken(*owner), None),
                None if *claimed => (Answer::NotClaimed, None),
                found => {
                    if found.is_none() {
                        self.owners.insert(site.clone(), *cluster);
                    }
                    self.revision += 1;
                    self.leases.insert(site.clone(), self.revision);
                    (Answer::Applied, Some(Changed::Lease(site.clone())))
                }
            },
            Request::Leases => (Answer::Leases(self.leases.clone()), None),
            Request::Record(policy) => {
                let found = self.records.get(policy).map(|(r, revision)| (Box::new(r.clone()), *revision));
                (Answer::Record(found), None)
            }
            Request::Write { policy, expected, next, unchanged_lease } => {
                let before = self.records.get(policy);
                let lease = |site: &SiteName| self.leases.get(site).copied().unwrap_or(0);
                let same = before.map(|(_, revision)| *revision) == *expected;
                let silent = unchanged_lease.as_ref().is_none_or(|(site, revision)| lease(site) == *revision);
                if !same || !silent {
                    return (Answer::Conflict, None);
                }
                self.revision += 1;
                let revision = self.revision;
                let before = self.records.insert(policy.clone(), ((**next).clone(), revision));
                let before = before.map(|(record, _)| Box::new(record));
                (
                    Answer::Written(revision),
                    Some(Changed::Record { policy: policy.clone(), revision, before }),
                )
            }
            Request::Facts { policy, facts } => {
                self.revision += 1;
                let (policy, site) = (policy.clone(), facts.site.clone());
                self.facts.insert((policy.clone(), site.clone()), ((**facts).clone(), self.revision));
                (Answer::Applied, Some(Changed::Facts { policy, site }))
            }
            Request::Act { site, cluster, expected, fence } => {
                let owner = *self.owners.entry(site.clone()).or_insert(*cluster);
                if owner != *cluster {
                    return (Answer::NameTaken(owner), None);
                }
                if self.acting.get(site) != expected.as_ref() {
                    return (Answer::Conflict, None);
                }
                self.revision += 1;
                self.acting.insert(site.clone(), *fence);
                (Answer::Applied, None)
            }
            Request::List => {
                let listed = Listed {
                    records: self.records.iter().map(|(k, (_, revision))| (k.clone(), *revision)).collect(),
                    facts: self.facts.iter().map(|(k, (facts, _))| (k.clone(), facts.clone())).collect(),
                    unreadable: Vec::new(),
                    revision: self.revision,
                };
                (Answer::Listed(Box::new(listed)), None)
            }
        }
    }
}

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where it is.
    pub place: Place,
    /// Its process runs.
    pub up: bool,
    /// Its process stands still.
    pub frozen: bool,
}

impl Member {
    /// Whether it does anything.
    pub const fn works(&self) -> bool {
        self.up && !self.frozen
    }
}

/// A cluster that is no site of this world.
pub const STRANGER: u64 = 6666;

/// The members and what they keep.
#[derive(Clone, Debug)]
pub struct Arbiter {
    /// The members.
    pub members: Vec<Member>,
    /// Who leads; nobody, between the loss of a leader and the end of an election.
    pub leader: Option<usize>,
    /// Counts elections.
    pub term: u64,
    /// How long an election takes.
    pub election: Duration,
    /// What is stored.
    pub store: Store,
    /// Questions that wait at a frozen member.
    pub held: Vec<Asked>,
    /// The leader that has lost its majority and does not know it before this moment: until then it takes writes.
    pub believes: Option<(usize, Moment)>,
    /// The writes that it took: applied when it leads again, lost when another one does.
    pub tail: Vec<Asked>,
    /// Who watches, at which member, in which life.
    pub watches: BTreeMap<usize, Watch>,
    /// A backup, for a restore.
    pub backup: Option<Box<Store>>,
    /// How often the store was put back: every connection from before is gone.
    pub restores: u64,
}

/// A watch of an operator.
#[derive(Clone, Debug)]
pub struct Watch {
    /// In which of its lives.
    pub life: u32,
    /// At which member.
    pub member: usize,
    /// Which of its watches.
    pub number: u64,
    /// When what it was told last arrives: a watch tells everything in order.
    pub arrives: Moment,
}

/// A question on its way.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who asks.
    pub by: Caller,
    /// From where.
    pub from: Place,
    /// The asker's number for it.
    pub call: u64,
    /// The member that is asked.
    pub member: usize,
    /// What.
    pub request: Request,
    /// Over a connection to the store as it was put back so often.
    pub restores: u64,
    /// What the replica that asks compares with; nothing where it is a guard.
    pub fence: Option<u64>,
}

/// Who asks the arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// An operator, in one of its lives.
    Operator(usize, u32),
    /// A guard, in one of its lives.
    Guard(usize, u32),
}

impl Arbiter {
    /// One member in each of these places.
    pub fn new(places: &[Place], election: Duration) -> Self {
        Self {
            members: places.iter().map(|p| Member { place: *p, up: true, frozen: false }).collect(),
            leader: Some(places.len() - 1),
            term: 1,
            election,
            store: Store::default(),
            held: Vec::new(),
            believes: None,
            tail: Vec::new(),
            watches: BTreeMap::new(),
            backup: None,
            restores: 0,
        }
    }

    fn joined(&self, net: &Net, a: usize, b: usize) -> bool {
        let (x, y) = (&self.members[a], &self.members[b]);
        x.works() && y.works() && (a == b || net.joined(x.place, y.place, Traffic::Arbiter))
    }

    /// Whether a member could lead: it is joined to a majority.
    pub fn could_lead(&self, net: &Net, at: usize) -> bool {
        let peers = (0..self.members.len()).filter(|b| self.joined(net, at, *b)).count();
        peers * 2 > self.members.len()
    }

    /// Whether the present leader still leads.
    pub fn leads(&self, net: &Net) -> bool {
        self.leader.is_some_and(|l| self.could_lead(net, l))
    }

    /// How long a decision takes from the moment a member hears of it; `None`: it knows no leader, or its leader has
    /// no majority.
    pub fn takes(&self, net: &Net, member: usize) -> Option<Duration> {
        let leader = self.leader.filter(|l| self.could_lead(net, *l))?;
        if !self.joined(net, member, leader) {
            return None;
        }
        let place = |m: usize| self.members[m].place;
        let there_and_back = |a: usize, b: usize| {
            if a == b {
                Duration::ZERO
            } else {
                net.latency(place(a), place(b)) + net.latency(place(b), place(a))
            }
        };
        let mut others: Vec<Duration> = (0..self.members.len())
            .filter(|m| *m != leader && self.joined(net, leader, *m))
            .map(|m| there_and_back(leader, m))
            .collect();
        others.sort_unstable();
        let needed = self.members.len() / 2;
        let quorum = needed.checked_sub(1).and_then(|i| others.get(i)).copied().unwrap_or_default();
        // A flush to disk on the way.
        Some(there_and_back(member, leader) + quorum + Duration::from_micros(400))
    }

    /// Who wins an election now. A leader of before that took writes alone has the longest log: nobody wins against its
    /// vote, and with all of them there it may win or lose.
    pub fn winner(&self, net: &Net) -> Option<usize> {
        let longest = self.believes.map(|(leader, _)| leader).filter(|_| !self.tail.is_empty());
        let able = |m: usize| {
            let voters = (0..self.members.len()).filter(|b| Some(*b) != longest && self.joined(net, m, *b));
            self.could_lead(net, m) && (Some(m) == longest || voters.count() * 2 > self.members.len())
        };
        longest.into_iter().chain(0..self.members.len()).find(|m| able(*m))
    }

    /// Whether a write that reaches this member now comes into the log of a leader that has no majority any more.
    pub fn lands_in_a_log(&self, net: &Net, now: Moment, member: usize) -> bool {
        self.believes.is_some_and(|(leader, until)| now < until && self.joined(net, member, leader))
    }
}

/// Which members somebody asks first: those that have not failed, in their order; then those that failed longest ago.
#[derive(Clone, Debug)]
pub struct Ranking {
    order: Vec<usize>,
    failed: Vec<Option<Moment>>,
    probed: Vec<Option<Moment>>,
}

impl Ranking {
    /// Asks these in this order.
    pub fn new(order: Vec<usize>) -> Self {
        let members = order.len();
        Self { order, failed: vec![None; members], probed: vec![None; members] }
    }

    /// The first so many.
    pub fn first(&self, how_many: usize) -> Vec<usize> {
        let mut ranked = self.order.clone();
        ranked.sort_by_key(|m| self.failed[*m]);
        ranked.truncate(how_many);
        ranked
    }

    /// How a call ended at a member.
    pub fn note(&mut self, member: usize, ok: bool, now: Moment) {
        self.failed[member] = (!ok).then_some(now);
    }

    /// The members in trouble whose turn it is to be looked at.
    pub fn probes(&mut self, now: Moment, every: Duration) -> Vec<usize> {
        let mut due = Vec::new();
        for member in 0..self.failed.len() {
            let last = self.failed[member].max(self.probed[member]);
            if self.failed[member].is_some() && last.is_some_and(|t| now.since(t) >= every) {
                self.probed[member] = Some(now);
                due.push(member);
            }
        }
        due
    }
}
