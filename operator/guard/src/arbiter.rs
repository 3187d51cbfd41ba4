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
    Certificate, Client, Compare, CompareOp, ConnectOptions, GetOptions, Identity, TlsOptions, Txn, TxnOp,
};
use futures::future::BoxFuture;
use tokio::sync::Mutex;

/// A connection that was not set up when its first call timed out has this many deadlines more. On a loaded machine its
/// handshake takes longer than a call may: one that is begun anew with every call never ends.
const SETTING_UP: u32 = 8;

/// A connection to a member.
#[derive(Clone)]
pub(crate) struct Line {
    client: Client,
    /// It has brought an answer.
    stands: bool,
}

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
    Members(Arc<Members>),
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
    pub(crate) lines: Mutex<BTreeMap<String, Line>>,
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
    async fn record(self: &Arc<Self>, policy: &PolicyKey, tq: Duration) -> Option<Record> {
        let key = &format!("/bascule/v1/record/{}/{}", policy.namespace, policy.name);
        self.of_any(tq, |client| async move {
            let answer = client.kv_client().get(key.as_str(), None).await.ok()?;
            serde_json::from_slice(answer.kvs().first()?.value()).ok()
        })
        .await
    }

    async fn renew(self: &Arc<Self>, site: &SiteName, uid: &str, beat: &str, tq: Duration) -> bool {
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
    async fn of_any<T, F>(self: &Arc<Self>, tq: Duration, ask: impl Fn(Client) -> F) -> Option<T>
    where
        F: Future<Output = Option<T>>,
    {
        let asked = self.endpoints.iter().map(|endpoint| {
            let ask = &ask;
            Box::pin(async move {
                let work = async { ask(self.client(endpoint).await?).await };
                let answer = tokio::time::timeout(tq, work).await.ok().flatten();
                self.note(endpoint, answer.is_some(), tq).await;
                answer.ok_or(())
            })
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            return None;
        }
        futures::future::select_ok(asked).await.ok().map(|(answer, _)| answer)
    }

    /// How a call has ended. A connection that brings nothing is made anew at the next call: TCP would keep a cut one for
    /// minutes. One that was still being set up goes on meanwhile, and is used when it comes to stand first.
    async fn note(self: &Arc<Self>, endpoint: &str, answered: bool, tq: Duration) {
        let mut lines = self.lines.lock().await;
        if answered {
            if let Some(line) = lines.get_mut(endpoint) {
                line.stands = true;
            }
        } else if let Some(line) = lines.remove(endpoint).filter(|line| !line.stands) {
            tokio::spawn(Arc::clone(self).goes_on_with(endpoint.to_owned(), line, tq * SETTING_UP));
        }
    }

    /// Waits until a connection stands, and uses it unless another one stands by then.
    async fn goes_on_with(self: Arc<Self>, endpoint: String, line: Line, until: Duration) {
        let options = GetOptions::new().with_serializable().with_keys_only();
        let asked = async { line.client.kv_client().get("/bascule/v1/", Some(options)).await };
        if !matches!(tokio::time::timeout(until, asked).await, Ok(Ok(_))) {
            return;
        }
        let mut lines = self.lines.lock().await;
        if lines.get(&endpoint).is_none_or(|other| !other.stands) {
            lines.insert(endpoint, Line { stands: true, ..line });
        }
    }

    async fn client(&self, endpoint: &str) -> Option<Client> {
        if let Some(line) = self.lines.lock().await.get(endpoint) {
            return Some(line.client.clone());
        }
        let mut options = ConnectOptions::new().with_connect_timeout(Duration::from_secs(1));
        if let Some(dir) = &self.certificates {
            options = options.with_tls(tls(dir)?);
        }
        let client = Client::connect([endpoint], Some(options)).await.ok()?;
        let line = Line { client: client.clone(), stands: false };
        self.lines.lock().await.insert(endpoint.to_owned(), line);
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Returns when the other side has closed the connection.
    async fn closed(tcp: &mut TcpStream) {
        let mut heard = vec![0; 1 << 12];
        while tcp.read(&mut heard).await.is_ok_and(|n| n > 0) {}
    }

    #[tokio::test]
    async fn a_connection_that_takes_longer_to_set_up_than_a_call_may_is_not_given_up_with_it() {
        let member = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let members = Members {
            endpoints: vec![format!("http://{}", member.local_addr().unwrap())],
            certificates: None,
            lines: Mutex::default(),
        };
        let arbiter = Arbiter {
            asked: Asked::Members(Arc::new(members)),
            policy: PolicyKey::new("web", "shop").unwrap(),
            site: "paris".try_into().unwrap(),
            uid: "uid".to_owned(),
            boot: "boot".to_owned(),
        };
        let tq = Duration::from_millis(400);
        let (read, accepted) = tokio::join!(arbiter.read(tq), member.accept());
        assert!(read.is_none(), "nobody has answered");
        let (mut tcp, _) = accepted.unwrap();
        let early = tokio::time::timeout(tq * (SETTING_UP / 2), closed(&mut tcp)).await;
        assert!(early.is_err(), "it was given up with the call");
        // Nor does it go on for ever.
        tokio::time::timeout(tq * SETTING_UP * 10, closed(&mut tcp)).await.unwrap();
    }
}
