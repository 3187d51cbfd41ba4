//! The supervisor beside a database: `bascule guard postgres -- postgres ...` is process 1 of its container.
//!
//! It starts, stops, promotes and rewinds the server as its operator says, and ends every process of it when its
//! grant runs out, whatever else does or does not run. The rules are `bascule_core::guard`'s; here they are obeyed.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "what a test changes is no effect of the guard")
)]

mod access;
mod arbiter;
mod children;
mod clock;
mod clone;
mod config;
mod control;
mod effect;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod install;
mod journal;
mod link;
mod monitor;
mod rejoin;
mod server;
mod session;
mod store;
mod supervisor;
mod tls;
mod tool;
mod unlock;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bascule_boundary::Effect;
use bascule_core::guard::action::Memory;
use bascule_core::guard::rules::Rules;
use bascule_core::guard::wire::{Hello, PROTOCOL};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};

pub use crate::arbiter::Witness;
pub use crate::config::{Args, Config, ConfigError};
pub use crate::install::{InstallError, install};
pub use crate::store::StoreError;
pub use crate::unlock::{Although, LockArgs, Place, UnlockArgs, UnlockError, lock, unlock};

use crate::access::Access;
use crate::arbiter::{Arbiter, Asked, Members};
use crate::children::Children;
use crate::journal::Journal;
use crate::link::{FromLink, Link};
use crate::monitor::Seen;
use crate::server::Server;
use crate::store::{MEMORY, REWINDING, Store, UNLOCKED};
use crate::supervisor::{Heard, Supervisor};
use crate::tool::{Patience, Tools};
use crate::watch::Watch;

/// The longest path of a Unix socket, less the socket's own name.
const SOCKET_PATH: usize = 107 - "/.s.PGSQL.65535".len();

/// How long the end of the process may wait for the journal's last lines: nothing of the server runs any more.
const JOURNAL_END: Duration = Duration::from_millis(300);

