//! What people write on a command line: `site=paris@10s+30s`, `lyon@10s`, `1m30s`.

use std::time::Duration;

use bascule_core::name::SiteName;
use bascule_core::similar::nearest;

use super::kind::{About, KINDS, Kind};
use super::{Event, Question, USUAL_TIME, What};

/// The longest time that may be named.
pub const LONGEST: Duration = Duration::from_hours(24);

/// A fault: `KIND[=SITE]@TIME[+DURATION]`.
///
/// # Errors
/// What was found, what was expected, and what was probably meant.
pub fn fault(text: &str, sites: &[SiteName]) -> Result<Event, String> {
    let Some((head, times)) = text.rsplit_once('@') else {
        return Err(format!(
            "found no time in {text:?}, expected KIND[=SITE]@TIME[+DURATION], for example {}",
            example(text, sites)
        ));
    };
    let (name, of) = head.split_once('=').map_or((head, None), |(name, site)| (name, Some(site)));
    if of.is_none() && sites.iter().any(|s| s.as_str() == name) {
        return Err(format!(
            "found the site {name:?} without a kind of fault, expected for example site={text}"
        ));
    }
    let kind = kind(name)?;
    let (at, lasts) = times.split_once('+').map_or((times, None), |(at, lasts)| (at, Some(lasts)));
    let at = time("the time after @", at)?;
    let lasts = lasts.map(|d| time("the duration after +", d)).transpose()?;
    of_kind(kind, of, at, lasts, sites)
}

/// A fault of a kind, its parts checked against each other.
///
/// # Errors
/// What was found and what was expected.
pub fn of_kind(
    kind: &'static Kind,
    site_name: Option<&str>,
    at: Duration,
    lasts: Option<Duration>,
    sites: &[SiteName],
) -> Result<Event, String> {
    let site = match (kind.about, site_name) {
        (About::Site, Some(name)) => Some(site(name, sites)?),
        (About::World, None) => None,
        (About::Site, None) => {
            return Err(format!(
                "{} needs a site: {}=SITE with one of {}",
                kind.name,
                kind.name,
                join(sites.iter().map(SiteName::as_str))
            ));
        }
        (About::World, Some(found)) => {
            return Err(format!(
                "found the site {found:?}, but {} is about no single site: remove it",
                kind.name
            ));
        }
    };
    if lasts.is_some() && !kind.ends {
        let longer = longer(kind);
        return Err(format!("{} takes no duration ({}): remove it{longer}", kind.name, kind.means));
    }
    if lasts.is_some_and(|d| d.is_zero()) {
        return Err("found a duration of nothing, expected one such as 30s; leave it out for good".to_owned());
    }
    Ok(Event { at, lasts, what: What::Fault { kind, site } })
}

/// What lasts where this does not.
fn longer(kind: &Kind) -> String {
    let other = match kind.name {
        "operator" | "operator-upgrade" => "operator-frozen",
        "database" => "database-frozen",
        "guard" => "pod-frozen",
        "flapping" => "slow",
        _ => return String::new(),
    };
    format!(", or use {other}")
}

/// A planned switchover: `SITE[@TIME]`.
///
/// # Errors
/// What was found and what was expected.
pub fn switch(text: &str, sites: &[SiteName]) -> Result<Event, String> {
    let (name, at) = text.rsplit_once('@').map_or((text, None), |(name, at)| (name, Some(at)));
    let at = at.map_or(Ok(USUAL_TIME), |at| time("the time after @", at))?;
    let (_, to) = site(name, sites)?;
    Ok(Event { at, lasts: None, what: What::Switch(to) })
}

/// When and where somebody asks: `[SITE@]TIME`.
///
/// # Errors
/// What was found and what was expected.
pub fn question(text: &str, sites: &[SiteName]) -> Result<Question, String> {
    let form = || {
        let site = sites.first().map_or("SITE", SiteName::as_str);
        format!("expected [SITE@]TIME, for example 12s, or {site}@12s")
    };
    let Some((name, at)) = text.rsplit_once('@') else {
        if sites.iter().any(|s| s.as_str() == text) {
            return Err(format!("found the site {text:?} without a time, expected for example {text}@12s"));
        }
        return match time("the time", text) {
            Ok(at) => Ok(Question { at, site: None }),
            Err(why) if text.contains(',') => Err(format!("{why}; for several, repeat --why")),
            Err(why) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(why),
            Err(_) => Err(format!("found {text:?}, {}", form())),
        };
    };
    if time("", name).is_ok() && sites.iter().any(|s| s.as_str() == at) {
        return Err(format!("found the time before the site, expected {at}@{name}"));
    }
    if name.is_empty() {
        return Err(format!("found no site before @, {}", form()));
    }
    let (_, site) = site(name, sites)?;
    Ok(Question { at: time("the time after @", at)?, site: Some(site) })
}

/// A file with its time: `FILE[@TIME]`. A name may have an `@` itself: only what reads as a time is one.
pub fn file_at(text: &str) -> (&str, Duration) {
    text.rsplit_once('@')
        .and_then(|(file, at)| Some((file, time("", at).ok()?)))
        .unwrap_or((text, USUAL_TIME))
}

