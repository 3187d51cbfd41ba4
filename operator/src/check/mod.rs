//! `bascule check`: what is wrong before it is needed, in a cluster or in files.
//!
//! | file | question |
//! |---|---|
//! | `codes` | which findings are there, how much does each matter, what is done about it? |
//! | `report` | what was found, what was looked at? Its JSON |
//! | `text` | how is it read? |
//! | `policies` | what can be said of policies and Moves by themselves? Pure |
//! | `files` | what is wrong in files? |
//! | `live` | what is wrong in a cluster? |
//! | `rights` | may the person, and the operator, do what they have to? |
//! | `references` | is everything there that a policy names, and as it must be? |
//! | `names` | would the name servers take a change? |
//! | `routes` | would the routes take a change, and do gateways serve them? |
//! | `arbiter` | do the arbiter's members answer? |
//! | `witness` | does the witness answer, where it is the arbiter, and obey its rules? |
//! | `pre` | what has to hold before anything is installed? |

mod arbiter;
mod codes;
pub mod files;
pub mod live;
pub mod names;
pub mod policies;
mod pre;
pub mod references;
pub mod report;
mod rights;
pub mod routes;
pub mod text;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bascule_core::name::{Namespace, SiteName};
use bascule_core::timing::Profile;
use clap::Args;
use jiff::Timestamp;

use self::report::Report;
use crate::telling::{Output, print};
use crate::why::ask::Cluster;

/// The exit code when something is an error.
const FAILED: u8 = 2;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
Without FILE it looks at the cluster of your kubeconfig's context: definitions, clocks, rights, sources, what the \
operator says, and for each policy everything that it names there: StatefulSets, guards, workloads, flags, Secrets, \
name servers. It changes nothing: writes are tried as dry runs, and name servers are sent updates that cannot take \
effect. Look at every site's cluster.

With FILE no cluster is asked: the files are read as the operator reads git, for the checks of a pull request.

With --pre nothing has to be installed yet: each cluster that --site or --context names is asked whether the chart can be \
installed there, and with --arbiter-endpoints the arbiter whether it is whole, near enough, and has the sites' names free. \
With FILE, too, everything that a policy names in each site is looked at.

Every finding has a stable code; docs/checks.md has a section for each.

Exit codes: 0 no error (warnings are no errors without --strict), 2 at least one error, 1 nothing could be checked.

Examples:
  bascule check                                         this cluster, every policy
  bascule check -n shop --operator bascule-system/bascule
  bascule check --pre --site paris=paris-admin --site lyon=lyon-admin
  bascule check policies/ -o json | jq '.findings[] | select(.severity == \"error\")'
  bascule check --arbiter-endpoints https://10.0.0.1:2379,https://10.0.0.2:2379 --arbiter-ca ca.crt --arbiter-cert tls.crt --arbiter-key tls.key";

/// What is asked.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files with policies and Moves, or directories with some; left out: the cluster.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The namespace; left out: all of them. With FILE: of objects that name none.
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Look in all namespaces, as it does when none is named.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "files"])]
    pub all_namespaces: bool,

    /// Look whether the chart can be installed: nothing of Bascule's has to be there yet.
    #[arg(long, conflicts_with_all = ["operator", "all_namespaces"])]
    pub pre: bool,

    /// The kubeconfig; left out: $KUBECONFIG, or ~/.kube/config, or in a pod its service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context; left out: its current one. With --pre several may be named.
    #[arg(long)]
    pub context: Vec<String>,

    /// The site whose cluster it is; left out: the one that its operator says. With --pre NAME=CONTEXT, once for each site.
    #[arg(long)]
    pub site: Vec<String>,

    /// With --pre: the namespace that the chart is installed into; left out: bascule-system.
    #[arg(long, value_name = "NAMESPACE", requires = "pre")]
    pub release_namespace: Option<String>,

    /// The operator's service account, as NAMESPACE/NAME: its rights are looked at, too.
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "files")]
    pub operator: Option<String>,

    /// The timing profile of the installation: metro, region, wan or conservative.
    #[arg(long, default_value = "wan")]
    pub profile: String,

    /// The election timeout of the arbiter's members, such as 300ms.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub arbiter_election: String,

    /// Ask the arbiter's members, `https://host:port`, where they can be reached from here.
    #[arg(long, value_delimiter = ',', value_name = "URL", requires_all = ["arbiter_ca", "arbiter_cert", "arbiter_key"])]
    pub arbiter_endpoints: Vec<String>,

    /// Who signs the arbiter's certificates (PEM file).
    #[arg(long, value_name = "FILE")]
    pub arbiter_ca: Option<PathBuf>,

    /// A certificate for the arbiter (PEM file).
    #[arg(long, value_name = "FILE")]
    pub arbiter_cert: Option<PathBuf>,

    /// The key of that certificate (PEM file).
    #[arg(long, value_name = "FILE")]
    pub arbiter_key: Option<PathBuf>,

    /// Where the arbiter is a witness: its kubeconfig, as this site's operator has it.
    #[arg(long, value_name = "FILE", conflicts_with = "arbiter_endpoints")]
    pub arbiter_kubeconfig: Option<PathBuf>,

    /// Warnings fail, too.
    #[arg(long)]
    pub strict: bool,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What holds for the whole installation.
