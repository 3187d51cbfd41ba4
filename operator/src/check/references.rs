//! Whether everything is there that a policy names in a site's cluster, and as it must be.

use bascule_adapters::dns::TsigKey;
use bascule_adapters::kube::flag::{FlagValue, Position};
use bascule_adapters::kube::foreign;
use bascule_adapters::kube::pods::asks_server;
use bascule_adapters::kube::secret::{self, SecretError, SecretValues};
use bascule_adapters::kube::workload::{self, Autoscaler, WorkloadRef};
use bascule_adapters::kube::{Failure, Rehearsal, read_only};
use bascule_core::name::{ItemName, SiteName};
use bascule_core::policy::{FenceClass, FlagPlace, FlagStore, Instance, Policy, Workload, WorkloadKind};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use secrecy::ExposeSecret as _;

use super::codes::{
    ANOTHER_OPERATOR, AUTOSCALER, CONTENDED, Code, FLAG_IMMUTABLE, FLAG_MISSING, FLAG_VALUE, GUARD_ABSENT,
    LIVENESS_PROBE, SECRET_MISSING, SECRET_UNUSABLE, SHARED_PROCESSES, STATEFUL_SET_MISSING,
    UNREPLICATED_VOLUME, WORKLOAD_MISSING, WRITE_REFUSED,
};
use super::live::Asked;
use super::policies::named;
use super::report::Report;
use super::routes;

/// What a role's Secret has to have.
const CREDENTIALS: [&str; 2] = ["username", "password"];

/// Looks at everything that the policy names at `site`.
pub async fn check(asked: &Asked, policy: &Policy, site: &SiteName, report: &mut Report) {
    for (name, database) in &policy.databases {
        let Some(instance) = database.instances.get(site) else { continue };
        let field = format!("spec.databases[{name}].postgresql.instances[{site}]");
        server(asked, policy, &field, instance, database.fence, report).await;
        for (member, secret) in
            [("secretRef", &instance.secret), ("replicationSecretRef", &instance.replication_secret)]
        {
            let field = format!("{field}.{member}");
            read(asked, policy, &field, secret.as_str(), &CREDENTIALS, report).await;
        }
    }
    for (name, workload) in &policy.workloads {
        of_workload(asked, policy, name, workload, report).await;
    }
    routes::check(asked, policy, site, report).await;
    report.looked(format!("{}: what it names in {site}", named(policy)));
}

/// Reads a Secret; says what is wrong with it.
pub async fn read(
    asked: &Asked,
    policy: &Policy,
    field: &str,
    name: &str,
    keys: &[&str],
    report: &mut Report,
) -> Option<SecretValues> {
    let expected = format!("a Secret with the keys {}", keys.join(", "));
    match secret::read(asked.cluster.kube(), policy.key.namespace.as_str(), name, keys).await {
        Ok(found) => return Some(found),
        Err(SecretError::Call(failure)) => report.unseen(&named(policy), field, failure.to_string()),
        Err(why @ SecretError::Missing { .. }) => {
            report.find(SECRET_MISSING, &named(policy), field, why.to_string(), &expected);
        }
        Err(why) => report.find(SECRET_UNUSABLE, &named(policy), field, why.to_string(), &expected),
    }
    None
}

/// The key of the name servers.
pub async fn key(
    asked: &Asked,
    policy: &Policy,
    field: &str,
    name: &str,
    report: &mut Report,
) -> Option<TsigKey> {
    let keys = ["name", "algorithm", "secret"];
    let found = read(asked, policy, field, name, &keys, report).await?;
    let text = |key| found.text(key);
    let made = text("name").and_then(|n| Ok((n, text("algorithm")?, text("secret")?)));
    let made = made.map_err(|e| e.to_string()).and_then(|(name, algorithm, secret)| {
        TsigKey::new(name.expose_secret(), algorithm.expose_secret(), &secret).map_err(|e| e.to_string())
    });
    match made {
        Ok(key) => Some(key),
        Err(why) => {
            report.find(SECRET_UNUSABLE, &named(policy), field, why, "a TSIG key as the name server has it");
            None
        }
    }
}

