//! What `make bench` measures: how long nobody could write, and how soon an event has its first effect.

mod measure;
mod report;

pub use measure::{database_killed, event_to_effect, kill_site, planned, prepare};
pub use report::{Figure, Report};
