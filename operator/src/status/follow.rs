//! What changes while somebody looks: told again when something is different, and when nothing is heard any longer.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use bascule_adapters::kube::failure::chain;
use bascule_crds::FailoverPolicy;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};

use super::glance::{self, Glance};
use super::{Asked, Output};
use crate::telling::print;
use crate::why::ask::{self, Wanted};
use crate::why::beats::Beats;
use crate::why::explain::Seen;

/// How often the ages on a terminal are brought up to date.
const TICK: Duration = Duration::from_secs(1);
/// How often the operators' heartbeats are asked for.
const LISTEN: Duration = Duration::from_secs(5);
/// How long the API server keeps one watch request open, in seconds: below the silence after which the client gives a
/// connection up.
const WATCH_SECONDS: u32 = 10;

/// Policies by namespace and name.
type Known = BTreeMap<(String, String), Seen>;

/// Tells, again and again, until Ctrl-C.
pub async fn follow(asked: &Asked, seen: Vec<Seen>) -> anyhow::Result<()> {
    let key = |s: &Seen| (s.namespace.clone(), s.name.clone());
    let mut known: Known = seen.into_iter().map(|s| (key(&s), s)).collect();
    let mut events = watcher(api(asked, &known), config(asked)).default_backoff().boxed();
    let mut screen = Screen { terminal: std::io::stdout().is_terminal(), ..Screen::default() };
    let mut tick = tokio::time::interval(TICK);
    let mut listed: Known = BTreeMap::new();
    // No watch tells that a heart has stopped.
    let (mut beats, mut listen) = (Beats::default(), tokio::time::interval(LISTEN));
    loop {
        beats.add_all(asked.cluster.kube(), known.values_mut()).await;
        screen.show(asked, &known)?;
        tokio::select! {
            event = events.next() => match event {
                None => return Ok(()),
                Some(Err(error)) => screen.trouble = Some((Timestamp::now(), chain(&error))),
                Some(Ok(event)) => {
                    screen.trouble = None;
                    take(event, &mut known, &mut listed);
                }
            },
            _ = tick.tick() => {}
            _ = listen.tick() => beats.forget(),
            ended = tokio::signal::ctrl_c() => return Ok(ended?),
        }
    }
}

/// The policies that are meant. One that was found is followed where it was found.
fn api(asked: &Asked, known: &Known) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<FailoverPolicy>(&());
    let found = known.keys().next().map(|(namespace, _)| namespace.clone());
    let namespace = match &asked.wanted {
        Wanted::One { .. } => found,
        Wanted::All { namespace } => namespace.clone(),
    };
    let client = asked.cluster.kube().client();
    match namespace {
        Some(namespace) => Api::namespaced_with(client, &namespace, &kind),
        None => Api::all_with(client, &kind),
    }
}

fn config(asked: &Asked) -> Config {
    let config = Config::default().timeout(WATCH_SECONDS);
    match &asked.wanted {
        Wanted::One { name, .. } => config.fields(&format!("metadata.name={name}")),
        Wanted::All { .. } => config,
    }
}

fn take(event: Event<DynamicObject>, known: &mut Known, listed: &mut Known) {
    let read = |object: DynamicObject| {
        let seen = ask::seen(object);
        ((seen.namespace.clone(), seen.name.clone()), seen)
    };
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => listed.extend([read(object)]),
        Event::InitDone => *known = std::mem::take(listed),
        Event::Apply(object) => known.extend([read(object)]),
        Event::Delete(object) => {
            known.remove(&read(object).0);
        }
    }
}

/// What was told last.
#[derive(Default)]
struct Screen {
    terminal: bool,
    /// Since when the API server does not answer, and how.
    trouble: Option<(Timestamp, String)>,
    told: Option<String>,
}

impl Screen {
    /// Tells it when it is news; on a terminal also because it has grown older.
    fn show(&mut self, asked: &Asked, known: &Known) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let seen: Vec<Seen> = known.values().cloned().collect();
        let news = news(&seen, now, self.trouble.as_ref().map(|(_, why)| why.as_str()));
        let is_news = self.told.as_ref() != Some(&news);
        let redraw = self.terminal && asked.output == Output::Text;
        if !is_news && !redraw {
            return Ok(());
        }
        let first = self.told.is_none();
        self.told = Some(news);
        let trouble = self.trouble.as_ref().map(|(at, why)| {
            format!(
                "{}: no answer since {}: {why}. What follows was known before; its ages go on.\n\n",
                asked.cluster.place(),
                crate::why::text::clock(*at)
            )
        });
        match asked.output {
            Output::Json => {
                let all: Vec<Glance> = seen.iter().map(|s| glance::of(s, now)).collect();
                let line = serde_json::json!({
                    "at": now.to_string(), "trouble": self.trouble.as_ref().map(|(_, why)| why), "policies": all,
                });
                print(&format!("{line}\n"))
            }
            Output::Text => {
                let text = trouble.unwrap_or_default() + &asked.answer(&seen, now)?;
                if redraw {
                    // Where the screen cannot be cleared, what is told is read all the same.
                    let _ = std::io::stdout().write_all(b"\x1b[H\x1b[2J");
                    return print(&text);
                }
                print(&format!("{}{}\n{text}", if first { "" } else { "\n" }, crate::why::text::clock(now)))
            }
        }
    }
}

/// What makes it worth telling again: everything but ages and the time of writing.
fn news(seen: &[Seen], now: Timestamp, trouble: Option<&str>) -> String {
    let all: Vec<String> = seen
        .iter()
        .map(|s| {
            let g = glance::of(s, now);
            let sites = g.sites.iter().map(|s| (&s.name, s.active, &s.role, s.promotable, s.same_spec));
            let blocks = g.first_blocker.as_ref().map(|f| (&f.code, f.answer));
            let active = g.active.as_ref().map(|a| (&a.site, a.epoch));
            let what = (&g.namespace, &g.name, &g.phase, active, g.held_until, g.stale, g.attention, blocks);
            format!("{what:?} {:?}", sites.collect::<Vec<_>>())
        })
        .collect();
    format!("{} {:?} {all:?}", trouble.is_some(), all.len())
}
