//! Asking the arbiter without an operator: one read of the record, one renewal of the site's lease.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bascule_core::guard::fallback::RecordView;
use bascule_core::guard::wire::HighWater;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::record::Record;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Identity, TlsOptions, Txn, TxnOp,
};
use tokio::sync::Mutex;

/// The arbiter, for a guard whose credentials may read, and write its own site's lease only.
pub(crate) struct Arbiter {
    /// `https://host:port` of the members.
    pub(crate) endpoints: Vec<String>,
    /// `ca.crt`, `tls.crt`, `tls.key`; none for plain connections in tests.
    pub(crate) certificates: Option<PathBuf>,
    /// Whose record.
    pub(crate) policy: PolicyKey,
    /// Whose lease.
    pub(crate) site: SiteName,
    /// The cluster that owns the site's name.
    pub(crate) uid: String,
    /// A beat must differ from the one before it.
    pub(crate) boot: String,
    /// One connection per member, made when it is first needed and again after a failure.
    pub(crate) clients: Mutex<BTreeMap<String, Client>>,
}

impl Arbiter {
    /// Reads the record linearizably. `None`: it could not be read in time, or is not there.
    pub(crate) async fn read(&self, tq: Duration) -> Option<RecordView> {
        let key = &format!("/bascule/v1/record/{}/{}", self.policy.namespace, self.policy.name);
        let record: Record = self
            .of_any(tq, |client| async move {
                let answer = client.kv_client().get(key.as_str(), None).await.ok()?;
                serde_json::from_slice(answer.kvs().first()?.value()).ok()
            })
            .await?;
        Some(RecordView {
            active_here: record.active == self.site,
            phase_grants: record.is_understood() && record.phase.grants(),
            fences: record.promise.fences,
            marks: HighWater { epoch: record.epoch, serial: record.serial, generation: record.generation },
        })
    }

    /// Renews the site's lease if the site's name still belongs to this cluster. `true`: it is known to be applied.
    pub(crate) async fn renew(&self, number: u64, tq: Duration) -> bool {
        let site = format!("/bascule/v1/site/{}", self.site);
        let lease = format!("/bascule/v1/lease/{}", self.site);
        let txn = &Txn::new()
            .when([Compare::value(site, CompareOp::Equal, self.uid.as_str())])
            .and_then([TxnOp::put(lease, format!("guard {} {number}", self.boot), None)]);
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
