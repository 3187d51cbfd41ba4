//! Writes that travel together.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, Txn, TxnOp, TxnOpResponse, TxnResponse};

use super::queue::{Carrier, whole};
use crate::arbiter::acting::reads;
use crate::arbiter::member::{Members, kv};
use crate::arbiter::record::revision_of;
use crate::arbiter::{Failures, Revision, Versioned};

/// What a write needs beside its key, its value and what it reads, in bytes: more than the encoding takes.
const FRAME: usize = 512;

/// One key's write, with what must hold for it.
pub(in crate::arbiter) struct Swap {
    /// The key that is written.
    pub(in crate::arbiter) key: String,
    /// What is written.
    pub(in crate::arbiter) value: Vec<u8>,
    /// All of them must hold.
    pub(in crate::arbiter) compares: Vec<Compare>,
    /// What is read when one of them does not.
    pub(in crate::arbiter) reads: Vec<String>,
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::arbiter) enum Swapped {
    /// The key is what was sent.
    Applied {
        /// Since this revision.
        revision: Revision,
    },
    /// A comparison did not hold. Nothing was written.
    Not {
        /// What was read instead, in the order asked for.
        found: Vec<Option<Versioned>>,
    },
}

impl Swap {
    fn txn(&self) -> Txn {
        let gets: Vec<TxnOp> = self.reads.iter().map(|name| TxnOp::get(name.clone(), None)).collect();
        let put = TxnOp::put(self.key.clone(), self.value.clone(), None);
        Txn::new().when(self.compares.clone()).and_then([put]).or_else(gets)
    }
}

/// Writes keys, each by a transaction of its own, asked of one member.
pub(super) struct Swaps(pub(super) Arc<Members>);

#[async_trait]
impl Carrier for Swaps {
    type Question = Swap;
    type Answer = Swapped;

    fn name(swap: &Swap) -> Option<&str> {
        Some(&swap.key)
    }

    fn bytes(swap: &Swap) -> usize {
        // A name is in what is read and in what is compared.
        let names: usize = swap.reads.iter().map(|name| 2 * name.len()).sum();
        swap.value.len() + 2 * swap.key.len() + names + FRAME
    }

    async fn carry(&self, swaps: &[Swap], tq: Duration) -> Result<Vec<Swapped>, Failures> {
        if let [swap] = swaps {
            let txn = swap.txn();
            let ask = |client| async move { kv(&client).txn(txn).await.map(|answer| alone(&answer)) };
            return Ok(vec![self.0.ask_one(tq, ask).await?]);
        }
        let each: Vec<TxnOp> = swaps.iter().map(|swap| TxnOp::txn(swap.txn())).collect();
        let txn = Txn::new().and_then(each);
        let ask = |client| async move { kv(&client).txn(txn).await.map(|answer| together(&answer)) };
        whole(self.0.ask_one(tq, ask).await?, swaps.len())
    }
}

fn swapped(answer: &TxnResponse, revision: Revision) -> Swapped {
    if answer.succeeded() { Swapped::Applied { revision } } else { Swapped::Not { found: reads(answer) } }
}

fn alone(answer: &TxnResponse) -> Swapped {
    swapped(answer, revision_of(answer.header()))
}

/// How each ended; none when the answer is one to something else. Only the request's own header has a revision, and it is
/// that of everything that the request has written.
fn together(answer: &TxnResponse) -> Option<Vec<Swapped>> {
    let revision = revision_of(answer.header());
    let read = |op| match op {
        TxnOpResponse::Txn(one) => Some(swapped(&one, revision)),
        _ => None,
    };
    answer.op_responses().into_iter().map(read).collect()
}
