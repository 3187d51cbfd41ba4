//! Adapters to the outside.

pub mod arbiter;
pub mod boottime;
