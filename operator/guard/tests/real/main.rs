//! The guard against real PostgreSQL servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test may panic as a test does"
)]
#![allow(clippy::disallowed_methods, reason = "what a test changes is no effect of the guard")]

mod adopt;
mod fallback;
mod fence;
mod journal;
mod names;
mod reach;
mod rejoin;
mod roles;
mod timing;
mod unlock;
mod world;
