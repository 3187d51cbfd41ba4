//! `bascule plan` as people run it: what it tells, its exit codes, and what it makes of everything that can be wrong
//! with what it is given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What a run printed, and how it ended.
#[derive(Debug, PartialEq)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn run(command: &str, arguments: &[&str]) -> Said {
    let mut bascule = Command::new(env!("CARGO_BIN_EXE_bascule"));
    bascule.arg(command).args(arguments).current_dir(repository());
    // Nobody's cluster is asked by accident.
    bascule.env("KUBECONFIG", "/nowhere/config").env_remove("KUBERNETES_SERVICE_HOST");
    let Output { status, stdout, stderr } = bascule.output().unwrap();
    Said {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn plan(arguments: &[&str]) -> Said {
    run("plan", arguments)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A directory with files that are examples with some of their text replaced.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn changed(&self, name: &str, example: &str, changes: &[(&str, &str)]) -> String {
        let mut text = fs::read_to_string(repository().join("examples").join(example)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{from} is not in {example}");
            text = text.replacen(from, to, 1);
        }
        self.write(name, &text)
    }
}

const SHOP: &str = "examples/shop.yaml";
const MOVE: &str = "examples/move.yaml";
/// Two days before the times that the examples name.
const BEFORE: &str = "--at=2026-11-26T12:00:00Z";

/// The text with `DIR` for each directory of [`Files`].
fn placeless(text: &str) -> String {
    let begins = std::env::temp_dir().join(".tmp").display().to_string();
    let mut parts = text.split(&begins);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + "DIR" + part.find('/').map_or(part, |end| &part[end..]))
}

/// A run whose every byte is known.
fn told(name: &str, arguments: &[&str], code: i32) -> Said {
    let said = plan(arguments);
    assert_eq!(said.code, code, "{said:?}");
    insta::assert_snapshot!(name, placeless(&said.out));
    assert_eq!(plan(arguments).out, said.out, "the same arguments give the same bytes");
    said
}

/// A changed shop, held against the example.
fn told_changed(name: &str, changes: &[(&str, &str)]) {
    let files = Files::new();
    let path = files.changed("shop.yaml", "shop.yaml", changes);
    told(name, &[&path, "--against", SHOP], 2);
}

#[test]
fn a_switchover_at_its_time() {
    told("plan-switchover", &[MOVE, "--against", SHOP, BEFORE], 2);
}

#[test]
fn what_a_lost_site_would_need_a_person_for_blocks_no_change() {
    let files = Files::new();
    let strict = [("bytes: 16Mi, time: 1m", "bytes: \"0\", time: 0s")];
    let strict = files.changed("strict.yaml", "shop.yaml", &strict);
    let never = files.changed("never.yaml", "shop.yaml", &[("after: 30s", "after: Never")]);
    for arguments in [
        &["examples/read-only.yaml"][..],
        &[&strict, "--against", SHOP],
        &[&never, "--against", SHOP],
        &[MOVE, "--against", &never, BEFORE],
        &[MOVE, "--against", &strict, BEFORE],
    ] {
        let said = plan(arguments);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(!said.out.to_lowercase().contains("blocker"), "{arguments:?}: {}", said.out);
        let markdown = plan(&[arguments, &["-o", "markdown"]].concat());
        assert!(!markdown.out.contains("Blocked by"), "{arguments:?}: {}", markdown.out);
    }
    let said = plan(&["examples/read-only.yaml"]);
    let note = "a person decides by a Move of type Failover: spec.failover.promote.after is Never";
    assert!(said.out.contains(note), "{}", said.out);
}

#[test]
fn the_wait_of_users_is_from_the_first_flag_to_the_last() {
    let said = plan(&[MOVE, "--against", SHOP, BEFORE, "-o", "json"]).json();
    let act = &said["policies"][0]["acts"][0];
    let flags = |new: &str| {
        let all = act["steps"].as_array().unwrap().iter();
        all.filter(|s| s["kind"] == "flag" && s["new"] == new).map(|s| s["atMs"].as_u64().unwrap()).collect()
    };
    let (on, off): (Vec<u64>, Vec<u64>) = (flags("\"1\""), flags("\"0\""));
    let wait = act["expected"]["readOnlyMs"].as_u64().unwrap();
    // Each of the three is in whole milliseconds, rounded down.
    assert!(wait.abs_diff(off[0] - on[0]) <= 1, "{act}");
    assert!(act["expected"]["writePauseMs"].as_u64().unwrap() < wait, "{act}");
}

