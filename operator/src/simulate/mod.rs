//! `bascule simulate`: what would happen to a policy if, told without a cluster and without a network.

mod asked;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bascule_core::moves::Move;
use bascule_core::name::{Namespace, PolicyKey};
use bascule_core::policy::Policy;
use bascule_core::time::human;
use bascule_core::timing::Profile;
use bascule_engine::intake::moves::{self, Target};
use bascule_engine::intake::policy;
use bascule_engine::intake::read::{File, Revision};
use bascule_sim::scenario::file::{self, FASTEST_WRITES, SLOWEST_WRITES, Said};
use bascule_sim::scenario::{
    Event, Scenario, USUAL_TIME, WRITES_EVERY, What, head, kind, length, play, word,
};
use clap::Args;
use serde_json::{Value, json};

use self::asked::Asking;
use crate::given::{self, wrong};
use crate::telling::{Output, print};

/// The exit code when a promise was broken.
const BROKEN: u8 = 2;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
The rules are the operator's and the guard's own, in a world in virtual time: clusters, databases, DNS, git, an arbiter \
in three places, clients that write and remember. The same arguments give the same bytes. What the world does not have \
of your policy is named under \"not simulated\".

Without --fail, --switch-to, --move and --scenario the initial site loses power at 10s.

TIME counts from the moment everything is steady. Without +DURATION a fault lasts for good.

--why prints what `bascule why` would print against the cluster of that site at that moment, by the same \
code: why it has not taken the role yet, and what would change that. Asking changes nothing of what happens, nor the \
exit code.

Exit codes: 0 the policy's promises were held (maxDataLoss, the time to recover, a switchover without loss), 2 one was \
broken (the table at the end says which, with numbers), 1 there is no answer (the error says why).

JSON (-o json): one policy is one object, several are {\"policies\": [...]}; docs/simulate.md has the fields and the \
form of a scenario file.

Examples:
  bascule simulate shop.yaml                                  the initial site dies
  bascule simulate shop.yaml --fail site=paris@10s+20s        and comes back after 20 seconds
  bascule simulate shop.yaml --fail link@5s+1m --fail database=paris@20s
  bascule simulate shop.yaml --switch-to lyon                 a planned switchover
  bascule simulate shop.yaml --fail site=paris@5s --move failover.yaml@20s
  bascule simulate shop.yaml --why lyon@25s                   what lyon waits for 15 seconds later
  bascule simulate --list-faults";

/// What is asked.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The file with your FailoverPolicy, as in git; it may hold several, and Moves, which are merged at 10s.
    #[arg(value_name = "POLICY.yaml", required_unless_present = "list_faults")]
    pub file: Option<PathBuf>,

    /// Simulate only the policy with this name; left out: every policy of the file, each alone.
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub policy: Option<String>,

    /// Something goes wrong; may be repeated. For example site=paris@10s, link@5s+30s, git@0s+1m.
    #[arg(long, value_name = "KIND[=SITE]@TIME[+DURATION]")]
    pub fail: Vec<String>,

    /// A planned switchover to this site is merged, at 10s if no time is given; may be repeated.
    #[arg(long, value_name = "SITE[@TIME]")]
    pub switch_to: Vec<String>,

    /// A file with Moves that are merged, at 10s if no time is given; may be repeated.
    #[arg(long = "move", value_name = "FILE[@TIME]")]
    pub moves: Vec<String>,

    /// Ask `bascule why` at this moment, at this site or, if none is named, at each; may be repeated.
    #[arg(long, value_name = "[SITE@]TIME")]
    pub why: Vec<String>,

    /// A file that says what happens; the options here are added to it, and win over it.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// The timing profile of the installation: metro, region, wan or conservative. [default: wan]
    #[arg(long)]
    pub profile: Option<String>,

    /// The seed of all chance. [default: 1]
    #[arg(long, allow_hyphen_values = true, value_parser = seed)]
    pub seed: Option<u64>,

    /// How long it is watched from the moment everything is steady; left out: until nothing more happens.
    #[arg(long = "for", value_name = "DURATION", allow_hyphen_values = true)]
    pub lasts: Option<String>,

    /// How often a client writes, 5ms to 5s. [default: 50ms]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub writes_every: Option<String>,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,

    /// Print every kind of fault with what it means.
    #[arg(long)]
    pub list_faults: bool,
}

/// A policy with what happens to it.
struct Case {
    policy: Policy,
    scenario: Scenario,
}

