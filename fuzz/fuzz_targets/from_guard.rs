#![cfg_attr(fuzzing, no_main)]
//! `cargo fuzz run from_guard`: see `bascule_fuzz::from_guard`.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::from_guard::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    bascule_fuzz::play(bascule_fuzz::from_guard::run)
}
