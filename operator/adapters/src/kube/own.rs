//! The read-only flag of a workload in its own object: an environment variable of one container, or an annotation.
//!
//! A process keeps the environment that it was started with, and a pod the annotations of its template. So whoever
//! changes these makes the workload's controller replace the pods, one after the other, and each pod shows what it was
//! started with. An annotation of the object itself replaces nothing.

use bascule_core::observation::PodsAsked;
use bascule_core::policy::{AnnotationOf, FlagPlace, FlagValues, FlagVariable};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::client::Kube;
use super::failure::{Failure, Subject};
use super::flag::{FLAG_MANAGER, FlagFacts, FlagValue, Position};
use super::ownership::{Field, Part, owners, with_release};
use super::workload::{WorkloadRef, containers, kind_name, name_of, resource};

/// The longest name of a field manager that the API server takes.
const MANAGER_LENGTH: usize = 128;

const TEMPLATE: [Part<'static>; 2] = [Part::Member("spec"), Part::Member("template")];

/// Where in an object the flag is, and what is there.
struct Spot<'a> {
    path: Vec<Part<'a>>,
    values: &'a FlagValues,
    found: Found<'a>,
    manager: String,
    /// Whether a change makes the controller replace the pods.
    replaces: bool,
}

enum Found<'a> {
    Nothing,
    Text(&'a str),
    /// The variable takes its value from elsewhere.
    Elsewhere,
}

impl Spot<'_> {
    fn field(&self) -> Field<'_> {
        Field(&self.path)
    }

    fn value(&self) -> FlagValue {
        match self.found {
            Found::Nothing => FlagValue::Absent,
            Found::Text(text) => FlagValue::of(self.values, Some(text.as_bytes())),
            Found::Elsewhere => FlagValue::Other,
        }
    }
}

/// Finds the flag in the workload. Refused where it cannot be.
fn spot<'a>(subject: &Subject, object: &'a DynamicObject, place: &'a FlagPlace) -> Result<Spot<'a>, Failure> {
    match place {
        FlagPlace::Variable(variable) => of_variable(subject, object, variable),
        FlagPlace::Annotation(annotation) => {
            let (above, at): (&[Part<'_>], _) = match annotation.of {
                AnnotationOf::Workload => {
                    (&[], object.annotations().get(&annotation.key).map(String::as_str))
                }
                AnnotationOf::PodTemplate => {
                    let all = object.data.pointer("/spec/template/metadata/annotations");
                    (&TEMPLATE, all.and_then(|all| all.get(&annotation.key)).and_then(Value::as_str))
                }
            };
            let own = [Part::Member("metadata"), Part::Member("annotations"), Part::Member(&annotation.key)];
            let kind = match annotation.of {
                AnnotationOf::Workload => "annotation",
                AnnotationOf::PodTemplate => "template.annotation",
            };
            Ok(Spot {
                path: above.iter().copied().chain(own).collect(),
                values: &annotation.values,
                found: at.map_or(Found::Nothing, Found::Text),
                manager: manager(&format!("{kind}:{}", annotation.key)),
                replaces: annotation.of == AnnotationOf::PodTemplate,
            })
        }
        FlagPlace::Key(_) | FlagPlace::Calls(_) => {
            Err(Failure::unfit(subject, "the flag is not in this object"))
        }
    }
}

fn of_variable<'a>(
    subject: &Subject,
    object: &'a DynamicObject,
    variable: &'a FlagVariable,
) -> Result<Spot<'a>, Failure> {
    let container = container(subject, containers(object), variable)?;
    let name = name_of(container).unwrap_or_default();
    let env = [
        Part::Member("spec"),
        Part::Member("containers"),
        Part::Entry(name),
        Part::Member("env"),
        Part::Entry(&variable.name),
        Part::Member("value"),
    ];
    let found = match entry(container, variable) {
        None => Found::Nothing,
        Some(entry) if entry.get("valueFrom").is_some() => Found::Elsewhere,
        // A value that is left out is the empty one.
        Some(entry) => Found::Text(entry.get("value").and_then(Value::as_str).unwrap_or_default()),
    };
    Ok(Spot {
        path: TEMPLATE.into_iter().chain(env).collect(),
        values: &variable.values,
        found,
        manager: manager(&format!("{name}/{}", variable.name)),
        replaces: true,
    })
}

