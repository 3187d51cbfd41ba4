//! The entries of a policy: databases, workloads, traffic.

use std::{collections::BTreeSet, fmt::Display};

use bascule_core::{
    few::Few,
    name::{ItemName, ObjectName, SiteName},
    policy as core,
};
use bascule_crds::{self as api, Fence, TargetKind, text, text::bounds};

use super::{super::Findings, duration, join, site};

/// The conversions that need to know the sites.
pub(super) struct Convert<'a> {
    pub(super) sites: &'a [SiteName],
    pub(super) findings: &'a mut Findings,
}

impl Convert<'_> {
    /// A list keyed by name. What is wrong is noted, and left out.
    pub(super) fn items<T, U>(
        &mut self,
        at: &str,
        list: &[T],
        name: impl Fn(&T) -> &String,
        convert: impl Fn(&mut Self, &str, &T) -> Option<U>,
    ) -> Few<ItemName, U> {
        let mut items = Few::new();
        let mut named = Vec::new();
        for (i, entry) in list.iter().enumerate() {
            let at = format!("{at}[{i}]");
            let checked = self.findings.check(format!("{at}.name"), text::label::check(name(entry)));
            let key = checked.and_then(|()| {
                self.findings.check(format!("{at}.name"), ItemName::try_from(name(entry).as_str()))
            });
            let value = convert(self, &at, entry);
            let Some(key) = key else { continue };
            if named.contains(&key) {
                self.findings.add(
                    &at,
                    format!("Duplicate value: {key} stands earlier in the list: remove one of the two"),
                );
                continue;
            }
            named.push(key.clone());
            if let Some(value) = value {
                items.insert(key, value);
            }
        }
        items
    }

    /// A list keyed by site that must name every site exactly once.
    fn per_site<T, U>(
        &mut self,
        at: &str,
        words: &str,
        list: &[T],
        site_of: impl Fn(&T) -> &String,
        convert: impl Fn(&mut Self, &str, &T) -> Option<U>,
    ) -> Few<SiteName, U> {
        let mut entries = Few::new();
        let mut named = Vec::new();
        for (i, entry) in list.iter().enumerate() {
            let at = format!("{at}[{i}]");
            let site = self.findings.check(format!("{at}.site"), site(site_of(entry)));
            let value = convert(self, &at, entry);
            let Some(site) = site else { continue };
            if named.contains(&site) {
                self.findings.add(
                    &at,
                    format!("Duplicate value: {site} stands earlier in the list: remove one of the two"),
                );
                continue;
            }
            named.push(site.clone());
            if let Some(value) = value {
                entries.insert(site, value);
            }
        }
        if named.len() != self.sites.len() || !self.sites.iter().all(|site| named.contains(site)) {
            let found = if named.is_empty() { "none".to_owned() } else { join(&named) };
            let reason = format!(
                "{words}: expected exactly one entry for each site of spec.sites ({}), found {found}",
                join(self.sites)
            );
            self.findings.add(at, reason);
        }
        entries
    }

    fn object(&mut self, at: String, name: &str) -> Option<ObjectName> {
        self.findings.check(at.clone(), text::object_name::check(name))?;
        self.findings.check(at, ObjectName::try_from(name))
    }

    pub(super) fn database(&mut self, at: &str, database: &api::Database) -> Option<core::Database> {
        let api::Database {
            name: _,
            postgresql,
            cloud_native_pg,
            patroni,
            mariadb,
            redis,
            volume_replication,
        } = database;
        let reserved = [
            ("cloudNativePG", cloud_native_pg),
            ("patroni", patroni),
            ("mariadb", mariadb),
            ("redis", redis),
            ("volumeReplication", volume_replication),
        ];
        let mut members = usize::from(postgresql.is_some());
        for (member, _) in reserved.into_iter().filter(|(_, value)| value.is_some()) {
            members += 1;
            let reason = format!(
                "databases[].{member} is not supported by this version of Bascule yet; use postgresql"
            );
            self.findings.add(format!("{at}.{member}"), reason);
        }
        if members != 1 {
            self.findings.add(at, "databases[]: expected exactly one member beside name: postgresql");
        }
        let api::PostgreSql { fence, instances } = postgresql.as_ref()?;
        let at = format!("{at}.postgresql");
        let fence_class = match fence {
            Fence::Guard => Some(core::FenceClass::Guard),
            Fence::Gate | Fence::External | Fence::Advisory => {
                let reason = format!(
                    "databases[].postgresql.fence: {fence:?} is not supported by this version of Bascule yet for postgresql; use Guard"
                );
                self.findings.add(format!("{at}.fence"), reason);
                None
            }
        };
        let instances = self.per_site(
            &format!("{at}.instances"),
            "databases[].postgresql.instances",
            instances,
            |instance| &instance.site,
            Self::instance,
        );
        Some(core::Database { fence: fence_class?, instances })
    }

    fn instance(&mut self, at: &str, instance: &api::PostgreSqlInstance) -> Option<core::Instance> {
        let api::PostgreSqlInstance {
            site: _,
            stateful_set,
            host,
            port,
            database,
            replication_host,
            replication_port,
            secret_ref,
            replication_secret_ref,
        } = instance;
        let stateful_set = self.object(format!("{at}.statefulSet"), stateful_set);
        let secret = self.object(format!("{at}.secretRef.name"), &secret_ref.name);
        let replication_secret =
            self.object(format!("{at}.replicationSecretRef.name"), &replication_secret_ref.name);
        let reachable = self.findings.check(format!("{at}.host"), text::host::check(host));
        let replicable =
            self.findings.check(format!("{at}.replicationHost"), text::host::check(replication_host));
        for (field, port) in [("port", port), ("replicationPort", replication_port)] {
            if *port == 0 {
                self.findings.add(format!("{at}.{field}"), "found 0, expected a TCP port from 1 to 65535");
            }
        }
        if database.is_empty() {
            self.findings.add(
                format!("{at}.database"),
                "found nothing, expected the name of a database such as postgres",
            );
        }
        reachable.and(replicable)?;
        Some(core::Instance {
            stateful_set: stateful_set?,
            host: host.clone(),
            port: *port,
            database: database.clone(),
            secret: secret?,
            replication_host: replication_host.clone(),
            replication_port: *replication_port,
            replication_secret: replication_secret?,
        })
    }

    pub(super) fn workload(&mut self, at: &str, workload: &api::Workload) -> Option<core::Workload> {
        let api::Workload { name: _, target_ref, replicas, read_only } = workload;
        let api::TargetRef { api_version, kind, name } = target_ref;
        if replicas.is_none() && read_only.is_none() {
            self.findings
                .add(at, "workloads[]: nothing to do for this workload: expected replicas, readOnly or both");
        }
        if api_version != "apps/v1" {
            let reason = format!("workloads[].targetRef.apiVersion: found '{api_version}', expected apps/v1");
            self.findings.add(format!("{at}.targetRef.apiVersion"), reason);
        }
        let name = self.object(format!("{at}.targetRef.name"), name);
        let replicas = match replicas {
            None => core::Replicas::default(),
            Some(api::ReplicaCounts { active, read_only, standby }) => {
                if active.is_none() && read_only.is_none() && standby.is_none() {
                    self.findings.add(
                        format!("{at}.replicas"),
                        "workloads[].replicas: expected at least one of active, readOnly, standby",
                    );
                }
                core::Replicas { active: *active, standby: *standby, read_only: *read_only }
            }
        };
        let flag = match read_only {
            None => None,
            // A flag that is wrong leaves no workload: half of one would act.
            Some(read_only) => Some(self.read_only(&format!("{at}.readOnly"), read_only)?),
        };
        let kind = match kind {
            TargetKind::Deployment => core::WorkloadKind::Deployment,
            TargetKind::StatefulSet => core::WorkloadKind::StatefulSet,
        };
        Some(core::Workload { kind, name: name?, replicas, read_only: flag })
    }

    fn read_only(&mut self, at: &str, read_only: &api::ReadOnly) -> Option<core::ReadOnlyFlag> {
        let api::ReadOnly { config_map_key, secret_key, environment, verify } = read_only;
        if environment.is_some() {
            self.findings.add(
                format!("{at}.environment"),
                "workloads[].readOnly.environment is not supported by this version of Bascule yet; use configMapKey or secretKey",
            );
        }
        let verify = match verify {
            None => None,
            Some(api::Verify { http_get }) => {
                if http_get.is_none() {
                    self.findings
                        .add(format!("{at}.verify"), "workloads[].readOnly.verify: expected httpGet");
                }
                http_get.as_ref()
            }
        };
        let verify = verify.and_then(|api::HttpGet { port, path, expect_body }| {
            if *port == Some(0) {
                self.findings
                    .add(format!("{at}.verify.httpGet.port"), "found 0, expected a TCP port from 1 to 65535");
            }
            let expect_body = expect_body.trim().to_owned();
            if expect_body.is_empty() {
                self.findings.add(
                    format!("{at}.verify.httpGet.expectBody"),
                    "expectBody: found nothing, expected the body that means read-only",
                );
            }
            self.findings.check(format!("{at}.verify.httpGet.path"), text::url_path::check(path))?;
            Some(core::VerifyProbe { path: path.clone(), port: *port, expect_body })
        });
        let (store, member, name, key, read_only_value, read_write_value) = match (config_map_key, secret_key)
        {
            (Some(flag), None) if environment.is_none() => {
                let api::ConfigMapKey { name, key, read_only_value, read_write_value } = flag;
                (core::FlagStore::ConfigMap, "configMapKey", name, key, read_only_value, read_write_value)
            }
            (None, Some(flag)) if environment.is_none() => {
                let api::SecretKey { name, key, read_only_value, read_write_value } = flag;
                (core::FlagStore::Secret, "secretKey", name, key, read_only_value, read_write_value)
            }
            (None, None) if environment.is_some() => return None,
            _ => {
                self.findings
                    .add(at, "workloads[].readOnly: expected exactly one of configMapKey, secretKey");
                return None;
            }
        };
        let at = format!("{at}.{member}");
        if read_only_value == read_write_value {
            let reason = format!(
                "workloads[].readOnly.{member}: readOnlyValue and readWriteValue are the same; the flag would say nothing"
            );
            self.findings.add(&at, reason);
        }
        self.findings.check(format!("{at}.key"), text::data_key::check(key));
        Some(core::ReadOnlyFlag {
            store,
            name: self.object(format!("{at}.name"), name)?,
            key: key.clone(),
            read_only_value: read_only_value.clone(),
            read_write_value: read_write_value.clone(),
            verify,
        })
    }

    pub(super) fn traffic(&mut self, at: &str, traffic: &api::Traffic) -> Option<core::Traffic> {
        let api::Traffic { name: _, dns, http_route } = traffic;
        match (dns, http_route) {
            (Some(dns), None) => self.dns(&format!("{at}.dns"), dns).map(core::Traffic::Dns),
            (None, Some(route)) => {
                self.http_route(&format!("{at}.httpRoute"), route).map(core::Traffic::HttpRoute)
            }
            (None, None) | (Some(_), Some(_)) => {
                self.findings.add(at, "traffic[]: expected exactly one member beside name: dns or httpRoute");
                None
            }
        }
    }

    fn http_route(&mut self, at: &str, route: &api::HttpRoute) -> Option<core::HttpRoute> {
        let api::HttpRoute { name, rules, backends, refuse_writes } = route;
        let refuse_writes =
            refuse_writes.as_ref().map(|refuse| self.refuse_writes(&format!("{at}.refuseWrites"), refuse));
        let name = self.object(format!("{at}.name"), name);
        let named = |rule: &str| text::object_name::check(rule).map(|()| rule.to_owned());
        let rules = match rules {
            None => Vec::new(),
            Some(rules) => {
                let checked = self.set(&format!("{at}.rules"), rules, named);
                if rules.is_empty() {
                    self.findings.add(
                        format!("{at}.rules"),
                        "found none, expected the name of at least one rule; leave rules out to mean every rule that has one of the backends",
                    );
                }
                checked
            }
        };
        let at = format!("{at}.backends");
        let backends = self.per_site(
            &at,
            "traffic[].httpRoute.backends",
            backends,
            |entry| &entry.site,
            |this, at, api::Backend { site: _, service, port }| {
                let service = this.object(format!("{at}.service"), service);
                if *port == 0 {
                    this.findings
                        .add(format!("{at}.port"), "found 0, expected a port of the Service from 1 to 65535");
                }
                Some(core::Backend { service: service?, port: *port })
            },
        );
        let distinct: BTreeSet<&core::Backend> = backends.values().collect();
        if distinct.len() != backends.len() {
            self.findings.add(
                &at,
                "traffic[].httpRoute.backends: two sites have the same service and port; moving between them would change nothing for users",
            );
        }
        let refuse_writes = match refuse_writes {
            None => None,
            Some(refuse) => Some(refuse?),
        };
        Some(core::HttpRoute { name: name?, rules: rules.into_iter().collect(), backends, refuse_writes })
    }

    fn refuse_writes(&mut self, at: &str, refuse: &api::RefuseWrites) -> Option<core::RefuseWrites> {
        let api::RefuseWrites { retry_after, except_rules } = refuse;
        let field = format!("{at}.retryAfter");
        let wait = duration(&field, retry_after, bounds::RETRY_AFTER, self.findings);
        if wait.is_some_and(|wait| wait.subsec_nanos() != 0) {
            let reason = format!("found '{retry_after}', expected whole seconds: HTTP knows no less");
            self.findings.add(field, reason);
        }
        let except_rules = match except_rules {
            None => Vec::new(),
            Some(names) => {
                let field = format!("{at}.exceptRules");
                let checked =
                    self.set(&field, names, |name| text::object_name::check(name).map(|()| name.to_owned()));
                if names.is_empty() {
                    let reason = "found none, expected the name of at least one rule; leave exceptRules out to except none";
                    self.findings.add(field, reason);
                }
                checked
            }
        };
        Some(core::RefuseWrites { retry_after: wait?, except_rules: except_rules.into_iter().collect() })
    }

    fn dns(&mut self, at: &str, dns: &api::Dns) -> Option<core::Dns> {
        let api::Dns { name, zone, ttl, update_servers, verify_servers, tsig_secret_ref, addresses } = dns;
        let names = self
            .findings
            .check(format!("{at}.name"), text::fqdn::check(name))
            .and(self.findings.check(format!("{at}.zone"), text::fqdn::check(zone)));
        if names.is_some() && name != zone && !name.ends_with(&format!(".{zone}")) {
            let reason = format!("traffic[].dns.name: found '{name}', expected a name in the zone '{zone}'");
            self.findings.add(format!("{at}.name"), reason);
        }
        let seconds = duration(&format!("{at}.ttl"), ttl, bounds::TTL, self.findings);
        if seconds.is_some_and(|ttl| ttl.subsec_nanos() != 0) {
            self.findings.add(
                format!("{at}.ttl"),
                format!("found '{ttl}', expected whole seconds: DNS knows no less"),
            );
        }
        let update_servers = self.set(&format!("{at}.updateServers"), update_servers, text::socket::parse);
        if update_servers.is_empty() {
            self.findings.add(
                format!("{at}.updateServers"),
                "found none, expected at least one server such as 192.0.2.53:53",
            );
        }
        let verify_servers = verify_servers.as_deref().unwrap_or_default();
        let verify_servers = self.set(&format!("{at}.verifyServers"), verify_servers, text::socket::parse);
        let tsig_secret = self.object(format!("{at}.tsigSecretRef.name"), &tsig_secret_ref.name);
        let addresses = self.per_site(
            &format!("{at}.addresses"),
            "traffic[].dns.addresses",
            addresses,
            |entry| &entry.site,
            |this, at, api::Addresses { site: _, values }| {
                let at = format!("{at}.values");
                let values = this.set(&at, values, text::ip::parse);
                if values.is_empty() {
                    this.findings.add(
                        at,
                        "found none, expected at least one IP address: traffic is never pointed at nothing",
                    );
                    return None;
                }
                Some(values)
            },
        );
        Some(core::Dns {
            name: name.clone(),
            zone: zone.clone(),
            ttl: seconds?,
            update_servers,
            verify_servers,
            tsig_secret: tsig_secret?,
            addresses,
        })
    }

    /// A list of texts, each of which names something else.
    fn set<T: PartialEq, E: Display>(
        &mut self,
        at: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let at = format!("{at}[{i}]");
            let Some(value) = self.findings.check(&at, parse(text)) else { continue };
            if values.contains(&value) {
                self.findings.add(
                    at,
                    format!("Duplicate value: \"{text}\" stands earlier in the list: remove one of the two"),
                );
            } else {
                values.push(value);
            }
        }
        values
    }
}
