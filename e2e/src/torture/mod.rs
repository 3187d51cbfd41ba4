//! Torture: random schedules of two to four faults on real parts, with clients at work all along.
//!
//! A [`Schedule`] is drawn from a seed, or read from its text: a policy, and when which [`Fault`] begins and ends. It is
//! played on a world that is kept from one schedule to the next for as long as it is healthy. When its faults are over,
//! the world must settle within [`SETTLED_WITHIN`], and [`judge`] looks at the clients' record. One that fails costs
//! the world, and is kept: its text under `e2e/torture/kept`, what explains it under `target/e2e`.

mod fault;
pub(crate) mod ground;
mod inflict;
mod kept;
pub(crate) mod play;
pub(crate) mod records;
mod schedule;
mod session;
mod verdict;

pub use fault::{Fault, Harm, Roles, Spot};
pub use kept::{keep, kept, kept_folder};
pub use play::{Played, SETTLED_WITHIN, play};
pub use records::{Record, record, records_since};
pub use schedule::{Policy, Schedule, Step};
pub use session::{Next, torture};
pub use verdict::{Case, Found, judge};
