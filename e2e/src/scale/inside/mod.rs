//! The operator that is measured: the program's own, with everything that a policy acts on simulated beside it.
//!
//! Real: the API server's watches, the intake, the engine, the arbiter's client, status, marks, metrics, the journal's file.
//! Simulated, at the engine's ports: guards and their databases, workloads, DNS.

mod arbiter;
mod servers;
mod site;
mod tally;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use bascule::{OperatorArgs, Parts};
use bascule_core::guard::wire::Timing;
use bascule_core::name::SiteName;
use bascule_core::policy::Policy;
use bascule_core::time::Millis;
use bascule_core::timing::Profile;
use bascule_engine::ports::{Guards, Intent};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use self::arbiter::Counted;
use self::servers::Servers;
use self::site::Simulated;
use self::tally::Tally;

pub use self::tally::{Calls, Moment, Report, When, now_ms};

/// How many questions of guards, and how many wishes of people, may wait, as in the operator itself.
const WAITING: usize = 1024;

/// An operator that is measured.
#[derive(Debug, Args)]
pub struct Inside {
    /// The other site
    #[arg(long)]
    other: String,
    /// What the guards' databases are, for the next process
    #[arg(long)]
    servers: PathBuf,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// What the measuring process asks of it, one JSON value a line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// Answer with the tally, in one line.
    Report,
    /// Begin the tally anew; policies with this cooldown, in seconds, are as they are asked for.
    Begin(u64),
    /// The steps of the policy with this number hang from now on.
    Hang(usize),
    /// The other site has lost its power.
    OtherDied,
    /// Write down what the guards' databases are, for this process will be killed.
    Keep,
}

/// Runs it until its input ends.
pub fn run(inside: Inside) -> Result<ExitCode> {
    let me = SiteName::try_from(inside.operator.site.as_str()).context("--site")?;
    let other = SiteName::try_from(inside.other.as_str()).context("--other")?;
    let profile: Profile = inside.operator.profile.parse().context("--profile")?;
    let servers = inside.servers;
    bascule::operate(inside.operator, move |parts| fit(parts, me, other, profile, &servers))
}

fn fit(parts: Parts, me: SiteName, other: SiteName, profile: Profile, file: &std::path::Path) -> Parts {
    let Parts { mut ports, mut incoming } = parts;
    let tally = Arc::new(Tally::default());
    let (servers, asking) =
        Servers::new(me.clone(), other, Arc::clone(&ports.clock), Arc::clone(&tally), file);
    let timing = profile.timing();
    let timing = Timing { p: timing.period, tq: timing.call, r: timing.holder, f: Millis(0) };
    let (guards_in, guards) = mpsc::channel(WAITING);
    let (met_in, met) = mpsc::unbounded_channel();
    tokio::spawn(asking.run(timing.ask_every(), met, guards_in));
    let (intent_in, intent) = mpsc::channel(WAITING);
    let mut wishes = std::mem::replace(&mut incoming.intent, intent);
    let told = Arc::clone(&tally);
    tokio::spawn(async move {
        while let Some(wish) = wishes.recv().await {
            hear(&wish, &told, &met_in);
            if intent_in.send(wish).await.is_err() {
                return;
            }
        }
    });
    incoming.guards = guards;
    ports.guards = Arc::clone(&servers) as Arc<dyn Guards>;
    ports.arbiter =
        Arc::new(Counted { real: ports.arbiter, tally: Arc::clone(&tally), servers: Arc::clone(&servers) });
    ports.site = Arc::new(Simulated {
        me,
        real: ports.site,
        servers: Arc::clone(&servers),
        tally: Arc::clone(&tally),
    });
    // A thread: it waits for lines and is no part of what is measured.
    std::thread::spawn(move || listen(&tally, &servers));
    Parts { ports, incoming }
}

fn hear(wish: &Intent, tally: &Tally, met: &mpsc::UnboundedSender<Arc<Policy>>) {
    match wish {
        Intent::Policy(policy) => {
            if policy.failover.cooldown.as_secs() == tally.wanted() {
                tally.note(Moment::Told, &policy.key);
            }
            // Nobody listens only at the end.
            let _ = met.send(Arc::new(Policy::clone(policy)));
        }
        Intent::Listed => tally.listed("policies"),
        _ => {}
    }
}

/// Answers until the measuring process goes away, and ends with it.
fn listen(tally: &Tally, servers: &Servers) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Ask::Report) => {
                let Ok(text) = serde_json::to_string(&tally.report()) else { continue };
                let mut out = std::io::stdout().lock();
                // Whoever does not read any more has gone.
                let _ = writeln!(out, "{text}").and_then(|()| out.flush());
            }
            Ok(Ask::Begin(cooldown)) => tally.begin(cooldown),
            Ok(Ask::Hang(policy)) => servers.let_hang(policy),
            Ok(Ask::OtherDied) => servers.other_died(),
            Ok(Ask::Keep) => servers.keep_from_now_on(),
            Err(why) => eprintln!("not understood: {line}: {why}"),
        }
    }
    std::process::exit(0);
}
