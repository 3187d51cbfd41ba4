//! The write-ahead log as it lies in a data directory: which segments were written, what their records are, and copies of
//! them.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bascule_boundary::Effect;
use bascule_core::position::{Lsn, Timeline};

use crate::effect;
use crate::store::sync_dir;

/// WAL records past the fork.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    pub(super) records: u64,
    pub(super) commits: u64,
    pub(super) end: Option<Lsn>,
}

/// Takes one line of `pg_waldump`.
pub(super) fn count(past: &mut Past, line: &str) {
    let Some((head, tail)) = line.split_once(", lsn: ") else { return };
    let Some(start) = tail.split([',', ' ']).next().and_then(|w| w.parse::<Lsn>().ok()) else { return };
    past.records += 1;
    if line.starts_with("rmgr: Transaction") && tail.contains("desc: COMMIT") {
        past.commits += 1;
    }
    let total = head
        .split_once("len (rec/tot):")
        .and_then(|(_, lens)| lens.split_once('/'))
        .and_then(|(_, t)| t.trim_start().split([',', ' ']).next().and_then(|w| w.parse::<u64>().ok()))
        .unwrap_or_default();
    // Records are aligned to eight bytes.
    past.end = Some(Lsn((start.0 + total).next_multiple_of(8)));
}

/// Whether `pg_waldump` says only that the log ends here, as every log does somewhere.
pub(super) fn is_end_of_log(line: &str) -> bool {
    ["error in WAL record at", "could not find a valid record after", "could not find file"]
        .iter()
        .any(|end| line.contains(end))
}

/// The segments of one timeline that something was written into.
#[derive(Debug)]
pub(super) struct Written {
    timeline: Timeline,
    size: u64,
    numbers: BTreeSet<u64>,
}

impl Written {
    fn name(&self, number: u64) -> String {
        let in_file = (1_u64 << 32) / self.size;
        format!("{:08X}{:08X}{:08X}", self.timeline.0, number / in_file, number % in_file)
    }

    /// The names of the first and the last segment with WAL from `from` to `end`, or to the end of the log; `None`:
    /// nothing was written there. An error says that something was and is not here any more.
    pub(super) fn range(&self, from: Lsn, end: Option<Lsn>) -> Result<Option<(String, String)>, String> {
        if self.size == 0 || end.is_some_and(|end| end <= from) {
            return Ok(None);
        }
        let first = from.0 / self.size;
        let wanted = end.map(|end| (end.0 - 1) / self.size);
        let later = self.numbers.range(first..);
        let unbroken = later.clone().zip(first..).take_while(|(found, next)| *found == next);
        let last = unbroken.last().map(|(found, _)| *found);
        match (last, wanted) {
            (None, None) if later.count() == 0 => Ok(None),
            (Some(last), Some(wanted)) if last >= wanted => Ok(Some((self.name(first), self.name(wanted)))),
            (Some(last), None) if self.numbers.last() == Some(&last) => {
                Ok(Some((self.name(first), self.name(last))))
            }
            (last, _) => Err(format!(
                "segment {} of the write-ahead log is not here: what this copy has past {from} is not known",
                self.name(last.map_or(first, |last| last + 1))
            )),
        }
    }
}

/// Looks at the first page of every segment of `timeline`: one that was made ahead is empty or begins as another one.
pub(super) fn written(wal: &Path, timeline: Timeline) -> io::Result<Written> {
    let mut found = Written { timeline, size: 0, numbers: BTreeSet::new() };
    let prefix = format!("{:08X}", timeline.0);
    for entry in std::fs::read_dir(wal)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !(is_segment(&name) && name.starts_with(&prefix)) {
            continue;
        }
        let mut file = std::fs::File::open(entry.path())?;
        let size = file.metadata()?.len();
        let mut page = [0; 16];
        if size == 0 || !(1_u64 << 32).is_multiple_of(size) || file.read_exact(&mut page).is_err() {
            continue;
        }
        // XLogPageHeaderData: magic, info, timeline, and at 8 the position that this page was written for.
        let address = page.last_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let place = u64::from_str_radix(&name[8..16], 16).ok().zip(u64::from_str_radix(&name[16..], 16).ok());
        let Some(number) = place.map(|(high, low)| high * ((1_u64 << 32) / size) + low) else { continue };
        if address == number * size && page[..2] != [0, 0] {
            found.size = size;
            found.numbers.insert(number);
        }
    }
    Ok(found)
}

fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Copies the segments from `from` to `to` of every timeline, and the history files, into a new directory of `root`.
/// It has its final name only when everything in it is on the disk.
pub(super) fn copy_wal(wal: &Path, root: &Path, from: Lsn, to: Lsn) -> io::Result<PathBuf> {
    let names = log_files(wal, from, to)?;
    effect::make_dirs(Effect::MakeDirectory, root)?;
    let mut number = 1;
    while root.join(number.to_string()).exists() {
        number += 1;
    }
    let partial = root.join(format!("{number}.partial"));
    if partial.exists() {
        // Only this function writes there, and it was cut short: the originals are still where they were.
        effect::remove_dir_all(Effect::CopyDiverged, &partial)?;
    }
    effect::make_dir(Effect::CopyDiverged, &partial)?;
    copy_files(Effect::CopyDiverged, &names, wal, &partial)?;
    let done = root.join(number.to_string());
    effect::rename(Effect::PlaceDiverged, &partial, &done)?;
    sync_dir(root)?;
    Ok(done)
}

