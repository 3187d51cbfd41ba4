//! What people read, case by case. The snapshots are meant to be read, too.

use bascule_core::heartbeat::{Heartbeat, Unshown};
use bascule_crds::FailoverPolicyStatus;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::explain::{Answer, Beat, Explanation, Seen, explain};
use super::{Policies, text};

/// Three at night.
fn now() -> Timestamp {
    "2026-11-28T03:00:00Z".parse().unwrap()
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

fn explained(status: Value) -> Explanation {
    explain(&seen(status), now())
}

fn read(seen: &Seen) -> String {
    text::one(&explain(seen, now()), now())
}

fn gate(name: &str, verdict: &str, found: &str, needed: &str, age: Option<&str>) -> Value {
    let message = format!("{name}: {found} (needed: {needed})");
    json!({ "name": name, "verdict": verdict, "value": found, "threshold": needed, "age": age, "message": message })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": 4, "lastTransitionTime": "2026-11-28T02:30:00Z",
    })
}

/// A steady pair as lyon, the standby, tells it: twelve seconds ago.
fn steady() -> Value {
    json!({
        "site": "lyon", "writtenAt": "2026-11-28T02:59:48Z", "observedGeneration": 4,
        "message": "paris writes (epoch 3); lyon follows, 0 B behind.",
        "activeSite": "paris", "epoch": 3, "serial": 12, "phase": "Steady",
        "history": [{
            "epoch": 3, "cause": "Switchover", "move": "2026-11-20-back-to-paris", "from": "lyon", "to": "paris",
            "finishedAt": "2026-11-20T12:00:03Z",
        }],
        "conditions": [
            condition("Ready", "True", "Steady", "paris is active"),
            condition("FailoverPossible", "True", "SiteCanTake", "lyon can take over"),
            condition("SwitchoverPossible", "True", "Ready", "a switchover would pass its preflight"),
        ],
        "gates": [
            gate("silence", "NotYet", "paris has been silent for 400 ms", "8 s by an unbroken series of reads, the last after the record's", Some("300 ms")),
            gate("ownLease", "Pass", "this site's own lease", "renewed in time", Some("1.2 s")),
            gate("promise", "Pass", "paris promised to stop by itself (Guard)", "a promise to fence", None),
            gate("hold", "Pass", "not held", "no hold", None),
            gate("promote", "NotYet", "reads have been served for 0 ms", "30 m", None),
            gate("loss", "Pass", "0 bytes known, 6 s unseen", "at most 16777216 bytes and 30 s unseen", Some("2 s")),
        ],
    })
}

/// The same with paris silent for nine minutes, reads served from lyon, and the loss too large.
fn lost() -> Value {
    let mut status = steady();
    status["message"] = json!(
        "Reads served from lyon since 02:51. Not promoted: loss: 25165824 bytes known, 8.1 s unseen (needed: at most 16777216 bytes and 30 s unseen). At most 24 MiB and what was written in 8.1 s at risk, last heard 02:50:51."
    );
    status["phase"] = json!("ReadOnly");
    status["conditions"] = json!([
        condition("Ready", "False", "ReadOnly", "paris is silent; lyon serves reads"),
        condition("Stalled", "True", "ReadOnly", "loss: 25165824 bytes known, 8.1 s unseen"),
        condition("SitesReachable", "False", "SiteSilent", "paris has been silent for 9 m"),
        condition("Accepted", "True", "Valid", "the spec is valid"),
    ]);
    status["gates"] = json!([
        gate("silence", "Pass", "paris has been silent for 9 m", "8 s", Some("300 ms")),
        gate(
            "loss",
            "Block",
            "25165824 bytes known, 8.1 s unseen",
            "at most 16777216 bytes and 30 s unseen",
            Some("9 m")
        ),
        gate("promote", "NotYet", "reads have been served for 9 m", "30 m", None),
        gate(
            "database/main/guard",
            "Unknown",
            "its guard has said nothing for 20 s",
            "a report of its guard",
            None
        ),
    ]);
    status
}

/// With one gate more, in the first place.
fn with_gate(mut status: Value, first: Value) -> Value {
    let mut gates = vec![first];
    gates.extend(status["gates"].as_array().unwrap().iter().cloned());
    status["gates"] = json!(gates);
    status
}

fn with(mut status: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut status);
    status
}

/// What lyon tells of a write to `web` that another controller would undo.
fn contended() -> Value {
    let needed = "take it from Argo CD:\nkubectl annotate application shop argocd.argoproj.io/sync-options=RespectIgnoreDifferences=true\nkubectl rollout restart deployment/web";
    with_gate(
        steady(),
        gate(
            "contended/web/replicas",
            "Block",
            "spec.replicas belongs to argocd-controller",
            needed,
            Some("14 s"),
        ),
    )
}

