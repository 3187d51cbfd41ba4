//! Process 1: mounts, then starts parts when asked, and buries the dead.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

use super::{Ended, PartState, PlaceConfig, Reply, Request, StartPart};
use crate::world::cgroup::Cgroups;

#[derive(Default)]
struct Parts {
    table: Mutex<BTreeMap<String, (Pid, Option<Ended>)>>,
    changed: Condvar,
}

impl Parts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Pid, Option<Ended>)>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prepares the place, says `ready` on standard output, and then never returns by itself.
pub fn run(config_file: &Path) -> Result<()> {
    let config: PlaceConfig = serde_json::from_slice(&fs::read(config_file)?)?;
    sethostname(&config.hostname)?;
    mounts(&config)?;
    for (name, value) in &config.sysctls {
        let file = Path::new("/proc/sys").join(name.replace('.', "/"));
        if file.exists() {
            fs::write(&file, value).with_context(|| format!("cannot set {name}"))?;
        }
    }
    Cgroups::detect()?.create(&config.cgroup)?;
    // Left over when the place lost its power.
    let _ = fs::remove_file(&config.socket);
    let listener = UnixListener::bind(&config.socket)
        .with_context(|| format!("cannot listen on {}", config.socket.display()))?;
    println!("ready");
    rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    let parts = Arc::new(Parts::default());
    let (shared, cgroup) = (Arc::clone(&parts), config.cgroup.clone());
    std::thread::spawn(move || listen(&listener, &shared, &cgroup));
    reap(&parts)
}

fn mounts(config: &PlaceConfig) -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("cannot mount /proc")?;
    for m in &config.mounts {
        // A target may lie below an earlier mount (a resolv.conf in /run, say) and then has to be made there.
        if !m.target.exists() {
            if m.source.is_dir() {
                fs::create_dir_all(&m.target)?;
            } else {
                if let Some(parent) = m.target.parent() {
                    fs::create_dir_all(parent)?;
                }
                File::create(&m.target)?;
            }
        }
        mount(Some(&m.source), &m.target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .with_context(|| format!("cannot show {} at {}", m.source.display(), m.target.display()))?;
    }
    Ok(())
}

/// Takes note of every child that ends. What is reparented here (container shims do that) is buried, too.
fn reap(parts: &Parts) -> Result<()> {
    loop {
        let (pid, ended) = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, Ended::Exited(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ended::Killed(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => {
                let table = parts.lock();
                if table.values().all(|(_, ended)| ended.is_some()) {
                    drop(parts.changed.wait(table).unwrap_or_else(PoisonError::into_inner));
                }
                continue;
            }
            Err(e) => return Err(e).context("cannot wait for children"),
        };
        // A part is entered in the table under the same lock under which it is started, so it is there by now.
        if let Some(part) = parts.lock().values_mut().find(|(p, ended)| *p == pid && ended.is_none()) {
            part.1 = Some(ended);
        }
        parts.changed.notify_all();
    }
}

fn listen(listener: &UnixListener, parts: &Arc<Parts>, cgroup: &str) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let (parts, cgroup) = (Arc::clone(parts), cgroup.to_owned());
        std::thread::spawn(move || {
            if let Err(e) = answer(&stream, &parts, &cgroup) {
                eprintln!("a request could not be answered: {e:#}");
            }
        });
    }
}

fn answer(mut stream: &UnixStream, parts: &Parts, cgroup: &str) -> Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    let reply = obey(request, parts, cgroup).unwrap_or_else(|e| Reply::Refused(format!("{e:#}")));
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(())
}

fn obey(request: Request, parts: &Parts, cgroup: &str) -> Result<Reply> {
    match request {
        Request::Start(part) => start(&part, parts, cgroup),
        Request::Signal { name, signal } => {
            let table = parts.lock();
            let (pid, ended) = table.get(&name).with_context(|| format!("no part `{name}` here"))?;
            if ended.is_some() {
                bail!("part `{name}` has ended already");
            }
            kill(*pid, Signal::try_from(signal)?)?;
            Ok(Reply::Done)
        }
        Request::AwaitEnd { name } => {
            let mut table = parts.lock();
            loop {
                match table.get(&name) {
                    None => bail!("no part `{name}` here"),
                    Some((_, Some(ended))) => return Ok(Reply::Ended(*ended)),
                    Some((_, None)) => {
                        table = parts.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
                    }
                }
            }
        }
        Request::List => {
            let table = parts.lock();
            let state = |(name, (pid, ended)): (&String, &(Pid, Option<Ended>))| PartState {
                name: name.clone(),
                pid: pid.as_raw(),
                ended: *ended,
            };
            Ok(Reply::Parts(table.iter().map(state).collect()))
        }
    }
}

fn start(part: &StartPart, parts: &Parts, cgroup: &str) -> Result<Reply> {
    let mut table = parts.lock();
    if let Some((pid, None)) = table.get(&part.name) {
        bail!("part `{}` runs already, as process {pid}", part.name);
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(&part.log)
        .with_context(|| format!("cannot open {}", part.log.display()))?;
    let child = Command::new("/proc/self/exe")
        .arg("join")
        .arg(format!("{cgroup}/{}", part.cgroup))
        .arg("--")
        .args(&part.argv)
        .envs(&part.env)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start part `{}`", part.name))?;
    table.insert(part.name.clone(), (Pid::from_raw(i32::try_from(child.id())?), None));
    parts.changed.notify_all();
    Ok(Reply::Done)
}
