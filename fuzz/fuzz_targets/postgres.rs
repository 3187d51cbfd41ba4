#![no_main]
//! `cargo fuzz run postgres`: see `bascule_fuzz::postgres`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::postgres::run(bytes));
