#![cfg_attr(fuzzing, no_main)]
//! `cargo fuzz run from_operator`: see `bascule_fuzz::from_operator`.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::from_operator::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    bascule_fuzz::play(bascule_fuzz::from_operator::run)
}
