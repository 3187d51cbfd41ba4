//! The arbiter against a real etcd of three members.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests are tests to us, not to the lint.

mod acting;
mod batch;
mod cluster;

use std::time::{Duration, Instant};

use bascule_adapters::arbiter::{
    Cas, Cause, Change, Claim, Identity, Put, ReadError, Renewal, Revision, SiteArbiter, VALUE_LIMIT,
    VersionFound, Versions,
};
use bascule_core::facts::SiteFacts;
use bascule_core::few::Few;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::outcome::Outcome;
use bascule_engine::ports::{Arbiter, ArbiterChange, Renewed};
use tokio::sync::mpsc;

use self::cluster::{Cluster, TQ};

/// Above what a loaded two-core machine needs beyond a deadline.
const MARGIN: Duration = Duration::from_millis(400);

fn site(name: &str) -> SiteName {
    SiteName::try_from(name).unwrap()
}

fn shop() -> PolicyKey {
    PolicyKey::new("shop", "shop").unwrap()
}

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

#[tokio::test]
async fn a_site_name_belongs_to_the_first_cluster_that_claims_it() {
    let cluster = Cluster::start().await;
    let arbiter = cluster.arbiter("operator", &[0, 1, 2]).await;
    let paris = site("paris");
    assert_eq!(arbiter.renew(&paris, "uid-1", b"{}", TQ).await, Renewal::NotClaimed);
    assert_eq!(arbiter.claim_site(&paris, "uid-1", TQ).await, Claim::Ours);
    assert_eq!(arbiter.claim_site(&paris, "uid-1", TQ).await, Claim::Ours, "claiming again changes nothing");
    let taken = "uid-1".to_owned();
    assert_eq!(arbiter.claim_site(&paris, "uid-2", TQ).await, Claim::NameTaken { owner: taken.clone() });
    assert_eq!(arbiter.renew(&paris, "uid-2", b"{}", TQ).await, Renewal::NameTaken { owner: taken });
    let first = renewed(&arbiter.renew(&paris, "uid-1", br#"{"n":1}"#, TQ).await);
    let second = renewed(&arbiter.renew(&paris, "uid-1", br#"{"n":2}"#, TQ).await);
    assert!(second > first);
    let leases = arbiter.leases(TQ).await.unwrap();
    assert_eq!(leases.items.len(), 1);
    assert_eq!(leases.items[0].site, paris);
    // A renewal goes to two members: the twin of either may have been applied after the second.
    assert!([&br#"{"n":1}"#[..], br#"{"n":2}"#].contains(&&*leases.items[0].beat.value));
    assert!(leases.items[0].beat.revision >= second);
}

#[tokio::test]
async fn of_two_writers_of_one_record_exactly_one_wins_and_the_other_sees_what_is_there() {
    let cluster = Cluster::start().await;
    let paris = cluster.arbiter("operator", &[0, 1, 2]).await;
    let lyon = cluster.arbiter("operator", &[1, 2, 0]).await;
    let policy = shop();
    assert_eq!(paris.record(&policy, TQ).await.unwrap(), None);
    let created = applied(&paris.cas(&policy, None, b"1".to_vec(), None, TQ).await);
    match lyon.cas(&policy, None, b"other".to_vec(), None, TQ).await {
        Cas::Conflict { current: Some(current), lease: None } => {
            assert_eq!((current.value, current.revision), (b"1".to_vec(), created));
        }
        other => panic!("{other:?}"),
    }
    for round in 0..20 {
        let before = paris.record(&policy, TQ).await.unwrap().unwrap();
        let (a, b) = tokio::join!(
            paris.cas(&policy, Some(before.revision), format!("p{round}").into_bytes(), None, TQ),
            lyon.cas(&policy, Some(before.revision), format!("l{round}").into_bytes(), None, TQ),
        );
        let after = lyon.record(&policy, TQ).await.unwrap().unwrap();
        let (winner, loser, text) = match (&a, &b) {
            (Cas::Applied { .. }, _) => (&a, &b, format!("p{round}")),
            _ => (&b, &a, format!("l{round}")),
        };
        assert_eq!(after.revision, applied(winner));
        assert_eq!(after.value, text.into_bytes());
        assert!(matches!(loser, Cas::Conflict { current: Some(c), .. } if *c == after), "{loser:?}");
    }
}

#[tokio::test]
async fn a_take_fails_when_the_lease_moved_although_the_record_did_not() {
    let cluster = Cluster::start().await;
    let arbiter = cluster.arbiter("operator", &[0, 1, 2]).await;
    let (paris, policy) = (site("paris"), shop());
    arbiter.claim_site(&paris, "uid", TQ).await;
    arbiter.renew(&paris, "uid", b"1", TQ).await;
    let record = applied(&arbiter.cas(&policy, None, b"r".to_vec(), None, TQ).await);
    let seen = arbiter.leases(TQ).await.unwrap().items[0].beat.revision;
    arbiter.renew(&paris, "uid", b"2", TQ).await;
    match arbiter.cas(&policy, Some(record), b"taken".to_vec(), Some((&paris, seen)), TQ).await {
        Cas::Conflict { current: Some(current), lease: Some(lease) } => {
            assert_eq!(current.revision, record, "the record itself was as expected");
            assert!(lease > seen);
        }
        other => panic!("{other:?}"),
    }
    let seen = settled_lease(&arbiter).await;
    applied(&arbiter.cas(&policy, Some(record), b"taken".to_vec(), Some((&paris, seen)), TQ).await);
}

#[tokio::test]
async fn a_lease_that_never_was_is_compared_as_revision_zero() {
    let cluster = Cluster::start().await;
    let arbiter = cluster.arbiter("operator", &[0, 1, 2]).await;
    let (paris, policy) = (site("paris"), shop());
    let never = Some((&paris, Revision(0)));
    let first = applied(&arbiter.cas(&policy, None, b"1".to_vec(), never, TQ).await);
    arbiter.claim_site(&paris, "uid", TQ).await;
    arbiter.renew(&paris, "uid", b"1", TQ).await;
    let late = arbiter.cas(&policy, Some(first), b"2".to_vec(), never, TQ).await;
    assert!(matches!(late, Cas::Conflict { .. }), "{late:?}");
}

/// The lease's revision once the slower copy of the last renewal has landed too.
async fn settled_lease(arbiter: &bascule_adapters::arbiter::EtcdArbiter) -> Revision {
    let mut seen = arbiter.leases(TQ).await.unwrap().items[0].beat.revision;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let again = arbiter.leases(TQ).await.unwrap().items[0].beat.revision;
        if again == seen {
            return seen;
        }
        seen = again;
    }
}

#[tokio::test]
async fn a_guard_may_renew_its_own_lease_and_write_nothing_else() {
    let cluster = Cluster::start().await;
    let operator = cluster.arbiter("operator", &[0, 1, 2]).await;
    let (paris, policy) = (site("paris"), shop());
    operator.claim_site(&paris, "uid", TQ).await;
    operator.claim_site(&site("lyon"), "uid-2", TQ).await;
    let revision = applied(&operator.cas(&policy, None, b"r".to_vec(), None, TQ).await);

    let guard = cluster.arbiter("guard", &[2, 1, 0]).await;
    assert_eq!(guard.record(&policy, TQ).await.unwrap().unwrap().value, b"r");
    assert_eq!(guard.leases(TQ).await.unwrap().items.len(), 0);
    renewed(&guard.renew(&paris, "uid", b"{}", TQ).await);
    let denied =
        |why: String| assert!(why.contains("permission denied") && why.contains("https://"), "{why}");
    match guard.cas(&policy, Some(revision), b"mine".to_vec(), None, TQ).await {
        Cas::Refused { why } => denied(why.to_string()),
        other => panic!("{other:?}"),
    }
    match guard.renew(&site("lyon"), "uid-2", b"{}", TQ).await {
        Renewal::Refused { why } => denied(why.to_string()),
        other => panic!("{other:?}"),
    }
    match guard.put_facts(&policy, &paris, b"{}".to_vec(), TQ).await {
        Put::Refused { why } => denied(why.to_string()),
        other => panic!("{other:?}"),
    }
    let stranger = cluster.arbiter("stranger", &[0]).await;
    match stranger.record(&policy, TQ).await {
        Err(ReadError::NoAnswer(why)) => assert!(matches!(why.0[0].cause, Cause::Denied(_)), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_frozen_member_costs_a_renewal_nothing_because_a_second_one_is_asked_at_once() {
    let cluster = Cluster::start().await;
    let leader = cluster.wait_for_leader().await;
    let frozen = (leader + 1) % 3;
    let tq = Duration::from_secs(1);
    let arbiter = cluster.arbiter("operator", &[frozen, leader, (leader + 2) % 3]).await;
    let paris = site("paris");
    arbiter.claim_site(&paris, "uid", TQ).await;
    renewed(&arbiter.renew(&paris, "uid", b"0", tq).await);
    cluster.freeze(frozen);
    let mut worst = Duration::ZERO;
    for n in 0..10 {
        let sent = Instant::now();
        renewed(&arbiter.renew(&paris, "uid", format!("{n}").as_bytes(), tq).await);
        assert_eq!(arbiter.leases(tq).await.unwrap().items.len(), 1);
        worst = worst.max(sent.elapsed());
    }
    cluster.thaw(frozen);
    println!("renewal and read with the first member frozen, worst of 10: {worst:?}");
    assert!(worst < tq, "{worst:?}");
}

#[tokio::test]
async fn a_write_to_a_frozen_member_is_unknown_at_its_deadline_and_the_next_goes_elsewhere() {
    let cluster = Cluster::start().await;
    let leader = cluster.wait_for_leader().await;
    let frozen = (leader + 1) % 3;
    let tq = Duration::from_millis(700);
    let arbiter = cluster.arbiter("operator", &[frozen, leader]).await;
    let witness = cluster.arbiter("operator", &[leader]).await;
    let policy = shop();
    let first = applied(&arbiter.cas(&policy, None, b"1".to_vec(), None, TQ).await);
    cluster.freeze(frozen);
    let sent = Instant::now();
    match arbiter.cas(&policy, Some(first), b"2".to_vec(), None, tq).await {
        Cas::Unknown { why } => {
            assert_eq!(why.0[0].cause, Cause::TimedOut(tq));
            assert_eq!(why.0[0].endpoint, cluster.endpoint(frozen));
        }
        other => panic!("{other:?}"),
    }
    assert!(sent.elapsed() < tq + MARGIN, "{:?}", sent.elapsed());
    let seen = witness.record(&policy, TQ).await.unwrap().unwrap();
    assert_eq!(seen.revision, first, "nothing was applied yet, and still it may be");
    let second = applied(&arbiter.cas(&policy, Some(first), b"3".to_vec(), None, TQ).await);
    // The late copy is delivered now, and its comparison fails.
    cluster.thaw(frozen);
    let back = cluster.arbiter("operator", &[frozen]).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while back.record(&policy, TQ).await.is_err() {
        assert!(Instant::now() < deadline, "the thawed member does not come back");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let now = witness.record(&policy, TQ).await.unwrap().unwrap();
    assert_eq!((now.value.as_slice(), now.revision), (b"3".as_slice(), second));
}

#[tokio::test]
async fn without_a_quorum_every_answer_is_unknown_in_time_and_all_comes_back_with_it() {
    let mut cluster = Cluster::start().await;
    let arbiter = cluster.arbiter("operator", &[0, 1, 2]).await;
    let (paris, policy) = (site("paris"), shop());
    arbiter.claim_site(&paris, "uid", TQ).await;
    let revision = applied(&arbiter.cas(&policy, None, b"1".to_vec(), None, TQ).await);
    cluster.kill(1);
    cluster.kill(2);
    let tq = Duration::from_millis(500);
    for _ in 0..6 {
        let sent = Instant::now();
        let renewal = arbiter.renew(&paris, "uid", b"2", tq).await;
        assert!(
            matches!(renewal, Renewal::Unknown { .. } | Renewal::Refused { .. }),
            "no quorum, yet {renewal:?}"
        );
        assert!(sent.elapsed() < tq + MARGIN, "{:?}", sent.elapsed());
        assert!(matches!(arbiter.leases(tq).await, Err(ReadError::NoAnswer(_))));
        assert!(matches!(arbiter.record(&policy, tq).await, Err(ReadError::NoAnswer(_))));
    }
    let status = arbiter.status(tq).await;
    assert!(status.members[0].state.is_ok(), "it answers for itself: {status:?}");
    assert!(matches!(&status.members[1].state, Err(f) if matches!(f.cause, Cause::NotConnected(_))));
    cluster.restart(1);
    cluster.restart(2);
    let deadline = Instant::now() + Duration::from_mins(1);
    while !matches!(arbiter.renew(&paris, "uid", b"3", tq).await, Renewal::Applied { .. }) {
        assert!(Instant::now() < deadline, "the quorum is back and renewals are not");
    }
    // A write whose outcome was unknown may have landed meanwhile; the record is read, not assumed.
    let record = arbiter.record(&policy, TQ).await.unwrap().unwrap();
    assert_eq!(record.revision, revision);
}

#[tokio::test]
async fn a_request_that_was_never_sent_is_refused_not_unknown() {
    let mut cluster = Cluster::start().await;
    let arbiter = cluster.arbiter("operator", &[0]).await;
    cluster.kill(0);
    match arbiter.cas(&shop(), None, b"1".to_vec(), None, TQ).await {
        Cas::Refused { why } => {
            assert!(matches!(why.0[0].cause, Cause::NotConnected(_)), "{why}");
            assert!(why.to_string().contains("refused"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn when_the_leader_dies_renewals_come_back_within_two_elections_and_two_deadlines() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.wait_for_leader().await;
    let arbiter = cluster.arbiter("operator", &[leader, (leader + 1) % 3, (leader + 2) % 3]).await;
    let paris = site("paris");
    arbiter.claim_site(&paris, "uid", TQ).await;
    let tq = Duration::from_millis(500);
    renewed(&arbiter.renew(&paris, "uid", b"0", tq).await);
    cluster.kill(leader);
    let died = Instant::now();
    while !matches!(arbiter.renew(&paris, "uid", b"1", tq).await, Renewal::Applied { .. }) {
        assert!(died.elapsed() < Duration::from_secs(20), "no renewal after 20 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("first renewal after the leader's death: {:?}", died.elapsed());
    let as_root = cluster.arbiter("root", &[0, 1, 2]).await.status(TQ).await;
    let versions =
        as_root.members.iter().filter_map(|m| Some(&m.state.as_ref().ok()?.details.as_ref().ok()?.version));
    assert_eq!(versions.filter(|v| v.starts_with("3.6.")).count(), 2);
    let status = arbiter.status(TQ).await;
    assert_eq!(status.members.iter().filter(|m| m.state.is_ok()).count(), 2);
    assert_eq!(status.listed.unwrap().len(), 3);
}

#[tokio::test]
async fn a_watch_delivers_records_and_facts_from_a_listing_on_and_nothing_twice() {
    let cluster = Cluster::start().await;
    let arbiter = cluster.arbiter("operator", &[0, 1, 2]).await;
    let (paris, policy) = (site("paris"), shop());
    arbiter.claim_site(&paris, "uid", TQ).await;
    let first = applied(&arbiter.cas(&policy, None, b"1".to_vec(), None, TQ).await);
    let listing = arbiter.records(TQ).await.unwrap();
    assert_eq!((listing.items[0].policy.clone(), listing.items[0].record.revision), (policy.clone(), first));
    let second = applied(&arbiter.cas(&policy, Some(first), b"2".to_vec(), None, TQ).await);
    let mut watch = arbiter.watch(Revision(listing.revision.0 + 1), TQ).await.unwrap();
    arbiter.renew(&paris, "uid", b"noise", TQ).await;
    assert!(matches!(arbiter.put_facts(&policy, &paris, b"f".to_vec(), TQ).await, Put::Applied { .. }));
    let third = applied(&arbiter.cas(&policy, Some(second), b"3".to_vec(), None, TQ).await);
    let (mut records, mut facts, mut current) = (Vec::new(), 0, false);
    while records.len() < 2 || facts < 1 || !current {
        match tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap() {
            Change::Record { record: Some(record), .. } => records.push((record.value, record.revision)),
            Change::Facts { site, facts: Some(value), .. } => {
                assert_eq!((site, value.value.as_slice()), (paris.clone(), b"f".as_slice()));
                facts += 1;
            }
            Change::Current { revision } => current = revision >= third,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(records, [(b"2".to_vec(), second), (b"3".to_vec(), third)]);
    assert_eq!(facts, 1);
}

#[tokio::test]
async fn a_broken_watch_says_so_in_bounded_time_and_can_be_opened_again_elsewhere() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.wait_for_leader().await;
    let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
    let arbiter = cluster.arbiter("operator", &[first, leader, second]).await;
    let policy = shop();
    let created = applied(&arbiter.cas(&policy, None, b"1".to_vec(), None, TQ).await);
    let tq = Duration::from_millis(500);
    let broken = async |watch: &mut bascule_adapters::arbiter::Watch| {
        loop {
            match tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap() {
                Change::Broken { why } => return why,
                Change::Current { .. } | Change::Record { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };

    let mut watch = arbiter.watch(created, tq).await.unwrap();
    cluster.freeze(first);
    let frozen = Instant::now();
    let why = broken(&mut watch).await;
    println!("a frozen member's watch was given up after {:?}: {why}", frozen.elapsed());
    assert!(frozen.elapsed() < 4 * tq + MARGIN, "{:?}", frozen.elapsed());
    assert!(why.to_string().contains(&cluster.endpoint(first)), "{why}");
    assert_eq!(watch.next().await, None);

    let mut watch = arbiter.watch(created, tq).await.unwrap();
    cluster.thaw(first);
    cluster.kill(leader);
    let why = broken(&mut watch).await;
    assert!(why.to_string().contains(&cluster.endpoint(leader)), "{why}");

    let deadline = Instant::now() + Duration::from_secs(30);
    let mut watch = loop {
        match arbiter.watch(created, tq).await {
            Ok(watch) => break watch,
            Err(why) => assert!(Instant::now() < deadline, "{why}"),
        }
    };
    match tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap() {
        Change::Record { record: Some(record), .. } => assert_eq!(record.revision, created),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watch_from_a_revision_that_is_no_longer_kept_is_broken_at_once() {
    let cluster = Cluster::start().await;
    let arbiter = cluster.arbiter("operator", &[0, 1, 2]).await;
    let policy = shop();
    let first = applied(&arbiter.cas(&policy, None, b"1".to_vec(), None, TQ).await);
    let second = applied(&arbiter.cas(&policy, Some(first), b"2".to_vec(), None, TQ).await);
    cluster.raw("root").await.compact(second.0, None).await.unwrap();
    let why = match arbiter.watch(first, TQ).await {
        Err(why) => why,
        Ok(mut watch) => match watch.next().await.unwrap() {
            Change::Broken { why } => why,
            other => panic!("{other:?}"),
        },
    };
    assert!(why.to_string().contains("no longer kept"), "{why}");
}

#[tokio::test]
async fn a_listing_longer_than_a_page_is_of_one_revision_and_names_what_is_foreign() {
    let cluster = Cluster::start().await;
    let arbiter = cluster.arbiter("operator", &[0, 1, 2]).await;
    let value = vec![b'x'; 64 << 10];
    for i in 0..150 {
        let policy = PolicyKey::new("shop", format!("p{i:03}")).unwrap();
        applied(&arbiter.cas(&policy, None, value.clone(), None, TQ).await);
    }
    cluster.raw("root").await.put("/bascule/v1/record/junk", "", None).await.unwrap();
    let listing = arbiter.records(TQ).await.unwrap();
    assert_eq!(listing.items.len(), 150);
    assert_eq!(listing.foreign, ["/bascule/v1/record/junk"]);
    assert!(listing.items.iter().all(|r| r.record.revision <= listing.revision));
    match arbiter.cas(&shop(), None, vec![0; VALUE_LIMIT + 1], None, TQ).await {
        Cas::Refused { why } => assert!(why.to_string().contains("shop/shop"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_member_whose_certificate_another_authority_signed_is_not_trusted() {
    let (ours, theirs) = tokio::join!(Cluster::start(), Cluster::start());
    let lured = ours.arbiter_at("operator", vec![theirs.endpoint(0)]).await;
    match lured.record(&shop(), TQ).await {
        Err(ReadError::NoAnswer(why)) => {
            assert!(matches!(why.0[0].cause, Cause::NotConnected(_)), "{why}");
            assert!(why.to_string().contains("certificate"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn through_the_engines_port_a_site_renews_and_its_facts_are_listed_and_watched() {
    let cluster = Cluster::start().await;
    let port = async |name: &str, uid: &str| {
        let identity =
            Identity { site: site(name), cluster: uid.to_owned(), instance: "i".to_owned(), by: "operator" };
        SiteArbiter::new(cluster.arbiter("operator", &[0, 1, 2]).await, identity, TQ)
    };
    let paris = port("paris", "uid-1").await;
    assert_eq!(paris.renew(TQ).await, Renewed::Applied, "the name is claimed on the way");
    let thief = port("paris", "uid-2").await;
    assert_eq!(thief.renew(TQ).await, Renewed::NameTaken { owner: "uid-1".to_owned() });
    let before = paris.leases(TQ).await.unwrap()[&site("paris")];
    assert_eq!(paris.renew(TQ).await, Renewed::Applied);
    assert!(paris.leases(TQ).await.unwrap()[&site("paris")] > before);

    let facts = |question| SiteFacts {
        diverged: Few::new(),
        schema: 1,
        site: site("paris"),
        question,
        number: 1,
        answers: Few::new(),
        marks: None,
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
    };
    assert_eq!(paris.put_facts(&shop(), &facts(1), TQ).await, Outcome::Done);
    cluster.raw("root").await.put("/bascule/v1/facts/shop/shop/lyon", "rubbish", None).await.unwrap();
    let listed = paris.list(TQ).await.unwrap();
    assert_eq!(listed.facts[&(shop(), site("paris"))].question, 1);
    assert!(listed.unreadable[0].contains("lyon"), "{:?}", listed.unreadable);

    let (send, mut changes) = mpsc::channel(8);
    let watching = paris.watch(listed.revision, send);
    let writing = async {
        assert_eq!(paris.put_facts(&shop(), &facts(2), TQ).await, Outcome::Done);
        cluster.raw("root").await.delete("/bascule/v1/facts/shop/shop/paris", None).await.unwrap();
    };
    tokio::join!(watching, writing);
    match changes.recv().await {
        Some(ArbiterChange::Facts { facts, .. }) => assert_eq!(facts.question, 2),
        other => panic!("{other:?}"),
    }
    match changes.recv().await {
        Some(ArbiterChange::Broken { reason }) => assert!(reason.contains("deleted"), "{reason}"),
        other => panic!("{other:?}"),
    }
    cluster.raw("root").await.put("/bascule/v1/record/shop/shop", "rubbish", None).await.unwrap();
    let error = paris.record(&shop(), TQ).await.unwrap_err();
    assert!(error.contains("cannot be parsed"), "{error}");
}

#[tokio::test]
async fn every_member_tells_its_version_to_whoever_may_connect_and_a_frozen_or_foreign_one_is_unknown() {
    let cluster = Cluster::start().await;
    let mut endpoints: Vec<_> = (0..3).map(|i| cluster.endpoint(i)).collect();
    let told = Versions::new(&cluster.settings("guard", endpoints.clone())).unwrap().ask().await;
    assert_eq!(told.iter().map(|(endpoint, _)| endpoint.clone()).collect::<Vec<_>>(), endpoints);
    for (endpoint, found) in told {
        assert!(matches!(found, VersionFound::Good { .. }), "{endpoint}: {found:?}");
    }

    cluster.freeze(0);
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    endpoints[1] = format!("https://{}", web.local_addr().unwrap());
    drop(web);
    let started = Instant::now();
    let versions = Versions::new(&cluster.settings("guard", endpoints)).unwrap();
    let told = versions.ask().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(
        matches!(&told[0].1, VersionFound::Unknown { reason } if reason.contains("no answer")),
        "{told:?}"
    );
    assert!(
        matches!(&told[1].1, VersionFound::Unknown { reason } if reason.contains("no connection")),
        "{told:?}"
    );
    assert!(matches!(told[2].1, VersionFound::Good { .. }), "{told:?}");
    let bad = tokio::time::timeout(Duration::from_millis(100), versions.first_bad()).await;
    assert!(bad.is_err(), "who does not tell is not refused");
    cluster.thaw(0);
}
