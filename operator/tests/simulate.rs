//! `bascule simulate` as people run it: what it tells, its exit codes, and what it makes of everything that can be
//! wrong with what it is given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a run printed, and how it ended.
#[derive(Debug, PartialEq)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn simulate(arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bascule"));
    command.arg("simulate").args(arguments).current_dir(repository());
    let Output { status, stdout, stderr } = command.output().unwrap();
    Said {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An example with some of its text replaced.
fn changed(directory: &Path, name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(repository().join("examples/shop.yaml")).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replacen(from, to, 1);
    }
    written(directory, name, &text)
}

fn written(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A run whose every byte is known.
fn told(name: &str, arguments: &[&str], code: i32) {
    let said = simulate(arguments);
    assert_eq!(said.code, code, "{said:?}");
    insta::assert_snapshot!(name, said.out);
    assert_eq!(simulate(arguments).out, said.out, "the same arguments give the same bytes");
}

#[test]
fn a_lost_site_whose_reads_are_served_first() {
    told("site-lost", &["examples/shop.yaml"], 0);
}

#[test]
fn a_site_that_comes_back_while_its_reads_are_served() {
    told("site-back", &["examples/shop.yaml", "--fail", "site=paris@10s+20s", "--profile", "metro"], 0);
}

#[test]
fn a_planned_switchover() {
    told("switchover", &["examples/shop.yaml", "--switch-to", "lyon"], 0);
}

#[test]
fn a_policy_is_chosen_by_the_name_that_every_answer_prints() {
    let by = |name| simulate(&["examples/shop.yaml", "--policy", name, "--fail", "link@1s+5s", "-o", "json"]);
    assert_eq!(by("shop/shop"), by("shop"));
    assert_eq!(by("shop/shop").code, 0);
}

#[test]
fn the_documented_scenario_is_played_to_a_good_end() {
    let page = fs::read_to_string(repository().join("docs/simulate.md")).unwrap();
    let text = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let scenario = written(directory.path(), "night.yaml", text);
    let moves = "examples/move-failover.yaml";
    let said = simulate(&["examples/shop.yaml", "--move", moves, "--scenario", &scenario]);
    assert_eq!(said.code, 0, "{said:?}");
    for words in [
        "writes are acknowledged again, by lyon, 16 s after the last one",
        "writes are acknowledged again, by paris, 2.7 s after the last one",
        "none lost",
        "shop/shop: every promise was held",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    // The example of a Move in time is one, too.
    let said =
        simulate(&["examples/shop.yaml", "--fail", "site=paris@5s", "--move", &format!("{moves}@20s")]);
    assert!(said.out.contains("2026-11-28-paris-lost (Failover): Done"), "{said:?}");
}

#[test]
fn a_cut_link_moves_nothing() {
    told("link-cut", &["examples/shop.yaml", "--fail", "link@5s+30s"], 0);
}

#[test]
fn a_dead_database_is_taken_over() {
    told("database-dead", &["examples/shop.yaml", "--fail", "database=paris@5s"], 0);
}

#[test]
fn a_bound_that_is_too_strict_holds_the_role_back_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let policy = changed(directory.path(), "strict.yaml", &[("time: 1m", "time: 7s")]);
    told("too-strict", &[&policy], 2);
}

/// What `why` answers in a run, and nothing else of it.
fn answers(arguments: &[&str]) -> String {
    let said = simulate(arguments);
    assert!(said.err.is_empty(), "{said:?}");
    let from = said.out.find("\nbascule why ").unwrap_or_else(|| panic!("nothing is answered: {said:?}"));
    let (answers, verdict) = said.out[from + 1..].trim_end().rsplit_once("\n\n").unwrap();
    assert!(verdict.starts_with("shop/shop: "), "the verdict stays the last line: {verdict}");
    answers.to_owned() + "\n"
}

#[test]
fn why_is_answered_at_each_site_as_bascule_why_would_there() {
    let lost = ["examples/shop.yaml", "--why", "25s"];
    insta::assert_snapshot!("why-site-lost", answers(&lost));
    assert_eq!(answers(&lost), answers(&lost), "the same arguments give the same bytes");
}

#[test]
fn why_names_what_holds_a_takeover_back_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let policy = changed(directory.path(), "strict.yaml", &[("time: 1m", "time: 7s")]);
    insta::assert_snapshot!("why-too-strict", answers(&[&policy, "--why", "lyon@1m"]));
}

