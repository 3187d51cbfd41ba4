//! Real guards with real servers, and the same operator.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bascule_core::guard::wire::Report;
use bascule_sim::side_by_side::Subject;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::script::{At, Desk, Do, Sees, Wants, shows, told};
use crate::world::{Node, PATIENCE, World};

const STILL: Duration = Duration::from_secs(3);

pub(crate) struct Real {
    nodes: BTreeMap<At, Node>,
    desks: BTreeMap<At, Desk>,
    nobody: u16,
    _world: World,
}

impl Real {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let nodes = [(At::A, world.node("a", true)), (At::B, world.node("b", false))].into();
        let nobody = world.node("nobody", false).port;
        let desks = [At::A, At::B].map(|at| (at, Desk::new())).into();
        Self { nodes, desks, nobody, _world: world }
    }

    /// Has the operator answer as its desk says.
    fn tell(&self, at: At) {
        let desk = self.desks[&at].clone();
        self.nodes[&at].order(|orders| {
            (orders.role, orders.serial, orders.epoch) = (desk.role, desk.serial, desk.epoch);
            (orders.grant, orders.deaf) = (desk.grant, desk.deaf);
        });
    }

    fn report(&self, at: At) -> Option<Report> {
        self.nodes[&at].last_report()
    }

    async fn until(&self, at: At, sees: Sees) -> Vec<String> {
        let before = self.report(at).map(|r| r.boot).unwrap_or_default();
        let other = &self.nodes[&at.other()];
        let is = |report: &Report| shows(report, sees, other.last_report().as_ref(), &before);
        told(&self.nodes[&at].until(&format!("{sees:?}"), is).await)
    }

    /// How many rows a client reads, if it is let in.
    async fn rows(&self, at: At) -> Option<u32> {
        let client = self.nodes[&at].client().await.ok()?;
        let row = client.query_one("SELECT count(*) FROM t WHERE n IS NOT NULL", &[]).await.ok()?;
        u32::try_from(row.get::<_, i64>(0)).ok()
    }

    async fn insert(&self, at: At, rows: u32) -> Option<()> {
        let client = self.nodes[&at].client().await.ok()?;
        client.batch_execute("CREATE TABLE IF NOT EXISTS t(id bigserial PRIMARY KEY, n int)").await.ok()?;
        for n in 0..rows {
            client.execute("INSERT INTO t(n) VALUES ($1)", &[&i32::try_from(n).ok()?]).await.ok()?;
        }
        Some(())
    }

    /// Every process of the server; its first one is the guard's child.
    fn servers(&self, at: At) -> Vec<Pid> {
        self.nodes[&at].processes().into_iter().map(Pid::from_raw).collect()
    }

    fn postmaster(&self, at: At) -> Pid {
        let guard = self.nodes[&at].pid();
        let child = |pid: &Pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.split_whitespace().nth(1).map(str::to_owned));
            parent == Some(guard.to_string())
        };
        self.servers(at).into_iter().find(child).expect("a server runs")
    }
}

impl Subject<Do> for Real {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        match *step {
            Do::Start(at) => self.nodes.get_mut(&at).unwrap().start(),
            Do::Order(at, wants, serial, epoch) => {
                let port =
                    if wants == Wants::FollowNobody { self.nobody } else { self.nodes[&at.other()].port };
                let name = self.nodes[&at].name.clone();
                self.desks.get_mut(&at).unwrap().order(wants, serial, epoch, |_| {
                    bascule_core::guard::wire::Upstream {
                        host: "127.0.0.1".into(),
                        port,
                        user: "postgres".into(),
                        password: String::new(),
                        slot: "bascule_other".into(),
                        application_name: name.clone(),
                        sslmode: "prefer".into(),
                    }
                });
                self.tell(at);
            }
            Do::Until(at, sees) => return self.until(at, sees).await,
            Do::Insert(at, rows) => {
                let done = self.insert(at, rows).await.is_some();
                return vec![if done { "committed" } else { "refused" }.to_owned()];
            }
            Do::Rows(at, rows) => {
                let end = Instant::now() + PATIENCE;
                let mut found = self.rows(at).await;
                while found != Some(rows) && Instant::now() < end {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    found = self.rows(at).await;
                }
                return vec![found.map_or("refused".to_owned(), |n| format!("{n} rows"))];
            }
            Do::Still(at) => {
                tokio::time::sleep(STILL).await;
                return self.report(at).as_ref().map(told).unwrap_or_default();
            }
            Do::Answer(at) => {
                self.desks.get_mut(&at).unwrap().deaf = false;
                self.tell(at);
            }
            Do::Deaf(at) => {
                self.desks.get_mut(&at).unwrap().deaf = true;
                self.tell(at);
            }
            Do::KillServer(at) => kill(self.postmaster(at), Signal::SIGKILL).unwrap(),
            Do::KillGuard(at) => {
                self.nodes[&at].signal(Signal::SIGKILL);
                self.nodes.get_mut(&at).unwrap().ended().await;
            }
            Do::FreezeGuard(at) => {
                self.nodes[&at].signal(Signal::SIGSTOP);
                tokio::time::sleep(STILL).await;
                self.nodes[&at].signal(Signal::SIGCONT);
            }
            Do::FreezeServer(at) => {
                for pid in self.servers(at) {
                    // One that has ended meanwhile stands still enough.
                    let _ = kill(pid, Signal::SIGSTOP);
                }
            }
            Do::PromoteByHand(at) => {
                self.nodes[&at].sql("SELECT pg_promote(false)").await;
            }
            Do::MakeStandby(at) => {
                std::fs::write(self.nodes[&at].root.join("data/standby.signal"), "").unwrap();
            }
        }
        vec![]
    }
}
