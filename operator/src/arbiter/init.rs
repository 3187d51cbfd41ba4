//! `bascule arbiter init`: certificates, and a folder for each member and each site.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bascule_core::name::SiteName;
use bascule_core::timing::Profile;
use clap::Args;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde::Serialize;

use super::authority::Validity;
use super::certificates::{Authorities, Certificates};
use super::description::{Described, Description, FILE, Where};
use super::folder::{self, File};
use super::{cluster, given, machine, site};
use crate::telling::{Output, print};

/// What `--help` says beyond the options.
pub const MORE: &str = "\
It asks nobody and starts nothing: it writes files. In the folder there are then

  arbiter.json       which members and sites there are; nothing in it is secret
  ca/                two authorities: for clients, and for the members among themselves; keep them off line
  admin/             the certificate of the user root, for the other commands of `bascule arbiter`
  members/NAME/      for one member: certificates, and a Secret and values for charts/bascule-arbiter, or with --machine \
etcd's configuration, a systemd unit and the lines that install both
  sites/NAME/        for one site: the operator's Secret and values for charts/bascule, and its guards' Secret

Keys can be read by their owner alone, and a folder that is there is never written to. With --from the authorities of an \
earlier folder sign anew: for a further site, for another address of a member, or before certificates end; members, sites, \
machines and profile that are not given are then those of that folder.

docs/arbiter.md has the way from here to a running arbiter.

Examples:
  bascule arbiter init --member paris=arbiter.paris.example.org --member lyon=arbiter.lyon.example.org \\
      --member third=203.0.113.7 --machine third --site paris --site lyon --out arbiter
  bascule arbiter init --from arbiter --site paris --site lyon --site nice --out arbiter-2";

/// For how long, in days, unless it is said.
const DAYS: i64 = 3650;

/// What is to be made.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// A member, as NAME=HOST, NAME=HOST:CLIENT-PORT or NAME=HOST:CLIENT-PORT:PEER-PORT; three or five times.
    #[arg(long = "member", value_name = "NAME=HOST")]
    pub members: Vec<String>,

    /// A site, by the name that policies use; two times or more.
    #[arg(long = "site", value_name = "NAME")]
    pub sites: Vec<String>,

    /// A member that runs on a machine of its own, under systemd; the others run in clusters, by the chart.
    #[arg(long = "machine", value_name = "NAME")]
    pub machines: Vec<String>,

    /// The timing profile of the installation: metro, region, wan or conservative; left out: wan.
    #[arg(long)]
    pub profile: Option<String>,

    /// The folder that is made.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// Sign with the authorities of this folder, which `init` made before.
    #[arg(long, value_name = "FOLDER")]
    pub from: Option<PathBuf>,

    /// For how many days certificates are valid. On the day when they end nothing is decided any more.
    #[arg(long, value_name = "DAYS", default_value_t = DAYS, value_parser = clap::value_parser!(i64).range(1..=36_500))]
    pub days: i64,

    /// Only say which files would be made.
    #[arg(long)]
    pub dry_run: bool,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What was made, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    folder: &'a Path,
    dry_run: bool,
    arbiter: &'a Description,
    files: Vec<&'a str>,
}

