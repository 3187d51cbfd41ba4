//! Puts the operator together: adapters to ports, ports to the engine, the engine to its surroundings.

mod conditions;
mod intent;
mod move_status;
mod notices;
pub(crate) mod objects;
pub mod policy_status;
mod publish;
#[cfg(test)]
pub(crate) mod samples;
mod sources;
mod standby;
mod unreadable;

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bascule_adapters::arbiter::{
    Election, EtcdArbiter, Identity as ArbiterIdentity, KubernetesArbiter, Put, Replica, SiteArbiter, Store,
    Versions,
};
use bascule_adapters::boottime;
use bascule_adapters::guards::GuardListener;
use bascule_adapters::kube::client::{Credentials, Kube};
use bascule_adapters::kube::event::Teller;
use bascule_adapters::kube::heartbeat::HEARTBEAT;
use bascule_adapters::kube::status::StatusDesk;
use bascule_adapters::kube::{cluster, event, status};
use bascule_adapters::notify::Patience;
use bascule_adapters::site::LocalSite;
use bascule_core::ballot::silence::Observer;
use bascule_core::heartbeat::writer;
use bascule_core::name::Namespace;
use bascule_core::time::Boottime;
use bascule_engine::brain::Identity;
use bascule_engine::ports::{Clock, Intent, Journal, JournalEntry};
use bascule_engine::run::{self, Asked, Ended, Incoming, Ports, Pulse};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::journal::FileJournal;
use crate::metrics::Metrics;
use crate::settings::{ArbiterAt, Settings};

/// How many events of guards, and how many wishes of people, may wait for the engine.
const WAITING: usize = 1024;

/// How many objects' status may be remembered: all policies and Moves of a large fleet.
const STATUSES: usize = 50_000;

/// Between two writes of one object's status.
const STATUS_PAUSE: Duration = Duration::from_millis(500);

/// How many Events may wait.
const EVENTS: usize = 512;

/// How long the end of the process waits for the journal's disk.
const JOURNAL_END: Duration = Duration::from_secs(2);

