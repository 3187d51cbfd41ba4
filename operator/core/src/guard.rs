//! The guard beside a database: its pure rules, and what it and the operator say to each other.

pub mod action;
pub mod alone;
pub mod contact;
pub mod fallback;
pub mod grant;
pub mod lineage;
pub mod replicas;
pub mod rules;
pub mod stray;
pub mod unlocked;
pub mod wire;
