//! The program `bascule`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bascule::main()
}
