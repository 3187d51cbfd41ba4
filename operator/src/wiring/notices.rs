//! Tells people who do not look at the cluster: looks at what is shown, and hands what is due to the post.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_adapters::notify::{Channel, Heard, Patience, Post};
use bascule_core::moves::MoveHash;
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::notice::{Case, Memory, Notice, due};
use bascule_core::policy::Policy;
use bascule_core::record::Phase;
use bascule_crds::FailoverPolicyStatus;
use bascule_crds::conditions as kinds;
use bascule_engine::ports::{Journal, JournalEntry, JournalKind, Shown};
use jiff::Timestamp;

use super::objects::Objects;
use crate::metrics::Metrics;

/// How often the policies are looked at while nothing is shown of them: what lasts is told again.
const AGAIN: Duration = Duration::from_secs(30);

/// Decides what people are told, and sends it.
pub struct Notices {
    site: SiteName,
    post: Post,
    journal: Arc<dyn Journal>,
    known: Mutex<BTreeMap<PolicyKey, Known>>,
}

/// A policy that wants people to be told.
struct Known {
    case: Case,
    memory: Memory,
}

/// Says in the journal and in the metrics what became of a notice.
struct Heeded {
    channels: BTreeSet<ItemName>,
    journal: Arc<dyn Journal>,
    metrics: Arc<Metrics>,
}

impl Heeded {
    fn count(&self, notice: &Notice, delivered: bool) {
        // Whatever policies name: a label has only the values that this site's settings give it.
        let known = self.channels.contains(&notice.channel);
        self.metrics.notice(if known { notice.channel.as_str() } else { "unknown" }, delivered);
    }
}

impl Heard for Heeded {
    fn delivered(&self, notice: &Notice) {
        self.count(notice, true);
        let what = format!("told {} of {}: {}", notice.channel, notice.kind, notice.subject);
        self.journal.write(entry(notice, JournalKind::Outcome, what));
    }

    fn lost(&self, notice: &Notice, why: &str) {
        self.count(notice, false);
        tracing::warn!(channel = %notice.channel, id = notice.id, why, "people were not told");
        let what = format!("{} was not told of {} ({}): {why}", notice.channel, notice.kind, notice.subject);
        self.journal.write(entry(notice, JournalKind::Outcome, what));
    }
}

fn entry(notice: &Notice, kind: JournalKind, what: String) -> JournalEntry {
    JournalEntry {
        policy: Some(notice.policy.clone()),
        epoch: notice.epoch,
        serial: notice.serial,
        kind,
        what,
    }
}

