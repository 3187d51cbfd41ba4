//! What holds in every situation, likely or not.

use std::time::Duration;

use bascule_core::check::check;
use bascule_core::few::Few;
use bascule_core::guard::wire::{Report, ServerState};
use bascule_core::loss::LossBound;
use bascule_core::memory::Stamp;
use bascule_core::moves::{Move, MoveEnd, MoveHash, Order, Verdict};
use bascule_core::observation::{Fact, FlagValue, Marks, TrafficAt, TrafficView, Writes};
use bascule_core::plan::{Answer, Gate, Plan, Step};
use bascule_core::policy::After;
use bascule_core::record::{Cause, Fences, HoldUntil, Offer, Phase, PreviousHold, Record};
use bascule_core::time::Millis;
use proptest::prelude::*;
use proptest::sample::select;

use crate::world::given::{Given, Lease, Seen, View};
use crate::world::policy::{database, mv, policy_in};
use crate::world::record::{doing, finished, in_phase, transition, wall};
use crate::world::reports::{dead, locked, orphan, primary, proof, replica, waiting};
use crate::world::{item, site};

fn a_site() -> impl Strategy<Value = &'static str> {
    select(vec!["paris", "lyon", "milan"])
}

fn a_word_about_writes() -> impl Strategy<Value = Writes> {
    let words = || "in words".to_owned();
    select(vec![
        Writes::Pass,
        Writes::Refused,
        Writes::Mixed(words()),
        Writes::CannotRefuse(words()),
        Writes::Lost(words()),
    ])
}

fn a_phase() -> impl Strategy<Value = Phase> {
    select(vec![
        Phase::Unmanaged,
        Phase::Steady,
        Phase::Requested,
        Phase::Handover,
        Phase::Promoting,
        Phase::ReadOnly,
        Phase::Returning,
        Phase::Offered,
        Phase::Withdrawn,
        Phase::Unknown("Levitating".to_owned()),
    ])
}

fn a_bound() -> impl Strategy<Value = Option<LossBound>> {
    let part = prop_oneof![Just(None), Just(Some(0)), Just(Some(1000)), Just(Some(1 << 40))];
    proptest::option::of(
        (part.clone(), part).prop_map(|(b, s)| LossBound { bytes: b, unseen: s.map(Millis) }),
    )
}

fn a_time() -> impl Strategy<Value = jiff::Timestamp> {
    (-7200_i64..7200).prop_map(|s| wall().checked_add(jiff::SignedDuration::from_secs(s)).unwrap())
}

prop_compose! {
    fn a_record()(
        phase in a_phase(), active in a_site(), target in proptest::option::of(a_site()),
        numbers in (1_u64..4, 8_u64..12, 0_u64..2), settled in any::<bool>(), schema in select(vec![1, 1, 1, 2]),
        previous in proptest::option::of((a_site(), any::<bool>())), never in any::<bool>(),
        doing_it in proptest::option::of(select(vec!["m0", "kernel"])), hold in proptest::option::of(a_time()),
        positions in any::<bool>(), opened in proptest::option::of(any::<bool>()),
        bound in a_bound(), has_transition in any::<bool>(), cooled in proptest::option::of(0_i64..7200),
        by in a_site(), judged in proptest::collection::vec(select(vec!["m0", "m1", "m2"]), 0..2),
    ) -> Record {
        let mut r = in_phase(phase);
        r.active = site(active);
        r.target = target.map(site);
        (r.epoch, r.serial, r.generation) = numbers;
        r.settled = settled;
        r.schema = schema;
        r.previous = previous.map(|(s, settled)| PreviousHold { site: site(s), settled });
        if never { r.promise.fences = Fences::Never; }
        r.doing = doing_it.map(doing);
        r.hold = hold.map(|until| HoldUntil { until, reason: "x".to_owned(), hash: MoveHash("h".to_owned()) });
        if positions { r.positions = in_phase(Phase::Handover).positions; }
        r.offer = opened.map(|never_opened| Offer { never_opened, ends: Few::new(), reason: "x".to_owned() });
        r.transition = has_transition.then(|| transition(Cause::SiteLost, bound));
        r.history = cooled.map(|ago| finished(Cause::Planned, ago)).into_iter().collect();
        r.entered.by = site(by);
        r.moves = judged.into_iter().map(|name| Verdict {
            hash: MoveHash(name.to_owned()), name: name.try_into().unwrap(), end: MoveEnd::Done,
            message: String::new(), epoch: 1, at: wall(), not_after: None,
        }).collect();
        r.unknown.insert("antigravity".to_owned(), true.into());
        r
    }
}