/// The number after `--seed`.
fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// Simulates and prints; the exit code says whether the promises were held.
pub fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    if args.list_faults {
        print(&kind::list())?;
        return Ok(ExitCode::SUCCESS);
    }
    let cases = cases(args)?;
    let several = cases.len() > 1;
    let (mut held, mut told) = (true, Vec::new());
    for (i, case) in cases.iter().enumerate() {
        if args.output == Output::Text {
            print(if i > 0 { "\n\n" } else { "" })?;
            print(&head(&case.policy, &case.scenario))?;
        }
        let mut asking = Asking::of(&case.policy.key);
        let played = play(&case.policy, &case.scenario, &mut asking);
        asking.ends();
        let played = played.with_context(|| case.policy.key.to_string())?;
        held &= played.held();
        match args.output {
            Output::Text => print(&[played.text(), asking.text(), played.verdict()].concat())?,
            Output::Json => {
                let mut one = played.json();
                one["why"] = asking.json()?;
                told.push(one);
            }
        }
    }
    if args.output == Output::Json {
        let value = match told.pop() {
            Some(one) if !several => one,
            last => {
                told.extend(last);
                json!({ "policies": told })
            }
        };
        print(&json_text(&value)?)?;
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
}

fn json_text(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("the answer as JSON")? + "\n")
}

/// Every policy that is asked for, with its scenario.
fn cases(args: &SimulateArgs) -> anyhow::Result<Vec<Case>> {
    let path = args.file.as_deref().context("no file with a FailoverPolicy is given")?;
    let bytes = read(path, "a file with a FailoverPolicy")?;
    let mut files = vec![(shown(path), bytes, USUAL_TIME)];
    for text in &args.moves {
        let (file, at) = word::file_at(text);
        let path = Path::new(file);
        if let Some((before, time)) = file.rsplit_once('@').filter(|_| !path.exists())
            && Path::new(before).is_file()
        {
            word::time("the time after @", time).map_err(|why| anyhow!("--move {text}: {why}"))?;
        }
        let bytes = read(path, "--move: a file with Moves")?;
        if files.first().is_some_and(|(_, policy, _)| *policy == bytes) {
            bail!(
                "--move {text}: found the file with the policy again, expected one with Moves, such as examples/move.yaml"
            );
        }
        files.push((shown(path), bytes, at));
    }
    let (namespace, revision) = intake(&files)?;
    let prefix = format!("{namespace}/");
    let only = args.policy.as_deref().map(|only| only.strip_prefix(&prefix).unwrap_or(only));
    let policies = policies(&revision, only, &files[0].0)?;
    let moves = all_moves(&revision, &files, &policies)?;
    let scenario = args
        .scenario
        .as_deref()
        .map(|p| Ok::<_, anyhow::Error>((p, read(p, "--scenario: a scenario file")?)))
        .transpose()?;
    let case = |(policy, labels): (Policy, _)| {
        let mine = moves.iter().filter(|(_, target, _)| target.covers(&policy.key, &labels));
        let mine: Vec<(Duration, Move)> = mine.map(|(at, _, mv)| (*at, mv.clone())).collect();
        let scenario = scenario_for(args, &policy, mine, scenario.as_ref().map(|(p, b)| (*p, b.as_slice())))?;
        Ok(Case { policy, scenario })
    };
    policies.into_iter().map(case).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn read(path: &Path, what: &str) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{what} was expected at {}", path.display()))
}

/// The objects of all files, by the operator's own intake.
fn intake(files: &[(String, Vec<u8>, Duration)]) -> anyhow::Result<(Namespace, Revision)> {
    let given: Vec<File<'_>> = files.iter().map(|(path, bytes, _)| File { path, bytes }).collect();
    let namespace = given::namespace(&given, None, "simulate")?;
    let revision = given::intake(&given, &namespace, "the objects cannot be used")?;
    Ok((namespace, revision))
}

type Labels = std::collections::BTreeMap<String, String>;

fn policies(revision: &Revision, only: Option<&str>, file: &str) -> anyhow::Result<Vec<(Policy, Labels)>> {
    let names: Vec<&str> = revision.policies.keys().map(String::as_str).collect();
    if names.is_empty() {
        bail!("{file}: found no FailoverPolicy, expected at least one");
    }
    if let Some(only) = only.filter(|only| !names.contains(only)) {
        bail!("--policy: found {only:?}, expected one of the policies of {file}: {}", names.join(", "));
    }
    let chosen = revision.policies.iter().filter(|(name, _)| only.is_none_or(|only| only == name.as_str()));
    chosen
        .map(|(name, sourced)| {
            let labels = sourced.object.metadata.labels.clone().unwrap_or_default();
            let mut policy =
                policy::convert(&sourced.object, None).with_context(|| format!("{file}: {name}"))?;
            // A file has no generation; an API server begins with 1.
            policy.generation = policy.generation.max(1);
            Ok((policy, labels))
        })
        .collect()
}