fn suspended() -> Value {
    with(steady(), |s| {
        s["message"] = json!("the policy is suspended; paris keeps its role.");
        s["phase"] = json!("Unmanaged");
        s["gates"] = json!([]);
        s["conditions"] = json!([
            condition("Ready", "False", "Unmanaged", "the policy is suspended; paris keeps its role"),
            condition("Stalled", "True", "Unmanaged", "the policy is suspended; paris keeps its role"),
        ]);
    })
}

fn deaf() -> Value {
    with(steady(), |s| {
        s["message"] =
            json!("this site's lease is not renewed: no member of the arbiter answered within 1 s");
        s["conditions"] = json!([condition(
            "Ready",
            "Unknown",
            "ArbiterUnreachable",
            "this site's lease is not renewed: no member of the arbiter answered within 1 s"
        )]);
    })
}

fn invalid() -> Value {
    json!({
        "site": "lyon", "writtenAt": "2026-11-28T02:59:48Z", "observedGeneration": 4,
        "message": "spec.sites: found one; expected at least two", "phase": "NoRecord",
        "conditions": [
            condition("Accepted", "False", "Invalid", "spec.sites: found one; expected at least two"),
            condition("Ready", "False", "Invalid", "spec.sites: found one; expected at least two"),
            condition("Stalled", "True", "Invalid", "spec.sites: found one; expected at least two"),
        ],
    })
}

#[rstest]
#[case::all_is_well_and_a_takeover_only_waits_for_its_time("steady", steady())]
#[case::a_lost_site_is_not_replaced_because_too_much_would_be_lost("lost", lost())]
#[case::a_field_that_belongs_to_another_controller_comes_with_the_lines_to_run("contended", contended())]
#[case::an_operator_that_is_dead_does_not_look_alive("stale", with(steady(), |s| s["writtenAt"] = json!("2026-11-28T02:18:00Z")))]
#[case::a_suspended_policy("suspended", suspended())]
#[case::an_arbiter_that_is_not_heard_comes_before_what_was_known_earlier("deaf", deaf())]
#[case::an_invalid_policy("invalid", invalid())]
#[case::a_gate_of_a_later_version_falls_back_on_what_it_needs(
    "later",
    with_gate(steady(), gate("moonPhase", "Block", "waxing", "a full moon", Some("2 h 5 m")))
)]
fn what_is_read(#[case] name: &str, #[case] status: Value) {
    insta::assert_snapshot!(name, read(&seen(status)));
}

/// The steady pair, written two hours ago by a process that has a heartbeat: what is known of that.
fn at_rest(beat: Beat) -> Seen {
    let status = with(steady(), |s| {
        s["writtenAt"] = json!("2026-11-28T01:00:00Z");
        s["heartbeat"] =
            json!({ "namespace": "bascule-system", "name": "bascule-operator", "writer": "lyon-7" });
    });
    Seen { beat, ..seen(status) }
}

/// The heartbeat of that process, so many seconds ago.
fn beaten(ago: i64) -> Heartbeat {
    Heartbeat {
        by: "lyon-7".to_owned(),
        at: now() - jiff::SignedDuration::from_secs(ago),
        unshown: Unshown::default(),
    }
}

fn only(policy: &str) -> Unshown {
    Unshown::These([policy.to_owned()].into())
}

#[rstest]
#[case::a_heart_that_beats_vouches_for_it(Beat::Heard(beaten(4)), None)]
#[case::three_beats_may_be_missed(Beat::Heard(beaten(30)), None)]
#[case::and_no_second_more(Beat::Heard(beaten(31)), Some("status/stale"))]
#[case::another_process_vouches_for_its_own(
    Beat::Heard(Heartbeat { by: "lyon-8".to_owned(), ..beaten(4) }),
    Some("status/stale")
)]
#[case::what_is_not_as_it_was_written_is_named(
    Beat::Heard(Heartbeat { unshown: only("shop/shop"), ..beaten(4) }),
    Some("status/unshown")
)]
#[case::another_policy_is_named(Beat::Heard(Heartbeat { unshown: only("shop/blog"), ..beaten(4) }), None)]
#[case::too_many_to_be_named(
    Beat::Heard(Heartbeat { unshown: Unshown::TooMany(51), ..beaten(4) }),
    Some("status/unshown")
)]
#[case::nobody_may_read_it(
    Beat::Unheard { why: "forbidden".to_owned(), needed: "the right".to_owned() },
    Some("status/unheard")
)]
#[case::nobody_has_asked(Beat::NotAsked, Some("status/unheard"))]
fn an_old_status_is_believed_while_its_writer_vouches_for_it(#[case] beat: Beat, #[case] code: Option<&str>) {
    let e = explain(&at_rest(beat.clone()), now());
    assert_eq!(e.first_blocker.as_ref().map(|f| f.code.as_str()), code, "{e:#?}");
    assert_eq!((e.stale, e.blocks), (code.is_some(), code.is_some()));
    assert!(e.first_blocker.is_none_or(|f| f.answer == Answer::Unknown && f.change.is_some()));
    // What is young itself is believed in every case.
    let mut young = at_rest(beat);
    let status = young.status.as_mut().unwrap().as_mut().unwrap();
    status.written_at = Some(bascule_crds::Time("2026-11-28T02:59:30Z".parse().unwrap()));
    assert_eq!(explain(&young, now()).first_blocker, None);
}

