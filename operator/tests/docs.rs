//! The pages of docs/: every reason that a condition can have is explained, every page is in the book, every link leads
//! somewhere. What links to other hosts is not asked.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Where a policy is judged: each CamelCase word in quotes is a condition's type or reason.
const JUDGES: &str = "operator/core/src/project/conditions.rs";

/// Where else conditions are made, always by a call or a field that is named so.
const MAKES: [(&str, &str); 6] = [
    ("operator/core/src/project.rs", "judged("),
    ("operator/src/wiring/policy_status.rs", "set.put("),
    ("operator/src/wiring/move_status.rs", "set.put("),
    ("operator/src/wiring/unreadable.rs", "set.put("),
    ("operator/src/wiring/sources/said.rs", "set.put("),
    ("operator/src/wiring/sources/mod.rs", "Round::NotFetched {"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// What a source says before its own tests.
fn product(path: &str) -> String {
    let text = read(&root().join(path));
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// What stands between the bracket that was just opened and the one that closes it.
fn in_brackets(rest: &str) -> &str {
    let mut depth = 1;
    let end = rest.char_indices().find(|(_, c)| {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map_or(rest, |(at, _)| &rest[..at])
}

fn is_camel_case(word: &str) -> bool {
    word.len() > 3
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphabetic())
        && word.chars().any(|c| c.is_ascii_lowercase())
}

/// Every CamelCase word in quotes.
fn words(text: &str) -> BTreeSet<String> {
    text.split('"').skip(1).step_by(2).filter(|w| is_camel_case(w)).map(str::to_owned).collect()
}

/// The types of conditions.
fn kinds() -> BTreeSet<String> {
    words(
        &product("crds/src/conditions.rs").lines().filter(|l| l.starts_with("pub const")).collect::<String>(),
    )
}

/// Every reason that the product gives.
fn given() -> BTreeSet<String> {
    let kinds = kinds();
    let mut found = words(&product(JUDGES));
    // `Ready` is a reason as well: of `SwitchoverPossible`.
    found.retain(|word| !kinds.contains(word) || word == "Ready");
    for (path, begin) in MAKES {
        let text = product(path);
        let calls = text.split(begin).skip(1);
        let before = found.len();
        found.extend(calls.flat_map(|rest| words(in_brackets(rest))));
        assert!(found.len() > before, "{path} makes no condition by {begin}");
    }
    found
}

/// The sections of docs/conditions.md: of each type its reasons.
fn explained(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for title in page.lines().filter_map(|line| line.strip_prefix("#### ")) {
        let (kind, reason) =
            title.split_once(": ").unwrap_or_else(|| panic!("{title}: expected Type: Reason"));
        let reasons = all.entry(kind.to_owned()).or_default();
        assert!(reasons.insert(reason.to_owned()), "{title} is there twice");
    }
    all
}

#[test]
fn every_reason_of_a_condition_has_a_section_and_no_other_has() {
    let page = read(&root().join("docs/conditions.md"));
    let explained: BTreeSet<String> = explained(&page).into_values().flatten().collect();
    let given = given();
    assert!(given.len() > 60, "the sources are read wrongly: {given:?}");
    let missing: Vec<_> = given.difference(&explained).collect();
    assert!(missing.is_empty(), "docs/conditions.md has no section for {missing:?}");
    let unknown: Vec<_> = explained.difference(&given).collect();
    assert!(unknown.is_empty(), "docs/conditions.md explains what the product does not say: {unknown:?}");
}

#[test]
fn every_type_of_a_condition_has_sections() {
    let page = read(&root().join("docs/conditions.md"));
    let mut titles: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let explained = explained(&page);
    titles.extend(explained.keys().filter_map(|kind| kind.rsplit(' ').next()));
    for kind in kinds() {
        assert!(titles.contains(kind.as_str()), "docs/conditions.md does not say what {kind} is");
    }
}

#[test]
fn a_section_says_the_status_and_what_to_do() {
    let page = read(&root().join("docs/conditions.md"));
    for section in page.split("\n#### ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let text = text.split("\n#").next().unwrap_or_default().trim();
        let begins = ["*True*", "*False*", "*Unknown*", "*False or Unknown*", "*True or False*"];
        assert!(begins.iter().any(|status| text.starts_with(status)), "{title} does not begin with a status");
        assert!(text.split_whitespace().count() > 3, "{title} says too little");
    }
}

/// Every page below docs/.
fn pages() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines that are prose: not those of a block of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// A line without what stands in it as code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The anchors of a page, as they are made of its titles.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for title in prose(text).filter(|line| line.starts_with('#')) {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut name = anchor.clone();
        let mut number = 0;
        while !found.insert(name) {
            number += 1;
            name = format!("{anchor}-{number}");
        }
    }
    found
}

/// Where a page's links lead, those to other hosts left out.
fn links(text: &str) -> Vec<String> {
    // A link may be broken over two lines.
    let text: String = prose(text).map(|line| without_code(line) + "\n").collect();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '\n']).next());
    targets.filter(|t| !t.contains("://") && !t.starts_with("mailto:")).map(str::to_owned).collect()
}

