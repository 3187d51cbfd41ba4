//! The status of our own objects: written only when it changed, never faster than people read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::{ApiResource, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use bascule_boundary::{self as boundary, Effect};
use bascule_core::outcome::Outcome;

use super::client::Kube;
use super::failure::{Failure, Subject};

/// The field manager of status.
pub const STATUS_MANAGER: &str = "bascule-status";
/// How long after a write that did not succeed it is tried again with what is newest then.
const AGAIN: Duration = Duration::from_secs(2);

/// Which object's status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusKey {
    /// The kind's API version, `group/version`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The kind's plural name, as in its URL.
    pub plural: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's identity: an object that replaced it gets nothing.
    pub uid: String,
}

impl StatusKey {
    /// The key of an object of ours.
    pub fn of<K: kube::Resource<DynamicType = ()>>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    fn subject(&self) -> Subject {
        Subject::new(&self.kind, &self.namespace, &self.name)
    }

    fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }
}

/// Writes one status now, whole: fields that an earlier status of ours had and this one lacks are removed.
///
/// Status belongs to the operator alone, so fields that somebody edited by hand are taken back.
pub async fn write(kube: &Kube, key: &StatusKey, status: &Value) -> Outcome {
    match apply(kube, key, status).await {
        Ok(()) => Outcome::Done,
        Err(failure) => failure.into(),
    }
}

async fn apply(kube: &Kube, key: &StatusKey, status: &Value) -> Result<(), Failure> {
    let body = json!({
        "apiVersion": key.api_version,
        "kind": key.kind,
        "metadata": { "name": key.name, "namespace": key.namespace, "uid": key.uid },
        "status": without_empty(status),
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let api = kube.dynamic(&key.namespace, &key.resource());
    let (subject, patch) = (key.subject(), Patch::Apply(&body));
    let written = kube.call(&subject, api.patch_status(&key.name, &params, &patch));
    boundary::around(Effect::WriteStatus, written).await.map(drop)
}

/// The same without objects that have nothing in them: when a field manager gives up the last field of an object and
/// applies the object itself, the API server makes it `null` and refuses that as not being an object.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().map(|(name, v)| (name.clone(), without_empty(v)));
            Value::Object(kept.filter(|(_, v)| !matches!(v, Value::Object(o) if o.is_empty())).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_empty).collect()),
        other => other.clone(),
    }
}

/// Why a status was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("status of more than {0} objects is waiting or remembered; forget those that are gone")]
pub struct DeskFull(usize);

#[derive(Debug, Default)]
struct Entry {
    waiting: Option<Value>,
    written: Option<Value>,
    not_before: Option<Instant>,
    trouble: Option<String>,
}

#[derive(Debug)]
struct Shared {
    entries: Mutex<BTreeMap<StatusKey, Entry>>,
    changed: Notify,
    capacity: usize,
    pause: Duration,
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<StatusKey, Entry>) -> T) -> T {
        f(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where statuses are put down; a worker writes them.
#[derive(Clone, Debug)]
pub struct StatusDesk {
    shared: Arc<Shared>,
}

impl StatusDesk {
    /// Puts down the newest status of an object, in place of one that is still waiting. What equals the last one
    /// written is dropped. Never waits.
    pub fn put(&self, key: StatusKey, status: Value) -> Result<(), DeskFull> {
        let shared = &self.shared;
        shared.with(|entries| {
            if entries.len() >= shared.capacity && !entries.contains_key(&key) {
                return Err(DeskFull(shared.capacity));
            }
            let entry = entries.entry(key).or_default();
            if entry.written.as_ref() == Some(&status) {
                entry.waiting = None;
                entry.trouble = None;
            } else {
                entry.waiting = Some(status);
                shared.changed.notify_one();
            }
            Ok(())
        })
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &StatusKey) {
        self.shared.with(|entries| drop(entries.remove(key)));
    }

    /// The objects whose status could not be written at the last try, and why.
    pub fn troubles(&self) -> BTreeMap<StatusKey, String> {
        self.shared.with(|entries| {
            entries.iter().filter_map(|(key, entry)| Some((key.clone(), entry.trouble.clone()?))).collect()
        })
    }
}

/// A desk and its worker, which the caller drives (spawns and, at the end, drops).
///
/// It holds at most `capacity` objects. Between two writes to one object at least `pause` passes; the first is
/// immediate. A write whose answer was lost, or that could not be sent, is made again with what is newest then, until
/// the object is gone or forgotten: status has no effect but to inform, so trying again is harmless. One that the API
/// server refused is not.
pub fn desk(
    kube: &Kube,
    capacity: usize,
    pause: Duration,
) -> (StatusDesk, impl Future<Output = ()> + Send + use<>) {
    let shared = Arc::new(Shared { entries: Mutex::default(), changed: Notify::new(), capacity, pause });
    let worker = work(kube.clone(), Arc::clone(&shared));
    (StatusDesk { shared }, worker)
}

enum Next {
    Write(StatusKey, Value),
    At(Instant),
    Nothing,
}

fn next(entries: &BTreeMap<StatusKey, Entry>) -> Next {
    // The one that has been due for longest, so that no object starves another.
    let due = entries
        .iter()
        .filter_map(|(key, entry)| Some((entry.not_before, key, entry.waiting.as_ref()?)))
        .min_by_key(|(at, ..)| *at);
    match due {
        None => Next::Nothing,
        Some((Some(at), ..)) if at > Instant::now() => Next::At(at),
        Some((_, key, status)) => Next::Write(key.clone(), status.clone()),
    }
}

async fn work(kube: Kube, shared: Arc<Shared>) {
    loop {
        match shared.with(|entries| next(entries)) {
            Next::Nothing => shared.changed.notified().await,
            Next::At(at) => {
                // Something else may become due earlier.
                let _ = tokio::time::timeout_at(at, shared.changed.notified()).await;
            }
            Next::Write(key, status) => {
                let result = apply(&kube, &key, &status).await;
                shared.with(|entries| settle(entries, &key, status, result, shared.pause));
            }
        }
    }
}

fn settle(
    entries: &mut BTreeMap<StatusKey, Entry>,
    key: &StatusKey,
    status: Value,
    result: Result<(), Failure>,
    pause: Duration,
) {
    let Some(entry) = entries.get_mut(key) else { return };
    match result {
        Ok(()) => {
            entry.not_before = Some(Instant::now() + pause);
            entry.waiting.take_if(|waiting| *waiting == status);
            entry.written = Some(status);
            entry.trouble = None;
        }
        // The object is gone, or another one has its name.
        Err(failure) if failure.is_missing() || failure.is_conflict() => drop(entries.remove(key)),
        Err(failure) => {
            // What is stored is not known any more.
            entry.written = None;
            entry.not_before = Some(Instant::now() + AGAIN.max(pause));
            // The same status would be refused again; only a new one is tried.
            if matches!(failure, Failure::Refused { .. }) {
                entry.waiting.take_if(|waiting| *waiting == status);
            }
            let trouble = failure.to_string();
            if entry.trouble.as_ref() != Some(&trouble) {
                tracing::warn!(object = %key.subject(), %trouble, "a status was not written");
            }
            entry.trouble = Some(trouble);
        }
    }
}
