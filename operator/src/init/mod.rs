//! `bascule init`: a policy from what the clusters have, written so that a person understands every line.
//!
//! | file | question |
//! |---|---|
//! | `options` | what was said on the command line? |
//! | `contexts` | which clusters does the kubeconfig know? |
//! | `look` | what does a site's cluster have that a policy could name? |
//! | `ask` | what does the person at the terminal say? |
//! | `missing` | what was not said and has to be? |
//! | `choose` | what does the policy say? |
//! | `policy` | how is it written? |
//! | `next` | what does a person do with it: Secrets, operators, git? |
//! | `prove` | does `bascule check` take it, and what is in its way in each site? |
//! | `write` | the files on the disk |

mod ask;
mod choose;
mod contexts;
mod look;
mod missing;
mod next;
mod options;
mod policy;
mod prove;
mod write;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use futures::future::join_all;

use self::ask::Person;
use self::look::Look;
use self::options::{Options, Site};
use self::write::New;
use crate::check::Installation;
use crate::check::live::Asked;
use crate::telling::{aloud, print};
use crate::why::ask::Cluster;

/// How progress calls it.
const ABOUT: &str = "bascule init";
/// The page beside the policy.
const NEXT: &str = "NEXT.md";

/// What `--help` says beyond the options.
pub const MORE: &str = "\
It looks at the clusters of the sites and changes nothing there. On a terminal it asks for what was not said, and offers \
what the clusters have; elsewhere, or with --no-input, it refuses with a list of everything that is missing.

It writes two files into --out: the policy, each line with its meaning, which `bascule check` takes as it is; and NEXT.md \
with the commands that remain: Secrets, operators, git. It never overwrites a file, and neither reads nor writes the value \
of a Secret. What the sites still lack for the policy is told at the end.

Exit codes: 0 written, 1 nothing was written.

Examples:
  bascule init --site paris=paris-admin --site lyon=lyon-admin
  bascule init --site paris=paris-admin --site lyon=lyon-admin --namespace shop --initial-site paris \\
    --database main --replication-host paris=203.0.113.10 --replication-host lyon=198.51.100.10 \\
    --workload deployment/web --read-only-flag web-flags/READ_ONLY \\
    --dns-name www.shop.example --dns-server 192.0.2.53 --dns-key dns-key \\
    --address paris=192.0.2.10 --address lyon=198.51.100.10 --out policies";

/// What is asked.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// A site and the kubeconfig's context of its cluster; once for each site, in order of preference.
    #[arg(long, value_name = "NAME=CONTEXT")]
    pub site: Vec<String>,

    /// The kubeconfig; left out: $KUBECONFIG, or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The application's namespace, the same in every site.
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// The policy's name; left out: the namespace's.
    #[arg(long)]
    pub name: Option<String>,

    /// The site where the data is: it is active first.
    #[arg(long, value_name = "SITE")]
    pub initial_site: Option<String>,

    /// The StatefulSet of the PostgreSQL database, the same name in every site.
    #[arg(long, value_name = "STATEFULSET")]
    pub database: Option<String>,

    /// Where the other sites reach a site's database server, HOST or HOST:PORT; once for each site.
    #[arg(long, value_name = "SITE=HOST")]
    pub replication_host: Vec<String>,

    /// A workload that is scaled or told to be read-only: deployment/NAME or statefulset/NAME; may be repeated.
    #[arg(long, value_name = "KIND/NAME")]
    pub workload: Vec<String>,

    /// The key of a ConfigMap by which the workloads are told to be read-only.
    #[arg(long, value_name = "CONFIGMAP/KEY")]
    pub read_only_flag: Option<String>,

    /// The flag's two values; left out: the one that is there and its opposite, or 1 and 0.
    #[arg(long, value_name = "READONLY,READWRITE")]
    pub read_only_values: Option<String>,

    /// The DNS name that users ask for.
    #[arg(long, value_name = "NAME")]
    pub dns_name: Option<String>,

    /// Its zone; left out: the name without its first part.
    #[arg(long, value_name = "ZONE")]
    pub dns_zone: Option<String>,

    /// A server that takes updates of the zone, ADDRESS or ADDRESS:PORT; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub dns_server: Vec<String>,

    /// The name of the Secret with the TSIG key.
    #[arg(long, value_name = "SECRET")]
    pub dns_key: Option<String>,

    /// Where users reach a site; once for each site, or more often.
    #[arg(long, value_name = "SITE=IP")]
    pub address: Vec<String>,

    /// The git repository that operators read policies from; left out: the policy is applied by hand.
    #[arg(long, value_name = "URL")]
    pub git_url: Option<String>,

    /// Its branch; left out: main.
    #[arg(long, value_name = "BRANCH")]
    pub git_branch: Option<String>,

    /// The folder in it that the policy goes to; left out: the whole repository.
    #[arg(long, value_name = "FOLDER")]
    pub git_path: Option<String>,

    /// How long a standby serves reads before it is promoted by itself; Never: only a person promotes it.
    #[arg(long, value_name = "DURATION", default_value = "Never")]
    pub promote_after: String,

    /// The timing profile of the installation: metro, region, wan or conservative.
    #[arg(long, default_value = "wan")]
    pub profile: String,

    /// The election timeout of the arbiter's members, such as 300ms.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub arbiter_election: String,

    /// Where the files are written.
    #[arg(long, value_name = "DIRECTORY")]
    pub out: Option<PathBuf>,

    /// Ask nothing, as where there is no terminal.
    #[arg(long)]
    pub no_input: bool,
}

