//! The guard against real PostgreSQL servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test may panic as a test does"
)]

mod fallback;
mod fence;
mod journal;
mod names;
mod reach;
mod rejoin;
mod roles;
mod timing;
mod world;
