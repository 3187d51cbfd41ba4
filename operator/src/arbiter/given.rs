//! What a person says of the arbiter: members, sites, profile.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use anyhow::{anyhow, bail};
use bascule_core::name::SiteName;

/// Where clients reach a member, unless another port is given.
pub const CLIENT_PORT: u16 = 2379;
/// Where the other members reach it, unless another port is given.
pub const PEER_PORT: u16 = 2380;

/// One member as it was given: `NAME=HOST[:CLIENT-PORT[:PEER-PORT]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// A DNS name or an address, without brackets.
    pub host: String,
    /// Where clients reach it.
    pub client_port: u16,
    /// Where the other members reach it.
    pub peer_port: u16,
}

impl Member {
    /// Reads one.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong = |what: &str| {
            anyhow!(
                "--member {text:?}: {what}; expected NAME=HOST, NAME=HOST:CLIENT-PORT or NAME=HOST:CLIENT-PORT:PEER-PORT, such as paris=arbiter.paris.example.org or third=203.0.113.7:2379:2380"
            )
        };
        let (name, place) = text.split_once('=').ok_or_else(|| wrong("it has no '='"))?;
        // A member's name is the name of a folder, of a release and part of a user's: the same rule as for sites.
        SiteName::try_from(name).map_err(|_| {
            wrong(&format!("the name {name:?} has other characters than a-z, 0-9 and '-', or too many"))
        })?;
        if place.contains("://") {
            return Err(wrong("it has a URL; the scheme is always https"));
        }
        if place.parse::<Ipv6Addr>().is_ok() {
            return Err(wrong("an IPv6 address stands in brackets, as in [2001:db8::1]"));
        }
        let (host, ports) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(|| wrong("the ']' is missing"))?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong(&format!("{host:?} is not an IPv6 address")))?;
                (host, after.strip_prefix(':').map_or((after.is_empty()).then_some(""), Some))
            }
            None => place.split_once(':').map_or((place, Some("")), |(host, ports)| (host, Some(ports))),
        };
        let ports = ports.ok_or_else(|| wrong("something else than ':' follows ']'"))?;
        if !is_host(host) {
            return Err(wrong(&format!("{host:?} is neither a DNS name nor an address")));
        }
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port >= 1024 => Ok(port),
            _ => Err(wrong(&format!("the port is {text:?}, expected a number from 1024 to 65535"))),
        };
        let (client_port, peer_port) = match ports.split(':').collect::<Vec<_>>().as_slice() {
            [""] => (CLIENT_PORT, PEER_PORT),
            [client] => {
                let client = port(client)?;
                let peer = client.checked_add(1).ok_or_else(|| wrong("no port follows the client port"))?;
                (client, peer)
            }
            [client, peer] => (port(client)?, port(peer)?),
            _ => return Err(wrong("it has more than two ports (an IPv6 address stands in brackets)")),
        };
        if client_port == peer_port {
            return Err(wrong("clients and members need different ports"));
        }
        Ok(Self { name: name.to_owned(), host: host.to_owned(), client_port, peer_port })
    }

    fn url(&self, port: u16) -> String {
        if self.host.contains(':') {
            format!("https://[{}]:{port}", self.host)
        } else {
            format!("https://{}:{port}", self.host)
        }
    }

    /// Where clients reach it.
    pub fn client_url(&self) -> String {
        self.url(self.client_port)
    }

    /// Where the other members reach it.
    pub fn peer_url(&self) -> String {
        self.url(self.peer_port)
    }
}

fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |l: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !l.is_empty() && l.len() <= 63 && l.chars().all(inner) && !l.starts_with('-') && !l.ends_with('-')
    };
    // What ends in a number is a wrong IPv4 address, not a name.
    let number = text.rsplit('.').next().is_some_and(|l| l.chars().all(|c| c.is_ascii_digit()));
    text.len() <= 253 && !number && text.split('.').all(label)
}

