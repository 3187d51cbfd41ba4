//! What people read.

use std::time::Duration;

use bascule_core::facts::SiteFacts;
use bascule_core::guard::wire::{Behind, Disk};
use bascule_core::loss::LossBound;
use bascule_core::moves::MoveHash;
use bascule_core::observation::{Fact, FlagValue, PodsAsked, ReplicasSeen};
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::{After, FenceClass, Policy};
use bascule_core::position::Lsn;
use bascule_core::project::{Lag, Report, SiteRole, project, size};
use bascule_core::record::{Cause, HoldUntil, MeasuredLoss, Phase, PhaseTime, Record};
use bascule_core::time::Millis;
use rstest::rstest;

use crate::world::given::{Given, Lease, Seen};
use crate::world::record::{finished, in_phase, never_fences, steady, wall};
use crate::world::reports::{dead, orphan, primary, replica, waiting};
use crate::world::{item, site};

fn told(given: &Given) -> Report {
    given.look(|s| project(s, &bascule_core::decide::decide(s)))
}

/// Lyon serves reads since now.
fn reads() -> Given {
    let mut record = in_phase(Phase::ReadOnly);
    record.entered.at = wall();
    let given = Given::at("lyon").record(record).report(orphan(10)).contact(0, 2_200);
    pods_ready(given.silent("paris", 3_000), 2)
}

fn pods_ready(mut given: Given, ready: u32) -> Given {
    given.seen.workloads.get_mut(&item("web")).unwrap().replicas =
        Fact::now(ReplicasSeen { wanted: 2, ready });
    given
}

fn hold(mut given: Given) -> Given {
    given.record.as_mut().unwrap().hold = Some(HoldUntil {
        until: "2026-11-29T05:00:00Z".parse().unwrap(),
        reason: "wait for Ada".to_owned(),
        hash: MoveHash("h".to_owned()),
    });
    given
}

#[rstest]
#[case::quiet(Given::at("paris").record(steady()), "paris writes (epoch 1); lyon follows, 0 B behind.")]
#[case::quiet_from_the_other_side(Given::at("lyon").record(steady()), "paris writes (epoch 1); lyon follows, 0 B behind.")]
#[case::said_a_while_ago_by_a_site_that_lives(
    { let mut g = Given::at("paris").record(steady());
      let mut f = crate::world::given::facts(&site("lyon")); f.lag_bytes.insert(item("main"), 1_258_291); f.marks = None;
      g.seen.sites.insert(site("lyon"), Fact::Known { value: f, age: Duration::from_secs(7) }); g },
    "paris writes (epoch 1); lyon follows, 1.2 MiB behind.")]
#[case::lag_unknown(Given::at("paris").record(steady()).facts("lyon", |f| f.lag_bytes.clear()),
    "paris writes (epoch 1); lyon lives, its lag is not known.")]
#[case::not_connected_whatever_it_said_before(
    not_connected(),
    "paris writes (epoch 1); lyon lives, its lag is not known."
)]
#[case::link_cut(
    link_cut(),
    "paris writes (epoch 1); lyon lives and does not stream (main: it receives nothing from its primary)."
)]
#[case::standby_lost(Given::at("paris").record(steady()).silent("lyon", 60_000),
    "paris writes (epoch 1); lyon has been silent for 59.7 s.")]
#[case::just_started({ let mut g = Given::at("lyon").record(steady()); g.observed = 0; g },
    "paris is active (epoch 1); whether it lives is not known yet.")]
#[case::cut_off(Given::at("paris").record(steady()).lease(Lease::Lapsed),
    "paris is active (epoch 1) and does not write: this site's lease was not renewed in time.")]
#[case::dead(Given::at("paris").record(steady()).report(dead(10)).silent("lyon", 60_000),
    "The database in paris does not serve: main died: killed by signal 9. Not offered to another site: taker: lyon is not known to live (needed: a site that can take).")]
#[case::silent_source(Given::at("lyon").record(steady()).report(orphan(10)).silent("paris", 5_000),
    "paris is silent, last heard 03:01:55. Waits for serveReads: silent for 4.7 s (needed: 10 s).")]
#[case::reads_served(
    reads(),
    "Reads served from lyon since 03:02. Promotes 03:32 unless held. At most 2.1 MiB and what was written in 3.4 s at risk, last heard 03:01:57."
)]
#[case::reads_cannot_be_served_yet(
    pods_ready(reads(), 0),
    "Reads served from lyon since 03:02. Traffic waits for workload/web/serving: 0 of 2 ready (needed: a ready replica before users are sent here, or 2 m). Promotes 03:32 unless held. At most 2.1 MiB and what was written in 3.4 s at risk, last heard 03:01:57."
)]
#[case::reads_for_ever(reads().policy(|p| p.failover.promote_after = After::Never),
    "Reads served from lyon since 03:02. Promotes only by a Move of type Failover. At most 2.1 MiB and what was written in 3.4 s at risk, last heard 03:01:57.")]
#[case::held(
    hold(reads()),
    "Reads served from lyon since 03:02. Held until 2026-11-29 05:00 (wait for Ada). At most 2.1 MiB and what was written in 3.4 s at risk, last heard 03:01:57."
)]
#[case::no_promise({ let mut g = reads(); g.record = Some(never_fences(g.record.unwrap())); g },
    "Reads served from lyon since 03:02. Promotes only by a Move with sourceStopped, for paris promised nothing. At most 2.1 MiB and what was written in 3.4 s at risk, last heard 03:01:57.")]
#[case::too_much_loss({ let mut g = reads();
    g.record.as_mut().unwrap().transition.as_mut().unwrap().loss_bound = Some(LossBound { bytes: Some(1 << 30), unseen: Some(Millis(3_400)) }); g },
    "Reads served from lyon since 03:02. Not promoted: loss: 1 GiB and what was written in 3.4 s (needed: at most 16 MiB and what was written in 30 s). At most 1 GiB and what was written in 3.4 s at risk, last heard 03:01:57.")]
#[case::loss_unknown({ let mut g = reads(); g.record.as_mut().unwrap().transition.as_mut().unwrap().loss_bound = Some(LossBound::UNKNOWN);
    g.seen.databases.get_mut(&item("main")).unwrap().last_contact = None; g },
    "Reads served from lyon since 03:02. Not promoted: loss: an unknown number of bytes and what was written in an unknown time (needed: at most 16 MiB and what was written in 30 s). What is at risk is not known. Last heard 03:01:57.")]