/// Reads the flag.
pub(super) async fn observe(
    kube: &Kube,
    workload: &WorkloadRef,
    place: &FlagPlace,
) -> Result<FlagFacts, Failure> {
    let subject = workload.subject();
    let seen = read(kube, &subject, workload).await?;
    let spot = spot(&subject, &seen, place)?;
    let owners = owners(seen.managed_fields(), spot.field());
    Ok(FlagFacts { value: spot.value(), owners, immutable: false })
}

async fn read(kube: &Kube, subject: &Subject, workload: &WorkloadRef) -> Result<DynamicObject, Failure> {
    let api = kube.dynamic(&workload.namespace, &resource(workload.kind));
    kube.call(subject, api.get(&workload.name)).await
}

/// Sets the flag: just this field, never by force, and not where its container is missing.
pub(super) async fn set(
    kube: &Kube,
    workload: &WorkloadRef,
    place: &FlagPlace,
    position: Position,
) -> Result<(), Failure> {
    apply(kube, workload, place, position, false).await
}

/// Tries [`set`] without doing it, and whether the pods would be replaced after it.
pub(super) async fn rehearse(
    kube: &Kube,
    workload: &WorkloadRef,
    place: &FlagPlace,
    position: Position,
) -> Result<(), Failure> {
    apply(kube, workload, place, position, true).await
}

async fn apply(
    kube: &Kube,
    workload: &WorkloadRef,
    place: &FlagPlace,
    position: Position,
    rehearse: bool,
) -> Result<(), Failure> {
    let subject = workload.subject();
    let seen = read(kube, &subject, workload).await?;
    let spot = spot(&subject, &seen, place)?;
    if matches!(spot.found, Found::Elsewhere) {
        let reason = format!(
            "{}.valueFrom: the variable takes its value from elsewhere, expected one with a value, or none: take valueFrom away, or name where it comes from as the policy's flag (configMapKey, secretKey)",
            spot.field().whole().words()
        );
        return Err(Failure::unfit(&subject, reason));
    }
    if let Some(reason) = keeps_its_pods(&seen).filter(|_| rehearse && spot.replaces) {
        return Err(Failure::unfit(&subject, reason));
    }
    let mut body = nested(&spot.path, position.of(spot.values));
    body["apiVersion"] = json!("apps/v1");
    body["kind"] = json!(kind_name(workload.kind));
    body["metadata"]["name"] = json!(workload.name);
    body["metadata"]["namespace"] = json!(workload.namespace);
    // With the identity an apply neither creates the object nor touches one that replaced it meanwhile.
    body["metadata"]["uid"] = json!(seen.metadata.uid);
    let params = PatchParams { dry_run: rehearse, ..PatchParams::apply(&spot.manager) };
    let api = kube.dynamic(&workload.namespace, &resource(workload.kind));
    let applied =
        kube.call(&subject, api.patch_metadata(&workload.name, &params, &Patch::Apply(&body))).await;
    applied.map(drop).map_err(|failure| with_release(failure, "apps", seen.managed_fields(), spot.field()))
}

