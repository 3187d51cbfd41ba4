//! The demo's web application (filled in below).
fn main() {}