#[case::returning(Given::at("paris").record(in_phase(Phase::Returning)).report(waiting(false)),
    "paris came back. Reads served from lyon until paris was open and stable for 60 s. Waits for open: main is down (needed: every database is open again).")]
#[case::promoting(Given::at("lyon").record(in_phase(Phase::Promoting)).report(replica(10)),
    "lyon takes over from paris (epoch 2). At most 2.1 MiB and what was written in 3.4 s at risk. Waits for open: main is a replica, open for reads (needed: every database is an open primary).")]
#[case::requested(Given::at("paris").record(in_phase(Phase::Requested)),
    "Switchover from paris to lyon (Move kernel) is being prepared. Waits for targetReady: lyon gets ready (needed: lyon is ready for serial 10).")]
#[case::unmanaged(Given::at("lyon").record(in_phase(Phase::Unmanaged)), "Not managed: paris keeps its role and nobody acts.")]
#[case::suspended(Given::at("lyon").record(steady()).suspended(), "the policy is suspended; paris keeps its role.")]
#[case::newer(Given::at("lyon").record(in_phase(Phase::Unknown("Levitating".to_owned()))),
    "Nothing is done: schema: the record has schema 1 and phase Levitating (needed: schema 1 or lower and a known phase; upgrade this site's operator).")]
#[case::no_record(
    Given::at("lyon"),
    "No site has a role yet: initialSite: paris is the initial site and has not created the record yet (needed: a record)."
)]
fn the_sentence_says_what_is_and_who_is_waited_for(#[case] given: Given, #[case] expected: &str) {
    assert_eq!(told(&given).sentence, expected);
}

/// Paris and lyon see the arbiter and not each other.
fn link_cut() -> Given {
    Given::at("paris").record(steady()).facts("lyon", |f| {
        f.lag_bytes.clear();
        f.not_streaming.insert(item("main"), "it receives nothing from its primary".to_owned());
    })
}

/// Lyon says that it streams, and is not connected to paris' database.
fn not_connected() -> Given {
    let mut report = primary(10);
    report.replicas.remove("bascule_lyon");
    Given::at("paris").record(steady()).report(report)
}

fn lag(bytes: u64) -> Given {
    let mut report = primary(10);
    report.replicas.insert("bascule_lyon".to_owned(), Behind { bytes, time: None });
    Given::at("paris").record(steady()).report(report).facts("lyon", |f| {
        f.lag_bytes.insert(item("main"), bytes);
    })
}

/// Lyon has everything and has so many bytes still to replay.
fn replays(bytes: u64) -> Given {
    let mut report = replica(10);
    let positions = report.positions.as_mut().unwrap();
    positions.replay = positions.receive.map(|at| Lsn(at.0 - bytes));
    Given::at("lyon").record(steady()).report(report)
}

/// `maxDataLoss.time` in milliseconds; a lost site has stopped after 1.55 s.
fn bound(ms: u64) -> Given {
    let seconds = Duration::from_millis(ms);
    Given::at("paris").record(steady()).policy(|p| p.failover.max_data_loss.seconds = seconds)
}

/// Lyon serves reads and would lose more than the policy allows.
fn reads_behind() -> Given {
    let mut given = reads();
    given.record.as_mut().unwrap().transition.as_mut().unwrap().loss_bound =
        Some(LossBound { bytes: Some(1 << 30), unseen: Some(Millis(3_400)) });
    given
}

/// Lyon serves reads, and nobody knows what it would lose.
fn reads_unjudged() -> Given {
    let mut given = reads();
    given.record.as_mut().unwrap().transition.as_mut().unwrap().loss_bound = Some(LossBound::UNKNOWN);
    given.seen.databases.get_mut(&item("main")).unwrap().last_contact = None;
    given
}

fn not_looked(me: &str) -> Given {
    let mut given = Given::at(me).record(steady());
    given.observed = 0;
    given
}

fn never(policy: &mut Policy) {
    policy.failover.promote_after = After::Never;
}

/// Paris writes; lyon and milan say what they say.
fn third(given: Given, lyon: fn(&mut SiteFacts), milan: fn(&mut SiteFacts)) -> Given {
    let given = given.policy(|p| *p = crate::world::policy::policy_in(&["paris", "lyon", "milan"]));
    given.record(steady()).facts("lyon", lyon).facts("milan", milan)
}

fn cut(facts: &mut SiteFacts) {
    facts.lag_bytes.clear();
    facts.not_streaming.insert(item("main"), "it receives nothing from its primary".to_owned());
}

fn unheard(facts: &mut SiteFacts) {
    facts.lag_bytes.clear();
}

fn blocked(facts: &mut SiteFacts) {
    facts.blockers.push(Gate::new("x", Answer::No, "a", "b"));
}

fn starts_as_a_standby(facts: &mut SiteFacts) {
    for disk in facts.disks.values_mut() {
        let Disk::Cluster(cluster) = disk else { panic!("a cluster lies there") };
        cluster.standby_signal = true;
    }
}

/// A database whose node dies is offered while it may still be taken.
fn in_time(policy: &mut Policy) {
    policy.failover.restart_grace = Duration::from_secs(28);
    policy.failover.max_data_loss.seconds = Duration::from_secs(30);
}

/// One millisecond later.
fn too_late(policy: &mut Policy) {
    in_time(policy);
    policy.failover.restart_grace += Duration::from_millis(1);
}

/// A finding that stands in nobody's way.
fn advised() -> Given {
    let mut given = Given::at("lyon").record(steady()).policy(in_time);
    let found = Gate::new("database/main/WalSenderTimeout", Answer::Yes, "wal_sender_timeout: 60 s", "4 s");
    given.seen.databases.get_mut(&item("main")).unwrap().preflight = Fact::now(vec![found]);
    given
}

fn condition(r: &Report, kind: &str) -> (Option<bool>, String) {
    let c = r
        .conditions
        .iter()
        .find(|c| c.kind == kind)
        .unwrap_or_else(|| panic!("no {kind}: {:?}", r.conditions));
    (c.status, c.reason.to_string())
}

/// Started anew, with a policy that cannot be read.
fn knows_no_site() -> Given {
    let mut given = Given::at("paris").record(steady());
    given.policy = crate::world::given::Seen::NotListed;
    given.seen.sites.clear();
    given
}

