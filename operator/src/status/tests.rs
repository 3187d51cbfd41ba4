//! What people read, case by case. The snapshots are meant to be read, too.

use bascule_crds::FailoverPolicyStatus;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::glance::{self, Glance};
use super::{Policies, text};
use crate::why::explain::{Beat, Seen};

/// Three at night.
fn now() -> Timestamp {
    "2026-11-28T03:02:00Z".parse().unwrap()
}

fn seen(status: Value) -> Seen {
    let status: FailoverPolicyStatus = serde_json::from_value(status).unwrap();
    Seen {
        namespace: "shop".to_owned(),
        name: "shop".to_owned(),
        generation: Some(4),
        created: Some("2026-11-01T12:00:00Z".parse().unwrap()),
        status: Ok(Some(status)),
        beat: Beat::NotAsked,
    }
}

fn glance(status: Value) -> Glance {
    glance::of(&seen(status), now())
}

fn read(status: Value) -> String {
    text::one(&glance(status), "shop", now())
}

fn gate(name: &str, verdict: &str, found: &str, needed: &str) -> Value {
    let message = format!("{name}: {found} (needed: {needed})");
    json!({ "name": name, "verdict": verdict, "value": found, "threshold": needed, "age": "0 ms", "message": message })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": 4, "lastTransitionTime": "2026-11-28T03:01:20Z",
    })
}

fn with(mut status: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut status);
    status
}

/// A steady pair as lyon tells it, two seconds ago.
fn steady() -> Value {
    json!({
        "site": "lyon", "writtenAt": "2026-11-28T03:01:58Z", "observedGeneration": 4, "specHash": "a",
        "message": "paris writes (epoch 3); lyon follows, 0 B behind.",
        "activeSite": "paris", "epoch": 3, "serial": 12, "phase": "Steady",
        "history": [{
            "epoch": 3, "cause": "Switchover", "move": "2026-11-20-back-to-paris", "from": "lyon", "to": "paris",
            "finishedAt": "2026-11-20T12:00:03Z",
        }],
        "conditions": [
            condition("Ready", "True", "Steady", "paris is active"),
            condition("FailoverPossible", "True", "SiteCanTake", "lyon can take over"),
        ],
        "gates": [gate("silence", "NotYet", "paris has been silent for 400 ms", "8 s")],
        "sites": [
            { "name": "paris", "role": "Primary", "specHash": "a", "lag": { "reportAgeMs": 400 } },
            { "name": "lyon", "role": "Standby", "specHash": "a", "promotable": true, "lag": { "bytes": 0 } },
        ],
    })
}

/// Paris is lost, lyon serves reads, and in half an hour it promotes itself.
fn reads() -> Value {
    with(steady(), |s| {
        s["message"] = json!(
            "Reads served from lyon since 03:02. Promotes 03:32 unless held. At most 2.1 MiB and what was written in 6 s at risk, last heard 03:01:58."
        );
        s["phase"] = json!("ReadOnly");
        s["writtenAt"] = json!("2026-11-28T03:01:59Z");
        s["conditions"] =
            json!([condition("Ready", "False", "ReadOnly", "paris is silent; lyon serves reads")]);
        s["gates"] = json!([
            gate("silence", "Pass", "paris has been silent for 12 s", "8 s"),
            gate("promote", "NotYet", "reads have been served for 0 ms", "30 m"),
            gate("loss", "Pass", "2202009 bytes known, 6 s unseen", "at most 16777216 bytes and 60 s unseen"),
        ]);
        s["sites"] = json!([
            { "name": "paris", "role": "Unknown", "specHash": "a", "lag": { "reportAgeMs": 12000 } },
            { "name": "lyon", "role": "Standby", "specHash": "a", "promotable": true, "lag": { "bytes": 2_202_009 } },
        ]);
    })
}

/// The same with more at risk than the policy allows.
fn too_much() -> Value {
    with(reads(), |s| {
        s["message"] = json!(
            "Reads served from lyon since 03:02. Not promoted: loss: 25165824 bytes known, 8.1 s unseen (needed: at most 16777216 bytes and 60 s unseen). At most 24 MiB and what was written in 8.1 s at risk, last heard 03:01:58."
        );
        let needed = "at most 16777216 bytes and 60 s unseen";
        s["gates"][2] = gate("loss", "Block", "25165824 bytes known, 8.1 s unseen", needed);
        s["gates"].as_array_mut().unwrap().remove(1);
    })
}

