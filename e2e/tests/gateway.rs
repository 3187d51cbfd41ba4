//! Requests through a real gateway while two operators change its routes. Needs root.
//!
//! `cargo test -p bascule-e2e --test gateway`; words after it are not taken.

use std::process::ExitCode;

fn main() -> ExitCode {
    bascule_e2e::gateway::main()
}
