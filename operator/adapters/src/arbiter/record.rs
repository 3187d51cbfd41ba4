//! Records and facts: reading all, reading one, and compare-and-swap.

use std::time::Duration;

use bascule_core::name::{PolicyKey, SiteName};
use etcd_client::{Compare, CompareOp, GetOptions, GetResponse, KeyValue, ResponseHeader};

use super::acting::{Fence, who};
use super::batch::{Swap, Swapped};
use super::{
    Cas, EtcdArbiter, FactsView, Failures, Listing, Put, ReadError, RecordView, Revision, Versioned, key,
};

/// The largest value that is written, in bytes. Keeps a page of records within the size of one answer.
pub const VALUE_LIMIT: usize = 256 << 10;

/// What a page of a listing holds.
#[derive(Clone, Copy)]
enum Page {
    /// Keys with their values, few enough to be within the size of one answer.
    Whole,
    /// Keys alone.
    Bare,
}

impl Page {
    const fn options(self) -> GetOptions {
        match self {
            Self::Whole => GetOptions::new().with_limit(128),
            Self::Bare => GetOptions::new().with_keys_only().with_limit(4096),
        }
    }
}

/// Keys per listing: far above any fleet, so that a damaged store cannot fill the memory.
const LISTING_LIMIT: usize = 100_000;

pub(super) fn revision_of(header: Option<&ResponseHeader>) -> Revision {
    Revision(header.map_or(0, ResponseHeader::revision))
}

pub(super) fn versioned(kv: &KeyValue) -> Versioned {
    Versioned { value: kv.value().to_vec(), revision: Revision(kv.mod_revision()) }
}

/// What a write is refused with when another replica acts.
pub(super) fn not_acting(acts: Option<&Versioned>) -> String {
    format!("this replica of the operator does not act any more: {} does", who(acts))
}

impl EtcdArbiter {
    /// One policy's record, read linearizably; none when there is none. Asked of two members at once, first answer
    /// wins. Reads that wait at the same moment travel together.
    pub async fn record(&self, policy: &PolicyKey, tq: Duration) -> Result<Option<Versioned>, ReadError> {
        let found = self.batches.read(key::record(policy), tq).await.map_err(ReadError::NoAnswer)?;
        Ok(found.as_ref().map(versioned))
    }

    /// One key, read linearizably; none when it is not there. Asked of two members at once, first answer wins.
    pub(super) async fn one(&self, name: String, tq: Duration) -> Result<Option<KeyValue>, ReadError> {
        let answer = self.members.read(tq, name, None).await.map_err(ReadError::NoAnswer)?;
        Ok(answer.kvs().first().cloned())
    }

    /// All records at one revision. Each page has its own deadline.
    pub async fn records(&self, tq: Duration) -> Result<Listing<RecordView>, ReadError> {
        self.list(key::RECORDS, Page::Whole, tq, |kv| match key::parse(kv.key())? {
            key::Parsed::Record(policy) => Some(RecordView { policy, record: versioned(kv) }),
            _ => None,
        })
        .await
    }

    /// Which policies have a record, and its revision: [`EtcdArbiter::records`] without what is in them.
    pub async fn record_revisions(&self, tq: Duration) -> Result<Listing<(PolicyKey, Revision)>, ReadError> {
        self.list(key::RECORDS, Page::Bare, tq, |kv| match key::parse(kv.key())? {
            key::Parsed::Record(policy) => Some((policy, Revision(kv.mod_revision()))),
            _ => None,
        })
        .await
    }

    /// All facts of all sites at one revision. Each page has its own deadline.
    pub async fn facts(&self, tq: Duration) -> Result<Listing<FactsView>, ReadError> {
        self.list(key::FACTS, Page::Whole, tq, |kv| match key::parse(kv.key())? {
            key::Parsed::Facts(policy, site) => Some(FactsView { policy, site, facts: versioned(kv) }),
            _ => None,
        })
        .await
    }

