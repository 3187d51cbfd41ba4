//! Health and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bascule_engine::run::Pulse;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// The engine has handled nothing for so long: it hangs, and the process should be started anew. The engine ticks
/// several times a second.
const HANGS: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Shared {
    pulse: watch::Receiver<Pulse>,
    metrics: Arc<Metrics>,
}

/// Serves `/healthz`, `/readyz` and `/metrics` until the process ends.
pub async fn serve(
    listen: SocketAddr,
    pulse: watch::Receiver<Pulse>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("--http-listen {listen} cannot be used"))?;
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Shared { pulse, metrics });
    axum::serve(listener, app).await.context("the HTTP server ended")
}

/// Alive: the engine handles events. Losing the arbiter or the API server is no reason to be restarted.
async fn healthz(State(mut shared): State<Shared>) -> Response {
    shared.pulse.mark_unchanged();
    match tokio::time::timeout(HANGS, shared.pulse.changed()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n").into_response(),
        Ok(Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "the engine has ended\n").into_response(),
        Err(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the engine has handled nothing for 30 s\n").into_response()
        }
    }
}

/// Ready: policies, records and marks have been read once.
async fn readyz(State(shared): State<Shared>) -> Response {
    if shared.pulse.borrow().ready {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "policies, records or marks have not been read yet\n")
            .into_response()
    }
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    let pulse = *shared.pulse.borrow();
    shared.metrics.lease_alive.set(i64::from(pulse.lease_alive));
    shared.metrics.events.set(pulse.events);
    match shared.metrics.text() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n"))
            .into_response(),
    }
}
