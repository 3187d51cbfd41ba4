//! This site's own cluster and the traffic, as the engine's port: what is looked at and done, put together from the
//! adapters for Kubernetes, PostgreSQL and DNS.

mod database;
mod perform;
mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bascule_core::guard::wire::Upstream;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{Fact, Marks, TrafficView, WorkloadView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate, Step};
use bascule_core::policy::Policy;
use bascule_core::timing::Timing;
use bascule_engine::ports::{Shown, Site};

use crate::finding::{Finding, Severity};
use crate::kube::client::Kube;
use crate::kube::port::Workloads;

/// How long one look at the cluster may take.
const LOOK: Duration = Duration::from_secs(3);

/// How long one look at or change of DNS may take: several servers, each with its own share.
const DNS: Duration = Duration::from_secs(3);

/// Shows people the state of a policy. The operator's own crate knows how.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Shows it.
    async fn publish(&self, shown: Shown) -> Outcome;
}

/// This site.
pub struct LocalSite {
    me: SiteName,
    kube: Kube,
    workloads: Workloads,
    timing: Timing,
    publisher: Box<dyn Publisher>,
}

impl LocalSite {
    /// The site `me`, whose cluster `kube` reaches.
    pub fn new(me: SiteName, kube: Kube, timing: Timing, publisher: Box<dyn Publisher>) -> Self {
        Self { me, workloads: Workloads::new(kube.within(LOOK)), kube, timing, publisher }
    }
}

#[async_trait]
impl Site for LocalSite {
    async fn workload(&self, policy: &Policy, name: &ItemName) -> WorkloadView {
        self.workloads.look(policy, name).await
    }

    async fn traffic(&self, policy: &Policy, name: &ItemName) -> TrafficView {
        traffic::look(&self.kube, policy, name).await
    }

    async fn database(&self, policy: &Policy, name: &ItemName, active: bool) -> Fact<Vec<Gate>> {
        database::preflight(&self.kube, &self.me, &self.timing, policy, name, active).await
    }

    async fn upstream(&self, policy: &Policy, name: &ItemName, site: &SiteName) -> Result<Upstream, String> {
        database::upstream(&self.kube, &self.me, policy, name, site).await
    }

    async fn perform(&self, policy: &Policy, step: &Step) -> Outcome {
        match self.workloads.perform(policy, step).await {
            Some(outcome) => outcome,
            None => perform::perform(&self.kube, &self.me, policy, step).await,
        }
    }

    async fn marks(&self) -> Result<BTreeMap<PolicyKey, Marks>, String> {
        self.workloads.marks().await
    }

    async fn raise_mark(&self, policy: &PolicyKey, to: Marks) -> Outcome {
        self.workloads.raise_mark(policy, to).await
    }

    async fn publish(&self, shown: Shown) -> Outcome {
        self.publisher.publish(shown).await
    }
}

/// A finding as a gate: only what blocks is one that is not passed.
fn gate(item: &str, finding: &Finding) -> Option<Gate> {
    (finding.severity == Severity::Block).then(|| {
        let needed = if finding.hint.is_empty() {
            finding.expected.clone()
        } else {
            format!("{}; {}", finding.expected, finding.hint)
        };
        Gate::new(
            &format!("{item}/{}", finding.code),
            Answer::No,
            format!("{}: {}", finding.field, finding.found),
            needed,
        )
    })
}

fn no_entry<T>(name: &ItemName) -> Fact<T> {
    Fact::unknown(format!("{name} is not in the policy"))
}
