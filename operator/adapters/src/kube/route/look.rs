//! Where a route leads, and what stands in the way of changing it.

use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bascule_core::name::SiteName;
use bascule_core::observation::{Fact, TrafficAt, TrafficView};
use bascule_core::plan::{Answer, Gate};
use bascule_core::time::human;

use super::gateway::Gateways;
use super::refuse::Cannot;
use super::seen::{Marked, Misfit, Route, Weighed};
use super::served::{Served, served};
use super::{GROUP, MARK, ROUTE_MANAGER, RULES, RouteTraffic, Undone, is_kind_missing};
use crate::finding::{Finding, Severity};
use crate::kube::client::Kube;
use crate::kube::failure::Failure;
use crate::kube::ownership::{Owner, owners};

/// How long a rehearsal that went well is believed. A change is refused all the same when it no longer holds.
const REHEARSED_FOR: Duration = Duration::from_secs(30);

/// How long weights that were set back count as contended: GitOps tools come round at least once an hour.
const UNDONE_FOR: Duration = Duration::from_hours(2);

/// What gives the operator its rights.
const RIGHTS: &str = "install the chart with rbac.httpRoutes=true";

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, expected {}", self.field, self.found, self.expected)
    }
}

impl RouteTraffic {
    /// Looks at the route as the operator of `me`: where it leads, and what prevents this site from changing it. Its
    /// gates are named `item/…`. It asks twice at most, for the route and then for all else at once; each has half of
    /// `deadline`.
    pub async fn look(&self, item: &str, me: &SiteName, deadline: Duration) -> TrafficView {
        let kube = self.kube.within(deadline / 2);
        match self.findings(&kube, me).await {
            Ok(found) => {
                let gates = found.findings.iter().filter_map(|f| f.gate(item, Answer::No)).collect();
                let blockers = found.unknown.map_or_else(|| Fact::now(gates), Fact::unknown);
                TrafficView { at: Fact::now(found.at), blockers }
            }
            Err(Unseen::No(finding)) => {
                let gates: Vec<Gate> = finding.gate(item, Answer::No).into_iter().collect();
                let reason = format!("{}: {}", finding.field, finding.found);
                TrafficView { at: Fact::unknown(reason), blockers: Fact::now(gates) }
            }
            Err(Unseen::Unknown(reason)) => {
                TrafficView { at: Fact::unknown(&reason), blockers: Fact::unknown(reason) }
            }
        }
    }

    /// Everything that is found about the route, all year, without changing it.
    ///
    /// # Errors
    /// When nothing is known of the route.
    pub async fn findings(&self, kube: &Kube, me: &SiteName) -> Result<Found, Unseen> {
        let route = self.read(kube).await.map_err(|failure| self.unseen(&failure))?;
        let served = served(&route.parents, &route.statuses, &route.namespace, route.generation);
        let weighed = route.weighed(&self.route);
        let mut at = self.at(&route, weighed.as_deref().unwrap_or_default(), &served);
        let mut findings = self.foreign_mark(&route);
        let mut unknown = None;
        let rehearsal = async {
            match &weighed {
                Ok(weighed) => self.refused(kube, &route, weighed, me).await,
                Err(_) => Ok(None),
            }
        };
        let (refused, gateways, writes) = tokio::join!(
            Box::pin(rehearsal),
            Box::pin(self.gateways(kube, &route)),
            Box::pin(self.of_writes(kube, &route, weighed.as_deref().ok(), &served))
        );
        at.silent.extend(gateways.unready.iter().cloned());
        at.writes = writes.found;
        match weighed {
            Ok(weighed) => {
                self.note_undone(&route, &weighed);
                match refused {
                    Ok(found) => findings.extend(found),
                    Err(why) => unknown = Some(why),
                }
            }
            Err(misfits) => findings.extend(misfits.into_iter().map(|m| self.misfit(m))),
        }
        findings.extend(self.contended(&route));
        findings.extend(self.unserved(&served));
        findings.extend(self.unready(&gateways));
        findings.extend(writes.cannot.as_ref().map(|why| self.not_refusable(why)));
        findings.extend(self.unwatched());
        Ok(Found { at, findings, unknown })
    }

