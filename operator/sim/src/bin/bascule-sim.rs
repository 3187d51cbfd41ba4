//! The search for what breaks: enumerated singles and pairs, chance, the corpus, and how fast all of it is.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bascule_core::policy::Policy;
use bascule_sim::fault::{Fault, required_rows};
use bascule_sim::flow::Flow;
use bascule_sim::judge::Sometimes;
use bascule_sim::sample;
use bascule_sim::search::{Base, Begins, Case, Failure, Found, explore, pairs, shrink, singles, whole_menu};
use bascule_sim::small;

const ROUTES: &str = "--routes";
const REFUSALS: &str = "--refusals";

const USAGE: &str = "bascule-sim singles [FLOW…] | pairs [everywhere [SHARE/OF]] [FLOW…] | explore SECONDS [NUMBER [CASES]] | corpus FILE | replay CASE | bench FILE | small [WORD…]; --routes gives every site an HTTPRoute besides the name, --refusals one whose gateway refuses writes in a hold
  singles   every effect boundary of every flow with every fault; a table of what was covered
  pairs     every pair of faults in every flow, each pair at another boundary, the second fault up to six boundaries
            after the first (half an hour on two cores); everywhere: each pair at every boundary (half a day);
            0/40: the first of forty shares of that, scattered over all of it
  explore   random flows, seeds and faults for so many seconds, or about so many cases; failures are shrunk and printed with their replay
  corpus    plays every case of a file again; each must hold
  replay    plays one case, given as JSON, and tells its story
  bench     measures scenarios per CPU-minute over the singles of three flows and writes JSON
  small     every order of steps of the core with two sites; words: a flow (silence, planned, offered), faults (operator,
            guard, loss, freeze, restore; all when none is named), most=N faults in one run (1), fine for
            every call as a step of its own, states=N and depth=N where to stop, without=RULE (reclaim, count-from-sending, whole-silence, fresh-answer, stop-in-time)";

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args().skip(1).filter(|word| word != ROUTES && word != REFUSALS).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("singles") => enumerate(rest, None),
        Some("pairs") => match rest.split_first() {
            Some((first, flows)) if first == "everywhere" => everywhere(flows),
            _ => enumerate(rest, Some(Begins::Somewhere)),
        },
        Some("explore") => chance(rest),
        Some("corpus") => corpus(rest),
        Some("replay") => replay(rest),
        Some("bench") => bench(rest),
        Some("small") => small(rest),
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