#[test]
fn a_failover_of_a_site_that_is_taken_to_be_lost() {
    told("plan-failover", &["examples/move-failover.yaml", "--against", SHOP], 2);
}

#[test]
fn a_failover_on_a_persons_word_is_of_the_state_that_it_names() {
    let files = Files::new();
    let suspended = files.changed(
        "before.yaml",
        "shop.yaml",
        &[("  initialSite: paris\n", "  initialSite: paris\n  suspend: true\n")],
    );
    let path = files.changed(
        "move.yaml",
        "move-failover.yaml",
        &[
            ("  # acceptDataLoss: true", "  acceptDataLoss: true"),
            ("  # serial: 12", "  serial: 12"),
            ("  # sourceStopped:", "  sourceStopped:"),
        ],
    );
    // A suspended policy acts on nothing; it is taken up again and moved in one commit.
    told("plan-failover-suspended", &[&path, "--against", &suspended], 2);
    told("plan-failover-stopped", &[&path, SHOP, "--against", &suspended], 2);
}

#[test]
fn a_failover_that_the_policy_does_by_itself_needs_no_person() {
    let files = Files::new();
    let path = files.changed("move.yaml", "move-failover.yaml", &[("name: shop }", "name: wiki }")]);
    told("plan-failover-needless", &[&path, "--against", "examples/pilot-light.yaml"], 2);
}

#[test]
fn a_hold_is_written_down_and_nothing_else() {
    told("plan-hold", &["examples/move-hold.yaml", SHOP, BEFORE], 2);
}

#[test]
fn a_move_whose_time_has_passed_comes_to_nothing() {
    told("plan-stale", &[MOVE, SHOP, "--at=2026-11-29T00:00:00Z"], 2);
}

#[test]
fn replicas_that_change() {
    let from = "replicas: { active: 2, readOnly: 2, standby: 1 }";
    told_changed("plan-replicas", &[(from, "replicas: { active: 4, readOnly: 2, standby: 0 }")]);
}

#[test]
fn dns_that_changes() {
    told_changed(
        "plan-dns",
        &[("values: [\"192.0.2.10\"]", "values: [\"192.0.2.99\"]"), ("ttl: 5s", "ttl: 1m")],
    );
}

#[test]
fn the_address_of_a_standby_is_published_with_its_turn() {
    told_changed("plan-dns-standby", &[("values: [\"198.51.100.10\"]", "values: [\"198.51.100.99\"]")]);
}

#[test]
fn a_promotion_that_comes_earlier_does_nothing_now() {
    told_changed("plan-promote", &[("after: 30s", "after: 5s")]);
}

#[test]
fn a_suspended_policy_promises_nothing() {
    told_changed("plan-suspend", &[("  initialSite: paris\n", "  initialSite: paris\n  suspend: true\n")]);
}

#[test]
fn a_flag_in_another_place_is_set_there_and_the_old_one_is_let_go() {
    told_changed(
        "plan-flag",
        &[("name: web-flags", "name: shop-flags"), ("readOnlyValue: \"1\"", "readOnlyValue: \"yes\"")],
    );
}

#[test]
fn a_site_under_another_name_lets_go_of_everything_that_the_old_one_had() {
    told_changed(
        "plan-site-renamed",
        &[
            ("- name: lyon", "- name: rome"),
            ("- site: lyon", "- site: rome"),
            ("{ site: lyon,", "{ site: rome,"),
        ],
    );
}

#[test]
fn a_new_policy_begins_at_its_initial_site() {
    told("plan-new", &["examples/pilot-light.yaml"], 2);
}

#[test]
fn a_policy_that_is_deleted_keeps_everything_as_it_is() {
    let files = Files::new();
    files.changed("before/shop.yaml", "shop.yaml", &[]);
    files.changed("before/wiki.yaml", "pilot-light.yaml", &[]);
    files.changed("after/wiki.yaml", "pilot-light.yaml", &[]);
    told("plan-deleted", &[&files.path("after"), "--against", &files.path("before")], 2);
}

