//! Which replica of a site's operator acts: a part of the site's lease.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bascule_core::name::SiteName;
use serde_json::json;
use tokio::time::Instant;

use super::super::acting::Taken;
use super::super::failure::{Cause, Failures};
use super::super::{Put, ReadError, Revision, Versioned};
use super::lease::{left, test};
use super::object::{self, Kind};
use super::server::{Server, Trouble};
use super::{Fence, KubernetesArbiter};

impl KubernetesArbiter {
    /// The same client for the replica `me` of `site`: it writes only while the site's lease says that this replica acts.
    #[must_use]
    pub fn only_while_acting(&self, site: &SiteName, me: &[u8]) -> Self {
        let fence = Fence { site: site.clone(), me: String::from_utf8_lossy(me).into_owned() };
        Self { fence: Some(fence), ..self.clone() }
    }

    /// Who acts in `site`, read linearizably; none when nobody does. Its revision is that of who acts alone: a renewal that a
    /// guard makes by itself does not change it.
    pub async fn acting(&self, site: &SiteName, tq: Duration) -> Result<Option<Versioned>, ReadError> {
        match self.seen(site, tq).await {
            Ok(seen) => Ok(seen.and_then(|seen| seen.acting())),
            Err(cause) => Err(ReadError::NoAnswer(self.server.failures(cause))),
        }
    }

    /// Lets `me` act in `site`, if the name belongs to the cluster `uid` and who acts is still at `expected` (none: if nobody
    /// does). The write is sent once.
    pub async fn take_acting(
        &self,
        site: &SiteName,
        uid: &str,
        me: &[u8],
        expected: Option<Revision>,
        tq: Duration,
    ) -> Taken {
        let until = Instant::now() + tq;
        let seen = match self.seen(site, tq).await {
            Ok(Some(seen)) if seen.owner == uid => seen,
            Ok(other) => return Taken::NotOurs { owner: other.map(|seen| seen.owner) },
            Err(cause) => return Taken::Refused { why: self.server.failures(cause) },
        };
        if seen.acting().map(|acts| acts.revision) != expected {
            return Taken::Conflict;
        }
        let count = seen.count.saturating_add(1);
        let operations = vec![
            test("/spec/owner", uid),
            test("/spec/acting/replica", seen.replica),
            test("/spec/acting/count", seen.count),
            json!({
                "op": "replace",
                "path": "/spec/acting",
                "value": { "replica": String::from_utf8_lossy(me), "count": count },
            }),
        ];
        match self.server.patch(Kind::Lease, site.as_str(), operations, left(until)).await {
            Ok(_) => {
                self.count.fetch_max(count, Ordering::Relaxed);
                Taken::Applied { revision: Revision(count) }
            }
            Err(Trouble::Missing) => Taken::NotOurs { owner: None },
            Err(Trouble::Refused { code: 422, .. }) => Taken::Conflict,
            Err(trouble) => {
                let why = self.server.failures(trouble.cause());
                if why.is_without_effect() { Taken::Refused { why } } else { Taken::Unknown { why } }
            }
        }
    }

    /// `me` does not act in `site` any more: nobody does, if this replica did.
    pub async fn give_up_acting(&self, site: &SiteName, me: &[u8], tq: Duration) -> Put {
        let me = String::from_utf8_lossy(me);
        let operations = vec![
            test("/spec/acting/replica", &*me),
            json!({ "op": "replace", "path": "/spec/acting/replica", "value": "" }),
        ];
        match self.server.patch(Kind::Lease, site.as_str(), operations, tq).await {
            Ok(written) => put(&self.server, object::revision(&written)),
            Err(Trouble::Missing | Trouble::Refused { code: 422, .. }) => {
                Put::Refused { why: Failures::local("this replica does not act any more") }
            }
            Err(trouble) => not_put(&self.server, trouble),
        }
    }
}

/// A write that was applied.
pub(super) fn put(server: &Server, revision: Result<Revision, String>) -> Put {
    match revision {
        Ok(revision) => Put::Applied { revision },
        Err(why) => Put::Unknown { why: server.failures(Cause::Lost(why)) },
    }
}

/// A write that was refused, or of which nothing is known.
pub(super) fn not_put(server: &Server, trouble: Trouble) -> Put {
    let why = server.failures(trouble.cause());
    if why.is_without_effect() { Put::Refused { why } } else { Put::Unknown { why } }
}