/// How long the first look at the cluster is retried before the operator gives up and is started anew.
const CLUSTER_TRIES: u32 = 60;

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Boottime {
        boottime::now()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct CountingJournal {
    file: FileJournal,
    metrics: Arc<Metrics>,
}

impl Journal for CountingJournal {
    fn write(&self, entry: JournalEntry) {
        self.metrics.count(&entry);
        self.file.write(entry);
    }
}

/// What the engine is put together with.
pub struct Parts {
    /// The outside.
    pub ports: Ports,
    /// What comes in from it.
    pub incoming: Incoming,
}

/// Runs the operator until it is told to end or cannot go on, with the parts that `change` makes of the real ones.
///
/// Where the site has several replicas it stands by first, and acts once it is its turn. A replica that acts no more ends:
/// nothing that it knew or had begun outlives it, as at a crash.
pub async fn run(settings: Settings, change: impl FnOnce(Parts) -> Parts) -> anyhow::Result<ExitCode> {
    let credentials = match &settings.args.kubeconfig {
        Some(path) => Credentials::Kubeconfig { path: path.clone(), context: None },
        None => Credentials::InCluster,
    };
    let kube = Kube::connect(&credentials, Some(&settings.args.namespace))
        .await
        .context("this site's own cluster")?;
    let uid = cluster_uid(&kube).await?;
    tracing::info!(site = %settings.site, cluster = %uid, profile = %settings.installation.profile, "the operator starts");
    let watched: Vec<&str> = settings.within.names().map(Namespace::as_str).collect();
    if !watched.is_empty() {
        tracing::info!(
            namespaces = watched.join(","),
            "policies of these namespaces are seen, and of no others"
        );
    }
    let timing = settings.installation.timing;
    let question = Timestamp::now().as_nanosecond().unsigned_abs() as u64;
    let store = store(&settings.arbiter).await?;
    if let Some(single_point) = settings.installation.single_point() {
        tracing::warn!("{single_point}");
    }
    let election = election(&settings, &store, &uid, question)?;
    let metrics = Arc::new(Metrics::new(&settings.site));
    let objects = Arc::new(objects::Objects::default());
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("SIGTERM cannot be waited for")?;

    // What store a witness's API server has, it does not tell.
    if let ArbiterAt::Members(members) = &settings.arbiter {
        let versions = Versions::new(members).context("the arbiter")?;
        tasks.spawn(async move { Err(versions.first_bad().await.into()) });
    }

    let (desk, desk_worker) = status::desk(&kube, STATUSES, STATUS_PAUSE);
    let (teller, teller_worker) = event::teller(&kube, settings.site.as_str(), EVENTS);
    let (journal, journal_end) = FileJournal::open(
        settings.site.clone(),
        settings.args.journal.as_deref(),
        settings.args.journal_days,
    )?;

    let (intent_in, mut intents) = mpsc::channel(WAITING);
    let (acting, acts) = watch::channel(election.is_none());
    let followed = intent::Followed {
        kube: kube.clone(),
        within: settings.within.clone(),
        objects: Arc::clone(&objects),
        desk: desk.clone(),
        metrics: Arc::clone(&metrics),
        acting: acts,
        writer: writer(&settings.site, question),
    };
    tasks.spawn(intent::follow(followed, intent_in));
    let (pulse_in, pulse) = watch::channel(Pulse { at: boottime::now(), ..Pulse::default() });
    let (proxies_in, mut proxies) = mpsc::channel(crate::serve::CONNECTIONS);
    let asked = crate::serve::Shared {
        pulse,
        proxies: proxies_in,
        metrics: Arc::clone(&metrics),
        events_lost: teller.losses(),
        journal_lost: journal.losses(),
    };
    tasks.spawn(crate::serve::serve(settings.args.http_listen, asked));
    if let Some(listen) = settings.args.responder_listen {
        tasks.spawn(crate::responder::serve(listen, Arc::clone(&objects)));
    }

    let mut observer = Observer::new(timing.tq());
    if let Some(election) = &election {
        let learned = tokio::select! {
            learned = standby::stand_by(election, &mut intents, &mut proxies, &pulse_in) => learned?,
            ended = tasks.join_next() => return Err(part_ended(ended)),
            _ = terminate.recv() => {
                tracing::info!("the operator ends: it was asked to; it stood by");
                return Ok(ExitCode::SUCCESS);
            }
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        tracing::info!("this replica of the operator acts from now on");
        observer = learned.observer;
        intents = first_then(learned.wishes, intents);
        acting.send_replace(true);
    }
    let arbiter = election.as_ref().map_or(store, Election::arbiter);
    let arbiter = SiteArbiter::new(arbiter, arbiter_identity(&settings, &uid, question), timing.tq());

    let surroundings = Surroundings {
        kube,
        objects,
        desk,
        teller,
        journal,
        metrics,
        pulse: pulse_in,
        workers: vec![
            ("the worker that writes status has ended", Box::pin(desk_worker)),
            ("the worker that tells Events has ended", Box::pin(teller_worker)),
        ],
    };
    let stop = CancellationToken::new();
    let ended = surroundings
        .act(
            settings,
            question,
            observer,
            arbiter,
            Wanted { intents, proxies },
            change,
            &stop,
            tasks,
            terminate,
        )
        .await;
    stop.cancel();
    // Nothing is done any more: the engine and what it had under way are gone.
    if let Some(election) = &election {
        match election.give_up().await {
            Put::Applied { .. } => tracing::info!("handed over: nobody acts until another replica does"),
            Put::Refused { why } | Put::Unknown { why } => tracing::info!(%why, "nothing was handed over"),
        }
    }
    // What was done last is what is looked for first.
    journal_end.finish(JOURNAL_END);
    ended
}

/// What the engine is fed with.
struct Wanted {
    intents: mpsc::Receiver<Intent>,
    proxies: mpsc::Receiver<Asked>,
}

/// Work that never ends by itself, with what to say when it does.
type Worker = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// What an operator that acts has around its engine.
struct Surroundings {
    kube: Kube,
    objects: Arc<objects::Objects>,
    desk: StatusDesk,
    teller: Teller,
    journal: FileJournal,
    metrics: Arc<Metrics>,
    pulse: watch::Sender<Pulse>,
    workers: Vec<Worker>,
}

impl Surroundings {
    /// Acts for the site until it is told to end or cannot go on. When this returns, nothing of the engine is left.
    #[expect(
        clippy::too_many_arguments,
        reason = "an operator is put together of exactly these parts, in one place"
    )]
    async fn act(
        self,
        settings: Settings,
        question: u64,
        observer: Observer,
        arbiter: SiteArbiter,
        wanted: Wanted,
        change: impl FnOnce(Parts) -> Parts,
        stop: &CancellationToken,
        mut tasks: JoinSet<anyhow::Result<()>>,
        mut terminate: tokio::signal::unix::Signal,
    ) -> anyhow::Result<ExitCode> {
        let Self { kube, objects, desk, teller, journal, metrics, pulse, workers } = self;
        let timing = settings.installation.timing;
        metrics.acts();
        for (ended, worker) in workers {
            tasks.spawn(async move {
                worker.await;
                anyhow::bail!(ended)
            });
        }
        let (guards, guards_out) = GuardListener::listen(
            settings.args.guard_listen,
            settings.args.guard_certificates.clone(),
            stop.clone(),
        )
        .await
        .context("--guard-listen, --guard-certificates")?;
        let sources = sources::Sources {
            kube: kube.clone(),
            within: settings.within.clone(),
            desk: desk.clone(),
            teller: teller.clone(),
            objects: Arc::clone(&objects),
            metrics: Arc::clone(&metrics),
            cache: settings.args.git_cache.clone(),
            allow_file: settings.args.allow_file_urls,
        };
        tasks.spawn(sources.follow());
        let journal: Arc<dyn Journal> =
            Arc::new(CountingJournal { file: journal, metrics: Arc::clone(&metrics) });
        let (notices, notices_worker) = notices::Notices::new(
            settings.site.clone(),
            settings.channels.clone(),
            Patience::default(),
            Arc::clone(&journal),
            Arc::clone(&metrics),
        );
        tasks.spawn(async move {
            notices_worker.await;
            anyhow::bail!("the worker that tells people has ended")
        });
        tasks.spawn(Arc::clone(&notices).look_again(Arc::clone(&objects)));
        let heartbeat = bascule_crds::HeartbeatReference {
            namespace: kube.own_namespace().to_owned(),
            name: HEARTBEAT.to_owned(),
            writer: writer(&settings.site, question),
        };
        let site = settings.site.clone();
        let publisher = publish::StatusPublisher { site, heartbeat, objects, desk, teller, metrics, notices };
        let disks = guards.disks();
        let site = LocalSite::new(settings.site.clone(), kube, timing, disks, Box::new(publisher));
        let ports = Ports {
            clock: Arc::new(SystemClock),
            arbiter: Arc::new(arbiter),
            guards: Arc::new(guards),
            site: Arc::new(site.with_responder(settings.responder.clone())),
            journal,
        };
        let id = Identity { site: settings.site, question, installation: settings.installation };
        let incoming = Incoming { guards: guards_out, intent: wanted.intents, proxies: wanted.proxies };
        let Parts { ports, incoming } = change(Parts { ports, incoming });
        tokio::select! {
            ended = run::run(id, observer, ports, incoming, pulse) => match ended {
                Ended::NameTaken(reason) => anyhow::bail!(reason),
                Ended::NotActing(who) => {
                    tracing::warn!(%who, "another replica of this site's operator acts: this one ends, and stands by when it is started again");
                    Ok(ExitCode::SUCCESS)
                }
                other => anyhow::bail!("the engine ended: {other}"),
            },
            ended = tasks.join_next() => Err(part_ended(ended)),
            _ = terminate.recv() => {
                tracing::info!("the operator ends: it was asked to; databases go on under their guards' grants");
                Ok(ExitCode::SUCCESS)
            }
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Why the operator ends when one of its parts has.
fn part_ended(ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a part of the operator has ended"),
        Some(Err(error)) => anyhow::Error::new(error).context("a part of the operator has died"),
    }
}

/// What was learned already, then what comes.
fn first_then(learned: Vec<Intent>, mut coming: mpsc::Receiver<Intent>) -> mpsc::Receiver<Intent> {
    let (into, intents) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        for intent in learned {
            if into.send(intent).await.is_err() {
                return;
            }
        }
        while let Some(intent) = coming.recv().await {
            if into.send(intent).await.is_err() {
                return;
            }
        }
    });
    intents
}

