//! What is played: a route as its people wrote it, then under Bascule's care, a hold, and its end.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};

use super::backend::{Backend, LYON, PARIS, PICTURES, RESPONDER, RESPONDER_PORT};
use super::client::{self, Asked, CART, Connection, Visitor, WRITING, split};
use super::objects::{self, REFUSING, RETRY, RULES, WORDS};
use super::plane::{Controller, Proxy};
use crate::command::finish;
use crate::scale::loopback::{ApiServer, Servers, Tied};
use crate::tools::{Gateway, workspace};
use crate::waiting::until;

/// The sites. The gateway is in the second one.
const SITES: [&str; 2] = ["paris", "lyon"];

/// Who answers what the policy leaves alone.
const ELSEWHERE: &str = "pictures";

/// How often the active site falls silent: what goes wrong for a moment only does so now and then.
const HOLDS: usize = 3;

/// How long a change may take to come about, from the start of a process to the answer of the data plane.
const SOON: Duration = Duration::from_mins(1);

/// How long a silent site's reads may take to be served elsewhere: ten seconds by the policy, and all that follows.
const HOLD: Duration = Duration::from_secs(90);

/// How long the proxy may be in the middle of one change.
const CHANGE: Duration = Duration::from_secs(2);

/// How many answers in a row must agree before the data plane counts as having obeyed.
const AGREE: usize = 20;

/// Everything of it.
pub(super) async fn play(gateway: &Gateway, programs: &Path, folder: &Path) -> Result<()> {
    println!("two API servers and an arbiter in {}", folder.display());
    let servers = Servers::start(programs.to_owned(), folder, &SITES).await?;
    let [paris, lyon] = servers.sites() else { bail!("{} sites were started", servers.sites().len()) };
    let kubectl = |site: &ApiServer| Kubectl { program: programs.join("kubectl"), config: site.kubeconfig() };
    for site in [paris, lyon] {
        kubectl(site).definitions(gateway)?;
        kubectl(site).apply(objects::NAMESPACES)?;
        kubectl(site).apply(objects::ROUTE)?;
    }
    let client = lyon.client().await?;
    kubectl(lyon).apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: envoy-gateway-system}\n")?;
    kubectl(lyon).apply(&objects::services())?;
    let _backends = [
        Backend::start(SITES[0], PARIS).await?,
        Backend::start(SITES[1], LYON).await?,
        Backend::start(ELSEWHERE, PICTURES).await?,
    ];
    let _controller = Controller::start(gateway, &client, &lyon.kubeconfig(), folder).await?;
    kubectl(lyon).apply(objects::GATEWAY)?;
    let _proxy = Proxy::start(gateway, &client, folder).await?;
    until("the gateway to serve the route", SOON, || async {
        let answer = Connection::default().ask("GET").await?;
        ensure!(answer.status == StatusCode::OK, "{answer:?}");
        Ok(())
    })
    .await?;
    split("as its people wrote it", &[("paris", 0.5), ("lyon", 0.5)]).await?;

    let arbiter = servers.arbiter("arbiter").await?;
    let operator = |site: &ApiServer, more: &[String]| {
        let log = folder.join(format!("operator-{}.log", site.site));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("operator").args(servers.operator_options(site, &arbiter)).args(more);
        Tied::start(&command, &log)
    };
    let answers = [
        format!("--responder-listen={RESPONDER}:{RESPONDER_PORT}"),
        "--responder-service=responder:80".to_owned(),
    ];
    let _lyon = operator(lyon, answers.as_slice())?;
    let again = || operator(paris, [].as_slice());
    let first = again()?;
    for site in [paris, lyon] {
        kubectl(site).apply(&objects::policy())?;
    }
    let route = Route::of(&client);
    route.until_marked("bascule.dev/points-at", "site=paris").await?;
    served_by("paris").await?;
    split("paris is active", &[("paris", 1.0), ("lyon", 0.0)]).await?;
    for method in WRITING {
        let answer = Connection::default().ask(method).await?;
        ensure!(answer.who() == "paris", "{method} while paris is active: {answer:?}");
    }

    let mut first = first;
    for hold in 1..=HOLDS {
        println!("hold {hold} of {HOLDS}");
        first = no_read_is_refused_while_rules_behind_the_others_come_and_go(&route, first, &again).await?;
    }
    println!("ok");
    Ok(())
}

/// A hold and its end, with somebody who reads and writes all along.
async fn no_read_is_refused_while_rules_behind_the_others_come_and_go(
    route: &Route,
    first: Tied,
    again: impl Fn() -> Result<Tied>,
) -> Result<Tied> {
    let visitor = Visitor::start();
    hold(route, first).await?;
    let first = back(route, again).await?;
    judge(&visitor.end().await)?;
    Ok(first)
}

