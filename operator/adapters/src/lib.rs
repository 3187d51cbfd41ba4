//! Adapters to the outside.

pub mod arbiter;
pub mod boottime;
pub mod dns;
pub mod finding;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod git;
pub mod guards;
mod http1;
pub mod kube;
mod mark;
pub mod notify;
pub mod postgres;
pub mod replica;
pub mod site;
pub mod strangers;
