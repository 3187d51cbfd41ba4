//! Which Move an order is.

use std::time::Duration;

use bascule_core::name::Namespace;
use bascule_crds::{FailoverPolicyStatus, Move};
use bascule_engine::intake::moves;
use bascule_engine::intake::read::File;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::asked::{Common, Order};
use super::make;
use crate::flags::Access;
use crate::given;
use crate::why::explain::{Beat, Seen};

fn now() -> Timestamp {
    "2026-11-28T03:02:00.5Z".parse().unwrap()
}

fn common(reason: &str) -> Common {
    Common {
        policy: "shop".to_owned(),
        reason: reason.to_owned(),
        namespace: None,
        access: Access::default(),
        yes: false,
        dry_run: false,
        git: None,
        name: None,
        wait: None,
    }
}

fn status(loss: &str) -> Value {
    json!({
        "site": "lyon", "writtenAt": "2026-11-28T03:01:58Z", "activeSite": "paris", "epoch": 3, "serial": 12,
        "phase": "ReadOnly", "message": "Reads served from lyon.",
        "gates": [{ "name": "loss", "verdict": loss, "message": "loss" }],
        "sites": [{ "name": "paris" }, { "name": "lyon" }],
    })
}

fn seen(status: Value) -> Seen {
    let status: FailoverPolicyStatus = serde_json::from_value(status).unwrap();
    Seen {
        namespace: "shop".to_owned(),
        name: "shop".to_owned(),
        generation: Some(1),
        created: None,
        status: Ok(Some(status)),
        beat: Beat::NotAsked,
    }
}

fn made(order: &Order, status: Value) -> anyhow::Result<Move> {
    make::of(order, &common("ticket 4711"), &seen(status), now())
}

fn switchover(to: Option<&str>) -> Order {
    Order::Switchover { to: to.map(ToOwned::to_owned), not_before: None, not_after: None }
}

fn failover(source_stopped: Option<&str>) -> Order {
    Order::Failover {
        to: None,
        source_stopped: source_stopped.map(ToOwned::to_owned),
        accepted: Some("shop".to_owned()),
    }
}

const HOLD: Order = Order::Hold { how_long: Duration::from_hours(4), until: None };

#[rstest]
#[case::a_switchover("switchover", switchover(None), status("Pass"))]
#[case::a_failover_within_the_policys_bounds_accepts_nothing("failover", failover(None), status("Pass"))]
#[case::one_beyond_them_says_so("failover-loss", failover(None), status("Block"))]
#[case::a_statement_is_about_a_serial(
    "failover-stopped",
    failover(Some("A. Martin, in the room: the rack is off")),
    status("Unknown")
)]
#[case::a_hold_has_an_end("hold", HOLD, status("Pass"))]
#[case::resume("resume", Order::Resume, status("Pass"))]
#[case::abort("abort", Order::Abort, status("Pass"))]
fn an_order_is_a_move_of_the_epoch_that_was_seen_and_the_operator_reads_it_from_its_file(
    #[case] name: &str,
    #[case] order: Order,
    #[case] status: Value,
) {
    let mv = made(&order, status).unwrap();
    let file = make::yaml(&mv).unwrap();
    insta::assert_snapshot!(name, file);
    let files = [File { path: "move.yaml", bytes: file.as_bytes() }];
    let revision = given::intake(&files, &Namespace::try_from("shop").unwrap(), "a Move").unwrap();
    let read = &revision.moves.values().next().unwrap().object;
    assert_eq!(moves::convert(read).unwrap(), moves::convert(&mv).unwrap());
}

#[rstest]
#[case::a_site_that_is_none(
    switchover(Some("lyn")),
    status("Pass"),
    "--to: found lyn, expected one of its sites: lyon; did you mean lyon?"
)]
#[case::the_site_that_is_active(switchover(Some("paris")), status("Pass"), "from and to are both 'paris'")]
#[case::several_could_be_meant(
    switchover(None),
    json!({ "activeSite": "paris", "epoch": 3, "sites": [{ "name": "paris" }, { "name": "lyon" }, { "name": "metz" }] }),
    "--to is missing: it could be lyon or metz"
)]
#[case::there_is_no_record(HOLD, json!({ "phase": "NoRecord", "message": "no site has a role yet" }), "status.epoch: found none")]
#[case::nobody_has_spoken(HOLD, json!({}), "no operator has ever written its status")]
#[case::a_hold_that_is_over(
    Order::Hold { how_long: Duration::ZERO, until: Some("2026-11-28T03:00:00Z".parse().unwrap()) },
    status("Pass"),
    "--until: found 2026-11-28T03:00:00Z, which has passed"
)]
#[case::times_that_never_come(
    Order::Switchover {
        to: None,
        not_before: Some("2026-11-29T00:00:00Z".parse().unwrap()),
        not_after: Some("2026-11-28T12:00:00Z".parse().unwrap()),
    },
    status("Pass"),
    "notAfter is not later than notBefore"
)]
fn what_could_not_act_is_refused_with_the_way_out(
    #[case] order: Order,
    #[case] status: Value,
    #[case] words: &str,
) {
    let said = format!("{:#}", made(&order, status).unwrap_err());
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_reason_has_words() {
    let said = format!("{:#}", make::of(&HOLD, &common(" "), &seen(status("Pass")), now()).unwrap_err());
    assert!(said.contains("spec.reason") && said.contains("for colleagues"), "{said}");
}

#[test]
fn a_long_name_of_a_policy_makes_no_move_that_cannot_be_named() {
    let long = Seen { name: "a-".repeat(31) + "b", ..seen(status("Pass")) };
    let mv = make::of(&HOLD, &common("why"), &long, now()).unwrap();
    let name = mv.metadata.name.unwrap();
    assert!(
        name.len() <= 63 && name.starts_with("2026-11-28-030200-a-a-") && name.ends_with("a-hold"),
        "{name}"
    );
}

#[test]
fn a_status_of_another_version_is_not_acted_on() {
    let other = Seen { status: Err("unknown variant `Perhaps`".to_owned()), ..seen(status("Pass")) };
    let said = format!("{:#}", make::of(&HOLD, &common("why"), &other, now()).unwrap_err());
    assert!(said.contains("unknown variant `Perhaps`") && said.contains("operator's version"), "{said}");
}
