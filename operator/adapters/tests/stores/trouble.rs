//! A witness that stands still, is gone, keeps less than it was asked for, or is another one.

use std::time::{Duration, Instant};

use bascule_adapters::arbiter::{
    Cas, Cause, Change, Claim, KubernetesArbiter, ReadError, Renewal, Revision, Store, WitnessSettings,
};

use crate::stored::{record, shop, site, value};
use crate::witness::{TQ, Witness};

/// Above what a loaded two-core machine needs beyond a deadline.
const MARGIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_stands_still_leaves_everything_unknown_in_time_and_all_comes_back_with_it() {
    let witness = Witness::alone().await;
    let (paris, policy) = (site("paris"), shop());
    let arbiter = witness.arbiter("operator-paris").await;
    assert_eq!(arbiter.claim_site(&paris, "uid", TQ).await, Claim::Ours);
    let first = match arbiter.cas(&policy, None, record(1, "first"), None, TQ).await {
        Cas::Applied { revision } => revision,
        other => panic!("{other:?}"),
    };
    let tq = Duration::from_millis(700);
    witness.server.freeze();
    for n in 0..3 {
        let sent = Instant::now();
        match arbiter.renew(&paris, "uid", format!("{n}").as_bytes(), tq).await {
            Renewal::Unknown { why } => assert!(matches!(why.0[0].cause, Cause::TimedOut(_)), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(arbiter.leases(tq).await, Err(ReadError::NoAnswer(_))));
        assert!(matches!(arbiter.record(&policy, tq).await, Err(ReadError::NoAnswer(_))));
        assert!(sent.elapsed() < 3 * tq + MARGIN, "{:?}", sent.elapsed());
    }
    let lost = arbiter.cas(&policy, Some(first), record(2, "lost"), None, tq).await;
    assert!(matches!(lost, Cas::Unknown { .. }), "{lost:?}");
    witness.server.thaw();
    let end = Instant::now() + Duration::from_mins(1);
    while !matches!(arbiter.renew(&paris, "uid", b"back", tq).await, Renewal::Applied { .. }) {
        assert!(Instant::now() < end, "the witness is back and renewals are not");
    }
    // Whether the write that was lost was applied is told by the record, and then by whoever writes from it.
    let found = arbiter.record(&policy, TQ).await.unwrap().unwrap();
    let is = value(&found.value);
    assert!(is == value(&record(1, "first")) || is == value(&record(2, "lost")), "{is}");
    match arbiter.cas(&policy, Some(found.revision), record(3, "next"), None, TQ).await {
        Cas::Applied { .. } | Cas::Conflict { .. } => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_witness_that_stands_still_is_broken_in_bounded_time() {
    let witness = Witness::alone().await;
    let arbiter = witness.arbiter("operator-paris").await;
    let listing = arbiter.records(TQ).await.unwrap();
    let tq = Duration::from_millis(500);
    let mut watch = arbiter.watch(Revision(listing.revision.0 + 1), tq).await.unwrap();
    witness.server.freeze();
    let frozen = Instant::now();
    let why = loop {
        match tokio::time::timeout(Duration::from_mins(1), watch.next()).await.unwrap().unwrap() {
            Change::Broken { why } => break why,
            Change::Current { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    println!("a frozen witness's watch was given up after {:?}: {why}", frozen.elapsed());
    assert!(frozen.elapsed() < Duration::from_secs(5) + 4 * tq + MARGIN, "{:?}", frozen.elapsed());
    assert_eq!(watch.next().await, None);
    witness.server.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_revision_that_is_no_longer_kept_is_broken_at_once() {
    let witness = Witness::alone().await;
    let arbiter = witness.arbiter("operator-paris").await;
    let why = match arbiter.watch(Revision(2), TQ).await {
        Err(why) => why,
        Ok(mut watch) => loop {
            match watch.next().await.unwrap() {
                Change::Broken { why } => break why,
                Change::Current { .. } => {}
                other => panic!("{other:?}"),
            }
        },
    };
    assert!(why.to_string().contains("no longer kept"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_never_sent_is_refused_not_unknown() {
    let files = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let kubeconfig = files.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: w\n\
         clusters: [{{name: w, cluster: {{server: \"https://{address}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: w, user: {{token: t}}}}]\n\
         contexts: [{{name: w, context: {{cluster: w, user: w, namespace: n}}}}]\n"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let arbiter = KubernetesArbiter::new(&WitnessSettings { kubeconfig }).await.unwrap();
    match arbiter.cas(&shop(), None, record(1, ""), None, TQ).await {
        Cas::Refused { why } => {
            assert!(matches!(why.0[0].cause, Cause::NotConnected(_)), "{why}");
            assert!(why.to_string().contains(&address.to_string()), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_the_chart_is_no_empty_arbiter() {
    let witness = Witness::start().await;
    // The token of an account, in a namespace that the chart was never installed in.
    let token = witness.server.kubectl(&["create", "token", "operator-paris", "-n", &witness.namespace], "");
    let files = tempfile::tempdir().unwrap();
    let kubeconfig = files.path().join("kubeconfig");
    std::fs::write(&kubeconfig, witness.server.kubeconfig_of(token.trim(), "default")).unwrap();
    let elsewhere = Store::from(KubernetesArbiter::new(&WitnessSettings { kubeconfig }).await.unwrap());
    for read in [
        elsewhere.record(&shop(), TQ).await.map(drop),
        elsewhere.leases(TQ).await.map(drop),
        elsewhere.owner(&site("paris"), TQ).await.map(drop),
    ] {
        match read {
            Err(ReadError::NoAnswer(why)) => assert!(why.to_string().contains("403"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
