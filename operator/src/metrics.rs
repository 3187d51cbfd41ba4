//! What Prometheus is told.
//!
//! A series is there while it says something: one whose value is not known any more, or whose policy is gone, is
//! removed, for a number that nobody keeps up to date looks like a fact.

mod policies;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bascule_core::name::{PolicyKey, SiteName};
use bascule_engine::ports::{JournalEntry, Shown};
use bascule_engine::run::Pulse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use self::policies::{Policies, Told};

/// Labels of the journal's counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// Labels of the counter of notices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoticeLabels {
    channel: String,
    outcome: &'static str,
}

/// Labels that are the same as long as the process lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InfoLabels {
    site: String,
    version: &'static str,
}

/// Labels of a source's series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct SourceLabels {
    namespace: String,
    source: String,
}

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    /// What only a replica that acts has.
    of_the_engine: Registry,
    leader: Gauge,
    lease_alive: Gauge,
    engine_events: Gauge<u64, AtomicU64>,
    journal: Family<KindLabels, Counter>,
    journal_lost: Gauge<u64, AtomicU64>,
    events_lost: Gauge<u64, AtomicU64>,
    source_ready: Family<SourceLabels, Gauge>,
    notices: Family<NoticeLabels, Counter>,
    policies: Arc<Policies>,
}

/// What is read when Prometheus asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// How the engine is doing.
    pub pulse: Pulse,
    /// Events of Kubernetes that were dropped or refused since the start.
    pub events_lost: u64,
    /// Lines of the journal that the disk did not take since the start.
    pub journal_lost: u64,
}

impl Metrics {
    /// All metrics, at zero, of the operator of `site`.
    pub fn new(site: &SiteName) -> Self {
        let mut registry = Registry::with_prefix("bascule");
        let r = &mut registry;
        let (leader, lease_alive, engine_events) = (Gauge::default(), Gauge::default(), Gauge::default());
        let journal = Family::default();
        let (journal_lost, events_lost, source_ready) =
            (Gauge::default(), Gauge::default(), Family::default());
        let info: Family<InfoLabels, Gauge> = Family::default();
        let labels = InfoLabels { site: site.to_string(), version: env!("CARGO_PKG_VERSION") };
        info.get_or_create(&labels).set(1);
        r.register("operator_info", "1, with the site and the version of the operator", info);
        r.register(
            "operator_leader",
            "1 where this replica of the site's operator acts, 0 where it stands by",
            Gauge::clone(&leader),
        );
        let mut of_the_engine = Registry::with_prefix("bascule");
        of_the_engine.register(
            "site_lease_alive",
            "Whether this site's lease has time left; absent where this replica stands by",
            Gauge::clone(&lease_alive),
        );
        of_the_engine.register(
            "engine_events",
            "Events that the engine has handled since its start; absent where this replica stands by",
            Gauge::clone(&engine_events),
        );
        r.register("journal_entries", "Entries of the journal by kind", Family::clone(&journal));
        r.register(
            "journal_lines_lost",
            "Lines of the journal that the disk did not take since the start",
            Gauge::clone(&journal_lost),
        );
        r.register(
            "kubernetes_events_lost",
            "Events of Kubernetes that were dropped or refused since the start",
            Gauge::clone(&events_lost),
        );
        r.register(
            "source_ready",
            "1 where the newest revision of a PolicySource is in force",
            Family::clone(&source_ready),
        );
        let notices = Family::default();
        r.register(
            "notices",
            "Notices to people since the start, by channel and by whether they were delivered",
            Family::clone(&notices),
        );
        let policies = Arc::new(Policies::default());
        r.register_collector(Box::new(Told(Arc::clone(&policies))));
        Self {
            registry,
            of_the_engine,
            leader,
            lease_alive,
            engine_events,
            journal,
            journal_lost,
            events_lost,
            source_ready,
            notices,
            policies,
        }
    }

    /// Counts an entry of the journal.
    pub fn count(&self, entry: &JournalEntry) {
        self.journal.get_or_create(&KindLabels { kind: entry.kind.word() }).inc();
    }

