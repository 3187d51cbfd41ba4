//! The simulator's guard (the real rules, and a model of the supervisor and the server under them) beside the real guard
//! with its real PostgreSQL: the same orders, the same failures, and what each reports, line by line. What the model is
//! held to and what it leaves out is written down in `docs/models.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "what a test changes is no effect of the guard")]

mod listed;
mod model;
mod real;
mod script;
mod scripts;
#[allow(dead_code, reason = "the guard's own tests use the rest")]
#[path = "../real/world.rs"]
mod world;
