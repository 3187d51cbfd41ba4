//! Adapters to the outside.

pub mod arbiter;
pub mod boottime;
pub mod dns;
pub mod finding;
pub mod git;
pub mod guards;
mod http1;
pub mod kube;
pub mod postgres;
pub mod site;
