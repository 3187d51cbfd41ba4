//! Runs scenarios one after the other in one world, as `cargo test` would show them.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Scene, Stage};
use crate::kept::keep_logs;
use crate::progress::seconds;
use crate::share::Share;
use crate::shop::{PolicyText, Shop};
use crate::world::{Older, Options, World};

/// A scenario's work.
pub type Play = for<'s, 'a> fn(&'s mut Scene<'a>) -> Pin<Box<dyn Future<Output = Result<()>> + 's>>;

/// One scenario.
pub struct Scenario {
    /// The sentence that it proves, as a name.
    pub name: &'static str,
    /// The policy that it needs.
    pub policy: fn() -> PolicyText,
    /// Whether the third place is a site, too.
    pub three_sites: bool,
    /// Whether it changes clocks: it gets a world whose clocks are held.
    pub clocks: bool,
    /// How many replicas of the operator each site has.
    pub replicas: usize,
    /// What it does and sees.
    pub play: Play,
}

impl Scenario {
    /// The same in a world of three sites.
    #[must_use]
    pub const fn with_three_sites(mut self) -> Self {
        self.three_sites = true;
        self
    }
}

/// The same scenarios in a world whose clocks are held.
pub fn with_clocks(scenarios: Vec<Scenario>) -> Vec<Scenario> {
    scenarios.into_iter().map(|scenario| Scenario { clocks: true, ..scenario }).collect()
}

/// The same scenarios in a world in which each site has two replicas of its operator.
pub fn with_spares(scenarios: Vec<Scenario>) -> Vec<Scenario> {
    scenarios.into_iter().map(|scenario| Scenario { replicas: 2, ..scenario }).collect()
}

