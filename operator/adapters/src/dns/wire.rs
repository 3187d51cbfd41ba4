//! One question or update to one server, and its answer.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{Name, Record, RecordType, TSigVerifier, TSigner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// How often a question is sent by UDP before its server counts as silent.
const TRIES: u32 = 3;
/// What a UDP answer may measure: the value of the DNS flag day 2020, which no path fragments.
const MAX_UDP: u16 = 1232;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WireError {
    /// Nothing reached the server: it certainly did not act.
    NotSent(String),
    /// The message was sent, at least in part, and no usable answer came: it may have acted.
    NoAnswer(String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) | Self::NoAnswer(why) => f.write_str(why),
        }
    }
}

/// A server's answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) message: Message,
    /// Whether the answer carries a valid signature with our key; always false for unsigned questions.
    pub(super) authentic: bool,
    /// What the server said about our signature.
    tsig_error: Option<TsigError>,
    /// Its time, in seconds since 1970, from an authentic refusal of ours.
    server_time: Option<u64>,
}

impl Reply {
    pub(super) fn rcode(&self) -> ResponseCode {
        self.message.response_code
    }

    /// The response code in words, with what the server thinks of our key.
    pub(super) fn rcode_text(&self) -> String {
        let rcode = rcode_name(self.rcode());
        match self.tsig_error {
            None => rcode,
            Some(TsigError::BadKey) => {
                format!("{rcode} (BADKEY: the server does not know this key or its algorithm)")
            }
            Some(TsigError::BadSig) => {
                format!("{rcode} (BADSIG: the server has another secret for this key)")
            }
            Some(TsigError::BadTime) => {
                format!(
                    "{rcode} (BADTIME: the clocks of server and operator differ by more than five minutes)"
                )
            }
            Some(TsigError::BadTrunc) => format!("{rcode} (BADTRUNC)"),
            Some(other) => format!("{rcode} (TSIG error {})", u16::from(other)),
        }
    }

    pub(super) fn rejects_key(&self) -> bool {
        self.tsig_error.is_some()
    }
}

/// The response code as the registry of DNS parameters names it.
pub(super) fn rcode_name(rcode: ResponseCode) -> String {
    let name = match rcode {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::YXDomain => "YXDOMAIN",
        ResponseCode::YXRRSet => "YXRRSET",
        ResponseCode::NXRRSet => "NXRRSET",
        ResponseCode::NotAuth => "NOTAUTH",
        ResponseCode::NotZone => "NOTZONE",
        other => return format!("RCODE {}", u16::from(other)),
    };
    name.to_owned()
}

/// A question about one RRset.
pub(super) fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP).set_version(0);
    message.set_edns(edns);
    message
}

/// An update of `zone`: the changes are made together when every prerequisite holds, and not at all otherwise.
pub(super) fn update(zone: &Name, prerequisites: Vec<Record>, changes: Vec<Record>) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(zone.clone(), RecordType::SOA));
    message.add_answers(prerequisites);
    message.add_authorities(changes);
    message
}

/// Asks by UDP, each try with a new id from a new port, and again by TCP when the answer does not fit.
pub(super) async fn ask(
    server: SocketAddr,
    message: &Message,
    signer: Option<&TSigner>,
    deadline: Instant,
) -> Result<Reply, WireError> {
    ask_at(server, message, signer, wall(), deadline).await
}

/// The same, signed at a time of the wall clock.
pub(super) async fn ask_at(
    server: SocketAddr,
    message: &Message,
    signer: Option<&TSigner>,
    at: u64,
    deadline: Instant,
) -> Result<Reply, WireError> {
    let pause = deadline.saturating_duration_since(Instant::now()) / TRIES;
    let mut last = WireError::NotSent("no time left to ask".to_owned());
    for attempt in 1..=TRIES {
        let until = if attempt == TRIES { deadline } else { deadline.min(Instant::now() + pause) };
        match ask_once(server, message, signer, at, until).await {
            Ok(reply) if reply.message.truncation => {
                let stream = connect(server, deadline).await.map_err(WireError::NotSent)?;
                return over(stream, message, signer, at, deadline).await;
            }
            Ok(reply) => return Ok(reply),
            Err(Silence::Final(error)) => return Err(error),
            Err(Silence::TryAgain(error)) => last = error,
        }
    }
    Err(last)
}