#[test]
fn a_policy_under_another_name_is_another_policy() {
    let files = Files::new();
    let path = files.changed("shop.yaml", "shop.yaml", &[("  name: shop\n", "  name: boutique\n")]);
    let said = plan(&[&path, "--against", SHOP]);
    assert_eq!(said.code, 2, "{said:?}");
    let note = "shop/shop is deleted and shop/boutique is new, and both name database main";
    assert!(said.out.contains(note) && said.out.contains("that is no rename"), "{said:?}");
}

#[test]
fn nothing_changes_and_the_exit_code_says_so() {
    let files = Files::new();
    // Comments, defaults that are written out, and the order of keys say nothing new.
    let path = files.changed(
        "shop.yaml",
        "shop.yaml",
        &[
            ("    cooldown: 10m", "    cooldown: 10m # as ever\n    switchoverDeadline: 2m"),
            ("# A shop", "# The shop"),
        ],
    );
    let said = plan(&[&path, "--against", SHOP]);
    let same = plan(&[SHOP, "--against", SHOP]);
    assert_eq!(
        (same.code, same.out.as_str()),
        (0, "Nothing changes: FILE says what examples/shop.yaml says.\n")
    );
    assert_eq!(said.code, 0, "{said:?}");
    let json = plan(&[SHOP, "--against", SHOP, "-o", "json"]).json();
    assert_eq!((&json["changes"], &json["policies"]), (&json!(false), &json!([])));
    assert_eq!(json["unchanged"], json!(["shop/shop"]));
}

#[test]
fn json_has_what_the_text_has() {
    let json = plan(&[MOVE, "--against", SHOP, BEFORE, "-o", "json"]).json();
    assert_eq!((&json["version"], &json["changes"]), (&json!(1), &json!(true)));
    let policy = &json["policies"][0];
    let act = &policy["acts"][0];
    assert_eq!(act["begins"], "2026-11-28T12:00:00Z");
    assert_eq!(act["moves"][0]["verdict"], "Done");
    assert_eq!((&act["risk"]["bytes"], &act["risk"]["timeMs"]), (&json!(0), &json!(0)));
    assert!(act["expected"]["writePauseMs"].as_u64().unwrap() > 0);
    let object = |name: &str| {
        let all = act["objects"].as_array().unwrap();
        all.iter().find(|o| o["object"].as_str().unwrap().starts_with(name)).unwrap().clone()
    };
    let dns = object("DNS www.shop.example.");
    assert_eq!((&dns["old"], &dns["new"]), (&json!("192.0.2.10 (paris)"), &json!("198.51.100.10 (lyon)")));
    // Nobody knows the serial, so none is told.
    assert_eq!(policy["now"]["serial"], Value::Null);
    assert!(!act["steps"].to_string().contains("serial"), "{}", act["steps"]);
}

#[test]
fn moves_of_different_times_act_one_after_the_other() {
    let files = Files::new();
    let back = files.changed(
        "back.yaml",
        "move.yaml",
        &[
            ("2026-11-28-paris-kernel", "2026-11-29-back"),
            ("from: paris", "from: lyon"),
            ("to: lyon", "to: paris"),
            ("epoch: 1", "epoch: 2"),
            ("2026-11-28T12:00:00Z", "2026-11-29T12:00:00Z"),
            ("2026-11-28T14:00:00Z", "2026-11-29T14:00:00Z"),
        ],
    );
    let json = plan(&[MOVE, &back, "--against", SHOP, BEFORE, "-o", "json"]).json();
    let acts = json["policies"][0]["acts"].as_array().unwrap().clone();
    let ends: Vec<&Value> = acts.iter().map(|a| &a["moves"][0]["verdict"]).collect();
    assert_eq!(ends, ["Done", "Done"], "{acts:?}");
    assert_eq!(acts[1]["objects"][0]["new"], "Steady, paris active, epoch 3, Move 2026-11-29-back: Done");
}

