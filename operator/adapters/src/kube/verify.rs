//! Whether the pods of a workload have seen the read-only flag: each of them is asked by itself.
//!
//! A Service would answer with whichever pod it likes. So every pod that may be running is asked at its own address,
//! ready or not, those on their way out included: each of them may still let a write through.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bascule_core::policy::VerifyProbe;
use futures::{StreamExt, stream};
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::net::TcpStream;

use super::client::Kube;
use super::failure::{Failure, Subject};
use super::flag::listed_running;
use crate::http1;

/// How many pods are asked at the same time.
const AT_ONCE: usize = 32;
/// How much of an answer is read, in bytes.
pub(super) const BODY_LIMIT: usize = 4096;
/// How much of an unexpected answer is told, in characters.
const TOLD: usize = 80;

/// What one pod answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with the expected body.
    Seen,
    /// 200 with another body: it has not seen the flag yet, or the probe asks for the wrong thing.
    NotYet {
        /// What it answered, shortened.
        found: String,
    },
    /// Nothing that can be judged.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// One pod's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAnswer {
    /// The pod.
    pub pod: String,
    /// What it answered.
    pub answer: Answer,
    /// How long it took.
    pub took: Duration,
}

/// What all running pods of a workload answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Each running pod, by name. Empty: nothing runs.
    pub pods: Vec<PodAnswer>,
}

impl Answers {
    /// How many pods have seen the flag.
    pub fn seen(&self) -> usize {
        self.pods.iter().filter(|p| p.answer == Answer::Seen).count()
    }

    /// How many pods gave no answer that can be judged.
    pub fn unknown(&self) -> usize {
        self.pods.iter().filter(|p| matches!(p.answer, Answer::Unknown { .. })).count()
    }
}

/// Asks every running pod once. `selector` is the workload's; each pod has `per_pod` to answer.
///
/// Pods are asked at the same time (a few dozen at once). The list of pods is under the handle's own deadline.
pub async fn ask(
    kube: &Kube,
    namespace: &str,
    selector: &str,
    probe: &VerifyProbe,
    per_pod: Duration,
) -> Result<Answers, Failure> {
    let api = kube.api::<Pod>(namespace);
    let params = ListParams::default().labels(selector);
    let listed = kube.call(&Subject::all("Pod", namespace), api.list(&params)).await?;
    let pods = listed_running(listed.items);
    let mut pods: Vec<PodAnswer> = stream::iter(pods)
        .map(|pod| async move {
            let started = Instant::now();
            let answer = match address(&pod, probe.port, "readOnly.verify.httpGet.port") {
                Ok(address) => {
                    tokio::time::timeout(per_pod, ask_pod(address, probe)).await.unwrap_or_else(|_| {
                        Answer::Unknown { reason: format!("{address} did not answer within {per_pod:?}") }
                    })
                }
                Err(reason) => Answer::Unknown { reason },
            };
            PodAnswer { pod: pod.name_any(), answer, took: started.elapsed() }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    pods.sort_by(|a, b| a.pod.cmp(&b.pod));
    Ok(Answers { pods })
}

/// Where to ask a pod. `field`: where a policy names the port.
pub(super) fn address(pod: &Pod, port: Option<u16>, field: &str) -> Result<SocketAddr, String> {
    let ip: IpAddr = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref())
        .ok_or("it has no address yet")?
        .parse()
        .map_err(|_| "its address cannot be read")?;
    let declared = || {
        let containers = &pod.spec.as_ref()?.containers;
        let port = containers.iter().flat_map(|c| c.ports.iter().flatten()).next()?;
        u16::try_from(port.container_port).ok()
    };
    let port =
        port.or_else(declared).ok_or_else(|| format!("no container declares a port; name one in {field}"))?;
    Ok(SocketAddr::new(ip, port))
}

async fn ask_pod(address: SocketAddr, probe: &VerifyProbe) -> Answer {
    let asked = async {
        let stream = TcpStream::connect(address).await.map_err(|e| format!("no connection: {e}"))?;
        http1::get(stream, &address.to_string(), &probe.path, BODY_LIMIT).await
    };
    match asked.await {
        Ok((StatusCode::OK, body)) if body.trim() == probe.expect_body.trim() => Answer::Seen,
        Ok((StatusCode::OK, body)) => Answer::NotYet { found: format!("200 {:?}", shortened(&body)) },
        // An error page, a redirect or an empty success is not the application's word about what it does.
        Ok((status, body)) => {
            let reason = format!("{address} answered {} {:?}, not 200", status.as_u16(), shortened(&body));
            Answer::Unknown { reason }
        }
        Err(reason) => Answer::Unknown { reason: format!("{address}: {reason}") },
    }
}

pub(super) fn shortened(body: &str) -> String {
    body.trim().chars().take(TOLD).collect()
}
