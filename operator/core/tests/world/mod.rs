//! A readable "given": one site's view of one policy, ready to be decided on.
//!
//! `Given::at("lyon").record(steady())` is a healthy world in which nothing happens: two sites live, the active one
//! writes, the other one streams. Each test then says only what is different.

pub mod given;
pub mod policy;
pub mod record;
pub mod reports;

use bascule_core::name::{ItemName, SiteName};

/// The site with this name.
pub fn site(name: &str) -> SiteName {
    name.try_into().unwrap()
}

/// The entry of a policy with this name.
pub fn item(name: &str) -> ItemName {
    name.try_into().unwrap()
}
