//! Reads and writes of many policies' keys in few requests.
//!
//! What a request costs, of connection, encryption, rights and agreement among the members, it costs once, whatever is in
//! it; and thousands of policies want theirs in one moment. So calls that wait at the same moment travel as one. Nothing
//! waits in order to travel together: who comes while a request is free goes at once, and alone.
//!
//! **Each call ends as if it had been sent alone.** A write keeps its own comparisons, as a transaction inside of the
//! request's: it is applied, or not, by these alone. etcd makes all comparisons of a request before the first of its writes,
//! so no two writes of one key travel together, and nothing that a write here compares (a lease, who acts) is written
//! here. What is written by one request has one revision. Reads are made of one revision, agreed on after the request
//! arrived.
//!
//! **What becomes of a request becomes of all that is in it.** When its answer is lost, each is unknown. When it is refused,
//! it is certain that nothing was done; one that may not be done, or is too large, is refused for all, so each is sent
//! once more, alone, and has its own answer.
//!
//! **Each has its own deadline.** Who gives up while it waits is not sent. Who gives up while its request is under way does
//! not know what becomes of it.

mod queue;
mod reads;
mod swaps;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::KeyValue;

use self::queue::Queue;
use self::reads::Reads;
use self::swaps::Swaps;
pub(super) use self::swaps::{Swap, Swapped};
use super::Failures;
use super::member::Members;

/// How many calls travel in one request, at most. etcd takes 128 operations unless `--max-txn-ops` says otherwise, and counts
/// those of the request and the most that one of them has inside, which is three.
pub(super) const MOST: usize = 64;

/// The queues of one client: what writes records waits for no read, and neither waits for facts.
#[derive(Debug)]
pub(super) struct Batches {
    reads: Arc<Queue<Reads>>,
    records: Arc<Queue<Swaps>>,
    facts: Arc<Queue<Swaps>>,
}

impl Batches {
    pub(super) fn new(members: &Arc<Members>) -> Self {
        Self {
            reads: Arc::new(Queue::new(Reads(Arc::clone(members)))),
            records: Arc::new(Queue::new(Swaps(Arc::clone(members)))),
            facts: Arc::new(Queue::new(Swaps(Arc::clone(members)))),
        }
    }

    /// A key, read linearizably; none when it is not there. Asked of two members at once, first answer wins.
    pub(super) async fn read(&self, name: String, tq: Duration) -> Result<Option<KeyValue>, Failures> {
        self.reads.call(name, tq).await
    }

    /// A write of a record. Sent to one member, once.
    pub(super) async fn record(&self, swap: Swap, tq: Duration) -> Result<Swapped, Failures> {
        self.records.call(swap, tq).await
    }

    /// A write of facts. Sent to one member, once.
    pub(super) async fn facts(&self, swap: Swap, tq: Duration) -> Result<Swapped, Failures> {
        self.facts.call(swap, tq).await
    }
}
