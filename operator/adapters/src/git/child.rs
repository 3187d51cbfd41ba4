//! The child's side of a fetch. Everything here may block, hang or be killed at any moment.

use std::fs::{self, File as OsFile};
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use git2::{ErrorClass, ErrorCode, Oid, Repository};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sha2::{Digest, Sha256};

use super::http::Stopped;
use super::refs::{self, Chosen};
use super::remote::{self, Remote};
use super::url::Address;
use super::wire::{Answer, FileHead, LINE_LIMIT};
use super::{Credentials, Fetch, GitError, Reference, Request, Revision, tree, url};

/// Memory of the child, in bytes of address space.
const MEMORY: u64 = 2 << 30;

/// Processor time of the child, in seconds.
const PROCESSOR: u64 = 120;

/// libgit2 never repacks: a cache with more packs than this is started anew.
const PACKS: usize = 100;

/// Where the last fetched tip is kept, so that the next fetch downloads only what is new.
const TIP: &str = "refs/bascule/tip";

/// What `bascule git-fetch` does: reads one request from standard input and writes the answer to standard output.
/// Ends when standard input ends, so it never outlives the program that started it.
pub fn child_main() -> ExitCode {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    let read = (&mut stdin).take(LINE_LIMIT).read_until(b'\n', &mut line);
    drop(stdin);
    let answer = match read.and_then(|_| Ok(serde_json::from_slice::<Request>(&line)?)) {
        Ok(request) => answer(&request),
        // The cause is left out: it may quote the request, which holds secrets.
        Err(_) => {
            Err(GitError::Child { why: "git-fetch is started by the operator, not by hand".to_owned() })
        }
    };
    if write(answer).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write(answer: Result<Fetch, GitError>) -> io::Result<()> {
    let (line, files) = match answer {
        Ok(Fetch::Unchanged) => (Answer::Unchanged, Vec::new()),
        Err(error) => (Answer::Failed(error), Vec::new()),
        Ok(Fetch::Fetched(mut revision)) => {
            let files = std::mem::take(&mut revision.files);
            let heads =
                files.iter().map(|f| FileHead { path: f.path.clone(), bytes: f.bytes.len() }).collect();
            (Answer::Fetched { revision, files: heads }, files)
        }
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &line)?;
    out.write_all(b"\n")?;
    for file in files {
        out.write_all(&file.bytes)?;
    }
    out.flush()
}

fn answer(request: &Request) -> Result<Fetch, GitError> {
    limit_self(request)?;
    set_libgit2(request)?;
    let address = url::check(request)?;
    let stopped = remote::prepare(request, &address)?;
    // From here on there is a second thread, so no global may be set any more.
    end_with_parent();
    let cache = Cache::open(request)?;
    match fetch(request, &address, &stopped, &cache.repo) {
        Err(Trouble::Cache(why)) => {
            // Damaged, as by a full disk or a kill at the wrong moment. Nothing in it is worth keeping.
            let cache = cache.start_anew(&why)?;
            fetch(request, &address, &stopped, &cache.repo).map_err(|t| t.into_error(&request.cache))
        }
        other => other.map_err(|t| t.into_error(&request.cache)),
    }
}

/// Bounds what a hostile repository can make this process use.
fn limit_self(request: &Request) -> Result<(), GitError> {
    let set = |resource, limit: u64| {
        // A machine that allows less keeps its word: only root may raise that.
        let limit = getrlimit(resource).maximum.map_or(limit, |most| most.min(limit));
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
            .map_err(|e| GitError::Child { why: format!("cannot limit itself: {e}") })
    };
    set(Resource::Core, 0)?;
    set(Resource::As, MEMORY)?;
    set(Resource::Cpu, PROCESSOR)?;
    // The index of a pack comes on top of the pack.
    set(Resource::Fsize, request.limits.download_bytes.saturating_mul(2).saturating_add(64 << 20))
}

/// Sets libgit2's process-wide options.
#[allow(unsafe_code)]
fn set_libgit2(request: &Request) -> Result<(), GitError> {
    use git2::ConfigLevel::{Global, ProgramData, System, XDG};
    let failed =
        |e: git2::Error| GitError::Child { why: format!("libgit2 refuses an option: {}", e.message()) };
    // SAFETY: these write C globals without synchronisation. This process was started for one fetch, this runs before
    // its second thread exists and before any other use of libgit2, so nothing can observe a half-written value.
    unsafe {
        // A machine's git configuration can rewrite URLs and set proxies.
        for level in [ProgramData, System, XDG, Global] {
            git2::opts::set_search_path(level, "/nonexistent").map_err(failed)?;
        }
        // A peer that is silent for this long is dead; one that trickles is ended by the deadline outside.
        git2::opts::set_server_connect_timeout_in_milliseconds(10_000).map_err(failed)?;
        git2::opts::set_server_timeout_in_milliseconds(20_000).map_err(failed)?;
        // A pack's objects are expanded in memory.
        git2::opts::set_cache_max_size(64 << 20).map_err(failed)?;
    }
    if let Credentials::Ssh { known_hosts, .. } = &request.credentials {
        write_known_hosts(known_hosts, &request.cache)?;
    }
    Ok(())
}

/// libgit2 compares the server's key with the known_hosts file in the home directory, which is ours alone, and asks
/// for the kinds of keys that it names.
fn write_known_hosts(known_hosts: &str, cache: &Path) -> Result<(), GitError> {
    let refuse = |why: &str| GitError::Request { field: "known_hosts".to_owned(), why: why.to_owned() };
    let lines: Vec<_> =
        known_hosts.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    if lines.is_empty() {
        return Err(refuse("is empty: add the line that `ssh-keyscan <host>` prints, after checking it"));
    }
    if lines.iter().any(|l| l.starts_with('@')) {
        return Err(refuse("holds a line with @revoked or @cert-authority, which is not supported"));
    }
    let dir = cache.join("home/.ssh");
    let written = fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join("known_hosts"), known_hosts));
    written.map_err(|e| cache_error(cache, &e))
}

