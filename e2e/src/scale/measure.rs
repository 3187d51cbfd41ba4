//! One fleet after the other, the smallest first, each through the same acts.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Client;

use super::SITES;
use super::figures::{Figures, Measured};
use super::fleet;
use super::inside::{Ask, Moment, Report};
use super::loopback::{Arbiter, Servers, Usage};
use super::operator::Operator;
use crate::bench::machine;

/// How long an act may take before it counts as never done.
const NEVER: Duration = Duration::from_mins(10);
/// How many policies are changed at once, and how many are of the site that dies, at most.
const MANY: usize = 1000;
/// How long it is quiet before rest is measured, at most.
const SETTLE: Duration = Duration::from_secs(30);
/// How long rest is measured.
const REST: Duration = Duration::from_mins(1);

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How many policies, one fleet after the other.
    pub sizes: Vec<usize>,
    /// Where etcd, etcdctl and kube-apiserver are.
    pub programs: PathBuf,
    /// Where everything lies meanwhile: in memory, so that a disk is not measured.
    pub folder: PathBuf,
}

/// Measures all sizes; `done` is told after each.
pub async fn run(wanted: &Wanted, mut done: impl FnMut(&Figures) -> Result<()>) -> Result<()> {
    let mut figures = Figures { about: about()?, ..Figures::default() };
    eprintln!("starting two API servers in {}", wanted.folder.display());
    let servers = Servers::start(wanted.programs.clone(), &wanted.folder, &SITES).await?;
    let mut clients = Vec::new();
    for site in servers.sites() {
        let client = site.client().await?;
        fleet::prepare(&client).await?;
        clients.push(client);
    }
    let mut sizes = wanted.sizes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let mut there = 0;
    for n in sizes {
        eprintln!("{n} policies");
        fleet::create(&clients, there..n).await?;
        there = n;
        for client in &clients {
            fleet::forget(client).await?;
        }
        let arbiter = servers.arbiter(&format!("arbiter-{n}")).await?;
        let mut run =
            Run { n, servers: &servers, clients: &clients, arbiter: &arbiter, found: Measured::new() };
        let ended = run.all().await;
        figures.add(n, run.found);
        done(&figures)?;
        if let Err(why) = ended {
            // What was measured stays, and larger fleets are measured all the same.
            eprintln!("with {n} policies: {why:#}");
            keep(&arbiter, n);
        }
        arbiter.end()?;
    }
    Ok(())
}

fn about() -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("commit", machine::commit()?),
        ("machine", machine::describe()),
        ("day", jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()),
        ("profile", "wan".to_owned()),
    ])
}

/// Keeps the logs of a run that broke off.
fn keep(arbiter: &Arbiter, n: usize) {
    for site in SITES {
        let log = arbiter.folder().join(format!("{site}.log"));
        let text = fs::read_to_string(&log).unwrap_or_default();
        eprintln!("the last lines of {site} with {n} policies:\n{}", crate::command::tail(&text, 4000));
    }
}

struct Run<'a> {
    n: usize,
    servers: &'a Servers,
    clients: &'a [Client],
    arbiter: &'a Arbiter,
    found: Measured,
}

fn s(ms: f64) -> f64 {
    ms / 1e3
}

