//! Records and facts: reading all, reading one, and compare-and-swap.

use std::time::Duration;

use bascule_core::name::{PolicyKey, SiteName};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::failure::{Cause, Failures};
use super::super::record::not_acting;
use super::super::{Cas, FactsView, Listing, Put, ReadError, RecordView, Revision, VALUE_LIMIT, Versioned};
use super::KubernetesArbiter;
use super::acting::{not_put, put};
use super::lease::left;
use super::object::{self, Kind, Named};
use super::server::Trouble;

impl KubernetesArbiter {
    /// One policy's record, read linearizably; none when there is none.
    pub async fn record(&self, policy: &PolicyKey, tq: Duration) -> Result<Option<Versioned>, ReadError> {
        let name = object::record(policy).map_err(|why| ReadError::NoAnswer(Failures::local(why)))?;
        match self.server.get(Kind::Record, &name, tq).await {
            Ok(None) => Ok(None),
            Ok(Some(found)) => self.held(Kind::Record, &found).map(Some),
            Err(cause) => Err(ReadError::NoAnswer(self.server.failures(cause))),
        }
    }

    /// All records at one revision. Each page has its own deadline.
    pub async fn records(&self, tq: Duration) -> Result<Listing<RecordView>, ReadError> {
        self.all(Kind::Record, tq, |named, record| match named {
            Named::Record(policy) => Some(RecordView { policy, record }),
            _ => None,
        })
        .await
    }

    /// All facts of all sites at one revision. Each page has its own deadline.
    pub async fn facts(&self, tq: Duration) -> Result<Listing<FactsView>, ReadError> {
        self.all(Kind::Facts, tq, |named, facts| match named {
            Named::Facts(policy, site) => Some(FactsView { policy, site, facts }),
            _ => None,
        })
        .await
    }

    /// Replaces the record of `policy` by `new` if it is still at `expected` (none: if there is no record). That is one
    /// step. When `unchanged_lease` is given, that site's lease is looked at before, and so is who acts where this client
    /// writes only while a replica acts: what changes between that look and the write is not seen. The write is sent once.
    /// Read [`Cas::Unknown`] before handling it.
    pub async fn cas(
        &self,
        policy: &PolicyKey,
        expected: Option<Revision>,
        new: Vec<u8>,
        unchanged_lease: Option<(&SiteName, Revision)>,
        tq: Duration,
    ) -> Cas {
        let until = Instant::now() + tq;
        let refused = |why: String| Cas::Refused { why: Failures::local(why) };
        let (name, value) = match (object::record(policy), value(&new)) {
            (Ok(name), Ok(value)) => (name, value),
            (Err(why), _) | (_, Err(why)) => return refused(format!("the record of {policy}: {why}")),
        };
        let lease = async {
            match unchanged_lease {
                Some((site, _)) => self.lease_revision(site, tq).await,
                None => Ok(None),
            }
        };
        let (lease, acts) = tokio::join!(lease, self.acts_still(tq));
        if let Err(why) = acts {
            return Cas::Refused { why };
        }
        let lease = match lease {
            Ok(lease) => lease,
            Err(cause) => return Cas::Refused { why: self.server.failures(cause) },
        };
        // One that never was is at zero.
        let moved = unchanged_lease.is_some_and(|(_, seen)| lease.unwrap_or(Revision(0)) != seen);
        if moved {
            return self.conflict(&name, lease, left(until)).await;
        }
        let mut object = Kind::Record.holding(&name, value);
        let sent = if let Some(revision) = expected {
            object.metadata.resource_version = Some(revision.to_string());
            self.server.replace_object(Kind::Record, &object, left(until)).await
        } else {
            self.server.create(Kind::Record, &object, left(until)).await
        };
        match sent {
            Ok(written) => match object::revision(&written) {
                Ok(revision) => Cas::Applied { revision },
                Err(why) => Cas::Unknown { why: self.server.failures(Cause::Lost(why)) },
            },
            Err(Trouble::Missing) => Cas::Conflict { current: None, lease },
            Err(Trouble::Refused { code: 409, .. }) => self.conflict(&name, lease, left(until)).await,
            Err(trouble) => {
                let why = self.server.failures(trouble.cause());
                if why.is_without_effect() { Cas::Refused { why } } else { Cas::Unknown { why } }
            }
        }
    }

