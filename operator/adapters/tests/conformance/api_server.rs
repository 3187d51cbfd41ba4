//! The API server: workloads with owners, marks that never fall, a server that is away, silent, busy or closed to us,
//! answers that are lost, and a watch that falls behind.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bascule_adapters::kube::port::Workloads;
use bascule_adapters::kube::watch::{Seen, Watch, watch};
use bascule_adapters::kube::{Credentials, Kube};
use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::observation::{Fact, Kept, Marks, WorkloadView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step as Perform;
use bascule_core::policy::{Policy, VerifyProbe};
use bascule_engine::brain::{Command, Event, Found, Look};
use bascule_engine::ports::Intent;
use bascule_sim::fault::{Fault, Planned, When};
use bascule_sim::side_by_side::{Step, Subject, compare};
use bascule_sim::world::Fate;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};

use crate::apiserver::{ApiServer, PLAIN_USER};
use crate::world::{Driven, policy};

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(3);
/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, Debug)]
enum Do {
    Flag(bool),
    Scale(u32),
    Look,
    RaiseMark(u64, u64),
    ReadMarks,
    /// Watches the objects.
    Watch,
    /// Writes a version of an object, past whatever stands between the operator and the server.
    Write(&'static str, i64),
    Delete(&'static str),
    /// Waits until the watch has told of so many objects whose versions come to this sum, and says which.
    Told(usize, i64),
    Release,
    Answers,
    Start,
    Thaw,
    Idle,
    Allow,
    // What goes wrong.
    /// Another manager owns the flag.
    Own,
    /// What the server does is done, and its answers are lost.
    Deaf,
    Stop,
    Freeze,
    /// It says 429 to whoever writes.
    Busy,
    Forbid,
    /// The marks cannot be written.
    FreezeMarks,
    /// The watch tells nothing for a while.
    SilentWatch,
}

impl Step for Do {
    fn fails(&self) -> bool {
        matches!(
            self,
            Self::Own
                | Self::Deaf
                | Self::Stop
                | Self::Freeze
                | Self::Busy
                | Self::Forbid
                | Self::FreezeMarks
                | Self::SilentWatch
        )
    }
}

fn web() -> ItemName {
    ItemName::try_from("web").unwrap()
}

/// The policy of a namespace: its web workload has a flag that its pods can be asked for.
fn shop(namespace: &str) -> Policy {
    let mut policy = policy();
    policy.key = PolicyKey::new(namespace, "shop").unwrap();
    let flag = policy.workloads.get_mut(&web()).unwrap().read_only.as_mut().unwrap();
    flag.verify = Some(VerifyProbe { path: "/".to_owned(), port: None, expect_body: "1".to_owned() });
    policy
}

fn perform(step: &Do) -> Perform {
    match *step {
        Do::Scale(replicas) => Perform::Scale { workload: web(), replicas },
        Do::Flag(on) => Perform::SetReadOnly { workload: web(), on },
        _ => panic!("not a step of the engine's"),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done",
        Outcome::Refused { .. } => "refused",
        Outcome::Unknown { .. } => "unknown",
    }
    .to_owned()
}

/// A look in lines. Pods are not among them: nothing runs any here.
fn view(view: &WorkloadView) -> Vec<String> {
    fn known<T>(what: &str, fact: &Fact<T>, words: impl Fn(&T) -> String) -> String {
        format!("{what}: {}", fact.value().map_or("unknown".to_owned(), words))
    }
    let mut lines = vec![
        known("flag", &view.flag, |f| format!("{f:?}")),
        known("pods asked", &view.effective, |p| p.pods.to_string()),
        known("replicas", &view.replicas, |r| r.wanted.to_string()),
    ];
    match view.blockers.value() {
        None => lines.push("in the way: unknown".to_owned()),
        Some(gates) => {
            lines.extend(
                gates
                    .iter()
                    .filter(|g| !g.passed())
                    .map(|g| format!("in the way: {} ({:?})", g.name, g.answer)),
            );
        }
    }
    lines
}

fn marks<E: Display>(found: &Result<BTreeMap<PolicyKey, Kept>, E>) -> Vec<String> {
    match found {
        Err(_) => vec!["unknown".to_owned()],
        Ok(found) if found.is_empty() => vec!["none".to_owned()],
        Ok(found) => found
            .values()
            .map(|k| k.marks)
            .map(|m| format!("epoch {}, serial {}", m.epoch, m.serial))
            .collect(),
    }
}

/// What the watch has told of: each object with its version.
type Objects = BTreeMap<String, i64>;

fn objects(told: &Objects) -> Vec<String> {
    let lines: Vec<String> = told.iter().map(|(name, version)| format!("{name} at {version}")).collect();
    if lines.is_empty() { vec!["nothing".to_owned()] } else { lines }
}

fn is_told(told: &Objects, count: usize, sum: i64) -> bool {
    told.len() == count && told.values().sum::<i64>() == sum
}

// ---- the model

struct Model {
    driven: Driven,
    told: Objects,
    deaf: bool,
}

impl Model {
    fn new(policy: Policy) -> Self {
        let mut driven = Driven::new(policy);
        // A server and nothing behind it: no controller starts a pod, and nobody has set the flag yet.
        for app in driven.world.sites[0].cluster.apps.values_mut() {
            (app.wanted, app.ready, app.start_delay) = (1, 0, None);
        }
        driven.world.apply(0, |objects, _| objects.policies.clear());
        Self { driven, told: Objects::new(), deaf: false }
    }

    fn take(&mut self, intent: &Intent) {
        match intent {
            Intent::Policy(policy) => {
                self.told.insert(policy.key.name.to_string(), policy.generation);
            }
            Intent::PolicyGone(key) => {
                self.told.remove(key.name.as_str());
            }
            _ => {}
        }
    }
}

impl Subject<Do> for Model {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        let key = self.driven.policy.key.clone();
        let world = &mut self.driven.world;
        match *step {
            Do::Flag(_) | Do::Scale(_) => {
                if self.deaf {
                    world.count_boundaries(false);
                    world.faults.push(Planned {
                        when: When::Boundary(world.counted()),
                        fault: Fault::Effect(Fate::LoseAnswer),
                        lasts: None,
                        begun: false,
                        over: false,
                    });
                }
                let done = self.driven.perform(0, perform(step));
                self.driven.world.stop_counting();
                return vec![outcome(&done)];
            }
            Do::Look => {
                let Found::Workload(found) = self.driven.look(0, Look::Workload(web())) else {
                    panic!("another look")
                };
                return view(&found);
            }
            Do::RaiseMark(epoch, serial) => {
                let marks = Marks { epoch, serial, generation: 0 };
                let command = Command::RaiseMark { policy: key, kept: Box::new(marks.into()) };
                let done = self.driven.ask(0, command, |event| match event {
                    Event::MarkRaised { outcome, .. } => Some(outcome),
                    _ => None,
                });
                return vec![outcome(&done)];
            }
            Do::ReadMarks => {
                let found = self.driven.ask(0, Command::ReadMarks, |event| match event {
                    Event::Marks(result) => Some(result),
                    _ => None,
                });
                return marks(&found);
            }
            // The model's operator has watched from its start.
            Do::Watch => self.told.clear(),
            Do::Write(name, version) => {
                let mut policy = (*self.driven.policy).clone();
                policy.key = PolicyKey::new(key.namespace.as_str(), name).unwrap();
                policy.generation = version;
                world.apply(0, |objects, _| {
                    objects.policies.insert(policy.key.clone(), Ok(policy));
                });
            }
            Do::Delete(name) => {
                let gone = PolicyKey::new(key.namespace.as_str(), name).unwrap();
                world.apply(0, |objects, _| {
                    objects.policies.remove(&gone);
                });
            }
            Do::Told(count, sum) => {
                let end = world.now + PATIENCE;
                loop {
                    for event in self.driven.world.heard(0) {
                        if let Event::Intent(intent) = event {
                            self.take(&intent);
                        }
                    }
                    if is_told(&self.told, count, sum) || !self.driven.world.step(end) {
                        return objects(&self.told);
                    }
                }
            }
            Do::Own => world.fault(Fault::FlagOwned(0), true),
            Do::Release => world.fault(Fault::FlagOwned(0), false),
            Do::Deaf => self.deaf = true,
            Do::Answers => self.deaf = false,
            Do::Stop => world.fault(Fault::ApiGone(0), true),
            Do::Start => world.fault(Fault::ApiGone(0), false),
            Do::Freeze => world.fault(Fault::ApiSilent(0), true),
            Do::Thaw => world.fault(Fault::ApiSilent(0), false),
            Do::Busy => world.fault(Fault::ApiBusy(0), true),
            Do::Idle => world.fault(Fault::ApiBusy(0), false),
            Do::Forbid => world.fault(Fault::ApiForbidden(0), true),
            Do::Allow => world.fault(Fault::ApiForbidden(0), false),
            Do::FreezeMarks => world.fault(Fault::MarksFrozen(0), true),
            Do::SilentWatch => world.fault(Fault::SilentWatch(0), true),
        }
        vec![]
    }
}

// ---- the real thing

/// Passes bytes between the operator and the server; while it holds them, nothing comes back.
struct Relay {
    address: SocketAddr,
    held: tokio::sync::watch::Sender<bool>,
}

impl Relay {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (held, see) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(to).await else { continue };
                let mut see = see.clone();
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    tokio::spawn(async move {
                        let _ = copy(&mut from_client, &mut to_server).await;
                    });
                    let mut buffer = vec![0; 16 << 10];
                    loop {
                        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                        let Ok(n @ 1..) = from_server.read(&mut buffer).await else { return };
                        // What was answered while nobody hears it waits, and the client gives up first.
                        if see.wait_for(|held| !*held).await.is_err() {
                            return;
                        }
                        if to_client.write_all(&buffer[..n]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, held }
    }
}

/// A server of its own, or the one that scripts share that do not hurt it.
enum Server {
    Own(Box<ApiServer>),
    Shared(&'static ApiServer),
}

impl std::ops::Deref for Server {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        match self {
            Self::Own(server) => server,
            Self::Shared(server) => server,
        }
    }
}

struct Real {
    server: Server,
    namespace: String,
    policy: Policy,
    relay: Relay,
    kube: Kube,
    admin: Client,
    watch: Option<Watch<DynamicObject>>,
    told: Objects,
    /// A write that is under way for as long as its admission waits for this listener.
    busy: Option<(TcpListener, Vec<TcpStream>)>,
    deaf: bool,
}

impl Real {
    async fn new(server: Server, namespace: &str) -> Self {
        server.namespace(namespace).await;
        let relay = Relay::start(server.address()).await;
        let credentials =
            Credentials::Kubeconfig { path: server.plain_kubeconfig(relay.address.port()), context: None };
        let kube = Kube::connect(&credentials, Some(namespace)).await.unwrap().within(DEADLINE);
        let admin = server.client().await;
        let real = Self {
            server,
            namespace: namespace.to_owned(),
            policy: shop(namespace),
            relay,
            kube,
            admin,
            watch: None,
            told: Objects::new(),
            busy: None,
            deaf: false,
        };
        real.allow().await;
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "c", "image": "none", "ports": [{ "containerPort": 8080 }] }] },
                },
            },
        });
        real.apply("apps", "Deployment", "team", &web).await;
        real
    }

    /// By an administrator, not through the relay.
    async fn apply(&self, group: &str, kind: &str, manager: &str, object: &Value) {
        let gvk = kube::core::GroupVersionKind::gvk(group, "v1", kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.admin.clone(), &self.namespace, &ApiResource::from_gvk(&gvk));
        let name = object["metadata"]["name"].as_str().unwrap();
        let params = PatchParams::apply(manager).force();
        api.patch(name, &params, &Patch::Apply(object)).await.unwrap();
    }

    /// The operator's user may do everything in its namespace, and that has been noticed.
    async fn allow(&self) {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "operator" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": PLAIN_USER }],
        });
        self.apply("rbac.authorization.k8s.io", "RoleBinding", "team", &binding).await;
        self.until_allowed(true).await;
    }

    async fn until_allowed(&self, allowed: bool) {
        let credentials = Credentials::Kubeconfig {
            path: self.server.plain_kubeconfig(self.server.address().port()),
            context: None,
        };
        let kube = Kube::connect(&credentials, Some(&self.namespace)).await.unwrap();
        let end = Instant::now() + PATIENCE;
        while bascule_adapters::kube::marks::read(&kube).await.is_ok() != allowed {
            assert!(Instant::now() < end, "the binding is not noticed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    fn take(&mut self, seen: Seen<DynamicObject>) {
        let here = self.namespace.clone();
        let version = |o: &DynamicObject| {
            let labelled = o.labels().contains_key("watched") && o.namespace() == Some(here.clone());
            let text = o.data.get("data").and_then(|d| d.get("version")).and_then(Value::as_str);
            text.filter(|_| labelled).and_then(|v| v.parse().ok())
        };
        match seen {
            Seen::Listed { objects, .. } => {
                self.told = objects.iter().filter_map(|o| Some((o.name_any(), version(o)?))).collect();
            }
            Seen::Applied(object) => {
                if let Some(version) = version(&object) {
                    self.told.insert(object.name_any(), version);
                }
            }
            Seen::Deleted(key) => {
                if key.namespace == self.namespace {
                    self.told.remove(&key.name);
                }
            }
            Seen::Unreadable(bad) => panic!("{bad:?}"),
        }
    }

    /// Has the server ask `listener` before it takes such a write; whatever comes of that, it takes it.
    async fn ask_first(&self, listener: &TcpListener, rule: &Value, selector: &Value) {
        let hook = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": self.namespace },
            "webhooks": [{
                "name": "asks.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "timeoutSeconds": 30, "failurePolicy": "Ignore",
                "clientConfig": { "url": format!("https://{}/", listener.local_addr().unwrap()) },
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": self.namespace } },
                "objectSelector": selector, "rules": [rule],
            }],
        });
        let gvk = kube::core::GroupVersionKind::gvk(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
        );
        let hooks: Api<DynamicObject> = Api::all_with(self.admin.clone(), &ApiResource::from_gvk(&gvk));
        hooks.patch(&self.namespace, &PatchParams::apply("team"), &Patch::Apply(&hook)).await.unwrap();
    }

    /// From now on the server asks before it takes a change of a workload.
    async fn make_deaf(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rule = json!({
            "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"],
            "resources": ["deployments", "deployments/scale"],
        });
        self.ask_first(&listener, &rule, &json!({})).await;
        let gvk = kube::core::GroupVersionKind::gvk("apps", "v1", "Deployment");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.admin.clone(), &self.namespace, &ApiResource::from_gvk(&gvk));
        let end = Instant::now() + PATIENCE;
        // The hook counts a moment after it was written.
        for n in 0.. {
            assert!(Instant::now() < end, "the hook is not noticed");
            let patch = json!({ "metadata": { "annotations": { "try": n.to_string() } } });
            let (api, params) = (api.clone(), PatchParams { dry_run: true, ..PatchParams::default() });
            let mut write = tokio::spawn(async move {
                let _ = api.patch("web", &params, &Patch::Merge(&patch)).await;
            });
            tokio::select! {
                connection = listener.accept() => {
                    drop(connection);
                    let _ = write.await;
                    break;
                }
                _ = &mut write => {}
            }
        }
        self.busy = Some((listener, Vec::new()));
    }

    /// What it does is done, and when it has begun to do it nothing more is heard of it.
    async fn unheard(&self, port: &Workloads, step: &Perform) -> Outcome {
        let (listener, _) = self.busy.as_ref().expect("a server that asks first");
        let asked = async {
            let connection = listener.accept().await.unwrap();
            self.relay.held.send_replace(true);
            drop(connection);
        };
        tokio::join!(port.perform(&self.policy, step), asked).0.unwrap()
    }

    /// Keeps one write of the plain user under way: the server takes one at a time.
    async fn make_busy(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] });
        self.ask_first(&listener, &rule, &json!({ "matchLabels": { "slow": "yes" } })).await;
        let path = self.server.plain_kubeconfig(self.server.address().port());
        let kubeconfig = kube::config::Kubeconfig::read_from(path).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        config.default_retry = false;
        let maps: Api<ConfigMap> = Api::namespaced(Client::try_from(config).unwrap(), &self.namespace);
        let mut accepted = Vec::new();
        let end = Instant::now() + PATIENCE;
        // The hook counts a moment after it was written.
        for n in 0.. {
            assert!(Instant::now() < end, "the hook is not noticed");
            let object: ConfigMap = serde_json::from_value(
                json!({ "metadata": { "name": format!("slow-{n}"), "labels": { "slow": "yes" } } }),
            )
            .unwrap();
            let maps = maps.clone();
            let mut write = tokio::spawn(async move {
                let _ = maps.create(&PostParams::default(), &object).await;
            });
            tokio::select! {
                connection = listener.accept() => {
                    accepted.push(connection.unwrap().0);
                    break;
                }
                _ = &mut write => {}
            }
        }
        self.busy = Some((listener, accepted));
    }
}