#[test]
fn a_move_by_labels_is_planned_for_every_policy_that_has_them() {
    let files = Files::new();
    let path = files.changed(
        "move.yaml",
        "move.yaml",
        &[
            ("policyRef: { name: shop }", "policySelector: { matchLabels: { tier: customer } }"),
            ("  epoch: 1\n", ""),
        ],
    );
    let json =
        plan(&[&path, "examples/pilot-light.yaml", "examples/read-only.yaml", BEFORE, "-o", "json"]).json();
    let of = |i: usize| {
        let policy = &json["policies"][i];
        (policy["policy"].as_str().unwrap(), policy["acts"][0]["moves"][0]["verdict"].as_str())
    };
    // The archive's role may be where its initial site is, or where the Move says: it is asked in paris.
    assert_eq!((of(0), of(1)), (("shop/archive", Some("Done")), ("shop/wiki", Some("Done"))), "{json}");
}

#[test]
fn a_move_that_is_there_already_is_no_change_and_one_that_is_rewritten_is_not_acted_on() {
    let files = Files::new();
    files.changed("before/shop.yaml", "shop.yaml", &[]);
    files.changed("before/move.yaml", "move.yaml", &[]);
    files.changed("after/shop.yaml", "shop.yaml", &[]);
    files.changed("after/move.yaml", "move.yaml", &[]);
    let (before, after) = (files.path("before"), files.path("after"));
    assert_eq!(plan(&[&after, "--against", &before]).code, 0);
    files.changed("after/move.yaml", "move.yaml", &[("ticket 4711", "ticket 4712")]);
    told("plan-rewritten", &[&after, "--against", &before], 2);
    fs::remove_file(files.path("after/move.yaml")).unwrap();
    let said = plan(&[&after, "--against", &before]);
    assert!(said.out.contains("Move 2026-11-28-paris-kernel is gone: if it has not begun"), "{said:?}");
}

/// A repository with the example, committed; its directory.
fn repository_with(files: &Files) -> git2::Repository {
    files.changed("policies/shop.yaml", "shop.yaml", &[]);
    let repository = git2::Repository::init(files.path("")).unwrap();
    commit(&repository, "the shop");
    repository
}

