//! Kubernetes Events: what happened, for people who look at the object. Memory is the journal's, not theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bascule_boundary::{self as boundary, Effect};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use super::client::Kube;
use super::failure::Subject;

/// The longest note that the API accepts, in bytes.
const NOTE: usize = 1024;

/// How much an Event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// For information.
    Normal,
    /// Somebody should look.
    Warning,
}

/// One Event.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The object that it is about; its namespace is where the Event is stored.
    pub about: ObjectReference,
    /// How much it matters.
    pub weight: Weight,
    /// Why, as one CamelCase word.
    pub reason: String,
    /// What was done, as one CamelCase word.
    pub action: String,
    /// The sentence for people. Cut at 1024 bytes.
    pub note: String,
}

/// Takes Events without ever waiting.
#[derive(Clone, Debug)]
pub struct Teller {
    queue: mpsc::Sender<Telling>,
    lost: Arc<AtomicU64>,
}

impl Teller {
    /// Queues an Event. When the queue is full the Event is dropped and counted: telling never holds up doing.
    pub fn tell(&self, telling: Telling) {
        if self.queue.try_send(telling).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many Events were dropped or refused since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The same number, kept up to date.
    pub fn losses(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }
}

/// A teller and its worker, which the caller drives (spawns). At most `capacity` Events wait; equal ones are
/// counted in one object. The worker ends when all tellers are dropped.
///
/// Each Event is tried once, within the handle's deadline.
pub fn teller(
    kube: &Kube,
    instance: &str,
    capacity: usize,
) -> (Teller, impl Future<Output = ()> + Send + use<>) {
    let (queue, mut waiting) = mpsc::channel::<Telling>(capacity.max(1));
    let lost = Arc::new(AtomicU64::new(0));
    let reporter = Reporter { controller: "bascule".to_owned(), instance: Some(instance.to_owned()) };
    let recorder = Recorder::new(kube.client(), reporter);
    let teller = Teller { queue, lost: Arc::clone(&lost) };
    let kube = kube.clone();
    let worker = async move {
        while let Some(telling) = waiting.recv().await {
            let namespace = telling.about.namespace.clone().unwrap_or_default();
            let subject =
                Subject::new("Event", &namespace, telling.about.name.as_deref().unwrap_or_default());
            let event = Event {
                type_: match telling.weight {
                    Weight::Normal => EventType::Normal,
                    Weight::Warning => EventType::Warning,
                },
                reason: telling.reason,
                note: Some(cut(telling.note)),
                action: telling.action,
                secondary: None,
            };
            let told = kube.call(&subject, recorder.publish(&event, &telling.about));
            if let Err(failure) = boundary::around(Effect::TellEvent, told).await {
                lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%failure, reason = event.reason, "an Event was not told");
            }
        }
    };
    (teller, worker)
}

fn cut(mut note: String) -> String {
    if note.len() > NOTE {
        note.truncate(note.floor_char_boundary(NOTE - '…'.len_utf8()));
        note.push('…');
    }
    note
}