    fn unseen(&self, failure: &Failure) -> Unseen {
        let finding = |code, expected: &str, hint: String| {
            Unseen::No(Box::new(Finding {
                code,
                severity: Severity::Block,
                field: self.subject().to_string(),
                found: failure.to_string(),
                expected: expected.to_owned(),
                hint,
            }))
        };
        match failure {
            _ if is_kind_missing(failure) => finding(
                "RouteApiMissing",
                "the Gateway API's definitions (gateway.networking.k8s.io/v1) in this cluster",
                "install them and a gateway controller, or use traffic[].dns".to_owned(),
            ),
            Failure::Missing { .. } => finding(
                "RouteMissing",
                "the HTTPRoute that the policy names, in its own namespace",
                "create it with a backend for every site, or correct traffic[].httpRoute.name".to_owned(),
            ),
            Failure::Refused { code: 403, .. } => {
                finding("RouteForbidden", "get and patch of httproutes for the operator", RIGHTS.to_owned())
            }
            Failure::Refused { .. }
            | Failure::Contended { .. }
            | Failure::NotSent { .. }
            | Failure::Unfit { .. }
            | Failure::Unknown { .. } => Unseen::Unknown(failure.to_string()),
        }
    }

    /// Where it leads: by its mark, when the weights say the same.
    fn at(&self, route: &Route, weighed: &[Weighed], served: &Served) -> TrafficAt {
        let weights = || weighed.iter().map(Weighed::weights).collect::<Vec<_>>().join("; ");
        let mut at = TrafficAt::default();
        match &route.mark {
            Marked::No => at.differing.push(format!("weights {}, and no mark of Bascule", weights())),
            Marked::Foreign(text) => at.differing.push(format!("annotation {MARK} is {text:?}")),
            Marked::By(_, policy) if policy != self.policy.name.as_str() => {
                at.differing.push(format!("it is marked by FailoverPolicy {policy}"));
            }
            Marked::By(mark, _) => {
                (at.epoch, at.serial) = (mark.epoch, mark.serial);
                if !weighed.is_empty() && weighed.iter().all(|rule| rule.leads_to() == Some(&mark.site)) {
                    at.site = Some(mark.site.clone());
                } else {
                    at.differing.push(format!("weights {}, expected all for {}", weights(), mark.site));
                }
            }
        }
        at.differing.extend(served.refused.iter().chain(&served.behind).cloned());
        at.silent.extend(served.silent.iter().cloned());
        at
    }

    fn finding(&self, code: &'static str, severity: Severity, field: &str, found: String) -> Finding {
        Finding {
            code,
            severity,
            field: format!("{} {field}", self.subject()).trim_end().to_owned(),
            found,
            expected: String::new(),
            hint: String::new(),
        }
    }

    fn misfit(&self, misfit: Misfit) -> Finding {
        let hint = match misfit.code {
            "RouteForeignBackend" => "name it in the policy, give it weight 0, or take it out of the rule",
            "RouteRuleMissing" => "name the rule in the route, or correct traffic[].httpRoute.rules",
            _ => "add it to the route, or correct traffic[].httpRoute",
        };
        Finding {
            expected: misfit.expected,
            hint: hint.to_owned(),
            ..self.finding(misfit.code, Severity::Block, &misfit.field, misfit.found)
        }
    }

    fn foreign_mark(&self, route: &Route) -> Vec<Finding> {
        let found = match &route.mark {
            Marked::Foreign(text) => format!("{text:?}, which is no mark"),
            Marked::By(_, policy) if policy != self.policy.name.as_str() => {
                format!("the mark of FailoverPolicy {policy}")
            }
            Marked::By(..) | Marked::No => return Vec::new(),
        };
        let field = format!("metadata.annotations[{MARK}]");
        vec![Finding {
            expected: "a mark of this policy, or none".to_owned(),
            hint: "one route follows one policy: take it out of the other one, then remove the annotation"
                .to_owned(),
            ..self.finding("RouteForeignMark", Severity::Block, &field, found)
        }]
    }

