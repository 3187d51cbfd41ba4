//! What was said on the command line, each word read, and everything that is wrong with them at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use bascule_core::name::{Namespace, PolicyKey, SiteName};
use bascule_core::policy::WorkloadKind;
use bascule_crds::text::{bounds, data_key, folder, fqdn, host, ip, object_name, ref_name, socket, url};

use super::InitArgs;

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// A site and the kubeconfig's context of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// The context.
    pub context: String,
}

/// Where the other sites reach a database's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// A name or an address.
    pub host: String,
    /// Its port; `None`: PostgreSQL's own.
    pub port: Option<u16>,
}

/// A workload, by its kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

/// A key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagKey {
    /// The ConfigMap.
    pub map: String,
    /// The key.
    pub key: String,
}

/// Everything that is known so far of the policy that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The sites, in order of preference.
    pub sites: Vec<Site>,
    /// Where everything is that the policy names.
    pub namespace: Option<Namespace>,
    /// The policy's name.
    pub name: Option<String>,
    /// Who is active first.
    pub initial: Option<SiteName>,
    /// The database's StatefulSet.
    pub database: Option<String>,
    /// Where the other sites reach each server.
    pub reached: BTreeMap<SiteName, Reached>,
    /// What is scaled, or told to be read-only.
    pub workloads: Vec<Named>,
    /// The flag of the workloads.
    pub flag: Option<FlagKey>,
    /// Its value while read-only, and while not.
    pub flag_values: Option<(String, String)>,
    /// The DNS name of users.
    pub dns_name: Option<String>,
    /// Its zone.
    pub dns_zone: Option<String>,
    /// The servers that take updates.
    pub dns_servers: Vec<String>,
    /// The Secret with the servers' key.
    pub dns_key: Option<String>,
    /// Where users reach each site.
    pub addresses: BTreeMap<SiteName, Vec<String>>,
    /// The repository of policies.
    pub git_url: Option<String>,
    /// Its branch.
    pub git_branch: Option<String>,
    /// The folder in it.
    pub git_path: Option<String>,
    /// When a standby is promoted by itself.
    pub promote_after: String,
    /// Where the files go.
    pub out: Option<PathBuf>,
}

impl Options {
    /// Reads everything; an error names all that cannot be used.
    pub fn parse(args: &InitArgs) -> anyhow::Result<Self> {
        let mut wrong = Wrong(Vec::new());
        let mut options =
            Self { promote_after: args.promote_after.clone(), out: args.out.clone(), ..Self::default() };
        for text in &args.site {
            if let Some(site) = wrong.read("--site", text, site(text)) {
                if options.sites.iter().any(|s| s.name == site.name) {
                    wrong
                        .0
                        .push(format!("--site {text}: found {} twice, expected each site once", site.name));
                } else if options.sites.iter().any(|s| s.context == site.context) {
                    wrong.0.push(format!("--site {text}: found the context {} twice, expected a cluster of its own for each site", site.context));
                } else {
                    options.sites.push(site);
                }
            }
        }
        if options.sites.len() > 5 {
            wrong.0.push(format!("--site: found {}, expected two to five", options.sites.len()));
        }
        let names: Vec<SiteName> = options.sites.iter().map(|s| s.name.clone()).collect();
        options.namespace = args.namespace.as_ref().and_then(|t| wrong.read("--namespace", t, namespace(t)));
        options.name = args.name.as_ref().and_then(|t| wrong.read("--name", t, name(t)));
        options.initial =
            args.initial_site.as_ref().and_then(|t| wrong.read("--initial-site", t, of_sites(t, &names)));
        options.database = args.database.as_ref().and_then(|t| wrong.read("--database", t, object(t)));
        for text in &args.replication_host {
            if let Some((site, place)) = wrong.read("--replication-host", text, pair(text, &names, reached)) {
                options.reached.insert(site, place);
            }
        }
        for text in &args.workload {
            if let Some(named) = wrong.read("--workload", text, workload(text)) {
                if options.workloads.contains(&named) {
                    wrong.0.push(format!("--workload {text}: found it twice, expected each workload once"));
                } else {
                    options.workloads.push(named);
                }
            }
        }
        options.flag = args.read_only_flag.as_ref().and_then(|t| wrong.read("--read-only-flag", t, flag(t)));
        options.flag_values =
            args.read_only_values.as_ref().and_then(|t| wrong.read("--read-only-values", t, values(t)));
        options.dns_name = args.dns_name.as_ref().and_then(|t| wrong.read("--dns-name", t, dns_name(t)));
        options.dns_zone = args.dns_zone.as_ref().and_then(|t| wrong.read("--dns-zone", t, dns_name(t)));
        for text in &args.dns_server {
            options.dns_servers.extend(wrong.read("--dns-server", text, server(text)));
        }
        options.dns_key = args.dns_key.as_ref().and_then(|t| wrong.read("--dns-key", t, object(t)));
        for text in &args.address {
            if let Some((site, address)) = wrong.read("--address", text, pair(text, &names, address)) {
                options.addresses.entry(site).or_default().push(address);
            }
        }
        options.git_url = args.git_url.as_ref().and_then(|t| wrong.read("--git-url", "", git_url(t)));
        options.git_branch = args.git_branch.as_ref().and_then(|t| {
            wrong.read("--git-branch", t, ref_name::check(t).map(|()| t.clone()).map_err(|e| e.to_string()))
        });
        options.git_path = args.git_path.as_ref().and_then(|t| {
            wrong.read("--git-path", t, folder::check(t).map(|()| t.clone()).map_err(|e| e.to_string()))
        });
        if let Err(why) = bounds::PROMOTE_AFTER.parse(&args.promote_after) {
            wrong.0.push(format!("--promote-after: {why}"));
        }
        if wrong.0.is_empty() {
            return Ok(options);
        }
        bail!("these options cannot be used; nothing was written:\n  {}", wrong.0.join("\n  "))
    }
}

