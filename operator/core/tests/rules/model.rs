//! The rows of the protocol's model: what breaks when a rule is left out. Each rule of the operator has its test here,
//! named by its sentence, and shown through the decision that depends on it. The rows that belong to the guard have
//! their tests beside its rules (`guard::rules`, `guard::fallback`, `guard::grant`).

use std::time::Duration;

use bascule_core::ballot::claim::{Claim, NoGrant};
use bascule_core::ballot::holder::Holder;
use bascule_core::ballot::silence::Observer;
use bascule_core::few::Few;
use bascule_core::moves::MoveEnd;
use bascule_core::observation::FlagValue;
use bascule_core::plan::DatabaseRole;
use bascule_core::policy::After;
use bascule_core::record::{Phase, PreviousHold, Record};
use bascule_core::time::Boottime;
use bascule_core::timing::{Profile, Timing};
use rstest::rstest;

use crate::expect::{gate, goes_to, next, role, stays};
use crate::world::given::{Given, Lease, View};
use crate::world::policy::{mv, source_stopped};
use crate::world::record::{in_phase, never_fences, steady};
use crate::world::reports::{dead, locked, orphan, primary};
use crate::world::site;

fn ms(t: u64) -> Boottime {
    Boottime::from_millis(t)
}

fn timing() -> Timing {
    Profile::Metro.timing()
}

/// Lyon, which promotes at once, for which paris has been silent for so long.
fn lost(silent: u64) -> Given {
    let given = Given::at("lyon").record(steady()).report(orphan(10)).contact(0, silent + 100);
    given.silent("paris", silent).policy(|p| {
        p.failover.promote_after = After::Elapsed(Duration::ZERO);
        p.failover.serve_reads_after = After::Elapsed(timing().l());
    })
}

/// An observer with a read of paris' lease every 250 ms, each taking `took`, and what it proves.
fn proof(reads: impl IntoIterator<Item = (u64, Option<i64>)>, took: u64, record_received: u64) -> bool {
    let mut o = Observer::new(timing().tq());
    for (sent, found) in reads {
        match found {
            Some(rev) => o.read(ms(sent), ms(sent + took), &[(site("paris"), rev)].into()),
            None => o.failed(),
        }
    }
    o.proves_silence(&site("paris"), timing().l(), ms(record_received)).is_some()
}

fn every(from: u64, to: u64) -> impl Iterator<Item = (u64, Option<i64>)> {
    (from..=to).step_by(250).map(|t| (t, Some(7)))
}

#[test]
fn the_record_is_read_before_the_silence_window_ends_and_the_last_read_is_sent_after_its_reply() {
    assert!(proof(every(0, 2_250), 10, 2_250));
    assert!(!proof(every(0, 2_250), 10, 2_251), "the holder may have come back and re-claimed between");
    assert_eq!(goes_to(&lost(60_000).plan()), Some(Phase::Promoting));
    stays(&lost(60_000).view(View::Outdated).plan());
}

#[test]
fn after_a_gap_the_role_is_re_claimed_before_anything_is_granted() {
    let given = Given::at("paris").record(steady()).lease(Lease::Regained);
    assert!(given.look(|s| !s.grants()));
    let plan = given.plan();
    assert_eq!((next(&plan).phase.clone(), next(&plan).serial), (Phase::Steady, 11));
}

#[test]
fn a_re_claim_counts_only_if_it_was_sent_after_the_renewal_that_ended_the_gap() {
    let mut h = Holder::new(timing().r());
    let mut c = Claim::default();
    h.renewed(ms(0), ms(5));
    c.read(&h, &site("paris"), Some((steady(), 1)), ms(6), ms(7));
    // Sent in the old gap; the lease lapses and is regained before the reply comes.
    c.sending(&h, &site("paris"), &steady());
    h.renewed(ms(5_000), ms(5_005));
    c.applied(&h, &site("paris"), steady(), 2, ms(5_010));
    assert!(c.grant(&h, &site("paris"), ms(5_020)).is_err());
    assert!(c.must_reclaim(&h, &site("paris")));
}

#[test]
fn a_gap_is_judged_when_the_reply_is_processed() {
    let mut h = Holder::new(timing().r());
    h.renewed(ms(0), ms(5));
    assert!(h.renewed(ms(1_000), ms(1_251)), "sent in time, looked at too late");
}

#[test]
fn silence_counts_from_the_receipt_of_the_first_read_to_the_sending_of_the_last() {
    assert!(!proof(every(0, 2_000), 10, 0), "10 ms short at the receipt");
    assert!(!proof([(0, Some(7)), (250, Some(7))], 2_000, 0), "the last reply came late, its sending counts");
}

#[test]
fn a_failed_read_is_not_unchanged() {
    let broken = every(0, 1_000).chain([(1_250, None)]).chain(every(1_500, 3_250));
    assert!(!proof(broken, 10, 0));
}

#[test]
fn the_deadline_counts_from_the_sending_of_the_renewal() {
    let mut h = Holder::new(timing().r());
    h.renewed(ms(1_000), ms(1_200));
    assert_eq!(h.remaining(ms(2_200)), Some(Duration::from_millis(50)));
    assert_eq!(h.remaining(ms(2_250)), None);
}

