//! The operator's end, against clients that behave and clients that do not.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bascule_core::few::Few;
use bascule_core::guard::wire::{
    Ask, Cluster, ClusterState, Disk, FromGuard, HighWater, MAX_FRAME, PROTOCOL, Report, Role, ServerState,
    Timing,
};
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::time::Millis;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    dir: tempfile::TempDir,
    listener: GuardListener,
    events: mpsc::Receiver<GuardEvent>,
}

type Client = Framed<tokio_rustls::client::TlsStream<TcpStream>, LengthDelimitedCodec>;

fn issue(ca: &CertifiedIssuer<'_, KeyPair>, dir: &Path, names: &[&str]) {
    std::fs::create_dir_all(dir).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, ca).unwrap();
    std::fs::write(dir.join("ca.crt"), ca.pem()).unwrap();
    std::fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let ca = authority();
    issue(&ca, &dir.path().join("operator"), &["operator.test"]);
    issue(&ca, &dir.path().join("guard"), &["shop.web.guards.bascule"]);
    issue(&ca, &dir.path().join("wildcard"), &["*.web.guards.bascule"]);
    issue(&ca, &dir.path().join("other"), &["shop.elsewhere.guards.bascule"]);
    issue(&authority(), &dir.path().join("stranger"), &["shop.web.guards.bascule"]);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (listener, events) =
        GuardListener::listen(any, dir.path().join("operator"), CancellationToken::new()).await.unwrap();
    World { dir, listener, events }
}

impl World {
    async fn event(&mut self) -> GuardEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event").expect("a listener")
    }

    async fn connect(&self, certificates: &str) -> std::io::Result<Client> {
        let dir = self.dir.path().join(certificates);
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.dir.path().join("operator/ca.crt")).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(dir.join("tls.crt")).unwrap()],
                PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap(),
            )
            .unwrap();
        let tcp = TcpStream::connect(self.listener.address()).await?;
        let name = ServerName::try_from("operator.test").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Framed::new(tls, LengthDelimitedCodec::builder().max_frame_length(4 * MAX_FRAME).new_codec()))
    }

    async fn guard(&self, certificates: &str) -> Client {
        let mut client = self.connect(certificates).await.unwrap();
        say(&mut client, &FromGuard::Hello(hello(PROTOCOL))).await;
        client
    }
}

async fn say(client: &mut Client, message: &FromGuard) {
    client.send(Bytes::from(serde_json::to_vec(message).unwrap())).await.unwrap();
}

async fn hear(client: &mut Client) -> Option<FromOperator> {
    let frame = tokio::time::timeout(PATIENCE, client.next()).await.expect("a frame or an end")?;
    Some(serde_json::from_slice(&frame.ok()?).unwrap())
}

fn hello(protocol: u32) -> Hello {
    Hello {
        protocol,
        policy: PolicyKey::new("web", "shop").unwrap(),
        database: "main".try_into().unwrap(),
        site: "paris".try_into().unwrap(),
        instance: "main-0".try_into().unwrap(),
        boot: "b1".into(),
        postgres_version: "15.20".into(),
    }
}

fn ask(nonce: u64, notes: Vec<String>) -> FromGuard {
    let report = Report {
        serial: 0,
        locked: None,
        boot: "b1".into(),
        state: ServerState::Down,
        disk: Disk::Empty,
        positions: None,
        replicas: Few::new(),
        stopped: None,
        checkpointed: None,
        opened_epoch: None,
        diverged: None,
        contact_lost: None,
        high_water: HighWater::default(),
        exited: None,
        sigterm: false,
        fallback: false,
        unlimited: false,
        log_gone: None,
        unlocked: None,
        notes,
    };
    FromGuard::Ask(Box::new(Ask { nonce, fresh: true, report }))
}