#[derive(Clone, Copy, Debug)]
pub struct Installation {
    /// The timing profile.
    pub profile: Profile,
    /// The election timeout of the arbiter's members.
    pub election: Duration,
}

impl Installation {
    /// Reads `--profile` and `--arbiter-election`.
    pub fn read(profile: &str, election: &str) -> anyhow::Result<Self> {
        let profile: Profile = profile.parse().context("--profile")?;
        let election = crate::settings::parse_duration(election).with_context(|| {
            format!("--arbiter-election: found {election:?}, expected a duration like 300ms or 1s")
        })?;
        Ok(Self { profile, election })
    }

    /// Whether its timing holds.
    fn check(&self, report: &mut Report) {
        policies::profile(self.profile, self.election, report);
        report.looked(format!(
            "the timing profile {} with an election timeout of {}",
            self.profile,
            bascule_core::time::human(self.election)
        ));
    }
}

/// The only value of an option that may have several with `--pre`.
fn one<'a>(values: &'a [String], option: &str) -> anyhow::Result<Option<&'a str>> {
    match values {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => bail!(
            "{option}: found {}, expected one: a check looks at one cluster; only with --pre several are named",
            several.join(" and ")
        ),
    }
}

/// Checks and tells; the exit code says whether anything is an error.
pub async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let installation = Installation::read(&args.profile, &args.arbiter_election)?;
    let namespace = args.namespace.as_deref().map(Namespace::try_from).transpose().context("--namespace")?;
    let report = if args.pre {
        pre::check(&args, &installation, namespace.as_ref()).await?
    } else if args.files.is_empty() {
        let site = one(&args.site, "--site")?.map(SiteName::try_from).transpose().context("--site")?;
        let context = one(&args.context, "--context")?;
        let operator = args.operator.as_deref().map(rights::Account::parse).transpose()?;
        let cluster = Cluster::connect(args.kubeconfig.as_deref(), context).await?;
        let asked = live::Asked { cluster, namespace, site, operator, installation };
        let mut report = live::check(&asked, Timestamp::now()).await?;
        if !args.arbiter_endpoints.is_empty() {
            arbiter::check(&args, &installation, &mut report).await?;
        }
        if let Some(kubeconfig) = &args.arbiter_kubeconfig {
            witness::check(kubeconfig, &mut report).await?;
        }
        report
    } else {
        if !args.context.is_empty() || args.kubeconfig.is_some() {
            bail!(
                "--kubeconfig and --context choose a cluster, and with FILE none is asked; leave one of them out, or add --pre"
            );
        }
        if !args.site.is_empty() || !args.arbiter_endpoints.is_empty() || args.arbiter_kubeconfig.is_some() {
            bail!(
                "--site, --arbiter-endpoints and --arbiter-kubeconfig are about what is asked, and with FILE nobody is; leave one of them out, or add --pre"
            );
        }
        files::check(&args.files, namespace.as_ref(), &installation, Timestamp::now())?
    };
    let report = report.finish(args.strict);
    match args.output {
        Output::Text => print(&text::whole(&report))?,
        Output::Json => {
            print(&(serde_json::to_string_pretty(&report).context("the answer as JSON")? + "\n"))?;
        }
    }
    Ok(if report.failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
