//! Against real PostgreSQL 15 servers.

use std::time::{Duration, Instant};

use bascule_core::observation::Fact;
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::position::{Lsn, SystemId, Timeline};
use rustix::process::Signal;
use secrecy::SecretString;

use super::server::{GOOD, PASSWORD, Server};
use super::{
    ConnectErrorKind, Expected, ExpectedRole, Facts, Postgres, PostgresTarget, ROLE_SQL, ReplayPause,
    Thresholds, Tls, WriteCheck, grants,
};
use crate::finding::{Finding, Severity};

const WAIT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(800);

fn limits() -> Thresholds {
    Thresholds {
        dead_link_within: Duration::from_secs(2),
        retry_at_most: Duration::from_millis(100),
        wal_senders_at_least: 3,
        slots_at_least: 2,
        replicas_change_primary: false,
    }
}

fn known<T: Clone>(fact: &Fact<T>) -> T {
    fact.value().unwrap_or_else(|| panic!("not known")).clone()
}

/// Asks until it is so: the server works towards it by itself.
async fn until(postgres: &Postgres, what: &str, is: impl Fn(&Facts) -> bool) -> Facts {
    let start = Instant::now();
    loop {
        let facts = postgres.facts(WAIT).await;
        if is(&facts) {
            return facts;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "never {what}: {facts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn streaming(facts: &Facts) -> bool {
    facts.wal_receiver.value().is_some_and(|r| {
        r.as_ref().is_some_and(|r| {
            r.status == "streaming" && r.latest_end.is_some() && r.received_timeline.is_some()
        })
    })
}

async fn system(postgres: &Postgres) -> SystemId {
    known(&postgres.facts(WAIT).await.system_identifier)
}

fn expected(disk: Option<SystemId>) -> Expected {
    Expected { disk, field: "spec.databases[main].postgresql.instances[paris].host".to_owned() }
}

fn nothing_told() -> Expected {
    expected(None)
}

/// The gates that are not passed.
async fn gates(postgres: &Postgres, active: bool, expected: &Expected) -> Vec<Gate> {
    let mut gates = known(&postgres.gates("database/main", active, expected, &limits(), WAIT).await);
    gates.retain(|gate| !gate.passed());
    gates
}

fn find<'a>(findings: &'a [Finding], code: &str) -> &'a Finding {
    findings.iter().find(|f| f.code == code).unwrap_or_else(|| panic!("no {code} in {findings:?}"))
}

#[tokio::test]
async fn a_pair_is_seen_from_both_sides() {
    let primary = Server::primary(GOOD);
    let standby = primary.standby(GOOD);
    let (at_primary, at_standby) = (Postgres::new(primary.target()), Postgres::new(standby.target()));
    let s = until(&at_standby, "streaming", streaming).await;
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)").await;
    let p = at_primary.facts(WAIT).await;
    assert!(!known(&p.in_recovery) && known(&s.in_recovery));
    assert_eq!(known(&p.system_identifier), known(&s.system_identifier));
    assert_eq!(known(&p.server_version_num) / 10_000, 15);
    assert_eq!((known(&p.timeline), known(&s.timeline)), (Timeline(1), Timeline(1)));
    assert_eq!((known(&p.checkpoint_timeline), known(&s.checkpoint_timeline)), (Timeline(1), Timeline(1)));
    assert!(!known(&p.default_transaction_read_only));
    assert_eq!(known(&p.prepared_transactions), 0);
    assert_eq!((known(&p.standby), known(&s.primary)), (None, None));
    assert_eq!(known(&p.wal_receiver), None);

    let written = known(&p.primary).unwrap().flush;
    let p = until(&at_primary, "replicated", |f| {
        f.replicas.value().is_some_and(|r| r.first().is_some_and(|r| r.flush >= Some(written)))
    })
    .await;
    let replica = known(&p.replicas).remove(0);
    assert_eq!((replica.state.as_str(), replica.sync_state.as_str()), ("streaming", "async"));
    assert_eq!(replica.client_address.as_deref(), Some("127.0.0.1"));
    let slot = known(&p.slots).remove(0);
    assert_eq!((slot.name.as_str(), slot.active, slot.physical), ("follower", true, true));
    assert_eq!(slot.wal_status.as_deref(), Some("reserved"));
    assert!(slot.safe_wal_size.is_some());

    let s = until(&at_standby, "replayed", |f| {
        f.standby.value().is_some_and(|s| s.is_some_and(|s| s.replay >= Some(written)))
    })
    .await;
    let position = known(&s.standby).unwrap();
    assert_eq!(position.pause, ReplayPause::Running);
    assert!(position.held() >= Some(written));
    let receiver = known(&s.wal_receiver).unwrap();
    assert_eq!(receiver.sender_host.as_deref(), Some("127.0.0.1"));
    assert_eq!(receiver.slot.as_deref(), Some("follower"));
    assert!(receiver.latest_end >= Some(written) && receiver.flushed >= Some(written));
    assert!(receiver.last_message_age.unwrap() < Duration::from_secs(30));
    assert!(receiver.latest_end_age.unwrap() >= receiver.last_message_age.unwrap());
}

