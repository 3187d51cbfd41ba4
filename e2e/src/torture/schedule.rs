//! A schedule: which faults, when, and for how long. Drawn from a seed, or read from a file that a person can read, too.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::fault::Fault;
use crate::shop::PolicyText;

/// The policy in force, by its answer to a silent site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is replaced at once.
    AtOnce,
    /// Reads are served first, and it is replaced after three seconds.
    ReadsFirst,
    /// Reads are served; only a person replaces it.
    Never,
}

impl Policy {
    const ALL: [Self; 3] = [Self::AtOnce, Self::ReadsFirst, Self::Never];

    /// The file that a person would commit.
    pub fn text(self) -> PolicyText {
        match self {
            Self::AtOnce => PolicyText::at_once(),
            Self::ReadsFirst => PolicyText::default(),
            Self::Never => PolicyText { promote: "Never".to_owned(), ..PolicyText::default() },
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::AtOnce => "a silent site is replaced at once",
            Self::ReadsFirst => "a silent site is replaced after reads were served",
            Self::Never => "a silent site is replaced by a person only",
        }
    }
}

/// One fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// After the schedule's beginning.
    pub at: Duration,
    /// How long it lasts; for what is done in a moment, how long until it is taken back, where it is.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

/// What is done to a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The policy in force.
    pub policy: Policy,
    /// The faults, in the order of their beginnings.
    pub steps: Vec<Step>,
}

/// The first fault begins a moment after the clients, the others within this time.
const SPREAD: u64 = 9_000;
/// How long a fault lasts, in milliseconds: from less than a lease to a few.
const LASTS: (u64, u64) = (300, 12_000);

impl Schedule {
    /// The schedule of a seed: the same for the same vocabulary. What is kept is kept as text.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let policy = *dice.pick(&[
            Policy::AtOnce,
            Policy::AtOnce,
            Policy::AtOnce,
            Policy::ReadsFirst,
            Policy::ReadsFirst,
            Policy::Never,
        ]);
        let all = Fault::all();
        let mut families: Vec<&str> = all.iter().map(|f| f.family()).collect();
        families.sort_unstable();
        families.dedup();
        let mut steps: Vec<Step> = Vec::new();
        let number = 2 + dice.below(3);
        while (steps.len() as u64) < number {
            let family = *dice.pick(&families);
            let of_it: Vec<Fault> = all.iter().copied().filter(|f| f.family() == family).collect();
            let fault = *dice.pick(&of_it);
            let at = if steps.is_empty() { 500 } else { 500 + dice.below(SPREAD) };
            let lasts = LASTS.0 + dice.below(LASTS.1 - LASTS.0);
            if steps.iter().all(|s| s.fault != fault) {
                // To the tenth of a second, as the text has it.
                let tenths = |ms: u64| Duration::from_millis(ms / 100 * 100);
                steps.push(Step { at: tenths(at), lasts: tenths(lasts), fault });
            }
        }
        steps.sort_by_key(|s| s.at);
        Self { policy, steps }
    }

    /// When the last fault is over.
    pub fn ends(&self) -> Duration {
        self.steps.iter().map(|s| s.at + s.lasts).max().unwrap_or_default()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.policy.words())?;
        for Step { at, lasts, fault } in &self.steps {
            writeln!(f, "at {:.1} s for {:.1} s: {fault}", at.as_secs_f64(), lasts.as_secs_f64())?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = anyhow::Error;

    /// Empty lines and lines that begin with `#` are for people.
    fn from_str(text: &str) -> Result<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().context("the schedule is empty")?;
        let policy = Policy::ALL.into_iter().find(|p| p.words() == first).with_context(|| {
            let known = Policy::ALL.map(Policy::words).join("\n  ");
            format!("the first line must be the policy, one of\n  {known}\nand is {first:?}")
        })?;
        let steps: Vec<Step> = lines
            .map(|line| step(line).with_context(|| format!("in the line {line:?}")))
            .collect::<Result<_>>()?;
        ensure!(!steps.is_empty(), "the schedule names no fault");
        Ok(Self { policy, steps })
    }
}

fn step(line: &str) -> Result<Step> {
    let (times, fault) = line.split_once(": ").context("expected `at 1.0 s for 2.0 s: a fault`")?;
    let words: Vec<&str> = times.split(' ').collect();
    let ["at", at, "s", "for", lasts, "s"] = words[..] else {
        bail!("expected `at 1.0 s for 2.0 s`, found {times:?}");
    };
    let time = |text: &str| -> Result<Duration> {
        let seconds: f64 = text.parse().with_context(|| format!("{text:?} is not a number of seconds"))?;
        Ok(Duration::from_millis(Duration::try_from_secs_f64(seconds)?.as_millis().try_into()?))
    };
    Ok(Step { at: time(at)?, lasts: time(lasts)?, fault: fault.parse().map_err(anyhow::Error::msg)? })
}

/// SplitMix64: the same numbers for the same seed on every machine and in every version.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is never zero here; the tiny bias of the remainder does no harm.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// One of several, which are never none here.
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_schedule_is_read_as_it_was_written() {
        for seed in 0..500 {
            let drawn = Schedule::draw(seed);
            assert_eq!(drawn.to_string().parse::<Schedule>().unwrap(), drawn, "seed {seed}");
        }
    }

    #[test]
    fn the_draw_reaches_every_fault_and_every_number_of_faults_and_repeats_itself() {
        let drawn: Vec<Schedule> = (0..5000).map(Schedule::draw).collect();
        let faults: BTreeSet<String> =
            drawn.iter().flat_map(|s| &s.steps).map(|s| s.fault.to_string()).collect();
        assert_eq!(faults.len(), Fault::all().len());
        let numbers: BTreeSet<usize> = drawn.iter().map(|s| s.steps.len()).collect();
        assert_eq!(numbers, BTreeSet::from([2, 3, 4]));
        assert_eq!(drawn[7], Schedule::draw(7));
        assert_ne!(drawn[7], drawn[8]);
    }

    #[test]
    fn a_line_that_is_no_fault_is_named() {
        let text = "a silent site is replaced at once\nat 1 s for 2 s: the moon is gone\n";
        let error = format!("{:#}", text.parse::<Schedule>().unwrap_err());
        assert!(error.contains("the moon is gone"), "{error}");
    }
}
