//! The counterexamples of the protocol's model, played by the real rules. Each row of its table "what breaks when a rule
//! is left out" is an interleaving in which a protocol without that rule has two writers, loses a row or stands still for
//! ever. Here the same interleaving is steered, message by message where it must be; each story shows that its dangerous
//! moment did come up, and that nothing broke.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod gap;
mod promotion;
mod role;
mod silence;
mod stage;
mod withdrawal;
mod without;

/// The rows, in the order of the model's table, each with its story.
macro_rules! rows {
    ($($row:literal => $module:ident::$story:ident,)*) => {
        /// The rows that have a story.
        const TOLD: &[&str] = &[$($row),*];
        #[cfg(feature = "mutants")]
        const STORIES: &[fn()] = &[$($module::$story),*];
        $(
            #[test]
            fn $story() {
                $module::$story();
            }
        )*
    };
}

rows! {
    "record read before the silence window ends" => silence::the_record_is_read_only_after_the_holder_came_back,
    "re-claim after a gap" => gap::a_lease_that_is_regained_grants_nothing_before_the_re_claim,
    "a guard granting itself after expiry" => gap::a_guard_whose_time_ran_out_reads_that_its_site_is_active,
    "re-claim sent only after the renewal that ended the gap" => gap::a_re_claim_of_an_older_gap_is_heard_after_the_next,
    "gap judged when the reply is processed" => gap::a_renewal_sent_in_time_is_looked_at_too_late,
    "window from receipt of the first read" => silence::a_look_is_sent_before_the_last_renewal_and_shows_it,
    "window to send of the last read" => silence::a_look_is_heard_of_after_the_renewal_that_ended_the_silence,
    "last read after the record's reply" => silence::the_record_is_read_anew_after_the_last_look_at_the_lease,
    "a failed read is not unchanged" => silence::the_lease_is_renewed_while_the_reads_of_it_fail,
    "deadline from send, not receipt" => gap::every_renewal_is_heard_of_late,
    "L one tick short, also with drift" => silence::the_clocks_drift_apart_as_far_as_they_may,
    "phase looked at before granting" => role::a_guard_asks_between_two_holds,
    "grants and locks carry the serial" => role::an_old_grant_reaches_a_locked_guard,
    "rollback by CAS only" => role::a_handover_is_applied_after_its_site_gave_it_up,
    "no unlocking while an own Handover is in flight" => role::a_handover_is_on_its_way_when_its_site_gives_it_up,
    "Offered only after the lock" => role::a_database_dies_and_its_guard_is_not_heard,
    "opening is a step of its own" => promotion::a_promotion_outlasts_the_grant_it_began_with,
    "sourceStopped names the serial" => role::a_person_saw_it_stopped_before_it_went_on,
    "guard alone frozen while its server runs" => gap::a_guard_stands_still_alone,
    "a take allowed from Requested too" => role::a_site_is_lost_in_the_middle_of_a_request,
    "fallback reads the record at all" => withdrawal::a_guard_that_nobody_hears_reads_that_its_grant_was_withdrawn,
    "fallback's deadline from the send of its record read" => withdrawal::the_lease_is_renewed_long_after_the_record_was_read,
    "R+F+G after withdrawing counted from the CAS's reply" => withdrawal::a_withdrawal_is_applied_long_after_it_was_sent,
    "that wait one tick short" => withdrawal::the_last_extension_comes_just_before_the_withdrawal,
    "nothing was opened, kept over the guard's restart" => promotion::a_guard_restarts_after_it_opened_and_before_it_was_heard,
    "that offer excuses only the site whose hold came just before" => promotion::two_promotions_fail_one_after_the_other,
    "the new holder's guard removes the trigger before it confirms" => promotion::a_promotion_completes_after_it_was_given_up,
}

#[test]
fn every_row_of_the_model_has_its_story() {
    let rows: Vec<&str> = without::ROWS.iter().map(|(row, _)| *row).collect();
    assert_eq!(TOLD, rows);
}

#[cfg(feature = "mutants")]
#[test]
fn a_story_fails_without_its_rule() {
    let mut wrong = Vec::new();
    for ((row, without), story) in without::ROWS.iter().zip(STORIES) {
        let without::Without::Fails { rule, held_too, because } = without else { continue };
        wrong.extend(without::fails(*story, rule, held_too, because).map(|why| format!("{row}: {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