fn instruction(why: &str) -> Instruction {
    let ms = Millis(1000);
    Instruction {
        serial: 1,
        epoch: 1,
        generation: 0,
        role: Role::Wait { why: why.into() },
        grant: None,
        fresh: false,
        checkpoint: false,
        unmanaged: false,
        timing: Timing { p: ms, tq: ms, r: ms, f: ms },
    }
}

#[tokio::test]
async fn a_guard_is_greeted_asks_and_is_answered_and_told() {
    let mut w = world().await;
    let mut guard = w.guard("guard").await;
    let GuardEvent::Connected { session, hello } = w.event().await else { panic!() };
    assert_eq!(hello.instance.as_str(), "main-0");
    say(&mut guard, &ask(7, vec![])).await;
    let GuardEvent::Asked { session: asked, nonce, fresh, .. } = w.event().await else { panic!() };
    assert_eq!((asked, nonce, fresh), (session, 7, true));
    w.listener.answer(session, nonce, instruction("answer"));
    w.listener.tell(session, instruction("tell"));
    assert_eq!(
        hear(&mut guard).await,
        Some(FromOperator::Answer { nonce: 7, instruction: instruction("answer") })
    );
    assert_eq!(hear(&mut guard).await, Some(FromOperator::Tell { instruction: instruction("tell") }));
    drop(guard);
    let GuardEvent::Gone { session: gone, .. } = w.event().await else { panic!() };
    assert_eq!(gone, session);
}

#[tokio::test]
async fn a_newer_connection_of_the_same_guard_comes_after_the_end_of_the_older_one() {
    let mut w = world().await;
    let mut older = w.guard("guard").await;
    let GuardEvent::Connected { session: first, .. } = w.event().await else { panic!() };
    let _newer = w.guard("wildcard").await;
    let GuardEvent::Gone { session, .. } = w.event().await else { panic!() };
    assert_eq!(session, first);
    let GuardEvent::Connected { session: second, .. } = w.event().await else { panic!() };
    assert_ne!(first, second);
    assert_eq!(hear(&mut older).await, None);
    w.listener.answer(first, 1, instruction("to nobody"));
}

#[tokio::test]
async fn a_certificate_of_another_namespace_or_another_authority_gets_nothing() {
    let mut w = world().await;
    let mut other = w.guard("other").await;
    let Some(FromOperator::Refuse { reason }) = hear(&mut other).await else { panic!() };
    assert!(reason.contains("shop.web.guards.bascule"), "{reason}");
    let stranger = w.connect("stranger").await;
    // With TLS 1.3 the client may learn of the refusal only when it reads.
    if let Ok(mut stranger) = stranger {
        let _ =
            stranger.send(Bytes::from(serde_json::to_vec(&FromGuard::Hello(hello(PROTOCOL))).unwrap())).await;
        assert!(!matches!(stranger.next().await, Some(Ok(_))));
    }
    assert!(w.events.try_recv().is_err());
}

#[tokio::test]
async fn another_version_is_refused_by_name() {
    let w = world().await;
    let mut guard = w.connect("guard").await.unwrap();
    say(&mut guard, &FromGuard::Hello(hello(PROTOCOL + 1))).await;
    let Some(FromOperator::Refuse { reason }) = hear(&mut guard).await else { panic!() };
    assert!(reason.contains(&format!("version {}", PROTOCOL + 1)), "{reason}");
}

