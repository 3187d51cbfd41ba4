//! The server beside the guard: started and stopped, and by the modules below opened, closed and promoted, one step at a
//! time.

mod doors;
mod promotion;

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_boundary::Effect;
use bascule_core::guard::alone::Alone;
use bascule_core::guard::wire::Upstream;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::sync::watch;

use crate::access::Access;
use crate::children::{Child, describe};
use crate::effect;
use crate::session::{Session, SessionError};
use crate::store::{Store, StoreError, sync_dir};
use crate::tool::{Patience, ToolError, Tools, conninfo, write_passfile};
use crate::watch::{NoLeave, Watch};

/// How often a file or the server is looked at again while a step waits for it.
const LOOK: Duration = Duration::from_millis(1);
/// How long opening a session may take.
const CONNECT: Duration = Duration::from_secs(2);

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// The grant ended first.
    #[error(transparent)]
    NoLeave(#[from] NoLeave),
    /// The server ended during the step.
    #[error("the server ended: {0}; its own log says why")]
    Died(String),
    /// A file could not be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is kept beside the data could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server's session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The user's rules for clients are wrong.
    #[error("{path} line {mistake}: nobody can be let in before it is mended")]
    ClientRules {
        /// The user's file.
        path: PathBuf,
        /// Line and mistake, as the server says it.
        mistake: String,
    },
    /// A reload did not show in time.
    #[error("the server did not load its new rules for clients within {0:?}")]
    NotLoaded(Duration),
    /// What was to be a primary is a standby.
    #[error("standby.signal lies in the data directory: it cannot be started as a primary")]
    StandbySignal,
    /// No server runs.
    #[error("no server runs")]
    NotRunning,
}

impl StepError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    /// The error and its causes in one line.
    pub(crate) fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(e) = cause {
            text.push_str(": ");
            text.push_str(&e.to_string());
            cause = e.source();
        }
        text
    }
}

/// What the user's configuration says, asked of the server's own binary.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The port, of the local socket too.
    pub(crate) port: u16,
    hba: PathBuf,
    ident: PathBuf,
    sockets: String,
}

/// How to start.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// As a primary, closed.
    Primary,
    /// As a standby without an upstream, closed.
    Orphan,
    /// As a standby.
    Standby(Upstream),
}

/// The server and what is needed to handle it.
#[derive(Debug)]
pub(crate) struct Server {
    /// The user's command, `postgres` with its options.
    pub(crate) command: Vec<String>,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// The guard's socket directory.
    pub(crate) socket: PathBuf,
    /// The superuser's name.
    pub(crate) superuser: String,
    /// PostgreSQL's tools.
    pub(crate) tools: Tools,
    /// Who may connect.
    pub(crate) access: Access,
    /// What is kept beside the data.
    pub(crate) store: Store,
    /// The only way to a writer.
    pub(crate) watch: Watch,
    running: watch::Sender<Option<(Child, Settings)>>,
    /// The session that closes, promotes and opens: within a pause nothing waits for a backend to be forked.
    kept: Mutex<Option<(Pid, Arc<Session>)>>,
    /// The mark of the next promotion, and the process that it was made for.
    marked: Mutex<Option<(Pid, String)>>,
    strayed: AtomicBool,
    alone: Mutex<Alone>,
}

impl Server {
    #[expect(clippy::too_many_arguments, reason = "every part is named at the one place that calls it")]
    pub(crate) fn new(
        command: Vec<String>,
        data: PathBuf,
        socket: PathBuf,
        superuser: String,
        tools: Tools,
        access: Access,
        store: Store,
        watch: Watch,
    ) -> Self {
        Self {
            command,
            data,
            socket,
            superuser,
            tools,
            access,
            store,
            watch,
            running: watch::Sender::new(None),
            kept: Mutex::new(None),
            marked: Mutex::new(None),
            strayed: AtomicBool::new(false),
            alone: Mutex::new(Alone::default()),
        }
    }

    /// The postmaster and its settings, while there is one.
    pub(crate) fn running(&self) -> Option<(Child, Settings)> {
        self.running.borrow().clone()
    }

    fn set_running(&self, to: Option<(Child, Settings)>) {
        *self.kept() = None;
        self.watch.postmaster(to.as_ref().map(|(child, _)| child.pid()));
        self.running.send_replace(to);
    }

