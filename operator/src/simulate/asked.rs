//! What `bascule why` answers while a scenario is played: the status that each operator would have written, put together
//! and explained by the code that does so for a live cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use bascule_adapters::kube::heartbeat::{self, HEARTBEAT};
use bascule_core::heartbeat::Heartbeat;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::time::human;
use bascule_crds::{FailoverPolicy, FailoverPolicyStatus, HeartbeatReference};
use bascule_sim::scenario::{Asked, Onlooker};
use bascule_sim::world::operator::Publication;
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::telling::Progress;
use crate::why::explain::{Beat, Explanation, Seen, explain};
use crate::why::{ask, text};
use crate::wiring::policy_status::{self, Newest};

/// The namespace of a simulated operator.
const OPERATORS: &str = "bascule-system";

/// Whoever asks `bascule why` of a policy while a scenario is played.
pub struct Asking<'a> {
    policy: &'a PolicyKey,
    /// What each site's cluster has as the policy's status.
    statuses: BTreeMap<SiteName, FailoverPolicyStatus>,
    answers: Vec<Answer>,
    progress: Progress,
}

/// An answer, or why there is none.
struct Answer {
    at: Duration,
    site: SiteName,
    wall: Timestamp,
    said: Result<Said, String>,
}

/// What was read, and what it means.
struct Said {
    status: Value,
    heartbeat: Option<Heartbeat>,
    explanation: Explanation,
}

impl<'a> Asking<'a> {
    /// Nothing is asked yet.
    pub fn of(policy: &'a PolicyKey) -> Self {
        let progress = Progress::of(&policy.to_string());
        Self { policy, statuses: BTreeMap::new(), answers: Vec::new(), progress }
    }

    /// It was played to its end.
    pub fn ends(&self) {
        self.progress.ends();
    }

    /// For people: each answer as `bascule why` prints it.
    pub fn text(&self) -> String {
        let answers =
            self.answers.iter().flat_map(|a| ["\n".to_owned(), self.head(a), ":\n\n".to_owned(), a.text()]);
        answers.collect()
    }

    fn head(&self, a: &Answer) -> String {
        let wall = a.wall.strftime("%Y-%m-%d %H:%M:%S UTC");
        format!("bascule why {}, asked at {} at {} ({wall})", self.policy, a.site, human(a.at))
    }

    /// For programs.
    pub fn json(&self) -> anyhow::Result<Value> {
        self.answers.iter().map(|a| a.json().context("an answer as JSON")).collect()
    }
}

impl Answer {
    fn text(&self) -> String {
        match &self.said {
            Ok(said) => text::one(&said.explanation, self.wall),
            Err(why) => format!("No answer: {why}.\n"),
        }
    }

    fn json(&self) -> serde_json::Result<Value> {
        let said = self.said.as_ref();
        Ok(json!({
            "atMs": u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX),
            "site": self.site,
            "time": self.wall.to_string(),
            "noAnswer": said.err(),
            "answer": said.ok().map(|s| serde_json::to_value(&s.explanation)).transpose()?,
            "status": said.ok().map(|s| &s.status),
            "heartbeat": said.ok().and_then(|s| s.heartbeat.as_ref()).map(|beat| heartbeat::body(OPERATORS, beat)),
        }))
    }
}

impl Onlooker for Asking<'_> {
    fn is_at(&mut self, at: Duration) {
        self.progress.is_at(&format!("{} simulated", human(at)));
    }

    fn sees(&mut self, publication: &Publication) {
        if publication.policy != *self.policy {
            return;
        }
        let site = &publication.site;
        let Some(shown) = &publication.shown else {
            self.statuses.remove(site);
            return;
        };
        let before = self.statuses.remove(site).unwrap_or_default();
        // No object of a simulation is invalid: what intake refuses is not played.
        let newest = Newest { generation: before.observed_generation, invalid: None, unknown_channels: None };
        let heartbeat = HeartbeatReference {
            namespace: OPERATORS.to_owned(),
            name: HEARTBEAT.to_owned(),
            writer: publication.by.clone(),
        };
        let status = FailoverPolicyStatus {
            heartbeat: Some(heartbeat),
            ..policy_status::of(site, shown, &before, newest, publication.wall)
        };
        self.statuses.insert(site.clone(), status);
    }

    fn is_asked(&mut self, asked: Asked) {
        let Asked { at, site, wall, object, heartbeat } = asked;
        let heartbeat = heartbeat.map(as_kept);
        let said = object.and_then(|generation| {
            let status = self.statuses.get(&site).map(serde_json::to_value).transpose();
            let status = status.map_err(|why| format!("its status is no JSON: {why}"))?.unwrap_or_default();
            let mut object = DynamicObject::new(self.policy.name.as_str(), &kind())
                .within(self.policy.namespace.as_str())
                .data(json!({ "status": status }));
            object.metadata.generation = generation;
            let beat = heartbeat.clone().map_or_else(none, Beat::Heard);
            let seen = Seen { beat, ..ask::seen(object) };
            Ok(Said { explanation: explain(&seen, wall), status, heartbeat })
        });
        self.answers.push(Answer { at, site, wall, said });
    }
}

/// A heartbeat as the status of the same moment is kept: with whole seconds.
fn as_kept(beat: Heartbeat) -> Heartbeat {
    Heartbeat { at: Timestamp::from_second(beat.at.as_second()).unwrap_or(beat.at), ..beat }
}

/// Nobody has written one yet.
fn none() -> Beat {
    Beat::Unheard {
        why: format!("there is no Lease {OPERATORS}/{HEARTBEAT}"),
        needed: "the Lease, which an operator that lives renews".to_owned(),
    }
}

fn kind() -> kube::api::ApiResource {
    kube::api::ApiResource::erase::<FailoverPolicy>(&())
}
