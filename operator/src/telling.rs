//! How answers and progress reach whoever asked.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Says on standard error how far something long is, so that nobody wonders.
pub struct Progress {
    about: String,
    begun: Instant,
    said: Instant,
    line: bool,
    terminal: bool,
    /// How long nothing is said after the last word; in a file each word stays, so it doubles there.
    pause: Duration,
    last: String,
}

/// How long nothing is said, and how often something is said then.
pub const SILENT_FOR: Duration = Duration::from_secs(2);
/// How often something is said at least, where each word stays.
const SELDOM: Duration = Duration::from_mins(1);

impl Progress {
    /// Something about this begins.
    pub fn of(about: &str) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        let (about, pause) = (about.to_owned(), SILENT_FOR / 2);
        Self { about, begun: now, said: now, line: false, terminal, pause, last: String::new() }
    }

    /// It is as far as this.
    pub fn is_at(&mut self, what: &str) {
        if self.begun.elapsed() < SILENT_FOR || (self.line && self.said.elapsed() < self.pause) {
            return;
        }
        if self.last == what {
            return;
        }
        if !self.terminal {
            self.pause = (self.pause * 2).min(SELDOM);
        }
        what.clone_into(&mut self.last);
        self.said = Instant::now();
        self.line = true;
        let (start, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // Where progress cannot be told, the answer still can.
        let _ = write!(std::io::stderr(), "{start}{}: {what} …{end}", self.about);
    }

    /// It is over.
    pub fn ends(&self) {
        if self.line && self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// How often a wait looks whether something is to be said.
const TICK: Duration = Duration::from_millis(250);

/// Waits for the end of something, and says on standard error where it is when it takes long.
pub async fn aloud<T>(about: &str, work: impl Future<Output = T>, at: impl Fn() -> String) -> T {
    let mut progress = Progress::of(about);
    let mut tick = tokio::time::interval(TICK);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                progress.ends();
                return done;
            }
            _ = tick.tick() => progress.is_at(&at()),
        }
    }
}

/// Prints an answer.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("the answer cannot be printed"),
    }
}
