//! The main stories, told by two sites' rules in virtual time: no engine, no network, instant guards.
//!
//! Each story's transcript is kept beside it, in plain words. After every step the second opinion is asked and no two
//! databases may take writes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests are tests, too.
#![allow(unreachable_pub, missing_docs, dead_code)] // One world serves several test binaries.
#![allow(clippy::needless_pass_by_value)] // A given is built by value.

#[path = "../world/mod.rs"]
mod world;

mod database;
mod sim;
mod tell;
