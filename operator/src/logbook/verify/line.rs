//! Which line of a file is not tied to the one before it, and what that means. Pure.

use std::collections::{HashMap, HashSet};

use bascule_core::journal::mark::Mark;
use bascule_core::journal::{Line, read, seal};

use super::{Found, Kind, numbered};
use crate::journal::chain::{Link, hash};
use crate::logbook::files::Page;

/// What the other files have to know of one.
pub(super) struct Scan<'a> {
    pub page: &'a Page,
    pub file: String,
    /// How many lines have a seal.
    pub chained: usize,
    /// How many have none.
    pub unchained: usize,
    /// The first line has none, and it is a whole one.
    pub begins_unchained: bool,
    /// The place behind the last line.
    pub end: Link,
    /// The hash of each line.
    pub hashes: HashMap<String, usize>,
    /// The lines that say where the chain comes from: number, file, hash.
    pub after: Vec<(usize, String, String)>,
    /// The lines that say that it begins.
    pub first: Vec<usize>,
    /// The lines that say where the chain goes on: number, file, their own hash.
    pub into: Vec<(usize, String, String)>,
    /// The last line is such a one.
    pub is_over: bool,
    /// The files that lines say were removed for their age.
    pub retired: Vec<String>,
}

/// Where the look is.
struct At {
    /// Behind the line before.
    link: Link,
    /// What its hash should have been, when it is another than its seal says.
    or: Option<String>,
    /// How many lines without a seal are just before.
    bare: usize,
    /// The place before those.
    sealed: Link,
}

impl<'a> Scan<'a> {
    /// Looks at the chain in one file.
    pub(super) fn of(page: &'a Page, found: &mut Found) -> Self {
        let whole: Vec<&str> = numbered(&page.text).filter_map(|(_, line)| line.ok()).collect();
        let mut scan = Self {
            page,
            file: found.file.clone(),
            chained: 0,
            unchained: 0,
            begins_unchained: whole.first().is_some_and(|line| seal::split(line).1.is_none()),
            end: Link::begin(),
            hashes: HashMap::new(),
            after: Vec::new(),
            first: Vec::new(),
            into: Vec::new(),
            is_over: false,
            retired: Vec::new(),
        };
        let numbers: HashSet<u64> =
            whole.iter().filter_map(|line| Some(seal::split(line).1?.number)).collect();
        let mut at = At { link: Link::begin(), or: None, bare: 0, sealed: Link::begin() };
        for (i, line) in whole.iter().enumerate() {
            let (text, Some(seal)) = seal::split(line) else {
                scan.unchained += 1;
                at.bare += 1;
                at.link = at.link.behind(line);
                scan.hashes.insert(at.link.hash.clone(), i + 1);
                continue;
            };
            let next = whole.get(i + 1).and_then(|line| Some(seal::split(line).1?.number));
            let number = scan.judge(i + 1, text, seal, next, &at, &numbers, found);
            scan.chained += 1;
            scan.hashes.insert(seal.hash.to_owned(), i + 1);
            if let Some(number) = number {
                scan.marks(i + 1, text, seal.hash, found);
                let should = hash(&at.link.hash, &seal::numbered(text, number));
                at.or = (should != seal.hash).then_some(should);
                at.link = Link { number, hash: seal.hash.to_owned() };
                at.sealed = at.link.clone();
                at.bare = 0;
            }
        }
        if at.bare > 0 && scan.chained > 0 {
            let what = format!(
                "{}, though lines before have: an older program wrote here, or somebody else",
                has_no_seal(at.bare)
            );
            found.problem(whole.len() + 1 - at.bare, Kind::Unchained, what);
        }
        scan.end = at.link;
        scan
    }

