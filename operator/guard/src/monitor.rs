//! Looks at the running server, several times a second.

use std::sync::Arc;
use std::time::Duration;

use bascule_boundary::Effect;
use bascule_core::few::Few;
use bascule_core::guard::contact::{Contact, Received};
use bascule_core::guard::replicas::Flushed;
use bascule_core::guard::wire::Behind;
use bascule_core::time::Boottime;
use tokio::sync::mpsc;

use crate::clock;
use crate::server::Server;
use crate::session::{Reading, Session};
use crate::store::{CONTACT, StoreError};

/// How often the server is looked at: a primary that nobody made one is found within this.
const EVERY: Duration = Duration::from_millis(20);
/// How often while its doors are shut for a promotion that may come: clients wait for the end of its replay.
const WHILE_CLIENTS_WAIT: Duration = Duration::from_millis(5);

/// A reading and when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) reading: Reading,
    /// How far each replica of this primary is behind, by its slot.
    pub(crate) replicas: Few<String, Behind>,
    pub(crate) at: Boottime,
}

impl Seen {
    /// Whether it is a standby that receives.
    pub(crate) fn streams(&self) -> bool {
        self.reading.in_recovery && self.reading.positions.streams()
    }
}

/// Reads until the receiver goes away. Between two servers there is nothing to read, and it waits.
pub(crate) async fn run(server: Arc<Server>, seen: mpsc::Sender<Seen>) {
    let mut session: Option<Session> = None;
    let (mut received, mut flushed) = (Received::default(), Flushed::default());
    let mut looked = tokio::time::Instant::now();
    while !seen.is_closed() {
        let pace = if server.awaits_promotion() { WHILE_CLIENTS_WAIT } else { EVERY };
        tokio::time::sleep_until(looked + pace).await;
        looked = tokio::time::Instant::now();
        if server.running().is_none() {
            (session, received, flushed) = (None, Received::default(), Flushed::default());
            continue;
        }
        if session.is_none() {
            session = server.session().await.ok();
        }
        let Some(open) = &session else { continue };
        let at = clock::now();
        match open.read().await {
            Ok(mut reading) => {
                received.complete(reading.in_recovery, &mut reading.positions);
                let own = reading.positions.flush;
                let replicas = own.map(|own| flushed.take(own, &reading.confirmed, at)).unwrap_or_default();
                if seen.send(Seen { reading, replicas, at }).await.is_err() {
                    return;
                }
            }
            // The server went, or ended this session with the clients': looked at again with a new one.
            Err(_) => session = None,
        }
    }
}

/// The evidence that is kept beside the data.
pub(crate) fn load_contact(server: &Server) -> Result<Contact, StoreError> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ok(Contact::new(server.store.read(CONTACT)?, machine.trim().to_owned()))
}

/// Keeps it there.
pub(crate) fn keep_contact(contact: &Contact, server: &Server) -> Result<(), StoreError> {
    match contact.kept() {
        Some(kept) => server.store.write(CONTACT, kept),
        None => server.store.remove(Effect::RemoveContact, CONTACT),
    }
}
