//! Health, metrics and the answer to a proxy's check over HTTP, for whoever can reach the port: a kubelet, Prometheus,
//! `HAProxy`, and those who mean harm.
//!
//! Nobody is asked who he is, so everything is bounded: connections, headers, and the time of each of both. What is
//! open here must not take the descriptors and the memory that the lease of this site hangs on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bascule_adapters::boottime;
use bascule_adapters::strangers::{Stranger, Strangers};
use bascule_core::name::PolicyKey;
use bascule_core::time::Boottime;
use bascule_engine::run::{Asked, Pulse};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::{Metrics, Now};

/// The engine has handled nothing for so long: it hangs, and the process should be started anew. The engine ticks
/// several times a second.
const HANGS: Duration = Duration::from_secs(30);

/// How many connections may be open: one beyond them closes the oldest.
pub const CONNECTIONS: usize = 64;

/// How long a request's head may take, and how long a connection may wait for the next request.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may last: whoever scrapes makes another one. Longer than the slowest answer.
const CONNECTION: Duration = Duration::from_mins(1);

/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 << 10;

/// How many headers a request may have.
const HEADERS: usize = 64;

/// How long a proxy's question may wait for the engine: the proxy's own patience is shorter still.
const PROXY: Duration = Duration::from_secs(1);

/// How long to wait when no connection can be accepted: one that closes makes room.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What is asked when somebody asks.
#[derive(Clone)]
pub struct Shared {
    /// How the engine is doing.
    pub pulse: watch::Receiver<Pulse>,
    /// Asks the engine whether a proxy may send writes here.
    pub proxies: mpsc::Sender<Asked>,
    /// The operator's metrics.
    pub metrics: Arc<Metrics>,
    /// How many Events of Kubernetes were lost.
    pub events_lost: Arc<AtomicU64>,
    /// How many lines the journal has lost.
    pub journal_lost: Arc<AtomicU64>,
}

/// Serves `/healthz`, `/readyz`, `/metrics` and `/primary/NAMESPACE/POLICY`, and to the other replicas of this site
/// `/acting/NAMESPACE/POLICY`, until the process ends.
pub async fn serve(listen: SocketAddr, shared: Shared) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("--http-listen {listen} cannot be used"))?;
    accept(listener, shared).await;
    Ok(())
}

async fn accept(listener: TcpListener, shared: Shared) {
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        // Not every proxy asks by GET.
        .route("/primary/{namespace}/{policy}", get(primary).options(primary))
        .route("/acting/{namespace}/{policy}", get(primary_here))
        .with_state(shared);
    let port = Port { name: "the HTTP port", connections: CONNECTIONS, head: HEAD_BYTES, headers: HEADERS };
    accept_all(listener, app, port).await;
}

/// A port that is open to anybody, and what he may take of it.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// What people call it.
    pub name: &'static str,
    /// How many connections may be open: one beyond them closes the oldest.
    pub connections: usize,
    /// The largest head of a request, in bytes.
    pub head: usize,
    /// How many headers a request may have.
    pub headers: usize,
}

/// Answers whoever comes to this port, until the process ends.
pub async fn accept_all(listener: TcpListener, app: Router, port: Port) {
    let room = Strangers::room_for(port.connections);
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                tokio::spawn(converse(tcp, app.clone(), room.enter(), port));
                // Whoever has asked already is answered before a crowd that came with him needs his place.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, port = port.name, "accepting a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Answers one connection's requests until it ends, for long enough, or until its place is needed.
async fn converse(tcp: TcpStream, app: Router, stranger: Stranger, port: Port) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(port.head)
        .max_headers(port.headers)
        .serve_connection(TokioIo::new(tcp), TowerToHyperService::new(app));
    tokio::select! {
        ended = tokio::time::timeout(CONNECTION, connection) => {
            if let Ok(Err(error)) = ended {
                tracing::debug!(%error, port = port.name, "a connection");
            }
        }
        () = stranger.sent_away() => {}
    }
}

