//! A small resolver that asks the authoritative servers themselves, so that what it sees is what is published.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use tokio::net::UdpSocket;

static NEXT_ID: AtomicU16 = AtomicU16::new(1);

/// Addresses of a name and how long they may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Every address, in the order of the answer.
    pub addresses: Vec<Ipv4Addr>,
    /// The smallest TTL among them.
    pub ttl: Duration,
}

/// Asks one server for the addresses of a name.
pub async fn addresses(server: SocketAddr, name: &str, deadline: Duration) -> Result<Answer> {
    let answer = query(server, name, RecordType::A, deadline).await?;
    let mut found = Answer { addresses: Vec::new(), ttl: Duration::MAX };
    for record in &answer.answers {
        if let RData::A(address) = record.data {
            found.addresses.push(address.0);
            found.ttl = found.ttl.min(Duration::from_secs(record.ttl.into()));
        }
    }
    ensure!(!found.addresses.is_empty(), "{name} has no address at {server}");
    Ok(found)
}

/// Every string of a name's TXT records, as one server has them; empty when there are none.
pub async fn texts(server: SocketAddr, name: &str, deadline: Duration) -> Result<Vec<String>> {
    let answer = query(server, name, RecordType::TXT, deadline).await?;
    let texts = answer.answers.iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(
            text.txt_data.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect::<String>(),
        ),
        _ => None,
    });
    Ok(texts.collect())
}

/// Serial number of a zone at one server; `None` when it does not serve the zone.
pub async fn soa_serial(server: SocketAddr, zone: &str, deadline: Duration) -> Result<Option<u32>> {
    let answer = query(server, zone, RecordType::SOA, deadline).await?;
    Ok(answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    }))
}

async fn query(server: SocketAddr, name: &str, kind: RecordType, deadline: Duration) -> Result<Message> {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let mut question = Query::query(Name::from_ascii(name)?, kind);
    question.set_query_class(DNSClass::IN);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(question);
    let socket = UdpSocket::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), 0)).await?;
    // Connected: the kernel drops what comes from anywhere else.
    socket.connect(server).await?;
    socket.send(&message.to_vec()?).await?;
    let mut buffer = vec![0; 4096];
    let answer = tokio::time::timeout(deadline, async {
        loop {
            let n = socket.recv(&mut buffer).await?;
            let answer = Message::from_vec(&buffer[..n])?;
            if answer.metadata.id == id {
                return Ok::<_, anyhow::Error>(answer);
            }
        }
    })
    .await
    .with_context(|| format!("DNS server {server} did not answer within {deadline:?}"))??;
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        code => bail!("DNS server {server} answered {code} for {name}"),
    }
}
