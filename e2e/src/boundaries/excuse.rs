//! Effects that no flow of this suite passes, each with the reason.

use bascule_boundary::Effect;

/// Why no flow passes an effect; `None`: one has to.
pub fn excuse(effect: Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::RecordUnmanaged => "only `suspend` records it, and nothing moves then",
        Effect::RecordOfNewerVersion => "this version writes none",
        Effect::Stop => "the process ends by it anyway",
        _ => return None,
    })
}
