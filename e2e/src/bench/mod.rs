//! What `make bench` measures: how long nobody can write while the active site changes, for Bascule, for its peer Patroni
//! and by hand, in one run and by one client; and how soon an event has its first effect.
//!
//! Every measurement is one line of `docs/benchmarks.jsonl`; `docs/benchmarks.md` is made from that file alone.

mod bascule;
mod by_hand;
mod client;
mod effect;
pub(crate) mod machine;
mod page;
mod patroni;
mod proxy;
mod run;
mod sample;
mod series;
mod sql;

pub use page::page;
pub use run::{Wanted, run};
pub use sample::{Sample, append, read};
pub use series::{Act, Series, System};
