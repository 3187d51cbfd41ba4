//! The loop around the rules.
