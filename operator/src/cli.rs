//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::arbiter::ArbiterCommand;
use crate::check::{self, CheckArgs};
use crate::completion::{self, CompletionArgs};
use crate::gather::{self, GatherArgs};
use crate::history::{self, HistoryArgs};
use crate::init::{self, InitArgs};
use crate::logbook::{self, JournalArgs};
use crate::moves::{self, AbortArgs, FailoverArgs, HoldArgs, ResumeArgs, SwitchoverArgs};
use crate::plan::{self, PlanArgs};
use crate::simulate::{self, SimulateArgs};
use crate::status::{self, StatusArgs};
use crate::tree::{self, TreeArgs};
use crate::version::VersionArgs;
use crate::why::{self, WhyArgs};

/// Failover of applications between Kubernetes clusters: databases, traffic and read-only flags.
#[derive(Debug, Parser)]
#[command(name = "bascule", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator of a site.
    Operator(Box<OperatorArgs>),
    /// Run a server under a guard, as the first process of its container.
    #[command(subcommand)]
    Guard(GuardKind),
    /// Say where a policy stands: a sentence first, then every site in one table, then what can be done.
    #[command(after_long_help = status::MORE, after_help = "Exit codes: 0 all is well, 2 something needs attention, 1 no answer. See --help for more.")]
    Status(Box<StatusArgs>),
    /// Move the role between two living sites, losing nothing.
    #[command(after_long_help = moves::MORE, after_help = "Exit codes: 0 done, 2 made and not done, 1 nothing was made. See --help for more.")]
    Switchover(Box<SwitchoverArgs>),
    /// Promote a site although the active one is gone; refused while that lives.
    #[command(after_long_help = moves::MORE, after_help = "Exit codes: 0 done, 2 made and not done, 1 nothing was made. See --help for more.")]
    Failover(Box<FailoverArgs>),
    /// Let nothing begin by itself for a while.
    #[command(after_long_help = moves::MORE, after_help = "Exit codes: 0 done, 2 made and not done, 1 nothing was made. See --help for more.")]
    Hold(Box<HoldArgs>),
    /// End a hold.
    #[command(after_long_help = moves::MORE, after_help = "Exit codes: 0 done, 2 made and not done, 1 nothing was made. See --help for more.")]
    Resume(Box<ResumeArgs>),
    /// Give up a switchover that has not passed its point of no return.
    #[command(after_long_help = moves::MORE, after_help = "Exit codes: 0 done, 2 made and not done, 1 nothing was made. See --help for more.")]
    Abort(Box<AbortArgs>),
    /// Say what stands between now and a takeover, what blocks first, and what would change the answer.
    #[command(after_long_help = why::MORE, after_help = "Exit codes: 0 nothing blocks, 2 something blocks, 1 no answer. See --help for more.")]
    Why(Box<WhyArgs>),
    /// Say what a changed policy or a Move would cause, before it is merged: steps, values, blockers, time, data at risk.
    #[command(after_long_help = plan::MORE, after_help = "Exit codes: 0 nothing changes, 2 something changes, 1 no plan. See --help for more.")]
    Plan(Box<PlanArgs>),
    /// Say what is wrong before it is needed: in a cluster, or in files for the checks of a pull request.
    #[command(after_long_help = check::MORE, after_help = "Exit codes: 0 no error, 2 at least one error, 1 nothing could be checked. See --help for more.")]
    Check(Box<CheckArgs>),
    /// Write a policy from what the clusters have, each line with its meaning; asks on a terminal for what is missing.
    #[command(after_long_help = init::MORE, after_help = "Exit codes: 0 written, 1 nothing was written. See --help for more.")]
    Init(Box<InitArgs>),
    /// Say what would happen to a policy if something goes wrong or a role is moved; needs no cluster.
    #[command(after_long_help = simulate::MORE, after_help = "Exit codes: 0 the policy's promises were held, 2 one was broken, 1 no answer. See --help for more.")]
    Simulate(Box<SimulateArgs>),
    /// Say which site was active when, by what, and what it cost; and what became of Moves.
    #[command(after_long_help = history::MORE)]
    History(Box<HistoryArgs>),
    /// Read journals, also copies of them with every cluster dead: what was done, when and why; --verify: are they whole?
    #[command(after_long_help = logbook::MORE, after_help = "Exit codes: 0 read or whole, 2 not whole, 1 no journal. See --help for more.")]
    Journal(Box<JournalArgs>),
    /// Say what a policy acts on in each site, and what is in the way there.
    #[command(after_long_help = tree::MORE)]
    Tree(Box<TreeArgs>),
    /// Put what is known into one archive for a report of a defect; secrets only as fingerprints.
    #[command(after_long_help = gather::MORE, after_help = "Exit codes: 0 everything is in it, 2 something could not be read, 1 no archive. See --help for more.")]
    Gather(Box<GatherArgs>),
    /// Make the arbiter's certificates and files, set up its users, and care for its members.
    #[command(subcommand)]
    Arbiter(ArbiterCommand),
    /// Say what this program is; with --check, whether a cluster has the same definitions.
    Version(Box<VersionArgs>),
    /// Print what a shell has to know to complete this command line.
    #[command(after_long_help = completion::MORE)]
    Completion(Box<CompletionArgs>),
    /// Fetch a git revision and print it; the operator runs this in a child process that it can kill.
    #[command(hide = true)]
    GitFetch,
}

