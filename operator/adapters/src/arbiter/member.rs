//! One connection per member, and which members to ask first.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, GetOptions, GetResponse, KvClient, StatusResponse};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::{Cause, Failure, Failures};
use super::{SettingsError, key};

/// The largest answer that is read: a page of records, each at most `record::VALUE_LIMIT`.
const ANSWER_LIMIT: usize = 40 << 20;

/// A member in trouble is asked again after this many deadlines, apart from the calls that matter.
const PROBE_EVERY: u32 = 4;

/// A connection that was not set up when its first call timed out has this many deadlines more. On a loaded machine its
/// handshake takes longer than a call may: one that is begun anew with every call never ends.
const SETTING_UP: u32 = 8;

pub(super) struct Member {
    pub(super) endpoint: String,
    options: ConnectOptions,
    state: Mutex<State>,
}

struct State {
    client: Client,
    /// Counts connections, so that several calls that time out together replace one connection once.
    connection: u64,
    /// The connection has brought an answer.
    stands: bool,
    /// When the member last failed; none after a success.
    failed: Option<Instant>,
    probed: Option<Instant>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Member {
    fn with_state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection of its own, not shared with any call.
    pub(super) async fn connect(&self) -> Result<Client, Error> {
        Client::connect([&self.endpoint], Some(self.options.clone())).await
    }

    /// Asks the member about itself, over a connection of its own: first a read of its own state, then its status,
    /// which etcd tells only to users with the role `root` once users are enabled. It answers both without the
    /// others, so this says nothing of whether the arbiter decides, and does not count for or against the member.
    pub(super) async fn describe_itself(
        &self,
        tq: Duration,
    ) -> Result<(GetResponse, Result<StatusResponse, Failure>), Failure> {
        let failure = |cause| Failure { endpoint: self.endpoint.clone(), cause };
        let alone = self.options.clone().with_require_leader(false);
        let asked = async {
            let mut client = Client::connect([&self.endpoint], Some(alone)).await?;
            let own = GetOptions::new().with_serializable().with_keys_only();
            let read = kv(&client).get(key::PREFIX, Some(own)).await?;
            let status = client.status().await.map_err(|e| failure(Cause::of(&e)));
            Ok::<_, Error>((read, status))
        };
        match timeout(tq, asked).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) => Err(failure(Cause::of(&error))),
            Err(_) => Err(failure(Cause::TimedOut(tq))),
        }
    }

    /// Records how a call over `connection` ended. After a timeout the connection is replaced: TCP retries a cut
    /// connection for many minutes in steps of up to two, and would keep the member away long after it is back. One that
    /// was still being set up goes on meanwhile, and is used when it comes to stand first.
    async fn note(self: &Arc<Self>, connection: u64, failed: Option<&Cause>) {
        let Some(cause) = failed else {
            self.with_state(|s| {
                s.failed = None;
                s.stands |= s.connection == connection;
            });
            return;
        };
        if !cause.blames_member() {
            // The member has answered.
            self.with_state(|s| s.stands |= s.connection == connection);
            return;
        }
        self.with_state(|s| s.failed = Some(Instant::now()));
        if let Cause::TimedOut(tq) = cause
            && let Ok(fresh) = self.connect().await
        {
            let unfinished = self.with_state(|s| {
                if s.connection != connection {
                    return None;
                }
                s.connection += 1;
                let old = std::mem::replace(&mut s.client, fresh);
                (!std::mem::take(&mut s.stands)).then_some(old)
            });
            if let Some(client) = unfinished {
                tokio::spawn(Arc::clone(self).goes_on_with(client, *tq * SETTING_UP));
            }
        }
    }

    /// Waits until a connection stands, and uses it unless another one stands by then. Whether the member decides is not
    /// asked: that is for the calls to find out.
    async fn goes_on_with(self: Arc<Self>, client: Client, until: Duration) {
        let options = GetOptions::new().with_serializable().with_keys_only();
        let answer = timeout(until, async { kv(&client).get(key::PREFIX, Some(options)).await }).await;
        let stands = match answer {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => !matches!(Cause::of(&error), Cause::NotConnected(_)),
            Err(_) => false,
        };
        if stands {
            self.with_state(|s| {
                if !s.stands {
                    s.client = client;
                    s.connection += 1;
                    s.stands = true;
                }
            });
        }
    }

    /// A connection of its own has failed: see [`Member::connect`].
    pub(super) async fn note_broken(self: &Arc<Self>, cause: &Cause) {
        self.note(u64::MAX, Some(cause)).await;
    }

    /// Runs one call under its deadline, in a task of its own: the caller may go away or be satisfied by another
    /// member, and what this member did is learned all the same.
    pub(super) fn start<T, F>(
        self: &Arc<Self>,
        tq: Duration,
        call: impl FnOnce(Client) -> F,
    ) -> JoinHandle<Result<T, Failure>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let deadline = Instant::now() + tq;
        let (client, connection) = self.with_state(|s| (s.client.clone(), s.connection));
        let answer = call(client);
        let member = Arc::clone(self);
        tokio::spawn(async move {
            let result = match timeout_at(deadline, answer).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => Err(Cause::of(&error)),
                Err(_) => Err(Cause::TimedOut(tq)),
            };
            member.note(connection, result.as_ref().err()).await;
            result.map_err(|cause| Failure { endpoint: member.endpoint.clone(), cause })
        })
    }
}

