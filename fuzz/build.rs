//! `cargo fuzz` sets `fuzzing`: without it a target plays files.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
}
