//! Container images without a container daemon: an archive in the OCI layout that any registry and any runtime takes.
//!
//! [`product`] is the image that is published and that the chart runs; the sandbox makes its own images with the same
//! [`Layer`]. [`sbom`] lists what the product is made of.

#![allow(
    clippy::format_collect,
    reason = "text is put together in the way that reads best; its speed does not matter"
)]

mod archive;
mod machine;
pub mod product;
pub mod sbom;

pub use archive::{ImageConfig, Layer};
pub use machine::Machine;
