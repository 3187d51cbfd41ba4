//! The guard's journal: what it did is beside the data, and neither a full nor a hanging disk holds up what it does.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::fence::{all_gone, limit, opened};
use crate::rejoin::split;
use crate::roles::{follows, pair, serves};
use crate::world::{Node, PATIENCE, World, open_dir};

/// The journal's lines without their moment, once one says `awaited`: a checkpoint has an end of its own and may come after it.
async fn journal(node: &Node, awaited: &str) -> Vec<String> {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(node.root.join("bascule/journal.log")).unwrap_or_default();
        let lines: Vec<String> = text.lines().filter_map(|l| Some(l.split_once(' ')?.1.to_owned())).collect();
        if lines.iter().any(|line| line.contains(awaited)) {
            return lines;
        }
        assert!(began.elapsed() < PATIENCE, "never {awaited:?}:\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Where each of these is said, in this order.
fn in_order(lines: &[String], wanted: &[&str]) {
    let mut rest = lines.iter();
    for want in wanted {
        assert!(rest.any(|line| line.starts_with(want)), "{want:?} is missing or out of order: {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_leaves_an_intent_and_an_outcome_of_every_step_in_order() {
    let world = World::new().await;
    let (a, b) = pair(&world).await;
    a.lock(3);
    a.until("locked", |r| r.locked == Some(3)).await;
    b.serve(4, 2);
    b.until("promoted and open", serves).await;
    let old = "paris web/shop epoch=1 serial=3";
    in_order(
        &journal(&a, "stop fast: done").await,
        &[
            "paris web/shop epoch=1 serial=2 intent: main: start as a primary, closed",
            "paris web/shop epoch=1 serial=2 outcome: main: start as a primary, closed: done (after ",
            &format!("{old} intent: main: stop fast"),
            &format!("{old} outcome: main: stop fast: done: it exited with status 0 (after "),
        ],
    );
    let lines = journal(&b, "open for clients in epoch 2: done").await;
    let new = "paris web/shop epoch=2 serial=4";
    in_order(
        &lines,
        &[
            "paris web/shop epoch=1 serial=2 intent: main: clone from 127.0.0.1:",
            "paris web/shop epoch=1 serial=2 outcome: main: clone from 127.0.0.1:",
            "paris web/shop epoch=1 serial=2 intent: main: follow 127.0.0.1:",
            "paris web/shop epoch=1 serial=2 outcome: main: follow 127.0.0.1:",
            &format!("{new} intent: main: close and promote"),
            &format!("{new} outcome: main: close and promote: done (after "),
            &format!("{new} intent: main: open for clients in epoch 2"),
            &format!("{new} outcome: main: open for clients in epoch 2: done (after "),
        ],
    );
    let log = b.log();
    let structured = log.lines().find(|l| l.contains("bascule::journal") && l.contains("close and promote"));
    let structured = structured.expect("in the log too");
    for field in ["policy=web/shop", "database=main", "epoch=2", "serial=4", "kind=\"intent\""] {
        assert!(structured.contains(field), "{structured}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_and_what_it_saves_are_told() {
    let world = World::new().await;
    let (mut a, b) = split(&world).await;
    b.serve(5, 2);
    b.until("promoted and open", serves).await;
    a.start();
    a.follow(5, &b);
    a.until("a streaming standby", follows).await;
    let told = "paris web/shop epoch=1 serial=5";
    in_order(
        &journal(&a, "open for clients who read: done").await,
        &[
            &format!("{told} intent: main: follow 127.0.0.1:"),
            &format!("{told} intent: main: save the log that the new history does not have"),
            &format!("{told} outcome: main: save the log that the new history does not have: done: "),
            &format!("{told} intent: main: rewind"),
            &format!("{told} outcome: main: rewind: done"),
            &format!("{told} outcome: main: follow 127.0.0.1:"),
            &format!("{told} intent: main: follow 127.0.0.1:"),
            &format!("{told} outcome: main: follow 127.0.0.1:"),
            &format!("{told} intent: main: open for clients who read"),
        ],
    );
}

/// A primary whose journal lies on what `make` puts in its place is killed at its deadline all the same, and serves
/// again; its log.
async fn killed_in_time(make: impl FnOnce(&Path)) -> String {
    let world = World::new().await;
    let a = world.node("a", true);
    let dir = a.root.join("bascule");
    std::fs::create_dir(&dir).unwrap();
    open_dir(&dir);
    make(&dir.join("journal.log"));
    let a = opened(a).await;
    a.order(|o| o.deaf = true);
    let silent = Instant::now();
    let gone = all_gone(&a).await;
    assert!(gone.duration_since(silent) < limit(), "{:?}", gone.duration_since(silent));
    a.order(|o| o.deaf = false);
    a.until("an open primary again", serves).await;
    let log = a.log();
    assert!(log.contains("kill every process of the server: done within"), "{log}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_journal_holds_up_no_kill() {
    let log = killed_in_time(|at| std::os::unix::fs::symlink("/dev/full", at).unwrap()).await;
    assert!(log.contains("the journal cannot be written"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_under_the_journal_holds_up_no_kill() {
    killed_in_time(|at| {
        // Opening it for writing waits for a reader, who never comes.
        mkfifo(at, Mode::S_IRWXU).unwrap();
        std::fs::set_permissions(at, Permissions::from_mode(0o666)).unwrap();
    })
    .await;
}
