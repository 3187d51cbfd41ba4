//! Takes turns between the series until each has as many samples as were asked for, or the time is over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::bascule::Bascule;
use super::by_hand::ByHand;
use super::client::{BACK, Before, Change, NoWrite};
use super::effect::{Effects, Took};
use super::machine;
use super::patroni::Patroni;
use super::proxy;
use super::sample::{Sample, append, read, rounded};
use super::series::{Act, Series, System};
use crate::world::{Place, World};

/// How much more processor time the places get than other work on the machine: all of them alike.
const PREFERRED: u32 = 16;

/// How long a sample waits for a quiet machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What shall be measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The series; they take turns in the order of [`Series::all`].
    pub series: Vec<Series>,
    /// How many samples each shall have in the end, with those that the file holds already.
    pub n: usize,
    /// No sample is begun after this time.
    pub time: Duration,
    /// The file that samples are appended to.
    pub file: PathBuf,
}

impl Wanted {
    /// The series that still lack samples, each with the number that it has.
    pub fn missing(&self) -> Result<Vec<(Series, usize)>> {
        let samples = read(&self.file)?;
        let chosen = Series::all().iter().filter(|series| self.series.contains(series));
        let counted = chosen.map(|s| (*s, samples.iter().filter(|sample| sample.series == s.name).count()));
        Ok(counted.filter(|(_, count)| *count < self.n).collect())
    }
}

/// Measures; every sample is in the file as soon as it is known, so that whatever happens later costs nothing.
pub async fn run(world: &World, wanted: &Wanted) -> Result<()> {
    let begin = Instant::now();
    let missing = wanted.missing()?;
    let mut bench = Box::pin(Bench::start(world, &missing)).await?;
    let mut counts: BTreeMap<&str, usize> = missing.iter().map(|(s, count)| (s.name, *count)).collect();
    loop {
        let mut measured = false;
        for (series, _) in &missing {
            let lacks = |s: &Series| counts.get(s.name).is_some_and(|count| *count < wanted.n);
            // A return follows every kill of its system.
            let comes_by_itself = series.act == Act::Returned
                && Series::all()
                    .iter()
                    .any(|s| s.act == Act::SiteKilled && s.system == series.system && lacks(s));
            if !lacks(series) || comes_by_itself {
                continue;
            }
            let left = wanted.time.saturating_sub(begin.elapsed());
            if left.is_zero() {
                world.progress().done("the time is over; the same command goes on where it ended");
                return Ok(());
            }
            machine::quiet(PATIENCE).await?;
            for sample in Box::pin(bench.samples(*series)).await? {
                // What a turn brings beside its own is kept while it is wanted.
                let wants = |count: &&mut usize| **count < wanted.n;
                let Some(count) = counts.get_mut(sample.series.as_str()).filter(wants) else { continue };
                append(&wanted.file, &sample)?;
                *count += 1;
                let pause = sample.pause.map_or_else(String::new, |p| format!(", pause {p} ms"));
                let failed =
                    sample.failed.as_ref().map_or_else(String::new, |why| format!(", FAILED: {why}"));
                let Sample { series, ms, lost, .. } = &sample;
                let line = format!("{series} {count}/{}: {ms} ms{pause}, {lost} rows lost{failed}", wanted.n);
                world.progress().done(&line);
                // What did not come back is no pair to go on with.
                ensure!(sample.failed.is_none(), "{series}: nobody could write; the same command goes on");
            }
            measured = true;
        }
        if !measured {
            return Ok(());
        }
    }
}

/// Everything that takes turns.
struct Bench<'a> {
    world: &'a World,
    bascule: Bascule<'a>,
    effects: Option<Effects>,
    by_hand: Option<ByHand<'a>>,
    patroni: Option<Patroni<'a>>,
    /// The peer's configuration that is in force.
    configured: System,
    commit: String,
    machine: String,
}

impl<'a> Bench<'a> {
    /// Starts what these series need; Bascule is there in each of them, at rest while another one is measured.
    async fn start(world: &'a World, series: &[(Series, usize)]) -> Result<Self> {
        let progress = world.progress();
        for place in Place::ALL {
            world.prefer(place, PREFERRED)?;
        }
        let any = |system: System| series.iter().any(|(s, _)| s.system == system);
        let bascule = Bascule::install(world).await?;
        progress.done("Bascule: a steady pair");
        let mut by_hand = None;
        if any(System::ByHand) {
            by_hand = Some(ByHand::start(world).await?);
            progress.done("by hand: two servers, one follows the other");
        }
        let mut patroni = None;
        if any(System::Patroni) || any(System::PatroniTuned) {
            patroni = Some(Patroni::start(world).await?);
            progress.done("Patroni: a steady pair");
        }
        if series.iter().any(|(s, _)| s.act.by_proxy()) {
            let mut lists = vec![Bascule::listed()?];
            lists.extend(patroni.is_some().then(Patroni::listed));
            proxy::start(world, &lists).await?;
            progress.done("a proxy that asks both sites");
        }
        Ok(Self {
            world,
            bascule,
            effects: None,
            by_hand,
            patroni,
            configured: System::Patroni,
            commit: machine::commit()?,
            machine: machine::describe(),
        })
    }