/// This replica's part in the election of the one that acts; none where the site has one operator.
fn election(
    settings: &Settings,
    store: &Store,
    uid: &str,
    question: u64,
) -> anyhow::Result<Option<Election>> {
    let Some(ip) = settings.args.replica_ip else { return Ok(None) };
    let instance = arbiter_identity(settings, uid, question).instance;
    let me = Replica { instance, address: SocketAddr::new(ip, settings.args.http_listen.port()) };
    let timing = settings.installation.timing;
    let election = Election::new(store.clone(), settings.site.clone(), uid.to_owned(), me, timing);
    Ok(Some(election.context("--replica-ip")?))
}

/// The cluster's UID: without it this site's name cannot be told from another cluster's.
async fn cluster_uid(kube: &Kube) -> anyhow::Result<String> {
    let mut last = None;
    for _ in 0..CLUSTER_TRIES {
        match cluster::uid(kube).await {
            Ok(uid) => return Ok(uid),
            Err(failure) => {
                tracing::warn!(%failure, "this site's API server does not answer yet");
                last = Some(failure);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("not asked"), anyhow::Error::new))
        .context("the UID of the namespace kube-system, which names this cluster, cannot be read")
}

/// A client of the arbiter. Nothing is sent yet.
async fn store(arbiter: &ArbiterAt) -> anyhow::Result<Store> {
    Ok(match arbiter {
        ArbiterAt::Members(members) => EtcdArbiter::new(members.clone()).await.context("the arbiter")?.into(),
        ArbiterAt::Witness(witness) => {
            KubernetesArbiter::new(witness).await.context("the witness (--arbiter-kubeconfig)")?.into()
        }
    })
}

fn arbiter_identity(settings: &Settings, uid: &str, question: u64) -> ArbiterIdentity {
    ArbiterIdentity {
        site: settings.site.clone(),
        cluster: uid.to_owned(),
        instance: format!("{}-{question}", settings.site),
        by: "operator",
    }
}
