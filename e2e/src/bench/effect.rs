//! From a Move that the API server has accepted to the record that it changes, as a watcher of the arbiter sees it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bascule_crds::Move;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::bascule::Bascule;
use crate::shop::{NAMESPACE, POLICY};
use crate::world::arbiter::{PREFIX, endpoint};
use crate::world::{Place, World};

/// How long an effect may take before it counts as none.
const EFFECT: Duration = Duration::from_secs(5);

/// Posts Moves that change the record and nothing else.
pub(super) struct Effects {
    active: Place,
    moves: Api<Move>,
    watch: RecordWatch,
    count: usize,
}

/// One of them, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    /// From the request to the changed record.
    pub(super) recorded: f64,
    /// From the request to the API server's answer to it: what it took by itself.
    pub(super) accepted: f64,
}

impl Effects {
    /// Watches the record from the active site.
    pub(super) async fn start(bascule: &Bascule<'_>) -> Result<Self> {
        let (active, _) = bascule.steady().await?;
        let world = bascule.shop().world();
        let moves = Api::namespaced(world.kube(active).await?, NAMESPACE);
        Ok(Self { active, moves, watch: RecordWatch::start(world, active)?, count: 0 })
    }

    /// Two effects: a Hold, and the Resume that takes it back. The API server's own time is part of them.
    pub(super) async fn pair(&mut self, bascule: &Bascule<'_>) -> Result<[Took; 2]> {
        let hold = self.effect(bascule, true).await?;
        Ok([hold, self.effect(bascule, false).await?])
    }

    async fn effect(&mut self, bascule: &Bascule<'_>, hold: bool) -> Result<Took> {
        let epoch = bascule.shop().view(self.active).await?.epoch();
        self.count += 1;
        let name = format!("effect-{}", self.count);
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
        // The request shall not wait for a connection: whoever watches has one.
        self.moves.list_metadata(&ListParams::default().limit(1)).await?;
        self.watch.drain();
        let begin = Instant::now();
        self.moves.create(&PostParams::default(), &object).await?;
        let accepted = begin.elapsed();
        let recorded = self.watch.next(begin)?;
        self.moves.delete(&name, &DeleteParams::default()).await?;
        let [recorded, accepted] = [recorded, accepted].map(|took| took.as_secs_f64() * 1000.0);
        Ok(Took { recorded, accepted })
    }
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
            .arg(format!("--endpoints={}", endpoint(near)))
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
