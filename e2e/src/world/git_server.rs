//! Smart HTTP over TLS with a password, in front of `git http-backend`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Largest request and answer; the demo's repository is a few kilobytes.
const BODY_LIMIT: usize = 64 << 20;
/// How long one request may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// What the server is told.
#[derive(Clone, Debug, clap::Args)]
pub struct GitServer {
    /// Address and port to listen on.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Folder that holds the bare repositories.
    #[arg(long)]
    pub root: PathBuf,
    /// PEM certificate.
    #[arg(long)]
    pub cert: PathBuf,
    /// PEM private key.
    #[arg(long)]
    pub key: PathBuf,
    /// User name that is asked for.
    #[arg(long)]
    pub user: String,
    /// Its password.
    #[arg(long)]
    pub password: String,
}

impl GitServer {
    /// Serves until it is killed.
    pub async fn serve(self) -> Result<()> {
        let certs = CertificateDer::pem_file_iter(&self.cert)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certs, key)?;
        let tcp = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        let listener = TlsListener::new(tcp, TlsAcceptor::from(Arc::new(tls)));
        let expected = format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)));
        let state = Arc::new(Backend { root: self.root, user: self.user, expected });
        let app = Router::new().fallback(answer).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(state);
        axum::serve(listener, app).await?;
        Ok(())
    }
}

#[derive(Debug)]
struct Backend {
    root: PathBuf,
    user: String,
    expected: String,
}

async fn answer(State(backend): State<Arc<Backend>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts
        .headers
        .get(header::AUTHORIZATION)
        .is_none_or(|given| given.as_bytes() != backend.expected.as_bytes())
    {
        let mut response = plain(StatusCode::UNAUTHORIZED, "a user and a password are needed\n");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Basic realm=\"git\""));
        return response;
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "too large\n");
    };
    match tokio::time::timeout(DEADLINE, backend.run(&parts, body)).await {
        Ok(Ok(response)) => response,
        Ok(Err(e)) => {
            eprintln!("{} {}: {e:#}", parts.method, parts.uri);
            plain(StatusCode::INTERNAL_SERVER_ERROR, "git failed, see the server's log\n")
        }
        Err(_) => plain(StatusCode::GATEWAY_TIMEOUT, "git took too long\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

impl Backend {
    /// One CGI call.
    async fn run(&self, request: &http::request::Parts, body: Bytes) -> Result<Response> {
        let text = |headers: &HeaderMap, name: &str| {
            headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        let mut child = tokio::process::Command::new("git")
            .arg("http-backend")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REMOTE_USER", &self.user)
            .env("REQUEST_METHOD", request.method.as_str())
            .env("PATH_INFO", request.uri.path())
            .env("QUERY_STRING", request.uri.query().unwrap_or_default())
            .env("CONTENT_TYPE", text(&request.headers, "content-type"))
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", text(&request.headers, "content-encoding"))
            .env("GIT_PROTOCOL", text(&request.headers, "git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let feed = async move {
            // A backend that has read enough closes its end; that is no failure of ours.
            let _ = stdin.write_all(&body).await;
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        response(&output?.stdout)
    }
}

/// Splits what a CGI program said into status, headers and body.
fn response(said: &[u8]) -> Result<Response> {
    let (end, gap) = [&b"\r\n\r\n"[..], b"\n\n"]
        .into_iter()
        .find_map(|gap| Some((said.windows(gap.len()).position(|w| w == gap)?, gap.len())))
        .context("git http-backend gave no headers")?;
    let (head, body) = (std::str::from_utf8(&said[..end])?, &said[end + gap..]);
    let mut response = Response::new(Body::from(body.to_vec()));
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else { bail!("a header without a colon: {line}") };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split_whitespace().next().unwrap_or_default();
            *response.status_mut() = code.parse()?;
        } else {
            response.headers_mut().append(name.parse::<http::HeaderName>()?, value.trim().parse()?);
        }
    }
    Ok(response)
}

/// Hands over connections whose handshake is done; a client that stalls in it keeps nobody else waiting.
struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    fn new(tcp: TcpListener, acceptor: TlsAcceptor) -> Self {
        let address = tcp.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
        let (send, ready) = mpsc::channel(64);
        tokio::spawn(async move {
            loop {
                let Ok((stream, peer)) = tcp.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let (acceptor, send) = (acceptor.clone(), send.clone());
                tokio::spawn(async move {
                    let handshake = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        let _ = send.send((stream, peer)).await;
                    }
                });
            }
        });
        Self { ready, address }
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
