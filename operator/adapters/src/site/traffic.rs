//! The traffic targets of a policy: names, each with the key from its Secret, and routes of this cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bascule_core::name::{ItemName, SiteName};
use bascule_core::observation::TrafficView;
use bascule_core::outcome::Outcome;
use bascule_core::policy::{Dns, HttpRoute, Policy, Traffic};
use bascule_engine::ports::TargetChanged;
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, mpsc};

use super::kept::Kept;
use super::{LOOK, Unusable};
use crate::dns::{DnsTraffic, TsigKey};
use crate::kube::client::Kube;
use crate::kube::route::{Responder, RouteTraffic};
use crate::kube::secret;

/// How many changes of routes may wait to be looked at; then their watches wait too.
const CHANGES: usize = 256;

/// How many routes are watched, each by a connection of its own: what the lease of this site needs is not used up for them.
/// Those beyond are looked at as often as names.
const WATCHES: usize = 256;

/// The targets used so far, each made from the policy's entry and, for a name, the version of its Secret.
pub(super) struct Targets {
    /// Who answers writes that are refused.
    pub(super) responder: Option<Responder>,
    names: Kept<(Dns, String), DnsTraffic>,
    routes: Kept<HttpRoute, RouteTraffic>,
    told: mpsc::Sender<TargetChanged>,
    changes: Mutex<mpsc::Receiver<TargetChanged>>,
}

impl Default for Targets {
    fn default() -> Self {
        let (told, changes) = mpsc::channel(CHANGES);
        Self {
            responder: None,
            names: Kept::default(),
            routes: Kept::default(),
            told,
            changes: Mutex::new(changes),
        }
    }
}

/// One target.
pub(super) enum Target {
    /// A name.
    Name(Arc<DnsTraffic>),
    /// A route of this cluster.
    Route(Arc<RouteTraffic>),
}

impl Target {
    /// Looks at it as the operator of `me`. Its gates are named `item/…`.
    pub(super) async fn look(&self, item: &str, me: &SiteName, deadline: Duration) -> TrafficView {
        match self {
            Self::Name(target) => target.look(item, deadline).await,
            Self::Route(target) => target.look(item, me, deadline).await,
        }
    }

    /// Points it at `site`, once.
    pub(super) async fn point(
        &self,
        site: &SiteName,
        epoch: u64,
        serial: u64,
        deadline: Duration,
    ) -> Outcome {
        match self {
            Self::Name(target) => target.point(site, epoch, serial, deadline).await,
            Self::Route(target) => target.point(site, epoch, serial, deadline).await,
        }
    }

    /// Has its writes refused, or lets them through, once; `me` does it.
    pub(super) async fn refuse(
        &self,
        on: bool,
        me: &SiteName,
        (epoch, serial): (u64, u64),
        deadline: Duration,
    ) -> Outcome {
        match self {
            Self::Name(_) => Outcome::refused("a name answers no requests: only an httpRoute refuses writes"),
            Self::Route(target) => target.refuse(on, me, epoch, serial, deadline).await,
        }
    }
}

impl Targets {
    /// The target `name` of the policy, or why it cannot be used, for the person who must act.
    pub(super) async fn of(&self, kube: &Kube, policy: &Policy, name: &ItemName) -> Result<Target, Unusable> {
        match policy.traffic.get(name) {
            None => Err(format!("spec.traffic has no entry {name}").into()),
            Some(Traffic::Dns(dns)) => self.name(kube, policy, name, dns).await.map(Target::Name),
            Some(Traffic::HttpRoute(route)) => Ok(Target::Route(self.route(kube, policy, name, route))),
        }
    }

    fn route(&self, kube: &Kube, policy: &Policy, name: &ItemName, route: &HttpRoute) -> Arc<RouteTraffic> {
        let key = (policy.key.clone(), name.clone());
        self.routes.get(&key, route).unwrap_or_else(|| {
            let changed = TargetChanged { policy: policy.key.clone(), traffic: name.clone() };
            let made = RouteTraffic::new(kube.clone(), policy.key.clone(), route.clone())
                .answered_by(self.responder.clone());
            // One that is made anew takes the place of the one before.
            let others = self.routes.count_others(&key);
            let made = if others < WATCHES {
                made.followed(changed, self.told.clone())
            } else {
                made.unfollowed(format!("{WATCHES} routes are watched already"))
            };
            self.routes.keep(key, route.clone(), made)
        })
    }

    async fn name(
        &self,
        kube: &Kube,
        policy: &Policy,
        name: &ItemName,
        dns: &Dns,
    ) -> Result<Arc<DnsTraffic>, Unusable> {
        let field = format!("spec.traffic[{name}].dns.tsigSecretRef");
        let keys = ["name", "algorithm", "secret"];
        let namespace = policy.key.namespace.as_str();
        let found = secret::read(&kube.within(LOOK), namespace, dns.tsig_secret.as_str(), &keys)
            .await
            .map_err(|e| Unusable::secret(&field, &e))?;
        let key = (policy.key.clone(), name.clone());
        let from = (dns.clone(), found.version.clone());
        if let Some(target) = self.names.get(&key, &from) {
            return Ok(target);
        }
        let text = |key| found.text(key).map_err(|e| format!("{field}: {e}"));
        let tsig =
            TsigKey::new(text("name")?.expose_secret(), text("algorithm")?.expose_secret(), &text("secret")?)
                .map_err(|e| format!("{field}: {e}"))?;
        let target = DnsTraffic::new(dns, tsig).map_err(|e| format!("spec.traffic[{name}].dns: {e}"))?;
        Ok(self.names.keep(key, from, target))
    }

    /// Waits for the next change of a route that was looked at before.
    pub(super) async fn changed(&self) -> TargetChanged {
        let changed = self.changes.lock().await.recv().await;
        match changed {
            Some(changed) => changed,
            // This keeps a sender itself, so that the channel does not end.
            None => std::future::pending().await,
        }
    }

    /// Lets those go that belong to policies that are gone.
    pub(super) fn forget_unused(&self) {
        self.names.forget_unused(Instant::now());
        self.routes.forget_unused(Instant::now());
    }
}
