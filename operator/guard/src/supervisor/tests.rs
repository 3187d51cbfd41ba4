//! What the loop makes of news that come late.

use std::path::{Path, PathBuf};

use bascule_core::guard::action::Memory;
use bascule_core::guard::wire::{Cluster, Grant, Instruction, Timing};
use bascule_core::name::PolicyKey;
use bascule_core::position::{Lsn, SystemId, Timeline};

use super::*;
use crate::access::Access;
use crate::children::Children;
use crate::store::Store;
use crate::tool::Tools;
use crate::watch::Watch;

fn supervisor(dir: &Path) -> (Supervisor, mpsc::Receiver<FromGuard>) {
    let (hear, heard) = mpsc::channel(64);
    let (say, said) = mpsc::channel(64);
    let access = Access {
        dir: dir.to_owned(),
        superuser: "postgres".into(),
        system_user: "nobody".into(),
        replication: Vec::new(),
    };
    let tools = Tools { bin: PathBuf::from("/nowhere"), children: Children::default() };
    let server = Arc::new(Server::new(
        vec!["/nowhere/postgres".into()],
        dir.join("data"),
        dir.to_owned(),
        "postgres".into(),
        tools,
        access,
        Store::open(dir.to_owned()).unwrap(),
        Watch::start(|_, _, _| {}, |_| {}).unwrap(),
    ));
    let disk = Disk::Cluster(Cluster {
        system_id: SystemId(1),
        timeline: Timeline(1),
        state: ClusterState::ShutDown,
        checkpoint: Lsn(100),
        standby_signal: false,
        half_rewound: false,
    });
    let policy = PolicyKey::new("web", "shop").unwrap();
    let (site, database) = ("paris".try_into().unwrap(), "main".to_owned().try_into().unwrap());
    let (journal, _) = Journal::open(dir, site, policy, database).unwrap();
    let contact = crate::monitor::load_contact(&server).unwrap();
    let rules = Rules::new(Memory::default(), disk, clock::now());
    let boot = "boot".to_owned();
    (Supervisor::new(rules, server, None, boot, heard, hear, say, contact, journal).unwrap(), said)
}

/// Answers the last question with leave to serve.
fn serve(supervisor: &mut Supervisor, said: &mut mpsc::Receiver<FromGuard>) {
    let mut last = None;
    while let Ok(FromGuard::Ask(ask)) = said.try_recv() {
        last = Some(ask.nonce);
    }
    let instruction = Instruction {
        serial: 5,
        epoch: 1,
        generation: 0,
        role: Role::Serve { open: true, slots: Vec::new() },
        grant: Some(Grant::For { remaining: Millis(60_000) }),
        fresh: true,
        checkpoint: false,
        unmanaged: false,
        timing: Timing { p: Millis(250), tq: Millis(250), r: Millis(1250), f: Millis(300) },
    };
    supervisor.apply(Event::Answered { nonce: last.expect("a question"), instruction });
}

#[tokio::test]
async fn the_late_word_of_a_stop_does_not_end_the_start_that_came_since() {
    let dir = tempfile::tempdir().unwrap();
    let (mut supervisor, mut said) = supervisor(dir.path());
    supervisor.apply(Event::Connected);
    for _ in 0..2 {
        serve(&mut supervisor, &mut said);
    }
    assert_eq!(supervisor.rules.server(), &ServerState::Starting { writer: true });
    let event = supervisor.hears(Heard::NeverRan);
    supervisor.apply(event);
    assert_eq!(supervisor.rules.server(), &ServerState::Starting { writer: true });
    assert_eq!(supervisor.rules.memory().locked, None);
}
