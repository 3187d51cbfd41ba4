//! Writes answered by the responder, or let through: what is found, and the one change.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bascule_core::name::SiteName;
use bascule_core::observation::Writes;
use bascule_core::outcome::Outcome;
use bascule_core::policy::RefuseWrites;
use bascule_core::time::human;
use serde_json::{Value, json};

use super::refusal::{RULE, Responder, rules};
use super::responder::Way;
use super::seen::{Marked, Misfit, Route, Weighed, writes_text};
use super::served::Served;
use super::{Answers, RouteTraffic, WRITES_MARK};
use crate::kube::client::Kube;
use crate::kube::failure::outcome;
use crate::mark::Mark;

/// How long a rehearsal that went well is believed.
const REHEARSED_FOR: Duration = Duration::from_secs(30);

/// How long nothing is put into a route whose gateways did not serve it with that.
const TURNED_DOWN_FOR: Duration = Duration::from_mins(10);

/// Why the gateway of a route cannot be told to refuse writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cannot {
    /// The route, in words.
    Route(String),
    /// The responder, in words.
    Responder(String),
    /// The grant, in words.
    Grant(String),
    /// The API server would not take it, in words.
    Refused(String),
    /// It is not known, in words.
    Unknown(String),
}

impl Cannot {
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Route(why)
            | Self::Responder(why)
            | Self::Grant(why)
            | Self::Refused(why)
            | Self::Unknown(why) => why,
        }
    }
}

/// What becomes of writes on a route, and why they could not be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfWrites {
    pub found: Option<Writes>,
    pub cannot: Option<Cannot>,
}

impl RouteTraffic {
    /// What becomes of writes now. The responder is asked for, and a change tried without doing it, only where the policy
    /// asks for it.
    pub(super) async fn of_writes(
        &self,
        kube: &Kube,
        route: &Route,
        weighed: Option<&[Weighed]>,
        served: &Served,
    ) -> OfWrites {
        let own = !route.own().is_empty();
        let Some(refuse) = &self.route.refuse_writes else {
            // What the same policy has left is taken back.
            let found = (own && self.is_ours(route)).then_some(Writes::Refused);
            return OfWrites { found, cannot: None };
        };
        if own && !self.is_ours(route) {
            let why = format!("it has a rule {RULE}, and annotation {WRITES_MARK} is no mark of this policy");
            let found = Some(Writes::CannotRefuse(why.clone()));
            return OfWrites { found, cannot: Some(Cannot::Route(why)) };
        }
        if let Some(why) = self.turned_down(own, served) {
            let found = if own { Writes::Lost(why.clone()) } else { Writes::CannotRefuse(why.clone()) };
            return OfWrites { found: Some(found), cannot: Some(Cannot::Route(why)) };
        }
        let wanted = self.possible(kube, route, refuse, weighed).await;
        if !own {
            return match wanted {
                Ok(_) => OfWrites { found: Some(Writes::Pass), cannot: None },
                Err(why) => {
                    OfWrites { found: Some(Writes::CannotRefuse(why.words().to_owned())), cannot: Some(why) }
                }
            };
        }
        let responder = match &self.answers {
            Answers::By(responder) => Some(responder),
            Answers::Nowhere | Answers::NotKnown => None,
        };
        match wanted {
            Ok(wanted) if !route.refuses_exactly(&wanted, responder) => OfWrites {
                found: Some(Writes::Mixed(format!(
                    "the rules {RULE} are not what the route's own rules ask for, or do not stand behind them"
                ))),
                cannot: None,
            },
            Ok(_) => OfWrites { found: Some(Writes::Refused), cannot: None },
            Err(why @ (Cannot::Responder(_) | Cannot::Grant(_))) => {
                OfWrites { found: Some(Writes::Lost(why.words().to_owned())), cannot: Some(why) }
            }
            // They stay refused as they are, and can be let through.
            Err(why) => OfWrites { found: Some(Writes::Refused), cannot: Some(why) },
        }
    }

