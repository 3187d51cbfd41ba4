//! Break-glass: a person says that the server runs without Bascule, and takes it back.
//!
//! The word is a file beside the data, which the guard looks for all the time: neither an operator nor an arbiter is
//! asked. What is known is printed first, with what nobody here can know. The guard's own note of the word is waited for:
//! a word that nobody has read is told as that.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bascule_core::guard::action::Memory;
use bascule_core::guard::unlocked::{Unlocked, in_force};
use bascule_core::guard::wire::{ClusterState, Disk};
use bascule_core::time::human;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control;
use crate::store::{HEARD, MEMORY, OPENED, REWINDING, Store, StoreError, UNLOCKED};

/// An operator that spoke so recently is most likely there.
const RECENTLY: Duration = Duration::from_mins(2);
/// What every guard makes first.
const BEGUN: &str = "writable";
/// How often the guard's note is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// The longest reason: it is part of every report.
const REASON: usize = 500;

/// What the operator said last, beside the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Heard {
    /// When, by the clock of the machine.
    pub(crate) at: Timestamp,
    /// The name of the role.
    pub(crate) role: String,
    /// The record's epoch.
    pub(crate) epoch: u64,
    /// The record's serial.
    pub(crate) serial: u64,
    /// The copy is known to have left its upstream's history.
    pub(crate) strayed: bool,
}

/// Where the guard keeps its marks.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The data directory, where no guard runs here as process 1: else that guard's own counts.
    #[arg(long, env = "PGDATA")]
    pub data: Option<PathBuf>,
    /// Where the guard keeps its marks, where no guard runs here as process 1: else that guard's own counts.
    #[arg(long, env = "BASCULE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// How long the guard may take to note it, in seconds.
    #[arg(long, default_value_t = 10)]
    pub wait: u64,
}

/// `bascule guard unlock`.
#[derive(Clone, Debug, Args)]
pub struct UnlockArgs {
    /// Said by a person who knows that no other site writes and that none will: nobody else makes sure of it.
    #[arg(long)]
    pub i_know_no_other_site_writes: bool,
    /// Why, for the journal and for the status of ever after.
    #[arg(long)]
    pub reason: String,
    /// Promote what is a standby; without it, it serves reads.
    #[arg(long)]
    pub promote: bool,
    /// Go on although this was found; once for each finding.
    #[arg(long, value_enum)]
    pub although: Vec<Although>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// `bascule guard lock`.
#[derive(Clone, Debug, Args)]
pub struct LockArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// What forbids it unless it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Although {
    /// The operator spoke a moment ago.
    Operator,
    /// The guard was told to stop and stay down.
    Locked,
    /// The copy has left the history of the server that it followed.
    Strayed,
}

/// It was not done, or nobody knows that it was.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// No place was named, and no guard runs here.
    #[error(
        "no guard runs here as process 1: run this in the database's own container (kubectl exec), or name --data and --state-dir"
    )]
    Nowhere,
    /// It is not the guard's directory.
    #[error(
        "{0}: no guard has ever run with it (the file {BEGUN} is missing): name the guard's own --state-dir"
    )]
    NoGuard(PathBuf),
    /// Another user's files.
    #[error(
        "{path} belongs to user {owner} and this is user {me}: the guard could not read what is written here; run it in the database's own container"
    )]
    User {
        /// Whose directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// This process.
        me: u32,
    },
    /// The reason is none.
    #[error("--reason: expected one line of 1 to {REASON} characters, found {0}")]
    Reason(String),
    /// What lies there cannot be served.
    #[error("refused: {0}")]
    Never(String),
    /// Something was found that has to be named.
    #[error("refused: {what}. If that is as it must be: --although {flag}")]
    Unless {
        /// What was found.
        what: String,
        /// The value of `--although`.
        flag: String,
    },
    /// The person has not said it.
    #[error(
        "refused: nothing was changed. Read the above, make sure that no other site writes and that none will, and say --i-know-no-other-site-writes"
    )]
    NotSaid,
    /// It is unlocked already.
    #[error("it is {0} already; bascule guard lock gives it back")]
    Already(String),
    /// There is nothing to give back.
    #[error("it is not unlocked: nothing to give back")]
    NotUnlocked,
    /// The guard has not noted it.
    #[error(
        "written to {path}, and the guard has not noted it within {wait:?}: it does so when it runs again; `{back}` takes it back"
    )]
    NotNoted {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        wait: Duration,
        /// The other command.
        back: &'static str,
    },
    /// What is kept beside the data.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output.
    #[error("writing what is known")]
    Output(#[from] io::Error),
}

