//! The clock of a site: stepped, and run fast or slow, for the operator, the guard and the database there.
//!
//! The kernel of the machine has one clock for all. What is loaded before these programs (`e2e/clock/clock.c`) shows them
//! another one, which a file of the site describes. What else runs in the site, the arbiter's member, the DNS server and
//! the cluster, keeps the machine's.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};

use super::place::Place;
use super::{Scope, World};

/// The library and the file, in the folder of the site's own programs.
const LIBRARY: &str = "clock.so";
const FILE: &str = "now";

/// Bytes of an entry, and how many there are: as `clock.c` has them.
const ENTRY: usize = 64;
const ENTRIES: u64 = 1024;
const SECOND: i128 = 1_000_000_000;

/// The clock of a site.
#[derive(Clone, Debug)]
pub struct Clock {
    file: PathBuf,
}

/// What is in force from a moment on; nanoseconds, and the rate in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    step: i64,
    ahead: i64,
    rate: i64,
    since: [i64; 3],
}

impl Clock {
    /// Sets the wall clock forward, or back, by so many seconds.
    pub fn step(&self, seconds: i64) -> Result<()> {
        self.change(|c| c.step += seconds.saturating_mul(SECOND as i64))
    }

    /// From now on every clock of the site gains so many seconds in a million, or loses them. None of them leaps.
    pub fn gain(&self, per_million: i64) -> Result<()> {
        ensure!(per_million.abs() < 1_000_000, "such a clock would stand still, or run backwards");
        self.change(|c| c.rate = per_million * 1000)
    }

    /// The wall clock is right again, and nothing is gained or lost any more. What the clock that counts since the start
    /// of the machine is ahead or behind, it stays: no such clock ever leaps.
    pub fn right(&self) -> Result<()> {
        self.change(|c| (c.rate, c.step) = (0, -c.ahead))
    }

    /// How far the wall clock is from the machine's, in seconds.
    pub fn offset(&self) -> Result<f64> {
        let file = File::open(&self.file).with_context(|| format!("cannot open {}", self.file.display()))?;
        let (_, change) = read(&file)?;
        let gained = change.ahead_at(now()[2]);
        Ok((i128::from(change.step) + gained) as f64 / SECOND as f64)
    }

    /// Writes a file in which nothing is changed yet.
    fn create(file: &Path) -> Result<()> {
        fs::write(file, vec![0; ENTRY * usize::try_from(ENTRIES)?])
            .with_context(|| format!("cannot write {}", file.display()))?;
        // The database's user reads it.
        Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o644))?)
    }

    fn change(&self, change: impl FnOnce(&mut Change)) -> Result<()> {
        let file = File::options().read(true).write(true).open(&self.file);
        let file = file.with_context(|| format!("cannot open {}", self.file.display()))?;
        // Two faults may change one clock.
        flock(&file, FlockOperation::LockExclusive)?;
        let (number, mut next) = read(&file)?;
        ensure!(
            number + 1 < ENTRIES,
            "this clock was changed {number} times: its file has no room for another one"
        );
        let since = now();
        next.ahead = i64::try_from(next.ahead_at(since[2]))?;
        next.since = since;
        change(&mut next);
        file.write_all_at(&next.bytes(), (number + 1) * ENTRY as u64)?;
        // Last: whoever reads the number finds the entry complete.
        Ok(file.write_all_at(&(number + 1).to_ne_bytes(), 0)?)
    }
}

impl Change {
    fn ahead_at(&self, boot: i64) -> i128 {
        i128::from(self.ahead) + i128::from(boot - self.since[2]) * i128::from(self.rate) / SECOND
    }

    fn bytes(&self) -> Vec<u8> {
        let [wall, monotonic, boot] = self.since;
        let mut bytes: Vec<u8> = [self.step, self.ahead, self.rate, wall, monotonic, boot]
            .iter()
            .flat_map(|n| n.to_ne_bytes())
            .collect();
        bytes.resize(ENTRY, 0);
        bytes
    }
}

/// The number of the entry in force, and the entry: none of them is in force before the first change.
fn read(file: &File) -> Result<(u64, Change)> {
    let field = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).map(|()| i64::from_ne_bytes(bytes))
    };
    let number = u64::try_from(field(0)?)?;
    if number == 0 {
        return Ok((0, Change::default()));
    }
    let at = |n: u64| field(number * ENTRY as u64 + n * 8);
    Ok((number, Change { step: at(0)?, ahead: at(1)?, rate: at(2)?, since: [at(3)?, at(4)?, at(5)?] }))
}

/// The machine's own clocks: the wall clock, the monotonic one, the one that counts while the machine sleeps, too.
fn now() -> [i64; 3] {
    [ClockId::Realtime, ClockId::Monotonic, ClockId::Boottime].map(|clock| {
        let t = clock_gettime(clock);
        t.tv_sec * SECOND as i64 + t.tv_nsec
    })
}

impl World {
    /// Whether clocks are held in this world.
    pub fn clocks_are_held(&self) -> bool {
        self.options().clocks
    }

    /// The clock of a site, of a world whose clocks are held.
    pub fn clock(&self, site: Place) -> Result<Clock> {
        ensure!(
            self.options().clocks && Place::SITES.contains(&site),
            "the clock of {site} is not held in this world"
        );
        Ok(Clock { file: self.programs_folder(site).join(FILE) })
    }

    /// What the programs of a site are started with, by the folder in which they see them.
    pub(super) fn clock_environment(folder: &Path) -> [(String, String); 2] {
        [("LD_PRELOAD", LIBRARY), ("BASCULE_CLOCK", FILE)]
            .map(|(name, file)| (name.to_owned(), folder.join(file).display().to_string()))
    }

