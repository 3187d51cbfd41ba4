//! The arbiter: site leases, records and facts, in a store that decides.
//!
//! There are two, and what is above does not care which one it is: [`Store`]. The members of etcd, under one prefix
//! ([`EtcdArbiter`]); and the API server of a witness ([`KubernetesArbiter`], in [`kubernetes`]).
//!
//! Every call runs under the deadline its caller gives (`tq`) and is never repeated in here, nor by the client
//! library: one question, one answer. What must be known after a lost answer is learned by reading. Only what was
//! refused together with others, and is known not to have been done, is sent again alone.
//!
//! **Times.** The protocol counts from the moment a renewal or a read was *sent* and to the moment its reply was
//! *processed*. Callers stamp these themselves, on [`crate::boottime`], immediately before and after the call: the
//! first stamp is then no later than the send and the second no earlier than the reply, which errs on the safe side
//! everywhere.
//!
//! **Two members at once.** Of etcd, that is. A frozen member keeps its connections open and answers nothing, so whoever asks it
//! loses a whole deadline. Renewals and the reads that lives hang on therefore go to two members over separate
//! connections, and the first success counts. A compare-and-swap goes to one member only. `send` has both.

mod acting;
pub mod admin;
mod batch;
mod election;
mod failure;
mod key;
pub mod kubernetes;
mod lease;
mod member;
mod port;
mod record;
mod round_trip;
mod send;
mod status;
mod store;
mod timing;
mod version;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bascule_core::legible::legible;
use bascule_core::name::{PolicyKey, SiteName};
use etcd_client::{Certificate, ConnectOptions, TlsOptions};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::acting::Fence;
pub use self::acting::{Replica, Taken};
use self::batch::Batches;
pub use self::election::{Election, NameTaken, Standing};
pub use self::failure::{Cause, Failure, Failures};
pub use self::kubernetes::{KubernetesArbiter, WitnessSettings};
use self::member::Members;
pub use self::port::{Identity, SiteArbiter};
pub use self::record::VALUE_LIMIT;
pub use self::round_trip::RoundTrip;
pub use self::status::{MemberDetails, MemberFacts, MemberListed, MemberStatus, Status};
pub use self::store::Store;
pub use self::timing::MemberTiming;
pub use self::version::{BadVersion, VersionFound, Versions};
pub use self::watch::{Change, Watch};

/// A revision of the store: of a key (when it was last written) or of the whole store. No key has one twice while the
/// store lives, so two equal revisions of a key mean that nothing was written in between. Keys that were written
/// together have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(pub i64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Client certificate and trust for mutual TLS, all PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Who signs the members' certificates; nothing else is trusted.
    pub ca: Vec<u8>,
    /// This client's certificate chain. Its common name is the etcd user.
    pub cert: Vec<u8>,
    /// The certificate's private key.
    pub key: SecretSlice<u8>,
}

/// Where the arbiter is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One `https://host:port` per member; the first ones are asked first, so name the nearest first.
    pub endpoints: Vec<String>,
    /// How this client proves who it is.
    pub tls: Tls,
    /// How long opening a TCP connection may take: at most the deadline of a call (`Tq`).
    pub connect_timeout: Duration,
}

/// Why an arbiter client cannot be made at all.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No member was named.
    #[error("arbiter.endpoints is empty: name the https://host:port of every member")]
    NoEndpoints,
    /// A member's address cannot be used.
    #[error("arbiter.endpoints: {endpoint:?} cannot be used: expected https://host:port")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The client library refused the address or the certificates.
    #[error("arbiter.tls: certificates for {endpoint} cannot be used: {why}")]
    Tls {
        /// The member it was for.
        endpoint: String,
        /// What the library said.
        why: String,
    },
}

/// A value with the revision at which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// What is stored, as stored.
    pub value: Vec<u8>,
    /// When it was last written; what a compare-and-swap compares.
    pub revision: Revision,
}

impl Versioned {
    /// The value as JSON of type `T`.
    ///
    /// # Errors
    /// What is wrong with it, in a line that can be shown.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.value).map_err(|e| legible(&e.to_string()))
    }
}

/// How claiming a site's name ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The name belongs to this cluster: now, or already before.
    Ours,
    /// Another cluster owns the name: one name was installed twice. Nothing was written.
    NameTaken {
        /// The UID of the cluster that owns it.
        owner: String,
    },
    /// Nothing was written.
    Refused {
        /// By whom and why.
        why: Failures,
    },
    /// It may or may not have been written.
    Unknown {
        /// What was lost.
        why: Failures,
    },
}

/// How a renewal of the site lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease was written.
    Applied {
        /// The lease's new revision.
        revision: Revision,
    },
    /// The name belongs to another cluster. Nothing was written.
    NameTaken {
        /// The UID of the cluster that owns it.
        owner: String,
    },
    /// Nobody has claimed the name, or the arbiter was emptied. Nothing was written.
    NotClaimed,
    /// Another replica of the site's operator acts, or nobody does. Nothing was written.
    NotActing {
        /// Who acts, in words.
        who: String,
    },
    /// Nothing was written.
    Refused {
        /// By whom and why.
        why: Failures,
    },
    /// It may or may not have been written, or may be written later. It extends no deadline.
    Unknown {
        /// What was lost.
        why: Failures,
    },
}