    /// Why nothing is put into the route, or is taken out again: a gateway does not serve it as it is, or did not with what
    /// was put there. One that knows no matches by method turns the whole route down.
    fn turned_down(&self, own: bool, served: &Served) -> Option<String> {
        let mut last = self.turned_down.lock().unwrap_or_else(PoisonError::into_inner);
        let now = served.refused.join("; ");
        if !now.is_empty() {
            if own {
                *last = Some((Instant::now(), now.clone()));
            }
            let with = if own { "with the rules that refuse writes" } else { "as it is" };
            return Some(format!("its gateways do not serve it {with}: {now}"));
        }
        let (at, said) = last.as_ref().filter(|(at, _)| !own && at.elapsed() < TURNED_DOWN_FOR)?;
        let ago = human(at.elapsed());
        Some(format!("its gateways did not serve it with the rules that refuse writes {ago} ago: {said}"))
    }

    /// Whether rules of Bascule's were put there for this policy.
    fn is_ours(&self, route: &Route) -> bool {
        matches!(&route.writes.0, Marked::By(_, policy) if policy == self.policy.name.as_str())
    }

    /// What has to match for every write to be refused, or why they cannot be.
    async fn possible(
        &self,
        kube: &Kube,
        route: &Route,
        refuse: &RefuseWrites,
        weighed: Option<&[Weighed]>,
    ) -> Result<Vec<Value>, Cannot> {
        let weighed = weighed.ok_or_else(|| Cannot::Route("the route does not fit the policy".to_owned()))?;
        let wanted = route.refusable(refuse, weighed).map_err(Cannot::Route)?;
        let responder = match &self.answers {
            // Whoever only looks at the route has nothing more to ask.
            Answers::NotKnown => return Ok(wanted),
            Answers::Nowhere => {
                let why = "this installation has no responder: its operator runs without --responder-listen";
                return Err(Cannot::Responder(why.to_owned()));
            }
            Answers::By(responder) => responder,
        };
        let refused = !route.own().is_empty();
        let rehearsed = *self.rehearsed_writes.lock().unwrap_or_else(PoisonError::into_inner);
        // Rules that lead there are looked after each time.
        if !refused && rehearsed.is_some_and(|at| at.elapsed() < REHEARSED_FOR) {
            return Ok(wanted);
        }
        let begun = Instant::now();
        let (way, tried) = tokio::join!(responder.way_from(kube, self.policy.namespace.as_str()), async {
            if refused { Ok(()) } else { self.rehearse_writes(kube, route, refuse, &wanted, responder).await }
        });
        let found = match way {
            Way::Open => tried,
            Way::NoService(why) => Err(Cannot::Responder(why)),
            Way::NoGrant(why) => Err(Cannot::Grant(why)),
            Way::Unknown(why) => Err(Cannot::Unknown(why)),
        };
        *self.rehearsed_writes.lock().unwrap_or_else(PoisonError::into_inner) =
            found.is_ok().then_some(begun);
        found.map(|()| wanted)
    }

    /// Tries to have writes refused, without doing it.
    async fn rehearse_writes(
        &self,
        kube: &Kube,
        route: &Route,
        refuse: &RefuseWrites,
        wanted: &[Value],
        responder: &Responder,
    ) -> Result<(), Cannot> {
        let made = rules(wanted, refuse, responder, &self.policy);
        // Nothing of it is stored.
        let text = format!("rehearsal of policy {}", self.policy);
        match self.patch(kube, Self::with_rules(route, made, &text), true).await {
            Ok(()) => Ok(()),
            // Somebody changed it at the same moment: the next look sees more.
            Err(failure) if failure.is_conflict() => Ok(()),
            Err(failure) if failure.is_unknown() => Err(Cannot::Unknown(format!("a dry run: {failure}"))),
            Err(failure) => Err(Cannot::Refused(failure.to_string())),
        }
    }

