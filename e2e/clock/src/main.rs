//! The program `bascule` once more, made of the same parts and linked dynamically (`rustc` beside this): where the
//! scenarios hold a site's clock, a library is loaded before it, which a static program cannot have.

use std::process::ExitCode;

fn main() -> ExitCode {
    bascule::main()
}
