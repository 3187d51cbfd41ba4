//! What nobody was asked about, and what is assumed instead.

use bascule_core::policy::Policy;
use bascule_crds::conditions::{Condition, READY};
use bascule_sim::rehearsal::ASSUMED_REPLICAS;

use super::Asked;
use super::live::Live;
use super::state::Case;
use super::told::{Act, Change, MovePlan};
use crate::why::judgement::ARBITER_UNREACHABLE;

/// What nobody was asked about.
pub fn not_asked(
    case: &Case,
    acts: &[Act],
    was: Option<&Policy>,
    is: Option<&Policy>,
    live: Option<&Live>,
    asked: &Asked,
) -> Vec<String> {
    let mut all = Vec::new();
    let elsewhere = live.and_then(Live::site);
    let tried = |m: &&MovePlan| m.to.is_some() && m.verdict.as_deref() != Some("Stale");
    let moved: Vec<&MovePlan> = acts.iter().flat_map(|a| &a.moves).filter(tried).collect();
    if let (Some(mv), None) = (moved.first(), &elsewhere) {
        let to = mv.to.as_deref().unwrap_or_default();
        all.push(format!(
            "whether {to} could take over now (replication, lag, grants, who owns the fields): unknown; nothing in the way is assumed"
        ));
    }
    let forced = moved.iter().any(|m| m.kind == "Failover");
    if let (true, Some(here), Some(active)) = (forced, &elsewhere, live.and_then(unheard)) {
        all.push(format!(
            "whether {active} lives: {here} does not know; it is assumed to live, and a Failover of a site that lives is refused. Once {here} hears the arbiter again it knows"
        ));
    }
    let touched = acts.iter().any(|a| a.objects.iter().any(|o| o.site.is_some()));
    match &elsewhere {
        None if touched && case.change == Change::New => all.push(format!(
            "what the clusters hold now: unknown; {ASSUMED_REPLICAS} replica is assumed for each workload, no flag, and nothing in DNS"
        )),
        None if touched => all.push(
            "what the clusters hold now (replicas, flags, DNS): unknown; old values are what the policy before makes of them".to_owned(),
        ),
        Some(site) if touched => all.push(format!(
            "what the other sites' clusters and DNS hold now: unknown (only {site}'s cluster was asked); old values there are what the policy before makes of them"
        )),
        _ => {}
    }
    let known = |site: &str, name: &bascule_core::name::ItemName| {
        let seen = live.iter().flat_map(|l| &l.seen).find(|((s, n), _)| s.as_str() == site && n == name);
        seen.is_some_and(|(_, s)| s.replicas.is_some())
    };
    let policies = is.into_iter().chain(was).take(1);
    for (name, w) in policies.flat_map(|p| &p.workloads) {
        let scaled = w.replicas != bascule_core::policy::Replicas::default();
        let object = format!("/{}, spec.replicas", w.name);
        let shown = acts.iter().flat_map(|a| &a.objects).find(|o| o.what.ends_with(&object));
        if let (true, None, Some(shown)) = (scaled && !moved.is_empty(), w.replicas.active, shown)
            && !known(shown.site.as_deref().unwrap_or_default(), name)
        {
            all.push(format!(
                "how many replicas {name} has while its site is active: unknown (spec leaves replicas.active out: as many as were observed last); 2 are assumed"
            ));
        }
    }
    if (!moved.is_empty() || case.change != Change::None) && !asked.profile_said {
        all.push(format!(
            "the installation's timing profile: unknown; {} is assumed (--profile)",
            asked.profile.name()
        ));
    }
    all
}

/// The active site, where the one that was asked cannot know whether it lives: the arbiter tells, and is not reached.
fn unheard(live: &Live) -> Option<&str> {
    let status = &live.status;
    let lost = |c: &Condition| c.type_ == READY && c.reason == ARBITER_UNREACHABLE;
    let active = status.active_site.as_deref().filter(|_| status.conditions.iter().any(lost))?;
    let row = status.sites.iter().find(|row| row.name == active)?;
    (row.role.as_deref() == Some("Unknown")).then_some(active)
}
