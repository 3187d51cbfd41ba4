//! An HTTP listener that keeps what it is told and answers as it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One request: its first line, its headers in lower case, its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// A running listener.
pub struct Hook {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    /// Answers these statuses in turn, the last one for ever.
    pub async fn start(statuses: Vec<u16>) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), statuses).await
    }

    pub async fn at(address: SocketAddr, statuses: Vec<u16>) -> Self {
        Self::listen(address, statuses, None).await
    }

    /// The same over TLS.
    pub async fn secret(statuses: Vec<u16>, tls: TlsAcceptor) -> Self {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), statuses, Some(tls)).await
    }

    async fn listen(address: SocketAddr, statuses: Vec<u16>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let kept = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = kept.lock().unwrap().len();
                let status = statuses[number.min(statuses.len() - 1)];
                let request = match &tls {
                    None => converse(tcp, status).await,
                    Some(tls) => match tls.accept(tcp).await {
                        Ok(tls) => converse(tls, status).await,
                        Err(_) => continue,
                    },
                };
                kept.lock().unwrap().extend(request);
            }
        });
        Self { address, requests, task }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: u16) -> Option<Request> {
    let mut found = Vec::new();
    let request = loop {
        if let Some(request) = whole(&found) {
            break request;
        }
        let mut more = [0; 4096];
        let read = stream.read(&mut more).await.ok().filter(|n| *n > 0)?;
        found.extend_from_slice(&more[..read]);
    };
    let answer = format!(
        "HTTP/1.1 {status} x\r\nlocation: /elsewhere\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwords"
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let _ = stream.shutdown().await;
    Some(request)
}

fn whole(found: &[u8]) -> Option<Request> {
    let text = std::str::from_utf8(found).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    (body.len() >= length).then(|| Request { line, headers, body: body.to_owned() })
}
