//! One HTTPRoute of the site's own cluster, whose weights follow the active site.
//!
//! The lists `rules` and `backendRefs` of an HTTPRoute are atomic: who applies one weight by server-side apply owns
//! every rule with it. So the weights are written by a JSON patch that names each of them, and that holds only for the
//! version of the object that was read: whatever else changed it meanwhile makes the patch fail, and nothing that
//! somebody else has written there but the weights is ever changed.
//!
//! The annotation [`MARK`] says which transition wrote the weights. Weights and mark change together.
//!
//! Where the policy asks for it, writes are answered by the responder while nobody accepts them: rules of Bascule's own,
//! known by a header that they set and by the annotation [`WRITES_MARK`], are put in front of the others and taken away again, in the
//! same way.

mod gateway;
mod look;
mod point;
mod refusal;
mod refuse;
mod responder;
mod seen;
mod served;
mod watch;

pub use self::look::{Found, Unseen};
pub use self::point::Begun;
pub use self::refusal::{POLICY_HEADER, RETRY_HEADER, RULE as REFUSING_RULE, Responder, WRITING};

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bascule_core::name::PolicyKey;
use bascule_core::policy::HttpRoute;
use bascule_engine::ports::TargetChanged;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use tokio::sync::mpsc;

use self::seen::Route;
use self::watch::Following;
use super::client::Kube;
use super::failure::{Failure, Subject, chain};
use super::heard::Heard;
use super::ownership::{Field, Owner, Part};

/// The API group of routes and gateways.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// The annotation that says which transition wrote the weights: `v=1 epoch=5 serial=12 site=lyon policy=shop`.
pub const MARK: &str = "bascule.dev/points-at";

/// The annotation that says which transition had the writes refused, or let them pass again: `v=1 epoch=5 serial=12
/// site=paris policy=shop writes=refused`. The site is the one that wrote it.
pub const WRITES_MARK: &str = "bascule.dev/writes";

/// The field manager of weights.
pub const ROUTE_MANAGER: &str = "bascule-route";

/// The weight of the backend that has all requests.
pub const ALL: u32 = 100;

const RULES: Field<'static> = Field(&[Part::Member("spec"), Part::Member("rules")]);

/// Weights that somebody has set back after Bascule had written them.
#[derive(Clone, Debug)]
struct Undone {
    /// When it was seen.
    at: Instant,
    /// Who owned the rules then.
    by: Owner,
    /// What was found.
    found: String,
}

/// Who answers writes that are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answers {
    /// Nobody has said: whoever looks is not the operator.
    NotKnown,
    /// The installation has no responder.
    Nowhere,
    /// This one.
    By(Responder),
}

/// One HTTPRoute of a policy, in this cluster.
#[derive(Debug)]
pub struct RouteTraffic {
    kube: Kube,
    policy: PolicyKey,
    route: HttpRoute,
    answers: Answers,
    undone: Mutex<Option<Undone>>,
    rehearsed: Mutex<Option<Instant>>,
    rehearsed_writes: Mutex<Option<Instant>>,
    /// When gateways last said that they do not serve it with the rules that refuse writes, and what they said.
    turned_down: Mutex<Option<(Instant, String)>>,
    /// The watch of it, or why there is none; `None`: nobody wants one.
    following: Option<Result<Following, String>>,
}

impl RouteTraffic {
    /// The route that a policy describes, in the policy's own namespace.
    pub fn new(kube: Kube, policy: PolicyKey, route: HttpRoute) -> Self {
        Self {
            kube,
            policy,
            route,
            answers: Answers::NotKnown,
            undone: Mutex::default(),
            rehearsed: Mutex::default(),
            rehearsed_writes: Mutex::default(),
            turned_down: Mutex::default(),
            following: None,
        }
    }

    /// The same, whose refused writes this responder answers; `None`: the installation has none.
    #[must_use]
    pub fn answered_by(mut self, responder: Option<Responder>) -> Self {
        self.answers = responder.map_or(Answers::Nowhere, Answers::By);
        self
    }

    /// The same, which tells `told` of every change to the route as `changed`, for as long as it is kept. It must be
    /// called where tasks can be spawned.
    #[must_use]
    pub fn followed(mut self, changed: TargetChanged, told: mpsc::Sender<TargetChanged>) -> Self {
        let heard = Arc::new(Heard::default());
        self.following = Some(match self.kube.watch_client(Arc::clone(&heard)) {
            Ok(client) => {
                let api = Api::namespaced_with(client, self.policy.namespace.as_str(), &resource());
                Ok(Following::begin(api, self.route.name.as_str(), heard, changed, told))
            }
            Err(why) => Err(chain(&why)),
        });
        self
    }

    /// The same, which is not followed although it should be, for this reason.
    #[must_use]
    pub fn unfollowed(mut self, why: String) -> Self {
        self.following = Some(Err(why));
        self
    }

    fn subject(&self) -> Subject {
        Subject::new("HTTPRoute", self.policy.namespace.as_str(), self.route.name.as_str())
    }

    fn api(&self, kube: &Kube) -> Api<DynamicObject> {
        kube.dynamic(self.policy.namespace.as_str(), &resource())
    }

    async fn read(&self, kube: &Kube) -> Result<Route, Failure> {
        let subject = self.subject();
        let object = kube.call(&subject, self.api(kube).get(self.route.name.as_str())).await?;
        Route::read(object).map_err(|why| Failure::own(&subject, why))
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", "HTTPRoute"), "httproutes")
}

/// Whether the API server does not know the kind at all: the Gateway API's definitions are not installed.
const fn is_kind_missing(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { code: 404, .. })
}
