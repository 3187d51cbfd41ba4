//! Looking for what breaks: every effect boundary with every fault, and chance.

mod case;
mod enumerate;
mod explore;
mod menu;
#[cfg(feature = "mutants")]
mod mutants;
mod same_end;

pub use self::case::{Base, Case, Injected, Verdict};
pub use self::enumerate::{Begins, Coverage, Failure, Found, pairs, singles};
pub use self::explore::{explore, shrink};
pub use self::menu::whole_menu;
#[cfg(feature = "mutants")]
pub use self::mutants::Mutant;
pub use self::same_end::End;
