//! What a site's status says, and waiting for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule_crds::{FailoverPolicy, FailoverPolicyStatus, GateVerdict, Move, MoveState, PolicySource};
use kube::Api;

use super::{NAMESPACE, POLICY, Shop};
use crate::waiting::until;
use crate::world::Place;

/// The policy's status at one site.
#[derive(Clone, Debug)]
pub struct View {
    /// Which site says so.
    pub site: Place,
    /// What it says.
    pub status: FailoverPolicyStatus,
}

/// Every site's status.
#[derive(Clone, Debug)]
pub struct Seen {
    /// In the order of the policy.
    pub views: Vec<View>,
}

impl View {
    /// The record's phase; empty without a record.
    pub fn phase(&self) -> &str {
        self.status.phase.as_deref().unwrap_or_default()
    }

    /// The active site, when there is a record.
    pub fn active(&self) -> Option<Place> {
        self.status.active_site.as_deref()?.parse().ok()
    }

    /// The epoch; zero without a record.
    pub fn epoch(&self) -> u64 {
        self.status.epoch.unwrap_or_default()
    }

    /// One sentence about the state.
    pub fn message(&self) -> &str {
        self.status.message.as_deref().unwrap_or_default()
    }

    /// A condition's status: `True`, `False`, `Unknown`, or empty when it is not there.
    pub fn condition(&self, kind: &str) -> &str {
        self.status.conditions.iter().find(|c| c.type_ == kind).map_or("", |c| c.status.as_str())
    }

    /// Why a condition is not true, in words.
    pub fn condition_message(&self, kind: &str) -> &str {
        self.status.conditions.iter().find(|c| c.type_ == kind).map_or("not there", |c| c.message.as_str())
    }

    /// Everything that stands in the way, one line each.
    pub fn blocking(&self) -> Vec<String> {
        let blocks = self.status.gates.iter().filter(|g| g.verdict != GateVerdict::Pass);
        blocks.map(|g| g.message.clone()).collect()
    }

    fn ensure_condition(&self, kind: &str) -> Result<()> {
        ensure!(
            self.condition(kind) == "True",
            "{}: {kind} is {:?}: {}",
            self.site,
            self.condition(kind),
            self.condition_message(kind)
        );
        Ok(())
    }

    /// Whether this site sees a steady pair with this site active.
    pub fn ensure_steady(&self, active: Place) -> Result<()> {
        ensure!(
            self.phase() == "Steady" && self.active() == Some(active),
            "{}: phase {:?}, active {:?}: {}",
            self.site,
            self.phase(),
            self.active(),
            self.message()
        );
        for kind in ["Ready", "SitesReachable", "ReplicationHealthy", "FailoverPossible", "TrafficConverged"]
        {
            self.ensure_condition(kind)?;
        }
        Ok(())
    }
}

impl Shop<'_> {
    /// The policy's status at a site.
    pub async fn view(&self, site: Place) -> Result<View> {
        let api: Api<FailoverPolicy> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
        let object = api.get(POLICY).await.with_context(|| format!("policy {POLICY} of {site}"))?;
        Ok(View { site, status: object.status.unwrap_or_default() })
    }

    /// Waits until a site's status fits.
    pub async fn view_when(
        &self,
        site: Place,
        what: &str,
        deadline: Duration,
        fits: impl Fn(&View) -> Result<()>,
    ) -> Result<View> {
        let api: Api<FailoverPolicy> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
        until(what, deadline, || async {
            let view = View { site, status: api.get(POLICY).await?.status.unwrap_or_default() };
            fits(&view)?;
            Ok(view)
        })
        .await
    }

    /// Waits until all sites agree that everything is steady: `active` writes, each other one follows and could take over.
    pub async fn steady(&self, active: Place, deadline: Duration) -> Result<Seen> {
        self.steady_telling(active, deadline, |_| {}).await
    }

    /// The same, and tells what is missing until then, whenever that changes.
    pub async fn steady_telling(
        &self,
        active: Place,
        deadline: Duration,
        tell: impl Fn(&str),
    ) -> Result<Seen> {
        let told = Mutex::new(String::new());
        let steady = |view: &View| {
            let result = view.ensure_steady(active);
            let missing = result.as_ref().err().map(|e| format!("{e:#}")).unwrap_or_default();
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if !missing.is_empty() && *told != missing {
                tell(&missing);
                *told = missing;
            }
            result
        };
        let mut views = Vec::new();
        let begin = std::time::Instant::now();
        for site in self.world().sites().iter().copied() {
            let left = deadline.saturating_sub(begin.elapsed());
            let what = format!("a steady pair with {active} active, as {site} sees it");
            views.push(self.view_when(site, &what, left, steady).await?);
        }
        Ok(Seen { views })
    }

    /// The state of a Move at a site, with its message; `None` while the object is not there.
    pub async fn move_state(&self, site: Place, name: &str) -> Result<Option<(MoveState, String)>> {
        let api: Api<Move> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
        let found = api.get_opt(name).await?;
        Ok(found.and_then(|m| m.status).and_then(|s| Some((s.state?, s.message.unwrap_or_default()))))
    }

    /// Waits until a Move has come to this end at a site; answers its message.
    pub async fn move_ended(
        &self,
        site: Place,
        name: &str,
        end: MoveState,
        deadline: Duration,
    ) -> Result<String> {
        until(&format!("Move {name} to be {end:?} at {site}"), deadline, || async {
            let (state, message) = self.move_state(site, name).await?.context("it has no state")?;
            ensure!(state == end, "it is {state:?}: {message}");
            Ok(message)
        })
        .await
    }

    /// Waits until a site has taken a commit from git.
    pub async fn took(&self, site: Place, commit: &str, deadline: Duration) -> Result<()> {
        let api: Api<PolicySource> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
        until(&format!("{site} to take commit {commit}"), deadline, || async {
            let status = api.get("fleet").await?.status.unwrap_or_default();
            let taken = status.last_accepted_revision.unwrap_or_default();
            ensure!(taken.ends_with(commit), "{taken:?} is in force");
            Ok(())
        })
        .await
    }
}