#[test]
fn ages_count_from_the_heartbeat_that_vouches_and_otherwise_from_the_writing() {
    let silence = |e: &Explanation| e.gates[0].age_ms.unwrap();
    let alive = explain(&at_rest(Beat::Heard(beaten(4))), now());
    assert_eq!((alive.age_ms, alive.vouched_age_ms), (Some(7_200_000), Some(4_000)));
    assert!((4_000..6_000).contains(&silence(&alive)), "{}", silence(&alive));
    let dead = explain(&at_rest(Beat::Heard(beaten(40))), now());
    assert_eq!(dead.vouched_age_ms, Some(7_200_000));
    assert!(silence(&dead) >= 7_200_000);
    let text = read(&at_rest(Beat::Heard(beaten(4))));
    assert!(text.contains("Told by  lyon, 2 h 0 m ago; still so 4 s ago, by its heartbeat"), "{text}");
}

#[test]
fn whoever_may_not_read_the_heartbeat_is_told_which_right_is_needed() {
    let why = "you may not get the Lease bascule-system/bascule-operator: forbidden".to_owned();
    let needed = "the right to get leases in namespace bascule-system".to_owned();
    let text = read(&at_rest(Beat::Unheard { why, needed }));
    for says in [
        "whether it lives is not known: you may not get the Lease bascule-system/bascule-operator",
        "needed  the right to get leases in namespace bascule-system",
        "TOO OLD to be believed",
    ] {
        assert!(text.contains(says), "{says} is not in: {text}");
    }
}

#[test]
fn a_policy_that_no_operator_has_seen_says_so() {
    let seen = Seen { status: Ok(None), ..seen(steady()) };
    insta::assert_snapshot!("missing", read(&seen));
}

#[test]
fn a_status_of_another_version_says_so() {
    let seen = Seen {
        status: Err("unknown variant `Perhaps`, expected one of `Pass`, `Block`".to_owned()),
        ..seen(steady())
    };
    insta::assert_snapshot!("unreadable", read(&seen));
}

#[test]
fn all_policies_are_one_line_each() {
    let named = |name: &str, seen: Seen| Seen { name: name.to_owned(), ..seen };
    let all = [
        seen(steady()),
        named("crm", seen(lost())),
        named("wiki", seen(contended())),
        named("blog", Seen { status: Ok(None), ..seen(steady()) }),
        named("mail", seen(with(steady(), |s| s["writtenAt"] = json!("2026-11-28T02:18:00Z")))),
    ];
    let all: Vec<Explanation> = all.iter().map(|s| explain(s, now())).collect();
    insta::assert_snapshot!("table", text::table(&all));
}

#[test]
fn the_json_has_the_shape_that_is_documented() {
    let all = Policies { policies: vec![explained(lost())] };
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&all).unwrap());
    let documented = include_str!("../../../docs/why.md");
    let value = serde_json::to_value(&all.policies[0]).unwrap();
    let mut fields: Vec<&String> = value.as_object().unwrap().keys().collect();
    fields.extend(value["active"].as_object().unwrap().keys());
    fields.extend(value["gates"][0].as_object().unwrap().keys());
    fields.extend(value["conditions"][0].as_object().unwrap().keys());
    for field in fields {
        assert!(documented.contains(&format!("`{field}`")), "docs/why.md does not say what {field} is");
    }
}

