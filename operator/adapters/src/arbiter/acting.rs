//! Which replica of a site's operator acts: one key for each site, and the fence that hangs on it.
//!
//! The key holds who acts, as [`Replica`] in JSON: the same bytes as long as that process acts. It is written again with
//! every renewal of the site's lease, so its revision tells whether the replica lives. A client made by
//! [`EtcdArbiter::only_while_acting`] compares it in the transaction of everything that it writes: what a replica that does
//! not act any more still sends, or what a member delivers late for it, changes nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bascule_core::name::SiteName;
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse, TxnResponse};
use serde::{Deserialize, Serialize};

use super::lease::{first_value, text};
use super::record::{revision_of, versioned};
use super::{EtcdArbiter, Failures, Put, ReadError, Revision, Versioned, key};

/// One process of a site's operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// This process: different after each start.
    pub instance: String,
    /// Where the other replicas reach its HTTP port.
    pub address: SocketAddr,
}

impl std::fmt::Display for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.instance, self.address)
    }
}

/// What everything that this client writes is compared with.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

impl Fence {
    pub(super) fn holds(&self) -> Compare {
        Compare::value(self.key.clone(), CompareOp::Equal, self.value.clone())
    }

    /// Whether the key, as a transaction that failed has read it, is still this replica's.
    pub(super) fn is_in(&self, found: Option<&Versioned>) -> bool {
        found.is_some_and(|found| found.value == self.value)
    }
}

/// How taking over ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This replica acts.
    Applied {
        /// The key's revision.
        revision: Revision,
    },
    /// Somebody wrote the key first. Nothing was written.
    Conflict,
    /// The site's name belongs to another cluster, or to nobody. Nothing was written.
    NotOurs {
        /// The UID of the cluster that owns it, if one does.
        owner: Option<String>,
    },
    /// Nothing was written.
    Refused {
        /// By whom and why.
        why: Failures,
    },
    /// It may or may not have been written: reading the key tells.
    Unknown {
        /// What was lost.
        why: Failures,
    },
}

impl EtcdArbiter {
    /// The same client for the replica `me` of `site`: it writes only while the site's key says that this replica acts.
    #[must_use]
    pub fn only_while_acting(&self, site: &SiteName, me: &[u8]) -> Self {
        let fence = Fence { key: key::acting(site), value: me.to_vec() };
        Self { fence: Some(fence), ..self.clone() }
    }

    /// Who acts in `site`, read linearizably; none when nobody does. Asked of two members at once, first answer wins.
    pub async fn acting(&self, site: &SiteName, tq: Duration) -> Result<Option<Versioned>, ReadError> {
        Ok(self.one(key::acting(site), tq).await?.as_ref().map(versioned))
    }

    /// Lets `me` act in `site`, if the name belongs to the cluster `uid` and the key is still at `expected` (none: if
    /// there is none). Sent to one member, once.
    pub async fn take_acting(
        &self,
        site: &SiteName,
        uid: &str,
        me: &[u8],
        expected: Option<Revision>,
        tq: Duration,
    ) -> Taken {
        let (owner, acting) = (key::site(site), key::acting(site));
        let unchanged = match expected {
            Some(Revision(r)) => Compare::mod_revision(acting.clone(), CompareOp::Equal, r),
            None => Compare::create_revision(acting.clone(), CompareOp::Equal, 0),
        };
        let txn = Txn::new()
            .when([Compare::value(owner.clone(), CompareOp::Equal, uid), unchanged])
            .and_then([TxnOp::put(acting, me, None)])
            .or_else([TxnOp::get(owner, None)]);
        match self.members.commit(tq, txn).await {
            Ok(answer) if answer.succeeded() => Taken::Applied { revision: revision_of(answer.header()) },
            Ok(answer) => match first_value(&answer).map(|owner| text(&owner.value)) {
                Some(owner) if owner == uid => Taken::Conflict,
                owner => Taken::NotOurs { owner },
            },
            Err(why) if why.is_without_effect() => Taken::Refused { why },
            Err(why) => Taken::Unknown { why },
        }
    }

    /// `me` does not act in `site` any more: removes the key, if it is this replica's. Asked of two members at once, for
    /// the process ends.
    pub async fn give_up_acting(&self, site: &SiteName, me: &[u8], tq: Duration) -> Put {
        let acting = key::acting(site);
        let txn = Txn::new()
            .when([Compare::value(acting.clone(), CompareOp::Equal, me)])
            .and_then([TxnOp::delete(acting.clone(), None)])
            .or_else([TxnOp::get(acting, None)]);
        match self.members.commit_at_two(tq, txn).await {
            // Two members are asked: the one that answers first may have found what the other one had done.
            Ok(answer) if answer.succeeded() || reads(&answer) == [None] => {
                Put::Applied { revision: revision_of(answer.header()) }
            }
            Ok(_) => Put::Refused { why: Failures::local("this replica does not act any more") },
            Err(why) if why.is_without_effect() => Put::Refused { why },
            Err(why) => Put::Unknown { why },
        }
    }
}

/// What the reads of a transaction that failed have found, in their order.
pub(super) fn reads(answer: &TxnResponse) -> Vec<Option<Versioned>> {
    let read = |op| match op {
        TxnOpResponse::Get(get) => get.kvs().first().map(versioned),
        _ => None,
    };
    answer.op_responses().into_iter().map(read).collect()
}

/// Who acts, in words.
pub(super) fn who(found: Option<&Versioned>) -> String {
    match found.map(Versioned::parse::<Replica>) {
        Some(Ok(replica)) => replica.to_string(),
        Some(Err(_)) => "somebody whose name cannot be read".to_owned(),
        None => "nobody".to_owned(),
    }
}
