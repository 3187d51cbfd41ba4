//! The lines by which a journal tells of itself: where its chain begins and goes on, and what it has lost.

use super::seal;

/// What a journal tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark<'a> {
    /// So many lines before this one are missing.
    Lost {
        /// How many.
        lines: u64,
    },
    /// No file is before this one.
    First,
    /// The chain comes from another file.
    After {
        /// Its name.
        file: &'a str,
        /// The hash of its last line then.
        hash: &'a str,
    },
    /// The chain goes on in another file.
    Into {
        /// Its name.
        file: &'a str,
    },
    /// A line that was not whole was cut off here.
    Cut {
        /// How many bytes of it there were.
        bytes: u64,
        /// How it began, quoted.
        began: &'a str,
    },
    /// A file was removed, because its day is too long ago.
    Retired {
        /// Its name.
        file: &'a str,
        /// For how many days files are kept.
        days: u32,
    },
    /// A file that was being written is not there any more, or is shorter than it was.
    Gone {
        /// Its name.
        file: &'a str,
        /// How many lines it had.
        lines: u64,
        /// The hash of its last line.
        hash: &'a str,
    },
}

const LOST: &str = " lines were lost before this one: the disk did not take them";
const FIRST: &str = "the journal begins here: no file of it was there before";
const AFTER: (&str, &str) = ("goes on after ", ", whose last line is #");
const INTO: &str = "goes on in ";
const CUT: &str = " bytes of a line that was not whole were cut off here: ";
const GONE: (&str, &str) = (" is gone, or was made shorter: it had ", " lines, and its last line was #");
const RETIRED: (&str, &str) = (" was removed: its day is longer ago than ", " days");

impl<'a> Mark<'a> {
    /// Its line of the day or moment `at`, without a seal and without the line's end.
    pub fn text(&self, at: &str) -> String {
        let words = match self {
            Self::Lost { lines } => format!("{lines}{LOST}"),
            Self::First => FIRST.to_owned(),
            Self::After { file, hash } => format!("{}{file}{}{hash}", AFTER.0, AFTER.1),
            Self::Into { file } => format!("{INTO}{file}"),
            Self::Cut { bytes, began } => format!("{bytes}{CUT}{began}"),
            Self::Gone { file, lines, hash } => format!("{file}{}{lines}{}{hash}", GONE.0, GONE.1),
            Self::Retired { file, days } => format!("{file}{}{days}{}", RETIRED.0, RETIRED.1),
        };
        format!("{at} -- {words}")
    }

    /// Reads the words that follow the moment and the two dashes; `None`: no journal tells such a thing of itself.
    pub fn read(words: &'a str) -> Option<Self> {
        if words == FIRST {
            return Some(Self::First);
        }
        if let Some(rest) = words.strip_prefix(AFTER.0) {
            let (file, hash) = rest.split_once(AFTER.1)?;
            return seal::is_hash(hash).then_some(Self::After { file, hash });
        }
        if let Some(file) = words.strip_prefix(INTO) {
            return Some(Self::Into { file });
        }
        if let Some((file, rest)) = words.split_once(RETIRED.0) {
            return Some(Self::Retired { file, days: rest.strip_suffix(RETIRED.1)?.parse().ok()? });
        }
        if let Some((file, rest)) = words.split_once(GONE.0) {
            let (lines, hash) = rest.split_once(GONE.1)?;
            let lines = lines.parse().ok().filter(|_| seal::is_hash(hash))?;
            return Some(Self::Gone { file, lines, hash });
        }
        if let Some((bytes, began)) = words.split_once(CUT) {
            return Some(Self::Cut { bytes: bytes.parse().ok()?, began });
        }
        Some(Self::Lost { lines: words.strip_suffix(LOST)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_journal_tells_of_itself_is_read_back_and_nothing_else_is() {
        for mark in [
            Mark::Lost { lines: 4 },
            Mark::First,
            Mark::After { file: "2026-11-27.log", hash: "9f86d081884c7d65" },
            Mark::Into { file: "2026-11-29.log" },
            Mark::Cut { bytes: 40, began: "\"2026-11-28T\"" },
            Mark::Retired { file: "2025-10-24.log", days: 400 },
            Mark::Gone { file: "2026-11-28.log", lines: 17, hash: "9f86d081884c7d65" },
        ] {
            let text = mark.text("2026-11-28");
            assert_eq!(text.strip_prefix("2026-11-28 -- ").and_then(Mark::read), Some(mark), "{text}");
        }
        for words in [
            "",
            "4 lines",
            "some lines were lost before this one: the disk did not take them",
            "goes on after 2026-11-27.log, whose last line is #9f86",
            "2026-11-28.log is gone, or was made shorter: it had 17 lines, and its last line was #9f86",
            "x bytes of a line that was not whole were cut off here: \"\"",
            "2025-10-24.log was removed: its day is longer ago than many days",
        ] {
            assert_eq!(Mark::read(words), None, "{words}");
        }
    }
}
