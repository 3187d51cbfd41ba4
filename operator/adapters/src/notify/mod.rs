//! Telling people: mail, signed JSON to a webhook, and the incoming webhooks of chats.
//!
//! Guarantees: handing over a notice never waits and never fails; every attempt has a deadline; a channel that does not
//! answer delays no other channel; what was not delivered in the end is said, with the reason.

mod chat;
mod http;
mod post;
mod secret;
mod settings;
mod smtp;
mod webhook;

pub use self::post::{Heard, Patience, Post};
pub use self::settings::{Channel, Entries, Way, Wrong, check};
pub use self::webhook::{SIGNATURE, TIMESTAMP, signature};

/// Why an attempt did not deliver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Another attempt may deliver.
    #[error("{0}")]
    Passing(String),
    /// Another attempt would be refused like this one.
    #[error("{0}")]
    Final(String),
}
