#![cfg_attr(fuzzing, no_main)]
//! `cargo fuzz run scenario`: see `bascule_fuzz::scenario`.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::scenario::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    bascule_fuzz::play(bascule_fuzz::scenario::run)
}