/// Makes it.
pub fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    folder::refuse(&args.out)?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let (about, files) = all(args, today)?;
    if !args.dry_run {
        folder::write(&args.out, &files)?;
    }
    let made = Made {
        folder: &args.out,
        dry_run: args.dry_run,
        arbiter: &about,
        files: files.iter().map(|f| f.path.as_str()).collect(),
    };
    print(&match args.output {
        Output::Json => serde_json::to_string_pretty(&made).context("the answer as JSON")? + "\n",
        Output::Text => text(&made),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The description, and every file.
fn all(args: &InitArgs, today: Date) -> anyhow::Result<(Description, Vec<File>)> {
    let before = args.from.as_deref().map(Description::read).transpose()?;
    // A clock that is a day late takes them all the same.
    let from = today.checked_sub(1.day()).context("--days")?;
    let wanted =
        today.checked_add(args.days.days()).context("--days: so many are out of a calendar's reach")?;
    let (authorities_until, authorities, token) = if let (Some(before), Some(folder)) = (&before, &args.from)
    {
        (still_valid(before, folder, today)?, Authorities::read(folder)?, before.token.clone())
    } else {
        let token = token()?;
        (wanted, Authorities::create(&token, Validity { from, until: wanted })?, token)
    };
    // What a signature of an authority that has ended says, nobody believes.
    let until = wanted.min(authorities_until);
    let about = Description {
        form: Description::form(),
        token,
        profile: profile(args, before.as_ref())?,
        authorities_until: authorities_until.to_string(),
        certificates_until: until.to_string(),
        members: members(args, before.as_ref())?,
        sites: sites(args, before.as_ref())?,
    };
    let certificates = Certificates::issue(&authorities, &about, Validity { from, until })?;
    let mut files = authorities.files();
    files.extend(certificates.root.files("admin"));
    for (number, (member, held)) in about.members.iter().zip(&certificates.members).enumerate() {
        files.extend(match member.runs {
            Where::Cluster => cluster::files(&about, number, held)?,
            Where::Machine => machine::files(&about, member, held)?,
        });
    }
    for (name, (operator, guard)) in about.sites.iter().zip(&certificates.sites) {
        files.extend(site::files(&about, name, operator, guard)?);
    }
    files.push(File::open(FILE, serde_json::to_string_pretty(&about).context(FILE)? + "\n"));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((about, files))
}

/// The day until which the authorities of a folder may sign.
fn still_valid(before: &Description, folder: &Path, today: Date) -> anyhow::Result<Date> {
    let until: Date = before.authorities_until.parse().with_context(|| {
        format!(
            "{}: authoritiesUntil: found {:?}, expected a day such as 2036-11-25; take the file as it was",
            folder.join(FILE).display(),
            before.authorities_until
        )
    })?;
    if until <= today {
        bail!(
            "--from {}: its authorities ended on {until}, expected a day to come: make new ones by init without --from, and give every member and site its new files",
            folder.display()
        );
    }
    Ok(until)
}

fn profile(args: &InitArgs, before: Option<&Description>) -> anyhow::Result<Profile> {
    match (&args.profile, before) {
        (Some(text), _) => text.parse().context("--profile"),
        (None, Some(before)) => Ok(before.profile),
        (None, None) => Ok(Profile::Wan),
    }
}

fn members(args: &InitArgs, before: Option<&Description>) -> anyhow::Result<Vec<Described>> {
    let was = |name: &str| before.and_then(|b| b.members.iter().find(|m| m.name == name));
    let mut members = match before {
        Some(before) if args.members.is_empty() => before.members.clone(),
        _ => given::members(&args.members)?
            .into_iter()
            .map(|m| Described {
                client_url: m.client_url(),
                peer_url: m.peer_url(),
                runs: was(&m.name).map_or(Where::Cluster, |m| m.runs),
                name: m.name,
                host: m.host,
            })
            .collect(),
    };
    if !args.machines.is_empty() {
        for member in &mut members {
            member.runs = if args.machines.contains(&member.name) { Where::Machine } else { Where::Cluster };
        }
    }
    for machine in &args.machines {
        if !members.iter().any(|m| m.name == *machine) {
            let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
            bail!("--machine: found {machine:?}, expected one of the members {}", names.join(", "));
        }
    }
    Ok(members)
}

fn sites(args: &InitArgs, before: Option<&Description>) -> anyhow::Result<Vec<SiteName>> {
    match before {
        Some(before) if args.sites.is_empty() => Ok(before.sites.clone()),
        _ => given::sites(&args.sites),
    }
}

/// A name that no other arbiter has.
fn token() -> anyhow::Result<String> {
    let key = rcgen::KeyPair::generate().context("a key cannot be made")?;
    // A new key is as random as anything here.
    let sum = <sha2::Sha256 as sha2::Digest>::digest(key.public_key_pem());
    Ok(format!("bascule-arbiter-{}", data_encoding::HEXLOWER.encode(sum.get(..4).unwrap_or_default())))
}

fn text(made: &Made<'_>) -> String {
    let (about, folder) = (made.arbiter, made.folder.display());
    let mut lines = Vec::new();
    let names: Vec<&str> = about.members.iter().map(|m| m.name.as_str()).collect();
    let sites: Vec<&str> = about.sites.iter().map(SiteName::as_str).collect();
    let did = if made.dry_run { "Dry run: nothing was made. It would be" } else { "Made" };
    lines.push(format!(
        "{did} {} files in {folder}: an arbiter with the members {} for the sites {} ({}).",
        made.files.len(),
        names.join(", "),
        sites.join(", "),
        about.profile
    ));
    if made.dry_run {
        lines.extend(made.files.iter().map(|f| format!("  {f}")));
        return lines.join("\n") + "\n";
    }
    lines.push(format!(
        "Certificates end on {}: sign anew before (--from). Keep {folder}/ca off line and {folder}/admin for yourself.",
        about.certificates_until
    ));
    lines.push("\nNext, the members, in any order; the first ones wait for the others:".to_owned());
    for member in &about.members {
        let name = &member.name;
        match member.runs {
            Where::Cluster => lines.extend([
                format!("\n  {name}, with the kubeconfig of its cluster:"),
                "    kubectl create namespace bascule-arbiter".to_owned(),
                format!("    kubectl -n bascule-arbiter apply -f {folder}/members/{name}/secret.yaml -f {folder}/members/{name}/maintenance/secret.yaml"),
                format!("    helm install bascule-arbiter charts/bascule-arbiter -n bascule-arbiter -f {folder}/members/{name}/values.yaml"),
            ]),
            Where::Machine => lines.extend([
                format!("\n  {name}, on the machine {}:", member.host),
                format!("    do what {folder}/members/{name}/install.txt says"),
            ]),
        }
    }
    lines.push("\nThen its users, from a machine that reaches a member:".to_owned());
    lines.push(format!("    bascule arbiter setup {folder}"));
    lines.push("\nThen Bascule itself, with the kubeconfig of each site's cluster:".to_owned());
    for site in &about.sites {
        lines.push(format!("    kubectl -n bascule-system apply -f {folder}/sites/{site}/secret.yaml"));
        lines.push(format!(
            "    helm install bascule charts/bascule -n bascule-system -f {folder}/sites/{site}/values.yaml --set guards.secretName=bascule-guards"
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests;