#[tokio::test]
async fn a_promotion_shows_at_once_and_the_control_file_lags() {
    let primary = Server::primary(GOOD);
    let standby = primary.standby(GOOD);
    let at_standby = Postgres::new(standby.target());
    until(&at_standby, "streaming", streaming).await;
    standby.sql("SELECT pg_promote(true, 60)").await;
    let facts = at_standby.facts(WAIT).await;
    assert!(!known(&facts.in_recovery));
    assert_eq!(known(&facts.timeline), Timeline(2));
    assert_eq!(known(&facts.primary).unwrap().timeline, Timeline(2));
    until(&at_standby, "checkpointed", |f| f.checkpoint_timeline.value() == Some(&Timeline(2))).await;
    // Both take writes now: the facts for the alarm, and the judgement is not made here.
    let other = Postgres::new(primary.target()).facts(WAIT).await;
    assert_eq!(known(&other.system_identifier), known(&facts.system_identifier));
    assert!(!known(&other.in_recovery));
}

#[tokio::test]
async fn a_standby_without_its_primary_and_one_with_paused_replay_are_told_apart() {
    let mut primary = Server::primary(GOOD);
    let standby = primary.standby(GOOD);
    let at_standby = Postgres::new(standby.target());
    until(&at_standby, "streaming", streaming).await;
    standby.sql("SELECT pg_wal_replay_pause()").await;
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)").await;
    let facts = until(&at_standby, "ahead of its replay", |f| {
        f.standby
            .value()
            .is_some_and(|s| s.is_some_and(|s| s.pause == ReplayPause::Paused && s.receive > s.replay))
    })
    .await;
    assert_eq!(known(&facts.standby).unwrap().held(), known(&facts.standby).unwrap().receive);
    primary.stop();
    let facts = until(&at_standby, "without a receiver", |f| f.wal_receiver.value() == Some(&None)).await;
    assert!(facts.timeline.value().is_none(), "a standby without a receiver does not know");
    assert_eq!(known(&facts.checkpoint_timeline), Timeline(1));
    assert!(known(&facts.standby).unwrap().receive.is_some(), "what was received stays known");
}

