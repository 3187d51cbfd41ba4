//! `docs/benchmarks.md`, made from the samples and from nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::sample::Sample;
use super::series::{Act, Series, System};

const HEAD: &str = include_str!("head.md");
/// Why a target is missed: written by hand, for it is a judgement; the numbers beside it are made.
const MISSED: &str = include_str!("missed.md");

/// The systems in the order of the tables.
const SYSTEMS: [System; 6] = [
    System::Bascule,
    System::BasculeRegion,
    System::BasculeWan,
    System::Patroni,
    System::PatroniTuned,
    System::ByHand,
];

/// The acts with their headlines.
const ACTS: [(Act, &str, &str); 5] = [
    (
        Act::Planned,
        "A planned change",
        "Event: the Move is merged in git (Bascule, which asks git each second); the request to Patroni's API is sent; \
         the fast stop is ordered by hand, after a checkpoint.",
    ),
    (
        Act::PlannedProxy,
        "A planned change, through a proxy",
        "The same, but the client knows one address: HAProxy at the third place asks both sites every tenth of a second \
         whether they take writes (`/primary/NAMESPACE/POLICY` of Bascule's operators, `/primary` of Patroni), and ends the \
         sessions of a site that says no.",
    ),
    (
        Act::PlannedDns,
        "A planned change, through the application's name",
        "The same, but the client is users of the web application, who find it by its name in DNS (TTL 1 s, three \
         authoritative servers, no resolver between) and get an error while the application's flag says read-only.",
    ),
    (
        Act::DatabaseKilled,
        "The server is killed, its site lives",
        "Event: SIGKILL to the server's first process. Patroni starts it again where it was, as its defaults say; Bascule \
         gives the other site the writes.",
    ),
    (
        Act::SiteKilled,
        "A site loses its power",
        "Event: the cable is dead and every process gone. The client itself waits 2 s for a server that does not answer \
         any more: that is most of the floor.",
    ),
];

/// Numbers of a series, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    n: usize,
    p50: f64,
    p90: f64,
    p99: f64,
    min: f64,
    max: f64,
}

impl Summary {
    /// Each of them is one of the measurements; `None` without any.
    fn of(mut raw: Vec<f64>) -> Option<Self> {
        raw.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * raw.len() as f64).ceil() as usize;
            raw.get(rank.saturating_sub(1)).copied()
        };
        let (min, max) = (*raw.first()?, *raw.last()?);
        Some(Self { n: raw.len(), p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)?, min, max })
    }

    fn cells(&self) -> String {
        let Self { n, p50, p90, p99, min, max } = *self;
        let times = [p50, p90, p99, min, max].map(ms).join(" | ");
        format!("{n} | {times}")
    }
}

/// Whole milliseconds where a tenth is noise.
fn ms(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

fn ratio(mine: f64, other: f64) -> String {
    if other > 0.0 { format!("{:.2}", mine / other) } else { "–".to_owned() }
}

/// What ends with something else than a write, each with what it is.
const OTHERS: [(Act, &str, &str); 4] = [
    (
        Act::ReadsServed,
        "Until reads are served",
        "Event: the site loses its power, under a policy that serves reads after 2 s of silence and promotes 3 s later. End: \
         the first answer at the other site to one of four users who find the application by its name (TTL 1 s, each asks anew \
         a quarter of a second after another one) and try again when they have waited 250 ms for an answer.",
    ),
    (
        Act::Returned,
        "Until a site that was lost follows",
        "Event: the site has its power again and its place has booted: with Bascule its cluster's own servers run, and its \
         pods may be starting already; Patroni is started then. End: its server streams from the site that took over.",
    ),
    (
        Act::Pushed,
        "From a push to both sites",
        "Event: a change of the policy is pushed. End: both sites have taken it, each of which asks git every second.",
    ),
    (
        Act::Effect,
        "From an event to its first effect",
        "Event: a Move that moves nothing is sent to the API server, whose own time is part of the figure. Effect: the \
         changed record, as a watch of the arbiter sees it. No peer has the same.",
    ),
];

/// What is measured of a sample against a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// From the event to its end.
    Event,
    /// What the client waited.
    Pause,
}

/// What was to be reached before anything was measured: `series`, what of it, at most how many milliseconds, in words.
const TARGETS: [(&str, Of, f64, &str); 8] = [
    ("planned", Of::Pause, 128.0, "A planned change: pause of writes"),
    ("planned-proxy", Of::Pause, 250.0, "The same through a proxy"),
    ("kill-metro", Of::Event, 3000.0, "A site loses its power, profile metro: to the first write"),
    ("kill-region", Of::Event, 5000.0, "The same, profile region"),
    ("database-killed", Of::Event, 500.0, "The server is killed: to the first write of every client"),
    ("read-only-served", Of::Event, 3000.0, "A site loses its power: to the first read (`L` and a second)"),
    ("event-to-effect", Of::Event, 10.0, "An event to its first effect"),
    ("push-to-accepted", Of::Event, 1200.0, "A push to both sites, which ask each second"),
];

