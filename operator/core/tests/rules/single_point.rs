//! An arbiter that is a single point: one witness.

use bascule_core::decide::Places;
use bascule_core::plan::Plan;
use bascule_core::policy::After;
use bascule_core::project::project;
use bascule_core::record::{Fences, Phase};

use crate::world::given::Given;
use crate::world::policy::policy;
use crate::world::record::{in_phase, small_loss, steady};
use crate::world::reports::orphan;

/// Lyon, which has served reads for longer than `promote.after` because paris is silent.
fn due(places: Places) -> Plan {
    let mut record = in_phase(Phase::ReadOnly);
    record.transition.as_mut().unwrap().loss_bound = Some(small_loss());
    let orphan = orphan(record.serial);
    let given = Given::at("lyon").record(record).report(orphan).contact(0, 60_200).silent("paris", 60_000);
    let mut given = given.for_ms(1_900_000);
    given.installation.places = places;
    let installation = given.installation.clone();
    given.policy(|p| *p = p.clone().under(&installation)).plan()
}

#[test]
fn with_a_witness_that_nobody_has_accepted_nothing_is_promoted_by_itself_and_the_gate_says_why() {
    for places in [Places::Several, Places::OneAccepted] {
        assert!(due(places).transition.is_some(), "{places:?}");
    }
    let plan = due(Places::One);
    assert_eq!(plan.transition, None);
    let gate = plan.gates.iter().find(|g| g.name == "promote" && !g.passed()).unwrap();
    assert!(gate.words().contains("arbiter.acceptSinglePoint"), "{}", gate.words());
}

#[test]
fn with_a_witness_that_nobody_has_accepted_the_active_site_promises_not_to_stop() {
    for (places, fences) in [(Places::Several, true), (Places::One, false), (Places::OneAccepted, true)] {
        let mut given = Given::at("paris").record(steady());
        given.installation.places = places;
        let promise = given.look(|s| s.promise(&policy()));
        assert_eq!(promise.fences != Fences::Never, fences, "{places:?}");
    }
}

#[test]
fn a_policy_is_what_it_says_unless_the_witness_is_a_single_point_that_nobody_has_accepted() {
    let mut given = Given::at("paris");
    assert_ne!(policy().failover.promote_after, After::Never);
    for (places, same) in [(Places::Several, true), (Places::One, false), (Places::OneAccepted, true)] {
        given.installation.places = places;
        let under = policy().under(&given.installation);
        assert_eq!(under == policy(), same, "{places:?}");
        assert_eq!(under.failover.promote_after == After::Never, !same, "{places:?}");
    }
}

#[test]
fn status_says_what_the_loss_of_the_witness_means_before_it_is_lost() {
    for (places, words) in [
        (Places::Several, None),
        (Places::One, Some("nothing is promoted by itself")),
        (Places::OneAccepted, Some("the active site stops by itself")),
    ] {
        let mut given = Given::at("paris").record(steady());
        given.installation.places = places;
        let plan = given.plan();
        let report = given.look(|s| project(s, &plan));
        let advice = report.conditions.into_iter().find(|c| c.kind == "Advice").map(|c| c.message);
        let advice = advice.unwrap_or_default();
        assert_eq!(advice.contains("a single point"), words.is_some(), "{places:?}: {advice}");
        assert!(advice.contains(words.unwrap_or_default()), "{places:?}: {advice}");
    }
}
