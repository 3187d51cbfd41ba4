#![no_main]
//! `cargo fuzz run record`: see `bascule_fuzz::record`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::record::run(bytes));
