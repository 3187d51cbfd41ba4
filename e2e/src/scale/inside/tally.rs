//! What an operator did and when, told to the process that measures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bascule_core::name::PolicyKey;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Milliseconds since the machine's start: the same clock in every process of a run.
pub fn now_ms() -> f64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 / 1e6
}

/// Something that happens to each policy once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Moment {
    /// The object has reached the operator as it is asked for.
    Told,
    /// What follows from what is known was judged: the first words to the other sites come from the judgement.
    Decided,
    /// A change of the record was sent.
    Written,
    /// A change of the record was applied.
    Applied,
    /// Its first effect was begun: a guard was told another role, or a step.
    Begun,
    /// A guard has received leave to write.
    Granted,
    /// People are shown the state that the policy asks for.
    Shown,
    /// People are shown that the policy is ready.
    Ready,
}

impl Moment {
    const ALL: [Self; 8] = [
        Self::Told,
        Self::Decided,
        Self::Written,
        Self::Applied,
        Self::Begun,
        Self::Granted,
        Self::Shown,
        Self::Ready,
    ];
}

/// When something happened to the policies, in milliseconds since the machine's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct When {
    /// To how many.
    pub n: usize,
    /// The first.
    pub first: f64,
    /// The middle one.
    pub p50: f64,
    /// The 99th of a hundred.
    pub p99: f64,
    /// The last.
    pub last: f64,
}

impl When {
    fn of(mut times: Vec<f64>) -> Option<Self> {
        times.sort_by(f64::total_cmp);
        let at =
            |share: f64| times.get(((share * times.len() as f64).ceil() as usize).saturating_sub(1)).copied();
        Some(Self {
            n: times.len(),
            first: *times.first()?,
            p50: at(0.5)?,
            p99: at(0.99)?,
            last: *times.last()?,
        })
    }
}

/// How a kind of call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// How many were made.
    pub made: u64,
    /// How many of them brought no answer, or another one than was asked for.
    pub failed: u64,
    /// How many are under way.
    pub under_way: u64,
    /// The most that were under way at once.
    pub most: u64,
}

/// The whole tally.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it was made, in milliseconds since the machine's start.
    pub now: f64,
    /// What happened to the policies since the tally was begun anew.
    pub moments: BTreeMap<Moment, When>,
    /// Calls by their names, since the process was started.
    pub calls: BTreeMap<String, Calls>,
    /// When each of the lists arrived.
    pub lists: BTreeMap<String, f64>,
    /// Open databases whose leave ended before the next one came.
    pub expired: u64,
}

#[derive(Debug, Default)]
struct Inner {
    moments: BTreeMap<Moment, Vec<f64>>,
    calls: BTreeMap<&'static str, Calls>,
    lists: BTreeMap<&'static str, f64>,
}

/// Counts, for a process's whole life.
#[derive(Debug, Default)]
pub struct Tally {
    inner: Mutex<Inner>,
    expired: AtomicU64,
    /// What a policy's cooldown must be, in seconds, to be as it is asked for.
    wanted: AtomicU64,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the first time that this happens to the policy.
    pub fn note(&self, moment: Moment, policy: &PolicyKey) {
        let (Some(n), now) = (number(policy), now_ms()) else { return };
        let mut inner = self.lock();
        let times = inner.moments.entry(moment).or_default();
        if times.len() <= n {
            times.resize(n + 1, 0.0);
        }
        if let Some(time) = times.get_mut(n).filter(|time| **time == 0.0) {
            *time = now;
        }
    }

    /// Forgets what happened so far; from now on, policies with this cooldown are as they are asked for.
    pub fn begin(&self, cooldown: u64) {
        self.wanted.store(cooldown, Ordering::Relaxed);
        self.lock().moments.clear();
    }

    /// The cooldown that is asked for.
    pub fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    /// A list has arrived.
    pub fn listed(&self, what: &'static str) {
        self.lock().lists.entry(what).or_insert_with(now_ms);
    }

    /// An open database's leave has ended.
    pub fn expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }

    /// A call begins.
    pub fn begun(&self, what: &'static str) {
        let mut inner = self.lock();
        let calls = inner.calls.entry(what).or_default();
        calls.made += 1;
        calls.under_way += 1;
        calls.most = calls.most.max(calls.under_way);
    }

    /// A call has ended.
    pub fn ended(&self, what: &'static str, well: bool) {
        let mut inner = self.lock();
        let calls = inner.calls.entry(what).or_default();
        calls.under_way = calls.under_way.saturating_sub(1);
        calls.failed += u64::from(!well);
    }

    /// Everything so far.
    pub fn report(&self) -> Report {
        let inner = self.lock();
        let when = |moment: Moment| {
            let times = inner.moments.get(&moment)?.iter().copied().filter(|time| *time > 0.0).collect();
            Some((moment, When::of(times)?))
        };
        Report {
            now: now_ms(),
            moments: Moment::ALL.into_iter().filter_map(when).collect(),
            calls: inner.calls.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect(),
            lists: inner.lists.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect(),
            expired: self.expired.load(Ordering::Relaxed),
        }
    }
}

/// A policy's number in the fleet: its name is a letter and the number.
pub fn number(policy: &PolicyKey) -> Option<usize> {
    policy.name.as_str().strip_prefix('p')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> PolicyKey {
        PolicyKey::new("fleet", format!("p{n:05}")).unwrap()
    }

    #[test]
    fn only_the_first_time_counts_and_only_since_the_tally_was_begun_anew() {
        let tally = Tally::default();
        tally.note(Moment::Written, &key(3));
        let first = tally.report().moments[&Moment::Written];
        tally.note(Moment::Written, &key(3));
        tally.note(Moment::Written, &key(7));
        let both = tally.report().moments[&Moment::Written];
        assert_eq!((first.n, both.n, both.first), (1, 2, first.first));
        tally.begin(2);
        assert_eq!(tally.report().moments.get(&Moment::Written), None);
    }

    #[test]
    fn the_most_calls_at_once_are_remembered() {
        let tally = Tally::default();
        tally.begun("read");
        tally.begun("read");
        tally.ended("read", true);
        tally.ended("read", false);
        let calls = tally.report().calls["read"];
        assert_eq!(calls, Calls { made: 2, failed: 1, under_way: 0, most: 2 });
    }
}
