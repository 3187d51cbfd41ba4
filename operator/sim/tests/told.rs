//! What `bascule simulate` says of a run is true of the run: who takes writes, what is not known, what is waited for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(clippy::disallowed_methods, reason = "the policy lies in a file; what is played reads none")]

use std::path::Path;
use std::time::Duration;

use bascule_core::name::Namespace;
use bascule_core::policy::Policy;
use bascule_core::timing::Profile;
use bascule_engine::intake::policy::convert;
use bascule_engine::intake::read::{File, Limits, revision};
use bascule_sim::scenario::{Judgement, Played, Promised, Scenario, play, word};

fn shop() -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop.yaml");
    let bytes = std::fs::read(path).unwrap();
    let file = File { path: "examples/shop.yaml", bytes: &bytes };
    let found = revision(&[file], &Namespace::try_from("shop").unwrap(), &Limits::default())
        .unwrap_or_else(|all| panic!("{all:?}"));
    convert(&found.policies.values().next().unwrap().object, None).unwrap()
}

/// Plays the example with these faults; `switch`: a switchover, as on the command line.
fn played(faults: &[&str], switch: Option<&str>, lasts: Option<u64>) -> Played {
    let policy = shop();
    let mut scenario = Scenario::quiet(Profile::Wan, 1);
    scenario.lasts = lasts.map(Duration::from_secs);
    scenario.events.extend(faults.iter().map(|f| word::fault(f, &policy.sites).unwrap()));
    scenario.events.extend(switch.map(|to| word::switch(to, &policy.sites).unwrap()));
    play(&policy, &scenario, &mut |_| ()).unwrap()
}

fn promise<'a>(played: &'a Played, name: &str) -> &'a Judgement {
    played.promises.iter().find(|p| p.name == name).unwrap()
}

#[test]
fn writes_go_to_whoever_acknowledges_them_and_to_nobody_while_nobody_does() {
    for (fault, writer) in [
        ("site=paris@10s", Some("lyon")),
        ("pod-frozen=paris@10s", Some("lyon")),
        ("site-frozen=paris@10s", Some("lyon")),
        ("disk=paris@10s", None),
        ("database-frozen=paris@10s", None),
        ("slow=paris@10s", Some("paris")),
        ("replay=lyon@10s", Some("paris")),
    ] {
        let played = played(&[fault], None, None);
        assert_eq!(played.account.writer.as_deref(), writer, "{fault}\n{}", played.text());
    }
}

#[test]
fn a_run_that_was_watched_too_short_does_not_say_that_a_promise_was_held() {
    let played = played(&["site=paris@10s"], None, Some(30));
    let recovery = promise(&played, "recovery");
    assert_eq!(recovery.promised, Promised::Unknown, "{recovery:?}");
    assert!(recovery.bound.contains("watched too short: --for 64 s or more tells"), "{recovery:?}");
    let verdict = played.verdict();
    assert!(verdict.contains("watched too short to know: recovery"), "{verdict}");
    assert!(!verdict.contains("a person has to act"), "{verdict}");
}

#[test]
fn an_outage_that_was_too_long_already_is_broken_however_short_it_was_watched() {
    let played = played(&["disk=paris@10s"], None, Some(90));
    assert_eq!(promise(&played, "recovery").promised, Promised::Broken, "{}", played.text());
}

#[test]
fn a_slow_line_needs_no_person() {
    let played = played(&["slow=paris@10s"], None, None);
    assert!(played.verdict().contains("every promise was held\n"), "{}", played.verdict());
    assert!(played.account.goes_on().is_none());
}

#[test]
fn an_outage_that_nothing_ends_says_so_and_why_the_role_stays() {
    let played = played(&["disk=paris@10s"], None, None);
    let recovery = promise(&played, "recovery");
    assert_eq!(recovery.promised, Promised::Broken);
    assert!(recovery.measured.ends_with(", and it stays so"), "{recovery:?}");
    let why = &played.account.why_not[0];
    assert_eq!((why.site.as_str(), why.gate.as_str()), ("lyon", "silence"));
    assert_eq!(why.found, "paris renews its lease and does not offer its role, so it is not lost");
}

#[test]
fn a_switchover_that_is_not_carried_out_says_what_it_waits_for() {
    for (fault, says) in [
        ("git@5s", "no site has read it from git"),
        ("site=lyon@5s", "not ready within 2 m: target: lyon was last seen to renew "),
        ("link@5s", "not ready within 2 m: targetReady: "),
    ] {
        let played = played(&[fault], Some("lyon@10s"), None);
        let verdict = &played.account.verdicts[0];
        assert!(verdict.message.starts_with(says), "{fault}: {verdict:?}");
    }
}
