//! A site whose workloads, traffic and settings are as they shall be and answer at once. Marks and status are real: they
//! go to the site's API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bascule_core::guard::wire::{Upstream, slot_of};
use bascule_core::heartbeat::Heartbeat;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{
    Fact, FlagValue, Kept, PodsAsked, ReplicasSeen, TrafficAt, TrafficView, WorkloadView,
};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Gate, Step};
use bascule_core::policy::Policy;
use bascule_core::record::Phase;
use bascule_engine::ports::{NoUpstream, Shown, Site};

use super::servers::Servers;
use super::tally::{Moment, Tally};

/// How long a step hangs that hangs: as long as a real one before its deadline ends it.
const HANGS: Duration = Duration::from_secs(3);

/// The simulated part of a site.
pub struct Simulated {
    /// This site.
    pub me: SiteName,
    /// The real site, for marks and status.
    pub real: Arc<dyn Site>,
    /// The servers and flags.
    pub servers: Arc<Servers>,
    /// Where it is counted.
    pub tally: Arc<Tally>,
}

#[async_trait]
impl Site for Simulated {
    async fn workload(&self, policy: &Policy, _: &ItemName) -> WorkloadView {
        self.tally.begun("look");
        self.tally.ended("look", true);
        let read_only = self.servers.with(&policy.key, |s| s.read_only).unwrap_or(true);
        WorkloadView {
            flag: Fact::now(if read_only { FlagValue::ReadOnly } else { FlagValue::ReadWrite }),
            effective: Fact::now(PodsAsked { pods: 1, read_only: u32::from(read_only), unknown: 0 }),
            replicas: Fact::now(ReplicasSeen { wanted: 1, ready: 1 }),
            blockers: Fact::now(Vec::new()),
        }
    }

    async fn traffic(&self, policy: &Policy, _: &ItemName) -> TrafficView {
        self.tally.begun("look");
        self.tally.ended("look", true);
        let points = self.servers.with(&policy.key, |s| s.points.clone()).flatten();
        let (site, epoch, serial) = points.unwrap_or_else(|| (policy.initial_site.clone(), 0, 0));
        let at = TrafficAt { site: Some(site), serial, epoch, ..TrafficAt::default() };
        TrafficView { at: Fact::now(at), blockers: Fact::now(Vec::new()) }
    }

    async fn database(&self, _: &Policy, _: &ItemName, _: bool) -> Fact<Vec<Gate>> {
        self.tally.begun("look");
        self.tally.ended("look", true);
        Fact::now(Vec::new())
    }

    async fn upstream(&self, _: &Policy, _: &ItemName, site: &SiteName) -> Result<Upstream, NoUpstream> {
        self.tally.begun("look");
        self.tally.ended("look", true);
        Ok(Upstream {
            host: site.to_string(),
            port: 5432,
            user: "replication".to_owned(),
            password: "secret".to_owned(),
            slot: slot_of(&self.me),
            application_name: self.me.to_string(),
            sslmode: "prefer".to_owned(),
        })
    }

    async fn perform(&self, policy: &Policy, step: &Step) -> Outcome {
        self.tally.note(Moment::Begun, &policy.key);
        self.tally.begun("step");
        if self.servers.hangs(&policy.key) {
            tokio::time::sleep(HANGS).await;
            self.tally.ended("step", false);
            return Outcome::unknown(format!("nobody answered within {HANGS:?}"));
        }
        self.servers.with(&policy.key, |s| match step {
            Step::SetReadOnly { on, .. } => s.read_only = *on,
            Step::PointTraffic { site, epoch, serial, .. } => {
                s.points = Some((site.clone(), *epoch, *serial));
            }
            Step::Scale { .. } | Step::RefuseWrites { .. } | Step::VerifyWrite { .. } => {}
        });
        self.tally.ended("step", true);
        Outcome::Done
    }

    async fn marks(&self) -> Result<BTreeMap<PolicyKey, Kept>, String> {
        self.tally.begun("read marks");
        let marks = self.real.marks().await;
        self.tally.ended("read marks", marks.is_ok());
        if marks.is_ok() {
            self.tally.listed("marks");
        }
        marks
    }

    async fn raise_mark(&self, policy: &PolicyKey, kept: &Kept) -> Outcome {
        self.tally.begun("raise mark");
        let outcome = self.real.raise_mark(policy, kept).await;
        self.tally.ended("raise mark", outcome.is_done());
        outcome
    }

    async fn publish(&self, shown: Shown) -> Outcome {
        self.tally.begun("show");
        let key = shown.key.clone();
        let wanted = Duration::from_secs(self.tally.wanted());
        let as_asked = shown.policy.as_ref().is_some_and(|p| p.failover.cooldown == wanted);
        let steady = shown.record.as_ref().is_some_and(|r| r.phase == Phase::Steady);
        let ready = shown.report.ready == Some(true);
        if steady && !ready && std::env::var_os("BASCULE_SCALE_WHY").is_some() {
            eprintln!("{key}: {} {:?}", shown.report.sentence, shown.report.gates);
        }
        let outcome = self.real.publish(shown).await;
        if as_asked {
            self.tally.note(Moment::Shown, &key);
        }
        if steady && ready {
            self.tally.note(Moment::Ready, &key);
        }
        self.tally.ended("show", outcome.is_done());
        outcome
    }

    async fn beat(&self, beat: Heartbeat) -> Outcome {
        self.tally.begun("beat");
        let outcome = self.real.beat(beat).await;
        self.tally.ended("beat", outcome.is_done());
        outcome
    }
}
