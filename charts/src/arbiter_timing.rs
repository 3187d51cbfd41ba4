//! How fast the arbiter's members elect under each timing profile, from the same place as `bascule arbiter init`.

use bascule_adapters::arbiter::MemberTiming;
use bascule_core::timing::Profile;

const PROFILES: [Profile; 4] = [Profile::Metro, Profile::Region, Profile::Wan, Profile::Conservative];

pub(crate) fn template() -> String {
    let entry = |profile: Profile| {
        let MemberTiming { heartbeat, election } = MemberTiming::of(profile);
        format!(
            "\"{profile}\": {{ \"heartbeat\": {}, \"election\": {} }}",
            heartbeat.as_millis(),
            election.as_millis()
        )
    };
    let entries: Vec<String> = PROFILES.into_iter().map(entry).collect();
    format!(
        "{{{{/* Generated from operator/adapters/src/arbiter/timing.rs by `make chart`; do not edit. Milliseconds. */}}}}\n\
         {{{{- define \"arbiter.timing\" -}}}}\n{{ {} }}\n{{{{- end -}}}}\n",
        entries.join(", ")
    )
}
