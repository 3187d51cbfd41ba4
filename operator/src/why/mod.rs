//! `bascule why`: what stands between now and a takeover, what blocks first, and what would change the answer.
//!
//! | file | question |
//! |---|---|
//! | `explain` | what does a status mean at this moment? Pure; for simulated ones as well |
//! | `judgement` | which condition is as it should be, and what is done about one that is not? |
//! | `text` | how is it read? |
//! | `ask` | what does a live cluster have? |
//! | `beats` | do those live who wrote it? |
//! | `place` | which cluster is asked, with whose credentials? |
//! | `trouble` | why is there no answer, and what is to be done? |

pub mod ask;
pub mod beats;
pub mod explain;
pub mod judgement;
pub mod place;
pub mod text;
pub mod trouble;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use self::explain::{Explanation, explain};
use crate::flags::Which;
use crate::telling::{Output, print};

/// The exit code when something blocks.
const BLOCKED: u8 = 2;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
It reads the status that the operator of that cluster's site has written. It changes nothing and asks no other site. \
Ask at the site that shall take over: why a role does not move is known there.

Exit codes: 0 nothing blocks, 2 something blocks, 1 there is no answer (the error says why, and what to do).

Blocking are: a status that is missing, or that its operator has not vouched for in the last 30 seconds (it writes when \
there is news, and has a heartbeat every 10 seconds), an invalid policy, a gate that is not answered with Yes, and a policy that is stalled, not ready, or that no other site could take. While all is well, gates that only \
ask whether the time has come (such as silence) block nothing; they are marked with ~.

JSON (-o json): one policy is one object, all policies are {\"policies\": [...]}; docs/why.md has the fields.

Examples:
  bascule why                  every policy, one line each
  bascule why shop/shop        one policy: every gate, the first blocker, what would change it
  bascule why shop -n shop --context lyon -o json | jq .firstBlocker

What it would say if a site died is told without a cluster: bascule simulate POLICY.yaml --why TIME";

/// What is asked.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Which policies, and where.
    #[command(flatten)]
    pub which: Which,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Every policy, as JSON.
#[derive(Debug, Serialize)]
struct Policies {
    policies: Vec<Explanation>,
}

/// Asks, explains, prints; the exit code says whether something blocks.
pub async fn run(args: WhyArgs) -> anyhow::Result<ExitCode> {
    if let Some(file) = args.which.policy.as_deref().filter(|p| is_file(p)) {
        return Err(trouble::Trouble::File(file.to_owned()).into());
    }
    let wanted = args.which.wanted()?;
    let cluster = args.which.access.connect().await?;
    let seen = cluster.wanted(&wanted).await?;
    let now = Timestamp::now();
    let all: Vec<Explanation> = seen.iter().map(|s| explain(s, now)).collect();
    let blocks = all.iter().any(|e| e.blocks);
    let text = if let (ask::Wanted::One { .. }, [only]) = (&wanted, all.as_slice()) {
        written(args.output, only, || text::one(only, now))?
    } else {
        let all = Policies { policies: all };
        let words = || match all.policies.as_slice() {
            [] => cluster.nothing(&wanted),
            policies => text::table(policies),
        };
        written(args.output, &all, words)?
    };
    print(&text)?;
    Ok(if blocks { ExitCode::from(BLOCKED) } else { ExitCode::SUCCESS })
}

/// Whether this was meant as the name of a file: a policy's name may look like one, too.
fn is_file(policy: &str) -> bool {
    let path = Path::new(policy);
    path.extension().is_some_and(|e| e == "yaml" || e == "yml") && path.is_file()
}

fn written<T: Serialize>(output: Output, value: &T, text: impl Fn() -> String) -> anyhow::Result<String> {
    Ok(match output {
        Output::Text => text(),
        Output::Json => serde_json::to_string_pretty(value).context("the answer as JSON")? + "\n",
    })
}

#[cfg(test)]
mod tests;
