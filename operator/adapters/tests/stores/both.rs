//! What both stores must answer alike: each case runs on members of etcd and on the API server of a witness.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use bascule_adapters::arbiter::{
    Cas, Change, Claim, Election, Identity, Put, Renewal, Replica, Revision, SiteArbiter, Standing, Store,
    Taken, VALUE_LIMIT,
};
use bascule_core::ballot::spare::Spare;
use bascule_core::name::PolicyKey;
use bascule_core::record::Record;
use bascule_core::timing::{Profile, Timing};
use bascule_engine::ports::{self, Arbiter, ArbiterChange, Renewed};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::cluster::Cluster;
use crate::stored::{bytes, record, record_of, shop, site, value};
use crate::witness::{TQ, Witness};

/// A store as the operators of two sites have it.
struct Bench {
    paris: Store,
    lyon: Store,
    _runs: Box<dyn Any>,
}

impl Bench {
    async fn etcd() -> Self {
        let cluster = Cluster::start().await;
        let paris = cluster.arbiter("operator", &[0, 1, 2]).await.into();
        let lyon = cluster.arbiter("operator", &[1, 2, 0]).await.into();
        Self { paris, lyon, _runs: Box::new(cluster) }
    }

    async fn kubernetes() -> Self {
        let witness = Witness::start().await;
        let paris = witness.arbiter("operator-paris").await.into();
        let lyon = witness.arbiter("operator-lyon").await.into();
        Self { paris, lyon, _runs: Box::new(witness) }
    }
}

macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod etcd {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Bench::etcd().await).await;
            })+
        }
        mod kubernetes {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Bench::kubernetes().await).await;
            })+
        }
    };
}

on_both![
    a_site_name_belongs_to_the_first_cluster_that_claims_it,
    of_two_writers_of_one_record_exactly_one_wins_and_the_other_sees_what_is_there,
    what_is_stored_comes_back_as_it_was_with_what_no_version_knows,
    a_take_fails_when_the_lease_moved_although_the_record_did_not,
    a_lease_that_never_was_is_compared_as_revision_zero,
    a_listing_longer_than_a_page_is_of_one_revision,
    a_value_that_is_too_large_is_refused,
    a_watch_delivers_records_and_facts_from_a_listing_on_and_nothing_twice,
    of_two_replicas_one_acts_and_the_other_one_follows_when_it_hands_over,
    what_a_replica_writes_after_another_one_took_over_changes_nothing,
    a_replica_that_is_there_and_silent_is_followed_once_its_lease_has_run_out,
    who_acts_is_taken_only_from_what_was_seen,
    through_the_engines_port_a_site_renews_and_its_record_is_read_listed_and_watched,
];

fn applied(cas: &Cas) -> Revision {
    match cas {
        Cas::Applied { revision } => *revision,
        other => panic!("expected Applied, got {other:?}"),
    }
}

fn renewed(renewal: &Renewal) -> Revision {
    match renewal {
        Renewal::Applied { revision } => *revision,
        other => panic!("expected Applied, got {other:?}"),
    }
}

/// A lease's revision once the slower copy of its last renewal has landed too, where there are two.
async fn settled_lease(store: &Store, name: &str) -> Revision {
    let seen = async || {
        let leases = store.leases(TQ).await.unwrap().items;
        leases.into_iter().find(|lease| lease.site == site(name)).unwrap().beat.revision
    };
    let mut before = seen().await;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let again = seen().await;
        if again == before {
            return again;
        }
        before = again;
    }
}

