#![no_main]
//! `cargo fuzz run from_operator`: see `bascule_fuzz::from_operator`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::from_operator::run(bytes));
