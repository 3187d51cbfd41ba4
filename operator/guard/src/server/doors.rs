//! The doors of a server: who may connect, and how those who may not any more are ended.

use std::path::Path;
use std::time::Duration;

use bascule_boundary::Effect;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{LOOK, Server, StepError};
use crate::children::children_of;
use crate::clock;
use crate::effect;
use crate::session::{Session, SessionError};
use crate::store::OPENED;

/// How long closing may take before it counts as failed.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a reload may take to show.
const RELOAD: Duration = Duration::from_secs(5);

impl Server {
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
}
