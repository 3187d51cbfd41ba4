//! The client that the outside world would be: it writes and reads all the time, remembers what it was told, and
//! judges the history from that record alone.

pub mod dns;
mod history;
mod judge;
mod run;
mod sql;
mod web;

pub use history::{Attempt, History, Kind, Outcome, Stamp};
pub use judge::{Gap, Overlap};
pub use run::{Client, ClientOptions, Target};
pub use sql::{Database, Row, certainly_not_written, rows};
pub use web::{PATIENCE, Published};
