#![cfg_attr(fuzzing, no_main)]
//! `cargo fuzz run dns`: see `bascule_fuzz::dns`.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::dns::run(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    bascule_fuzz::play(bascule_fuzz::dns::run)
}