#[rstest]
#[case::all_is_well("steady", steady())]
#[case::three_in_the_morning("reads", reads())]
#[case::more_is_at_risk_than_is_allowed("too-much", too_much())]
#[case::held("held", with(reads(), |s| {
    s["heldUntil"] = json!("2026-11-28T06:00:00Z");
    s["message"] = json!("Reads served from lyon since 03:02. Held until 06:00 (looking at it). Last heard 03:01:58.");
    s["gates"][1] = gate("hold", "Block", "held until 2026-11-28T06:00:00Z (looking at it)", "no hold");
}))]
#[case::a_person_must_say_that_the_other_site_is_off("promise", with(reads(), |s| {
    s["message"] = json!("Reads served from lyon since 03:02. Promotes only by a Move with sourceStopped, for paris promised nothing. Last heard 03:01:58.");
    s["gates"][1] = gate("promise", "Block", "paris promised nothing", "a promise to fence");
}))]
#[case::a_switchover_that_can_be_given_up("requested", with(steady(), |s| {
    s["message"] = json!("Switchover from paris to lyon (Move kernel) is being prepared.");
    s["phase"] = json!("Requested");
    s["conditions"][0] = condition("Ready", "False", "Requested", "a switchover is being prepared");
}))]
#[case::nobody_could_take_over("unprotected", with(steady(), |s| {
    s["conditions"][1] = condition("FailoverPossible", "False", "LagTooLarge", "lyon lacks 20 MiB");
    s["sites"][1]["promotable"] = json!(false);
    s["sites"][1]["reason"] = json!("database/main/lag: 20971520 bytes behind (needed: at most 16777216)");
    s["sites"][1]["lag"]["bytes"] = json!(20_971_520);
    s["sites"][0]["specHash"] = json!("b");
}))]
#[case::an_operator_that_is_dead_does_not_look_alive("stale", with(steady(), |s| s["writtenAt"] = json!("2026-11-28T02:20:00Z")))]
fn what_is_read(#[case] name: &str, #[case] status: Value) {
    insta::assert_snapshot!(name, read(status));
}

#[test]
fn a_policy_that_no_operator_has_seen_says_so() {
    let seen = Seen { status: Ok(None), ..seen(steady()) };
    insta::assert_snapshot!("missing", text::one(&glance::of(&seen, now()), "shop", now()));
}

#[test]
fn all_policies_are_a_sentence_each_and_all_sites_one_table() {
    let named = |name: &str, seen: Seen| Seen { name: name.to_owned(), ..seen };
    let all = [
        seen(reads()),
        named("crm", seen(steady())),
        named("blog", Seen { status: Ok(None), ..seen(steady()) }),
    ];
    let all: Vec<Glance> = all.iter().map(|s| glance::of(s, now())).collect();
    insta::assert_snapshot!("all", text::all(&all, |g| g.name.clone()));
    let well = [glance(steady()), glance(steady())];
    assert!(text::all(&well, |g| g.name.clone()).starts_with("2 policies, all is well."));
}

#[test]
fn the_json_has_the_shape_that_is_documented() {
    let all = [glance(reads())];
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&Policies { policies: &all }).unwrap());
    let documented = include_str!("../../../docs/cli.md");
    let value = serde_json::to_value(&all[0]).unwrap();
    let mut fields: Vec<&String> = value.as_object().unwrap().keys().collect();
    fields.extend(value["sites"][0].as_object().unwrap().keys());
    fields.extend(value["next"][0].as_object().unwrap().keys());
    for field in fields {
        assert!(documented.contains(&format!("`{field}`")), "docs/cli.md does not say what {field} is");
    }
}

#[test]
fn a_site_that_was_heard_when_the_status_was_written_has_grown_older_since() {
    let heard = |status: Value| glance(status).sites.iter().map(|s| s.heard_ms).collect::<Vec<_>>();
    assert_eq!(heard(steady()), [Some(2_400), Some(2_000)], "paris by way of lyon, and lyon itself");
    let unheard = with(steady(), |s| s["sites"][0]["lag"] = json!({}));
    assert_eq!(heard(unheard), [None, Some(2_000)]);
    let undated = with(steady(), |s| s["writtenAt"] = Value::Null);
    assert_eq!(heard(undated), [None, None], "what cannot be dated may be of any age");
}

#[test]
fn the_verdict_and_why_never_differ_about_what_blocks() {
    for status in [steady(), reads(), too_much()] {
        let g = glance(status);
        assert_eq!(g.attention, g.explained.blocks);
        assert_eq!(g.first_blocker, g.explained.first_blocker);
    }
}