    /// One turn of a series: one sample, or two of what comes in pairs.
    async fn samples(&mut self, series: Series) -> Result<Vec<Sample>> {
        if series.act == Act::Effect {
            if self.effects.is_none() {
                self.effects = Some(Effects::start(&self.bascule).await?);
            }
            let effects = self.effects.as_mut().context("no watch")?;
            let took = effects.pair(&self.bascule).await?;
            let sample = |took: Took| Sample {
                phases: BTreeMap::from([("accepted".to_owned(), rounded(took.accepted))]),
                ..self.sample(series, rounded(took.recorded))
            };
            return Ok(took.map(sample).into());
        }
        if series.act == Act::Pushed {
            self.bascule.configure(series.system.profile()).await?;
            let ms = self.bascule.pushed().await?;
            return Ok(vec![self.sample(series, ms)]);
        }
        // It watches the record beside the active site, which moves from here on.
        self.effects = None;
        match self.change(series).await {
            Ok((change, returned)) => {
                let mut samples = vec![];
                if series.act != Act::Returned {
                    samples.push(self.of(series, change));
                }
                let follows = Series::all()
                    .iter()
                    .find(|s| s.act == Act::Returned && s.system == series.system && returned.is_some());
                samples.extend(follows.zip(returned).map(|(series, ms)| self.sample(*series, ms)));
                Ok(samples)
            }
            Err(e) => match e.downcast_ref::<NoWrite>() {
                // Nothing is dropped, and nothing goes on from a pair that did not come back.
                Some(why) => {
                    let mut sample = self.sample(series, BACK.as_secs_f64() * 1000.0);
                    sample.failed = Some(why.0.clone());
                    Ok(vec![sample])
                }
                None => Err(e.context(format!("while measuring {}", series.name))),
            },
        }
    }

    /// The change, and how long a site that lost its power took to follow once it had it again.
    async fn change(&mut self, series: Series) -> Result<(Change, Option<f64>)> {
        let act = series.act;
        match series.system {
            System::Bascule | System::BasculeRegion | System::BasculeWan => {
                self.bascule.configure(series.system.profile()).await?;
                let (from, seen) = self.bascule.measure(act).await?;
                let returned = self.power_after(series, from).await?;
                Ok((self.bascule.settle(from, seen).await?, returned))
            }
            System::ByHand => {
                let pair = self.by_hand.as_mut().context("no servers by hand")?;
                let (from, seen, phases) = pair.measure(act).await?;
                self.power_after(series, from).await?;
                let pair = self.by_hand.as_ref().context("no servers by hand")?;
                Ok((pair.settle(from, seen, phases).await?, None))
            }
            System::Patroni | System::PatroniTuned => {
                if self.configured != series.system {
                    self.patroni()?.configure(series.system).await?;
                    self.configured = series.system;
                }
                let (from, seen) = self.patroni()?.measure(act).await?;
                let returned = self.power_after(series, from).await?;
                Ok((self.patroni()?.settle(from, seen).await?, returned))
            }
        }
    }

    fn patroni(&self) -> Result<&Patroni<'a>> {
        self.patroni.as_ref().context("no Patroni")
    }

    /// Gives a site that was killed its power, and everything in it, the measured system first. Answers how long that took
    /// from the moment at which the place's own servers ran until the site's server streamed from the other one.
    async fn power_after(&mut self, series: Series, site: Place) -> Result<Option<f64>> {
        if !series.act.kills_a_site() {
            return Ok(None);
        }
        self.world.boot(site).await?;
        self.world.prefer(site, PREFERRED)?;
        let other = site.other_site().context("a site")?;
        let booted = Before::now();
        let options = self.bascule.options();
        let mut returned = None;
        if matches!(series.system, System::Patroni | System::PatroniTuned) {
            let patroni = self.patroni()?;
            patroni.power_again(site)?;
            patroni.followed(other).await?;
            returned = Some(booted.elapsed_ms());
        }
        self.world.start_operator(site, &options)?;
        if series.system == System::Bascule {
            self.bascule.followed(other).await?;
            returned = Some(booted.elapsed_ms());
        }
        if let Some(patroni) =
            self.patroni.as_ref().filter(|_| returned.is_none() || series.system == System::Bascule)
        {
            patroni.power_again(site)?;
        }
        if let Some(by_hand) = &mut self.by_hand {
            by_hand.power_again(site).await?;
        }
        // The others have moved as well, or have lost their standby: none of that may be part of the next sample.
        self.bascule.steady().await?;
        if let Some(patroni) = &self.patroni {
            patroni.steady().await?;
        }
        Ok(returned)
    }

    fn sample(&self, series: Series, ms: f64) -> Sample {
        Sample {
            series: series.name.to_owned(),
            at: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
            commit: self.commit.clone(),
            machine: self.machine.clone(),
            ms,
            pause: None,
            phases: BTreeMap::new(),
            lost: 0,
            two_writers: false,
            busy: None,
            steal: None,
            load: machine::load(),
            failed: None,
        }
    }

    fn of(&self, series: Series, change: Change) -> Sample {
        let Change { seen, phases, lost, two_writers } = change;
        let (busy, steal) = seen.shares.unzip();
        let load = seen.load;
        Sample {
            pause: seen.pause,
            phases,
            lost,
            two_writers,
            busy,
            steal,
            load,
            ..self.sample(series, seen.ms)
        }
    }
}
