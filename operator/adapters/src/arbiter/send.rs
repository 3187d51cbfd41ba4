//! To whom what goes, and whose answer counts.

use std::time::Duration;

use etcd_client::{Client, GetOptions, GetResponse, Txn, TxnResponse};

use super::Failures;
use super::member::{Members, kv};

impl Members {
    /// Sends a transaction to one member, once: where a second copy of it could do harm, or would find what the first one
    /// has done.
    pub(super) async fn commit(&self, tq: Duration, txn: Txn) -> Result<TxnResponse, Failures> {
        self.ask_one(tq, |client| async move { kv(&client).txn(txn).await }).await
    }

    /// Sends a transaction to two members at once; the first answer counts. Both copies may be applied, and the answer may
    /// tell what the other one has found.
    pub(super) async fn commit_at_two(&self, tq: Duration, txn: Txn) -> Result<TxnResponse, Failures> {
        let send = |client: Client| {
            let txn = txn.clone();
            async move { kv(&client).txn(txn).await }
        };
        self.ask_two(tq, send).await
    }

    /// Reads a key, or the keys that the options name, linearizably unless those say otherwise. Two members are asked at
    /// once; the first answer counts.
    pub(super) async fn read(
        &self,
        tq: Duration,
        key: impl Into<Vec<u8>>,
        options: Option<GetOptions>,
    ) -> Result<GetResponse, Failures> {
        let key = key.into();
        let send = |client: Client| {
            let (key, options) = (key.clone(), options.clone());
            async move { kv(&client).get(key, options).await }
        };
        self.ask_two(tq, send).await
    }
}
