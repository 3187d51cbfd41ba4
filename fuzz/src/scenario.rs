//! A file for `bascule simulate`.

use bascule_core::name::SiteName;
use bascule_engine::intake::read::File;
use bascule_sim::scenario::file::read;

use crate::intake::refused;

/// Reads `bytes` as a scenario for a policy in paris and lyon.
///
/// # Panics
/// When what is refused is not said to a person who could act on it.
pub fn run(bytes: &[u8]) {
    let sites: Vec<SiteName> =
        ["paris", "lyon"].into_iter().filter_map(|s| SiteName::try_from(s).ok()).collect();
    match read(&File { path: "night.yaml", bytes }, &sites, &[]) {
        Ok(said) => {
            for event in &said.events {
                crate::in_words(&event.words());
            }
        }
        // A list of 200 entries can be wrong in each field of each of them.
        Err(problems) => refused(bytes, &problems, usize::MAX - 1),
    }
}