/// The guard cannot do its work here.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// It is not process 1.
    #[error(
        "the guard is process {0}, not process 1 of its container: it could not end every process of the server. Run it as the container's command, and leave shareProcessNamespace and hostPID off"
    )]
    NotProcessOne(u32),
    /// `/proc` shows another pid namespace.
    #[error(
        "/proc shows another pid namespace than the guard's own: it could not find the server's processes"
    )]
    ForeignProc,
    /// It runs as root.
    #[error(
        "the guard runs as root and PostgreSQL refuses to: set runAsUser to the owner of the data directory"
    )]
    Root,
    /// The user has no name.
    #[error(
        "user {0} has no name in /etc/passwd: PostgreSQL's peer authentication, by which the guard is let in, needs one"
    )]
    Nameless(u32),
    /// The socket's path is too long.
    #[error("{0} is too long for a Unix socket: use a shorter --state-dir")]
    SocketPath(PathBuf),
    /// It was told to ask a witness and cannot.
    #[error(
        "--arbiter-kubeconfig is set and this program has no client for a witness: run the guard as `bascule guard postgres`"
    )]
    NoWitness,
    /// What is kept beside the data cannot be used.
    #[error("the guard's marks beside the data")]
    Store(#[from] StoreError),
    /// The operating system said no.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// Runs the guard until its pod is asked to end. Returns when nothing of the server runs any more.
///
/// # Errors
/// Only before anything was started: not process 1, marks that cannot be read or written, an arbiter that is a witness.
pub async fn run(config: Config) -> Result<ExitCode, GuardError> {
    run_with(config, None).await
}

/// The same with a client for the witness, where the arbiter is one (`arbiter_kubeconfig` of the configuration).
///
/// # Errors
/// Only before anything was started: not process 1, marks that cannot be read or written, a witness without a client.
pub async fn run_with(config: Config, witness: Option<Arc<dyn Witness>>) -> Result<ExitCode, GuardError> {
    if config.arbiter_kubeconfig.is_some() && witness.is_none() {
        return Err(GuardError::NoWitness);
    }
    let system_user = fit_to_guard()?;
    let store = Store::open(config.state_dir.clone())?;
    let socket = store.dir().join("run");
    if socket.as_os_str().len() > SOCKET_PATH {
        return Err(GuardError::SocketPath(socket));
    }
    make_private(&socket)?;

    let (hear, heard) = mpsc::channel(256);
    let children = Children::default();
    reap_and_hear_signals(&children, &hear)?;
    let from_watch = hear.clone();
    let whose = children.clone();
    let end_all = move |postmaster, fence, left: &dyn Fn(Vec<String>)| {
        watch::end_all(&whose, postmaster, fence, left);
    };
    let watch = Watch::start(end_all, move |killed| {
        // Never waits: it is the thread that has to be in time. The postmaster's end is heard of anyway.
        let _ = from_watch.try_send(Heard::Killed(killed));
    })
    .map_err(|source| GuardError::System { what: "starting the watch over the deadline", source })?;

    let (journal, journal_end) =
        Journal::open(store.dir(), config.site.clone(), config.policy.clone(), config.database.clone())
            .map_err(|source| GuardError::System { what: "starting the journal's thread", source })?;

    let tools = Tools { bin: config.bin.clone(), children };
    let postgres_version = postgres_version(&tools).await;
    let access = Access {
        dir: store.dir().to_owned(),
        superuser: config.superuser.clone(),
        system_user,
        replication: config.replication_hba.clone(),
    };
    let mut memory: Memory = store.read(MEMORY)?.unwrap_or_default();
    // The person's own word, not what was remembered of it: one that cannot be read allows nothing.
    let word = store.read(UNLOCKED).unwrap_or_else(|e| {
        tracing::error!(error = %link::in_full(&e), "a person's word cannot be read: the server is not unlocked");
        None
    });
    if memory.unlocked != word {
        memory.unlocked = word;
        // Whoever has just written it waits for this.
        store.write(MEMORY, &memory)?;
    }
    let disk = control::read(&config.data, store.has(REWINDING));
    tracing::info!(?disk, ?memory, postgres_version, "the guard waits for its role");
    let asked = match witness {
        Some(witness) => Some(Asked::Witness(witness)),
        None if config.arbiter.is_empty() => None,
        None => Some(Asked::Members(Arc::new(Members {
            endpoints: config.arbiter,
            certificates: config.arbiter_certificates,
            lines: Mutex::default(),
        }))),
    };
    let rules = Rules::new(memory, disk, clock::now()).with_arbiter(asked.is_some());
    let server = Arc::new(Server::new(
        config.command,
        config.data,
        socket,
        config.superuser,
        tools,
        access,
        store,
        watch,
    ));

    let boot = random_name();
    let hello = Hello {
        protocol: PROTOCOL,
        policy: config.policy.clone(),
        database: config.database,
        site: config.site.clone(),
        instance: config.instance,
        boot: boot.clone(),
        postgres_version,
    };
    let link = Link {
        operator: config.operator,
        name: config.operator_name,
        certificates: config.certificates,
        hello,
    };
    let arbiter = asked.map(|asked| {
        Arc::new(Arbiter {
            asked,
            policy: config.policy,
            site: config.site,
            uid: config.cluster_uid,
            boot: boot.clone(),
        })
    });

    let (say, saying) = mpsc::channel(16);
    let (from_link, mut link_heard) = mpsc::channel::<FromLink>(64);
    let (seeing, mut seen) = mpsc::channel::<Seen>(1);
    let contact = monitor::load_contact(&server)?;
    tokio::spawn(link.run(saying, from_link));
    tokio::spawn(monitor::run(server.clone(), seeing));
    tokio::spawn(supervisor::postmaster_ends(server.clone(), hear.clone()));
    let forward = hear.clone();
    tokio::spawn(async move {
        loop {
            let heard = tokio::select! {
                Some(from) = link_heard.recv() => Heard::Link(from),
                Some(reading) = seen.recv() => Heard::Seen(reading),
                else => return,
            };
            if forward.send(heard).await.is_err() {
                return;
            }
        }
    });
    Supervisor::new(rules, server, arbiter, boot, heard, hear, say, contact, journal)?.run().await;
    journal_end.finish(JOURNAL_END);
    Ok(ExitCode::SUCCESS)
}

/// Whether this process can do a guard's work; returns the name of its user.
fn fit_to_guard() -> Result<String, GuardError> {
    let pid = std::process::id();
    if pid != 1 {
        return Err(GuardError::NotProcessOne(pid));
    }
    if std::fs::read_link("/proc/self").ok().as_deref() != Some(std::path::Path::new("1")) {
        return Err(GuardError::ForeignProc);
    }
    let uid = nix::unistd::geteuid();
    if uid.is_root() {
        return Err(GuardError::Root);
    }
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    user.map(|u| u.name).ok_or(GuardError::Nameless(uid.as_raw()))
}

fn make_private(dir: &std::path::Path) -> Result<(), GuardError> {
    effect::make_dirs(Effect::MakeDirectory, dir)
        .map_err(|source| GuardError::System { what: "making the directory of the guard's socket", source })
}

/// As process 1 it is the parent of every orphan, and no signal has a default effect.
fn reap_and_hear_signals(children: &Children, hear: &mpsc::Sender<Heard>) -> Result<(), GuardError> {
    let listen =
        |kind| signal(kind).map_err(|source| GuardError::System { what: "listening for signals", source });
    let mut ended = listen(SignalKind::child())?;
    let children = children.clone();
    tokio::spawn(async move {
        while ended.recv().await.is_some() {
            children.reap();
        }
    });
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()] {
        let mut asked = listen(kind)?;
        let hear = hear.clone();
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                if hear.send(Heard::Terminate).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// What the server's program says it is, for the operator; what lies on the disk is judged by `PG_VERSION`.
async fn postgres_version(tools: &Tools) -> String {
    let mut command = tools.command("postgres");
    command.arg("--version");
    let said = tools.must(None, command, Patience::Within(std::time::Duration::from_secs(5))).await;
    let word = |text: String| text.split_whitespace().nth(2).map(str::to_owned);
    said.ok().and_then(word).unwrap_or_else(|| "unknown".to_owned())
}

/// Another name for every process.
fn random_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().trim().to_owned()
}
