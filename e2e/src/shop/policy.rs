//! The files that a person would commit: the policy, and Moves.

use std::fmt::Write;

use super::objects::WEB_TARGET_PORT;
use super::{DATABASE, NAMESPACE, POLICY, Shop, WEB};
use crate::world::dns::{WEB_NAME, ZONE};
use crate::world::place::DNS_PORT;
use crate::world::{Place, World};

/// The parts of the policy that a story or a scenario chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyText {
    /// Silence before reads are served.
    pub serve_reads: String,
    /// Stability before a site that came back gets its users again.
    pub return_after: String,
    /// Reads first for so long; `Never`.
    pub promote: String,
    /// The most that may be lost.
    pub max_bytes: String,
    /// The most unseen time.
    pub max_time: String,
    /// Time without another automatic transition.
    pub cooldown: String,
    /// How long a dead database is offered.
    pub offer_for: String,
    /// How long a stop by Kubernetes is no loss.
    pub restart_grace: String,
    /// Watch only, and let the database keep the role that it has.
    pub suspend: bool,
}

impl Default for PolicyText {
    /// Short holds, so that a story is told in a minute.
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            serve_reads: text("2s"),
            return_after: text("2s"),
            promote: text("3s"),
            max_bytes: text("16Mi"),
            max_time: text("20s"),
            cooldown: text("0s"),
            offer_for: text("5s"),
            restart_grace: text("2m"),
            suspend: false,
        }
    }
}

impl PolicyText {
    /// Promotion at once, without serving reads first.
    pub fn at_once() -> Self {
        Self { promote: "0s".to_owned(), ..Self::default() }
    }

    /// The file.
    pub fn yaml(&self, world: &World) -> String {
        let Self { serve_reads, return_after, promote, max_bytes, max_time, .. } = self;
        let Self { cooldown, offer_for, restart_grace, suspend, .. } = self;
        let mut instances = String::new();
        let mut addresses = String::new();
        for site in world.sites().iter().copied() {
            let host = Shop::replication_address(site);
            let _ = write!(
                instances,
                "          - site: {site}
            statefulSet: {DATABASE}
            host: {DATABASE}.{NAMESPACE}.svc
            replicationHost: {host}
            secretRef: {{ name: main-bascule }}
            replicationSecretRef: {{ name: main-replication }}
"
            );
            let _ = writeln!(addresses, "          - {{ site: {site}, values: [\"{}\"] }}", site.address());
        }
        let names: Vec<String> = world.sites().iter().map(|site| format!("{{ name: {site} }}")).collect();
        let sites = names.join(", ");
        let servers = world.dns().servers();
        let primary = format!("\"{}:{DNS_PORT}\"", servers[0].ip());
        let all = servers.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
        format!(
            "apiVersion: bascule.dev/v1alpha1
kind: FailoverPolicy
metadata:
  name: {POLICY}
  namespace: {NAMESPACE}
spec:
  sites: [{sites}]
  initialSite: paris
  suspend: {suspend}
  failover:
    serveReads: {{ after: {serve_reads}, returnAfter: {return_after} }}
    promote:
      after: {promote}
      maxDataLoss: {{ bytes: {max_bytes}, time: {max_time} }}
    databaseLost: {{ offerFor: {offer_for}, restartGrace: {restart_grace} }}
    cooldown: {cooldown}
  databases:
    - name: {DATABASE}
      postgresql:
        fence: Guard
        instances:
{instances}  workloads:
    - name: {WEB}
      targetRef: {{ apiVersion: apps/v1, kind: Deployment, name: {WEB} }}
      replicas: {{ active: 1, readOnly: 1, standby: 1 }}
      readOnly:
        configMapKey: {{ name: web-flags, key: READ_ONLY, readOnlyValue: \"1\", readWriteValue: \"0\" }}
        verify:
          httpGet: {{ port: {WEB_TARGET_PORT}, path: /mode, expectBody: read-only }}
  traffic:
    - name: public
      dns:
        name: {WEB_NAME}
        zone: {ZONE}
        ttl: 1s
        updateServers: [{primary}]
        verifyServers: [{all}]
        tsigSecretRef: {{ name: dns-key }}
        addresses:
{addresses}"
        )
    }
}

/// A Move as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveText {
    /// Its name.
    pub name: String,
    /// `Switchover`, `Failover`, …
    pub kind: &'static str,
    /// The site that is active.
    pub from: Place,
    /// The site that shall be; the active one in a Move that moves nothing.
    pub to: Place,
    /// The epoch in which it is meant.
    pub epoch: u64,
    /// Why.
    pub reason: String,
    /// Further lines of its spec.
    pub more: Vec<String>,
}

impl MoveText {
    /// A planned switchover.
    pub fn switchover(name: &str, from: Place, to: Place, epoch: u64, reason: &str) -> Self {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        Self { name, kind: "Switchover", from, to, epoch, reason, more: Vec::new() }
    }

    /// A failover.
    pub fn failover(name: &str, from: Place, to: Place, epoch: u64) -> Self {
        let reason = format!("{from} is lost");
        Self { kind: "Failover", ..Self::switchover(name, from, to, epoch, &reason) }
    }

    /// The same with a person's word that the source is stopped, said of a record's serial.
    pub fn source_stopped(self, serial: u64, who: &str) -> Self {
        self.with(format!("serial: {serial}")).with(format!("sourceStopped: \"{who}\""))
    }

    /// The same whatever is lost.
    pub fn accept_data_loss(self) -> Self {
        self.with("acceptDataLoss: true".to_owned())
    }

    fn with(mut self, line: String) -> Self {
        self.more.push(line);
        self
    }

    /// `Hold`, `Resume` or `Abort`, which move nothing. A `Hold` needs its end.
    pub fn order(
        kind: &'static str,
        name: &str,
        active: Place,
        epoch: u64,
        reason: &str,
        until: Option<jiff::Timestamp>,
    ) -> Self {
        let more = until.map(|t| format!("notAfter: \"{t}\"")).into_iter().collect();
        Self { kind, more, ..Self::switchover(name, active, active, epoch, reason) }
    }

    /// Its path in the repository.
    pub fn path(&self) -> String {
        format!("{}/moves/{}.yaml", super::FOLDER, self.name)
    }

    /// The file.
    pub fn yaml(&self) -> String {
        let Self { name, kind, from, to, epoch, reason, more } = self;
        let mut lines = Vec::new();
        if from != to {
            lines.extend([format!("from: {from}"), format!("to: {to}")]);
        }
        lines.extend([format!("epoch: {epoch}"), format!("reason: \"{reason}\"")]);
        lines.extend(more.iter().cloned());
        format!(
            "apiVersion: bascule.dev/v1alpha1
kind: Move
metadata: {{ name: {name}, namespace: {NAMESPACE} }}
spec:
  policyRef: {{ name: {POLICY} }}
  type: {kind}
  {}
",
            lines.join("\n  ")
        )
    }
}

/// The policy's path in the repository.
pub(super) fn path() -> String {
    format!("{}/{POLICY}.yaml", super::FOLDER)
}
