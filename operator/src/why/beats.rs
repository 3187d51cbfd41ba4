//! Do those live who wrote the statuses? Their heartbeats, each asked for once and within a deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_adapters::kube::{Failure, Kube, heartbeat};
use bascule_core::heartbeat::EVERY;
use bascule_core::name::{Namespace, ObjectName};
use bascule_core::time::human;

use super::explain::{Beat, Seen};

/// How long a person waits for one heartbeat after everything else has been answered.
const ANSWER: Duration = Duration::from_secs(2);

/// How many heartbeats are asked for at most: a cluster has one.
const MOST: usize = 8;

/// The heartbeats that have been asked for.
#[derive(Clone, Debug, Default)]
pub struct Beats {
    /// By the namespace and the name of the Lease.
    known: BTreeMap<(String, String), Beat>,
}

impl Beats {
    /// Adds what is known of the heartbeat that the status names. Beyond a few, which no cluster has, none is asked for.
    pub async fn add(&mut self, kube: &Kube, seen: &mut Seen) {
        let Ok(Some(status)) = &seen.status else { return };
        let Some(named) = &status.heartbeat else { return };
        let place = (named.namespace.clone(), named.name.clone());
        if let Some(known) = self.known.get(&place) {
            seen.beat = known.clone();
        } else if self.known.len() < MOST {
            seen.beat = ask(kube, &place.0, &place.1).await;
            self.known.insert(place, seen.beat.clone());
        }
    }

    /// The same for several.
    pub async fn add_all<'a>(&mut self, kube: &Kube, all: impl IntoIterator<Item = &'a mut Seen>) {
        for seen in all {
            self.add(kube, seen).await;
        }
    }

    /// They are to be asked for again.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

async fn ask(kube: &Kube, namespace: &str, name: &str) -> Beat {
    // A status is what somebody has written: it does not choose what is asked for.
    if Namespace::try_from(namespace).is_err() || ObjectName::try_from(name).is_err() {
        return Beat::Unheard {
            why: format!("the status names the Lease {namespace:?}/{name:?}, which is none"),
            needed: "the name of the operator's Lease in status.heartbeat".to_owned(),
        };
    }
    match heartbeat::read(&kube.within(ANSWER), namespace, name).await {
        Ok(beat) => Beat::Heard(beat),
        Err(failure) => unheard(&failure, namespace, name),
    }
}

fn unheard(failure: &Failure, namespace: &str, name: &str) -> Beat {
    match failure {
        Failure::Missing { .. } => Beat::Unheard {
            why: format!("there is no Lease {namespace}/{name}"),
            needed: format!("the Lease, which an operator that lives renews every {}", human(EVERY)),
        },
        Failure::Refused { code: 401 | 403, reason, .. } => Beat::Unheard {
            why: format!("you may not get the Lease {namespace}/{name}: {reason}"),
            needed: format!("the right to get leases in namespace {namespace}"),
        },
        other => Beat::Unheard {
            why: other.to_string(),
            needed: format!("the Lease {namespace}/{name}, as its operator has written it"),
        },
    }
}
