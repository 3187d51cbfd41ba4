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
    /// The figures, in order.
    figures: Box<[Figure]>,
}

/// What may grow for a while without the words being wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    /// A running time or an age, in milliseconds.
    Time(u64),
    /// A number of bytes.
    Size(u64),
    /// An age that is not known.
    NoAge,
}

impl Figure {
    fn still_says(self, now: Self) -> bool {
        match (self, now) {
            (Self::Time(shown), Self::Time(now)) => {
                still_true(Duration::from_millis(shown), Duration::from_millis(now))
            }
            (Self::Size(shown), Self::Size(now)) => magnitude(now) <= magnitude(shown),
            (shown, now) => shown == now,
        }
    }
}

impl Words {
    /// The words of this report.
    pub(super) fn of(report: &Report) -> Self {
        let mut made = Maker::default();
        made.text(&report.sentence);
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
        Self { same: made.same.finish(), figures: made.figures.into_boxed_slice() }
    }

    /// Whether these words, as people were shown them, are not wrong while `now` is what would be shown: nothing else is
    /// said, and no time in it has become much longer than it says, and no size much larger.
    pub(super) fn still_say(&self, now: &Self) -> bool {
        let figures = || self.figures.iter().zip(&now.figures);
        self.same == now.same
            && self.figures.len() == now.figures.len()
            && figures().all(|(shown, now)| shown.still_says(*now))
    }
}

#[derive(Default)]
struct Maker {
    same: DefaultHasher,
    figures: Vec<Figure>,
}

impl Maker {
    fn gate(&mut self, gate: &Gate) {
        gate.name.hash(&mut self.same);
        std::mem::discriminant(&gate.answer).hash(&mut self.same);
        self.text(&gate.found);
        self.text(&gate.needed);
        self.figures.push(gate.age_ms.map_or(Figure::NoAge, Figure::Time));
    }

    /// Takes in a text. `2 h 5 m` is one time; a clock's time and a count are no figures but words.
    fn text(&mut self, text: &str) {
        let mut words = text.split(' ').peekable();
        // Whether the last words were a time that goes on.
        let mut running = false;
        while let Some(word) = words.next() {
            let unit = number(word).and_then(|n| Some((n, unit(words.peek()?)?)));
            let Some((number, (unit, rest))) = unit else {
                word.hash(&mut self.same);
                running = false;
                continue;
            };
            words.next();
            let value = number * unit.factor();
            match (unit, self.figures.last_mut()) {
                (Unit::Time(_), Some(Figure::Time(before))) if running => {
                    *before = before.saturating_add(value as u64);
                }
                (Unit::Time(_), _) => self.figures.push(Figure::Time(value as u64)),
                (Unit::Size(_), _) => self.figures.push(Figure::Size(value as u64)),
            }
            if !running {
                word.starts_with('(').hash(&mut self.same);
            }
            if !rest.is_empty() {
                rest.hash(&mut self.same);
            }
            running = matches!(unit, Unit::Time(_)) && rest.is_empty();
        }
        // Where a text ends.
        0xff_u8.hash(&mut self.same);
    }
}

#[derive(Clone, Copy)]
enum Unit {
    /// Of time, in milliseconds.
    Time(f64),
    /// Of size, in bytes.
    Size(f64),
}

impl Unit {
    const fn factor(self) -> f64 {
        match self {
            Self::Time(factor) | Self::Size(factor) => factor,
        }
    }
}

/// A number as `human` and `size` write it, in parentheses or not.
fn number(word: &str) -> Option<f64> {
    let digits = word.strip_prefix('(').unwrap_or(word);
    let plain = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    digits.parse().ok().filter(|_| plain)
}

/// The unit that a word begins with, and what comes after it in the word.
fn unit<'a>(word: &&'a str) -> Option<(Unit, &'a str)> {
    let end = word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len());
    let (name, rest) = word.split_at(end);
    let unit = match name {
        "ms" => Unit::Time(1.0),
        "s" => Unit::Time(1e3),
        "m" => Unit::Time(60e3),
        "h" => Unit::Time(3600e3),
        "B" => Unit::Size(1.0),
        "KiB" => Unit::Size(1024.0),
        "MiB" => Unit::Size(1024.0 * 1024.0),
        "GiB" => Unit::Size(1024.0 * 1024.0 * 1024.0),
        "TiB" => Unit::Size(1024.0 * 1024.0 * 1024.0 * 1024.0),
        _ => return None,
    };
    Some((unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        let mut made = Maker::default();
        made.text(text);
        Words { same: made.same.finish(), figures: made.figures.into_boxed_slice() }
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
        assert!(!says("(3 of 5 pods)", "(4 of 5 pods)"));
        assert!(!says("last heard 02:50:51", "last heard 02:50:52"));
        assert!(says("(8 s, then 3 MiB)", "(9 s, then 3 MiB)"));
        assert!(!says("(8 s, then)", "(8 s; then)"));
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