    /// Whether this copy is known to have left its upstream's history and was not brought back yet.
    pub(crate) fn strayed(&self) -> bool {
        self.strayed.load(Ordering::Relaxed)
    }

    /// What was found out about that.
    pub(crate) fn set_strayed(&self, to: bool) {
        self.strayed.store(to, Ordering::Relaxed);
    }

    /// How long this copy's upstream has not said where their histories part.
    pub(crate) fn alone(&self) -> MutexGuard<'_, Alone> {
        // Nothing panics while it is held, and a half-written one would be no worse than a new one.
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of every start and of every end.
    pub(crate) fn starts(&self) -> watch::Receiver<Option<(Child, Settings)>> {
        self.running.subscribe()
    }

    /// Nothing of it runs any more.
    pub(crate) fn gone(&self) {
        self.set_running(None);
        self.watch.writer_gone();
    }

    /// A command line of the user's command, with its data directory.
    fn user_command(&self) -> Command {
        let mut command = Command::new(self.command.first().map_or("postgres", String::as_str));
        command.args(self.user_arguments()).env("PGDATA", &self.data).stdin(Stdio::null());
        command
    }

    /// What the user's command line says after the program.
    pub(crate) fn user_arguments(&self) -> impl Iterator<Item = &String> {
        self.command.iter().skip(1)
    }

    async fn setting(&self, name: &str) -> Result<String, ToolError> {
        let mut command = self.user_command();
        command.args(["-C", name]).env("LC_ALL", "C");
        Ok(self.tools.must(None, command, Patience::Within(Duration::from_secs(10))).await?.trim().to_owned())
    }

    async fn settings(&self) -> Result<Settings, ToolError> {
        let (port, hba, ident, sockets) = tokio::try_join!(
            self.setting("port"),
            self.setting("hba_file"),
            self.setting("ident_file"),
            self.setting("unix_socket_directories")
        )?;
        Ok(Settings { port: port.parse().unwrap_or(5432), hba: hba.into(), ident: ident.into(), sockets })
    }

    /// A session of the guard.
    pub(crate) async fn session(&self) -> Result<Session, StepError> {
        let (_, settings) = self.running().ok_or(StepError::NotRunning)?;
        Ok(Session::open(&self.socket, settings.port, &self.superuser, CONNECT).await?)
    }

    fn kept(&self) -> MutexGuard<'_, Option<(Pid, Arc<Session>)>> {
        // A panic while holding it leaves a session that is still looked at before it is used.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marked(&self) -> MutexGuard<'_, Option<(Pid, String)>> {
        // Every change is one assignment.
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that is kept between steps, opened if there is none that lives. Short statements only: the steps of
    /// a pause wait for it.
    async fn kept_session(&self) -> Result<Arc<Session>, StepError> {
        let (child, _) = self.running().ok_or(StepError::NotRunning)?;
        let kept = self.kept().clone();
        if let Some((pid, session)) = kept
            && pid == child.pid()
            && session.answers().await
        {
            return Ok(session);
        }
        let session = Arc::new(self.session().await?);
        *self.kept() = Some((child.pid(), session.clone()));
        Ok(session)
    }