    /// Nothing was written, for something else was: what is there now.
    async fn conflict(&self, name: &str, lease: Option<Revision>, within: Duration) -> Cas {
        let read = match self.server.get(Kind::Record, name, within).await {
            Ok(None) => Ok(None),
            Ok(Some(found)) => object::held(Kind::Record, &found).map(Some).map_err(Cause::Lost),
            Err(cause) => Err(cause),
        };
        match read {
            Ok(current) => Cas::Conflict { current, lease },
            Err(cause) => {
                let why = format!("it was changed by somebody else, and is not known as it is now: {cause}");
                Cas::Refused { why: Failures::local(why) }
            }
        }
    }

    /// Writes what `site` reports about `policy`. Who acts is looked at before, where this client writes only while a
    /// replica acts.
    pub async fn put_facts(&self, policy: &PolicyKey, site: &SiteName, facts: Vec<u8>, tq: Duration) -> Put {
        let until = Instant::now() + tq;
        let (name, value) = match (object::facts(policy, site), value(&facts)) {
            (Ok(name), Ok(value)) => (name, value),
            (Err(why), _) | (_, Err(why)) => {
                return Put::Refused { why: Failures::local(format!("the facts of {policy}: {why}")) };
            }
        };
        if let Err(why) = self.acts_still(tq).await {
            return Put::Refused { why };
        }
        let change = vec![json!({ "op": "replace", "path": "/spec/facts", "value": value.clone() })];
        match self.server.patch(Kind::Facts, &name, change, left(until)).await {
            Ok(written) => put(&self.server, object::revision(&written)),
            Err(Trouble::Missing) => {
                let object = Kind::Facts.holding(&name, value);
                match self.server.create(Kind::Facts, &object, left(until)).await {
                    Ok(written) => put(&self.server, object::revision(&written)),
                    Err(trouble) => not_put(&self.server, trouble),
                }
            }
            Err(trouble) => not_put(&self.server, trouble),
        }
    }

    /// Whether the replica that this client writes for still acts, as a linearizable read says.
    async fn acts_still(&self, tq: Duration) -> Result<(), Failures> {
        let Some(fence) = &self.fence else { return Ok(()) };
        match self.seen(&fence.site, tq).await {
            Ok(Some(seen)) if seen.replica == fence.me => Ok(()),
            Ok(seen) => {
                let acts = seen.and_then(|seen| seen.acting());
                Err(Failures::local(not_acting(acts.as_ref())))
            }
            Err(cause) => Err(self.server.failures(cause)),
        }
    }

    /// What an object holds, or that it cannot be read.
    pub(super) fn held(&self, kind: Kind, found: &DynamicObject) -> Result<Versioned, ReadError> {
        object::held(kind, found).map_err(|why| ReadError::NoAnswer(self.server.failures(Cause::Lost(why))))
    }

    async fn all<T>(
        &self,
        kind: Kind,
        tq: Duration,
        read: impl Fn(Named, Versioned) -> Option<T>,
    ) -> Result<Listing<T>, ReadError> {
        let (revision, objects) = self.server.list(kind, tq).await?;
        let mut listing = Listing { revision, cluster: 0, items: Vec::new(), foreign: Vec::new() };
        for found in &objects {
            let name = object::name(found);
            let held = self.held(kind, found)?;
            match object::named(kind, name).and_then(|named| read(named, held)) {
                Some(item) => listing.items.push(item),
                None => listing.foreign.push(format!("{}/{name}", kind.plural())),
            }
        }
        Ok(listing)
    }
}

/// What is to be stored, as it is written into an object.
fn value(bytes: &[u8]) -> Result<Value, String> {
    if bytes.len() > VALUE_LIMIT {
        return Err(format!("it has {} bytes, at most {VALUE_LIMIT} are stored", bytes.len()));
    }
    object::storable(bytes)
}
