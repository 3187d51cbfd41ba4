//! Moves: at most once, never from the past, never behind a person's back.

use bascule_core::moves::{Move, MoveEnd, MoveHash, Order, Verdict};
use bascule_core::plan::Answer;
use bascule_core::record::{HoldUntil, Phase, Record};
use rstest::rstest;

use crate::expect::{again_in, answer, gate, goes_to, next, stays};
use crate::world::given::{Given, Lease};
use crate::world::policy::{failover, hold, mv, source_stopped, switchover};
use crate::world::record::{doing, in_phase, never_fences, steady, wall};
use crate::world::reports::{dead, orphan};
use crate::world::{item, site};

fn paris() -> Given {
    Given::at("paris").record(steady())
}

/// Lyon with paris silent since just now: reads are not served yet.
fn lost(record: Record) -> Given {
    let orphan = orphan(record.serial);
    Given::at("lyon").record(record).report(orphan).contact(0, 5_200).silent("paris", 5_000)
}

fn verdict(name: &str) -> Verdict {
    Verdict {
        hash: MoveHash(name.to_owned()),
        name: name.try_into().unwrap(),
        end: MoveEnd::Done,
        message: String::new(),
        epoch: 1,
        at: wall(),
        not_after: None,
    }
}

#[rstest]
#[case::an_old_epoch(Move { epoch: Some(0), ..switchover("m", "lyon") }, MoveEnd::Stale)]
#[case::an_epoch_to_come(Move { epoch: Some(2), ..switchover("m", "lyon") }, MoveEnd::Refused)]
#[case::too_late(Move { not_after: Some("2026-11-28T03:01:59Z".parse().unwrap()), ..switchover("m", "lyon") }, MoveEnd::Stale)]
#[case::from_a_false_fact(Move { from: Some(site("lyon")), ..switchover("m", "lyon") }, MoveEnd::Refused)]
#[case::to_a_stranger(switchover("m", "berlin"), MoveEnd::Refused)]
#[case::to_the_active_site(switchover("m", "paris"), MoveEnd::Refused)]
#[case::an_old_serial(Move { serial: Some(9), ..switchover("m", "lyon") }, MoveEnd::Stale)]
#[case::a_failover_from_a_living_site(failover("m", "lyon"), MoveEnd::Refused)]
#[case::an_abort_of_nothing(mv("m", Order::Abort), MoveEnd::Refused)]
#[case::a_hold_without_an_end(mv("m", Order::Hold), MoveEnd::Refused)]
fn a_move_that_cannot_be_acted_on_gets_its_verdict_and_changes_nothing_else(
    #[case] mv: Move,
    #[case] end: MoveEnd,
) {
    let plan = paris().moved(mv).plan();
    let record = next(&plan);
    assert_eq!(record.moves[0].end, end, "{}", record.moves[0].message);
    assert_eq!((record.phase.clone(), record.epoch, record.serial), (Phase::Steady, 1, 11));
    assert_eq!((record.target.clone(), record.doing.clone()), (None, None));
}

#[rstest]
#[case::switchover(switchover("m", "lyon"))]
#[case::failover(failover("m", "lyon"))]
#[case::hold(hold("m", "2026-11-29T00:00:00Z".parse().unwrap()))]
#[case::resume(mv("m", Order::Resume))]
fn a_move_with_a_verdict_never_starts_anything_again(#[case] mv: Move) {
    let mut record = steady();
    record.moves.push(verdict("m"));
    stays(&Given::at("paris").record(record.clone()).moved(mv.clone()).plan());
    stays(&lost(record).moved(mv).plan());
}

#[test]
fn a_move_waits_for_its_time() {
    let early = Move { not_before: Some("2026-11-28T04:00:00Z".parse().unwrap()), ..switchover("m", "lyon") };
    let plan = paris().moved(early).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "move/m"), Answer::NotYet);
    assert!(plan.look_again.is_some());
}

#[test]
fn of_two_moves_at_once_one_starts_and_the_other_waits_for_its_turn() {
    let plan = paris().moved(switchover("b", "lyon")).moved(switchover("a", "lyon")).plan();
    assert_eq!(next(&plan).doing.as_ref().unwrap().name.as_str(), "a");
    assert!(next(&plan).verdict(&MoveHash("b".to_owned())).is_none());
}

#[test]
fn a_site_that_does_not_grant_gives_no_verdicts() {
    let given = Given::at("paris").record(steady()).lease(Lease::Lapsed);
    stays(&given.moved(Move { epoch: Some(0), ..switchover("m", "lyon") }).plan());
}