async fn a_site_name_belongs_to_the_first_cluster_that_claims_it(bench: Bench) {
    let (store, paris) = (&bench.paris, site("paris"));
    assert_eq!(store.owner(&paris, TQ).await.unwrap(), None);
    // Of another cluster than the one that claims the name next: a slower copy of it may land after the claim.
    assert_eq!(store.renew(&paris, "uid-0", b"1", TQ).await, Renewal::NotClaimed);
    assert_eq!(store.claim_site(&paris, "uid-1", TQ).await, Claim::Ours);
    assert_eq!(store.leases(TQ).await.unwrap().items.len(), 0, "a name that was never renewed is no lease");
    assert_eq!(store.claim_site(&paris, "uid-1", TQ).await, Claim::Ours, "claiming again changes nothing");
    let taken = "uid-1".to_owned();
    assert_eq!(store.claim_site(&paris, "uid-2", TQ).await, Claim::NameTaken { owner: taken.clone() });
    assert_eq!(store.renew(&paris, "uid-2", b"1", TQ).await, Renewal::NameTaken { owner: taken.clone() });
    assert_eq!(bench.lyon.owner(&paris, TQ).await.unwrap(), Some(taken));
    let first = renewed(&store.renew(&paris, "uid-1", b"2", TQ).await);
    let second = renewed(&store.renew(&paris, "uid-1", b"3", TQ).await);
    assert!(second > first);
    // The same beat again is another renewal all the same.
    let third = renewed(&store.renew(&paris, "uid-1", b"3", TQ).await);
    assert!(third > second);
    let leases = bench.lyon.leases(TQ).await.unwrap();
    assert_eq!(leases.items.len(), 1);
    assert_eq!(leases.items[0].site, paris);
    assert!(leases.items[0].beat.revision >= third);
}

async fn of_two_writers_of_one_record_exactly_one_wins_and_the_other_sees_what_is_there(bench: Bench) {
    let (paris, lyon, policy) = (&bench.paris, &bench.lyon, shop());
    assert_eq!(paris.record(&policy, TQ).await.unwrap(), None);
    let created = applied(&paris.cas(&policy, None, record(1, "p"), None, TQ).await);
    match lyon.cas(&policy, None, record(1, "l"), None, TQ).await {
        Cas::Conflict { current: Some(current), lease: None } => {
            assert_eq!((value(&current.value), current.revision), (value(&record(1, "p")), created));
        }
        other => panic!("{other:?}"),
    }
    for serial in 2..12 {
        let before = paris.record(&policy, TQ).await.unwrap().unwrap();
        let (a, b) = tokio::join!(
            paris.cas(&policy, Some(before.revision), record(serial, "p"), None, TQ),
            lyon.cas(&policy, Some(before.revision), record(serial, "l"), None, TQ),
        );
        let after = lyon.record(&policy, TQ).await.unwrap().unwrap();
        let (winner, loser, word) = match (&a, &b) {
            (Cas::Applied { .. }, _) => (&a, &b, "p"),
            _ => (&b, &a, "l"),
        };
        assert_eq!(after.revision, applied(winner));
        assert_eq!(value(&after.value), value(&record(serial, word)));
        assert!(matches!(loser, Cas::Conflict { current: Some(c), .. } if *c == after), "{loser:?}");
    }
    let late = paris.cas(&policy, Some(created), record(99, "late"), None, TQ).await;
    assert!(matches!(late, Cas::Conflict { current: Some(_), .. }), "{late:?}");
    let none = PolicyKey::new("shop", "none").unwrap();
    let gone = paris.cas(&none, Some(created), record(2, "gone"), None, TQ).await;
    assert_eq!(gone, Cas::Conflict { current: None, lease: None });
}

async fn what_is_stored_comes_back_as_it_was_with_what_no_version_knows(bench: Bench) {
    let stored = record(1, "a word\nwith \u{1F511} and \\ in it");
    applied(&bench.paris.cas(&shop(), None, stored.clone(), None, TQ).await);
    let found = bench.lyon.record(&shop(), TQ).await.unwrap().unwrap();
    assert_eq!(value(&found.value), value(&stored));
    let parsed: Record = found.parse().unwrap();
    assert_eq!(parsed.unknown["ofALaterVersion"]["list"][2], "18446744073709551615");
}

