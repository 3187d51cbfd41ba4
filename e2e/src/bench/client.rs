//! The one client of every series, straight to the databases, through a proxy, or by a name, and what it saw of a change.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use super::machine::{Ticks, load};
use super::sample::rounded;
use crate::client::{Attempt, Client, ClientOptions, Database, History, Kind, Published, Row, Stamp, Target};
use crate::world::Place;

/// How long a write may take to come back.
pub(super) const BACK: Duration = Duration::from_mins(2);
/// How long the client may take until it writes at all.
const BEGINS: Duration = Duration::from_secs(30);
/// How long a user who reads waits for an answer.
const LOOKS_AGAIN: Duration = Duration::from_millis(250);
/// How many of it work at once.
const WORKERS: usize = 4;

/// Sessions straight to both databases, so that neither DNS nor a proxy is part of the figure.
pub(super) async fn writes(databases: Vec<Database>, at: Place) -> Result<Client> {
    begin(Target::Databases(databases), Kind::Write, at.name()).await
}

/// Sessions through a proxy.
pub(super) async fn writes_through(proxy: Database) -> Result<Client> {
    let name = proxy.site.clone();
    begin(Target::Databases(vec![proxy]), Kind::Write, &name).await
}

/// Users of the web application, who find it by its published name and write.
pub(super) async fn uses(published: Published, at: Place) -> Result<Client> {
    begin(Target::Web(published), Kind::Write, at.name()).await
}

/// Users who read, who try again so soon that the figure is not how long they waited for a site that is dead, and who
/// ask for the address anew at moments of their own.
pub(super) async fn looks(published: Published, at: Place) -> Result<Client> {
    begin(Target::Web(Published { patience: LOOKS_AGAIN, ..published }), Kind::Read, at.name()).await
}

async fn begin(target: Target, kind: Kind, at: &str) -> Result<Client> {
    let (writers, readers) = match kind {
        Kind::Write => (WORKERS, 0),
        Kind::Read => (0, WORKERS),
    };
    let options = ClientOptions {
        target,
        writers,
        readers,
        pace: Duration::from_millis(2),
        // As a pool would: thousands of refused connections a second would only measure the machine.
        retry: Duration::from_millis(20),
        apart: if readers > 0 { LOOKS_AGAIN } else { Duration::ZERO },
    };
    let client = Client::start(&options);
    client.all_work_at(kind, at, Stamp::now(), BEGINS).await?;
    Ok(client)
}

/// The moment of an event, and the machine then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    at: Stamp,
    ticks: Option<Ticks>,
    load: Option<f64>,
}

impl Before {
    /// Now.
    pub(super) fn now() -> Self {
        let (load, ticks) = (load(), Ticks::now().ok());
        Self { at: Stamp::now(), ticks, load }
    }

    /// The same look at the machine, but the event is now.
    pub(super) fn event_is_now(self) -> Self {
        Self { at: Stamp::now(), ..self }
    }

    /// Milliseconds from the event until now.
    pub(super) fn elapsed_ms(self) -> f64 {
        rounded(Stamp::now().since(self.at).as_secs_f64() * 1000.0)
    }
}

/// What the client saw.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Milliseconds from the event to the first write afterwards.
    pub(super) ms: f64,
    /// Milliseconds from the last write before to the first write after; of reads nothing is said.
    pub(super) pause: Option<f64>,
    /// The site of the first write afterwards.
    pub(super) at: Place,
    /// Everything the client did.
    pub(super) history: History,
    /// Used and stolen percent of the machine meanwhile.
    pub(super) shares: Option<(f64, f64)>,
    /// Its load before.
    pub(super) load: Option<f64>,
}

/// What one change was like.
pub(super) struct Change {
    /// What the client saw.
    pub(super) seen: Seen,
    /// How long each phase took.
    pub(super) phases: BTreeMap<String, f64>,
    /// Acknowledged writes that are gone.
    pub(super) lost: usize,
    /// Whether both sites wrote at the same time.
    pub(super) two_writers: bool,
}

