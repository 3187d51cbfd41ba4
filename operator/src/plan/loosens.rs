//! Does a change loosen a bound, beside moving a role?
//!
//! Either may be right. Both at once are two decisions in one, and who approves the move may not see the bound.

use bascule_core::policy::{After, Policy};
use bascule_core::time::human;

/// What `is` allows and `was` does not, as fields with both values.
pub fn bounds(was: &Policy, is: &Policy) -> Vec<String> {
    let (old, new) = (&was.failover, &is.failover);
    let mut found = Vec::new();
    let mut note = |field: &str, old: String, new: String| found.push(format!("{field} {old} -> {new}"));
    let (old_loss, new_loss) = (&old.max_data_loss, &new.max_data_loss);
    if new_loss.bytes > old_loss.bytes {
        note(
            "spec.failover.promote.maxDataLoss.bytes",
            old_loss.bytes.to_string(),
            new_loss.bytes.to_string(),
        );
    }
    if new_loss.seconds > old_loss.seconds {
        note("spec.failover.promote.maxDataLoss.time", human(old_loss.seconds), human(new_loss.seconds));
    }
    if sooner(old.promote_after, new.promote_after) {
        note("spec.failover.promote.after", after(old.promote_after), after(new.promote_after));
    }
    if new.cooldown < old.cooldown {
        note("spec.failover.cooldown", human(old.cooldown), human(new.cooldown));
    }
    for (name, database) in &is.databases {
        let Some(before) = was.databases.get(name).filter(|before| database.fence < before.fence) else {
            continue;
        };
        let field = format!("spec.databases[{name}].postgresql.fence");
        note(&field, format!("{:?}", before.fence), format!("{:?}", database.fence));
    }
    found
}

/// Whether a promotion without a person comes sooner, or at all.
fn sooner(old: After, new: After) -> bool {
    match (old, new) {
        (_, After::Never) => false,
        (After::Never, After::Elapsed(_)) => true,
        (After::Elapsed(old), After::Elapsed(new)) => new < old,
    }
}

fn after(value: After) -> String {
    match value {
        After::Never => "Never".to_owned(),
        After::Elapsed(d) => human(d),
    }
}
