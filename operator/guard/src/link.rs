//! The one connection to the operator: kept up with bounded pauses, never waited for.
//!
//! A site may have several replicas of the operator. Only the one that acts listens for guards: whoever answers first is the
//! right one.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bascule_core::guard::wire::{FromGuard, FromOperator, Hello, MAX_FRAME};
use bascule_core::legible::legible;
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::tls;

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;

/// How long connecting, the handshake and one write may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Without a word for this long the connection counts as dead: every question is answered.
const SILENT: Duration = Duration::from_secs(5);
/// The first pause before the next attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest pause: while the connection has been away for less than [`SOON`], for another replica may act by then; and
/// later.
const LONGEST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
/// How long an absence is short.
const SOON: Duration = Duration::from_secs(10);
/// How many attempts are made between two pauses: a Service hands each of them to some replica, and one of those listens.
const ATTEMPTS: usize = 4;
/// The most of them, where the name has more addresses.
const ATTEMPTS_LIMIT: usize = 16;
/// When an attempt has not ended for so long, the next one is begun beside it: a replica that stands still keeps nobody.
const NEXT: Duration = Duration::from_millis(200);

/// What the connection brings.
#[derive(Debug)]
pub(crate) enum FromLink {
    /// It stands.
    Up,
    /// It is gone or could not be made; why, in words.
    Down(String),
    /// The operator spoke.
    Said(Box<FromOperator>),
}

/// Where and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// `host:port` of the operator.
    pub(crate) operator: String,
    /// The name in the operator's certificate.
    pub(crate) name: String,
    /// `ca.crt`, `tls.crt`, `tls.key`.
    pub(crate) certificates: PathBuf,
    /// The first message.
    pub(crate) hello: Hello,
}

impl Link {
    /// Keeps the connection up until nobody listens any more. What is to be said while it is down is dropped: a
    /// question that was not asked has no answer.
    pub(crate) async fn run(self, mut say: mpsc::Receiver<FromGuard>, heard: mpsc::Sender<FromLink>) {
        let mut pause = PAUSE;
        let mut away = tokio::time::Instant::now();
        let mut turn = 0;
        while !heard.is_closed() {
            let why = match self.connect(turn).await {
                Ok(framed) => {
                    pause = PAUSE;
                    while say.try_recv().is_ok() {}
                    if heard.send(FromLink::Up).await.is_err() {
                        return;
                    }
                    let why = converse(framed, &mut say, &heard).await;
                    away = tokio::time::Instant::now();
                    why
                }
                Err(why) => why,
            };
            if heard.send(FromLink::Down(why)).await.is_err() {
                return;
            }
            turn += 1;
            tokio::time::sleep(pause).await;
            let longest = if away.elapsed() < SOON { LONGEST.0 } else { LONGEST.1 };
            pause = (pause * 2).min(longest);
        }
    }

    async fn connect(&self, turn: usize) -> Result<Conversation<TlsStream<TcpStream>>, String> {
        let at = &self.operator;
        let addresses: Vec<_> = match tokio::time::timeout(DEADLINE, tokio::net::lookup_host(at)).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(e)) => return Err(format!("{at}: {e}")),
            Err(_) => return Err(format!("{at}: the name was not resolved within {DEADLINE:?}")),
        };
        if addresses.is_empty() {
            return Err(format!("{at}: the name has no address"));
        }
        let config = tls::client(&self.certificates).map_err(|e| in_full(&e))?;
        let name = ServerName::try_from(self.name.clone()).map_err(|e| format!("{}: {e}", self.name))?;
        let attempts = addresses.len().clamp(ATTEMPTS, ATTEMPTS_LIMIT);
        // Each turn begins with another address, when the name leads to several.
        let in_turn = (turn..turn + attempts).map(|n| addresses[n % addresses.len()]);
        let tls = first(in_turn, |address| self.reach(address, Arc::clone(&config), name.clone())).await?;
        let mut framed = framed(tls);
        write(&mut framed, &FromGuard::Hello(self.hello.clone())).await?;
        Ok(framed)
    }

    async fn reach(
        &self,
        address: SocketAddr,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, String> {
        let at = &self.operator;
        let work = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(config).connect(name, tcp).await
        };
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(Ok(tls)) => Ok(tls),
            Ok(Err(e)) => Err(format!("{at} ({address}): {e}")),
            Err(_) => Err(format!("{at} ({address}): no connection within {DEADLINE:?}")),
        }
    }
}

