//! Each model of the simulator beside the real server that it stands for: the same steps, the same failures, and what
//! whoever depends on them gets to see, line by line. What each model is held to and what it leaves out is written
//! down in `docs/models.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../apiserver/mod.rs"]
mod apiserver;
#[path = "../stores/stored.rs"]
mod stored;
#[path = "../stores/witness.rs"]
mod witness;

mod api_server;
mod at_witness;
mod dns;
mod etcd;
mod listed;
mod postgres;
mod world;