/// Every Move with the time of its file; one that is for none of the policies is a mistake.
fn all_moves(
    revision: &Revision,
    files: &[(String, Vec<u8>, Duration)],
    policies: &[(Policy, Labels)],
) -> anyhow::Result<Vec<(Duration, Target, Move)>> {
    let mut all = Vec::new();
    for (name, sourced) in &revision.moves {
        let place = || format!("{}:{}: Move {name}", sourced.file, sourced.line);
        let command = moves::convert(&sourced.object).with_context(place)?;
        let meant = |key: &PolicyKey, labels: &Labels| command.target.covers(key, labels);
        let everywhere = revision.policies.iter().any(|(policy, object)| {
            let labels = object.object.metadata.labels.clone().unwrap_or_default();
            policies.first().is_some_and(|(first, _)| {
                PolicyKey::new(first.key.namespace.as_str(), policy).is_ok_and(|key| meant(&key, &labels))
            })
        });
        if !everywhere {
            let known: Vec<&str> = revision.policies.keys().map(String::as_str).collect();
            bail!(
                "{}: it is for no policy that was given; expected spec.policyRef.name to be one of {}",
                place(),
                known.join(", ")
            );
        }
        let at = files.iter().find(|(file, ..)| *file == sourced.file).map_or(USUAL_TIME, |(.., at)| *at);
        all.push((at, command.target, command.command));
    }
    Ok(all)
}

fn scenario_for(
    args: &SimulateArgs,
    policy: &Policy,
    moves: Vec<(Duration, Move)>,
    file: Option<(&Path, &[u8])>,
) -> anyhow::Result<Scenario> {
    let sites = &policy.sites;
    let given: Vec<Move> = moves.iter().map(|(_, mv)| mv.clone()).collect();
    let said = match file {
        None => Said::default(),
        Some((path, bytes)) => file::read(&File { path: &shown(path), bytes }, sites, &given)
            .map_err(|problems| wrong("the scenario cannot be used", &problems))?,
    };
    let option = |name: &str, text: &str, parsed: Result<Event, String>| {
        parsed.map_err(|why| anyhow!("{name} {text}: {why}"))
    };
    let mut events = said.events;
    for text in &args.fail {
        events.push(option("--fail", text, word::fault(text, sites))?);
    }
    for text in &args.switch_to {
        events.push(option("--switch-to", text, word::switch(text, sites))?);
    }
    // A Move that the scenario gives a time to is merged then, and only then.
    let timed = |mv: &Move| events.iter().any(|e| matches!(&e.what, What::Move(m) if m.name == mv.name));
    let rest: Vec<Event> = moves
        .into_iter()
        .filter(|(_, mv)| !timed(mv))
        .map(|(at, mv)| Event { at, lasts: None, what: What::Move(Box::new(mv)) })
        .collect();
    events.extend(rest);
    if events.is_empty() && file.is_none() {
        let usual = format!("site={}@10s", policy.initial_site);
        events.push(option("--fail", &usual, word::fault(&usual, sites))?);
    }
    let mut why = said.why;
    for text in &args.why {
        why.push(word::question(text, sites).map_err(|why| anyhow!("--why {text}: {why}"))?);
    }
    let time = |name: &str, text: &Option<String>| {
        text.as_deref().map(|text| word::time(name, text).map_err(|why| anyhow!("{why}"))).transpose()
    };
    let profile = args.profile.as_deref().map(str::parse::<Profile>).transpose().context("--profile")?;
    let writes_every = time("--writes-every", &args.writes_every)?;
    if let Some(found) = writes_every.filter(|d| *d < FASTEST_WRITES) {
        bail!("--writes-every: found {}, expected at least {}", human(found), human(FASTEST_WRITES));
    }
    if let Some(found) = writes_every.filter(|d| *d > SLOWEST_WRITES) {
        bail!(
            "--writes-every: found {}, expected at most {}: outages are told by the writes",
            length(found),
            human(SLOWEST_WRITES)
        );
    }
    let lasts = time("--for", &args.lasts)?.or(said.lasts);
    if let Some((late, end)) = lasts.and_then(|end| Some((why.iter().map(|q| q.at).max()?, end)))
        && late > end
    {
        let (late, end) = (human(late), human(end));
        bail!(
            "`why` is asked at {late}, but only {end} are watched (--for): ask earlier, or watch for longer"
        );
    }
    if let Some((late, end)) = lasts.and_then(|end| Some((events.iter().map(|e| e.at).max()?, end)))
        && late >= end
    {
        let (late, end) = (human(late), human(end));
        bail!(
            "something happens at {late} (--fail, --move or `events`), but only {end} are watched (--for): let it happen earlier, or watch for longer"
        );
    }
    Ok(Scenario {
        profile: profile.or(said.profile).unwrap_or(Profile::Wan),
        seed: args.seed.or(said.seed).unwrap_or(1),
        lasts,
        writes_every: writes_every.or(said.writes_every).unwrap_or(WRITES_EVERY),
        events,
        why,
    })
}