impl Subject<Do> for Real {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        // Nothing is remembered of an earlier look.
        let port = Workloads::new(self.kube.clone());
        match *step {
            Do::Scale(_) if self.deaf => {
                return vec![outcome(&self.unheard(&port, &perform(step)).await)];
            }
            Do::Flag(_) | Do::Scale(_) => {
                let done = port.perform(&self.policy, &perform(step)).await.unwrap();
                return vec![outcome(&done)];
            }
            Do::Look => return view(&port.look(&self.policy, &web()).await),
            Do::RaiseMark(epoch, serial) => {
                let marks = Marks { epoch, serial, generation: 0 };
                return vec![outcome(&port.raise_mark(&self.policy.key, &marks.into()).await)];
            }
            Do::ReadMarks => return marks(&port.marks().await),
            Do::Watch => {
                let gvk = kube::core::GroupVersionKind::gvk("", "v1", "ConfigMap");
                // A watch is of every namespace.
                let path = self.server.kubeconfig_by(self.relay.address.port());
                let credentials = Credentials::Kubeconfig { path, context: None };
                let kube = Kube::connect(&credentials, Some(&self.namespace)).await.unwrap();
                let (watch, worker) = watch::<DynamicObject>(&kube, &ApiResource::from_gvk(&gvk), 8).unwrap();
                tokio::spawn(worker);
                self.watch = Some(watch);
            }
            Do::Write(name, version) => {
                let object = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": { "name": name, "labels": { "watched": "yes" } },
                    "data": { "version": version.to_string() },
                });
                self.apply("", "ConfigMap", "team", &object).await;
            }
            Do::Delete(name) => {
                let _ = self.config_maps().delete(name, &DeleteParams::default()).await.unwrap();
            }
            Do::Told(count, sum) => {
                let end = tokio::time::Instant::now() + PATIENCE;
                while !is_told(&self.told, count, sum) {
                    let watch = self.watch.as_mut().expect("a watch");
                    match tokio::time::timeout_at(end, watch.next()).await {
                        Ok(Some(seen)) => self.take(seen),
                        Ok(None) | Err(_) => break,
                    }
                }
                return objects(&self.told);
            }
            Do::Own => {
                let flags = self.config_maps().get("web-flags").await.unwrap();
                let data = json!({ "READ_ONLY": flags.data.unwrap()["READ_ONLY"] });
                let object = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web-flags" }, "data": data,
                });
                self.apply("", "ConfigMap", "argocd", &object).await;
            }
            Do::Release => {
                let object =
                    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web-flags" } });
                self.apply("", "ConfigMap", "argocd", &object).await;
            }
            Do::Deaf => {
                self.make_deaf().await;
                self.deaf = true;
            }
            Do::Answers => {
                self.deaf = false;
                self.busy = None;
                self.relay.held.send_replace(false);
            }
            Do::SilentWatch => {
                self.relay.held.send_replace(true);
                // As long as the model's; what was said meanwhile comes then.
                let held = self.relay.held.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    held.send_replace(false);
                });
            }
            Do::Stop | Do::Start | Do::Freeze | Do::Thaw => {
                let Server::Own(server) = &mut self.server else { panic!("the shared server is hurt") };
                match step {
                    Do::Stop => server.stop(),
                    Do::Start => server.start_again().await,
                    Do::Freeze => server.freeze(),
                    _ => server.thaw(),
                }
            }
            Do::Busy => self.make_busy().await,
            Do::Idle => {
                self.busy = None;
                // The write that waited ends when its admission does.
                let maps = self.config_maps();
                let end = Instant::now() + PATIENCE;
                let slow = ListParams::default().labels("slow=yes");
                while maps.list(&slow).await.unwrap().items.is_empty() {
                    assert!(Instant::now() < end, "the slow write does not end");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Do::Forbid => {
                let gvk = kube::core::GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", "RoleBinding");
                let bindings: Api<DynamicObject> =
                    Api::namespaced_with(self.admin.clone(), &self.namespace, &ApiResource::from_gvk(&gvk));
                let _ = bindings.delete("operator", &DeleteParams::default()).await.unwrap();
                self.until_allowed(false).await;
            }
            Do::Allow => self.allow().await,
            Do::FreezeMarks => {
                let patch = json!({ "immutable": true });
                self.config_maps()
                    .patch("bascule-marks", &PatchParams::default(), &Patch::Merge(&patch))
                    .await
                    .unwrap();
            }
        }
        vec![]
    }
}

