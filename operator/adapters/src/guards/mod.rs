//! The operator's end of the guards' connections: mutual TLS, one session per guard, bounded in every direction.
//!
//! It carries messages and judges nothing but manners: who is slow, too loud or unintelligible is dropped, with a
//! reason that its own log shows too.

mod disks;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod session;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bascule_core::guard::wire::{FromOperator, Hello, Instruction};
use bascule_core::name::{ItemName, ObjectName, PolicyKey};
use bascule_engine::ports::{GuardEvent, GuardSession, Guards};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::strangers::Strangers;

pub use disks::Disks;
pub use tls::{TlsError, certificate_name};

/// How many guards may be connected at once.
const MAX_SESSIONS: usize = 2048;
/// How many connections may be open at once whose guard has not greeted yet.
const MAX_STRANGERS: usize = 256;
/// How many messages may wait for one guard. It reads all the time: one that lets them pile up is broken.
const MAX_WAITING: usize = 32;
/// How many events may wait for the engine; then the guards' questions wait in their sockets.
const MAX_EVENTS: usize = 1024;

/// Which guard: the same one keeps its key over reconnections and restarts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GuardKey {
    policy: PolicyKey,
    database: ItemName,
    instance: ObjectName,
}

impl From<&Hello> for GuardKey {
    fn from(hello: &Hello) -> Self {
        Self {
            policy: hello.policy.clone(),
            database: hello.database.clone(),
            instance: hello.instance.clone(),
        }
    }
}

/// The operator cannot listen for guards.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be used.
    #[error("cannot listen for guards on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error("cannot listen for guards")]
    Certificates(#[from] TlsError),
}

struct Entry {
    id: GuardSession,
    say: mpsc::Sender<FromOperator>,
    end: CancellationToken,
    /// Cancelled once the connection is closed and its end reported.
    ended: CancellationToken,
}

#[derive(Default)]
struct Table {
    last: u64,
    sessions: BTreeMap<GuardKey, Entry>,
}

struct Shared {
    table: Mutex<Table>,
    events: mpsc::Sender<GuardEvent>,
    certificates: PathBuf,
    disks: Disks,
    /// Room for guards that have greeted.
    room: Arc<Semaphore>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is one call: a panic elsewhere leaves it right.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connected guards, as the engine's port sees them.
pub struct GuardListener {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl GuardListener {
    /// Listens on `address`, with `ca.crt`, `tls.crt` and `tls.key` of `certificates` (read anew for every
    /// connection). Events come by the receiver; when it is dropped, or `stop` cancelled, every connection ends.
    ///
    /// An older connection of the same guard is closed, and its end reported, before a newer one is.
    ///
    /// # Errors
    /// The address is taken, or the certificates cannot be used.
    pub async fn listen(
        address: SocketAddr,
        certificates: PathBuf,
        stop: CancellationToken,
    ) -> Result<(Self, mpsc::Receiver<GuardEvent>), ListenError> {
        tls::server(&certificates)?;
        let wrong = |source| ListenError::Address { address, source };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let (events, received) = mpsc::channel(MAX_EVENTS);
        let shared = Arc::new(Shared {
            table: Mutex::default(),
            events,
            certificates,
            disks: Disks::default(),
            room: Arc::new(Semaphore::new(MAX_SESSIONS)),
        });
        tokio::spawn(accept(listener, shared.clone(), stop));
        Ok((Self { shared, address }, received))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the connected guards tell of their disks.
    pub fn disks(&self) -> Disks {
        self.shared.disks.clone()
    }

    /// Hands a message to the connection. What the guard makes of it is in its next report; a message to a guard
    /// that has gone is lost, as its end tells.
    fn send(&self, session: GuardSession, message: FromOperator) {
        let table = self.shared.table();
        let Some((key, entry)) = table.sessions.iter().find(|(_, e)| e.id == session) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = entry.say.try_send(message) {
            tracing::warn!(
                policy = %key.policy,
                instance = %key.instance,
                "the guard reads nothing, {MAX_WAITING} messages wait for it: its connection is closed"
            );
            entry.end.cancel();
        }
    }
}

impl Guards for GuardListener {
    fn answer(&self, session: GuardSession, nonce: u64, instruction: Instruction) {
        self.send(session, FromOperator::Answer { nonce, instruction });
    }

    fn tell(&self, session: GuardSession, instruction: Instruction) {
        self.send(session, FromOperator::Tell { instruction });
    }

    fn refuse(&self, session: GuardSession, reason: String) {
        self.send(session, FromOperator::Refuse { reason });
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let strangers = Strangers::room_for(MAX_STRANGERS);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            () = shared.events.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: one that closes makes room.
                tracing::warn!(error = %e, "accepting a guard");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let (shared, stop, stranger) = (shared.clone(), stop.child_token(), strangers.enter());
        tokio::spawn(async move {
            if let Err(why) = session::run(tcp, stranger, &shared, stop).await {
                tracing::warn!(%peer, %why, "a guard's connection was not accepted");
            }
        });
    }
}

#[cfg(test)]
mod tests;