/// The StatefulSet of a database's server.
async fn server(
    asked: &Asked,
    policy: &Policy,
    field: &str,
    instance: &Instance,
    fence: FenceClass,
    report: &mut Report,
) {
    let namespace = policy.key.namespace.as_str();
    let set = instance.stateful_set.as_str();
    let field = format!("{field}.statefulSet");
    let api = Api::<StatefulSet>::namespaced(asked.cluster.kube().client(), namespace);
    let what = format!("statefulsets.apps {set} in namespace {namespace}");
    let found = match asked.ask("get", what, api.get_opt(set)).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            if pods_of_another(asked, policy, &field, set, report).await {
                return;
            }
            let found = format!("StatefulSet {namespace}/{set} does not exist");
            return report.find(
                STATEFUL_SET_MISSING,
                &named(policy),
                &field,
                found,
                "the StatefulSet of the database",
            );
        }
        Err(why) => return report.unseen(&named(policy), &field, why.to_string()),
    };
    let object = format!("StatefulSet {namespace}/{set}");
    let template = found.spec.as_ref().map(|s| &s.template);
    let none = ObjectMeta::default();
    let pod = template.and_then(|t| Some((t.metadata.as_ref().unwrap_or(&none), t.spec.as_ref()?)));
    match foreign::of_set(&found.metadata, pod) {
        Some(who) => another(report, &object, "metadata", &who),
        None => service_of_another(asked, policy, instance, report).await,
    }
    let Some(pod) = found.spec.and_then(|s| s.template.spec) else { return };
    for (shared, member) in
        [(pod.share_process_namespace, "shareProcessNamespace"), (pod.host_pid, "hostPID")]
    {
        if shared == Some(true) {
            let field = format!("spec.template.spec.{member}");
            report.find(SHARED_PROCESSES, &object, &field, "true".to_owned(), "false, or left out");
        }
    }
    if fence == FenceClass::Guard && !pod.containers.iter().any(is_guarded) {
        let commands: Vec<String> =
            pod.containers.iter().map(|c| format!("{}: {}", c.name, words(c).join(" "))).collect();
        let expected = "a container whose command is `bascule guard postgres -- …`, for spec.databases[].postgresql.fence is Guard";
        report.find(GUARD_ABSENT, &object, "spec.template.spec.containers", commands.join("; "), expected);
    }
    for container in &pod.containers {
        if let Some(probe) = &container.liveness_probe
            && asks_server(probe, container, instance.port)
        {
            let field = format!("spec.template.spec.containers[{}].livenessProbe", container.name);
            report.find(
                LIVENESS_PROBE,
                &object,
                &field,
                "it asks the database".to_owned(),
                "none, or one of the guard",
            );
        }
    }
}

fn another(report: &mut Report, object: &str, field: &str, who: &str) {
    let expected = "a server that nothing but its guard starts, promotes or replaces";
    report.find(ANOTHER_OPERATOR, object, field, format!("it belongs to {who}"), expected);
}

/// Operators that make pods without a StatefulSet name them by their cluster. Whether there are any.
async fn pods_of_another(
    asked: &Asked,
    policy: &Policy,
    field: &str,
    cluster: &str,
    report: &mut Report,
) -> bool {
    let namespace = policy.key.namespace.as_str();
    let api = Api::<Pod>::namespaced(asked.cluster.kube().client(), namespace);
    let pods = match asked
        .ask("list", format!("pods in namespace {namespace}"), api.list(&ListParams::default()))
        .await
    {
        Ok(pods) => pods.items,
        Err(why) => {
            report.unseen(&named(policy), field, why.to_string());
            return false;
        }
    };
    let begins = format!("{cluster}-");
    let mut theirs = pods.iter().filter(|p| p.name_any().starts_with(&begins));
    let found = theirs.find_map(|p| Some((p.name_any(), foreign::of_pod(&p.metadata, p.spec.as_ref()?)?)));
    let Some((pod, who)) = found else { return false };
    another(report, &format!("Pod {namespace}/{pod}"), "metadata", &who);
    true
}

/// The Service that the operator asks may lead to another server than the StatefulSet's.
async fn service_of_another(asked: &Asked, policy: &Policy, instance: &Instance, report: &mut Report) {
    let namespace = policy.key.namespace.as_str();
    let mut parts = instance.host.split('.');
    let (Some(name), at) = (parts.next().filter(|n| !n.is_empty()), parts.next()) else { return };
    if at.is_some_and(|at| at != namespace) || (at.is_some() && parts.next().is_some_and(|p| p != "svc")) {
        return;
    }
    let api = Api::<Service>::namespaced(asked.cluster.kube().client(), namespace);
    // What cannot be looked at is no Service, or one that the operator itself will not reach: both are told elsewhere.
    let Ok(Some(service)) =
        asked.ask("get", format!("services {name} in namespace {namespace}"), api.get_opt(name)).await
    else {
        return;
    };
    let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref());
    if let Some(who) = foreign::by_labels(selector) {
        another(report, &format!("Service {namespace}/{name}"), "spec.selector", &who);
    }
}

