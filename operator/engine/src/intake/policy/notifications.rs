//! Who is told, and in which words.

use bascule_core::{few::Few, name::ItemName, policy as core};
use bascule_crds::{self as api, text};

use super::super::Findings;

const AT: &str = "spec.notifications";

/// The longest lists.
const CHANNELS: usize = 8;
const USERS: usize = 16;

/// Whom the policy wants to be told. What is wrong is noted, and left out.
pub(super) fn convert(found: Option<&api::Notifications>, findings: &mut Findings) -> core::Notifications {
    let Some(api::Notifications { channels: administrators, users }) = found else {
        return core::Notifications::default();
    };
    if administrators.is_empty() && users.is_empty() {
        findings
            .add(AT, "notifications: nobody would be told: expected at least one entry in channels or users");
    }
    if users.len() > USERS {
        findings
            .add(format!("{AT}.users"), format!("found {} entries, expected at most {USERS}", users.len()));
    }
    let mut by_language = Few::new();
    for (i, entry) in users.iter().enumerate() {
        let at = format!("{AT}.users[{i}]");
        let language = findings.check(format!("{at}.language"), text::language::check(&entry.language));
        let words = user_words(&at, entry, findings);
        if language.is_none() {
            continue;
        }
        if by_language.insert(entry.language.clone(), words).is_some() {
            let language = &entry.language;
            findings.add(
                at,
                format!("Duplicate value: {language} stands earlier in the list: remove one of the two"),
            );
        }
    }
    core::Notifications {
        channels: channels(&format!("{AT}.channels"), administrators, findings),
        users: by_language,
    }
}

fn user_words(at: &str, entry: &api::UserNotices, findings: &mut Findings) -> core::UserWords {
    let api::UserNotices { language: _, channels: to, subject, read_only, moved, back, planned } = entry;
    if to.is_empty() {
        findings.add(format!("{at}.channels"), "found no channel, expected at least one");
    }
    findings.check(format!("{at}.subject"), text::said::check_line(subject));
    let texts = [("readOnly", read_only), ("moved", moved), ("back", back), ("planned", planned)];
    if texts.iter().all(|(_, text)| text.is_none()) {
        findings.add(at, "notifications.users[]: nothing would be told: expected at least one of readOnly, moved, back, planned");
    }
    for (field, text) in texts {
        if let Some(text) = text {
            findings.check(format!("{at}.{field}"), text::said::check(text));
        }
    }
    core::UserWords {
        channels: channels(&format!("{at}.channels"), to, findings),
        subject: subject.clone(),
        read_only: read_only.clone(),
        moved: moved.clone(),
        back: back.clone(),
        planned: planned.clone(),
    }
}

fn channels(at: &str, list: &[String], findings: &mut Findings) -> Vec<ItemName> {
    if list.len() > CHANNELS {
        findings.add(at, format!("found {} channels, expected at most {CHANNELS}", list.len()));
    }
    let mut all = Vec::new();
    for (i, name) in list.iter().enumerate() {
        let at = format!("{at}[{i}]");
        let checked = findings.check(&at, text::label::check(name));
        let Some(name) = checked.and_then(|()| findings.check(&at, ItemName::try_from(name.as_str()))) else {
            continue;
        };
        if all.contains(&name) {
            findings.add(
                &at,
                format!("Duplicate value: {name} stands earlier in the list: remove one of the two"),
            );
        } else {
            all.push(name);
        }
    }
    all
}
