//! Site names and site leases.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bascule_core::name::SiteName;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::acting::who;
use super::super::failure::{Cause, Failures};
use super::super::{Claim, LeaseView, Listing, ReadError, Renewal, Revision};
use super::KubernetesArbiter;
use super::object::{self, Kind, Named, Seen};
use super::server::Trouble;

impl KubernetesArbiter {
    /// Claims the name `site` for the cluster `uid`, once and for ever: makes the lease if there is none.
    pub async fn claim_site(&self, site: &SiteName, uid: &str, tq: Duration) -> Claim {
        let until = Instant::now() + tq;
        match self.owner_of(site, tq).await {
            Ok(Some(owner)) => return claimed(owner, uid),
            Ok(None) => {}
            // Nothing but a read was sent.
            Err(cause) => return Claim::Refused { why: self.server.failures(cause) },
        }
        let spec = json!({ "owner": uid, "acting": { "replica": "", "count": 0 } });
        let object = Kind::Lease.object(site.as_str(), spec);
        match self.server.create(Kind::Lease, &object, left(until)).await {
            Ok(_) => Claim::Ours,
            // Somebody was first.
            Err(Trouble::Refused { code: 409, .. }) => match self.owner_of(site, left(until)).await {
                Ok(Some(owner)) => claimed(owner, uid),
                Ok(None) => {
                    Claim::Refused { why: Failures::local("the name was claimed and given back meanwhile") }
                }
                Err(cause) => Claim::Refused { why: self.server.failures(cause) },
            },
            Err(trouble) => {
                let why = self.server.failures(trouble.cause());
                if why.is_without_effect() { Claim::Refused { why } } else { Claim::Unknown { why } }
            }
        }
    }

    /// Renews the site's lease: writes `beat`, if the name belongs to the cluster `uid`. The renewal of a replica that acts
    /// shows in the same write that it does.
    pub async fn renew(&self, site: &SiteName, uid: &str, beat: &[u8], tq: Duration) -> Renewal {
        let until = Instant::now() + tq;
        let mut operations = vec![
            test("/spec/owner", uid),
            json!({ "op": "add", "path": "/spec/beat", "value": String::from_utf8_lossy(beat) }),
            json!({ "op": "add", "path": "/spec/renewal", "value": self.renewals.next() }),
        ];
        if let Some(fence) = &self.fence {
            let count = self.count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            operations.push(test("/spec/acting/replica", fence.me.as_str()));
            operations.push(json!({ "op": "replace", "path": "/spec/acting/count", "value": count }));
        }
        match self.server.patch(Kind::Lease, site.as_str(), operations, tq).await {
            Ok(written) => match object::revision(&written) {
                Ok(revision) => Renewal::Applied { revision },
                Err(why) => Renewal::Unknown { why: self.server.failures(Cause::Lost(why)) },
            },
            Err(Trouble::Missing) => Renewal::NotClaimed,
            // A comparison failed, or the object would not be what it has to be.
            Err(refused @ Trouble::Refused { code: 422, .. }) => {
                self.why_not_renewed(site, uid, refused, left(until)).await
            }
            Err(trouble) => {
                let why = self.server.failures(trouble.cause());
                if why.is_without_effect() { Renewal::Refused { why } } else { Renewal::Unknown { why } }
            }
        }
    }

    /// What a refused renewal was refused for, as far as a read tells. Nothing was written in any case.
    async fn why_not_renewed(
        &self,
        site: &SiteName,
        uid: &str,
        refused: Trouble,
        within: Duration,
    ) -> Renewal {
        match self.seen(site, within).await {
            Ok(None) => Renewal::NotClaimed,
            Ok(Some(seen)) if seen.owner != uid => Renewal::NameTaken { owner: seen.owner },
            Ok(Some(seen)) if self.fence.as_ref().is_some_and(|fence| fence.me != seen.replica) => {
                Renewal::NotActing { who: who(seen.acting().as_ref()) }
            }
            Ok(Some(_)) | Err(_) => Renewal::Refused { why: self.server.failures(refused.cause()) },
        }
    }

    /// The UID of the cluster that owns the name `site`; none while nobody has claimed it. A linearizable read.
    pub async fn owner(&self, site: &SiteName, tq: Duration) -> Result<Option<String>, ReadError> {
        self.owner_of(site, tq).await.map_err(|cause| ReadError::NoAnswer(self.server.failures(cause)))
    }

    async fn owner_of(&self, site: &SiteName, tq: Duration) -> Result<Option<String>, Cause> {
        Ok(self.seen(site, tq).await?.map(|seen| seen.owner))
    }

    /// A site's lease, read linearizably; none when there is none.
    pub(super) async fn seen(&self, site: &SiteName, tq: Duration) -> Result<Option<Seen>, Cause> {
        let Some(found) = self.server.get(Kind::Lease, site.as_str(), tq).await? else { return Ok(None) };
        let seen = Seen::of(&found).map_err(Cause::Lost)?;
        if self.fence.as_ref().is_none_or(|fence| fence.site == *site) {
            // What this replica writes next has to be higher.
            self.count.fetch_max(seen.count, Ordering::Relaxed);
        }
        Ok(Some(seen))
    }

    /// Every site's lease, read linearizably in one piece.
    pub async fn leases(&self, tq: Duration) -> Result<Listing<LeaseView>, ReadError> {
        let (revision, objects) = self.server.list(Kind::Lease, tq).await?;
        let mut listing = Listing { revision, cluster: 0, items: Vec::new(), foreign: Vec::new() };
        for found in &objects {
            let name = object::name(found);
            let Some(Named::Lease(site)) = object::named(Kind::Lease, name) else {
                listing.foreign.push(format!("{}/{name}", Kind::Lease.plural()));
                continue;
            };
            // A name that was claimed and never renewed is no lease yet.
            if found.data["spec"]["beat"].is_string() {
                let beat = self.held(Kind::Lease, found)?;
                listing.items.push(LeaseView { site, beat });
            }
        }
        Ok(listing)
    }

    /// The revision of a site's lease; none while it was never renewed.
    pub(super) async fn lease_revision(
        &self,
        site: &SiteName,
        tq: Duration,
    ) -> Result<Option<Revision>, Cause> {
        Ok(self.seen(site, tq).await?.filter(|seen| seen.renewed).map(|seen| seen.revision))
    }
}

fn claimed(owner: String, uid: &str) -> Claim {
    if owner == uid { Claim::Ours } else { Claim::NameTaken { owner } }
}

/// The comparison of a field with what it has to be.
pub(super) fn test(path: &str, value: impl Into<Value>) -> Value {
    json!({ "op": "test", "path": path, "value": value.into() })
}

/// What is left of a deadline.
pub(super) fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
