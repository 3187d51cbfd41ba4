#![no_main]
//! `cargo fuzz run dns`: see `bascule_fuzz::dns`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bascule_fuzz::dns::run(bytes));
