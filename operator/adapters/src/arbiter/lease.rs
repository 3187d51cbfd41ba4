//! Site names and site leases.

use std::time::Duration;

use bascule_core::name::SiteName;
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};

use super::acting::{reads, who};
use super::record::revision_of;
use super::{Claim, EtcdArbiter, Failures, LeaseView, Listing, ReadError, Renewal, Revision, Versioned, key};

impl EtcdArbiter {
    /// Claims the name `site` for the cluster `uid`, once and for ever: creates the key if it is absent. Asked of one
    /// member.
    pub async fn claim_site(&self, site: &SiteName, uid: &str, tq: Duration) -> Claim {
        let name = key::site(site);
        let txn = Txn::new()
            .when([Compare::create_revision(name.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(name.clone(), uid, None)])
            .or_else([TxnOp::get(name, None)]);
        match self.members.commit(tq, txn).await {
            Ok(answer) if answer.succeeded() => Claim::Ours,
            Ok(answer) => match first_value(&answer) {
                Some(owner) if owner.value == uid.as_bytes() => Claim::Ours,
                Some(owner) => Claim::NameTaken { owner: text(&owner.value) },
                None => Claim::Unknown { why: Failures::local("the answer names no owner") },
            },
            Err(why) if why.is_without_effect() => Claim::Refused { why },
            Err(why) => Claim::Unknown { why },
        }
    }

    /// Renews the site's lease: writes `beat`, if the name belongs to the cluster `uid`. Sent to two members at once;
    /// both may apply it, which is harmless, and a copy may land late (see [`LeaseView::beat`]). The renewal of a replica
    /// that acts shows in the same transaction that it does.
    pub async fn renew(&self, site: &SiteName, uid: &str, beat: &[u8], tq: Duration) -> Renewal {
        let owner = key::site(site);
        let mut compares = vec![Compare::value(owner.clone(), CompareOp::Equal, uid)];
        let mut puts = vec![TxnOp::put(key::lease(site), beat, None)];
        let mut gets = vec![TxnOp::get(owner, None)];
        if let Some(fence) = &self.fence {
            compares.push(fence.holds());
            puts.push(TxnOp::put(fence.key.clone(), fence.value.clone(), None));
            gets.push(TxnOp::get(fence.key.clone(), None));
        }
        let txn = Txn::new().when(compares).and_then(puts).or_else(gets);
        match self.members.commit_at_two(tq, txn).await {
            Ok(answer) if answer.succeeded() => Renewal::Applied { revision: revision_of(answer.header()) },
            Ok(answer) => match &reads(&answer)[..] {
                [Some(owner), acting @ ..] if owner.value == uid.as_bytes() => {
                    Renewal::NotActing { who: who(acting.first().and_then(Option::as_ref)) }
                }
                [Some(owner), ..] => Renewal::NameTaken { owner: text(&owner.value) },
                _ => Renewal::NotClaimed,
            },
            Err(why) if why.is_without_effect() => Renewal::Refused { why },
            Err(why) => Renewal::Unknown { why },
        }
    }

    /// The UID of the cluster that owns the name `site`; none while nobody has claimed it. A linearizable read, asked of
    /// two members at once.
    pub async fn owner(&self, site: &SiteName, tq: Duration) -> Result<Option<String>, ReadError> {
        Ok(self.one(key::site(site), tq).await?.map(|found| text(found.value())))
    }

    /// Every site's lease, read linearizably in one piece. Asked of two members at once, first answer wins.
    pub async fn leases(&self, tq: Duration) -> Result<Listing<LeaseView>, ReadError> {
        let options = GetOptions::new().with_prefix().with_limit(LEASE_LIMIT);
        let answer = self.members.read(tq, key::LEASES, Some(options)).await.map_err(ReadError::NoAnswer)?;
        if answer.more() {
            return Err(ReadError::TooMany { prefix: key::LEASES, limit: LEASE_LIMIT as usize });
        }
        let mut listing = Listing {
            revision: revision_of(answer.header()),
            cluster: answer.header().map_or(0, etcd_client::ResponseHeader::cluster_id),
            items: Vec::with_capacity(answer.kvs().len()),
            foreign: Vec::new(),
        };
        for kv in answer.kvs() {
            match key::parse(kv.key()) {
                Some(key::Parsed::Lease(site)) => listing.items.push(LeaseView {
                    site,
                    beat: Versioned { value: kv.value().to_vec(), revision: Revision(kv.mod_revision()) },
                }),
                _ => listing.foreign.push(text(kv.key())),
            }
        }
        Ok(listing)
    }
}

/// More sites than any installation has; a bound, so that a damaged store cannot fill the memory.
const LEASE_LIMIT: i64 = 1000;

/// The first key that the transaction's first read found.
pub(super) fn first_value(answer: &TxnResponse) -> Option<Versioned> {
    answer.op_responses().into_iter().find_map(|op| match op {
        TxnOpResponse::Get(get) => get
            .kvs()
            .first()
            .map(|kv| Versioned { value: kv.value().to_vec(), revision: Revision(kv.mod_revision()) }),
        _ => None,
    })
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