/// What `guard unlock --help` says besides.
const UNLOCK: &str = "\
It asks nobody: no operator, no arbiter, no cluster. Everything that is known beside the data is printed first, with what \
nobody here can know; without --i-know-no-other-site-writes nothing is changed. Nothing stops a second site from writing \
while a server is unlocked: that site must be off, and stay off.

A primary goes on as a primary, a standby serves reads; --promote makes a primary of it. An empty directory, a version that \
is not known, and a copy that is half rewound are refused, whatever is said. What else was found has to be named:
  --although operator   an operator spoke a moment ago
  --although locked     the guard was told to stay down: its role may have been handed over
  --although strayed    the copy has left the history of the server that it followed

  kubectl exec -n shop main-0 -c postgres -- bascule guard unlock --reason \"…\" --i-know-no-other-site-writes
  kubectl exec -n shop main-0 -c postgres -- bascule guard lock";

/// What a guard can supervise.
#[derive(Debug, Subcommand)]
pub enum GuardKind {
    /// A PostgreSQL server.
    Postgres(Box<bascule_guard::Args>),
    /// Copy this program into a volume, for a container of another image: what an init container does.
    Install {
        /// The folder that the volume is mounted on.
        folder: PathBuf,
    },
    /// Break-glass: run this server without Bascule, until it is given back. In the database's own container.
    #[command(after_long_help = UNLOCK, after_help = "Exit codes: 0 the guard has noted it, 1 refused or not known. See --help for more.")]
    Unlock(bascule_guard::UnlockArgs),
    /// Give a server back that was unlocked: it is stopped cleanly and waits for its role.
    #[command(after_help = "Exit codes: 0 the guard has noted it, 1 nothing to give back or not known.")]
    Lock(bascule_guard::LockArgs),
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The operator's settings. Each has an environment variable of the same name, `BASCULE_…`.
#[derive(Debug, Args)]
pub struct OperatorArgs {
    /// The name of this site: the one name by which policies call it. No two clusters may have the same.
    #[arg(long, env = "BASCULE_SITE")]
    pub site: String,

    /// The kubeconfig of this site's own cluster; left out: the pod's service account.
    #[arg(long, env = "BASCULE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// The namespace that the operator keeps its own objects in.
    #[arg(long, env = "BASCULE_OPERATOR_NAMESPACE", default_value = "bascule-system")]
    pub namespace: String,

    /// The only namespaces whose policies, Moves and sources are seen; left out: all. A policy elsewhere is as if it were
    /// not there.
    #[arg(long, env = "BASCULE_WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE")]
    pub watch_namespaces: Vec<String>,

