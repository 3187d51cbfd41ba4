//! Every script by its name: one that is gone is missed.

#[path = "names.rs"]
mod names;

use self::names::check;

const API_SERVER: &[&str] = &[
    "a_mark_never_falls_and_one_that_cannot_be_written_is_refused_and_stays",
    "a_flag_that_another_manager_owns_is_not_taken_from_it",
    "a_server_that_is_gone_changes_nothing_and_has_everything_when_it_is_back",
    "a_server_that_does_not_answer_leaves_everything_unknown_until_it_does",
    "what_is_forbidden_is_refused_and_not_seen",
    "a_busy_server_leaves_a_write_unknown_and_takes_it_later",
    "a_write_whose_answer_is_lost_is_unknown_and_done",
    "a_watch_that_was_silent_tells_the_last_state_of_each_object_and_what_is_gone",
];

const DNS: &[&str] = &[
    "an_older_state_never_comes_after_a_newer_one_and_the_same_one_is_nobody_elses",
    "an_update_that_another_one_came_before_is_refused_whichever_is_the_newer",
    "a_secondary_that_does_not_transfer_differs_until_it_does",
    "while_the_primary_is_down_nothing_is_changed_and_the_secondaries_still_answer",
    "with_the_primary_down_the_newest_that_a_secondary_has_is_what_the_others_differ_from",
    "a_key_that_the_primary_does_not_know_changes_nothing_and_is_said_before_it_is_needed",
    "a_dead_secondary_is_silent_and_keeps_nobody_from_pointing_elsewhere",
];

const ETCD: &[&str] = &[
    "of_two_writers_of_one_record_one_wins_and_the_loser_conflicts_until_it_has_read",
    "a_take_conflicts_when_the_lease_moved_and_is_applied_when_it_stands_still",
    "a_name_is_the_first_clusters_and_an_emptied_store_has_forgotten_it",
    "a_write_at_a_frozen_member_is_unknown_and_comes_too_late_when_another_came_first",
    "without_a_majority_nothing_is_known_and_with_it_everything_goes_on",
    "a_write_that_a_leader_took_without_a_majority_is_applied_when_that_leader_leads_again",
    "a_write_under_way_when_the_leader_dies_is_unknown_and_renewals_come_back_under_the_next",
    "a_watch_tells_records_and_facts_in_their_order_no_leases_and_breaks_with_its_member",
    "a_restored_store_holds_the_old_record_and_a_write_from_the_newer_one_conflicts",
];

const AT_WITNESS: &[&str] = &[
    "of_two_writers_of_one_record_one_wins_and_the_loser_conflicts_until_it_has_read",
    "a_take_conflicts_when_the_lease_moved_and_is_applied_when_it_stands_still",
    "a_name_is_the_first_clusters_and_another_one_with_the_same_name_is_told_so",
    "while_the_witness_stands_still_nothing_is_known_and_then_everything_goes_on",
    "a_watch_tells_records_and_facts_in_their_order_and_no_leases",
];

const POSTGRES: &[&str] = &[
    "a_killed_primary_recovers_everything_that_was_committed",
    "a_fast_stop_sends_everything_and_the_old_primary_follows_the_new_one_without_a_rewind",
    "a_primary_past_the_fork_never_streams_and_a_rewind_makes_it_the_others_copy",
    "a_killed_standby_catches_up_and_without_its_primary_it_keeps_what_it_had_received",
    "a_promotion_replays_everything_that_was_received_although_replay_was_paused",
    "paused_replay_goes_on_where_it_was",
    "a_primary_that_stands_still_loses_its_receiver_and_has_it_back_when_it_goes_on",
    "a_new_primary_that_is_killed_before_its_first_checkpoint_is_on_its_timeline_all_the_same",
];

#[test]
fn every_script_is_there_and_written_down() {
    check("api_server", API_SERVER);
    check("dns", DNS);
    check("etcd", ETCD);
    check("at_witness", AT_WITNESS);
    check("postgres", POSTGRES);
}