#[test]
fn why_does_not_believe_what_a_frozen_operator_wrote_and_knows_its_own_time_of_day() {
    let frozen = ["examples/shop.yaml", "--fail", "operator-frozen=lyon@5s", "--why", "lyon@90s"];
    insta::assert_snapshot!("why-frozen", answers(&frozen));
    let clock = answers(&["examples/shop.yaml", "--fail", "clock=lyon@5s", "--why", "lyon@40s"]);
    assert!(clock.contains("Note     the operator's clock is 59 m"), "{clock}");
}

#[test]
fn why_during_a_switchover_names_the_move_and_afterwards_who_asked_for_it() {
    let moved = ["examples/shop.yaml", "--move", "examples/move.yaml@5s", "--why", "lyon@30s"];
    let after = answers(&moved);
    assert!(after.contains("Active   lyon, epoch 2, serial "), "{after}");
    assert!(after.contains(", by Switchover (Move 2026-11-28-paris-kernel)"), "{after}");
    // The day of the Move, and not two of them: the past of the record has the same time of day.
    assert!(!after.contains("days"), "{after}");
}

#[test]
fn why_has_no_answer_where_nobody_can_be_asked() {
    let of = |kind: &str| answers(&["examples/shop.yaml", "--fail", kind, "--why", "lyon@12s"]);
    for (kind, words) in [
        ("site=lyon@10s", "No answer: the site has no power; what another site knows is asked there."),
        ("api=lyon@10s", "No answer: its API server refuses connections"),
        ("api-silent=lyon@10s", "No answer: its API server does not answer within 5 s"),
        ("api-busy=lyon@10s", "No answer: its API server is busy (429)"),
        ("policy-deleted=lyon@10s", "No answer: there is no FailoverPolicy shop/shop in its cluster."),
    ] {
        assert!(of(kind).contains(words), "{kind}: {}", of(kind));
    }
    // A person's rights are not the operator's.
    assert!(of("api-forbidden=lyon@10s").contains("Told by  lyon"), "{}", of("api-forbidden=lyon@10s"));
}

#[test]
fn a_policy_that_was_edited_is_another_generation_until_its_operator_has_judged_it() {
    let edited = |at: &str| answers(&["examples/shop.yaml", "--fail", "policy-edited=lyon@10s", "--why", at]);
    let note = "this is about generation 1, the newest is 2";
    assert!(edited("lyon@10001ms").contains(note), "{}", edited("lyon@10001ms"));
    assert!(!edited("lyon@20s").contains("generation"), "{}", edited("lyon@20s"));
}

#[test]
fn asking_changes_nothing_of_what_happens() {
    let silent = simulate(&["examples/shop.yaml"]).out;
    // In the middle of everything, between two looks of those who tell the story, and twice.
    let asked = simulate(&["examples/shop.yaml", "--why=10003ms", "--why=lyon@52s", "--why=lyon@52s"]).out;
    let story = |out: &str| {
        let from = out.find("\n\n    0.000 s").unwrap();
        let to = out.find("\n\nbascule why").or_else(|| out.find("\n\nshop/shop: every")).unwrap();
        out[from..to].to_owned()
    };
    assert_eq!(story(&asked), story(&silent));
    assert_eq!(asked.matches("\nbascule why shop/shop, asked at lyon at 52 s").count(), 1);
    let late = simulate(&["examples/shop.yaml", "--why", "lyon@10m"]).out;
    assert!(late.contains("asked at lyon at 10 m"), "it is watched until the last question: {late}");
}

