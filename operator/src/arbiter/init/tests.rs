use clap::Parser;

use super::*;
use crate::arbiter::ArbiterCommand;
use crate::cli::{Cli, Command};

const PLAIN: &[&str] = &[
    "--member=paris=arbiter.paris.example.org",
    "--member=lyon=203.0.113.20:32379:32380",
    "--member=third=2001:db8::7",
    "--site=paris",
    "--site=lyon",
    "--machine=third",
];

fn given(out: &Path, more: &[&str]) -> InitArgs {
    let out = format!("--out={}", out.display());
    let head = ["bascule", "arbiter", "init", &out];
    let more: Vec<String> = more.iter().map(|a| a.replace("=2001:db8::7", "=[2001:db8::7]")).collect();
    let all = head.into_iter().map(ToOwned::to_owned).chain(more);
    match Cli::parse_from(all).command {
        Command::Arbiter(ArbiterCommand::Init(args)) => *args,
        _ => panic!("another command"),
    }
}

fn today() -> Date {
    jiff::civil::date(2026, 11, 28)
}

fn made(more: &[&str]) -> (Description, Vec<File>) {
    all(&given(Path::new("/nonexistent/arbiter"), more), today()).unwrap()
}

fn file<'a>(files: &'a [File], path: &str) -> &'a File {
    files.iter().find(|f| f.path == path).unwrap_or_else(|| panic!("no {path}"))
}

fn yaml(file: &File) -> serde_json::Value {
    serde_yaml::from_str(&file.text).unwrap()
}

#[test]
fn every_member_and_site_gets_what_it_needs_and_every_key_is_its_owners() {
    let (_, files) = made(PLAIN);
    let paths: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
    insta::assert_snapshot!(paths.join("\n"));
    for file in &files {
        assert_eq!(file.secret, file.text.contains("PRIVATE KEY"), "{}", file.path);
    }
}

#[test]
fn the_texts_for_people_are_the_ones_that_were_looked_at() {
    let (mut about, files) = made(PLAIN);
    let token = about.token.clone();
    about.token = "bascule-arbiter-00000000".to_owned();
    for path in [
        "members/paris/values.yaml",
        "members/lyon/values.yaml",
        "members/third/etcd.yaml",
        "members/third/install.txt",
        "sites/lyon/values.yaml",
    ] {
        insta::assert_snapshot!(
            path.replace('/', "-"),
            file(&files, path).text.replace(&token, &about.token)
        );
    }
    let out = Path::new("arbiter");
    let made = Made { folder: out, dry_run: false, arbiter: &about, files: vec!["x"; 42] };
    insta::assert_snapshot!("answer", text(&made));
}

#[test]
fn a_site_asks_the_member_of_its_own_name_first() {
    let (_, files) = made(PLAIN);
    let first = |site: &str| {
        let values = yaml(file(&files, &format!("sites/{site}/values.yaml")));
        values["arbiter"]["endpoints"][0].as_str().unwrap().to_owned()
    };
    assert_eq!(first("paris"), "https://arbiter.paris.example.org:2379");
    assert_eq!(first("lyon"), "https://203.0.113.20:32379");
}

#[test]
fn signing_anew_keeps_authorities_and_token_and_what_is_not_said_again() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let (before, files) = all(&given(&one, &[PLAIN, &["--profile=metro"]].concat()), today()).unwrap();
    folder::write(&one, &files).unwrap();
    let from = format!("--from={}", one.display());
    let more = [&from, "--site=paris", "--site=lyon", "--site=nice", "--days=9000"];
    let (after, anew) = all(&given(&two, &more), today()).unwrap();
    assert_eq!(
        (&after.token, &after.members, after.profile),
        (&before.token, &before.members, before.profile)
    );
    assert_eq!(after.sites.len(), 3);
    assert_eq!(after.certificates_until, before.authorities_until, "no certificate outlives its authority");
    for same in ["ca/clients.crt", "ca/peers.key", "members/third/peer-ca.crt"] {
        assert_eq!(file(&files, same).text, file(&anew, same).text, "{same}");
    }
    assert_ne!(file(&files, "admin/tls.key").text, file(&anew, "admin/tls.key").text);

    let late = all(&given(&two, &[&from]), jiff::civil::date(2040, 1, 1)).map(drop).unwrap_err();
    assert!(format!("{late:#}").contains("its authorities ended on 2036-11-25"), "{late:#}");
    let nothing = all(&given(&two, &["--from=/nonexistent"]), today()).map(drop).unwrap_err();
    assert!(format!("{nothing:#}").contains("/nonexistent/arbiter.json cannot be read"), "{nothing:#}");
}

#[test]
fn what_is_wrong_is_named_by_its_option() {
    let out = Path::new("/nonexistent/arbiter");
    for (more, word) in [
        (&["--site=paris", "--site=lyon"][..], "--member: found 0 (none)"),
        (&PLAIN[..4], "--site: found 1"),
        (&[PLAIN, &["--machine=nice"]].concat(), "--machine: found \"nice\""),
        (&[PLAIN, &["--profile=galaxy"]].concat(), "--profile"),
    ] {
        let why = format!("{:#}", all(&given(out, more), today()).map(drop).unwrap_err());
        assert!(why.contains(word), "{more:?}: {why}");
    }
}

#[test]
fn the_page_has_the_ten_lines_for_a_machine() {
    let page = include_str!("../../../../docs/arbiter.md");
    let mut plain = PLAIN.to_vec();
    plain[2] = "--member=third=203.0.113.7";
    let (_, files) = made(&plain);
    let text = &file(&files, "members/third/install.txt").text;
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(lines.len(), 10, "{text}");
    for line in lines {
        assert!(page.contains(&format!("\n    {line}\n")), "docs/arbiter.md has not: {line}");
    }
}