/// What is wrong so far.
struct Wrong(Vec<String>);

impl Wrong {
    fn read<T>(&mut self, option: &str, text: &str, read: Result<T, String>) -> Option<T> {
        let given = if text.is_empty() { String::new() } else { format!(" {text}") };
        read.map_err(|why| self.0.push(format!("{option}{given}: {why}"))).ok()
    }
}

/// `NAME=CONTEXT`.
pub fn site(text: &str) -> Result<Site, String> {
    match text.split_once('=') {
        Some((name, context)) if !context.is_empty() => {
            let name = SiteName::try_from(name).map_err(|e| e.to_string())?;
            Ok(Site { name, context: context.to_owned() })
        }
        _ => Err(format!("found {text:?}, expected NAME=CONTEXT")),
    }
}

/// A namespace.
pub fn namespace(text: &str) -> Result<Namespace, String> {
    Namespace::try_from(text).map_err(|e| e.to_string())
}

/// A policy's name, which becomes a part of the arbiter's keys.
fn name(text: &str) -> Result<String, String> {
    bascule_crds::text::label::check(text).map_err(|e| e.to_string())?;
    PolicyKey::new("default", text).map(|key| key.name.to_string()).map_err(|e| e.to_string())
}

/// One of the sites.
pub fn of_sites(text: &str, sites: &[SiteName]) -> Result<SiteName, String> {
    let site = SiteName::try_from(text).map_err(|e| e.to_string())?;
    if sites.contains(&site) {
        return Ok(site);
    }
    let known: Vec<&str> = sites.iter().map(SiteName::as_str).collect();
    Err(match known.as_slice() {
        [] => format!("found {text:?}, expected a site that --site names, and there is none"),
        known => format!("found {text:?}, expected one of the sites {}", known.join(", ")),
    })
}

/// `SITE=VALUE`.
fn pair<T>(
    text: &str,
    sites: &[SiteName],
    value: impl Fn(&str) -> Result<T, String>,
) -> Result<(SiteName, T), String> {
    let Some((site, rest)) = text.split_once('=') else {
        return Err(format!("found {text:?}, expected SITE=VALUE"));
    };
    Ok((of_sites(site, sites)?, value(rest)?))
}

/// The name of an object.
pub fn object(text: &str) -> Result<String, String> {
    object_name::check(text).map(|()| text.to_owned()).map_err(|e| e.to_string())
}

/// `HOST`, `HOST:PORT`, or an IPv6 address with a port in brackets.
pub fn reached(text: &str) -> Result<Reached, String> {
    let whole = |host: &str, port: Option<&str>| {
        host::check(host).map_err(|e| e.to_string())?;
        let port = port
            .map(|p| {
                let read = p.parse::<u16>().ok().filter(|p| *p > 0);
                read.ok_or_else(|| format!("found the port {p:?}, expected a number from 1 to 65535"))
            })
            .transpose()?;
        Ok(Reached { host: host.to_owned(), port })
    };
    if text.parse::<std::net::IpAddr>().is_ok() {
        return whole(text, None);
    }
    if let Some((host, port)) = text.strip_prefix('[').and_then(|t| t.split_once("]:")) {
        return whole(host, Some(port));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => whole(host, Some(port)),
        None => whole(text, None),
    }
}

