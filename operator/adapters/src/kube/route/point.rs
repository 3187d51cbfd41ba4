//! All weights and the mark, changed together.

use std::time::Duration;

use bascule_core::name::SiteName;
use bascule_core::outcome::Outcome;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::seen::{Marked, Misfit, Route, Weighed, mark_text};
use super::{ALL, MARK, ROUTE_MANAGER, RouteTraffic};
use crate::kube::client::Kube;
use crate::kube::failure::{Failure, outcome};
use crate::mark::Mark;

/// A change that was made of a route as it was read, and that holds for it alone.
#[derive(Debug)]
pub struct Begun(Value);

/// What is to be done about a route that was read.
enum Change {
    /// It says all of it already.
    Stands,
    /// It may be written.
    Write(Value),
    /// It may not, for this reason.
    No(String),
}

impl RouteTraffic {
    /// Gives all weight to the backend of `site`, once. Done means that the API server has stored it; whether the
    /// gateways serve it is for [`RouteTraffic::look`] to say. Each of the two calls that it makes has half of
    /// `deadline`.
    pub async fn point(&self, site: &SiteName, epoch: u64, serial: u64, deadline: Duration) -> Outcome {
        match self.begin(site, epoch, serial, deadline / 2).await {
            Ok(begun) => self.finish(begun, deadline / 2).await,
            Err(ended) => ended,
        }
    }

    /// The first half of [`RouteTraffic::point`]: reads the route and makes the change of it; or how it ended already,
    /// because the route says so or because it may not be changed.
    pub async fn begin(
        &self,
        site: &SiteName,
        epoch: u64,
        serial: u64,
        deadline: Duration,
    ) -> Result<Begun, Outcome> {
        // Nothing was written yet, whatever became of the question.
        let route = self
            .read(&self.kube.within(deadline))
            .await
            .map_err(|failure| Outcome::refused(failure.to_string()))?;
        let mark = Mark { epoch, serial, site: site.clone() };
        match self.change(&route, &mark) {
            Change::Stands => Err(Outcome::Done),
            Change::No(why) => Err(Outcome::refused(format!("{}: {why}", self.subject()))),
            Change::Write(patch) => Ok(Begun(patch)),
        }
    }

    /// The second half: it is refused when anybody has changed the route since.
    pub async fn finish(&self, begun: Begun, deadline: Duration) -> Outcome {
        outcome(self.patch(&self.kube.within(deadline), begun.0, false).await)
    }

    /// Tries to give all weight to the backend of `site`, without doing it. The mark is not looked at: what is asked is
    /// whether the API server would take such a change.
    pub(super) async fn rehearse(
        &self,
        kube: &Kube,
        route: &Route,
        weighed: &[Weighed],
        site: &SiteName,
    ) -> Result<(), Failure> {
        let mark = Mark { epoch: 0, serial: 0, site: site.clone() };
        self.patch(kube, self.operations(route, weighed, &mark), true).await
    }

    pub(super) async fn patch(&self, kube: &Kube, operations: Value, rehearse: bool) -> Result<(), Failure> {
        let subject = self.subject();
        let operations = serde_json::from_value(operations)
            .map_err(|e| Failure::own(&subject, format!("the patch cannot be written: {e}")))?;
        let params = PatchParams {
            dry_run: rehearse,
            field_manager: Some(ROUTE_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(kube);
        let patch: Patch<()> = Patch::Json(operations);
        kube.call(&subject, api.patch_metadata(self.route.name.as_str(), &params, &patch)).await.map(drop)
    }

    fn change(&self, route: &Route, mark: &Mark) -> Change {
        match &route.mark {
            Marked::Foreign(text) => {
                return Change::No(format!("annotation {MARK} is {text:?}, which is no mark; remove it"));
            }
            Marked::By(_, policy) if policy != self.policy.name.as_str() => {
                return Change::No(format!("it is marked by FailoverPolicy {policy}, which acts on it too"));
            }
            Marked::By(found, _) if found.newer_than(mark) => {
                return Change::No(format!("it carries a newer state already: {found}"));
            }
            Marked::By(found, _)
                if (found.epoch, found.serial) == (mark.epoch, mark.serial) && found.site != mark.site =>
            {
                return Change::No(format!("it carries the same epoch and serial for another site: {found}"));
            }
            Marked::By(..) | Marked::No => {}
        }
        let weighed = match route.weighed(&self.route) {
            Ok(weighed) => weighed,
            Err(misfits) => {
                let all: Vec<String> = misfits.iter().map(Misfit::to_string).collect();
                return Change::No(all.join("; "));
            }
        };
        // A target that leads nowhere is never made: one backend gets all the weight.
        if !weighed.iter().all(|rule| rule.backends.contains_key(&mark.site)) {
            return Change::No(format!("the policy has no backend of {}", mark.site));
        }
        let stands = weighed
            .iter()
            .all(|rule| rule.backends.iter().all(|(site, (_, weight))| *weight == wanted(site, &mark.site)));
        if stands && route.mark == Marked::By(mark.clone(), self.policy.name.as_str().to_owned()) {
            return Change::Stands;
        }
        Change::Write(self.operations(route, &weighed, mark))
    }

    /// The patch: it holds for this version of the object only, so the places in it are those that were looked at.
    fn operations(&self, route: &Route, weighed: &[Weighed], mark: &Mark) -> Value {
        let mut all = route.pinned();
        let key = MARK.replace('~', "~0").replace('/', "~1");
        let text = mark_text(mark, self.policy.name.as_str());
        all.push(json!({ "op": "add", "path": format!("/metadata/annotations/{key}"), "value": text }));
        for rule in weighed {
            for (site, (at, _)) in &rule.backends {
                let path = format!("/spec/rules/{}/backendRefs/{at}/weight", rule.rule);
                all.push(json!({ "op": "add", "path": path, "value": wanted(site, &mark.site) }));
            }
        }
        Value::Array(all)
    }
}

fn wanted(site: &SiteName, to: &SiteName) -> u32 {
    if site == to { ALL } else { 0 }
}
