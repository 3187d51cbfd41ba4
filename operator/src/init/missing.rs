//! What has to be said and was not: all of it, so that nobody comes back five times.

use bascule_core::name::SiteName;

use super::look::Look;
use super::options::Options;

/// Each thing that is missing: the option, what it is, and what there is to choose from.
pub fn list(options: &Options, looks: &[Look], contexts: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    let sites: Vec<&SiteName> = options.sites.iter().map(|s| &s.name).collect();
    if sites.len() < 2 {
        let known = if contexts.is_empty() {
            "the kubeconfig has no context".to_owned()
        } else {
            format!("the kubeconfig has {}", contexts.join(", "))
        };
        all.push(format!(
            "--site NAME=CONTEXT: found {}, expected one for each of at least two sites; {known}",
            sites.len()
        ));
    }
    if options.namespace.is_none() {
        all.push("--namespace NAMESPACE: where the application is, the same in every site".to_owned());
    }
    if options.initial.is_none() {
        let names: Vec<&str> = sites.iter().map(|s| s.as_str()).collect();
        let which = if names.is_empty() { String::new() } else { format!(": one of {}", names.join(", ")) };
        all.push(format!("--initial-site SITE: the site where the data is and that writes first{which}"));
    }
    if options.out.is_none() {
        all.push("--out DIRECTORY: where the files are written".to_owned());
    }
    let nothing = options.database.is_none() && options.workloads.is_empty() && options.dns_name.is_none();
    if nothing {
        all.push(format!(
            "--database STATEFULSET, --workload KIND/NAME or --dns-name NAME: found none, expected at least one, for a policy that does something{}",
            there(looks)
        ));
    }
    database(options, looks, &mut all);
    if options.workloads.is_empty() && (options.flag.is_some() || options.flag_values.is_some()) {
        all.push(format!(
            "--workload KIND/NAME: found a read-only flag and nobody who reads it{}",
            there(looks)
        ));
    }
    if options.flag.is_none() && options.flag_values.is_some() {
        all.push(
            "--read-only-flag CONFIGMAP/KEY: found its values (--read-only-values) and no flag".to_owned(),
        );
    }
    traffic(options, &mut all);
    if options.git_url.is_none() && (options.git_branch.is_some() || options.git_path.is_some()) {
        all.push("--git-url URL: found a branch or a folder and no repository".to_owned());
    }
    all
}

fn database(options: &Options, looks: &[Look], all: &mut Vec<String>) {
    if options.database.is_none() {
        if !options.reached.is_empty() {
            all.push("--database STATEFULSET: found --replication-host and no database".to_owned());
        }
        return;
    }
    for site in options.sites.iter().filter(|s| !options.reached.contains_key(&s.name)) {
        let look = looks.iter().find(|l| l.site == site.name);
        let offered = look.map(|l| l.outside(options.database.as_deref())).unwrap_or_default();
        let offered = match offered.as_slice() {
            [] => String::new(),
            places => format!("; its Services there are reached at {}", places.join(", ")),
        };
        all.push(format!(
            "--replication-host {}=HOST: where the other sites' servers reach the one there, better an address than a name{offered}",
            site.name
        ));
    }
}

fn traffic(options: &Options, all: &mut Vec<String>) {
    let Some(name) = &options.dns_name else {
        let said = [
            (options.dns_zone.is_some(), "--dns-zone"),
            (!options.dns_servers.is_empty(), "--dns-server"),
            (options.dns_key.is_some(), "--dns-key"),
            (!options.addresses.is_empty(), "--address"),
        ];
        let said: Vec<&str> = said.iter().filter(|(is, _)| *is).map(|(_, option)| *option).collect();
        if !said.is_empty() {
            all.push(format!("--dns-name NAME: found {} and no name that users ask for", said.join(", ")));
        }
        return;
    };
    if options.dns_servers.is_empty() {
        all.push(format!(
            "--dns-server ADDRESS: a server that takes updates of {name}; at least one must outlive either site"
        ));
    }
    if options.dns_key.is_none() {
        all.push("--dns-key SECRET: the name of the Secret with the TSIG key that signs updates".to_owned());
    }
    for site in options.sites.iter().filter(|s| !options.addresses.contains_key(&s.name)) {
        all.push(format!("--address {}=IP: where users reach {name} there", site.name));
    }
}

/// What the clusters have that may be meant.
fn there(looks: &[Look]) -> String {
    let mut databases: Vec<&str> = looks.iter().flat_map(Look::databases).collect();
    let mut workloads: Vec<String> =
        looks.iter().flat_map(|l| l.workloads(None)).map(|w| w.shown()).collect();
    databases.sort_unstable();
    databases.dedup();
    workloads.sort_unstable();
    workloads.dedup();
    let parts = [
        (!databases.is_empty())
            .then(|| format!("; what looks like PostgreSQL there: {}", databases.join(", "))),
        (!workloads.is_empty()).then(|| format!("; workloads there: {}", workloads.join(", "))),
    ];
    parts.into_iter().flatten().collect()
}
