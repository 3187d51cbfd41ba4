//! One name in an authoritative DNS zone, moved between sites by RFC 2136 UPDATE signed with TSIG.
//!
//! Beside the A and AAAA records of the name stands a [`Mark`], a TXT record `_bascule.<name>` with the epoch and
//! serial of the transition that wrote them. One UPDATE message changes addresses and mark together, and only
//! while the mark is still the one that was read: an older transition can therefore never overwrite a newer one,
//! whoever sends it and however late it arrives.
//!
//! Reads go to each server directly, never through a resolver. They use UDP, with TCP for truncated answers; an
//! UPDATE uses TCP only, because a lost datagram would leave its outcome unknown, and because a connection that
//! could not be opened proves that nothing was sent.

mod apply;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod observe;
mod port;
mod preflight;
mod read;
mod servers;
mod target;
mod verify;
mod wire;

pub use crate::mark::{Mark, MarkError};
pub use apply::{Applied, Refusal, ServerFailure};
pub use observe::{Answer, Published};
pub use port::DnsTraffic;
pub use read::MarkFound;
pub use servers::Server;
pub use target::{DnsTarget, DnsTargetSpec, SiteAddresses, TargetError, TsigKey};
pub use verify::{Difference, Verification};

#[cfg(test)]
mod knot;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod tests;