/// Alive: the engine handles events. Losing the arbiter or the API server is no reason to be restarted.
///
/// It is answered at once, from when the last event was handled: whoever waits may lose his place to newer strangers.
async fn healthz(State(shared): State<Shared>) -> Response {
    alive(&shared.pulse, boottime::now())
}

fn alive(pulse: &watch::Receiver<Pulse>, now: Boottime) -> Response {
    if pulse.has_changed().is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the engine has ended\n").into_response();
    }
    let quiet = now.since(pulse.borrow().at);
    if quiet < HANGS {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        let why = format!("the engine has handled nothing for {} s\n", quiet.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    }
}

/// Ready: policies, records and marks have been read once; of a replica that stands by, that it knows who acts and could
/// take over.
async fn readyz(State(shared): State<Shared>) -> Response {
    let (ready, acting) = {
        let pulse = shared.pulse.borrow();
        (pulse.ready, pulse.acting)
    };
    match (ready, acting) {
        (true, true) => (StatusCode::OK, "ok\n"),
        (true, false) => (StatusCode::OK, "ok: another replica acts, this one stands by\n"),
        (false, true) => {
            (StatusCode::SERVICE_UNAVAILABLE, "policies, records or marks have not been read yet\n")
        }
        (false, false) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "this replica does not act, and could not: it has not listed the policies, does not reach the arbiter, or may not act there; its log says which\n",
        ),
    }
    .into_response()
}

/// Whether a proxy may send the writes of a policy's clients to this site now: 200, or 503 with the reason. An engine that
/// does not answer says no.
async fn primary(State(shared): State<Shared>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let policy = match PolicyKey::new(namespace, name) {
        Ok(policy) => policy,
        Err(why) => {
            return (StatusCode::NOT_FOUND, format!("expected /primary/NAMESPACE/POLICY: {why}\n"))
                .into_response();
        }
    };
    takes_writes(&shared.proxies, policy, PROXY).await
}

/// The same for another replica of this site, which was asked and does not act. It is never asked on.
async fn primary_here(state: State<Shared>, path: Path<(String, String)>) -> Response {
    if !state.0.pulse.borrow().acting {
        return (StatusCode::SERVICE_UNAVAILABLE, "this replica of the operator does not act\n")
            .into_response();
    }
    primary(state, path).await
}

