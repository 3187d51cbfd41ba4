//! The quickstart as a new user follows it: every command of `docs/quickstart.md`, in its order, in one shell, and what the
//! page shows is what they say. Needs root.
//!
//! Two commands only build (`cargo build`, `make sandbox`); what they would build is there already, so programs of those names
//! stand in for them, which take exactly what the page says. The shell begins in a folder with the repository's examples.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a command may take: the first one that needs clusters brings them up.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long what is looked for may take to be seen.
const SEEN: Duration = Duration::from_mins(2);
/// Between two looks.
const AGAIN: Duration = Duration::from_secs(1);
/// What the shell says when a command is over, with its exit code.
const OVER: &str = "--over--";
/// A command that goes on until somebody ends it.
const UNTIL_ENDED: &str = "Ctrl-C ends it";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Commands that stand together, and what the page shows of their output.
#[derive(Debug, Default)]
struct Block {
    section: String,
    commands: Vec<String>,
    shown: Vec<String>,
}

/// The blocks of a page: commands stand between fences, what they say is set in by four spaces after them.
fn blocks(page: &str) -> Vec<Block> {
    let (mut all, mut section, mut fenced): (Vec<Block>, &str, bool) = (Vec::new(), "", false);
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        } else if line.starts_with("```") {
            fenced = !fenced;
            if fenced {
                all.push(Block { section: section.to_owned(), ..Block::default() });
            }
        } else if fenced && !line.trim().is_empty() {
            all.last_mut().unwrap().commands.push(line.to_owned());
        } else if let Some(said) = line.strip_prefix("    ").filter(|said| said.trim() != "…") {
            let block = all.last_mut().unwrap_or_else(|| panic!("output before any command: {line}"));
            block.shown.push(said.to_owned());
        }
    }
    all
}

/// Without numbers, which change with everything that takes time, and without the columns that they move.
fn plain(text: &str) -> String {
    let words =
        text.split_whitespace().map(|word| word.replace(|c: char| c.is_ascii_digit() || c == '.', ""));
    words.collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// Whether a line of the output has all that the page shows of it, in its order; what the page leaves out is an ellipsis.
fn is_said(said: &str, shown: &str) -> bool {
    let parts: Vec<String> = shown.split('…').map(plain).filter(|part| !part.is_empty()).collect();
    said.lines().map(plain).any(|line| {
        let mut rest = line.as_str();
        parts.iter().all(|part| match rest.find(part.as_str()) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    })
}

/// One shell for all commands; with it the sandbox goes, however the test ends.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    sandbox: PathBuf,
}

impl Shell {
    fn start(folder: &Path, path: &str, sandbox: PathBuf) -> Self {
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(folder)
            .env("PATH", path)
            .env_remove("KUBECONFIG")
            .env_remove("BASCULE_BIN")
            .env_remove("BASCULE_WEB_BIN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        writeln!(input, "exec 2>&1").unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, input, lines, sandbox }
    }

    /// Runs a command to its end; answers its exit code, and adds what it says.
    fn run(&mut self, command: &str, said: &mut String) -> i32 {
        println!("$ {command}");
        self.write(command);
        self.until_over(command, said)
    }

    /// Has the shell run something and say that it is over. What it says may end without a line's end.
    fn write(&mut self, command: &str) {
        writeln!(self.input, "{command}\nover=$?; echo; echo {OVER} $over").unwrap();
    }

    fn until_over(&mut self, command: &str, said: &mut String) -> i32 {
        let begin = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|why| panic!("{command}: {why} within {PATIENCE:?}; it said\n{said}"));
            if let Some(code) = line.strip_prefix(OVER) {
                return code.trim().parse().unwrap();
            }
            println!("  {line}");
            said.push_str(&line);
            said.push('\n');
        }
    }

    /// Runs a command until all of this was said, and ends it as a person does.
    fn watch(&mut self, command: &str, shown: &[String], said: &mut String) -> i32 {
        println!("$ {command}");
        let command = command.split(" #").next().unwrap_or(command);
        writeln!(self.input, "{command} &").unwrap();
        let begin = Instant::now();
        while !shown.iter().all(|line| is_said(said, line)) {
            let left = SEEN.saturating_sub(begin.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    println!("  {line}");
                    said.push_str(&line);
                    said.push('\n');
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(why) => panic!("{command}: {why}; it said\n{said}"),
            }
        }
        self.write("kill -INT $!; wait $!");
        self.until_over(command, said)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // It is down already where the page was followed to its end.
        let _ = Command::new(&self.sandbox).arg("down").output();
    }
}

