//! Notes each boundary that is passed, and dies at the one that is armed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::{ARMED, Boundary, FIRED, FOLDER, TRACE};

/// Something passes a boundary.
pub(crate) fn pass(boundary: Boundary) {
    static FILES: OnceLock<Option<PathBuf>> = OnceLock::new();
    static PASSED: Mutex<Passed> = Mutex::new(Passed { armed: String::new(), lines: 0, times: 0 });
    let folder = FILES.get_or_init(|| std::env::var_os(FOLDER).map(PathBuf::from));
    let Some(folder) = folder else { return };
    // The death happens under the lock: nobody passes another boundary meanwhile.
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    if passed.at(folder, boundary) {
        die();
    }
}

/// How far what is armed has come in this process.
struct Passed {
    armed: String,
    /// Lines of it that were passed.
    lines: usize,
    /// How often the boundary of the next line was passed since then.
    times: u64,
}

impl Passed {
    /// Notes a boundary; answers whether the process has to die here.
    fn at(&mut self, folder: &Path, boundary: Boundary) -> bool {
        note(folder, boundary);
        let armed = fs::read_to_string(folder.join(ARMED)).unwrap_or_default();
        if armed != self.armed {
            *self = Self { armed, lines: 0, times: 0 };
        }
        let mut left = self.armed.lines().skip(self.lines);
        let Some((wanted, number)) = left.next().and_then(|line| line.rsplit_once(' ')) else { return false };
        if wanted.parse() != Ok(boundary) {
            return false;
        }
        self.times += 1;
        if number.parse() != Ok(self.times) {
            return false;
        }
        (self.lines, self.times) = (self.lines + 1, 0);
        // Only one process dies of it: the next one finds nothing that is armed.
        left.next().is_none() && fs::rename(folder.join(ARMED), folder.join(FIRED)).is_ok()
    }
}

/// One line, whole, if somebody wants to read it.
fn note(folder: &Path, boundary: Boundary) {
    let line = format!("{boundary}\n");
    // A line that cannot be written must not change what the process does.
    let _ = File::options()
        .append(true)
        .open(folder.join(TRACE))
        .and_then(|mut trace| trace.write_all(line.as_bytes()));
}

/// Ends every thread of the process here and now: nothing is unwound, dropped or flushed.
fn die() -> ! {
    // It is on its way to every thread when this returns, and this one does not get back to its own work.
    let _ = kill(getpid(), Signal::SIGKILL);
    // The kernel does not let process 1 of a namespace kill itself; what it faults by ends it in the same way, and its
    // whole namespace with it.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effect, Side};

    const BEFORE: Boundary = Boundary { effect: Effect::RecordHandover, side: Side::Before };
    const AFTER: Boundary = Boundary { effect: Effect::RecordHandover, side: Side::After };

    #[test]
    fn the_armed_boundary_is_due_once_and_at_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut passed = Passed { armed: String::new(), lines: 0, times: 0 };
        let mut at = |boundary| passed.at(folder.path(), boundary);
        assert!(!at(BEFORE));
        fs::write(folder.path().join(ARMED), "before record-handover 2").unwrap();
        assert_eq!(
            [at(BEFORE), at(AFTER), at(AFTER), at(BEFORE), at(BEFORE)],
            [false, false, false, true, false]
        );
        assert!(folder.path().join(FIRED).exists() && !folder.path().join(ARMED).exists());
        fs::write(folder.path().join(ARMED), "before record-handover 1").unwrap();
        assert!(at(BEFORE));
    }

    #[test]
    fn lines_are_passed_in_their_order_and_the_last_one_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let mut passed = Passed { armed: String::new(), lines: 0, times: 0 };
        let mut at = |boundary| passed.at(folder.path(), boundary);
        fs::write(folder.path().join(ARMED), "after record-handover 1\nbefore record-handover 1\n").unwrap();
        assert_eq!([at(BEFORE), at(AFTER), at(AFTER), at(BEFORE)], [false, false, false, true]);
    }

    #[test]
    fn boundaries_are_noted_in_their_order_while_there_is_a_file_for_them() {
        let folder = tempfile::tempdir().unwrap();
        note(folder.path(), BEFORE);
        assert!(!folder.path().join(TRACE).exists());
        fs::write(folder.path().join(TRACE), "").unwrap();
        note(folder.path(), BEFORE);
        note(folder.path(), AFTER);
        let text = fs::read_to_string(folder.path().join(TRACE)).unwrap();
        assert_eq!(text, "before record-handover\nafter record-handover\n");
    }
}
