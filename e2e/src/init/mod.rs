//! Process 1 of a place: what runs inside a place's own namespaces, started by [`launch()`] and spoken to over a
//! unix socket.
//!
//! Killing it takes every process, mount and container of the place with it, which is what makes power loss and
//! clean-up one and the same thing.

mod join;
mod launch;
mod protocol;
mod supervisor;

pub use join::join;
pub use launch::launch;
pub use protocol::{Ended, Mount, PartState, PlaceConfig, Reply, Request, StartPart};
pub use supervisor::run;