async fn a_take_fails_when_the_lease_moved_although_the_record_did_not(bench: Bench) {
    let (paris, lyon, policy) = (site("paris"), &bench.lyon, shop());
    bench.paris.claim_site(&paris, "uid", TQ).await;
    renewed(&bench.paris.renew(&paris, "uid", b"1", TQ).await);
    let first = applied(&bench.paris.cas(&policy, None, record(1, "r"), None, TQ).await);
    let seen = settled_lease(lyon, "paris").await;
    renewed(&bench.paris.renew(&paris, "uid", b"2", TQ).await);
    match lyon.cas(&policy, Some(first), record(2, "taken"), Some((&paris, seen)), TQ).await {
        Cas::Conflict { current: Some(current), lease: Some(lease) } => {
            assert_eq!(current.revision, first, "the record itself was as expected");
            assert!(lease > seen);
        }
        other => panic!("{other:?}"),
    }
    let seen = settled_lease(lyon, "paris").await;
    applied(&lyon.cas(&policy, Some(first), record(2, "taken"), Some((&paris, seen)), TQ).await);
}

async fn a_lease_that_never_was_is_compared_as_revision_zero(bench: Bench) {
    let (paris, policy) = (site("paris"), shop());
    let never = Some((&paris, Revision(0)));
    let first = applied(&bench.lyon.cas(&policy, None, record(1, "a"), never, TQ).await);
    bench.paris.claim_site(&paris, "uid", TQ).await;
    renewed(&bench.paris.renew(&paris, "uid", b"1", TQ).await);
    let late = bench.lyon.cas(&policy, Some(first), record(2, "b"), never, TQ).await;
    assert!(matches!(late, Cas::Conflict { .. }), "{late:?}");
}

async fn a_listing_longer_than_a_page_is_of_one_revision(bench: Bench) {
    let word = "x".repeat(8 << 10);
    for i in 0..150 {
        let policy = PolicyKey::new("shop", format!("p{i:03}")).unwrap();
        applied(&bench.paris.cas(&policy, None, record(1, &word), None, TQ).await);
    }
    let listing = bench.lyon.records(TQ).await.unwrap();
    assert_eq!(listing.items.len(), 150);
    assert_eq!(listing.foreign, [""; 0]);
    assert!(listing.items.iter().all(|r| r.record.revision <= listing.revision));
}

async fn a_value_that_is_too_large_is_refused(bench: Bench) {
    let large = record(1, &"x".repeat(VALUE_LIMIT));
    match bench.paris.cas(&shop(), None, large.clone(), None, TQ).await {
        Cas::Refused { why } => assert!(why.to_string().contains("shop/web"), "{why}"),
        other => panic!("{other:?}"),
    }
    match bench.paris.put_facts(&shop(), &site("paris"), large, TQ).await {
        Put::Refused { why } => assert!(why.to_string().contains("shop/web"), "{why}"),
        other => panic!("{other:?}"),
    }
    let almost = record(1, &"x".repeat(VALUE_LIMIT - 1000));
    applied(&bench.paris.cas(&shop(), None, almost, None, TQ).await);
}

