//! Looking for what breaks: every effect boundary with every fault, and chance.

mod case;
mod enumerate;
mod explore;
mod menu;
mod same_end;
#[cfg(feature = "mutants")]
mod mutants;

pub use self::case::{Base, Case, Injected, Verdict};
pub use self::enumerate::{Coverage, Failure, Found, pairs, singles};
pub use self::explore::{explore, shrink};
pub use self::menu::menu;
pub use self::same_end::End;
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;