enum Silence {
    Final(WireError),
    TryAgain(WireError),
}

async fn ask_once(
    server: SocketAddr,
    message: &Message,
    signer: Option<&TSigner>,
    at: u64,
    until: Instant,
) -> Result<Reply, Silence> {
    let not_sent = |why: String| Silence::Final(WireError::NotSent(why));
    let (bytes, mut check) = seal(message, signer, at).map_err(not_sent)?;
    // Binding to port 0 takes a random free port of the kernel's; connecting lets only this server answer and
    // reports a closed port at once.
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let unreachable = |e: io::Error| not_sent(format!("cannot send to it: {e}"));
    let socket = UdpSocket::bind(local).await.map_err(unreachable)?;
    socket.connect(server).await.map_err(unreachable)?;
    socket.send(&bytes).await.map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let (mut ignored, mut corrected) = (None, false);
    loop {
        match timeout_at(until, socket.recv(&mut buffer)).await {
            Err(_) => {
                let why = ignored.map_or_else(
                    || "no answer in time".to_owned(),
                    |w: String| format!("no usable answer in time ({w})"),
                );
                return Err(Silence::TryAgain(WireError::NoAnswer(why)));
            }
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(not_sent("nothing listens there (connection refused)".to_owned()));
            }
            Ok(Err(e)) => return Err(Silence::Final(WireError::NoAnswer(format!("receiving failed: {e}")))),
            // Anyone may send a datagram, so a wrong one is passed over, not believed.
            Ok(Ok(n)) => match check.open(&buffer[..n]) {
                Ok(Reply { server_time: Some(theirs), .. }) if !corrected => {
                    corrected = true;
                    let (again, of_it) = seal(message, signer, theirs).map_err(not_sent)?;
                    check = of_it;
                    socket.send(&again).await.map_err(unreachable)?;
                }
                Ok(reply) => return Ok(reply),
                Err(why) => ignored = Some(why),
            },
        }
    }
}

/// Opens a TCP connection. Failing means that nothing was sent.
pub(super) async fn connect(server: SocketAddr, deadline: Instant) -> Result<TcpStream, String> {
    match timeout_at(deadline, TcpStream::connect(server)).await {
        Err(_) => Err("no TCP connection in time".to_owned()),
        Ok(Err(e)) => Err(format!("no TCP connection: {e}")),
        Ok(Ok(stream)) => {
            // Small messages, one round trip each: waiting to fill a segment only costs time.
            stream.set_nodelay(true).map_err(|e| format!("no TCP connection: {e}"))?;
            Ok(stream)
        }
    }
}

/// Sends one message, signed at the time `at`, over an open connection and reads its answer. It is sent exactly once,
/// or, when the server refuses it for its time, a second time with the server's: what was refused was not acted upon.
pub(super) async fn over(
    mut stream: TcpStream,
    message: &Message,
    signer: Option<&TSigner>,
    at: u64,
    deadline: Instant,
) -> Result<Reply, WireError> {
    let reply = exchange(&mut stream, message, signer, at, deadline).await?;
    match reply.server_time {
        Some(theirs) => exchange(&mut stream, message, signer, theirs, deadline).await,
        None => Ok(reply),
    }
}