#[rstest]
#[case::ready(Given::at("paris").record(steady()), "Ready", Some(true), "Steady")]
#[case::cut_off(Given::at("paris").record(steady()).lease(Lease::Lapsed), "Ready", Some(false), "ActiveSiteSilent")]
#[case::not_looked({ let mut g = Given::at("lyon").record(steady()); g.observed = 0; g }, "Ready", None, "ActiveSiteUnknown")]
#[case::dead(Given::at("paris").record(steady()).report(dead(10)), "Ready", Some(false), "DatabaseDown")]
#[case::unheard(Given::at("paris").record(steady()).guard_unknown(), "Ready", None, "DatabaseUnknown")]
#[case::reads(reads(), "Ready", Some(false), "ReadOnly")]
#[case::reads_end_by_themselves(reads(), "Reconciling", Some(true), "ReadOnly")]
#[case::reads_need_a_person(hold(reads()), "Stalled", Some(true), "ReadOnly")]
#[case::newer(Given::at("lyon").record(in_phase(Phase::Unknown("X".to_owned()))), "Stalled", Some(true), "NewerRecord")]
#[case::no_record(Given::at("lyon"), "Reconciling", Some(true), "NoRecord")]
#[case::failover(Given::at("paris").record(steady()), "FailoverPossible", Some(true), "SiteCanTake")]
#[case::failover_blocked(Given::at("paris").record(steady()).facts("lyon", |f| f.blockers.push(Gate::new("x", Answer::No, "a", "b"))), "FailoverPossible", Some(false), "NoSiteCanTake")]
#[case::failover_unknown({ let mut g = Given::at("paris").record(steady()); g.seen.sites.clear(); g }, "FailoverPossible", None, "NotKnown")]
#[case::switchover(Given::at("paris").record(steady()), "SwitchoverPossible", Some(true), "Ready")]
#[case::specs_differ(Given::at("paris").record(steady()).facts("lyon", |f| f.spec_hash = Some("other".to_owned())), "SwitchoverPossible", Some(false), "SpecsDiffer")]
#[case::reachable(Given::at("paris").record(steady()), "SitesReachable", Some(true), "AllLive")]
#[case::silent(Given::at("paris").record(steady()).silent("lyon", 60_000), "SitesReachable", Some(false), "SiteSilent")]
#[case::streaming(Given::at("paris").record(steady()), "ReplicationHealthy", Some(true), "Streaming")]
#[case::no_other_site_is_known(knows_no_site(), "ReplicationHealthy", None, "SitesUnknown")]
#[case::no_other_site_is_known_to_live(knows_no_site(), "SitesReachable", None, "SitesUnknown")]
#[case::lag_unknown(Given::at("paris").record(steady()).facts("lyon", |f| f.lag_bytes.clear()), "ReplicationHealthy", None, "LagUnknown")]
#[case::not_connected(not_connected(), "ReplicationHealthy", None, "LagUnknown")]
#[case::failover_not_connected(not_connected(), "FailoverPossible", None, "LagUnknown")]
#[case::switchover_not_connected(not_connected(), "SwitchoverPossible", None, "LagUnknown")]
#[case::a_silent_site_s_lag(Given::at("paris").record(steady()).silent("lyon", 60_000), "ReplicationHealthy", None, "LagUnknown")]
#[case::a_stopped_primary_s_replica(Given::at("paris").record(steady()).report(dead(10)), "ReplicationHealthy", Some(false), "NoPrimary")]
#[case::what_was_said_in_an_earlier_hold(Given::at("paris").record(steady()).facts("lyon", |f| f.marks = Some(bascule_core::observation::Marks { generation: 0, epoch: 0, serial: 9 })), "ReplicationHealthy", None, "LagUnknown")]
#[case::a_primary_s_replica_whose_guard_says_nothing(Given::at("paris").record(steady()).guard_unknown(), "ReplicationHealthy", None, "PrimaryUnknown")]
#[case::cut_off_replica(Given::at("lyon").record(steady()).report(orphan(10)), "ReplicationHealthy", Some(false), "NotStreaming")]
#[case::cut_off_replica_elsewhere(link_cut(), "ReplicationHealthy", Some(false), "NotStreaming")]
#[case::failover_without_replication(link_cut(), "FailoverPossible", Some(false), "NotStreaming")]
#[case::switchover_without_replication(link_cut(), "SwitchoverPossible", Some(false), "NotStreaming")]
#[case::failover_lag_unknown(Given::at("paris").record(steady()).facts("lyon", |f| f.lag_bytes.clear()), "FailoverPossible", None, "LagUnknown")]
#[case::failover_too_far_behind(lag(17 << 20), "FailoverPossible", Some(false), "LagTooLarge")]
#[case::failover_with_much_to_replay(replays(20 << 20), "FailoverPossible", Some(true), "SiteCanTake")]
#[case::failover_a_bit_behind(lag(16 << 20), "FailoverPossible", Some(true), "SiteCanTake")]
#[case::switchover_too_far_behind(lag(17 << 20), "SwitchoverPossible", Some(true), "Ready")]
#[case::a_bound_that_can_never_hold(bound(1_549), "FailoverPossible", Some(false), "DataLossTimeTooShort")]
#[case::a_bound_that_can_just_hold(bound(1_550), "FailoverPossible", Some(true), "SiteCanTake")]
#[case::a_bound_that_binds_no_switchover(bound(1_549), "SwitchoverPossible", Some(true), "Ready")]
#[case::a_bound_that_nobody_uses(bound(0).policy(|p| p.failover.promote_after = After::Never), "FailoverPossible", Some(true), "SiteCanTake")]
#[case::a_lost_site_s_replica(reads(), "FailoverPossible", Some(true), "SiteCanTake")]
#[case::a_lost_site_s_replica_that_is_behind(reads_behind(), "FailoverPossible", Some(false), "LossTooLarge")]
#[case::advice(advised(), "Advice", Some(true), "Findings")]
#[case::a_dead_node_is_given_up_too_late(Given::at("paris").record(steady()).policy(too_late), "Advice", Some(true), "Findings")]
#[case::writes(Given::at("paris").record(steady()), "ReadOnlyEffective", Some(true), "ReadWrite")]
#[case::read_only(Given::at("lyon").record(steady()), "ReadOnlyEffective", Some(true), "ReadOnly")]
#[case::flag_wrong(Given::at("lyon").record(steady()).flag(FlagValue::ReadWrite), "ReadOnlyEffective", Some(false), "FlagDiffers")]
#[case::not_verified(Given::at("lyon").record(steady()).policy(|p| {
    p.workloads.get_mut(&item("web")).unwrap().read_only.as_mut().unwrap().verify = None; }), "ReadOnlyEffective", None, "NotVerified")]
