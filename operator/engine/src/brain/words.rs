//! All the words that people were shown of a policy, in short: whether they still say what is so.
//!
//! Answers and states are compared one by one and shown at once when they change ([`super::told`]). Here is the rest: what
//! was found, what is needed, and the running times and ages in it. Thousands of policies' words would be most of the
//! memory, so what must be the same is kept as a hash, and only what may grow as numbers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bascule_core::facts::magnitude;
use bascule_core::heartbeat::still_true;
use bascule_core::plan::Gate;
use bascule_core::project::Report;

/// The words, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Everything but the figures.
    same: u64,
    /// How many figures there are.
    count: u16,
    /// The figures in order, each with its place. Most are times of nothing, and those are left out.
    figures: Box<[(u16, Figure)]>,
}

/// What may change a little without the words being wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    /// A running time or an age, in tenths of a second.
    Time(u32),
    /// The order of magnitude of a number of bytes.
    Size(u32),
}

impl Figure {
    /// What is left out.
    const NOTHING: Self = Self::Time(0);

    /// A time of so many milliseconds; more than years are years.
    fn time(ms: u64) -> Self {
        Self::Time(u32::try_from(ms / 100).unwrap_or(u32::MAX))
    }

    fn still_says(self, now: Self) -> bool {
        match (self, now) {
            (Self::Time(shown), Self::Time(now)) => {
                let of = |tenths: u32| Duration::from_millis(u64::from(tenths) * 100);
                still_true(of(shown), of(now))
            }
            (shown, now) => shown == now,
        }
    }
}

impl Words {
    /// The words of this report.
    pub(super) fn of(report: &Report) -> Self {
        let mut made = Maker::default();
        made.text(&report.sentence);
        made.text(&report.lag.words());
        report.held_until.is_some().hash(&mut made.same);
        for gate in &report.gates {
            made.gate(gate);
        }
        for condition in &report.conditions {
            condition.kind.hash(&mut made.same);
            made.text(&condition.message);
        }
        for site in &report.sites {
            site.name.as_str().hash(&mut made.same);
            for words in [&site.reason, &site.not_streaming] {
                words.is_some().hash(&mut made.same);
                made.text(words.as_deref().unwrap_or_default());
            }
        }
        made.words()
    }

    /// Whether these words, as people were shown them, are not wrong while `now` is what would be shown: nothing else is
    /// said, no time in it has become much longer than it says, and no size is of another order of magnitude.
    pub(super) fn still_say(&self, now: &Self) -> bool {
        let at = |of: &Self, place: u16| {
            let found = of.figures.binary_search_by_key(&place, |(place, _)| *place);
            found.map_or(Figure::NOTHING, |found| of.figures[found].1)
        };
        let mut places = self.figures.iter().chain(&now.figures).map(|(place, _)| *place);
        self.same == now.same
            && self.count == now.count
            && places.all(|place| at(self, place).still_says(at(now, place)))
    }
}

#[derive(Default)]
struct Maker {
    same: DefaultHasher,
    count: u16,
    figures: Vec<(u16, Figure)>,
}

impl Maker {
    fn words(self) -> Words {
        let Self { same, count, figures } = self;
        Words { same: same.finish(), count, figures: figures.into_boxed_slice() }
    }

    fn figure(&mut self, figure: Figure) {
        if figure != Figure::NOTHING {
            self.figures.push((self.count, figure));
        }
        // A status has at most some hundred.
        self.count = self.count.saturating_add(1);
    }

    fn gate(&mut self, gate: &Gate) {
        gate.name.hash(&mut self.same);
        std::mem::discriminant(&gate.answer).hash(&mut self.same);
        self.text(&gate.found);
        self.text(&gate.needed);
        // Whether an age is known is no figure.
        gate.age_ms.is_some().hash(&mut self.same);
        self.figure(gate.age_ms.map_or(Figure::NOTHING, Figure::time));
    }

    /// Takes in a text. `2 h 5 m` is one time; a clock's time and a count are no figures but words. How long ago something
    /// was is often told only when it is a while: of all such ages in a text the longest is kept, and none of their words.
    fn text(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').map(bare).collect();
        let (mut rest, mut oldest) = (words.as_slice(), 0.0_f64);
        while let [word, others @ ..] = rest {
            rest = match measure(rest) {
                Some((Unit::Time, ms, ["ago", others @ ..])) => {
                    oldest = oldest.max(ms);
                    others
                }
                Some((Unit::Time, ms, others)) => {
                    self.figure(Figure::time(ms as u64));
                    others
                }
                Some((Unit::Size, bytes, others)) => {
                    self.figure(Figure::Size(magnitude(bytes as u64)));
                    others
                }
                None => {
                    word.hash(&mut self.same);
                    others
                }
            };
        }
        self.figure(Figure::time(oldest as u64));
        // Where a text ends.
        0xff_u8.hash(&mut self.same);
    }
}