/// One site's lease as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Whose lease.
    pub site: SiteName,
    /// What the site last wrote. A copy of a renewal sent to a slow member may land after a newer one, so the beat's
    /// own counter may fall: silence is judged by the revision alone.
    pub beat: Versioned,
}

/// A consistent view of several keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The store's revision that the view is of. Watch from the next one to miss nothing.
    pub revision: Revision,
    /// The etcd cluster that answered: it changes when an arbiter is made anew. Zero at a witness, which does not tell.
    pub cluster: u64,
    /// What was found.
    pub items: Vec<T>,
    /// Keys under the prefix that no version of this program writes.
    pub foreign: Vec<String>,
}

/// A policy's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// Whose record.
    pub policy: PolicyKey,
    /// What is stored.
    pub record: Versioned,
}

/// What one site reported about one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsView {
    /// About which policy.
    pub policy: PolicyKey,
    /// Which site wrote it.
    pub site: SiteName,
    /// What is stored.
    pub facts: Versioned,
}

/// How a compare-and-swap of a record ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cas {
    /// The record is what was sent.
    Applied {
        /// Its new revision.
        revision: Revision,
    },
    /// The record, or the lease that had to be unchanged, was not as expected. Nothing was written.
    Conflict {
        /// The record as it is; none when there is none.
        current: Option<Versioned>,
        /// The compared lease's revision as it is; none when none was compared, or there is none.
        lease: Option<Revision>,
    },
    /// Nothing was written, and nothing will be.
    Refused {
        /// By whom and why.
        why: Failures,
    },
    /// It may have been written, or may **still** be written later: a member that was frozen or cut off delivers
    /// what its kernel kept. Reading the record resolves it only when the read shows a revision other than the
    /// expected one; while the expected revision is still there, the next compare-and-swap from it decides which
    /// of the two lives. Either way at most one of them is ever applied.
    Unknown {
        /// What was lost.
        why: Failures,
    },
}

/// How an unconditional write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was written.
    Applied {
        /// The key's new revision.
        revision: Revision,
    },
    /// Nothing was written.
    Refused {
        /// By whom and why.
        why: Failures,
    },
    /// It may or may not have been written.
    Unknown {
        /// What was lost.
        why: Failures,
    },
}

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No member answered in time.
    #[error("the arbiter did not answer: {0}")]
    NoAnswer(Failures),
    /// The answer is larger than this program reads.
    #[error(
        "the arbiter holds more than {limit} keys under {prefix}: remove what does not belong there, or split the fleet over several arbiters"
    )]
    TooMany {
        /// Under which prefix.
        prefix: &'static str,
        /// How many are read at most.
        limit: usize,
    },
}

/// A client of the arbiter. Cheap to clone; all clones share connections and what is known of the members' health.
#[derive(Clone, Debug)]
pub struct EtcdArbiter {
    members: Arc<Members>,
    /// What waits to travel together, of all clones.
    batches: Arc<Batches>,
    /// What everything that is written is compared with.
    fence: Option<Fence>,
}

impl EtcdArbiter {
    /// A client for these members. Nothing is sent yet: connections are made by the first calls, so an arbiter
    /// that is down does not keep an operator from starting. Must be called inside a tokio runtime.
    pub async fn new(settings: Settings) -> Result<Self, SettingsError> {
        let options = options(&settings)?;
        let members = Arc::new(Members::new(settings.endpoints, options).await?);
        Ok(Self { batches: Arc::new(Batches::new(&members)), members, fence: None })
    }

    /// How many reads of records, or writes of records, or of facts, travel in one request at most.
    pub const fn together(&self) -> usize {
        batch::MOST
    }
}

/// How members are connected to.
fn options(settings: &Settings) -> Result<ConnectOptions, SettingsError> {
    if settings.endpoints.is_empty() {
        return Err(SettingsError::NoEndpoints);
    }
    for endpoint in &settings.endpoints {
        let authority = endpoint.strip_prefix("https://").unwrap_or_default();
        let host_and_port = authority.parse::<http::uri::Authority>().is_ok_and(|a| a.port().is_some());
        if !host_and_port || authority.contains('@') {
            return Err(SettingsError::Endpoint { endpoint: endpoint.clone() });
        }
    }
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(&settings.tls.ca))
        .identity(etcd_client::Identity::from_pem(&settings.tls.cert, settings.tls.key.expose_secret()));
    Ok(ConnectOptions::new()
        .with_tls(tls)
        .with_connect_timeout(settings.connect_timeout)
        // A member that lost its leader says so instead of letting the caller wait.
        .with_require_leader(true))
}
