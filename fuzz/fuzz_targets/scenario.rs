#![no_main]
//! `cargo fuzz run scenario`: see `bascule_fuzz::scenario`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::scenario::run(bytes));
