//! Real clusters, databases, DNS and git on one Linux machine, and what tests and the demo need to play with them.
//!
//! - [`tools`] installs and builds what the machine lacks: Debian packages, Kubernetes' own servers, static binaries.
//! - [`world`] is the sandbox itself: two sites, a third place, the arbiter, DNS, git, and every fault.
//! - [`shop`] is the application that the demo runs: its objects, its policy, and what its status says.
//! - [`scale`] measures operators with thousands of policies, whose databases are simulated.
//! - [`torture`] draws schedules of faults and judges what becomes of them.
//! - [`gateway`] sends requests through a real gateway whose routes two operators change.
//! - [`boundaries`] kills operators and guards at every boundary of everything they do.
//! - [`client`] writes and reads all the time through the published name and judges what it was told.
//!
//! Everything here needs root on a Linux machine of its own: it makes network namespaces, cgroups and mounts.

#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    clippy::trivially_copy_pass_by_ref,
    reason = "configuration files are put together in the way that reads best; their speed does not matter"
)]

pub mod bench;
pub mod boundaries;
pub mod client;
pub mod command;
pub mod gateway;
pub mod image;
pub mod init;
pub mod kept;
pub mod process;
pub mod progress;
pub mod scale;
pub mod scenario;
pub mod share;
pub mod shop;
pub mod story;
pub mod tools;
pub mod torture;
pub mod waiting;
pub mod world;