    /// Whether the API server would take a change; an error: that is not known.
    async fn refused(
        &self,
        kube: &Kube,
        route: &Route,
        weighed: &[Weighed],
        me: &SiteName,
    ) -> Result<Option<Finding>, String> {
        let rehearsed = *self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner);
        if rehearsed.is_some_and(|at| at.elapsed() < REHEARSED_FOR) {
            return Ok(None);
        }
        let begun = Instant::now();
        match self.rehearse(kube, route, weighed, me).await {
            Ok(()) => {
                *self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
                Ok(None)
            }
            // Somebody changed it at the same moment: the next look sees more.
            Err(failure) if failure.is_conflict() => Ok(None),
            Err(failure) if failure.is_unknown() => Err(format!("a dry run: {failure}")),
            Err(Failure::Refused { code: 403, reason, .. }) => Ok(Some(Finding {
                expected: "patch of httproutes for the operator".to_owned(),
                hint: RIGHTS.to_owned(),
                ..self.finding("RouteForbidden", Severity::Block, "weights", reason)
            })),
            Err(failure) => Ok(Some(Finding {
                expected: "a patch of its weights is accepted".to_owned(),
                hint: "see the admission policies of the namespace".to_owned(),
                ..self.finding("RoutePatchRefused", Severity::Block, "weights", failure.to_string())
            })),
        }
    }

    /// Weights that are not what the mark beside them says, and rules that are not there any more, were changed by somebody
    /// else, who may do it again.
    fn note_undone(&self, route: &Route, weighed: &[Weighed]) {
        let Some(by) = others(route).pop() else { return };
        let astray = match &route.mark {
            Marked::By(mark, policy) if policy == self.policy.name.as_str() => {
                Some(mark).filter(|mark| !weighed.iter().all(|rule| rule.leads_to() == Some(&mark.site)))
            }
            Marked::By(..) | Marked::No | Marked::Foreign(_) => None,
        };
        let found = if let Some(mark) = astray {
            let weights: Vec<String> = weighed.iter().map(Weighed::weights).collect();
            format!("{:?} has set the weights to {} after {mark}", by.manager, weights.join("; "))
        } else if self.lost_rules(route) {
            format!("{:?} has taken out the rules by which writes are refused", by.manager)
        } else {
            return;
        };
        *self.undone.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Undone { at: Instant::now(), by, found });
    }

    /// Who else writes the weights.
    fn contended(&self, route: &Route) -> Option<Finding> {
        let undone = self.undone.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(undone) = undone.filter(|u| u.at.elapsed() < UNDONE_FOR) {
            let found = format!("{} ({} ago)", undone.found, human(undone.at.elapsed()));
            return Some(Finding {
                expected: "nobody else writes the weights".to_owned(),
                hint: self.release(&undone.by),
                ..self.finding("RouteContended", Severity::Block, "spec.rules", found)
            });
        }
        // Who applies the rules will set the weights back, unless it was told not to; nobody can see whether it was.
        let by =
            others(route).into_iter().find(|o| o.operation == "Apply" || o.manager.starts_with("helm"))?;
        Some(Finding {
            expected: "it leaves the weights alone, or does not own the rules".to_owned(),
            hint: self.release(&by),
            ..self.finding(
                "RouteOwned",
                Severity::Warn,
                "spec.rules",
                format!("{:?} applies the rules", by.manager),
            )
        })
    }

    /// What to write where the other manager gets the route from.
    fn release(&self, by: &Owner) -> String {
        let (name, namespace) = (&self.route.name, &self.policy.namespace);
        // Rules that come and go move the weights of the others.
        let ours = if self.route.refuse_writes.is_some() {
            ".spec.rules"
        } else {
            ".spec.rules[].backendRefs[].weight"
        };
        match by.manager.as_str() {
            "kustomize-controller" => {
                "in git, under metadata.annotations of the route: kustomize.toolkit.fluxcd.io/ssa: IfNotPresent".to_owned()
            }
            "helm-controller" => format!(
                "in the Flux HelmRelease, under spec: driftDetection: {{ignore: [{{target: {{kind: HTTPRoute, name: {name}}}, paths: [\"/spec/rules\"]}}]}}, and keep the route out of the chart's upgrades"
            ),
            manager if manager.starts_with("argocd") => format!(
                "in the Argo CD Application, under spec: ignoreDifferences: [{{group: {GROUP}, kind: HTTPRoute, name: {name}, namespace: {namespace}, jqPathExpressions: [\"{ours}\"]}}] and syncPolicy: {{syncOptions: [RespectIgnoreDifferences=true]}}"
            ),
            "helm" => "leave the route out of the chart: every upgrade writes its weights".to_owned(),
            manager => format!("let {manager:?} leave the weights of HTTPRoute {name} alone"),
        }
    }

    fn unserved(&self, served: &Served) -> Vec<Finding> {
        let refused = served.refused.iter().map(|found| Finding {
            expected: "every gateway accepts the route and resolves its backends".to_owned(),
            hint: "see the Gateway, its listeners, and the Services that the route names".to_owned(),
            ..self.finding("RouteNotServed", Severity::Block, "status.parents", found.clone())
        });
        let silent = served.silent.iter().map(|found| Finding {
            expected: "a word of every gateway: whether the weights are served is not known".to_owned(),
            hint: "see whether the Gateway's controller runs".to_owned(),
            ..self.finding("RouteUnreported", Severity::Warn, "status.parents", found.clone())
        });
        refused.chain(silent).collect()
    }

    fn unready(&self, gateways: &Gateways) -> Vec<Finding> {
        let unready = gateways.unready.iter().map(|found| Finding {
            expected: "every Gateway of the route is Programmed: its data plane has what it is to serve"
                .to_owned(),
            hint: "see the Gateway's conditions and addresses, and whether its proxies run".to_owned(),
            ..self.finding("RouteGatewayNotReady", Severity::Warn, "spec.parentRefs", found.clone())
        });
        let unknown = gateways.unknown.iter().map(|found| Finding {
            expected: "a word of every Gateway of the route on whether it is Programmed".to_owned(),
            hint:
                "see whether its controller runs, and whether the operator may get gateways in its namespace"
                    .to_owned(),
            ..self.finding("RouteGatewayUnknown", Severity::Warn, "spec.parentRefs", found.clone())
        });
        unready.chain(unknown).collect()
    }

    /// What a person can do about writes that reach the application during a hold. It stands in nobody's way: the
    /// application's own flag refuses them.
    fn not_refusable(&self, why: &Cannot) -> Finding {
        let (code, expected, hint) = match why {
            Cannot::Route(_) => (
                "RouteWritesPass",
                "a route whose writes can be refused",
                "see docs/httproute.md on refuseWrites: name the rules that stand in the way, or except them",
            ),
            Cannot::Refused(_) => (
                "RouteWritesPass",
                "a change of the route's rules is accepted",
                "see the admission policies of the namespace",
            ),
            Cannot::Responder(_) => (
                "RouteResponderMissing",
                "a responder in every site that has this policy",
                "install the chart with responder.enabled=true, or take refuseWrites out of the policy",
            ),
            Cannot::Grant(_) => (
                "RouteResponderGrant",
                "a ReferenceGrant from HTTPRoutes of the policy's namespace to the responder's Service",
                "add the namespace to responder.namespaces of the chart",
            ),
            Cannot::Unknown(_) => (
                "RouteResponderUnknown",
                "the operator can look at the responder's Service and at ReferenceGrants of its own namespace",
                "see the API server, and install the chart with responder.enabled=true",
            ),
        };
        Finding {
            expected: expected.to_owned(),
            hint: hint.to_owned(),
            ..self.finding(code, Severity::Warn, "writes", why.words().to_owned())
        }
    }

    fn unwatched(&self) -> Option<Finding> {
        let why = match self.following.as_ref()? {
            Ok(following) => following.trouble()?,
            Err(why) => why.clone(),
        };
        Some(Finding {
            expected: "the route is watched: a change is seen at once, and not only with the next look"
                .to_owned(),
            hint: RIGHTS.to_owned(),
            ..self.finding("RouteUnwatched", Severity::Warn, "", why)
        })
    }
}

/// What is known of a route.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it leads.
    pub at: TrafficAt,
    /// What stands in the way of changing it, and what would be better.
    pub findings: Vec<Finding>,
    /// Why it is not known whether the API server would take a change.
    pub unknown: Option<String>,
}

/// Why nothing is known of a route.
#[derive(Clone, Debug)]
pub enum Unseen {
    /// It cannot be used: a person must act.
    No(Box<Finding>),
    /// The API server did not tell.
    Unknown(String),
}

/// Everybody but Bascule who owns the rules.
fn others(route: &Route) -> Vec<Owner> {
    let all = owners(&route.managed, RULES);
    all.into_iter().filter(|o| o.manager != ROUTE_MANAGER && o.subresource.is_none()).collect()
}
