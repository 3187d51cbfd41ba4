//! Which of the two stores this installation's arbiter is.

use std::time::Duration;

use bascule_core::name::{PolicyKey, SiteName};

use super::{
    Cas, Claim, EtcdArbiter, FactsView, Failures, KubernetesArbiter, LeaseView, Listing, Put, ReadError,
    RecordView, Renewal, Revision, Taken, Versioned, Watch,
};

/// A client of the arbiter, whichever it is. Cheap to clone; all clones share connections.
///
/// Each call does what the call of the same name does at the one that it is: both have the same questions, answers and
/// outcomes.
#[derive(Clone, Debug)]
pub enum Store {
    /// Members of etcd.
    Etcd(EtcdArbiter),
    /// The API server of a witness.
    Kubernetes(KubernetesArbiter),
}

impl From<EtcdArbiter> for Store {
    fn from(value: EtcdArbiter) -> Self {
        Self::Etcd(value)
    }
}

impl From<KubernetesArbiter> for Store {
    fn from(value: KubernetesArbiter) -> Self {
        Self::Kubernetes(value)
    }
}

/// The same call of the one that it is.
macro_rules! of {
    ($self:ident, $arbiter:ident => $call:expr) => {
        match $self {
            Self::Etcd($arbiter) => $call,
            Self::Kubernetes($arbiter) => $call,
        }
    };
}

impl Store {
    /// How many reads of records, or writes of records, or of facts, travel in one request at most.
    pub const fn together(&self) -> usize {
        match self {
            Self::Etcd(arbiter) => arbiter.together(),
            // An API server has no request for several objects.
            Self::Kubernetes(_) => 1,
        }
    }

    /// Claims the name `site` for the cluster `uid`, once and for ever.
    pub async fn claim_site(&self, site: &SiteName, uid: &str, tq: Duration) -> Claim {
        of!(self, arbiter => arbiter.claim_site(site, uid, tq).await)
    }

    /// Renews the site's lease, if the name belongs to the cluster `uid`.
    pub async fn renew(&self, site: &SiteName, uid: &str, beat: &[u8], tq: Duration) -> Renewal {
        of!(self, arbiter => arbiter.renew(site, uid, beat, tq).await)
    }

    /// The UID of the cluster that owns the name `site`; none while nobody has claimed it. A linearizable read.
    pub async fn owner(&self, site: &SiteName, tq: Duration) -> Result<Option<String>, ReadError> {
        of!(self, arbiter => arbiter.owner(site, tq).await)
    }

    /// Every site's lease, read linearizably in one piece.
    pub async fn leases(&self, tq: Duration) -> Result<Listing<LeaseView>, ReadError> {
        of!(self, arbiter => arbiter.leases(tq).await)
    }

    /// One policy's record, read linearizably; none when there is none.
    pub async fn record(&self, policy: &PolicyKey, tq: Duration) -> Result<Option<Versioned>, ReadError> {
        of!(self, arbiter => arbiter.record(policy, tq).await)
    }

    /// All records at one revision.
    pub async fn records(&self, tq: Duration) -> Result<Listing<RecordView>, ReadError> {
        of!(self, arbiter => arbiter.records(tq).await)
    }

    /// Which policies have a record, and its revision: [`Store::records`] without what is in them.
    pub async fn record_revisions(&self, tq: Duration) -> Result<Listing<(PolicyKey, Revision)>, ReadError> {
        match self {
            Self::Etcd(arbiter) => arbiter.record_revisions(tq).await,
            Self::Kubernetes(arbiter) => {
                let Listing { revision, cluster, items, foreign } = arbiter.records(tq).await?;
                let items = items.into_iter().map(|found| (found.policy, found.record.revision)).collect();
                Ok(Listing { revision, cluster, items, foreign })
            }
        }
    }

    /// All facts of all sites at one revision.
    pub async fn facts(&self, tq: Duration) -> Result<Listing<FactsView>, ReadError> {
        of!(self, arbiter => arbiter.facts(tq).await)
    }

    /// Replaces the record of `policy` by `new` if it is still at `expected` (none: if there is no record), and not when
    /// the lease of `unchanged_lease` is seen to have moved.
    pub async fn cas(
        &self,
        policy: &PolicyKey,
        expected: Option<Revision>,
        new: Vec<u8>,
        unchanged_lease: Option<(&SiteName, Revision)>,
        tq: Duration,
    ) -> Cas {
        of!(self, arbiter => arbiter.cas(policy, expected, new, unchanged_lease, tq).await)
    }

    /// Writes what `site` reports about `policy`.
    pub async fn put_facts(&self, policy: &PolicyKey, site: &SiteName, facts: Vec<u8>, tq: Duration) -> Put {
        of!(self, arbiter => arbiter.put_facts(policy, site, facts, tq).await)
    }

    /// Watches records and facts from revision `from` on, inclusive.
    pub async fn watch(&self, from: Revision, tq: Duration) -> Result<Watch, Failures> {
        of!(self, arbiter => arbiter.watch(from, tq).await)
    }

    /// The same client for the replica `me` of `site`: it writes only while that replica acts.
    #[must_use]
    pub fn only_while_acting(&self, site: &SiteName, me: &[u8]) -> Self {
        of!(self, arbiter => arbiter.only_while_acting(site, me).into())
    }

    /// Who acts in `site`, read linearizably; none when nobody does.
    pub async fn acting(&self, site: &SiteName, tq: Duration) -> Result<Option<Versioned>, ReadError> {
        of!(self, arbiter => arbiter.acting(site, tq).await)
    }

    /// Lets `me` act in `site`, if the name belongs to the cluster `uid` and who acts is still at `expected`.
    pub async fn take_acting(
        &self,
        site: &SiteName,
        uid: &str,
        me: &[u8],
        expected: Option<Revision>,
        tq: Duration,
    ) -> Taken {
        of!(self, arbiter => arbiter.take_acting(site, uid, me, expected, tq).await)
    }

    /// `me` does not act in `site` any more.
    pub async fn give_up_acting(&self, site: &SiteName, me: &[u8], tq: Duration) -> Put {
        of!(self, arbiter => arbiter.give_up_acting(site, me, tq).await)
    }
}
