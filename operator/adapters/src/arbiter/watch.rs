//! Being told of changes of records and facts.

use std::sync::Arc;
use std::time::Duration;

use bascule_core::name::{PolicyKey, SiteName};
use etcd_client::{Client, Error, EventType, WatchOptions, WatchResponse, WatchStream};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::member::Member;
use super::{Cause, EtcdArbiter, Failure, Failures, Revision, Versioned, key};

/// How many changes wait for a slow reader before the connection is told to wait too.
pub(super) const QUEUE: usize = 1024;

/// A watch is given up after this many deadlines without any sign of life.
pub(super) const SILENCE: u32 = 3;

/// Something that was written, or the end of the watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A record was written; none when it was deleted, which this program never does.
    Record {
        /// Whose.
        policy: PolicyKey,
        /// What is stored now.
        record: Option<Versioned>,
        /// When.
        revision: Revision,
    },
    /// A site's facts were written or deleted.
    Facts {
        /// About which policy.
        policy: PolicyKey,
        /// By which site.
        site: SiteName,
        /// What is stored now.
        facts: Option<Versioned>,
        /// When.
        revision: Revision,
    },
    /// A key that no version of this program writes was changed.
    Foreign {
        /// The key.
        key: String,
    },
    /// Everything up to this revision has been delivered: the watch was alive just now. Left out while changes wait
    /// to be read.
    Current {
        /// Up to where.
        revision: Revision,
    },
    /// The watch has ended; nothing follows. List again and watch from there.
    Broken {
        /// Where and why.
        why: Failures,
    },
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<Change>,
    _end: DropGuard,
}

impl Watch {
    /// A watch that delivers `changes` until `end` is cancelled, which dropping it does.
    pub(super) fn new(changes: mpsc::Receiver<Change>, end: CancellationToken) -> Self {
        Self { changes, _end: end.drop_guard() }
    }

    /// The next change. None after [`Change::Broken`].
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }
}

impl EtcdArbiter {
    /// Watches records and facts from revision `from` on, inclusive: the one after a listing's. A connection that
    /// gives no sign of life for three `tq` is reported as [`Change::Broken`], so is a member that lost its leader,
    /// and a `from` that is no longer kept. The watch hangs on one member, over a connection of its own; making it may
    /// take as long.
    pub async fn watch(&self, from: Revision, tq: Duration) -> Result<Watch, Failures> {
        let Some(member) = self.members.ranked().into_iter().next() else {
            return Err(Failures::local("no member is configured"));
        };
        let until = tq * SILENCE;
        let opened = match timeout(until, async { open(&member.connect().await?, from).await }).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => Err(Cause::of(&error)),
            Err(_) => Err(Cause::TimedOut(until)),
        };
        let stream = match opened {
            Ok(stream) => stream,
            Err(cause) => return Err(blame(&member, cause).await),
        };
        let (send, changes) = mpsc::channel(QUEUE);
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(async move {
            let run = async {
                let cause = follow(stream, &send, tq).await;
                let why = blame(&member, cause).await;
                // The reader has gone when this fails: nobody to tell.
                let _ = send.send(Change::Broken { why }).await;
            };
            tokio::select! { () = ended.cancelled() => {}, () = run => {} }
        });
        Ok(Watch::new(changes, end))
    }
}

async fn blame(member: &Arc<Member>, cause: Cause) -> Failures {
    member.note_broken(&cause).await;
    Failure { endpoint: member.endpoint.clone(), cause }.into()
}

/// Opens both watches on one stream and sees them accepted.
async fn open(client: &Client, from: Revision) -> Result<WatchStream, Error> {
    // A thousand revisions come at once to who is behind, and each may be of many keys: in parts, none is too large to read.
    let options = || WatchOptions::new().with_prefix().with_start_revision(from.0).with_fragment();
    let mut stream = client.watch_client().watch(key::RECORDS, Some(options())).await?;
    stream.watch(key::FACTS, Some(options())).await?;
    Ok(stream)
}

/// Delivers what the stream says until it ends, and says why it ended.
async fn follow(mut stream: WatchStream, send: &mpsc::Sender<Change>, tq: Duration) -> Cause {
    let mut ask = interval_at(Instant::now() + tq, tq);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let answer = tokio::select! {
            _ = ask.tick() => {
                // Asking fills a bounded queue when the member does not read: then the silence below ends the watch.
                match timeout_at(heard + tq * SILENCE, stream.request_progress()).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return Cause::of(&error),
                    Err(_) => return Cause::TimedOut(tq * SILENCE),
                }
            }
            answer = timeout_at(heard + tq * SILENCE, stream.next()) => answer,
        };
        match answer {
            Err(_) => return Cause::TimedOut(tq * SILENCE),
            Ok(None) => return Cause::Lost("the member closed the watch".to_owned()),
            Ok(Some(Err(error))) => return Cause::of(&error),
            Ok(Some(Ok(response))) => {
                if let Some(cause) = deliver(&response, send).await {
                    return cause;
                }
            }
        }
        // After delivering: a slow reader is not the member's silence.
        heard = Instant::now();
    }
}

/// Passes one answer on; a cause when it ends the watch.
async fn deliver(response: &WatchResponse, send: &mpsc::Sender<Change>) -> Option<Cause> {
    if response.compact_revision() != 0 {
        let oldest = response.compact_revision();
        return Some(Cause::Refused(format!("the start is no longer kept; the oldest revision is {oldest}")));
    }
    if response.canceled() {
        return Some(Cause::Refused(format!("the member cancelled the watch: {}", response.cancel_reason())));
    }
    if response.events().is_empty() && !response.created() {
        let revision = Revision(response.header().map_or(0, etcd_client::ResponseHeader::revision));
        // A full queue means that the reader has better things to read.
        let _ = send.try_send(Change::Current { revision });
    }
    for event in response.events() {
        let Some(kv) = event.kv() else { continue };
        let revision = Revision(kv.mod_revision());
        let value = (event.event_type() == EventType::Put)
            .then(|| Versioned { value: kv.value().to_vec(), revision });
        let change = match key::parse(kv.key()) {
            Some(key::Parsed::Record(policy)) => Change::Record { policy, record: value, revision },
            Some(key::Parsed::Facts(policy, site)) => Change::Facts { policy, site, facts: value, revision },
            _ => Change::Foreign { key: String::from_utf8_lossy(kv.key()).into_owned() },
        };
        if send.send(change).await.is_err() {
            return Some(Cause::Lost("the reader has gone".to_owned()));
        }
    }
    None
}