#[test]
fn no_switchover_starts_while_the_database_is_being_locked() {
    let plan = paris().report(dead(10)).moved(switchover("m", "lyon")).plan();
    assert!(plan.lock);
    stays(&plan);
}

#[test]
fn a_failover_is_carried_out_by_its_target_once_the_source_is_proved_silent() {
    let plan = lost(steady()).moved(failover("m", "lyon")).plan();
    let record = next(&plan);
    assert_eq!((record.phase.clone(), record.epoch), (Phase::Promoting, 2));
    assert_eq!(record.doing.as_ref().unwrap().name.as_str(), "m");
}

#[test]
fn a_failover_is_not_refused_because_this_operator_has_only_just_begun_to_look() {
    let mut given = lost(steady()).moved(failover("m", "lyon"));
    given.observed = 500;
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "move/m"), Answer::Unknown);
}

#[test]
fn a_failover_to_another_site_says_who_carries_it_out() {
    let mut given = lost(steady()).policy(|p| p.sites.push(site("milan")));
    given.moves.push(failover("m", "milan"));
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "move/m"), Answer::NotYet);
}

#[test]
fn a_failover_to_the_silent_site_itself_is_refused() {
    let plan = lost(steady()).moved(failover("m", "paris")).plan();
    assert_eq!(next(&plan).moves[0].end, MoveEnd::Refused);
    let plan = lost(in_phase(Phase::ReadOnly)).moved(failover("m", "paris")).plan();
    assert_eq!(next(&plan).moves[0].end, MoveEnd::Refused);
}

#[test]
fn source_stopped_takes_the_role_of_a_site_that_promised_nothing() {
    let plan = lost(never_fences(steady())).moved(source_stopped("m", "lyon", 10)).plan();
    assert_eq!(goes_to(&plan), Some(Phase::Promoting));
}

#[rstest]
#[case::another_serial(source_stopped("m", "lyon", 9), MoveEnd::Stale)]
#[case::no_serial(Move { serial: None, ..source_stopped("m", "lyon", 10) }, MoveEnd::Refused)]
fn source_stopped_names_the_serial(#[case] mv: Move, #[case] end: MoveEnd) {
    let plan = lost(never_fences(steady())).moved(mv).plan();
    assert_eq!(next(&plan).moves[0].end, end);
    assert_eq!(next(&plan).epoch, 1);
}

#[test]
fn a_persons_statement_comes_before_reads_are_served_by_themselves() {
    let given = lost(never_fences(steady())).silent("paris", 60_000);
    let plan = given.moved(source_stopped("m", "lyon", 10)).plan();
    assert_eq!(goes_to(&plan), Some(Phase::Promoting), "the change would have made the statement stale");
}

#[test]
fn without_accept_data_loss_the_loss_gate_holds_for_a_failover_too() {
    let given = lost(steady()).contact(1 << 30, 5_200);
    let plan = given.clone().moved(failover("m", "lyon")).plan();
    assert_eq!(next(&plan).moves[0].end, MoveEnd::Refused);
    let accepted =
        mv("m", Order::Failover { to: site("lyon"), source_stopped: None, accept_data_loss: true });
    assert_eq!(goes_to(&given.moved(accepted).plan()), Some(Phase::Promoting));
}

#[test]
fn a_failover_that_ends_a_switchover_leaves_no_move_without_a_verdict() {
    let mut record = in_phase(Phase::Requested);
    record.doing = Some(doing("kernel"));
    let plan = lost(record).moved(failover("m", "lyon")).plan();
    let verdict = next(&plan).verdict(&MoveHash("kernel".to_owned())).unwrap();
    assert_eq!(verdict.end, MoveEnd::BecameFailover);
    assert_eq!(next(&plan).doing.as_ref().unwrap().name.as_str(), "m");
}

#[test]
fn a_hold_and_a_resume_are_written_by_the_active_site_or_in_its_silence() {
    let until = "2026-11-28T05:00:00Z".parse().unwrap();
    assert_eq!(next(&paris().moved(hold("m", until)).plan()).hold.as_ref().unwrap().until, until);
    stays(&Given::at("lyon").record(steady()).moved(hold("m", until)).plan());
    let plan = lost(steady()).moved(hold("m", until)).plan();
    assert!(next(&plan).hold.is_some());

    let mut held = steady();
    held.hold = Some(HoldUntil { until, reason: "x".to_owned(), hash: MoveHash("h".to_owned()) });
    let plan = Given::at("paris").record(held).moved(mv("m", Order::Resume)).plan();
    assert_eq!(next(&plan).hold, None);
}

#[test]
fn sizes_that_are_not_known_now_do_not_erase_those_that_were() {
    let mut given = paris().moved(switchover("m", "lyon"));
    given.seen.workloads.clear();
    assert_eq!(next(&given.plan()).sizes[&item("web")], 3);
}

