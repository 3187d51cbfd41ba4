//! One guard's connection, from the handshake to its end.

use std::sync::Arc;
use std::time::Duration;

use bascule_core::guard::wire::{FromGuard, FromOperator, Hello, MAX_FRAME, PROTOCOL};
use bascule_core::legible::legible;
use bascule_engine::ports::{GuardEvent, GuardSession};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use super::{Entry, GuardKey, MAX_SESSIONS, MAX_WAITING, Shared, tls};
use crate::boottime;
use crate::strangers::Stranger;

/// How long the handshake and the first message may take, and one write.
const DEADLINE: Duration = Duration::from_secs(2);
/// Without a question for this long the guard counts as gone: it asks several times a second.
const SILENT: Duration = Duration::from_secs(15);

type Conversation<S> = Framed<S, LengthDelimitedCodec>;

/// What is said over a stream, in frames of at most [`MAX_FRAME`] bytes.
pub(super) fn framed<S: AsyncRead + AsyncWrite>(stream: S) -> Conversation<S> {
    Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec())
}

/// Runs one connection. An error is one that ended before the guard was known.
pub(super) async fn run(
    tcp: TcpStream,
    stranger: Stranger,
    shared: &Arc<Shared>,
    stop: CancellationToken,
) -> Result<(), String> {
    let greeted = tokio::select! {
        greeted = timeout(DEADLINE * 2, welcome(tcp, shared)) => greeted,
        () = stranger.sent_away() => return Err("no greeting before so many others came".to_owned()),
    };
    let (mut framed, hello) = greeted.map_err(|_| "no greeting within the time for it".to_owned())??;
    drop(stranger);
    let Ok(_room) = shared.room.clone().try_acquire_owned() else {
        let reason = format!("{MAX_SESSIONS} guards are connected: no room for another");
        let _ = write(&mut framed, &FromOperator::Refuse { reason: reason.clone() }).await;
        return Err(reason);
    };
    let key = GuardKey::from(&hello);
    let (say, mut saying) = mpsc::channel(MAX_WAITING);
    let (end, ended) = (stop, CancellationToken::new());
    let Some(id) = register(shared, &key, &say, &end, &ended).await else {
        let reason = "an older connection of this guard does not end".to_owned();
        let _ = write(&mut framed, &FromOperator::Refuse { reason: reason.clone() }).await;
        return Err(reason);
    };
    drop(say);
    let connected = GuardEvent::Connected { session: id, hello };
    let why = match shared.events.send(connected).await {
        Ok(()) => converse(&mut framed, &mut saying, shared, (id, &key), &end).await,
        Err(_) => "the operator ends".to_owned(),
    };
    drop(saying);
    shared.disks.forget(id);
    tracing::info!(session = id.0, policy = %key.policy, instance = %key.instance, %why, "a guard's connection ended");
    // Reported before a newer connection of the same guard is.
    let _ = shared.events.send(GuardEvent::Gone { session: id, reason: why }).await;
    shared.table().sessions.retain(|_, e| e.id != id);
    ended.cancel();
    Ok(())
}

async fn welcome(
    tcp: TcpStream,
    shared: &Shared,
) -> Result<(Conversation<TlsStream<TcpStream>>, Hello), String> {
    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
    // Whoever only connects costs no reading of certificates.
    tcp.readable().await.map_err(|e| e.to_string())?;
    let config = tls::server(&shared.certificates).map_err(|e| e.to_string())?;
    let tls = TlsAcceptor::from(config).accept(tcp).await.map_err(|e| format!("handshake: {e}"))?;
    let mut framed = framed(tls);
    let reason = match read(&mut framed).await? {
        FromGuard::Hello(hello) if hello.protocol != PROTOCOL => {
            format!("the guard speaks version {}, this operator speaks {PROTOCOL}", hello.protocol)
        }
        FromGuard::Hello(hello) => {
            let (_, connection) = framed.get_ref().get_ref();
            let shown = connection.peer_certificates().and_then(<[_]>::first);
            if tls::is_for(shown, &hello.policy) {
                return Ok((framed, hello));
            }
            format!(
                "the guard's certificate is not made out for {}: it cannot speak for policy {}",
                tls::certificate_name(&hello.policy),
                hello.policy
            )
        }
        FromGuard::Ask(_) => "the guard asked before it said who it is".to_owned(),
    };
    let _ = write(&mut framed, &FromOperator::Refuse { reason: reason.clone() }).await;
    Err(reason)
}

