//! The HTTP port against those who mean harm. The clients are bytes on a socket, for no library would send them.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

/// Far above what an answer needs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Port {
    address: SocketAddr,
    server: JoinHandle<()>,
    /// The engine beats as long as this is there, as seldom as one that has nothing to do.
    beats: JoinHandle<()>,
}

impl Port {
    async fn open() -> Self {
        let (sender, pulse) = watch::channel(Pulse { ready: true, at: boottime::now(), ..Pulse::default() });
        let beats = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            while !sender.is_closed() {
                ticks.tick().await;
                sender.send_modify(|pulse| pulse.at = boottime::now());
            }
        });
        let shared = Shared {
            pulse,
            proxies: mpsc::channel(1).0,
            metrics: Arc::new(Metrics::new(&"paris".try_into().unwrap())),
            events_lost: Arc::default(),
            journal_lost: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, server: tokio::spawn(accept(listener, shared)), beats }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What the server says to these bytes until it closes the connection. A reset is an end, too.
    async fn says(&self, bytes: &[u8]) -> String {
        let mut tcp = self.connect().await;
        // It may have closed already.
        let _ = tcp.write_all(bytes).await;
        rest(&mut tcp).await
    }

    /// A probe, as a kubelet sends it.
    async fn is_alive(&self) {
        let started = Instant::now();
        let said = self.says(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said:?}");
        // A kubelet waits for a second.
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.server.abort();
        self.beats.abort();
    }
}

/// Everything until the end.
async fn rest(tcp: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut said)).await;
    assert!(ended.is_ok(), "the server never closes it: {:?}", String::from_utf8_lossy(&said));
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_request_that_trickles_is_ended_and_probes_are_answered_meanwhile() {
    let port = Port::open().await;
    let started = Instant::now();
    let mut slow = port.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    // A header every second, for ever: each byte alone is in time.
    let trickle = async {
        while slow.write_all(b"X-A: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.expect("the server ends it");
    assert!(started.elapsed() >= HEAD, "{:?}", started.elapsed());
    port.is_alive().await;
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed_and_keep_nobody_out() {
    let port = Port::open().await;
    let mut crowd = Vec::new();
    for _ in 0..4 * CONNECTIONS {
        crowd.push(port.connect().await);
    }
    port.is_alive().await;
    // The oldest went for the newer ones, at once.
    let started = Instant::now();
    for tcp in &mut crowd[..3 * CONNECTIONS] {
        assert_eq!(rest(tcp).await, "");
    }
    assert!(started.elapsed() < HEAD, "{:?}", started.elapsed());
    // The others go by themselves.
    for tcp in &mut crowd[3 * CONNECTIONS..] {
        assert_eq!(rest(tcp).await, "");
    }
    port.is_alive().await;
}

#[tokio::test]
async fn a_connection_that_is_kept_alive_waits_for_the_next_request_only_so_long() {
    let port = Port::open().await;
    let started = Instant::now();
    let said = port.says(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said:?}");
    assert!(started.elapsed() < HEAD * 3, "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_is_too_large_or_no_request_is_refused_and_costs_no_memory() {
    let port = Port::open().await;
    let long = "x".repeat(1 << 20);
    let many = "X-A: b\r\n".repeat(200);
    for (what, sent, expected) in [
        ("a huge header", format!("GET /healthz HTTP/1.1\r\nX: {long}\r\n\r\n"), &["", "HTTP/1.1 431"][..]),
        ("a huge path", format!("GET /{long} HTTP/1.1\r\n\r\n"), &["", "HTTP/1.1 414", "HTTP/1.1 431"]),
        ("many headers", format!("GET /healthz HTTP/1.1\r\n{many}\r\n"), &["", "HTTP/1.1 431"]),
        ("garbage", "\0\u{7f}\u{1}garbage\r\n\r\n".to_owned(), &["", "HTTP/1.1 400"]),
        ("TLS", "\u{16}\u{3}\u{1}\0\u{5}hello".to_owned(), &["", "HTTP/1.1 400"]),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &["", "HTTP/1.1 400", "HTTP/1.1 505"]),
        ("no length", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(), &["", "HTTP/1.1 400"]),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
            &["", "HTTP/1.1 400"],
        ),
        (
            "another method",
            "DELETE /metrics HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            &["HTTP/1.1 405"],
        ),
        (
            "another path",
            "GET /../etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            &["HTTP/1.1 404"],
        ),
    ] {
        let said = port.says(sent.as_bytes()).await;
        let head: String = said.chars().take(12).collect();
        assert!(expected.contains(&head.as_str()), "{what}: {said:?}");
        port.is_alive().await;
    }
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let port = Port::open().await;
    for path in ["/healthz", "/none"] {
        let mut tcp = port.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut sent = 0_usize;
        let piece = vec![b'x'; 1 << 16];
        let flood = async {
            while tcp.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
        };
        tokio::time::timeout(PATIENCE, flood).await.expect("the server closes it");
        // What sockets hold, not what was announced.
        assert!(sent < 64 << 20, "{sent} bytes were taken");
        port.is_alive().await;
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_hold_up_the_others() {
    let port = Port::open().await;
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let mut tcp = port.connect().await;
        let asked = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
        // As much as it takes: it stops reading while nobody reads its answers.
        let _ = tokio::time::timeout(Duration::from_secs(1), tcp.write_all(asked.as_bytes())).await;
        deaf.push(tcp);
    }
    port.is_alive().await;
}
