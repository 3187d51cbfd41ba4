//! The one connection to the operator: kept up with bounded pauses, never waited for.

use std::path::PathBuf;
use std::time::Duration;

use bascule_core::guard::wire::{FromGuard, FromOperator, Hello, MAX_FRAME};
use bascule_core::legible::legible;
use futures::{SinkExt, StreamExt};
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
/// The first and the longest pause before the next attempt.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

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
        let mut pause = PAUSE.0;
        let mut turn = 0;
        while !heard.is_closed() {
            let why = match self.connect(turn).await {
                Ok(framed) => {
                    pause = PAUSE.0;
                    while say.try_recv().is_ok() {}
                    if heard.send(FromLink::Up).await.is_err() {
                        return;
                    }
                    converse(framed, &mut say, &heard).await
                }
                Err(why) => why,
            };
            if heard.send(FromLink::Down(why)).await.is_err() {
                return;
            }
            turn += 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn connect(&self, turn: usize) -> Result<Conversation<TlsStream<TcpStream>>, String> {
        let at = &self.operator;
        let addresses: Vec<_> = match tokio::time::timeout(DEADLINE, tokio::net::lookup_host(at)).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(e)) => return Err(format!("{at}: {e}")),
            Err(_) => return Err(format!("{at}: the name was not resolved within {DEADLINE:?}")),
        };
        // One replica after the other, when the name leads to several.
        let Some(address) = addresses.get(turn % addresses.len().max(1)) else {
            return Err(format!("{at}: the name has no address"));
        };
        let config = tls::client(&self.certificates).map_err(|e| in_full(&e))?;
        let name = ServerName::try_from(self.name.clone()).map_err(|e| format!("{}: {e}", self.name))?;
        let work = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(config).connect(name, tcp).await
        };
        let tls = match tokio::time::timeout(DEADLINE, work).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(e)) => return Err(format!("{at} ({address}): {e}")),
            Err(_) => return Err(format!("{at} ({address}): no connection within {DEADLINE:?}")),
        };
        let mut framed = framed(tls);
        write(&mut framed, &FromGuard::Hello(self.hello.clone())).await?;
        Ok(framed)
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
