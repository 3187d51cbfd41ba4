//! What the policy says: what was asked for, and what the clusters say of it.

use anyhow::{Context as _, bail};
use bascule_core::name::{Namespace, SiteName};
use bascule_core::policy::WorkloadKind;
use bascule_core::similar::nearest;

use super::look::{Look, opposite, typed};
use super::options::{FlagKey, Named, Options};

/// The port of PostgreSQL.
const POSTGRES: u16 = 5432;
/// More workloads than a policy may have.
const MOST: usize = 99;
/// The longest name of an entry.
const LABEL: usize = 63;

/// Everything that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The policy's name.
    pub name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// The sites with their contexts, in order of preference.
    pub sites: Vec<(SiteName, String)>,
    /// Who is active first.
    pub initial: SiteName,
    /// When a standby is promoted by itself.
    pub promote_after: String,
    /// The database.
    pub database: Option<Database>,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// The DNS name.
    pub traffic: Option<Traffic>,
    /// The repository.
    pub source: Option<Source>,
}

/// A database with its server in each site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Name of the entry.
    pub name: String,
    /// The StatefulSet.
    pub set: String,
    /// The Secret of the operator's role.
    pub secret: String,
    /// The Secret of the role that replicates.
    pub replication_secret: String,
    /// A server for each site.
    pub instances: Vec<Instance>,
}

/// A site's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The site.
    pub site: SiteName,
    /// Where its operator reaches it.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// Whether a Service was seen that leads there.
    pub seen: bool,
    /// Where the other sites reach it.
    pub replication_host: String,
    /// At which port.
    pub replication_port: u16,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Name of the entry.
    pub name: String,
    /// Which one.
    pub named: Named,
    /// How many pods it has in each role.
    pub replicas: Replicas,
    /// How it is told to be read-only.
    pub flag: Option<Flag>,
}

/// Who says how many pods there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// An autoscaler: the policy leaves the number alone.
    Autoscaled(String),
    /// The policy.
    Counted {
        /// While the site is active.
        active: u32,
        /// While it stands by.
        standby: u32,
        /// Where the numbers come from.
        why: String,
    },
}

/// A read-only flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The ConfigMap.
    pub map: String,
    /// The key.
    pub key: String,
    /// Its value while read-only.
    pub read_only: String,
    /// Its value while not.
    pub read_write: String,
    /// Where the values come from.
    pub why: String,
}

/// A DNS name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// The servers that take updates.
    pub servers: Vec<String>,
    /// The Secret of the key.
    pub key: String,
    /// The addresses of each site.
    pub addresses: Vec<(SiteName, Vec<String>)>,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The folder.
    pub path: String,
}

/// Makes the choice. Everything that is needed has been said; what is named has to be in one cluster at least.
pub async fn choose(options: &Options, looks: &mut [Look]) -> anyhow::Result<Choice> {
    let needed = "is missing: found nothing, expected a value; nothing was written";
    let namespace = options.namespace.clone().with_context(|| format!("--namespace {needed}"))?;
    let initial = options.initial.clone().with_context(|| format!("--initial-site {needed}"))?;
    let mut wrong = Vec::new();
    let database =
        options.database.as_ref().and_then(|set| database(set, options, looks, &namespace, &mut wrong));
    let flag = match &options.flag {
        Some(key) => flag(key, options, looks, &namespace, &initial, &mut wrong).await,
        None => None,
    };
    let mut workloads: Vec<Workload> = Vec::new();
    for named in &options.workloads {
        if options.database.as_deref() == Some(named.name.as_str()) && named.kind == WorkloadKind::StatefulSet
        {
            wrong.push(format!(
                "--workload {}: found the database's StatefulSet, expected another one: its guard starts and stops it",
                typed(named)
            ));
            continue;
        }
        let Some(replicas) = replicas(named, looks, &namespace, &initial, &mut wrong) else { continue };
        if let (Replicas::Autoscaled(scaler), None) = (&replicas, &flag) {
            wrong.push(format!(
                "--workload {}: found HorizontalPodAutoscaler {namespace}/{scaler}, which sets its number, and no read-only flag, so that a policy has nothing to do for it; add --read-only-flag CONFIGMAP/KEY, remove the autoscaler, or leave the workload out",
                typed(named)
            ));
            continue;
        }
        let name = entry(named, &workloads);
        workloads.push(Workload { name, named: named.clone(), replicas, flag: flag.clone() });
    }
    if !wrong.is_empty() {
        bail!("this does not fit what the clusters have; nothing was written:\n  {}", wrong.join("\n  "));
    }
    Ok(Choice {
        name: options.name.clone().unwrap_or_else(|| namespace.to_string()),
        namespace,
        sites: options.sites.iter().map(|s| (s.name.clone(), s.context.clone())).collect(),
        initial,
        promote_after: options.promote_after.clone(),
        database,
        workloads,
        traffic: traffic(options)?,
        source: options.git_url.as_ref().map(|url| Source {
            url: url.clone(),
            branch: options.git_branch.clone().unwrap_or_else(|| "main".to_owned()),
            path: options.git_path.clone().unwrap_or_else(|| ".".to_owned()),
        }),
    })
}