fn commit(repository: &git2::Repository, message: &str) -> git2::Oid {
    let mut index = repository.index().unwrap();
    index.add_all(["."], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.update_all(["."], None).unwrap();
    index.write().unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let who = git2::Signature::new("A. Martin", "a@example.org", &git2::Time::new(1_790_000_000, 0)).unwrap();
    let parents: Vec<_> = repository.head().ok().and_then(|h| h.peel_to_commit().ok()).into_iter().collect();
    let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
    repository.commit(Some("HEAD"), &who, &who, message, &tree, &parents).unwrap()
}

#[test]
fn files_are_held_against_a_revision_without_checking_it_out() {
    let files = Files::new();
    let repository = repository_with(&files);
    let first = repository.head().unwrap().peel_to_commit().unwrap().id().to_string();
    let directory = files.path("policies");
    let same = plan(&[&directory, "--against", "HEAD"]);
    assert_eq!(same.code, 0, "{same:?}");
    assert!(same.out.starts_with("Nothing changes: FILE says what the revision HEAD ("), "{same:?}");

    // Changed and not committed, then committed: the second commit against the first.
    let shop = files.changed("policies/shop.yaml", "shop.yaml", &[("after: 30s", "after: 5s")]);
    let fields = |said: &Said| said.json()["policies"][0]["fields"].clone();
    let expected = json!([{ "field": "spec.failover.promote.after", "old": "30s", "new": "5s" }]);
    assert_eq!(fields(&plan(&[&shop, "--against", "HEAD", "-o", "json"])), expected);
    commit(&repository, "earlier");
    assert_eq!(plan(&[&shop, "--against", "HEAD"]).code, 0);
    for revision in ["HEAD~1", "git:HEAD~1", &first, &first[..9]] {
        assert_eq!(fields(&plan(&[&shop, "--against", revision, "-o", "json"])), expected, "{revision}");
    }

    // A Move in a new file is for the policy beside it.
    let mv = files.changed("policies/move.yaml", "move.yaml", &[]);
    let json = plan(&[&mv, "--against", "HEAD", BEFORE, "-o", "json"]).json();
    assert_eq!(json["policies"][0]["acts"][0]["moves"][0]["verdict"], "Done", "{json}");

    // A file that is gone is a policy that is deleted.
    fs::remove_file(&shop).unwrap();
    fs::remove_file(&mv).unwrap();
    for what in [&shop, &directory] {
        let said = plan(&[what, "--against", "HEAD"]);
        assert!(said.out.starts_with("shop/shop: deleted, 1 step"), "{said:?}");
    }
    assert!(!Path::new(&shop).exists(), "nothing is checked out");
}

#[test]
fn a_branch_is_planned_between_two_revisions_whatever_lies_there_now() {
    let files = Files::new();
    let repository = repository_with(&files);
    let bound = [("maxDataLoss: { bytes: 16Mi, time: 1m }", "maxDataLoss: { bytes: 1Gi, time: 1m }")];
    files.changed("policies/shop.yaml", "shop.yaml", &bound);
    files.changed("policies/move.yaml", "move.yaml", &[]);
    commit(&repository, "a move, and a bound");
    fs::remove_dir_all(files.path("policies")).unwrap();
    let directory = files.path("policies");

    let said = plan(&[&directory, "--git", "HEAD~1..HEAD", BEFORE, "-o", "markdown"]);
    assert_eq!(said.code, 2, "{said:?}");
    let first = repository.revparse_single("HEAD~1").unwrap().id().to_string();
    insta::assert_snapshot!("plan-pull-request", said.out.replace(&first[..12], "0123456789ab"));
    let back = plan(&[&directory, "--git", "HEAD..HEAD~1", BEFORE]);
    assert!(back.out.contains("spec.failover.promote.maxDataLoss.bytes  1Gi -> 16Mi"), "{back:?}");
    assert!(!back.out.contains("loosens a bound"), "{back:?}");
    let wrong = plan(&[&directory, "--git", "HEAD"]);
    assert!(wrong.err.contains("--git HEAD: expected two revisions"), "{wrong:?}");
    let wrong = plan(&[&directory, "--git", "mian..HEAD"]);
    assert!(wrong.err.contains("--git mian") && wrong.err.contains("no revision of that name"), "{wrong:?}");
    let wrong = plan(&[&directory, "--git", "HEAD..nope"]);
    let words = "--git HEAD..nope: nope: found no revision of that name; expected a git revision";
    assert!(wrong.err.contains(words) && !wrong.err.contains("live"), "{wrong:?}");
    let elsewhere = Files::new();
    let outside = elsewhere.changed("shop.yaml", "shop.yaml", &[]);
    let wrong = plan(&[&outside, "--git", "main..HEAD"]);
    assert!(
        wrong.err.contains("--git main..HEAD: ") && wrong.err.contains("in no git repository"),
        "{wrong:?}"
    );
    // A shallow clone has no more than its newest commits.
    let git = Path::new(repository.path());
    let head = repository.revparse_single("HEAD").unwrap().id();
    fs::write(git.join("shallow"), format!("{head}\n")).unwrap();
    let wrong = plan(&[&directory, "--git", "HEAD~1..HEAD"]);
    assert!(wrong.err.contains("shallow") && wrong.err.contains("fetch-depth 0"), "{wrong:?}");
}

#[test]
fn the_example_for_pull_requests_writes_the_comment_and_fails_where_there_is_no_plan() {
    let files = Files::new();
    let repository = repository_with(&files);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ci/plan.sh");
    let job = |base: &str| {
        Command::new("sh")
            .arg(&script)
            .current_dir(files.path(""))
            .env("BASE", base)
            .env("POLICIES", "policies")
            .env("BASCULE", env!("CARGO_BIN_EXE_bascule"))
            .env_remove("CONTEXTS")
            .output()
            .unwrap()
    };
    files.changed("policies/shop.yaml", "shop.yaml", &[("after: 30s", "after: 5s")]);
    commit(&repository, "earlier");
    let done = job("HEAD~1");
    let comment = fs::read_to_string(files.path("plan.md")).unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(comment.starts_with("<!-- bascule plan -->") && comment.contains("promote.after"), "{comment}");
    assert_eq!(String::from_utf8(done.stdout).unwrap(), comment);

    assert_eq!(job("nowhere").status.code(), Some(1));
    assert!(fs::read_to_string(files.path("plan.md")).unwrap().contains("There is no plan"));
}

#[test]
fn a_path_that_never_was_is_named_beside_one_that_is() {
    let files = Files::new();
    repository_with(&files);
    let (wrong, right) = (files.path("policies/shopp.yaml"), files.path("policies/shop.yaml"));
    for given in [vec![wrong.as_str(), right.as_str()], vec![wrong.as_str()]] {
        let said = plan(&[given, vec!["--against", "HEAD"]].concat());
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("shopp.yaml, neither now nor in the revision HEAD"), "{said:?}");
    }
}

