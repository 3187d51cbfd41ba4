//! The status of our own objects: written only when it changed, never faster than people read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::api::{ApiResource, Patch, PatchParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
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
/// How long after a status was refused the same is tried again: a right that was missing may be there by then.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
/// How often in a row a write may meet another one, until the object is taken for another of the same name.
const CONFLICTS: u8 = 5;
/// How many objects' status may be written at once: one that hangs keeps no other waiting, and a thousand that change
/// together are shown within seconds.
const AT_ONCE: usize = 8;

/// Which object's status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusKey {
    /// The kind's API version, `group/version`.
    pub api_version: Cow<'static, str>,
    /// The kind.
    pub kind: Cow<'static, str>,
    /// The kind's plural name, as in its URL.
    pub plural: Cow<'static, str>,
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
        let of = |part: &Option<String>| part.clone().unwrap_or_default();
        Self::named::<K>(&of(&meta.namespace), &of(&meta.name), &of(&meta.uid))
    }

    /// The key of an object of ours that has these names.
    pub fn named<K: kube::Resource<DynamicType = ()>>(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            api_version: K::api_version(&()),
            kind: K::kind(&()),
            plural: K::plural(&()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
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
            api_version: self.api_version.clone().into_owned(),
            kind: self.kind.clone().into_owned(),
            plural: self.plural.clone().into_owned(),
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

fn hash(status: &Value) -> [u8; 32] {
    Sha256::digest(status.to_string()).into()
}

/// The moment before which nothing is written; `None`: at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NotBefore(Option<Instant>);

#[derive(Debug, Default)]
struct Entry {
    waiting: Option<Value>,
    /// A writer has it now.
    writing: bool,
    /// What was written last, by its hash: the whole of it, for thousands of objects, would be most of the memory.
    written: Option<[u8; 32]>,
    not_before: Option<Instant>,
    /// What waits was refused, and is not tried again before; something else is.
    refused_until: Option<Instant>,
    /// How often in a row a write has met another one.
    conflicts: u8,
    /// The entry among those that are due: what [`Entry::due`] was after the last change.
    queued: Option<NotBefore>,
    trouble: Option<String>,
}

impl Entry {
    /// When its status may be written, if one waits for that.
    fn due(&self) -> Option<NotBefore> {
        let at = self.not_before.max(self.refused_until);
        (self.waiting.is_some() && !self.writing).then_some(NotBefore(at))
    }
}

/// The objects, and in which order their status is due: thousands of them are not asked at every write.
#[derive(Debug, Default)]
struct Entries {
    of: BTreeMap<StatusKey, Entry>,
    due: BTreeSet<(NotBefore, StatusKey)>,
}

impl Entries {
    /// Notes when an object's status is due, after something has changed about it.
    fn enlist(&mut self, key: &StatusKey) {
        let Some(entry) = self.of.get_mut(key) else { return };
        let due = entry.due();
        if due == entry.queued {
            return;
        }
        if let Some(before) = std::mem::replace(&mut entry.queued, due) {
            self.due.remove(&(before, key.clone()));
        }
        self.due.extend(due.map(|at| (at, key.clone())));
    }

    fn remove(&mut self, key: &StatusKey) {
        if let Some(before) = self.of.remove(key).and_then(|entry| entry.queued) {
            self.due.remove(&(before, key.clone()));
        }
    }

    /// The one that has been due for longest, so that no object starves another; it is being written from here on.
    fn next(&mut self) -> Next {
        let Some((at, key)) = self.due.first().cloned() else { return Next::Nothing };
        if let Some(at) = at.0.filter(|at| *at > Instant::now()) {
            return Next::At(at);
        }
        let Some(entry) = self.of.get_mut(&key) else {
            self.due.remove(&(at, key));
            return Next::Nothing;
        };
        let Some(status) = entry.waiting.clone() else { return Next::Nothing };
        entry.writing = true;
        self.enlist(&key);
        Next::Write(key, status)
    }
}

#[derive(Debug)]
struct Shared {
    entries: Mutex<Entries>,
    changed: Notify,
    capacity: usize,
    pause: Duration,
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Entries) -> T) -> T {
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
    pub fn put(&self, key: &StatusKey, status: Value) -> Result<(), DeskFull> {
        let shared = &self.shared;
        shared.with(|entries| {
            if entries.of.len() >= shared.capacity && !entries.of.contains_key(key) {
                return Err(DeskFull(shared.capacity));
            }
            let entry = entries.of.entry(key.clone()).or_default();
            if entry.written == Some(hash(&status)) {
                entry.waiting = None;
                entry.trouble = None;
                entry.refused_until = None;
            } else {
                if entry.waiting.as_ref() != Some(&status) {
                    entry.refused_until = None;
                }
                entry.waiting = Some(status);
                shared.changed.notify_one();
            }
            entries.enlist(key);
            Ok(())
        })
    }

    /// The objects whose newest status is not written yet, or could not be.
    pub fn unwritten(&self) -> BTreeSet<StatusKey> {
        let unwritten = |e: &Entry| e.waiting.is_some() || e.writing || e.trouble.is_some();
        self.shared.with(|entries| {
            entries.of.iter().filter(|(_, entry)| unwritten(entry)).map(|(key, _)| key.clone()).collect()
        })
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &StatusKey) {
        self.shared.with(|entries| entries.remove(key));
    }

    /// The objects whose status could not be written at the last try, and why.
    pub fn troubles(&self) -> BTreeMap<StatusKey, String> {
        self.shared.with(|entries| {
            let troubled = |(key, entry): (&StatusKey, &Entry)| Some((key.clone(), entry.trouble.clone()?));
            entries.of.iter().filter_map(troubled).collect()
        })
    }
}

/// A desk and its worker, which the caller drives (spawns and, at the end, drops).
///
/// It holds at most `capacity` objects. Between two writes to one object at least `pause` passes; the first is
/// immediate. A write whose answer was lost, or that could not be sent, is made again with what is newest then, until
/// the object is gone or forgotten: status has no effect but to inform, so trying again is harmless. One that the API
/// server refused is made again after half a minute, or when there is another one.
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

async fn work(kube: Kube, shared: Arc<Shared>) {
    let (kube, shared) = (&kube, shared.as_ref());
    let mut writers = FuturesUnordered::new();
    loop {
        let next = if writers.len() < AT_ONCE { shared.with(Entries::next) } else { Next::Nothing };
        let due = match next {
            Next::Write(key, status) => {
                writers.push(async move {
                    let result = apply(kube, &key, &status).await;
                    shared.with(|entries| settle(entries, &key, &status, result, shared.pause));
                });
                continue;
            }
            Next::At(at) => Some(at),
            Next::Nothing => None,
        };
        tokio::select! {
            Some(()) = writers.next(), if !writers.is_empty() => {}
            () = shared.changed.notified() => {}
            // Something else may become due earlier.
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

fn settle(
    entries: &mut Entries,
    key: &StatusKey,
    status: &Value,
    result: Result<(), Failure>,
    pause: Duration,
) {
    let Some(entry) = entries.of.get_mut(key) else { return };
    entry.writing = false;
    match result {
        Ok(()) => {
            entry.not_before = Some(Instant::now() + pause);
            entry.waiting.take_if(|waiting| waiting == status);
            entry.written = Some(hash(status));
            entry.trouble = None;
            entry.refused_until = None;
            entry.conflicts = 0;
        }
        // The object is gone, or another one has its name, which those who follow it will tell sooner or later. One conflict
        // may be no more than somebody else's write at the same moment.
        Err(failure) if failure.is_missing() => return entries.remove(key),
        Err(failure) if failure.is_conflict() && entry.conflicts >= CONFLICTS => return entries.remove(key),
        Err(failure) => {
            // What is stored is not known any more.
            entry.written = None;
            entry.conflicts = if failure.is_conflict() { entry.conflicts + 1 } else { 0 };
            entry.not_before = Some(Instant::now() + AGAIN.max(pause));
            // The same status would be refused again, until whoever refused it has changed his mind.
            let same = entry.waiting.as_ref() == Some(status);
            let refused = matches!(failure, Failure::Refused { .. }) && !failure.is_conflict();
            entry.refused_until = (same && refused).then(|| Instant::now() + REFUSED_AGAIN.max(pause));
            let trouble = failure.to_string();
            if entry.trouble.as_ref() != Some(&trouble) {
                tracing::warn!(object = %key.subject(), %trouble, "a status was not written");
            }
            entry.trouble = Some(trouble);
        }
    }
    entries.enlist(key);
}
