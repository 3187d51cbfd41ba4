//! Calls for many policies that travel together, against what each would have been alone.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use bascule_adapters::arbiter::{EtcdArbiter, Taken};
use bascule_sim::random::Chance;
use etcd_client::{Permission, UserAddOptions};
use futures::future::join_all;

use super::*;

/// For what travels in many requests on a loaded machine.
const PATIENT: Duration = Duration::from_secs(20);

const POLICIES: u64 = 24;
/// Of each of the two clients whose calls travel together.
const WRITERS: usize = 48;
const WRITES: usize = 10;

fn policy(n: u64) -> PolicyKey {
    PolicyKey::new("fleet", format!("p{n:04}")).unwrap()
}

/// A compare-and-swap as it was asked for, and how it ended.
#[derive(Debug)]
struct Call {
    policy: PolicyKey,
    expected: Option<Revision>,
    value: Vec<u8>,
    lease: Option<Revision>,
    cas: Cas,
}

/// What was stored under a key, one after the other.
type History = Vec<(Revision, Vec<u8>)>;

/// Writes any policies' records, from what it has just read or from what it saw once, with and without a lease that shall
/// not have moved.
async fn write(etcd: EtcdArbiter, name: String) -> Vec<Call> {
    let (mut chance, paris) = (Chance::of(5, &name), site("paris"));
    let (mut seen, mut calls) = (BTreeMap::new(), Vec::new());
    for n in 0..WRITES {
        let at = chance.below(POLICIES);
        if !seen.contains_key(&at) || chance.permille(600) {
            let found = etcd.record(&policy(at), PATIENT).await.unwrap();
            seen.insert(at, found.map(|record| record.revision));
        }
        let lease = if chance.permille(400) {
            let leases = etcd.leases(PATIENT).await.unwrap().items;
            Some(leases.first().map_or(Revision(0), |lease| lease.beat.revision))
        } else {
            None
        };
        let (expected, value) = (seen[&at], format!("{name}, {n}").into_bytes());
        let unchanged = lease.map(|revision| (&paris, revision));
        let cas = etcd.cas(&policy(at), expected, value.clone(), unchanged, PATIENT).await;
        match &cas {
            Cas::Applied { revision } => seen.insert(at, Some(*revision)),
            Cas::Conflict { current, .. } => seen.insert(at, current.as_ref().map(|c| c.revision)),
            Cas::Refused { .. } | Cas::Unknown { .. } => seen.remove(&at),
        };
        calls.push(Call { policy: policy(at), expected, value, lease, cas });
    }
    calls
}