/// Says what is known, and writes the word when it may be written.
///
/// # Errors
/// When it is refused, or the guard is not known to have taken it.
pub fn unlock(args: &UnlockArgs, out: &mut impl Write) -> Result<(), UnlockError> {
    let reason = args.reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON || reason.contains(char::is_control) {
        return Err(UnlockError::Reason(format!("{:?}", args.reason)));
    }
    let beside = Beside::find(&args.place)?;
    let now = Timestamp::now();
    out.write_all(beside.words(now, args.promote).as_bytes())?;
    out.flush()?;
    if let Some(before) = in_force(beside.unlocked.as_ref()).filter(|u| u.promote || !args.promote) {
        return Err(UnlockError::Already(before.words()));
    }
    beside.may_be_served()?;
    for (flag, what) in beside.findings(now) {
        if !args.although.contains(&flag) {
            let flag = flag.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
            return Err(UnlockError::Unless { what, flag });
        }
    }
    if !args.i_know_no_other_site_writes {
        return Err(UnlockError::NotSaid);
    }
    let word = Unlocked { since: now, reason: reason.to_owned(), promote: args.promote, until: None };
    beside.write(&word, args.place.wait, "bascule guard lock")?;
    writeln!(
        out,
        "\nUnlocked. The guard has noted it and runs the server until `bascule guard lock`. See its log."
    )?;
    Ok(())
}

/// Gives the server back.
///
/// # Errors
/// When there is nothing to give back, or the guard is not known to have taken it.
pub fn lock(args: &LockArgs, out: &mut impl Write) -> Result<(), UnlockError> {
    let beside = Beside::find(&args.place)?;
    let Some(word) = in_force(beside.unlocked.as_ref()) else { return Err(UnlockError::NotUnlocked) };
    let word = Unlocked { until: Some(Timestamp::now()), ..word.clone() };
    beside.write(&word, args.place.wait, "bascule guard unlock")?;
    writeln!(
        out,
        "Given back. The guard has noted it: a server that writes is stopped, cleanly, and runs again when an operator gives it a role."
    )?;
    Ok(())
}

/// What lies beside the data.
struct Beside {
    store: Store,
    data: PathBuf,
    disk: Disk,
    memory: Memory,
    heard: Option<Heard>,
    opened: Option<u64>,
    unlocked: Option<Unlocked>,
}

impl Beside {
    fn find(place: &Place) -> Result<Self, UnlockError> {
        let guard = std::fs::read("/proc/1/cmdline").unwrap_or_default();
        let guard = options(&guard);
        let named = |given: &Option<PathBuf>, option: &str| {
            guard_says(&guard, option).or_else(|| given.clone()).filter(|p| !p.as_os_str().is_empty())
        };
        let data = named(&place.data, "--data").ok_or(UnlockError::Nowhere)?;
        let dir = named(&place.state_dir, "--state-dir")
            .or_else(|| data.parent().map(|p| p.join("bascule")))
            .ok_or(UnlockError::Nowhere)?;
        let meta =
            std::fs::metadata(dir.join(BEGUN).as_path()).map_err(|_| UnlockError::NoGuard(dir.clone()))?;
        let me = nix::unistd::geteuid().as_raw();
        if meta.uid() != me {
            return Err(UnlockError::User { path: dir, owner: meta.uid(), me });
        }
        let store = Store::of_another(dir);
        Ok(Self {
            disk: control::read(&data, store.has(REWINDING)),
            memory: store.read(MEMORY)?.unwrap_or_default(),
            heard: store.read(HEARD)?,
            opened: store.read(OPENED)?,
            unlocked: store.read(UNLOCKED)?,
            data,
            store,
        })
    }

    /// What no word of a person makes whole.
    fn may_be_served(&self) -> Result<(), UnlockError> {
        let never = |why: String| Err(UnlockError::Never(why));
        match &self.disk {
            Disk::Empty => never(format!("{} is empty: there is nothing to run", self.data.display())),
            Disk::Unreadable { reason } => never(reason.clone()),
            Disk::Cluster(c) if c.half_rewound => never(
                "a rewind was begun and not finished: this copy is half of one database and half of another, and no word makes it whole. Take the other site's copy, or a backup".to_owned(),
            ),
            Disk::Cluster(_) => Ok(()),
        }
    }

