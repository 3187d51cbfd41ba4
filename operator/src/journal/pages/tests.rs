//! Real files: restarts, crashes at any byte, two writers, clocks that go back, files of older programs.

use bascule_core::journal::seal;
use proptest::prelude::*;

use super::*;
use crate::logbook::files;
use crate::logbook::verify::{Kind, Verified, verify};

const TODAY: &str = "2026-11-28";

fn pages(folder: &Path) -> Pages {
    Pages::new(folder, Whose::Operator, None)
}

fn entry(day: &str, what: &str) -> String {
    format!("{day}T03:00:00.000Z paris - epoch=0 serial=0 observed: {what}")
}

fn add(pages: &mut Pages, day: &str, what: &str) {
    pages.append(day, &format!("{day}T03:00:00.000Z"), &[entry(day, what)]).unwrap();
}

fn looked(folder: &Path) -> Verified {
    verify(&files::pages(&[folder.to_owned()]).unwrap())
}

fn kinds(folder: &Path) -> Vec<Kind> {
    looked(folder).problems.iter().map(|p| p.kind).collect()
}

fn whole(folder: &Path) {
    let looked = looked(folder);
    assert!(looked.problems.is_empty(), "{:#?}\n{}", looked.problems, all(folder));
}

/// The lines of all files, without their seals and moments.
fn said(folder: &Path) -> Vec<String> {
    all(folder).lines().map(|l| seal::split(l).0.split_once(' ').unwrap().1.to_owned()).collect()
}

fn all(folder: &Path) -> String {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|p| String::from_utf8_lossy(&std::fs::read(p).unwrap()).into_owned()).collect()
}

#[test]
fn a_restart_and_a_new_day_go_on_from_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    for (day, what) in
        [("2026-11-26", "one"), ("2026-11-26", "two"), ("2026-11-27", "three"), (TODAY, "four")]
    {
        add(&mut pages(folder.path()), day, what);
    }
    whole(folder.path());
    let looked = looked(folder.path());
    assert_eq!((looked.files, looked.entries, looked.chained, looked.unchained), (3, 4, 9, 0));
    let said = said(folder.path());
    assert_eq!(said[0], "-- the journal begins here: no file of it was there before");
    assert_eq!(said[3], "-- goes on in 2026-11-27.log");
    assert!(said[4].starts_with("-- goes on after 2026-11-26.log, whose last line is #"), "{said:?}");
}

#[test]
fn a_line_that_was_cut_off_is_removed_and_told() {
    let folder = tempfile::tempdir().unwrap();
    add(&mut pages(folder.path()), TODAY, "one");
    add(&mut pages(folder.path()), TODAY, "two");
    let path = folder.path().join("2026-11-28.log");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 30]).unwrap();
    assert_eq!(kinds(folder.path()), [Kind::Torn]);
    add(&mut pages(folder.path()), TODAY, "three");
    let said = said(folder.path());
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(
        said[2].contains(" bytes of a line that was not whole were cut off here: \"2026-11-28T03"),
        "{said:?}"
    );
    assert!(said[3].ends_with("three"), "{said:?}");
    let looked = looked(folder.path());
    assert_eq!(looked.problems.iter().map(|p| (p.kind, p.line)).collect::<Vec<_>>(), [(Kind::Torn, 3)]);
}

#[test]
fn two_processes_take_turns_in_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let wrote: Vec<_> = (0..4)
        .map(|who| {
            let folder = folder.path().to_owned();
            std::thread::spawn(move || {
                let mut pages = pages(&folder);
                for n in 0..50 {
                    add(&mut pages, TODAY, &format!("{who} says {n}"));
                }
            })
        })
        .collect();
    for thread in wrote {
        thread.join().unwrap();
    }
    whole(folder.path());
    let said = said(folder.path());
    assert_eq!(said.len(), 201);
    for who in 0..4 {
        let own: Vec<&String> = said.iter().filter(|l| l.contains(&format!(": {who} says "))).collect();
        assert!((0..50).all(|n| own[n].ends_with(&format!("says {n}"))), "{own:?}");
    }
}

#[test]
fn two_processes_at_midnight_and_a_clock_that_goes_back_stay_in_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (pages(folder.path()), pages(folder.path()));
    add(&mut a, "2026-11-27", "a before");
    add(&mut b, "2026-11-27", "b before");
    add(&mut a, TODAY, "a after");
    add(&mut b, "2026-11-27", "b late");
    add(&mut a, TODAY, "a again");
    add(&mut b, TODAY, "b after");
    add(&mut pages(folder.path()), "2030-01-01", "a wrong clock");
    for _ in 0..2 {
        add(&mut pages(folder.path()), TODAY, "mended");
    }
    add(&mut a, TODAY, "a at last");
    whole(folder.path());
    let said = said(folder.path());
    assert_eq!(said.iter().filter(|l| l.contains("observed: ")).count(), 10, "{said:#?}");
}

