//! Every gate that the rules, the engine and the adapters can give has a sentence on what would change its answer.
//!
//! The names are read from the sources: a gate that no test ever produces counts as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bascule_core::blocker::NO_ANSWER;
use bascule_core::gate_codes::{ALL, of};

/// A function whose argument `at` names a gate, and what that name begins with.
struct Namer {
    file: &'static str,
    call: &'static str,
    at: usize,
    begins: &'static [&'static str],
}

const NAMERS: &[Namer] = &[
    Namer { file: "", call: "Gate::new(", at: 0, begins: &[""] },
    Namer { file: "", call: "Gate::when(", at: 2, begins: &[""] },
    Namer { file: "core/src/decide/eligible.rs", call: " take_in(", at: 0, begins: &[""] },
    Namer { file: "adapters/src/postgres/port.rs", call: "self.identity(", at: 0, begins: &[""] },
    Namer { file: "adapters/src/postgres/port.rs", call: "self.writer(", at: 0, begins: &[""] },
    Namer { file: "adapters/src/site/mod.rs", call: "why.gate(", at: 0, begins: &[""] },
    Namer { file: "adapters/src/site/database.rs", call: " told(", at: 0, begins: &["database/*/pod/"] },
    Namer {
        file: "adapters/src/kube/port.rs",
        call: " add(",
        at: 1,
        begins: &["workload/*/", "contended/*/"],
    },
];

/// Where a gate is made with the name that another function of the list above was given.
const PASSED_ON: &[(&str, &str)] = &[
    ("core/src/decide/eligible.rs", "name"),
    ("adapters/src/finding.rs", "&name"),
    ("adapters/src/kube/port.rs", "&gate"),
    ("adapters/src/postgres/port.rs", "name"),
    ("adapters/src/site/database.rs", "&format!(\"{item}/pod/{name}\")"),
    ("adapters/src/site/mod.rs", "item"),
];

/// The files whose findings become gates, and what the gates are about.
const FINDINGS: &[(&str, &str)] = &[
    ("adapters/src/postgres/preflight.rs", "database"),
    ("adapters/src/postgres/settings.rs", "database"),
    ("adapters/src/postgres/grants.rs", "database"),
    ("adapters/src/dns/preflight.rs", "traffic"),
    ("adapters/src/kube/route/look.rs", "traffic"),
    ("adapters/src/kube/route/seen.rs", "traffic"),
];

fn operator() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is = |name: &str| path.file_name().is_some_and(|n| n == name);
        if path.is_dir() && !is("tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !is("tests.rs") {
            found.push(path);
        }
    }
}

/// The text without its tests, its comments, and characters that look like the beginning of a string.
#[expect(clippy::disallowed_methods, reason = "the rules do no I/O; this reads how they are written")]
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap().replace("'\"'", "' '");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The arguments of the call whose opening parenthesis has just been read.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut string, mut escaped) = (0, false, false);
    let mut all = vec![String::new()];
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if string => escaped = true,
            '"' => string = !string,
            _ if string => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = all.last_mut() {
            last.push(c);
        }
    }
    all.iter().map(|a| a.trim().to_owned()).collect()
}

/// The name that an expression makes, with `*` for what it puts in; `before` is the code that leads up to it.
fn name(expression: &str, before: &str) -> Option<String> {
    let expression = expression.trim_start_matches('&');
    if let Some(rest) = expression.strip_prefix("format!(") {
        return name(arguments(rest).first()?, "").map(|text| filled(&text));
    }
    if expression.starts_with("blocker::database(") {
        return Some("database/*".to_owned());
    }
    if let Some(text) = expression.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Some(text.to_owned());
    }
    let (_, value) = before.rsplit_once(&format!("let {expression} = "))?;
    name(value.split(";\n").next()?, "")
}

fn filled(format: &str) -> String {
    let part = |part: &str| match part {
        // The adapters name what they look at by the item they were given.
        "{item}" => "database/*".to_owned(),
        part if part.starts_with('{') => "*".to_owned(),
        part => part.to_owned(),
    };
    format.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Every gate that can be given, with where it is made.
fn given() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut unclear = Vec::new();
    let mut files = Vec::new();
    for part in ["core/src", "engine/src", "adapters/src"] {
        sources(&operator().join(part), &mut files);
    }
    for path in files {
        let file = path.strip_prefix(operator()).unwrap().display().to_string();
        let text = code(&path);
        for namer in NAMERS.iter().filter(|n| n.file.is_empty() || n.file == file) {
            for (at, call) in text.match_indices(namer.call) {
                let (before, after) = text.split_at(at + call.len());
                if before.trim_end_matches(call).ends_with("fn") {
                    continue;
                }
                let argument = arguments(after).get(namer.at).cloned().unwrap_or_default();
                if PASSED_ON.contains(&(file.as_str(), argument.as_str())) {
                    continue;
                }
                match name(&argument, before) {
                    Some(name) => {
                        found.extend(namer.begins.iter().map(|b| (format!("{b}{name}"), file.clone())));
                    }
                    None => unclear.push(format!("{file}: {call}… {argument} …)")),
                }
            }
        }
    }
    assert!(unclear.is_empty(), "the names of these gates cannot be read; teach this test: {unclear:#?}");
    for (file, about) in FINDINGS {
        let text = code(&operator().join(file));
        // The adapter for routes speaks of other things in such words, too.
        let begins = if file.contains("/route/") { "Route" } else { "" };
        let strings = text.split('"').skip(1).step_by(2);
        let strings = strings.filter(|s| is_camel_case(s) && s.starts_with(begins));
        found.extend(strings.map(|s| (format!("{about}/*/{s}"), (*file).to_owned())));
    }
    found.extend(NO_ANSWER.map(|code| (format!("database/*/{code}"), "core/src/blocker.rs".to_owned())));
    found
}

fn is_camel_case(text: &str) -> bool {
    text.len() > 2
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphabetic())
        && text.contains(|c: char| c.is_ascii_lowercase())
}

#[test]
fn every_gate_says_what_would_change_its_answer() {
    let given = given();
    assert!(given.len() > 90, "too few were found to believe it: {given:#?}");
    let mute: Vec<_> = given.iter().filter(|(name, _)| of(name).is_none()).collect();
    assert!(mute.is_empty(), "give these gates a sentence in operator/core/src/gate_codes.rs: {mute:#?}");
}

#[test]
fn no_sentence_is_kept_for_a_gate_that_nobody_gives() {
    let used: BTreeSet<&str> = given().keys().filter_map(|name| of(name)).map(|code| code.pattern).collect();
    let unused: Vec<_> = ALL.iter().map(|code| code.pattern).filter(|p| !used.contains(p)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}