/// Nobody could write until the deadline: a measurement as well, and a bad one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoWrite(pub(super) String);

impl fmt::Display for NoWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoWrite {}

#[allow(clippy::needless_pass_by_value, reason = "it stands where an error is passed on")]
fn no_write(error: anyhow::Error) -> anyhow::Error {
    NoWrite(format!("{error:#}")).into()
}

/// Waits for the first write at the other site.
pub(super) async fn moved(client: Client, before: Before, from: Place, to: Place) -> Result<Seen> {
    let first = client.works_at(Kind::Write, to.name(), before.at, BACK).await.map_err(no_write)?;
    let shares = shares(before);
    let history = client.stop().await;
    let last = history.last_at(Kind::Write, from.name(), first.end).context("no write at the old site")?;
    let (ms, pause) = (between(before.at, first.end), Some(between(last.end, first.end)));
    Ok(Seen { ms, pause, at: to, history, shares, load: before.load })
}

/// Waits for the first read at the other site that began after the event.
pub(super) async fn reads_at(client: Client, before: Before, to: Place) -> Result<Seen> {
    let first = client.works_at(Kind::Read, to.name(), before.at, BACK).await.map_err(no_write)?;
    let shares = shares(before);
    let history = client.stop().await;
    let ms = between(before.at, first.end);
    Ok(Seen { ms, pause: None, at: to, history, shares, load: before.load })
}

/// Waits until every worker writes again, wherever: a server that was killed may come back where it was, and behind a proxy
/// nobody sees where he is. The pause is the longest time without a write; `at` is the site where the client cannot tell it.
pub(super) async fn back(client: Client, before: Before, at: Option<Place>) -> Result<Seen> {
    // Sessions may outlive the server's first process for a moment: until one fails, nothing has happened yet.
    let failed = client
        .wait_for("a write that fails", BACK, |a| a.kind == Kind::Write && a.end >= before.at && !a.worked())
        .await
        .map_err(no_write)?;
    for worker in 0..WORKERS {
        client
            .wait_for("a write of every worker", BACK, |a| {
                a.kind == Kind::Write && a.worker == worker && a.start >= failed.end && a.worked()
            })
            .await
            .map_err(no_write)?;
    }
    let shares = shares(before);
    let history = client.stop().await;
    // The last write before the event belongs to the pause, and nothing before it.
    let last = history.acked().map(|a| a.end).filter(|end| *end <= before.at).max();
    let from = last.context("no write before the event")?;
    let gap = history.longest_gap(Kind::Write, from, Stamp::now());
    let first = history.acked().find(|a| a.end == gap.to).and_then(|a| a.site()).and_then(|s| s.parse().ok());
    let at = at.or(first).context("no write has ended the pause")?;
    let (ms, pause) = (between(before.at, gap.to), Some(between(gap.from, gap.to)));
    Ok(Seen { ms, pause, at, history, shares, load: before.load })
}

impl Seen {
    /// Acknowledged writes that are not among these rows.
    pub(super) fn lost(&self, rows: &[Row]) -> usize {
        self.history.lost(rows).len()
    }

    /// Whether both sites wrote at the same time; behind a proxy the client cannot tell.
    pub(super) fn two_writers(&self, from: Place) -> bool {
        let names_a_site = |name: &str| name.parse::<Place>().is_ok();
        if !self.history.acked().filter_map(Attempt::site).all(names_a_site) {
            return false;
        }
        let order = [from.name(), self.at.name()];
        let order = if from == self.at { &order[..1] } else { &order[..] };
        self.history.one_writer_at_a_time(order).is_err()
    }
}

fn shares(before: Before) -> Option<(f64, f64)> {
    Ticks::now().ok()?.since(before.ticks?)
}

fn between(from: Stamp, to: Stamp) -> f64 {
    rounded(to.since(from).as_secs_f64() * 1000.0)
}