fn database(
    set: &str,
    options: &Options,
    looks: &[Look],
    namespace: &Namespace,
    wrong: &mut Vec<String>,
) -> Option<Database> {
    if !looks.iter().any(|l| l.has_set(set)) {
        let known: Vec<&str> = looks.iter().flat_map(Look::sets).collect();
        wrong.push(format!(
            "--database {set}: found no such StatefulSet in namespace {namespace} of any site{}",
            instead(set, known)
        ));
        return None;
    }
    let elsewhere = looks.iter().find_map(|l| l.inside(set));
    let mut instances = Vec::new();
    for site in &options.sites {
        let look = looks.iter().find(|l| l.site == site.name);
        let own = look.and_then(|l| l.inside(set));
        let seen = own.is_some();
        let (service, port) = own.or_else(|| elsewhere.clone()).unwrap_or_else(|| (set.to_owned(), POSTGRES));
        let reached = options.reached.get(&site.name)?;
        instances.push(Instance {
            site: site.name.clone(),
            host: format!("{service}.{namespace}.svc"),
            port,
            seen,
            replication_host: reached.host.clone(),
            replication_port: reached.port.unwrap_or(POSTGRES),
        });
    }
    let name = label(set);
    Some(Database {
        secret: format!("{name}-bascule"),
        replication_secret: format!("{name}-replication"),
        name,
        set: set.to_owned(),
        instances,
    })
}

/// How many pods a workload has in each role: what runs today, so that the policy changes nothing by itself.
fn replicas(
    named: &Named,
    looks: &[Look],
    namespace: &Namespace,
    initial: &SiteName,
    wrong: &mut Vec<String>,
) -> Option<Replicas> {
    let found: Vec<_> = looks.iter().filter_map(|l| Some((&l.site, l.workload_of(named)?))).collect();
    if found.is_empty() {
        let known: Vec<String> = looks.iter().flat_map(|l| l.workloads(None)).map(|w| w.shown()).collect();
        let known = known.iter().map(String::as_str).collect();
        wrong.push(format!(
            "--workload {}: found no such workload in namespace {namespace} of any site{}",
            typed(named),
            instead(&typed(named), known)
        ));
        return None;
    }
    if let Some(scaler) = found.iter().find_map(|(_, w)| w.autoscaler.clone()) {
        return Some(Replicas::Autoscaled(scaler));
    }
    let here = found.iter().find(|(site, _)| *site == initial).map(|(_, w)| w.replicas);
    let others = found.iter().filter(|(site, _)| *site != initial);
    let others: Vec<(&str, u32)> = others.map(|(site, w)| (site.as_str(), w.replicas)).collect();
    Some(numbers(initial.as_str(), here, &others))
}

/// The numbers of today: `here` at the initial site, and at the others where the workload is there.
fn numbers(initial: &str, here: Option<u32>, others: &[(&str, u32)]) -> Replicas {
    let most = others.iter().map(|(_, n)| *n).max();
    let (active, first) = match (here, most) {
        (Some(0), _) => (1, format!("one, for {initial} has none today")),
        (Some(n), _) => (n, format!("as many as {initial} has today")),
        (None, Some(0) | None) => (1, format!("one, for {initial} has no such workload yet")),
        (None, Some(n)) => {
            (n, format!("as many as there are elsewhere, for {initial} has no such workload yet"))
        }
    };
    let names = others.iter().map(|(site, _)| *site).collect::<Vec<_>>().join(" or ");
    let (standby, second) = match most {
        Some(n) if n <= active => (n, format!("as many as {names} has today")),
        Some(n) => (active, format!("not more than active, though {names} has {n} today")),
        None => (active, "the same, for no other site has such a workload yet".to_owned()),
    };
    Replicas::Counted { active, standby, why: format!("active: {first}; standby: {second}") }
}

/// The flag with its values: those that were said, or the one that is there and its opposite.
async fn flag(
    key: &FlagKey,
    options: &Options,
    looks: &mut [Look],
    namespace: &Namespace,
    initial: &SiteName,
    wrong: &mut Vec<String>,
) -> Option<Flag> {
    let of = |read_only: &str, read_write: &str, why: String| Flag {
        map: key.map.clone(),
        key: key.key.clone(),
        read_only: read_only.to_owned(),
        read_write: read_write.to_owned(),
        why,
    };
    if let Some((read_only, read_write)) = &options.flag_values {
        return Some(of(read_only, read_write, "as --read-only-values says".to_owned()));
    }
    let here = looks.iter_mut().find(|l| l.site == *initial)?;
    let Some(value) = here.value(namespace, &key.map, &key.key).await else {
        let why = format!("chosen, for ConfigMap {namespace}/{} of {initial} does not say", key.map);
        return Some(of("1", "0", why));
    };
    if let Some(opposite) = opposite(&value) {
        let why = format!("{initial} writes, and has {value:?} there today");
        return Some(of(opposite, &value, why));
    }
    wrong.push(format!(
        "--read-only-flag {}/{}: found a value at {initial} whose opposite is not known; say both: --read-only-values READONLY,READWRITE",
        key.map, key.key
    ));
    None
}

