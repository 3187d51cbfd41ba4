//! What stands in the way of a change, asked without changing anything.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::time::Instant;

use super::apply::absent;
use super::observe::Answer;
use super::read::{Basis, MarkFound, basis};
use super::servers::{Server, name_servers, next, patience};
use super::target::DnsTarget;
use super::wire::{self, Reply};
use crate::finding::{Finding, Severity};
use bascule_core::observation::Fact;

/// What to do about a server that does not answer.
const UNREACHABLE: &str = "is it running, and are UDP and TCP allowed?";

/// How one update server answered.
enum Readiness {
    /// It would take an update.
    Ready(Basis),
    /// It would not: `code`, what was found, what to do.
    Not { code: &'static str, found: String, hint: String },
}

impl DnsTarget {
    /// Asks everything that a change will need, all year, without changing a record; returns within `deadline`.
    ///
    /// Two UPDATE messages are sent to each update server: an empty one, which proves that the key is accepted, and
    /// one that cannot take effect because its prerequisite is that the zone has no SOA record (and which would
    /// change nothing even then), which proves that the key may change these names.
    pub async fn preflight(&self, deadline: Duration) -> Vec<Finding> {
        let until = Instant::now() + deadline;
        let (servers, ns, shown) =
            tokio::join!(self.all_ready(until), name_servers(self, until), self.observe(deadline));
        let mut findings = Vec::new();
        let any_ready = servers.iter().any(|(_, r)| matches!(r, Readiness::Ready(_)));
        for (server, readiness) in servers {
            match readiness {
                Readiness::Ready(basis) => self.judge_basis(server, &basis, &mut findings),
                Readiness::Not { code, found, hint } => findings.push(Finding {
                    code,
                    // Another server takes the updates; losing that one is what this one is for.
                    severity: if any_ready { Severity::Warn } else { Severity::Block },
                    field: format!("updateServers {server}"),
                    found,
                    expected: format!(
                        "a primary of zone {} that accepts updates with key {}",
                        self.zone,
                        self.tsig.name()
                    ),
                    hint,
                }),
            }
        }
        self.judge_name_servers(&ns, &shown, &mut findings);
        findings
    }

    /// How each update server answers, all asked at the same time. Once one is ready, the others are not waited for
    /// much longer.
    async fn all_ready(&self, deadline: Instant) -> Vec<(SocketAddr, Readiness)> {
        let start = Instant::now();
        let silent = || Readiness::Not {
            code: "DnsServerUnreachable",
            found: "no answer while others answered".to_owned(),
            hint: UNREACHABLE.to_owned(),
        };
        let mut answers: Vec<_> = self.update_servers.iter().map(|server| (*server, silent())).collect();
        let asked = self.update_servers.iter().enumerate();
        let mut asked: FuturesUnordered<_> =
            asked.map(|(i, server)| async move { (i, self.readiness(*server, deadline).await) }).collect();
        // Without one that is ready each is waited for; it says by the deadline why it is not.
        let mut until = None;
        while let Some((i, answer)) = next(&mut asked, until).await {
            if matches!(answer, Readiness::Ready(_)) {
                until = until.or(Some(patience(start, deadline)));
            }
            if let Some((_, place)) = answers.get_mut(i) {
                *place = answer;
            }
        }
        answers
    }

    async fn readiness(&self, server: SocketAddr, deadline: Instant) -> Readiness {
        let not = |code, found: String, hint: &str| Readiness::Not { code, found, hint: hint.to_owned() };
        let signer = Some(self.tsig.signer());
        let basis = match basis(self, server, deadline).await {
            Ok(basis) if basis.authoritative => basis,
            Ok(_) => {
                let hint = "name a server that has the zone, not a resolver";
                return not("DnsNotAuthoritative", "not an authority for the zone".to_owned(), hint);
            }
            Err(error) if error.rejects_key => {
                let hint = "compare name, algorithm and secret of the key with the server's, and the clocks";
                return not("DnsKeyRefused", error.why, hint);
            }
            Err(error) => {
                return not("DnsServerUnreachable", error.why, UNREACHABLE);
            }
        };
        let send = async |prerequisites, changes| -> Result<Reply, String> {
            let stream = wire::connect(server, deadline).await?;
            let message = wire::update(&self.zone, prerequisites, changes);
            wire::over(stream, &message, signer, wire::wall(), deadline).await.map_err(|e| e.to_string())
        };
        let empty = match send(vec![present(&self.zone, RecordType::SOA)], vec![]).await {
            Ok(reply) => reply,
            Err(why) => return not("DnsServerUnreachable", why, "updates are sent by TCP: is it allowed?"),
        };
        if empty.rejects_key() {
            let hint = "compare name, algorithm and secret of the key with the server's, and the clocks";
            return not("DnsKeyRefused", empty.rcode_text(), hint);
        }
        if empty.rcode() != ResponseCode::NoError || !empty.authentic {
            let hint = "let this key update the zone there, or name the zone's primary";
            return not("DnsUpdateRefused", format!("{} to an empty update", empty.rcode_text()), hint);
        }
        let impossible = vec![absent(&self.zone, RecordType::SOA)];
        match send(impossible, self.harmless_changes()).await {
            Ok(reply) if reply.rcode() == ResponseCode::YXRRSet && reply.authentic => Readiness::Ready(basis),
            Ok(reply) if reply.rcode() == ResponseCode::NoError => {
                let hint =
                    "this server must not be used: nothing keeps an old change from overwriting a new one";
                not("DnsPrerequisitesIgnored", "it ignores prerequisites".to_owned(), hint)
            }
            Ok(reply) => {
                let found = format!(
                    "{} to an update of A, AAAA and TXT of {} and {}",
                    reply.rcode_text(),
                    self.name,
                    self.mark_name
                );
                not("DnsUpdateRefused", found, "let this key update these names and types")
            }
            Err(why) => not("DnsServerUnreachable", why, "updates are sent by TCP: is it allowed?"),
        }
    }

