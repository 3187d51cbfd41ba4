//! High-water marks: the highest epoch, serial and generation that this site has ever seen of each policy's record, and who
//! had the role then.
//!
//! They are what a site believes when the arbiter comes back with less than it had. They live in the ConfigMap
//! `bascule-marks` of the operator's own namespace, one key per policy, and never fall.

use std::collections::BTreeMap;

use bascule_core::name::PolicyKey;
use bascule_core::observation::Kept;
use bascule_core::outcome::Outcome;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::client::Kube;
use super::failure::{Failure, Subject};

/// The ConfigMap's name.
pub const MARKS: &str = "bascule-marks";
/// The field manager of the marks.
pub const MARKS_MANAGER: &str = "bascule-marks";
/// How often a write is tried when somebody else writes at the same time.
const TRIES: usize = 5;

/// All marks of this site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredMarks {
    /// Each policy's mark.
    pub marks: BTreeMap<PolicyKey, Kept>,
    /// Keys whose value cannot be read, with the reason. They are never overwritten: what they held may be higher.
    pub unreadable: BTreeMap<String, String>,
}

/// A policy's key in the ConfigMap. A namespace has no dot, so the first one divides.
fn key(policy: &PolicyKey) -> String {
    format!("{}.{}", policy.namespace, policy.name)
}

fn policy(key: &str) -> Option<PolicyKey> {
    let (namespace, name) = key.split_once('.')?;
    PolicyKey::new(namespace, name).ok()
}

fn subject(kube: &Kube) -> Subject {
    Subject::new("ConfigMap", kube.own_namespace(), MARKS)
}

fn parse(value: &str) -> Result<Kept, String> {
    serde_json::from_str(value).map_err(|e| format!("{value:?} is not a mark: {e}"))
}

async fn stored(kube: &Kube, api: &Api<ConfigMap>) -> Result<Option<ConfigMap>, Failure> {
    match kube.call(&subject(kube), api.get(MARKS)).await {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Missing { .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Reads all marks. An absent ConfigMap holds none.
pub async fn read(kube: &Kube) -> Result<StoredMarks, Failure> {
    let api = kube.api::<ConfigMap>(kube.own_namespace());
    let mut marks = StoredMarks::default();
    for (key, value) in stored(kube, &api).await?.and_then(|found| found.data).unwrap_or_default() {
        match (policy(&key), parse(&value)) {
            (Some(policy), Ok(mark)) => {
                marks.marks.insert(policy, mark);
            }
            (None, _) => {
                marks.unreadable.insert(key, "the key is not NAMESPACE.NAME of a policy".to_owned());
            }
            (_, Err(reason)) => {
                marks.unreadable.insert(key, reason);
            }
        }
    }
    Ok(marks)
}

/// Raises a policy's mark to at least `mark`; each of its numbers stays where it is when that is higher. Done also
/// when nothing had to be written. Refused when the stored mark cannot be read.
pub async fn raise(kube: &Kube, policy: &PolicyKey, mark: &Kept) -> Outcome {
    for _ in 0..TRIES {
        match raise_once(kube, policy, mark).await {
            Ok(()) => return Outcome::Done,
            // Somebody else wrote between our read and our write: look again.
            Err(failure) if failure.is_conflict() => {}
            Err(failure) => return failure.into(),
        }
    }
    Outcome::refused(format!("{}: it changed {TRIES} times while it was to be written", subject(kube)))
}

async fn raise_once(kube: &Kube, policy: &PolicyKey, mark: &Kept) -> Result<(), Failure> {
    let api = kube.api::<ConfigMap>(kube.own_namespace());
    let (subject, key) = (subject(kube), key(policy));
    let Some(found) = stored(kube, &api).await? else {
        let params = PostParams { field_manager: Some(MARKS_MANAGER.to_owned()), ..PostParams::default() };
        let first = ConfigMap {
            metadata: ObjectMeta { name: Some(MARKS.to_owned()), ..ObjectMeta::default() },
            data: Some([(key, json!(mark).to_string())].into()),
            ..ConfigMap::default()
        };
        return kube.call(&subject, api.create(&params, &first)).await.map(drop);
    };
    let before = match found.data.as_ref().and_then(|data| data.get(&key)) {
        None => None,
        Some(value) => Some(parse(value).map_err(|reason| {
            Failure::own(
                &subject,
                format!("data.{key}: {reason}; put the highest epoch and serial you know there"),
            )
        })?),
    };
    let after = before.clone().unwrap_or_default().higher(mark.clone());
    if before.as_ref() == Some(&after) {
        return Ok(());
    }
    // The resource version makes the API server refuse when anything changed since the read.
    let patch = json!({
        "metadata": { "resourceVersion": found.metadata.resource_version, "uid": found.metadata.uid },
        "data": { key: json!(after).to_string() },
    });
    let params = PatchParams { field_manager: Some(MARKS_MANAGER.to_owned()), ..PatchParams::default() };
    kube.call(&subject, api.patch_metadata(MARKS, &params, &Patch::Merge(&patch))).await.map(drop)
}