    /// The arbiter's members, `https://host:port`, the nearest first. Either these or --arbiter-kubeconfig.
    #[arg(long, env = "BASCULE_ARBITER_ENDPOINTS", value_delimiter = ',')]
    pub arbiter_endpoints: Vec<String>,

    /// Who signs the arbiter's certificates (PEM file); with --arbiter-endpoints.
    #[arg(long, env = "BASCULE_ARBITER_CA")]
    pub arbiter_ca: Option<PathBuf>,

    /// This operator's certificate for the arbiter (PEM file); with --arbiter-endpoints.
    #[arg(long, env = "BASCULE_ARBITER_CERT")]
    pub arbiter_cert: Option<PathBuf>,

    /// The key of that certificate (PEM file); with --arbiter-endpoints.
    #[arg(long, env = "BASCULE_ARBITER_KEY")]
    pub arbiter_key: Option<PathBuf>,

    /// Use the API server of a witness as the arbiter, which is then a single point: a kubeconfig with its address, this
    /// site's token, and the namespace of the chart bascule-witness.
    #[arg(long, env = "BASCULE_ARBITER_KUBECONFIG", value_name = "FILE")]
    pub arbiter_kubeconfig: Option<PathBuf>,

    /// Let sites promote by themselves although the arbiter is a single point: then the loss of the witness alone stops the
    /// active databases. The same in all sites.
    #[arg(long, env = "BASCULE_ARBITER_ACCEPT_SINGLE_POINT", default_value_t = false)]
    pub arbiter_accept_single_point: bool,

    /// The election timeout that the arbiter's members run with, or the members of the witness's own store (0s where it has
    /// one). etcd does not tell; it must be said here.
    #[arg(long, env = "BASCULE_ARBITER_ELECTION", default_value = "1s")]
    pub arbiter_election: String,

    /// The arbiter's generation: raised in all sites when its records are made anew.
    #[arg(long, env = "BASCULE_ARBITER_GENERATION", default_value_t = 0)]
    pub arbiter_generation: u64,

    /// The timing profile, the same in all sites: metro, region, wan or conservative.
    #[arg(long, env = "BASCULE_PROFILE", default_value = "wan")]
    pub profile: String,

    /// Where the guards of this site's databases connect.
    #[arg(long, env = "BASCULE_GUARD_LISTEN", default_value = "0.0.0.0:7443")]
    pub guard_listen: SocketAddr,

    /// The directory with ca.crt, tls.crt and tls.key for the guards' connections, as a mounted Secret has them.
    #[arg(long, env = "BASCULE_GUARD_CERTIFICATES")]
    pub guard_certificates: PathBuf,

    /// Where health and metrics are served.
    #[arg(long, env = "BASCULE_HTTP_LISTEN", default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,

    /// Where writes are answered that gateways refuse (`traffic[].httpRoute.refuseWrites`): 503 with `Retry-After`, to
    /// whoever comes. Left out: no gateway is told to refuse any.
    #[arg(long, env = "BASCULE_RESPONDER_LISTEN", value_name = "ADDRESS", requires = "responder_service")]
    pub responder_listen: Option<SocketAddr>,

    /// The Service in the operator's own namespace by which gateways reach that address, as NAME:PORT.
    #[arg(long, env = "BASCULE_RESPONDER_SERVICE", value_name = "NAME:PORT", requires = "responder_listen")]
    pub responder_service: Option<String>,

    /// This replica's IP address, where the site has several replicas of the operator: they reach each other's health port
    /// there. One of them acts at a time, and another takes over. Left out: this operator is the only one of its site.
    #[arg(long, env = "BASCULE_REPLICA_IP")]
    pub replica_ip: Option<IpAddr>,

    /// The directory of the journal, one file a day; left out: the journal goes to the log only.
    #[arg(long, env = "BASCULE_JOURNAL")]
    pub journal: Option<PathBuf>,

    /// For how many days the journal's files are kept.
    #[arg(long, env = "BASCULE_JOURNAL_DAYS", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub journal_days: u32,

    /// Where notices to people lead: a file in YAML or JSON with the channels that policies may name; left out: none.
    #[arg(long, env = "BASCULE_NOTIFICATIONS", value_name = "FILE")]
    pub notifications: Option<PathBuf>,

