//! The server's settings, and what each must be for a failover to be possible, safe and quick.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::time::human;
use tokio_postgres::Client;

use super::connect::describe;
use super::preflight::{ExpectedRole, Thresholds};
use crate::finding::{Finding, Severity};

const SETTINGS: &str = "SELECT name, setting, unit, context = 'postmaster' FROM pg_settings";

/// One setting as the server has it.
struct Setting {
    value: String,
    unit: Option<String>,
    needs_restart: bool,
}

/// All settings that the role may see.
pub(super) struct Settings(BTreeMap<String, Setting>);

impl Settings {
    pub(super) async fn read(client: &Client) -> Result<Self, String> {
        let fail = |e: tokio_postgres::Error| describe(&e);
        let mut all = BTreeMap::new();
        for row in client.query_typed(SETTINGS, &[]).await.map_err(fail)? {
            let setting = Setting {
                value: row.try_get::<_, Option<String>>(1).map_err(fail)?.unwrap_or_default(),
                unit: row.try_get(2).map_err(fail)?,
                needs_restart: row.try_get(3).map_err(fail)?,
            };
            all.insert(row.try_get(0).map_err(fail)?, setting);
        }
        Ok(Self(all))
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |s| s.value.as_str())
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == value
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name).parse().ok()
    }

    /// A setting that is a time; `None` when it is switched off (-1) or unreadable.
    fn time(&self, name: &str) -> Option<Duration> {
        let number = u64::try_from(self.number(name)?).ok()?;
        match self.0.get(name)?.unit.as_deref() {
            Some("ms") => Some(Duration::from_millis(number)),
            Some("s") => Some(Duration::from_secs(number)),
            Some("min") => Some(Duration::from_secs(number.saturating_mul(60))),
            _ => None,
        }
    }

    /// The value for people, with its unit.
    fn shown(&self, name: &str) -> String {
        match self.0.get(name) {
            None => "not visible".to_owned(),
            Some(Setting { value, .. }) if value.is_empty() => "''".to_owned(),
            Some(Setting { value, unit: Some(unit), .. }) if value != "-1" && value != "0" => {
                format!("{value} {unit}")
            }
            Some(Setting { value, .. }) => value.clone(),
        }
    }

    fn finding(
        &self,
        code: &'static str,
        severity: Severity,
        name: &str,
        expected: impl Into<String>,
        set_to: Option<&str>,
    ) -> Finding {
        let hint = set_to.map_or_else(String::new, |value| {
            let restart = self.0.get(name).is_some_and(|s| s.needs_restart);
            let then = if restart { "restart the server" } else { "SELECT pg_reload_conf();" };
            format!("ALTER SYSTEM SET {name} = '{value}'; then {then}")
        });
        Finding {
            code,
            severity,
            field: format!("setting {name}"),
            found: self.shown(name),
            expected: expected.into(),
            hint,
        }
    }

    /// Compares the settings with the thresholds. Both sites of a pair are held to the same ones, because the roles
    /// change places.
    pub(super) fn check(&self, role: ExpectedRole, limits: &Thresholds) -> Vec<Finding> {
        let mut found = Vec::new();
        self.check_log(limits, &mut found);
        self.check_link(limits, &mut found);
        self.check_standby(role, &mut found);
        self.check_durability(&mut found);
        self.check_surroundings(&mut found);
        found
    }

    /// What the write-ahead log must hold, and for how long.
    fn check_log(&self, limits: &Thresholds, found: &mut Vec<Finding>) {
        use Severity::{Block, Warn};
        if !(self.is("wal_level", "replica") || self.is("wal_level", "logical")) {
            found.push(self.finding("WalLevel", Block, "wal_level", "replica or logical", Some("replica")));
        }
        if !(self.is("wal_log_hints", "on") || self.is("data_checksums", "on")) {
            let expected = "on, or data checksums: without one, pg_rewind cannot bring an old primary back";
            found.push(self.finding("RewindImpossible", Block, "wal_log_hints", expected, Some("on")));
        }
        for (code, name, least) in [
            ("MaxWalSenders", "max_wal_senders", limits.wal_senders_at_least),
            ("MaxReplicationSlots", "max_replication_slots", limits.slots_at_least),
        ] {
            if self.number(name).is_none_or(|n| n < i64::from(least)) {
                found.push(self.finding(
                    code,
                    Block,
                    name,
                    format!("at least {least}"),
                    Some(&least.to_string()),
                ));
            }
        }
        match self.number("max_slot_wal_keep_size") {
            Some(megabytes) if megabytes > 0 => {}
            Some(0) => {
                let expected = "more than 0: a standby that is away for a moment could not come back";
                found.push(self.finding(
                    "MaxSlotWalKeepSize",
                    Warn,
                    "max_slot_wal_keep_size",
                    expected,
                    None,
                ));
            }
            _ => {
                let expected =
                    "a bound below the free disk space: a lost standby must not fill the primary's disk";
                found.push(self.finding(
                    "MaxSlotWalKeepSize",
                    Warn,
                    "max_slot_wal_keep_size",
                    expected,
                    None,
                ));
            }
        }
        if limits.replicas_change_primary && self.number("wal_keep_size").is_none_or(|n| n <= 0) {
            let expected = "as much log as a replica may be behind: a promoted server has held no slot for the replicas of the other sites, and one that lacks log must be copied anew";
            found.push(self.finding("WalKeepSize", Warn, "wal_keep_size", expected, Some("1GB")));
        }
    }

    /// How soon a dead link is seen, and how soon it is used again.
    fn check_link(&self, limits: &Thresholds, found: &mut Vec<Finding>) {
        use Severity::{Block, Warn};
        let most = limits.dead_link_within;
        let value = format!("{}ms", most.as_millis());
        for (code, name) in
            [("WalReceiverTimeout", "wal_receiver_timeout"), ("WalSenderTimeout", "wal_sender_timeout")]
        {
            if self.time(name).is_none_or(|t| t.is_zero() || t > most) {
                let expected = format!("more than 0 and at most {}, to see a dead link in time", human(most));
                found.push(self.finding(code, Block, name, expected, Some(&value)));
            }
        }
        // Counted in whole seconds by PostgreSQL; the smallest value that reports at all is one second.
        let most = most.max(Duration::from_secs(1));
        if self.time("wal_receiver_status_interval").is_none_or(|t| t.is_zero() || t > most) {
            let (name, expected) =
                ("wal_receiver_status_interval", format!("more than 0 and at most {}", human(most)));
            found.push(self.finding("WalReceiverStatusInterval", Warn, name, expected, Some("1s")));
        }
        let most = limits.retry_at_most;
        if self.time("wal_retrieve_retry_interval").is_none_or(|t| t > most) {
            let (name, value) = ("wal_retrieve_retry_interval", format!("{}ms", most.as_millis()));
            let expected =
                format!("at most {}: a standby waits this long before it connects again", human(most));
            found.push(self.finding("WalRetrieveRetryInterval", Warn, name, expected, Some(&value)));
        }
    }

    /// What a standby needs to be promoted quickly and to the end.
    fn check_standby(&self, role: ExpectedRole, found: &mut Vec<Finding>) {
        use Severity::{Block, Warn};
        if !self.is("hot_standby", "on") {
            let expected = "on: a standby that takes no sessions tells nobody how far it is";
            found.push(self.finding("HotStandby", Block, "hot_standby", expected, Some("on")));
        }
        if self.time("recovery_min_apply_delay").is_none_or(|t| !t.is_zero()) {
            let (name, expected) = ("recovery_min_apply_delay", "0: a promotion would wait for it");
            found.push(self.finding("RecoveryMinApplyDelay", Block, name, expected, Some("0")));
        }
        if !self.is("recovery_target_timeline", "latest") {
            let expected = "latest: otherwise a standby does not follow a promotion";
            found.push(self.finding(
                "RecoveryTargetTimeline",
                Block,
                "recovery_target_timeline",
                expected,
                Some("latest"),
            ));
        }
        if self.number("max_standby_streaming_delay") == Some(-1) {
            let expected = "a bound: a query on the standby could stop it from applying for ever";
            found.push(self.finding(
                "MaxStandbyStreamingDelay",
                Warn,
                "max_standby_streaming_delay",
                expected,
                Some("30s"),
            ));
        }
        if role == ExpectedRole::Standby && self.text("primary_slot_name").is_empty() {
            let expected =
                "a slot's name: without one, the primary may remove log that this standby still needs";
            found.push(self.finding("PrimarySlotName", Warn, "primary_slot_name", expected, None));
        }
    }

    /// Whether an acknowledged commit is on disk.
    fn check_durability(&self, found: &mut Vec<Finding>) {
        use Severity::{Block, Info, Warn};
        if !self.is("fsync", "on") {
            let expected = "on: a crash can lose or spoil everything";
            found.push(self.finding("Fsync", Block, "fsync", expected, Some("on")));
        }
        if !self.is("full_page_writes", "on") {
            let expected = "on: pg_rewind needs it, and a crash can spoil pages";
            found.push(self.finding("FullPageWrites", Block, "full_page_writes", expected, Some("on")));
        }
        if self.is("synchronous_commit", "off") {
            let expected = "on: commits are acknowledged before they are on disk";
            found.push(self.finding("SynchronousCommit", Warn, "synchronous_commit", expected, Some("on")));
        }
        if !self.text("synchronous_standby_names").is_empty() {
            let expected =
                "a choice: commits wait for these standbys, also after a failover to a site without them";
            found.push(self.finding(
                "SynchronousStandbyNames",
                Info,
                "synchronous_standby_names",
                expected,
                None,
            ));
        }
    }

    /// What surrounds the server.
    fn check_surroundings(&self, found: &mut Vec<Finding>) {
        use Severity::{Block, Info, Warn};
        if !self.is("archive_mode", "off") {
            let expected =
                "an archive of its own for each site, or one that takes no file twice under one name";
            found.push(self.finding("ArchiveMode", Info, "archive_mode", expected, None));
        }
        let listen = self.text("listen_addresses");
        let local = |a: &str| matches!(a.trim(), "localhost" | "127.0.0.1" | "::1" | "");
        if listen.split(',').all(local) {
            let expected = "an address that the other sites reach: replication comes from there";
            found.push(self.finding("ListenAddresses", Warn, "listen_addresses", expected, Some("*")));
        }
        if self.is("default_transaction_read_only", "on") {
            let (name, expected) = ("default_transaction_read_only", "off: ordinary sessions cannot write");
            found.push(self.finding("DefaultReadOnly", Block, name, expected, Some("off")));
        }
    }
}
