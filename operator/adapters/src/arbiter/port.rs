//! The engine's port, as one site's operator sees the arbiter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bascule_core::ballot::claim::RecordRevision;
use bascule_core::ballot::silence::LeaseRevision;
use bascule_core::facts::SiteFacts;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::outcome::Outcome;
use bascule_core::record::Record;
use bascule_engine::ports::{Arbiter, ArbiterChange, Cas, Listed, Renewed};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Change, Claim, Put, Renewal, Revision, Store};

/// Who writes the lease: goes into the beat, for people who look at the store.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The site this operator was installed as.
    pub site: SiteName,
    /// The UID of its cluster, which owns the site's name.
    pub cluster: String,
    /// This process: different after each start.
    pub instance: String,
    /// `operator` or `guard`.
    pub by: &'static str,
}

#[derive(Serialize)]
struct Beat<'a> {
    cluster: &'a str,
    instance: &'a str,
    n: u64,
    by: &'a str,
}

/// The arbiter for one site.
#[derive(Debug)]
pub struct SiteArbiter {
    store: Store,
    identity: Identity,
    /// How long a watch's member may take to answer (`Tq`).
    tq: Duration,
    beats: AtomicU64,
    claimed: AtomicBool,
}

impl SiteArbiter {
    /// The arbiter as `identity` uses it. `tq` is the deadline of the watch's own calls; all others bring theirs.
    pub fn new(store: impl Into<Store>, identity: Identity, tq: Duration) -> Self {
        Self { store: store.into(), identity, tq, beats: AtomicU64::new(0), claimed: AtomicBool::new(false) }
    }

    fn beat(&self) -> Result<Vec<u8>, serde_json::Error> {
        let Identity { cluster, instance, by, .. } = &self.identity;
        let n = self.beats.fetch_add(1, Ordering::Relaxed);
        serde_json::to_vec(&Beat { cluster, instance, n, by })
    }

    /// Claims the site's name once per process; none when it is ours.
    async fn claim(&self, deadline: Duration) -> Option<Renewed> {
        if self.claimed.load(Ordering::Relaxed) {
            return None;
        }
        match self.store.claim_site(&self.identity.site, &self.identity.cluster, deadline).await {
            Claim::Ours => {
                self.claimed.store(true, Ordering::Relaxed);
                None
            }
            Claim::NameTaken { owner } => Some(Renewed::NameTaken { owner }),
            Claim::Refused { why } | Claim::Unknown { why } => {
                Some(Renewed::Unknown { reason: format!("claiming the site's name: {why}") })
            }
        }
    }
}

#[async_trait]
impl Arbiter for SiteArbiter {
    async fn renew(&self, deadline: Duration) -> Renewed {
        let until = Instant::now() + deadline;
        if let Some(not_ours) = self.claim(deadline).await {
            return not_ours;
        }
        let beat = match self.beat() {
            Ok(beat) => beat,
            Err(e) => return Renewed::Unknown { reason: format!("not sent: {e}") },
        };
        let left = until.saturating_duration_since(Instant::now());
        let Identity { site, cluster, .. } = &self.identity;
        match self.store.renew(site, cluster, &beat, left).await {
            Renewal::Applied { .. } => Renewed::Applied,
            Renewal::NameTaken { owner } => Renewed::NameTaken { owner },
            Renewal::NotActing { who } => Renewed::NotActing { who },
            Renewal::NotClaimed => Renewed::Unknown {
                reason: format!(
                    "the arbiter has forgotten the name {site}: it was emptied or restored from an old backup; when what it knew is lost for good, raise arbiter.generation in all sites"
                ),
            },
            Renewal::Refused { why } => Renewed::Unknown { reason: format!("not renewed: {why}") },
            Renewal::Unknown { why } => Renewed::Unknown { reason: why.to_string() },
        }
    }

    async fn leases(&self, deadline: Duration) -> Result<BTreeMap<SiteName, LeaseRevision>, String> {
        let listing = self.store.leases(deadline).await.map_err(|e| e.to_string())?;
        Ok(listing.items.into_iter().map(|l| (l.site, l.beat.revision.0)).collect())
    }

    fn together(&self) -> usize {
        self.store.together()
    }

    async fn record(
        &self,
        policy: &PolicyKey,
        deadline: Duration,
    ) -> Result<Option<(Record, RecordRevision)>, String> {
        let Some(found) = self.store.record(policy, deadline).await.map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let record = found.parse().map_err(|e| format!("the record of {policy} cannot be parsed: {e}"))?;
        Ok(Some((record, found.revision.0)))
    }