#[test]
fn the_lease_is_not_one_tick_short() {
    assert_eq!(goes_to(&lost(2_500).plan()), Some(Phase::Promoting));
    stays(&lost(2_000).plan());
    let mut longer = lost(2_500);
    longer.record.as_mut().unwrap().promise.lease = bascule_core::time::Millis(30_000);
    stays(&longer.plan());
    for profile in [Profile::Metro, Profile::Region, Profile::Wan, Profile::Conservative] {
        assert_eq!(profile.timing().violations(profile.longest_election()), vec![], "{profile}");
    }
}

#[rstest]
#[case(Phase::Handover)]
#[case(Phase::ReadOnly)]
#[case(Phase::Offered)]
#[case(Phase::Withdrawn)]
fn the_phase_is_looked_at_before_granting(#[case] phase: Phase) {
    let given = Given::at("paris").record(in_phase(phase.clone()));
    let why = given.look(|s| s.claim.grant(s.holder, s.me, s.now).unwrap_err());
    assert_eq!(why, NoGrant::Phase { phase });
    assert_ne!(role(&given.plan()), &DatabaseRole::Serve { open: true });
}

#[test]
fn a_lock_is_confirmed_for_its_serial() {
    let given = Given::at("paris").record(in_phase(Phase::Requested)).locking();
    stays(&given.clone().report(locked(9)).plan());
    assert_eq!(goes_to(&given.report(locked(10)).plan()), Some(Phase::Handover));
}

#[test]
fn a_rollback_is_a_compare_and_swap_and_until_it_is_applied_nothing_is_granted() {
    let given = Given::at("paris").record(in_phase(Phase::Requested)).locking().report(locked(10));
    let aborted = given.clone().moved(mv("m", bascule_core::moves::Order::Abort));
    let plan = aborted.plan();
    assert_eq!(next(&plan).phase, Phase::Steady);
    assert_eq!(role(&plan), &DatabaseRole::Lock, "the order stands until the record says otherwise");
    assert!(aborted.look(|s| !s.grants()));
    // Its own handover is on its way: nobody unlocks meanwhile.
    let writing = given.view(View::Writing);
    assert!(writing.look(|s| !s.grants()));
    stays(&writing.plan());
    assert_eq!(role(&writing.plan()), &DatabaseRole::Lock);
}

#[test]
fn a_role_is_offered_only_after_the_lock() {
    stays(&Given::at("paris").record(steady()).report(dead(10)).plan());
    stays(&Given::at("paris").record(steady()).report(primary(10)).locking().plan());
    let plan =
        Given::at("paris").record(steady()).report(dead(10)).locking().flag(FlagValue::ReadOnly).plan();
    assert_eq!(next(&plan).phase, Phase::Offered);
}

#[test]
fn source_stopped_names_the_serial() {
    let given = Given::at("lyon").record(never_fences(steady())).report(orphan(10)).silent("paris", 5_000);
    let plan = given.clone().moved(source_stopped("m", "lyon", 9)).plan();
    assert_eq!(next(&plan).moves[0].end, MoveEnd::Stale);
    assert_eq!(goes_to(&given.moved(source_stopped("m", "lyon", 10)).plan()), Some(Phase::Promoting));
}

#[test]
fn a_take_is_allowed_from_requested_too_or_it_would_be_stuck_for_ever() {
    let mut given = lost(60_000);
    given.record = Some(in_phase(Phase::Requested));
    assert_eq!(goes_to(&given.plan()), Some(Phase::Promoting));
}

#[test]
fn a_withdrawn_record_is_re_claimed_like_any_other() {
    let mut given = Given::at("paris").record(in_phase(Phase::Withdrawn));
    assert_eq!(goes_to(&given.plan()), Some(Phase::Steady));
    given.record.as_mut().unwrap().settled = false;
    assert_eq!(goes_to(&given.plan()), Some(Phase::Promoting), "a hold that has not reached Steady goes on");
}

#[rstest]
#[case::opened_in_this_hold(2, true, false)]
#[case::the_hold_before_never_settled(1, false, false)]
#[case::neither(1, true, true)]
fn nothing_was_opened_is_said_only_from_the_marker_and_only_after_a_settled_hold(
    #[case] opened_epoch: u64,
    #[case] settled: bool,
    #[case] said: bool,
) {
    let mut report = locked(10);
    report.opened_epoch = Some(opened_epoch);
    let mut record = in_phase(Phase::Promoting);
    record.previous = Some(PreviousHold { site: site("paris"), settled });
    let plan = Given::at("lyon").record(record).report(report).locking().plan();
    assert_eq!(next(&plan).offer.as_ref().unwrap().never_opened, said);
}

#[test]
fn that_offer_excuses_from_the_loss_gate_only_the_site_whose_hold_came_just_before() {
    let offered = |previous: &str| {
        let mut record = Record { phase: Phase::Offered, ..in_phase(Phase::Promoting) };
        record.previous = Some(PreviousHold { site: site(previous), settled: true });
        record.offer = Some(bascule_core::record::Offer {
            never_opened: true,
            ends: Few::new(),
            reason: "the promotion failed".to_owned(),
        });
        let mut given = Given::at("paris").record(record).report(orphan(10));
        given.seen.databases.get_mut(&crate::world::item("main")).unwrap().last_contact = None;
        given.plan()
    };
    assert_eq!(goes_to(&offered("paris")), Some(Phase::Promoting));
    let plan = offered("milan");
    stays(&plan);
    assert!(!gate(&plan, "loss").passed());
}
