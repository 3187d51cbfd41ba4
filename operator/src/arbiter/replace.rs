//! `bascule arbiter replace`: a member whose disk or machine is lost goes, and a new one may come in its place.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bascule_adapters::arbiter::Settings;
use bascule_adapters::arbiter::admin::{Administration, AdministrationError, Peer};
use clap::Args;
use serde::Serialize;

use super::description::{Described, Description, Where};
use super::reach::Reach;
use crate::telling::{Output, print};

/// What `--help` says beyond the options.
pub const MORE: &str = "\
For a member whose disk is lost or damaged, or whose machine has another address now (then first `bascule arbiter init \
--from FOLDER --member …`, and give the new folder here). A member that only was away comes back by itself and needs \
nothing. Stop it and empty its disk first: one that still answers is refused.

The others must be more than half, and answer. Then the old one is taken out, a new one is let in at the peer URL that \
FOLDER has for it, and what is to be done at its place is told. Doing it again goes on where it was.

Exit codes: 0 the new member may start, 1 it may not (the error says why; nothing, or only the removal, was done).

Example:
  bascule arbiter replace arbiter --member third";

/// How long the others may need to be sure of each other: etcd refuses while one of them has been connected for less than
/// five seconds.
const SURE: Duration = Duration::from_secs(15);
/// How often they are asked.
const AGAIN: Duration = Duration::from_secs(1);

/// Who is to be replaced.
#[derive(Debug, Args)]
pub struct ReplaceArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub reach: Reach,

    /// The member that is lost, by its name.
    #[arg(long, value_name = "NAME")]
    pub member: String,

    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    dry_run: bool,
    done: Vec<String>,
    next: Vec<String>,
}

/// Replaces it.
pub async fn run(args: ReplaceArgs) -> anyhow::Result<ExitCode> {
    let about = args.reach.description()?;
    let member = about.member(&args.member)?;
    let deadline = args.reach.deadline()?;
    let mut settings = args.reach.settings()?;
    settings.endpoints.retain(|url| *url != member.client_url);
    let arbiter = Administration::connect(&settings, deadline).await?;
    let listed = arbiter.members().await?;
    let told = match (by_name(&listed, &member.name), by_url(&listed, &member.peer_url)) {
        // Let in, and not started yet.
        (None, Some(new)) if new.name.is_empty() => {
            vec![format!("a new member at {} is let in already and has not started", member.peer_url)]
        }
        (None, Some(other)) => bail!(
            "--member {}: found {} at its peer URL {}, expected nobody or a member of that name: {} says other addresses than the members do; make a folder with the right ones (init --from)",
            member.name,
            other.name,
            member.peer_url,
            super::description::FILE
        ),
        (old, at_url) => {
            let in_already = at_url.is_some_and(|p| p.name.is_empty());
            if let Some(old) = old {
                silent(old, member, &settings, deadline).await?;
                enough(old, &listed, &settings, deadline).await?;
            }
            if args.dry_run {
                would(old, member)
            } else {
                exchange(&arbiter, old, in_already, member).await?
            }
        }
    };
    let told = Told { dry_run: args.dry_run, done: told, next: next(&about, member) };
    print(&match args.output {
        Output::Json => serde_json::to_string_pretty(&told).context("the answer as JSON")? + "\n",
        Output::Text => text(&told),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn by_name<'a>(listed: &'a [Peer], name: &str) -> Option<&'a Peer> {
    listed.iter().find(|p| p.name == name)
}

fn by_url<'a>(listed: &'a [Peer], url: &str) -> Option<&'a Peer> {
    listed.iter().find(|p| p.peer_urls.iter().any(|u| u == url))
}