/// A program of this name that takes exactly these words, for what is built already.
fn stands_in(folder: &Path, name: &str, words: &str) {
    let path = folder.join(name);
    let text = format!(
        "#!/bin/sh\n[ \"$*\" = \"{words}\" ] && exit 0\necho \"the page says: {name} $*; the test knows: {name} {words}\"\nexit 97\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether a command changes nothing, so that it can be said again until it shows what is awaited.
fn only_looks(command: &str) -> bool {
    command.contains(" get ") || command.contains(" history ") || command.contains(" journal ")
}

/// `plan` says by its exit code that something would change; `status` that something needs attention.
fn may_end_with(command: &str, code: i32) -> bool {
    code == 0 || (code == 2 && ["bascule plan ", "bascule status "].iter().any(|c| command.contains(c)))
}

#[test]
fn every_command_of_the_quickstart_does_what_the_page_shows() {
    let page = fs::read_to_string(repository().join("docs/quickstart.md")).unwrap();
    let blocks = blocks(&page);
    let programs = std::env::var_os("BASCULE_BIN").map(PathBuf::from);
    let programs =
        programs.expect("BASCULE_BIN names the static bascule: run this by `make test-quickstart`");
    let programs = programs.canonicalize().unwrap().parent().unwrap().to_owned();
    for name in ["bascule", "bascule-sandbox", "demo-web"] {
        assert!(programs.join(name).is_file(), "{name} is not in {}", programs.display());
    }
    let folder = tempfile::tempdir().unwrap();
    let (target, bin) = (folder.path().join("target"), folder.path().join("bin"));
    for made in [target.join("release"), target.join("x86_64-unknown-linux-gnu"), bin.clone()] {
        fs::create_dir_all(made).unwrap();
    }
    symlink(repository().join("examples"), folder.path().join("examples")).unwrap();
    symlink(programs.join("bascule"), target.join("release/bascule")).unwrap();
    symlink(&programs, target.join("x86_64-unknown-linux-gnu/demo")).unwrap();
    stands_in(&bin, "cargo", "build --locked --release -p bascule");
    stands_in(&bin, "make", "sandbox");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Shell::start(folder.path(), &path, programs.join("bascule-sandbox"));

    for Block { section, commands, shown } in &blocks {
        println!("== {section}");
        let mut said = String::new();
        for (number, command) in commands.iter().enumerate() {
            let last = number + 1 == commands.len();
            let code = if command.contains(UNTIL_ENDED) {
                shell.watch(command, shown, &mut said)
            } else {
                let begin = Instant::now();
                let mut code = shell.run(command, &mut said);
                while last
                    && only_looks(command)
                    && !shown.iter().all(|line| is_said(&said, line))
                    && begin.elapsed() < SEEN
                {
                    std::thread::sleep(AGAIN);
                    code = shell.run(command, &mut said);
                }
                code
            };
            assert!(may_end_with(command, code), "{section}: `{command}` ended with {code}:\n{said}");
        }
        for line in shown {
            assert!(is_said(&said, line), "{section}: nothing says {line:?}:\n{said}");
        }
    }
}

#[test]
fn the_page_is_read_as_blocks_of_commands_with_what_they_say() {
    let page = fs::read_to_string(repository().join("docs/quickstart.md")).unwrap();
    let blocks = blocks(&page);
    let sections: Vec<char> = blocks.iter().map(|b| b.section.chars().next().unwrap()).collect();
    let mut once = sections.clone();
    once.dedup();
    assert_eq!(once, ['1', '2', '3', '4', '5', '6'], "six steps");
    assert!(blocks.iter().all(|b| !b.commands.is_empty() && !b.shown.is_empty()), "{blocks:#?}");
    let commands: Vec<&String> = blocks.iter().flat_map(|b| &b.commands).collect();
    assert!(commands.iter().any(|c| c.contains(UNTIL_ENDED)), "{commands:?}");
    assert!(commands.len() >= 15, "{commands:?}");
}

#[test]
fn what_a_page_leaves_out_and_numbers_are_not_compared_and_everything_else_is() {
    let said = "EPOCH  FINISHED  FROM  TO\n3      03:02:11  lyon  paris  SiteLost  1.2 s\n";
    assert!(is_said(said, "…  lyon   paris  SiteLost  …"));
    assert!(is_said(said, "EPOCH  FINISHED  FROM  TO"));
    assert!(!is_said(said, "…  paris  lyon  SiteLost  …"));
    assert!(!is_said(said, "FROM … EPOCH"), "in its order");
    assert!(!is_said(said, "EPOCH … SiteLost"), "in one line");
}