#[case::pods_silent({ let mut g = Given::at("lyon").record(steady());
    g.seen.workloads.get_mut(&item("web")).unwrap().effective = Fact::now(PodsAsked { pods: 2, read_only: 1, unknown: 1 }); g }, "ReadOnlyEffective", None, "PodsUnknown")]
#[case::pods_differ({ let mut g = Given::at("lyon").record(steady());
    g.seen.workloads.get_mut(&item("web")).unwrap().effective = Fact::now(PodsAsked { pods: 2, read_only: 1, unknown: 0 }); g }, "ReadOnlyEffective", Some(false), "PodsDiffer")]
#[case::pods_differ_and_are_silent({ let mut g = Given::at("lyon").record(steady());
    g.seen.workloads.get_mut(&item("web")).unwrap().effective = Fact::now(PodsAsked { pods: 3, read_only: 1, unknown: 1 }); g }, "ReadOnlyEffective", Some(false), "PodsDiffer")]
#[case::converged(Given::at("paris").record(steady()), "TrafficConverged", Some(true), "Converged")]
#[case::elsewhere(Given::at("paris").record(steady()).traffic_at("lyon", 1, 1), "TrafficConverged", Some(false), "Elsewhere")]
#[case::traffic_unknown({ let mut g = Given::at("paris").record(steady()); g.seen.traffic.clear(); g }, "TrafficConverged", None, "NotKnown")]
#[case::agrees(Given::at("paris").record(steady()), "ArbiterAgrees", Some(true), "Agrees")]
#[case::contended({ let mut g = Given::at("paris").record(steady()); g.seen.workloads.get_mut(&item("web")).unwrap().blockers =
    Fact::now(vec![crate::take::contended("replicas")]); g }, "Contended", Some(true), "OwnedByAnother")]
#[case::the_arbiter_agrees_though_the_loss_is_refused(reads_behind(), "ArbiterAgrees", Some(true), "Agrees")]
#[case::what_another_site_s_disk_says_stops_no_primary(Given::at("lyon").record(steady()).facts("paris", starts_as_a_standby), "ReplicationHealthy", Some(true), "Streaming")]
#[case::nothing_to_replicate(Given::at("paris").record(steady()).policy(|p| p.databases.clear()), "ReplicationHealthy", Some(true), "NoDatabase")]
#[case::nothing_to_lose(Given::at("paris").record(steady()).policy(|p| p.databases.clear()), "FailoverPossible", Some(true), "SiteCanTake")]
#[case::nothing_to_hand_over(Given::at("paris").record(steady()).policy(|p| p.databases.clear()), "SwitchoverPossible", Some(true), "Ready")]
#[case::sites_that_cannot_for_different_reasons(
    third(Given::at("paris"), cut, blocked),
    "FailoverPossible",
    Some(false),
    "NoSiteCanTake"
)]
#[case::sites_that_cannot_for_one_reason(
    third(Given::at("paris"), cut, cut),
    "FailoverPossible",
    Some(false),
    "NotStreaming"
)]
#[case::a_site_that_cannot_and_one_that_may_be_able_to(
    third(Given::at("paris"), cut, unheard),
    "FailoverPossible",
    None,
    "NotKnown"
)]
#[case::a_lost_site_s_replica_that_only_a_person_promotes(reads_behind().policy(never), "FailoverPossible", Some(true), "SiteCanTake")]
#[case::a_lost_site_s_replica_of_which_nothing_is_known(
    reads_unjudged(),
    "FailoverPossible",
    None,
    "LossUnknown"
)]
#[case::a_source_not_looked_at(not_looked("lyon"), "SwitchoverPossible", None, "SourceNotKnownToLive")]
#[case::a_source_that_lives_beside_a_silent_site(third(Given::at("paris"), |_| {}, |_| {}).silent("milan", 60_000), "SwitchoverPossible", Some(true), "Ready")]
fn a_condition_has_a_stable_reason(
    #[case] given: Given,
    #[case] kind: &str,
    #[case] status: Option<bool>,
    #[case] reason: &str,
) {
    assert_eq!(condition(&told(&given), kind), (status, reason.to_owned()));
}

#[test]
fn what_is_true_only_sometimes_is_absent_otherwise() {
    let r = told(&Given::at("paris").record(steady()).policy(in_time));
    for kind in ["Reconciling", "Stalled", "Contended", "Advice"] {
        assert!(!r.conditions.iter().any(|c| c.kind == kind), "{kind}");
    }
}

/// What is advised to paris.
fn advice(record: Record, change: impl FnOnce(&mut Policy)) -> Option<String> {
    let r = told(&Given::at("paris").record(record).policy(change));
    r.conditions.into_iter().find(|c| c.kind == "Advice").map(|c| c.message.into_owned())
}

#[test]
fn whoever_is_promoted_by_a_person_alone_is_offered_nothing_too_late() {
    assert!(advice(steady(), too_late).is_some());
    let by_hand = |p: &mut Policy| {
        too_late(p);
        never(p);
    };
    assert_eq!(advice(steady(), by_hand), None);
    assert_eq!(advice(never_fences(steady()), too_late), None);
    let empty = |p: &mut Policy| {
        too_late(p);
        p.databases.clear();
    };
    assert_eq!(advice(steady(), empty), None);
}

#[test]
fn a_dead_node_that_is_given_up_too_late_has_a_way_out_as_long_as_any_grace_is_left() {
    let out = |ms: u64| {
        let seconds = Duration::from_millis(ms);
        advice(steady(), |p| p.failover.max_data_loss.seconds = seconds).unwrap()
    };
    let ends = |said: String, end: &str| assert!(said.ends_with(end), "{said}");
    ends(out(30_000), "; with a restartGrace of at most 28 s it could be taken");
    ends(out(2_001), "; with a restartGrace of at most 1 ms it could be taken");
    ends(out(2_000), "; no restartGrace helps while maxDataLoss.time is not above 2 s");
    ends(out(1_999), "; no restartGrace helps while maxDataLoss.time is not above 2 s");
}

