//! Small worlds, exhaustively: every order in which two sites, one arbiter and two guards can act, around the real core.
//!
//! The operators are the core itself ([`Holder`], [`Claim`], [`Observer`], [`decide`], [`note`], [`check`]); around them
//! stand a loop as the engine runs it, an arbiter of one record and two leases, and a guard in a few lines. Time goes in
//! ticks, and instead of a clock that moves on, what is remembered recedes: a world in which nothing but the time has
//! changed is the same world, so a search can end.
//!
//! | file | question |
//! |---|---|
//! | `setting` | which flow, which faults, which timing, which rule is left out? |
//! | `call` | where is a message on its way? |
//! | `operator` | what does one operator know, and what follows from what it hears? |
//! | `situation` | how does the core see it? |
//! | `guard` | what do a guard and its server do? |
//! | `arbiter` | what do the record and the leases say? |
//! | `interned` | which whole states have been seen? |
//! | `world` | what can happen next? |
//! | `search` | is there a way to what must never be? |
//!
//! [`Holder`]: bascule_core::ballot::holder::Holder
//! [`Claim`]: bascule_core::ballot::claim::Claim
//! [`Observer`]: bascule_core::ballot::silence::Observer
//! [`decide`]: bascule_core::decide::decide
//! [`note`]: bascule_core::decide::note
//! [`check`]: bascule_core::check::check

mod arbiter;
mod call;
mod guard;
mod interned;
mod operator;
mod search;
mod setting;
mod situation;
mod world;

pub use self::search::{Outcome, explore};
pub use self::setting::{Fault, Flow, LeftOut, Limits, Setting};