#[derive(Debug)]
pub(super) struct Members(Vec<Arc<Member>>);

impl Members {
    pub(super) async fn new(endpoints: Vec<String>, options: ConnectOptions) -> Result<Self, SettingsError> {
        let mut members = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let client = Client::connect([&endpoint], Some(options.clone()))
                .await
                .map_err(|e| SettingsError::Tls { endpoint: endpoint.clone(), why: e.to_string() })?;
            let state = State { client, connection: 0, stands: false, failed: None, probed: None };
            members.push(Arc::new(Member { endpoint, options: options.clone(), state: Mutex::new(state) }));
        }
        Ok(Self(members))
    }

    pub(super) fn all(&self) -> &[Arc<Member>] {
        &self.0
    }

    /// Healthy members in the order given; then the others, the one that failed longest ago first, so that when all
    /// are in trouble each gets its turn.
    pub(super) fn ranked(&self) -> Vec<Arc<Member>> {
        let mut ranked: Vec<_> = self.0.iter().map(|m| (m.with_state(|s| s.failed), m)).collect();
        ranked.sort_by_key(|(failed, _)| *failed);
        ranked.into_iter().map(|(_, m)| Arc::clone(m)).collect()
    }

    /// Asks one member once.
    pub(super) async fn ask_one<T, F>(
        &self,
        tq: Duration,
        call: impl FnOnce(Client) -> F + Send,
    ) -> Result<T, Failures>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let Some(member) = self.ranked().into_iter().next() else {
            return Err(Failures::local("no member is configured"));
        };
        let running = member.start(tq, call);
        self.probe_troubled(tq);
        Ok(joined(&member, running.await)?)
    }

    /// Asks two members at once, each once, over separate connections; the first success wins. The other call runs
    /// on to its deadline.
    pub(super) async fn ask_two<T, F>(
        &self,
        tq: Duration,
        call: impl Fn(Client) -> F + Send,
    ) -> Result<T, Failures>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut running = FuturesUnordered::new();
        for member in self.ranked().into_iter().take(2) {
            let task = member.start(tq, &call);
            running.push(async move { joined(&member, task.await) });
        }
        self.probe_troubled(tq);
        let mut failures = Vec::new();
        while let Some(ended) = running.next().await {
            match ended {
                Ok(value) => return Ok(value),
                Err(failure) => failures.push(failure),
            }
        }
        Err(Failures(failures))
    }

    /// Looks whether members in trouble are back, without anyone waiting for it.
    fn probe_troubled(&self, tq: Duration) {
        let now = Instant::now();
        for member in &self.0 {
            let due = member.with_state(|s| {
                let last = s.failed.max(s.probed);
                let due = s.failed.is_some() && last.is_some_and(|t| now - t >= tq * PROBE_EVERY);
                if due {
                    s.probed = Some(now);
                }
                due
            });
            if due {
                // Linearizable, so that a member that lives but is cut off from the others does not pass for healthy.
                drop(member.start(tq, |client| async move {
                    let options = GetOptions::new().with_keys_only();
                    kv(&client).get(key::PREFIX, Some(options)).await
                }));
            }
        }
    }
}

/// The call's result, or that its task died.
fn joined<T>(member: &Member, ended: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    ended.unwrap_or_else(|e| {
        Err(Failure { endpoint: member.endpoint.clone(), cause: Cause::Lost(e.to_string()) })
    })
}

/// The part of the client that reads and writes keys, with room for a page of records.
pub(super) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(ANSWER_LIMIT)
}
