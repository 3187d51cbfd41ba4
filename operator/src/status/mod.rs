//! `bascule status`: where a policy stands, in a sentence first, then every site in one table, then what can be done.
//!
//! | file | question |
//! |---|---|
//! | `glance` | what does a status say at a glance? Pure |
//! | `next` | which command is next? |
//! | `text` | how is it read? |
//! | `follow` | what changes while somebody looks? |

mod follow;
pub mod glance;
mod next;
pub mod text;

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use self::glance::Glance;
use crate::flags::Which;
use crate::telling::{Output, print};
use crate::why::ask::{Cluster, Wanted};
use crate::why::explain::Seen;

/// The exit code when something is not as it should be.
const ATTENTION: u8 = 2;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
It reads the status that the operator of that cluster's site has written, which tells of all sites. It changes nothing. \
When that cluster is gone, another site's tells the same: --context.

Exit codes: 0 all is well, 2 something needs attention (what `bascule why` calls a blocker), 1 there is no answer (the \
error names who does not answer). With -w: 0 when it is ended by Ctrl-C.

JSON (-o json): one policy is one object, all policies are {\"policies\": [...]}; with -w one line for each change. \
docs/cli.md has the fields.

Examples:
  bascule status                       every policy in a sentence, every site in one table
  bascule status shop                  one policy, with what can be done next
  bascule status shop -w               the same, again whenever something changes
  bascule status shop -o json | jq -r .verdict";

/// What is asked.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which policies, and where.
    #[command(flatten)]
    pub which: Which,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,

    /// Go on, and tell it again whenever something changes.
    #[arg(short, long)]
    pub watch: bool,
}

/// Asks and tells; the exit code says whether something needs attention.
pub async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let wanted = args.which.wanted()?;
    let cluster = args.which.access.connect().await?;
    let asked = Asked { wanted, cluster, typed: typed(&args), output: args.output };
    let seen = asked.read().await?;
    let now = Timestamp::now();
    if args.watch {
        if seen.is_empty() {
            bail!(
                "there is no FailoverPolicy in {}: nothing to follow; make one, or choose another cluster with --context",
                asked.scope()
            );
        }
        follow::follow(&asked, seen).await?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&asked.answer(&seen, now)?)?;
    let all_well = seen.iter().all(|s| !glance::of(s, now).attention);
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
}

/// A question about the status of policies.
pub struct Asked {
    /// Which policies.
    pub wanted: Wanted,
    /// Whom.
    pub cluster: Cluster,
    /// What stands after the name of a policy in a command for it.
    pub typed: String,
    /// How the answer is written.
    pub output: Output,
}

/// The options that lead to the same policy again.
fn typed(args: &StatusArgs) -> String {
    let namespace = args.which.namespace.as_ref().map(|n| format!(" -n {n}")).unwrap_or_default();
    namespace + &args.which.access.typed()
}

/// Every policy, as JSON.
#[derive(Debug, Serialize)]
struct Policies<'a> {
    policies: &'a [Glance],
}

impl Asked {
    async fn read(&self) -> anyhow::Result<Vec<Seen>> {
        Ok(self.cluster.wanted(&self.wanted).await?)
    }

    fn scope(&self) -> String {
        self.cluster.scope(self.wanted.namespace())
    }

    /// What is said of these policies at `now`.
    fn answer(&self, seen: &[Seen], now: Timestamp) -> anyhow::Result<String> {
        let all: Vec<Glance> = seen.iter().map(|s| glance::of(s, now)).collect();
        if self.output == Output::Json {
            let pretty = match (&self.wanted, all.as_slice()) {
                (Wanted::One { .. }, [one]) => serde_json::to_string_pretty(one),
                (_, all) => serde_json::to_string_pretty(&Policies { policies: all }),
            };
            return Ok(pretty.context("the answer as JSON")? + "\n");
        }
        Ok(match all.as_slice() {
            [] => self.cluster.nothing(&self.wanted),
            [one] => text::one(one, &self.named(one, &all), now),
            all => text::all(all, |one| self.named(one, all)),
        })
    }

    /// How a policy is named in a command: as shortly as it can be without meaning another one.
    fn named(&self, one: &Glance, all: &[Glance]) -> String {
        let alone = all.iter().filter(|other| other.name == one.name).count() == 1;
        let everywhere = matches!(self.wanted, Wanted::All { namespace: None } | Wanted::One { .. });
        let told = self.typed.starts_with(" -n ");
        let name = if told || (alone && everywhere) {
            one.name.clone()
        } else {
            format!("{}/{}", one.namespace, one.name)
        };
        name + &self.typed
    }
}

#[cfg(test)]
mod tests;