    fn findings(&self, now: Timestamp) -> Vec<(Although, String)> {
        let mut found = Vec::new();
        if let Some((heard, age)) = self.heard_ago(now).filter(|(_, age)| *age < RECENTLY) {
            let what = format!(
                "an operator spoke to this guard {} ago (role {}): it is there, and `bascule failover` or `bascule switchover` keep every check",
                human(age),
                heard.role
            );
            found.push((Although::Operator, what));
        }
        if let Some(serial) = self.memory.locked {
            let what = format!(
                "at serial {serial} of the record this guard was told to stop, or its server died, and to stay down: the role may have been handed to another site since"
            );
            found.push((Although::Locked, what));
        }
        if self.heard.as_ref().is_some_and(|h| h.strayed) {
            let what = "this copy has left the history of the server that it followed: it has rows that the other has not, and lacks rows that the other has".to_owned();
            found.push((Although::Strayed, what));
        }
        found
    }

    fn heard_ago(&self, now: Timestamp) -> Option<(&Heard, Duration)> {
        let heard = self.heard.as_ref()?;
        // A clock that was set back makes it as if just now: then a person has to say more, not less.
        Some((heard, Duration::try_from(now.duration_since(heard.at)).unwrap_or_default()))
    }

    fn words(&self, now: Timestamp, promote: bool) -> String {
        let mut text = format!("Known beside the data, in {}:\n", self.store.dir().display());
        let mut line = |what: &str, found: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {what:<9} {found}");
        };
        let standby = match &self.disk {
            Disk::Empty => {
                line("data", format!("{}: empty", self.data.display()));
                false
            }
            Disk::Unreadable { reason } => {
                line("data", reason.clone());
                false
            }
            Disk::Cluster(c) => {
                let kind = if c.standby_signal { "a standby" } else { "a primary" };
                let state = match c.state {
                    ClusterState::ShutDown | ClusterState::ShutDownInRecovery => "stopped cleanly",
                    _ => "running, or it did not stop cleanly",
                };
                let at = format!(
                    "timeline {}, checkpoint {}, database {}",
                    c.timeline.0, c.checkpoint, c.system_id.0
                );
                line("data", format!("{}: {kind}, {state}; {at}", self.data.display()));
                c.standby_signal
            }
        };
        let m = self.memory.high_water;
        line(
            "record",
            format!("epoch {}, serial {}: the newest that this guard has seen", m.epoch, m.serial),
        );
        let opened = self.opened.map_or_else(|| "never".to_owned(), |e| format!("in epoch {e}"));
        line("opened", format!("{opened}, for writes"));
        line(
            "operator",
            match self.heard_ago(now) {
                None => "nothing is written down of any".to_owned(),
                Some((heard, age)) => format!(
                    "heard last {:.0}, {} ago: role {}, epoch {}, serial {}",
                    heard.at,
                    human(age),
                    heard.role,
                    heard.epoch,
                    heard.serial
                ),
            },
        );
        if let Some(serial) = self.memory.locked {
            line("locked", format!("at serial {serial}"));
        }
        if let Some(before) = &self.unlocked {
            line("before", before.words());
        }
        let does = match (standby, promote) {
            (true, false) => "The server runs as a standby of nobody and serves reads. It takes no writes.",
            (true, true) => {
                "The server is promoted and takes writes. What it had not received from its primary is missing. If that primary takes its role again, what is written here is not part of the data any more."
            }
            (false, _) => "The server runs as a primary and takes writes.",
        };
        let _ = write!(
            text,
            "What it does:\n  {does}\n  No grant and no deadline ends it, and no operator is obeyed, until `bascule guard lock`: over restarts too.\n\
             What nobody here knows:\n  \
             - Whether another site is active now. If one is, two servers take writes, and what one of them takes is lost.\n  \
             - Whether another site's operator lives. It takes the role by itself when this site is silent for long enough, because\n    this guard has promised to stop. If this site's operator lives, it takes that promise back in the record. If not,\n    only you can: the other site must be off, and stay off until this one is given back.\n"
        );
        text
    }

    /// Writes the word and waits until the guard has noted it.
    fn write(&self, word: &Unlocked, wait: u64, back: &'static str) -> Result<(), UnlockError> {
        self.store.write(UNLOCKED, word)?;
        let (began, wait) = (Instant::now(), Duration::from_secs(wait));
        loop {
            let memory: Memory = self.store.read(MEMORY)?.unwrap_or_default();
            if memory.unlocked.as_ref() == Some(word) {
                return Ok(());
            }
            if began.elapsed() >= wait {
                return Err(UnlockError::NotNoted { path: self.store.path(UNLOCKED), wait, back });
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The words of a command line before the server's own; none when it is no guard's.
fn options(cmdline: &[u8]) -> Vec<String> {
    let words: Vec<String> =
        cmdline.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    let program = words.first().map(Path::new).and_then(Path::file_name).and_then(|n| n.to_str());
    let guard = program == Some("bascule") && words.get(1).is_some_and(|w| w == "guard");
    // Alone, it has no subcommands.
    if !guard && program != Some("bascule-guard") {
        return Vec::new();
    }
    words.into_iter().take_while(|w| w != "--").collect()
}

fn guard_says(options: &[String], option: &str) -> Option<PathBuf> {
    let with = format!("{option}=");
    let after = options.iter().position(|w| w == option).and_then(|i| options.get(i + 1));
    after
        .map(String::as_str)
        .or_else(|| options.iter().find_map(|w| w.strip_prefix(&with)))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_those_of_the_guard_that_runs_here_and_never_the_servers() {
        let line = |words: &[&str]| words.join("\0").into_bytes();
        let guard = options(&line(&[
            "/bascule/bascule",
            "guard",
            "postgres",
            "--data",
            "/d/pg",
            "--state-dir=/d/b",
            "--",
            "postgres",
            "--data",
            "x",
        ]));
        assert_eq!(guard_says(&guard, "--data"), Some("/d/pg".into()));
        assert_eq!(guard_says(&guard, "--state-dir"), Some("/d/b".into()));
        assert_eq!(guard_says(&guard, "--bin"), None);
        assert!(options(&line(&["postgres", "--data", "/d"])).is_empty());
        assert!(options(&[]).is_empty());
    }

    fn place(dir: &Path) -> Place {
        Place { data: Some(dir.join("data")), state_dir: Some(dir.join("bascule")), wait: 0 }
    }

    fn args(dir: &Path) -> UnlockArgs {
        UnlockArgs {
            i_know_no_other_site_writes: true,
            reason: "the arbiter burnt down".to_owned(),
            promote: false,
            although: Vec::new(),
            place: place(dir),
        }
    }

    fn refused(args: &UnlockArgs) -> (String, String) {
        let mut out = Vec::new();
        let why = unlock(args, &mut out).unwrap_err().to_string();
        (String::from_utf8(out).unwrap(), why)
    }

    #[test]
    fn a_reason_is_one_line_and_a_place_is_a_guards() {
        let dir = tempfile::tempdir().unwrap();
        for reason in ["", "  ", "two\nlines", &"x".repeat(501)] {
            let wrong = UnlockArgs { reason: reason.to_owned(), ..args(dir.path()) };
            assert!(refused(&wrong).1.contains("--reason"), "{reason:?}");
        }
        assert!(refused(&args(dir.path())).1.contains("writable is missing"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_whatever_is_said_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("bascule")).unwrap();
        store.write(MEMORY, &Memory::default()).unwrap();
        let all = UnlockArgs {
            although: vec![Although::Operator, Although::Locked, Although::Strayed],
            ..args(dir.path())
        };
        assert!(refused(&all).1.contains("is empty"), "{:?}", refused(&all));
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/PG_VERSION"), "9.1").unwrap();
        assert!(refused(&all).1.contains("9.1"), "{:?}", refused(&all));
        assert!(!store.has(UNLOCKED));
    }

    #[test]
    fn what_was_found_has_to_be_named_each_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("bascule")).unwrap();
        store.write(MEMORY, &Memory { locked: Some(7), ..Memory::default() }).unwrap();
        let heard = Heard { at: Timestamp::now(), role: "serve".into(), epoch: 1, serial: 7, strayed: true };
        store.write(HEARD, &heard).unwrap();
        let beside = Beside::find(&place(dir.path())).unwrap();
        let flags: Vec<Although> = beside.findings(Timestamp::now()).into_iter().map(|(f, _)| f).collect();
        assert_eq!(flags, [Although::Operator, Although::Locked, Although::Strayed]);
        let later = Timestamp::now() + RECENTLY;
        assert_eq!(beside.findings(later).len(), 2, "an operator that has been silent for long is gone");
        let text = beside.words(later, false);
        assert!(text.contains("role serve, epoch 1, serial 7") && text.contains("at serial 7"), "{text}");
    }
}
