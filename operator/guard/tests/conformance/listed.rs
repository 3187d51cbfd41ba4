//! Every script by its name: one that is gone is missed.

#[path = "../../../adapters/tests/conformance/names.rs"]
mod names;

const GUARD: &[&str] = &[
    "a_grant_that_runs_out_stops_the_server_and_a_new_one_brings_it_back_with_every_row",
    "a_role_is_handed_over_behind_a_lock_that_outlives_its_guard",
    "a_killed_postmaster_is_locked_and_only_a_later_decision_starts_it_again",
    "a_killed_guard_takes_its_server_with_it_and_the_next_one_waits_for_its_role",
    "a_promotion_without_a_grant_is_not_made",
    "an_old_primary_with_rows_of_its_own_waits_for_a_primary_saves_them_and_is_rewound",
    "a_standby_that_is_ahead_of_the_new_primarys_fork_is_found_and_rewound",
    "a_guard_that_stood_still_past_its_deadline_kills_its_server_when_it_goes_on",
    "a_server_that_stands_still_is_killed_at_the_deadline_all_the_same",
    "a_standby_that_a_superuser_promotes_is_ended_and_comes_back_as_a_standby",
    "of_two_promotions_that_leave_one_timeline_the_second_takes_another_number_and_the_first_is_rewound",
    "a_primary_that_stopped_cleanly_runs_as_a_standby_though_its_upstream_is_gone",
    "a_primary_that_stopped_cleanly_runs_beside_a_standby_and_follows_it_once_that_is_promoted",
    "an_empty_replica_waits_for_an_upstream_that_is_away_and_is_cloned_when_it_is_there",
];

#[test]
fn every_script_is_there_and_written_down() {
    names::check("scripts", GUARD);
}
