//! What one server says about a target's name, read as one consistent state.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType, TSigner};
use tokio::time::Instant;

use super::observe::Published;
use super::target::DnsTarget;
use super::wire::{Reply, ask, question};
use crate::mark::Mark;

/// How often a state is read again when the zone changed while it was being read.
const CONSISTENT_READS: usize = 3;

/// What stands in the place of the mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkFound {
    /// Nothing: the name was never moved by Bascule.
    None,
    /// A mark.
    Mark(Mark),
    /// TXT records that are not exactly one mark, as text. Somebody else's; never overwritten.
    Foreign(Vec<String>),
}

/// Why a state could not be read.
#[derive(Clone, Debug)]
pub(super) struct ReadError {
    pub(super) why: String,
    /// The server does not accept our key.
    pub(super) rejects_key: bool,
}

impl From<String> for ReadError {
    fn from(why: String) -> Self {
        Self { why, rejects_key: false }
    }
}

/// One RRset as a server has it.
pub(super) struct RrSet {
    pub(super) authoritative: bool,
    pub(super) records: Vec<Record>,
    pub(super) alias: Option<String>,
}

async fn rrset(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    signer: Option<&TSigner>,
    deadline: Instant,
) -> Result<RrSet, ReadError> {
    let reply = ask(server, &question(name, kind), signer, deadline).await.map_err(|e| e.to_string())?;
    usable(&reply, signer.is_some())?;
    Ok(sort(&reply, name, kind))
}

/// Whether anything can be learned from an answer.
pub(super) fn usable(reply: &Reply, signed: bool) -> Result<(), ReadError> {
    if !matches!(reply.rcode(), ResponseCode::NoError | ResponseCode::NXDomain) {
        let why = format!("it answered {}", reply.rcode_text());
        return Err(ReadError { why, rejects_key: reply.rejects_key() });
    }
    if signed && !reply.authentic {
        return Err("its answer is not signed with our key".to_owned().into());
    }
    Ok(())
}

pub(super) fn sort(reply: &Reply, name: &Name, kind: RecordType) -> RrSet {
    let own = || reply.message.answers.iter().filter(|r| r.name == *name);
    RrSet {
        authoritative: reply.message.authoritative,
        records: own().filter(|r| r.record_type() == kind).cloned().collect(),
        alias: own().find_map(|r| match &r.data {
            RData::CNAME(target) => Some(target.0.to_string()),
            _ => None,
        }),
    }
}

async fn soa_serial(
    target: &DnsTarget,
    server: SocketAddr,
    deadline: Instant,
) -> Result<Option<u32>, ReadError> {
    let set = rrset(server, &target.zone, RecordType::SOA, None, deadline).await?;
    Ok(set.records.iter().find_map(|r| match &r.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    }))
}

/// The name's state at one server. The zone's serial is read before and after, so that addresses and mark belong to
/// the same version of the zone.
pub(super) async fn published(
    target: &DnsTarget,
    server: SocketAddr,
    deadline: Instant,
) -> Result<Published, ReadError> {
    for _ in 0..CONSISTENT_READS {
        let before = soa_serial(target, server, deadline).await?;
        let read = |name, kind| rrset(server, name, kind, None, deadline);
        let (a, aaaa, txt) = tokio::try_join!(
            read(&target.name, RecordType::A),
            read(&target.name, RecordType::AAAA),
            read(&target.mark_name, RecordType::TXT),
        )?;
        let Some(soa_serial) = soa_serial(target, server, deadline).await? else {
            return Err("it has no SOA record for the zone".to_owned().into());
        };
        if before != Some(soa_serial) {
            continue;
        }
        let ttl = a.records.iter().chain(&aaaa.records).map(|r| r.ttl).max();
        return Ok(Published {
            addresses: addresses(&a.records, &aaaa.records),
            ttl: ttl.map(|s| Duration::from_secs(s.into())),
            mark: mark(&txt.records),
            soa_serial,
            authoritative: a.authoritative && aaaa.authoritative && txt.authoritative,
            alias: a.alias.or(aaaa.alias),
        });
    }
    Err(format!("the zone changed during each of {CONSISTENT_READS} reads").into())
}

/// What an update at this server must be built on: the mark, and what the name says now.
pub(super) struct Basis {
    pub(super) authoritative: bool,
    pub(super) mark: MarkFound,
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) ttls: BTreeSet<u32>,
    pub(super) alias: Option<String>,
}

/// Reads an update's basis with signed questions, so that nobody else can make the operator believe in a newer mark.
pub(super) async fn basis(
    target: &DnsTarget,
    server: SocketAddr,
    deadline: Instant,
) -> Result<Basis, ReadError> {
    let signer = Some(target.tsig.signer());
    let read = |name, kind| rrset(server, name, kind, signer, deadline);
    let (a, aaaa, txt) = tokio::try_join!(
        read(&target.name, RecordType::A),
        read(&target.name, RecordType::AAAA),
        read(&target.mark_name, RecordType::TXT),
    )?;
    Ok(Basis {
        authoritative: a.authoritative && aaaa.authoritative && txt.authoritative,
        mark: mark(&txt.records),
        addresses: addresses(&a.records, &aaaa.records),
        ttls: a.records.iter().chain(&aaaa.records).map(|r| r.ttl).collect(),
        alias: a.alias.or(aaaa.alias),
    })
}

pub(super) fn addresses(a: &[Record], aaaa: &[Record]) -> BTreeSet<IpAddr> {
    let one = |record: &Record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    };
    a.iter().chain(aaaa).filter_map(one).collect()
}

pub(super) fn mark(records: &[Record]) -> MarkFound {
    let texts: Vec<String> = records
        .iter()
        .filter_map(|r| match &r.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        })
        .collect();
    match texts.as_slice() {
        [] => MarkFound::None,
        [one] => one.parse().map_or_else(|_| MarkFound::Foreign(texts.clone()), MarkFound::Mark),
        _ => MarkFound::Foreign(texts),
    }
}
