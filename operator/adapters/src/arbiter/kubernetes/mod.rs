//! The arbiter at a witness: the objects of one Kubernetes API server at a third place.
//!
//! The same things are stored as on etcd, with the same answers, through the objects of group `arbiter.bascule.dev` in one
//! namespace. The witness is a single point: while its API server does not answer, nothing is decided anywhere. What that
//! means for policies is the core's rule; nothing here knows of it.
//!
//! **One object at a time.** An API server compares and changes one object in one step, and no two. What a transaction of
//! etcd compares over several keys is therefore expressed so:
//!
//! | on etcd, in one transaction | here |
//! |---|---|
//! | the lease, with the owner of the name and the replica that acts | one object, [`SiteLease`]: a JSON patch whose `test` operations are the comparison |
//! | the replica that acts, with the owner of the name | the same object, in the same way |
//! | the record, with its revision | one object, `PolicyRecord`: a replacement that carries `resourceVersion` |
//! | the record, with the lease of the site that is taken from | that lease is read first; the protocol does not need more, for the holder's re-claim is a write of the same record |
//! | the record or facts, with the replica that acts | who acts is read first; a replica that has just been replaced may still write once, as an operator that died with a request under way, and loses the compare-and-swap to whatever was written since |
//!
//! **Linearizable.** A read without `resourceVersion` is answered from the store by a quorum; none with `resourceVersion=0`
//! is ever sent. Revisions are resource versions, which such a store counts up over all of its objects.
//!
//! **Refusals.** An answer of 4xx that is no timeout is a refusal: nothing was written. What failed before it was sent is
//! one too; everything else is unknown. Calls are sent once.
//!
//! [`SiteLease`]: bascule_crds::witness::SiteLease

mod acting;
pub mod admission;
mod lease;
mod object;
mod reach;
mod record;
mod server;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bascule_core::name::SiteName;

use self::server::Server;
use crate::boottime;
use crate::kube::{ConnectError, Credentials, Kube};

/// Where the witness is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSettings {
    /// A kubeconfig with the address of the API server, who signs its certificate, the token of this site's operator, and
    /// in its context the namespace of the arbiter's objects.
    pub kubeconfig: PathBuf,
}

/// A client of the arbiter at a witness. Cheap to clone; all clones share connections and what is known of the witness.
#[derive(Clone, Debug)]
pub struct KubernetesArbiter {
    server: Arc<Server>,
    /// The highest count of the acting replica that was seen or sent.
    count: Arc<AtomicI64>,
    renewals: Arc<Renewals>,
    /// Who has to act for anything to be written.
    fence: Option<Fence>,
}

/// Names renewals, each once.
#[derive(Debug)]
struct Renewals {
    process: String,
    sent: AtomicU64,
}

impl Renewals {
    fn next(&self) -> String {
        format!("{}-{}", self.process, self.sent.fetch_add(1, Ordering::Relaxed))
    }
}

/// The replica that has to act.
#[derive(Clone, Debug)]
struct Fence {
    site: SiteName,
    me: String,
}

impl KubernetesArbiter {
    /// A client for this witness. Nothing is sent yet: one that is down does not keep an operator from starting.
    pub async fn new(settings: &WitnessSettings) -> Result<Self, ConnectError> {
        let credentials = Credentials::Kubeconfig { path: settings.kubeconfig.clone(), context: None };
        Ok(Self::over(Kube::connect(&credentials, None).await?))
    }

    /// The same over a connection that was prepared elsewhere; the arbiter's objects are in its own namespace.
    pub fn over(kube: Kube) -> Self {
        // The number is 1 in every container; the moment of the start, in nanoseconds, tells them apart.
        let process = format!("{}-{}", std::process::id(), boottime::now().since_boot().as_nanos());
        Self {
            server: Arc::new(Server::new(kube)),
            count: Arc::default(),
            renewals: Arc::new(Renewals { process, sent: AtomicU64::new(0) }),
            fence: None,
        }
    }
}

/// How every object is written.
const MANAGER: &str = "bascule-arbiter";
