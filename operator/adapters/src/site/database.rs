//! The databases of a policy, through the operator's own role, and the way from a replica to its primary.

use std::sync::Arc;
use std::time::Instant;

use bascule_core::guard::wire::{Upstream, slot_of};
use bascule_core::name::{ItemName, SiteName};
use bascule_core::observation::Fact;
use bascule_core::plan::{Answer, Gate, all_passed};
use bascule_core::policy::{Instance, Policy};
use bascule_core::timing::Timing;
use bascule_engine::ports::NoUpstream;
use secrecy::ExposeSecret;

use super::kept::Kept;
use super::{LOOK, Unusable};
use crate::guards::Disks;
use crate::kube::client::Kube;
use crate::kube::failure::chain;
use crate::kube::pods::{self, NodeState, PodFacts};
use crate::kube::secret::{self, SecretError};
use crate::postgres::{Expected, Postgres, PostgresTarget, Thresholds, Tls};

/// The keys that the operator's and the replication Secret must have.
const CREDENTIALS: [&str; 2] = ["username", "password"];

/// The servers asked so far, each made from the policy's entry and the version of its Secret.
#[derive(Default)]
pub(super) struct Servers(Kept<(Instance, String), Postgres>);

impl Servers {
    /// This site's server of the database `name`, or why it cannot be asked, for the person who must act.
    pub(super) async fn of(
        &self,
        kube: &Kube,
        me: &SiteName,
        policy: &Policy,
        name: &ItemName,
    ) -> Result<Arc<Postgres>, Unusable> {
        let instance = instance(policy, name, me)?;
        let field = format!("spec.databases[{name}].postgresql.instances[{me}].secretRef");
        let namespace = policy.key.namespace.as_str();
        let found = secret::read(&kube.within(LOOK), namespace, instance.secret.as_str(), &CREDENTIALS)
            .await
            .map_err(|e| Unusable::secret(&field, &e))?;
        let key = (policy.key.clone(), name.clone());
        let from = (instance.clone(), found.version.clone());
        if let Some(server) = self.0.get(&key, &from) {
            return Ok(server);
        }
        let tls = if found.has("ca.crt") {
            let ca = found.bytes("ca.crt").map_err(|e| format!("{field}: {e}"))?;
            Tls::verified(ca.expose_secret()).map_err(|e| format!("{field}: {e}"))?
        } else {
            Tls::Off
        };
        let text = |key| found.text(key).map_err(|e| format!("{field}: {e}"));
        let user = text("username")?.expose_secret().to_owned();
        let target = PostgresTarget::of(instance, user, text("password")?, tls);
        Ok(self.0.keep(key, from, Postgres::new(target)))
    }

    /// Lets those go that belong to policies that are gone.
    pub(super) fn forget_unused(&self) {
        self.0.forget_unused(Instant::now());
    }
}

/// What the pod of this site's server would do to the guard in it, as gates named `item/pod/…`.
pub(super) async fn pod(
    kube: &Kube,
    me: &SiteName,
    policy: &Policy,
    name: &ItemName,
    item: &str,
) -> Vec<Gate> {
    // An instance that is missing is told with the server.
    let Ok(instance) = instance(policy, name, me) else { return Vec::new() };
    let pod = format!("{}-0", instance.stateful_set);
    let namespace = policy.key.namespace.as_str();
    match pods::observe(&kube.within(LOOK), namespace, &pod, instance.port).await {
        // Its guard, which cannot be connected, is missed anyway.
        Ok(None) => Vec::new(),
        Ok(Some(facts)) => pod_gates(&facts, &format!("Pod {namespace}/{pod}"), item),
        Err(failure) => {
            let gate = format!("{item}/pod");
            vec![Gate::new(&gate, Answer::Unknown, failure.to_string(), "a look at the server's pod")]
        }
    }
}