fn words(c: &Container) -> Vec<&str> {
    let all = c.command.iter().flatten().chain(c.args.iter().flatten());
    all.map(String::as_str).collect()
}

/// Whether the container's first process is a guard, by whatever path; a shell in front of it would be the first.
fn is_guarded(c: &Container) -> bool {
    let words = words(c);
    let is_bascule = |path: &str| path.rsplit('/').next() == Some("bascule");
    matches!(words.as_slice(), [program, "guard", "postgres", ..] if is_bascule(program))
        // The image's own entry point may be the program.
        || (c.command.as_ref().is_none_or(Vec::is_empty) && words.starts_with(&["guard", "postgres"]))
}

async fn of_workload(
    asked: &Asked,
    policy: &Policy,
    name: &ItemName,
    workload: &Workload,
    report: &mut Report,
) {
    let kube = asked.cluster.kube();
    let namespace = policy.key.namespace.as_str();
    let field = format!("spec.workloads[{name}]");
    let reference = WorkloadRef::new(namespace, workload.kind, workload.name.as_str());
    let facts = match workload::observe(kube, &reference).await {
        Ok(facts) => Some(facts),
        Err(why @ Failure::Missing { .. }) => {
            let expected = "the workload of that name in this site";
            report.find(
                WORKLOAD_MISSING,
                &named(policy),
                &format!("{field}.targetRef"),
                why.to_string(),
                expected,
            );
            None
        }
        Err(why) => {
            report.unseen(&named(policy), &format!("{field}.targetRef"), why.to_string());
            None
        }
    };
    if let Some(facts) = facts {
        let wanted = workload.replicas.active.or(workload.replicas.standby).or(workload.replicas.read_only);
        if wanted.is_some() {
            if let Autoscaler::Present { name, min, max } = &facts.autoscaler {
                let found =
                    format!("HorizontalPodAutoscaler {namespace}/{name} ({min} to {max}) sets them too");
                report.find(
                    AUTOSCALER,
                    &named(policy),
                    &format!("{field}.replicas"),
                    found,
                    "one that sets the number",
                );
            }
            if let Ok(replicas) = u32::try_from(facts.replicas) {
                // The number that is there conflicts with nobody; another one shows whose the field is.
                let tried = workload::rehearse_replicas(kube, &reference, replicas.saturating_add(1)).await;
                rehearsed(tried, policy, &format!("{field}.replicas"), report);
            }
        }
        volumes(asked, policy, &field, workload, report).await;
    }
    let Some(spec) = &workload.read_only else { return };
    let field = format!("{field}.readOnly");
    let of_workload = format!("{:?} {namespace}/{}", workload.kind, workload.name);
    let (object, place) = match &spec.place {
        FlagPlace::Key(key) => {
            let store = match key.store {
                FlagStore::ConfigMap => "ConfigMap",
                FlagStore::Secret => "Secret",
            };
            (format!("{store} {namespace}/{}", key.name), format!("data.{}", key.key))
        }
        FlagPlace::Variable(variable) => (of_workload, format!("variable {}", variable.name)),
        FlagPlace::Annotation(annotation) => (of_workload, format!("annotation {}", annotation.key)),
        FlagPlace::Calls(_) => (of_workload, "its pods".to_owned()),
    };
    match read_only::observe(kube, &reference, &spec.place).await {
        Err(Failure::Missing { .. }) => {
            // Of a missing workload, that is said already.
            let Some(key) = spec.place.key() else { return };
            let found = format!("{object} does not exist");
            report.find(FLAG_MISSING, &named(policy), &field, found, &format!("the key {}", key.key));
        }
        // The dry run below says it, as what it is.
        Err(Failure::Unfit { .. }) => {}
        Err(why) => return report.unseen(&named(policy), &field, why.to_string()),
        Ok(facts) => {
            if facts.immutable {
                report.find(FLAG_IMMUTABLE, &object, "immutable", "true".to_owned(), "false, or left out");
            }
            let found = match facts.value {
                FlagValue::At(_) => None,
                // Whoever leaves it out of git, as is best, has none before Bascule writes it.
                FlagValue::Absent => spec.place.key().map(|_| (FLAG_MISSING, "no such key")),
                // It may be a secret.
                FlagValue::Other => Some((FLAG_VALUE, "another value")),
            };
            if let Some((code, found)) = found {
                let expected = "readOnlyValue or readWriteValue of the policy";
                report.find(code, &object, &place, found.to_owned(), expected);
            }
        }
    }
    for position in [Position::ReadOnly, Position::ReadWrite] {
        if rehearsed(
            read_only::rehearse(kube, &reference, &spec.place, position).await,
            policy,
            &field,
            report,
        ) {
            break;
        }
    }
}