/// Ends this process when the one that started it is gone: its end of the pipe closes.
fn end_with_parent() {
    std::thread::spawn(|| {
        let mut rest = [0; 64];
        while io::stdin().lock().read(&mut rest).is_ok_and(|n| n > 0) {}
        std::process::exit(3);
    });
}

fn cache_error(path: &Path, e: &dyn std::fmt::Display) -> GitError {
    GitError::Cache { path: path.display().to_string(), why: e.to_string() }
}

/// The bare repository that is kept between fetches, locked for this process.
struct Cache<'a> {
    request: &'a Request,
    repo: Repository,
    lock: OsFile,
}

impl<'a> Cache<'a> {
    fn open(request: &'a Request) -> Result<Self, GitError> {
        let fail = |e: &dyn std::fmt::Display| cache_error(&request.cache, e);
        let lock = OsFile::create(request.cache.join("lock")).map_err(|e| fail(&e))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| fail(&"another fetch is using it"))?;
        let dir = request.cache.join("repository");
        if usable(&dir, request) {
            remove_leftovers(&dir).map_err(|e| fail(&e))?;
            if let Ok(repo) = Repository::open_bare(&dir) {
                return Ok(Self { request, repo, lock });
            }
        }
        let repo = create(&dir, request)?;
        Ok(Self { request, repo, lock })
    }

    fn start_anew(self, why: &str) -> Result<Self, GitError> {
        let Self { request, repo, lock } = self;
        drop(repo);
        let repo = create(&request.cache.join("repository"), request).map_err(|e| {
            cache_error(&request.cache, &format!("was damaged ({why}) and cannot be made anew: {e}"))
        })?;
        Ok(Self { request, repo, lock })
    }
}

/// Whether the repository was made for this URL, its making was finished, and it is not full of small packs.
fn usable(dir: &Path, request: &Request) -> bool {
    let packs = fs::read_dir(dir.join("objects/pack")).map_or(0, Iterator::count);
    fs::read_to_string(dir.join("source")).is_ok_and(|source| source == source_mark(request))
        && packs <= 2 * PACKS
}

/// Tells URLs and depths of history apart without writing the URL down.
fn source_mark(request: &Request) -> String {
    use std::fmt::Write as _;
    let mut mark = String::new();
    for byte in Sha256::digest(format!("{}\n{:?}", request.url, request.history)) {
        // Writing to a String cannot fail.
        let _ = write!(mark, "{byte:02x}");
    }
    mark
}

fn create(dir: &Path, request: &Request) -> Result<Repository, GitError> {
    let fail = |e: &dyn std::fmt::Display| cache_error(&request.cache, e);
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(&e)),
        _ => {}
    }
    let repo = Repository::init_bare(dir).map_err(|e| fail(&e.message()))?;
    fs::write(dir.join("source"), source_mark(request)).map_err(|e| fail(&e))?;
    Ok(repo)
}