/// What the first attempt that succeeds brings; the others end with it. The next one is begun when one has failed, or has
/// said nothing for [`NEXT`]. When all have failed: why the last one did.
async fn first<T, F: Future<Output = Result<T, String>>>(
    addresses: impl Iterator<Item = SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, String> {
    let mut addresses = addresses.fuse();
    let mut running = FuturesUnordered::new();
    let mut why = "there is no address".to_owned();
    loop {
        running.extend(addresses.next().map(&attempt));
        if running.is_empty() {
            return Err(why);
        }
        tokio::select! {
            Some(ended) = running.next() => match ended {
                Ok(found) => return Ok(found),
                Err(failed) => why = failed,
            },
            () = tokio::time::sleep(NEXT) => {}
        }
    }
}

type Conversation<S> = Framed<S, LengthDelimitedCodec>;

/// What is said over a stream, in frames of at most [`MAX_FRAME`] bytes.
fn framed<S: AsyncRead + AsyncWrite>(stream: S) -> Conversation<S> {
    Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec())
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Conversation<S>,
    message: &FromGuard,
) -> Result<(), String> {
    let bytes = serde_json::to_vec(message).map_err(|e| e.to_string())?;
    match tokio::time::timeout(DEADLINE, framed.send(Bytes::from(bytes))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(format!("the operator's connection: {e}")),
        Err(_) => Err(format!("the operator took nothing for {DEADLINE:?}")),
    }
}

/// Speaks and listens until one side ends it; says why it ended.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut framed: Conversation<S>,
    say: &mut mpsc::Receiver<FromGuard>,
    heard: &mpsc::Sender<FromLink>,
) -> String {
    let mut last = tokio::time::Instant::now();
    loop {
        tokio::select! {
            message = say.recv() => {
                let Some(message) = message else { return "the guard ends".to_owned() };
                if let Err(why) = write(&mut framed, &message).await {
                    return why;
                }
            }
            frame = tokio::time::timeout_at(last + SILENT, framed.next()) => {
                last = tokio::time::Instant::now();
                let bytes = match frame {
                    Ok(Some(Ok(bytes))) => bytes,
                    Ok(Some(Err(e))) => return format!("the operator's connection: {e}"),
                    Ok(None) => return "the operator closed the connection".to_owned(),
                    Err(_) => return format!("the operator was silent for {SILENT:?}"),
                };
                match serde_json::from_slice(&bytes) {
                    Ok(FromOperator::Refuse { reason }) => {
                        return legible(&format!("the operator refused this guard: {reason}"));
                    },
                    Ok(message) => {
                        if heard.send(FromLink::Said(Box::new(message))).await.is_err() {
                            return "the guard ends".to_owned();
                        }
                    }
                    Err(e) => return legible(&format!("the operator said something unknown: {e}")),
                }
            }
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn in_full(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    legible(&text)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn word(address: SocketAddr) -> Result<u8, String> {
        let mut tcp = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        tcp.read_u8().await.map_err(|e| e.to_string())
    }

    async fn gone() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_replica_that_answers_is_found_past_those_that_are_gone_or_stand_still() {
        let gone = gone().await;
        let still = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acts = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [gone, still.local_addr().unwrap(), gone, acts.local_addr().unwrap()];
        let says = async {
            let (mut tcp, _) = acts.accept().await.unwrap();
            tcp.write_u8(7).await.unwrap();
            tcp
        };
        let found = tokio::time::timeout(DEADLINE * 10, first(addresses.into_iter(), word));
        let (found, _open) = tokio::join!(found, says);
        assert_eq!(found.unwrap(), Ok(7));
    }

    #[tokio::test]
    async fn when_no_replica_answers_the_reason_of_the_last_attempt_is_told() {
        let gone = gone().await;
        let why = first([gone, gone].into_iter(), word).await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
    }
}