#[tokio::test]
async fn every_kind_of_trouble_with_connecting_is_told_apart() {
    let mut server = Server::primary(GOOD);
    let mut wrong_password = server.target();
    wrong_password.password = SecretString::from("wrong");
    let mut nobody = server.target();
    nobody.user = "nobody".to_owned();
    let mut no_database = server.target();
    no_database.dbname = "nothing".to_owned();
    for (target, kind, code) in [
        (wrong_password, ConnectErrorKind::Password, "ConnectPassword"),
        (nobody, ConnectErrorKind::Password, "ConnectPassword"),
        (no_database, ConnectErrorKind::NoDatabase, "ConnectNoDatabase"),
    ] {
        let postgres = Postgres::new(target);
        let facts = postgres.facts(WAIT).await;
        let error = facts.unreachable.clone().unwrap();
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.message.contains("wrong") && !error.message.contains(PASSWORD), "{error}");
        assert!(facts.in_recovery.value().is_none() && facts.slots.value().is_none());
        let findings = postgres.preflight(ExpectedRole::Either, &limits(), WAIT).await;
        assert_eq!(find(&findings, code).severity, Severity::Block);
        assert!(matches!(postgres.verify_write(SystemId(1), WAIT).await, WriteCheck::Refused { .. }));
    }
    let postgres = Postgres::new(server.target());
    assert!(postgres.facts(WAIT).await.unreachable.is_none());

    // Closed by its guard: the operator is told so.
    server.write_hba("");
    server.sql("SELECT pg_reload_conf()").await;
    server.await_log("reloading configuration");
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bascule'").await;
    let facts = postgres.facts(WAIT).await;
    assert_eq!(facts.unreachable.unwrap().kind, ConnectErrorKind::NotAllowed);

    server.stop();
    let facts = postgres.facts(WAIT).await;
    assert_eq!(facts.unreachable.unwrap().kind, ConnectErrorKind::Unreachable);
    let findings = postgres.preflight(ExpectedRole::Primary, &limits(), WAIT).await;
    assert_eq!(find(&findings, "ConnectUnreachable").field, "connection");
}

#[tokio::test]
async fn a_frozen_server_costs_the_deadline_and_nothing_more() {
    let server = Server::primary(GOOD);
    let postgres = Postgres::new(server.target());
    assert!(postgres.facts(WAIT).await.in_recovery.value().is_some());
    server.signal_all(Signal::STOP);
    let start = Instant::now();
    assert!(postgres.facts(SHORT).await.in_recovery.value().is_none());
    assert!(start.elapsed() < SHORT * 4, "{:?}", start.elapsed());
    assert_eq!(postgres.facts(SHORT).await.unreachable.unwrap().kind, ConnectErrorKind::Timeout);
    let findings = postgres.preflight(ExpectedRole::Primary, &limits(), SHORT).await;
    assert_eq!(findings[0].code, "ConnectTimeout");
    assert!(matches!(postgres.verify_write(SystemId(1), SHORT).await, WriteCheck::Refused { .. }));
    server.signal_all(Signal::CONT);
    assert!(postgres.facts(WAIT).await.in_recovery.value().is_some(), "it recovers by itself");
}

#[tokio::test]
async fn a_restart_between_two_questions_is_not_noticed() {
    let mut server = Server::primary(GOOD);
    let postgres = Postgres::new(server.target());
    assert!(postgres.facts(WAIT).await.in_recovery.value().is_some());
    server.stop();
    server.start();
    assert!(postgres.facts(WAIT).await.in_recovery.value().is_some());
}

#[tokio::test]
async fn the_session_that_asks_is_not_counted() {
    let server = Server::primary(GOOD);
    let _admin = server.superuser().await;
    let facts = Postgres::new(server.target()).facts(WAIT).await;
    assert_eq!(known(&facts.client_backends), 1, "only the superuser's");
}