async fn a_watch_delivers_records_and_facts_from_a_listing_on_and_nothing_twice(bench: Bench) {
    let (store, paris, policy) = (&bench.paris, site("paris"), shop());
    store.claim_site(&paris, "uid", TQ).await;
    let first = applied(&store.cas(&policy, None, record(1, "1"), None, TQ).await);
    let listing = bench.lyon.records(TQ).await.unwrap();
    assert_eq!((listing.items[0].policy.clone(), listing.items[0].record.revision), (policy.clone(), first));
    let second = applied(&store.cas(&policy, Some(first), record(2, "2"), None, TQ).await);
    let mut watch = bench.lyon.watch(Revision(listing.revision.0 + 1), TQ).await.unwrap();
    renewed(&store.renew(&paris, "uid", b"noise", TQ).await);
    let said = bytes(&json!({ "word": "f" }));
    assert!(matches!(store.put_facts(&policy, &paris, said.clone(), TQ).await, Put::Applied { .. }));
    let third = applied(&store.cas(&policy, Some(second), record(3, "3"), None, TQ).await);
    let (mut records, mut facts) = (Vec::new(), 0);
    // Longer than one request of a watch lasts: nothing is told twice by the next one.
    let end = Instant::now() + Duration::from_secs(12);
    while let Ok(change) = tokio::time::timeout_at(end.into(), watch.next()).await {
        match change.unwrap() {
            Change::Record { record: Some(record), .. } => {
                records.push((value(&record.value), record.revision));
            }
            Change::Facts { site, facts: Some(found), .. } => {
                assert_eq!((site, value(&found.value)), (paris.clone(), value(&said)));
                facts += 1;
            }
            Change::Current { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(records, [(value(&record(2, "2")), second), (value(&record(3, "3")), third)]);
    assert_eq!(facts, 1);
}

/// Slow enough for a loaded machine.
const TIMING: Timing = Profile::Region.timing();

/// A replica of the operator of paris that listens, and its part in the election.
struct Standby {
    election: Election,
    told: watch::Sender<Standing>,
    /// Its process lives as long as this is there.
    listens: Option<TcpListener>,
}

impl Standby {
    fn new(store: &Store, name: &str) -> Self {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listens.local_addr().unwrap();
        let me = Replica { instance: name.to_owned(), address };
        let election = Election::new(store.clone(), site("paris"), "uid".to_owned(), me, TIMING).unwrap();
        Self { election, told: watch::channel(Standing::Unknown).0, listens: Some(listens) }
    }

    async fn win(&self) {
        self.election.win(&self.told).await.unwrap();
    }

    /// Returns once this one knows that `other` acts.
    async fn sees(&self, other: &str) {
        let mut told = self.told.subscribe();
        let seen = told.wait_for(|s| matches!(s, Standing::Another(r) if r.instance == other));
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap().unwrap();
    }

    fn port(&self) -> SiteArbiter {
        SiteArbiter::new(self.election.arbiter(), identity("paris", "uid"), TQ)
    }
}

fn identity(name: &str, uid: &str) -> Identity {
    Identity { site: site(name), cluster: uid.to_owned(), instance: "i".to_owned(), by: "operator" }
}

fn two(bench: &Bench) -> (Standby, Standby) {
    (Standby::new(&bench.paris, "a"), Standby::new(&bench.paris, "b"))
}

async fn of_two_replicas_one_acts_and_the_other_one_follows_when_it_hands_over(bench: Bench) {
    let (a, b) = two(&bench);
    let first = tokio::select! {
        () = a.win() => "a",
        () = b.win() => "b",
    };
    let (acts, waits) = if first == "a" { (&a, &b) } else { (&b, &a) };
    assert_eq!(acts.port().renew(TQ).await, Renewed::Applied);
    let handed_over = async {
        waits.sees(first).await;
        let before = Instant::now();
        let gave_up = acts.election.give_up().await;
        // Of two members, the one that answers first may have been asked after the other replica's take.
        let done = match &gave_up {
            Put::Applied { .. } => true,
            Put::Refused { why } => why.to_string().contains("does not act"),
            Put::Unknown { .. } => false,
        };
        assert!(done, "{gave_up:?}");
        before
    };
    let (handed_over, ()) = tokio::join!(handed_over, waits.win());
    println!("the other one acts {:?} after the hand-over", handed_over.elapsed());
    assert!(handed_over.elapsed() < Spare::silence(&TIMING), "{:?}", handed_over.elapsed());
    match acts.election.give_up().await {
        Put::Refused { why } => assert!(why.to_string().contains("does not act"), "{why}"),
        other => panic!("it gave up what is another one's: {other:?}"),
    }
    assert_eq!(waits.port().renew(TQ).await, Renewed::Applied);
}

async fn what_a_replica_writes_after_another_one_took_over_changes_nothing(bench: Bench) {
    let (mut a, b) = two(&bench);
    a.win().await;
    let (old, new) = (a.election.arbiter(), b.election.arbiter());
    let (paris, policy) = (site("paris"), shop());
    renewed(&old.renew(&paris, "uid", b"1", TQ).await);
    let first = applied(&old.cas(&policy, None, record(1, "r"), None, TQ).await);
    let said = bytes(&json!({ "word": "f" }));
    assert!(matches!(old.put_facts(&policy, &paris, said.clone(), TQ).await, Put::Applied { .. }));
    // Its process is gone, as far as anybody can tell; what it has sent may still come.
    a.listens = None;
    b.win().await;
    let lease = renewed(&new.renew(&paris, "uid", b"2", TQ).await);
    match old.renew(&paris, "uid", b"3", TQ).await {
        Renewal::NotActing { who } => assert!(who.starts_with("b at 127.0.0.1:"), "{who}"),
        other => panic!("it renewed: {other:?}"),
    }
    match old.cas(&policy, Some(first), record(2, "late"), None, TQ).await {
        Cas::Refused { why } => assert!(why.to_string().contains("b at"), "{why}"),
        other => panic!("it wrote a record: {other:?}"),
    }
    match old.put_facts(&policy, &paris, bytes(&json!({ "word": "late" })), TQ).await {
        Put::Refused { why } => assert!(why.to_string().contains("b at"), "{why}"),
        other => panic!("it wrote facts: {other:?}"),
    }
    assert!(matches!(a.port().renew(TQ).await, Renewed::NotActing { .. }));
    let found = new.record(&policy, TQ).await.unwrap().unwrap();
    assert_eq!((found.revision, value(&found.value)), (first, value(&record(1, "r"))));
    assert_eq!(value(&new.facts(TQ).await.unwrap().items[0].facts.value), value(&said));
    let leases = new.leases(TQ).await.unwrap().items;
    assert!(leases[0].beat.revision >= lease && leases[0].beat.value == b"2", "{leases:?}");
    // The one that acts is held up by none of it.
    match new.cas(&policy, None, record(1, "x"), None, TQ).await {
        Cas::Conflict { current: Some(current), .. } => assert_eq!(current.revision, first),
        other => panic!("{other:?}"),
    }
    applied(&new.cas(&policy, Some(first), record(2, "next"), None, TQ).await);
}

async fn a_replica_that_is_there_and_silent_is_followed_once_its_lease_has_run_out(bench: Bench) {
    let (a, b) = two(&bench);
    a.win().await;
    // The lease of the one that freezes counts from here, or from earlier.
    assert_eq!(a.port().renew(TQ).await, Renewed::Applied);
    let renewed = Instant::now();
    // Its guards renew the site's lease by themselves meanwhile: that is no sign of life of the replica.
    let guards = async {
        for n in 0.. {
            let beat = format!("guard {n}");
            assert!(matches!(
                bench.paris.renew(&site("paris"), "uid", beat.as_bytes(), TQ).await,
                Renewal::Applied { .. }
            ));
            tokio::time::sleep(TIMING.p()).await;
        }
    };
    tokio::select! {
        () = guards => {}
        () = b.win() => {}
    }
    println!("followed {:?} after the last renewal", renewed.elapsed());
    assert!(renewed.elapsed() >= TIMING.r(), "{:?}", renewed.elapsed());
    assert!(a.listens.is_some());
}

async fn who_acts_is_taken_only_from_what_was_seen(bench: Bench) {
    let (store, paris) = (&bench.paris, site("paris"));
    let taken = store.take_acting(&paris, "uid", b"a", None, TQ).await;
    assert_eq!(taken, Taken::NotOurs { owner: None });
    assert_eq!(store.claim_site(&paris, "uid", TQ).await, Claim::Ours);
    assert_eq!(store.acting(&paris, TQ).await.unwrap(), None);
    let taken = store.take_acting(&paris, "uid-2", b"a", None, TQ).await;
    assert_eq!(taken, Taken::NotOurs { owner: Some("uid".to_owned()) });
    assert!(matches!(store.take_acting(&paris, "uid", b"a", None, TQ).await, Taken::Applied { .. }));
    let seen = store.acting(&paris, TQ).await.unwrap().unwrap();
    assert_eq!(seen.value, b"a");
    assert_eq!(store.take_acting(&paris, "uid", b"b", None, TQ).await, Taken::Conflict);
    renewed(&store.only_while_acting(&paris, b"a").renew(&paris, "uid", b"1", TQ).await);
    let late = store.take_acting(&paris, "uid", b"b", Some(seen.revision), TQ).await;
    assert_eq!(late, Taken::Conflict, "it has renewed since");
    // A second copy of that renewal may land late, where two are sent.
    let mut tries = 0..20;
    loop {
        let seen = store.acting(&paris, TQ).await.unwrap().unwrap();
        match store.take_acting(&paris, "uid", b"b", Some(seen.revision), TQ).await {
            Taken::Applied { .. } => break,
            other => assert!(tries.next().is_some() && other == Taken::Conflict, "{other:?}"),
        }
    }
    assert_eq!(store.acting(&paris, TQ).await.unwrap().unwrap().value, b"b");
}

async fn through_the_engines_port_a_site_renews_and_its_record_is_read_listed_and_watched(bench: Bench) {
    let paris = SiteArbiter::new(bench.paris.clone(), identity("paris", "uid-1"), TQ);
    let thief = SiteArbiter::new(bench.paris.clone(), identity("paris", "uid-2"), TQ);
    assert_eq!(paris.renew(TQ).await, Renewed::Applied, "the name is claimed on the way");
    assert_eq!(thief.renew(TQ).await, Renewed::NameTaken { owner: "uid-1".to_owned() });
    let before = paris.leases(TQ).await.unwrap()[&site("paris")];
    assert_eq!(paris.renew(TQ).await, Renewed::Applied);
    assert!(paris.leases(TQ).await.unwrap()[&site("paris")] > before);

    let record = |epoch, serial| -> Record {
        serde_json::from_value(record_of("paris", epoch, serial, "port")).unwrap()
    };
    let first = match paris.write(&shop(), None, &record(1, 1), None, TQ).await {
        ports::Cas::Applied(revision) => revision,
        other => panic!("{other:?}"),
    };
    assert_eq!(paris.record(&shop(), TQ).await.unwrap(), Some((record(1, 1), first)));
    let again = paris.write(&shop(), None, &record(1, 1), None, TQ).await;
    assert!(matches!(again, ports::Cas::Conflict), "{again:?}");
    let listed = paris.list(TQ).await.unwrap();
    assert_eq!(listed.records, BTreeMap::from([(shop(), first)]));
    assert_eq!(listed.unreadable, [""; 0]);
    let (send, mut changes) = mpsc::channel(8);
    let listener = SiteArbiter::new(bench.lyon.clone(), identity("lyon", "uid-3"), TQ);
    let watching = tokio::spawn(async move { listener.watch(listed.revision, send).await });
    let second = match paris.write(&shop(), Some(first), &record(1, 2), None, TQ).await {
        ports::Cas::Applied(revision) => revision,
        other => panic!("{other:?}"),
    };
    match tokio::time::timeout(Duration::from_secs(20), changes.recv()).await.unwrap() {
        Some(ArbiterChange::Record { policy, revision }) => assert_eq!((policy, revision), (shop(), second)),
        other => panic!("{other:?}"),
    }
    drop(changes);
    tokio::time::timeout(Duration::from_secs(20), watching).await.unwrap().unwrap();
}