#[rstest]
#[case::all_is_well(steady(), None)]
#[case::what_asks_for_the_time_blocks_once_the_active_site_is_not_there(with(steady(), |s| s["conditions"][0] = condition("Ready", "False", "ActiveSiteSilent", "paris is silent")), Some("silence"))]
#[case::in_a_transition_every_wait_counts(with(steady(), |s| s["phase"] = json!("Requested")), Some("silence"))]
#[case::what_is_not_known_is_never_a_wait(
    with_gate(steady(), gate("cooldown", "Unknown", "?", "1 h", None)),
    Some("cooldown")
)]
#[case::a_hold_is_told(
    with_gate(steady(), gate("hold", "Block", "held until six (deploy)", "no hold", None)),
    Some("hold")
)]
#[case::a_policy_that_leaves_the_promotion_to_a_person_is_well(
    with_gate(
        steady(),
        gate("promote", "Block", "spec.failover.promote.after is Never", "a Move of type Failover", None)
    ),
    None
)]
#[case::no_site_could_take_over(with(steady(), |s| s["conditions"][1] = condition("FailoverPossible", "False", "LagTooLarge", "lyon lacks 20 MiB")), Some("condition/FailoverPossible"))]
#[case::whether_one_could_is_not_known(with(steady(), |s| s["conditions"][1] = condition("FailoverPossible", "Unknown", "NotKnown", "lyon: ?")), Some("condition/FailoverPossible"))]
#[case::a_switchover_that_would_not_pass_is_shown_and_blocks_no_takeover(with(steady(), |s| s["conditions"][2] = condition("SwitchoverPossible", "False", "SpecsDiffer", "lyon has another spec")), None)]
#[case::a_status_without_a_date_is_not_believed(with(steady(), |s| s["writtenAt"] = Value::Null), Some("status/undated"))]
#[case::one_minute_is_believed(with(steady(), |s| s["writtenAt"] = json!("2026-11-28T02:59:00Z")), None)]
#[case::and_no_second_more(with(steady(), |s| s["writtenAt"] = json!("2026-11-28T02:58:59Z")), Some("status/stale"))]
#[case::an_object_that_cannot_be_read(json!({ "conditions": [condition("Ready", "False", "Unreadable", "spec: unknown field")] }), Some("condition/Ready"))]
#[case::nothing_was_written(json!({}), Some("status/missing"))]
fn what_blocks_first(#[case] status: Value, #[case] code: Option<&str>) {
    let e = explained(status);
    assert_eq!(e.first_blocker.as_ref().map(|f| f.code.as_str()), code, "{e:#?}");
    assert_eq!(e.blocks, code.is_some());
    assert!(e.first_blocker.is_none_or(|f| f.answer != Answer::Yes && f.change.is_some()));
}

#[test]
fn a_replica_that_receives_nothing_is_no_reason_to_despair_when_its_primary_has_just_died() {
    let status = with(steady(), |s| {
        let message = "lyon does not stream: main: it receives nothing from its primary";
        s["conditions"][1] = condition("FailoverPossible", "False", "NotStreaming", message);
    });
    let change = explained(status).first_blocker.unwrap().change.unwrap();
    assert!(change.contains("wait") && change.contains("gate silence"), "{change}");
}

#[test]
fn a_finding_ages_while_its_status_lies_there() {
    let age = |status: Value, gate: usize| explained(status).gates[gate].age_ms;
    assert_eq!(age(steady(), 0), Some(12_300), "300 ms when it was written, 12 s ago");
    assert_eq!(age(steady(), 2), Some(12_000), "made for the status");
    assert_eq!(age(lost(), 3), None, "nobody knows how old what is not known is");
    let later = with(steady(), |s| s["gates"][0]["age"] = json!("a while"));
    assert_eq!(age(later, 0), None);
    let undated = with(steady(), |s| s["writtenAt"] = Value::Null);
    assert_eq!(age(undated, 0), None);
}

#[test]
fn who_is_active_is_said_with_since_when_and_by_whose_wish() {
    let active = explained(steady()).active.unwrap();
    assert_eq!((active.site.as_str(), active.epoch, active.serial), ("paris", Some(3), Some(12)));
    assert_eq!(active.since, Some("2026-11-20T12:00:03Z".parse().unwrap()));
    assert_eq!(active.by_move.as_deref(), Some("2026-11-20-back-to-paris"));
    let running = with(steady(), |s| {
        s["epoch"] = json!(4);
        s["activeSite"] = json!("lyon");
        s["lastTransition"] = json!({ "cause": "SiteLost", "from": "paris", "to": "lyon", "epoch": 4, "startedAt": "2026-11-28T02:59:00Z" });
    });
    let text = read(&seen(running));
    assert!(text.contains("Active   lyon, epoch 4, serial 12, by SiteLost, not finished"), "{text}");
    let first = with(steady(), |s| s["history"] = json!([]));
    assert!(read(&seen(first)).contains("Active   paris, epoch 3, serial 12\n"));
}

#[test]
fn what_makes_the_rest_doubtful_is_noted() {
    let ahead = with(steady(), |s| s["writtenAt"] = json!("2026-11-28T03:09:00Z"));
    assert!(explained(ahead).notes[0].contains("clock is 9 m ahead"));
    let newer = Seen { generation: Some(5), ..seen(steady()) };
    assert!(read(&newer).contains("this is about generation 4, the newest is 5"));
    let held = with(steady(), |s| s["heldUntil"] = json!("2026-11-28T06:00:00Z"));
    assert!(explained(held).notes[0].contains("until 2026-11-28T06:00:00Z"));
}