fn a_report() -> impl Strategy<Value = Report> {
    let base = (select(vec![0_u8, 1, 2, 3, 4, 5, 6, 7]), 8_u64..13).prop_map(|(kind, serial)| match kind {
        0 => primary(serial),
        1 => replica(serial),
        2 => orphan(serial),
        3 => proof(serial),
        4 => locked(serial),
        5 => dead(serial),
        6 => waiting(true),
        _ => {
            let mut r = waiting(false);
            r.serial = serial;
            r.state = ServerState::Failed { reason: "no space".to_owned(), commands: vec![] };
            r
        }
    });
    (base, any::<bool>(), any::<bool>(), proptest::option::of(0_u64..4), any::<bool>()).prop_map(
        |(mut r, sigterm, unlimited, opened, checkpointed)| {
            r.sigterm = sigterm && unlimited;
            r.unlimited = unlimited;
            r.opened_epoch = opened;
            if checkpointed {
                r.checkpointed = Some(r.serial);
            }
            r
        },
    )
}

prop_compose! {
    fn a_move()(
        name in select(vec!["m0", "m1", "m2"]), to in a_site(), kind in 0_u8..6, accept in any::<bool>(),
        epoch in proptest::option::of(0_u64..4), serial in proptest::option::of(8_u64..12),
        from in proptest::option::of(a_site()), before in proptest::option::of(a_time()),
        after in proptest::option::of(a_time()),
    ) -> Move {
        let to = site(to);
        let order = match kind {
            0 => Order::Switchover { to },
            1 => Order::Failover { to, source_stopped: None, accept_data_loss: accept },
            2 => Order::Failover { to, source_stopped: Some("Ada".to_owned()), accept_data_loss: accept },
            3 => Order::Hold,
            4 => Order::Resume,
            _ => Order::Abort,
        };
        Move { epoch, serial, from: from.map(site), not_before: before, not_after: after, ..mv(name, order) }
    }
}

