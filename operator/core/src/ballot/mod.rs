//! What a site may believe about leases and records, and what follows from it.
//!
//! [`holder`] keeps a site's own lease, [`claim`] its right to grant for one policy, [`silence`] its view of the
//! other sites' leases. [`spare`] says which replica of a site's own operator acts, and nothing of who may write. The rules are those of the protocol's model: each word that was left out there led to two
//! writers or to a lost write, and each such row has its test here.

pub mod claim;
pub mod holder;
pub mod silence;
pub mod spare;
