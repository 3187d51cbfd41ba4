//! `bascule tree`: a policy, its sites, what it acts on in each, and what is in the way there. Only what is not as it
//! should be is unfolded.

mod branches;

use std::process::ExitCode;

use anyhow::Context as _;
use bascule_crds::FailoverPolicy;
use clap::Args;
use jiff::Timestamp;

use self::branches::Branch;
use crate::flags::Which;
use crate::telling::{Output, print};
use crate::why::ask::{self, Cluster, Wanted};
use crate::why::explain::Seen;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
What is in the way at the site whose cluster is asked is told with its evidence; of another site what its operator has \
told this one. Ask there for more: --context.

Exit codes: 0 told, 1 there is no answer.

Examples:
  bascule tree                    every policy
  bascule tree shop --context lyon";

/// What is asked.
#[derive(Debug, Args)]
pub struct TreeArgs {
    /// Which policies, and where.
    #[command(flatten)]
    pub which: Which,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Asks and tells.
pub async fn run(args: TreeArgs) -> anyhow::Result<ExitCode> {
    let wanted = args.which.wanted()?;
    let cluster = args.which.access.connect().await?;
    let now = Timestamp::now();
    let all = read(&cluster, &wanted, now).await?;
    let text = match (args.output, all.as_slice()) {
        (Output::Json, all) => serde_json::to_string_pretty(all).context("the answer as JSON")? + "\n",
        (Output::Text, []) => cluster.nothing(&wanted),
        (Output::Text, all) => all.iter().map(Branch::text).collect::<Vec<_>>().join("\n"),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The policies, each as its tree.
async fn read(cluster: &Cluster, wanted: &Wanted, now: Timestamp) -> anyhow::Result<Vec<Branch>> {
    let seen = cluster.wanted(wanted).await?;
    let mut namespaces: Vec<&str> = seen.iter().map(|s| s.namespace.as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let mut all = Vec::new();
    for namespace in namespaces {
        let (policies, moves) = cluster.intent(namespace).await?;
        for object in policies {
            let one = ask::seen(object.clone());
            let same = |s: &&Seen| s.namespace == one.namespace && s.name == one.name;
            let Some(beat) = seen.iter().find(same).map(|s| s.beat.clone()) else { continue };
            let one = Seen { beat, ..one };
            let value = serde_json::to_value(object).and_then(serde_json::from_value::<FailoverPolicy>);
            all.push(branches::of(&one, &value.map_err(|why| why.to_string()), &moves, now));
        }
    }
    Ok(all)
}