impl Notices {
    /// For the operator of `site`, and the workers that send.
    pub fn new(
        site: SiteName,
        channels: Vec<Channel>,
        patience: Patience,
        journal: Arc<dyn Journal>,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let heeded = Heeded {
            channels: channels.iter().map(|c| c.name.clone()).collect(),
            journal: Arc::clone(&journal),
            metrics,
        };
        let any = !channels.is_empty();
        let (post, workers) = Post::new(channels, patience, Arc::new(heeded));
        let work = async move {
            workers.await;
            if !any {
                // Without channels there is nobody to work, and nothing has ended.
                std::future::pending::<()>().await;
            }
        };
        (Arc::new(Self { site, post, journal, known: Mutex::default() }), work)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<PolicyKey, Known>> {
        // A panic while it was held leaves whole entries behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nobody would be told by channels that the policy names: a reason for each; none where somebody would by all.
    pub fn unknown(&self, policy: &Policy) -> Vec<String> {
        let of = &policy.key.namespace;
        policy
            .notifications
            .named()
            .into_iter()
            .filter_map(|channel| self.post.refusal(channel, of))
            .collect()
    }

    /// Looks at what is shown of a policy. `before` is the status as it was written last, by this process or by the one
    /// before; `made` says when a Move's object was made. Never waits.
    pub fn shown(
        &self,
        shown: &Shown,
        before: &FailoverPolicyStatus,
        made: impl Fn(&MoveHash) -> Option<Timestamp>,
        now: Timestamp,
    ) {
        let mut known = self.known();
        let Some(policy) = shown.policy.as_ref().filter(|p| !p.notifications.is_empty()) else {
            known.remove(&shown.key);
            return;
        };
        let report = &shown.report;
        let case = Case {
            policy: Arc::clone(policy),
            record: shown.record.clone(),
            sentence: shown.trouble.clone().unwrap_or_else(|| report.sentence.clone()),
            conditions: report.conditions.clone(),
            sites: report.sites.clone(),
            moves: shown.moves.iter().map(|m| (m.clone(), made(&m.hash).unwrap_or(now))).collect(),
        };
        let memory = known.remove(&shown.key).map_or_else(|| remembered(before), |one| one.memory);
        let mut one = Known { case, memory };
        self.look(&mut one, now);
        known.insert(shown.key.clone(), one);
    }

    fn look(&self, one: &mut Known, now: Timestamp) {
        for notice in due(&mut one.memory, &self.site, &one.case, now) {
            let what = format!("tell {} of {}: {}", notice.channel, notice.kind, notice.subject);
            self.journal.write(entry(&notice, JournalKind::Intent, what));
            self.post.put(notice);
        }
    }

    /// Looks again and again, until the process ends: at what lasts. Policies that are gone are forgotten.
    pub async fn look_again(self: Arc<Self>, objects: Arc<Objects>) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(AGAIN).await;
            let there: BTreeSet<PolicyKey> = objects.lock().policies.keys().cloned().collect();
            let now = Timestamp::now();
            let mut known = self.known();
            known.retain(|key, _| there.contains(key));
            for one in known.values_mut() {
                self.look(one, now);
            }
        }
    }
}

