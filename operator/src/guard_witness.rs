//! A guard's way to the witness, where the arbiter is one: a read of the record, and a renewal of the site's lease.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bascule_adapters::arbiter::{KubernetesArbiter, Renewal, WitnessSettings};
use bascule_adapters::kube::ConnectError;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::record::Record;
use bascule_guard::Witness;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

/// The witness of a kubeconfig, which is read when the first question is asked and again until it can be used: without the
/// file a guard still guards, under its operator.
#[derive(Debug)]
pub struct GuardWitness {
    settings: WitnessSettings,
    client: OnceCell<KubernetesArbiter>,
}

impl GuardWitness {
    /// For the guard's supervisor. Nothing is read yet.
    pub fn shared(kubeconfig: PathBuf) -> Arc<dyn Witness> {
        Arc::new(Self { settings: WitnessSettings { kubeconfig }, client: OnceCell::new() })
    }

    async fn client(&self) -> Result<&KubernetesArbiter, ConnectError> {
        self.client.get_or_try_init(|| KubernetesArbiter::new(&self.settings)).await
    }
}

impl Witness for GuardWitness {
    fn record<'a>(&'a self, policy: &'a PolicyKey, tq: Duration) -> BoxFuture<'a, Option<Record>> {
        async move {
            let found = match self.client().await {
                Ok(client) => client.record(policy, tq).await.map_err(|e| e.to_string()),
                Err(why) => Err(why.to_string()),
            };
            match found {
                Ok(found) => found?.parse().ok(),
                Err(why) => {
                    tracing::warn!(%why, "the witness does not tell the record");
                    None
                }
            }
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        site: &'a SiteName,
        uid: &'a str,
        beat: &'a str,
        tq: Duration,
    ) -> BoxFuture<'a, bool> {
        async move {
            let Ok(client) = self.client().await else { return false };
            match client.renew(site, uid, beat.as_bytes(), tq).await {
                Renewal::Applied { .. } => true,
                other => {
                    tracing::warn!(?other, "the witness has not renewed the lease, as far as is known");
                    false
                }
            }
        }
        .boxed()
    }
}
