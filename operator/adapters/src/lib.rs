//! Adapters to the outside.
