//! What comes from outside, given to the code that reads it in production: no panic, bounded memory and time, and
//! every refusal in words.
//!
//! | target | whose words | read by |
//! |---|---|---|
//! | `intake` | a file of a git revision | `bascule_engine::intake::read` |
//! | `record` | a record or a site's facts in the arbiter | `Versioned::parse`, then the operator's brain at both sites |
//! | `from_guard` | a guard, to its operator | the operator's session, then its brain |
//! | `from_operator` | an operator, to its guard | the guard's link, then its rules |
//! | `dns` | a name server | the checks of an answer, then what is read out of it |
//! | `postgres` | a PostgreSQL server | everything that the operator and the guard ask |
//! | `scenario` | a file for `bascule simulate` | `bascule_sim::scenario::file` |
//!
//! `cargo fuzz run TARGET` searches; the tests below play what is kept in `corpus/` on the stable toolchain.

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

pub mod dns;
pub mod framed;
pub mod from_guard;
pub mod from_operator;
pub mod intake;
mod operator;
pub mod postgres;
pub mod record;
pub mod scenario;

/// The longest line of words about something that was refused, in characters: what is longer reaches nobody.
const LONGEST: usize = 2000;

/// Checks that words can be shown to a person: there are some, they are not endless, and they do not write on the
/// terminal or log by themselves.
fn in_words(why: &str) {
    assert!(!why.trim().is_empty(), "a refusal without words");
    let length = why.chars().count();
    assert!(length <= LONGEST, "a refusal of {length} characters: {why:.200}");
    assert!(!why.contains(['\n', '\r', '\u{1b}']), "a refusal with line breaks or escapes: {why:?}");
}

/// Runs something that waits, on this thread. Its clock goes on at once to the next deadline when everybody waits for one:
/// what has a deadline ends soon, and what has none does not end.
fn wait<T>(work: impl Future<Output = T>) -> T {
    use tokio::runtime::{Builder, Runtime};
    thread_local! {
        static RUNTIME: std::io::Result<Runtime> = {
            Builder::new_current_thread().enable_all().start_paused(true).build()
        };
    }
    RUNTIME.with(|runtime| match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(why) => unreachable!("no runtime on this machine: {why}"),
    })
}

/// Plays the files that the program was given, as a target without libFuzzer. It ends as the first bad input makes it
/// end: with a panic.
pub fn play(run: fn(&[u8])) -> ExitCode {
    let mut played = 0;
    for file in std::env::args_os().skip(1) {
        let file = Path::new(&file);
        match std::fs::read(file) {
            Ok(bytes) => run(&bytes),
            Err(why) => {
                eprintln!("{}: {why}", file.display());
                return ExitCode::FAILURE;
            }
        }
        played += 1;
    }
    if played == 0 {
        eprintln!("expected the files to play; to search for others: make fuzz");
        return ExitCode::FAILURE;
    }
    println!("{played} inputs, and nothing wrong");
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests;
