//! Those who mean harm, as bytes on a socket: no library would send them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::operator::connect;

/// Between two things that one of them does.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one of them holds a connection at most.
const HOLD: Duration = Duration::from_secs(2);

/// What one of them does, over and over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stranger {
    /// Connects to the HTTP port and says nothing.
    Idles,
    /// Sends a header ten times a second, for ever.
    Trickles,
    /// Sends one header that has no end.
    HugeHeader,
    /// Asks for a path that has no end.
    HugePath,
    /// Announces a body and sends it for ever.
    HugeBody,
    /// Sends a body in chunks that have no end.
    EndlessChunks,
    /// Asks many things at once, then sends what is no request, and reads nothing.
    PipelinesGarbage,
    /// Connects and is gone.
    ComesAndGoes,
    /// Connects to the guards' port and says nothing.
    IdlesAsGuard,
    /// Begins a handshake and sends ten bytes of it a second.
    TricklesHandshake,
    /// Sends what is no handshake.
    NoTls,
    /// Makes a handshake without a certificate.
    NoCertificate,
}

impl Stranger {
    /// All of them.
    pub(crate) const ALL: [Self; 12] = [
        Self::Idles,
        Self::Trickles,
        Self::HugeHeader,
        Self::HugePath,
        Self::HugeBody,
        Self::EndlessChunks,
        Self::PipelinesGarbage,
        Self::ComesAndGoes,
        Self::IdlesAsGuard,
        Self::TricklesHandshake,
        Self::NoTls,
        Self::NoCertificate,
    ];

    /// Is at it until it is ended.
    pub(crate) async fn at_it(self, http: SocketAddr, guards: SocketAddr, authority: Arc<PathBuf>) {
        loop {
            let _ = timeout(HOLD, Box::pin(self.once(http, guards, &authority))).await;
            sleep(PAUSE).await;
        }
    }

    /// An error is a connection that the operator has closed.
    async fn once(self, http: SocketAddr, guards: SocketAddr, authority: &Path) -> std::io::Result<()> {
        let piece = [b'x'; 1 << 14];
        let get = "GET /healthz HTTP/1.1\r\nHost: x\r\n";
        match self {
            Self::Idles => held(TcpStream::connect(http).await?).await,
            Self::IdlesAsGuard => held(TcpStream::connect(guards).await?).await,
            Self::ComesAndGoes => drop(TcpStream::connect(http).await?),
            Self::Trickles => {
                let mut tcp = begun(http, get.as_bytes()).await?;
                loop {
                    tcp.write_all(b"X-A: b\r\n").await?;
                    sleep(PAUSE).await;
                }
            }
            Self::HugeHeader => flood(begun(http, format!("{get}X: ").as_bytes()).await?, &piece).await?,
            Self::HugePath => flood(begun(http, b"GET /").await?, &piece).await?,
            Self::HugeBody => {
                let head = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n";
                flood(begun(http, head.as_bytes()).await?, &piece).await?;
            }
            Self::EndlessChunks => {
                let head = "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
                flood(begun(http, head.as_bytes()).await?, b"1;aaaaaaaaaaaaaaaa\r\nx\r\n").await?;
            }
            Self::PipelinesGarbage => {
                let asked = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
                let mut tcp = begun(http, asked.as_bytes()).await?;
                tcp.write_all(&piece).await?;
                held(tcp).await;
            }
            Self::TricklesHandshake => {
                // A record of 512 bytes.
                let mut tcp = begun(guards, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]).await?;
                loop {
                    tcp.write_all(&[3]).await?;
                    sleep(PAUSE).await;
                }
            }
            Self::NoTls => flood(begun(guards, &[0x16, 3, 1, 0xff, 0xff]).await?, &piece).await?,
            Self::NoCertificate => held(connect(guards, authority, None).await?).await,
        }
        Ok(())
    }
}

async fn begun(port: SocketAddr, bytes: &[u8]) -> std::io::Result<TcpStream> {
    let mut tcp = TcpStream::connect(port).await?;
    tcp.write_all(bytes).await?;
    Ok(tcp)
}

/// Sends the same until nobody takes it; a little slower than a machine with two cores could, which serves others, too.
async fn flood(mut tcp: TcpStream, piece: &[u8]) -> std::io::Result<()> {
    loop {
        tcp.write_all(piece).await?;
        sleep(Duration::from_millis(10)).await;
    }
}

async fn held<T>(connection: T) {
    sleep(HOLD).await;
    drop(connection);
}
