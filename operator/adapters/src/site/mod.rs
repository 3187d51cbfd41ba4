//! This site's own cluster and the traffic, as the engine's port: what is looked at and done, put together from the
//! adapters for Kubernetes, PostgreSQL and DNS.

mod database;
mod kept;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use bascule_core::blocker;
use bascule_core::guard::wire::Upstream;
use bascule_core::heartbeat::Heartbeat;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{Fact, Kept, TrafficView, WorkloadView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate, Step};
use bascule_core::policy::Policy;
use bascule_core::timing::Timing;
use bascule_engine::ports::{NoUpstream, Shown, Site, TargetChanged};

use crate::guards::Disks;
use crate::kube::client::Kube;
use crate::kube::failure::chain;
use crate::kube::heartbeat;
use crate::kube::port::Workloads;
use crate::kube::route::Responder;
use crate::kube::secret::SecretError;

/// How long one call of a look at the cluster or a database may take.
const LOOK: Duration = Duration::from_secs(3);

/// How long one look at or change of a traffic target may take: several servers, or several calls, each with its own
/// share.
const TRAFFIC: Duration = Duration::from_secs(2);

/// Shows people the state of a policy. The operator's own crate knows how.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Shows it.
    async fn publish(&self, shown: Shown) -> Outcome;
    /// The policies, as `namespace/name`, of which people do not see yet what was published.
    fn unwritten(&self) -> BTreeSet<String>;
}

/// Why a server or a target cannot be used, for the person who must act.
struct Unusable {
    answer: Answer,
    reason: String,
}

impl From<String> for Unusable {
    fn from(reason: String) -> Self {
        Self { answer: Answer::No, reason }
    }
}

impl Unusable {
    /// The Secret that `field` names cannot be used.
    fn secret(field: &str, why: &SecretError) -> Self {
        let answer = if why.is_unknown() { Answer::Unknown } else { Answer::No };
        Self { answer, reason: format!("{field}: {}", chain(why)) }
    }

    fn gate(self, item: &str, needed: &str) -> Gate {
        Gate::new(item, self.answer, self.reason, needed)
    }
}

/// This site.
pub struct LocalSite {
    me: SiteName,
    kube: Kube,
    timing: Timing,
    disks: Disks,
    workloads: Workloads,
    servers: database::Servers,
    targets: traffic::Targets,
    publisher: Box<dyn Publisher>,
}

impl LocalSite {
    /// The site `me`, whose cluster `kube` reaches and whose guards tell what lies on its `disks`.
    pub fn new(
        me: SiteName,
        kube: Kube,
        timing: Timing,
        disks: Disks,
        publisher: Box<dyn Publisher>,
    ) -> Self {
        Self {
            me,
            workloads: Workloads::new(kube.within(LOOK)),
            kube,
            timing,
            disks,
            servers: database::Servers::default(),
            targets: traffic::Targets::default(),
            publisher,
        }
    }

    /// The same, where this responder answers the writes that gateways refuse.
    #[must_use]
    pub fn with_responder(mut self, responder: Option<Responder>) -> Self {
        self.targets.responder = responder;
        self
    }
}

#[async_trait]
impl Site for LocalSite {
    async fn workload(&self, policy: &Policy, name: &ItemName) -> WorkloadView {
        self.workloads.look(policy, name).await
    }

    async fn traffic(&self, policy: &Policy, name: &ItemName) -> TrafficView {
        let item = format!("traffic/{name}");
        match self.targets.of(&self.kube, policy, name).await {
            Ok(target) => target.look(&item, &self.me, TRAFFIC).await,
            Err(why) => TrafficView {
                at: Fact::unknown(&why.reason),
                blockers: Fact::now(vec![why.gate(&item, "a target that can be moved")]),
            },
        }
    }

    async fn traffic_changed(&self) -> TargetChanged {
        self.targets.changed().await
    }

    async fn database(&self, policy: &Policy, name: &ItemName, active: bool) -> Fact<Vec<Gate>> {
        let item = blocker::database(name);
        let server = async {
            match self.servers.of(&self.kube, &self.me, policy, name).await {
                Ok(server) => {
                    let expected = database::expected(&self.disks, &self.me, policy, name);
                    let limits = database::limits(&self.timing, policy, name);
                    server.gates(&item, active, &expected, &limits, LOOK).await
                }
                Err(why) => Fact::now(vec![why.gate(&item, "the operator's role")]),
            }
        };
        let pod = database::pod(&self.kube, &self.me, policy, name, &item);
        let (server, pod) = tokio::join!(server, pod);
        database::together(server, pod, &item)
    }

    async fn upstream(
        &self,
        policy: &Policy,
        name: &ItemName,
        site: &SiteName,
    ) -> Result<Upstream, NoUpstream> {
        database::upstream(&self.kube, &self.me, policy, name, site).await
    }

    async fn perform(&self, policy: &Policy, step: &Step) -> Outcome {
        match step {
            Step::SetReadOnly { .. } | Step::Scale { .. } => self
                .workloads
                .perform(policy, step)
                .await
                .unwrap_or_else(|| Outcome::refused("this step is not about a workload")),
            Step::PointTraffic { traffic, site, epoch, serial } => {
                match self.targets.of(&self.kube, policy, traffic).await {
                    Ok(target) => target.point(site, *epoch, *serial, TRAFFIC).await,
                    Err(why) => Outcome::Refused { reason: why.reason },
                }
            }
            Step::RefuseWrites { traffic, on, epoch, serial } => {
                match self.targets.of(&self.kube, policy, traffic).await {
                    Ok(target) => target.refuse(*on, &self.me, (*epoch, *serial), TRAFFIC).await,
                    Err(why) => Outcome::Refused { reason: why.reason },
                }
            }
            Step::VerifyWrite { database, .. } => {
                match self.servers.of(&self.kube, &self.me, policy, database).await {
                    Ok(server) => {
                        let expected = database::expected(&self.disks, &self.me, policy, database);
                        server.prove_write(&expected, LOOK).await
                    }
                    Err(why) => Outcome::Refused { reason: why.reason },
                }
            }
        }
    }

    async fn marks(&self) -> Result<BTreeMap<PolicyKey, Kept>, String> {
        self.workloads.marks().await
    }

    async fn raise_mark(&self, policy: &PolicyKey, kept: &Kept) -> Outcome {
        self.workloads.raise_mark(policy, kept).await
    }

    async fn publish(&self, shown: Shown) -> Outcome {
        self.publisher.publish(shown).await
    }

    async fn beat(&self, beat: Heartbeat) -> Outcome {
        self.servers.forget_unused();
        self.targets.forget_unused();
        // After the moment for which it speaks: whatever was published before it and has been written by now is there.
        let unshown = beat.unshown.and(self.publisher.unwritten());
        heartbeat::write(&self.kube, &Heartbeat { unshown, ..beat }).await
    }
}