    /// Has writes refused, or lets them through, once; `me` writes it. Done means that the API server has stored it;
    /// whether the gateways obey is for [`RouteTraffic::look`] to say. Each of the two rounds of calls that it makes has half
    /// of `deadline`: the route and the responder at once, then the change.
    pub async fn refuse(
        &self,
        on: bool,
        me: &SiteName,
        epoch: u64,
        serial: u64,
        deadline: Duration,
    ) -> Outcome {
        let kube = self.kube.within(deadline / 2);
        let way = async {
            match &self.answers {
                Answers::By(responder) if on => {
                    responder.way_from(&kube, self.policy.namespace.as_str()).await
                }
                Answers::By(_) | Answers::Nowhere | Answers::NotKnown => Way::Open,
            }
        };
        // Nothing lies between the read of the route and the change: whatever is written meanwhile makes it fail.
        let (route, way) = tokio::join!(Box::pin(self.read(&kube)), Box::pin(way));
        // Nothing was written yet, whatever became of the question.
        let route = match route {
            Ok(route) => route,
            Err(failure) => return Outcome::refused(failure.to_string()),
        };
        let mark = Mark { epoch, serial, site: me.clone() };
        match self.change_of_writes(&route, on, &mark, way) {
            Ok(None) => Outcome::Done,
            Ok(Some(operations)) => outcome(Box::pin(self.patch(&kube, operations, false)).await),
            Err(why) => Outcome::refused(format!("{}: {why}", self.subject())),
        }
    }

    /// What is to be written; nothing: it stands; an error: it may not be written.
    fn change_of_writes(
        &self,
        route: &Route,
        on: bool,
        mark: &Mark,
        way: Way,
    ) -> Result<Option<Value>, String> {
        match &route.writes.0 {
            Marked::Foreign(text) => {
                return Err(format!("annotation {WRITES_MARK} is {text:?}, which is no mark; remove it"));
            }
            Marked::By(_, policy) if policy != self.policy.name.as_str() => {
                return Err(format!(
                    "its writes are marked by FailoverPolicy {policy}, which acts on it too"
                ));
            }
            Marked::By(found, _) if found.newer_than(mark) => {
                return Err(format!("what becomes of its writes was said by a newer state already: {found}"));
            }
            Marked::By(..) | Marked::No => {}
        }
        let own = !route.own().is_empty();
        if own && route.writes.0 == Marked::No {
            return Err(format!("it has a rule {RULE}, and no annotation {WRITES_MARK}: take the rule out"));
        }
        let policy = self.policy.name.as_str();
        if !on {
            let text = writes_text(mark, policy, false);
            return Ok(own.then(|| Self::with_rules(route, Vec::new(), &text)));
        }
        let Some(refuse) = &self.route.refuse_writes else {
            return Err("the policy does not ask for it: traffic[].httpRoute.refuseWrites".to_owned());
        };
        let Answers::By(responder) = &self.answers else {
            return Err("this installation has no responder".to_owned());
        };
        let weighed = route.weighed(&self.route).map_err(|misfits| {
            let all: Vec<String> = misfits.iter().map(Misfit::to_string).collect();
            all.join("; ")
        })?;
        let wanted = route.refusable(refuse, &weighed)?;
        if route.refuses_exactly(&wanted, Some(responder)) && route.writes.1 {
            return Ok(None);
        }
        // A rule that leads nowhere would answer with an error that nobody can make sense of.
        match way {
            Way::Open => {}
            Way::NoService(why) | Way::NoGrant(why) | Way::Unknown(why) => return Err(why),
        }
        let made = rules(&wanted, refuse, responder, &self.policy);
        Ok(Some(Self::with_rules(route, made, &writes_text(mark, policy, true))))
    }

    /// The patch that puts these rules in the place of those that are Bascule's: it holds for this version of the object
    /// only.
    fn with_rules(route: &Route, made: Vec<Value>, mark: &str) -> Value {
        let mut all = route.pinned();
        let key = WRITES_MARK.replace('~', "~0").replace('/', "~1");
        all.push(json!({ "op": "add", "path": format!("/metadata/annotations/{key}"), "value": mark }));
        all.extend(route.replace_own(made));
        Value::Array(all)
    }

    /// Whether somebody has taken Bascule's rules out of a route whose mark says that writes are refused.
    pub(super) fn lost_rules(&self, route: &Route) -> bool {
        self.is_ours(route) && route.writes.1 && route.own().is_empty()
    }
}
