//! Effects that no flow of this suite passes, each with the reason.

use bascule_boundary::Effect;

/// Why no flow passes an effect; `None`: one has to.
pub fn excuse(effect: Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::RecordUnmanaged => "only `suspend` records it, and nothing moves then",
        Effect::RecordOfNewerVersion => "this version writes none",
        Effect::Stop => "the process ends by it anyway",
        Effect::InstructKeep => {
            "only an operator that cannot read the record says it: torture takes the arbiter away"
        }
        Effect::InstructWait => {
            "only a site that was silent and has not its role back says it, for some milliseconds"
        }
        Effect::InstructServe => "an operator always says `open` with it; the guard starts closed by itself",
        Effect::RefuseGuard => "only a guard of another policy or version is refused",
        Effect::Beat => {
            "it comes every ten seconds, whether or not a flow is under way, and nothing is decided by it"
        }
        Effect::Scale => "the suite's policy runs the same number of pods in every role",
        Effect::RefuseWrites | Effect::PassWrites => "the suite's policy has no HTTPRoute",
        Effect::Kill => {
            "only a step that failed half way, or a grant that has run out, orders it: torture's cuts"
        }
        Effect::TakeTriggerBack => "only a guard whose promotion has not ended in time takes it back",
        Effect::StartOrphan => "only a copy that is promoted while its server is down is started so",
        Effect::LeaveNumber | Effect::TakeNumberBack => {
            "only a copy that was a primary, and is one again without having followed in between"
        }
        Effect::WriteUnlocked => "a person writes it, with a command in a process of its own",
        Effect::TurnJournal => "a mebibyte of lines is more than a flow writes",
        Effect::Install => "an init container does it, before there is a guard",
        _ => return None,
    })
}