/// The words of a line without the serial that nobody knew when it was planned.
fn bare(words: &str) -> String {
    let Some((before, after)) = words.split_once(", serial ") else { return words.to_owned() };
    format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// The steps that a plan names, and those that the operators' and guards' journals name when the same is simulated: each
/// with its site.
fn planned_and_done(planned: &[&str], simulated: &[&str], from: &str) -> [BTreeSet<(String, String)>; 2] {
    let plan = plan(planned).json();
    let acts = plan["policies"][0]["acts"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = acts.iter().flat_map(|a| a["steps"].as_array().unwrap().clone()).filter_map(|s| {
        let guard = s["kind"] == "database" && !text(&s["what"]).starts_with("the guards");
        // What the simulation's journal has no line for, and what names another address there.
        let untold = ["checkpoint", "stop"].contains(&text(&s["what"]).as_str()) || s["kind"] == "record";
        let site = if guard { format!("{} guard", text(&s["site"])) } else { text(&s["site"]) };
        let what = text(&s["what"]);
        let what = what.split(" (198.51.100.10").next().unwrap().to_owned();
        (!untold).then_some((site, what))
    });
    let said = run("simulate", simulated).json();
    let lines = said["timeline"].as_array().unwrap().clone().into_iter();
    let starts = lines.clone().position(|l| text(&l["what"]).starts_with(from)).unwrap();
    let step = |what: &str| {
        ["set the read-only", "clear the read-only", "scale ", "point ", "verify a write", "the guards are"]
            .iter()
            .any(|w| what.starts_with(w))
    };
    let done = lines.skip(starts).filter_map(|l| {
        let (who, what) = (text(&l["who"]), bare(&text(&l["what"])));
        let what = what.strip_suffix(":5432").unwrap_or(&what).to_owned();
        (who.ends_with(" guard") || step(&what)).then_some((who, what))
    });
    [steps.collect(), done.collect()]
}

#[test]
fn a_plan_names_the_steps_that_the_journals_name_when_it_is_played() {
    let [planned, done] = planned_and_done(
        &[MOVE, "--against", SHOP, BEFORE, "-o", "json"],
        &[SHOP, "--move", MOVE, "--seed", "11", "-o", "json"],
        "a Move 2026-11-28-paris-kernel",
    );
    assert_eq!(planned, done);
    assert!(planned.len() > 10, "{planned:?}");
    let [planned, done] = planned_and_done(
        &["examples/move-failover.yaml", "--against", SHOP, "-o", "json"],
        &[
            SHOP,
            "--fail",
            "site=paris@5s",
            "--move",
            "examples/move-failover.yaml@25s",
            "--seed",
            "11",
            "-o",
            "json",
        ],
        "a Move 2026-11-28-paris-lost",
    );
    assert_eq!(planned, done);
}

#[test]
fn help_comes_at_once_and_names_the_exit_codes() {
    let begun = Instant::now();
    let said = plan(&["--help"]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    for words in
        ["Exit codes: 0 nothing changes", "git:REV or ./PATH", "docs/plan.md", "--against <live|PATH|REV>"]
    {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
}

/// Nothing is printed but an error that has all of these words.
fn fails(arguments: &[&str], words: &[&str]) {
    let said = plan(arguments);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}: {said:?}");
    for word in words {
        assert!(said.err.contains(word), "{arguments:?} does not say {word:?}: {}", said.err);
    }
}

#[test]
fn what_is_wrong_is_said_so_that_it_can_be_mended() {
    let files = Files::new();
    fails(&[], &["<FILE>"]);
    fails(&["none.yaml"], &["FILE: a policy or a Move was expected at none.yaml", "No such file"]);
    fails(
        &[MOVE],
        &[
            "examples/move.yaml:2: Move 2026-11-28-paris-kernel",
            "shop/shop, which is not in FILE (known: there is none)",
            "--against live",
        ],
    );
    fails(&[MOVE, "examples/pilot-light.yaml"], &["known: wiki", "give the file with the policy too"]);
    fails(
        &["examples"],
        &["examples/source.yaml:3:7: kind: found PolicySource", "spec.path of the PolicySource"],
    );
    fails(
        &[SHOP, "--against", ""],
        &["--against: found nothing", "live, a file or directory, or a git revision"],
    );
    fails(&[SHOP, "--against", "git:"], &["found no revision", "git:main"]);
    fails(&[SHOP, "--against", "./mian"], &["--against ./mian: found no file or directory"]);
    fails(&[SHOP, "--against", "mian"], &["--against mian", "no revision of that name", "main, HEAD~1"]);
    let outside = files.changed("shop.yaml", "shop.yaml", &[]);
    fails(&[&outside, "--against", "main"], &["lies in no git repository", "expected live, a file"]);
    fails(&[SHOP, "--at", "tomorrow"], &["--at: found \"tomorrow\"", "2026-11-28T12:00:00Z"]);
    fails(&[SHOP, "--profile", "galaxy"], &["--profile", "metro, region, wan or conservative"]);
    fails(&[SHOP, "--context", "lyon"], &["--kubeconfig and --context", "--against live"]);
    fails(&[SHOP, "--against", "live"], &["kubeconfig /nowhere/config", "--kubeconfig FILE"]);
    fails(&[SHOP, "--namespace", "Shop"], &["--namespace", "\"Shop\" is not a name"]);
    fails(
        &[SHOP, SHOP, outside.as_str()],
        &["'shop' is already the name of the object", "one of the two must go"],
    );

    let empty = files.write("empty/readme.md", "nothing");
    let empty = Path::new(&empty).parent().unwrap().display().to_string();
    fails(&[&empty], &["found no FailoverPolicy and no Move in 0 files"]);
    let other = files.changed("other.yaml", "shop.yaml", &[("namespace: shop", "namespace: eu")]);
    fails(
        &[SHOP, &other],
        &["the namespaces eu (", "other.yaml), shop (", "expected one", "plan one namespace at a time"],
    );
    fails(&[SHOP, "--against", &other], &["the state before", "metadata.namespace: found eu, expected shop"]);
    let labelled = files.changed(
        "labelled.yaml",
        "move.yaml",
        &[
            ("policyRef: { name: shop }", "policySelector: { matchLabels: { tier: gold } }"),
            ("  epoch: 1\n", ""),
        ],
    );
    fails(
        &[&labelled, SHOP],
        &["no policy that is known has the labels tier=gold", "spec.policySelector.matchLabels"],
    );
    let slip = files.changed("slip.yaml", "move.yaml", &[("name: shop }", "name: shpo }")]);
    fails(&[&slip, SHOP], &["it is for the policy shop/shpo", "did you mean shop?"]);
    let linked = files.path("linked");
    fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(&outside, Path::new(&linked).join("shop.yaml")).unwrap();
    fails(&[&linked], &["found a symbolic link, which is not followed from git either"]);
    let large = files.write("large.yaml", &"# padding\n".repeat(200_000));
    fails(&[&large], &["found 2000000 bytes", "split the file"]);
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_place_on_either_side() {
    let files = Files::new();
    let wrong = files.changed(
        "wrong.yaml",
        "shop.yaml",
        &[("initialSite: paris", "initialSite: berlin"), ("after: 30s", "after: 30 seconds")],
    );
    let places = ["wrong.yaml:14:16: spec.initialSite", "wrong.yaml:18:14: spec.failover.promote.after"];
    fails(&[&wrong], &places);
    fails(&[SHOP, "--against", &wrong], &["the state before", places[0], places[1]]);
    let mv = files.changed("move.yaml", "move.yaml", &[("  epoch: 1\n", "")]);
    fails(&[&mv, SHOP], &["move.yaml", "spec.epoch: epoch is missing", "status.epoch"]);
    let repository = repository_with(&files);
    files.write("policies/wrong.yaml", "kind: Nothing\n");
    commit(&repository, "wrong");
    fs::remove_file(files.path("policies/wrong.yaml")).unwrap();
    fails(
        &[&files.path("policies"), "--against", "HEAD"],
        &["the state before (the revision HEAD", "HEAD:policies/wrong.yaml:1"],
    );
}