    /// Deletions of single records that do not exist: without effect even at a server that ignores prerequisites.
    fn harmless_changes(&self) -> Vec<Record> {
        let gone = |name: &Name, data: RData| {
            let mut record = Record::from_rdata(name.clone(), 0, data);
            record.dns_class = DNSClass::NONE;
            record
        };
        vec![
            gone(&self.name, RData::A(A::from(Ipv4Addr::UNSPECIFIED))),
            gone(&self.name, RData::AAAA(AAAA::from(Ipv6Addr::UNSPECIFIED))),
            gone(&self.mark_name, RData::TXT(TXT::new(vec!["preflight".to_owned()]))),
        ]
    }

    fn judge_basis(&self, server: SocketAddr, basis: &Basis, findings: &mut Vec<Finding>) {
        if let Some(alias) = &basis.alias {
            findings.push(Finding {
                code: "DnsAlias",
                severity: Severity::Block,
                field: format!("{} at {server}", self.name),
                found: format!("CNAME {alias}"),
                expected: "no CNAME: addresses cannot stand beside one".to_owned(),
                hint: "remove the CNAME record".to_owned(),
            });
        }
        if let MarkFound::Foreign(texts) = &basis.mark {
            findings.push(Finding {
                code: "DnsForeignMark",
                severity: Severity::Block,
                field: format!("{} at {server}", self.mark_name),
                found: format!("TXT {texts:?}"),
                expected: "no TXT record, or one mark".to_owned(),
                hint: "remove or rename that record".to_owned(),
            });
        }
        if let Some(ttl) = basis.ttls.iter().max().filter(|ttl| **ttl > self.ttl) {
            findings.push(Finding {
                code: "DnsTtlLonger",
                severity: Severity::Warn,
                field: format!("{} at {server}", self.name),
                found: format!("TTL {ttl} s"),
                expected: format!("{} s", self.ttl),
                hint: "until the first change, clients may keep the old addresses that long; lower it by hand now"
                    .to_owned(),
            });
        }
    }

    fn judge_name_servers(
        &self,
        ns: &Fact<Vec<Server>>,
        shown: &Fact<Vec<Answer>>,
        findings: &mut Vec<Finding>,
    ) {
        let listed = match ns {
            Fact::Known { value: servers, .. } => {
                servers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            Fact::Unknown { reason } => format!("unknown: {reason}"),
        };
        let needed = self.verify_servers.is_empty() && ns.value().is_none();
        findings.push(Finding {
            code: "DnsNameServers",
            severity: if needed { Severity::Block } else { Severity::Info },
            field: format!("NS of {}", self.zone),
            found: listed,
            expected: "the servers that clients' resolvers ask".to_owned(),
            hint: if needed { "name verifyServers" } else { "" }.to_owned(),
        });
        for answer in shown.value().into_iter().flatten() {
            let found = match &answer.result {
                Fact::Known { value: state, .. } if state.authoritative => continue,
                Fact::Known { .. } => "not an authority for the zone".to_owned(),
                Fact::Unknown { reason } => reason.clone(),
            };
            findings.push(Finding {
                code: "DnsVerifyServer",
                severity: Severity::Warn,
                field: format!("verifyServers {}", answer.server),
                found,
                expected: format!("an authoritative answer about {}", self.name),
                hint: "a change is complete only when this server shows it".to_owned(),
            });
        }
    }
}

/// "This RRset exists, whatever its value" as a prerequisite.
fn present(name: &Name, kind: RecordType) -> Record {
    let mut record: Record = Record::update0(name.clone(), 0, kind);
    record.dns_class = DNSClass::ANY;
    record
}
