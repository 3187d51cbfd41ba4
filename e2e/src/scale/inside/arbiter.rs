//! The real arbiter, with every call counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_core::ballot::claim::RecordRevision;
use bascule_core::ballot::silence::LeaseRevision;
use bascule_core::facts::SiteFacts;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::outcome::Outcome;
use bascule_core::record::Record;
use bascule_engine::ports::{Arbiter, ArbiterChange, Cas, Listed, Renewed};
use tokio::sync::mpsc;

use super::servers::Servers;
use super::tally::{Moment, Tally};

/// Counts and passes on.
pub struct Counted {
    /// The arbiter.
    pub real: Arc<dyn Arbiter>,
    /// Where it is counted.
    pub tally: Arc<Tally>,
    /// Who has to know which site is active.
    pub servers: Arc<Servers>,
}

#[async_trait]
impl Arbiter for Counted {
    async fn renew(&self, deadline: Duration) -> Renewed {
        self.tally.begun("renew");
        let renewed = self.real.renew(deadline).await;
        self.tally.ended("renew", renewed == Renewed::Applied);
        renewed
    }

    async fn leases(&self, deadline: Duration) -> Result<BTreeMap<SiteName, LeaseRevision>, String> {
        self.tally.begun("read leases");
        let leases = self.real.leases(deadline).await;
        self.tally.ended("read leases", leases.is_ok());
        leases
    }

    fn together(&self) -> usize {
        self.real.together()
    }

    async fn record(
        &self,
        policy: &PolicyKey,
        deadline: Duration,
    ) -> Result<Option<(Record, RecordRevision)>, String> {
        self.tally.begun("read record");
        let found = self.real.record(policy, deadline).await;
        self.tally.ended("read record", found.is_ok());
        if let Ok(Some((record, _))) = &found {
            self.servers.record(policy, record);
        }
        found
    }

    async fn write(
        &self,
        policy: &PolicyKey,
        expected: Option<RecordRevision>,
        next: &Record,
        unchanged_lease: Option<&(SiteName, LeaseRevision)>,
        deadline: Duration,
    ) -> Cas {
        self.tally.note(Moment::Written, policy);
        self.tally.begun("write record");
        let cas = self.real.write(policy, expected, next, unchanged_lease, deadline).await;
        let applied = matches!(cas, Cas::Applied(_));
        self.tally.ended("write record", applied);
        if applied {
            self.tally.note(Moment::Applied, policy);
            self.servers.record(policy, next);
        }
        cas
    }

    async fn put_facts(&self, policy: &PolicyKey, facts: &SiteFacts, deadline: Duration) -> Outcome {
        self.tally.note(Moment::Decided, policy);
        self.tally.begun("write facts");
        let outcome = self.real.put_facts(policy, facts, deadline).await;
        self.tally.ended("write facts", outcome.is_done());
        outcome
    }

    async fn list(&self, deadline: Duration) -> Result<Listed, String> {
        self.tally.begun("list");
        let listed = self.real.list(deadline).await;
        self.tally.ended("list", listed.is_ok());
        if listed.is_ok() {
            self.tally.listed("records and facts");
        }
        listed
    }

    async fn watch(&self, revision: i64, into: mpsc::Sender<ArbiterChange>) {
        self.tally.begun("watch");
        self.real.watch(revision, into).await;
        self.tally.ended("watch", false);
    }
}