#[rstest]
#[case::by_itself(Given::at("paris").record(steady()), "lyon can take over")]
#[case::by_a_person(Given::at("paris").record(steady()).policy(never), "lyon can take over by a Move of type Failover")]
#[case::by_a_person_who_knows(
    Given::at("paris").record(never_fences(steady())),
    "lyon can take over by a Move of type Failover with sourceStopped"
)]
fn who_can_take_over_is_told_with_what_it_takes(#[case] given: Given, #[case] expected: &str) {
    let r = told(&given);
    let c = r.conditions.iter().find(|c| c.kind == "FailoverPossible").unwrap();
    assert_eq!(c.message, expected);
}

#[test]
fn what_is_not_known_of_a_database_and_nothing_else_makes_ready_unknown() {
    let ready = |name: &str, answer| {
        let given = Given::at("paris").record(steady());
        given.look(|s| {
            let mut plan = bascule_core::decide::decide(s);
            plan.gates.push(Gate::new(name, answer, "x", "y"));
            project(s, &plan).ready
        })
    };
    assert_eq!(ready("database/main/guard", Answer::Unknown), None);
    assert_eq!(ready("database/main/guard", Answer::NotYet), Some(true));
    assert_eq!(ready("marks", Answer::Unknown), Some(true));
}

#[rstest]
#[case(FenceClass::Gate, "nothing known")]
#[case(FenceClass::Guard, "a guard frozen alone while its server runs; ")]
#[case(FenceClass::External, "what the other operator's documentation says")]
#[case(FenceClass::Advisory, "clients that do not cooperate; ")]
fn what_the_active_site_s_fence_does_not_cover_is_told(#[case] class: FenceClass, #[case] expected: &str) {
    let mut record = steady();
    record.promise.fence_class = class;
    let said = told(&Given::at("paris").record(record)).fence.unwrap().does_not_cover;
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn only_an_advisory_fence_stops_nobody() {
    use FenceClass::{Advisory, External, Gate, Guard};
    assert_eq!([Gate, Guard, External, Advisory].map(FenceClass::fences), [true, true, true, false]);
}

#[test]
fn a_site_of_which_nothing_is_known_is_shown_as_unknown() {
    let mut given = Given::at("paris").record(steady());
    given.seen.sites.clear();
    given.observed = 0;
    let r = told(&given);
    let lyon = &r.sites[1];
    assert_eq!((lyon.role, lyon.lives, lyon.promotable), (SiteRole::Unknown, None, None));
    assert_eq!(lyon.lag.words(), "Unknown");
    assert_eq!(r.lag, Lag::default());
    assert_eq!(lyon.reason.as_deref(), Some("lyon has said nothing about this policy yet"));
}

#[test]
fn a_silent_site_s_role_is_unknown_and_its_own_words_have_an_age() {
    let mut given = Given::at("lyon").record(steady()).report(orphan(10)).silent("paris", 60_000);
    let facts = crate::world::given::facts(&site("paris"));
    given.seen.sites.insert(site("paris"), Fact::Known { value: facts, age: Duration::from_mins(1) });
    let r = told(&given);
    assert_eq!(r.sites[0].role, SiteRole::Unknown);
    assert_eq!(r.sites[0].age_ms, Some(60_000));
    assert_eq!(r.sites[1].role, SiteRole::Standby);
    assert_eq!(r.lag.words(), "Unknown", "without its primary a replica does not know how far it is behind");
    let r = told(&Given::at("paris").record(steady()).facts("paris", |_| {}));
    assert_eq!(r.sites[0].age_ms, None, "what a site says of itself it says now");
}

#[test]
fn roles_are_told_from_both_sides() {
    let r = told(&Given::at("paris").record(steady()).report(primary(10)));
    assert_eq!((r.sites[0].role, r.sites[1].role), (SiteRole::Primary, SiteRole::Standby));
    assert_eq!(r.serving, Some(site("paris")));
    assert_eq!(told(&reads()).serving, Some(site("lyon")));
}

#[test]
fn the_last_transition_has_its_times_and_what_was_really_lost() {
    let mut t = finished(Cause::SiteLost, 60);
    t.phases = vec![
        PhaseTime { name: "detect".to_owned(), site: site("lyon"), took: Millis(2_050) },
        PhaseTime { name: "promote".to_owned(), site: site("lyon"), took: Millis(340) },
    ];
    t.loss_bound = Some(crate::world::record::small_loss());
    let mut record = steady();
    record.history = vec![t.clone()];
    let words = |record| told(&Given::at("paris").record(record)).last.unwrap().words;
    assert_eq!(
        words(record.clone()),
        "paris to lyon (site lost, epoch 1): detect 2 s, promote 340 ms; at most 2.1 MiB and what was written in 3.4 s at risk"
    );
    t.measured_loss =
        Some(MeasuredLoss { bytes: 40_960, transactions: 12, saved: "/data/bascule/saved".to_owned() });
    record.history = vec![t];
    assert_eq!(
        words(record),
        "paris to lyon (site lost, epoch 1): detect 2 s, promote 340 ms; lost 40 KiB in 12 transactions, saved at /data/bascule/saved"
    );
}

#[test]
fn without_a_policy_the_record_is_still_told() {
    let r = told(&Given::at("paris").record(steady()).deleted());
    assert_eq!(r.active, Some(site("paris")));
    assert_eq!(r.sites.len(), 1);
    let mut given = Given::at("paris").record(steady());
    given.policy = Seen::NotListed;
    assert_eq!(told(&given).sentence, "the policies have not been listed yet.");
}

#[test]
fn bytes_read_like_words() {
    for (bytes, words) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (2_202_009, "2.1 MiB"),
        (1 << 40, "1 TiB"),
        (1 << 50, "1024 TiB"),
    ] {
        assert_eq!(size(bytes), words);
    }
}

