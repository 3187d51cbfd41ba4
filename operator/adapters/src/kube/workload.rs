//! How many replicas of a workload run, and how many should.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, Selector};
use serde_json::{Value, json};

use bascule_core::outcome::Outcome;
use bascule_core::policy::WorkloadKind;

use super::client::Kube;
use super::failure::{Failure, Subject, outcome};
use super::ownership::{Field, Owner, Part, Rehearsal, owners, with_release};

/// The field manager of replica counts.
pub const SCALE_MANAGER: &str = "bascule-scale";

const REPLICAS: Field<'static> = Field(&[Part::Member("spec"), Part::Member("replicas")]);

/// The kind as in a manifest.
pub const fn kind_name(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
    }
}

pub(super) fn resource(kind: WorkloadKind) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind_name(kind)))
}

/// Which workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRef {
    /// Its namespace: the policy's own.
    pub namespace: String,
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl WorkloadRef {
    /// A workload in the policy's own namespace.
    pub fn new(namespace: impl Into<String>, kind: WorkloadKind, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), kind, name: name.into() }
    }

    pub(super) fn subject(&self) -> Subject {
        Subject::new(kind_name(self.kind), &self.namespace, &self.name)
    }
}

/// Whether something else scales the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Autoscaler {
    /// No HorizontalPodAutoscaler targets it.
    Absent,
    /// One does.
    Present {
        /// Its name.
        name: String,
        /// The fewest replicas it asks for.
        min: i32,
        /// The most replicas it asks for.
        max: i32,
    },
    /// The API server could not be asked.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// What the API server says of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadFacts {
    /// The object's identity.
    pub uid: String,
    /// `spec.replicas`.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that run the newest template.
    pub updated: i32,
    /// `metadata.generation`: counts changes of the spec.
    pub generation: i64,
    /// The generation that the counts above belong to. Below `generation` they are stale.
    pub observed_generation: i64,
    /// Whether a HorizontalPodAutoscaler targets it.
    pub autoscaler: Autoscaler,
    /// Who owns `spec.replicas` now. Empty: nobody, the value is a default.
    pub replicas_owners: Vec<Owner>,
    /// Its pods' selector, as in a list request.
    pub selector: String,
    /// The containers of its template, by name.
    pub containers: Vec<String>,
}

/// Reads a workload.
pub async fn observe(kube: &Kube, workload: &WorkloadRef) -> Result<WorkloadFacts, Failure> {
    let subject = workload.subject();
    let api = kube.dynamic(&workload.namespace, &resource(workload.kind));
    let (object, autoscaler) =
        tokio::join!(kube.call(&subject, api.get(&workload.name)), autoscaler(kube, workload));
    let object = object?;
    let selector = selector_of(&subject, &object)?;
    Ok(WorkloadFacts {
        uid: object.uid().unwrap_or_default(),
        // Absent means the API's own default; the counts of the status are left out when zero.
        replicas: number(&object, "/spec/replicas").unwrap_or(1),
        ready: number(&object, "/status/readyReplicas").unwrap_or(0),
        updated: number(&object, "/status/updatedReplicas").unwrap_or(0),
        generation: object.metadata.generation.unwrap_or_default(),
        observed_generation: object
            .data
            .pointer("/status/observedGeneration")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
        autoscaler,
        replicas_owners: owners(object.managed_fields(), REPLICAS),
        selector,
        containers: containers(&object).iter().filter_map(name_of).map(ToOwned::to_owned).collect(),
    })
}

/// Reads only the selector of a workload's pods, as in a list request.
pub async fn selector(kube: &Kube, workload: &WorkloadRef) -> Result<String, Failure> {
    let subject = workload.subject();
    let api = kube.dynamic(&workload.namespace, &resource(workload.kind));
    selector_of(&subject, &kube.call(&subject, api.get(&workload.name)).await?)
}

fn selector_of(subject: &Subject, object: &DynamicObject) -> Result<String, Failure> {
    object
        .data
        .pointer("/spec/selector")
        .and_then(|found| serde_json::from_value::<LabelSelector>(found.clone()).ok())
        .and_then(|found| Selector::try_from(found).ok())
        .map(|selector| selector.to_string())
        // An empty selector would mean every pod of the namespace.
        .filter(|selector| !selector.is_empty())
        .ok_or_else(|| Failure::own(subject, "spec.selector is empty or cannot be read"))
}

/// The containers of its template.
pub(super) fn containers(object: &DynamicObject) -> &[Value] {
    object.data.pointer("/spec/template/spec/containers").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The name of an entry of a list.
pub(super) fn name_of(entry: &Value) -> Option<&str> {
    entry.get("name").and_then(Value::as_str)
}

fn number(object: &DynamicObject, pointer: &str) -> Option<i32> {
    object.data.pointer(pointer).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok())
}

async fn autoscaler(kube: &Kube, workload: &WorkloadRef) -> Autoscaler {
    let subject = Subject::all("HorizontalPodAutoscaler", &workload.namespace);
    let api = kube.api::<HorizontalPodAutoscaler>(&workload.namespace);
    let found = match kube.call(&subject, api.list(&ListParams::default())).await {
        Ok(found) => found,
        Err(failure) => return Autoscaler::Unknown { reason: failure.to_string() },
    };
    found
        .into_iter()
        .find_map(|hpa| {
            let spec = hpa.spec.as_ref()?;
            let target = &spec.scale_target_ref;
            let ours = target.kind == kind_name(workload.kind)
                && target.name == workload.name
                && target.api_version.as_deref().is_none_or(|v| v.starts_with("apps/"));
            ours.then(|| Autoscaler::Present {
                name: hpa.name_any(),
                min: spec.min_replicas.unwrap_or(1),
                max: spec.max_replicas,
            })
        })
        .unwrap_or(Autoscaler::Absent)
}

/// Sets the number of replicas and becomes an owner of the field. Never takes it from another manager; never
/// creates the workload.
///
/// Setting the number that is there already makes Bascule a co-owner without a conflict; when the other manager
/// lets go afterwards, the number stays instead of falling to the API's default.
pub async fn set_replicas(kube: &Kube, workload: &WorkloadRef, replicas: u32) -> Outcome {
    outcome(scale(kube, workload, replicas, false).await)
}

/// Tries [`set_replicas`] without doing it.
///
/// A value that is there already conflicts with nobody: ask for the values that the *other* roles need.
pub async fn rehearse_replicas(kube: &Kube, workload: &WorkloadRef, replicas: u32) -> Rehearsal {
    Rehearsal::of(scale(kube, workload, replicas, true).await)
}

async fn scale(kube: &Kube, workload: &WorkloadRef, replicas: u32, rehearse: bool) -> Result<(), Failure> {
    let subject = workload.subject();
    let api = kube.dynamic(&workload.namespace, &resource(workload.kind));
    let seen = kube.call(&subject, api.get_metadata(&workload.name)).await?;
    let body = json!({
        "apiVersion": "apps/v1",
        "kind": kind_name(workload.kind),
        // With the identity an apply neither creates the object nor touches one that replaced it meanwhile.
        "metadata": { "name": workload.name, "namespace": workload.namespace, "uid": seen.metadata.uid },
        "spec": { "replicas": replicas },
    });
    let params = PatchParams { dry_run: rehearse, ..PatchParams::apply(SCALE_MANAGER) };
    let applied =
        kube.call(&subject, api.patch_metadata(&workload.name, &params, &Patch::Apply(&body))).await;
    applied.map(drop).map_err(|failure| with_release(failure, "apps", seen.managed_fields(), REPLICAS))
}
