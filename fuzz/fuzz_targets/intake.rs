#![no_main]
//! `cargo fuzz run intake`: see `bascule_fuzz::intake`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::intake::run(bytes));
