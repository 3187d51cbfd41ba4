//! With which election timeout of the arbiter each timing profile holds, from the rules that the operator checks.

use std::time::Duration;

use bascule_core::timing::Profile;

const PROFILES: [Profile; 4] = [Profile::Metro, Profile::Region, Profile::Wan, Profile::Conservative];
/// In these steps; no timeout is set more finely.
const STEP: u64 = 5;
/// Longer ones are not looked at.
const LONGEST: u64 = 60_000;

/// The slowest election timeout, in milliseconds, with which a profile holds.
fn slowest(profile: Profile) -> u64 {
    let holds = |ms: &u64| profile.timing().violations(Duration::from_millis(*ms)).is_empty();
    (STEP..=LONGEST).step_by(STEP as usize).take_while(holds).last().unwrap_or(0)
}

pub(crate) fn template() -> String {
    let entries: Vec<String> =
        PROFILES.iter().map(|profile| format!("\"{profile}\": {}", slowest(*profile))).collect();
    format!(
        "{{{{/* Generated from operator/core/src/timing.rs by `make chart`; do not edit. The slowest election timeout of the\n\
         arbiter, in milliseconds, with which each profile holds. */}}}}\n\
         {{{{- define \"bascule.election\" -}}}}\n{{ {} }}\n{{{{- end -}}}}\n",
        entries.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_profile_holds_with_the_timeout_that_the_chart_lets_pass_and_not_with_a_slower_one() {
        for profile in PROFILES {
            let ms = slowest(profile);
            assert!(ms > 0 && ms < LONGEST, "{profile}: {ms}");
            assert!(profile.timing().violations(Duration::from_millis(ms)).is_empty());
            assert!(!profile.timing().violations(Duration::from_millis(ms + STEP)).is_empty());
        }
    }
}
