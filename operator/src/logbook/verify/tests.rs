//! Whatever is done to one line of a chained journal is found, and told for what it is.

use proptest::prelude::*;

use super::*;
use crate::journal::chain::Link;

const GOOD: &str = "2026-11-28T03:00:00.000Z paris - epoch=3 serial=12 intent: begin\n2026-11-28T03:00:01.000Z paris web/shop epoch=3 serial=12 outcome: done\n";

fn page(name: &str, text: &str) -> Page {
    let path = std::path::PathBuf::from("paris").join(name);
    let day = crate::journal::pages::Whose::of(name).map(|(_, day)| day);
    Page { path, text: text.to_owned(), day, alone: false }
}

fn problems(name: &str, text: &str) -> Vec<String> {
    verify(&[page(name, text)]).problems.into_iter().map(|p| format!("{}: {}", p.line, p.what)).collect()
}

#[test]
fn a_journal_without_a_chain_is_whole_as_far_as_its_lines_tell() {
    assert_eq!(problems("2026-11-28.log", GOOD), Vec::<String>::new());
    assert_eq!(problems("journal.log", GOOD), Vec::<String>::new(), "a guard's file is of many days");
}

#[test]
fn everything_that_is_not_as_it_was_written_is_named_with_its_line() {
    for (name, text, says) in [
        ("2026-11-28.log", GOOD.trim_end().to_owned(), "2: it is cut off"),
        (
            "2026-11-28.log",
            format!("{GOOD}2026-11-28 -- 4 lines were lost before this one: the disk did not take them\n"),
            "3: 4 lines before it are missing",
        ),
        (
            "2026-11-28.log",
            GOOD.replace("serial=12 outcome", "serial= outcome"),
            "2: no journal writes such a line",
        ),
        (
            "2026-11-28.log",
            GOOD.replace("03:00:01", "02:00:01"),
            "2: it says 2026-11-28T02:00:01Z, which is before",
        ),
        ("2026-11-27.log", GOOD.to_owned(), "1: it is of 2026-11-28, and the file is named after 2026-11-27"),
    ] {
        let found = problems(name, &text);
        assert!(found.iter().any(|f| f.starts_with(says)), "{says}: {found:?}");
    }
}

#[test]
fn a_file_that_is_no_journal_is_not_quoted_whole() {
    assert_eq!(problems("x.log", &"noise\n".repeat(1000)).len(), QUOTED);
}

/// A journal of three days in memory, `lines` entries each: names, and the lines with their ends.
fn chained(lines: &[Vec<String>]) -> Vec<(String, Vec<String>)> {
    let mut files: Vec<(String, Vec<String>)> = Vec::new();
    let mut before: Option<(String, String)> = None;
    for (n, entries) in lines.iter().enumerate() {
        let (day, next) = (25 + n, 26 + n);
        let name = format!("2026-11-{day}.log");
        let at = format!("2026-11-{day}T03:00:00.000Z");
        let mut texts = vec![match &before {
            None => Mark::First.text(&at),
            Some((file, hash)) => Mark::After { file, hash }.text(&at),
        }];
        texts.extend(entries.iter().map(|what| format!("{at} paris - epoch=0 serial=0 observed: {what}")));
        if n + 1 < lines.len() {
            texts.push(Mark::Into { file: &format!("2026-11-{next}.log") }.text(&at));
        }
        let (mut link, mut file) = (Link::begin(), Vec::new());
        for text in texts {
            let (line, behind) = link.seal(&text);
            link = behind;
            file.push(line + "\n");
        }
        before = Some((name.clone(), link.hash));
        files.push((name, file));
    }
    files
}

fn example() -> Vec<(String, Vec<String>)> {
    chained(&[1, 5, 2].map(|n| (0..n).map(|n| format!("entry {n}")).collect()))
}

fn found(files: &[(String, Vec<String>)]) -> Verified {
    verify(&files.iter().map(|(name, lines)| page(name, &lines.concat())).collect::<Vec<_>>())
}

