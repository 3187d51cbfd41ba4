//! What `make bench-scale` measures: how an operator grows from ten policies to ten thousand.
//!
//! Two real API servers with their stores, a real arbiter of three members, and two operators as processes of their own.
//! What policies act on is simulated inside the operators, at the engine's ports ([`inside`]): no single machine has ten
//! thousand databases.

mod figures;
mod fleet;
pub mod inside;
pub(crate) mod loopback;
mod measure;
mod operator;
mod page;

pub use figures::Figures;
pub use measure::{Wanted, run};
pub use page::page;

/// The sites: nine of ten policies begin at the first one.
pub const SITES: [&str; 2] = ["paris", "lyon"];