/// What a dry run said; whether it said anything that is to be told.
fn rehearsed(tried: Rehearsal, policy: &Policy, field: &str, report: &mut Report) -> bool {
    let (code, found, expected): (Code, String, String) = match tried {
        Rehearsal::Possible => return false,
        Rehearsal::Contended { contentions } => {
            let owners: Vec<String> = contentions.iter().map(ToString::to_string).collect();
            let lines: Vec<String> = contentions.iter().flat_map(|c| c.release.clone()).collect();
            let lines = if lines.is_empty() {
                "the field without another owner".to_owned()
            } else {
                lines.join("\n")
            };
            (CONTENDED, owners.join("; "), lines)
        }
        Rehearsal::Refused { reason } if reason.contains(" 403: ") => {
            report.unseen(&named(policy), field, format!("the dry run is not allowed: {reason}"));
            return true;
        }
        Rehearsal::Refused { reason } => {
            (WRITE_REFUSED, reason, "a dry run that the API server takes".to_owned())
        }
        Rehearsal::Unknown { reason } => {
            report.unseen(&named(policy), field, reason);
            return true;
        }
    };
    report.find(code, &named(policy), field, found, &expected);
    true
}

/// Volumes whose data stays where it is.
async fn volumes(asked: &Asked, policy: &Policy, field: &str, workload: &Workload, report: &mut Report) {
    let namespace = policy.key.namespace.as_str();
    let client = asked.cluster.kube().client();
    let name = workload.name.as_str();
    let what = |kind: &str| format!("{kind}.apps {name} in namespace {namespace}");
    let found = match workload.kind {
        WorkloadKind::Deployment => {
            let api = Api::<Deployment>::namespaced(client, namespace);
            let found = asked.ask("get", what("deployments"), api.get(name)).await;
            found.map(|d| d.spec.and_then(|s| s.template.spec).map(|p| claims(&p)).unwrap_or_default())
        }
        WorkloadKind::StatefulSet => {
            let api = Api::<StatefulSet>::namespaced(client, namespace);
            let found = asked.ask("get", what("statefulsets"), api.get(name)).await;
            found.map(|s| {
                let Some(spec) = s.spec else { return Vec::new() };
                let own =
                    spec.volume_claim_templates.iter().flatten().filter_map(|c| c.metadata.name.clone());
                let named = spec.template.spec.iter().flat_map(claims);
                own.chain(named).collect()
            })
        }
    };
    // Whoever could not look has said so for the workload itself.
    let Ok(claims) = found else { return };
    if !claims.is_empty() {
        let found = format!("it keeps data in {}", claims.join(", "));
        let expected = "no volume of its own: nothing brings its data to the other sites";
        report.find(UNREPLICATED_VOLUME, &named(policy), &format!("{field}.targetRef"), found, expected);
    }
}

fn claims(pod: &PodSpec) -> Vec<String> {
    let volumes = pod.volumes.iter().flatten();
    volumes
        .filter(|v| v.persistent_volume_claim.as_ref().is_some_and(|c| c.read_only != Some(true)))
        .map(|v| v.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_the_first_process_or_it_is_none() {
        let container = |command: &[&str], args: &[&str]| {
            let all = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect());
            Container { command: all(command), args: all(args), ..Container::default() }
        };
        assert!(is_guarded(&container(
            &["/opt/bascule/bascule", "guard", "postgres", "--", "postgres"],
            &[]
        )));
        assert!(is_guarded(&container(&["bascule"], &["guard", "postgres", "--", "postgres"])));
        assert!(is_guarded(&container(&[], &["guard", "postgres", "--", "postgres"])));
        assert!(!is_guarded(&container(&["sh", "-c", "bascule guard postgres -- postgres"], &[])));
        assert!(!is_guarded(&container(&["postgres"], &[])));
        assert!(!is_guarded(&container(&["/bin/notbascule", "guard", "postgres"], &[])));
        assert!(!is_guarded(&Container::default()));
    }
}