#[test]
fn every_reason_is_told_under_a_name_of_its_own() {
    let mut given = Given::at("lyon").record(steady()).report(waiting(true));
    let finding = |found: &str| Gate::new("database/main/Grant", Answer::No, found, "the grant");
    given.seen.databases.get_mut(&item("main")).unwrap().preflight =
        Fact::now(vec![finding("pg_read_all_stats"), finding("pg_checkpoint")]);
    given.seen.workloads.get_mut(&item("web")).unwrap().blockers =
        Fact::now(vec![crate::take::contended("replicas"), crate::take::contended("readOnlyFlag")]);
    let r = told(&given);
    let mut names: Vec<&str> = r.gates.iter().map(|g| g.name.as_str()).collect();
    for name in [
        "database/main/server",
        "database/main/Grant",
        "contended/web/replicas",
        "contended/web/readOnlyFlag",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a repeated name is dropped on the way to status: {:#?}", r.gates);
    let grant = r.gates.iter().find(|g| g.name == "database/main/Grant").unwrap();
    assert_eq!(grant.found, "pg_read_all_stats; pg_checkpoint");
}

#[test]
fn what_a_promotion_would_need_is_shown_all_year_with_its_age() {
    let given = Given::at("lyon").record(steady());
    let plan = given.plan();
    let r = told(&given);
    for name in ["ownLease", "promise", "hold", "cooldown", "promote", "loss"] {
        assert!(!plan.gates.iter().any(|g| g.name == name), "{name} decides nothing yet");
        assert!(r.gates.iter().any(|g| g.name == name), "{name} in {:#?}", r.gates);
    }
    let gate = |name: &str| r.gates.iter().find(|g| g.name == name).unwrap();
    assert_eq!(gate("loss").found, "0 B and what was written in 1.6 s");
    for name in ["loss", "silence", "ownLease"] {
        assert!(gate(name).age_ms.is_some(), "{name}");
    }
    assert!(!r.gates.iter().any(|g| g.name == "veto"), "a site that lives delivers: no alarm");
    let silent = told(&Given::at("lyon").record(steady()).silent("paris", 60_000));
    assert!(silent.gates.iter().any(|g| g.name == "veto" && g.age_ms.is_some()), "{:#?}", silent.gates);
    let active = told(&Given::at("paris").record(steady()));
    assert!(!active.gates.iter().any(|g| g.name == "loss"), "the active site is not promoted");
    let mut back = Given::at("lyon").record(steady());
    back.seen.high_water = gone_back().seen.high_water;
    assert!(!told(&back).gates.iter().any(|g| g.name == "loss"), "nothing follows from an older record");
    let refused = Given::at("lyon").record(steady()).report(orphan(10)).silent("paris", 5_000);
    let refused = told(&refused.policy(|p| p.failover.serve_reads_after = After::Never));
    assert!(refused.stalled && refused.gates.iter().any(|g| g.name == "loss"), "{:#?}", refused.gates);
}

#[test]
fn a_lag_that_only_the_primary_knows_of_is_shown() {
    let mut report = primary(10);
    report.replicas.insert("bascule_lyon".to_owned(), Behind { bytes: 20 << 20, time: None });
    let r = told(&Given::at("paris").record(steady()).report(report));
    assert_eq!(r.lag.bytes, Some(20 << 20), "lyon itself says 0");
    assert_eq!(condition(&r, "FailoverPossible"), (Some(false), "LagTooLarge".to_owned()));
}

#[test]
fn a_lag_that_the_active_site_has_said_is_shown_where_the_replica_knows_of_none() {
    let said = Behind { bytes: 20 << 20, time: None };
    let given = Given::at("lyon")
        .record(steady())
        .facts("paris", move |f| drop(f.behind.insert(item("main"), [(site("lyon"), said)].into())));
    let r = told(&given);
    assert_eq!(r.lag.bytes, Some(20 << 20), "what would tell lyon is still on the way");
    assert_eq!(condition(&r, "FailoverPossible"), (Some(false), "LagTooLarge".to_owned()));
}

#[test]
fn advice_is_shown_and_blocks_nothing() {
    let given = advised();
    assert!(given.plan().blockers.is_empty());
    let r = told(&given);
    assert_eq!(r.sites[1].promotable, Some(true));
    let advice = r.gates.iter().find(|g| g.name == "database/main/WalSenderTimeout").unwrap();
    assert!(advice.passed());
    let c = r.conditions.iter().find(|c| c.kind == "Advice").unwrap();
    assert_eq!(c.message, "database/main/WalSenderTimeout: wal_sender_timeout: 60 s (needed: 4 s)");
}

#[test]
fn users_are_read_only_from_the_old_site_s_flags_until_the_new_site_s_are_off() {
    let took = |parts: &[(&str, u64)]| {
        let mut t = finished(Cause::Planned, 60);
        let phase = |(name, ms): &(&str, u64)| PhaseTime {
            name: (*name).to_owned(),
            site: site("lyon"),
            took: Millis(*ms),
        };
        t.phases = parts.iter().map(phase).collect();
        let mut record = steady();
        record.history = vec![t];
        told(&Given::at("paris").record(record)).last.unwrap().read_only_ms
    };
    let planned = [
        ("flagsSeen", 240),
        ("checkpoint", 10),
        ("stop", 60),
        ("prove", 20),
        ("promote", 100),
        ("open", 5),
        ("verify", 3),
        ("traffic", 30),
        ("flagsOff", 12),
        ("writePause", 188),
    ];
    assert_eq!(took(&planned), Some(480));
    assert_eq!(took(&[("detect", 2_000), ("readOnly", 10_000), ("promote", 100)]), Some(10_100));
    assert_eq!(took(&[("promote", 100), ("open", 5)]), None, "nobody served reads before");
}

#[rstest]
#[case(None, Some(3_000), "Unknown")]
#[case(Some(5), None, "5 B")]
#[case(Some(5), Some(1_999), "5 B")]
#[case(Some(5), Some(2_000), "5 B, 2 s ago")]
fn a_lag_says_how_old_it_is_from_two_seconds_on(
    #[case] bytes: Option<u64>,
    #[case] age_ms: Option<u64>,
    #[case] words: &str,
) {
    assert_eq!(Lag { bytes, age_ms }.words(), words);
}

#[test]
fn what_a_site_is_has_one_name_everywhere() {
    for role in
        [SiteRole::Primary, SiteRole::Standby, SiteRole::Stopped, SiteRole::Waiting, SiteRole::Unknown]
    {
        assert_eq!(serde_json::to_value(role).unwrap(), role.name());
    }
}

#[test]
fn a_condition_is_true_false_or_unknown() {
    let condition = |status| bascule_core::project::Condition {
        kind: "Ready".into(),
        status,
        reason: "R".into(),
        message: "m".into(),
    };
    assert_eq!(
        [Some(true), Some(false), None].map(|s| condition(s).status_name()),
        ["True", "False", "Unknown"]
    );
}

#[test]
fn what_is_judged_by_itself_is_what_the_whole_report_says() {
    for given in [Given::at("paris").record(steady()), reads(), link_cut()] {
        given.look(|s| {
            let plan = bascule_core::decide::decide(s);
            let judged = bascule_core::project::judge(s, &plan);
            let whole = project(s, &plan);
            assert_eq!((judged.sites(), judged.conditions()), (&*whole.sites, &*whole.conditions));
        });
    }
}

#[test]
fn a_hold_is_told_until_its_very_moment() {
    let held = |seconds| {
        let mut record = steady();
        let until = wall().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        record.hold = Some(HoldUntil { until, reason: "x".to_owned(), hash: MoveHash("h".to_owned()) });
        told(&Given::at("paris").record(record)).held_until.is_some()
    };
    assert_eq!([1, 0, -1].map(held), [true, false, false]);
    let mut given = hold(reads());
    given.record.as_mut().unwrap().hold.as_mut().unwrap().until = wall();
    assert!(!told(&given).sentence.contains("Held"), "{}", told(&given).sentence);
}

/// Paris is asked by an arbiter that holds less than was seen.
fn gone_back() -> Given {
    let mut given = Given::at("paris").record(steady());
    given.seen.high_water =
        Fact::now(bascule_core::observation::Marks { generation: 0, epoch: 1, serial: 11 });
    given
}

#[test]
fn what_only_a_person_can_mend_is_stalled_and_says_what_was_refused() {
    let r = told(&gone_back());
    assert_eq!((r.ready, r.reconciling, r.stalled), (Some(false), false, true));
    assert_eq!(condition(&r, "Ready").1, "ArbiterWentBack");
    assert_eq!(condition(&r, "ArbiterAgrees"), (Some(false), "WentBack".to_owned()));
    let r = told(&reads_behind());
    let stalled = r.conditions.iter().find(|c| c.kind == "Stalled").unwrap();
    assert!(stalled.message.starts_with("loss: 1 GiB and what was written in "), "{}", stalled.message);
}

#[test]
fn what_the_arbiter_says_is_judged_by_this_site_s_lease_and_marks() {
    let steady = || Given::at("paris").record(steady());
    let agrees = |given: Given| condition(&told(&given), "ArbiterAgrees");
    assert_eq!(agrees(steady()), (Some(true), "Agrees".to_owned()));
    assert_eq!(agrees(steady().lease(Lease::Lapsed)), (Some(false), "LeaseNotRenewed".to_owned()));
    let mut unknown = steady();
    unknown.seen.high_water = Fact::unknown("the ConfigMap cannot be read");
    assert_eq!(agrees(unknown), (None, "MarksUnknown".to_owned()));
}

#[test]
fn a_silent_active_site_is_being_replaced_unless_something_was_refused() {
    let silent = || Given::at("lyon").record(steady()).report(orphan(10)).silent("paris", 5_000);
    let r = told(&silent());
    assert_eq!((r.ready, r.reconciling, r.stalled), (Some(false), true, false));
    let r = told(&silent().policy(|p| p.failover.serve_reads_after = After::Never));
    assert_eq!((r.ready, r.reconciling, r.stalled), (Some(false), false, true));
}

#[test]
fn replication_says_of_whom_and_why_it_does_not_stream() {
    let r = told(&link_cut());
    let c = r.conditions.iter().find(|c| c.kind == "ReplicationHealthy").unwrap();
    assert_eq!(c.message, "lyon does not stream: main: it receives nothing from its primary");
}

#[test]
fn what_another_manager_owns_is_told_and_nothing_else_is() {
    let contended = |gate: Gate| {
        let mut given = Given::at("paris").record(steady());
        given.seen.workloads.get_mut(&item("web")).unwrap().blockers = Fact::now(vec![gate]);
        told(&given).conditions.into_iter().find(|c| c.kind == "Contended").map(|c| c.message.into_owned())
    };
    let gate = |name, answer| Gate::new(name, answer, "x", "y");
    assert_eq!(
        contended(gate("contended/web/replicas", Answer::No)).unwrap(),
        "contended/web/replicas: x (needed: y)"
    );
    assert_eq!(contended(gate("contended/web/replicas", Answer::Yes)), None);
    assert_eq!(contended(gate("workload/web", Answer::No)), None);
}

#[rstest]
#[case::active(Given::at("paris").record(steady()), "paris is active (epoch 1)")]
#[case::active_and_waiting(
    Given::at("paris").record(steady()).report(dead(10)).silent("lyon", 60_000),
    "paris is active (epoch 1); database: main died: killed by signal 9 (needed: a running primary)"
)]
#[case::another_site_active(Given::at("lyon").record(steady()), "paris is active (epoch 1)")]
#[case::another_site_active_and_this_one_blocked(
    Given::at("lyon").record(steady()).report(waiting(true)),
    "paris is active (epoch 1); lyon cannot be promoted: database/main/server: its server is down (needed: a running replica)"
)]
#[case::unmanaged(Given::at("lyon").record(in_phase(Phase::Unmanaged)), "paris keeps its role; nobody acts")]
#[case::reads(
    reads().silent("paris", 60_000),
    "paris is silent; lyon serves reads; promote: reads have been served for 1 s (needed: 30 m)"
)]
#[case::its_own_part(
    Given::at("paris").record(in_phase(Phase::Handover)),
    "Handover; handover: waiting for lyon since 1 s (needed: the target's take)"
)]
#[case::its_part_as_the_target(
    Given::at("lyon").record(in_phase(Phase::Requested)),
    "Requested; database/main/closed: a replica, open for reads (needed: a replica, closed before the pause)"
)]
#[case::no_part(at_milan(in_phase(Phase::Requested)), "Requested (this site has no part in it)")]
fn a_plan_is_summed_up_by_who_has_a_part_in_it(#[case] given: Given, #[case] expected: &str) {
    let said = given.plan().summary;
    assert!(said.starts_with(expected), "{said}");
}

