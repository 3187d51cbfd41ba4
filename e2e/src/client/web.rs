//! Reaches the demo's web application in the way a browser would: by its published name.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dns;
use super::history::{Kind, Outcome};

/// How long one DNS server may take before the next is asked as well.
const NEXT_DNS: Duration = Duration::from_millis(200);
/// How long all of them may take: one that lives and is slow is no failure of what is published.
const DNS: Duration = Duration::from_secs(3);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_millis(500);
/// How long a user waits for an answer, if nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A published service.
#[derive(Clone, Debug)]
pub struct Published {
    /// Servers that are asked, in this order.
    pub servers: Vec<SocketAddr>,
    /// Name of the service.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// How long a user waits for an answer before he tries again.
    pub patience: Duration,
}

/// One user of a published service. Addresses are kept for as long as their TTL allows and not longer.
#[derive(Debug)]
pub(super) struct Web {
    published: Published,
    known: Option<(Vec<Ipv4Addr>, Instant)>,
}

impl Web {
    pub(super) fn new(published: Published) -> Self {
        Self { published, known: None }
    }

    pub(super) async fn attempt(&mut self, kind: Kind, token: &str) -> (Outcome, Option<std::net::IpAddr>) {
        let address = match self.resolve().await {
            Ok(address) => address,
            Err(e) => return (Outcome::Refused(format!("no address: {e:#}")), None),
        };
        let Published { port, patience, .. } = self.published;
        let outcome = request(SocketAddr::from((address, port)), patience, kind, token).await;
        (outcome, Some(address.into()))
    }

    async fn resolve(&mut self) -> Result<Ipv4Addr> {
        if let Some((addresses, until)) = &self.known
            && Instant::now() < *until
            && let Some(first) = addresses.first()
        {
            return Ok(*first);
        }
        let answer = self.ask().await?;
        let first = *answer.addresses.first().context("an answer without addresses")?;
        self.known = Some((answer.addresses, Instant::now() + answer.ttl));
        Ok(first)
    }

    /// The first answer, of servers that are asked in their order, each a little after the one before.
    async fn ask(&self) -> Result<dns::Answer> {
        let mut left = self.published.servers.iter();
        let mut asked = FuturesUnordered::new();
        let mut last = anyhow::anyhow!("no DNS server was named");
        loop {
            let next = left.next();
            let any_left = next.is_some();
            asked.extend(next.map(|server| dns::addresses(*server, &self.published.name, DNS)));
            let patience = if any_left { NEXT_DNS } else { DNS };
            match timeout(patience, asked.next()).await {
                Ok(Some(Ok(answer))) => return Ok(answer),
                Ok(Some(Err(e))) => last = e,
                Ok(None) if !any_left => return Err(last),
                Ok(None) | Err(_) => {}
            }
        }
    }
}

async fn request(address: SocketAddr, patience: Duration, kind: Kind, token: &str) -> Outcome {
    let stream = match timeout(CONNECT.min(patience), TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return Outcome::Refused(format!("cannot connect: {e}")),
        Err(_) => return Outcome::Refused("cannot connect in time".to_owned()),
    };
    // From here on the request may have been carried out whatever we see.
    match timeout(patience, exchange(stream, kind, token)).await {
        Ok(Ok((status, body))) => judge(kind, status, &body),
        Ok(Err(e)) => Outcome::Unknown(format!("{e:#}")),
        Err(_) => Outcome::Unknown("no answer in time".to_owned()),
    }
}

async fn exchange(stream: TcpStream, kind: Kind, token: &str) -> Result<(StatusCode, Bytes)> {
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = match kind {
        Kind::Write => Request::post("/write"),
        Kind::Read => Request::get("/read"),
    };
    let body = match kind {
        Kind::Write => token.to_owned(),
        Kind::Read => String::new(),
    };
    let request =
        request.header("host", "demo").header("connection", "close").body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    Ok((status, body))
}

fn judge(kind: Kind, status: StatusCode, body: &[u8]) -> Outcome {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    match (kind, status) {
        (Kind::Write, StatusCode::OK) => match value["id"].as_i64() {
            Some(id) => Outcome::Acked { site: text("site"), id, xid: text("xid") },
            None => Outcome::Unknown("an acknowledgement without a row".to_owned()),
        },
        (Kind::Read, StatusCode::OK) => match value["last"].as_i64() {
            Some(last) => Outcome::Answered { site: text("site"), last },
            None => Outcome::Unknown("an answer without a row".to_owned()),
        },
        (_, StatusCode::SERVICE_UNAVAILABLE) => {
            Outcome::Refused(format!("{}: {}", text("site"), text("reason")))
        }
        (_, status) => Outcome::Unknown(format!("{status}: {}", text("reason"))),
    }
}