/// The whole page.
pub fn page(samples: &[Sample]) -> String {
    let mut text = HEAD.to_owned();
    made_on(&mut text, samples);
    targets(&mut text, samples);
    for (act, headline, event) in ACTS {
        let _ = write!(text, "\n## {headline}\n\n{event}\n");
        table(&mut text, samples, act, "Event to first write, ms", |s| Some(s.ms));
        table(&mut text, samples, act, "Pause, last write before to first write after, ms", |s| s.pause);
        what_else(&mut text, samples, act);
        phases(&mut text, samples, act);
    }
    for (act, headline, event) in OTHERS {
        let _ = write!(text, "\n## {headline}\n\n{event}\n");
        table(&mut text, samples, act, "Milliseconds", |s| Some(s.ms));
        // Those of the other acts come after their end.
        if act == Act::Effect {
            phases(&mut text, samples, act);
        }
    }
    text
}

fn targets(text: &mut String, samples: &[Sample]) {
    text.push_str(
        "\n## Targets\n\nSet before anything was measured, for a machine of each site's own; in milliseconds.\n\n\
         | | target | n | p50 | p99 | within it | p50 of the floor |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for (name, of, target, words) in TARGETS {
        let raw = |series: &str| -> Vec<f64> {
            let found = samples.iter().filter(|s| s.series == series);
            found.filter_map(|s| if of == Of::Pause { s.pause } else { Some(s.ms) }).collect()
        };
        let all = raw(name);
        let within = all.iter().filter(|took| **took <= target).count();
        let by_hand = Series::named(name).ok().and_then(|series| series.by(System::ByHand));
        let floor = by_hand.and_then(|series| Summary::of(raw(series.name)));
        let floor = floor.map_or_else(|| "–".to_owned(), |floor| ms(floor.p50));
        let Some(found) = Summary::of(all) else {
            let _ = writeln!(text, "| {words} | {target} | 0 | | | | {floor} |");
            continue;
        };
        let Summary { n, p50, p99, .. } = found;
        let (p50, p99) = (ms(p50), ms(p99));
        let _ = writeln!(text, "| {words} | {target} | {n} | {p50} | {p99} | {within} of {n} | {floor} |");
    }
    let _ = write!(text, "\n{MISSED}");
}

/// What of the pause is not spent on a database: two records in the arbiter, and the words between guards and operators.
fn agreeing(sample: &Sample) -> Option<f64> {
    let phase = |name: &str| sample.phases.get(name).copied();
    let steps = phase("stop")? + phase("prove")? + phase("promote")? + phase("open")?;
    Some((phase("writePause")? - steps).max(0.0))
}

/// What of a sample no phase counts: until it was noticed and decided, and the client's own next try.
fn rest(sample: &Sample) -> Option<f64> {
    let phase = |name: &str| sample.phases.get(name).copied();
    let counted = match phase("writePause") {
        Some(pause) => pause + phase("flagsSeen").unwrap_or_default(),
        None => phase("promote")? + phase("open")?,
    };
    Some((sample.ms - counted).max(0.0))
}

/// Who is measured by an act.
fn systems(act: Act) -> impl Iterator<Item = System> {
    let is = move |system: &System| Series::all().iter().any(|s| s.act == act && s.system == *system);
    SYSTEMS.into_iter().filter(is)
}

fn of_series(samples: &[Sample], series: Series) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(move |s| s.series == series.name)
}

/// Samples of an act by a system.
fn of_act(samples: &[Sample], act: Act, system: System) -> Vec<&Sample> {
    let series = Series::all().iter().find(|s| s.act == act && s.system == system);
    series.map(|series| of_series(samples, *series).collect()).unwrap_or_default()
}