#[test]
fn what_why_answers_is_part_of_the_json_and_documented() {
    let said = simulate(&["examples/shop.yaml", "--why", "25s", "-o", "json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let (paris, lyon) = (&json["why"][0], &json["why"][1]);
    assert_eq!((&paris["site"], &paris["atMs"]), (&"paris".into(), &25_000.into()));
    assert!(paris["noAnswer"].as_str().unwrap().contains("no power"), "{paris}");
    assert_eq!((&paris["answer"], &paris["status"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&lyon["noAnswer"], &lyon["answer"]["firstBlocker"]["code"]),
        (&Value::Null, &"promote".into())
    );
    assert_eq!(lyon["answer"]["site"], "lyon");
    assert_eq!(lyon["status"]["phase"], "ReadOnly");
    let documented = fs::read_to_string(repository().join("docs/simulate.md")).unwrap();
    for field in lyon.as_object().unwrap().keys() {
        assert!(documented.contains(&format!("`{field}`")), "docs/simulate.md does not say what {field} is");
    }
    let none = simulate(&["examples/shop.yaml", "--for=11s", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&none.out).unwrap()["why"], Value::Array(vec![]));
}

#[test]
fn a_scenario_file_asks_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let text = "events:\n  - { at: 5s, fail: link }\nwhy:\n  - { at: 20s, site: lyon }\n";
    let scenario = written(directory.path(), "night.yaml", text);
    let said = answers(&["examples/shop.yaml", "--scenario", &scenario, "--why", "paris@8s"]);
    let asked: Vec<&str> = said.lines().filter(|l| l.starts_with("bascule why")).collect();
    assert_eq!(asked.len(), 2, "{said}");
    assert!(
        asked[0].contains("asked at paris at 8 s") && asked[1].contains("asked at lyon at 20 s"),
        "{said}"
    );
}

#[test]
fn nobody_but_a_person_promotes_where_the_policy_says_never() {
    let said = simulate(&["examples/read-only.yaml"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("recovery           not promised"), "{}", said.out);
    assert!(said.out.contains("gate promote No: spec.failover.promote.after is Never"), "{}", said.out);
}

#[test]
fn a_persons_moves_act_at_their_time() {
    let moved = simulate(&[
        "examples/shop.yaml",
        "--fail=site=paris@5s",
        "--move=examples/move-failover.yaml@20s",
        "-o=json",
    ]);
    let json: Value = serde_json::from_str(&moved.out).unwrap();
    assert_eq!((moved.code, &json["active"], &json["held"]), (0, &"lyon".into(), &true.into()));
    assert_eq!(json["moveVerdicts"][0]["end"], "Done");
    // Not after half a minute of reads, as by itself.
    assert!(json["longestOutage"]["tookMs"].as_u64().unwrap() < 20_000, "{}", json["longestOutage"]);
    let held = simulate(&["examples/shop.yaml", "--fail=site=paris@30s", "--move=examples/move-hold.yaml"]);
    assert!(held.out.contains("gate hold says no: held until 2026-11-28T18:00:00Z"), "{}", held.out);
    assert!(held.out.contains("recovery           not promised"), "{}", held.out);
}

#[test]
fn every_policy_of_a_file_is_simulated_with_the_moves_that_are_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read_to_string(repository().join("examples").join(name)).unwrap();
    let all = [read("shop.yaml"), read("pilot-light.yaml"), read("move.yaml")].join("---\n");
    let all = written(directory.path(), "all.yaml", &all);
    let said = simulate(&[&all, "-o", "json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let of = |i: usize, field: &str| json["policies"][i][field].as_str().unwrap().to_owned();
    assert_eq!((of(0, "policy"), of(1, "policy")), ("shop/shop".to_owned(), "shop/wiki".to_owned()));
    assert!(json["policies"][0]["events"][0]["what"].as_str().unwrap().contains("2026-11-28-paris-kernel"));
    let event = &json["policies"][1]["events"][0];
    assert_eq!(event["what"], "paris loses power, for good");
    assert_eq!(
        (&event["fail"], &event["site"], &event["lastsMs"]),
        (&"site".into(), &"paris".into(), &Value::Null)
    );
    let one = simulate(&[&all, "--policy", "wiki", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&one.out).unwrap()["policy"], "shop/wiki");
}

#[test]
fn three_sites_are_simulated_as_two_are() {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(repository().join("examples/shop.yaml")).unwrap();
    let from = text.find("          - site: lyon").unwrap();
    let instance = &text[from..text.find("  workloads:").unwrap()];
    let third = instance.replace("lyon", "nice");
    let policy = changed(
        directory.path(),
        "three.yaml",
        &[
            ("    - name: lyon\n", "    - name: lyon\n    - name: nice\n"),
            (instance, &format!("{instance}{third}")),
            (
                "          - { site: lyon, values: [\"198.51.100.10\"] }\n",
                "          - { site: lyon, values: [\"198.51.100.10\"] }\n          - { site: nice, values: [\"203.0.113.20\"] }\n",
            ),
        ],
    );
    let said = simulate(&[&policy, "-o", "json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &json["held"], &json["violations"]), (0, &true.into(), &Value::Array(vec![])));
    assert_ne!(json["active"], "paris");
}

#[test]
fn a_scenario_file_says_what_happens_and_the_options_win_over_it() {
    let directory = tempfile::tempdir().unwrap();
    let text = "profile: metro\nseed: 7\nevents:\n  - { at: 5s, fail: link, for: 10s }\n  - { at: 8s, switchTo: lyon }\n";
    let scenario = written(directory.path(), "night.yaml", text);
    let said = simulate(&["examples/shop.yaml", "--scenario", &scenario, "--seed", "3", "-o", "json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["profile"], &json["seed"]), (&"metro".into(), &3.into()));
    let what: Vec<&str> =
        json["events"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["the line between the sites is cut, for 10 s", "a Move Switchover to lyon is merged"]);
}

#[test]
fn every_kind_of_fault_is_listed() {
    let said = simulate(&["--list-faults"]);
    assert_eq!(said.code, 0);
    for form in ["site=SITE@TIME[+DURATION]", "link@TIME[+DURATION]", "operator=SITE@TIME "] {
        assert!(said.out.contains(form), "{form}: {}", said.out);
    }
}

#[test]
fn the_first_line_comes_at_once_and_help_names_the_exit_codes() {
    let begun = Instant::now();
    let said = simulate(&["--help"]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    for words in ["Exit codes", "0 the policy's promises", "--list-faults", "docs/simulate.md"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
}

/// Nothing is printed but an error that has all of these words.
fn fails(arguments: &[&str], words: &[&str]) {
    let said = simulate(arguments);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}: {said:?}");
    for word in words {
        assert!(said.err.contains(word), "{arguments:?} does not say {word:?}: {}", said.err);
    }
}

#[test]
fn what_is_wrong_is_said_so_that_it_can_be_mended() {
    let shop = "examples/shop.yaml";
    fails(
        &[shop, "--fail", "siet=paris@10s"],
        &["--fail siet=paris@10s", "did you mean site?", "--list-faults"],
    );
    fails(&[shop, "--fail", "site=pairs@10s"], &["\"pairs\"", "did you mean paris?", "paris, lyon"]);
    fails(&[shop, "--fail", "site=paris@10"], &["found \"10\"", "expected a duration such as 500ms, 10s"]);
    fails(&[shop, "--fail", "site=paris"], &["found no time", "for example site=paris@10s"]);
    fails(&[shop, "--fail", "operator=paris@4s+1m"], &["takes no duration", "operator-frozen"]);
    fails(&[shop, "--switch-to", "nice"], &["--switch-to nice", "paris, lyon"]);
    fails(&[shop, "--profile", "galaxy"], &["--profile", "metro, region, wan or conservative"]);
    fails(&[shop, "--for", "never"], &["--for", "found \"never\""]);
    fails(&[shop, "--writes-every", "1ms"], &["--writes-every", "at least 5 ms"]);
    fails(&["examples/none.yaml"], &["a file with a FailoverPolicy", "examples/none.yaml", "No such file"]);
    fails(&[shop, "--scenario", "none.yaml"], &["--scenario: a scenario file", "none.yaml", "No such file"]);
    fails(&[shop, "--move", "none.yaml@3s"], &["--move: a file with Moves", "none.yaml", "No such file"]);
    fails(&[shop, "--move", "examples/move.yaml@soon"], &["the time after @: found \"soon\", expected a"]);
    fails(
        &[shop, "--fail", "site=paris,lyon@3s"],
        &["expected a site of the policy; name several one by one (paris, lyon)"],
    );
    fails(&["examples/move.yaml"], &["found no FailoverPolicy"]);
    fails(&["examples/source.yaml"], &["examples/source.yaml:3:7: kind: found PolicySource"]);
    fails(&["examples/pilot-light.yaml", "--move", "examples/move.yaml"], &["for no policy", "wiki"]);
    fails(&[shop, "--policy", "shpo"], &["--policy", "shop"]);
    fails(&[shop, "--policy", "blog/shop"], &["--policy: found \"blog/shop\""]);
    fails(
        &[shop, "--writes-every", "3h"],
        &["--writes-every: found 3 h, expected at most 5 s: outages are told by the writes"],
    );
    fails(&[shop, "--for", "-1s"], &["--for: found \"-1s\", expected a duration such as"]);
    fails(&[shop, "--move", shop], &["found the file with the policy again, expected one with Moves"]);
    fails(&[], &["POLICY.yaml"]);
}

#[test]
fn a_wrong_question_is_said_so_that_it_can_be_mended() {
    let wrong = |why: &str, words: &[&str]| fails(&["examples/shop.yaml", "--why", why], words);
    wrong("pairs@12s", &["--why pairs@12s", "did you mean paris?", "paris, lyon"]);
    wrong("berlin@12s", &["--why berlin@12s", "expected a site of the policy (paris, lyon)"]);
    wrong("lyon", &["--why lyon", "found the site \"lyon\" without a time", "lyon@12s"]);
    wrong("12", &["--why 12", "found \"12\"", "expected a duration such as 500ms, 10s"]);
    wrong("12s@lyon", &["found the time before the site, expected lyon@12s"]);
    wrong("lyon@soon", &["--why lyon@soon", "the time after @: found \"soon\""]);
    wrong("soon", &["found \"soon\", expected [SITE@]TIME, for example 12s, or paris@12s"]);
    wrong("12s,20s", &["found \"12s,20s\"", "repeat --why"]);
    wrong("@12s", &["found no site before @", "expected [SITE@]TIME"]);
    wrong("25h", &["found \"25h\", expected at most 24h"]);
    fails(
        &["examples/shop.yaml", "--for=1m", "--why=2m"],
        &["`why` is asked at 2 m, but only 60 s are watched (--for)", "ask earlier"],
    );
    let unseen = ["something happens at 2 h 0 m", "only 60 s are watched (--for)", "watch for longer"];
    fails(&["examples/shop.yaml", "--fail=site=paris@2h", "--for=1m"], &unseen);
    fails(&["examples/shop.yaml", "--for=0s"], &["something happens at 10 s", "only 0 ms are watched"]);
    fails(&["examples/shop.yaml", "--why"], &["a value is required for '--why <[SITE@]TIME>'"]);
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let policy = changed(
        directory.path(),
        "wrong.yaml",
        &[("initialSite: paris", "initialSite: berlin"), ("after: 30s", "after: 30 seconds")],
    );
    fails(
        &[&policy],
        &["wrong.yaml:14:16: spec.initialSite", "wrong.yaml:18:14: spec.failover.promote.after"],
    );
    let scenario = written(directory.path(), "night.yaml", "events:\n  - at: 10s\n    fial: site\n");
    fails(
        &["examples/shop.yaml", "--scenario", &scenario],
        &["night.yaml:3:11: events[0].fial: unknown field 'fial', expected one of: at, fail, for"],
    );
    let text = "events:\n  - { at: 10s, fail: link }\nwhy:\n  - at: soon\n    site: lyno\n  - site: lyon\n";
    let scenario = written(directory.path(), "asked.yaml", text);
    fails(&["examples/shop.yaml", "--scenario", &scenario], &["asked.yaml:6:5: why[1].at: is missing"]);
    let scenario = written(directory.path(), "asked.yaml", &text.replace("  - site: lyon\n", ""));
    fails(
        &["examples/shop.yaml", "--scenario", &scenario],
        &[
            "asked.yaml:4:9: why[0].at: found \"soon\", expected a duration such as",
            "asked.yaml:5:11: why[0].site: found \"lyno\", expected a site of the policy; did you mean lyon?",
        ],
    );
}