impl Run<'_> {
    fn put(&mut self, name: &'static str, value: f64) {
        let shown = (value * 1e4).round() / 1e4;
        eprintln!("  {name}: {shown}");
        self.found.insert(name, shown);
    }

    fn operator(&self, n: usize) -> Result<Operator> {
        let site = self.servers.sites().get(n).context("there are two sites")?;
        let options = self.servers.operator_options(site, self.arbiter);
        let file = |ending: &str| self.arbiter.folder().join(format!("{}.{ending}", site.site));
        let other = SITES.into_iter().find(|other| *other != site.site).context("another site")?;
        Operator::start(site.site, other, &file("servers"), &options, &file("log"))
    }

    async fn all(&mut self) -> Result<()> {
        let (mut first, mut second) = (self.operator(0)?, self.operator(1)?);
        first.tell(Ask::Begin(fleet::FIRST)).await?;
        second.tell(Ask::Begin(fleet::FIRST)).await?;
        self.cold(&mut first, &mut second).await?;
        self.changed(&mut first, &mut second).await?;
        self.rest(&mut first).await?;
        let mut first = self.restart(first).await?;
        self.site_dies(&mut first, second).await?;
        first.kill().await
    }

    async fn cold(&mut self, first: &mut Operator, second: &mut Operator) -> Result<()> {
        let report = first.until(Moment::Decided, self.n, NEVER).await?;
        let lists = report.lists.values().copied().fold(first.started, f64::max);
        let decided = report.moments.get(&Moment::Decided).context("decided")?;
        self.put("cold-start-lists", s(lists - first.started));
        self.put("cold-start", s((decided.last - lists).max(0.0)));
        let report = first.until(Moment::Ready, self.n - fleet::second_share(self.n), NEVER).await?;
        let ready = report.moments.get(&Moment::Ready).context("ready")?.last;
        second.until(Moment::Ready, fleet::second_share(self.n), NEVER).await?;
        self.put("cold-start-ready", s(ready - first.started));
        self.calls(&report);
        Ok(())
    }

    fn calls(&mut self, report: &Report) {
        for (name, calls) in &report.calls {
            eprintln!("    {name}: {calls:?}");
        }
        let of_arbiter = |name: &str| {
            name.contains("record") || name.contains("lease") || name == "renew" || name.contains("facts")
        };
        let arbiter = || report.calls.iter().filter(|(name, _)| of_arbiter(name)).map(|(_, calls)| calls);
        self.put("most-calls-at-once", arbiter().map(|calls| calls.most).max().unwrap_or_default() as f64);
        self.put("failed-calls", arbiter().map(|calls| calls.failed).sum::<u64>() as f64);
    }

    async fn changed(&mut self, first: &mut Operator, second: &mut Operator) -> Result<()> {
        let (many, cooldown) = (self.n.min(MANY), fleet::another(self.n));
        for operator in [&mut *first, &mut *second] {
            operator.tell(Ask::Begin(cooldown)).await?;
        }
        let begun = super::inside::now_ms();
        fleet::change(self.clients, 0..many, cooldown).await?;
        let (mut told, mut shown) = (begun, begun);
        for operator in [first, second] {
            let report = operator.until(Moment::Shown, many, NEVER).await?;
            eprintln!("    {:?}", report.moments);
            let last = |moment| report.moments.get(&moment).map_or(begun, |when| when.last);
            told = told.max(last(Moment::Told));
            shown = shown.max(last(Moment::Shown));
        }
        self.put("changed-1000", s(shown - begun));
        self.put("changed-1000-told", s(told - begun));
        Ok(())
    }

    async fn rest(&mut self, first: &mut Operator) -> Result<()> {
        eprintln!("    quiet for {SETTLE:?}, then measured for {REST:?}");
        tokio::time::sleep(SETTLE).await;
        let client = self.clients.first().context("there are two sites")?;
        let before = (first.report().await?, first.usage()?, fleet::requests(client).await?, Instant::now());
        tokio::time::sleep(REST).await;
        let after = (first.report().await?, first.usage()?, fleet::requests(client).await?);
        let seconds = before.3.elapsed().as_secs_f64();
        let made = |report: &Report, name: &str| report.calls.get(name).map_or(0, |calls| calls.made);
        let more = |name: &str| (made(&after.0, name) - made(&before.0, name)) as f64;
        let Usage { resident, own, cpu } = after.1;
        let minute = 60.0 / seconds;
        self.put("rest-cpu", (cpu - before.1.cpu) / seconds * 100.0);
        self.put("rest-writes", (more("write record") + more("write facts")) * minute);
        self.put("rest-requests", ((after.2 - before.2) as f64 + more("beat")) * minute);
        self.put("rest-looks", more("look") * minute);
        self.put("rest-questions", more("question") / seconds);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        self.put("memory", mib(resident));
        self.put("memory-own", mib(own));
        Ok(())
    }

    /// The first site's operator is killed and started again at once; its databases go on meanwhile.
    async fn restart(&mut self, mut first: Operator) -> Result<Operator> {
        first.tell(Ask::Keep).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mine = self.n - fleet::second_share(self.n);
        first.kill().await?;
        let mut again = self.operator(0)?;
        let report = again.until(Moment::Granted, mine, NEVER).await?;
        let last = |moment| report.moments.get(&moment).map_or(f64::NAN, |when| when.last);
        self.put("restart", s(last(Moment::Applied) - again.started));
        self.put("restart-granted", s(last(Moment::Granted) - again.started));
        self.put("restart-expired", report.expired as f64);
        again.until(Moment::Shown, 0, NEVER).await?;
        Ok(again)
    }

    /// The second site loses its power; one of its policies has steps that hang.
    async fn site_dies(&mut self, first: &mut Operator, second: Operator) -> Result<()> {
        let hangs =
            (0..self.n).find(|n| fleet::begins_second(*n)).context("one begins at the second site")?;
        eprintln!("    quiet for {SETTLE:?}");
        tokio::time::sleep(SETTLE).await;
        first.tell(Ask::Hang(hangs)).await?;
        first.tell(Ask::Begin(fleet::FIRST)).await?;
        first.tell(Ask::OtherDied).await?;
        second.kill().await?;
        // Leave is given to the databases of all policies, again and again.
        let report = first.until(Moment::Granted, self.n, NEVER).await?;
        let of = |moment| report.moments.get(&moment).copied().with_context(|| format!("{moment:?}"));
        let (written, begun, granted) = (of(Moment::Written)?, of(Moment::Begun)?, of(Moment::Granted)?);
        self.put("dead-site-decision-p99", written.p99 - written.first);
        self.put("dead-site-last-started", s(begun.last - written.first));
        self.put("dead-site-last-granted", s(granted.last - written.first));
        let theirs = fleet::second_share(self.n);
        // Later than the last target allows, and not the one that hangs: that one's guard was told in time as well.
        let late = theirs.saturating_sub(begun.n);
        self.put("dead-site-starved", late as f64);
        eprintln!("    {:?}", report.moments);
        Ok(())
    }
}
