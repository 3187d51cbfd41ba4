//! `bascule plan`: what a changed policy or a Move would cause, told before it is merged.
//!
//! | file | question |
//! |---|---|
//! | `files` | what lies in FILE? |
//! | `against` | what is it held against? |
//! | `live` | what does the cluster of a site know? |
//! | `state` | what differs, policy by policy? |
//! | `fields` | which fields of an object? |
//! | `stands` | where does a policy stand before: as told, or as assumed? |
//! | `acts` | what happens, each act at its time? By a rehearsal of the operators' own code |
//! | `act` | what is told of one act: steps, Moves, durations? |
//! | `blockers` | what stands in its way? |
//! | `risk` | which data may be lost? |
//! | `later` | what is different when a site is lost afterwards? |
//! | `unknown` | what was nobody asked about? |
//! | `words` | which real objects are touched, from which value to which? |
//! | `told` | what does a plan say? Its JSON |
//! | `loosens` | does it loosen a bound beside moving a role? |
//! | `text` | how is it read? |
//! | `markdown` | how is it read in a pull request? |

mod act;
mod acts;
mod against;
mod blockers;
mod fields;
pub mod files;
mod later;
mod live;
mod loosens;
mod markdown;
mod risk;
mod stands;
mod state;
pub mod text;
pub mod told;
mod unknown;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bascule_core::name::Namespace;
use bascule_core::timing::Profile;
use bascule_engine::intake::moves::{Command, Target};
use bascule_engine::intake::read::File;
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use self::against::Against;
use self::files::Loaded;
use self::state::{Before, SeenMove, State};
use self::told::{Plan, VERSION};
use crate::given;
use crate::telling::print;
use crate::why::ask::Cluster;

/// The exit code when something changes.
const CHANGES: u8 = 2;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
FILE is what would be merged: a YAML file with policies and Moves, or a directory with some, read as the operator reads \
git. A directory is taken whole: what the state before has and it has not is deleted.

--against says what stands now:
  live        the cluster of your kubeconfig's context: its policies and Moves, what its operator says (epoch, serial, \
phase, what blocks), its workloads. Ask at the site that shall take over: most is known there
  PATH        files from before; with only Moves in FILE: the policies that they are for
  REV         FILE as it is in a git revision (main, HEAD~1, an id) of the repository that holds it; nothing is \
checked out. A path wins over a revision of the same name: write git:REV or ./PATH
  left out    nothing is known: a policy is new, or in force as FILE says when a Move is for it

The plan is made by the operators and guards themselves: their own code is run in a world in virtual time that stands \
as said, the change is merged there, and what they do is told. What nobody was asked about is named under \"Not \
known\", with what is assumed instead. It changes nothing anywhere.

Exit codes: 0 nothing changes, 2 something changes (also when a Move would be refused or would wait: the blockers are \
named), 1 there is no plan (the error says why).

JSON (-o json): docs/plan.md has the fields.

Examples:
  bascule plan shop.yaml --against main                 what this branch changes
  bascule plan shop/ --against live --context lyon      the whole directory, at lyon
  bascule plan move.yaml --against live                 a Move, in the state of now
  bascule plan move.yaml --against shop.yaml            the same without a cluster
  bascule plan policies --git main..HEAD -o markdown    the comment of a pull request: examples/ci
  bascule plan move.yaml --against live -o json | jq '.policies[].acts[].blockers'";

/// What is asked.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The changed files: policies and Moves, or directories with some.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// What stands now: live, a file or directory from before, or a git revision.
    #[arg(long, value_name = "live|PATH|REV")]
    pub against: Option<String>,

    /// Plan as if it were merged at this time, such as 2026-11-28T12:00:00Z; left out: now.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,

    /// The timing profile of the installation: metro, region, wan or conservative. [default: wan]
    #[arg(long)]
    pub profile: Option<String>,

    /// The namespace of objects that name none. [default: default]
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// With --against live: the kubeconfig; left out: $KUBECONFIG, or ~/.kube/config, or in a pod its service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// With --against live: the kubeconfig's context; left out: its current one.
    #[arg(long)]
    pub context: Option<String>,

    /// What a branch changes, such as main..HEAD: FILE as it is in the second revision, against the first.
    #[arg(long, value_name = "BASE..HEAD", conflicts_with_all = ["against", "kubeconfig", "context"])]
    pub git: Option<String>,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Written,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Written {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For people who read a pull request.
    Markdown,
}

/// What holds for every policy of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it is merged.
    pub at: Timestamp,
    /// The timing profile.
    pub profile: Profile,
    /// Somebody said so.
    pub profile_said: bool,
}

