//! The operator's side of a fetch: start the child, bound it in time and size, read its answer.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::wire::{Answer, LINE_LIMIT};
use super::{Fetch, File, GitError, Request, refs, tree, url};

/// How long a killed child may take to be gone. It is dead at once unless it hangs in the kernel.
const REAP: Duration = Duration::from_secs(5);

/// Starts children that fetch.
#[derive(Clone, Debug)]
pub struct Fetcher {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Fetcher {
    /// Children are this very program, started as `<program> git-fetch`: it must call [`super::child_main`] there.
    pub fn this_program() -> Self {
        // This link names the running file even after an upgrade has replaced it on disk.
        Self { program: PathBuf::from("/proc/self/exe"), args: vec!["git-fetch".into()] }
    }

    /// Children are another program that calls [`super::child_main`].
    pub fn with_program(program: impl Into<PathBuf>, args: Vec<OsString>) -> Self {
        Self { program: program.into(), args }
    }

    /// Fetches within `deadline`; whatever the server does, the answer comes by then (and a moment for killing the
    /// child). Two fetches must not share a cache directory at the same time: the second one is refused.
    pub async fn fetch(&self, request: &Request, deadline: Duration) -> Result<Fetch, GitError> {
        let address = url::check(request)?;
        refs::check(&request.reference)?;
        tree::parts(&request.path)?;
        let until = Instant::now() + deadline;
        let mut child = self.start(request).await?;
        let ended = timeout_at(until, converse(&mut child, request)).await;
        // Whatever it said or did: it is not needed any more.
        let killed = child.start_kill().is_ok();
        let status = timeout(REAP, child.wait()).await;
        match ended {
            Err(_) => Err(GitError::Timeout { host: address.host, after: deadline }),
            Ok(Ok(fetch)) => fetch,
            Ok(Err(e)) => {
                let how = match status {
                    Ok(Ok(status)) => status.to_string(),
                    Ok(Err(e)) => e.to_string(),
                    Err(_) if killed => "killed and still not gone".to_owned(),
                    Err(_) => "not gone".to_owned(),
                };
                Err(GitError::Child { why: format!("{e} ({how})") })
            }
        }
    }

    async fn start(&self, request: &Request) -> Result<Child, GitError> {
        let cache_error = |path: &Path, e: &io::Error| GitError::Cache {
            path: path.display().to_string(),
            why: e.to_string(),
        };
        let home = request.cache.join("home");
        tokio::fs::create_dir_all(&home).await.map_err(|e| cache_error(&home, &e))?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .env("HOME", &home)
            .current_dir(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command.spawn().map_err(|e| GitError::Child {
            why: format!("{} cannot be started: {e}", self.program.display()),
        })
    }
}

/// Sends the request and reads the whole answer. The outer error is the child's failure to answer.
async fn converse(child: &mut Child, request: &Request) -> io::Result<Result<Fetch, GitError>> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("it has no pipes"));
    };
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stdin.write_all(&line).await?;
    // The pipe stays open until the end: when this process dies, the child reads its end and stops too.
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    (&mut stdout).take(LINE_LIMIT).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without an answer"));
    }
    let (mut revision, heads) = match serde_json::from_slice(&line)? {
        Answer::Unchanged => return Ok(Ok(Fetch::Unchanged)),
        Answer::Failed(error) => return Ok(Err(error)),
        Answer::Fetched { revision, files } => (revision, files),
    };
    let total: usize = heads.iter().map(|h| h.bytes).fold(0, usize::saturating_add);
    if total as u64 > request.limits.total_bytes {
        return Err(io::Error::other("it announces more than it may"));
    }
    for head in heads {
        let mut bytes = vec![0; head.bytes];
        stdout.read_exact(&mut bytes).await?;
        revision.files.push(File { path: head.path, bytes });
    }
    drop(stdin);
    Ok(Ok(Fetch::Fetched(revision)))
}
