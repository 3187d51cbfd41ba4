//! The stories under `stories/`: what happens, as a person would be told. Each is what `bascule simulate` prints for its
//! scenario, and a difference of a single byte fails. `make stories` writes them anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(clippy::disallowed_methods, reason = "the stories lie in files; what is played reads none")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bascule_core::moves::Move;
use bascule_core::name::Namespace;
use bascule_core::policy::Policy;
use bascule_core::timing::Profile;
use bascule_engine::intake::moves;
use bascule_engine::intake::policy::convert;
use bascule_engine::intake::read::{File, Limits, revision};
use bascule_sim::scenario::{Scenario, WRITES_EVERY, file, head, play};

/// Set to `write`, it writes the stories instead of comparing them.
const WRITE: &str = "BASCULE_STORIES";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stories")
}

/// A scenario file's own words about itself.
struct Preface {
    title: String,
    /// What it is about, line by line.
    about: Vec<String>,
    /// `policy` and `moves`, files from the repository's root; `teaches`, what the list of stories says of it.
    said: BTreeMap<String, String>,
}

fn preface(text: &str) -> Preface {
    let mut lines = text.lines().map_while(|l| l.strip_prefix('#')).map(str::trim);
    let title = lines.next().unwrap_or_default().to_owned();
    let (mut about, mut said) = (Vec::new(), BTreeMap::new());
    for line in lines {
        match line.split_once(": ").filter(|(key, _)| ["policy", "moves", "teaches"].contains(key)) {
            Some((key, words)) => drop(said.insert(key.to_owned(), words.to_owned())),
            None => about.push(line.to_owned()),
        }
    }
    Preface { title, about, said }
}

fn objects(paths: &[&String]) -> (Policy, Vec<Move>) {
    let read = |path: &&String| (**path).clone();
    let owned: Vec<(String, Vec<u8>)> =
        paths.iter().map(|p| (read(p), fs::read(repository().join(p)).unwrap())).collect();
    let files: Vec<File<'_>> = owned.iter().map(|(path, bytes)| File { path, bytes }).collect();
    let found = revision(&files, &Namespace::try_from("shop").unwrap(), &Limits::default())
        .unwrap_or_else(|all| panic!("{all:?}"));
    let policy = found.policies.values().next().unwrap();
    let moves = found.moves.values().map(|m| moves::convert(&m.object).unwrap().command).collect();
    (convert(&policy.object, None).unwrap(), moves)
}

/// A story as it is kept: its own words, the command that tells it, and what that prints.
fn told(name: &str, text: &str) -> (Preface, String) {
    let preface = preface(text);
    let policy = preface.said.get("policy").unwrap_or_else(|| panic!("{name}: no line `# policy: FILE`"));
    let given = preface.said.get("moves");
    let (policy, moves) = objects(&[policy].into_iter().chain(given).collect::<Vec<_>>());
    let place = format!("operator/sim/stories/{name}.yaml");
    let said = file::read(&File { path: &place, bytes: text.as_bytes() }, &policy.sites, &moves)
        .unwrap_or_else(|all| panic!("{all:?}"));
    let scenario = Scenario {
        profile: said.profile.unwrap_or(Profile::Wan),
        seed: said.seed.unwrap_or(1),
        lasts: said.lasts,
        writes_every: said.writes_every.unwrap_or(WRITES_EVERY),
        events: said.events,
        why: said.why,
    };
    let played = play(&policy, &scenario, &mut |_| ()).unwrap();
    let mut out = format!("{}\n", preface.title);
    for line in &preface.about {
        writeln!(out, "{line}").unwrap();
    }
    let moves = given.map(|m| format!(" --move {m}")).unwrap_or_default();
    writeln!(out, "\n$ bascule simulate {} --scenario {place}{moves}", preface.said["policy"]).unwrap();
    out.push_str(&head(&policy, &scenario));
    out.push_str(&played.text());
    assert_eq!(played.account.violations, vec![], "{name}: an invariant was broken\n{out}");
    (preface, out)
}

fn all() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = fs::read_dir(stories())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| !name.contains(".moves"))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Compares a file with what it should be, or writes it.
fn is_kept(name: &str, wanted: &str) -> Result<(), String> {
    let path = stories().join(name);
    if std::env::var(WRITE).is_ok_and(|v| v == "write") {
        fs::write(&path, wanted).unwrap();
        return Ok(());
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).position(|(a, b)| a != b);
    if found == wanted {
        return Ok(());
    }
    let line = line.unwrap_or_else(|| found.lines().count().min(wanted.lines().count()));
    let of = |text: &str| text.lines().nth(line).unwrap_or("the end of the file").to_owned();
    Err(format!("{name}:{}\n  kept {}\n  told {}", line + 1, of(&found), of(wanted)))
}

#[test]
fn every_story_is_told_as_it_is_kept() {
    // The long ones are told while the others are.
    let stories = all();
    let half = |odd: usize| stories.iter().skip(odd).step_by(2);
    let tell = |odd: usize| {
        half(odd)
            .filter_map(|(name, text)| is_kept(&format!("{name}.txt"), &told(name, text).1).err())
            .collect::<Vec<_>>()
    };
    let wrong = std::thread::scope(|scope| {
        let other = scope.spawn(|| tell(1));
        let mut wrong = tell(0);
        wrong.extend(other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        wrong
    });
    assert!(wrong.is_empty(), "{}\nRead what changed; if it is right: make stories", wrong.join("\n"));
}

#[test]
fn the_list_of_stories_names_them_all() {
    let mut list = String::from(
        "# Stories\n\nWhat happens to an application on two sites when something does, told by the simulator: who saw what and when,\nwhich gate said no and with which value, what was lost, how long each phase took. Each is the output of the command\nthat it begins with; [how to read it](../../../docs/simulate.md#how-to-read-it). A test plays them and compares every\nbyte; `make stories` writes them anew, this list too.\n\n| story | what it teaches | |\n|---|---|---|\n",
    );
    for (name, text) in all() {
        let Preface { title, said, .. } = preface(&text);
        let teaches = said.get("teaches").unwrap_or_else(|| panic!("{name}: no line `# teaches: WORDS`"));
        writeln!(list, "| [{title}]({name}.txt) | {teaches} | [scenario]({name}.yaml) |").unwrap();
    }
    is_kept("README.md", &list).unwrap_or_else(|wrong| panic!("{wrong}\nif it is right: make stories"));
}
