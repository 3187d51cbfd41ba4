//! Scenarios: a dozen readable lines each, asserting from the client's own record.
//!
//! A [`Stage`] holds one world with the application in it. A scenario gets a [`Scene`]: the pair is steady when it
//! begins, a client is at work, and [`Scene::active`] and [`Scene::standby`] say who is who. When it ends, the stage
//! takes every fault back, waits until the pair is steady again, and judges the client's record: one writer at a
//! time in the order that the scenario has seen, nothing written twice, nothing refused and yet written, nothing
//! acknowledged lost unless the scenario allowed it.
//!
//! A scenario that fails prints what it did and saw, keeps the logs, and costs the world; the next one gets a new
//! one.

mod acts;
mod asks;
mod run;
mod sees;
mod stage;

pub use asks::Answer;
pub use run::{Scenario, main, scenarios, with_clocks, with_spares};
pub use stage::{Scene, Stage};