/// The kind with a name.
///
/// # Errors
/// Which one was probably meant.
pub fn kind(name: &str) -> Result<&'static Kind, String> {
    Kind::named(name).ok_or_else(|| {
        let meant = meant(name, KINDS.iter().map(|k| k.name));
        format!(
            "found {name:?}, expected a kind of fault{meant} (bascule simulate --list-faults prints all of them)"
        )
    })
}

/// A site of the policy, with its number.
///
/// # Errors
/// Which one was probably meant.
pub fn site(name: &str, sites: &[SiteName]) -> Result<(usize, SiteName), String> {
    let found = sites.iter().enumerate().find(|(_, s)| s.as_str() == name);
    found.map(|(i, s)| (i, s.clone())).ok_or_else(|| {
        let names = || sites.iter().map(SiteName::as_str);
        let meant =
            if name.contains(',') { "; name several one by one".to_owned() } else { meant(name, names()) };
        format!("found {name:?}, expected a site of the policy{meant} ({})", join(names()))
    })
}

/// A duration of at most a day.
///
/// # Errors
/// What was found and how it is written.
pub fn time(what: &str, text: &str) -> Result<Duration, String> {
    let wrong = || format!("{what}: found {text:?}, expected a duration such as 500ms, 10s or 1m30s");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let parsed = Duration::try_from(parsed).map_err(|_| wrong())?;
    if parsed > LONGEST {
        return Err(format!("{what}: found {text:?}, expected at most 24h"));
    }
    Ok(parsed)
}

/// `: did you mean X?`, when a name is near enough to a slip.
fn meant<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(wanted, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn example(text: &str, sites: &[SiteName]) -> String {
    let known = text.split_once('=').map_or(text, |(name, _)| name);
    match (Kind::named(known), sites.first()) {
        (Some(kind), Some(site)) if kind.about == About::Site => format!("{}={site}@10s", kind.name),
        (Some(kind), _) if kind.about == About::World => format!("{}@10s", kind.name),
        (_, Some(site)) => format!("site={site}@10s"),
        (_, None) => "link@10s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites() -> Vec<SiteName> {
        ["paris", "lyon"].iter().map(|s| (*s).try_into().unwrap()).collect()
    }

    fn refused(text: &str) -> String {
        fault(text, &sites()).unwrap_err()
    }

    #[test]
    fn faults_are_read_as_people_write_them() {
        for (text, words, at, lasts) in [
            ("site=paris@10s", "paris loses power, for good", 10_000, None),
            ("link@5s+30s", "the line between the sites is cut, for 30 s", 5_000, Some(30_000)),
            ("database=lyon@3s", "the database of lyon dies", 3_000, None),
            ("git@0s+1m", "the git server is gone, for 60 s", 0, Some(60_000)),
            ("arbiter=paris@1m30s+500ms", "paris cannot reach the arbiter, for 500 ms", 90_000, Some(500)),
        ] {
            let event = fault(text, &sites()).unwrap();
            assert_eq!((event.words().as_str(), event.at.as_millis()), (words, at), "{text}");
            assert_eq!(event.lasts.map(|d| d.as_millis()), lasts, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        for (text, words) in [
            ("siet=paris@10s", vec!["\"siet\"", "did you mean site?", "--list-faults"]),
            ("site=pairs@10s", vec!["\"pairs\"", "did you mean paris?", "paris, lyon"]),
            ("site=paris,lyon@10s", vec!["\"paris,lyon\"", "; name several one by one"]),
            ("site=berlin@10s", vec!["\"berlin\"", "expected a site of the policy (paris, lyon)"]),
            ("site=madrid@10s", vec!["\"madrid\"", "expected a site of the policy (paris, lyon)"]),
            ("site@10s", vec!["site needs a site", "paris, lyon"]),
            ("link=paris@10s", vec!["link is about no single site"]),
            ("site=paris@soon", vec!["the time after @", "\"soon\"", "1m30s"]),
            ("site=paris@10", vec!["\"10\"", "10s"]),
            ("site=paris@10s+", vec!["the duration after +", "\"\""]),
            ("site=paris@10s+-5s", vec!["the duration after +", "\"-5s\""]),
            ("site=paris@10s+0s", vec!["a duration of nothing"]),
            ("site=paris@25h", vec!["at most 24h"]),
            ("site=paris", vec!["found no time", "site=paris@10s"]),
            ("paris@10s", vec!["the site \"paris\" without a kind", "site=paris@10s"]),
            ("third", vec!["found no time", "third@10s"]),
            ("operator=paris@4s+60s", vec!["takes no duration", "use operator-frozen"]),
        ] {
            let why = refused(text);
            for word in words {
                assert!(why.contains(word), "{text} does not say {word:?}: {why}");
            }
        }
        assert!(switch("lyno@10s", &sites()).unwrap_err().contains("did you mean lyon?"));
        assert!(switch("lyon@x", &sites()).unwrap_err().contains("the time after @"));
    }

    #[test]
    fn a_file_may_have_a_time() {
        assert_eq!(file_at("move.yaml"), ("move.yaml", Duration::from_secs(10)));
        assert_eq!(file_at("move.yaml@3s"), ("move.yaml", Duration::from_secs(3)));
        assert_eq!(file_at("a@b/move.yaml"), ("a@b/move.yaml", Duration::from_secs(10)));
    }
}
