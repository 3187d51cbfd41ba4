//! What people and git have put into the API: a stream of FailoverPolicies, Moves and PolicySources.
//!
//! An object that cannot be read is reported as such and stops nothing; it is never mistaken for a deleted one.

use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bascule_core::name::Namespace;
use futures::StreamExt;
use futures::future::join_all;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::client::{ConnectError, Kube, WATCH_SECONDS};
use super::failure::chain;
use super::heard::Heard;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace; empty for what lives in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    fn of<K: Resource>(object: &K) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object that is there and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which.
    pub key: Key,
    /// What is wrong with it.
    pub reason: String,
}

/// In which namespaces objects are watched: all of the cluster by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Within(BTreeSet<Namespace>);

impl Within {
    /// These namespaces and no others; where none is named, all.
    pub fn new(namespaces: impl IntoIterator<Item = Namespace>) -> Self {
        Self(namespaces.into_iter().collect())
    }

    /// The namespaces, in order; nothing where all are meant.
    pub fn names(&self) -> impl Iterator<Item = &Namespace> {
        self.0.iter()
    }

    /// What is listed and watched by itself: each namespace, or everything at once.
    fn parts(&self) -> Vec<Option<String>> {
        if self.0.is_empty() {
            return vec![None];
        }
        self.0.iter().map(|namespace| Some(namespace.to_string())).collect()
    }
}

/// What a watch brings. The consumer keeps what it knew of an object until one of these says otherwise.
#[derive(Clone, Debug)]
pub enum Seen<K> {
    /// The object was made or changed.
    Applied(Box<K>),
    /// The object was made or changed, and cannot be read.
    Unreadable(Unreadable),
    /// The object is gone.
    Deleted(Key),
    /// Everything there is, read in full. What is in neither list is gone.
    Listed {
        /// Where it is: in this namespace, of which alone something is said then; everywhere when `None`.
        of: Option<String>,
        /// The objects.
        objects: Vec<K>,
        /// Those that cannot be read.
        unreadable: Vec<Unreadable>,
    },
}

/// Whether a list of what is in `of` says anything of this namespace.
pub fn speaks_of(of: Option<&str>, namespace: &str) -> bool {
    of.is_none_or(|of| of == namespace)
}

/// How a watch is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchHealth {
    /// How long ago the API server was heard on this watch: an event, a bookmark, an answer; with several namespaces of
    /// the one that was heard the longest ago. `None`: never yet. A healthy watch is heard at least every twenty seconds or
    /// so, however quiet the cluster is.
    pub heard: Option<Duration>,
    /// Whether everything has been listed at least once.
    pub listed: bool,
    /// The last trouble, until the next event.
    pub trouble: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    listed: bool,
    trouble: Option<String>,
}

/// One request that is kept open: of a namespace, or of all.
#[derive(Debug, Default)]
struct Part {
    heard: Arc<Heard>,
    state: Mutex<State>,
}

impl Part {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The consumer's end of a watch.
#[derive(Debug)]
pub struct Watch<K> {
    seen: mpsc::Receiver<Seen<K>>,
    health: Health,
    /// Of which parts a list was handed out.
    listed: BTreeSet<Option<String>>,
}

/// Tells how a watch is doing, from anywhere.
#[derive(Clone, Debug)]
pub struct Health {
    parts: Arc<[Arc<Part>]>,
}

impl Health {
    /// How the watch is doing now.
    pub fn now(&self) -> WatchHealth {
        let mut now = WatchHealth { heard: Some(Duration::ZERO), listed: true, trouble: None };
        for part in self.parts.iter() {
            let state = part.state.lock().unwrap_or_else(PoisonError::into_inner);
            now.heard = now.heard.zip(part.heard.age()).map(|(a, b)| a.max(b));
            now.listed &= state.listed;
            now.trouble = now.trouble.or_else(|| state.trouble.clone());
        }
        now
    }
}

impl<K> Watch<K> {
    /// The next thing seen; `None` when the worker is gone.
    pub async fn next(&mut self) -> Option<Seen<K>> {
        let seen = self.seen.recv().await?;
        if let Seen::Listed { of, .. } = &seen {
            self.listed.insert(of.clone());
        }
        Some(seen)
    }

    /// Whether everything that is watched has been handed out as a list at least once: what was in none of them was not
    /// there.
    pub fn everything_listed(&self) -> bool {
        self.listed.len() == self.health.parts.len()
    }