    /// Judges a line with a seal: its number, or `None`: it is to be taken as if it were not there.
    #[expect(clippy::too_many_arguments, reason = "all of it is where the look is")]
    fn judge(
        &self,
        n: usize,
        text: &str,
        seal: seal::Seal<'_>,
        next: Option<u64>,
        at: &At,
        numbers: &HashSet<u64>,
        found: &mut Found,
    ) -> Option<u64> {
        let expected = at.link.number.saturating_add(1);
        let goes_on = next == Some(expected.saturating_add(1));
        let numbered = seal::numbered(text, seal.number);
        let should = hash(&at.link.hash, &numbered);
        let fits = |before: &str| hash(before, &numbered) == seal.hash;
        let begins = n - at.bare;
        if seal.number == expected && (should == seal.hash || at.or.as_deref().is_some_and(fits)) {
            // What has no seal of its own is tied by this one.
            if at.bare > 0 && at.sealed.number > 0 {
                let what = format!("{}: an older program wrote here; line {n} ties it", has_no_seal(at.bare));
                found.problem(begins, Kind::Unchained, what);
            } else if at.bare > 0 {
                let what = format!("{}: an older program wrote here; line {n} ties it", has_no_seal(at.bare));
                found.note(begins, what);
            }
            return Some(seal.number);
        }
        if at.bare > 0 && seal.number == at.sealed.number.saturating_add(1) && fits(&at.sealed.hash) {
            let what = format!("{}, and line {n} fits the one before: it was inserted", has_no_seal(at.bare));
            found.problem(begins, Kind::Inserted, what);
            return Some(seal.number);
        }
        let hashes = format!("found #{}-{}, expected #{expected}-", seal.number, seal.hash);
        if seal.number > expected && !goes_on {
            let (from, to) = (expected, seal.number - 1);
            let missing =
                if from == to { format!("line {from} is") } else { format!("lines {from} to {to} are") };
            if found.has_room() && numbers.iter().any(|number| (from..=to).contains(number)) {
                let what = format!("it is line {} by its seal: lines were moved; {hashes}…", seal.number);
                found.problem(n, Kind::Inserted, what);
                return (next != Some(expected)).then_some(seal.number);
            }
            let what =
                format!("{missing} missing before it: removed, or lost by a crash of the machine; {hashes}…");
            found.problem(n, Kind::Removed, what);
            return Some(seal.number);
        }
        if seal.number < expected && !goes_on {
            let forked = found.has_room() && self.hashes.keys().any(|before| fits(before));
            if forked && !self.hashes.contains_key(seal.hash) {
                let what = format!(
                    "it follows line {}, as another one does: two processes wrote at once where the folder cannot be locked, or lines were inserted; {hashes}…",
                    seal.number.saturating_sub(1)
                );
                found.problem(n, Kind::Forked, what);
                return Some(seal.number);
            }
            let what =
                format!("it is line {} by its seal: it was moved, or inserted; {hashes}…", seal.number);
            found.problem(n, Kind::Inserted, what);
            return None;
        }
        let which = match at.bare {
            0 if n == 1 => "it was changed".to_owned(),
            0 => format!("it was changed, or line {} with its seal was", n - 1),
            1 => format!("it or line {begins}, which has no seal, was changed"),
            _ => format!("it or one of the lines from {begins}, which have no seal, was changed"),
        };
        found.problem(n, Kind::Changed, format!("{which}; {hashes}{should}"));
        Some(expected)
    }

    /// What a line says of other files.
    fn marks(&mut self, n: usize, text: &str, hash: &str, found: &mut Found) {
        let was_over = std::mem::take(&mut self.is_over);
        let mark = match read(text) {
            Some(Line::Mark { mark, .. }) => Some(mark),
            _ => None,
        };
        if was_over
            && let Some((before, file, _)) = self.into.last()
            && !matches!(mark, Some(Mark::After { .. }))
        {
            let what = format!(
                "line {before} says that the chain goes on in {file}; found another line, expected one that comes back from there: it was inserted"
            );
            found.problem(n, Kind::Inserted, what);
        }
        match mark {
            Some(Mark::First) => self.first.push(n),
            Some(Mark::After { file, hash: of }) => self.after.push((n, file.to_owned(), of.to_owned())),
            Some(Mark::Into { file }) => {
                self.into.push((n, file.to_owned(), hash.to_owned()));
                self.is_over = true;
            }
            Some(Mark::Retired { file, .. }) => self.retired.push(file.to_owned()),
            Some(Mark::Lost { .. } | Mark::Cut { .. } | Mark::Gone { .. }) | None => {}
        }
    }
}

fn has_no_seal(lines: usize) -> String {
    match lines {
        1 => "it has no seal".to_owned(),
        n => format!("it and the {} after it have no seal", n - 1),
    }
}
