//! The databases of a policy, through the operator's own role, and the way from a replica to its primary.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bascule_core::guard::wire::{Upstream, slot_of};
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::policy::{Instance, Policy};
use bascule_core::timing::Timing;
use bascule_engine::ports::NoUpstream;
use secrecy::ExposeSecret;

use super::LOOK;
use crate::guards::Disks;
use crate::kube::client::Kube;
use crate::kube::failure::chain;
use crate::kube::secret::{self, SecretError};
use crate::postgres::{Expected, Postgres, PostgresTarget, Thresholds, Tls};

/// The keys that the operator's and the replication Secret must have.
const CREDENTIALS: [&str; 2] = ["username", "password"];

/// A server and what its adapter was made of.
struct Made {
    instance: Instance,
    secret: String,
    server: Arc<Postgres>,
}

/// The adapters made so far: each keeps its session and its last answer.
#[derive(Default)]
pub(super) struct Servers {
    made: Mutex<BTreeMap<(PolicyKey, ItemName), Made>>,
}

impl Servers {
    /// This site's server of the database `name`, or why it cannot be asked, for the person who must act.
    pub(super) async fn of(
        &self,
        kube: &Kube,
        me: &SiteName,
        policy: &Policy,
        name: &ItemName,
    ) -> Result<Arc<Postgres>, String> {
        let instance = instance(policy, name, me)?;
        let field = format!("spec.databases[{name}].postgresql.instances[{me}].secretRef");
        let namespace = policy.key.namespace.as_str();
        let found = secret::read(&kube.within(LOOK), namespace, instance.secret.as_str(), &CREDENTIALS)
            .await
            .map_err(|e| format!("{field}: {}", chain(&e)))?;
        let key = (policy.key.clone(), name.clone());
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && made.instance == *instance
            && made.secret == found.version
        {
            return Ok(Arc::clone(&made.server));
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
        let server = Arc::new(Postgres::new(target));
        let made =
            Made { instance: instance.clone(), secret: found.version.clone(), server: Arc::clone(&server) };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made);
        Ok(server)
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