/// The same path without `..` and `.`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[test]
fn every_page_is_in_the_book_once() {
    let docs = plain(&root().join("docs"));
    let summary = docs.join("SUMMARY.md");
    let listed: Vec<PathBuf> = links(&read(&summary)).iter().map(|link| plain(&docs.join(link))).collect();
    let once: BTreeSet<&PathBuf> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "a page is in SUMMARY.md twice: {listed:?}");
    for page in pages().into_iter().map(|page| plain(&page)).filter(|page| *page != summary) {
        assert!(listed.contains(&page), "{} is not in docs/SUMMARY.md", page.display());
    }
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_title() {
    let mut from = pages();
    from.extend(["README.md", "charts/bascule/README.md", "e2e/README.md"].map(|page| root().join(page)));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in from {
        for link in links(&read(&page)) {
            seen += 1;
            let (file, anchor) = link.split_once('#').map_or((&*link, None), |(f, a)| (f, Some(a)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let says = format!("{}: {link}", plain(&page).display());
            if !target.exists() {
                wrong.push(says);
            } else if let Some(anchor) = anchor
                && !anchors(&read(&target)).contains(anchor)
            {
                wrong.push(says);
            }
        }
    }
    assert!(seen > 100, "links are read wrongly: {seen}");
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
}

/// What the program says to these words, in the folder of the repository.
fn said(arguments: &str) -> String {
    let program = env!("CARGO_BIN_EXE_bascule");
    let out = Command::new(program).args(arguments.split_whitespace()).current_dir(root()).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// The lines that a section of a page shows as output: those that are set in by four spaces. What is left out, a whole
/// line or the end of one, is an ellipsis.
fn shown<'a>(page: &'a str, title: &str) -> Vec<&'a str> {
    let section = page.split(&format!("\n## {title}")).nth(1).unwrap_or_else(|| panic!("no section {title}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| *line != "…");
    lines.map(|line| line.trim_end_matches('…').trim_end()).collect()
}

/// Without its numbers, which change with everything that takes time, and without the columns that they move.
fn without_numbers(text: &str) -> String {
    let words =
        text.split_whitespace().map(|word| word.replace(|c: char| c.is_ascii_digit() || c == '.', ""));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_quickstart_shows_what_the_program_says() {
    let page = read(&root().join("docs/quickstart.md"));
    for (title, commands) in [
        ("1. ", "simulate examples/shop.yaml --fail site=paris@10s"),
        ("2. ", "plan examples/move.yaml --against examples/shop.yaml --at 2026-11-26T12:00:00Z"),
        ("3. ", "check examples/shop.yaml"),
    ] {
        let (said, shown) = (said(commands), shown(&page, title));
        assert!(!shown.is_empty(), "{title}");
        for line in shown {
            let same = without_numbers(&said).contains(&without_numbers(line));
            assert!(same, "bascule {commands} does not say {line:?}:\n{said}");
        }
    }
}

#[test]
fn the_commands_of_break_glass_are_the_programs_own() {
    let page = read(&root().join("docs/runbooks/break-glass.md"));
    let commands: Vec<&str> =
        page.lines().filter_map(|line| line.split_once("/opt/bascule/bascule ").map(|(_, c)| c)).collect();
    assert!(commands.iter().any(|c| c.contains("--i-know-no-other-site-writes")), "{commands:?}");
    assert!(commands.contains(&"guard lock"), "{commands:?}");
    for command in commands {
        // Outside of a container it is understood, and says that there is no guard.
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_bascule"))
            .args(words_of(command))
            .env_remove("PGDATA")
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && why.contains("no guard runs here"), "{command}: {why}");
    }
}

/// As a shell splits it: by blanks, but not within quotes.
fn words_of(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let words = parts.flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn what_break_glass_says_of_a_standby_promoted_by_hand_can_be_played() {
    let page = read(&root().join("docs/runbooks/break-glass.md"));
    let command = page.lines().find_map(|line| line.trim().strip_prefix("bascule simulate ")).unwrap();
    let said = said(&format!("simulate {command}"));
    assert!(said.contains("(Failover): Refused: database/main/server: "), "{said}");
}