/// Everything that was ever written of records.
async fn histories(etcd: &EtcdArbiter) -> BTreeMap<PolicyKey, History> {
    let last = etcd.records(PATIENT).await.unwrap().revision;
    let mut watch = etcd.watch(Revision(1), PATIENT).await.unwrap();
    let mut all: BTreeMap<PolicyKey, History> = BTreeMap::new();
    loop {
        match tokio::time::timeout(PATIENT * 2, watch.next()).await.unwrap().unwrap() {
            Change::Record { policy, record: Some(record), .. } => {
                all.entry(policy).or_default().push((record.revision, record.value));
            }
            Change::Current { revision } if revision >= last => return all,
            Change::Current { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The write at `at` of this history is what `call` was allowed to write.
fn was_allowed(call: &Call, history: &[(Revision, Vec<u8>)], at: usize, leases: &[Revision]) {
    let before = at.checked_sub(1).map(|at| history[at].0);
    assert_eq!(before, call.expected, "an update is lost: {call:?}");
    if let Some(given) = call.lease {
        let then = leases.iter().rev().find(|lease| **lease < history[at].0);
        assert_eq!(given, then.copied().unwrap_or(Revision(0)), "the lease had moved: {call:?}");
    }
}

#[tokio::test]
async fn whether_a_write_travels_alone_or_with_others_its_outcome_is_that_of_its_own_comparisons() {
    let cluster = Cluster::start().await;
    let (a, b, single) = tokio::join!(
        cluster.arbiter("operator", &[0, 1, 2]),
        cluster.arbiter("operator", &[1, 2, 0]),
        // Asks one thing at a time, so that nothing travels with it.
        cluster.arbiter("operator", &[2, 0, 1]),
    );
    let mut writers: Vec<_> = (0..WRITERS)
        .flat_map(|n| [(a.clone(), format!("a{n}")), (b.clone(), format!("b{n}"))])
        .map(|(etcd, name)| write(etcd, name))
        .collect();
    writers.push(write(single, "single".to_owned()));
    let (ended, mut leases) = (Cell::new(false), Vec::new());
    let renewals = async {
        let mut root = cluster.raw("root").await;
        while !ended.get() {
            let answer = root.put("/bascule/v1/lease/paris", "beat", None).await.unwrap();
            leases.push(Revision(answer.header().unwrap().revision()));
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    };
    let (calls, ()) = tokio::join!(
        async {
            let calls = join_all(writers).await;
            ended.set(true);
            calls
        },
        renewals,
    );
    let calls: Vec<Call> = calls.into_iter().flatten().collect();
    let all = histories(&a).await;

    let mut written = 0;
    for call in &calls {
        let none = History::new();
        let history = all.get(&call.policy).unwrap_or(&none);
        let at = history.iter().position(|(_, value)| *value == call.value);
        written += usize::from(at.is_some());
        match (&call.cas, at) {
            (Cas::Applied { revision }, Some(at)) => {
                assert_eq!(history[at].0, *revision, "{call:?}");
                was_allowed(call, history, at, &leases);
            }
            (Cas::Unknown { .. }, Some(at)) => was_allowed(call, history, at, &leases),
            (Cas::Unknown { .. } | Cas::Refused { .. }, None) => {}
            (Cas::Conflict { current, lease }, None) => {
                let other = current.as_ref().map(|found| found.revision) != call.expected;
                let moved = call.lease.is_some_and(|given| lease.unwrap_or(Revision(0)) != given);
                assert!(other || moved, "nothing stood in its way: {call:?}");
                if let Some(found) = current {
                    assert!(history.contains(&(found.revision, found.value.clone())), "{call:?}");
                }
            }
            (_, at) => panic!("{call:?} is at {at:?} of {history:?}"),
        }
    }
    assert_eq!(written, all.values().map(Vec::len).sum::<usize>(), "nothing else was written");

    let of = |wanted: fn(&Cas) -> bool| calls.iter().filter(|call| wanted(&call.cas)).count();
    let applied = of(|cas| matches!(cas, Cas::Applied { .. }));
    let conflicts = of(|cas| matches!(cas, Cas::Conflict { .. }));
    let requests: BTreeSet<Revision> = all.values().flatten().map(|(revision, _)| *revision).collect();
    println!(
        "{} calls: {applied} applied by {} requests, {conflicts} conflicts",
        calls.len(),
        requests.len()
    );
    assert!(applied > 100 && conflicts > 100, "both happen");
    assert!(requests.len() < written, "none has travelled with another one");
}

#[tokio::test]
async fn a_thousand_records_are_written_by_a_few_transactions_and_read_back_each_as_it_is() {
    let cluster = Cluster::start().await;
    let etcd = cluster.arbiter("operator", &[0, 1, 2]).await;
    let value = |n: u64| format!("record {n}").into_bytes();
    let begun = Instant::now();
    let ended = join_all((0..1000).map(|n| {
        let etcd = &etcd;
        async move { etcd.cas(&policy(n), None, value(n), None, PATIENT).await }
    }))
    .await;
    let requests: BTreeSet<Revision> = ended.iter().map(applied).collect();
    println!("1,000 records were written by {} transactions in {:?}", requests.len(), begun.elapsed());
    assert!(requests.len() <= 1000 / 32, "{} transactions", requests.len());
    let begun = Instant::now();
    let keys: Vec<PolicyKey> = (0..1001).map(policy).collect();
    let found = join_all(keys.iter().map(|key| etcd.record(key, PATIENT))).await;
    println!("and read in {:?}", begun.elapsed());
    for (n, (found, written)) in found.into_iter().zip(&ended).enumerate() {
        let found = found.unwrap().unwrap();
        assert_eq!((found.value, found.revision), (value(n as u64), applied(written)));
    }
    assert_eq!(etcd.record(&policy(1000), TQ).await.unwrap(), None, "nobody wrote it");
    let listed = etcd.record_revisions(TQ).await.unwrap();
    let known: Vec<Revision> = listed.items.iter().map(|(_, revision)| *revision).collect();
    assert_eq!(known, ended.iter().map(applied).collect::<Vec<_>>());
}

#[tokio::test]
async fn of_two_replicas_whose_writes_travel_together_only_those_of_the_one_that_acts_are_applied() {
    let cluster = Cluster::start().await;
    let etcd = cluster.arbiter("operator", &[0, 1, 2]).await;
    let paris = site("paris");
    assert_eq!(etcd.claim_site(&paris, "uid", TQ).await, Claim::Ours);
    let taken = etcd.take_acting(&paris, "uid", b"new", None, TQ).await;
    assert!(matches!(taken, Taken::Applied { .. }), "{taken:?}");
    let replicas = [etcd.only_while_acting(&paris, b"old"), etcd.only_while_acting(&paris, b"new")];
    let records = join_all((0..60).map(|n| {
        let replica = &replicas[(n % 2) as usize];
        async move { replica.cas(&policy(n), None, b"r".to_vec(), None, TQ).await }
    }))
    .await;
    let (mut refused, mut revisions) = (0, BTreeSet::new());
    for (n, cas) in records.iter().enumerate() {
        match cas {
            Cas::Refused { why } if n % 2 == 0 && why.to_string().contains("does not act any more") => {
                refused += 1;
            }
            Cas::Applied { revision } if n % 2 == 1 => {
                revisions.insert(*revision);
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!((refused, revisions.len()), (30, 1), "all of them were one request");
    let facts = join_all((0..60).map(|n| {
        let (replica, paris) = (&replicas[(n % 2) as usize], &paris);
        async move { replica.put_facts(&policy(n), paris, b"f".to_vec(), TQ).await }
    }))
    .await;
    for (n, put) in facts.iter().enumerate() {
        assert_eq!(matches!(put, Put::Applied { .. }), n % 2 == 1, "{n}: {put:?}");
        assert_eq!(matches!(put, Put::Refused { .. }), n % 2 == 0, "{n}: {put:?}");
    }
}

#[tokio::test]
async fn a_write_that_is_not_permitted_keeps_no_other_one_from_being_done() {
    let cluster = Cluster::start().await;
    let mut root = cluster.raw("root").await;
    root.role_add("half").await.unwrap();
    let rights = [
        Permission::read("/bascule/v1/").with_prefix(),
        Permission::read_write("/bascule/v1/record/fleet/").with_prefix(),
    ];
    for right in rights {
        root.role_grant_permission("half", right).await.unwrap();
    }
    root.user_add("half", "", Some(UserAddOptions::new().with_no_pwd())).await.unwrap();
    root.user_grant_role("half", "half").await.unwrap();
    let half = cluster.arbiter("half", &[0, 1, 2]).await;
    let mut keys: Vec<PolicyKey> = (0..20).map(policy).collect();
    keys.insert(10, shop());
    let ended = join_all(keys.iter().map(|key| half.cas(key, None, b"r".to_vec(), None, PATIENT))).await;
    for (key, cas) in keys.iter().zip(&ended) {
        match cas {
            Cas::Refused { why } if *key == shop() => {
                assert!(why.to_string().contains("permission denied"), "{why}");
            }
            Cas::Applied { .. } if *key != shop() => {}
            other => panic!("{key}: {other:?}"),
        }
    }
    assert_eq!(half.records(TQ).await.unwrap().items.len(), 20);
}

#[tokio::test]
async fn values_of_the_largest_size_are_written_and_read_at_the_same_moment() {
    let cluster = Cluster::start().await;
    let etcd = cluster.arbiter("operator", &[0, 1, 2]).await;
    let keys: Vec<PolicyKey> = (0..20).map(policy).collect();
    let value = vec![b'x'; VALUE_LIMIT];
    let ended = join_all(keys.iter().map(|key| etcd.cas(key, None, value.clone(), None, PATIENT))).await;
    let written: Vec<Revision> = ended.iter().map(applied).collect();
    let found = join_all(keys.iter().map(|key| etcd.record(key, PATIENT))).await;
    for (found, revision) in found.into_iter().zip(written) {
        let found = found.unwrap().unwrap();
        assert_eq!((found.value.len(), found.revision), (VALUE_LIMIT, revision));
    }
}

#[tokio::test]
async fn what_travelled_to_a_frozen_member_is_unknown_for_all_and_its_late_copy_changes_nothing() {
    let cluster = Cluster::start().await;
    let leader = cluster.wait_for_leader().await;
    let frozen = (leader + 1) % 3;
    let tq = Duration::from_millis(700);
    let etcd = cluster.arbiter("operator", &[frozen, leader]).await;
    applied(&etcd.cas(&shop(), None, b"1".to_vec(), None, TQ).await);
    let keys: Vec<PolicyKey> = (0..40).map(policy).collect();
    cluster.freeze(frozen);
    let sent = Instant::now();
    let lost = join_all(keys.iter().map(|key| etcd.cas(key, None, b"late".to_vec(), None, tq))).await;
    assert!(sent.elapsed() < tq + MARGIN, "{:?}", sent.elapsed());
    assert!(lost.iter().all(|cas| matches!(cas, Cas::Unknown { .. })), "{lost:?}");
    let again = join_all(keys.iter().map(|key| etcd.cas(key, None, b"again".to_vec(), None, PATIENT))).await;
    let written: Vec<Revision> = again.iter().map(applied).collect();
    cluster.thaw(frozen);
    let back = cluster.arbiter("operator", &[frozen]).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while back.record(&shop(), TQ).await.is_err() {
        assert!(Instant::now() < deadline, "the thawed member does not come back");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let found = join_all(keys.iter().map(|key| etcd.record(key, PATIENT))).await;
    for (found, revision) in found.into_iter().zip(written) {
        let found = found.unwrap().unwrap();
        assert_eq!((found.value, found.revision), (b"again".to_vec(), revision));
    }
}
