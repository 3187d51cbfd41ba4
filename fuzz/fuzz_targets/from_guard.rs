#![no_main]
//! `cargo fuzz run from_guard`: see `bascule_fuzz::from_guard`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::from_guard::run(bytes));
