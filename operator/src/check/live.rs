//! What is wrong in a cluster: the installation first, then each policy with everything that it names there.

use std::fmt::Write as _;
use std::time::Duration;

use bascule_core::name::{Namespace, SiteName};
use bascule_core::time::human;
use bascule_crds::conditions::{ACCEPTED, ARBITER_AGREES, CHANNELS_KNOWN, READY};
use bascule_crds::{FailoverPolicy, FailoverPolicyStatus, Move, PolicySource, definitions};
use bascule_engine::intake::{moves, policy};
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};

use super::codes::{
    API_SERVER, ARBITER_UNHEARD, BLOCKED, CHANNEL_UNKNOWN, CLOCK, DEFINITIONS_DIFFER, DEFINITIONS_MISSING,
    OPERATOR_SILENT, POLICY_INVALID, POLICY_NOT_ACCEPTED, SITE_UNKNOWN, SOURCE_FAILING, SOURCE_SUSPENDED,
    SPECS_DIFFER,
};
use super::files::counted;
use super::policies::{self, Labelled};
use super::report::Report;
use super::rights::{self, Account};
use super::{Installation, names, references};
use crate::version::is_ours;
use crate::why::ask::{self, Cluster};
use crate::why::beats::Beats;
use crate::why::explain::{Seen, explain, words};
use crate::why::judgement::ARBITER_UNREACHABLE;
use crate::why::trouble::{self, EVERYWHERE, Trouble};

/// How far two clocks may be apart before it is said.
pub const CLOCKS_AGREE: Duration = Duration::from_secs(5);

/// What is looked at.
pub struct Asked {
    /// The cluster.
    pub cluster: Cluster,
    /// In which namespace; `None`: all.
    pub namespace: Option<Namespace>,
    /// Which site's it is; `None`: as its operator says.
    pub site: Option<SiteName>,
    /// The operator's service account.
    pub operator: Option<Account>,
    /// What holds for the whole installation.
    pub installation: Installation,
}

impl Asked {
    /// One question within the deadline; `what` is the resource, and where.
    pub async fn ask<T>(
        &self,
        verb: &'static str,
        what: String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Trouble> {
        let asked = trouble::Asked { place: self.cluster.place().clone(), verb, what };
        let deadline = self.cluster.kube().deadline();
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(asked.failed(&error)),
            Err(_) => Err(asked.silence(deadline)),
        }
    }

    async fn objects<K>(&self, resource: &str) -> Result<Vec<DynamicObject>, Trouble>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let kind = ApiResource::erase::<K>(&());
        let client = self.cluster.kube().client();
        let (api, place): (Api<DynamicObject>, _) = match &self.namespace {
            Some(ns) => (Api::namespaced_with(client, ns.as_str(), &kind), format!("in namespace {ns}")),
            None => (Api::all_with(client, &kind), EVERYWHERE.to_owned()),
        };
        let everything = ListParams::default();
        let list = self.ask("list", format!("{resource} {place}"), api.list(&everything)).await?;
        Ok(list.items)
    }
}

/// Looks at everything. An error means that nothing could be looked at.
pub async fn check(asked: &Asked, now: Timestamp) -> anyhow::Result<Report> {
    let mut report = Report::new(asked.cluster.place().to_string());
    let found = match asked.objects::<FailoverPolicy>("failoverpolicies.bascule.dev").await {
        Ok(found) => found,
        Err(Trouble::NotInstalled { .. }) => {
            let expected = "the kinds FailoverPolicy, Move and PolicySource of bascule.dev/v1alpha1";
            report.find(DEFINITIONS_MISSING, "CustomResourceDefinition", "", "none".to_owned(), expected);
            return Ok(report);
        }
        Err(trouble) => return Err(trouble.into()),
    };
    asked.installation.check(&mut report);
    health(asked, &mut report).await;
    clock(asked, &mut report).await;
    kinds(asked, &mut report).await;
    rights::of_the_person(asked, &mut report).await;
    sources(asked, &mut report).await;
    let (mut all, mut beats) = (Vec::new(), Beats::default());
    for object in found {
        let mut seen = ask::seen(object.clone());
        beats.add(asked.cluster.kube(), &mut seen).await;
        let Some((labelled, site)) = one(asked, object, &seen, now, &mut report) else { continue };
        if let Some(site) = &site {
            references::check(asked, &labelled.policy, site, &mut report).await;
        }
        names::check(asked, &labelled.policy, &mut report).await;
        if let Some(account) = &asked.operator {
            rights::of_the_operator(asked, account, &labelled.policy, &mut report).await;
        }
        all.push(labelled);
    }
    policies::check(&all, &asked.installation.profile.timing(), &mut report);
    commands(asked, &all, now, &mut report).await;
    Ok(report)
}