/// Milan as a third site.
fn at_milan(record: bascule_core::record::Record) -> Given {
    let given =
        Given::at("milan").policy(|p| *p = crate::world::policy::policy_in(&["paris", "lyon", "milan"]));
    given.record(record)
}

#[test]
fn only_a_site_with_a_part_in_it_says_what_is_waited_for() {
    let said = |given: Given| told(&given).sentence;
    let offered = Given::at("lyon").record(in_phase(Phase::Offered)).report(waiting(true));
    assert!(said(offered).starts_with("paris offers its role: main died: killed by signal 9. Waits for "));
    let target = Given::at("lyon").record(in_phase(Phase::Requested));
    assert!(said(target).contains(" Waits for database/main/closed"));
    assert_eq!(
        said(at_milan(in_phase(Phase::Requested)).report(waiting(true))),
        "Switchover from paris to lyon (Move kernel) is being prepared."
    );
    let promoting = Given::at("paris").record(in_phase(Phase::Promoting)).report(waiting(true));
    assert!(!said(promoting).contains("Waits for"));
}

#[test]
fn what_an_open_database_s_site_waits_for_is_no_word_against_the_database() {
    let mut record = steady();
    record.promise.lease = Millis(8_000);
    let given = Given::at("paris").record(record).report(primary(9)).for_ms(60_000);
    assert_eq!(condition(&told(&given), "Ready").0, Some(true));
    assert!(told(&given).sentence.starts_with("paris writes (epoch 1); lyon follows"));
}

