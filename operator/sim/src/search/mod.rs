//! Looking for what breaks: every effect boundary with every fault, and chance.

mod case;
mod enumerate;
mod explore;
mod menu;

pub use self::case::{Base, Case, Injected, Verdict};
pub use self::enumerate::{Coverage, Failure, Found, pairs, singles};
pub use self::explore::{explore, shrink};
pub use self::menu::menu;
