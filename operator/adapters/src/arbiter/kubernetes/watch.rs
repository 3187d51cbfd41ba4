//! Being told of changes of records and facts.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DynamicObject, WatchEvent};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::failure::{Cause, Failures};
use super::super::watch::{QUEUE, SILENCE};
use super::super::{Change, Revision, Watch};
use super::KubernetesArbiter;
use super::object::{self, Kind, Named};
use super::server::{Events, Server, Trouble, WATCH_SECONDS};

/// For how long one watch request is kept open.
const REQUEST: Duration = Duration::from_secs(WATCH_SECONDS as u64);

impl KubernetesArbiter {
    /// Watches records and facts from revision `from` on, inclusive: the one after a listing's. Each kind has a connection of
    /// its own, whose request ends and begins anew every few seconds; one that does not end in time, nor three `tq` later, is
    /// reported as [`Change::Broken`], and so is a `from` that is no longer kept.
    pub async fn watch(&self, from: Revision, tq: Duration) -> Result<Watch, Failures> {
        let after = Revision(from.0.saturating_sub(1));
        let opened = tokio::try_join!(
            self.server.watch(Kind::Record, after, tq),
            self.server.watch(Kind::Facts, after, tq)
        );
        let (records, facts) = opened.map_err(|trouble| self.server.failures(ended(trouble)))?;
        let (send, changes) = mpsc::channel(QUEUE);
        let end = CancellationToken::new();
        let over = end.clone();
        let server = Arc::clone(&self.server);
        tokio::spawn(async move {
            let run = async {
                let cause = tokio::select! {
                    cause = follow(&server, Kind::Record, records, after, &send, tq) => cause,
                    cause = follow(&server, Kind::Facts, facts, after, &send, tq) => cause,
                };
                // The reader has gone when this fails: nobody to tell.
                let _ = send.send(Change::Broken { why: server.failures(cause) }).await;
            };
            tokio::select! { () = over.cancelled() => {}, () = run => {} }
        });
        Ok(Watch::new(changes, end))
    }
}

/// Delivers what is told of one kind until that ends, and says why it ended.
async fn follow(
    server: &Server,
    kind: Kind,
    mut events: Events,
    mut at: Revision,
    send: &mpsc::Sender<Change>,
    tq: Duration,
) -> Cause {
    loop {
        let opened = Instant::now();
        let longest = REQUEST + tq * SILENCE;
        loop {
            match timeout_at(opened + longest, events.next()).await {
                Err(_) => return Cause::TimedOut(longest),
                Ok(None) => break,
                Ok(Some(Err(error))) => return Cause::Lost(crate::kube::failure::chain(&error)),
                Ok(Some(Ok(event))) => match deliver(kind, event, send).await {
                    Ok(seen) => at = at.max(seen),
                    Err(cause) => return cause,
                },
            }
        }
        // A server that ends requests as soon as they come is in trouble.
        if opened.elapsed() < REQUEST / 2 {
            return Cause::Lost("the API server ended the watch".to_owned());
        }
        events = match server.watch(kind, at, tq).await {
            Ok(events) => events,
            Err(trouble) => return ended(trouble),
        };
    }
}

/// Why a watch could not be opened, in the words of its end.
fn ended(trouble: Trouble) -> Cause {
    match trouble {
        Trouble::Refused { code: 410, reason } => no_longer_kept(&reason),
        other => other.cause(),
    }
}

fn no_longer_kept(reason: &str) -> Cause {
    Cause::Refused(format!("the start is no longer kept ({reason})"))
}

/// Passes one event on; its revision, or a cause when it ends the watch.
async fn deliver(
    kind: Kind,
    event: WatchEvent<DynamicObject>,
    send: &mpsc::Sender<Change>,
) -> Result<Revision, Cause> {
    let (found, is_there) = match event {
        WatchEvent::Added(found) | WatchEvent::Modified(found) => (found, true),
        WatchEvent::Deleted(found) => (found, false),
        WatchEvent::Bookmark(bookmark) => {
            let version = bookmark.metadata.resource_version;
            let revision = object::number(Some(&version)).map_err(Cause::Lost)?;
            // A full queue means that the reader has better things to read.
            let _ = send.try_send(Change::Current { revision });
            return Ok(revision);
        }
        WatchEvent::Error(status) if status.code == 410 => return Err(no_longer_kept(&status.message)),
        WatchEvent::Error(status) => {
            return Err(Cause::Lost(format!("the API server answered {}: {}", status.code, status.message)));
        }
    };
    let held = object::held(kind, &found).map_err(Cause::Lost)?;
    let revision = held.revision;
    let value = is_there.then_some(held);
    let change = match object::named(kind, object::name(&found)) {
        Some(Named::Record(policy)) => Change::Record { policy, record: value, revision },
        Some(Named::Facts(policy, site)) => Change::Facts { policy, site, facts: value, revision },
        _ => Change::Foreign { key: format!("{}/{}", kind.plural(), object::name(&found)) },
    };
    if send.send(change).await.is_err() {
        return Err(Cause::Lost("the reader has gone".to_owned()));
    }
    Ok(revision)
}
