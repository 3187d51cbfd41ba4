//! How a witness is, as it is seen from here.

use std::time::Duration;

use kube::api::PostParams;
use serde_json::json;
use tokio::time::Instant;

use super::super::RoundTrip;
use super::super::failure::{Cause, Failures};
use super::KubernetesArbiter;
use super::object::Kind;
use super::server::Trouble;
use crate::kube::cluster;

/// How often it is asked how long an answer takes. Odd: the median is one of them.
const ASKED: usize = 5;

/// A name that no site has: it is too long for one.
const NO_SITE: &str = "a-name-that-no-site-has-because-it-is-longer-than-any-name-of-a-site-can-be";

impl KubernetesArbiter {
    /// The API server's address.
    pub fn endpoint(&self) -> &str {
        self.server.endpoint()
    }

    /// The version of the API server, if it is ready to serve, its store included.
    pub async fn version(&self, within: Duration) -> Result<String, Failures> {
        match cluster::health(&self.server.kube().within(within)).await {
            Ok(healthy) => Ok(healthy.version),
            Err(failure) => Err(self.server.failures(Trouble::of(failure).cause())),
        }
    }

    /// Measures how long its linearizable answers take. `within` is for all questions together.
    pub async fn round_trip(&self, within: Duration) -> Result<RoundTrip, Failures> {
        let until = Instant::now() + within;
        let ask = async || {
            let begun = Instant::now();
            let left = until.saturating_duration_since(begun);
            match self.server.get(Kind::Lease, NO_SITE, left).await {
                Ok(_) => Ok(begun.elapsed()),
                Err(cause) => Err(self.server.failures(cause)),
            }
        };
        // The first one makes the connection.
        ask().await?;
        let (mut own, mut agreed) = (Duration::MAX, Vec::with_capacity(ASKED));
        for _ in 0..ASKED {
            let took = ask().await?;
            own = own.min(took);
            agreed.push(took);
        }
        agreed.sort_unstable();
        Ok(RoundTrip { own, agreed: agreed.get(ASKED / 2).copied().unwrap_or(own) })
    }

    /// Whether the admission policies are obeyed: a rehearsal of a lease that nobody may make is refused by them.
    pub async fn is_ruled(&self, within: Duration) -> Result<bool, Failures> {
        let spec = json!({ "owner": "rehearsal", "acting": { "replica": "", "count": 0 } });
        let object = Kind::Lease.object(NO_SITE, spec);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let rehearsed = self
            .server
            .call(Kind::Lease, NO_SITE, within, |api| async move { api.create(&params, &object).await })
            .await;
        match rehearsed {
            Ok(_) => Ok(false),
            Err(Trouble::Refused { code: 403, reason }) if reason.contains("ValidatingAdmissionPolicy") => {
                Ok(true)
            }
            Err(Trouble::Refused { code: 403, reason }) => Err(self.server.failures(Cause::Refused(reason))),
            Err(trouble) => Err(self.server.failures(trouble.cause())),
        }
    }
}