async fn exchange(
    stream: &mut TcpStream,
    message: &Message,
    signer: Option<&TSigner>,
    at: u64,
    deadline: Instant,
) -> Result<Reply, WireError> {
    let (bytes, mut check) = seal(message, signer, at).map_err(WireError::NotSent)?;
    let length = u16::try_from(bytes.len())
        .map_err(|_| WireError::NotSent(format!("the message has {} bytes, more than 65535", bytes.len())))?;
    if Instant::now() >= deadline {
        return Err(WireError::NotSent("no time left to send".to_owned()));
    }
    let mut frame = Vec::with_capacity(bytes.len() + 2);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&bytes);
    let exchange = async {
        stream.write_all(&frame).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = match timeout_at(deadline, exchange).await {
        Err(_) => return Err(WireError::NoAnswer("sent, but no answer in time".to_owned())),
        Ok(Err(e)) => return Err(WireError::NoAnswer(format!("sent, but the connection broke: {e}"))),
        Ok(Ok(answer)) => answer,
    };
    check.open(&answer).map_err(|why| WireError::NoAnswer(format!("sent, but the answer is unusable: {why}")))
}

/// What makes a datagram or frame the answer to one question.
pub(super) struct Check {
    pub(super) id: u16,
    op_code: OpCode,
    queries: Vec<Query>,
    verifier: Option<TSigVerifier>,
}

/// The wall clock, in seconds since 1970.
pub(super) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d: Duration| d.as_secs())
}

/// A message under a new id, signed at the time `at`, as bytes.
pub(super) fn seal(message: &Message, signer: Option<&TSigner>, at: u64) -> Result<(Vec<u8>, Check), String> {
    let mut message = message.clone();
    message.metadata.id = Message::query().id;
    let verifier = match signer {
        None => None,
        Some(signer) => message.finalize(signer, at).map_err(|e| format!("cannot sign: {e}"))?,
    };
    let bytes = message.to_vec().map_err(|e| format!("cannot encode: {e}"))?;
    Ok((bytes, Check { id: message.id, op_code: message.op_code, queries: message.queries, verifier }))
}

impl Check {
    pub(super) fn open(&mut self, bytes: &[u8]) -> Result<Reply, String> {
        let message = Message::from_vec(bytes).map_err(|e| format!("not a DNS message: {e}"))?;
        if message.message_type != MessageType::Response
            || message.id != self.id
            || message.op_code != self.op_code
        {
            return Err("not the answer to this question".to_owned());
        }
        // A server may leave the question out of an answer that only carries a response code.
        let bare = message.op_code == OpCode::Update || message.response_code != ResponseCode::NoError;
        if message.queries != self.queries && !(bare && message.queries.is_empty()) {
            return Err("the answer to another question".to_owned());
        }
        let Some(verifier) = &mut self.verifier else {
            return Ok(Reply { message, authentic: false, tsig_error: None, server_time: None });
        };
        let tsig_error = message.signature().and_then(|record| record.data.error);
        match verifier.verify(bytes) {
            Ok(_) => {
                let server_time = server_time(&message);
                Ok(Reply { message, authentic: true, tsig_error, server_time })
            }
            // RFC 8945 section 5.3.2: who does not accept our key cannot sign with it. Such an answer can only be a
            // refusal, and it is never taken as proof of anything but "ask somebody else".
            Err(_) if message.response_code != ResponseCode::NoError => {
                Ok(Reply { message, authentic: false, tsig_error, server_time: None })
            }
            Err(why) => Err(format!("its signature is not valid: {why}")),
        }
    }
}

/// RFC 8945 section 5.2.3: a server that refuses a message for its time says its own. Only the key's holder can have said
/// that, and to this very message, so an operator whose clock is wrong signs with it.
fn server_time(message: &Message) -> Option<u64> {
    let tsig = &message.signature()?.data;
    let time: [u8; 6] = tsig.other.as_slice().try_into().ok()?;
    let seconds = time.into_iter().fold(0, |seconds, byte| seconds << 8 | u64::from(byte));
    (tsig.error == Some(TsigError::BadTime) && message.response_code == ResponseCode::NotAuth)
        .then_some(seconds)
}