/// Looks, asks, writes.
pub async fn run(args: InitArgs) -> anyhow::Result<ExitCode> {
    let installation = Installation::read(&args.profile, &args.arbiter_election)?;
    let mut options = Options::parse(&args)?;
    let contexts = contexts::known(args.kubeconfig.as_deref());
    let terminal = !args.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let (stdin, stderr) = (std::io::stdin(), std::io::stderr());
    let mut looks = if terminal {
        let (mut input, mut output) = (stdin.lock(), stderr.lock());
        let mut person = Person { input: &mut input, output: &mut output };
        ask::sites(&mut options, &contexts, &mut person)?;
        let asking = connect(&args, &options.sites, installation).await?;
        if options.namespace.is_none() {
            let known = match asking.first() {
                // Whoever may not list them may still type one.
                Some((_, asked)) => look::namespaces(asked).await.unwrap_or_default(),
                None => Vec::new(),
            };
            ask::namespace(&mut options, &known, &mut person)?;
        }
        let looks = look(asking, &options).await?;
        ask::rest(&mut options, &looks, &mut person)?;
        looks
    } else {
        unasked(&args, &options, installation, &contexts).await?
    };
    let missing = missing::list(&options, &looks, &contexts);
    if !missing.is_empty() {
        return refuse(&missing, terminal);
    }
    let choice = choose::choose(&options, &mut looks).await?;
    let Some(out) = options.out else { bail!("--out is missing: found nothing, expected a directory") };
    let file = format!("{}.yaml", choice.name);
    write::free(&out, &[file.clone(), NEXT.to_owned()])?;
    let text = policy::text(&choice, &installation.profile.timing());
    let policy = prove::taken(&file, &text, &installation)?;
    let mut secrets = next::Secrets::new();
    for one in &looks {
        let found = one.secrets(&choice.namespace, &next::names(&choice)).await;
        secrets.insert(one.site.clone(), found);
    }
    let waiting = "looking for what the sites still lack".to_owned();
    let left = aloud(ABOUT, prove::left(&policy, &looks), || waiting.clone()).await;
    let page = next::text(&choice, &file, installation.profile, &secrets);
    let written = write::all(&out, &[New { name: file, text }, New { name: NEXT.to_owned(), text: page }])?;
    let paths = written.iter().map(|path| format!("wrote {}\n", path.display()));
    let unseen =
        looks.iter().flat_map(|l| l.unseen.iter().map(|why| format!("not seen in {}: {why}\n", l.site)));
    let told: String = paths.chain(unseen).collect();
    print(&format!("{told}\n{left}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Where nobody can be asked: everything that is missing at once, with what the clusters have to choose from if they say.
async fn unasked(
    args: &InitArgs,
    options: &Options,
    installation: Installation,
    contexts: &[String],
) -> anyhow::Result<Vec<Look>> {
    let without = missing::list(options, &[], contexts);
    let can_look = options.namespace.is_some() && !options.sites.is_empty();
    if without.is_empty() {
        return look(connect(args, &options.sites, installation).await?, options).await;
    }
    if can_look && let Ok(asking) = connect(args, &options.sites, installation).await {
        // Whoever does not answer offers nothing; what is missing is missing all the same.
        if let Ok(looks) = look(asking, options).await {
            return Ok(looks);
        }
    }
    Ok(Vec::new())
}

fn refuse<T>(missing: &[String], terminal: bool) -> anyhow::Result<T> {
    let why = if terminal {
        "the answers are not enough for a policy"
    } else {
        "standard input is not a terminal, or --no-input was said, and nobody can be asked"
    };
    bail!("{why}; nothing was written. What is missing:\n  {}", missing.join("\n  "))
}

/// The connections. Nothing is sent yet.
async fn connect(
    args: &InitArgs,
    sites: &[Site],
    installation: Installation,
) -> anyhow::Result<Vec<(Site, Asked)>> {
    let mut all = Vec::with_capacity(sites.len());
    for site in sites {
        let cluster = Cluster::connect(args.kubeconfig.as_deref(), Some(&site.context)).await?;
        let asked =
            Asked { cluster, namespace: None, site: Some(site.name.clone()), operator: None, installation };
        all.push((site.clone(), asked));
    }
    Ok(all)
}

/// Looks at all clusters at the same time. Every one that cannot be looked at is named.
async fn look(asking: Vec<(Site, Asked)>, options: &Options) -> anyhow::Result<Vec<Look>> {
    let Some(namespace) = &options.namespace else { return Ok(Vec::new()) };
    let waiting = RefCell::new(asking.iter().map(|(s, _)| s.name.to_string()).collect::<BTreeSet<_>>());
    let all = asking.into_iter().map(|(site, asked)| async {
        let name = site.name.to_string();
        let found = look::at(site.name, asked, namespace).await;
        waiting.borrow_mut().remove(&name);
        found.map_err(|why| format!("{name}: {why}"))
    });
    let all = aloud(ABOUT, join_all(all), || {
        format!("waiting for {}", waiting.borrow().iter().cloned().collect::<Vec<_>>().join(", "))
    })
    .await;
    let (mut looks, mut wrong) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            Ok(look) => looks.push(look),
            Err(why) => wrong.push(why),
        }
    }
    for (at, one) in looks.iter().enumerate().filter(|(_, l)| l.uid.is_some()) {
        if let Some(other) = looks.iter().take(at).find(|other| other.uid == one.uid) {
            wrong.push(format!(
                "--site {}: found the cluster of {} again, expected a cluster of its own: both would be lost together",
                one.site, other.site
            ));
        }
    }
    if wrong.is_empty() {
        return Ok(looks);
    }
    bail!(
        "a cluster cannot be looked at, and a policy is made of what is there; nothing was written:\n  {}",
        wrong.join("\n  ")
    )
}
