//! Which servers have to be asked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::time::{Instant, timeout_at};

use super::target::DnsTarget;
use super::wire::{Reply, ask, question};
use bascule_core::observation::Fact;

/// A name server. It may have several addresses; it has answered when one of them has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name in the zone's NS records, when it was found there.
    pub name: Option<String>,
    /// Where it is asked, in this order.
    pub addresses: Vec<SocketAddr>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        match &self.name {
            Some(name) => write!(f, "{name} ({})", addresses.join(", ")),
            None => f.write_str(&addresses.join(", ")),
        }
    }
}

/// The servers that must show a change: those the policy names, or else those that the zone's NS records name.
pub(super) async fn authoritative(target: &DnsTarget, deadline: Instant) -> Fact<Vec<Server>> {
    if target.verify_servers.is_empty() {
        return name_servers(target, deadline).await;
    }
    Fact::now(target.verify_servers.iter().map(|s| Server { name: None, addresses: vec![*s] }).collect())
}

/// The zone's NS records, as the update server has them that first answers as an authority for the zone. All are
/// asked at the same time: a dead one holds nobody up.
pub(super) async fn name_servers(target: &DnsTarget, deadline: Instant) -> Fact<Vec<Server>> {
    let asked = target.update_servers.iter();
    let asked = asked.map(|server| async move { (*server, ns_from(target, *server, deadline).await) });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut failures = Vec::new();
    while let Some((server, answer)) = asked.next().await {
        match answer {
            Ok(servers) => return Fact::now(servers),
            Err(why) => failures.push(format!("{server}: {why}")),
        }
    }
    Fact::unknown(format!("the name servers of zone {} are not known: {}", target.zone, failures.join("; ")))
}

async fn ns_from(target: &DnsTarget, server: SocketAddr, deadline: Instant) -> Result<Vec<Server>, String> {
    let reply = ask(server, &question(&target.zone, RecordType::NS), None, deadline)
        .await
        .map_err(|e| e.to_string())?;
    if reply.rcode() != ResponseCode::NoError {
        return Err(format!("it answered {}", reply.rcode_text()));
    }
    if !reply.message.authoritative {
        return Err("it is not an authority for the zone".to_owned());
    }
    let mut servers = Vec::new();
    for (name, mut addresses) in named(&reply, &target.zone) {
        if addresses.is_empty() {
            addresses = resolve(target, server, &name, deadline).await;
        }
        // IPv4 first: a host without IPv6 then finds the server at its first try.
        addresses.sort_unstable();
        addresses.dedup();
        servers.push(Server {
            name: Some(name.to_string()),
            addresses: addresses.into_iter().map(|ip| SocketAddr::new(ip, target.ns_port)).collect(),
        });
    }
    if servers.is_empty() { Err("it has no NS records for the zone".to_owned()) } else { Ok(servers) }
}

/// The zone's NS records, each with the addresses that the same answer tells.
pub(super) fn named(reply: &Reply, zone: &Name) -> Vec<(Name, Vec<IpAddr>)> {
    let glue = |name: &Name| -> Vec<IpAddr> {
        let records = reply.message.additionals.iter().filter(|r| r.name == *name);
        records.filter_map(|r| address(&r.data)).collect()
    };
    let own = reply.message.answers.iter().filter(|r| r.name == *zone);
    own.filter_map(|record| match &record.data {
        RData::NS(ns) => Some((ns.0.clone(), glue(&ns.0))),
        _ => None,
    })
    .collect()
}

/// A name server's addresses: from the zone itself when the name lies in it, else from the system's resolver.
async fn resolve(target: &DnsTarget, server: SocketAddr, name: &Name, deadline: Instant) -> Vec<IpAddr> {
    if target.zone.zone_of(name) {
        let (a, aaaa) = (question(name, RecordType::A), question(name, RecordType::AAAA));
        let (a, aaaa) = tokio::join!(ask(server, &a, None, deadline), ask(server, &aaaa, None, deadline));
        let replies = [a, aaaa].into_iter().flatten();
        return replies.flat_map(|r| r.message.answers).filter_map(|r| address(&r.data)).collect();
    }
    let host = name.to_string();
    match timeout_at(deadline, tokio::net::lookup_host((host.as_str(), target.ns_port))).await {
        Ok(Ok(found)) => found.map(|a| a.ip()).collect(),
        _ => Vec::new(),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    }
}

/// When the next of `left` tries has to end, so that the others get as much time.
pub(super) fn share(deadline: Instant, left: usize) -> Instant {
    let now = Instant::now();
    let left = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
    now + deadline.saturating_duration_since(now) / left
}

/// What slow servers get on top.
const GRACE: Duration = Duration::from_millis(100);

/// Until when others are waited for once a server has answered that was asked at `start`: three times as long as it
/// took, and a little. A dead server must not hold up what can be done with the others.
pub(super) fn patience(start: Instant, deadline: Instant) -> Instant {
    deadline.min(start + start.elapsed() * 3 + GRACE)
}

/// The next of the answers; `None` when there is none any more, or none by `until`.
pub(super) async fn next<S: Stream + Unpin>(answers: &mut S, until: Option<Instant>) -> Option<S::Item> {
    match until {
        None => answers.next().await,
        Some(until) => timeout_at(until, answers.next()).await.ok().flatten(),
    }
}