fn made_on(text: &mut String, samples: &[Sample]) {
    let machines: BTreeSet<&str> = samples.iter().map(|s| s.machine.as_str()).collect();
    for machine in machines {
        let of_it: Vec<_> = samples.iter().filter(|s| s.machine == machine).collect();
        let mut commits: BTreeMap<&str, usize> = BTreeMap::new();
        for sample in &of_it {
            *commits.entry(&sample.commit).or_default() += 1;
        }
        let commits: Vec<_> = commits.iter().map(|(commit, n)| format!("`{commit}` ({n})")).collect();
        let days: BTreeSet<&str> = of_it.iter().filter_map(|s| s.at.get(..10)).collect();
        let day = match (days.first(), days.last()) {
            (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
            (first, _) => first.copied().unwrap_or_default().to_owned(),
        };
        let (commits, n) = (commits.join(", "), of_it.len());
        let _ = writeln!(text, "\n- {machine}: {n} samples, {day}, commits (samples) {commits}");
    }
}

fn table(
    text: &mut String,
    samples: &[Sample],
    act: Act,
    headline: &str,
    number: impl Fn(&Sample) -> Option<f64>,
) {
    let summary = |system| {
        Summary::of(of_act(samples, act, system).into_iter().filter_map(&number).collect::<Vec<_>>())
    };
    let (bascule, floor) = (summary(System::Bascule), summary(System::ByHand));
    let _ = write!(
        text,
        "\n{headline}\n\n| | n | p50 | p90 | p99 | min | max | p50 / floor | p50 / Bascule |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for system in systems(act) {
        let Some(found) = summary(system) else {
            let _ = writeln!(text, "| {} | 0 | | | | | | | |", system.words());
            continue;
        };
        let to = |other: Option<Summary>| other.map_or_else(|| "–".to_owned(), |o| ratio(found.p50, o.p50));
        let _ =
            writeln!(text, "| {} | {} | {} | {} |", system.words(), found.cells(), to(floor), to(bascule));
    }
}

/// What a time alone does not say.
fn what_else(text: &mut String, samples: &[Sample], act: Act) {
    text.push('\n');
    for system in systems(act) {
        let found = of_act(samples, act, system);
        if found.is_empty() {
            continue;
        }
        let lost: usize = found.iter().map(|s| s.lost).sum();
        let with_loss = found.iter().filter(|s| s.lost > 0).count();
        let two = found.iter().filter(|s| s.two_writers).count();
        let failed = found.iter().filter(|s| s.failed.is_some()).count();
        let mean = |number: fn(&Sample) -> Option<f64>| {
            let numbers: Vec<f64> = found.iter().filter_map(|s| number(s)).collect();
            numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
        };
        let _ = writeln!(
            text,
            "- {}: {lost} acknowledged rows lost, in {with_loss} of {}; two writers at once in {two}; no write within the \
             deadline in {failed}; processor time used meanwhile {:.0} % on average, taken away by the host {:.0} %.",
            system.words(),
            found.len(),
            mean(|s| s.busy),
            mean(|s| s.steal),
        );
    }
}

/// How long each phase took, of those systems that say so.
fn phases(text: &mut String, samples: &[Sample], act: Act) {
    let mut begun = false;
    for system in [System::Bascule, System::BasculeRegion, System::BasculeWan, System::ByHand] {
        let found = of_act(samples, act, system);
        let mut phases: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for sample in found {
            for (phase, ms) in &sample.phases {
                phases.entry(phase).or_default().push(*ms);
            }
            let derived = [("notice, decide, client", rest(sample)), ("records, words", agreeing(sample))];
            for (phase, ms) in derived.into_iter().filter_map(|(phase, ms)| Some((phase, ms?))) {
                phases.entry(phase).or_default().push(ms);
            }
        }
        let mut rows: Vec<_> =
            phases.into_iter().filter_map(|(phase, raw)| Some((phase, Summary::of(raw)?))).collect();
        // The largest first: it is the next to be shortened.
        rows.sort_by(|a, b| b.1.p50.total_cmp(&a.1.p50).then(a.0.cmp(b.0)));
        if !rows.is_empty() && !begun {
            text.push_str(
                "\nPhases, ms\n\n| | phase | n | p50 | p90 | p99 | min | max |\n|---|---|--:|--:|--:|--:|--:|--:|\n",
            );
            begun = true;
        }
        for (phase, summary) in rows {
            let _ = writeln!(text, "| {} | {phase} | {} |", system.words(), summary.cells());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::read;
    use super::*;

    #[test]
    fn the_page_says_what_the_samples_say() {
        let docs = crate::tools::workspace().unwrap().join("docs");
        let samples = read(&docs.join("benchmarks.jsonl")).unwrap();
        let written = std::fs::read_to_string(docs.join("benchmarks.md")).unwrap();
        assert!(page(&samples) == written, "docs/benchmarks.md is not what `make bench-page` writes");
    }

    #[test]
    fn every_sample_belongs_to_a_series() {
        let docs = crate::tools::workspace().unwrap().join("docs");
        for sample in read(&docs.join("benchmarks.jsonl")).unwrap() {
            Series::named(&sample.series).unwrap();
        }
    }

    #[test]
    fn every_target_is_one_of_a_series() {
        for (name, ..) in TARGETS {
            Series::named(name).unwrap();
        }
    }

    #[test]
    fn percentiles_are_measurements_and_the_largest_of_few_is_the_99th() {
        let found = Summary::of((1..=30).rev().map(f64::from).collect()).unwrap();
        assert_eq!(found, Summary { n: 30, p50: 15.0, p90: 27.0, p99: 30.0, min: 1.0, max: 30.0 });
        let many = Summary::of((1..=200).map(f64::from).collect()).unwrap();
        assert_eq!((many.p50, many.p99), (100.0, 198.0));
        assert_eq!(Summary::of(Vec::new()), None);
    }
}