async fn play_on(server: Server, namespace: &str, script: &[Do]) {
    let real = Box::pin(Real::new(server, namespace)).await;
    Box::pin(compare(script, Model::new(shop(namespace)), real)).await;
}

async fn play(namespace: &str, script: &[Do]) {
    play_on(Server::Shared(ApiServer::shared().await), namespace, script).await;
}

// ---- the scripts

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_never_falls_and_one_that_cannot_be_written_is_refused_and_stays() {
    play(
        "marks",
        &[
            Do::ReadMarks,
            Do::RaiseMark(1, 3),
            Do::ReadMarks,
            Do::RaiseMark(1, 2),
            Do::ReadMarks,
            Do::RaiseMark(2, 5),
            Do::RaiseMark(1, 9),
            Do::ReadMarks,
            Do::FreezeMarks,
            Do::RaiseMark(3, 10),
            Do::ReadMarks,
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_another_manager_owns_is_not_taken_from_it() {
    play(
        "owned",
        &[
            Do::Flag(true),
            Do::Look,
            Do::Flag(false),
            Do::Look,
            Do::Own,
            Do::Look,
            Do::Flag(true),
            Do::Flag(false),
            Do::Scale(3),
            Do::Look,
            Do::Release,
            Do::Flag(true),
            Do::Look,
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_changes_nothing_and_has_everything_when_it_is_back() {
    let server = Server::Own(Box::new(ApiServer::start().await));
    let script = [
        Do::Flag(true),
        Do::Scale(2),
        Do::RaiseMark(1, 3),
        Do::Stop,
        Do::Look,
        Do::Flag(false),
        Do::Scale(5),
        Do::RaiseMark(2, 4),
        Do::ReadMarks,
        Do::Start,
        Do::Look,
        Do::ReadMarks,
        Do::Flag(false),
        Do::Look,
    ];
    play_on(server, "gone", &script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_leaves_everything_unknown_until_it_does() {
    let server = Server::Own(Box::new(ApiServer::start().await));
    let script = [
        Do::Flag(true),
        Do::Scale(2),
        Do::RaiseMark(1, 3),
        Do::Freeze,
        Do::Look,
        Do::ReadMarks,
        Do::RaiseMark(2, 4),
        Do::Flag(true),
        Do::Thaw,
        Do::RaiseMark(2, 4),
        Do::ReadMarks,
        Do::Flag(true),
        Do::Look,
    ];
    play_on(server, "frozen", &script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_is_refused_and_not_seen() {
    play(
        "forbidden",
        &[
            Do::Flag(true),
            Do::RaiseMark(1, 3),
            Do::Forbid,
            Do::Look,
            Do::Flag(false),
            Do::Scale(2),
            Do::RaiseMark(2, 4),
            Do::ReadMarks,
            Do::Allow,
            Do::Look,
            Do::ReadMarks,
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_leaves_a_write_unknown_and_takes_it_later() {
    // One write at a time, of those that are not the administrator's.
    let extra = &["--max-mutating-requests-inflight=1", "--max-requests-inflight=100"];
    let server = Server::Own(Box::new(ApiServer::start_with(extra).await));
    let script = [
        Do::Flag(true),
        Do::Busy,
        Do::Flag(false),
        Do::Scale(2),
        Do::Idle,
        Do::Look,
        Do::Flag(false),
        Do::Look,
    ];
    play_on(server, "busy", &script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_unknown_and_done() {
    play(
        "deaf",
        &[
            Do::Flag(true),
            Do::Scale(2),
            Do::Deaf,
            Do::Scale(4),
            Do::Answers,
            Do::Look,
            Do::Scale(2),
            Do::Look,
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_was_silent_tells_the_last_state_of_each_object_and_what_is_gone() {
    play(
        "watch",
        &[
            Do::Write("one", 1),
            Do::Watch,
            Do::Told(1, 1),
            Do::Write("two", 5),
            Do::Told(2, 6),
            Do::SilentWatch,
            Do::Write("one", 2),
            Do::Write("one", 3),
            Do::Delete("two"),
            Do::Write("three", 7),
            Do::Told(2, 10),
        ],
    )
    .await;
}