/// How an API server is named in a finding.
const OBJECT: &str = "API server";

/// Whether the API server is well.
pub async fn health(asked: &Asked, report: &mut Report) {
    match bascule_adapters::kube::cluster::health(asked.cluster.kube()).await {
        Ok(healthy) => report.looked(format!("the API server {}, ready", healthy.version)),
        Err(why) => report.find(API_SERVER, OBJECT, "/readyz", why.to_string(), "ready"),
    }
}

/// What an API server's clock said, and between which two times here.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it said, in whole seconds.
    pub there: Timestamp,
    /// When it was asked.
    pub before: Timestamp,
    /// When its answer was here.
    pub after: Timestamp,
}

/// Whether the API server's clock agrees with the one here; what it said.
pub async fn clock(asked: &Asked, report: &mut Report) -> Option<Clock> {
    let client = asked.cluster.kube().client();
    let request = match http::Request::get("/version").body(kube::client::Body::empty()) {
        Ok(request) => request,
        Err(why) => {
            report.unseen(OBJECT, "Date", why.to_string());
            return None;
        }
    };
    let before = Timestamp::now();
    let answer = asked.ask("get", "/version".to_owned(), client.send(request)).await;
    let after = Timestamp::now();
    let date = match answer {
        Ok(answer) => {
            answer.headers().get(http::header::DATE).and_then(|d| d.to_str().ok().map(ToOwned::to_owned))
        }
        Err(why) => {
            report.unseen(OBJECT, "Date", why.to_string());
            return None;
        }
    };
    let Some(there) = date.as_deref().and_then(http_date) else {
        report.unseen(OBJECT, "Date", "it does not say what time it is".to_owned());
        return None;
    };
    // It says whole seconds, and was read some time between the question and the answer.
    let apart = apart(there, before, after);
    if apart > CLOCKS_AGREE {
        let found = format!("its clock and the one here are {} apart", words(apart));
        report.find(CLOCK, OBJECT, "Date", found, &format!("at most {}", human(CLOCKS_AGREE)));
    }
    report.looked("the API server's clock".to_owned());
    Some(Clock { there, before, after })
}

/// How far `there` lies outside of the time in which it was read.
fn apart(there: Timestamp, before: Timestamp, after: Timestamp) -> Duration {
    let early = Duration::try_from(before.duration_since(there)).unwrap_or_default();
    let late = Duration::try_from(there.duration_since(after)).unwrap_or_default();
    early.max(late)
}