#[test]
fn after_the_point_of_no_return_an_abort_waits_for_the_end_and_is_refused_then() {
    let mut abort = mv("m", Order::Abort);
    abort.epoch = Some(2);
    let promoting = in_phase(Phase::Promoting);
    let given = Given::at("lyon").record(promoting.clone()).report(orphan(10)).moved(abort.clone());
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "move/m"), Answer::NotYet);
    let settled = Record { phase: Phase::Steady, settled: true, transition: None, ..promoting };
    let plan = Given::at("lyon").record(settled).moved(abort).plan();
    assert_eq!(next(&plan).moves[0].end, MoveEnd::Refused);
}

#[test]
fn a_hold_that_a_lost_site_had_no_time_to_record_is_recorded_before_its_role_is_taken() {
    let until = wall() + std::time::Duration::from_hours(1);
    let at_once = |record: Record| {
        lost(record).silent("paris", 60_000).contact(0, 60_200).policy(|p| {
            p.failover.promote_after = bascule_core::policy::After::Elapsed(std::time::Duration::ZERO);
        })
    };
    let taken = at_once(steady()).plan();
    assert_eq!(next(&taken).active, site("lyon"), "without a Hold the role is taken");
    let plan = at_once(steady()).moved(hold("h", until)).plan();
    let record = next(&plan);
    assert_eq!((record.active.clone(), record.phase.clone()), (site("paris"), Phase::Steady));
    assert!(record.hold.is_some());
    let held = at_once(record.clone()).moved(hold("h", until)).plan();
    assert!(held.transition.is_none_or(|c| c.next.active == site("paris")), "and then it is held");
}

/// Milan as a third site.
fn at_milan(record: Record) -> Given {
    Given::at("milan")
        .policy(|p| *p = crate::world::policy::policy_in(&["paris", "lyon", "milan"]))
        .record(record)
}

#[rstest]
#[case::an_abort_of_nothing(mv("m", Order::Abort))]
#[case::a_failover_to_the_active_site(failover("m", "paris"))]
#[case::a_failover_to_another(failover("m", "lyon"))]
#[case::a_hold(hold("m", "2026-11-29T00:00:00Z".parse().unwrap()))]
fn a_move_that_is_not_urgent_waits_for_a_dead_database_to_be_locked(#[case] mv: Move) {
    let plan = paris().report(dead(10)).moved(mv).plan();
    assert!(plan.lock);
    stays(&plan);
}

#[test]
fn the_verdict_on_a_failover_is_its_own_target_s_also_while_the_active_site_lives() {
    let stale = || Move { epoch: Some(0), ..failover("m", "lyon") };
    let plan = Given::at("lyon").record(steady()).moved(stale()).plan();
    assert_eq!(next(&plan).moves[0].end, MoveEnd::Stale);
    stays(&at_milan(steady()).moved(stale()).plan());
}

#[test]
fn the_verdict_on_a_switchover_is_the_active_site_s_and_its_target_s_in_its_silence() {
    let stale = || Move { epoch: Some(0), ..switchover("m", "lyon") };
    stays(&Given::at("lyon").record(steady()).moved(stale()).plan());
    assert_eq!(next(&lost(steady()).moved(stale()).plan()).moves[0].end, MoveEnd::Stale);
    stays(&at_milan(steady()).report(orphan(10)).silent("paris", 5_000).moved(stale()).plan());
}

#[test]
fn a_move_s_own_times_include_their_moments() {
    let ends =
        |not_after| paris().moved(Move { not_after: Some(not_after), ..switchover("m", "lyon") }).plan();
    assert_eq!(goes_to(&ends(wall())), Some(Phase::Requested));
    let begins =
        |not_before| paris().moved(Move { not_before: Some(not_before), ..switchover("m", "lyon") }).plan();
    assert_eq!(goes_to(&begins(wall())), Some(Phase::Requested));
    let later = begins(wall() + std::time::Duration::from_secs(90));
    stays(&later);
    assert_eq!(again_in(&later), Some(90_000));
}

#[test]
fn an_abort_is_the_active_site_s_to_decide() {
    let plan = Given::at("lyon").record(in_phase(Phase::Requested)).moved(mv("stop", Order::Abort)).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "move/stop"), Answer::NotYet);
    assert_eq!(gate(&plan, "move/stop").found, "the active site decides it");
}

#[test]
fn a_switchover_waits_for_a_target_that_is_silent() {
    let plan = paris().silent("lyon", 60_000).moved(switchover("m", "lyon")).plan();
    stays(&plan);
    assert_eq!(gate(&plan, "move/m").found, "lyon is silent");
}

