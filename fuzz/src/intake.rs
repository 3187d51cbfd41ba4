//! A file of a git revision.

use bascule_core::name::Namespace;
use bascule_engine::intake::Problem;
use bascule_engine::intake::read::{File, Limits, revision};

use crate::in_words;

/// How the way out is said, in one of these words.
const WAY_OUT: [&str; 14] = [
    "expected",
    "remove",
    "quote",
    "split",
    "save",
    "mend",
    "must",
    "use ",
    "write",
    "unknown field",
    "only",
    "at most",
    "needs",
    "keep",
];

/// Reads `bytes` as the one file of a revision.
///
/// # Panics
/// When what is refused is not said to a person who could act on it, or when what was accepted is not accepted again.
pub fn run(bytes: &[u8]) {
    let Ok(namespace) = Namespace::try_from("shop") else { return };
    let file = File { path: "sites/shop.yaml", bytes };
    let limits = Limits::default();
    match revision(&[file], &namespace, &limits) {
        Ok(found) => {
            // JSON is YAML: the same objects, written down, are the same objects.
            for policy in found.policies.values() {
                let Ok(text) = serde_json::to_string(&policy.object) else {
                    unreachable!("it came from JSON")
                };
                let text = printable(&text);
                let again = revision(&[File { bytes: text.as_bytes(), ..file }], &namespace, &limits);
                let again =
                    again.as_ref().map(|r| r.policies.values().map(|p| &p.object).collect::<Vec<_>>());
                assert_eq!(again, Ok(vec![&policy.object]), "{text}");
            }
        }
        Err(problems) => refused(bytes, &problems, limits.problems),
    }
}

/// JSON with the characters escaped that YAML's readers take only so, as kubectl's does: controls beyond ASCII, marks of
/// the byte order, and what is no character.
fn printable(json: &str) -> String {
    let escaped = |c: char| match c {
        '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => format!("\\u{:04x}", u32::from(c)),
        _ => c.to_string(),
    };
    json.chars().map(escaped).collect()
}

/// Checks what is said about a file that cannot be used.
pub(crate) fn refused(bytes: &[u8], problems: &[Problem], at_most: usize) {
    assert!((1..=at_most + 1).contains(&problems.len()), "{} problems", problems.len());
    let lines = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() + 1;
    for problem in problems {
        in_words(&problem.to_string());
        assert!(
            problem.line.is_none_or(|l| (1..=lines).contains(&(l as usize))),
            "{problem} of {lines} lines"
        );
        assert!(problem.column.is_none_or(|c| c as usize <= bytes.len() + 1), "{problem}");
        assert!(WAY_OUT.iter().any(|word| problem.reason.contains(word)), "no way out in: {problem}");
    }
}