/// The active site falls silent: lyon serves its reads, and its gateway answers writes.
async fn hold(route: &Route, first: Tied) -> Result<()> {
    let silent = Instant::now();
    drop(first);
    until("writes to be refused", HOLD, || async {
        let answer = Connection::default().ask("POST").await?;
        ensure!(answer.status == StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        Ok(())
    })
    .await?;
    route.until_marked("bascule.dev/points-at", "site=lyon").await?;
    served_by("lyon").await?;
    println!(
        "lyon serves reads and refuses writes {:.1} s after paris fell silent",
        silent.elapsed().as_secs_f64()
    );
    split("during the hold", &[("paris", 0.0), ("lyon", 1.0)]).await?;
    let rules = route.rules().await?;
    ensure!(
        rules.split_last().is_some_and(|(last, others)| last == REFUSING && others == RULES),
        "the route's own rules keep their places, and Bascule's stands behind them: {rules:?}"
    );
    let mut connection = Connection::default();
    let mut refused = 0;
    for method in WRITING.into_iter().cycle().take(400) {
        let answer = connection.ask(method).await?;
        ensure!(
            answer.status == StatusCode::SERVICE_UNAVAILABLE
                && answer.retry_after.as_deref() == Some(RETRY)
                && answer.body == WORDS
                && answer.language.as_deref() == Some("fr"),
            "{method} during the hold: {answer:?}"
        );
        refused += 1;
    }
    println!("during the hold: {refused} of 400 writes got 503 with Retry-After {RETRY}: {WORDS}");
    for method in ["GET", "HEAD", "OPTIONS"] {
        let answer = connection.ask(method).await?;
        ensure!(answer.status == StatusCode::OK, "{method} during the hold: {answer:?}");
    }
    Ok(())
}

/// The active site comes back: once it is stable its users follow, and writes are accepted again.
async fn back(route: &Route, again: impl Fn() -> Result<Tied>) -> Result<Tied> {
    let begun = Instant::now();
    let first = again()?;
    route.until_marked("bascule.dev/writes", "writes=passed").await?;
    served_by("paris").await?;
    until("writes to be taken", SOON, || async {
        let answer = Connection::default().ask("POST").await?;
        ensure!(answer.who() == "paris", "{answer:?}");
        Ok(())
    })
    .await?;
    println!(
        "writes pass again {:.1} s after the operator of paris was started",
        begun.elapsed().as_secs_f64()
    );
    split("paris is back", &[("paris", 1.0), ("lyon", 0.0)]).await?;
    for method in WRITING {
        let answer = Connection::default().ask(method).await?;
        ensure!(answer.who() == "paris", "{method} after the hold: {answer:?}");
    }
    let rules = route.rules().await?;
    ensure!(rules == RULES, "the route has its own rules and no others: {rules:?}");
    Ok(first)
}

/// What somebody has seen who has read and written all along, from before the rules came until after they had gone.
///
/// Reads, and whatever goes elsewhere, are always answered by who is to answer them. Writes are first taken, then refused
/// with when to try again, then taken by the active site.
///
/// Where the first stretch ends cannot be told from outside better than by the first refusal: the API server has the rule
/// before the gateway's controller has seen it, and the proxy has it later still, so that a write may pass although the
/// route says already that it is refused. From then on nothing may get around it: the proxy has one worker, for which a
/// change of its routes is one moment, and the visitor sends a request when the one before it was answered. The first
/// stretch may have writes at both sites, since where the route leads is changed first; in the last one the route leads to
/// the active site before writes pass.
///
/// Between two stretches the proxy may answer by itself, 503 without a time: clusters and routes are told to it one after
/// the other, so that routes may name the cluster of the rule before it serves, when the rule comes, and after it is gone,
/// when the rule goes. It is none of the writes that pass, and none that got around anything. It ends soon, and there is
/// nothing else in it.
fn judge(record: &[Asked]) -> Result<()> {
    let of = |method: &'static str, path: &'static str| {
        record.iter().filter(move |asked| asked.method == method && asked.path == path)
    };
    let (reads, writes) = (of("GET", CART).count(), of("POST", CART).count());
    ensure!(reads > 100 && writes > 100, "too few to say anything: {reads} reads, {writes} writes");
    let astray = |a: &&Asked| match (a.method, a.path) {
        (_, client::PICTURES) => a.who != ELSEWHERE,
        ("GET", _) => !SITES.contains(&a.who.as_str()),
        _ => false,
    };
    let failed: Vec<&Asked> = record.iter().filter(astray).collect();
    ensure!(
        failed.is_empty(),
        "{} of {} requests that no rule refuses failed, first {:?}",
        failed.len(),
        record.len() - writes,
        failed.first()
    );
    let mut stretches: Vec<(Stretch, &Asked, usize)> = Vec::new();
    for asked in of("POST", CART) {
        let last = stretches.last().map(|(stretch, ..)| *stretch);
        let stretch = Stretch::follows(last, asked).with_context(|| {
            format!("after {:?}", stretches.iter().map(|(s, _, n)| (s, n)).collect::<Vec<_>>())
        })?;
        match stretches.last_mut().filter(|_| last == Some(stretch)) {
            Some((_, _, length)) => *length += 1,
            None => stretches.push((stretch, asked, 1)),
        }
    }
    let found = |wanted: Stretch| stretches.iter().find(|(stretch, ..)| *stretch == wanted);
    let long = |wanted: Stretch| found(wanted).map_or(0, |(_, _, length)| *length);
    let [before, refused, after] = [Stretch::Before, Stretch::Refused, Stretch::After].map(long);
    ensure!(
        before > 0 && refused > 0 && after > 0,
        "writes were not taken, refused and taken again: {before}, {refused}, {after}"
    );
    for (turn, next) in [(Stretch::Comes, Stretch::Refused), (Stretch::Goes, Stretch::After)] {
        if let (Some((_, first, n)), Some((_, then, _))) = (found(turn), found(next)) {
            let lasted = then.at - first.at;
            ensure!(
                lasted <= CHANGE,
                "while the rule {turn:?} the proxy answered {n} writes by itself for {lasted:?}"
            );
        }
    }
    let turns = long(Stretch::Comes) + long(Stretch::Goes);
    println!(
        "all along: {reads} reads answered; of {writes} writes {before} taken, then {refused} refused, then {after} taken; \
         {turns} answered by the proxy itself in between"
    );
    Ok(())
}

/// What becomes of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stretch {
    Before,
    Comes,
    Refused,
    Goes,
    After,
}