    /// Starts it, closed, and returns when it takes sessions. The caller has decided that it may.
    pub(crate) async fn start(&self, how: &Start) -> Result<(), StepError> {
        let settings = self.settings().await?;
        self.access.close().map_err(|e| StepError::file(&self.access.hba(), e))?;
        self.access
            .write_ident(Some(&settings.ident))
            .map_err(|e| StepError::file(&self.access.ident(), e))?;
        self.remove_trigger()?;
        self.forget_strangers(&settings)?;
        self.take_number_back()?;
        let mut command = self.user_command();
        let option = |command: &mut Command, name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        let own = self.socket.display();
        let sockets =
            if settings.sockets.is_empty() { own.to_string() } else { format!("{own},{}", settings.sockets) };
        option(&mut command, "hba_file", &self.access.hba().display().to_string());
        option(&mut command, "ident_file", &self.access.ident().display().to_string());
        option(&mut command, "unix_socket_directories", &sockets);
        // On the command line, where neither ALTER SYSTEM nor a file that pg_rewind copied can change it.
        let (conninfo, slot) = match how {
            Start::Standby(upstream) => {
                let passfile = self.passfile();
                write_passfile(&passfile, upstream).map_err(|e| StepError::file(&passfile, e))?;
                (conninfo(upstream, &passfile, &[]), upstream.slot.as_str())
            }
            Start::Primary | Start::Orphan => (String::new(), ""),
        };
        option(&mut command, "primary_conninfo", &conninfo);
        option(&mut command, "primary_slot_name", slot);
        option(&mut command, "recovery_target_timeline", "latest");
        option(&mut command, "hot_standby", "on");
        command.process_group(0);
        if !matches!(how, Start::Primary) {
            self.standby_signal()?;
        } else if self.data.join("standby.signal").exists() {
            // It came after the disk was looked at: this would be a standby that is taken for a primary.
            return Err(StepError::StandbySignal);
        }
        let spawn = || {
            let spawned = self.tools.children.spawn(Some(Effect::StartServer), &mut command)?;
            Ok(spawned.0)
        };
        let spawned: io::Result<Child> = match how {
            Start::Primary => self.watch.with_leave(spawn)?,
            Start::Orphan | Start::Standby(_) => self.watch.outside_a_kill(spawn)?,
        };
        let child = match spawned {
            Ok(child) => child,
            Err(e) => {
                self.watch.writer_gone();
                return Err(StepError::file(Path::new(&self.command[0]), e));
            }
        };
        self.set_running(Some((child.clone(), settings)));
        self.ready(&child).await
    }

    /// Where the upstream's password lies.
    pub(crate) fn passfile(&self) -> PathBuf {
        self.store.dir().join("passfile")
    }

    /// Makes the next start a standby's.
    pub(crate) fn standby_signal(&self) -> Result<(), StepError> {
        let path = self.data.join("standby.signal");
        if path.exists() {
            return Ok(());
        }
        effect::create_synced(Effect::WriteStandbySignal, &path)
            .and_then(|()| sync_dir(&self.data))
            .map_err(|e| StepError::file(&path, e))
    }

    /// Removes the promotion trigger, if it is there.
    pub(crate) fn remove_trigger(&self) -> Result<(), StepError> {
        let path = self.data.join("promote");
        match effect::remove_file(Effect::RemoveTrigger, &path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StepError::file(&path, e)),
            _ => Ok(()),
        }
    }

    /// Removes the lock files that [`forget_stranger`] means.
    fn forget_strangers(&self, settings: &Settings) -> Result<(), StepError> {
        let own = std::iter::once(self.socket.clone());
        let users = settings.sockets.split(',').map(|s| PathBuf::from(s.trim().trim_matches('"')));
        let sockets = own.chain(users).map(|dir| dir.join(format!(".s.PGSQL.{}.lock", settings.port)));
        for path in sockets {
            forget_stranger(&path)?;
        }
        self.forget_postmaster()
    }

    /// The same for the lock on the data alone, which is all that a server in single-user mode takes.
    pub(crate) fn forget_postmaster(&self) -> Result<(), StepError> {
        forget_stranger(&self.data.join("postmaster.pid"))
    }

    /// Waits until the postmaster says it takes sessions. Recovery may take as long as it takes: whoever waits for
    /// this can stop the server instead.
    async fn ready(&self, child: &Child) -> Result<(), StepError> {
        let path = self.data.join("postmaster.pid");
        let pid = child.pid().to_string();
        loop {
            if let Some(status) = child.status() {
                return Err(StepError::Died(describe(status)));
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let mut lines = text.lines();
            if lines.next() == Some(&pid) && lines.nth(6).map(str::trim) == Some("ready") {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks for a fast stop and waits for the postmaster until `patience` ends. `None`: it still runs.
    pub(crate) async fn stop_fast(&self, patience: Duration) -> Option<ExitStatus> {
        let (mut child, _) = self.running()?;
        child.signal(Effect::AskToStop, Signal::SIGINT);
        tokio::time::timeout(patience, child.ended()).await.ok()
    }
}

/// A lock file from before this container was restarted may name a process, or a thread, that is somebody else now: the
/// server would take it for another postmaster.
fn forget_stranger(path: &Path) -> Result<(), StepError> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let Some(pid) = text.lines().next().and_then(|l| l.trim().parse::<i32>().ok()) else { return Ok(()) };
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if !comm.is_empty() && comm.trim() != "postgres" {
        effect::remove_file(Effect::RemoveLockFile, path).map_err(|e| StepError::file(path, e))?;
    }
    Ok(())
}
