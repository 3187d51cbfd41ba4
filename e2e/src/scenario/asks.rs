//! What a person types at a site, with the real command line, and what it answers.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Scene;
use crate::command::outcome;
use crate::progress::seconds;
use crate::world::Place;

/// Far longer than any command may take: one that hangs is told as such.
const HUNG: Duration = Duration::from_secs(30);

/// What the command line answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was typed.
    pub typed: String,
    /// How it ended; `None`: by a signal.
    pub code: Option<i32>,
    /// Everything that it printed.
    pub said: String,
    /// How long it took.
    pub took: Duration,
}

impl Scene<'_> {
    /// A person who can reach the cluster of `site` types this, with `bascule` before it.
    pub fn asks(&self, site: Place, words: &[&str]) -> Result<Answer> {
        let binaries = self.world().binaries().context("this world was made without the bascule binary")?;
        let mut command = Command::new(&binaries.bascule);
        command.args(words).env("KUBECONFIG", self.world().kubeconfig(site));
        let typed = format!("bascule {}", words.join(" "));
        let begin = Instant::now();
        let (status, out, err) = outcome(command, None, HUNG)?;
        let answer =
            Answer { typed, code: status.code(), said: format!("{out}{err}"), took: begin.elapsed() };
        self.note(&format!("{}: code {:?} after {}", answer.typed, answer.code, seconds(answer.took)));
        Ok(answer)
    }
}