/// Plans and prints; the exit code says whether something changes.
pub async fn run(args: PlanArgs) -> anyhow::Result<ExitCode> {
    let asked = asked(&args)?;
    let between = args.git.as_deref().map(against::between).transpose()?;
    let against = match &between {
        Some((base, _)) => Against::Revision(base.clone()),
        None => Against::of(args.against.as_deref())?,
    };
    if against != Against::Live && (args.kubeconfig.is_some() || args.context.is_some()) {
        bail!("--kubeconfig and --context choose the cluster of --against live; add it, or leave them out");
    }
    let otherwise = args.namespace.as_deref().map(Namespace::try_from).transpose().context("--namespace")?;
    let loaded = match &between {
        Some((_, head)) => against::revision(head, args.git.as_deref(), &args.files)?.files,
        None => against::after(&args.files, &against)?,
    };
    let given = match &against {
        Against::Nothing | Against::Live => None,
        Against::Files(path) => Some(against::files(path)?),
        Against::Revision(revision) => Some(against::revision(revision, args.git.as_deref(), &args.files)?),
    };
    let files: Vec<File<'_>> = loaded.iter().map(Loaded::as_file).collect();
    // Where FILE is empty or names no namespace, what it replaces may.
    let own = if given::names_one(&files) { None } else { given.as_ref() };
    let naming = files.iter().copied().chain(own.into_iter().flat_map(|g| g.all().map(Loaded::as_file)));
    let namespace = given::namespace(&naming.collect::<Vec<_>>(), otherwise.as_ref(), "plan")?;
    let after = State::of(given::intake(&files, &namespace, "the objects cannot be used")?)?;
    let before = match given {
        Some(given) => given.before(&after, &namespace)?,
        None => before(&args, &against, &after, &namespace).await?,
    };
    state::expect_something(&after, &before, &loaded)?;
    let (cases, unchanged) = state::cases(&after, &before)?;
    let policies =
        cases.iter().map(|case| acts::plan(case, &before, &asked)).collect::<anyhow::Result<Vec<_>>>()?;
    let plan = Plan {
        version: VERSION,
        changes: !policies.is_empty(),
        against: before.words.clone(),
        policies,
        unchanged,
        notes: acts::renamed(&cases)?,
    };
    match args.output {
        Written::Text => print(&text::whole(&plan))?,
        Written::Json => print(&(serde_json::to_string_pretty(&plan).context("the answer as JSON")? + "\n"))?,
        Written::Markdown => print(&markdown::whole(&plan))?,
    }
    Ok(if plan.changes { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS })
}

/// What a Move would cause in the cluster of a site, as things stand there now.
pub async fn of_move(cluster: &Cluster, command: Command, at: Timestamp) -> anyhow::Result<Plan> {
    let namespace = match &command.target {
        Target::Policy(key) => key.namespace.clone(),
        Target::Labelled { namespace, .. } => namespace.clone(),
    };
    let name = command.command.name.to_string();
    let seen = SeenMove { command, place: format!("Move {name}") };
    let after = State { moves: [(name, seen)].into(), ..State::default() };
    let before = live::read(cluster, &after, &namespace, false).await?;
    let asked = Asked { at, profile: Profile::Wan, profile_said: false };
    let (cases, unchanged) = state::cases(&after, &before)?;
    let policies =
        cases.iter().map(|case| acts::plan(case, &before, &asked)).collect::<anyhow::Result<Vec<_>>>()?;
    let changes = !policies.is_empty();
    Ok(Plan { version: VERSION, changes, against: before.words, policies, unchanged, notes: Vec::new() })
}

fn asked(args: &PlanArgs) -> anyhow::Result<Asked> {
    let at = match &args.at {
        None => Timestamp::now(),
        Some(text) => match text.parse() {
            Ok(at) => at,
            Err(why) => bail!("--at: found {text:?} ({why}), expected a time such as 2026-11-28T12:00:00Z"),
        },
    };
    let profile = args.profile.as_deref().map(str::parse::<Profile>).transpose().context("--profile")?;
    Ok(Asked { at, profile: profile.unwrap_or(Profile::Wan), profile_said: profile.is_some() })
}

/// What no files say.
async fn before(
    args: &PlanArgs,
    against: &Against,
    after: &State,
    namespace: &Namespace,
) -> anyhow::Result<Before> {
    if *against != Against::Live {
        return Ok(Before { words: "nothing (no --against)".to_owned(), cold: true, ..Before::default() });
    }
    let cluster = Cluster::connect(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let whole = args.files.iter().all(|f| f.is_dir());
    live::read(&cluster, after, namespace, whole).await
}