#[test]
fn a_failover_from_a_site_that_lives_says_what_to_do_instead() {
    let plan = paris().moved(failover("m", "lyon")).plan();
    let said = &next(&plan).moves[0].message;
    assert!(
        said.starts_with("paris is active and its lease lives") && said.contains("use Switchover"),
        "{said}"
    );
}

#[test]
fn a_failover_before_the_lease_of_a_dead_site_is_over_says_when_to_ask_again() {
    let plan = Given::at("lyon").record(steady()).silent("paris", 1_000).moved(failover("m", "lyon")).plan();
    let verdict = &next(&plan).moves[0];
    assert_eq!(verdict.end, MoveEnd::Refused);
    let said = &verdict.message;
    assert!(said.contains("its lease lives: it was last seen to change "), "{said}");
    assert!(said.contains(" ago and counts as alive for "), "{said}");
    assert!(said.contains("if paris is dead, make a new Move with another name after that"), "{said}");
}

#[test]
fn a_switchover_knows_how_large_the_active_site_runs_its_workloads_and_not_how_large_another_does() {
    let requested = |me| {
        let mut record = steady();
        record.sizes.clear();
        let mut given = Given::at(me).record(record).moved(switchover("m", "lyon"));
        given.seen.sites.clear();
        next(&given.plan()).sizes.get(&item("web")).copied()
    };
    assert_eq!((requested("paris"), requested("lyon")), (Some(3), None));
}

#[test]
fn a_failover_that_is_refused_says_by_which_gate_and_one_that_waits_is_not_refused() {
    let plan = lost(steady()).contact(1 << 30, 5_200).moved(failover("m", "lyon")).plan();
    let said = &next(&plan).moves[0].message;
    assert!(said.starts_with("loss: 1 GiB and what was written in "), "{said}");
    stays(&lost(steady()).report(crate::world::reports::waiting(true)).moved(failover("m", "lyon")).plan());
}

#[test]
fn a_move_is_ruled_on_once_and_not_at_all_beside_another_change() {
    let about = |plan: &bascule_core::plan::Plan| plan.gates.iter().filter(|g| g.name == "move/m").count();
    let until = wall() + std::time::Duration::from_hours(1);
    assert_eq!(about(&Given::at("lyon").record(steady()).moved(hold("m", until)).plan()), 1);
    let mut record = steady();
    record.promise.profile = "wan".to_owned();
    let later = Move { not_before: Some(until), ..switchover("m", "lyon") };
    let plan = Given::at("paris").record(record).for_ms(60_000).moved(later).plan();
    assert_eq!(next(&plan).promise.profile, "metro");
    assert_eq!(about(&plan), 0);
}

#[test]
fn a_verdict_takes_the_place_of_no_other_and_old_ones_go_when_there_are_many() {
    let names = |record: &Record| record.moves.iter().map(|v| v.name.to_string()).collect::<Vec<_>>();
    let mut record = in_phase(Phase::Requested);
    record.moves = vec![verdict("before")];
    let plan = Given::at("paris").record(record).for_ms(120_000).plan();
    assert_eq!(names(next(&plan)), ["kernel", "before"]);

    let old = |n: usize| Verdict { epoch: 0, ..verdict(&format!("old{n}")) };
    let mut record = Record { moves: (0..40).map(old).collect(), ..steady() };
    let late = wall() + std::time::Duration::from_secs(1);
    record.moves.push(verdict("of-this-epoch"));
    record.moves.push(Verdict { epoch: 0, not_after: Some(late), ..verdict("not-over") });
    record.moves.push(Verdict { epoch: 0, not_after: Some(wall()), ..verdict("over") });
    let plan = Given::at("paris").record(record).moved(mv("m", Order::Abort)).plan();
    let kept = names(next(&plan));
    assert_eq!(kept.len(), 32 + 2);
    assert_eq!((kept[0].as_str(), kept[31].as_str()), ("m", "old30"));
    assert_eq!(kept[32..], ["of-this-epoch", "not-over"]);
}

#[test]
fn who_entered_a_phase_and_when_is_written_when_it_is_entered() {
    let before = Record {
        entered: bascule_core::record::Entered { at: jiff::Timestamp::UNIX_EPOCH, by: site("milan") },
        ..steady()
    };
    let given = || Given::at("paris").record(before.clone());
    let kept = next(&given().moved(mv("m", Order::Abort)).plan()).entered.clone();
    assert_eq!(kept, before.entered);
    let entered = next(&given().moved(switchover("m", "lyon")).plan()).entered.clone();
    assert_eq!((entered.at, entered.by), (wall(), site("paris")));
}