/// A date as HTTP writes it.
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Whether the kinds are those of this program.
async fn kinds(asked: &Asked, report: &mut Report) {
    let Ok(own) = definitions() else { return };
    let api = Api::<CustomResourceDefinition>::all(asked.cluster.kube().client());
    let mut seen = 0;
    for definition in own {
        let name = definition.json["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let object = format!("CustomResourceDefinition {name}");
        let what = format!("customresourcedefinitions {name}");
        match asked.ask("get", what, api.get_opt(&name)).await {
            Err(why) => report.unseen(&object, "", why.to_string()),
            Ok(None) => {
                report.find(
                    DEFINITIONS_MISSING,
                    &object,
                    "",
                    "none".to_owned(),
                    "the definition of this version",
                );
            }
            Ok(Some(found)) => {
                seen += 1;
                if !is_ours(&found, definition.schema()) {
                    let expected = format!("the schema of {}", env!("CARGO_PKG_VERSION"));
                    report.find(
                        DEFINITIONS_DIFFER,
                        &object,
                        "spec.versions",
                        "another schema".to_owned(),
                        &expected,
                    );
                }
            }
        }
    }
    report.looked(counted(seen, "definition", "definitions"));
}

/// Whether the repositories are followed.
async fn sources(asked: &Asked, report: &mut Report) {
    let found = match asked.objects::<PolicySource>("policysources.bascule.dev").await {
        Ok(found) => found,
        Err(why) => return report.unseen("PolicySource", "", why.to_string()),
    };
    let n = found.len();
    for object in found {
        let named = format!("PolicySource {}", full_name(&object));
        let value = match serde_json::to_value(&object).and_then(serde_json::from_value::<PolicySource>) {
            Ok(value) => value,
            Err(why) => {
                report.unseen(&named, "", format!("it has another shape: {why}"));
                continue;
            }
        };
        if value.spec.suspend {
            report.find(SOURCE_SUSPENDED, &named, "spec.suspend", "true".to_owned(), "false, to follow it");
            continue;
        }
        let status = value.status.unwrap_or_default();
        match status.conditions.iter().find(|c| c.type_ == READY) {
            Some(ready) if ready.status == "True" => {}
            Some(ready) => {
                let mut found = format!("Ready={} ({}): {}", ready.status, ready.reason, ready.message);
                for e in status.errors.iter().take(5) {
                    let line = e.line.map(|l| format!(":{l}")).unwrap_or_default();
                    // A String takes every letter.
                    let _ = write!(found, "\n{}{line}: {}", e.file, e.reason);
                }
                report.find(SOURCE_FAILING, &named, "status.conditions", found, "Ready=True");
            }
            None => {
                let found = "no operator has said anything about it".to_owned();
                report.find(SOURCE_FAILING, &named, "status.conditions", found, "Ready=True");
            }
        }
    }
    report.looked(counted(n, "source", "sources"));
}

fn full_name(object: &DynamicObject) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&object.metadata.namespace), part(&object.metadata.name))
}

/// A policy by itself and by its status; the site whose cluster this is, if anybody says.
fn one(
    asked: &Asked,
    object: DynamicObject,
    seen: &Seen,
    now: Timestamp,
    report: &mut Report,
) -> Option<(Labelled, Option<SiteName>)> {
    let named = format!("FailoverPolicy {}", full_name(&object));
    let e = explain(seen, now);
    let status = seen.status.clone().ok().flatten().unwrap_or_default();
    judged(&named, &status, &e, report);
    operators_clock(&named, seen, report);
    channels(&named, &status, report);
    let site = asked.site.clone().or_else(|| SiteName::try_from(status.site.as_deref()?).ok());
    if site.is_none() {
        let found = "no operator says which site this is".to_owned();
        report.find(
            SITE_UNKNOWN,
            &named,
            "status.site",
            found,
            "a site of spec.sites: what the policy names is not looked at",
        );
    }
    let object: Result<FailoverPolicy, _> = serde_json::to_value(object).and_then(serde_json::from_value);
    let object = match object {
        Ok(object) => object,
        Err(why) => {
            report.find(POLICY_INVALID, &named, "spec", why.to_string(), "the shape that this program knows");
            return None;
        }
    };
    match policy::convert(&object, None) {
        Ok(policy) => {
            report.looked(format!("{named}: what it says, and what its operator says of it"));
            Some((Labelled { policy, labels: object.metadata.labels.unwrap_or_default() }, site))
        }
        Err(invalid) => {
            for finding in invalid.findings {
                report.find(
                    POLICY_INVALID,
                    &named,
                    &finding.field,
                    finding.reason,
                    "what the operator takes",
                );
            }
            None
        }
    }
}