#[test]
fn a_crash_between_two_files_leaves_one_chain() {
    for (next, is_empty) in [(TODAY, false), ("2026-11-29", false), ("2026-11-27", false), (TODAY, true)] {
        let folder = tempfile::tempdir().unwrap();
        add(&mut pages(folder.path()), "2026-11-27", "one");
        add(&mut pages(folder.path()), TODAY, "lost");
        let second = folder.path().join("2026-11-28.log");
        if is_empty {
            std::fs::write(&second, "2026-11-2").unwrap();
        } else {
            std::fs::remove_file(&second).unwrap();
        }
        for what in ["two", "three"] {
            add(&mut pages(folder.path()), next, what);
        }
        let kinds = kinds(folder.path());
        // Where nothing is written on the day that was named, a file that somebody removed would look the same.
        let expected = match (next, is_empty) {
            (_, true) => vec![Kind::Torn],
            (TODAY, false) => vec![],
            _ => vec![Kind::MissingFile],
        };
        assert_eq!(kinds, expected, "{next}\n{}", all(folder.path()));
    }
}

#[test]
fn a_file_that_is_gone_is_told_also_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    add(&mut pages(folder.path()), "2026-11-26", "one");
    for day in ["2026-11-27", TODAY] {
        add(&mut pages(folder.path()), day, "one");
    }
    let (there, away) = (folder.path().join("2026-11-28.log"), folder.path().join("away"));
    std::fs::rename(&there, &away).unwrap();
    add(&mut pages(folder.path()), "2026-11-29", "two");
    assert_eq!(kinds(folder.path()), [Kind::MissingFile]);
    std::fs::rename(&away, &there).unwrap();
    assert_eq!(kinds(folder.path()), [Kind::Forked]);
}

#[test]
fn a_crash_while_a_clock_goes_back_and_forth_leaves_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    for day in ["2026-11-27", TODAY, "2026-11-27"] {
        add(&mut pages(folder.path()), day, "one");
    }
    // What is left is the line that ends the second file, and not the one that goes on in the first.
    let first = folder.path().join("2026-11-27.log");
    let text = std::fs::read_to_string(&first).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take(3).collect();
    std::fs::write(&first, kept.concat()).unwrap();
    add(&mut pages(folder.path()), TODAY, "two");
    add(&mut pages(folder.path()), TODAY, "three");
    whole(folder.path());
}

#[test]
fn files_of_an_older_program_are_tied_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let old = |day: &str, lines: usize| {
        let text: String = (0..lines).map(|n| entry(day, &format!("old {n}")) + "\n").collect();
        std::fs::write(folder.path().join(format!("{day}.log")), text).unwrap();
    };
    old("2026-11-26", 2);
    old("2026-11-27", 3);
    whole(folder.path());
    add(&mut pages(folder.path()), "2026-11-27", "new on the same day");
    add(&mut pages(folder.path()), TODAY, "new on the next");
    whole(folder.path());
    let looked = looked(folder.path());
    assert_eq!(looked.unchained, 5);
    assert!(
        looked.notes[0].what.contains("it and the 2 after it have no seal: an older program"),
        "{looked:?}"
    );
    let path = folder.path().join("2026-11-27.log");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("old 1", "old 7")).unwrap();
    assert_eq!(kinds(folder.path()), [Kind::Changed]);
}

#[test]
fn an_older_program_that_writes_again_is_told_and_what_it_wrote_is_tied() {
    let folder = tempfile::tempdir().unwrap();
    add(&mut pages(folder.path()), TODAY, "new");
    let path = folder.path().join("2026-11-28.log");
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all((entry(TODAY, "old") + "\n").as_bytes()).unwrap();
    assert_eq!(kinds(folder.path()), [Kind::Unchained]);
    add(&mut pages(folder.path()), TODAY, "new again");
    assert_eq!(kinds(folder.path()), [Kind::Unchained]);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("observed: old", "observed: odd")).unwrap();
    assert_eq!(kinds(folder.path()), [Kind::Changed]);
}

#[test]
fn files_of_days_that_are_too_long_ago_are_removed_and_nothing_else_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for day in ["2026-10-30", "2026-10-31", "2026-11-01"] {
        add(&mut pages(folder.path()), day, "one");
        let mut notes = Pages::new(folder.path(), Whose::People, None);
        notes.append(day, day, &[entry(day, "a note")]).unwrap();
    }
    for name in ["notes.log", "2026-10-31.txt"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let mut keeping = Pages::new(folder.path(), Whose::Operator, Some(10));
    add(&mut keeping, "2026-11-11", "two");
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(
        left,
        ["2026-10-31.txt", "2026-11-01.log", "2026-11-01.notes.log", "2026-11-11.log", "notes.log"]
    );
    whole(folder.path());
    let text = std::fs::read_to_string(folder.path().join("2026-11-11.log")).unwrap();
    for name in ["2026-10-30.log", "2026-10-31.notes.log"] {
        assert!(
            text.contains(&format!("-- {name} was removed: its day is longer ago than 10 days #")),
            "{text}"
        );
    }
    let looked = looked(folder.path());
    assert!(looked.notes.iter().any(|n| n.what.ends_with("removed for its age, as the journal says")));
}

