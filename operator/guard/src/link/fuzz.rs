//! What an operator says, without the TLS around it.

use bascule_core::guard::wire::FromOperator;
use tokio::sync::mpsc;

use super::{FromLink, converse, framed};

/// What the guard hears of an operator that says `bytes`, and why the conversation ended.
pub async fn said(bytes: &[u8]) -> (Vec<FromOperator>, String) {
    let (_say, mut saying) = mpsc::channel(1);
    let (hear, mut heard) = mpsc::channel(1);
    let stream = framed(tokio::io::join(bytes, tokio::io::sink()));
    let talk = async move { converse(stream, &mut saying, &hear).await };
    let mut all = Vec::new();
    let listen = async {
        while let Some(message) = heard.recv().await {
            if let FromLink::Said(message) = message {
                all.push(*message);
            }
        }
    };
    let (why, ()) = tokio::join!(talk, listen);
    (all, why)
}
