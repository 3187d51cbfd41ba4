//! The loop around the rules: observe, decide, check, commit, act.
//!
//! [`brain`] is the loop as a state machine: events in, commands out, no I/O, no clock. [`run`] gives it a runtime:
//! it carries commands to the [`ports`] and brings events back. The simulator drives the same brain.

pub mod brain;
mod effect;
pub mod intake;
pub mod ports;
pub mod run;
mod turns;
