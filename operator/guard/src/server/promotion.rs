//! Promotions: the mark in the history that is left, numbers that are left free, and the trigger.

use std::io;
use std::path::{Path, PathBuf};

use bascule_boundary::Effect;
use bascule_core::guard::lineage::marked;
use bascule_core::guard::wire::{Disk, Stopped};
use bascule_core::position::Timeline;
use nix::sys::signal::Signal;

use super::{LOOK, Server, StepError};
use crate::children::describe;
use crate::effect;
use crate::store::{STOPPED, write_atomically};

/// What is in the file of a timeline's number that is left free.
const LEFT_FREE: &str = "# bascule: this number is left free, for another copy may have taken it\n";

impl Server {
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
    pub(super) fn mark_promotion(&self) -> Result<Timeline, StepError> {
        let (child, _) = self.running().ok_or(StepError::NotRunning)?;
        let reached = match crate::control::read(&self.data, false) {
            Disk::Cluster(cluster) => cluster.timeline,
            Disk::Empty | Disk::Unreadable { .. } => return Err(StepError::NotRunning),
        };
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
            left.push(self.data.join("pg_wal/00000001.history"));
        }
        for (number, path) in self.histories()? {
            if number >= reached.0 && !left.contains(&path) {
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
    pub(super) fn take_number_back(&self) -> Result<(), StepError> {
        let Some((_, path)) = self.histories()?.into_iter().max() else { return Ok(()) };
        let text = std::fs::read(&path).map_err(|e| StepError::file(&path, e))?;
        if text.starts_with(LEFT_FREE.as_bytes()) {
            effect::remove_file(Effect::TakeNumberBack, &path).map_err(|e| StepError::file(&path, e))?;
        }
        Ok(())
    }

    /// The histories that lie in the log, each with its timeline's number.
    fn histories(&self) -> Result<Vec<(u32, PathBuf)>, StepError> {
        let wal = self.data.join("pg_wal");
        let file = |e| StepError::file(&wal, e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&wal).map_err(file)? {
            let path = entry.map_err(file)?.path();
            let number = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".history"));
            let number = number.and_then(|hex| u32::from_str_radix(hex, 16).ok());
            found.extend(number.map(|number| (number, path)));
        }
        Ok(found)
    }
}
