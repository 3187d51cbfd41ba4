//! What was kept, again, and what lies around it: on the stable toolchain, with every test run.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::framed::{Layout, joined, parts};

/// Far above what any input needs without optimisation on a busy machine; one that explodes needs more.
const EACH: Duration = Duration::from_secs(10);

/// How many changed inputs are tried for each target: a few seconds of search in every run of the tests, the same each
/// time. `make fuzz` is the long one.
const CASES: usize = 400;

/// What is kept for a target, by name.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{}: only {} inputs are kept", dir.display(), files.len());
    files.iter().map(|f| (f.display().to_string(), std::fs::read(f).unwrap())).collect()
}

/// Plays an input; what is wrong with how it ended.
fn play(name: &str, bytes: &[u8], run: fn(&[u8])) -> Option<String> {
    let started = Instant::now();
    let ended = std::panic::catch_unwind(|| run(bytes));
    let took = started.elapsed();
    if ended.is_err() {
        return Some(format!("{name} panics: see above"));
    }
    (took > EACH).then(|| format!("{name} takes {took:?}"))
}

fn replay(target: &str, run: fn(&[u8])) {
    let inputs = kept(target);
    let wrong: Vec<String> = inputs.iter().filter_map(|(name, bytes)| play(name, bytes, run)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let cases = std::env::var("BASCULE_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    for case in 0..cases {
        let (name, bytes) = &inputs[chance.below(inputs.len())];
        let (_, other) = &inputs[chance.below(inputs.len())];
        let changed = match layout(target) {
            Some(layout) if chance.below(4) > 0 => change_a_part(bytes, layout, &mut chance),
            _ => change(bytes, other, &mut chance),
        };
        if let Some(wrong) = play(&format!("case {case}, made of {name},"), &changed, run) {
            panic!("{wrong}\n{}", changed.escape_ascii());
        }
    }
}

fn layout(target: &str) -> Option<Layout> {
    match target {
        "from_guard" | "from_operator" => Some(Layout::Frames),
        "postgres" => Some(Layout::Answers),
        _ => None,
    }
}

/// Numbers from a seed, by xorshift: the same ones in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end.max(1)
    }
}

/// Numbers and words at which arithmetic and readers go wrong.
const AWKWARD: [&str; 12] = [
    "0",
    "1",
    "-1",
    "18446744073709551615",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967295",
    "1e308",
    "null",
    "\"\"",
    "{}",
    "[]",
];

/// The input with one to four changes.
fn change(bytes: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let most = 1 << chance.below(8);
        let length = chance.below(most).min(bytes.len() - at);
        match chance.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 0x7f, 0x80, 0xff, b'\n', b'"', b'{'][chance.below(7)],
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let again = bytes[at..at + length].to_vec();
                drop(bytes.splice(at..at, again));
            }
            4 => {
                let from = chance.below(other.len() + 1);
                let piece = &other[from..(from + 64).min(other.len())];
                drop(bytes.splice(at..at, piece.iter().copied()));
            }
            5 => bytes.truncate(at),
            _ => {
                // A number becomes another one.
                let digit = |b: &u8| b.is_ascii_digit();
                let Some(start) = bytes[at..].iter().position(digit).map(|n| at + n) else { continue };
                let end = bytes[start..].iter().position(|b| !digit(b)).map_or(bytes.len(), |n| start + n);
                drop(bytes.splice(start..end, AWKWARD[chance.below(AWKWARD.len())].bytes()));
            }
        }
    }
    bytes
}

/// The same in one of the parts, whose length stays right.
fn change_a_part(bytes: &[u8], layout: Layout, chance: &mut Chance) -> Vec<u8> {
    let mut parts = parts(bytes, layout);
    let chosen = chance.below(parts.len());
    if let Some(part) = parts.get_mut(chosen) {
        *part = change(part, &[], chance);
    }
    joined(&parts, layout, bytes.first().copied().unwrap_or_default())
}

macro_rules! kept {
    ($($target:ident: $name:ident;)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($target), crate::$target::run);
        })*
    };
}

kept! {
    intake: a_file_of_a_revision_is_read_or_refused_in_words;
    record: what_the_arbiter_holds_never_ends_the_operator;
    from_guard: what_a_guard_says_never_ends_the_operator;
    from_operator: what_an_operator_says_never_ends_the_guard;
    dns: an_answer_of_a_name_server_is_used_or_refused_in_words;
    postgres: an_answer_of_a_database_server_is_used_or_refused_in_words;
    scenario: a_scenario_is_read_or_refused_in_words;
}