/// Three or five members, each once.
pub fn members(given: &[String]) -> anyhow::Result<Vec<Member>> {
    let members = given.iter().map(|text| Member::parse(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
    if !matches!(members.len(), 3 | 5) {
        bail!(
            "--member: found {} ({}), expected three or five, each in a place of its own: with {} the loss of one place {}",
            members.len(),
            if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            members.len(),
            if members.len() < 3 {
                "stops every decision"
            } else {
                "is borne no better than with one member less"
            }
        );
    }
    twice("--member", names.iter().copied())?;
    let urls: Vec<String> = members.iter().flat_map(|m| [m.client_url(), m.peer_url()]).collect();
    twice("--member", urls.iter().map(String::as_str))?;
    Ok(members)
}

/// Two or more sites, each once.
pub fn sites(given: &[String]) -> anyhow::Result<Vec<SiteName>> {
    let sites = given
        .iter()
        .map(|text| SiteName::try_from(text.as_str()).map_err(|e| anyhow!("--site: {e}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if sites.len() < 2 {
        bail!(
            "--site: found {}, expected two or more: the names by which policies call the clusters, as in --site paris --site lyon",
            sites.len()
        );
    }
    twice("--site", sites.iter().map(SiteName::as_str))?;
    Ok(sites)
}

fn twice<'a>(option: &str, all: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for one in all {
        if !seen.insert(one) {
            bail!("{option}: found {one} twice, expected each once; correct one of them");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> (String, String) {
        let member = Member::parse(text).unwrap();
        (member.client_url(), member.peer_url())
    }

    #[test]
    fn a_member_is_a_name_a_host_and_two_ports_that_may_be_left_out() {
        let (client, peer) = urls("paris=arbiter.paris.example.org");
        assert_eq!(client, "https://arbiter.paris.example.org:2379");
        assert_eq!(peer, "https://arbiter.paris.example.org:2380");
        assert_eq!(urls("a=10.0.0.1:30379").1, "https://10.0.0.1:30380");
        assert_eq!(urls("a=10.0.0.1:30379:30500").1, "https://10.0.0.1:30500");
        assert_eq!(urls("a=[2001:db8::1]").0, "https://[2001:db8::1]:2379");
        assert_eq!(urls("a=[2001:db8::1]:4000:4001").1, "https://[2001:db8::1]:4001");
    }

    #[test]
    fn what_is_no_member_is_refused_with_what_was_found_and_how_it_is_written() {
        for (text, word) in [
            ("paris", "no '='"),
            ("Paris=10.0.0.1", "\"Paris\""),
            ("=10.0.0.1", "the name"),
            ("a=", "neither a DNS name"),
            ("a=https://x.example.org", "it has a URL"),
            ("a=10.0.0.300", "neither a DNS name"),
            ("a=10.0.0.1:80", "\"80\""),
            ("a=10.0.0.1:x", "\"x\""),
            ("a=10.0.0.1:2379:2379", "different ports"),
            ("a=10.0.0.1:2379:2380:2381", "more than two"),
            ("a=2001:db8::1", "in brackets"),
            ("a=[2001:db8::1", "']' is missing"),
            ("a=[2001:db8::1]2379", "something else"),
            ("a=[x]", "not an IPv6"),
            ("a=10.0.0.1:65535", "no port follows"),
        ] {
            let why = format!("{:#}", Member::parse(text).unwrap_err());
            assert!(why.contains(word) && why.contains("expected NAME=HOST"), "{text}: {why}");
        }
    }

    #[test]
    fn three_or_five_members_in_places_of_their_own_and_two_sites() {
        let given = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(members(&given(&["a=h1", "b=h2", "c=h3"])).unwrap().len(), 3);
        for (all, word) in [
            (&["a=h1", "b=h2"][..], "stops every decision"),
            (&["a=h1", "b=h2", "c=h3", "d=h4"], "no better"),
            (&["a=h1", "a=h2", "c=h3"], "found a twice"),
            (&["a=h1", "b=h1", "c=h3"], "https://h1:2379 twice"),
        ] {
            let why = format!("{:#}", members(&given(all)).unwrap_err());
            assert!(why.contains("--member") && why.contains(word), "{all:?}: {why}");
        }
        for (all, word) in
            [(&["paris"][..], "found 1"), (&["paris", "paris"], "twice"), (&["P", "q"], "\"P\"")]
        {
            let why = format!("{:#}", sites(&given(all)).unwrap_err());
            assert!(why.contains("--site") && why.contains(word), "{all:?}: {why}");
        }
    }
}
