//! The Bascule operator and its command line.

fn main() {}
