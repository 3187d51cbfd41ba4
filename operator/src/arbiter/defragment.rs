//! `bascule arbiter defragment`: gives the space back that the stores do not use, the leader's last.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bascule_adapters::arbiter::admin::{Administration, Inside};
use clap::Args;
use serde::Serialize;

use super::reach::Reach;
use crate::telling::{Output, print};

/// What `--help` says beyond the options.
pub const MORE: &str = "\
A store's file keeps the size that it once had; what was overwritten and thrown away since is used again, so this is seldom \
needed. Look at it when `used` is far below `on disk` and that nears the quota.

A member answers nobody while it is defragmented. So one comes after the other, the leader last, and the next only when the \
one before answers again; it begins only when all of them answer.

Exit codes: 0 done, 1 not, or not all (the error says which).

Examples:
  bascule arbiter defragment arbiter
  bascule arbiter defragment --endpoints https://127.0.0.1:2379 --certificates maintenance     one member";

/// How long one member's store may take: a gigabyte takes about ten seconds on a slow disk, and more than that is none.
const DEADLINE: Duration = Duration::from_mins(2);
/// How long a member may take to answer afterwards.
const BACK: Duration = Duration::from_secs(30);

/// What is to be defragmented.
#[derive(Debug, Args)]
pub struct DefragmentArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub reach: Reach,

    /// Only say how large each member's store is, and how much of it is used.
    #[arg(long)]
    pub dry_run: bool,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One {
    endpoint: String,
    leader: bool,
    bytes_before: i64,
    bytes_after: i64,
    bytes_used: i64,
    bytes_quota: i64,
    /// Whether it had said that its store is full, and whether that was taken back.
    was_full: bool,
    not_full: bool,
}

/// A store is not full any more when this many hundredths of its quota are not exceeded.
const WELL_BELOW: i64 = 90;

/// One member, and what it said before.
struct Member {
    asked: Administration,
    before: Inside,
}

/// Does it.
pub async fn run(args: DefragmentArgs) -> anyhow::Result<ExitCode> {
    let settings = args.reach.settings()?;
    let deadline = args.reach.deadline()?;
    let mut members = Vec::new();
    for endpoint in &settings.endpoints {
        let asked = Administration::to(&settings, endpoint, deadline).await?;
        let before = asked
            .inside()
            .await
            .context("nothing was done, for all members have to answer before one of them stops answering")?;
        if before.leader.is_none() {
            bail!(
                "{endpoint}: it sees no leader, expected one. Nothing was done; see to the other members first"
            );
        }
        members.push(Member { asked, before });
    }
    members.sort_by_key(|m| m.before.leader == Some(m.before.id));
    let mut all = Vec::new();
    for member in &members {
        let endpoint = member.asked.endpoint().to_owned();
        let was_full = member.asked.full().await?.contains(&member.before.id);
        let (after, not_full) = if args.dry_run {
            (member.before.bytes, false)
        } else {
            member.asked.defragment(DEADLINE).await.context("the members after it were left alone")?;
            let now = back(member).await?;
            let well = now.quota > 0 && now.bytes * 100 <= now.quota * WELL_BELOW;
            if was_full && well {
                member.asked.not_full(now.id).await?;
            }
            (now.bytes, was_full && well)
        };
        all.push(One {
            endpoint,
            leader: member.before.leader == Some(member.before.id),
            bytes_before: member.before.bytes,
            bytes_after: after,
            bytes_used: member.before.used,
            bytes_quota: member.before.quota,
            was_full,
            not_full,
        });
    }
    print(&match args.output {
        Output::Json => serde_json::to_string_pretty(&all).context("the answer as JSON")? + "\n",
        Output::Text => text(&all, args.dry_run),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until it answers again and sees a leader.
async fn back(member: &Member) -> anyhow::Result<Inside> {
    let until = tokio::time::Instant::now() + BACK;
    loop {
        match member.asked.inside().await {
            Ok(inside) if inside.leader.is_some() => return Ok(inside),
            Ok(_) if tokio::time::Instant::now() >= until => bail!(
                "{}: it sees no leader {BACK:?} after it was defragmented, expected one; the members after it were left alone",
                member.asked.endpoint()
            ),
            Err(e) if tokio::time::Instant::now() >= until => {
                return Err(e).context(
                    "it does not answer after it was defragmented; the members after it were left alone",
                );
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn text(all: &[One], dry_run: bool) -> String {
    let size = |bytes: i64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let mut rows =
        vec![crate::table::row(["MEMBER", "ON DISK", "USED", "QUOTA", if dry_run { "" } else { "NOW" }])];
    for one in all {
        let leader = if one.leader { " (leader)" } else { "" };
        let quota = if one.bytes_quota > 0 { size(one.bytes_quota) } else { "unknown".to_owned() };
        rows.push([
            format!("{}{leader}", one.endpoint),
            size(one.bytes_before),
            size(one.bytes_used),
            quota,
            if dry_run { String::new() } else { size(one.bytes_after) },
        ]);
    }
    let mut lines = crate::table::lines(&rows);
    lines.extend(all.iter().filter(|m| m.was_full).map(|m| {
        if m.not_full {
            format!("{} was full and takes writes again", m.endpoint)
        } else {
            format!(
                "{} is full: no member takes a write; raise its quota (store.quotaBytes, or quota-backend-bytes in etcd.yaml), start it anew, and give this command again",
                m.endpoint
            )
        }
    }));
    lines.join("\n") + "\n"
}
