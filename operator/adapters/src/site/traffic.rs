//! The traffic targets of a policy, each with the key from its Secret.

use std::sync::Arc;
use std::time::Instant;

use bascule_core::name::ItemName;
use bascule_core::policy::{Dns, Policy};
use secrecy::ExposeSecret;

use super::kept::Kept;
use super::{LOOK, Unusable, no_secret};
use crate::dns::{DnsTraffic, TsigKey};
use crate::kube::client::Kube;
use crate::kube::secret;

/// The targets used so far, each made from the policy's entry and the version of its Secret.
#[derive(Default)]
pub(super) struct Targets(Kept<(Dns, String), DnsTraffic>);

impl Targets {
    /// The target `name` of the policy, or why it cannot be used, for the person who must act.
    pub(super) async fn of(
        &self,
        kube: &Kube,
        policy: &Policy,
        name: &ItemName,
    ) -> Result<Arc<DnsTraffic>, Unusable> {
        let Some(traffic) = policy.traffic.get(name) else {
            return Err(format!("spec.traffic has no entry {name}").into());
        };
        let dns = &traffic.dns;
        let field = format!("spec.traffic[{name}].dns.tsigSecretRef");
        let keys = ["name", "algorithm", "secret"];
        let namespace = policy.key.namespace.as_str();
        let found = secret::read(&kube.within(LOOK), namespace, dns.tsig_secret.as_str(), &keys)
            .await
            .map_err(|e| no_secret(&field, &e))?;
        let key = (policy.key.clone(), name.clone());
        let from = (dns.clone(), found.version.clone());
        if let Some(target) = self.0.get(&key, &from) {
            return Ok(target);
        }
        let text = |key| found.text(key).map_err(|e| format!("{field}: {e}"));
        let tsig =
            TsigKey::new(text("name")?.expose_secret(), text("algorithm")?.expose_secret(), &text("secret")?)
                .map_err(|e| format!("{field}: {e}"))?;
        let target = DnsTraffic::new(dns, tsig).map_err(|e| format!("spec.traffic[{name}].dns: {e}"))?;
        Ok(self.0.keep(key, from, target))
    }

    /// Lets those go that belong to policies that are gone.
    pub(super) fn forget_unused(&self) {
        self.0.forget_unused(Instant::now());
    }
}
