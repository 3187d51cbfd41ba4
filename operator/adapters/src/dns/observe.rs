//! What every authoritative server says.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::read::{MarkFound, published};
use super::servers::{Server, authoritative, patience, share};
use super::target::DnsTarget;
use bascule_core::observation::Fact;

/// What one server publishes, all of it from one version of the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The addresses of the name, IPv4 and IPv6. Empty when the name does not exist.
    pub addresses: BTreeSet<IpAddr>,
    /// The longest time that a resolver may keep them; `None` without addresses.
    pub ttl: Option<Duration>,
    /// Which transition wrote them.
    pub mark: MarkFound,
    /// The zone's serial at this server.
    pub soa_serial: u32,
    /// Whether the server answered as an authority. Anything else is a cache's opinion.
    pub authoritative: bool,
    /// The name that this name is an alias (CNAME) of. An alias can carry no addresses.
    pub alias: Option<String>,
}

/// One server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who was asked.
    pub server: Server,
    /// Which of its addresses answered.
    pub from: Option<SocketAddr>,
    /// What it publishes, or why that is not known.
    pub result: Fact<Published>,
}

impl DnsTarget {
    /// Asks every authoritative server directly, all at the same time, and returns within `deadline`. Once one has
    /// answered, the others get three times as long as it took, and a little: a dead site's server must not hold up
    /// what is known about the others.
    ///
    /// Ages count from before the first question. Unknown as a whole only when no servers are named and the zone's own cannot be found.
    pub async fn observe(&self, deadline: Duration) -> Fact<Vec<Answer>> {
        let start = Instant::now();
        let deadline = start + deadline;
        match authoritative(self, deadline).await {
            Fact::Unknown { reason } => Fact::Unknown { reason },
            Fact::Known { value: servers, .. } => {
                Fact::Known { value: self.answers(servers, start, deadline).await, age: start.elapsed() }
            }
        }
    }

    async fn answers(&self, servers: Vec<Server>, start: Instant, deadline: Instant) -> Vec<Answer> {
        let silent = |server: &Server| Answer {
            server: server.clone(),
            from: None,
            result: Fact::unknown("no answer while others answered"),
        };
        let mut answers: Vec<Answer> = servers.iter().map(silent).collect();
        let mut asked: FuturesUnordered<_> = servers
            .into_iter()
            .enumerate()
            .map(|(i, server)| async move { (i, self.answer_of(server, deadline).await) })
            .collect();
        let mut until = deadline;
        while let Ok(Some((i, answer))) = timeout_at(until, asked.next()).await {
            if answer.from.is_some() {
                until = until.min(patience(start, deadline));
            }
            if let Some(place) = answers.get_mut(i) {
                *place = answer;
            }
        }
        answers
    }

    async fn answer_of(&self, server: Server, deadline: Instant) -> Answer {
        let start = Instant::now();
        let mut failures = Vec::new();
        for (i, address) in server.addresses.iter().enumerate() {
            let until = share(deadline, server.addresses.len() - i);
            match published(self, *address, until).await {
                Ok(value) => {
                    let result = Fact::Known { value, age: start.elapsed() };
                    return Answer { from: Some(*address), result, server };
                }
                Err(error) => failures.push(format!("{address}: {}", error.why)),
            }
        }
        if failures.is_empty() {
            failures.push("no address of this server is known".to_owned());
        }
        Answer { server, from: None, result: Fact::unknown(failures.join("; ")) }
    }
}