/// `KIND/NAME`.
pub fn workload(text: &str) -> Result<Named, String> {
    let expected = || format!("found {text:?}, expected deployment/NAME or statefulset/NAME");
    let (kind, name) = text.split_once('/').ok_or_else(expected)?;
    let kind = match kind.to_ascii_lowercase().as_str() {
        "deployment" | "deployments" | "deploy" | "deployment.apps" => WorkloadKind::Deployment,
        "statefulset" | "statefulsets" | "sts" | "statefulset.apps" => WorkloadKind::StatefulSet,
        _ => return Err(expected()),
    };
    Ok(Named { kind, name: object(name)? })
}

/// `CONFIGMAP/KEY`.
pub fn flag(text: &str) -> Result<FlagKey, String> {
    let Some((map, key)) = text.split_once('/') else {
        return Err(format!("found {text:?}, expected CONFIGMAP/KEY"));
    };
    data_key::check(key).map_err(|e| e.to_string())?;
    Ok(FlagKey { map: object(map)?, key: key.to_owned() })
}

/// `READONLY,READWRITE`.
pub fn values(text: &str) -> Result<(String, String), String> {
    match text.split_once(',') {
        Some((ro, rw)) if ro != rw && ro.len() <= 256 && rw.len() <= 256 => {
            Ok((ro.to_owned(), rw.to_owned()))
        }
        _ => Err(format!("found {text:?}, expected two different values READONLY,READWRITE such as 1,0")),
    }
}

/// A DNS name; the dot at its end may be left out.
pub fn dns_name(text: &str) -> Result<String, String> {
    let full = if text.ends_with('.') { text.to_owned() } else { format!("{text}.") };
    fqdn::check(&full).map(|()| full).map_err(|e| e.to_string())
}

/// A name server's address; the port may be left out.
pub fn server(text: &str) -> Result<String, String> {
    let full = match text.parse::<std::net::IpAddr>() {
        Ok(address) => std::net::SocketAddr::new(address, DNS_PORT).to_string(),
        Err(_) => text.to_owned(),
    };
    socket::parse(&full).map(|_| full).map_err(|e| e.to_string())
}

/// A site's address.
pub fn address(text: &str) -> Result<String, String> {
    ip::parse(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

/// A repository's address. What was found is not told: it may hold a password.
pub fn git_url(text: &str) -> Result<String, String> {
    url::check(text).map(|()| text.to_owned()).map_err(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_replication_is_a_host_with_or_without_a_port() {
        let place = |text: &str| reached(text).map(|r| (r.host, r.port));
        assert_eq!(place("203.0.113.10"), Ok(("203.0.113.10".to_owned(), None)));
        assert_eq!(place("db.example.org:5433"), Ok(("db.example.org".to_owned(), Some(5433))));
        assert_eq!(place("2001:db8::1"), Ok(("2001:db8::1".to_owned(), None)));
        assert_eq!(place("[2001:db8::1]:5433"), Ok(("2001:db8::1".to_owned(), Some(5433))));
        for wrong in ["", "a b", "db:0", "db:x", "db:70000", "[2001:db8::1]"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_are_read_with_what_may_be_left_out() {
        assert_eq!(dns_name("www.shop.example").unwrap(), "www.shop.example.");
        assert_eq!(server("192.0.2.53").unwrap(), "192.0.2.53:53");
        assert_eq!(server("2001:db8::53").unwrap(), "[2001:db8::53]:53");
        assert_eq!(server("192.0.2.53:5353").unwrap(), "192.0.2.53:5353");
        assert!(server("ns1.example.org").is_err());
        assert_eq!(workload("deploy/web").unwrap().kind, WorkloadKind::Deployment);
        assert_eq!(workload("StatefulSet/db").unwrap().kind, WorkloadKind::StatefulSet);
        assert!(workload("daemonset/x").is_err() && workload("web").is_err());
        assert_eq!(values("1,0").unwrap(), ("1".to_owned(), "0".to_owned()));
        assert!(values("1,1").is_err() && values("1").is_err());
        assert!(flag("web-flags").is_err() && flag("web-flags/READ_ONLY").is_ok());
        assert!(!git_url("https://user:s3cret@git.example.org/x").unwrap_err().contains("s3cret"));
    }
}
