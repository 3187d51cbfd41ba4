//! PostgreSQL's own tools, run as children under a deadline.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bascule_boundary::{self as boundary, Effect};
use bascule_core::guard::wire::Upstream;
use nix::sys::signal::Signal;

use crate::children::{Child, Children, describe};
use crate::clock;
use crate::store::write_atomically;

/// The most that is kept of a tool's output, in bytes.
const KEPT: usize = 8 * 1024 * 1024;

/// A tool did not do its work.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// It could not be started.
    #[error("{tool} cannot be started: {reason}")]
    NotStarted {
        /// Its path.
        tool: String,
        /// Why.
        reason: String,
    },
    /// It ended with an error.
    #[error("{tool}: {how}: {said}")]
    Failed {
        /// Its name.
        tool: String,
        /// How it ended.
        how: String,
        /// The last it said.
        said: String,
    },
    /// It was too slow and was killed.
    #[error("{tool}: killed after {after:?} without {what}")]
    TooSlow {
        /// Its name.
        tool: String,
        /// The deadline.
        after: Duration,
        /// What was waited for.
        what: &'static str,
    },
}

/// What a tool that ended well or badly had said.
#[derive(Debug)]
pub(crate) struct Said {
    /// On its standard output.
    pub(crate) out: String,
    /// On its standard error.
    pub(crate) err: String,
    /// Whether it exited with status 0.
    pub(crate) ok: bool,
    how: String,
}

/// How long a tool may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// In all.
    Within(Duration),
    /// Without a sign of life.
    Silent(Duration),
}

/// Where the tools are and who reaps them.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// The directory of `pg_rewind` and the others.
    pub(crate) bin: PathBuf,
    /// Who starts and reaps.
    pub(crate) children: Children,
}

/// Kills a tool whose work nobody waits for any more.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.signal(Effect::EndTool, Signal::SIGKILL);
    }
}

impl Tools {
    /// A command in the tools' directory, with a quiet and English environment.
    pub(crate) fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(self.bin.join(tool));
        command.env("LC_ALL", "C").env("PGCONNECT_TIMEOUT", "5").stdin(Stdio::null());
        command
    }

    /// Runs it and returns what it said, however it ended. `effect`: what it changes; `None`: it only reads.
    pub(crate) async fn run(
        &self,
        effect: Option<Effect>,
        mut command: Command,
        patience: Patience,
    ) -> Result<Said, ToolError> {
        let path = command.get_program().to_string_lossy().into_owned();
        let tool = Path::new(&path).file_name().map_or(path.clone(), |n| n.to_string_lossy().into_owned());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // From its start to its end.
        let _underway = boundary::begin(effect);
        let (child, mut pipes) = self
            .children
            .spawn(None, &mut command)
            .map_err(|e| ToolError::NotStarted { tool: path, reason: e.to_string() })?;
        let alive = Arc::new(AtomicU64::new(now_ms()));
        let out = pipes.stdout.take().map(|p| read_all(p, alive.clone()));
        let err = pipes.stderr.take().map(|p| read_all(p, alive.clone()));
        let mut running = KillOnDrop(child);
        let status = loop {
            let (left, too_slow) = match patience {
                Patience::Within(d) => {
                    (d, ToolError::TooSlow { tool: tool.clone(), after: d, what: "an end" })
                }
                Patience::Silent(d) => {
                    let quiet = Duration::from_millis(now_ms().saturating_sub(alive.load(Ordering::Relaxed)));
                    let left = d.saturating_sub(quiet);
                    (left, ToolError::TooSlow { tool: tool.clone(), after: d, what: "a sign of progress" })
                }
            };
            match tokio::time::timeout(left, running.0.ended()).await {
                Ok(status) => break status,
                Err(_)
                    if matches!(patience, Patience::Silent(d)
                    if now_ms().saturating_sub(alive.load(Ordering::Relaxed)) < millis(d)) => {}
                Err(_) => return Err(too_slow),
            }
        };
        let text = |pipe: Option<tokio::task::JoinHandle<Vec<u8>>>| async {
            match pipe {
                Some(task) => String::from_utf8_lossy(&task.await.unwrap_or_default()).into_owned(),
                None => String::new(),
            }
        };
        Ok(Said { out: text(out).await, err: text(err).await, ok: status.success(), how: describe(status) })
    }

    /// Runs one that only reads, and hands each line of its standard output to `line`, however long it goes on; returns how it ended.
    pub(crate) async fn lines<T: Send + 'static>(
        &self,
        mut command: Command,
        silent: Duration,
        mut seen: T,
        line: impl Fn(&mut T, &str) + Send + 'static,
    ) -> Result<(T, String), ToolError> {
        let tool = command.get_program().to_string_lossy().into_owned();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, mut pipes) = self
            .children
            .spawn(None, &mut command)
            .map_err(|e| ToolError::NotStarted { tool: tool.clone(), reason: e.to_string() })?;
        let _running = KillOnDrop(child);
        let alive = Arc::new(AtomicU64::new(now_ms()));
        let (out, err) = (pipes.stdout.take(), pipes.stderr.take());
        let complaints = err.map(|p| read_all(p, alive.clone()));
        let beat = alive.clone();
        let mut reading = tokio::task::spawn_blocking(move || {
            for text in out.into_iter().flat_map(|p| BufReader::new(p).lines()) {
                let Ok(text) = text else { break };
                beat.store(now_ms(), Ordering::Relaxed);
                line(&mut seen, &text);
            }
            seen
        });
        loop {
            match tokio::time::timeout(silent, &mut reading).await {
                Ok(Ok(seen)) => {
                    let said = match complaints {
                        Some(task) => task.await.unwrap_or_default(),
                        None => Vec::new(),
                    };
                    return Ok((seen, String::from_utf8_lossy(&said).into_owned()));
                }
                Ok(Err(e)) => {
                    return Err(ToolError::Failed {
                        tool,
                        how: "its output was lost".into(),
                        said: e.to_string(),
                    });
                }
                Err(_) if now_ms().saturating_sub(alive.load(Ordering::Relaxed)) < millis(silent) => {}
                Err(_) => return Err(ToolError::TooSlow { tool, after: silent, what: "a sign of progress" }),
            }
        }
    }

    /// Runs it and returns its standard output, or an error unless it exited with status 0.
    pub(crate) async fn must(
        &self,
        effect: Option<Effect>,
        command: Command,
        patience: Patience,
    ) -> Result<String, ToolError> {
        let tool = command.get_program().to_string_lossy().into_owned();
        let said = self.run(effect, command, patience).await?;
        if said.ok {
            return Ok(said.out);
        }
        let lines: Vec<&str> = said.err.lines().filter(|l| !l.trim().is_empty()).collect();
        let errors: Vec<&str> = lines
            .iter()
            .copied()
            .filter(|l| ["error:", "ERROR:", "FATAL:"].iter().any(|e| l.contains(e)))
            .collect();
        let telling = if errors.is_empty() { lines } else { errors };
        let last = telling[telling.len().saturating_sub(5)..].join(" | ");
        Err(ToolError::Failed { tool, how: said.how, said: last })
    }
}