    /// Counts a notice that was delivered, or will not be.
    pub fn notice(&self, channel: &str, delivered: bool) {
        let outcome = if delivered { "delivered" } else { "lost" };
        self.notices.get_or_create(&NoticeLabels { channel: channel.to_owned(), outcome }).inc();
    }

    /// Whether the newest revision of a source is in force.
    pub fn source(&self, namespace: &str, name: &str, ready: bool) {
        let labels = SourceLabels { namespace: namespace.to_owned(), source: name.to_owned() };
        self.source_ready.get_or_create(&labels).set(i64::from(ready));
    }

    /// A source is gone.
    pub fn source_gone(&self, namespace: &str, name: &str) {
        let labels = SourceLabels { namespace: namespace.to_owned(), source: name.to_owned() };
        self.source_ready.remove(&labels);
    }

    /// What is shown of a policy, as `site` sees it.
    pub fn show(&self, site: &SiteName, shown: &Shown) {
        self.policies.show(site, shown);
    }

    /// A policy is gone.
    pub fn forget(&self, key: &PolicyKey) {
        self.policies.forget(key);
    }

    /// From now on this replica acts.
    pub fn acts(&self) {
        self.leader.set(1);
    }

    /// The OpenMetrics text.
    pub fn text(&self, now: &Now) -> Result<String, std::fmt::Error> {
        self.lease_alive.set(i64::from(now.pulse.lease_alive));
        self.engine_events.set(now.pulse.events);
        self.events_lost.set(now.events_lost);
        self.journal_lost.set(now.journal_lost);
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        // A replica that stands by has no lease and no engine, and that is no trouble.
        if self.leader.get() == 1 {
            encode_registry(&mut text, &self.of_the_engine)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bascule_core::project::Condition;

    use super::*;
    use crate::wiring::samples::{gate, shown};

    fn lines(metrics: &Metrics, of: &str) -> Vec<String> {
        let text = metrics.text(&Now::default()).unwrap();
        text.lines().filter(|l| l.starts_with(&format!("bascule_{of}{{"))).map(str::to_owned).collect()
    }

    #[test]
    fn a_gate_that_is_asked_no_more_has_no_series() {
        let site = "paris".try_into().unwrap();
        let metrics = Metrics::new(&site);
        let mut shown = shown();
        shown.report.gates = vec![gate("silence", false), gate("veto", true)];
        metrics.show(&site, &shown);
        let found = lines(&metrics, "policy_gate_blocked");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|l| l.contains("gate=\"silence\"") && l.ends_with(" 1.0")), "{found:?}");
        shown.report.gates = vec![gate("veto", true)];
        metrics.show(&site, &shown);
        let found = lines(&metrics, "policy_gate_blocked");
        assert!(found.len() == 1 && found[0].contains("veto") && found[0].ends_with(" 0.0"), "{found:?}");
    }

    fn ready(status: Option<bool>, reason: &str) -> Condition {
        let (reason, message) = (reason.to_owned().into(), "any".into());
        Condition { kind: "Ready".into(), status, reason, message }
    }

    #[test]
    fn a_condition_has_one_series_with_what_it_says_now() {
        let site = "paris".try_into().unwrap();
        let metrics = Metrics::new(&site);
        let mut shown = shown();
        shown.report.conditions = vec![ready(Some(true), "Steady")];
        metrics.show(&site, &shown);
        shown.report.conditions = vec![ready(Some(false), "ReadOnly")];
        metrics.show(&site, &shown);
        let found = lines(&metrics, "policy_condition");
        assert_eq!(found.len(), 1, "{found:?}");
        for part in ["condition=\"Ready\"", "status=\"False\"", "reason=\"ReadOnly\""] {
            assert!(found[0].contains(part), "{found:?}");
        }
        metrics.forget(&shown.key);
        assert_eq!(lines(&metrics, "policy_condition"), Vec::<String>::new());
        let found = lines(&metrics, "operator_info");
        assert!(found.len() == 1 && found[0].contains("site=\"paris\""), "{found:?}");
    }

