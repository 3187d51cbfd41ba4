//! `bascule switchover`, `failover`, `hold`, `resume`, `abort`: a person's command as a Move, shown with its evidence
//! before it is made, and followed to its end.
//!
//! | file | question |
//! |---|---|
//! | `asked` | what does a person say? The options |
//! | `make` | which Move is that? |
//! | `evidence` | what is known before, what is expected after, what is at risk? |
//! | `consent` | does the person want it? |
//! | `apply` | how does it get into the cluster, and what becomes of it? |
//! | `propose` | how does it get onto a branch instead? |
//!
//! No rule is applied here: whether a Move is acted on is decided by the operators, and what is expected of them is
//! rehearsed by their own code (`bascule plan`).

mod apply;
pub mod asked;
mod consent;
mod evidence;
mod make;
mod propose;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use bascule_crds::Move;
use jiff::Timestamp;

use self::apply::Followed;
pub use self::asked::{AbortArgs, FailoverArgs, HoldArgs, ResumeArgs, SwitchoverArgs};
use self::asked::{Common, Order};
use self::evidence::Evidence;
use crate::status::{glance, text};
use crate::telling::print;
use crate::why::ask::{Cluster, Wanted};
use crate::why::explain::Seen;

/// The exit code when the Move was made and has not done what was asked, or not yet.
const NOT_DONE: u8 = 2;

/// What `--help` of each of them says beyond the options.
pub const MORE: &str = "\
It shows where the policy stands, what would happen and what is at risk, asks, and makes a Move in that cluster; then it \
follows the Move to its end. For a switchover or a failover what would happen is rehearsed by the operators' own code \
(`bascule plan`), and a Move that they would refuse is not made.

In scripts, where nobody can be asked: --yes. Where data is at risk a person types the policy's name; a script says \
--accept-data-loss NAME.

With --git nothing is made in the cluster: the Move is committed on a new branch of a local clone, for a pull request.

Exit codes: 0 done (with --dry-run: it could be made; with --git: it is on a branch), 2 the Move was made and did not do \
what was asked, or not yet, 1 nothing was made, or it is not known (the error says which).";

/// Shows, asks, makes, follows.
pub async fn run(order: Order, common: Common) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::of(Some(&common.policy), common.namespace.as_deref())?;
    let Wanted::One { namespace, name } = wanted else {
        bail!("POLICY is missing: name the policy, as NAME or NAMESPACE/NAME");
    };
    let cluster = common.access.connect().await?;
    let seen = cluster.one(namespace.as_deref(), &name).await?;
    let now = Timestamp::now();
    let mv = make::of(&order, &common, &seen, now)?;
    let evidence = Box::pin(Evidence::gather(&cluster, &seen, mv, now)).await?;
    print(&evidence.text(&order, now)?)?;
    evidence.refuse(common.git.is_some())?;
    if let Some(directory) = &common.git {
        consent::ask(&common, &order, &evidence)?;
        print(&propose::onto_a_branch(directory, &evidence.mv, &common)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if common.dry_run {
        apply::try_out(&cluster, &evidence.mv).await?;
        print("\nDry run: the API server takes it as it is. Nothing was made.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    if consent::ask(&common, &order, &evidence)? {
        still_the_same(&cluster, &seen, &evidence.mv).await?;
    }
    apply::make(&cluster, &evidence.mv).await?;
    follow(&cluster, &order, &evidence, common.wait).await
}

/// A person takes a while to decide, and meanwhile things go on.
async fn still_the_same(cluster: &Cluster, before: &Seen, mv: &Move) -> anyhow::Result<()> {
    let now = cluster.one(Some(&before.namespace), &before.name).await?;
    let state = |seen: &Seen| {
        let status = seen.status.as_ref().ok().and_then(Option::as_ref);
        status.map(|s| (s.active_site.clone(), s.epoch, s.phase.clone()))
    };
    let words = |seen: &Seen| {
        let (active, epoch, phase) = state(seen).unwrap_or_default();
        let epoch = epoch.map_or_else(|| "?".to_owned(), |e| e.to_string());
        format!("{} active, epoch {epoch}, {}", or_unknown(active), or_unknown(phase))
    };
    if state(&now) == state(before) {
        return Ok(());
    }
    bail!(
        "{}/{}: status: while you decided it went from {:?} to {:?}; expected what was shown before. Nothing was made: look at it again (bascule status {}), then give the {:?} again",
        before.namespace,
        before.name,
        words(before),
        words(&now),
        before.name,
        mv.spec.move_type,
    )
}

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| "unknown".to_owned())
}

async fn follow(
    cluster: &Cluster,
    order: &Order,
    evidence: &Evidence,
    wait: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    let mv = &evidence.mv;
    let name = mv.metadata.name.as_deref().unwrap_or_default();
    let namespace = mv.metadata.namespace.as_deref().unwrap_or_default();
    let wait = wait.unwrap_or(order.usual_wait());
    let again = format!("kubectl get move {name} -n {namespace}");
    let how_long = bascule_core::time::human(wait);
    if wait.is_zero() {
        print(&format!("\nMade: Move {namespace}/{name}. What becomes of it: {again}\n"))?;
        return Ok(ExitCode::from(NOT_DONE));
    }
    print(&format!(
        "\nMade: Move {namespace}/{name}. It is followed for at most {how_long}; Ctrl-C leaves it as it is.\n"
    ))?;
    let followed = apply::follow(cluster, mv, wait).await;
    let (verdict, done) = match &followed {
        Followed::Ended { state, message, done } => (format!("{state}: {message}"), *done),
        Followed::Waits { state, message } => {
            (format!("not over after {how_long}: {state}: {message}\nWhat becomes of it: {again}"), false)
        }
        Followed::Unseen { why } => (
            format!(
                "what becomes of it is not known: {why}\nIt was made and acts by itself; ask later: {again}"
            ),
            false,
        ),
        Followed::Left => (format!("left as it is. What becomes of it: {again}"), false),
    };
    print(&format!("{verdict}\n"))?;
    if matches!(followed, Followed::Ended { .. } | Followed::Waits { .. })
        && let Ok(seen) = cluster.one(Some(namespace), &evidence.policy).await
    {
        let now = Timestamp::now();
        print(&format!("\nAfter:\n{}", text::standing(&glance::of(&seen, now), now)))?;
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(NOT_DONE) })
}

#[cfg(test)]
mod tests;
