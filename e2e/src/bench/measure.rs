//! The measurements. Each starts from a steady pair and leaves one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bascule_crds::Move;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::Figure;
use crate::client::{Client, ClientOptions, Kind, Stamp, Target};
use crate::shop::{INSTALL, MoveText, NAMESPACE, POLICY, PolicyText, Shop};
use crate::world::arbiter::PREFIX;
use crate::world::{OperatorOptions, Place, World};

/// How long the pair may take to be steady again.
const STEADY: Duration = Duration::from_secs(90);
/// How long a role may take to move.
const MOVES: Duration = Duration::from_mins(1);
/// How long an effect may take before it counts as none.
const EFFECT: Duration = Duration::from_secs(5);

/// The settings that every figure was measured under.
fn settings() -> serde_json::Value {
    let cores = std::thread::available_parallelism().map(usize::from).unwrap_or_default();
    json!({
        "profile": "metro", "arbiter": "etcd, three members, heartbeat 30 ms, election 300 ms",
        "postgresql": "15; wal_sender_timeout 2s, wal_receiver_timeout 2s, wal_receiver_status_interval 1s, \
                       wal_retrieve_retry_interval 100ms",
        "client": "4 sessions straight to the databases, a write every 2 ms each, 20 ms between tries",
        "machine": format!("{cores} cores, both sites on it"),
    })
}

/// Installs the application and waits for the steady pair.
pub async fn prepare(world: &World) -> Result<()> {
    let shop = Shop::of(world);
    shop.install(&PolicyText::at_once()).await?;
    shop.steady(Place::Paris, INSTALL).await.map(|_| ())
}

/// Sessions straight to the databases, so that neither DNS nor the web application is part of the figure.
fn client(shop: &Shop<'_>) -> Result<Client> {
    let options = ClientOptions {
        target: Target::Databases(shop.databases()?),
        writers: 4,
        readers: 0,
        pace: Duration::from_millis(2),
        // As a pool would: thousands of refused connections a second would only measure the machine.
        retry: Duration::from_millis(20),
    };
    Ok(Client::start(&options))
}

/// Milliseconds without a write: from the last at the old site to the first at the new one.
async fn pause(client: &Client, from: Place, to: Place, since: Stamp) -> Result<f64> {
    let first = client.works_at(Kind::Write, to.name(), since, MOVES).await?;
    let history = client.history();
    let last = history.last_at(Kind::Write, from.name(), first.end).context("no write at the old site")?;
    Ok(first.end.since(last.end).as_secs_f64() * 1000.0)
}

/// Who is active, once the pair is steady.
async fn steady(shop: &Shop<'_>) -> Result<(Place, Place)> {
    let active = shop.view(Place::Paris).await?.active().context("there is no record")?;
    shop.steady(active, STEADY).await?;
    Ok((active, active.other_site().context("a site")?))
}

/// Every round must have lost nothing.
async fn nothing_lost(shop: &Shop<'_>, client: Client, at: Place) -> Result<()> {
    let history = client.stop().await;
    let rows = shop.rows(at).await?;
    ensure!(history.lost(&rows).is_empty(), "a planned switchover has lost acknowledged rows");
    Ok(())
}

/// One measured move of the role, and what it takes to leave a steady pair behind.
struct Round<'a> {
    shop: Shop<'a>,
    from: Place,
    to: Place,
    client: Client,
    began: Stamp,
}

/// Milliseconds without a write in each round, and its phases.
struct Rounds<'a> {
    name: &'static str,
    world: &'a World,
    n: usize,
    raw: Vec<f64>,
    phases: BTreeMap<String, Vec<f64>>,
}

impl<'a> Rounds<'a> {
    fn new(name: &'static str, world: &'a World, n: usize) -> Self {
        Self { name, world, n, raw: Vec::new(), phases: BTreeMap::new() }
    }

    /// A steady pair whose client writes.
    async fn begin(&self) -> Result<Round<'a>> {
        let shop = Shop::of(self.world);
        let (from, to) = steady(&shop).await?;
        let client = client(&shop)?;
        client.works_at(Kind::Write, from.name(), Stamp::now(), MOVES).await?;
        Ok(Round { shop, from, to, client, began: Stamp::now() })
    }

    /// Waits for the first write at the other site.
    async fn measured(&mut self, round: &Round<'_>) -> Result<()> {
        let took = pause(&round.client, round.from, round.to, round.began).await?;
        self.raw.push(took);
        self.world.progress().done(&format!("{} {}/{}: {took:.1} ms", self.name, self.raw.len(), self.n));
        Ok(())
    }

    /// Waits for the steady pair and notes how long each phase of the way there took.
    async fn steady(&mut self, shop: &Shop<'_>, at: Place) -> Result<()> {
        shop.steady(at, STEADY).await?;
        let status = shop.view(at).await?.status;
        let last = status.last_transition.context("the status has no transition")?;
        for phase in last.phases {
            self.phases.entry(phase.name).or_default().push(phase.ms as f64);
        }
        Ok(())
    }

    fn figure(self) -> Figure {
        Figure::of(self.name, self.raw, settings()).with_phases(self.phases)
    }
}

