//! Looks at a database through the operator's own role, and finds the way from a replica to its primary.

use bascule_core::guard::wire::Upstream;
use bascule_core::name::{ItemName, SiteName};
use bascule_core::observation::Fact;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::{Instance, Policy};
use bascule_core::timing::Timing;
use secrecy::ExposeSecret;

use super::{LOOK, gate, no_entry};
use crate::kube::client::Kube;
use crate::kube::secret;
use crate::postgres::{ExpectedRole, Postgres, PostgresTarget, Thresholds, Tls};

/// The keys that the operator's and the replication Secret must have.
const CREDENTIALS: [&str; 2] = ["username", "password"];

/// Where the server of `instance` is and how the operator signs in.
pub(super) async fn target(
    kube: &Kube,
    policy: &Policy,
    instance: &Instance,
) -> Result<PostgresTarget, String> {
    let namespace = policy.key.namespace.as_str();
    let found = secret::read(&kube.within(LOOK), namespace, instance.secret.as_str(), &CREDENTIALS)
        .await
        .map_err(|e| crate::kube::failure::chain(&e))?;
    let tls = if found.has("ca.crt") {
        let ca = found.bytes("ca.crt").map_err(|e| e.to_string())?;
        Tls::verified(ca.expose_secret()).map_err(|e| e.to_string())?
    } else {
        Tls::Off
    };
    Ok(PostgresTarget {
        host: instance.host.clone(),
        port: instance.port,
        user: found.text("username").map_err(|e| e.to_string())?.expose_secret().to_owned(),
        password: found.text("password").map_err(|e| e.to_string())?,
        dbname: instance.database.clone(),
        tls,
    })
}

pub(super) async fn preflight(
    kube: &Kube,
    me: &SiteName,
    timing: &Timing,
    policy: &Policy,
    name: &ItemName,
    active: bool,
) -> Fact<Vec<Gate>> {
    let Some(database) = policy.databases.get(name) else { return no_entry(name) };
    let Some(instance) = database.instances.get(me) else { return no_entry(name) };
    let item = format!("database/{name}");
    let target = match target(kube, policy, instance).await {
        Ok(target) => target,
        Err(reason) => return Fact::now(vec![Gate::new(&item, Answer::No, reason, "the operator's role")]),
    };
    // One more than the replicas: a base backup needs a sender of its own.
    let others = u32::try_from(database.instances.len()).unwrap_or(u32::MAX);
    let limits = Thresholds {
        dead_link_within: timing.l(),
        retry_at_most: timing.tq(),
        wal_senders_at_least: others,
        slots_at_least: others.saturating_sub(1),
    };
    let role = if active { ExpectedRole::Primary } else { ExpectedRole::Either };
    let findings = Postgres::new(target).preflight(role, &limits, LOOK).await;
    Fact::now(findings.iter().filter_map(|f| gate(&item, f)).collect())
}

pub(super) async fn upstream(
    kube: &Kube,
    me: &SiteName,
    policy: &Policy,
    name: &ItemName,
    site: &SiteName,
) -> Result<Upstream, String> {
    let database = policy.databases.get(name).ok_or_else(|| format!("{name} is not in the policy"))?;
    let of = |site: &SiteName| {
        let found = database.instances.get(site);
        found.ok_or_else(|| format!("spec.databases[{name}] has no instance for site {site}"))
    };
    let primary = of(site)?;
    // The Secret is this site's: no site holds another's, except for replication, and that in its own cluster.
    let own = of(me)?;
    let namespace = policy.key.namespace.as_str();
    let found = secret::read(&kube.within(LOOK), namespace, own.replication_secret.as_str(), &CREDENTIALS)
        .await
        .map_err(|e| crate::kube::failure::chain(&e))?;
    let text = |key| found.text(key).map(|v| v.expose_secret().to_owned()).map_err(|e| e.to_string());
    Ok(Upstream {
        host: primary.replication_host.clone(),
        port: primary.replication_port,
        user: text("username")?,
        password: text("password")?,
        slot: bascule_core::guard::wire::slot_of(me),
        application_name: format!("bascule-{me}"),
        sslmode: if found.has("sslmode") { text("sslmode")? } else { "prefer".to_owned() },
    })
}
