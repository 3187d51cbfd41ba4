//! `bascule journal add`: a person's own entry, in a file of people's own beside the operator's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use bascule_core::journal::{JournalEntry, JournalKind};
use bascule_core::name::{PolicyKey, SiteName};
use clap::Args;
use jiff::Timestamp;

use crate::journal::pages::{Pages, Whose};
use crate::telling::print;

/// How long an entry may be, in bytes: a page of text.
const LONGEST: usize = 4096;
/// The user that the image runs as: nobody's name.
const OF_THE_IMAGE: &str = "bascule";

/// What `--help` says beyond the options.
pub const MORE: &str = "\
The entry goes into DIR/<day>.notes.log, never into the operator's file; it is chained as the operator's lines are, and \
`bascule journal DIR` shows both in one order. It is not sent through a cluster: no operator takes it. To write onto the \
volume of a running operator, run it there; its pod knows the folder and the site:

  kubectl exec -n bascule-system service/bascule -- /bascule journal add \"switch replaced\" --who anna

WHO is what you say: nobody checks it.

Exit codes: 0 written and on the disk, 1 not written.

Examples:
  bascule journal add \"started main in lyon by hand\" --reason \"no operator, ticket 4711\" --dir lyon/ --site lyon
  bascule journal add \"told the shop's people\" --policy shop/shop --dir /var/lib/bascule/journal";

/// What is written down.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What was done or seen.
    pub text: String,

    /// Why.
    #[arg(long)]
    pub reason: Option<String>,

    /// The folder of a journal, or of a copy of one.
    #[arg(long, env = "BASCULE_JOURNAL")]
    pub dir: Option<PathBuf>,

    /// Whose entry it is; left out: the user who runs this.
    #[arg(long)]
    pub who: Option<String>,

    /// About which policy, NAMESPACE/NAME; left out: about the site.
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,

    /// At which site; left out: it is not said.
    #[arg(long, env = "BASCULE_SITE")]
    pub site: Option<String>,
}

/// Writes it down.
pub fn run(args: &AddArgs) -> anyhow::Result<ExitCode> {
    let Some(dir) = &args.dir else {
        bail!(
            "--dir: found none, expected the folder of a journal or of a copy of one. An entry is not sent through a cluster: to write onto the volume of a running operator, run `kubectl exec -n bascule-system service/bascule -- /bascule journal add TEXT --who NAME`"
        );
    };
    let site = match &args.site {
        Some(site) => SiteName::try_from(site.as_str()).context("--site")?.to_string(),
        None => "-".to_owned(),
    };
    let policy = args.policy.as_deref().map(policy).transpose()?;
    let what = words(&who(args.who.as_deref())?, &args.text, args.reason.as_deref())?;
    let entry = JournalEntry { policy, epoch: 0, serial: 0, kind: JournalKind::Note, what };
    let kind = std::fs::metadata(dir).with_context(|| format!("--dir {}", dir.display()))?;
    ensure!(kind.is_dir(), "--dir {}: found a file, expected the folder that it is in", dir.display());
    let at = Timestamp::now();
    let line = entry.text(at, &site);
    let file = put(dir, &format!("{at:.3}"), line.clone()).with_context(|| {
        format!("--dir {}: nothing was written, expected a new line there; make room or choose another folder, and say it again", dir.display())
    })?;
    print(&format!("{}: {line}\n", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn put(dir: &Path, at: &str, line: String) -> std::io::Result<PathBuf> {
    let mut pages = Pages::new(dir, Whose::People, None);
    let day = at.get(..10).unwrap_or_default();
    let file = pages.append(day, at, &[line])?;
    pages.sync();
    Ok(file)
}

fn policy(word: &str) -> anyhow::Result<PolicyKey> {
    let (namespace, name) =
        word.split_once('/').with_context(|| format!("--policy: found {word:?}, expected NAMESPACE/NAME"))?;
    PolicyKey::new(namespace, name).with_context(|| format!("--policy {word}"))
}

/// The entry's words: who, what and why in one line.
fn words(who: &str, text: &str, reason: Option<&str>) -> anyhow::Result<String> {
    let text = one_line("TEXT", text)?;
    let reason = reason.map(|why| one_line("--reason", why)).transpose()?;
    let why = reason.map(|why| format!(" (why: {why})")).unwrap_or_default();
    Ok(format!("{who}: {text}{why}"))
}

/// A person's words in one line. What moves a terminal's cursor is refused: the line is read with `less` and `cat`.
fn one_line(field: &str, text: &str) -> anyhow::Result<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = lines.join(" / ");
    ensure!(!line.is_empty(), "{field}: found nothing, expected words");
    ensure!(line.len() <= LONGEST, "{field}: found {} bytes, expected at most {LONGEST}", line.len());
    if let Some(odd) = line.chars().find(|c| c.is_control()) {
        bail!("{field}: found the control character {odd:?}, expected text");
    }
    Ok(line)
}

fn who(said: Option<&str>) -> anyhow::Result<String> {
    let name = if let Some(said) = said {
        one_line("--who", said)?
    } else {
        let user = user();
        ensure!(
            user != OF_THE_IMAGE,
            "--who: found nothing, and the user here is the image's own, {OF_THE_IMAGE}; expected your name"
        );
        user
    };
    ensure!(!name.contains(": "), "--who: found {name:?}, expected a name without a colon and a space");
    Ok(name)
}

/// The user who runs this, as the machine knows them.
fn user() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let id = std::fs::metadata("/proc/self").map(|m| m.uid()).ok();
    if id == Some(0)
        && let Some(person) =
            std::env::var("SUDO_USER").ok().filter(|u| !u.is_empty() && !u.contains(char::is_control))
    {
        return person;
    }
    let Some(id) = id else { return "unknown".to_owned() };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id.to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("user {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_with_who_what_and_why() {
        let words = words("anna", " disk full\n\n removed old dumps \n", Some("no room")).unwrap();
        assert_eq!(words, "anna: disk full / removed old dumps (why: no room)");
    }

    #[test]
    fn what_is_no_entry_is_refused_with_its_field() {
        let refused = |text: &str, reason: Option<&str>| words("anna", text, reason).unwrap_err().to_string();
        assert_eq!(refused(" \n", None), "TEXT: found nothing, expected words");
        assert!(refused("a\u{1b}[2J", None).starts_with("TEXT: found the control character '\\u{1b}'"));
        assert!(refused("a", Some("\u{7}")).starts_with("--reason: found the control character"));
        assert!(refused(&"a".repeat(LONGEST + 1), None).starts_with("TEXT: found 4097 bytes"));
        assert!(who(Some("a: b")).unwrap_err().to_string().starts_with("--who: found \"a: b\""));
        assert!(policy("shop").unwrap_err().to_string().starts_with("--policy: found \"shop\""));
        assert!(!who(None).unwrap().is_empty());
    }
}
