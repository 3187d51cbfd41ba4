//! Fences: the deadline, the lock and the death of the server, against sessions that do not cooperate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bascule_core::guard::wire::{Role, ServerState};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::roles::{pair, serves};
use crate::world::{Node, PATIENCE, TIMING, World};

/// What a kill may be late on a busy machine of two cores, beside `F`.
const SLACK: Duration = Duration::from_millis(700);

/// Superusers that commit as fast as they can and reconnect at once; the last acknowledged write.
struct Hammer {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Option<Instant>>>,
}

impl Hammer {
    fn start(node: &Node, sessions: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..sessions)
            .map(|_| {
                let (stop, port) = (stop.clone(), node.port);
                tokio::spawn(async move {
                    let mut last = None;
                    while !stop.load(Ordering::Relaxed) {
                        let mut config = tokio_postgres::Config::new();
                        config.host("127.0.0.1").port(port).user("postgres").dbname("postgres");
                        let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await else {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                            continue;
                        };
                        let connection = tokio::spawn(async move { drop(connection.await) });
                        while client.execute("INSERT INTO t(n) VALUES (1)", &[]).await.is_ok() {
                            last = Some(Instant::now());
                        }
                        connection.abort();
                    }
                    last
                })
            })
            .collect();
        Self { stop, tasks }
    }

    async fn last_acknowledged(self) -> Instant {
        self.stop.store(true, Ordering::Relaxed);
        let mut last = None;
        for task in self.tasks {
            last = last.max(task.await.unwrap());
        }
        last.expect("something was written")
    }
}

async fn open_primary(world: &World) -> Node {
    opened(world.node("a", true)).await
}

pub(crate) async fn opened(mut a: Node) -> Node {
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    a.sql("CREATE TABLE t(id bigserial PRIMARY KEY, n int)").await;
    a
}

pub(crate) async fn all_gone(node: &Node) -> Instant {
    let began = Instant::now();
    while !node.processes().is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?} still run", node.processes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Instant::now()
}