/// Lyon has served reads for so many seconds by the record; the promotion is due after half an hour.
fn reads_for(seconds: i64) -> String {
    let mut given = reads().silent("paris", 60_000);
    let at = wall().checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap();
    given.record.as_mut().unwrap().entered.at = at;
    let said = told(&given).sentence;
    said.split_once(". ").unwrap().1.split(". At most").next().unwrap().to_owned()
}

#[test]
fn when_a_promotion_is_due_is_told_by_the_minute_and_at_last_by_the_second() {
    assert_eq!(reads_for(1_800 - 121), "Promotes 03:04 unless held");
    assert_eq!(reads_for(1_800 - 120), "Promotes 03:04 unless held");
    assert_eq!(reads_for(1_800 - 119), "Promotes 03:03:59 unless held");
    let due = "Promotion is due; waits for promote: reads have been served for 1 s (needed: 30 m)";
    assert_eq!(reads_for(1_800), due);
    assert_eq!(reads_for(1_900), due);
}

#[test]
fn a_due_promotion_waits_for_no_pod_that_only_traffic_waits_for() {
    let mut given = pods_ready(reads(), 0).silent("paris", 60_000);
    given.record.as_mut().unwrap().entered.at =
        wall().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    assert!(told(&given).sentence.contains("Promotion is due; waits for promote: "));
}

#[test]
fn a_planned_take_risks_nothing_and_says_so() {
    let mut record = in_phase(Phase::Promoting);
    record.transition.as_mut().unwrap().loss_bound = Some(LossBound::NOTHING);
    let r = told(&Given::at("lyon").record(record).report(replica(10)));
    assert!(r.sentence.starts_with("lyon takes over from paris (epoch 2). Nothing is lost. Waits for "));
    assert!(r.last.unwrap().words.ends_with("; nothing lost"));
}

#[rstest]
#[case::bytes(LossBound { bytes: Some(1), unseen: Some(Millis(0)) })]
#[case::time(LossBound { bytes: Some(0), unseen: Some(Millis(1)) })]
fn what_may_be_lost_is_told_by_the_last_transition_too(#[case] bound: LossBound) {
    let mut t = finished(Cause::SiteLost, 60);
    t.loss_bound = Some(bound);
    t.phases = vec![PhaseTime { name: "writePause".to_owned(), site: site("lyon"), took: Millis(720) }];
    let mut record = steady();
    record.history = vec![t];
    let last = told(&Given::at("paris").record(record)).last.unwrap();
    assert!(last.words.ends_with(" at risk"), "{}", last.words);
    assert_eq!(last.write_pause_ms, Some(720));
}

#[test]
fn another_site_s_role_is_told_by_what_lies_on_its_disks() {
    let role = |me: &str, other: &str, signal: Option<bool>| {
        let given =
            Given::at(me).record(steady()).facts(other, |f| match (f.disks.get_mut(&item("main")), signal) {
                (Some(bascule_core::guard::wire::Disk::Cluster(c)), Some(signal)) => {
                    c.standby_signal = signal;
                }
                _ => f.disks.clear(),
            });
        told(&given).sites.into_iter().find(|r| r.name == site(other)).unwrap().role
    };
    assert_eq!(role("lyon", "paris", Some(false)), SiteRole::Primary);
    assert_eq!(role("lyon", "paris", Some(true)), SiteRole::Waiting);
    assert_eq!(role("paris", "lyon", Some(true)), SiteRole::Standby);
    assert_eq!(role("paris", "lyon", Some(false)), SiteRole::Waiting);
    assert_eq!(role("paris", "lyon", None), SiteRole::Unknown);
    assert_eq!(role("lyon", "paris", None), SiteRole::Unknown);
}

#[test]
fn this_site_s_role_is_told_by_its_servers_when_they_agree() {
    let role = |reports: &[Option<bascule_core::guard::wire::Report>]| {
        let mut given = Given::at("paris").record(steady());
        given.seen.databases.clear();
        for (n, report) in reports.iter().enumerate() {
            let view = report.clone().map_or_else(
                || bascule_core::observation::DatabaseView {
                    guard: Fact::unknown("gone"),
                    ..Default::default()
                },
                crate::world::given::database,
            );
            given.seen.databases.insert(item(&format!("db{n}")), view);
        }
        told(&given).sites.into_iter().find(|r| r.name == site("paris")).unwrap().role
    };
    assert_eq!(role(&[]), SiteRole::Unknown);
    assert_eq!(role(&[Some(primary(10)), Some(primary(10))]), SiteRole::Primary);
    assert_eq!(role(&[Some(primary(10)), Some(replica(10))]), SiteRole::Waiting);
    assert_eq!(role(&[Some(primary(10)), None]), SiteRole::Unknown);
    assert_eq!(role(&[Some(waiting(false))]), SiteRole::Waiting);
    assert_eq!(role(&[Some(dead(10))]), SiteRole::Stopped);
}

#[test]
fn a_site_that_has_the_role_is_no_candidate_for_it() {
    let r = told(&Given::at("paris").record(steady()));
    let promotable = |name| r.sites.iter().find(|row| row.name == site(name)).unwrap().promotable;
    assert_eq!((promotable("paris"), promotable("lyon")), (None, Some(true)));
}
