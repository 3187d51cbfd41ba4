//! Coming back under another server: what must not be started, and what heals by itself.

use bascule_core::guard::wire::{Report, ServerState};
use nix::sys::signal::Signal;

use crate::roles::{follows, pair, serves};
use crate::world::{Node, World};

fn refusal(report: &Report) -> Option<&str> {
    match &report.state {
        ServerState::Failed { reason, .. } => Some(reason),
        _ => None,
    }
}

fn name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// `a` was a primary with a tail that `b`, its standby, never received; `b` runs again without it.
async fn split(world: &World) -> (Node, Node) {
    let (mut a, b) = pair(world).await;
    b.lock(3);
    b.until("a stopped standby", |r| r.locked == Some(3)).await;
    let client = a.client().await.unwrap();
    for n in 0..57 {
        client.execute("INSERT INTO t(n) VALUES ($1)", &[&n]).await.unwrap();
    }
    a.signal(Signal::SIGKILL);
    a.ended().await;
    // Not even as a standby may it hear of the tail.
    b.follow(4, &world.node("nobody", false));
    b.until("a standby without its primary", |r| r.state == ServerState::Standby { open: true }).await;
    (a, b)
}

async fn promote_and_write(b: &Node) {
    b.serve(6, 2);
    b.until("the new primary", serves).await;
    b.sql("INSERT INTO t(n) VALUES (4711)").await;
}

async fn healed(a: &Node, b: &Node) {
    let back = a.until("rewound and following", |r| follows(r) && r.diverged.is_some()).await;
    assert!(back.diverged.is_some_and(|d| d.transactions >= 57), "what it had alone was counted");
    let rows = b.sql("SELECT count(*) FROM t").await;
    for _ in 0..500 {
        if a.sql("SELECT count(*) FROM t").await == rows {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it never had what the new primary has");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_does_not_follow_a_server_that_is_a_standby_still() {
    let world = World::new().await;
    let (mut a, b) = split(&world).await;
    a.follow(5, &b);
    a.start();
    let told = a.until("refused", |r| refusal(r).is_some()).await;
    assert!(refusal(&told).is_some_and(|why| why.contains("standby still")), "{told:?}");
    assert_eq!(a.processes(), Vec::<i32>::new());
    promote_and_write(&b).await;
    healed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_ahead_of_the_new_primarys_fork_is_found_and_rewound() {
    let world = World::new().await;
    let (mut a, b) = split(&world).await;
    std::fs::write(a.root.join("data/standby.signal"), "").unwrap();
    a.follow(5, &b);
    a.start();
    a.until("a standby that is ahead", |r| r.state == ServerState::Standby { open: true }).await;
    promote_and_write(&b).await;
    healed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_known_to_have_diverged_is_never_started_before_it_is_saved_and_rewound() {
    let world = World::new().await;
    let (mut a, b) = split(&world).await;
    promote_and_write(&b).await;
    std::fs::write(a.root.join("data/standby.signal"), "").unwrap();
    // Nothing can be saved into a file.
    let place = a.root.join("bascule/diverged");
    std::fs::write(&place, "").unwrap();
    a.follow(7, &b);
    a.start();
    a.until("refused", |r| refusal(r).is_some_and(|why| why.contains("cannot be saved"))).await;
    b.lock(8);
    b.until("the upstream is gone", |r| r.locked == Some(8)).await;
    for _ in 0..60 {
        let servers = a.processes().into_iter().filter(|pid| name(*pid) == "postgres");
        assert_eq!(servers.collect::<Vec<_>>(), Vec::<i32>::new());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    b.serve(9, 3);
    b.until("the new primary again", serves).await;
    std::fs::remove_file(&place).unwrap();
    healed(&a, &b).await;
}
