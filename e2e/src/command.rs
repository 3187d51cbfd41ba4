//! Runs a program of the host to its end, under a deadline, and keeps what it said for the error message.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a short command may take before it counts as hung.
pub const SHORT: Duration = Duration::from_secs(20);

/// What a program that ended well wrote to standard output.
pub fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    finish(command, None, SHORT)
}

/// Like [`run`], with text on standard input.
pub fn run_with_input<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    input: &str,
) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    finish(command, Some(input.as_bytes()), SHORT)
}

/// Runs a prepared command to its end; an exit code other than zero or the deadline is an error that carries what
/// the program said.
pub fn finish(command: Command, input: Option<&[u8]>, deadline: Duration) -> Result<String> {
    let shown = show(&command);
    let (status, out, err) = outcome(command, input, deadline)?;
    if !status.success() {
        let said = [err.trim(), out.trim()].into_iter().find(|s| !s.is_empty()).unwrap_or("it said nothing");
        bail!("`{shown}` ended with {status}: {}", tail(said, 2000));
    }
    Ok(out)
}

/// Runs a prepared command to its end and answers its status, standard output and standard error.
pub fn outcome(
    mut command: Command,
    input: Option<&[u8]>,
    deadline: Duration,
) -> Result<(ExitStatus, String, String)> {
    let shown = show(&command);
    // Files, not pipes: nothing has to be read while the program runs, and a grandchild that keeps the file open
    // keeps nobody waiting.
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(input_file(input)?).stdout(out.try_clone()?).stderr(err.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let status = wait(&mut child, deadline)?;
    let (out, err) = (contents(&mut out)?, contents(&mut err)?);
    match status {
        Some(status) => Ok((status, out, err)),
        None => bail!("`{shown}` did not end within {deadline:?}: {}", tail(err.trim(), 2000)),
    }
}

/// Waits for a child's end; past the deadline it is killed and the answer is `None`.
pub fn wait(child: &mut Child, deadline: Duration) -> Result<Option<ExitStatus>> {
    let begin = Instant::now();
    let pid = Pid::from_child(child);
    let fd = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch a child process")?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_sub(begin.elapsed());
        if left.is_zero() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        let mut watched = [PollFd::new(&fd, PollFlags::IN)];
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut watched, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("cannot wait for a child process"),
        }
    }
}

fn input_file(input: Option<&[u8]>) -> Result<Stdio> {
    let Some(input) = input else { return Ok(Stdio::null()) };
    let mut file = tempfile::tempfile()?;
    file.write_all(input)?;
    file.rewind()?;
    Ok(file.into())
}

fn contents(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|s| s.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last part of a text, cut at a character boundary.
pub fn tail(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