    /// The directory with the credentials of those channels, one file each, as a mounted Secret has them.
    #[arg(long, env = "BASCULE_NOTIFICATION_SECRETS", value_name = "DIRECTORY", requires = "notifications")]
    pub notification_secrets: Option<PathBuf>,

    /// Where git repositories are kept between fetches; may be emptied at any time.
    #[arg(long, env = "BASCULE_GIT_CACHE", default_value = "/var/cache/bascule")]
    pub git_cache: PathBuf,

    /// Allow file:// URLs in PolicySources: for tests and for a repository on the node.
    #[arg(long, env = "BASCULE_ALLOW_FILE_URLS", default_value_t = false)]
    pub allow_file_urls: bool,

    /// How logs are written.
    #[arg(long, env = "BASCULE_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every page that has commands: name and text.
    fn pages() -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders = vec![root.join("docs")];
        let mut paths = ["README.md", "charts/bascule/README.md", "charts/bascule-arbiter/README.md"]
            .map(|name| root.join(name))
            .to_vec();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "md") {
                    paths.push(path);
                }
            }
        }
        paths.sort();
        paths
            .into_iter()
            .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
            .collect()
    }

    /// The lines of a page's blocks of code, continued ones as one, and the text outside of them. Where a block shows what
    /// a command says, too, its commands are those after a dollar.
    fn blocks_and_prose(page: &str) -> (Vec<String>, String) {
        let (mut lines, mut prose) = (Vec::new(), String::new());
        for (number, part) in page.split("```").enumerate() {
            if number % 2 == 0 {
                prose.push_str(part);
                continue;
            }
            let joined = part.replace("\\\n", " ");
            let dollars: Vec<&str> = joined.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
            let all = if dollars.is_empty() { joined.lines().collect() } else { dollars };
            lines.extend(all.into_iter().map(str::to_owned));
        }
        (lines, prose)
    }

    /// What this program is told in a line for a shell: up to a comment, a pipe or a file.
    fn told(line: &str) -> Vec<String> {
        let mut all = Vec::new();
        for command in line.split("; ") {
            let command = [" # ", " | ", " > "]
                .into_iter()
                .fold(command, |rest, end| rest.split(end).next().unwrap_or(rest));
            // What runs in a container is said after two dashes.
            let begins = std::iter::once(command).chain(command.split_once(" -- ").map(|(_, inside)| inside));
            let own = begins
                .filter_map(|begin| begin.trim().split_once(' '))
                .find(|(program, _)| *program == "bascule" || program.ends_with("/bascule"));
            all.extend(own.map(|(_, words)| words.trim().to_owned()));
        }
        all
    }

    /// As a shell splits it: by blanks, but not within quotes.
    fn parsed(command: &str) -> Result<(), clap::Error> {
        let parts = command.split('"').enumerate();
        let words = parts.flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        Cli::try_parse_from(std::iter::once("bascule".to_owned()).chain(words)).map(drop)
    }

    #[test]
    fn every_command_that_a_page_shows_is_one_that_this_program_takes() {
        let (mut wrong, mut whole, mut named) = (Vec::new(), 0, 0);
        for (page, text) in pages() {
            let (lines, prose) = blocks_and_prose(&text);
            for command in lines.iter().flat_map(|line| told(line.trim())) {
                whole += 1;
                if let Err(why) = parsed(&command) {
                    wrong.push(format!("{page}: bascule {command}: {why}"));
                }
            }
            // Within a sentence it may be the name alone of what is meant.
            let short = [
                ErrorKind::MissingRequiredArgument,
                ErrorKind::MissingSubcommand,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ErrorKind::DisplayHelp,
            ];
            let code = prose.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "));
            for command in code.flat_map(|code| told(&code)) {
                named += 1;
                if let Err(why) = parsed(&command)
                    && !short.contains(&why.kind())
                {
                    wrong.push(format!("{page}: `bascule {command}`: {why}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(whole > 60 && named > 100, "pages are read wrongly: {whole}, {named}");
    }
}
