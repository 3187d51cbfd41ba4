//! Whether a journal is whole, as far as its lines can tell. They are not chained: who can write the file can change it
//! unseen, and that is said.

use bascule_core::journal::{Line, read};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::files::Page;

/// How many lines of a file are quoted at most.
const QUOTED: usize = 20;

/// What a look at every line brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// How many files were read.
    pub files: usize,
    /// How many entries are in them.
    pub entries: usize,
    /// How many lines their writers say are missing.
    pub lost: u64,
    /// What is not as it was written, or missing.
    pub problems: Vec<Problem>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Looks at every line.
pub fn verify(pages: &[Page]) -> Verified {
    let mut all = Verified { files: pages.len(), ..Verified::default() };
    for page in pages {
        one(page, &mut all);
    }
    all
}

fn one(page: &Page, all: &mut Verified) {
    let file = page.path.display().to_string();
    let before = all.problems.len();
    let problem = |line: usize, what: String, all: &mut Verified| {
        if all.problems.len() - before < QUOTED {
            all.problems.push(Problem { file: file.clone(), line, what });
        }
    };
    let mut last = None;
    for (n, text) in page.text.split_inclusive('\n').enumerate() {
        let n = n + 1;
        let Some(text) = text.strip_suffix('\n') else {
            let what = "it is cut off: a crash, or a copy that was made while it was written";
            problem(n, what.to_owned(), all);
            continue;
        };
        match read(text) {
            None => problem(n, format!("no journal writes such a line: {}", short(text)), all),
            Some(Line::Missing { lines, .. }) => {
                all.lost += lines;
                problem(n, format!("{lines} lines before it are missing: the disk did not take them"), all);
            }
            Some(Line::Entry(entry)) => {
                all.entries += 1;
                if let Some(last) = last.filter(|last| entry.at < *last) {
                    let what = format!(
                        "it says {}, which is before {last} of the line before: the clock was set back, or lines were moved",
                        entry.at
                    );
                    problem(n, what, all);
                }
                let day = entry.at.to_zoned(TimeZone::UTC).date();
                if let Some(named) = page.day.filter(|named| *named != day) {
                    problem(n, format!("it is of {day}, and the file is named after {named}"), all);
                }
                last = Some(entry.at);
            }
        }
    }
}

fn short(text: &str) -> String {
    let first: String = text.chars().take(80).collect();
    if first.len() < text.len() { format!("{first:?}…") } else { format!("{first:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "2026-11-28T03:00:00.000Z paris - epoch=3 serial=12 intent: begin\n2026-11-28T03:00:01.000Z paris web/shop epoch=3 serial=12 outcome: done\n";

    fn problems(name: &str, text: &str) -> Vec<String> {
        let path = std::path::PathBuf::from(name);
        let day = path.file_stem().unwrap().to_str().unwrap().parse().ok();
        verify(&[Page { path, text: text.to_owned(), day }])
            .problems
            .into_iter()
            .map(|p| format!("{}: {}", p.line, p.what))
            .collect()
    }

    #[test]
    fn a_journal_as_it_was_written_is_whole() {
        assert_eq!(problems("2026-11-28.log", GOOD), Vec::<String>::new());
        assert_eq!(problems("journal.log", GOOD), Vec::<String>::new(), "a guard's file is of many days");
    }

    #[test]
    fn everything_that_is_not_as_it_was_written_is_named_with_its_line() {
        for (name, text, says) in [
            ("2026-11-28.log", GOOD.trim_end().to_owned(), "2: it is cut off"),
            (
                "2026-11-28.log",
                format!(
                    "{GOOD}2026-11-28 -- 4 lines were lost before this one: the disk did not take them\n"
                ),
                "3: 4 lines before it are missing",
            ),
            (
                "2026-11-28.log",
                GOOD.replace("serial=12 outcome", "serial= outcome"),
                "2: no journal writes such a line",
            ),
            (
                "2026-11-28.log",
                GOOD.replace("03:00:01", "02:00:01"),
                "2: it says 2026-11-28T02:00:01Z, which is before",
            ),
            (
                "2026-11-27.log",
                GOOD.to_owned(),
                "1: it is of 2026-11-28, and the file is named after 2026-11-27",
            ),
        ] {
            let found = problems(name, &text);
            assert!(found.iter().any(|f| f.starts_with(says)), "{says}: {found:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_journal_is_not_quoted_whole() {
        assert_eq!(problems("x.log", &"noise\n".repeat(1000)).len(), QUOTED);
    }
}
