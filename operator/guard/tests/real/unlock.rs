//! Break-glass: a person runs a server whose operator and arbiter are gone, and gives it back.

use std::time::Duration;

use bascule_core::guard::wire::{ClusterState, Disk, Report, ServerState};
use nix::sys::signal::Signal;

use crate::fence::all_gone;
use crate::roles::{follows, pair, serves};
use crate::world::{Node, PATIENCE, TIMING, World};

const KNOWS: [&str; 4] = ["--i-know-no-other-site-writes", "--reason", "both arbiters burnt", "--wait=60"];

/// Unlocks it as a person does who has read everything. In these tests the operator spoke a moment ago.
fn unlock(node: &Node, more: &[&str]) {
    let words = [&["unlock", "--although", "operator"], &KNOWS[..], more].concat();
    let (done, said) = node.beside(&words);
    assert!(done, "{said}\n{}", node.log());
}

fn give_back(node: &Node) {
    let (done, said) = node.beside(&["lock", "--wait=60"]);
    assert!(done, "{said}\n{}", node.log());
}

/// Lets clients in and takes this write, which nobody reports: the operator is gone.
async fn writes(node: &Node, sql: &str) {
    let began = std::time::Instant::now();
    loop {
        if let Ok(client) = node.client().await
            && client.batch_execute(sql).await.is_ok()
        {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "never writable:\n{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn down_cleanly(report: &Report) -> bool {
    report.state == ServerState::Down
        && matches!(&report.disk, Disk::Cluster(c) if c.state == ClusterState::ShutDown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_operator_is_gone_writes_by_a_persons_word_until_it_is_given_back() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    a.sql("CREATE TABLE t(n int)").await;
    a.order(|o| o.deaf = true);
    all_gone(&a).await;

    // Everything is said first, and nothing is done before the person has said his part.
    let (done, said) = a.beside(&["unlock", "--reason", "burnt"]);
    assert!(!done && said.contains("an operator spoke") && said.contains("--although operator"), "{said}");
    let (done, said) = a.beside(&["unlock", "--reason", "burnt", "--although", "operator"]);
    assert!(!done && said.contains("--i-know-no-other-site-writes"), "{said}");
    for known in ["a primary", "epoch 1, serial 2", "role serve", "Whether another site is active"] {
        assert!(said.contains(known), "{known} is not in {said}");
    }
    assert!(!a.root.join("bascule/unlocked.json").exists());
    let (done, said) = a.beside(&["lock"]);
    assert!(!done && said.contains("nothing to give back"), "{said}");

    unlock(&a, &[]);
    writes(&a, "INSERT INTO t VALUES (1)").await;
    // No grant will ever come, and its old deadline is far gone.
    tokio::time::sleep(3 * TIMING.r.duration()).await;
    writes(&a, "INSERT INTO t VALUES (2)").await;
    let (done, said) = a.beside(&[&["unlock"], &KNOWS[..]].concat());
    assert!(!done && said.contains("already"), "{said}");

    a.signal(Signal::SIGKILL);
    a.ended().await;
    a.start();
    writes(&a, "INSERT INTO t VALUES (3)").await;

    // The operator comes back with an order that it gave to nobody's knowledge: it is told, and not obeyed.
    a.order(|o| o.deaf = false);
    a.lock(9);
    let told = a.until("its operator hears of it", |r| r.unlocked.is_some()).await;
    assert_eq!(told.unlocked.unwrap().reason, "both arbiters burnt");
    assert!(told.unlimited && told.locked.is_none(), "nobody may take it for stopped");
    writes(&a, "INSERT INTO t VALUES (4)").await;
    a.until("open all the while", serves).await;

    give_back(&a);
    let locked = a.until("locked as it was told", |r| r.locked == Some(9)).await;
    assert!(down_cleanly(&locked), "{locked:?}");
    assert!(!locked.unlimited && locked.unlocked.is_some_and(|u| u.until.is_some()), "and never forgotten");
    a.serve(10, 1);
    a.until("an open primary", serves).await;
    assert_eq!(a.sql("SELECT count(*) FROM t").await, ["4"]);
    let journal = std::fs::read_to_string(a.root.join("bascule/journal.log")).unwrap();
    assert!(journal.contains("unlocked by a person since"), "{journal}");
    assert!(journal.contains("unlocked by a person from"), "{journal}");
    assert!(a.log().contains("UNLOCKED by a person"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_given_back_while_nobody_is_there_is_stopped_cleanly_and_stays_down() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.order(|o| o.deaf = true);
    a.start();
    unlock_unheard(&a);
    writes(&a, "CREATE TABLE t(n int)").await;
    give_back(&a);
    all_gone(&a).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(a.processes(), Vec::<i32>::new());
    a.order(|o| o.deaf = false);
    let report = a.until("a report", |r| r.state == ServerState::Down).await;
    assert!(down_cleanly(&report), "{report:?}");
}

/// Of a guard that no operator has ever spoken to, nothing has to be named.
fn unlock_unheard(node: &Node) {
    let began = std::time::Instant::now();
    while !node.root.join("bascule/memory.json").exists() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (done, said) = node.beside(&[&["unlock"], &KNOWS[..]].concat());
    assert!(done, "{said}\n{}", node.log());
    assert!(said.contains("nothing is written down of any"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_serves_reads_and_is_promoted_when_it_is_said_and_what_it_wrote_is_saved_when_it_follows_again()
 {
    let world = World::new().await;
    let (mut a, mut b) = pair(&world).await;
    a.sql("INSERT INTO t(n) SELECT 0 FROM generate_series(1, 10)").await;
    a.sql("CREATE TABLE kept(n int)").await;
    b.until("everything", |r| {
        r.positions.as_ref().is_some_and(|p| p.receive.is_some() && p.receive == p.replay)
    })
    .await;
    a.lock(3);
    a.until("stopped", |r| r.locked == Some(3)).await;
    b.order(|o| o.deaf = true);
    b.signal(Signal::SIGTERM);
    b.ended().await;
    b.start();
    unlock(&b, &[]);
    let began = std::time::Instant::now();
    while b.client().await.is_err() {
        assert!(began.elapsed() < PATIENCE, "{}", b.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(b.sql("SELECT count(*) FROM t").await, ["10"]);
    assert!(b.client().await.unwrap().batch_execute("INSERT INTO t(n) VALUES (1)").await.is_err());

    unlock(&b, &["--promote"]);
    writes(&b, "INSERT INTO kept SELECT generate_series(1, 5)").await;
    b.order(|o| o.deaf = false);
    b.follow(9, &a);
    b.until("its operator hears of it", |r| r.unlocked.is_some() && serves(r)).await;

    // Paris takes its role again: what was written here by hand is saved, counted and no part of the data any more.
    a.serve(10, 1);
    a.until("the primary is back", serves).await;
    give_back(&b);
    let back = b.until("rewound and following", follows).await;
    assert!(back.diverged.is_some_and(|d| d.transactions >= 1), "what was written is saved and counted");
    assert_eq!(b.sql("SELECT count(*) FROM kept").await, ["0"]);
    a.signal(Signal::SIGTERM);
    a.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_half_rewound_and_a_role_that_may_be_elsewhere_are_refused() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.lock(7);
    a.until("locked", |r| r.locked == Some(7)).await;
    let (done, said) = a.beside(&[&["unlock", "--although", "operator"], &KNOWS[..]].concat());
    assert!(!done && said.contains("--although locked") && said.contains("another site"), "{said}");
    std::fs::write(a.root.join("bascule/rewinding.json"), "null").unwrap();
    let all = ["unlock", "--although", "operator", "--although", "locked", "--although", "strayed"];
    let (done, said) = a.beside(&[&all, &KNOWS[..]].concat());
    assert!(!done && said.contains("half of one database"), "{said}");
    assert!(!a.root.join("bascule/unlocked.json").exists());
    assert_eq!(a.processes(), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_by_hand_stays_when_its_site_takes_the_role_before_the_other_is_back() {
    let world = World::new().await;
    let (mut a, b) = pair(&world).await;
    b.sql("SELECT 1").await;
    a.signal(Signal::SIGTERM);
    a.ended().await;
    b.order(|o| o.deaf = true);
    unlock(&b, &["--promote"]);
    writes(&b, "CREATE TABLE by_hand AS SELECT generate_series(1, 5)").await;
    give_back(&b);
    all_gone(&b).await;

    // Its operator is back: the record still says that paris is active, and paris does not answer.
    b.order(|o| o.deaf = false);
    b.follow(9, &a);
    b.until("a standby of nobody", |r| r.state == ServerState::Standby { open: true }).await;
    b.serve(10, 2);
    b.until("it has the role by a Move", serves).await;
    assert_eq!(b.sql("SELECT count(*) FROM by_hand").await, ["5"]);

    a.follow(10, &b);
    a.start();
    a.until("paris follows", follows).await;
    // What it streams it has not replayed yet.
    let written = b.sql("SELECT pg_current_wal_flush_lsn()").await[0].parse().unwrap();
    a.until("everything replayed", |r| r.positions.as_ref().is_some_and(|p| p.replay >= Some(written))).await;
    assert_eq!(a.sql("SELECT count(*) FROM by_hand").await, ["5"]);
}