/// Whether a member answers by itself.
async fn answers(
    urls: &[String],
    settings: &Settings,
    deadline: Duration,
) -> Result<bool, AdministrationError> {
    for url in urls {
        if Administration::to(settings, url, deadline).await?.inside().await.is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses to take out a member that lives.
async fn silent(
    old: &Peer,
    member: &Described,
    settings: &Settings,
    deadline: Duration,
) -> anyhow::Result<()> {
    let mut urls = old.client_urls.clone();
    // The others do not know where one is reached that they have not heard since it was born.
    urls.extend(Some(member.client_url.clone()).filter(|url| !old.client_urls.contains(url)));
    if answers(&urls, settings, deadline).await? {
        bail!(
            "--member {}: it answers at {}, expected one that is lost. Nothing was done; stop it and empty its disk first if it is to be replaced",
            old.name,
            urls.join(" or ")
        );
    }
    Ok(())
}

/// Refuses unless the others are more than half of all, and answer.
async fn enough(old: &Peer, listed: &[Peer], settings: &Settings, deadline: Duration) -> anyhow::Result<()> {
    let mut well = Vec::new();
    for peer in listed.iter().filter(|p| p.id != old.id) {
        if answers(&peer.client_urls, settings, deadline).await? {
            well.push(peer.name.as_str());
        }
    }
    if well.len() * 2 <= listed.len() {
        bail!(
            "--member {}: of the others {} of {} answer ({}), expected more than half of all {}. Nothing was done; bring the others back first",
            old.name,
            well.len(),
            listed.len() - 1,
            if well.is_empty() { "none".to_owned() } else { well.join(", ") },
            listed.len()
        );
    }
    Ok(())
}

fn would(old: Option<&Peer>, member: &Described) -> Vec<String> {
    let removal = old.map(|old| format!("would take out {} ({:x})", old.name, old.id));
    removal.into_iter().chain([format!("would let a new member in at {}", member.peer_url)]).collect()
}

async fn exchange(
    arbiter: &Administration,
    old: Option<&Peer>,
    in_already: bool,
    member: &Described,
) -> anyhow::Result<Vec<String>> {
    let mut done = Vec::new();
    if let Some(old) = old {
        when_sure(|| arbiter.remove(old)).await.map_err(|e| {
            let so = if e.refusal().is_some() {
                "nothing was done"
            } else {
                "whether the old member was taken out is not known; give the same command again, it goes on where it was"
            };
            anyhow::Error::new(e).context(so)
        })?;
        done.push(format!("took out {} ({:x})", old.name, old.id));
    }
    if in_already {
        return Ok(done);
    }
    when_sure(|| arbiter.add(&member.peer_url)).await.map_err(|e| {
        let so = if e.refusal().is_some() {
            "the old member is out, the new one is not in yet; when the reason is gone, give the same command again"
        } else {
            "the old member is out, whether the new one is let in is not known; give the same command again"
        };
        anyhow::Error::new(e).context(so)
    })?;
    done.push(format!("let a new member in at {}", member.peer_url));
    Ok(done)
}

/// Repeats what the others refuse while they are not sure of each other: a refusal has no effect.
async fn when_sure<F>(ask: impl Fn() -> F) -> Result<(), AdministrationError>
where
    F: Future<Output = Result<(), AdministrationError>>,
{
    let until = Instant::now() + SURE;
    loop {
        match ask().await {
            Err(e)
                if e.refusal().is_some_and(|why| why.contains("unhealthy cluster"))
                    && Instant::now() < until =>
            {
                tokio::time::sleep(AGAIN).await;
            }
            other => return other,
        }
    }
}

fn next(about: &Description, member: &Described) -> Vec<String> {
    let name = &member.name;
    match member.runs {
        Where::Cluster => vec![
            format!("with the kubeconfig of the cluster of {name}, with an empty disk (the claim of the old member is deleted):"),
            "helm uninstall bascule-arbiter -n bascule-arbiter; kubectl -n bascule-arbiter delete pvc data-bascule-arbiter-0".to_owned(),
            format!("helm install bascule-arbiter charts/bascule-arbiter -n bascule-arbiter -f members/{name}/values.yaml --set cluster.state=existing"),
        ],
        Where::Machine => vec![
            format!("on the machine {}, after install.txt has been followed as far as systemctl where it is a new one:", member.host),
            "systemctl stop bascule-arbiter; rm -rf /var/lib/bascule-arbiter/data".to_owned(),
            "sed -i 's/^initial-cluster-state: .*/initial-cluster-state: existing/' /etc/bascule-arbiter/etcd.yaml".to_owned(),
            "systemctl start bascule-arbiter".to_owned(),
        ],
    }
    .into_iter()
    .chain([format!(
        "it is one of {} again when this names it as one that answers: bascule check --arbiter-endpoints {} …",
        about.members.len(),
        about.endpoints(None).join(",")
    )])
    .collect()
}

fn text(told: &Told) -> String {
    let mut lines = told.done.clone();
    if told.dry_run {
        lines.insert(0, "Dry run: nothing was done.".to_owned());
    }
    lines.push("\nNext:".to_owned());
    lines.extend(told.next.iter().map(|l| format!("  {l}")));
    lines.join("\n") + "\n"
}