/// An object with this text at this path, and nothing else.
fn nested(path: &[Part<'_>], text: &str) -> Value {
    path.iter().rev().fold(json!(text), |inner, part| match part {
        Part::Member(name) => Value::Object(Map::from_iter([((*name).to_owned(), inner)])),
        Part::Entry(name) => {
            let mut entry = inner;
            entry["name"] = json!(name);
            json!([entry])
        }
    })
}

/// The field manager of one flag. What an apply leaves out goes away with it, so no two flags share one.
fn manager(flag: &str) -> String {
    let name = format!("{FLAG_MANAGER}:{flag}");
    if name.len() <= MANAGER_LENGTH {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(16).fold(format!("{FLAG_MANAGER}:"), |name, byte| format!("{name}{byte:02x}"))
}

/// The container that the policy means.
fn container<'a>(subject: &Subject, all: &'a [Value], variable: &FlagVariable) -> Result<&'a Value, Failure> {
    let found = match &variable.container {
        Some(wanted) => all.iter().find(|c| name_of(c) == Some(wanted)),
        None => all.first().filter(|_| all.len() == 1),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().filter_map(name_of).collect();
        let expected = match &variable.container {
            Some(wanted) => format!("{wanted}, which readOnly.environment.container of the policy names"),
            None => "a single one, or its name in readOnly.environment.container of the policy".to_owned(),
        };
        let reason =
            format!("spec.template.spec.containers: found {}, expected {expected}", names.join(", "));
        Failure::unfit(subject, reason)
    })
}

fn entry<'a>(container: &'a Value, variable: &FlagVariable) -> Option<&'a Value> {
    // Where a name stands twice, the last one counts for the process.
    let all = container.get("env").and_then(Value::as_array)?;
    all.iter().rev().find(|e| name_of(e) == Some(&variable.name))
}

/// Why the pods of this workload would go on with what they were started with.
fn keeps_its_pods(object: &DynamicObject) -> Option<String> {
    let at = |pointer: &str| object.data.pointer(pointer);
    if at("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return Some(
            "spec.paused: found true, so no pod is replaced; expected false, or left out".to_owned(),
        );
    }
    if at("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete") {
        return Some(
            "spec.updateStrategy.type: found OnDelete, so no pod is replaced before somebody deletes it; expected RollingUpdate"
                .to_owned(),
        );
    }
    let partition = at("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_i64);
    partition.filter(|kept| *kept > 0).map(|kept| {
        format!(
            "spec.updateStrategy.rollingUpdate.partition: found {kept}, so the pods below it are not replaced; expected 0, or left out"
        )
    })
}

/// What the pods of a workload were started with. `named`: the containers of its template.
///
/// Every pod that has not ended counts, also one that is only about to start: it starts with what it has.
pub(super) async fn shown(
    kube: &Kube,
    workload: &WorkloadRef,
    selector: &str,
    named: &[String],
    place: &FlagPlace,
) -> Result<PodsAsked, Failure> {
    let api = kube.api::<Pod>(&workload.namespace);
    let params = ListParams::default().labels(selector);
    let listed = kube.call(&Subject::all("Pod", &workload.namespace), api.list(&params)).await?;
    let mut asked = PodsAsked::default();
    for pod in &listed.items {
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            continue;
        }
        asked.pods = asked.pods.saturating_add(1);
        let read_only = place.values().map(|values| values.read_only.as_str());
        if read_only.is_some() && started_with(pod, named, place) == read_only {
            asked.read_only = asked.read_only.saturating_add(1);
        }
    }
    Ok(asked)
}

fn started_with<'a>(pod: &'a Pod, named: &[String], place: &FlagPlace) -> Option<&'a str> {
    match place {
        FlagPlace::Variable(variable) => {
            let only = || if let [only] = named { Some(only) } else { None };
            let container = variable.container.as_ref().or_else(only)?;
            let container = pod.spec.as_ref()?.containers.iter().find(|c| c.name == *container)?;
            let entry = container.env.iter().flatten().rev().find(|e| e.name == variable.name)?;
            if entry.value_from.is_some() { None } else { Some(entry.value.as_deref().unwrap_or_default()) }
        }
        FlagPlace::Annotation(annotation) => pod.annotations().get(&annotation.key).map(String::as_str),
        FlagPlace::Key(_) | FlagPlace::Calls(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_flags_share_a_field_manager_and_none_is_too_long() {
        assert_eq!(manager("web/READ_ONLY"), "bascule-read-only:web/READ_ONLY");
        let (long, longer) = (format!("web/{}", "x".repeat(200)), format!("web/{}", "x".repeat(201)));
        assert_ne!(manager(&long), manager(&longer));
        assert!(manager(&long).len() <= MANAGER_LENGTH && manager(&long).starts_with(FLAG_MANAGER));
    }
}
