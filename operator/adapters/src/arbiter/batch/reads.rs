//! Reads that travel together.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse};

use super::queue::{Carrier, whole};
use crate::arbiter::Failures;
use crate::arbiter::member::{Members, kv};

/// Reads keys. Several are a transaction that only reads: the members agree on none of it, only on how far they are.
pub(super) struct Reads(pub(super) Arc<Members>);

#[async_trait]
impl Carrier for Reads {
    type Question = String;
    type Answer = Option<KeyValue>;

    /// One key may be asked for by several.
    fn name(_: &String) -> Option<&str> {
        None
    }

    /// Of the answers nothing is known but that all of them together are no larger than what is read at most.
    fn bytes(name: &String) -> usize {
        name.len()
    }

    async fn carry(&self, names: &[String], tq: Duration) -> Result<Vec<Option<KeyValue>>, Failures> {
        if let [name] = names {
            let ask = |client| {
                let name = name.clone();
                async move { kv(&client).get(name, None).await }
            };
            let answer = self.0.ask_two(tq, ask).await?;
            return Ok(vec![answer.kvs().first().cloned()]);
        }
        let gets: Vec<TxnOp> = names.iter().map(|name| TxnOp::get(name.clone(), None)).collect();
        let txn = Txn::new().and_then(gets);
        let ask = |client| {
            let txn = txn.clone();
            async move { kv(&client).txn(txn).await.map(|answer| found(&answer)) }
        };
        whole(self.0.ask_two(tq, ask).await?, names.len())
    }
}

/// What each read has found; none when the answer is one to something else.
fn found(answer: &TxnResponse) -> Option<Vec<Option<KeyValue>>> {
    let read = |op| match op {
        TxnOpResponse::Get(get) => Some(get.kvs().first().cloned()),
        _ => None,
    };
    answer.op_responses().into_iter().map(read).collect()
}