#[test]
fn a_file_that_is_none_and_a_folder_that_is_gone_are_errors_and_the_next_line_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("journal");
    let mut writer = pages(&inner);
    let lines = [entry(TODAY, "one")];
    assert!(writer.append(TODAY, TODAY, &lines).is_err());
    std::fs::create_dir(&inner).unwrap();
    std::os::unix::fs::symlink("/dev/full", inner.join("2026-11-28.log")).unwrap();
    let error = writer.append(TODAY, TODAY, &lines).unwrap_err().to_string();
    assert!(error.contains("2026-11-28.log is no regular file: move it"), "{error}");
    std::fs::remove_file(inner.join("2026-11-28.log")).unwrap();
    writer.append(TODAY, TODAY, &lines).unwrap();
    // Somebody moves the file away while it is open.
    std::fs::rename(inner.join("2026-11-28.log"), folder.path().join("away")).unwrap();
    writer.append(TODAY, TODAY, &lines).unwrap();
    assert!(said(&inner)[1].starts_with("-- 2026-11-28.log is gone, or was made shorter: it had 2 lines"));
    assert_eq!(kinds(&inner), [Kind::Removed]);
    // And cuts off its last line.
    let text = std::fs::read_to_string(inner.join("2026-11-28.log")).unwrap();
    let cut = text.split_inclusive('\n').take(2).collect::<String>();
    std::fs::write(inner.join("2026-11-28.log"), cut).unwrap();
    writer.append(TODAY, TODAY, &lines).unwrap();
    writer.append(TODAY, TODAY, &lines).unwrap();
    assert_eq!(kinds(&inner), [Kind::Removed, Kind::Removed]);
}

#[test]
fn a_last_line_with_a_number_that_no_file_has_stops_no_writer() {
    let folder = tempfile::tempdir().unwrap();
    let odd = format!("{} #{}-0123456789abcdef\n", entry(TODAY, "odd"), u64::MAX);
    std::fs::write(folder.path().join("2026-11-28.log"), odd).unwrap();
    for what in ["one", "two"] {
        add(&mut pages(folder.path()), TODAY, what);
    }
    assert!(!kinds(folder.path()).is_empty());
    assert_eq!(said(folder.path()).len(), 3);
}

#[test]
fn a_folder_whose_lock_somebody_keeps_holds_up_no_line_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let held = File::open(folder.path()).unwrap();
    held.lock().unwrap();
    let mut writer = pages(folder.path());
    let began = std::time::Instant::now();
    for n in 0..100 {
        add(&mut writer, TODAY, &format!("line {n}"));
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{took:?}");
    whole(folder.path());
}

fn journal() -> impl Strategy<Value = Vec<(u8, String)>> {
    prop::collection::vec((25_u8..29, "[ -~é\t]{0,30}"), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was written when, and wherever a crash cut the file that was written last: the next line mends it, and
    /// only what is not whole is told.
    #[test]
    fn a_crash_at_any_byte_is_mended(
        lines in journal(),
        cut in any::<prop::sample::Index>(),
        next in 25_u8..29,
        restarts in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = pages(folder.path());
        for (day, what) in &lines {
            if restarts {
                writer = pages(folder.path());
            }
            add(&mut writer, &format!("2026-11-{day}"), what);
        }
        let looked_before = looked(folder.path());
        prop_assert!(looked_before.problems.is_empty(), "{:?}", looked_before.problems);
        // What is before the line that goes on from another file was on the disk by then.
        let last = folder.path().join(format!("2026-11-{}.log", lines.last().unwrap().0));
        let text = std::fs::read(&last).unwrap();
        let begin = String::from_utf8_lossy(&text).rfind(" -- goes on after ").map_or(0, |at| {
            text[..at].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1)
        });
        let at = begin + cut.index(text.len() - begin + 1);
        std::fs::write(&last, &text[..at]).unwrap();
        let is_torn = at > 0 && text[at - 1] != b'\n';
        for what in ["next", "and one more"] {
            add(&mut pages(folder.path()), &format!("2026-11-{next}"), what);
        }
        let found = looked(folder.path());
        let kinds: Vec<Kind> = found.problems.iter().map(|p| p.kind).collect();
        let expected = if is_torn { vec![Kind::Torn] } else { vec![] };
        prop_assert_eq!(kinds, expected, "cut at {} of {}\n{}\n{:#?}", at, last.display(), all(folder.path()), found);
    }
}
