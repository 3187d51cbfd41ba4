//! A member of the arbiter that is replaced: removed, its disk emptied, and added as a new one.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::place::{ARBITER_PEER_PORT, Place};
use super::run_folder::RunFolder;
use super::{World, control};
use crate::waiting::until;

/// How long the arbiter may take to let a member go.
const LETS_GO: Duration = Duration::from_secs(10);

/// How a place's member came to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// It was there when the arbiter was born.
    First,
    /// It is being removed or is removed; whatever is on its disk, it must not start.
    Left,
    /// It was added to an arbiter that was there.
    Joined,
}

impl Membership {
    /// What was last noted of a place.
    pub(super) fn of(run: &RunFolder, place: Place) -> Result<Self> {
        let file = note(run, place);
        match fs::read_to_string(&file) {
            Ok(text) if text == "left" => Ok(Self::Left),
            Ok(_) => Ok(Self::Joined),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::First),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn note(self, run: &RunFolder, place: Place) -> Result<()> {
        let file = note(run, place);
        match self {
            Self::First => fs::remove_file(&file),
            Self::Left => fs::write(&file, "left"),
            Self::Joined => fs::write(&file, "joined"),
        }
        .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn note(run: &RunFolder, place: Place) -> PathBuf {
    run.place(place).join("arbiter-membership")
}

#[derive(Deserialize)]
struct Members {
    members: Vec<Member>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[serde(rename = "ID")]
    id: u64,
    /// Empty until it has started.
    #[serde(default)]
    name: String,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
}

impl World {
    /// Whether the arbiter's member of a place is removed now.
    pub(super) fn left_arbiter(&self, place: Place) -> Result<bool> {
        Ok(Membership::of(self.run(), place)? == Membership::Left)
    }

    /// Removes the arbiter's member of a place and empties its disk, until [`World::join_arbiter`].
    pub async fn leave_arbiter(&self, place: Place) -> Result<()> {
        let before = Membership::of(self.run(), place)?;
        ensure!(before != Membership::Left, "the member of {place} is removed already");
        let member = self.member(place)?.with_context(|| format!("{place} has no member"))?;
        Membership::Left.note(self.run(), place)?;
        let id = format!("{:x}", member.id);
        // Refused while any of them has been connected for less than five seconds.
        until(&format!("the arbiter to let the member of {place} go"), LETS_GO, || async {
            match self.ctl_of_others(place, &["member", "remove", &id]) {
                Err(e) if self.member(place)?.is_some() => Err(e),
                _ => Ok(()),
            }
        })
        .await?;
        ensure!(self.member(place)?.is_none(), "the member of {place} is still there");
        self.stop_member(place)?;
        self.empty_member(place)
    }

    /// Adds a new member at a place whose one was removed, and starts it; returns when it answers. One that could not be
    /// removed goes on as it was. Nothing to do is no error.
    pub async fn join_arbiter(&self, place: Place) -> Result<()> {
        if Membership::of(self.run(), place)? != Membership::Left {
            return Ok(());
        }
        match self.member(place)? {
            // Removed it would have no name.
            Some(member) if !member.name.is_empty() => {}
            added => {
                self.stop_member(place)?;
                self.empty_member(place)?;
                if added.is_none() {
                    let peer = format!("--peer-urls={}", peer(place));
                    self.ctl_of_others(place, &["member", "add", place.name(), &peer])?;
                }
            }
        }
        Membership::Joined.note(self.run(), place)?;
        if !self.runs(place, "arbiter")? {
            self.restart_arbiter_member(place)?;
        }
        self.arbiter().ready(place.alone()).await
    }

    fn member(&self, place: Place) -> Result<Option<Member>> {
        let text = self.ctl_of_others(place, &["member", "list", "-w", "json"])?;
        let list: Members = serde_json::from_str(&text).context("etcdctl's list of members")?;
        Ok(list.members.into_iter().find(|m| m.peer_urls.contains(&peer(place))))
    }

    fn ctl_of_others(&self, place: Place, args: &[&str]) -> Result<String> {
        let others: Vec<Place> = Place::ALL.into_iter().filter(|p| *p != place).collect();
        self.arbiter().ctl_at(&others, "root", args)
    }

    /// One that is removed ends by itself, some time.
    fn stop_member(&self, place: Place) -> Result<()> {
        if self.runs(place, "arbiter")?
            && let Err(e) = self.kill_part(place, "arbiter")
        {
            ensure!(!self.runs(place, "arbiter")?, "the member of {place} does not end: {e:#}");
        }
        Ok(())
    }

    /// The folder itself may be where a disk is mounted.
    fn empty_member(&self, place: Place) -> Result<()> {
        ensure!(
            control::parts(self.run(), place)?.iter().all(|p| p.name != "arbiter" || p.ended.is_some()),
            "the member of {place} still runs"
        );
        let folder = self.run().place(place).join("arbiter");
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            fs::remove_dir_all(entry?.path())?;
        }
        Ok(())
    }
}

fn peer(place: Place) -> String {
    format!("https://{}:{ARBITER_PEER_PORT}", place.address())
}
