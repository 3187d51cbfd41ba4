//! Whether the files of a journal are all there, and each goes on where the one before it ends. Pure.
//!
//! A file finds the one before it by the hash that it names, so copies may have other names; names say only what is
//! missing.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::line::Scan;
use super::{Kind, Note, Problem, Verified};
use crate::journal::pages::Whose;

/// Looks from each file to those beside it.
pub(super) fn look(scans: &[Scan<'_>], all: &mut Verified) {
    let mut told: HashSet<(Option<&Path>, String)> = HashSet::new();
    for scan in scans {
        for (line, file, hash) in &scan.after {
            if scans.iter().any(|s| s.hashes.contains_key(hash)) {
                continue;
            }
            if let Some(there) = beside(scans, scan, file) {
                let what = format!(
                    "it goes on after #{hash} of {file}, which ends with #{} in line {}: found no such line there, expected it at the end: lines are missing, or were changed with their seals",
                    there.end.hash, there.end.number
                );
                put(all, scan, *line, Kind::Removed, what);
            } else {
                missing(scans, scan, (*line, file), "it goes on after", &mut told, all);
            }
        }
        for (line, file, own) in &scan.into {
            let by = scans.iter().find(|s| s.after.iter().any(|(_, _, hash)| hash == own));
            match (by, beside(scans, scan, file)) {
                (Some(by), there) if there.is_none() && Whose::of(name(by)).is_some() && name(by) != file => {
                    let how = format!("it goes on in {}, and says that it goes on in", name(by));
                    missing(scans, scan, (*line, file), &how, &mut told, all);
                }
                (Some(_), _) => {}
                (None, Some(there)) if !std::ptr::eq(there, scan) => {
                    let what = format!(
                        "it says that the chain goes on in {file}; found no line there that goes on after it, expected one: lines are missing there"
                    );
                    put(all, scan, *line, Kind::Removed, what);
                }
                (None, _) => {
                    missing(scans, scan, (*line, file), "it says that the chain goes on in", &mut told, all);
                }
            }
        }
        anew(scans, scan, all);
    }
    twice(scans, all);
}

/// Two lines go on after the same one.
fn twice(scans: &[Scan<'_>], all: &mut Verified) {
    let mut seen: HashMap<&str, (&Scan<'_>, usize)> = HashMap::new();
    for scan in scans {
        for (line, file, hash) in &scan.after {
            if let Some((other, of)) = seen.insert(hash, (scan, *line))
                // One file that is given twice is no second one.
                && (other.end != scan.end || name(other) != name(scan))
            {
                let what = format!(
                    "it goes on after #{hash} of {file}, as {}:{of} does; expected one line that does: a file was lost and came back, or one was made anew",
                    other.file
                );
                put(all, scan, *line, Kind::Forked, what);
            }
        }
    }
}

/// A chain begins, or lines have no seal, behind files that have a chain.
fn anew(scans: &[Scan<'_>], scan: &Scan<'_>, all: &mut Verified) {
    if let Some(line) = scan.first.iter().find(|line| **line > 1) {
        let what = "a journal begins here: found lines before it, expected none: it was inserted".to_owned();
        put(all, scan, *line, Kind::Anew, what);
    }
    let mut before = scans.iter().filter(|s| is_of_one(s, scan) && name(s) < name(scan));
    // Where a clock was set back the file with the first line of all has not the first name; but there is only one.
    if scan.first.first() == Some(&1)
        && let Some(other) = before.clone().find(|s| !s.first.is_empty())
    {
        let what = format!(
            "a journal begins here; found that it begins in {} as well, expected a line that goes on after another file",
            name(other)
        );
        put(all, scan, 1, Kind::Anew, what);
    }
    if scan.begins_unchained
        && let Some(other) = before.find(|s| s.chained > 0)
    {
        let what = format!(
            "it has no seal, though lines of {} have: an older program wrote here, or somebody else",
            name(other)
        );
        put(all, scan, 1, Kind::Unchained, what);
    }
}

fn missing<'a>(
    scans: &[Scan<'_>],
    scan: &Scan<'a>,
    (line, file): (usize, &str),
    how: &str,
    told: &mut HashSet<(Option<&'a Path>, String)>,
    all: &mut Verified,
) {
    let is_retired = scans.iter().any(|s| folder(s) == folder(scan) && s.retired.iter().any(|r| r == file));
    if is_retired || scan.page.alone {
        let why = if is_retired { "removed for its age, as the journal says" } else { "not asked for" };
        let what = format!("{how} {file}, which is not here: {why}");
        all.notes.push(Note { file: scan.file.clone(), line, what });
    } else if told.insert((folder(scan), file.to_owned())) {
        let what = format!("{how} {file}: found no such file, expected it here: removed, or not copied");
        put(all, scan, line, Kind::MissingFile, what);
    }
}

fn put(all: &mut Verified, scan: &Scan<'_>, line: usize, kind: Kind, what: String) {
    all.problems.push(Problem { file: scan.file.clone(), line, kind, what });
}

fn folder<'a>(scan: &Scan<'a>) -> Option<&'a Path> {
    scan.page.path.parent()
}

fn name<'a>(scan: &Scan<'a>) -> &'a str {
    scan.page.path.file_name().and_then(|n| n.to_str()).unwrap_or_default()
}

/// Whether two files are of one journal, by their names and places.
fn is_of_one(a: &Scan<'_>, b: &Scan<'_>) -> bool {
    let of = |s: &Scan<'_>| Whose::of(name(s)).map(|(whose, _)| whose);
    folder(a) == folder(b) && of(a).is_some() && of(a) == of(b)
}

fn beside<'s, 'a>(scans: &'s [Scan<'a>], scan: &Scan<'a>, file: &str) -> Option<&'s Scan<'a>> {
    scans.iter().find(|s| folder(s) == folder(scan) && name(s) == file)
}
