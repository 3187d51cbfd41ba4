#![cfg_attr(fuzzing, no_main)]
//! `cargo fuzz run intake`: see `bascule_fuzz::intake`.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::intake::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    bascule_fuzz::play(bascule_fuzz::intake::run)
}
