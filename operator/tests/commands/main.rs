//! The commands as people run them, against real API servers. One binary: they wait for their servers most of the time,
//! and do so side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

#[path = "../../adapters/tests/arbiter/cluster.rs"]
mod arbiter;
#[path = "../live/mod.rs"]
mod live;

mod check;
mod check_pre;
mod check_reach;
mod gather;
mod history;
mod init;
mod moves;
mod plan_live;
mod status;
mod why;
mod why_simulated;
