//! The guard against real PostgreSQL servers.

mod fence;
mod roles;
mod world;