/// How long after its operator fell silent a server may run at most: the last answer was for a question asked before the
/// silence, so the deadline is at most `R` away.
pub(crate) fn limit() -> Duration {
    TIMING.r.duration() + TIMING.f.duration() + SLACK
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_stops_the_server_and_every_backend_though_superusers_are_busy_committing() {
    let world = World::new().await;
    let a = open_primary(&world).await;
    let hammer = Hammer::start(&a, 4);
    tokio::time::sleep(Duration::from_millis(500)).await;
    a.order(|o| o.deaf = true);
    let silent = Instant::now();
    let gone = all_gone(&a).await;
    let last = hammer.last_acknowledged().await;
    assert!(gone.duration_since(silent) < limit(), "{:?}", gone.duration_since(silent));
    assert!(last.duration_since(silent) < limit(), "{:?}", last.duration_since(silent));
    // It stays down without an operator, and serves again with a new grant.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(a.processes(), Vec::<i32>::new());
    a.order(|o| o.deaf = false);
    a.until("an open primary again", serves).await;
}

/// The threads of the guard's runtime: all but the one that watches the deadline.
fn runtime_threads(guard: Pid) -> Vec<Pid> {
    std::fs::read_dir(format!("/proc/{guard}/task"))
        .unwrap()
        .flatten()
        .filter(|t| std::fs::read_to_string(t.path().join("comm")).unwrap_or_default().trim() != "deadline")
        .map(|t| Pid::from_raw(t.file_name().to_str().unwrap().parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_is_kept_though_the_guards_runtime_is_blocked() {
    let world = World::new().await;
    let a = open_primary(&world).await;
    let hammer = Hammer::start(&a, 2);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let guard = a.pid();
    let threads = runtime_threads(guard);
    assert!(threads.len() >= 2, "{threads:?}");
    // A tracer belongs to one thread, so all of it happens on one. An attached thread stands still by itself, as if
    // it were blocked in a system call that never returns; the others go on.
    let (blocked, when) = std::sync::mpsc::channel();
    let (go_on, waiting) = std::sync::mpsc::channel::<()>();
    let tracer = std::thread::spawn(move || {
        for thread in &threads {
            ptrace::attach(*thread).unwrap();
            waitpid(*thread, Some(WaitPidFlag::__WALL)).unwrap();
        }
        blocked.send(Instant::now()).unwrap();
        let _ = waiting.recv();
        for thread in &threads {
            let _ = ptrace::detach(*thread, None);
        }
    });
    let blocked_at = when.recv().unwrap();
    let gone = all_gone(&a).await;
    let last = hammer.last_acknowledged().await;
    drop(go_on);
    tracer.join().unwrap();
    let limit = TIMING.r.duration() + TIMING.f.duration() + SLACK;
    assert!(gone.duration_since(blocked_at) < limit, "{:?}", gone.duration_since(blocked_at));
    assert!(last.duration_since(blocked_at) < limit, "{:?}", last.duration_since(blocked_at));
    // The runtime wakes up late, and goes on.
    a.until("an open primary again", serves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_guard_refuses_grants_of_its_own_or_a_lower_serial() {
    let world = World::new().await;
    let a = open_primary(&world).await;
    a.lock(5);
    a.until("locked", |r| r.locked == Some(5)).await;
    for stale in [4, 5] {
        a.serve(stale, 1);
        tokio::time::sleep(Duration::from_millis(800)).await;
        let report = a.last_report().unwrap();
        assert_eq!((report.state, report.locked), (ServerState::Down, Some(5)));
        assert_eq!(a.processes(), Vec::<i32>::new());
    }
    a.serve(6, 1);
    a.until("an open primary", serves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postmaster_leaves_no_backend_that_goes_on_committing_and_the_guard_locks() {
    let world = World::new().await;
    let a = open_primary(&world).await;
    let hammer = Hammer::start(&a, 4);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let postmaster = a.processes().into_iter().find(|pid| parent_is(*pid, a.pid())).unwrap();
    kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    let killed = Instant::now();
    let report = a.until("locked", |r| r.locked.is_some()).await;
    assert!(report.exited.is_some_and(|why| why.contains("SIGKILL")));
    assert_eq!(report.stopped.map(|s| s.clean), Some(false));
    assert_eq!(a.processes(), Vec::<i32>::new());
    let last = hammer.last_acknowledged().await;
    assert!(last.duration_since(killed) < SLACK, "{:?}", last.duration_since(killed));
    // The same serial does not bring it back; a later decision does.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(a.processes(), Vec::<i32>::new());
    a.serve(3, 1);
    a.until("an open primary", serves).await;
}

fn parent_is(pid: i32, parent: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ppid = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split_whitespace().nth(1).map(str::to_owned));
    ppid == Some(parent.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_a_superuser_promotes_is_killed_and_comes_back_as_a_standby() {
    let world = World::new().await;
    let (a, b) = pair(&world).await;
    let hammer = Hammer::start(&b, 1);
    b.sql("SELECT pg_promote(false)").await;
    b.until("killed", |r| {
        matches!(r.state, ServerState::Stopping | ServerState::Down | ServerState::Rewinding)
    })
    .await;
    b.until("a standby again", crate::roles::follows).await;
    hammer.stop.store(true, Ordering::Relaxed);
    let rows = a.sql("SELECT count(*) FROM t").await;
    assert_eq!(rows, ["0"], "the real primary is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_whose_grant_ends_is_given_up_and_nothing_was_opened() {
    let world = World::new().await;
    let (a, b) = pair(&world).await;
    a.lock(3);
    a.until("locked", |r| r.locked == Some(3)).await;
    // A grant to promote but none to open: the operator falls silent as soon as the promotion has begun.
    b.order(|o| {
        o.role = Role::Serve { open: true, slots: vec![] };
        (o.serial, o.epoch, o.grant) = (4, 2, Some(400));
    });
    b.until("promoting", |r| {
        matches!(r.state, ServerState::Promoting | ServerState::Primary { open: false })
    })
    .await;
    b.order(|o| o.deaf = true);
    all_gone(&b).await;
    b.order(|o| {
        o.deaf = false;
        o.role = Role::Lock;
        (o.serial, o.grant) = (5, None);
    });
    let report = b.until("locked", |r| r.locked == Some(5)).await;
    assert_eq!(report.opened_epoch, None, "never opened in this hold");
    assert!(!b.root.join("data/promote").exists());
    // The old site takes the role back and the failed one follows it, rewound if it had left recovery.
    a.serve(6, 3);
    a.until("the old primary", serves).await;
    b.follow(6, &a);
    b.until("a standby again", crate::roles::follows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_a_connection_that_was_let_in_and_has_not_said_who_it_is() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    let a = open_primary(&world).await;
    // A client that has connected, under the open rules, and takes its time.
    let mut dawdler = tokio::net::TcpStream::connect(("127.0.0.1", a.port)).await.unwrap();
    let session = a.client().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    a.order(|o| {
        o.role = Role::Serve { open: false, slots: vec![] };
        o.serial = 3;
    });
    a.until("closed", |r| r.state == ServerState::Primary { open: false }).await;
    assert!(session.simple_query("SELECT 1").await.is_err(), "sessions are ended");
    let mut startup = Vec::new();
    startup.extend(196_608u32.to_be_bytes());
    startup.extend(b"user\0postgres\0database\0postgres\0\0");
    let length = u32::try_from(startup.len() + 4).unwrap();
    // It may find the connection reset at once, or at the first read: it never gets in.
    let _ = dawdler.write_all(&[&length.to_be_bytes()[..], &startup].concat()).await;
    let mut answer = [0u8; 1];
    let read = tokio::time::timeout(PATIENCE, dawdler.read(&mut answer)).await.unwrap();
    assert!(!matches!(read, Ok(1) if answer[0] == b'R'), "it was let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_does_not_wait_for_a_stranger_whom_the_guard_may_not_signal_and_says_who_it_is() {
    let world = World::new().await;
    let a = open_primary(&world).await;
    // What a debug container of another user is.
    let guard = a.pid().to_string();
    let mut stranger =
        std::process::Command::new("nsenter").args(["-t", &guard, "-p", "sleep", "600"]).spawn().unwrap();
    let is_sleep =
        |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "sleep");
    a.order(|o| o.deaf = true);
    let silent = Instant::now();
    loop {
        let (strangers, servers): (Vec<i32>, Vec<i32>) = a.processes().iter().partition(|pid| is_sleep(pid));
        if servers.is_empty() {
            assert_eq!(strangers.len(), 1);
            break;
        }
        assert!(silent.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    a.order(|o| o.deaf = false);
    let again = a.until("an open primary again", serves).await;
    assert!(again.notes.iter().any(|note| note.contains("(sleep)")), "{:?}", again.notes);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_cannot_be_read_up_counts_as_one_and_where_a_dead_primary_stood_stays_known() {
    let world = World::new().await;
    let a = open_primary(&world).await;
    let alive = a.until("a position", |r| r.positions.as_ref().is_some_and(|p| p.flush.is_some())).await;
    std::fs::write(a.root.join("bascule/opened.json"), "{").unwrap();
    let postmaster = a.processes().into_iter().find(|pid| parent_is(*pid, a.pid())).unwrap();
    kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    let report = a.until("locked", |r| r.locked.is_some()).await;
    assert_eq!(report.opened_epoch, Some(1));
    assert!(report.notes.iter().any(|note| note.contains("opened.json")), "{:?}", report.notes);
    let last = report.positions.expect("its last position");
    assert!(last.flush >= alive.positions.unwrap().flush && last.timeline.is_some(), "{last:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later = a.last_report().unwrap().positions.expect("still known");
    assert!(later.flush == last.flush && later.age > last.age, "{later:?}");
    a.serve(3, 2);
    let open = a.until("an open primary", serves).await;
    assert_eq!(open.opened_epoch, Some(2), "the marker is written anew");
}
