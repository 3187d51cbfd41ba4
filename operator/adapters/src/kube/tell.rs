//! Telling every pod of a workload by HTTP whether it may write.
//!
//! Like the question of [`verify`], it goes to each pod that may be running, at its own address: ready or not, those on
//! their way out included. What a pod makes of it is known only by asking it.
//!
//! [`verify`]: super::verify

use std::net::SocketAddr;
use std::time::Duration;

use bascule_core::outcome::Outcome;
use bascule_core::policy::{CallMethod, FlagCall, FlagCalls};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::net::TcpStream;

use super::client::Kube;
use super::failure::{Failure, Subject};
use super::flag::{Position, listed_running};
use super::verify::{BODY_LIMIT, address, shortened};
use crate::http1;

/// How many pods are told at the same time.
const AT_ONCE: usize = 32;
/// How many pods that were not told are named.
const NAMED: usize = 3;

/// What became of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The pod.
    pub pod: String,
    /// Done: it answered with the expected status.
    pub outcome: Outcome,
}

/// Tells every running pod once. `selector` is the workload's; each pod has `per_pod` to answer.
pub async fn tell(
    kube: &Kube,
    namespace: &str,
    selector: &str,
    calls: &FlagCalls,
    position: Position,
    per_pod: Duration,
) -> Result<Vec<Told>, Failure> {
    let api = kube.api::<Pod>(namespace);
    let params = ListParams::default().labels(selector);
    let listed = kube.call(&Subject::all("Pod", namespace), api.list(&params)).await?;
    let call = match position {
        Position::ReadOnly => &calls.read_only,
        Position::ReadWrite => &calls.read_write,
    };
    let mut told: Vec<Told> = stream::iter(listed_running(listed.items))
        .map(|pod| async move {
            let outcome = match address(&pod, calls.port, "readOnly.httpCall.port") {
                Ok(address) => {
                    tokio::time::timeout(per_pod, tell_pod(address, call)).await.unwrap_or_else(|_| {
                        Outcome::unknown(format!("{address} did not answer within {per_pod:?}"))
                    })
                }
                Err(reason) => Outcome::refused(reason),
            };
            Told { pod: pod.name_any(), outcome }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    told.sort_by(|a, b| a.pod.cmp(&b.pod));
    Ok(told)
}

async fn tell_pod(address: SocketAddr, call: &FlagCall) -> Outcome {
    let request = match request(&address.to_string(), call) {
        Ok(request) => request,
        Err(reason) => return Outcome::refused(reason),
    };
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(e) => return Outcome::refused(format!("{address}: no connection: {e}")),
    };
    match http1::send(stream, request, BODY_LIMIT).await {
        Ok((status, _)) if is_expected(status, call) => Outcome::Done,
        // An error of the application's may come from after it had obeyed.
        Ok((status, body)) => {
            let expected = call.status.map_or_else(|| "200 to 299".to_owned(), |status| status.to_string());
            Outcome::unknown(format!(
                "{address} answered {} {:?}, expected {expected}",
                status.as_u16(),
                shortened(&body)
            ))
        }
        Err(reason) => Outcome::unknown(format!("{address}: {reason}")),
    }
}

fn is_expected(status: StatusCode, call: &FlagCall) -> bool {
    call.status.map_or_else(|| status.is_success(), |expected| status.as_u16() == expected)
}

fn request(host: &str, call: &FlagCall) -> Result<Request<Full<Bytes>>, String> {
    let method = match call.method {
        CallMethod::Post => Method::POST,
        CallMethod::Put => Method::PUT,
        CallMethod::Patch => Method::PATCH,
        CallMethod::Delete => Method::DELETE,
    };
    let mut request = Request::builder().method(method).uri(&call.path).header(header::HOST, host);
    if !call.body.is_empty() {
        request = request.header(header::CONTENT_TYPE, &call.content_type);
    }
    request
        .body(Full::new(Bytes::from(call.body.clone())))
        .map_err(|e| format!("the path {:?} cannot be asked for: {e}", call.path))
}

/// The outcome of a flag by what became of its pods: done only when every one has answered as expected.
pub(super) fn all(told: &[Told]) -> Outcome {
    let missed: Vec<String> = told
        .iter()
        .filter_map(|told| match &told.outcome {
            Outcome::Done => None,
            Outcome::Refused { reason } | Outcome::Unknown { reason } => {
                Some(format!("{}: {reason}", told.pod))
            }
        })
        .collect();
    if missed.is_empty() {
        return Outcome::Done;
    }
    let others = match missed.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    let named: Vec<&str> = missed.iter().take(NAMED).map(String::as_str).collect();
    let reason =
        format!("{} of {} pods were not told: {}{others}", missed.len(), told.len(), named.join("; "));
    let untouched = told.iter().all(|told| matches!(told.outcome, Outcome::Refused { .. }));
    if untouched { Outcome::refused(reason) } else { Outcome::unknown(reason) }
}