/// The history files of a `pg_wal`, and its segments from one place to another, of whatever timeline.
pub(super) fn log_files(wal: &Path, from: Lsn, to: Lsn) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut segment_size = 0;
    for entry in std::fs::read_dir(wal)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_segment(&name) {
            segment_size = entry.metadata()?.len().max(segment_size);
        }
        names.push(name);
    }
    let place = |lsn: Lsn| format!("{:08X}{:08X}", lsn.0 >> 32, (lsn.0 & 0xFFFF_FFFF) / segment_size.max(1));
    let (first, last) = (place(from), place(to));
    names.retain(|name| {
        name.ends_with(".history")
            || (is_segment(name) && (first.as_str()..=last.as_str()).contains(&&name[8..]))
    });
    Ok(names)
}

/// Copies files from one directory into another, down to the disk.
pub(super) fn copy_files(effect: Effect, names: &[String], from: &Path, to: &Path) -> io::Result<()> {
    for name in names {
        let copy = to.join(name);
        effect::copy(effect, &from.join(name), &copy)?;
        std::fs::File::open(&copy)?.sync_all()?;
    }
    sync_dir(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_counted_and_the_end_is_the_last_records() {
        let mut past = Past::default();
        for line in [
            "first record is after 0/3000000, at 0/3000028, skipping over 40 bytes",
            "rmgr: Heap        len (rec/tot):     59/    59, tx:        736, lsn: 0/03000028, prev 0/02FFFFF0, desc: INSERT off 1",
            "rmgr: Transaction len (rec/tot):     34/    34, tx:        736, lsn: 0/03000068, prev 0/03000028, desc: COMMIT 2026-11-22 03:00:00 UTC",
            "rmgr: Transaction len (rec/tot):     34/    34, tx:        737, lsn: 0/03000090, prev 0/03000068, desc: ABORT 2026-11-22 03:00:00 UTC",
        ] {
            count(&mut past, line);
        }
        assert_eq!((past.records, past.commits), (3, 1));
        assert_eq!(past.end, Some("0/30000B8".parse().unwrap()));
    }

    #[test]
    fn only_segments_that_were_written_count_and_a_gap_is_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let size = 1_u64 << 20;
        let segment = |timeline: u32, number: u64, address: Option<u64>| {
            let mut bytes = vec![0; usize::try_from(size).unwrap()];
            if let Some(address) = address {
                bytes[..2].copy_from_slice(&[0x10, 0xD1]);
                bytes[8..16].copy_from_slice(&(address * size).to_le_bytes());
            }
            let name = format!("{timeline:08X}{:08X}{:08X}", number / 4096, number % 4096);
            std::fs::write(dir.path().join(name), bytes).unwrap();
        };
        for number in [4095, 4096, 4098] {
            segment(15, number, Some(number));
        }
        segment(15, 4099, None);
        segment(15, 4100, Some(4000));
        segment(16, 4097, Some(4097));
        let found = written(dir.path(), Timeline(15)).unwrap();
        assert_eq!(found.numbers, [4095, 4096, 4098].into());
        let at = |number: u64, more: u64| Lsn(number * size + more);
        let names = |a: &str, b: &str| Ok(Some((a.to_owned(), b.to_owned())));
        let (before, after) = ("0000000F0000000000000FFF", "0000000F0000000100000000");
        let end = "0000000F0000000100000002";
        assert!(found.range(at(4095, 5), None).is_err(), "4097 is missing");
        assert_eq!(found.range(at(4098, 5), None), names(end, end));
        assert_eq!(found.range(at(4095, 5), Some(at(4096, 9))), names(before, after));
        assert_eq!(found.range(at(4095, 5), Some(at(4096, 0))), names(before, before));
        assert_eq!(found.range(at(4096, 0), Some(at(4096, 1))), names(after, after));
        assert_eq!(found.range(at(4096, 7), Some(at(4096, 7))), Ok(None));
        assert_eq!(found.range(at(4099, 0), None), Ok(None), "made ahead, or left from before");
        let gap = found.range(at(4097, 3), None).unwrap_err();
        assert!(gap.contains("0000000F0000000100000001"), "{gap}");
        assert!(found.range(at(4096, 3), Some(at(4098, 1))).is_err());
        assert!(found.range(at(4099, 0), Some(at(4099, 9))).is_err());
    }

    #[test]
    fn only_the_segments_past_the_fork_are_saved_and_a_cut_short_copy_is_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let (wal, root) = (dir.path().join("pg_wal"), dir.path().join("diverged"));
        std::fs::create_dir_all(root.join("1.partial")).unwrap();
        std::fs::create_dir(&wal).unwrap();
        for n in 1..=5 {
            std::fs::write(wal.join(format!("0000000100000000{n:08X}")), vec![0; 1024]).unwrap();
        }
        std::fs::write(wal.join("00000002.history"), "1\t0/C00\tx\n").unwrap();
        let saved = copy_wal(&wal, &root, Lsn(3 * 1024 + 5), Lsn(4 * 1024 + 9)).unwrap();
        assert_eq!(saved, root.join("1"));
        let mut names: Vec<_> = std::fs::read_dir(saved)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["000000010000000000000003", "000000010000000000000004", "00000002.history"]);
    }
}
