//! Every rule left out once: which invariant notices it, and how soon.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bascule_sim::flow::Flow;
use bascule_sim::sample;
use bascule_sim::search::{Base, Mutant};

const USAGE: &str = "bascule-mutants FILE | tell FILE RULE | find FILE [SECONDS]
  FILE   one mutant a line: each is played in its case, and must be noticed by the invariant that it expects
  tell   tells the story of one mutant in its case
  find   looks for a case for each mutant of the file that has none, for so many seconds each, and prints the file anew";

/// The fewest mutants of an invariant, and of all.
const LEAST: (usize, usize) = (2, 60);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tell", path, rule] => tell(path, rule),
        ["find", path] => find(path, 60),
        ["find", path, seconds] => seconds.parse().map_err(|_| USAGE.to_owned()).and_then(|s| find(path, s)),
        [path] => play(path),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            say(&why);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is real time; its worlds have their own")]
fn moment() -> Instant {
    Instant::now()
}

fn say(line: &str) {
    // Nobody reads any more: there is nobody to tell.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the mutants are read; the world in which they are played reads nothing"
)]
fn read(path: &str) -> Result<Vec<Mutant>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let lines = text.lines().enumerate().filter(|(_, t)| !t.trim().is_empty() && !t.starts_with('#'));
    lines.map(|(n, t)| serde_json::from_str(t).map_err(|e| format!("{path}:{}: {e}", n + 1))).collect()
}

/// Does `work` with every item, on every core, in any order.
fn together<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, item)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    items.get(at).map(|item| (at, item))
                } {
                    let done = work(item);
                    // A thread that panicked ends the scope; what it held was whole.
                    found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(at, done);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}

/// The worlds that these cases begin in: made without any mutant.
fn bases(wanted: &[(Flow, u64, bool, bool)]) -> Result<Vec<Base>, String> {
    let make = |(flow, seed, routes, refusals): &(Flow, u64, bool, bool)| {
        Base::new(*flow, *seed, &sample::with(*routes, *refusals), false)
            .map_err(|why| format!("{}: {}", flow.name(), why.0))
    };
    together(wanted, make).into_iter().collect()
}

struct Played {
    broken: String,
    said: Option<String>,
    clean: bool,
    took: Duration,
}

fn play(path: &str) -> Result<bool, String> {
    let began = moment();
    let mutants = read(path)?;
    let cases = mutants.iter().filter_map(|m| m.case.as_ref());
    let mut worlds: Vec<(Flow, u64, bool, bool)> =
        cases.map(|c| (c.flow, c.seed, c.routes, c.refusals)).collect();
    worlds.sort_unstable();
    worlds.dedup();
    let bases = bases(&worlds)?;
    let played = together(&mutants, |mutant| {
        let case = mutant.case.as_ref()?;
        let world = (case.flow, case.seed, case.routes, case.refusals);
        // They are in the order of their worlds. What a base says of itself may be more: gateways that refuse writes have routes.
        let base = bases.get(worlds.iter().position(|w| *w == world)?)?;
        let at = moment();
        let clean = mutant.is_its_own(base, &case.faults);
        let (broken, said) = mutant.plays(base, &case.faults);
        let broken = broken.iter().map(|i| format!("{i:?}")).collect::<Vec<_>>().join(" ");
        Some(Played { broken, said, clean, took: at.elapsed() })
    });
    let mut killed: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = 0;
    say(&format!(
        "{:<60} {:<34} {:<8} {:<26} {:>7}  in",
        "rule left out", "place", "expected", "noticed by", "time"
    ));
    for (mutant, played) in mutants.iter().zip(&played) {
        let expected = format!("{:?}", mutant.expected);
        let (noticed, time, flow) = match played {
            None => ("no case".to_owned(), 0.0, ""),
            Some(p) => {
                let flow = mutant.case.as_ref().map_or("", |c| c.flow.name());
                (
                    if p.broken.is_empty() { "nobody".to_owned() } else { p.broken.clone() },
                    p.took.as_secs_f64(),
                    flow,
                )
            }
        };
        say(&format!(
            "{:<60} {:<34} {expected:<8} {noticed:<26} {:>5.0} ms  {flow}",
            mutant.rule,
            mutant.place,
            time * 1000.0
        ));
        match played {
            Some(p) if p.said.is_some() && p.clean => *killed.entry(expected).or_default() += 1,
            Some(p) if !p.clean => {
                wrong += 1;
                say("  WRONG: its case breaks something, or the same invariant, without it");
            }
            _ => {
                wrong += 1;
                say("  SURVIVED: the expected invariant did not notice it");
            }
        }
    }
    let few: Vec<String> = bascule_sim::judge::Invariant::ALL
        .iter()
        .map(|i| format!("{i:?}"))
        .filter(|i| killed.get(i).copied().unwrap_or_default() < LEAST.0)
        .collect();
    let all: usize = killed.values().sum();
    let words: Vec<String> = killed.iter().map(|(i, n)| format!("{i} {n}")).collect();
    say(&format!(
        "{all} of {} noticed by the invariant they break ({}) in {:.1} s",
        mutants.len(),
        words.join(", "),
        began.elapsed().as_secs_f64()
    ));
    if !few.is_empty() {
        say(&format!("fewer than {} for: {}", LEAST.0, few.join(", ")));
    }
    Ok(wrong == 0 && few.is_empty() && all >= LEAST.1)
}

fn tell(path: &str, rule: &str) -> Result<bool, String> {
    let mutants = read(path)?;
    let mutant =
        mutants.iter().find(|m| m.rule == rule).ok_or_else(|| format!("{path} has no rule {rule:?}"))?;
    let case = mutant.case.as_ref().or(mutant.look.first()).ok_or_else(|| format!("{rule:?} has no case"))?;
    let base = Base::new(case.flow, case.seed, &case.policy(), true).map_err(|why| why.0)?;
    say(mutant.tells(&base, &case.faults).trim_end());
    Ok(true)
}

fn find(path: &str, seconds: u64) -> Result<bool, String> {
    let mutants = read(path)?;
    let flows: Vec<(Flow, u64, bool, bool)> =
        Flow::ALL.into_iter().filter(|f| *f != Flow::Fleet).map(|flow| (flow, 1, false, false)).collect();
    let bases = bases(&flows)?;
    let found = together(&mutants, |mutant| {
        let mut mutant = mutant.clone();
        let at = moment();
        if mutant.case.is_none() {
            mutant.case = mutant.search(&bases, || at.elapsed() < Duration::from_secs(seconds));
        }
        mutant
    });
    for mutant in &found {
        say(&serde_json::to_string(mutant).map_err(|e| e.to_string())?);
    }
    Ok(found.iter().all(|m| m.case.is_some()))
}
