//! What a guard says, without the TLS around it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bascule_core::guard::wire::FromGuard;
use bascule_engine::ports::{GuardEvent, GuardSession};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::session::{converse, framed, read};
use super::{Disks, GuardKey, MAX_EVENTS, MAX_WAITING, Shared};

/// What the engine hears of a guard that says `bytes`, and why the conversation ended.
pub async fn said(bytes: &[u8]) -> (Vec<GuardEvent>, String) {
    let mut framed = framed(tokio::io::join(bytes, tokio::io::sink()));
    let hello = match read(&mut framed).await {
        Ok(FromGuard::Hello(hello)) => hello,
        Ok(FromGuard::Ask(_)) => return (Vec::new(), "the guard asked before it said who it is".to_owned()),
        Err(why) => return (Vec::new(), why),
    };
    let (events, mut heard) = mpsc::channel(MAX_EVENTS);
    let (_say, mut saying) = mpsc::channel(MAX_WAITING);
    let shared = Arc::new(Shared {
        table: Mutex::default(),
        events,
        certificates: PathBuf::new(),
        disks: Disks::default(),
        room: Arc::new(Semaphore::new(1)),
    });
    let (session, key) = (GuardSession(1), GuardKey::from(&hello));
    let mut all = vec![GuardEvent::Connected { session, hello }];
    let end = CancellationToken::new();
    let talk = async move { converse(&mut framed, &mut saying, &shared, (session, &key), &end).await };
    let listen = async {
        while let Some(event) = heard.recv().await {
            all.push(event);
        }
    };
    let (why, ()) = tokio::join!(talk, listen);
    (all, why)
}
