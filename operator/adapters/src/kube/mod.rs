//! The site's own Kubernetes API server: facts from it, and single steps on it.
//!
//! Every call has a deadline and is made once: a request that failed is never sent again by itself, so a write
//! cannot land long after it was decided. Other sites' API servers are never asked.
//!
//! What a call can come back with is in [`failure`]; who owns a field that Bascule must write is in [`ownership`].

pub mod apply;
pub mod client;
pub mod cluster;
pub mod event;
pub mod failure;
pub mod flag;
pub mod foreign;
pub mod heard;
pub mod heartbeat;
pub mod kubeconfig;
pub mod marks;
mod own;
pub mod ownership;
pub mod pods;
pub mod port;
pub mod read_only;
pub mod rights;
pub mod route;
pub mod secret;
pub mod status;
pub mod tell;
pub mod verify;
pub mod watch;
pub mod workload;

pub use client::{ConnectError, Credentials, Kube};
pub use failure::Failure;
pub use ownership::{Contention, Owner, Rehearsal};