/// Planned switchovers, there and back.
pub async fn planned(world: &World, n: usize) -> Result<Figure> {
    let mut rounds = Rounds::new("planned", world, n);
    for number in 0..n {
        let round = rounds.begin().await?;
        let (from, to) = (round.from, round.to);
        let epoch = round.shop.view(from).await?.epoch();
        let text = MoveText::switchover(&format!("bench-{number}"), from, to, epoch, "measured");
        round.shop.commit_move(&text)?;
        rounds.measured(&round).await?;
        rounds.steady(&round.shop, to).await?;
        nothing_lost(&round.shop, round.client, to).await?;
    }
    Ok(rounds.figure())
}

/// Deaths of the active site, from the last write there to the first at the other.
pub async fn kill_site(world: &World, n: usize) -> Result<Figure> {
    let mut rounds = Rounds::new("kill-metro", world, n);
    for _ in 0..n {
        let round = rounds.begin().await?;
        world.kill(round.from)?;
        rounds.measured(&round).await?;
        drop(round.client);
        world.boot(round.from).await?;
        world.start_operator(round.from, &OperatorOptions::default())?;
        rounds.steady(&round.shop, round.to).await?;
    }
    Ok(rounds.figure())
}

/// Deaths of the server alone, its operator and guard alive.
pub async fn database_killed(world: &World, n: usize) -> Result<Figure> {
    let mut rounds = Rounds::new("database-killed", world, n);
    for _ in 0..n {
        let round = rounds.begin().await?;
        round.shop.kill_server(round.from).await?;
        rounds.measured(&round).await?;
        drop(round.client);
        rounds.steady(&round.shop, round.to).await?;
    }
    Ok(rounds.figure())
}

/// From a Move that the API server has accepted to the record that it changes, as a watcher of the arbiter sees it.
pub async fn event_to_effect(world: &World, n: usize) -> Result<Figure> {
    let shop = Shop::of(world);
    let (active, _) = steady(&shop).await?;
    let moves: Api<Move> = Api::namespaced(world.kube(active).await?, NAMESPACE);
    let watch = RecordWatch::start(world, active)?;
    let mut raw = Vec::new();
    for round in 0..n {
        let hold = round % 2 == 0;
        let epoch = shop.view(active).await?.epoch();
        let name = format!("effect-{round}");
        let mut spec = json!({
            "policyRef": { "name": POLICY }, "type": if hold { "Hold" } else { "Resume" },
            "epoch": epoch, "reason": "measured",
        });
        if hold {
            spec["notAfter"] = json!("2099-01-01T00:00:00Z");
        }
        let object: Move = serde_json::from_value(json!({
            "apiVersion": "bascule.dev/v1alpha1", "kind": "Move",
            "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
        }))?;
        watch.drain();
        let begin = Instant::now();
        moves.create(&PostParams::default(), &object).await?;
        let took = watch.next(begin)?;
        raw.push(took.as_secs_f64() * 1000.0);
        moves.delete(&name, &DeleteParams::default()).await?;
    }
    let mut settings = settings();
    settings["event"] = json!("POST of a Move sent to the API server (its own time is part of the figure)");
    settings["effect"] = json!("the changed record, seen by a watch of the arbiter");
    Ok(Figure::of("event-to-effect", raw, settings))
}

/// `etcdctl watch` of the policy's record.
struct RecordWatch {
    child: Child,
    seen: Receiver<Instant>,
}

impl RecordWatch {
    fn start(world: &World, near: Place) -> Result<Self> {
        let arbiter = world.arbiter();
        let identity = arbiter.identity("root");
        let mut child = Command::new(world.tools().server("etcdctl"))
            .arg(format!("--endpoints={}", crate::world::arbiter::endpoint(near)))
            .arg("--cacert")
            .arg(world.pki().ca())
            .arg("--cert")
            .arg(identity.cert)
            .arg("--key")
            .arg(identity.key)
            .args(["watch", "--prefix", "-w", "simple", PREFIX])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = child.stdout.take().context("no standard output")?;
        let (send, seen) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let now = Instant::now();
                // The key's own line, not the value's.
                if line.starts_with(PREFIX) && line.contains("/record/") && send.send(now).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, seen })
    }

    fn drain(&self) {
        while self.seen.try_recv().is_ok() {}
    }

    /// Time from `begin` to the next change of the record.
    fn next(&self, begin: Instant) -> Result<Duration> {
        match self.seen.recv_timeout(EFFECT) {
            Ok(at) => Ok(at.saturating_duration_since(begin)),
            Err(RecvTimeoutError::Timeout) => bail!("the record has not changed within {EFFECT:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the watch of the arbiter has ended"),
        }
    }
}

impl Drop for RecordWatch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