/// Removes what a killed fetch left behind: locks of files and unfinished packs. Nobody else is using the cache.
fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for below in ["", "refs/bascule", "objects/pack"] {
        let Ok(entries) = fs::read_dir(dir.join(below)) else { continue };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let unfinished = below == "objects/pack" && !name.starts_with("pack-");
            if name.ends_with(".lock") || unfinished {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Why a fetch failed: because of the cache, which can be made anew, or in earnest.
pub(super) enum Trouble {
    Cache(String),
    Final(GitError),
}

impl Trouble {
    fn into_error(self, cache: &Path) -> GitError {
        match self {
            Self::Cache(why) => cache_error(cache, &why),
            Self::Final(error) => error,
        }
    }

    /// An error of reading or writing the local repository.
    pub(super) fn local(e: &git2::Error) -> Self {
        Self::Cache(e.message().to_owned())
    }

    /// Whether an error during a fetch comes from the local repository rather than from the server.
    pub(super) fn is_local(e: &git2::Error) -> bool {
        let local_class = matches!(
            e.class(),
            ErrorClass::Odb
                | ErrorClass::Zlib
                | ErrorClass::Os
                | ErrorClass::Filesystem
                | ErrorClass::Reference
        );
        local_class && !matches!(e.code(), ErrorCode::Timeout | ErrorCode::Auth | ErrorCode::Certificate)
    }
}

impl From<GitError> for Trouble {
    fn from(value: GitError) -> Self {
        Self::Final(value)
    }
}

fn fetch(
    request: &Request,
    address: &Address,
    stopped: &Stopped,
    repo: &Repository,
) -> Result<Fetch, Trouble> {
    let had = repo.refname_to_id(TIP);
    if had.is_ok_and(|id| repo.find_commit(id).is_err()) {
        return Err(Trouble::Cache("objects are missing".to_owned()));
    }
    let chosen = if let Reference::Commit(text) = &request.reference {
        let commit = refs::commit_id(text)?;
        if request.unless.as_deref() == Some(&commit.to_string()) {
            return Ok(Fetch::Unchanged);
        }
        if repo.find_commit(commit).is_err() {
            let specs = ["+refs/heads/*:refs/bascule/heads/*", "+refs/tags/*:refs/bascule/tags/*"];
            Remote::open(repo, request, address, stopped)?.download(&specs)?;
        }
        Chosen { name: commit.to_string(), commit }
    } else {
        let mut remote = Remote::open(repo, request, address, stopped)?;
        let Some(chosen) = refs::choose(&request.reference, &remote.list()?)? else {
            return Err(Trouble::Final(GitError::Child { why: "the reference has no name".to_owned() }));
        };
        if request.unless.as_deref() == Some(&chosen.commit.to_string()) {
            return Ok(Fetch::Unchanged);
        }
        if repo.find_commit(chosen.commit).is_err() {
            remote.download(&[&format!("+{}:{TIP}", chosen.name)])?;
            // Another kind of object than a commit is complained of below.
            if !repo.odb().is_ok_and(|odb| odb.exists(chosen.commit)) {
                return Err(Trouble::Cache("what was fetched is not in it".to_owned()));
            }
        }
        chosen
    };
    let odb = repo.odb().map_err(|e| Trouble::local(&e))?;
    if !odb.exists(chosen.commit) {
        return Err(Trouble::Final(GitError::NotFound {
            what: request.reference.to_string(),
            hint: " on any branch or tag".to_owned(),
        }));
    }
    tree::check_structure(&odb, chosen.commit, &chosen.name)?;
    let Ok(commit) = repo.find_commit(chosen.commit) else {
        return Err(Trouble::Final(GitError::NotFound {
            what: request.reference.to_string(),
            hint: ": the object of that name is not a commit".to_owned(),
        }));
    };
    // What the next fetch tells the server it already has.
    repo.reference(TIP, commit.id(), true, "fetched").map_err(|e| Trouble::local(&e))?;
    let parts = tree::parts(&request.path)?;
    let top = tree::descend(repo, commit.tree_id(), &parts)?;
    let author = commit.author();
    let author = format!(
        "{} <{}>",
        String::from_utf8_lossy(author.name_bytes()),
        String::from_utf8_lossy(author.email_bytes())
    );
    let summary = String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default()).into_owned();
    Ok(Fetch::Fetched(Revision {
        commit: commit.id().to_string(),
        tree: top.to_string(),
        reference: chosen.name,
        descends_from_last: descends(repo, commit.id(), request)?,
        author: author.chars().take(200).collect(),
        committed_at: commit.time().seconds(),
        summary: summary.chars().take(200).collect(),
        files: tree::read(repo, top, &parts, &request.limits)?,
    }))
}

/// Whether `commit` is, or descends from, the commit accepted last. With all of the history here, a commit that is
/// missing is no ancestor; with part of it, nothing can be said.
fn descends(repo: &Repository, commit: Oid, request: &Request) -> Result<Option<bool>, Trouble> {
    let Some(last) = &request.last_accepted else { return Ok(None) };
    let last = refs::commit_id(last).map_err(|_| {
        let why = "is not a full commit id of 40 hexadecimal digits".to_owned();
        GitError::Request { field: "last_accepted".to_owned(), why }
    })?;
    if last == commit {
        return Ok(Some(true));
    }
    let not_seen = if request.history.is_some() { None } else { Some(false) };
    if repo.find_commit(last).is_err() {
        return Ok(not_seen);
    }
    match repo.graph_descendant_of(commit, last) {
        Ok(true) => Ok(Some(true)),
        Ok(false) => Ok(not_seen),
        Err(e) if request.history.is_none() => Err(Trouble::local(&e)),
        // The walk ran into the end of what was fetched.
        Err(_) => Ok(None),
    }
}