/// What its operator says.
fn judged(
    named: &str,
    status: &FailoverPolicyStatus,
    e: &crate::why::explain::Explanation,
    report: &mut Report,
) {
    let Some(first) = &e.first_blocker else {
        return specs(named, status, report);
    };
    let is = |kind: &str, reason: &str| {
        status
            .conditions
            .iter()
            .any(|c| c.type_ == kind && (c.reason == reason || (reason.is_empty() && c.status == "False")))
    };
    let code = match first.code.as_str() {
        code if code.starts_with("status/") => OPERATOR_SILENT,
        "condition/Accepted" if is(ACCEPTED, "") => POLICY_NOT_ACCEPTED,
        "condition/Ready" if is(READY, ARBITER_UNREACHABLE) => ARBITER_UNHEARD,
        "arbiter" => ARBITER_UNHEARD,
        _ if is(ARBITER_AGREES, "") => ARBITER_UNHEARD,
        _ => BLOCKED,
    };
    let found = format!("{}: {}", first.code, first.found);
    report.find(code, named, "status", found, &first.needed);
    specs(named, status, report);
}

/// Whether the operator knows how to tell people.
fn channels(named: &str, status: &FailoverPolicyStatus, report: &mut Report) {
    let unknown = status.conditions.iter().find(|c| c.type_ == CHANNELS_KNOWN && c.status == "False");
    if let Some(c) = unknown {
        let expected = "channels that this site has, for this namespace";
        report.find(CHANNEL_UNKNOWN, named, "spec.notifications", c.message.clone(), expected);
    }
}

fn specs(named: &str, status: &FailoverPolicyStatus, report: &mut Report) {
    let own = status.spec_hash.as_ref();
    for site in &status.sites {
        if let (Some(own), Some(theirs)) = (own, &site.spec_hash)
            && own != theirs
        {
            let here = status.site.as_deref().unwrap_or("here");
            let found = format!("{} acts by another spec than {here}", site.name);
            report.find(SPECS_DIFFER, named, "status.sites[].specHash", found, "the same spec at every site");
        }
    }
}

/// Whether the operator's clock agrees with the one here.
fn operators_clock(named: &str, seen: &Seen, report: &mut Report) {
    let ahead = seen.last_word().map(|at| at.duration_since(Timestamp::now()));
    if let Some(ahead) = ahead.and_then(|d| Duration::try_from(d).ok()).filter(|d| *d > CLOCKS_AGREE) {
        let found = format!("the operator's clock is {} ahead of the one here", words(ahead));
        report.find(CLOCK, named, "status.writtenAt", found, &format!("at most {}", human(CLOCKS_AGREE)));
    }
}

/// Moves that are there and have not ended.
async fn commands(asked: &Asked, all: &[Labelled], now: Timestamp, report: &mut Report) {
    let found = match asked.objects::<Move>("moves.bascule.dev").await {
        Ok(found) => found,
        Err(why) => return report.unseen("Move", "", why.to_string()),
    };
    let open: Vec<_> = found
        .into_iter()
        .filter_map(|object| {
            let named = format!("Move {}", full_name(&object));
            let mv: Move = serde_json::to_value(object).and_then(serde_json::from_value).ok()?;
            let over = mv.status.as_ref().and_then(|s| s.state).is_some_and(|state| {
                !matches!(state, bascule_crds::MoveState::Pending | bascule_crds::MoveState::Requested)
            });
            let command = moves::convert(&mv).ok().filter(|_| !over)?;
            Some((named, command))
        })
        .collect();
    policies::moves(&open, all, true, now, report);
    report.looked(format!("{} not over yet", counted(open.len(), "Move that is", "Moves that are")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_when_it_was_read() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let (before, after) = (at("2026-11-28T03:00:00.2Z"), at("2026-11-28T03:00:04Z"));
        assert_eq!(apart(at("2026-11-28T03:00:03Z"), before, after), Duration::ZERO);
        assert_eq!(apart(at("2026-11-28T02:59:50.2Z"), before, after), Duration::from_secs(10));
        assert_eq!(apart(at("2026-11-28T03:01:04Z"), before, after), Duration::from_mins(1));
        assert_eq!(http_date("Sat, 28 Nov 2026 03:00:04 GMT"), Some(after));
        assert_eq!(http_date("yesterday"), None);
    }
}