#[test]
fn what_was_done_is_told_apart() {
    type Expected = &'static [(Kind, &'static str, usize)];
    type Deed = fn(&mut Vec<(String, Vec<String>)>);
    let deeds: [(&str, Deed, Expected); 17] = [
        ("nothing", |_| {}, &[]),
        (
            "a digit of a hash",
            |f| {
                let last = f[1].1[2].len() - 2;
                let digit = if f[1].1[2].as_bytes()[last] == b'0' { "1" } else { "0" };
                f[1].1[2].replace_range(last..=last, digit);
            },
            &[(Kind::Changed, "26", 3)],
        ),
        (
            "the second journal from its second line",
            |f| {
                f[1].1[0] = chained(&[Vec::new()])[0].1[0].clone();
            },
            &[(Kind::Changed, "26", 2), (Kind::Removed, "25", 3), (Kind::Anew, "26", 1)],
        ),
        ("a word", |f| f[1].1[2] = f[1].1[2].replace("entry", "entrY"), &[(Kind::Changed, "26", 3)]),
        (
            "a seal",
            |f| {
                let last = f[1].1[2].len() - 2;
                f[1].1[2].replace_range(last..=last, "x");
            },
            &[(Kind::Changed, "26", 4)],
        ),
        ("a number", |f| f[1].1[2] = f[1].1[2].replace(" #3-", " #9-"), &[(Kind::Changed, "26", 3)]),
        ("a line out", |f| drop(f[1].1.remove(2)), &[(Kind::Removed, "26", 3)]),
        ("two lines out", |f| drop(f[1].1.drain(2..4)), &[(Kind::Removed, "26", 3)]),
        ("the first out", |f| drop(f[1].1.remove(0)), &[(Kind::Removed, "26", 1), (Kind::Removed, "25", 3)]),
        ("the end out", |f| f[1].1.truncate(4), &[(Kind::Removed, "27", 1)]),
        (
            "a line in",
            |f| f[1].1.insert(2, GOOD.lines().next().unwrap().replace("28T", "26T") + "\n"),
            &[(Kind::Inserted, "26", 3)],
        ),
        (
            "one twice",
            |f| {
                let line = f[1].1[1].clone();
                f[1].1.insert(4, line);
            },
            &[(Kind::Inserted, "26", 5)],
        ),
        ("swapped", |f| f[1].1.swap(2, 3), &[(Kind::Inserted, "26", 3), (Kind::Inserted, "26", 5)]),
        ("a file out", |f| drop(f.remove(1)), &[(Kind::MissingFile, "25", 3)]),
        ("the last file out", |f| drop(f.remove(2)), &[(Kind::MissingFile, "26", 7)]),
        ("the first file out", |f| drop(f.remove(0)), &[(Kind::MissingFile, "26", 1)]),
        (
            "a forged line",
            |f| {
                let link = f[1].1[..3].iter().fold(Link::begin(), |link, line| link.behind(line.trim_end()));
                f[1].1.insert(
                    3,
                    link.seal("2026-11-26T03:00:00.000Z paris - epoch=0 serial=0 observed: forged").0 + "\n",
                );
            },
            &[(Kind::Forked, "26", 5)],
        ),
    ];
    for (name, deed, expected) in deeds {
        let mut files = example();
        deed(&mut files);
        let found = found(&files);
        let told: Vec<_> = found.problems.iter().map(|p| (p.kind, p.file.as_str(), p.line)).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, day, line)| (*kind, format!("paris/2026-11-{day}.log"), *line))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(kind, file, line)| (*kind, file.as_str(), *line)).collect();
        assert_eq!(told, expected, "{name}: {:#?}\n{:#?}", found.problems, files);
    }
}

#[test]
fn a_changed_line_is_named_with_what_was_found_and_what_was_expected() {
    let mut files = example();
    let (_, seal) = seal::split(files[1].1[2].trim_end());
    let was = seal.unwrap().hash.to_owned();
    files[1].1[2] = files[1].1[2].replace("entry", "entrY");
    let what = &found(&files).problems[0].what;
    let begin = format!("it was changed, or line 2 with its seal was; found #3-{was}, expected #3-");
    assert!(what.starts_with(&begin) && what.len() == begin.len() + seal::DIGITS, "{what}");
}

#[test]
fn a_file_alone_says_what_is_beside_it_and_copies_may_have_other_names() {
    let files = example();
    let mut alone = page(&files[1].0, &files[1].1.concat());
    alone.alone = true;
    let found = verify(&[alone]);
    assert_eq!(found.problems, []);
    let notes: Vec<&str> = found.notes.iter().map(|n| n.what.as_str()).collect();
    assert_eq!(
        notes,
        [
            "it goes on after 2026-11-25.log, which is not here: not asked for",
            "it says that the chain goes on in 2026-11-27.log, which is not here: not asked for"
        ]
    );
    let pages: Vec<Page> =
        files.iter().map(|(name, lines)| page(&format!("0-{name}"), &lines.concat())).collect();
    assert_eq!(verify(&pages).problems, []);
}

#[test]
fn a_chain_that_begins_behind_another_is_told() {
    let mut files = example();
    // The end of the second file and the third as somebody makes it anew.
    files[1].1.pop();
    files[2].1 = chained(&[vec!["forged".to_owned()]])[0].1.clone();
    let kinds: Vec<Kind> = found(&files).problems.iter().map(|p| p.kind).collect();
    assert!(kinds.contains(&Kind::Anew), "{kinds:?}");
    // The same without seals.
    files[2].1 = vec![GOOD.replace("-28T", "-27T")];
    let told = found(&files);
    assert!(told.problems.iter().any(|p| p.kind == Kind::Unchained && p.line == 1), "{told:?}");
}

fn journals() -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec("[ -~é\t]{0,30}", 0..6), 1..4)
}

