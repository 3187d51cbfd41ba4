//! One atomic change of addresses and mark.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::read::{Basis, MarkFound, basis};
use super::servers::{next, patience};
use super::target::DnsTarget;
use super::wire::{self, Reply, WireError};
use crate::mark::Mark;
use bascule_core::name::SiteName;

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The server publishes it. Other servers of the zone may need time: see [`DnsTarget::verify`].
    Done {
        /// Who did it.
        server: SocketAddr,
        /// False when it already stood there, and nothing was sent.
        changed: bool,
    },
    /// A later state of the record is already published. Nothing was sent.
    AlreadyNewer {
        /// Who publishes it.
        server: SocketAddr,
        /// Its mark.
        found: Mark,
    },
    /// Certainly not done.
    Refused(Refusal),
    /// It was sent and nobody knows what became of it. Observe before anything else.
    Unknown {
        /// Who it was sent to.
        server: SocketAddr,
        /// What was lost.
        why: String,
    },
}

/// Why a change was certainly not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody changed the mark, or made the name an alias, between our read and our update. Observe again.
    #[error("{server} refused it ({rcode}): somebody else changed the records of {name} at the same moment")]
    Race {
        /// Who refused.
        server: SocketAddr,
        /// `NXRRSET` or `YXRRSET`.
        rcode: String,
        /// The name.
        name: String,
    },
    /// The same epoch and serial are published for another site.
    #[error(
        "{server} publishes the same epoch and serial for another site: \"{found}\"; two policies or two arbiters use this name"
    )]
    SameSerialOtherSite {
        /// Who publishes it.
        server: SocketAddr,
        /// What it publishes.
        found: Mark,
    },
    /// Something that is not a mark stands in its place.
    #[error("{mark_name} at {server} holds TXT {found:?}, which is not a mark; remove or rename that record")]
    ForeignMark {
        /// Who publishes it.
        server: SocketAddr,
        /// Where.
        mark_name: String,
        /// What it publishes.
        found: Vec<String>,
    },
    /// The name is a CNAME, beside which an address is silently dropped (RFC 2136 section 3.4.2.2).
    #[error("{name} at {server} is an alias (CNAME) of {alias}; remove the CNAME record")]
    Alias {
        /// Who publishes it.
        server: SocketAddr,
        /// The name.
        name: String,
        /// What it points to.
        alias: String,
    },
    /// The policy has no addresses for this site.
    #[error("addresses: site {0} is not there; add it with its addresses")]
    UnknownSite(SiteName),
    /// No server took it.
    #[error("no update server accepted it: {}", list(.0))]
    NoServer(Vec<ServerFailure>),
}

/// Why one server did not take an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFailure {
    /// Who.
    pub server: SocketAddr,
    /// Why.
    pub why: String,
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.why)
    }
}

