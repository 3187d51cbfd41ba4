//! Two brains and one arbiter in virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod notices;
mod quiet;
#[path = "../sample/mod.rs"]
mod sample;
mod stories;
mod trouble;
mod world;