    async fn write(
        &self,
        policy: &PolicyKey,
        expected: Option<RecordRevision>,
        next: &Record,
        unchanged_lease: Option<&(SiteName, LeaseRevision)>,
        deadline: Duration,
    ) -> Cas {
        let bytes = match serde_json::to_vec(next) {
            Ok(bytes) => bytes,
            Err(e) => return Cas::Unknown { reason: format!("not sent: {e}") },
        };
        let lease = unchanged_lease.map(|(site, revision)| (site, Revision(*revision)));
        match self.store.cas(policy, expected.map(Revision), bytes, lease, deadline).await {
            super::Cas::Applied { revision } => Cas::Applied(revision.0),
            super::Cas::Conflict { .. } => Cas::Conflict,
            super::Cas::Refused { why } => Cas::Unknown { reason: format!("not written: {why}") },
            super::Cas::Unknown { why } => Cas::Unknown { reason: why.to_string() },
        }
    }

    async fn put_facts(&self, policy: &PolicyKey, facts: &SiteFacts, deadline: Duration) -> Outcome {
        let bytes = match serde_json::to_vec(facts) {
            Ok(bytes) => bytes,
            Err(e) => return Outcome::refused(format!("the facts of {policy} cannot be written down: {e}")),
        };
        match self.store.put_facts(policy, &self.identity.site, bytes, deadline).await {
            Put::Applied { .. } => Outcome::Done,
            Put::Refused { why } => Outcome::refused(why.to_string()),
            Put::Unknown { why } => Outcome::unknown(why.to_string()),
        }
    }

    async fn list(&self, deadline: Duration) -> Result<Listed, String> {
        let (records, facts) =
            tokio::try_join!(self.store.record_revisions(deadline), self.store.facts(deadline))
                .map_err(|e| e.to_string())?;
        let mut listed = Listed {
            // The older of the two: what changed in between is told again by the watch.
            revision: records.revision.min(facts.revision).0,
            records: records.items.into_iter().map(|(policy, revision)| (policy, revision.0)).collect(),
            ..Listed::default()
        };
        for found in facts.items {
            match found.facts.parse() {
                Ok(facts) => {
                    listed.facts.insert((found.policy, found.site), facts);
                }
                Err(e) => {
                    let (policy, site) = (found.policy, found.site);
                    listed
                        .unreadable
                        .push(format!("the facts of {site} about {policy} cannot be parsed: {e}"));
                }
            }
        }
        let foreign = records.foreign.into_iter().chain(facts.foreign);
        listed.unreadable.extend(foreign.map(|key| format!("the key {key} is not one of Bascule's")));
        Ok(listed)
    }

    async fn watch(&self, revision: i64, into: mpsc::Sender<ArbiterChange>) {
        let reason = self.follow(revision, &into).await;
        // Fails only when nobody listens any more.
        let _ = into.send(ArbiterChange::Broken { reason }).await;
    }
}

impl SiteArbiter {
    /// Passes changes on until there is a reason to list again.
    async fn follow(&self, revision: i64, into: &mpsc::Sender<ArbiterChange>) -> String {
        let mut watch = match self.store.watch(Revision(revision + 1), self.tq).await {
            Ok(watch) => watch,
            Err(why) => return why.to_string(),
        };
        loop {
            let change = tokio::select! {
                change = watch.next() => change,
                () = into.closed() => return "nobody listens".to_owned(),
            };
            let told = match change {
                None => return "the watch ended".to_owned(),
                Some(Change::Broken { why }) => return why.to_string(),
                Some(Change::Current { .. } | Change::Foreign { .. }) => continue,
                Some(Change::Record { policy, record: Some(record), .. }) => {
                    ArbiterChange::Record { policy, revision: record.revision.0 }
                }
                Some(Change::Facts { policy, site, facts: Some(found), .. }) => match found.parse() {
                    Ok(facts) => ArbiterChange::Facts { policy, site, facts: Box::new(facts) },
                    // A listing says in words what cannot be read.
                    Err(e) => return format!("the facts of {site} about {policy} cannot be parsed: {e}"),
                },
                // This program deletes nothing; only a listing shows what is left.
                Some(Change::Record { policy, record: None, .. }) => {
                    return format!("the record of {policy} was deleted");
                }
                Some(Change::Facts { policy, site, facts: None, .. }) => {
                    return format!("the facts of {site} about {policy} were deleted");
                }
            };
            if into.send(told).await.is_err() {
                return "nobody listens".to_owned();
            }
        }
    }
}