fn traffic(options: &Options) -> anyhow::Result<Option<Traffic>> {
    let Some(name) = options.dns_name.clone() else { return Ok(None) };
    // The parent is the zone more often than not.
    let parent = name.split_once('.').map(|(_, rest)| rest).filter(|rest| !rest.is_empty());
    let zone = options.dns_zone.clone().or_else(|| parent.map(ToOwned::to_owned));
    let zone =
        zone.with_context(|| format!("--dns-zone is missing: {name} has no parent that could be its zone"))?;
    let addresses = options
        .sites
        .iter()
        .map(|s| (s.name.clone(), options.addresses.get(&s.name).cloned().unwrap_or_default()));
    Ok(Some(Traffic {
        name,
        zone,
        servers: options.dns_servers.clone(),
        key: options.dns_key.clone().unwrap_or_default(),
        addresses: addresses.collect(),
    }))
}

/// A name for an entry, which is a label.
fn label(name: &str) -> String {
    let text = name.replace('.', "-");
    text.get(..LABEL).unwrap_or(&text).trim_end_matches('-').to_owned()
}

/// A name for a workload's entry that no other one has.
fn entry(named: &Named, others: &[Workload]) -> String {
    let taken = |name: &String| others.iter().any(|w| w.name == *name);
    let plain = label(&named.name);
    if !taken(&plain) {
        return plain;
    }
    // Room for a hyphen and a number.
    let short = plain.get(..LABEL - 4).unwrap_or(&plain);
    (2..=MOST).map(|n| format!("{short}-{n}")).find(|n| !taken(n)).unwrap_or_else(|| plain.clone())
}

/// What may have been meant.
fn instead(wanted: &str, mut known: Vec<&str>) -> String {
    known.sort_unstable();
    known.dedup();
    let meant = nearest(wanted, known.iter().copied());
    let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    if known.is_empty() {
        "; there is none at all".to_owned()
    } else {
        format!("{meant}; there is {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_today_and_a_standby_has_no_more_than_the_active_site() {
        for (here, others, active, standby) in [
            (Some(3), &[("lyon", 1)][..], 3, 1),
            (Some(3), &[("lyon", 0)], 3, 0),
            (Some(3), &[("lyon", 5)], 3, 3),
            (Some(3), &[("lyon", 1), ("lille", 2)], 3, 2),
            (Some(3), &[], 3, 3),
            (Some(0), &[("lyon", 0)], 1, 0),
            (Some(0), &[("lyon", 2)], 1, 1),
            (None, &[("lyon", 2)], 2, 2),
            (None, &[("lyon", 0)], 1, 0),
        ] {
            let Replicas::Counted { active: a, standby: s, why } = numbers("paris", here, others) else {
                panic!("an autoscaler was made up")
            };
            assert_eq!((a, s), (active, standby), "{here:?} {others:?}: {why}");
        }
    }

    #[test]
    fn an_entry_has_a_name_of_its_own_that_is_a_label() {
        let named = |kind, name: &str| Named { kind, name: name.to_owned() };
        let of = |named: &Named, name: String| Workload {
            name,
            named: named.clone(),
            replicas: Replicas::Autoscaled("x".to_owned()),
            flag: None,
        };
        let (one, two) = (named(WorkloadKind::Deployment, "a.b"), named(WorkloadKind::StatefulSet, "a.b"));
        let mut all = Vec::new();
        for (named, expected) in [(&one, "a-b"), (&two, "a-b-2")] {
            let name = entry(named, &all);
            assert_eq!(name, expected);
            all.push(of(named, name));
        }
        let long = named(WorkloadKind::Deployment, &"x".repeat(200));
        let first = entry(&long, &[]);
        let second = entry(&long, &[of(&long, first.clone())]);
        for name in [&first, &second] {
            assert!(bascule_crds::text::label::check(name).is_ok(), "{name}");
        }
        assert_ne!(first, second);
    }

    #[test]
    fn what_may_have_been_meant_is_said_with_what_there_is() {
        assert_eq!(instead("mian", vec!["web", "main", "main"]), "; did you mean main?; there is main, web");
        assert_eq!(instead("x", vec![]), "; there is none at all");
    }
}
