//! The traffic targets of a policy, each with the key from its Secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::policy::{Dns, Policy};
use secrecy::ExposeSecret;

use super::LOOK;
use crate::dns::{DnsTraffic, TsigKey};
use crate::kube::client::Kube;
use crate::kube::failure::chain;
use crate::kube::secret;

/// A target and what it was made of: another Secret or another policy makes another target.
struct Made {
    dns: Dns,
    secret: String,
    target: Arc<DnsTraffic>,
}

/// The targets made so far.
#[derive(Default)]
pub(super) struct Targets {
    made: Mutex<BTreeMap<(PolicyKey, ItemName), Made>>,
}

impl Targets {
    /// The target `name` of the policy, or why it cannot be used, for the person who must act.
    pub(super) async fn of(
        &self,
        kube: &Kube,
        policy: &Policy,
        name: &ItemName,
    ) -> Result<Arc<DnsTraffic>, String> {
        let Some(traffic) = policy.traffic.get(name) else {
            return Err(format!("spec.traffic has no entry {name}"));
        };
        let dns = &traffic.dns;
        let keys = ["name", "algorithm", "secret"];
        let namespace = policy.key.namespace.as_str();
        let found = secret::read(&kube.within(LOOK), namespace, dns.tsig_secret.as_str(), &keys)
            .await
            .map_err(|e| format!("spec.traffic[{name}].dns.tsigSecretRef: {}", chain(&e)))?;
        let key = (policy.key.clone(), name.clone());
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && made.dns == *dns
            && made.secret == found.version
        {
            return Ok(Arc::clone(&made.target));
        }
        let text = |key| found.text(key).map_err(|e| format!("spec.traffic[{name}].dns.tsigSecretRef: {e}"));
        let tsig =
            TsigKey::new(text("name")?.expose_secret(), text("algorithm")?.expose_secret(), &text("secret")?)
                .map_err(|e| format!("spec.traffic[{name}].dns.tsigSecretRef: {e}"))?;
        let target =
            Arc::new(DnsTraffic::new(dns, tsig).map_err(|e| format!("spec.traffic[{name}].dns: {e}"))?);
        let made = Made { dns: dns.clone(), secret: found.version.clone(), target: Arc::clone(&target) };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made);
        Ok(target)
    }
}
