//! The running client: workers at a fixed pace, one shared record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::history::{Attempt, History, Kind, Stamp};
use super::sql::{Database, Sql};
use super::web::{Published, Web};

/// Whom the client talks to.
#[derive(Clone, Debug)]
pub enum Target {
    /// The web application, by its published name.
    Web(Published),
    /// The databases themselves, whichever of them takes writes.
    Databases(Vec<Database>),
}

/// How busy the client is.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Whom it talks to.
    pub target: Target,
    /// Workers that write, each one row after the other.
    pub writers: usize,
    /// Workers that read.
    pub readers: usize,
    /// Time from the start of one attempt to the start of the next; a worker that is late starts at once.
    pub pace: Duration,
    /// How long a worker waits after an attempt that did not work, at least.
    pub retry: Duration,
    /// How much later each worker of a kind begins than the one before it: users who have nothing to do with each other
    /// do not forget an address in the same moment.
    pub apart: Duration,
}

impl ClientOptions {
    /// Two writers and two readers, each fifty times a second.
    pub fn new(target: Target) -> Self {
        let pace = Duration::from_millis(20);
        Self { target, writers: 2, readers: 2, pace, retry: pace, apart: Duration::ZERO }
    }
}

/// A client that is at work until it is stopped or dropped.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    stop: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    writers: usize,
    readers: usize,
}

#[derive(Debug)]
struct Shared {
    history: Mutex<History>,
    count: watch::Sender<usize>,
    next: AtomicU64,
    begin: Stamp,
}

enum Session {
    Web(Web),
    Sql(Sql),
}

impl Client {
    /// Starts the workers.
    pub fn start(options: &ClientOptions) -> Self {
        let shared = Arc::new(Shared {
            history: Mutex::new(History::default()),
            count: watch::Sender::new(0),
            next: AtomicU64::new(1),
            begin: Stamp::now(),
        });
        let stop = CancellationToken::new();
        let kinds = (0..options.writers)
            .map(|worker| (Kind::Write, worker))
            .chain((0..options.readers).map(|worker| (Kind::Read, worker)));
        let workers = kinds
            .map(|who| {
                let session = match &options.target {
                    Target::Web(published) => Session::Web(Web::new(published.clone())),
                    Target::Databases(databases) => Session::Sql(Sql::new(databases.clone())),
                };
                let pauses = (options.pace, options.retry);
                let after = options.apart.saturating_mul(u32::try_from(who.1).unwrap_or_default());
                tokio::spawn(work(Arc::clone(&shared), stop.clone(), session, who, pauses, after))
            })
            .collect();
        Self { shared, stop, workers, writers: options.writers, readers: options.readers }
    }

    /// What was done until now.
    pub fn history(&self) -> History {
        self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the workers, each after its attempt, and answers everything that was done.
    pub async fn stop(mut self) -> History {
        self.stop.cancel();
        for worker in std::mem::take(&mut self.workers) {
            let _ = worker.await;
        }
        self.history()
    }

    /// Waits for an attempt of this kind that began after a moment and was taken by this site.
    pub async fn works_at(
        &self,
        kind: Kind,
        site: &str,
        after: Stamp,
        deadline: Duration,
    ) -> Result<Attempt> {
        self.wait_for(&format!("a {kind:?} at {site}"), deadline, |a| {
            a.kind == kind && a.start >= after && a.site() == Some(site)
        })
        .await
    }

    /// The same of every worker of this kind: a user keeps an address for as long as its TTL allows, so that after a
    /// change of traffic one user is there before another. Answers the first.
    pub async fn all_work_at(
        &self,
        kind: Kind,
        site: &str,
        after: Stamp,
        deadline: Duration,
    ) -> Result<Attempt> {
        let begin = Stamp::now();
        let first = self.works_at(kind, site, after, deadline).await?;
        let workers = match kind {
            Kind::Write => self.writers,
            Kind::Read => self.readers,
        };
        for worker in 0..workers {
            let left = deadline.saturating_sub(Stamp::now().since(begin));
            self.wait_for(&format!("{kind:?} of worker {worker} at {site}"), left, |a| {
                a.kind == kind && a.worker == worker && a.start >= after && a.site() == Some(site)
            })
            .await?;
        }
        Ok(first)
    }

    /// Waits for any attempt that fits.
    pub async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        fits: impl Fn(&Attempt) -> bool,
    ) -> Result<Attempt> {
        let mut count = self.shared.count.subscribe();
        let mut seen = 0;
        let wait = async {
            loop {
                {
                    let history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(found) = history.attempts[seen..].iter().find(|a| fits(a)) {
                        return found.clone();
                    }
                    seen = history.attempts.len();
                    count.mark_unchanged();
                }
                // The sender lives as long as this client.
                let _ = count.wait_for(|n| *n > seen).await;
            }
        };
        if let Ok(found) = timeout(deadline, wait).await {
            return Ok(found);
        }
        let last = self.history().attempts.last().map(|a| format!("{:?}", a.outcome));
        let last = last.unwrap_or_else(|| "none".to_owned());
        bail!("the client saw no {what} within {deadline:?}; outcome of its last attempt: {last}")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn work(
    shared: Arc<Shared>,
    stop: CancellationToken,
    mut session: Session,
    (kind, worker): (Kind, usize),
    (pace, retry): (Duration, Duration),
    after: Duration,
) {
    let mut tick = interval_at(Instant::now() + after, pace);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => (),
            () = stop.cancelled() => return,
        }
        let token = match kind {
            Kind::Write => format!("{}-{}", shared.begin.0, shared.next.fetch_add(1, Ordering::Relaxed)),
            Kind::Read => String::new(),
        };
        let start = Stamp::now();
        let (outcome, address) = match &mut session {
            Session::Web(web) => web.attempt(kind, &token).await,
            Session::Sql(sql) => sql.attempt(kind, &token).await,
        };
        let attempt = Attempt { kind, worker, token, start, end: Stamp::now(), outcome, address };
        if !attempt.worked() {
            tick.reset_after(retry.saturating_sub(attempt.end.since(attempt.start)));
        }
        let mut history = shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.attempts.push(attempt);
        shared.count.send_replace(history.attempts.len());
    }
}