fn everywhere(rest: &[String]) -> Result<bool, String> {
    let Some((share, of)) = rest.first().and_then(|word| word.split_once('/')) else {
        return enumerate(rest, Some(Begins::Everywhere { share: 0, of: 1 }));
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number\n{USAGE}"));
    let (share, of) = (number(share)?, number(of)?);
    if share >= of {
        return Err(format!("{share}/{of}: the shares are 0/{of} to {}/{of}", of.saturating_sub(1)));
    }
    enumerate(rest.get(1..).unwrap_or_default(), Some(Begins::Everywhere { share, of }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a search takes is real time; its worlds have their own"
)]
fn moment() -> Instant {
    Instant::now()
}

fn say(line: &str) {
    // Nobody reads any more: there is nobody to tell.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn policy() -> Policy {
    sample::with(says(ROUTES), says(REFUSALS))
}

/// Whether this option was given: it is about the worlds that are searched.
fn says(option: &str) -> bool {
    std::env::args().any(|word| word == option)
}

fn together(work: impl Fn(usize, usize) -> Found + Sync) -> Found {
    let parts = threads();
    let mut all = Found::default();
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..parts).map(|part| scope.spawn(move || work(part, parts))).collect();
        for thread in running {
            match thread.join() {
                Ok(found) => all.join(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all
}

/// Every order of steps in small worlds.
fn small(words: &[String]) -> Result<bool, String> {
    let limits = small::Limits { states: 5_000_000, depth: usize::MAX };
    let (flow, faults) = (small::Flow::Silence, Vec::new());
    let mut setting = small::Setting { flow, faults, most: 1, without: None, fine: false, limits };
    for word in words {
        let number =
            |text: &str| text.parse::<usize>().map_err(|_| format!("{word:?} needs a number after the ="));
        if let Some(flow) = small::Flow::ALL.into_iter().find(|f| f.name() == word) {
            setting.flow = flow;
        } else if let Some(fault) = small::Fault::ALL.into_iter().find(|f| f.name() == word) {
            setting.faults.push(fault);
        } else {
            match word.split_once('=') {
                None if word == "fine" => setting.fine = true,
                Some(("most", n)) => {
                    setting.most = number(n)?.try_into().map_err(|_| format!("{word:?} is too many"))?;
                }
                Some(("states", n)) => setting.limits.states = number(n)?,
                Some(("depth", n)) => setting.limits.depth = number(n)?,
                Some(("without", rule)) => {
                    let found = small::LeftOut::ALL.into_iter().find(|r| r.name() == rule);
                    setting.without =
                        Some(found.ok_or_else(|| format!("there is no rule {rule:?}\n{USAGE}"))?);
                }
                _ => return Err(format!("{word:?} is neither a flow nor a fault nor a limit\n{USAGE}")),
            }
        }
    }
    if setting.faults.is_empty() {
        setting.faults = small::Fault::ALL.to_vec();
    }
    let began = moment();
    let out = small::explore(&setting)?;
    let end =
        if out.closed { "closed".to_owned() } else { format!("every state within {} steps", out.depth) };
    let faults: Vec<&str> = setting.faults.iter().map(|f| f.name()).collect();
    say(&format!(
        "{} with at most {} of {}{}: {} states, {} steps, {} records, {} operators, {} guards; {}; {:.1} s",
        setting.flow.name(),
        setting.most,
        faults.join(", "),
        setting.without.map_or_else(String::new, |w| format!(", without {}", w.name())),
        out.states,
        out.steps,
        out.parts[0],
        out.parts[1],
        out.parts[2],
        if out.violation.is_some() { "VIOLATION" } else { &end },
        began.elapsed().as_secs_f64()
    ));
    if let Some(story) = &out.violation {
        say(story);
    }
    Ok(out.violation.is_none())
}

fn flows(names: &[String]) -> Result<Vec<Flow>, String> {
    if names.is_empty() {
        return Ok(Flow::ALL.to_vec());
    }
    let known = || Flow::ALL.map(Flow::name).join(", ");
    let flow = |name: &String| {
        let found = Flow::ALL.into_iter().find(|f| f.name() == name);
        found.ok_or_else(|| format!("there is no flow {name:?}: there are {}", known()))
    };
    names.iter().map(flow).collect()
}

fn enumerate(names: &[String], two: Option<Begins>) -> Result<bool, String> {
    let mut all = Found::default();
    let began = moment();
    for flow in flows(names)? {
        let at = moment();
        let base = Base::new(flow, 1, &policy(), false)
            .map_err(|why| format!("{}: {}", flow.name(), why.0))?
            .rarely_rests();
        let found = together(|part, parts| match two {
            Some(begins) => pairs(&base, part, parts, begins),
            None => singles(&base, part, parts),
        });
        say(&format!(
            "{:<20} {:>3} boundaries {:>7} cases {:>4} failures {:>7.1} s",
            flow.name(),
            base.boundaries.len(),
            found.cases,
            found.failures.len(),
            at.elapsed().as_secs_f64()
        ));
        all.join(found);
    }
    say(&coverage(&all));
    let mut missing = Vec::new();
    if names.is_empty() {
        let tried = |row: &String| all.coverage.keys().any(|(_, r)| r == row);
        // A thousand policies at once are one case, and no pair.
        let of_the_fleet = |row: &String| {
            let mut rows = Flow::Fleet.own_faults().flat_map(Fault::rows);
            two.is_some() && rows.any(|r| r == row)
        };
        missing = required_rows().into_iter().filter(|row| !tried(row) && !of_the_fleet(row)).collect();
        if !missing.is_empty() {
            say(&format!("faults that no case injects: {}", missing.join(", ")));
        }
    }
    // A search of everything has met everything that is dangerous, or it has not looked there.
    let mut unmet = Vec::new();
    if names.is_empty() && two.is_none() {
        unmet = Sometimes::ALL.into_iter().filter(|s| !all.met.contains(s)).collect();
        if !unmet.is_empty() {
            say(&format!("no case has met: {unmet:?}"));
        }
    }
    tell_failures(&all.failures);
    say(&format!("met: {:?}\nknown limits met: {:?}", all.met, all.limits));
    say(&format!("{} cases in {:.1} s", all.cases, began.elapsed().as_secs_f64()));
    Ok(all.failures.is_empty() && missing.is_empty() && unmet.is_empty())
}

/// A table: how often each fault was tried in each flow.
fn coverage(found: &Found) -> String {
    let flows: Vec<&str> = Flow::ALL.into_iter().map(Flow::name).collect();
    let mut rows: Vec<String> = found.coverage.keys().map(|(_, row)| row.clone()).collect();
    rows.sort_by_key(|r| r.trim_start_matches('F').parse::<u32>().unwrap_or(0));
    rows.dedup();
    let cells = |first: &str, rest: &mut dyn Iterator<Item = String>| -> String {
        [format!("{first:<6}")].into_iter().chain(rest.map(|cell| format!("{cell:>20}"))).collect()
    };
    let mut lines = vec![cells("fault", &mut flows.iter().map(ToString::to_string))];
    for row in rows {
        let times = |flow: &&str| match found.coverage.get(&(*flow, row.clone())) {
            Some(n) => n.to_string(),
            None => "-".to_owned(),
        };
        lines.push(cells(&row, &mut flows.iter().map(times)));
    }
    lines.join("\n")
}

fn tell_failures(failures: &[Failure]) {
    let mut kinds: BTreeMap<String, (u32, &Failure)> = BTreeMap::new();
    for failure in failures {
        let faults: Vec<String> = failure.case.faults.iter().map(|f| format!("{:?}", f.fault)).collect();
        let kind =
            format!("{:?} {} {}", failure.violation.invariant, failure.case.flow.name(), faults.join(" + "));
        kinds.entry(kind).or_insert((0, failure)).0 += 1;
    }
    for (kind, (times, first)) in kinds {
        let case = serde_json::to_string(&first.case).unwrap_or_default();
        say(&format!(
            "FAILED {times:>4} x {kind}\n     {}\n     bascule-sim replay '{case}'",
            first.violation
        ));
    }
}

fn chance(args: &[String]) -> Result<bool, String> {
    let number = |at: usize, otherwise: u64| match args.get(at) {
        None => Ok(otherwise),
        Some(text) => text.parse::<u64>().map_err(|_| format!("{text:?} is no number\n{USAGE}")),
    };
    let (seconds, first, cases) = (number(0, 60)?, number(1, 1)?, number(2, u64::MAX)?);
    let ends = moment() + Duration::from_secs(seconds);
    let found = together(|part, parts| {
        // The same cases on every machine that is fast enough, and has as many threads.
        let mut left = cases / parts as u64;
        explore(&policy(), first + part as u64, || {
            left = left.saturating_sub(1);
            left > 0 && moment() < ends
        })
    });
    say(&format!("{} random cases within {seconds} s, numbers {first}…", found.cases));
    say(&format!("met: {:?}\nknown limits met: {:?}", found.met, found.limits));
    let mut seen = std::collections::BTreeSet::new();
    for failure in &found.failures {
        let small = shrink(&failure.case, &policy());
        let mut kinds: Vec<String> = small.faults.iter().map(|f| format!("{:?}", f.fault)).collect();
        kinds.sort();
        if seen.insert((small.flow, kinds)) {
            let case = serde_json::to_string(&small).unwrap_or_default();
            say(&format!("FAILED {}\n     bascule-sim replay '{case}'", failure.violation));
        }
    }
    Ok(found.failures.is_empty())
}

fn corpus(args: &[String]) -> Result<bool, String> {
    let path = args.first().ok_or(USAGE)?;
    let text = read(path)?;
    let (mut held, mut broken) = (0, 0);
    for (line, text) in text.lines().enumerate().filter(|(_, t)| !t.trim().is_empty() && !t.starts_with('#'))
    {
        let case: Case = serde_json::from_str(text).map_err(|e| format!("{path}:{}: {e}", line + 1))?;
        let base = Base::new(case.flow, case.seed, &case.policy(), false)
            .map_err(|why| format!("{path}:{}: {}", line + 1, why.0))?;
        let verdict = base.judged(&case.faults);
        if verdict.violations.is_empty() {
            held += 1;
        } else {
            broken += 1;
            for violation in verdict.violations {
                say(&format!("{path}:{}: {violation}\n     bascule-sim replay '{text}'", line + 1));
            }
        }
    }
    say(&format!("corpus: {held} cases held, {broken} broke"));
    Ok(broken == 0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the search reads its corpus; the world it searches reads nothing"
)]
fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

fn replay(args: &[String]) -> Result<bool, String> {
    let text = args.first().ok_or(USAGE)?;
    let case: Case = serde_json::from_str(text).map_err(|e| format!("this is no case: {e}"))?;
    let base = Base::new(case.flow, case.seed, &case.policy(), true).map_err(|why| why.0)?;
    for b in &base.boundaries {
        say(&format!("boundary {:>3}  {:<16} {}", b.number, b.who, b.what));
    }
    let (world, verdict) = base.play(&case.faults);
    say(world.transcript.text().trim_end());
    for violation in &verdict.violations {
        say(&format!("BROKEN {violation}"));
    }
    match &verdict.settled {
        Ok(at) => say(&format!("settled at {:.3} s", at.since_start().as_secs_f64())),
        Err(why) => say(&format!("not settled: {}", why.0)),
    }
    Ok(verdict.violations.is_empty())
}

/// The time that this process has computed, on all its threads.
fn cpu() -> Result<Duration, String> {
    let text = read("/proc/self/stat")?;
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

#[expect(clippy::disallowed_methods, reason = "the benchmark writes its figures")]
fn bench(args: &[String]) -> Result<bool, String> {
    let path = args.first().ok_or(USAGE)?;
    let (began, worked) = (moment(), cpu()?);
    let mut all = Found::default();
    for flow in [Flow::Switchover, Flow::SiteLost, Flow::DatabaseDead] {
        let base = Base::new(flow, 1, &policy(), false).map_err(|why| why.0)?.rarely_rests();
        all.join(together(|part, parts| singles(&base, part, parts)));
    }
    let cpu_seconds = cpu()?.saturating_sub(worked).as_secs_f64();
    all.events.sort_unstable();
    all.writes.sort_unstable();
    let median = |n: usize| n / 2;
    let figures = serde_json::json!({
        "scenarios": all.cases,
        "scenarios_per_cpu_minute": (all.cases as f64 / cpu_seconds * 60.0).round(),
        "cpu_seconds": cpu_seconds,
        "wall_seconds": began.elapsed().as_secs_f64(),
        "threads": threads(),
        "faults_tried_at_each_boundary": whole_menu(2).len(),
        "median_events": all.events.get(median(all.events.len())),
        "median_client_writes": all.writes.get(median(all.writes.len())),
        "failures": all.failures.len(),
    });
    let text = serde_json::to_string_pretty(&figures).map_err(|e| e.to_string())?;
    std::fs::write(path, format!("{text}\n")).map_err(|e| format!("{path}: {e}"))?;
    say(&text);
    Ok(true)
}
