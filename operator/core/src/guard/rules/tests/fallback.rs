//! The guard's own way to the arbiter, and roles that it remembers.

use super::*;

#[test]
fn without_an_operator_the_guard_reads_the_record_then_renews_and_counts_from_the_read() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    assert_eq!(g.on(Event::Tick { tell: false }, 349), [], "silent for less than Tq");
    assert_eq!(g.on(Event::Tick { tell: false }, 350), [Action::ReadRecord { number: 1 }]);
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: FENCES, marks });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 400), [Action::RenewLease { number: 1 }]);
    g.on(Event::LeaseRenewed { number: 1, done: true }, 500);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1600)));
    assert!(g.rules.fallback_in_use());
}

#[test]
fn a_question_to_the_arbiter_that_is_under_way_keeps_the_guard_from_nothing_but_sleep() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    assert_eq!(g.on(Event::Tick { tell: false }, 350), [Action::ReadRecord { number: 1 }]);
    for at in [351, 400, 500] {
        let now = Boottime::from_millis(at);
        assert!(g.rules.wakes(now) > now, "it would turn round and round at {at} ms");
    }
}

#[test]
fn the_fallback_does_not_renew_while_locked_or_stopped() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    g.on(Event::Tick { tell: false }, 350);
    g.on(Event::Connected, 360);
    g.tell(says(6, Role::Lock), 370);
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: FENCES, marks });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 400), []);
    g.on(Event::Disconnected, 410);
    for at in (420..1200).step_by(50) {
        assert_eq!(g.on(Event::Tick { tell: false }, at), []);
    }
}

#[test]
fn an_unmanaged_database_keeps_its_role_over_a_restart_once_no_operator_has_spoken() {
    let mut g = Guard::open_primary();
    g.on(Event::Tick { tell: true }, 100);
    let unmanaged = Instruction { unmanaged: true, grant: Some(Grant::Unlimited), ..says(6, serve(true)) };
    g.answer(unmanaged, 110);
    assert_eq!(g.rules.deadline(), Deadline::Never);
    let mut again = Guard::with(g.rules.memory().clone(), cluster(false));
    assert_eq!(again.on(Event::Tick { tell: false }, 4999), []);
    assert_eq!(again.on(Event::Tick { tell: false }, 5000), [Action::StartPrimary]);
    let mut told = Guard::with(g.rules.memory().clone(), cluster(false));
    told.tell(says(7, follow()), 10);
    told.server(ServerState::Standby { open: true }, 20);
    assert_eq!(told.on(Event::Tick { tell: false }, 6000), [], "an operator's word replaces the memory");
}

#[test]
fn an_answer_without_a_grant_does_not_switch_the_fallback_off() {
    let mut g = Guard::open_primary();
    for (role, at) in [(serve(true), 300), (Role::Keep, 320)] {
        g.on(Event::Tick { tell: true }, at);
        assert_eq!(g.answer(says(5, role), at + 10), []);
    }
    let read = g.on(Event::Tick { tell: false }, 600);
    assert_eq!(read, [Action::ReadRecord { number: 1 }]);
    g.on(Event::Tick { tell: true }, 610);
    g.answer(says(5, serve(true)), 620);
    let marks = HighWater { epoch: 1, serial: 5, generation: 0 };
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: FENCES, marks });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 630), [Action::RenewLease { number: 1 }]);
    g.on(Event::LeaseRenewed { number: 1, done: true }, 640);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1850)));
}

#[test]
fn the_fallback_keeps_the_promise_of_the_record_when_it_is_less_than_what_this_site_is_set_to() {
    let extended = |fences| {
        let mut g = Guard::open_primary();
        g.on(Event::Disconnected, 100);
        g.on(Event::Tick { tell: false }, 350);
        let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
        let view = Some(RecordView { active_here: true, phase_grants: true, fences, marks });
        g.on(Event::RecordRead { number: 1, view }, 400);
        g.on(Event::LeaseRenewed { number: 1, done: true }, 500);
        (g.rules.deadline(), g.rules.timing().f)
    };
    let within = |holder, fence| Fences::Within { holder: Millis(holder), fence: Millis(fence) };
    assert_eq!(extended(within(1000, 200)), (Deadline::At(t(1350)), Millis(200)));
    assert_eq!(extended(within(5000, 1000)), (Deadline::At(t(1600)), Millis(300)));
}