/// Puts the session into the table once an older one of the same guard has ended; `None` when that does not end.
async fn register(
    shared: &Arc<Shared>,
    key: &GuardKey,
    say: &mpsc::Sender<FromOperator>,
    end: &CancellationToken,
    ended: &CancellationToken,
) -> Option<GuardSession> {
    let until = Instant::now() + DEADLINE * 2;
    loop {
        let older = {
            let mut table = shared.table();
            if let Some(older) = table.sessions.get(key) {
                older.end.cancel();
                older.ended.clone()
            } else {
                table.last += 1;
                let id = GuardSession(table.last);
                let entry = Entry { id, say: say.clone(), end: end.clone(), ended: ended.clone() };
                table.sessions.insert(key.clone(), entry);
                return Some(id);
            }
        };
        timeout_at(until, older.cancelled()).await.ok()?;
    }
}

/// Reads and writes until one side ends it; says why.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Conversation<S>,
    saying: &mut mpsc::Receiver<FromOperator>,
    shared: &Shared,
    (session, key): (GuardSession, &GuardKey),
    end: &CancellationToken,
) -> String {
    let mut last = Instant::now();
    loop {
        tokio::select! {
            () = end.cancelled() => return "the operator closed it: replaced by a newer one, full, or the operator ends".to_owned(),
            message = saying.recv() => {
                let Some(message) = message else { return "the operator ends".to_owned() };
                let refusal = match &message {
                    FromOperator::Refuse { reason } => Some(reason.clone()),
                    _ => None,
                };
                if let Err(why) = write(framed, &message).await {
                    return why;
                }
                if let Some(reason) = refusal {
                    return format!("refused: {reason}");
                }
            }
            message = timeout_at(last + SILENT, read(framed)) => {
                let received_at = boottime::now();
                last = Instant::now();
                let ask = match message {
                    Ok(Ok(FromGuard::Ask(ask))) => ask,
                    Ok(Ok(FromGuard::Hello(_))) => return "it said who it is a second time".to_owned(),
                    Ok(Err(why)) => return why,
                    Err(_) => return format!("it asked nothing for {SILENT:?}"),
                };
                shared.disks.tell(session, &key.policy, &key.database, &ask.report.disk);
                let asked = GuardEvent::Asked {
                    session,
                    nonce: ask.nonce,
                    fresh: ask.fresh,
                    report: Box::new(ask.report),
                    received: received_at,
                };
                // While the engine is behind, the next question waits in the socket; an order to end is heard.
                tokio::select! {
                    sent = shared.events.send(asked) => if sent.is_err() { return "the operator ends".to_owned() },
                    () = end.cancelled() => return "the operator closed it while its question waited".to_owned(),
                }
            }
        }
    }
}

pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Conversation<S>,
) -> Result<FromGuard, String> {
    match framed.next().await {
        Some(Ok(bytes)) => serde_json::from_slice(&bytes)
            .map_err(|e| legible(&format!("it said something unintelligible: {e}"))),
        Some(Err(e)) => Err(format!("its connection: {e}")),
        None => Err("it closed the connection".to_owned()),
    }
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    framed: &mut Conversation<S>,
    message: &FromOperator,
) -> Result<(), String> {
    let bytes = serde_json::to_vec(message).map_err(|e| e.to_string())?;
    match timeout(DEADLINE, framed.send(Bytes::from(bytes))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(format!("its connection: {e}")),
        Err(_) => Err(format!("it took nothing for {DEADLINE:?}")),
    }
}
