//! A client of the gateway, and what it counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::plane::LISTENER;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The methods of requests that may change something.
pub(super) const WRITING: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// What the application of the sites is asked for.
pub(super) const CART: &str = "/cart?item=1";

/// What is elsewhere.
pub(super) const PICTURES: &str = "/pictures/1";

/// How many requests a count consists of.
pub(super) const MANY: usize = 1000;

/// How far a share may be from what it shall be.
pub(super) const TOLERANCE: f64 = 0.05;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<String>,
    pub(super) language: Option<String>,
    pub(super) body: String,
}

impl Answer {
    /// Who answered: the site's name, or the status of whatever is no success.
    pub(super) fn who(&self) -> String {
        if self.status == StatusCode::OK { self.body.clone() } else { self.status.as_u16().to_string() }
    }
}

/// A connection to the gateway that is made anew when it has ended.
#[derive(Default)]
pub(super) struct Connection(Option<SendRequest<Full<Bytes>>>);

impl Connection {
    pub(super) async fn ask(&mut self, method: &str) -> Result<Answer> {
        self.ask_for(method, CART).await
    }

    pub(super) async fn ask_for(&mut self, method: &str, path: &str) -> Result<Answer> {
        let answer = match tokio::time::timeout(ANSWER, self.once(method, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(anyhow!("{method} {path}: no answer within {ANSWER:?}")),
        };
        if answer.is_err() {
            self.0 = None;
        }
        answer
    }

    async fn once(&mut self, method: &str, path: &str) -> Result<Answer> {
        if self.0.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(LISTENER).await.context("the gateway does not listen")?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            self.0 = Some(sender);
        }
        let sender = self.0.as_mut().context("no connection")?;
        sender.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "www.shop.example")
            .header(header::ACCEPT_LANGUAGE, "fr-CH, fr;q=0.9, en;q=0.5")
            // Who comes from outside cannot say whose words he wants to read.
            .header("x-bascule-policy", "shop/another")
            .body(Full::new(Bytes::from_static(if WRITING.contains(&method) { b"item=1" } else { b"" })))?;
        let response = sender.send_request(request).await?;
        let text = |name: header::HeaderName| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(ToOwned::to_owned)
        };
        let (retry_after, language) = (text(header::RETRY_AFTER), text(header::CONTENT_LANGUAGE));
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).trim().to_owned();
        Ok(Answer { status, retry_after, language, body })
    }
}

/// Who answered how many of [`MANY`] reads.
pub(super) async fn count() -> Result<BTreeMap<String, usize>> {
    let mut connection = Connection::default();
    let mut found = BTreeMap::new();
    for _ in 0..MANY {
        *found.entry(connection.ask("GET").await?.who()).or_insert(0) += 1;
    }
    Ok(found)
}

/// Counts, and compares each site's share with what it shall be.
pub(super) async fn split(when: &str, wanted: &[(&str, f64)]) -> Result<()> {
    let found = count().await?;
    println!("{when}: of {MANY} reads {found:?}");
    for (site, share) in wanted {
        let got = found.get(*site).copied().unwrap_or_default() as f64 / MANY as f64;
        ensure!(
            (got - share).abs() <= TOLERANCE,
            "{when}: {site} answered {got:.3} of the reads, expected {share:.2} ± {TOLERANCE}: {found:?}"
        );
    }
    Ok(())
}

/// One request of somebody who reads and writes all the time.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// When it was answered, or could not be.
    pub(super) at: Instant,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Who answered, or why nobody did.
    pub(super) who: String,
    pub(super) retry_after: bool,
    /// What was said.
    pub(super) body: String,
}

/// Somebody who reads and writes all the time, one request after the other.
pub(super) struct Visitor {
    record: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Visitor {
    pub(super) fn start() -> Self {
        let record: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let kept = Arc::clone(&record);
        let task = tokio::spawn(async move {
            let mut connection = Connection::default();
            let mut pace = tokio::time::interval(Duration::from_millis(2));
            let all = [("GET", CART), ("POST", CART), ("GET", PICTURES), ("POST", PICTURES)];
            for (method, path) in all.into_iter().cycle() {
                pace.tick().await;
                let answer = connection.ask_for(method, path).await;
                let (who, retry_after, body) = match answer {
                    Ok(answer) => (answer.who(), answer.retry_after.is_some(), answer.body),
                    Err(e) => (format!("{e:#}"), false, String::new()),
                };
                kept.lock().await.push(Asked { at: Instant::now(), method, path, who, retry_after, body });
            }
        });
        Self { record, task }
    }

    /// Ends, and tells everything.
    pub(super) async fn end(self) -> Vec<Asked> {
        self.task.abort();
        self.record.lock().await.clone()
    }
}
