//! The demo's web application: writes rows when its read-only flag is off, reads always, and never claims a write
//! that was not committed.
//!
//! `POST /write` (body: a token) answers `{id, site, xid}` after the commit, 503 with `Retry-After` when the row was
//! certainly not written, and 504 when nobody can know. `GET /read`, `GET /mode`, `GET /healthz`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bascule_e2e::client::certainly_not_written;
use clap::Parser;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

/// How long a connection to the database may take; its own site's service is near.
const CONNECT: Duration = Duration::from_millis(500);
/// How long one statement may take.
const STATEMENT: Duration = Duration::from_secs(2);

/// Table of the demo. Tokens are unique, so that a row written twice would be an error and not a surprise.
const TABLE: &str = "create table if not exists rows (id bigserial primary key, token text unique not null, \
                     site text not null, at timestamptz not null default clock_timestamp())";

#[derive(Parser, Debug)]
struct Options {
    /// Where to listen
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The site this runs in; written into every row
    #[arg(long, env = "SITE")]
    site: String,
    /// The site's own database
    #[arg(long, env = "DATABASE_URL")]
    database_url: Config,
    /// File of a mounted ConfigMap: `0` means that writes are welcome, anything else (or no file) that they are not
    #[arg(long, env = "READ_ONLY_FILE", default_value = "/flags/READ_ONLY")]
    read_only_file: PathBuf,
}

struct App {
    options: Options,
    database: Mutex<Option<Arc<Client>>>,
}

/// Why a statement has no result.
enum Trouble {
    /// Certainly nothing was written.
    Refused(String),
    /// The statement was sent and its fate is not known.
    Unknown(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("demo-web: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let app = Arc::new(App { options, database: Mutex::new(None) });
    let router = Router::new()
        .route("/write", post(write))
        .route("/read", get(read))
        .route("/mode", get(mode))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(DefaultBodyLimit::max(4096))
        .with_state(app);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = axum::serve(listener, router) => result?,
        _ = terminate.recv() => (),
    }
    Ok(())
}

impl App {
    fn read_only(&self) -> bool {
        // Read each time: a mounted ConfigMap changes under the running process.
        std::fs::read_to_string(&self.options.read_only_file).map_or(true, |text| text.trim() != "0")
    }

    /// The connection, made anew when the last one is gone.
    async fn database(&self) -> Result<Arc<Client>, Trouble> {
        let mut held = self.database.lock().await;
        if let Some(client) = held.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let connect = self.options.database_url.connect(NoTls);
        let (client, connection) = timeout(CONNECT, connect)
            .await
            .map_err(|_| Trouble::Refused("the database does not answer".to_owned()))?
            .map_err(|e| Trouble::Refused(format!("no database: {e}")))?;
        tokio::spawn(async move {
            // Its end is seen by the next statement.
            let _ = connection.await;
        });
        let client = Arc::new(client);
        *held = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn forget(&self) {
        *self.database.lock().await = None;
    }

    async fn insert(&self, token: &str) -> Result<(i64, String), Trouble> {
        let client = self.database().await?;
        match self.try_insert(&client, token).await {
            Err(InsertError::NoTable) => {
                timeout(STATEMENT, client.batch_execute(TABLE))
                    .await
                    .map_err(|_| Trouble::Refused("the table could not be made in time".to_owned()))?
                    .map_err(|e| Trouble::Refused(format!("the table could not be made: {e}")))?;
                self.try_insert(&client, token).await
            }
            other => other,
        }
        .map_err(|e| match e {
            InsertError::NoTable => Trouble::Refused("there is no table".to_owned()),
            InsertError::Trouble(trouble) => trouble,
        })
    }

    async fn try_insert(&self, client: &Client, token: &str) -> Result<(i64, String), InsertError> {
        let insert =
            "insert into rows (token, site) values ($1, $2) returning id, pg_current_xact_id()::text";
        let site = &self.options.site;
        match timeout(STATEMENT, client.query_one(insert, &[&token, site])).await {
            Ok(Ok(row)) => Ok((row.get(0), row.get(1))),
            Ok(Err(e)) if e.code() == Some(&SqlState::UNDEFINED_TABLE) => Err(InsertError::NoTable),
            Ok(Err(e)) => {
                let certain = certainly_not_written(&e);
                if !certain {
                    self.forget().await;
                }
                let text = e.as_db_error().map_or_else(|| e.to_string(), ToString::to_string);
                Err(InsertError::Trouble(if certain {
                    Trouble::Refused(text)
                } else {
                    Trouble::Unknown(text)
                }))
            }
            Err(_) => {
                self.forget().await;
                Err(InsertError::Trouble(Trouble::Unknown("no answer to the insert".to_owned())))
            }
        }
    }
}

enum InsertError {
    NoTable,
    Trouble(Trouble),
}

async fn write(State(app): State<Arc<App>>, token: String) -> Response {
    let token = token.trim();
    if token.is_empty() {
        return (StatusCode::BAD_REQUEST, "a token is needed\n").into_response();
    }
    if app.read_only() {
        return trouble(&Trouble::Refused("read-only".to_owned()), &app);
    }
    match app.insert(token).await {
        Ok((id, xid)) => Json(json!({ "id": id, "site": app.options.site, "xid": xid })).into_response(),
        Err(e) => trouble(&e, &app),
    }
}

async fn read(State(app): State<Arc<App>>) -> Response {
    let client = match app.database().await {
        Ok(client) => client,
        Err(e) => return trouble(&e, &app),
    };
    let last = "select coalesce(max(id), 0) from rows";
    match timeout(STATEMENT, client.query_one(last, &[])).await {
        Ok(Ok(row)) => {
            let last: i64 = row.get(0);
            Json(json!({ "site": app.options.site, "last": last })).into_response()
        }
        Ok(Err(e)) if e.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            Json(json!({ "site": app.options.site, "last": 0 })).into_response()
        }
        Ok(Err(e)) => {
            app.forget().await;
            trouble(&Trouble::Refused(e.to_string()), &app)
        }
        Err(_) => {
            app.forget().await;
            trouble(&Trouble::Refused("no answer to the query".to_owned()), &app)
        }
    }
}

async fn mode(State(app): State<Arc<App>>) -> &'static str {
    if app.read_only() { "read-only" } else { "read-write" }
}

fn trouble(trouble: &Trouble, app: &App) -> Response {
    let (status, outcome, text) = match trouble {
        Trouble::Refused(text) => (StatusCode::SERVICE_UNAVAILABLE, "refused", text),
        Trouble::Unknown(text) => (StatusCode::GATEWAY_TIMEOUT, "unknown", text),
    };
    let body = Json(json!({ "outcome": outcome, "site": app.options.site, "reason": text }));
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
