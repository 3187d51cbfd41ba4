//! Speaks to process 1 of a place.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::place::Place;
use super::run_folder::RunFolder;
use crate::init::{Ended, PartState, PlaceConfig, Reply, Request, StartPart};
use crate::process::Recorded;

/// How long process 1 may take to answer anything but the end of a part.
const ANSWER: Duration = Duration::from_secs(10);

/// Gives a place its power: starts its process 1 and returns when that is ready to start parts.
pub fn power_on(run: &RunFolder, place: Place, config: &PlaceConfig) -> Result<Recorded> {
    let file = run.place(place).join("place.json");
    std::fs::write(&file, serde_json::to_vec_pretty(config)?)?;
    let mut launcher = Command::new(crate::tools::sandbox_binary()?)
        .arg("place-launch")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let out = launcher.stdout.take().context("no standard output")?;
    let mut err = launcher.stderr.take().context("no standard error")?;
    // Two lines, in the order in which launcher and process 1 come to say them.
    let lines = BufReader::new(out).lines().take(2).collect::<std::io::Result<Vec<_>>>()?;
    launcher.wait()?;
    let pid = lines.iter().find_map(|line| line.parse::<i32>().ok());
    if let (Some(pid), true) = (pid, lines.iter().any(|line| line == "ready")) {
        return Recorded::of(pid);
    }
    let mut said = String::new();
    err.read_to_string(&mut said)?;
    let log = std::fs::read_to_string(&config.log).unwrap_or_default();
    bail!("process 1 of {place} did not start: {} {}", said.trim(), crate::command::tail(log.trim(), 1000))
}

/// Asks process 1 of a place.
pub fn ask(run: &RunFolder, place: Place, request: &Request) -> Result<Reply> {
    ask_within(run, place, request, ANSWER)
}

fn ask_within(run: &RunFolder, place: Place, request: &Request, deadline: Duration) -> Result<Reply> {
    let socket = socket(run, place);
    let mut stream = connect(&socket).with_context(|| format!("{place} has no power"))?;
    stream.set_read_timeout(Some(deadline))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    match serde_json::from_str(&answer).with_context(|| format!("process 1 of {place} broke off"))? {
        Reply::Refused(why) => bail!("{place}: {why}"),
        reply => Ok(reply),
    }
}

/// Where process 1 of a place listens.
pub fn socket(run: &RunFolder, place: Place) -> std::path::PathBuf {
    run.place(place).join("init.sock")
}

fn connect(socket: &Path) -> Result<UnixStream> {
    UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))
}

/// Starts a part.
pub fn start(run: &RunFolder, place: Place, part: StartPart) -> Result<()> {
    ask(run, place, &Request::Start(part)).map(|_| ())
}

/// Sends a signal to a part.
pub fn signal(run: &RunFolder, place: Place, name: &str, signal: Signal) -> Result<()> {
    ask(run, place, &Request::Signal { name: name.to_owned(), signal: signal as i32 }).map(|_| ())
}

/// Waits for a part's end.
pub fn await_end(run: &RunFolder, place: Place, name: &str, deadline: Duration) -> Result<Ended> {
    let request = Request::AwaitEnd { name: name.to_owned() };
    match ask_within(run, place, &request, deadline)
        .with_context(|| format!("waiting for the end of {name} in {place}"))?
    {
        Reply::Ended(ended) => Ok(ended),
        other => bail!("unexpected answer {other:?}"),
    }
}

/// All parts that were started since the place got its power.
pub fn parts(run: &RunFolder, place: Place) -> Result<Vec<PartState>> {
    match ask(run, place, &Request::List)? {
        Reply::Parts(parts) => Ok(parts),
        other => bail!("unexpected answer {other:?}"),
    }
}

/// Fails when a part is not running, with the last lines of its log.
pub fn ensure_runs(run: &RunFolder, place: Place, name: &str) -> Result<()> {
    let part = parts(run, place)?.into_iter().find(|p| p.name == name);
    let part = part.with_context(|| format!("{name} was never started in {place}"))?;
    if let Some(ended) = part.ended {
        let log = std::fs::read_to_string(run.log(place, name)).unwrap_or_default();
        ensure!(false, "{name} in {place} ended ({ended:?}): {}", crate::command::tail(log.trim(), 1500));
    }
    Ok(())
}
