//! The arbiter's two stores: what both must answer alike, and what a witness's API server does by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../apiserver/mod.rs"]
mod apiserver;
#[path = "../arbiter/cluster.rs"]
mod cluster;

mod admission;
mod both;
mod stored;
mod trouble;
mod witness;