#[tokio::test]
async fn a_huge_or_unintelligible_message_ends_the_connection_with_its_reason() {
    let huge = serde_json::to_vec(&ask(1, vec!["x".repeat(MAX_FRAME)])).unwrap();
    for (bytes, expected) in [(huge, "frame size"), (b"{\"kind\":\"dance\"}".to_vec(), "unintelligible")] {
        let mut w = world().await;
        let mut guard = w.guard("guard").await;
        assert!(matches!(w.event().await, GuardEvent::Connected { .. }));
        guard.send(Bytes::from(bytes)).await.unwrap();
        let GuardEvent::Gone { reason, .. } = w.event().await else { panic!() };
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn a_guard_that_reads_nothing_is_dropped_and_blocks_nobody() {
    let mut w = world().await;
    let _deaf = w.guard("guard").await;
    let GuardEvent::Connected { session, .. } = w.event().await else { panic!() };
    let long = "x".repeat(50_000);
    let began = std::time::Instant::now();
    for nonce in 0..2000 {
        w.listener.answer(session, nonce, instruction(&long));
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() < PATIENCE);
    let GuardEvent::Gone { .. } = w.event().await else { panic!() };
}

#[tokio::test]
async fn who_says_nothing_at_all_is_not_waited_for() {
    let mut w = world().await;
    let mut silent = w.connect("guard").await.unwrap();
    let Some(end) = tokio::time::timeout(PATIENCE, silent.next()).await.ok() else { panic!("still open") };
    assert!(!matches!(end, Some(Ok(_))));
    assert!(w.events.try_recv().is_err());
}

#[tokio::test]
async fn what_a_guard_tells_of_its_disk_is_known_while_it_is_connected() {
    let mut w = world().await;
    let (disks, policy) = (w.listener.disks(), PolicyKey::new("web", "shop").unwrap());
    let database: ItemName = "main".try_into().unwrap();
    let mut guard = w.guard("guard").await;
    let GuardEvent::Connected { .. } = w.event().await else { panic!() };
    assert_eq!(disks.system(&policy, &database), None, "it has told nothing yet");
    let FromGuard::Ask(mut told) = ask(1, vec![]) else { panic!() };
    told.report.disk = Disk::Cluster(Cluster {
        system_id: SystemId(7),
        timeline: Timeline(1),
        state: ClusterState::InProduction,
        checkpoint: Lsn(1),
        standby_signal: false,
        half_rewound: false,
    });
    say(&mut guard, &FromGuard::Ask(told)).await;
    let GuardEvent::Asked { .. } = w.event().await else { panic!() };
    assert_eq!(disks.system(&policy, &database), Some(SystemId(7)));
    assert_eq!(disks.system(&PolicyKey::new("web", "other").unwrap(), &database), None);
    drop(guard);
    let GuardEvent::Gone { .. } = w.event().await else { panic!() };
    assert_eq!(disks.system(&policy, &database), None);
}

/// Waits until the other side has closed the connection.
async fn closed(tcp: &mut TcpStream) {
    use tokio::io::AsyncReadExt;
    let mut heard = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut heard)).await.expect("an end");
}

#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_no_guard_out_and_the_oldest_of_it_goes_at_once() {
    let mut world = world().await;
    let started = std::time::Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..2 * MAX_STRANGERS {
        crowd.push(TcpStream::connect(world.listener.address()).await.unwrap());
    }
    let _guard = world.guard("guard").await;
    assert!(matches!(world.event().await, GuardEvent::Connected { .. }));
    for tcp in &mut crowd[..MAX_STRANGERS] {
        closed(tcp).await;
    }
    // Before the time for a greeting was over: they went because others came.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_is_no_tls_ends_its_own_connection_and_no_other() {
    use tokio::io::AsyncWriteExt;
    let mut world = world().await;
    let _guard = world.guard("guard").await;
    assert!(matches!(world.event().await, GuardEvent::Connected { .. }));
    let noise = vec![0x5a; 1 << 20];
    let long_record = [[0x16, 3, 1, 0xff, 0xff].as_slice(), &noise].concat();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &noise, &long_record, &[0x16, 3, 1, 0, 5, 1], &[0]] {
        let mut tcp = TcpStream::connect(world.listener.address()).await.unwrap();
        // It may have closed already.
        let _ = tcp.write_all(bytes).await;
        closed(&mut tcp).await;
    }
    assert!(world.events.try_recv().is_err(), "the guard that is connected stays");
    let _another = world.guard("wildcard").await;
}