/// Lines as somebody may write them who wants to see it fail.
fn hostile() -> impl Strategy<Value = String> {
    let number = prop_oneof![Just(u64::MAX), Just(u64::MAX - 1), 0_u64..5, any::<u64>()];
    let text = prop_oneof![
        "[ -~é]{0,20}",
        Just("2026-11-28 -- goes on in 2026-11-28.log".to_owned()),
        Just("2026-11-28 -- goes on after 2026-11-28.log, whose last line is #0000000000000000".to_owned()),
        Just("2026-11-28 -- the journal begins here: no file of it was there before".to_owned()),
        Just(
            "2026-11-28 -- 18446744073709551615 lines were lost before this one: the disk did not take them"
                .to_owned()
        ),
        Just(GOOD.lines().next().unwrap_or_default().to_owned()),
    ];
    (text, number, "[0-9a-f]{16}").prop_map(|(text, number, hash)| format!("{text} #{number}-{hash}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_as_it_was_written_is_whole(lines in journals()) {
        let told = found(&chained(&lines));
        prop_assert!(told.problems.is_empty() && told.unchained == 0, "{:?}", told.problems);
    }

    #[test]
    fn no_line_makes_the_look_fail_or_last(lines in prop::collection::vec(hostile(), 0..60)) {
        let text = lines.concat();
        let told = verify(&[page("2026-11-28.log", &text), page("2026-11-29.log", &text)]);
        prop_assert!(told.problems.len() <= 2 * QUOTED + 4 * lines.len() + 4);
    }

    /// Any byte that becomes another, a line's end as well.
    #[test]
    fn any_changed_byte_is_found(lines in journals(), file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let files = chained(&lines);
        let file = file.index(files.len());
        let mut bytes = files[file].1.concat().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let line = 1 + String::from_utf8_lossy(&bytes[..at]).matches('\n').count();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let pages: Vec<Page> = files.iter().enumerate()
            .map(|(n, (name, lines))| page(name, &if n == file { text.clone() } else { lines.concat() })).collect();
        let told = verify(&pages);
        prop_assert!(!told.problems.is_empty(), "{}", text);
        // The line itself, or the one behind it; what follows from it in other files comes after.
        let name = format!("paris/{}", files[file].0);
        let first = told.problems.iter().find(|p| p.file == name);
        prop_assert!(first.is_some_and(|p| (line..=line + 1).contains(&p.line)), "line {}: {:#?}", line, told.problems);
    }

    /// Any line but the very last one: that one is found only by who knows its hash.
    #[test]
    fn any_removed_line_is_found(lines in journals(), file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        let mut files = chained(&lines);
        let (file, last) = (file.index(files.len()), files.len() - 1);
        let at = at.index(files[file].1.len());
        prop_assume!((file, at) != (last, files[last].1.len() - 1));
        files[file].1.remove(at);
        let told = found(&files);
        prop_assert!(told.problems.iter().any(|p| matches!(p.kind, Kind::Removed | Kind::MissingFile)), "{:#?}", told.problems);
    }

    /// A line of the journal at another place, or one that somebody makes, with or without a seal.
    #[test]
    fn any_inserted_line_is_found(
        lines in journals(),
        file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        of in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
        sealed in any::<bool>(),
    ) {
        let mut files = chained(&lines);
        let file = file.index(files.len());
        let at = at.index(files[file].1.len() + 1);
        let is_at_the_end = file + 1 == files.len() && at == files[file].1.len();
        let made = format!("2026-11-{}T03:00:00.000Z paris - epoch=0 serial=0 observed: x", 25 + file);
        let line = match of {
            Some((from, line)) => {
                let from = &files[from.index(files.len())].1;
                from[line.index(from.len())].clone()
            }
            None if sealed => {
                // Whoever can write the file can add at its end: no chain without a secret tells that.
                prop_assume!(!is_at_the_end);
                let before = files[file].1[..at].iter().fold(Link::begin(), |link, line| link.behind(line.trim_end()));
                before.seal(&made).0 + "\n"
            }
            None => made + "\n",
        };
        files[file].1.insert(at, line);
        let told = found(&files);
        prop_assert!(!told.problems.is_empty(), "{:#?}", files);
    }

    #[test]
    fn any_swapped_lines_are_found(lines in journals(), file in any::<prop::sample::Index>(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let mut files = chained(&lines);
        let file = file.index(files.len());
        let (a, b) = (a.index(files[file].1.len()), b.index(files[file].1.len()));
        prop_assume!(a != b);
        files[file].1.swap(a, b);
        let told = found(&files);
        let name = format!("paris/{}", files[file].0);
        let first = told.problems.iter().find(|p| p.file == name);
        prop_assert!(first.is_some_and(|p| p.line > a.min(b)), "{:#?}", told.problems);
        prop_assert!(first.is_some_and(|p| p.line <= a.min(b) + 2), "{:#?}", told.problems);
    }
}