fn list(failures: &[ServerFailure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What one server made of it.
enum Try {
    Ended(Applied),
    Next(String),
}

/// What one server says now, and the connection that a change would go over.
struct Ready {
    basis: Basis,
    stream: Result<TcpStream, String>,
}

impl DnsTarget {
    /// Points the name at `mark.site`, in one atomic UPDATE that also writes `mark`; returns within `deadline`.
    ///
    /// The servers are tried in order, but all are asked at once what they publish, and none is waited for much longer
    /// than another one took to answer. One is passed over only while it is certain that it did nothing: no update was
    /// sent to it, or it refuses (`NOTAUTH`, `REFUSED`, `NOTIMP`, `NOTZONE`). Every other doubt ends the call with
    /// [`Applied::Unknown`]. Nothing is ever sent twice.
    pub async fn apply(&self, mark: &Mark, deadline: Duration) -> Applied {
        let start = Instant::now();
        let deadline = start + deadline;
        let Some(addresses) = self.addresses(&mark.site) else {
            return Applied::Refused(Refusal::UnknownSite(mark.site.clone()));
        };
        let servers = self.update_servers.iter().enumerate();
        let mut asked: FuturesUnordered<_> =
            servers.map(|(i, server)| async move { (i, self.ready(*server, deadline).await) }).collect();
        let mut open: BTreeSet<usize> = (0..self.update_servers.len()).collect();
        let mut ready = BTreeMap::new();
        let mut failures = BTreeMap::new();
        let mut until = None;
        while let Some(first) = open.first().copied() {
            let patient = until.is_none_or(|until| Instant::now() < until);
            if !ready.contains_key(&first) && (ready.is_empty() || patient) {
                // Nobody is ready: everybody is waited for, each says by the deadline what it is.
                let wait = until.filter(|_| !ready.is_empty());
                match next(&mut asked, wait).await {
                    Some((i, Ok(found))) => {
                        until = until.or(Some(patience(start, deadline)));
                        ready.insert(i, found);
                    }
                    Some((i, Err(why))) => {
                        open.remove(&i);
                        failures.insert(i, why);
                    }
                    None if ready.is_empty() => break,
                    None => {}
                }
                continue;
            }
            let Some((i, found)) = ready.pop_first() else { break };
            open.remove(&i);
            let Some(server) = self.update_servers.get(i) else { break };
            match self.apply_at(*server, found, addresses, mark, deadline).await {
                Try::Ended(outcome) => return outcome,
                Try::Next(why) => drop(failures.insert(i, why)),
            }
        }
        let failure = |(i, server): (usize, &SocketAddr)| {
            let why = failures.remove(&i).unwrap_or_else(|| "no answer in time".to_owned());
            ServerFailure { server: *server, why }
        };
        Applied::Refused(Refusal::NoServer(self.update_servers.iter().enumerate().map(failure).collect()))
    }

    /// Gets one server ready for a change; the error says why it cannot take one.
    async fn ready(&self, server: SocketAddr, deadline: Instant) -> Result<Ready, String> {
        // The connection is opened while the basis is read: one round trip less.
        let (basis, stream) = tokio::join!(basis(self, server, deadline), wire::connect(server, deadline));
        match basis {
            Ok(basis) if basis.authoritative => Ok(Ready { basis, stream }),
            Ok(_) => Err("it is not an authority for the zone".to_owned()),
            Err(error) => Err(error.why),
        }
    }

    async fn apply_at(
        &self,
        server: SocketAddr,
        Ready { basis, stream }: Ready,
        addresses: &BTreeSet<IpAddr>,
        mark: &Mark,
        deadline: Instant,
    ) -> Try {
        if let Some(outcome) = self.settled(server, &basis, addresses, mark) {
            return Try::Ended(outcome);
        }
        let stream = match stream {
            Ok(stream) => stream,
            Err(why) => return Try::Next(why),
        };
        let old = match &basis.mark {
            MarkFound::Mark(old) => Some(old),
            MarkFound::None | MarkFound::Foreign(_) => None,
        };
        let message = self.message(old, addresses, mark);
        match wire::over(stream, &message, Some(self.tsig.signer()), wire::wall(), deadline).await {
            Err(WireError::NotSent(why)) => Try::Next(why),
            Err(WireError::NoAnswer(why)) => Try::Ended(Applied::Unknown { server, why }),
            Ok(reply) => self.outcome(server, &reply),
        }
    }

    /// What is decided without sending anything.
    fn settled(
        &self,
        server: SocketAddr,
        basis: &Basis,
        addresses: &BTreeSet<IpAddr>,
        mark: &Mark,
    ) -> Option<Applied> {
        if let Some(alias) = &basis.alias {
            let (name, alias) = (self.name(), alias.clone());
            return Some(Applied::Refused(Refusal::Alias { server, name, alias }));
        }
        match &basis.mark {
            MarkFound::None => None,
            MarkFound::Foreign(found) => {
                let (mark_name, found) = (self.mark_name(), found.clone());
                Some(Applied::Refused(Refusal::ForeignMark { server, mark_name, found }))
            }
            MarkFound::Mark(found) if found.newer_than(mark) => {
                Some(Applied::AlreadyNewer { server, found: found.clone() })
            }
            MarkFound::Mark(found) if mark.newer_than(found) => None,
            MarkFound::Mark(found) if found.site != mark.site => {
                Some(Applied::Refused(Refusal::SameSerialOtherSite { server, found: found.clone() }))
            }
            // Ours already: only a hand edit beside it is put right.
            MarkFound::Mark(_) => {
                let stands = basis.addresses == *addresses && basis.ttls == BTreeSet::from([self.ttl]);
                stands.then_some(Applied::Done { server, changed: false })
            }
        }
    }

    fn outcome(&self, server: SocketAddr, reply: &Reply) -> Try {
        use ResponseCode::{NXRRSet, NoError, NotAuth, NotImp, NotZone, Refused, YXRRSet};
        match reply.rcode() {
            // Whoever forges one of these makes us ask the next server, which the mark protects as well.
            NotAuth | Refused | NotImp | NotZone => Try::Next(format!("it answered {}", reply.rcode_text())),
            NoError if reply.authentic => Try::Ended(Applied::Done { server, changed: true }),
            NXRRSet | YXRRSet if reply.authentic => Try::Ended(Applied::Refused(Refusal::Race {
                server,
                rcode: reply.rcode_text(),
                name: self.name(),
            })),
            // SERVFAIL among them: a secondary that forwards says it when the primary's answer was lost.
            _ if reply.authentic => {
                Try::Ended(Applied::Unknown { server, why: format!("it answered {}", reply.rcode_text()) })
            }
            _ => Try::Ended(Applied::Unknown {
                server,
                why: format!("it answered {} without a signature", reply.rcode_text()),
            }),
        }
    }

    /// RFC 2136 sections 2.4 and 2.5: the prerequisites, then the changes, all in one message.
    fn message(&self, old: Option<&Mark>, addresses: &BTreeSet<IpAddr>, mark: &Mark) -> Message {
        let mut prerequisites = vec![absent(&self.name, RecordType::CNAME)];
        prerequisites.push(match old {
            None => absent(&self.mark_name, RecordType::TXT),
            Some(old) => Record::from_rdata(self.mark_name.clone(), 0, text(old)),
        });
        let mut changes = vec![
            delete(&self.name, RecordType::A),
            delete(&self.name, RecordType::AAAA),
            delete(&self.mark_name, RecordType::TXT),
        ];
        for address in addresses {
            let data = match address {
                IpAddr::V4(ip) => RData::A(A::from(*ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA::from(*ip)),
            };
            changes.push(Record::from_rdata(self.name.clone(), self.ttl, data));
        }
        changes.push(Record::from_rdata(self.mark_name.clone(), self.ttl, text(mark)));
        wire::update(&self.zone, prerequisites, changes)
    }
}

fn text(mark: &Mark) -> RData {
    RData::TXT(TXT::new(vec![mark.to_string()]))
}

/// "This RRset does not exist" as a prerequisite.
pub(super) fn absent(name: &Name, kind: RecordType) -> Record {
    let mut record: Record = Record::update0(name.clone(), 0, kind);
    record.dns_class = DNSClass::NONE;
    record
}

/// "Delete this RRset" as a change.
fn delete(name: &Name, kind: RecordType) -> Record {
    let mut record: Record = Record::update0(name.clone(), 0, kind);
    record.dns_class = DNSClass::ANY;
    record
}