    /// Replaces the record of `policy` by `new` if it is still at `expected` (none: if there is no record), and, when
    /// `unchanged_lease` is given, only if that site's lease is still at that revision: both are compared in the one
    /// transaction. Sent to one member, once. Those of several policies that wait at the same moment travel together, each
    /// with its own comparisons and its own outcome. Read [`Cas::Unknown`] before handling it.
    pub async fn cas(
        &self,
        policy: &PolicyKey,
        expected: Option<Revision>,
        new: Vec<u8>,
        unchanged_lease: Option<(&SiteName, Revision)>,
        tq: Duration,
    ) -> Cas {
        if new.len() > VALUE_LIMIT {
            let why =
                format!("the record of {policy} has {} bytes, at most {VALUE_LIMIT} are stored", new.len());
            return Cas::Refused { why: Failures::local(why) };
        }
        let name = key::record(policy);
        let mut compares = vec![match expected {
            Some(Revision(r)) => Compare::mod_revision(name.clone(), CompareOp::Equal, r),
            None => Compare::create_revision(name.clone(), CompareOp::Equal, 0),
        }];
        let mut reads = vec![name.clone()];
        if let Some((site, Revision(r))) = unchanged_lease {
            compares.push(Compare::mod_revision(key::lease(site), CompareOp::Equal, r));
            reads.push(key::lease(site));
        }
        if let Some(fence) = &self.fence {
            compares.push(fence.holds());
            reads.push(fence.key.clone());
        }
        match self.batches.record(Swap { key: name, value: new, compares, reads }, tq).await {
            Ok(Swapped::Applied { revision }) => Cas::Applied { revision },
            Ok(Swapped::Not { mut found }) => {
                let fenced = self.fence.as_ref().filter(|_| !found.is_empty());
                if let Some(acts) = fenced.and_then(|fence| found.pop().filter(|f| !fence.is_in(f.as_ref())))
                {
                    return Cas::Refused { why: Failures::local(not_acting(acts.as_ref())) };
                }
                let mut found = found.into_iter();
                let current = found.next().flatten();
                Cas::Conflict { current, lease: found.next().flatten().map(|lease| lease.revision) }
            }
            Err(why) if why.is_without_effect() => Cas::Refused { why },
            Err(why) => Cas::Unknown { why },
        }
    }

    /// Writes what `site` reports about `policy`. Sent to one member, once. What is reported about several policies at the
    /// same moment travels together.
    pub async fn put_facts(&self, policy: &PolicyKey, site: &SiteName, facts: Vec<u8>, tq: Duration) -> Put {
        if facts.len() > VALUE_LIMIT {
            let why =
                format!("the facts of {policy} have {} bytes, at most {VALUE_LIMIT} are stored", facts.len());
            return Put::Refused { why: Failures::local(why) };
        }
        let name = key::facts(policy, site);
        let fence = self.fence.as_ref();
        let compares: Vec<Compare> = fence.map(Fence::holds).into_iter().collect();
        let reads: Vec<String> = fence.map(|fence| fence.key.clone()).into_iter().collect();
        match self.batches.facts(Swap { key: name, value: facts, compares, reads }, tq).await {
            Ok(Swapped::Applied { revision }) => Put::Applied { revision },
            Ok(Swapped::Not { found }) => {
                let acts = found.into_iter().next().flatten();
                Put::Refused { why: Failures::local(not_acting(acts.as_ref())) }
            }
            Err(why) if why.is_without_effect() => Put::Refused { why },
            Err(why) => Put::Unknown { why },
        }
    }

    async fn list<T>(
        &self,
        prefix: &'static str,
        page: Page,
        tq: Duration,
        read: impl Fn(&KeyValue) -> Option<T>,
    ) -> Result<Listing<T>, ReadError> {
        let mut listing =
            Listing { revision: Revision(0), cluster: 0, items: Vec::new(), foreign: Vec::new() };
        let mut from = prefix.as_bytes().to_vec();
        loop {
            let at = listing.revision;
            let found = self.page(page, &from, prefix, at, tq).await.map_err(ReadError::NoAnswer)?;
            if listing.revision == Revision(0) {
                listing.revision = revision_of(found.header());
                listing.cluster = found.header().map_or(0, ResponseHeader::cluster_id);
            }
            for kv in found.kvs() {
                match read(kv) {
                    Some(item) => listing.items.push(item),
                    None => listing.foreign.push(String::from_utf8_lossy(kv.key()).into_owned()),
                }
            }
            match found.kvs().last() {
                Some(last) if found.more() => {
                    from = last.key().to_vec();
                    from.push(0);
                }
                _ => return Ok(listing),
            }
            if listing.items.len() + listing.foreign.len() >= LISTING_LIMIT {
                return Err(ReadError::TooMany { prefix, limit: LISTING_LIMIT });
            }
        }
    }

    /// One page; `at` zero: the present, linearizably; otherwise the store as it was at that revision.
    async fn page(
        &self,
        page: Page,
        from: &[u8],
        prefix: &str,
        at: Revision,
        tq: Duration,
    ) -> Result<GetResponse, Failures> {
        let options = page.options().with_range(end_of(prefix)).with_revision(at.0);
        self.members.read(tq, from, Some(options)).await
    }
}

/// The first key after all keys with this prefix.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // Every prefix here ends in '/', so the last byte has a successor.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