    /// How the watch is doing.
    pub fn health(&self) -> Health {
        self.health.clone()
    }
}

/// Watches all objects of a kind, in all namespaces.
///
/// Returns the consumer's end and the worker. The worker runs until the consumer's end is dropped; it must be driven
/// (spawned) by the caller. At most `capacity` things wait for the consumer; then the worker waits too, and the API
/// server keeps what is new.
pub fn watch<K>(
    kube: &Kube,
    kind: &K::DynamicType,
    capacity: usize,
) -> Result<(Watch<K>, impl Future<Output = ()> + Send + use<K>), ConnectError>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Clone,
{
    let part = Arc::new(Part::default());
    let client = kube.watch_client(Arc::clone(&part.heard))?;
    let api = Api::<DeserializeGuard<K>>::all_with(client, kind);
    Ok(gathered::<K>(vec![(None, part, api)], capacity))
}

/// The same in some namespaces, or in all. Each namespace is asked by itself, so rights in it are enough; one that cannot
/// be listed holds up none of the others, and [`Watch::everything_listed`] stays false.
pub fn watch_within<K>(
    kube: &Kube,
    within: &Within,
    capacity: usize,
) -> Result<(Watch<K>, impl Future<Output = ()> + Send + use<K>), ConnectError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let mut parts: Vec<Asked<K>> = Vec::new();
    for of in within.parts() {
        let part = Arc::new(Part::default());
        let client = kube.watch_client(Arc::clone(&part.heard))?;
        let api = match &of {
            None => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
        };
        parts.push((of, part, api));
    }
    Ok(gathered::<K>(parts, capacity))
}

/// Where something is, how its watch is doing, and how it is asked for.
type Asked<K> = (Option<String>, Arc<Part>, Api<DeserializeGuard<K>>);

fn gathered<K>(parts: Vec<Asked<K>>, capacity: usize) -> (Watch<K>, impl Future<Output = ()> + Send + use<K>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Clone,
{
    let health = Health { parts: parts.iter().map(|(_, part, _)| Arc::clone(part)).collect() };
    let (sender, seen) = mpsc::channel(capacity.max(1));
    let workers: Vec<_> =
        parts.into_iter().map(|(of, part, api)| run(api, of, sender.clone(), part)).collect();
    let worker = async move {
        join_all(workers).await;
    };
    (Watch { seen, health, listed: BTreeSet::new() }, worker)
}

async fn run<K>(
    api: Api<DeserializeGuard<K>>,
    of: Option<String>,
    sender: mpsc::Sender<Seen<K>>,
    health: Arc<Part>,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let mut events = watcher(api, config).default_backoff().boxed();
    let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
    loop {
        let event = tokio::select! {
            biased;
            () = sender.closed() => return,
            event = events.next() => event,
        };
        let seen = match event {
            None => return,
            Some(Err(error)) => {
                let trouble = chain(&error);
                tracing::warn!(
                    trouble,
                    namespace = of.as_deref(),
                    "a watch failed; it goes on after a pause"
                );
                health.set(|state| state.trouble = Some(trouble));
                continue;
            }
            Some(Ok(Event::Init)) => {
                (objects, unreadable) = (Vec::new(), Vec::new());
                continue;
            }
            Some(Ok(Event::InitApply(object))) => {
                match read(object) {
                    Ok(object) => objects.push(object),
                    Err(bad) => unreadable.push(bad),
                }
                continue;
            }
            Some(Ok(Event::InitDone)) => Seen::Listed {
                of: of.clone(),
                objects: std::mem::take(&mut objects),
                unreadable: std::mem::take(&mut unreadable),
            },
            Some(Ok(Event::Apply(object))) => match read(object) {
                Ok(object) => Seen::Applied(Box::new(object)),
                Err(bad) => Seen::Unreadable(bad),
            },
            Some(Ok(Event::Delete(object))) => Seen::Deleted(Key::of(&object)),
        };
        let is_list = matches!(seen, Seen::Listed { .. });
        if sender.send(seen).await.is_err() {
            return;
        }
        health.set(|state| {
            state.listed |= is_list;
            state.trouble = None;
        });
    }
}

fn read<K: Resource>(object: DeserializeGuard<K>) -> Result<K, Unreadable> {
    let key = Key::of(&object);
    object.0.map_err(|invalid| Unreadable { key, reason: invalid.error })
}