#[tokio::test]
async fn a_committed_write_is_proved_by_its_log_on_disk() {
    let server = Server::primary(GOOD);
    let postgres = Postgres::new(server.target());
    let before = known(&postgres.facts(WAIT).await.primary).unwrap().flush;
    let WriteCheck::Committed { flushed, .. } = postgres.verify_write(system(&postgres).await, WAIT).await
    else {
        panic!()
    };
    assert!(flushed > before);
    // Why a transaction id alone would not do: its commit is not flushed.
    let admin = server.superuser().await;
    admin.batch_execute("ALTER SYSTEM SET wal_writer_delay = '10s'").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let position = "SELECT pg_current_wal_insert_lsn()::text, pg_current_wal_flush_lsn()::text";
    let lsn = |row: &tokio_postgres::Row, i: usize| row.get::<_, String>(i).parse::<Lsn>().unwrap();
    let seen = async {
        for _ in 0..20 {
            admin.batch_execute("BEGIN; SELECT pg_current_xact_id(); COMMIT").await.unwrap();
            let row = admin.query_one(position, &[]).await.unwrap();
            if lsn(&row, 0) > lsn(&row, 1) {
                return true;
            }
        }
        false
    };
    assert!(seen.await, "an id alone was flushed every time");
}

#[tokio::test]
async fn a_host_that_leads_to_another_database_blocks_and_no_write_there_proves_anything() {
    let (own, other) = (Server::primary(GOOD), Server::primary(GOOD));
    let (at_own, at_other) = (Postgres::new(own.target()), Postgres::new(other.target()));
    let (disk, elsewhere) = (system(&at_own).await, system(&at_other).await);
    let told = expected(Some(disk));
    assert_eq!(gates(&at_own, true, &told).await, []);
    assert!(at_own.prove_write(&told, WAIT).await.is_done());
    let unproved = at_own.prove_write(&nothing_told(), WAIT).await;
    assert!(matches!(&unproved, Outcome::Refused { reason } if reason.contains("no guard")), "{unproved:?}");

    let [gate] = gates(&at_other, true, &told).await.try_into().unwrap();
    assert_eq!((gate.name.as_str(), gate.answer), ("database/main/identity", Answer::No));
    let before = known(&at_other.facts(WAIT).await.primary).unwrap().insert;
    let Outcome::Refused { reason } = at_other.prove_write(&told, WAIT).await else { panic!() };
    for text in [gate.words(), reason] {
        for part in [&disk.to_string(), &elsewhere.to_string(), &told.field] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    assert_eq!(
        known(&at_other.facts(WAIT).await.primary).unwrap().insert,
        before,
        "nothing was written there"
    );
}

#[tokio::test]
async fn a_primary_in_a_site_that_is_not_active_is_an_alarm_until_it_is_closed() {
    let primary = Server::primary(GOOD);
    let standby = primary.standby(GOOD);
    let postgres = Postgres::new(standby.target());
    let told = expected(Some(system(&postgres).await));
    assert_eq!(gates(&postgres, false, &told).await, []);
    standby.sql("SELECT pg_promote(true, 60)").await;
    let [gate] = gates(&postgres, false, &told).await.try_into().unwrap();
    assert_eq!((gate.name.as_str(), gate.answer), ("database/main/twoWriters", Answer::No));
    for part in ["is a primary on timeline 2", "this site is not active", "Two servers", &told.field] {
        assert!(gate.words().contains(part), "{part} in {}", gate.words());
    }
    standby.write_hba("");
    standby.sql("SELECT pg_reload_conf()").await;
    standby.await_log("reloading configuration");
    assert_eq!(gates(&postgres, false, &told).await, [], "nobody is let in");
}

#[tokio::test]
async fn a_write_is_refused_by_a_standby_and_by_a_read_only_server() {
    let primary = Server::primary(GOOD);
    let standby = primary.standby(GOOD);
    let at_standby = Postgres::new(standby.target());
    let WriteCheck::Refused { why } = at_standby.verify_write(system(&at_standby).await, WAIT).await else {
        panic!()
    };
    assert!(why.contains("recovery"), "{why}");
    primary.sql("ALTER SYSTEM SET default_transaction_read_only = on").await;
    primary.sql("SELECT pg_reload_conf()").await;
    let postgres = Postgres::new(primary.target());
    until(&postgres, "read-only", |f| f.default_transaction_read_only.value() == Some(&true)).await;
    let WriteCheck::Refused { why } = postgres.verify_write(system(&postgres).await, WAIT).await else {
        panic!()
    };
    assert!(why.contains("default_transaction_read_only"), "{why}");
}

#[tokio::test]
async fn a_commit_that_waits_for_a_synchronous_standby_is_unknown() {
    let server = Server::primary(GOOD);
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    server.sql("SELECT pg_reload_conf()").await;
    server.await_log("reloading configuration");
    let postgres = Postgres::new(server.target());
    let of = system(&postgres).await;
    let start = Instant::now();
    let check = postgres.verify_write(of, SHORT).await;
    assert!(matches!(check, WriteCheck::Unknown { .. }), "{check:?}");
    assert!(start.elapsed() < SHORT * 4);
}

#[tokio::test]
async fn exactly_the_grants_of_the_script_suffice_and_each_missing_one_is_named() {
    let server = Server::primary(&format!("{GOOD},wal_log_hints=on"));
    let admin = server.superuser().await;
    admin.batch_execute("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC").await.unwrap();
    let postgres = Postgres::new(server.target());
    let preflight = async || postgres.preflight(ExpectedRole::Primary, &limits(), WAIT).await;
    let findings = preflight().await;
    assert_eq!(findings.iter().map(|f| f.code).collect::<Vec<_>>(), ["ListenAddresses"], "{findings:?}");
    assert!(matches!(
        postgres.verify_write(system(&postgres).await, WAIT).await,
        WriteCheck::Committed { .. }
    ));

    let grants: Vec<&str> = ROLE_SQL.lines().filter(|l| l.starts_with("GRANT")).collect();
    assert_eq!(grants.len(), 2, "each grant of the script is taken away below");
    for grant in grants {
        let grant = grant.replace(":\"DBNAME\"", "postgres");
        let revoke = grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ");
        admin.batch_execute(&revoke).await.unwrap();
        let findings = preflight().await;
        let finding = find(&findings, "MissingGrant");
        let right = grant.trim_start_matches("GRANT ").split(" ON ").next().unwrap();
        let right = right.split(" TO ").next().unwrap();
        assert_eq!((finding.field.as_str(), finding.severity), (&*format!("grant {right}"), Severity::Block));
        let statement = finding.hint.split_once(": ").unwrap().1;
        admin.batch_execute(statement).await.unwrap();
        assert_eq!(preflight().await.len(), 1, "the advised statement repairs it: {statement}");
    }
    for function in grants::FUNCTIONS {
        admin.batch_execute(&format!("REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")).await.unwrap();
        let findings = preflight().await;
        let finding = find(&findings, "MissingGrant");
        assert_eq!(finding.field, format!("grant EXECUTE ON FUNCTION {function}"));
        admin.batch_execute(finding.hint.split_once(": ").unwrap().1).await.unwrap();
    }
    for view in grants::VIEWS {
        admin.batch_execute(&format!("REVOKE SELECT ON {view} FROM PUBLIC")).await.unwrap();
        let findings = preflight().await;
        let finding = find(&findings, "MissingGrant");
        assert_eq!(finding.field, format!("grant SELECT ON {view}"));
        admin.batch_execute(finding.hint.split_once(": ").unwrap().1).await.unwrap();
    }
    assert_eq!(preflight().await.len(), 1);
}

#[tokio::test]
async fn without_its_grants_a_role_gets_unknowns_and_never_zeros() {
    let primary = Server::primary(GOOD);
    let standby = primary.standby(GOOD);
    let (at_primary, at_standby) = (Postgres::new(primary.target()), Postgres::new(standby.target()));
    until(&at_standby, "streaming", streaming).await;
    primary
        .sql("REVOKE pg_read_all_stats FROM bascule; REVOKE SELECT ON pg_replication_slots FROM PUBLIC")
        .await;
    let facts = at_primary.facts(WAIT).await;
    for (what, reason) in [
        ("replicas", format!("{:?}", facts.replicas)),
        ("client backends", format!("{:?}", facts.client_backends)),
    ] {
        assert!(reason.contains("pg_read_all_stats"), "{what}: {reason}");
    }
    assert!(format!("{:?}", facts.slots).contains("permission denied"));
    assert!(facts.primary.value().is_some() && facts.prepared_transactions.value().is_some());
    let facts = until(&at_standby, "revoked there too", |f| f.wal_receiver.value().is_none()).await;
    assert!(format!("{:?}", facts.wal_receiver).contains("pg_read_all_stats"));
    assert!(facts.standby.value().is_some());
}

#[tokio::test]
async fn each_setting_that_would_hurt_is_named() {
    let bad = "wal_level=minimal,max_wal_senders=0,max_replication_slots=0,wal_receiver_timeout=0,\
        wal_sender_timeout=3s,wal_receiver_status_interval=10s,wal_retrieve_retry_interval=5s,fsync=off,\
        full_page_writes=off,synchronous_commit=off,recovery_min_apply_delay=1s,hot_standby=off,\
        max_standby_streaming_delay=-1,recovery_target_timeline=current,default_transaction_read_only=off";
    let server = Server::primary(bad);
    let findings = Postgres::new(server.target()).preflight(ExpectedRole::Standby, &limits(), WAIT).await;
    let expected = [
        ("Role", Severity::Block, "role", "a primary"),
        ("WalLevel", Severity::Block, "setting wal_level", "minimal"),
        ("MaxWalSenders", Severity::Block, "setting max_wal_senders", "0"),
        ("MaxReplicationSlots", Severity::Block, "setting max_replication_slots", "0"),
        ("MaxSlotWalKeepSize", Severity::Warn, "setting max_slot_wal_keep_size", "-1"),
        ("WalReceiverTimeout", Severity::Block, "setting wal_receiver_timeout", "0"),
        ("WalSenderTimeout", Severity::Block, "setting wal_sender_timeout", "3000 ms"),
        ("WalReceiverStatusInterval", Severity::Warn, "setting wal_receiver_status_interval", "10 s"),
        ("WalRetrieveRetryInterval", Severity::Warn, "setting wal_retrieve_retry_interval", "5000 ms"),
        ("HotStandby", Severity::Block, "setting hot_standby", "off"),
        ("RecoveryMinApplyDelay", Severity::Block, "setting recovery_min_apply_delay", "1000 ms"),
        ("RecoveryTargetTimeline", Severity::Block, "setting recovery_target_timeline", "current"),
        ("MaxStandbyStreamingDelay", Severity::Warn, "setting max_standby_streaming_delay", "-1"),
        ("PrimarySlotName", Severity::Warn, "setting primary_slot_name", "''"),
        ("Fsync", Severity::Block, "setting fsync", "off"),
        ("FullPageWrites", Severity::Block, "setting full_page_writes", "off"),
        ("SynchronousCommit", Severity::Warn, "setting synchronous_commit", "off"),
        ("ListenAddresses", Severity::Warn, "setting listen_addresses", "127.0.0.1"),
    ];
    let found: Vec<_> =
        findings.iter().map(|f| (f.code, f.severity, f.field.as_str(), f.found.as_str())).collect();
    assert_eq!(found, expected);
    assert!(find(&findings, "WalLevel").hint.contains("restart"));
    assert!(find(&findings, "WalSenderTimeout").hint.contains("'2000ms'; then SELECT pg_reload_conf()"));
}

#[tokio::test]
async fn a_closed_server_keeps_its_last_answer_and_an_absent_one_is_unknown() {
    let mut server = Server::primary(&format!("{GOOD},wal_sender_timeout=9s"));
    let postgres = Postgres::new(server.target());
    let gates = known(&postgres.gates("database/main", true, &nothing_told(), &limits(), WAIT).await);
    assert_eq!(
        gates.iter().map(|g| (g.name.as_str(), g.passed())).collect::<Vec<_>>(),
        [("database/main/WalSenderTimeout", false), ("database/main/ListenAddresses", true)]
    );
    server.write_hba("");
    server.sql("SELECT pg_reload_conf()").await;
    server.await_log("reloading configuration");
    let closed = postgres.gates("database/main", true, &nothing_told(), &limits(), WAIT).await;
    assert_eq!(known(&closed), gates);
    assert!(closed.age().unwrap() > Duration::ZERO);
    assert!(
        Postgres::new(server.target())
            .gates("database/main", true, &nothing_told(), &limits(), WAIT)
            .await
            .value()
            .is_none()
    );
    server.stop();
    let absent = known(&postgres.gates("database/main", true, &nothing_told(), &limits(), WAIT).await);
    assert_eq!(
        absent.iter().map(|g| (g.name.as_str(), g.answer)).collect::<Vec<_>>(),
        [("database/main/ConnectUnreachable", Answer::Unknown)],
        "that nobody answers is told apart from that nothing is known"
    );
    assert!(!postgres.prove_write(&expected(Some(SystemId(1))), SHORT).await.is_done());
}

#[tokio::test]
async fn a_server_that_has_no_room_for_the_question_is_unknown_and_none_that_does_not_answer() {
    let server = Server::primary(GOOD);
    server.sql("ALTER ROLE bascule CONNECTION LIMIT 0").await;
    let postgres = Postgres::new(server.target());
    let found = postgres.gates("database/main", true, &nothing_told(), &limits(), WAIT).await;
    assert!(found.value().is_none(), "{found:?}");
}

#[tokio::test]
async fn what_only_costs_time_or_margin_is_told_and_blocks_nothing() {
    let server = Server::primary(&format!("{GOOD},synchronous_commit=off,max_slot_wal_keep_size=-1"));
    let postgres = Postgres::new(server.target());
    let gates = known(&postgres.gates("database/main", true, &nothing_told(), &limits(), WAIT).await);
    assert!(gates.iter().all(Gate::passed), "{gates:?}");
    for (name, words) in [
        ("database/main/SynchronousCommit", "advice: setting synchronous_commit: off"),
        ("database/main/MaxSlotWalKeepSize", "advice: setting max_slot_wal_keep_size: -1"),
    ] {
        let gate = gates.iter().find(|g| g.name == name).unwrap_or_else(|| panic!("no {name} in {gates:?}"));
        assert!(gate.found.starts_with(words), "{gate:?}");
    }
}

#[tokio::test]
async fn with_more_than_two_sites_log_must_be_kept_for_replicas_that_change_their_primary() {
    let server = Server::primary(GOOD);
    let postgres = Postgres::new(server.target());
    let three = Thresholds { replicas_change_primary: true, ..limits() };
    let found = postgres.preflight(ExpectedRole::Primary, &three, WAIT).await;
    let finding = find(&found, "WalKeepSize");
    assert_eq!((finding.severity, finding.found.as_str()), (Severity::Warn, "0"));
    assert!(finding.expected.contains("copied anew"), "{finding:?}");
    let pair = postgres.preflight(ExpectedRole::Primary, &limits(), WAIT).await;
    assert!(pair.iter().all(|f| f.code != "WalKeepSize"), "a pair has nobody to keep it for: {pair:?}");

    let admin = server.superuser().await;
    for statement in finding.hint.split("; then ") {
        admin.batch_execute(statement).await.unwrap();
    }
    server.await_log("reloading configuration");
    let found = postgres.preflight(ExpectedRole::Primary, &three, WAIT).await;
    assert!(found.iter().all(|f| f.code != "WalKeepSize"), "the advised statement repairs it: {found:?}");
}

#[tokio::test]
async fn a_superuser_is_told_to_be_less() {
    let server = Server::primary(GOOD);
    server.sql("ALTER ROLE bascule SUPERUSER").await;
    let findings = Postgres::new(server.target()).preflight(ExpectedRole::Primary, &limits(), WAIT).await;
    assert_eq!(find(&findings, "RoleTooStrong").hint, "ALTER ROLE bascule NOSUPERUSER;");
}

#[tokio::test]
async fn tls_is_verified_against_the_given_ca_and_the_hosts_name() {
    let (ca, other, wrong_name) = (Ca::new(), Ca::new(), Ca::new());
    let mut server = Server::primary(GOOD);
    let (cert, key) = ca.server("127.0.0.1");
    let (bad_cert, bad_key) = wrong_name.server("192.0.2.1");
    let dir =
        server.private_files(&[("crt", &cert), ("key", &key), ("bad-crt", &bad_cert), ("bad-key", &bad_key)]);
    let mut use_files = async |crt: &str, key: &str| {
        let (crt, key) = (dir.join(crt), dir.join(key));
        let crt = format!("ALTER SYSTEM SET ssl_cert_file = '{}'", crt.display());
        let key = format!("ALTER SYSTEM SET ssl_key_file = '{}'", key.display());
        for statement in [crt.as_str(), key.as_str(), "ALTER SYSTEM SET ssl = on"] {
            server.sql(statement).await;
        }
        server.write_hba("hostssl all all 127.0.0.1/32 scram-sha-256\n");
        server.stop();
        server.start();
        server.target()
    };
    let with = |target: &super::PostgresTarget, ca: &Ca| {
        let tls = Tls::verified(ca.pem().as_bytes()).unwrap();
        Postgres::new(super::PostgresTarget { tls, ..target.clone() })
    };
    let target = use_files("crt", "key").await;
    let facts = with(&target, &ca).facts(WAIT).await;
    assert!(!known(&facts.in_recovery));
    let kind = async |postgres: Postgres| postgres.facts(WAIT).await.unreachable.unwrap().kind;
    assert_eq!(kind(with(&target, &other)).await, ConnectErrorKind::Tls, "another CA");
    assert_eq!(kind(Postgres::new(target.clone())).await, ConnectErrorKind::NotAllowed, "no TLS");
    let target = use_files("bad-crt", "bad-key").await;
    assert_eq!(kind(with(&target, &wrong_name)).await, ConnectErrorKind::Tls, "another name");
}

#[test]
fn a_ca_that_is_none_is_refused() {
    assert!(Tls::verified(b"").unwrap_err().to_string().contains("no certificate"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(Tls::verified(broken.as_bytes()).unwrap_err().to_string().contains("ca.crt"));
}

struct Ca {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A server's certificate for `name`, and its key.
    fn server(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn what_calls_itself_a_server_and_never_stops_sending_is_left_at_the_limit() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // It lets everybody in, then answers every question with rows without an end.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut heard = [0; 4096];
        let _ = tcp.read(&mut heard).await.unwrap();
        tcp.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
        let _ = tcp.read(&mut heard).await.unwrap();
        tcp.write_all(b"1\0\0\0\x042\0\0\0\x04T\0\0\0\x06\0\0").await.unwrap();
        let rows = b"D\0\0\0\x06\0\0".repeat(4096);
        let mut sent = 0;
        while tcp.write_all(&rows).await.is_ok() {
            sent += rows.len();
        }
        sent
    });
    let target = PostgresTarget {
        host: "127.0.0.1".to_owned(),
        port,
        user: "bascule".to_owned(),
        password: "secret".into(),
        secret: "main-bascule".to_owned(),
        dbname: "postgres".to_owned(),
        tls: Tls::Off,
    };
    let facts = Postgres::new(target).facts(Duration::from_secs(20)).await;
    let Fact::Unknown { reason } = &facts.in_recovery else { panic!("{facts:?}") };
    assert!(reason.contains("it sent more than 16777216 bytes in one session"), "{reason}");
    // What the sockets hold comes on top.
    let sent = server.await.unwrap();
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}