/// A word without what stands around it in a sentence.
fn bare(word: &str) -> &str {
    word.trim_start_matches('(').trim_end_matches([',', ';', ':', '.', ')'])
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// In milliseconds.
    Time,
    /// In bytes.
    Size,
}

/// The time or the size that these words begin with, and what follows.
fn measure<'a, 'b>(words: &'b [&'a str]) -> Option<(Unit, f64, &'b [&'a str])> {
    let (unit, mut value, mut rest) = pair(words)?;
    while unit == Unit::Time
        && let Some((Unit::Time, more, others)) = pair(rest)
    {
        (value, rest) = (value + more, others);
    }
    Some((unit, value, rest))
}

/// A number with its unit, as `human` and `size` write them, and what follows.
fn pair<'a, 'b>(words: &'b [&'a str]) -> Option<(Unit, f64, &'b [&'a str])> {
    let [number, unit, rest @ ..] = words else { return None };
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number.parse().ok().filter(|_| plain)?;
    let (unit, one) = match *unit {
        "ms" => (Unit::Time, 1.0),
        "s" => (Unit::Time, 1e3),
        "m" => (Unit::Time, 60e3),
        "h" => (Unit::Time, 3600e3),
        "B" => (Unit::Size, 1.0),
        "KiB" => (Unit::Size, 1024.0),
        "MiB" => (Unit::Size, 1024.0 * 1024.0),
        "GiB" => (Unit::Size, 1024.0 * 1024.0 * 1024.0),
        "TiB" => (Unit::Size, 1024.0 * 1024.0 * 1024.0 * 1024.0),
        _ => return None,
    };
    Some((unit, number * one, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        let mut made = Maker::default();
        made.text(text);
        made.words()
    }

    #[test]
    fn a_running_time_is_wrong_once_it_has_run_on_for_ten_seconds_or_a_tenth() {
        let says = |shown: &str, now: &str| words(shown).still_say(&words(now));
        assert!(says("paris has been silent for 400 ms", "paris has been silent for 1.2 s"));
        assert!(!says("paris has been silent for 400 ms", "paris has been silent for 11 s"));
        assert!(!says("paris has been silent for 400 ms", "lyon has been silent for 400 ms"));
        assert!(says("5 s since the last transition", "1 s since the last transition"), "less is no lie");
        assert!(says("2 h 5 m since the last transition", "2 h 17 m since the last transition"));
        assert!(!says("2 h 5 m since the last transition", "2 h 18 m since the last transition"));
        assert!(says("119 m since the last transition", "2 h 0 m since the last transition"), "one time");
    }

    #[test]
    fn a_size_is_wrong_once_it_is_of_another_magnitude_and_a_count_or_a_clock_at_once() {
        let says = |shown: &str, now: &str| words(shown).still_say(&words(now));
        assert!(says("lyon follows, 1.5 MiB behind.", "lyon follows, 1.6 MiB behind."));
        assert!(!says("lyon follows, 1.5 MiB behind.", "lyon follows, 90 MiB behind."));
        assert!(!says("lyon follows, 90 MiB behind.", "lyon follows, 1.5 MiB behind."));
        assert!(!says("(3 of 5 pods)", "(4 of 5 pods)"));
        assert!(!says("last heard 02:50:51", "last heard 02:50:52"));
        assert!(says("(8 s, then 3 MiB)", "(9 s, then 3 MiB)"));
    }

    #[test]
    fn an_age_that_is_told_only_when_it_is_a_while_comes_and_goes_without_news() {
        let says = |shown: &str, now: &str| words(shown).still_say(&words(now));
        assert!(says("lyon follows, 0 B behind.", "lyon follows, 0 B behind 2.1 s ago."));
        assert!(says("lyon follows, 0 B behind 2.1 s ago.", "lyon follows, 0 B behind."));
        assert!(!says("lyon follows, 0 B behind.", "lyon follows, 0 B behind 12 s ago."));
        assert!(!says("public answers lyon (3 s ago)", "public answers lyon (14 s ago)"));
        assert!(!says("public answers lyon (3 s ago)", "public answers paris (3 s ago)"));
    }

    #[test]
    fn texts_are_told_apart() {
        let two = |a: &str, b: &str| {
            let mut made = Maker::default();
            made.text(a);
            made.text(b);
            made.same.finish()
        };
        assert_ne!(two("a b", "c"), two("a", "b c"));
        assert_ne!(two("", "a"), two("a", ""));
    }
}
