//! Asking the arbiter without an operator: one read of the record, one renewal of the site's lease.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bascule_core::guard::fallback::RecordView;
use bascule_core::guard::wire::HighWater;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::record::Record;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Identity, TlsOptions, Txn, TxnOp,
};
use futures::future::BoxFuture;
use tokio::sync::Mutex;

/// The API server of a witness, where it is the arbiter. Whoever runs the guard brings the client: this crate has none.
pub trait Witness: Send + Sync + 'static {
    /// Reads the record of `policy`, linearizably, once. `None`: it could not be read within `tq`, or is not there.
    fn record<'a>(&'a self, policy: &'a PolicyKey, tq: Duration) -> BoxFuture<'a, Option<Record>>;

    /// Renews the lease of `site` once, if the name belongs to the cluster `uid`. `true`: it is known to be applied within
    /// `tq`.
    fn renew<'a>(
        &'a self,
        site: &'a SiteName,
        uid: &'a str,
        beat: &'a str,
        tq: Duration,
    ) -> BoxFuture<'a, bool>;
}

/// Who is asked.
pub(crate) enum Asked {
    /// Members of etcd.
    Members(Members),
    /// A witness.
    Witness(Arc<dyn Witness>),
}

/// Members of etcd.
pub(crate) struct Members {
    /// `https://host:port` of each.
    pub(crate) endpoints: Vec<String>,
    /// `ca.crt`, `tls.crt`, `tls.key`; none for plain connections in tests.
    pub(crate) certificates: Option<PathBuf>,
    /// One connection per member, made when it is first needed and again after a failure.
    pub(crate) clients: Mutex<BTreeMap<String, Client>>,
}

/// The arbiter, for a guard whose credentials may read, and write its own site's lease only.
pub(crate) struct Arbiter {
    /// Who is asked.
    pub(crate) asked: Asked,
    /// Whose record.
    pub(crate) policy: PolicyKey,
    /// Whose lease.
    pub(crate) site: SiteName,
    /// The cluster that owns the site's name.
    pub(crate) uid: String,
    /// A beat must differ from the one before it.
    pub(crate) boot: String,
}

impl Arbiter {
    /// Reads the record linearizably. `None`: it could not be read in time, or is not there.
    pub(crate) async fn read(&self, tq: Duration) -> Option<RecordView> {
        let record = match &self.asked {
            Asked::Members(members) => members.record(&self.policy, tq).await?,
            Asked::Witness(witness) => witness.record(&self.policy, tq).await?,
        };
        Some(RecordView {
            active_here: record.active == self.site,
            phase_grants: record.is_understood() && record.phase.grants(),
            fences: record.promise.fences,
            marks: HighWater { epoch: record.epoch, serial: record.serial, generation: record.generation },
        })
    }

    /// Renews the site's lease if the site's name still belongs to this cluster. `true`: it is known to be applied.
    pub(crate) async fn renew(&self, number: u64, tq: Duration) -> bool {
        let beat = format!("guard {} {number}", self.boot);
        match &self.asked {
            Asked::Members(members) => members.renew(&self.site, &self.uid, &beat, tq).await,
            Asked::Witness(witness) => witness.renew(&self.site, &self.uid, &beat, tq).await,
        }
    }
}

impl Members {
    async fn record(&self, policy: &PolicyKey, tq: Duration) -> Option<Record> {
        let key = &format!("/bascule/v1/record/{}/{}", policy.namespace, policy.name);
        self.of_any(tq, |client| async move {
            let answer = client.kv_client().get(key.as_str(), None).await.ok()?;
            serde_json::from_slice(answer.kvs().first()?.value()).ok()
        })
        .await
    }

    async fn renew(&self, site: &SiteName, uid: &str, beat: &str, tq: Duration) -> bool {
        let owner = format!("/bascule/v1/site/{site}");
        let lease = format!("/bascule/v1/lease/{site}");
        let txn = &Txn::new()
            .when([Compare::value(owner, CompareOp::Equal, uid)])
            .and_then([TxnOp::put(lease, beat, None)]);
        let applied = self.of_any(tq, |client| async move {
            let answer = client.kv_client().txn(txn.clone()).await.ok()?;
            answer.succeeded().then_some(())
        });
        applied.await.is_some()
    }

    /// Asks every member at once and takes the first good answer: one frozen member would eat the whole time.
    async fn of_any<T, F>(&self, tq: Duration, ask: impl Fn(Client) -> F) -> Option<T>
    where
        F: Future<Output = Option<T>>,
    {
        let asked = self.endpoints.iter().map(|endpoint| {
            let ask = &ask;
            Box::pin(async move {
                let work = async { ask(self.client(endpoint).await?).await };
                let answer = tokio::time::timeout(tq, work).await.ok().flatten();
                if answer.is_none() {
                    self.clients.lock().await.remove(endpoint);
                }
                answer.ok_or(())
            })
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            return None;
        }
        futures::future::select_ok(asked).await.ok().map(|(answer, _)| answer)
    }

    async fn client(&self, endpoint: &str) -> Option<Client> {
        if let Some(client) = self.clients.lock().await.get(endpoint) {
            return Some(client.clone());
        }
        let mut options = ConnectOptions::new().with_connect_timeout(Duration::from_secs(1));
        if let Some(dir) = &self.certificates {
            options = options.with_tls(tls(dir)?);
        }
        let client = Client::connect([endpoint], Some(options)).await.ok()?;
        self.clients.lock().await.insert(endpoint.to_owned(), client.clone());
        Some(client)
    }
}

fn tls(dir: &Path) -> Option<TlsOptions> {
    let file = |name: &str| std::fs::read(dir.join(name)).ok();
    Some(
        TlsOptions::new()
            .ca_certificate(Certificate::from_pem(file("ca.crt")?))
            .identity(Identity::from_pem(file("tls.crt")?, file("tls.key")?)),
    )
}