async fn takes_writes(proxies: &mpsc::Sender<Asked>, policy: PolicyKey, within: Duration) -> Response {
    let (answer, answered) = oneshot::channel();
    let ask = async {
        proxies.send(Asked { policy, answer }).await.ok()?;
        answered.await.ok()
    };
    let why = match tokio::time::timeout(within, ask).await {
        Ok(Some(Ok(()))) => return (StatusCode::OK, "takes writes\n").into_response(),
        Ok(Some(Err(why))) => format!("takes no writes: {why}\n"),
        Ok(None) => "the engine has ended\n".to_owned(),
        Err(_) => format!("the engine has not answered within {within:?}\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    let now = Now {
        pulse: *shared.pulse.borrow(),
        events_lost: shared.events_lost.load(Ordering::Relaxed),
        journal_lost: shared.journal_lost.load(Ordering::Relaxed),
    };
    match shared.metrics.text(&now) {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n"))
            .into_response(),
    }
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(pulse: Pulse) -> (watch::Sender<Pulse>, Shared) {
        let (sender, pulse) = watch::channel(pulse);
        let metrics = Metrics::new(&"paris".try_into().unwrap());
        metrics.acts();
        let shared = Shared {
            pulse,
            proxies: mpsc::channel(1).0,
            metrics: Arc::new(metrics),
            events_lost: Arc::default(),
            journal_lost: Arc::new(AtomicU64::new(2)),
        };
        (sender, shared)
    }

    async fn body(response: Response) -> (StatusCode, String) {
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_operator_is_ready_once_everything_was_read() {
        let (sender, shared) = shared(Pulse::default());
        assert_eq!(readyz(State(shared.clone())).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        sender.send_replace(Pulse { ready: true, acting: true, ..Pulse::default() });
        assert_eq!(readyz(State(shared)).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_replica_that_stands_by_is_ready_and_says_so_and_answers_no_other_replica_for_its_site() {
        let (sender, _) = shared(Pulse::default());
        let shared = Shared { pulse: sender.subscribe(), ..says(Ok(())) };
        sender.send_replace(Pulse { ready: true, ..Pulse::default() });
        let (status, text) = body(readyz(State(shared.clone())).await).await;
        assert!(status == StatusCode::OK && text.contains("stands by"), "{text}");
        let path = || Path(("shop".to_owned(), "orders".to_owned()));
        let (status, text) = body(primary_here(State(shared.clone()), path()).await).await;
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && text.contains("does not act"), "{text}");
        sender.send_replace(Pulse { ready: true, acting: true, ..Pulse::default() });
        assert_eq!(primary_here(State(shared), path()).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn the_operator_is_alive_while_the_engine_handles_events_whatever_else_is_lost() {
        let (sender, shared) = shared(Pulse::default());
        sender.send_replace(Pulse { lease_alive: false, at: boottime::now(), ..Pulse::default() });
        assert_eq!(healthz(State(shared)).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn an_engine_that_handles_nothing_is_not_alive_and_that_is_said_at_once() {
        let at = Boottime::from_millis(1_000_000);
        let (_sender, shared) = shared(Pulse { at, ..Pulse::default() });
        let after = |quiet| alive(&shared.pulse, Boottime::new(at.since_boot() + quiet));
        assert_eq!(after(HANGS.saturating_sub(Duration::from_millis(1))).status(), StatusCode::OK);
        let (status, text) = body(after(HANGS)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("handled nothing for 30 s"), "{text}");
    }

    #[tokio::test]
    async fn an_engine_that_has_ended_is_not_alive() {
        let (sender, shared) = shared(Pulse::default());
        drop(sender);
        let (status, text) = body(healthz(State(shared)).await).await;
        assert_eq!((status, text.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "the engine has ended\n"));
    }

    #[tokio::test]
    async fn metrics_say_how_the_engine_is_and_what_was_lost() {
        let (_sender, shared) = shared(Pulse { lease_alive: true, events: 41, ..Pulse::default() });
        let (status, text) = body(metrics_text(State(shared)).await).await;
        assert_eq!(status, StatusCode::OK);
        for line in ["bascule_site_lease_alive 1", "bascule_engine_events 41", "bascule_journal_lines_lost 2"]
        {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
    }

    /// An engine that answers every proxy the same.
    fn says(answer: Result<(), String>) -> Shared {
        let (_, mut shared) = shared(Pulse::default());
        let (proxies, mut asked) = mpsc::channel::<Asked>(1);
        shared.proxies = proxies;
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                assert_eq!(ask.policy.to_string(), "shop/orders");
                ask.answer.send(answer.clone()).unwrap();
            }
        });
        shared
    }

    async fn asked_for(shared: Shared, namespace: &str, name: &str) -> (StatusCode, String) {
        body(primary(State(shared), Path((namespace.to_owned(), name.to_owned()))).await).await
    }

    #[tokio::test]
    async fn a_proxy_gets_200_while_writes_are_taken_and_503_with_the_reason_while_not() {
        let (status, text) = asked_for(says(Ok(())), "shop", "orders").await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "takes writes\n"));
        let no = says(Err("lyon is active".to_owned()));
        let (status, text) = asked_for(no, "shop", "orders").await;
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "takes no writes: lyon is active\n")
        );
    }

    #[tokio::test]
    async fn an_engine_that_does_not_answer_a_proxy_says_no() {
        let (proxies, _nobody_reads) = mpsc::channel::<Asked>(1);
        let policy = PolicyKey::new("shop", "orders").unwrap();
        let (status, text) = body(takes_writes(&proxies, policy, Duration::from_millis(5)).await).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("not answered within 5ms"), "{text}");
    }

    #[tokio::test]
    async fn a_path_that_names_no_policy_is_told_how_it_has_to_look() {
        let (status, text) = asked_for(says(Ok(())), "Shop", "orders").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(text.contains("/primary/NAMESPACE/POLICY"), "{text}");
    }
}
