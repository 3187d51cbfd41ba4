//! Puts the operator together: adapters to ports, ports to the engine, the engine to its surroundings.

mod conditions;
mod intent;
mod move_status;
mod notices;
mod objects;
pub mod policy_status;
mod publish;
#[cfg(test)]
pub(crate) mod samples;
mod sources;
mod unreadable;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bascule_adapters::arbiter::{
    EtcdArbiter, Identity as ArbiterIdentity, Settings as ArbiterSettings, SiteArbiter, Tls, Versions,
};
use bascule_adapters::boottime;
use bascule_adapters::guards::GuardListener;
use bascule_adapters::kube::client::{Credentials, Kube};
use bascule_adapters::kube::{cluster, event, status};
use bascule_adapters::notify::Patience;
use bascule_adapters::site::LocalSite;
use bascule_core::time::Boottime;
use bascule_engine::brain::Identity;
use bascule_engine::ports::{Clock, Journal, JournalEntry};
use bascule_engine::run::{self, Ended, Incoming, Ports, Pulse};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::journal::FileJournal;
use crate::metrics::Metrics;
use crate::settings::Settings;

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
    let timing = settings.installation.timing;
    let question = Timestamp::now().as_nanosecond().unsigned_abs() as u64;
    let arbiter = arbiter(&settings, &uid, question).await?;
    let metrics = Arc::new(Metrics::new(&settings.site));
    let (journal, journal_end) = FileJournal::open(
        settings.site.clone(),
        settings.args.journal.as_deref(),
        settings.args.journal_days,
    )?;
    let objects = Arc::new(objects::Objects::default());
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();

    let versions = Versions::new(&arbiter_settings(&settings)).context("the arbiter")?;
    tasks.spawn(async move { Err(versions.first_bad().await.into()) });

    let (desk, desk_worker) = status::desk(&kube, STATUSES, STATUS_PAUSE);
    let (teller, teller_worker) = event::teller(&kube, settings.site.as_str(), EVENTS);
    tasks.spawn(async move {
        desk_worker.await;
        anyhow::bail!("the worker that writes status has ended")
    });
    tasks.spawn(async move {
        teller_worker.await;
        anyhow::bail!("the worker that tells Events has ended")
    });

    let stop = CancellationToken::new();
    let (guards, guards_out) = GuardListener::listen(
        settings.args.guard_listen,
        settings.args.guard_certificates.clone(),
        stop.clone(),
    )
    .await
    .context("--guard-listen, --guard-certificates")?;

    let (intent_in, intent_out) = mpsc::channel(WAITING);
    let followed = intent::Followed {
        kube: kube.clone(),
        objects: Arc::clone(&objects),
        desk: desk.clone(),
        metrics: Arc::clone(&metrics),
    };
    tasks.spawn(intent::follow(followed, intent_in));
    let sources = sources::Sources {
        kube: kube.clone(),
        desk: desk.clone(),
        teller: teller.clone(),
        objects: Arc::clone(&objects),
        metrics: Arc::clone(&metrics),
        cache: settings.args.git_cache.clone(),
        allow_file: settings.args.allow_file_urls,
    };
    tasks.spawn(sources.follow());

    let journal_lost = journal.losses();
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

    let events_lost = teller.losses();
    let publisher = publish::StatusPublisher {
        site: settings.site.clone(),
        objects,
        desk,
        teller,
        metrics: Arc::clone(&metrics),
        notices,
    };
    let (pulse_in, pulse) = watch::channel(Pulse { at: boottime::now(), ..Pulse::default() });
    let (proxies_in, proxies) = mpsc::channel(crate::serve::CONNECTIONS);
    let asked = crate::serve::Shared { pulse, proxies: proxies_in, metrics, events_lost, journal_lost };
    tasks.spawn(crate::serve::serve(settings.args.http_listen, asked));
    let disks = guards.disks();
    let ports = Ports {
        clock: Arc::new(SystemClock),
        arbiter: Arc::new(arbiter),
        guards: Arc::new(guards),
        site: Arc::new(LocalSite::new(settings.site.clone(), kube, timing, disks, Box::new(publisher))),
        journal,
    };
    let id = Identity { site: settings.site, question, installation: settings.installation };
    let incoming = Incoming { guards: guards_out, intent: intent_out, proxies };
    let Parts { ports, incoming } = change(Parts { ports, incoming });
    let engine = run::run(id, ports, incoming, pulse_in);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("SIGTERM cannot be waited for")?;
    let ended = tokio::select! {
        ended = engine => match ended {
            Ended::NameTaken(reason) => anyhow::bail!(reason),
            other => anyhow::bail!("the engine ended: {other}"),
        },
        ended = tasks.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error),
            Some(Ok(Ok(()))) | None => anyhow::bail!("a part of the operator has ended"),
            Some(Err(error)) => Err(anyhow::Error::new(error).context("a part of the operator has died")),
        },
        _ = terminate.recv() => {
            tracing::info!("the operator ends: it was asked to; databases go on under their guards' grants");
            Ok(ExitCode::SUCCESS)
        }
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
    };
    stop.cancel();
    // What was done last is what is looked for first.
    journal_end.finish(JOURNAL_END);
    ended
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

fn arbiter_settings(settings: &Settings) -> ArbiterSettings {
    ArbiterSettings {
        endpoints: settings.args.arbiter_endpoints.clone(),
        tls: Tls {
            ca: settings.arbiter_tls.ca.clone(),
            cert: settings.arbiter_tls.cert.clone(),
            key: settings.arbiter_tls.key.clone().into(),
        },
        connect_timeout: settings.installation.timing.tq(),
    }
}

async fn arbiter(settings: &Settings, uid: &str, question: u64) -> anyhow::Result<SiteArbiter> {
    let timing = settings.installation.timing;
    let etcd = EtcdArbiter::new(arbiter_settings(settings)).await.context("the arbiter")?;
    let identity = ArbiterIdentity {
        site: settings.site.clone(),
        cluster: uid.to_owned(),
        instance: format!("{}-{question}", settings.site),
        by: "operator",
    };
    Ok(SiteArbiter::new(etcd, identity, timing.tq()))
}
