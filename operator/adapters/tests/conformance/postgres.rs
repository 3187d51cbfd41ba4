//! PostgreSQL: what a server, its log and its control file are after stops, crashes, promotions and rewinds.

#[path = "../../src/postgres/server.rs"]
mod server;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

// What the included file takes from its parent.
use bascule_adapters::postgres::{PostgresTarget, ROLE_SQL, Tls};
use bascule_core::guard::action::{Action, Event};
use bascule_core::guard::grant::Deadline;
use bascule_core::guard::wire::{ClusterState, Upstream};
use bascule_core::position::Lsn;
use bascule_sim::fault::Fault;
use bascule_sim::sample;
use bascule_sim::side_by_side::{Step, Subject, compare};
use bascule_sim::world::database::Step as OfServer;
use bascule_sim::world::postgres::Run;
use bascule_sim::world::{Plan, World};
use rustix::process::Signal;

use self::Node::{A, B};
use self::server::Server;

/// How long anything that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long something that must not happen is watched for.
const STILL: Duration = Duration::from_secs(3);

/// How long a stream stands that is one.
const LASTS: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    /// It begins with a database.
    A,
    /// It begins with nothing.
    B,
}

impl Node {
    const fn other(self) -> Self {
        match self {
            A => B,
            B => A,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Do {
    StartPrimary(Node),
    /// As a standby of the other one.
    StartStandby(Node),
    /// From the other one.
    Clone(Node),
    /// By the trigger file.
    Promote(Node),
    Checkpoint(Node),
    /// So many rows, each committed; refused where nobody is let in or nothing can be written.
    Commit(Node, u32),
    /// Waits until so many rows are read, and says how many are.
    Rows(Node, u32),
    /// How many rows are read now.
    RowsNow(Node),
    /// Waits until it receives.
    Streams(Node),
    /// Whether it receives during a while, for longer than a moment.
    Ever(Node),
    /// Waits until it has received all that the other one, a primary, has written.
    Level(Node),
    /// Waits until it has replayed past the other one's last checkpoint.
    PastTheStop(Node),
    /// What the control file says, of a server that does not run.
    Disk(Node),
    Stop(Node),
    Rewind(Node),
    ResumeReplay(Node),
    Thaw(Node),
    // What goes wrong.
    /// Every process at once.
    Kill(Node),
    Freeze(Node),
    PauseReplay(Node),
}

impl Step for Do {
    fn fails(&self) -> bool {
        matches!(self, Self::Kill(_) | Self::Freeze(_) | Self::PauseReplay(_))
    }
}

/// What both say of a control file.
fn disk(state: ClusterState, timeline: u32, signal: bool) -> String {
    let signal = if signal { ", standby.signal" } else { "" };
    format!("{state:?}, checkpoint on timeline {timeline}{signal}")
}

fn role(standby: bool, timeline: u32) -> String {
    if standby { "a standby".to_owned() } else { format!("a primary on timeline {timeline}") }
}

// ---- the model

struct Model(World);

impl Model {
    fn new() -> Self {
        let mut world = World::new(&Plan { writes_every: None, ..Plan::of(vec![sample::policy()], 1) });
        for op in 0..world.operators.len() {
            world.drive_operator(op);
        }
        for db in 0..world.databases.len() {
            world.drive_guard(db);
            // Whoever drives has leave to do everything.
            world.order(db, Action::Watch(Deadline::Never));
        }
        Self(world)
    }

    fn upstream(node: Node) -> Upstream {
        Upstream {
            host: if node == A { "lyon" } else { "paris" }.into(),
            port: 5432,
            user: "postgres".into(),
            password: String::new(),
            slot: String::new(),
            application_name: String::new(),
            sslmode: "prefer".into(),
        }
    }

    /// Waits for the end of what was begun.
    fn ended(&mut self, node: Node) {
        let end = self.0.now + PATIENCE;
        loop {
            let over = |event: &Event| match event {
                Event::Server { state, .. } => !state.is_busy(),
                Event::Failed => true,
                _ => false,
            };
            if self.0.told(node as usize).iter().any(over) || !self.0.step(end) {
                return;
            }
        }
    }

    fn step(&mut self, node: Node, step: OfServer) {
        self.0.told(node as usize);
        self.0.take_step(node as usize, step);
        self.ended(node);
    }

    fn order(&mut self, node: Node, action: Action) {
        self.0.told(node as usize);
        self.0.order(node as usize, action);
        self.ended(node);
    }

    fn until(&mut self, is: impl Fn(&World) -> bool) -> bool {
        self.0.run_while(PATIENCE, |world| !is(world))
    }

    /// What it is now; everybody is let in.
    fn opened(&mut self, node: Node) -> Vec<String> {
        let line = match self.0.databases[node as usize].server.run {
            Run::Primary { .. } => {
                self.order(node, Action::Open { epoch: 1, slots: Vec::new() });
                let dir = self.0.databases[node as usize].server.dir.as_ref();
                role(false, dir.map_or(0, |d| d.wal.timeline))
            }
            Run::Standby { .. } => {
                self.order(node, Action::OpenStandby);
                role(true, 0)
            }
            _ => "it does not run".to_owned(),
        };
        vec![line]
    }

    fn rows(&self, node: Node) -> String {
        self.0.rows(node as usize).map_or("refused".to_owned(), |n| format!("{n} rows"))
    }
}

impl Subject<Do> for Model {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        match *step {
            Do::StartPrimary(node) => {
                self.step(node, OfServer::Primary);
                self.opened(node)
            }
            Do::StartStandby(node) => {
                self.step(node, OfServer::Standby(Self::upstream(node)));
                self.opened(node)
            }
            Do::Clone(node) => {
                self.step(node, OfServer::Clone(Self::upstream(node)));
                vec![]
            }
            Do::Promote(node) => {
                self.step(node, OfServer::Promote);
                self.opened(node)
            }
            Do::Checkpoint(node) => {
                self.0.checkpoint_now(node as usize);
                vec![]
            }
            Do::Commit(node, rows) => {
                let done = self.0.insert(node as usize, rows);
                vec![if done { "committed" } else { "refused" }.to_owned()]
            }
            Do::Rows(node, rows) => {
                self.until(|w| w.rows(node as usize) == Some(rows as usize));
                vec![self.rows(node)]
            }
            Do::RowsNow(node) => vec![self.rows(node)],
            Do::Streams(node) => {
                let on = self.until(|w| w.databases[node as usize].server.stream.on);
                vec![if on { "it streams" } else { "it does not stream" }.to_owned()]
            }
            Do::Ever(node) => {
                let on = self.0.run_while(STILL, |w| !w.databases[node as usize].server.stream.on);
                vec![if on { "it streams" } else { "it does not stream" }.to_owned()]
            }
            Do::Level(node) => {
                let end =
                    |w: &World, n: Node| w.databases[n as usize].server.dir.as_ref().map(|d| d.wal.end());
                let level = self.until(|w| end(w, node) == end(w, node.other()));
                vec![if level { "level" } else { "not level" }.to_owned()]
            }
            Do::PastTheStop(node) => {
                let past = self.until(|w| {
                    let dir = |n: Node| w.databases[n as usize].server.dir.as_ref().unwrap();
                    dir(node).replay_end() > dir(node.other()).checkpoint.0
                });
                vec![if past { "past it" } else { "not past it" }.to_owned()]
            }
            Do::Disk(node) => {
                let dir = self.0.databases[node as usize].server.dir.as_ref().unwrap();
                vec![disk(dir.control, dir.checkpoint.1, dir.standby_signal)]
            }
            Do::Stop(node) => {
                let by = self.0.databases[node as usize].clock(self.0.now) + PATIENCE;
                self.order(node, Action::Stop { by });
                vec![]
            }
            Do::Kill(node) => {
                self.order(node, Action::Kill);
                vec![]
            }
            Do::Rewind(node) => {
                self.step(node, OfServer::Rewind(Self::upstream(node)));
                vec![]
            }
            Do::PauseReplay(node) => {
                self.0.databases[node as usize].server.replay_lag = Duration::from_hours(1);
                vec![]
            }
            Do::ResumeReplay(node) => {
                self.0.resume_replay(node as usize);
                vec![]
            }
            Do::Freeze(node) => {
                self.0.fault(Fault::ServerFrozen(node as usize), true);
                // Long enough for whoever waits for it.
                self.0.run_for(STILL);
                vec![]
            }
            Do::Thaw(node) => {
                self.0.fault(Fault::ServerFrozen(node as usize), false);
                vec![]
            }
        }
    }
}

// ---- the real thing

/// As preflight wants it, with enough of the log kept for whoever comes back.
const SETTINGS: &str = "wal_receiver_timeout=1500ms,wal_sender_timeout=2s,wal_receiver_status_interval=1s,\
    wal_retrieve_retry_interval=250ms,wal_keep_size=64MB,fsync=off";

struct Real(BTreeMap<Node, Server>);

impl Real {
    fn new() -> Self {
        let a = Server::stopped(SETTINGS);
        // Also for the server that pg_rewind starts, which hears of no command line: it must not remove what is needed.
        let file = std::fs::OpenOptions::new().append(true).open(a.data().join("postgresql.conf"));
        file.unwrap().write_all(b"wal_keep_size = 64MB\n").unwrap();
        Self([(A, a), (B, Server::empty(SETTINGS))].into())
    }

    fn server(&mut self, node: Node) -> &mut Server {
        self.0.get_mut(&node).unwrap()
    }

    /// One value of one row; none when nobody answers.
    async fn ask(&self, node: Node, sql: &str) -> Option<String> {
        let client = self.0[&node].try_superuser().await?;
        let rows = client.simple_query(sql).await.ok()?;
        rows.iter().find_map(|m| match m {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    }

    async fn lsn(&self, node: Node, sql: &str) -> Option<Lsn> {
        self.ask(node, sql).await?.parse().ok()
    }

    /// How far it has the log.
    async fn held(&self, node: Node) -> Option<Lsn> {
        let sql = "SELECT CASE WHEN pg_is_in_recovery() \
            THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_flush_lsn() END";
        self.lsn(node, sql).await
    }

    async fn streams(&self, node: Node) -> bool {
        self.ask(node, "SELECT status FROM pg_stat_wal_receiver").await.as_deref() == Some("streaming")
    }

    async fn role(&self, node: Node) -> Vec<String> {
        let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";
        let line = match self.ask(node, sql).await {
            None => "it does not run".to_owned(),
            Some(timeline) if timeline.is_empty() => role(true, 0),
            Some(timeline) => role(false, u32::from_str_radix(&timeline, 16).unwrap()),
        };
        vec![line]
    }

    async fn rows(&self, node: Node) -> String {
        // No table yet: no rows.
        let sql = "SELECT CASE WHEN to_regclass('t') IS NULL THEN 0 ELSE \
            (xpath('/row/n/text()', query_to_xml('SELECT count(*) AS n FROM t', false, true, '')))[1]::text::int END";
        self.ask(node, sql).await.map_or("refused".to_owned(), |n| format!("{n} rows"))
    }

    async fn commit(&self, node: Node, rows: u32) -> Option<()> {
        let client = self.0[&node].try_superuser().await?;
        client.batch_execute("CREATE TABLE IF NOT EXISTS t(n int)").await.ok()?;
        for _ in 0..rows {
            client.batch_execute("INSERT INTO t VALUES (1)").await.ok()?;
        }
        Some(())
    }

    fn control(&self, node: Node, field: &str) -> String {
        let data = self.0[&node].data();
        let text = Server::tool("pg_controldata", &["-D", data.to_str().unwrap()]).unwrap();
        let line =
            text.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_else(|| panic!("{field}: {text}"));
        line.trim_start_matches(':').trim().to_owned()
    }
}

/// Asks again and again until it is so.
async fn until<F: Future<Output = bool>>(within: Duration, is: impl Fn() -> F) -> bool {
    let end = Instant::now() + within;
    while Instant::now() < end {
        if is().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

impl Subject<Do> for Real {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        match *step {
            Do::StartPrimary(node) => {
                let _ = std::fs::remove_file(self.server(node).data().join("standby.signal"));
                self.server(node).set(SETTINGS.to_owned());
                self.server(node).start();
                self.role(node).await
            }
            Do::StartStandby(node) => {
                let port = self.server(node.other()).port;
                let server = self.server(node);
                server.touch("standby.signal");
                server.set(format!(
                    "{SETTINGS},primary_conninfo=host=127.0.0.1 port={port} user=postgres,recovery_target_timeline=latest"
                ));
                server.start();
                self.role(node).await
            }
            Do::Clone(node) => {
                let (data, port) = (self.server(node).data(), self.server(node.other()).port.to_string());
                let args =
                    ["-h", "127.0.0.1", "-U", "postgres", "-X", "stream", "-c", "fast", "-p", &port, "-D"];
                let args = [&args[..], &[data.to_str().unwrap()]].concat();
                Server::tool("pg_basebackup", &args).unwrap();
                self.server(node).write_hba("");
                vec![]
            }
            Do::Promote(node) => {
                self.server(node).touch("promote");
                self.server(node).signal(Signal::USR1);
                let real = &*self;
                until(PATIENCE, || async {
                    real.ask(node, "SELECT pg_is_in_recovery()").await.as_deref() == Some("f")
                })
                .await;
                self.role(node).await
            }
            Do::Checkpoint(node) => {
                self.0[&node].sql("CHECKPOINT").await;
                vec![]
            }
            Do::Commit(node, rows) => {
                let done = self.commit(node, rows).await.is_some();
                vec![if done { "committed" } else { "refused" }.to_owned()]
            }
            Do::Rows(node, rows) => {
                let (real, wanted) = (&*self, format!("{rows} rows"));
                until(PATIENCE, || async { real.rows(node).await == wanted }).await;
                vec![self.rows(node).await]
            }
            Do::RowsNow(node) => vec![self.rows(node).await],
            Do::Streams(node) => {
                let real = &*self;
                let on = until(PATIENCE, || real.streams(node)).await;
                vec![if on { "it streams" } else { "it does not stream" }.to_owned()]
            }
            Do::Ever(node) => {
                // A receiver asks from the beginning of its segment, and is sent that much for a moment, before it hears
                // that it has left the other's history: again and again. That is not streaming.
                let (end, mut since) = (Instant::now() + STILL, None);
                let mut on = false;
                while !on && Instant::now() < end {
                    since =
                        if self.streams(node).await { since.or_else(|| Some(Instant::now())) } else { None };
                    on = since.is_some_and(|since: Instant| since.elapsed() > LASTS);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                vec![if on { "it streams" } else { "it does not stream" }.to_owned()]
            }
            Do::Level(node) => {
                let real = &*self;
                let level = until(PATIENCE, || async {
                    let (own, other) = (real.held(node).await, real.held(node.other()).await);
                    own.is_some() && own.cmp(&other) == Ordering::Equal
                });
                vec![if level.await { "level" } else { "not level" }.to_owned()]
            }
            Do::PastTheStop(node) => {
                let stop: Lsn = self.control(node.other(), "Latest checkpoint location").parse().unwrap();
                let real = &*self;
                let past = until(PATIENCE, || async {
                    real.lsn(node, "SELECT pg_last_wal_replay_lsn()").await > Some(stop)
                });
                vec![if past.await { "past it" } else { "not past it" }.to_owned()]
            }
            Do::Disk(node) => {
                let state = match self.control(node, "Database cluster state").as_str() {
                    "shut down" => ClusterState::ShutDown,
                    "shut down in recovery" => ClusterState::ShutDownInRecovery,
                    "in archive recovery" => ClusterState::InArchiveRecovery,
                    "in production" => ClusterState::InProduction,
                    other => panic!("{other}"),
                };
                let timeline = self.control(node, "Latest checkpoint's TimeLineID").parse().unwrap();
                vec![disk(state, timeline, self.0[&node].data().join("standby.signal").exists())]
            }
            Do::Stop(node) => {
                self.server(node).end(Signal::INT);
                vec![]
            }
            Do::Kill(node) => {
                self.server(node).kill();
                vec![]
            }
            Do::Rewind(node) => {
                let source = format!(
                    "host=127.0.0.1 port={} user=postgres dbname=postgres",
                    self.server(node.other()).port
                );
                let data = self.server(node).data();
                // What it runs first, to end the log, refuses to be a standby.
                let _ = std::fs::remove_file(data.join("standby.signal"));
                self.server(node.other()).write_hba("host all postgres 127.0.0.1/32 trust\n");
                self.server(node.other()).signal(Signal::HUP);
                let target = data.to_str().unwrap();
                Server::tool("pg_rewind", &["--target-pgdata", target, "--source-server", &source]).unwrap();
                vec![]
            }
            Do::PauseReplay(node) => {
                self.0[&node].sql("SELECT pg_wal_replay_pause()").await;
                let real = &*self;
                let paused = until(PATIENCE, || async {
                    real.ask(node, "SELECT pg_get_wal_replay_pause_state()").await.as_deref()
                        == Some("paused")
                });
                assert!(paused.await, "replay is not paused");
                vec![]
            }
            Do::ResumeReplay(node) => {
                self.0[&node].sql("SELECT pg_wal_replay_resume()").await;
                vec![]
            }
            Do::Freeze(node) => {
                self.server(node).signal_all(Signal::STOP);
                tokio::time::sleep(STILL).await;
                vec![]
            }
            Do::Thaw(node) => {
                self.server(node).signal_all(Signal::CONT);
                vec![]
            }
        }
    }
}

/// A primary at A with three rows and a standby at B that has them.
const PAIR: &[Do] = &[
    Do::StartPrimary(A),
    Do::Commit(A, 3),
    Do::Clone(B),
    Do::StartStandby(B),
    Do::Streams(B),
    Do::Rows(B, 3),
];

async fn play(parts: &[&[Do]]) {
    compare(&parts.concat(), Model::new(), Real::new()).await;
}

// ---- the scripts

#[tokio::test]
async fn a_killed_primary_recovers_everything_that_was_committed() {
    play(&[&[
        Do::Disk(A),
        Do::StartPrimary(A),
        Do::Commit(A, 3),
        Do::Kill(A),
        Do::Commit(A, 1),
        Do::Disk(A),
        Do::StartPrimary(A),
        Do::Rows(A, 3),
        Do::Commit(A, 2),
        Do::Stop(A),
        Do::Disk(A),
        Do::StartPrimary(A),
        Do::Rows(A, 5),
    ]])
    .await;
}

#[tokio::test]
async fn a_fast_stop_sends_everything_and_the_old_primary_follows_the_new_one_without_a_rewind() {
    play(&[
        PAIR,
        &[
            Do::Commit(A, 2),
            Do::Stop(A),
            Do::Disk(A),
            Do::PastTheStop(B),
            Do::Ever(B),
            Do::Promote(B),
            Do::Rows(B, 5),
            Do::Commit(B, 1),
            Do::StartStandby(A),
            Do::Streams(A),
            Do::Rows(A, 6),
            Do::Kill(A),
            Do::Disk(A),
        ],
    ])
    .await;
}

#[tokio::test]
async fn a_primary_past_the_fork_never_streams_and_a_rewind_makes_it_the_others_copy() {
    play(&[
        PAIR,
        &[
            Do::Promote(B),
            Do::Commit(A, 4),
            Do::Commit(B, 1),
            Do::Kill(A),
            Do::StartStandby(A),
            Do::Ever(A),
            Do::RowsNow(A),
            Do::Kill(A),
            Do::Checkpoint(B),
            Do::Rewind(A),
            Do::StartStandby(A),
            Do::Streams(A),
            Do::Rows(A, 4),
        ],
    ])
    .await;
}

#[tokio::test]
async fn a_killed_standby_catches_up_and_without_its_primary_it_keeps_what_it_had_received() {
    play(&[
        PAIR,
        &[
            Do::Kill(B),
            Do::Disk(B),
            Do::Commit(A, 2),
            Do::StartStandby(B),
            Do::Streams(B),
            Do::Level(B),
            Do::Rows(B, 5),
            Do::Kill(A),
            Do::Kill(B),
            Do::StartStandby(B),
            Do::Ever(B),
            Do::Rows(B, 5),
            Do::Stop(B),
            Do::Disk(B),
        ],
    ])
    .await;
}

#[tokio::test]
async fn a_promotion_replays_everything_that_was_received_although_replay_was_paused() {
    play(&[
        PAIR,
        &[
            Do::PauseReplay(B),
            Do::Commit(A, 2),
            Do::Level(B),
            Do::RowsNow(B),
            Do::Kill(A),
            Do::Promote(B),
            Do::Rows(B, 5),
        ],
    ])
    .await;
}

#[tokio::test]
async fn paused_replay_goes_on_where_it_was() {
    play(&[
        PAIR,
        &[
            Do::PauseReplay(B),
            Do::Commit(A, 2),
            Do::Level(B),
            Do::RowsNow(B),
            Do::ResumeReplay(B),
            Do::Rows(B, 5),
        ],
    ])
    .await;
}

#[tokio::test]
async fn a_primary_that_stands_still_loses_its_receiver_and_has_it_back_when_it_goes_on() {
    play(&[
        PAIR,
        &[
            Do::Freeze(A),
            Do::Ever(B),
            Do::RowsNow(B),
            Do::Thaw(A),
            Do::Streams(B),
            Do::Commit(A, 1),
            Do::Rows(B, 4),
        ],
    ])
    .await;
}

#[tokio::test]
async fn a_new_primary_that_is_killed_before_its_first_checkpoint_is_on_its_timeline_all_the_same() {
    play(&[
        PAIR,
        &[
            Do::Kill(A),
            Do::Promote(B),
            Do::Commit(B, 1),
            Do::Kill(B),
            Do::StartPrimary(B),
            Do::Rows(B, 4),
            Do::Checkpoint(B),
            Do::Kill(B),
            Do::Disk(B),
        ],
    ])
    .await;
}
