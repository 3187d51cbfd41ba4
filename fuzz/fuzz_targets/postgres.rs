#![cfg_attr(fuzzing, no_main)]
//! `cargo fuzz run postgres`: see `bascule_fuzz::postgres`.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::postgres::run(bytes));

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    let layout = bascule_fuzz::framed::Layout::Answers;
    bascule_fuzz::framed::mutate(data, size, most, seed, layout, libfuzzer_sys::fuzzer_mutate)
});

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    bascule_fuzz::play(bascule_fuzz::postgres::run)
}