fn now_ms() -> u64 {
    millis(clock::now().since_boot())
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a pipe to its end, keeping the last [`KEPT`] bytes, and notes each sign of life.
fn read_all(pipe: impl Read + Send + 'static, alive: Arc<AtomicU64>) -> tokio::task::JoinHandle<Vec<u8>> {
    tokio::task::spawn_blocking(move || {
        let mut kept = Vec::new();
        let mut pipe = BufReader::new(pipe);
        loop {
            let chunk = match pipe.fill_buf() {
                Ok([]) | Err(_) => return kept,
                Ok(chunk) => chunk,
            };
            alive.store(now_ms(), Ordering::Relaxed);
            kept.extend_from_slice(chunk);
            let taken = chunk.len();
            pipe.consume(taken);
            if kept.len() > 2 * KEPT {
                kept.drain(..kept.len() - KEPT);
            }
        }
    })
}

/// The file that holds the upstream's password, so that it is on no command line.
pub(crate) fn write_passfile(path: &Path, upstream: &Upstream) -> std::io::Result<()> {
    let word = |s: &str| s.replace('\\', "\\\\").replace(':', "\\:");
    let line = format!(
        "{}:{}:*:{}:{}\n",
        word(&upstream.host),
        upstream.port,
        word(&upstream.user),
        word(&upstream.password)
    );
    write_atomically(Effect::WritePassfile, path, line.as_bytes())
}

/// How to reach the upstream, in libpq's words, without the password.
pub(crate) fn conninfo(upstream: &Upstream, passfile: &Path, more: &[(&str, &str)]) -> String {
    let port = upstream.port.to_string();
    let passfile = passfile.to_string_lossy();
    let base = [
        ("host", upstream.host.as_str()),
        ("port", &port),
        ("user", &upstream.user),
        ("passfile", &passfile),
        ("sslmode", &upstream.sslmode),
        ("application_name", &upstream.application_name),
        ("connect_timeout", "5"),
        // The WAL receiver connects through libpq's asynchronous calls, which know no connect_timeout: a first packet
        // that went to a pod that is gone would be repeated to it for two minutes.
        ("tcp_user_timeout", "5000"),
    ];
    let quoted =
        |(key, value): &(&str, &str)| format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
    base.iter().chain(more).filter(|(_, v)| !v.is_empty()).map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_password_stays_one_word_and_off_the_command_line() {
        let upstream = Upstream {
            host: "paris".into(),
            port: 5432,
            user: "rep'l".into(),
            password: "a:b\\c".into(),
            slot: "s".into(),
            application_name: "lyon".into(),
            sslmode: String::new(),
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        write_passfile(&path, &upstream).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "paris:5432:*:rep'l:a\\:b\\\\c\n");
        let text = conninfo(&upstream, &path, &[("dbname", "postgres")]);
        assert!(text.contains("tcp_user_timeout='5000'"), "{text}");
        assert!(
            text.contains(r"user='rep\'l'") && !text.contains("a:b") && !text.contains("sslmode"),
            "{text}"
        );
    }
}