impl Stretch {
    /// The stretch that a write belongs to, after one of `last`.
    fn follows(last: Option<Self>, asked: &Asked) -> Result<Self> {
        let taken = SITES.contains(&asked.who.as_str());
        let refused = asked.who == "503" && asked.retry_after;
        // It has no words for a cluster that it does not know, and some for one that does not answer.
        let by_itself = asked.who == "503" && !asked.retry_after && asked.body.is_empty();
        match last {
            None | Some(Self::Before) if taken => Ok(Self::Before),
            Some(Self::Before | Self::Comes) if by_itself => Ok(Self::Comes),
            Some(Self::Before | Self::Comes | Self::Refused) if refused => Ok(Self::Refused),
            Some(Self::Refused | Self::Goes) if by_itself => Ok(Self::Goes),
            Some(Self::Refused | Self::Goes | Self::After) if asked.who == SITES[0] => Ok(Self::After),
            _ => bail!("this does not follow: {asked:?}"),
        }
    }
}

/// Waits until the data plane sends every request to a site.
async fn served_by(site: &str) -> Result<()> {
    until(&format!("all requests to go to {site}"), SOON, || async {
        let mut connection = Connection::default();
        for _ in 0..AGREE {
            let answer = connection.ask("GET").await?;
            ensure!(answer.who() == site, "{} answers", answer.who());
        }
        Ok(())
    })
    .await
}

/// The route in lyon.
struct Route(Api<DynamicObject>);

impl Route {
    fn of(client: &Client) -> Self {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
        let resource = ApiResource::from_gvk_with_plural(&kind, "httproutes");
        Self(Api::namespaced_with(client.clone(), "shop", &resource))
    }

    async fn until_marked(&self, annotation: &str, words: &str) -> Result<()> {
        until(&format!("{annotation} to say {words}"), HOLD, || async {
            let route = self.0.get("web").await?;
            let found = route.annotations().get(annotation).cloned().unwrap_or_default();
            ensure!(found.split(' ').any(|word| word == words), "it says {found:?}");
            Ok(())
        })
        .await
    }

    /// The names of its rules.
    async fn rules(&self) -> Result<Vec<String>> {
        let route = self.0.get("web").await?;
        let rules = route.data["spec"]["rules"].as_array().cloned().unwrap_or_default();
        Ok(rules.iter().map(|rule| rule["name"].as_str().unwrap_or_default().to_owned()).collect())
    }
}

/// kubectl for one cluster.
struct Kubectl {
    program: std::path::PathBuf,
    config: std::path::PathBuf,
}

impl Kubectl {
    fn apply(&self, objects: &str) -> Result<()> {
        let mut kubectl = Command::new(&self.program);
        kubectl.env("KUBECONFIG", &self.config).args(["apply", "--server-side", "-f", "-"]);
        finish(kubectl, Some(objects.as_bytes()), SOON).map(drop)
    }

    /// Installs the kinds of the gateway and of Bascule, and waits until they are served.
    fn definitions(&self, gateway: &Gateway) -> Result<()> {
        let own = workspace()?.join("crds/generated");
        let own = std::fs::read_dir(&own)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let yaml = |path: &&std::path::PathBuf| path.extension().is_some_and(|e| e == "yaml");
        for file in gateway.definitions.iter().chain(own.iter().filter(yaml)) {
            let text = std::fs::read_to_string(file)?;
            // Those of a chart begin and end with its conditions.
            let lines = text.lines().filter(|line| !line.starts_with("{{"));
            let text: String = lines.flat_map(|line| [line, "\n"]).collect();
            self.apply(&text).with_context(|| file.display().to_string())?;
        }
        let mut wait = Command::new(&self.program);
        wait.env("KUBECONFIG", &self.config).args(["wait", "--for=condition=Established", "crd", "--all"]);
        finish(wait, None, SOON).map(drop)
    }
}