/// What the operator before this one has written into the status.
fn remembered(before: &FailoverPolicyStatus) -> Memory {
    let since = |kind: &str, so: fn(&str) -> bool| {
        let found = before.conditions.iter().find(|c| c.type_ == kind && so(&c.status))?;
        Some(found.last_transition_time.0)
    };
    Memory::from_status(
        before.epoch.zip(before.phase.clone().map(Phase::from)),
        since(kinds::FAILOVER_POSSIBLE, |status| status != "True"),
        since(kinds::STALLED, |status| status == "True"),
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use bascule_adapters::notify::{Entries, check};
    use bascule_core::policy::Notifications;
    use serde_json::json;

    use super::*;
    use crate::metrics::Now;
    use crate::wiring::samples;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Journal for Kept {
        fn write(&self, entry: JournalEntry) {
            let policy = entry.policy_word();
            self.0.lock().unwrap().push(format!("{policy} {}: {}", entry.kind.word(), entry.what));
        }
    }

    /// What is shown by lyon, which has just become active, of a policy that wants `channel` to be told.
    fn moved(channel: &str) -> Shown {
        let mut shown = samples::shown();
        let policy = shown.policy.as_deref().unwrap().clone();
        let notifications =
            Notifications { channels: vec![channel.try_into().unwrap()], ..Notifications::default() };
        shown.policy = Some(Arc::new(Policy { notifications, ..policy }));
        shown
    }

    fn notices(entries: &serde_json::Value) -> (Arc<Notices>, Arc<Kept>, Arc<Metrics>) {
        let entries: Entries = serde_json::from_value(json!({ "channels": entries })).unwrap();
        let (journal, metrics) =
            (Arc::new(Kept::default()), Arc::new(Metrics::new(&"paris".try_into().unwrap())));
        let lyon = "lyon".try_into().unwrap();
        let channels = check(&entries, None).unwrap();
        let log: Arc<dyn Journal> = Arc::<Kept>::clone(&journal);
        let (notices, work) = Notices::new(lyon, channels, Patience::default(), log, Arc::clone(&metrics));
        tokio::spawn(work);
        (notices, journal, metrics)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dead_mail_server_never_delays_what_is_shown() {
        let mute = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = mute.local_addr().unwrap().port();
        let (notices, journal, _) = notices(&json!([{ "name": "mail", "smtp": {
            "host": "127.0.0.1", "port": port, "security": "none", "from": "a@example.org", "to": ["b@example.org"],
        } }]));
        let mut shown = moved("mail");
        let before = FailoverPolicyStatus::default();
        let began = Instant::now();
        // Each epoch is another happening: the queue is full soon, and goes on being handed to.
        for epoch in 4..1004 {
            let record = shown.record.as_mut().unwrap();
            (record.epoch, record.history[0].epoch) = (epoch, epoch);
            notices.shown(&shown, &before, |_| None, at(900));
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        let lines = journal.0.lock().unwrap().clone();
        assert_eq!(lines.iter().filter(|l| l.contains("intent: tell mail of moved")).count(), 1000);
        assert!(lines.iter().any(|l| l.contains("the oldest gives way")), "{:?}", lines.last());
    }

    #[tokio::test]
    async fn what_became_of_a_notice_is_in_the_journal_and_in_the_metrics() {
        let (notices, journal, metrics) = notices(&json!([]));
        notices.shown(&moved("pager"), &FailoverPolicyStatus::default(), |_| None, at(901));
        let lines = journal.0.lock().unwrap().clone();
        let [intent, outcome] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(
            intent,
            "shop/shop intent: tell pager of moved: shop/shop: moved: lyon writes, paris does not any more"
        );
        assert!(
            outcome.starts_with("shop/shop outcome: pager was not told of moved")
                && outcome.contains("no channel pager, expected one of: none"),
            "{outcome}"
        );
        let text = metrics.text(&Now::default()).unwrap();
        let line = "bascule_notices_total{channel=\"unknown\",outcome=\"lost\"} 1";
        assert!(text.lines().any(|l| l == line), "{text}");
    }

    #[tokio::test]
    async fn a_channel_that_is_not_there_is_known_before_anything_happens() {
        let hook = json!({ "name": "hook", "namespaces": ["blog"], "webhook": {
            "url": "http://127.0.0.1:9/", "secretKey": "hook",
        } });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hook"), "0123456789abcdef").unwrap();
        let entries: Entries = serde_json::from_value(json!({ "channels": [hook] })).unwrap();
        let channels = check(&entries, Some(folder.path())).unwrap();
        let metrics = Arc::new(Metrics::new(&"paris".try_into().unwrap()));
        let lyon = "lyon".try_into().unwrap();
        let journal = Arc::new(Kept::default());
        let (notices, _work) = Notices::new(lyon, channels, Patience::default(), journal, metrics);
        let unknown = |channel: &str| notices.unknown(moved(channel).policy.as_deref().unwrap());
        let pager = unknown("pager");
        assert!(
            pager.len() == 1 && pager[0].contains("no channel pager, expected one of: hook"),
            "{pager:?}"
        );
        let other = unknown("hook");
        assert!(
            other.len() == 1 && other[0].contains("namespace shop may not use the channel hook"),
            "{other:?}"
        );
        let mut policy = moved("hook").policy.as_deref().unwrap().clone();
        policy.key.namespace = "blog".try_into().unwrap();
        assert_eq!(notices.unknown(&policy), [] as [String; 0]);
    }

    #[tokio::test]
    async fn an_operator_that_starts_again_repeats_nothing_old() {
        let (notices, journal, _) = notices(&json!([]));
        notices.shown(&moved("pager"), &FailoverPolicyStatus::default(), |_| None, at(900 + 16 * 60));
        assert_eq!(journal.0.lock().unwrap().len(), 0);
    }

    #[test]
    fn what_the_status_says_is_remembered() {
        let condition = |kind: &str, status: &str, second: i64| kinds::Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: "Reason".to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: bascule_crds::Time(at(second)),
        };
        let status = FailoverPolicyStatus {
            epoch: Some(3),
            phase: Some("Returning".to_owned()),
            conditions: vec![
                condition(kinds::FAILOVER_POSSIBLE, "Unknown", 7),
                condition(kinds::STALLED, "False", 9),
            ],
            ..FailoverPolicyStatus::default()
        };
        let expected = Memory::from_status(Some((3, Phase::Returning)), Some(at(7)), None);
        assert_eq!(remembered(&status), expected);
    }
}
