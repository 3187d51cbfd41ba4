//! Telling people: against a real mail server, against one that never answers and one that is not there, and against
//! HTTP listeners.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chats;
mod heard;
mod hook;
mod mail_server;
mod mails;
mod queues;
mod webhooks;
