//! The server beside the guard: started, promoted, opened, closed and stopped, one step at a time.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_boundary::Effect;
use bascule_core::guard::alone::Alone;
use bascule_core::guard::lineage::marked;
use bascule_core::guard::wire::{Disk, Stopped, Upstream};
use bascule_core::position::Timeline;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::sync::watch;

use crate::access::Access;
use crate::children::{Child, children_of, describe};
use crate::clock;
use crate::effect;
use crate::session::{Session, SessionError};
use crate::store::{OPENED, STOPPED, Store, StoreError, sync_dir, write_atomically};
use crate::tool::{Patience, ToolError, Tools, conninfo, write_passfile};
use crate::watch::{NoLeave, Watch};

/// What is in the file of a timeline's number that is left free.
const LEFT_FREE: &str = "# bascule: this number is left free, for another copy may have taken it\n";

/// How often a file or the server is looked at again while a step waits for it.
const LOOK: Duration = Duration::from_millis(1);
/// How long closing may take before it counts as failed.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a reload may take to show.
const RELOAD: Duration = Duration::from_secs(5);
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

    /// Tells the postmaster to read its files again and waits until it has. `writes`: the new files let clients write,
    /// so it needs time left. `before`: what `session` last said of its load time.
    ///
    /// A session that has loaded the settings was told to by the postmaster, which loads the rules for clients in the
    /// same breath, before it forks again: every later session is let in by the new ones.
    async fn reload(&self, session: &Session, before: &str, writes: bool) -> Result<(), StepError> {
        let (child, _) = self.running().ok_or(StepError::NotRunning)?;
        let hup = || child.signal(Effect::Reload, Signal::SIGHUP);
        if writes {
            self.watch.with_leave(hup)?;
        } else {
            hup();
        }
        let began = clock::now();
        while session.loaded().await? == before {
            if clock::now().since(began) > RELOAD {
                return Err(StepError::NotLoaded(RELOAD));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Keeps clients out and ends their sessions, those that are being let in just now too.
    pub(crate) async fn close(&self) -> Result<(), StepError> {
        let session = self.kept_session().await?;
        let before = session.loaded().await?;
        self.access.close().map_err(|e| StepError::file(&self.access.hba(), e))?;
        self.reload(&session, &before, false).await?;
        // Somebody else's reload of the old rules looks the same. What the session loads after it has loaded once since
        // the rules were written was ordered since then.
        let before = session.loaded().await?;
        self.reload(&session, &before, false).await?;
        let began = clock::now();
        let mut quiet = 0;
        while quiet < 2 {
            let ended = session.end_sessions().await? + i64::from(self.end_newcomers(&session).await?);
            quiet = if ended == 0 { quiet + 1 } else { 0 };
            if clock::now().since(began) > CLOSING {
                return Err(StepError::Session(SessionError::TooSlow(CLOSING)));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Whether clients are kept out of the server that runs because a promotion may come.
    pub(crate) fn awaits_promotion(&self) -> bool {
        let marked = self.marked().as_ref().map(|(pid, _)| *pid);
        self.running().is_some_and(|(child, _)| marked == Some(child.pid()))
    }

    /// Keeps clients out of a standby that may be promoted next, and does all of that which can be done before.
    pub(crate) async fn close_standby(&self) -> Result<(), StepError> {
        self.close().await?;
        self.mark_promotion().map(|_| ())
    }

    /// Ends backends that were forked under the old rules and are not sessions yet: the server does not list them,
    /// and one that waits for a password could become a session long after the doors were closed.
    async fn end_newcomers(&self, session: &Session) -> Result<i32, StepError> {
        let (postmaster, _) = self.running().ok_or(StepError::NotRunning)?;
        let children = children_of(postmaster.pid()).map_err(|e| StepError::file(Path::new("/proc"), e))?;
        let known = session.known_pids().await?;
        let mut ended = 0;
        for pid in children.into_iter().filter(|pid| !known.contains(pid)) {
            let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let title = String::from_utf8_lossy(&title).into_owned();
            if !title.is_empty() && !title.contains("logger") {
                // Gone already is as good.
                let _ = effect::signal(Effect::EndNewcomers, Pid::from_raw(pid), Signal::SIGTERM);
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Makes a standby a primary, closed. Returns when it has left recovery. `close`: clients may be connected.
    pub(crate) async fn promote(&self, close: bool) -> Result<(), StepError> {
        if close {
            self.close().await?;
        }
        let reached = self.mark_promotion()?;
        self.leave_a_number(reached)?;
        let session = self.kept_session().await?;
        let (child, _) = self.running().ok_or(StepError::NotRunning)?;
        let trigger = self.data.join("promote");
        self.watch
            .with_leave(|| {
                effect::create(Effect::TriggerPromotion, &trigger)
                    .map(|_| child.signal(Effect::TriggerPromotion, Signal::SIGUSR1))
            })?
            .map_err(|e| StepError::file(&trigger, e))?;
        while session.in_recovery().await? {
            if let Some(status) = child.status() {
                return Err(StepError::Died(describe(status)));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Marks the history that is about to be left, so that the new one can be told from another copy's of the same
    /// number. Which timeline it will be is the server's choice: every one that it can be is marked. What was marked
    /// when it was closed is not written again: clients wait for a promotion.
    ///
    /// Answers the timeline that is left.
    fn mark_promotion(&self) -> Result<Timeline, StepError> {
        let (child, _) = self.running().ok_or(StepError::NotRunning)?;
        let reached = match crate::control::read(&self.data, false) {
            Disk::Cluster(cluster) => cluster.timeline,
            Disk::Empty | Disk::Unreadable { .. } => return Err(StepError::NotRunning),
        };
        let wal = self.data.join("pg_wal");
        let file = |e| StepError::file(&wal, e);
        let made = self.marked().clone().filter(|(pid, _)| *pid == child.pid()).map(|(_, token)| token);
        let token = if let Some(token) = made {
            token
        } else {
            let random = Path::new("/proc/sys/kernel/random/uuid");
            std::fs::read_to_string(random).map_err(|e| StepError::file(random, e))?.trim().to_owned()
        };
        let mut left = Vec::new();
        if reached == Timeline(1) {
            // It has no file of its own.
            left.push(wal.join("00000001.history"));
        }
        for entry in std::fs::read_dir(&wal).map_err(file)? {
            let path = entry.map_err(file)?.path();
            let number = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".history"));
            let number = number.and_then(|hex| u32::from_str_radix(hex, 16).ok());
            if number.is_some_and(|n| n >= reached.0) && !left.contains(&path) {
                left.push(path);
            }
        }
        for path in left {
            let text = match std::fs::read_to_string(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
                other => other.map_err(|e| StepError::file(&path, e))?,
            };
            let with_mark = marked(&text, &token);
            if with_mark != text {
                write_atomically(Effect::MarkHistory, &path, with_mark.as_bytes())
                    .map_err(|e| StepError::file(&path, e))?;
            }
        }
        *self.marked() = Some((child.pid(), token));
        Ok(reached)
    }

    /// A copy that was a primary until its own stop, and has received nothing of a later timeline since, does not know
    /// whether somebody else has left that timeline meanwhile: the next number may be taken. A file of that number, which
    /// is nobody's history, makes the server choose the one after it, and then `pg_rewind` can tell the two apart.
    fn leave_a_number(&self, reached: Timeline) -> Result<(), StepError> {
        let stopped: Option<Stopped> = self.store.read(STOPPED)?;
        if stopped.is_none_or(|stop| stop.timeline != reached) {
            return Ok(());
        }
        let free = self.data.join(format!("pg_wal/{:08X}.history", reached.0.saturating_add(1)));
        if free.exists() {
            return Ok(());
        }
        write_atomically(Effect::LeaveNumber, &free, LEFT_FREE.as_bytes())
            .map_err(|e| StepError::file(&free, e))
    }

    /// Takes a number that was left free for a promotion that never came back again: a standby would take it for a history
    /// that it has left, and not start.
    fn take_number_back(&self) -> Result<(), StepError> {
        let wal = self.data.join("pg_wal");
        let file = |e| StepError::file(&wal, e);
        let mut newest = None;
        for entry in std::fs::read_dir(&wal).map_err(file)? {
            let path = entry.map_err(file)?.path();
            let number = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".history"));
            let number = number.and_then(|hex| u32::from_str_radix(hex, 16).ok());
            newest = newest.max(number.map(|n| (n, path)));
        }
        let Some((_, path)) = newest else { return Ok(()) };
        let text = std::fs::read(&path).map_err(|e| StepError::file(&path, e))?;
        if text.starts_with(LEFT_FREE.as_bytes()) {
            effect::remove_file(Effect::TakeNumberBack, &path).map_err(|e| StepError::file(&path, e))?;
        }
        Ok(())
    }

    /// Lets clients write. The marker is on the disk before the first of them can.
    pub(crate) async fn open(&self, epoch: u64) -> Result<(), StepError> {
        // One that cannot be read is written anew: this epoch is none below what it said.
        if !matches!(self.store.read::<u64>(OPENED), Ok(Some(marked)) if marked == epoch) {
            self.store.write(OPENED, &epoch)?;
        }
        self.let_in(true).await
    }

    /// Lets clients read from a standby.
    pub(crate) async fn open_standby(&self) -> Result<(), StepError> {
        self.let_in(false).await
    }

    async fn let_in(&self, writes: bool) -> Result<(), StepError> {
        *self.marked() = None;
        let (_, settings) = self.running().ok_or(StepError::NotRunning)?;
        let session = self.kept_session().await?;
        let before = session.loaded().await?;
        let text = self.access.opened(&settings.hba).map_err(|e| StepError::file(&settings.hba, e))?;
        let put = || self.access.open(&text);
        let written = if writes { self.watch.with_leave(put)? } else { put() };
        written.map_err(|e| StepError::file(&self.access.hba(), e))?;
        // Asked while the server reads them: it takes no rules with a mistake in them, and stays closed.
        let (loaded, mistake) = tokio::join!(self.reload(&session, &before, writes), session.hba_mistake());
        if let Some(mistake) = mistake? {
            self.access.close().map_err(|e| StepError::file(&self.access.hba(), e))?;
            return Err(StepError::ClientRules { path: settings.hba, mistake });
        }
        loaded
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
