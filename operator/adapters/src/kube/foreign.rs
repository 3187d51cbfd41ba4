//! Whose is a server? Pods and StatefulSets of another database operator are its own: it starts, promotes and replaces
//! them by rules that know nothing of a guard, and puts back what anybody else changes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Labels that an operator gives to what it has made, and its name.
const LABELS: [(&str, &str); 6] = [
    ("cnpg.io/cluster", "CloudNativePG"),
    ("k8s.enterprisedb.io/cluster", "EDB Postgres for Kubernetes"),
    (
        "postgres-operator.crunchydata.com/cluster",
        "the Crunchy operator (or Percona's, which is made from it)",
    ),
    ("stackgres.io/cluster-name", "StackGres"),
    ("spilo-role", "Patroni, in Spilo"),
    ("kubedb.com/name", "KubeDB"),
];
/// The same for labels that need a value.
const VALUES: [(&str, &str, &str); 3] = [
    ("application", "spilo", "Zalando's operator, with Patroni"),
    ("app", "StackGresCluster", "StackGres"),
    ("app.kubernetes.io/managed-by", "kubedb.com", "KubeDB"),
];
/// What is set for, or run as, a program that promotes by itself.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("PATRONI_", "patroni", "Patroni"),
    ("REPMGR_", "repmgrd", "repmgr"),
    ("STKEEPER_", "stolon-keeper", "Stolon"),
    ("PG_AUTOCTL_", "pg_autoctl", "pg_auto_failover"),
];

/// Who else rules a StatefulSet, and by what that was seen.
pub fn of_set(meta: &ObjectMeta, pod: Option<(&ObjectMeta, &PodSpec)>) -> Option<String> {
    let template = pod.and_then(|(meta, _)| by_labels(meta.labels.as_ref()));
    by_labels(meta.labels.as_ref())
        .or(template)
        .or_else(|| by_owner(meta, None))
        .or_else(|| pod.and_then(|(_, spec)| by_program(spec)))
}

/// The same for a pod.
pub fn of_pod(meta: &ObjectMeta, spec: &PodSpec) -> Option<String> {
    by_labels(meta.labels.as_ref())
        .or_else(|| by_owner(meta, Some("StatefulSet")))
        .or_else(|| by_program(spec))
}

/// The same for the pods that a selector finds.
pub fn by_labels(labels: Option<&BTreeMap<String, String>>) -> Option<String> {
    let labels = labels?;
    let values = VALUES.iter().filter(|(key, value, _)| labels.get(*key).is_some_and(|v| v == value));
    let mut found = LABELS
        .iter()
        .filter_map(|(key, who)| Some((key, labels.get(*key)?, who)))
        .map(|(key, value, who)| format!("{who} (label {key}={value})"))
        .chain(values.map(|(key, value, who)| format!("{who} (label {key}={value})")));
    found.next()
}

/// Whoever controls the object puts its own text back; `but`: a kind that may.
fn by_owner(meta: &ObjectMeta, but: Option<&str>) -> Option<String> {
    let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    let own = but.is_some_and(|kind| owner.kind == kind && owner.api_version.starts_with("apps/"));
    (!own).then(|| format!("{} {} ({}), which controls it", owner.kind, owner.name, owner.api_version))
}

fn by_program(spec: &PodSpec) -> Option<String> {
    spec.containers.iter().find_map(|c| {
        PROGRAMS.iter().find_map(|(prefix, program, who)| {
            if let Some(env) = c.env.iter().flatten().find(|e| e.name.starts_with(prefix)) {
                return Some(format!("{who} (container {} has {})", c.name, env.name));
            }
            runs(c, program).then(|| format!("{who} (container {} runs {program})", c.name))
        })
    })
}

fn runs(c: &Container, program: &str) -> bool {
    let words = c.command.iter().flatten().chain(c.args.iter().flatten());
    words.take(2).any(|word| word.rsplit('/').next() == Some(program))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(meta: Value, spec: &Value) -> Option<String> {
        let meta = serde_json::from_value(meta).unwrap();
        let mut all = json!({ "containers": [{ "name": "postgres" }] });
        if let Some(more) = spec.as_object().filter(|m| !m.is_empty()) {
            all["containers"][0].as_object_mut().unwrap().extend(more.clone());
        }
        of_pod(&meta, &serde_json::from_value(all).unwrap())
    }

    #[test]
    fn each_operator_is_known_by_what_it_makes_and_a_plain_server_is_nobodys() {
        let set = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "main", "uid": "1", "controller": true });
        let cluster = json!({ "apiVersion": "example.org/v1", "kind": "Postgres", "name": "main", "uid": "1", "controller": true });
        let labels = |key: &str, value: &str| json!({ "labels": { key: value } });
        for (meta, spec, who) in [
            (labels("cnpg.io/cluster", "main"), json!({}), "CloudNativePG (label cnpg.io/cluster=main)"),
            (labels("postgres-operator.crunchydata.com/cluster", "hippo"), json!({}), "Crunchy"),
            (labels("stackgres.io/cluster-name", "simple"), json!({}), "StackGres"),
            (labels("application", "spilo"), json!({}), "Zalando"),
            (json!({ "ownerReferences": [cluster] }), json!({}), "Postgres main (example.org/v1)"),
            (
                json!({}),
                json!({ "env": [{ "name": "PATRONI_SCOPE", "value": "main" }] }),
                "has PATRONI_SCOPE",
            ),
            (json!({}), json!({ "command": ["/usr/bin/python3", "/usr/bin/patroni"] }), "runs patroni"),
            (json!({}), json!({ "env": [{ "name": "REPMGR_PASSWORD", "value": "x" }] }), "repmgr"),
        ] {
            let found = pod(meta.clone(), &spec).unwrap_or_else(|| panic!("{meta} is nobody's"));
            assert!(found.contains(who), "{found}");
        }
        let plain = json!({ "labels": { "app": "main", "application": "shop" }, "ownerReferences": [set] });
        let guarded = json!({ "command": ["/opt/bascule/bascule", "guard", "postgres", "--", "postgres"] });
        assert_eq!(pod(plain, &guarded), None);
    }

    #[test]
    fn a_statefulset_is_judged_by_its_own_owner_and_by_its_template() {
        let owned: ObjectMeta = serde_json::from_value(json!({ "ownerReferences": [
            { "apiVersion": "acid.zalan.do/v1", "kind": "postgresql", "name": "main", "uid": "1", "controller": true },
        ] }))
        .unwrap();
        assert!(of_set(&owned, None).unwrap().contains("postgresql main (acid.zalan.do/v1)"));
        let template: ObjectMeta =
            serde_json::from_value(json!({ "labels": { "spilo-role": "master" } })).unwrap();
        let spec = PodSpec::default();
        assert!(of_set(&ObjectMeta::default(), Some((&template, &spec))).unwrap().contains("Spilo"));
        assert_eq!(of_set(&ObjectMeta::default(), Some((&ObjectMeta::default(), &spec))), None);
    }
}