/// Runs those whose name holds one of the arguments' words (all, without one), or a [`Share`] of these: the `main` of a test
/// without harness.
pub fn main(scenarios: &[Scenario]) -> ExitCode {
    let (mut options, mut words, mut share) = (Vec::new(), Vec::new(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--test-threads" {
            // Said to every test program; scenarios are played one after the other in any case.
            args.next();
        } else if arg.starts_with("--") {
            options.push(arg);
        } else if arg.contains('/') {
            match arg.parse::<Share>() {
                Ok(part) => share = Some(part),
                Err(why) => {
                    println!("{why}");
                    return ExitCode::FAILURE;
                }
            }
        } else {
            words.push(arg);
        }
    }
    let named = scenarios
        .iter()
        .filter(|s| words.is_empty() || words.iter().any(|w| s.name.contains(w.as_str())))
        .enumerate();
    let chosen: Vec<&Scenario> =
        named.filter(|(place, _)| share.is_none_or(|share| share.takes(*place))).map(|(_, s)| s).collect();
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    if options.iter().any(|o| o == "--list") {
        for scenario in chosen {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let played = runtime.context("no runtime").and_then(|rt| rt.block_on(interruptible(&chosen)));
    match played {
        Ok(failed) if failed.is_empty() => {
            println!("\nscenarios: {} passed, 0 failed", chosen.len());
            ExitCode::SUCCESS
        }
        Ok(failed) => {
            // Once more at the end, where a reader of a long log looks first.
            for failure in &failed {
                println!("\nFAILED: {}\n{}\n  error: {}", failure.scenario, failure.last_seen, failure.error);
            }
            println!("\nscenarios: {} passed, {} failed", chosen.len() - failed.len(), failed.len());
            ExitCode::FAILURE
        }
        Err(e) => {
            println!("\nthe scenarios were broken off: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C and SIGTERM end it, and the world with it.
async fn interruptible(chosen: &[&Scenario]) -> Result<Vec<Failure>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        failed = play_all(chosen) => failed,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}

/// What the summary says of a scenario that failed.
struct Failure {
    scenario: &'static str,
    error: String,
    /// The end of what was done and seen.
    last_seen: String,
}

/// How many lines of a failed scenario's transcript the summary repeats.
const LINES_REPEATED: usize = 12;

/// How many lines of each site's journals it adds.
const JOURNAL_LINES: usize = 16;

/// How long a site may take to say what it sees.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What each site says of the policy now, and what it did last.
async fn last_words(world: &World) -> String {
    let shop = Shop::of(world);
    let mut words = Vec::new();
    for site in world.sites().iter().copied() {
        match tokio::time::timeout(LAST_WORD, shop.view(site)).await {
            Ok(Ok(view)) => {
                words.push(format!("  {site} says: {}: {}", view.phase(), view.message()));
                words.extend(view.blocking().iter().map(|gate| format!("    in the way: {gate}")));
            }
            Ok(Err(e)) => words.push(format!("  {site} says nothing: {e:#}")),
            Err(_) => words.push(format!("  {site} says nothing within {}", seconds(LAST_WORD))),
        }
        let journal = shop.journals(site);
        let last = journal.iter().skip(journal.len().saturating_sub(JOURNAL_LINES));
        words.extend(last.map(|line| format!("    {line}")));
    }
    words.join("\n")
}

async fn play_all(chosen: &[&Scenario]) -> Result<Vec<Failure>> {
    let mut stage: Option<Stage> = None;
    let mut failed = Vec::new();
    for scenario in chosen {
        let ready = match stage.take() {
            Some(stage)
                if stage.has_three_sites() == scenario.three_sites
                    && stage.world().clocks_are_held() == scenario.clocks
                    && stage.world().replicas().len() == scenario.replicas =>
            {
                stage
            }
            other => {
                if let Some(stage) = other {
                    stage.down()?;
                }
                let options = Options {
                    three_sites: scenario.three_sites,
                    clocks: scenario.clocks,
                    replicas: scenario.replicas,
                    older: older()?,
                    ..Options::default()
                };
                Box::pin(Stage::up_with(options)).await.context("no stage to play on")?
            }
        };
        let begin = Instant::now();
        println!("scenario {} ...", scenario.name);
        match play(&ready, scenario).await {
            Ok(transcript) => {
                println!("{transcript}");
                println!("scenario {} ... ok ({})", scenario.name, seconds(begin.elapsed()));
                stage = Some(ready);
            }
            Err((error, transcript)) => {
                println!("scenario {} ... FAILED ({})", scenario.name, seconds(begin.elapsed()));
                let words = last_words(ready.world()).await;
                println!("{transcript}\n{words}\n  error: {error:#}");
                match keep_logs(ready.world(), scenario.name) {
                    Ok(folder) => println!("  logs are kept in {}", folder.display()),
                    Err(e) => println!("  logs could not be kept: {e:#}"),
                }
                let lines: Vec<&str> = transcript.lines().collect();
                let repeated = lines[lines.len().saturating_sub(LINES_REPEATED)..].join("\n");
                let last_seen = format!("{repeated}\n{words}");
                failed.push(Failure { scenario: scenario.name, error: format!("{error:#}"), last_seen });
                ready.down()?;
            }
        }
    }
    if let Some(stage) = stage {
        stage.down()?;
    }
    Ok(failed)
}

/// The site that runs an older version, in a run that was told of one.
fn older() -> Result<Option<Older>> {
    let newer = std::env::var_os("BASCULE_BIN").map(PathBuf::from).unwrap_or_default();
    Older::from_environment(&newer)
}

/// Answers what was done and seen; an error comes with it.
async fn play(stage: &Stage, scenario: &Scenario) -> Result<String, (anyhow::Error, String)> {
    let scene = stage.scene(&(scenario.policy)()).await;
    let mut scene = scene.map_err(|e| (e.context("before it began"), String::new()))?;
    let played = (scenario.play)(&mut scene).await;
    let finished = match played {
        Ok(()) => scene.finish().await.map(|_| ()).context("at its end"),
        Err(e) => Err(e),
    };
    match finished {
        Ok(()) => Ok(scene.transcript()),
        Err(e) => Err((e, scene.transcript())),
    }
}

/// A list of scenarios that need the same policy: `scenarios![policy; one, another]`.
#[macro_export]
macro_rules! scenarios {
    ($policy:expr; $($play:ident),+ $(,)?) => {
        vec![$($crate::scenario::Scenario {
            name: stringify!($play),
            policy: $policy,
            three_sites: false,
            clocks: false,
            replicas: 1,
            play: |scene| Box::pin($play(scene)),
        }),+]
    };
}
pub use scenarios;
