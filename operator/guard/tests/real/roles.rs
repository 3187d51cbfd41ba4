//! Roles: start, open, follow, promote, hand over, rewind, clone, end.

use std::time::Duration;

use bascule_core::guard::wire::{ClusterState, Disk, Report, ServerState};
use nix::sys::signal::Signal;

use crate::world::{BIN, Node, World};

pub(crate) fn serves(report: &Report) -> bool {
    report.state == ServerState::Primary { open: true }
}

pub(crate) fn follows(report: &Report) -> bool {
    let streams =
        report.positions.as_ref().and_then(|p| p.upstream.as_ref()).is_some_and(|u| u.status == "streaming");
    report.state == ServerState::Standby { open: true } && streams
}

/// A primary and a standby that follows it, cloned into an empty directory.
pub(crate) async fn pair(world: &World) -> (Node, Node) {
    pair_with(world, &[]).await
}

/// The same, with options for the primary's guard.
pub(crate) async fn pair_with(world: &World, options: &[&str]) -> (Node, Node) {
    let mut a = world.node_with("a", true, options);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    a.sql("CREATE TABLE t(id bigserial PRIMARY KEY, n int)").await;
    let mut b = world.node("b", false);
    b.start();
    b.follow(2, &a);
    b.until("a streaming standby", follows).await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_never_starts_a_server_without_a_role() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    let report = a.until("a first report", |_| true).await;
    assert_eq!(report.state, ServerState::Down);
    let Disk::Cluster(cluster) = report.disk else { panic!("{:?}", report.disk) };
    assert_eq!((cluster.state, cluster.standby_signal), (ClusterState::ShutDown, false));
    let mut deaf = world.node("deaf", true);
    deaf.order(|o| o.deaf = true);
    deaf.start();
    // Long enough for several rounds of questions and for every start that a mistake could cause.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for node in [&a, &deaf] {
        assert_eq!(node.processes(), Vec::<i32>::new());
        assert!(!node.root.join("data/postmaster.pid").exists());
    }
}

