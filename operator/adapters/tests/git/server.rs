//! A tiny https server in front of `git http-backend`, with basic or bearer authorisation.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

pub(crate) struct Server {
    pub(crate) ca: String,
    address: SocketAddr,
    posts: Arc<AtomicUsize>,
}

/// What happens to an answer on its way.
pub(crate) type Damage = fn(&mut Vec<u8>);

#[derive(Clone)]
pub(crate) enum Answer {
    /// The repositories below a directory, to who sends this `Authorization`; to everybody if there is none.
    Repositories(PathBuf, Option<&'static str>),
    /// The same to everybody, but what answers the question for a pack is damaged on the way.
    Damaged(PathBuf, Damage),
    /// A redirect to another address.
    Redirect(String),
}

impl Server {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        // A name of its own, so that OpenSSL can tell several self-signed certificates apart.
        params.distinguished_name.push(DnType::CommonName, address.to_string());
        let signing_key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&signing_key).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let posts = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&posts);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, answer, counter) = (acceptor.clone(), answer.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    // A client that does not trust us hangs up here.
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        let _ = serve(tls, &answer, &counter).await;
                    }
                });
            }
        });
        Self { ca: cert.pem(), address, posts }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.address.port())
    }

    /// How often a pack was asked for.
    pub(crate) fn posts(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }
}

async fn serve<S>(stream: S, answer: &Answer, posts: &AtomicUsize) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next().map(str::to_owned), words.next().map(str::to_owned))
    else {
        // The client hung up after looking at the certificate.
        return Ok(());
    };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let length = header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if method == "POST" {
        posts.fetch_add(1, Ordering::SeqCst);
    }
    let response = match answer {
        Answer::Redirect(to) => format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}{target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .into_bytes(),
        Answer::Repositories(_, Some(wanted)) if header("authorization") != Some(wanted) => {
            let kind = wanted.split(' ').next().unwrap();
            format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {kind} realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .into_bytes()
        }
        Answer::Repositories(root, _) => {
            backend(root, &method, &target, header("content-type").unwrap_or_default(), body).await
        }
        Answer::Damaged(root, damage) => {
            let kind = header("content-type").unwrap_or_default();
            let mut response = backend(root, &method, &target, kind, body).await;
            if method == "POST" {
                damage(&mut response);
            }
            response
        }
    };
    stream.write_all(&response).await?;
    stream.shutdown().await
}

/// Runs git's own CGI program.
async fn backend(root: &Path, method: &str, target: &str, content_type: &str, body: Vec<u8>) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", content_type)
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|l| l.strip_prefix("Status: ")).unwrap_or("200 OK");
    let mut response = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{head}\r\n\r\n",
        output.len() - end - 4
    )
    .into_bytes();
    response.extend_from_slice(&output[end + 4..]);
    response
}

/// A server that accepts connections and answers nothing, or one byte at a time; its address. It keeps what it
/// accepted open for as long as the test runs.
pub(crate) async fn bad_server(trickle: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held: Vec<TcpStream> = Vec::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            if trickle {
                tokio::spawn(async move {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: 99999\r\n\r\n";
                    let _ = tcp.write_all(head.as_bytes()).await;
                    let line = "001e# service=git-upload-pack\n0000fff0";
                    for byte in line.bytes().chain(std::iter::repeat(b'0')) {
                        if tcp.write_all(&[byte]).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    }
                });
            } else {
                held.push(tcp);
            }
        }
    });
    address
}

/// A server without TLS that never stops talking: of references, or of how far it is with a pack. Its address.
pub(crate) async fn endless_server(references: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The client hangs up when it has had enough.
                let _ = talk(tcp, references).await;
            });
        }
    });
    address
}

async fn talk(tcp: TcpStream, references: bool) -> std::io::Result<()> {
    const ID: &str = "1111111111111111111111111111111111111111";
    let mut tcp = BufReader::new(tcp);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if tcp.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let kind = |kind: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
        };
        let line = |text: String| format!("{:04x}{text}", text.len() + 4);
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        if head.starts_with("POST") {
            tcp.write_all(kind("result").as_bytes()).await?;
            tcp.write_all(chunk("0008NAK\n").as_bytes()).await?;
            let progress = line(format!("\u{2}{}\n", "counting ".repeat(1000)));
            loop {
                tcp.write_all(chunk(&progress).as_bytes()).await?;
            }
        }
        tcp.write_all(kind("advertisement").as_bytes()).await?;
        tcp.write_all(chunk("001e# service=git-upload-pack\n0000").as_bytes()).await?;
        let main = line(format!("{ID} refs/heads/main\0side-band-64k ofs-delta\n"));
        tcp.write_all(chunk(&main).as_bytes()).await?;
        let mut number = 0_u64;
        if references {
            loop {
                let mut many = String::new();
                for _ in 0..1000 {
                    number += 1;
                    many.push_str(&line(format!("{ID} refs/heads/b{number:020}\n")));
                }
                tcp.write_all(chunk(&many).as_bytes()).await?;
            }
        }
        tcp.write_all(chunk("0000").as_bytes()).await?;
        tcp.write_all(b"0\r\n\r\n").await?;
    }
}
