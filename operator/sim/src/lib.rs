//! A seeded world in virtual time around the real core, the real engine and the guard's real rules.
//!
//! Same seed, same commit: the same bytes, on any machine. One thread, no real time, no order that a hash decides.

pub mod deed;
pub mod fault;
pub mod flow;
pub mod judge;
pub mod random;
pub mod rehearsal;
pub mod sample;
pub mod scenario;
pub mod search;
pub mod side_by_side;
pub mod small;
pub mod time;
pub mod transcript;
pub mod world;
