//! Which replica of a site acts, and what becomes of what another one still writes.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use bascule_adapters::arbiter::{Election, EtcdArbiter, Replica, Standing, Taken};
use bascule_core::ballot::spare::Spare;
use bascule_core::timing::{Profile, Timing};
use etcd_client::Permission;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::*;

/// Slow enough for a loaded machine.
const TIMING: Timing = Profile::Region.timing();

/// A replica that listens, and its part in the election.
struct Standby {
    election: Election,
    told: watch::Sender<Standing>,
    /// Its process lives as long as this is there.
    listens: Option<TcpListener>,
}

impl Standby {
    fn new(etcd: EtcdArbiter, name: &str) -> Self {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listens.local_addr().unwrap();
        let me = Replica { instance: name.to_owned(), address };
        let election = Election::new(etcd, site("paris"), "uid".to_owned(), me, TIMING).unwrap();
        Self { election, told: watch::channel(Standing::Unknown).0, listens: Some(listens) }
    }

    async fn win(&self) {
        self.election.win(&self.told).await.unwrap();
    }

    /// Returns once another one has asked whether this one is there.
    async fn is_reached(&self) {
        let listens = self.listens.as_ref().unwrap();
        listens.set_nonblocking(true).unwrap();
        let since = Instant::now();
        while listens.accept().is_err() {
            assert!(since.elapsed() < Duration::from_secs(30), "nobody asks");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns once this one knows that `other` acts.
    async fn sees(&self, other: &str) {
        let mut told = self.told.subscribe();
        let seen = told.wait_for(|s| matches!(s, Standing::Another(r) if r.instance == other));
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap().unwrap();
    }

    fn port(&self) -> SiteArbiter {
        let identity = Identity {
            site: site("paris"),
            cluster: "uid".to_owned(),
            instance: "i".to_owned(),
            by: "operator",
        };
        SiteArbiter::new(self.election.arbiter(), identity, TQ)
    }
}

async fn two(cluster: &Cluster) -> (Standby, Standby) {
    let etcd = cluster.arbiter("operator", &[0, 1, 2]).await;
    (Standby::new(etcd.clone(), "a"), Standby::new(etcd, "b"))
}

#[tokio::test]
async fn of_two_replicas_one_acts_and_the_other_one_follows_when_it_hands_over() {
    let cluster = Cluster::start().await;
    let (a, b) = two(&cluster).await;
    let first = tokio::select! {
        () = a.win() => "a",
        () = b.win() => "b",
    };
    let (acts, waits) = if first == "a" { (&a, &b) } else { (&b, &a) };
    let port = acts.port();
    assert_eq!(port.renew(TQ).await, Renewed::Applied);
    let handed_over = async {
        waits.sees(first).await;
        let before = Instant::now();
        let gave_up = acts.election.give_up().await;
        // The member that answers first may have been asked after the other one, and after the other replica's take.
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

#[tokio::test]
async fn what_a_replica_writes_after_another_one_took_over_changes_nothing() {
    let cluster = Cluster::start().await;
    let (a, b) = two(&cluster).await;
    a.win().await;
    let (old, new) = (a.election.arbiter(), b.election.arbiter());
    let (paris, policy) = (site("paris"), shop());
    renewed(&old.renew(&paris, "uid", b"1", TQ).await);
    let record = applied(&old.cas(&policy, None, b"r".to_vec(), None, TQ).await);
    assert!(matches!(old.put_facts(&policy, &paris, b"f".to_vec(), TQ).await, Put::Applied { .. }));
    // Its process is gone, as far as anybody can tell; what it has sent may still come.
    let mut a = a;
    a.listens = None;
    b.win().await;
    let lease = renewed(&new.renew(&paris, "uid", b"2", TQ).await);
    match old.renew(&paris, "uid", b"3", TQ).await {
        Renewal::NotActing { who } => assert!(who.starts_with("b at 127.0.0.1:"), "{who}"),
        other => panic!("it renewed: {other:?}"),
    }
    match old.cas(&policy, Some(record), b"late".to_vec(), None, TQ).await {
        Cas::Refused { why } => assert!(why.to_string().contains("b at"), "{why}"),
        other => panic!("it wrote a record: {other:?}"),
    }
    match old.put_facts(&policy, &paris, b"late".to_vec(), TQ).await {
        Put::Refused { why } => assert!(why.to_string().contains("b at"), "{why}"),
        other => panic!("it wrote facts: {other:?}"),
    }
    assert!(matches!(a.port().renew(TQ).await, Renewed::NotActing { .. }));
    let found = new.record(&policy, TQ).await.unwrap().unwrap();
    assert_eq!((found.revision, found.value), (record, b"r".to_vec()));
    assert_eq!(new.facts(TQ).await.unwrap().items[0].facts.value, b"f");
    let leases = new.leases(TQ).await.unwrap().items;
    assert!(leases[0].beat.revision >= lease && leases[0].beat.value == b"2", "{leases:?}");
    // The one that acts is held up by none of it.
    match new.cas(&policy, None, b"x".to_vec(), None, TQ).await {
        Cas::Conflict { current: Some(current), .. } => assert_eq!(current.revision, record),
        other => panic!("{other:?}"),
    }
    applied(&new.cas(&policy, Some(record), b"next".to_vec(), None, TQ).await);
}

#[tokio::test]
async fn a_replica_that_is_there_and_silent_is_followed_once_its_lease_has_run_out() {
    let cluster = Cluster::start().await;
    let (a, b) = two(&cluster).await;
    a.win().await;
    // The lease of the one that freezes counts from here, or from earlier.
    assert_eq!(a.port().renew(TQ).await, Renewed::Applied);
    let renewed = Instant::now();
    b.win().await;
    println!("followed {:?} after the last renewal", renewed.elapsed());
    assert!(renewed.elapsed() >= TIMING.r(), "{:?}", renewed.elapsed());
    assert!(a.listens.is_some());
}

#[tokio::test]
async fn a_replica_whose_process_is_gone_is_followed_without_waiting_for_its_lease() {
    let cluster = Cluster::start().await;
    let (mut a, b) = two(&cluster).await;
    a.win().await;
    assert_eq!(a.port().renew(TQ).await, Renewed::Applied);
    let gone = async {
        b.sees("a").await;
        a.is_reached().await;
        a.listens = None;
        Instant::now()
    };
    let (gone, ()) = tokio::join!(gone, b.win());
    println!("followed {:?} after its end", gone.elapsed());
    assert!(gone.elapsed() < TIMING.r(), "{:?}", gone.elapsed());
}

#[tokio::test]
async fn a_user_of_an_earlier_version_is_told_which_command_lets_it_act() {
    let cluster = Cluster::start().await;
    let replica = Standby::new(cluster.arbiter("older", &[0, 1, 2]).await, "a");
    let mut told = replica.told.subscribe();
    let says = async {
        let why = |s: &Standing| match s {
            Standing::Trouble(why) if why.contains("permission denied") => Some(why.clone()),
            _ => None,
        };
        let seen = told.wait_for(|s| why(s).is_some());
        let seen = tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap().unwrap();
        why(&seen).unwrap()
    };
    let why = tokio::select! {
        why = says => why,
        () = replica.win() => panic!("it acts without the right to"),
    };
    assert!(why.contains("`bascule arbiter setup arbiter`"), "{why}");
    // As soon as it has the right, it acts: nobody has to start it again.
    let acting = Permission::read_write("/bascule/v1/acting/paris");
    cluster.raw("root").await.role_grant_permission("older", acting).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), replica.win()).await.unwrap();
}

#[tokio::test]
async fn a_user_without_the_right_to_act_is_refused_and_another_cluster_does_not_act() {
    let cluster = Cluster::start().await;
    let operator = cluster.arbiter("operator", &[0]).await;
    assert_eq!(operator.claim_site(&site("paris"), "uid", TQ).await, Claim::Ours);
    // The guards' user may write the lease and nothing else.
    let guard = cluster.arbiter("guard", &[0]).await;
    match guard.take_acting(&site("paris"), "uid", b"me", None, TQ).await {
        Taken::Refused { why } => assert!(why.is_denied(), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(operator.acting(&site("paris"), TQ).await.unwrap(), None);
    match operator.take_acting(&site("paris"), "uid-2", b"me", None, TQ).await {
        Taken::NotOurs { owner } => assert_eq!(owner.as_deref(), Some("uid")),
        other => panic!("{other:?}"),
    }
}

/// A way to a member of the arbiter on which the first answer of each connection is late, as from a loaded machine that
/// takes long for a handshake.
async fn slow_to_connect(member: String, late: Duration) -> String {
    let member = member.strip_prefix("https://").unwrap().to_owned();
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", door.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = door.accept().await {
            let member = member.clone();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(member).await.unwrap();
                let (mut asked, mut asks) = client.split();
                let (mut answers, mut answered) = server.split();
                let there = tokio::io::copy(&mut asked, &mut answered);
                let back = async {
                    let mut first = [0];
                    answers.read_exact(&mut first).await?;
                    tokio::time::sleep(late).await;
                    asks.write_all(&first).await?;
                    tokio::io::copy(&mut answers, &mut asks).await
                };
                // Ends when either side has gone.
                tokio::select! {
                    _ = there => {}
                    _ = back => {}
                }
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn a_replica_begins_to_act_although_making_a_connection_takes_longer_than_a_call_may() {
    let cluster = Cluster::start().await;
    let mut endpoints = Vec::new();
    for member in 0..3 {
        endpoints.push(slow_to_connect(cluster.endpoint(member), TIMING.tq() * 2).await);
    }
    let replica = Standby::new(cluster.arbiter_at("operator", endpoints).await, "a");
    let begun = Instant::now();
    tokio::time::timeout(Duration::from_secs(30), replica.win()).await.unwrap();
    println!("it acts after {:?}", begun.elapsed());
    assert_eq!(replica.port().renew(TQ).await, Renewed::Applied);
}