prop_compose! {
    fn a_world()(
        me in a_site(), three in any::<bool>(), bare in any::<bool>(), suspend in select(vec![false, false, false, true]),
        seen in select(vec![0_u8, 0, 0, 0, 0, 1, 2]), record in proptest::option::weighted(0.95, a_record()),
        promote in select(vec![None, Some(0_u64), Some(1800)]), serve in select(vec![None, Some(2_u64), Some(10)]),
    )(
        record in Just(record), me in Just(me), seen in Just(seen), three in Just(three), bare in Just(bare),
        suspend in Just(suspend), promote in Just(promote), serve in Just(serve),
        report in proptest::option::weighted(0.8, a_report()), report2 in proptest::option::of(a_report()),
        contact in proptest::option::of((0_u64..1 << 30, 100_u64..100_000)),
        silent in (select(vec![0_u64, 1_000, 60_000]), select(vec![0_u64, 60_000]), select(vec![0_u64, 60_000])),
        observed in select(vec![500_u64, 60_000, 120_000]), unchanged in select(vec![100_u64, 4_000, 25_000, 70_000, 4_000_000]),
        lease in select(vec![Lease::Alive, Lease::Alive, Lease::Alive, Lease::Lapsed, Lease::Regained]),
        view in select(vec![View::Current, View::Current, View::Current, View::Outdated, View::Writing]),
        locking in select(vec![false, false, true]), moves in proptest::collection::vec(a_move(), 0..3),
        flag in select(vec![FlagValue::ReadOnly, FlagValue::ReadWrite, FlagValue::Missing]),
        at in (a_site(), 1_u64..3, 8_u64..12), verified in proptest::option::of(1_u64..4),
        unknowns in (any::<bool>(), any::<bool>(), 0_u8..12), ready_for in proptest::option::of(8_u64..12),
        blocked in select(vec![false, false, true]),
        stamps in proptest::collection::vec((select(vec![Stamp::Opened, Stamp::WriteVerified, Stamp::TrafficMoved, Stamp::StableSince,
            Stamp::TargetReady, Stamp::ReadOnlySeen, Stamp::Promoted, Stamp::DeadSince]), 0_u64..80_000), 0..5),
    ) -> Given {
        let names: &[&str] = if three { &["paris", "lyon", "milan"] } else { &["paris", "lyon"] };
        let mut g = Given::at(me).policy(|p| {
            *p = policy_in(names);
            p.suspend = suspend;
            p.failover.promote_after = promote.map_or(After::Never, |s| After::Elapsed(Duration::from_secs(s)));
            p.failover.serve_reads_after = serve.map_or(After::Never, |s| After::Elapsed(Duration::from_secs(s)));
            if bare { p.databases.clear(); } else if three { p.databases.insert(item("second"), database(names)); }
        });
        if let Some(r) = record { g = g.record(r); }
        match report { Some(r) => g = g.report(r), None => g = g.guard_unknown() }
        if let Some(r) = report2 {
            let view = crate::world::given::database(r);
            g.seen.databases.insert(item("second"), view);
        }
        match contact {
            Some((gap, ago)) => g = g.contact(gap, ago),
            None => g.seen.databases.get_mut(&item("main")).unwrap().last_contact = None,
        }
        g = g.silent("paris", silent.0).silent("lyon", silent.1).silent("milan", silent.2);
        g.observed = observed;
        g = g.for_ms(unchanged).lease(lease).view(view).flag(flag).traffic_at(at.0, at.1, at.2);
        if locking { g = g.locking(); }
        for m in moves {
            // A hash is a Move's identity.
            if g.moves.iter().all(|known| known.hash != m.hash) { g = g.moved(m); }
        }
        if let Some(e) = verified { g = g.verified(e); }
        for other in names.iter().filter(|n| **n != me) {
            g = g.facts(other, |f| {
                f.ready_for = ready_for;
                if blocked { f.blockers.push(Gate::new("b", Answer::NotYet, "x", "y")); }
            });
        }
        if unknowns.0 { g.seen.workloads.clear(); }
        if unknowns.1 { g.seen.sites.clear(); }
        match unknowns.2 {
            0 => g.seen.high_water = Fact::unknown("unreadable"),
            1 => g.seen.high_water = Fact::now(Marks { generation: 0, epoch: 2, serial: 11 }),
            2 => g.seen.high_water = Fact::now(Marks::default()),
            _ => {}
        }
        for (stamp, ago) in stamps { g = g.stamped(stamp, ago); }
        match seen {
            1 => g.policy = Seen::Absent,
            2 => g.policy = Seen::NotListed,
            _ => {}
        }
        g
    }
}

fn bytes(plan: &Plan) -> String {
    format!("{plan:?}")
}