/// Whether the standby's slot comes to be there, within ten seconds.
async fn has_slot(node: &Node) -> bool {
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'bascule_other'";
    for _ in 0..200 {
        if node.sql(slots).await == ["1"] {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_somebody_drops_is_made_again_while_its_standby_is_away() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    assert!(has_slot(&a).await, "it is made at opening");
    a.sql("SELECT pg_drop_replication_slot('bascule_other')").await;
    assert!(has_slot(&a).await, "and again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_starts_closed_and_opens_by_command_after_its_marker_is_written() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.order(|o| {
        o.role = bascule_core::guard::wire::Role::Serve { open: false, slots: vec![] };
        (o.serial, o.epoch, o.grant) = (2, 7, Some(1250));
    });
    let closed = a.until("a closed primary", |r| r.state == ServerState::Primary { open: false }).await;
    assert_eq!(closed.opened_epoch, None);
    assert!(a.client().await.is_err(), "closed: clients are refused");
    a.serve(2, 7);
    let open = a.until("an open primary", serves).await;
    assert_eq!(open.opened_epoch, Some(7));
    a.sql("CREATE TABLE t(id int)").await;
    assert!(has_slot(&a).await, "the slots are made at opening");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_handed_over_without_loss_and_the_old_primary_follows_without_a_rewind() {
    let world = World::new().await;
    let (a, b) = pair(&world).await;
    let client = a.client().await.unwrap();
    let acknowledged = tokio::spawn(async move {
        let mut rows = 0u32;
        while client.execute("INSERT INTO t(n) VALUES (1)", &[]).await.is_ok() {
            rows += 1;
        }
        rows
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    a.order(|o| (o.checkpoint, o.serial) = (true, 3));
    a.until("a checkpoint", |r| r.checkpointed == Some(3)).await;
    a.order(|o| o.checkpoint = false);
    a.lock(4);
    let locked = a.until("locked", |r| r.locked == Some(4)).await;
    let stopped = locked.stopped.expect("a stop that was reported");
    assert!(stopped.clean, "{stopped:?}");
    assert_eq!(locked.state, ServerState::Down);
    assert_eq!(a.processes(), Vec::<i32>::new());
    // The proof: replayed past the start of the shutdown checkpoint, on the same timeline.
    b.until("everything replayed", |r| {
        r.positions.as_ref().is_some_and(|p| p.replay > Some(stopped.checkpoint))
    })
    .await;
    b.serve(5, 2);
    let promoted = b.until("the new primary", serves).await;
    assert_eq!(promoted.opened_epoch, Some(2));
    let rows = acknowledged.await.unwrap();
    assert!(rows > 10, "{rows}");
    let kept: u32 = b.sql("SELECT count(*) FROM t").await[0].parse().unwrap();
    assert!(kept >= rows, "{rows} acknowledged, {kept} kept");
    a.follow(6, &b);
    let back = a.until("the old primary follows", follows).await;
    assert_eq!(back.diverged, None, "no rewind was needed");
    assert!(!a.log().contains("saved what the new history"), "{}", a.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn diverged_wal_is_saved_and_counted_before_the_rewind_and_nothing_is_wiped() {
    let world = World::new().await;
    let (mut a, b) = pair(&world).await;
    a.sql("INSERT INTO t(n) SELECT 0 FROM generate_series(1, 10)").await;
    b.lock(3);
    b.until("a stopped standby", |r| r.locked == Some(3)).await;
    // Acknowledged at the old primary, never received by the standby.
    let client = a.client().await.unwrap();
    for n in 0..57 {
        client.execute("INSERT INTO t(n) VALUES ($1)", &[&n]).await.unwrap();
    }
    // A file that belongs to the site must outlive the rewind.
    std::fs::write(a.root.join("data/pg_ident.conf"), "# of site a\n").unwrap();
    a.signal(Signal::SIGKILL);
    a.ended().await;
    b.serve(4, 2);
    b.until("the new primary", serves).await;
    b.sql("INSERT INTO t(n) VALUES (4711)").await;
    a.follow(5, &b);
    a.start();
    let back = a.until("rewound and following", follows).await;
    let diverged = back.diverged.expect("a divergence that was reported");
    assert!(diverged.transactions >= 57, "{diverged:?}");
    assert!(diverged.bytes > 0 && diverged.end > diverged.fork, "{diverged:?}");
    let saved: Vec<_> = std::fs::read_dir(&diverged.path).unwrap().flatten().collect();
    assert!(!saved.is_empty());
    // The saved segments are readable and hold every lost commit.
    let dump = std::process::Command::new(format!("{BIN}/pg_waldump"))
        .args(["-p", &diverged.path, "-t", "1", "-r", "Transaction", "-s", &diverged.fork.to_string()])
        .output()
        .unwrap();
    let commits =
        String::from_utf8_lossy(&dump.stdout).lines().filter(|l| l.contains("desc: COMMIT")).count();
    assert!(commits >= 57, "{commits}");
    let marker = a.until("the new history replayed", |r| r.positions.is_some()).await;
    assert_eq!(marker.exited, None);
    let mut here = Vec::new();
    for _ in 0..500 {
        here = a.sql("SELECT n FROM t WHERE n = 4711").await;
        if !here.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(here, ["4711"]);
    assert_eq!(std::fs::read_to_string(a.root.join("data/pg_ident.conf")).unwrap(), "# of site a\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn contact_lost_is_written_down_with_what_the_primary_had_last_reported() {
    let world = World::new().await;
    let (mut a, mut b) = pair(&world).await;
    a.sql("INSERT INTO t(n) SELECT 0 FROM generate_series(1, 100)").await;
    b.until("a report from the primary", |r| {
        r.positions.as_ref().and_then(|p| p.upstream.as_ref()).is_some_and(|u| u.reported_end.is_some())
    })
    .await;
    a.signal(Signal::SIGKILL);
    a.ended().await;
    let lost = b.until("contact lost", |r| r.contact_lost.is_some()).await.contact_lost.unwrap();
    assert!(lost.reported_end.is_some() && lost.received.is_some(), "{lost:?}");
    assert!(lost.report_age.is_some_and(|age| age.0 < 60_000), "{lost:?}");
    let before = b.last_report().unwrap().boot;
    b.signal(Signal::SIGKILL);
    b.ended().await;
    b.start();
    let again = b.until("a report of the new process", |r| r.boot != before).await;
    let kept = again.contact_lost.expect("kept beside the data");
    assert_eq!((kept.reported_end, kept.received), (lost.reported_end, lost.received));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_guard_takes_its_server_with_it_and_the_next_one_waits_for_its_role() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.serve(2, 1);
    let first = a.until("an open primary", serves).await;
    let server = a.processes();
    assert!(!server.is_empty());
    a.order(|o| o.role = bascule_core::guard::wire::Role::Wait { why: "a test".into() });
    a.signal(Signal::SIGKILL);
    a.ended().await;
    for pid in server {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} outlived its guard");
    }
    a.start();
    let next = a.until("another process", |r| r.boot != first.boot).await;
    assert_eq!(next.state, ServerState::Down);
    assert_eq!(next.high_water.serial, 2, "the marks outlive the guard");
    assert_eq!(next.opened_epoch, Some(1));
    a.serve(2, 1);
    a.until("an open primary", |r| r.boot == next.boot && serves(r)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_asked_to_end_stops_cleanly_and_exits_with_zero() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    a.signal(Signal::SIGTERM);
    let status = a.ended().await;
    assert_eq!(status.code(), Some(0), "{}", a.log());
    let last = a.last_report().unwrap();
    assert!(last.sigterm && last.stopped.as_ref().is_some_and(|s| s.clean), "{last:?}");
    assert_eq!(last.locked, None);
    let Disk::Cluster(cluster) = last.disk else { panic!() };
    assert_eq!(cluster.state, ClusterState::ShutDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_another_database_is_refused_with_the_commands_and_stays_as_it_is() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    let mut stranger = world.node("stranger", false);
    let data = stranger.root.join("data");
    let made = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(format!("{BIN}/initdb"))
        .args(["-U", "postgres", "-A", "trust", "-N", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success());
    stranger.start();
    stranger.follow(2, &a);
    let failed = stranger.until("refused", |r| matches!(r.state, ServerState::Failed { .. })).await;
    let ServerState::Failed { reason, commands } = failed.state else { panic!() };
    assert!(reason.contains("never were copies"), "{reason}");
    assert!(commands[0].starts_with("mv "), "{commands:?}");
    assert!(data.join("PG_VERSION").exists());
    // A person does what the guard said; the guard goes on by itself.
    std::fs::rename(&data, stranger.root.join("data.kept")).unwrap();
    stranger.until("cloned and following", follows).await;
}
