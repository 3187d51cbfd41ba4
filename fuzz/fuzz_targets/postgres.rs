#![cfg_attr(fuzzing, no_main)]
//! `cargo fuzz run postgres`: see `bascule_fuzz::postgres`.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::postgres::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    bascule_fuzz::play(bascule_fuzz::postgres::run)
}