fn proposed(given: &Given, plan: &Plan) -> Option<(Record, Record)> {
    Some((given.record.clone()?, plan.transition.as_ref()?.next.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(500), max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decide_always_answers_and_always_the_same(given in a_world()) {
        prop_assert_eq!(bytes(&given.plan()), bytes(&given.plan()));
    }

    #[test]
    fn the_second_opinion_never_contradicts_a_decision(given in a_world()) {
        given.look(|s| {
            let plan = bascule_core::decide::decide(s);
            let found = check(given.record.as_ref(), &plan, s);
            prop_assert!(found.is_empty(), "{:?}\nplan: {:?}\nrecord: {:?}", found, plan, given.record);
            Ok(())
        })?;
    }

    #[test]
    fn it_never_contradicts_what_gateways_are_told(given in a_world(), to in proptest::option::of(a_site()), writes in proptest::option::weighted(0.9, a_word_about_writes()), asked in any::<bool>(), at in (1_u64..3, 8_u64..12)) {
        let mut given = given.policy(|p| { p.traffic.insert(item("gateway"), crate::gateways::route(asked)); });
        let at = TrafficAt { site: to.map(site), epoch: at.0, serial: at.1, writes, ..TrafficAt::default() };
        let view = TrafficView { at: Fact::now(at), blockers: Fact::now(vec![]) };
        given.seen.traffic.insert(item("gateway"), view);
        given.look(|s| {
            let plan = bascule_core::decide::decide(s);
            let found = check(given.record.as_ref(), &plan, s);
            prop_assert!(found.is_empty(), "{:?}\nplan: {:?}\nrecord: {:?}", found, plan, given.record);
            let mut lanes: Vec<_> = plan.steps.iter().map(Step::lane).collect();
            lanes.sort();
            lanes.dedup();
            prop_assert_eq!(lanes.len(), plan.steps.len(), "one effect for each lane: {:?}", plan.steps);
            Ok(())
        })?;
    }

    #[test]
    fn every_change_raises_the_serial_by_one_and_the_epoch_exactly_with_the_active_site(given in a_world()) {
        let plan = given.plan();
        if let Some((before, next)) = proposed(&given, &plan) {
            prop_assert_eq!(next.serial, before.serial + 1);
            prop_assert_eq!(next.epoch, before.epoch + u64::from(next.active != before.active));
            prop_assert_eq!(next.unknown, before.unknown);
            prop_assert_eq!(next.generation, before.generation);
        }
    }

    #[test]
    fn a_site_makes_only_itself_active_and_only_into_promoting(given in a_world()) {
        let plan = given.plan();
        if let Some((before, next)) = proposed(&given, &plan) && next.active != before.active {
            prop_assert_eq!(&next.active, &given.me);
            prop_assert_eq!(next.phase, Phase::Promoting);
            prop_assert!(!next.settled);
            let silence = plan.transition.as_ref().unwrap().unchanged_lease.is_some();
            let proof = before.phase == Phase::Handover && before.target.as_ref() == Some(&given.me);
            prop_assert!(silence || proof || before.phase == Phase::Offered);
        }
    }

    #[test]
    fn nothing_is_proposed_without_the_own_lease_or_from_an_overtaken_view(given in a_world()) {
        if given.lease == Lease::Lapsed || (given.view != View::Current && given.record.is_some()) {
            prop_assert!(given.plan().transition.is_none());
        }
    }

    #[test]
    fn a_record_that_is_not_understood_is_never_changed(given in a_world()) {
        if given.record.as_ref().is_some_and(|r| !r.is_understood()) {
            let plan = given.plan();
            prop_assert!(plan.transition.is_none() && plan.steps.is_empty() && !plan.lock);
        }
    }

    #[test]
    fn what_is_not_known_never_promotes_by_itself(given in a_world()) {
        let mut given = given;
        given.seen = bascule_core::observation::Observation {
            high_water: given.seen.high_water.clone(), ..Default::default()
        };
        if matches!(&given.policy, Seen::Present(p) if p.databases.is_empty()) {
            return Ok(());
        }
        let plan = given.plan();
        if let Some((before, next)) = proposed(&given, &plan) {
            prop_assert_eq!(next.active, before.active);
        }
    }

    #[test]
    fn a_move_with_a_verdict_starts_nothing(given in a_world()) {
        let mut given = given;
        given.moves.retain(|m| given.record.as_ref().is_some_and(|r| r.verdict(&m.hash).is_some()));
        let with = given.plan();
        given.moves.clear();
        prop_assert_eq!(bytes(&with), bytes(&given.plan()));
    }

    #[test]
    fn flags_are_cleared_and_traffic_is_pointed_only_by_the_site_that_may(given in a_world()) {
        let (plan, grants) = given.look(|s| (bascule_core::decide::decide(s), s.grants()));
        for step in &plan.steps {
            let record = given.record.as_ref().unwrap();
            match step {
                Step::SetReadOnly { on: false, .. } => prop_assert!(grants && record.active == given.me),
                Step::PointTraffic { site, epoch, serial, .. } => {
                    prop_assert_eq!(site, &given.me);
                    prop_assert_eq!((*epoch, *serial), (record.epoch, record.serial));
                    let reads = record.phase == Phase::ReadOnly && record.target.as_ref() == Some(&given.me);
                    prop_assert!(grants || reads);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_policy_that_is_not_in_force_starts_nothing(given in a_world()) {
        let in_force = matches!(&given.policy, Seen::Present(p) if !p.suspend);
        let plan = given.plan();
        if !in_force && let Some((before, next)) = proposed(&given, &plan) {
            prop_assert_eq!(&next.active, &before.active);
            let started = matches!(next.phase, Phase::Requested | Phase::ReadOnly | Phase::Handover)
                && next.phase != before.phase;
            prop_assert!(!started, "{} to {}", before.phase, next.phase);
        }
    }
}