#[test]
fn a_remembered_role_is_taken_up_only_when_the_record_agrees() {
    let memory = Memory {
        high_water: HighWater { epoch: 1, serial: 6, generation: 0 },
        unmanaged: Some(serve(true)),
        ..Memory::default()
    };
    let marks = memory.high_water;
    let agrees = RecordView { active_here: true, phase_grants: true, fences: Fences::Never, marks };
    let refused = [
        None,
        Some(RecordView { active_here: false, ..agrees }),
        Some(RecordView { phase_grants: false, ..agrees }),
        Some(RecordView { fences: FENCES, ..agrees }),
        Some(RecordView { marks: HighWater { serial: 5, ..marks }, ..agrees }),
    ];
    let read = [Action::ReadRecord { number: 0 }];
    for view in refused {
        let mut g = Guard::with(memory.clone(), cluster(false));
        g.rules = g.rules.with_arbiter(true);
        assert_eq!(g.on(Event::Tick { tell: false }, 4999), []);
        assert_eq!(g.on(Event::Tick { tell: false }, 5000), read);
        assert_eq!(g.on(Event::Tick { tell: false }, 5010), [], "one question at a time");
        assert_eq!(g.on(Event::RecordRead { number: 0, view }, 5050), [], "{view:?}");
        assert!(g.rules.waits_for().is_some(), "{view:?}");
        assert_eq!(g.on(Event::Tick { tell: false }, 5060), [], "not without a pause");
        assert_eq!(g.on(Event::Tick { tell: false }, 5200), read);
        let started = g.on(Event::RecordRead { number: 0, view: Some(agrees) }, 5210);
        assert_eq!(started, [Action::StartPrimary]);
        assert_eq!(g.rules.waits_for(), None);
        g.server(ServerState::Primary { open: false }, 5220);
        g.server(ServerState::Primary { open: true }, 5230);
        let died = Event::Server { state: ServerState::Down, died: Some("a crash".into()) };
        assert_eq!(g.on(died, 9000), read, "asked again before every start");
    }
}

#[test]
fn a_remembered_role_that_the_record_confirmed_is_not_asked_about_while_its_server_runs() {
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let memory = Memory { high_water: marks, unmanaged: Some(serve(true)), ..Memory::default() };
    let mut g = Guard::with(memory, cluster(false));
    g.rules = g.rules.with_arbiter(true);
    assert_eq!(g.on(Event::Tick { tell: false }, 5000), [Action::ReadRecord { number: 0 }]);
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: Fences::Never, marks });
    assert_eq!(g.on(Event::RecordRead { number: 0, view }, 5010), [Action::StartPrimary]);
    let open = [Action::Open { epoch: 1, slots: vec!["bascule_lyon".into()] }];
    assert_eq!(g.server(ServerState::Primary { open: false }, 6000), open);
    assert_eq!(g.server(ServerState::Primary { open: true }, 6010), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 9000), []);
}

#[test]
fn a_renewal_that_was_on_its_way_when_the_pod_was_asked_to_end_extends_nothing() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    g.on(Event::Tick { tell: false }, 350);
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: FENCES, marks });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 400), [Action::RenewLease { number: 1 }]);
    g.on(Event::Sigterm, 450);
    g.on(Event::LeaseRenewed { number: 1, done: true }, 500);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1250)));
}

#[test]
fn a_remembered_role_that_cannot_be_confirmed_is_asked_about_after_longer_and_longer_pauses() {
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let memory = Memory { high_water: marks, unmanaged: Some(serve(true)), ..Memory::default() };
    let mut g = Guard::with(memory, cluster(false));
    g.rules = g.rules.with_arbiter(true);
    let (mut at, read) = (5_000, [Action::ReadRecord { number: 0 }]);
    for pause in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000, 10_000, 10_000] {
        assert_eq!(g.on(Event::Tick { tell: false }, at), read);
        assert_eq!(g.on(Event::RecordRead { number: 0, view: None }, at), []);
        assert_eq!(g.on(Event::Tick { tell: false }, at + pause - 1), []);
        at += pause;
    }
}

#[test]
fn why_a_remembered_role_waits_is_told_at_once_and_once() {
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let memory = Memory { high_water: marks, unmanaged: Some(serve(true)), ..Memory::default() };
    let mut g = Guard::with(memory, cluster(false));
    g.rules = g.rules.with_arbiter(true);
    g.on(Event::Tick { tell: false }, 5000);
    let asked = g.asked.len();
    g.on(Event::RecordRead { number: 0, view: None }, 5010);
    assert_eq!(g.asked.len(), asked + 1);
    g.on(Event::Tick { tell: false }, 5110);
    g.on(Event::RecordRead { number: 0, view: None }, 5120);
    assert_eq!(g.asked.len(), asked + 1);
}