    #[test]
    fn the_name_of_a_move_is_no_label() {
        let site = "paris".try_into().unwrap();
        let metrics = Metrics::new(&site);
        let mut shown = shown();
        shown.report.gates = vec![gate("move/tuesday", true), gate("move/monday", false)];
        metrics.show(&site, &shown);
        let found = lines(&metrics, "policy_gate_blocked");
        assert!(
            found.len() == 1 && found[0].contains("gate=\"move\"") && found[0].ends_with(" 1.0"),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_unknown_and_what_is_gone_has_no_series() {
        let site = "paris".try_into().unwrap();
        let metrics = Metrics::new(&site);
        let mut shown = shown();
        metrics.show(&site, &shown);
        let found = lines(&metrics, "policy_replication_lag_bytes");
        assert!(found.len() == 1 && found[0].contains("lyon") && found[0].ends_with(" 4096.0"), "{found:?}");
        for (name, value) in [
            ("policy_last_transition_write_pause_seconds", "0.128"),
            ("policy_last_transition_lost_transactions", "7.0"),
            ("policy_last_transition_lost_bytes", "512.0"),
            ("policy_epoch", "4.0"),
            ("policy_active", "0.0"),
        ] {
            let found = lines(&metrics, name);
            assert!(found.len() == 1 && found[0].ends_with(&format!(" {value}")), "{found:?}");
        }
        assert_eq!(lines(&metrics, "policy_last_transition_phase_seconds").len(), 2);
        shown.report.sites.iter_mut().for_each(|row| row.lag.bytes = None);
        metrics.show(&site, &shown);
        assert_eq!(lines(&metrics, "policy_replication_lag_bytes"), Vec::<String>::new());
        metrics.forget(&shown.key);
        assert_eq!(lines(&metrics, "policy_epoch"), Vec::<String>::new());
        assert_eq!(lines(&metrics, "policy_last_transition_phase_seconds"), Vec::<String>::new());
    }

    #[test]
    fn the_alerts_of_the_chart_ask_for_metrics_that_are_there() {
        let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/bascule/templates/prometheusrule.yaml");
        let alerts = std::fs::read_to_string(alerts).unwrap();
        let words = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> = words.filter(|w| w.starts_with("bascule_")).collect();
        assert!(asked.len() >= 7, "{asked:?}");
        let site = "paris".try_into().unwrap();
        let metrics = Metrics::new(&site);
        metrics.acts();
        let mut shown = shown();
        shown.report.conditions = vec![ready(Some(true), "Steady")];
        metrics.show(&site, &shown);
        metrics.source("shop", "main", true);
        let text = metrics.text(&Now::default()).unwrap();
        for name in asked {
            let there = text
                .lines()
                .any(|l| l.strip_prefix("# HELP ").is_some_and(|l| l.starts_with(&format!("{name} "))));
            assert!(there, "{name} is asked for by an alert and is no metric of the operator");
        }
    }

    #[test]
    fn what_was_lost_is_told_when_it_is_asked_for() {
        let now = Now { events_lost: 3, journal_lost: 5, ..Now::default() };
        let text = Metrics::new(&"paris".try_into().unwrap()).text(&now).unwrap();
        assert!(text.contains("bascule_kubernetes_events_lost 3\n"), "{text}");
        assert!(text.contains("bascule_journal_lines_lost 5\n"), "{text}");
    }

    #[test]
    fn a_replica_that_stands_by_says_nothing_of_a_lease_or_an_engine() {
        let metrics = Metrics::new(&"paris".try_into().unwrap());
        let text = metrics.text(&Now::default()).unwrap();
        assert!(text.contains("bascule_operator_leader 0\n"), "{text}");
        for absent in ["\nbascule_site_lease_alive ", "\nbascule_engine_events "] {
            assert!(!text.contains(absent), "{text}");
        }
        metrics.acts();
        let text = metrics.text(&Now::default()).unwrap();
        for there in ["operator_leader 1", "site_lease_alive 0", "engine_events 0"] {
            assert!(text.contains(&format!("\nbascule_{there}\n")), "{text}");
        }
    }

    #[test]
    fn a_source_has_a_series_until_it_is_gone() {
        let metrics = Metrics::new(&"paris".try_into().unwrap());
        metrics.source("shop", "main", false);
        assert!(lines(&metrics, "source_ready")[0].ends_with(" 0"));
        metrics.source_gone("shop", "main");
        assert_eq!(lines(&metrics, "source_ready"), Vec::<String>::new());
    }
}
