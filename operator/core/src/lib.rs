//! The pure rules of Bascule: who may write, who may take, and what is done next.
//!
//! Nothing in this crate reads a clock, draws a random number, logs, or does I/O: time, site and facts are
//! arguments, so the same input always gives the same answer. The operator, the simulator and the command line
//! all run these rules; there is no second copy of them.

pub mod ballot;
pub mod blocker;
pub mod check;
pub mod decide;
pub mod facts;
pub mod few;
pub mod gate_codes;
pub mod guard;
pub mod heartbeat;
pub mod journal;
pub mod legible;
pub mod loss;
pub mod memory;
pub mod moves;
pub mod mutant;
pub mod name;
pub mod notice;
pub mod observation;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod position;
pub mod project;
pub mod record;
pub mod similar;
pub mod time;
pub mod timing;
