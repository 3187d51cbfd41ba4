#![cfg_attr(fuzzing, no_main)]
//! `cargo fuzz run record`: see `bascule_fuzz::record`.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::record::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    bascule_fuzz::play(bascule_fuzz::record::run)
}
