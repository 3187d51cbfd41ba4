//! Both ports of the real operator, with a real API server and a real arbiter, while strangers do at them what they
//! like: the kubelet's probes are answered, metrics are served, guards are heard, the lease is kept, and the process
//! stays as large as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test says what is wrong by panicking.

#[path = "../../adapters/tests/arbiter/cluster.rs"]
mod arbiter;
#[path = "../live/mod.rs"]
mod live;
mod operator;
mod strangers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bascule_core::guard::wire::FromOperator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::operator::Operator;
use self::strangers::Stranger;

/// How long each kind of stranger is at it: several beats of the engine.
const WHILE: Duration = Duration::from_secs(3);

/// How many of a kind come at once.
const CROWD: usize = 150;

/// A kubelet waits so long for an answer when nobody has told it another time.
const PROBE: Duration = Duration::from_secs(1);

/// A guard waits so long for its operator.
const GUARD: Duration = Duration::from_secs(2);

/// What all that may cost at most.
const MEMORY: u64 = 32 << 20;

/// An answer of the HTTP port to somebody who has a reason to ask.
async fn asked(port: SocketAddr, path: &str) -> String {
    let ask = async {
        let mut tcp = TcpStream::connect(port).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await?;
        let mut said = String::new();
        tcp.read_to_string(&mut said).await?;
        std::io::Result::Ok(said)
    };
    match timeout(PROBE, ask).await {
        Ok(Ok(said)) => said,
        Ok(Err(why)) => format!("no answer: {why}"),
        Err(_) => format!("no answer within {PROBE:?}"),
    }
}

/// A guard that connects, says who it is, asks, and is answered.
async fn guard_is_heard(operator: &Operator) -> Result<(), String> {
    let talk = async {
        let mut guard = operator.guard().await.map_err(|e| format!("no connection: {e}"))?;
        guard.greets().await;
        let nonce = guard.asks().await;
        loop {
            match guard.hears().await {
                Some(FromOperator::Answer { nonce: of, .. }) if of == nonce => return Ok(()),
                Some(FromOperator::Refuse { reason }) => return Err(format!("refused: {reason}")),
                Some(_) => {}
                None => return Err("the connection ended".to_owned()),
            }
        }
    };
    timeout(GUARD, talk).await.unwrap_or_else(|_| Err(format!("not heard within {GUARD:?}")))
}

/// What those who have a reason to be there did not get, until `end`.
async fn missed(operator: &Operator, end: Instant) -> Vec<String> {
    let mut missed = Vec::new();
    while Instant::now() < end {
        for (path, expected) in
            [("/healthz", "ok"), ("/readyz", "ok"), ("/metrics", "bascule_site_lease_alive 1")]
        {
            let well = |said: &str| said.starts_with("HTTP/1.1 200") && said.lines().any(|l| l == expected);
            let mut said = asked(operator.http, path).await;
            if !well(&said) {
                // A kubelet makes nothing of one failure, and asks again.
                said = asked(operator.http, path).await;
            }
            if !well(&said) {
                missed.push(format!("{path}: {said:.200}"));
            }
        }
        if let Err(why) = guard_is_heard(operator).await {
            missed.push(format!("a guard: {why}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    missed
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ports_serve_whoever_has_a_reason_to_be_there_whatever_strangers_do_at_them() {
    let mut operator = Box::pin(Operator::start()).await;
    let quiet = missed(&operator, Instant::now() + WHILE).await;
    assert!(quiet.is_empty(), "before any stranger came: {quiet:#?}\n{}", operator.log());
    let (before, open_before) = (operator.memory(), operator.open_files());
    let mut wrong = Vec::new();
    for stranger in Stranger::ALL {
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            crowd.spawn(stranger.at_it(operator.http, operator.guards, operator.authority()));
        }
        let missed = missed(&operator, Instant::now() + WHILE).await;
        crowd.shutdown().await;
        let grown = operator.memory().saturating_sub(before);
        println!("{stranger:?}: {} missed, {} KiB more memory at most", missed.len(), grown >> 10);
        if !missed.is_empty() {
            wrong.push(format!("{stranger:?}: {:#?}", &missed[..missed.len().min(3)]));
        }
        if grown > MEMORY {
            wrong.push(format!("{stranger:?}: {grown} bytes more than before"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), operator.log());
    // What strangers held is free again, within the time that a connection may be silent.
    let end = Instant::now() + Duration::from_secs(20);
    while operator.open_files() > open_before + 8 {
        assert!(Instant::now() < end, "{} files are open, {open_before} were", operator.open_files());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    operator.ends_when_asked();
}