fn pod_gates(facts: &PodFacts, pod: &str, item: &str) -> Vec<Gate> {
    let mut gates = Vec::new();
    let mut told = |name: &str, answer, found: String, needed: &str| {
        gates.push(Gate::new(&format!("{item}/pod/{name}"), answer, found, needed));
    };
    if let Some(who) = &facts.another_operator {
        let found = format!("{pod} belongs to {who}");
        let needed = "a StatefulSet of its own whose server nothing but its guard starts, promotes or replaces; a copy of \
                      this database can be brought into one (docs/adopt.md)";
        told("anotherOperator", Answer::No, found, needed);
    }
    for (shared, field) in
        [(facts.shares_processes, "shareProcessNamespace"), (facts.host_processes, "hostPID")]
    {
        if shared {
            let found = format!("{pod} has {field}: true");
            let needed = "processes of its own for the server's container: the guard must be their first, or it \
                          cannot end every process of its server in time; take the field out of the StatefulSet's \
                          template";
            told("sharedProcessNamespace", Answer::No, found, needed);
        }
    }
    for container in &facts.liveness_on_server {
        let found = format!("advice: the liveness probe of container {container} in {pod} asks the server");
        let needed = "no liveness probe on the server: it kills one that rightly waits for its role, and the \
                      kubelet's back-off outlasts a failover; let readiness ask the server";
        told("livenessProbe", Answer::Yes, found, needed);
    }
    let node = facts.node.as_deref().unwrap_or_default();
    match &facts.node_state {
        NodeState::NotReady { status, message } => {
            let found = format!("advice: node {node} of {pod} has Ready={status}: {message}");
            told("node", Answer::Yes, found, "a node whose kubelet reports that it is ready");
        }
        NodeState::Gone => {
            let found = format!("advice: node {node} of {pod} does not exist");
            told(
                "node",
                Answer::Yes,
                found,
                "a node that exists; delete the pod if its node is gone for good",
            );
        }
        NodeState::Ready | NodeState::Unassigned | NodeState::Unknown { .. } => {}
    }
    gates
}

/// The two looks as one. Whatever blocks by itself is told even while the server cannot be asked.
pub(super) fn together(server: Fact<Vec<Gate>>, pod: Vec<Gate>, item: &str) -> Fact<Vec<Gate>> {
    match server {
        Fact::Known { mut value, age } => {
            value.extend(pod);
            Fact::Known { value, age }
        }
        Fact::Unknown { reason } if !all_passed(&pod) => {
            let mut gates = pod;
            gates.push(Gate::new(&format!("{item}/preflight"), Answer::Unknown, reason, "a look at it"));
            Fact::now(gates)
        }
        unknown @ Fact::Unknown { .. } => unknown,
    }
}

/// What this site knows of its database without asking the server.
pub(super) fn expected(disks: &Disks, me: &SiteName, policy: &Policy, name: &ItemName) -> Expected {
    Expected {
        disk: disks.system(&policy.key, name),
        field: format!("spec.databases[{name}].postgresql.instances[{me}].host"),
    }
}

/// What a database's settings are held against.
pub(super) fn limits(timing: &Timing, policy: &Policy, name: &ItemName) -> Thresholds {
    let sites = policy.databases.get(name).map_or(2, |d| d.instances.len());
    let sites = u32::try_from(sites).unwrap_or(u32::MAX);
    Thresholds {
        dead_link_within: timing.l(),
        retry_at_most: timing.tq(),
        // One more than the replicas: a base backup needs a sender of its own.
        wal_senders_at_least: sites,
        slots_at_least: sites.saturating_sub(1),
        replicas_change_primary: sites > 2,
    }
}

/// How the replica of this site reaches the database of `site`.
pub(super) async fn upstream(
    kube: &Kube,
    me: &SiteName,
    policy: &Policy,
    name: &ItemName,
    site: &SiteName,
) -> Result<Upstream, NoUpstream> {
    let missing = |reason| NoUpstream::Missing { reason };
    let primary = instance(policy, name, site).map_err(missing)?;
    // The Secret is this site's own: a site holds replication credentials of the others, and nothing else of theirs.
    let own = instance(policy, name, me).map_err(missing)?;
    let field = format!("spec.databases[{name}].postgresql.instances[{me}].replicationSecretRef");
    let namespace = policy.key.namespace.as_str();
    let found = secret::read(&kube.within(LOOK), namespace, own.replication_secret.as_str(), &CREDENTIALS)
        .await
        .map_err(|e| {
            let reason = format!("{field}: {}", chain(&e));
            match e {
                // The API server refused or could not be asked: what it said before still holds.
                SecretError::Call(_) => NoUpstream::Unknown { reason },
                _ => NoUpstream::Missing { reason },
            }
        })?;
    let text = |key| {
        let value = found.text(key).map_err(|e| missing(format!("{field}: {e}")))?;
        Ok::<String, NoUpstream>(value.expose_secret().to_owned())
    };
    Ok(Upstream {
        host: primary.replication_host.clone(),
        port: primary.replication_port,
        user: text("username")?,
        password: text("password")?,
        slot: slot_of(me),
        application_name: format!("bascule-{me}"),
        sslmode: if found.has("sslmode") { text("sslmode")? } else { "prefer".to_owned() },
    })
}

fn instance<'a>(policy: &'a Policy, name: &ItemName, site: &SiteName) -> Result<&'a Instance, String> {
    let database = policy.databases.get(name).ok_or_else(|| format!("spec.databases has no entry {name}"))?;
    let found = database.instances.get(site);
    found.ok_or_else(|| format!("spec.databases[{name}] has no instance for site {site}"))
}
