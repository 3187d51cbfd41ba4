//! Coming back under another server: what must not be started, and what heals by itself.

use bascule_core::guard::wire::{Disk, Report, ServerState};
use nix::sys::signal::Signal;

use crate::roles::{follows, pair, pair_with, serves};
use crate::world::{BIN, Node, World};

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
pub(crate) async fn split(world: &World) -> (Node, Node) {
    split_with(world, &[]).await
}

async fn split_with(world: &World, options: &[&str]) -> (Node, Node) {
    let (mut a, b) = pair_with(world, options).await;
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

/// A server makes segments ahead, full of zeros. A tool that takes the first segment that it finds for a sample of them
/// all finds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn segments_that_were_made_ahead_hide_nothing_of_what_diverged() {
    let world = World::new().await;
    let (mut a, b) = split(&world).await;
    let wal = a.root.join("data/pg_wal");
    let sample = || {
        let mut first = std::fs::read_dir(&wal).unwrap().flatten();
        let first = first.find(|f| f.file_name().len() == 24).unwrap();
        std::fs::read(first.path()).unwrap()[..8] == [0; 8]
    };
    for number in 0x40..0x140 {
        if sample() {
            break;
        }
        std::fs::File::create(wal.join(format!("0000000100000000{number:08X}")))
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
    }
    assert!(sample(), "no made-up segment comes first in this file system's order");
    std::process::Command::new("chown").args(["-R", "--reference"]).arg(&wal).arg(&wal).status().unwrap();
    promote_and_write(&b).await;
    a.follow(7, &b);
    a.start();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_stopped_cleanly_runs_without_its_upstream_and_knows_that_it_has_all_until_its_stop() {
    let world = World::new().await;
    let (a, mut b) = pair(&world).await;
    a.sql("INSERT INTO t(n) VALUES (1)").await;
    a.lock(3);
    let stopped = a.until("locked", |r| r.locked == Some(3)).await.stopped.unwrap();
    let replayed = |r: &Report| r.positions.as_ref().is_some_and(|p| p.replay > Some(stopped.checkpoint));
    b.until("everything replayed", replayed).await;
    b.signal(Signal::SIGKILL);
    b.ended().await;
    a.follow(5, &b);
    let told = a.until("a standby", |r| r.state == ServerState::Standby { open: true }).await;
    let known = told.contact_lost.unwrap();
    assert_eq!(known.reported_end, Some(stopped.checkpoint));
    assert_eq!(known.received, Some(stopped.checkpoint));
    assert!(known.since.is_some() && known.report_age.is_some_and(|age| age.0 < 5_000), "{known:?}");
    a.serve(6, 3);
    a.until("the primary again", serves).await;
    a.sql("INSERT INTO t(n) VALUES (2)").await;
    b.follow(7, &a);
    b.start();
    b.until("following", |r| follows(r) && r.diverged.is_none()).await;
    assert_eq!(a.sql("SELECT count(*) FROM t").await, ["2"]);
}

/// `a` was killed as a primary with rows that nobody received; it follows `b`, which is gone, and has waited for it.
async fn recovered_alone(world: &World) -> (Node, Node) {
    let (mut a, b) = split(world).await;
    b.lock(5);
    b.until("gone", |r| r.locked == Some(5)).await;
    a.follow(6, &b);
    a.start();
    let told = a.until("refused", |r| refusal(r).is_some()).await;
    assert!(told.contact_lost.is_none(), "{told:?}");
    assert_eq!(a.processes(), Vec::<i32>::new(), "its upstream is waited for first");
    let told = a.until("a standby", |r| r.state == ServerState::Standby { open: true }).await;
    assert!(
        told.contact_lost.is_none() && told.stopped.as_ref().is_none_or(|s| !s.clean),
        "no evidence: {told:?}"
    );
    assert_eq!(a.sql("SELECT count(*) FROM t").await, ["57"]);
    (a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_whose_upstream_is_gone_stands_by_with_all_that_it_had_and_can_be_promoted() {
    let world = World::new().await;
    let (a, mut b) = recovered_alone(&world).await;
    a.serve(7, 3);
    a.until("the primary again", serves).await;
    assert_eq!(a.sql("SELECT count(*) FROM t").await, ["57"]);
    a.sql("INSERT INTO t(n) VALUES (4712)").await;
    // What was a standby of the old history all the time has nothing of its own.
    b.signal(Signal::SIGKILL);
    b.ended().await;
    b.follow(8, &a);
    b.start();
    b.until("following", |r| follows(r) && r.diverged.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_that_stood_by_alone_is_rewound_as_ever_when_another_one_was_promoted() {
    let world = World::new().await;
    let (a, b) = recovered_alone(&world).await;
    b.serve(7, 2);
    b.until("the new primary", serves).await;
    b.sql("INSERT INTO t(n) VALUES (4711)").await;
    healed(&a, &b).await;
    assert_eq!(a.sql("SELECT count(*) FROM t WHERE n < 57").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_was_promoted_by_hand_while_its_primary_is_dead_can_be_promoted_in_order() {
    let world = World::new().await;
    let (a, b) = pair(&world).await;
    a.sql("INSERT INTO t(n) VALUES (1)").await;
    let at = a.sql("SELECT pg_current_wal_lsn()").await.remove(0);
    b.until("everything replayed", |r| {
        r.positions.as_ref().and_then(|p| p.replay).is_some_and(|lsn| lsn >= at.parse().unwrap())
    })
    .await;
    a.signal(Signal::SIGKILL);
    b.until("alone", |r| r.contact_lost.is_some()).await;
    // Its guard kills it as soon as it sees that, so the answer may not come.
    b.client().await.unwrap().batch_execute("SELECT pg_promote(false)").await.ok();
    b.until("killed", |r| refusal(r).is_some() && matches!(&r.disk, Disk::Cluster(c) if !c.standby_signal))
        .await;
    let told = b.until("a standby again", |r| r.state == ServerState::Standby { open: true }).await;
    assert!(told.contact_lost.is_some(), "what it knew when its primary died still holds: {told:?}");
    b.serve(7, 2);
    b.until("promoted", serves).await;
    assert_eq!(b.sql("SELECT count(*) FROM t").await, ["1"]);
    b.sql("INSERT INTO t(n) VALUES (2)").await;
}

fn history(node: &Node, comments: bool) -> Vec<String> {
    let text = std::fs::read_to_string(node.root.join("data/pg_wal/00000002.history")).unwrap();
    let wanted = |line: &&str| line.starts_with('#') == comments && !line.trim().is_empty();
    text.lines().filter(wanted).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_promotions_to_the_same_timeline_at_the_same_position_are_told_apart_and_nothing_is_overwritten()
{
    let world = World::new().await;
    let (a, mut b) = pair(&world).await;
    a.lock(3);
    let stopped = a.until("locked", |r| r.locked == Some(3)).await.stopped.unwrap();
    let replayed = |r: &Report| r.positions.as_ref().is_some_and(|p| p.replay > Some(stopped.checkpoint));
    b.until("everything replayed", replayed).await;
    b.serve(5, 2);
    b.until("the new primary", serves).await;
    for n in 0..57 {
        b.sql(&format!("INSERT INTO t(n) VALUES ({n})")).await;
    }
    b.signal(Signal::SIGKILL);
    b.ended().await;
    // The old site has nothing of that, and is promoted too, by a guard that does not know where it was stopped.
    std::fs::remove_file(a.root.join("bascule/stopped.json")).unwrap();
    std::fs::write(a.root.join("data/standby.signal"), "").unwrap();
    let seen = |r: &Report| matches!(&r.disk, Disk::Cluster(c) if c.standby_signal);
    a.until("a standby on the disk", seen).await;
    a.serve(6, 3);
    a.until("promoted as well", serves).await;
    a.sql("INSERT INTO t(n) VALUES (4711)").await;
    assert_eq!(history(&a, false), history(&b, false), "numbers and positions are equal");
    assert_ne!(history(&a, true), history(&b, true));
    b.follow(7, &a);
    b.start();
    let told = b.until("refused", |r| refusal(r).is_some() && r.diverged.is_some()).await;
    let ServerState::Failed { reason, commands } = told.state else { panic!() };
    assert!(reason.contains("same number"), "{reason}");
    assert!(told.diverged.is_some_and(|d| d.transactions >= 57 && std::path::Path::new(&d.path).is_dir()));
    assert!(commands[0].starts_with("mv "), "{commands:?}");
    std::fs::rename(b.root.join("data"), b.root.join("data.kept")).unwrap();
    b.until("cloned and following", follows).await;
    assert_eq!(b.sql("SELECT n FROM t").await, ["4711"]);
}

/// After a restart of the container a lock file may name a process that is somebody else now: here a thread of the guard.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_file_of_before_the_restart_that_names_a_stranger_stops_no_rewind() {
    let world = World::new().await;
    let (mut a, b) = split(&world).await;
    promote_and_write(&b).await;
    let lock = a.root.join("data/postmaster.pid");
    let text = std::fs::read_to_string(&lock).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&lock, format!("2\n{rest}")).unwrap();
    a.follow(7, &b);
    a.start();
    healed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_diverged_is_saved_once_however_often_the_rewind_has_to_wait() {
    let world = World::new().await;
    let (mut a, b) = split(&world).await;
    // Closed: it answers to replication only, so nothing can be rewound yet.
    b.order(|o| {
        o.role = bascule_core::guard::wire::Role::Serve { open: false, slots: vec!["bascule_other".into()] };
        (o.serial, o.epoch, o.grant) = (6, 2, Some(1250));
    });
    b.until("a closed primary", |r| r.state == ServerState::Primary { open: false }).await;
    a.follow(7, &b);
    a.start();
    a.until("refused", |r| refusal(r).is_some() && r.diverged.is_some()).await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let tries = a.log().matches("saved what the new history").count();
    assert!(tries > 2, "{tries}");
    assert_eq!(std::fs::read_dir(a.root.join("bascule/diverged")).unwrap().count(), 1);
    b.serve(8, 2);
    b.until("an open primary", serves).await;
    healed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_is_cut_off_is_tried_again_and_the_sites_own_files_and_log_survive_it() {
    let world = World::new().await;
    let bin = world.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for entry in std::fs::read_dir(BIN).unwrap().flatten() {
        std::os::unix::fs::symlink(entry.path(), bin.join(entry.file_name())).unwrap();
    }
    // The first one is cut off after it has put the upstream's file in the place of the site's, and removed what the upstream
    // does not have: the log that tells a second one what is to be rewound is among it.
    let rewind = bin.join("pg_rewind");
    std::fs::remove_file(&rewind).unwrap();
    let script = format!(
        "#!/bin/sh\nif mkdir \"$2/../cut\" 2>/dev/null; then\n  echo '# of the upstream' > \"$2/pg_ident.conf\"\n  \
         rm -f \"$2\"/pg_wal/0000*\n  \
         echo 'pg_rewind: error: could not fetch file: server closed the connection unexpectedly' >&2\n  exit 1\nfi\n\
         exec {BIN}/pg_rewind \"$@\"\n"
    );
    std::fs::write(&rewind, script).unwrap();
    std::fs::set_permissions(&rewind, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (mut a, b) = split_with(&world, &["--bin", bin.to_str().unwrap()]).await;
    std::fs::write(a.root.join("data/pg_ident.conf"), "# of site a\n").unwrap();
    promote_and_write(&b).await;
    a.follow(7, &b);
    a.start();
    a.until("cut off", |r| refusal(r).is_some_and(|why| why.contains("closed the connection"))).await;
    let ident = || std::fs::read_to_string(a.root.join("data/pg_ident.conf")).unwrap();
    assert_eq!(ident(), "# of the upstream\n");
    healed(&a, &b).await;
    assert_eq!(ident(), "# of site a\n");
}
