//! What a site decides, sentence by sentence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests are tests, too.
#![allow(unreachable_pub, missing_docs, dead_code)] // One world serves several test binaries.
#![allow(clippy::needless_pass_by_value)] // A given is built by value.

#[path = "../world/mod.rs"]
mod world;

mod anew;
mod believe;
mod candidate;
mod codes;
mod expect;
mod finish;
mod first;
mod gateways;
mod matrix;
mod measure;
mod model;
mod moves;
mod note;
mod notice;
mod offer;
mod planned;
mod posture;
mod project;
mod properties;
mod release;
mod routes;
mod single_point;
mod take;
mod unlocked;
mod wire;
mod withdraw;
mod wrong;
