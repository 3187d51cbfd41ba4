//! What people and git have put into the API: a stream of FailoverPolicies, Moves and PolicySources.
//!
//! An object that cannot be read is reported as such and stops nothing; it is never mistaken for a deleted one.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::core::DeserializeGuard;
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
        /// The objects.
        objects: Vec<K>,
        /// Those that cannot be read.
        unreadable: Vec<Unreadable>,
    },
}

/// How a watch is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchHealth {
    /// How long ago the API server was heard on this watch: an event, a bookmark, an answer. `None`: never yet. A
    /// healthy watch is heard at least every twenty seconds or so, however quiet the cluster is.
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

/// The consumer's end of a watch.
#[derive(Debug)]
pub struct Watch<K> {
    seen: mpsc::Receiver<Seen<K>>,
    health: Health,
}

/// Tells how a watch is doing, from anywhere.
#[derive(Clone, Debug)]
pub struct Health {
    heard: Arc<Heard>,
    state: Arc<Mutex<State>>,
}

impl Health {
    /// How the watch is doing now.
    pub fn now(&self) -> WatchHealth {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        WatchHealth { heard: self.heard.age(), listed: state.listed, trouble: state.trouble.clone() }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<K> Watch<K> {
    /// The next thing seen; `None` when the worker is gone.
    pub async fn next(&mut self) -> Option<Seen<K>> {
        self.seen.recv().await
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
    let heard = Arc::new(Heard::default());
    let client = kube.watch_client(Arc::clone(&heard))?;
    let api = Api::<DeserializeGuard<K>>::all_with(client, kind);
    let health = Health { heard, state: Arc::default() };
    let (sender, seen) = mpsc::channel(capacity.max(1));
    let worker = run(api, sender, health.clone());
    Ok((Watch { seen, health }, worker))
}

async fn run<K>(api: Api<DeserializeGuard<K>>, sender: mpsc::Sender<Seen<K>>, health: Health)
where
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
                tracing::warn!(trouble, "a watch failed; it goes on after a pause");
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