    /// Lays the library and the file down beside a site's programs, once in a world.
    pub(super) fn hold_clock(&self, site: Place, library: &Path) -> Result<()> {
        let folder = self.programs_folder(site);
        super::programs::lay_down(library, &folder.join(LIBRARY), 0o644)?;
        Clock::create(&folder.join(FILE))
    }

    /// Every clock is right again.
    pub(super) fn set_clocks_right(&self) -> Result<()> {
        if self.options().clocks {
            for site in Place::SITES {
                let clock = self.clock(site)?;
                if clock.offset()? != 0.0 {
                    clock.right()?;
                }
            }
        }
        Ok(())
    }

    /// Whether the operator of a site is shown the site's clock. It is asked no time: the date of its answers by HTTP stands
    /// still when its clock is set back.
    pub fn operator_has_the_clock(&self, site: Place) -> Result<()> {
        let file = self.clock(site)?.file;
        let processes = self.processes_in(site, Scope::Operator)?;
        let maps = processes.iter().filter_map(|p| fs::read_to_string(format!("/proc/{}/maps", p.pid)).ok());
        let shown = maps.into_iter().any(|maps| maps.contains(&file.display().to_string()));
        ensure!(shown, "no operator of {site} has {} in its memory", file.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::*;
    use crate::command::finish;
    use crate::progress::Progress;
    use crate::tools;

    /// Tells the process of the next test that it is to show its clock.
    const SHOW: &str = "BASCULE_SHOW_CLOCK";
    const WAIT: Duration = Duration::from_millis(300);

    fn nanos(time: Duration) -> i64 {
        i64::try_from(time.as_nanos()).unwrap()
    }

    /// Waits for a moment of the clock that counts since the start of the machine.
    fn wait_for(boot: i64) {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC).unwrap();
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let second = SECOND as i64;
        let at = Timespec { tv_sec: boot / second, tv_nsec: boot % second };
        let spec = Itimerspec { it_interval: zero, it_value: at };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &spec).unwrap();
        poll(&mut [PollFd::new(&timer, PollFlags::IN)], None).unwrap();
    }

    #[test]
    fn a_process_that_is_asked_to_shows_its_clock() {
        if std::env::var_os(SHOW).is_none() {
            return;
        }
        let [wall, monotonic, boot] = now();
        let (_sender, receiver) = mpsc::channel::<()>();
        receiver.recv_timeout(WAIT).unwrap_err();
        let futex = now()[1] - monotonic;
        let before = now()[2];
        wait_for(before + nanos(WAIT));
        println!("shown {wall} {monotonic} {boot} {futex} {}", now()[2] - before);
    }

    struct Shown {
        /// How far each clock was ahead of the machine's, at least and at most.
        ahead: [(i64, i64); 3],
        /// What its two waits took by its own clock.
        waits: [i64; 2],
        /// What both took by the machine's.
        took: Duration,
    }

    fn shown(file: &Path) -> Shown {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "world::clock::tests::a_process_that_is_asked_to_shows_its_clock",
            "--nocapture",
        ]);
        command.env("LD_PRELOAD", tools::clock_library(&Progress::quiet()).unwrap());
        command.env("BASCULE_CLOCK", file).env(SHOW, "1");
        let (before, begin) = (now(), Instant::now());
        let said = finish(command, None, Duration::from_secs(20)).unwrap();
        let (after, took) = (now(), begin.elapsed());
        let line = said.split("shown ").nth(1).unwrap_or_else(|| panic!("it showed nothing: {said}"));
        let numbers: Vec<i64> = line.lines().next().unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        let ahead = [0, 1, 2].map(|k| (numbers[k] - after[k], numbers[k] - before[k]));
        Shown { ahead, waits: [numbers[3], numbers[4]], took }
    }

    fn between((least, most): (i64, i64), seconds: f64) -> bool {
        let wanted = (seconds * 1e9) as i64;
        least <= wanted && wanted <= most
    }

    #[test]
    fn what_a_site_s_clock_shows_is_what_was_done_to_it_and_waits_end_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("now");
        Clock::create(&file).unwrap();
        let clock = Clock { file: file.clone() };
        let right = shown(&file);
        assert!(right.ahead.iter().all(|a| between(*a, 0.0)), "{:?}", right.ahead);

        clock.step(3600).unwrap();
        clock.step(-7200).unwrap();
        let stepped = shown(&file);
        assert!(between(stepped.ahead[0], -3600.0), "{:?}", stepped.ahead);
        assert!(stepped.ahead[1..].iter().all(|a| between(*a, 0.0)), "{:?}", stepped.ahead);

        clock.gain(900_000).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        clock.gain(0).unwrap();
        let gained = clock.offset().unwrap() + 3600.0;
        assert!(gained > 1.7, "two seconds gained {gained}");
        let fast = shown(&file);
        assert!(between(fast.ahead[0], gained - 3600.0), "{gained}: {:?}", fast.ahead);
        assert!(fast.ahead[1..].iter().all(|a| between(*a, gained)), "{gained}: {:?}", fast.ahead);
        // By the kernel's clock they would last as much longer as this one is ahead.
        assert!(fast.waits.iter().all(|w| *w >= nanos(WAIT)), "{:?}", fast.waits);
        assert!(fast.took < right.took + Duration::from_millis(1500), "{:?}, {:?}", right.took, fast.took);

        clock.right().unwrap();
        assert!(clock.offset().unwrap().abs() < 0.001);
        let again = shown(&file);
        assert!(between(again.ahead[0], 0.0), "{:?}", again.ahead);
        assert!(again.ahead[1..].iter().all(|a| between(*a, gained)), "it leapt back: {:?}", again.ahead);
    }
}
