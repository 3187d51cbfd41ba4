//! What faults work on: a scene's world, who is who, and what the checker has to be told of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;

use super::fault::Roles;
use super::inflict::Word;
use crate::client::{Attempt, Stamp};
use crate::process::Recorded;
use crate::scenario::Scene;
use crate::shop::{MoveText, Shop};
use crate::world::{Cut, Place, Process, World};

/// How long a site may take to say its epoch before the other one is asked.
const SAY: Duration = Duration::from_secs(3);

/// A time in which the fence class admits that a site acknowledges writes that another one's promotion loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The site whose guard stood still.
    pub site: Place,
    /// Since when.
    pub from: Stamp,
    /// Until when its guard, awake again, must have ended its server.
    pub to: Stamp,
}

/// What the faults of one schedule share.
pub struct Ground<'s, 'a> {
    /// The scene: world, application, transcript.
    pub scene: &'s Scene<'a>,
    /// Who was who when the schedule began.
    pub roles: Roles,
    /// Makes the names of this schedule's Moves unlike any other's.
    pub name: String,
    told: Mutex<Told>,
    cuts: Mutex<Vec<(usize, Cut)>>,
    /// Commits are made one after the other, as a person makes them.
    git: Mutex<()>,
}

/// What the checker is told.
#[derive(Debug, Default)]
pub struct Told {
    /// Times in which the fence class ends.
    pub admitted: Vec<Admitted>,
    /// Moves that were merged.
    pub moves: Vec<String>,
    /// What writers other than the clients were told.
    pub attempts: Vec<Attempt>,
    /// Whether a wall clock was stepped: times of day that a site has written may be wrong.
    pub clock_stepped: bool,
    /// Whether a password was rotated.
    pub rotated: bool,
    /// Whether log was removed that the standby needs.
    pub log_removed: bool,
    /// Where the application's namespace was deleted.
    pub no_namespace: Vec<Place>,
    /// What a person has unlocked and nobody is known to have given back.
    pub unlocked: Vec<Word>,
}

impl<'s, 'a> Ground<'s, 'a> {
    /// A scene that nothing was done to yet.
    pub fn new(scene: &'s Scene<'a>, name: &str) -> Self {
        Self {
            scene,
            roles: Roles { active: scene.active, standby: scene.standby },
            name: name.to_owned(),
            told: Mutex::default(),
            cuts: Mutex::default(),
            git: Mutex::default(),
        }
    }

    /// The world.
    pub fn world(&self) -> &'a World {
        self.scene.world()
    }

    /// The application.
    pub fn shop(&self) -> Shop<'a> {
        self.scene.shop
    }

    /// What the checker is told.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts; the answer takes this cut back and leaves the others.
    pub fn cut(&self, cut: Cut) -> Result<usize> {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let number = cuts.iter().map(|(n, _)| n + 1).max().unwrap_or_default();
        cuts.push((number, cut));
        self.world().cut_only(cuts.iter().map(|(_, cut)| cut))?;
        Ok(number)
    }

    /// Takes one cut back.
    pub fn uncut(&self, number: usize) -> Result<()> {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.retain(|(n, _)| *n != number);
        self.world().cut_only(cuts.iter().map(|(_, cut)| cut))
    }

    /// The guard of a site's database.
    pub fn guard(&self, site: Place) -> Result<Process> {
        self.find(site, "guard", |command| command.contains("bascule guard postgres"))
    }

    /// The first process of a site's server.
    pub fn server(&self, site: Place) -> Result<Process> {
        // The guard's own command line ends with the server's.
        self.find(site, "server", |command| command.starts_with("postgres -c"))
    }

    /// Every process of a site's server.
    pub fn server_processes(&self, site: Place) -> Result<Vec<Recorded>> {
        let all = self.world().processes_of_pods(site)?;
        let of_it = all.into_iter().filter(|p| p.command.starts_with("postgres"));
        let of_it: Vec<Recorded> = of_it.map(|p| p.recorded).collect();
        ensure!(!of_it.is_empty(), "no server runs in {site}");
        Ok(of_it)
    }

    /// The process that serves one of the clients' sessions.
    pub fn backend(&self, site: Place) -> Result<Process> {
        self.find(site, "backend", |command| command.starts_with("postgres: shop shop"))
    }

    fn find(&self, site: Place, what: &str, fits: impl Fn(&str) -> bool) -> Result<Process> {
        let all = self.world().processes_of_pods(site)?;
        all.into_iter().find(|p| fits(&p.command)).with_context(|| format!("no {what} runs in {site}"))
    }

    /// The fence class ends here: the guard of a site stands still from now on, until the answer is told that it goes
    /// on.
    pub fn guard_stands_still(&self, site: Place) -> StandingStill<'_, 's, 'a> {
        StandingStill { ground: self, site, from: Stamp::now() }
    }

    /// The fence class has ended at a site from then on until so long after now.
    pub fn admit(&self, site: Place, from: Stamp, longer: Duration) {
        let to = Stamp(Stamp::now().0 + u64::try_from(longer.as_nanos()).unwrap_or_default());
        self.told().admitted.push(Admitted { site, from, to });
    }

    /// The record says that a site's database was unlocked: from now on no other site takes its role.
    pub fn said(&self, site: Place) {
        let unsaid: Vec<Stamp> = self
            .told()
            .unlocked
            .iter_mut()
            .filter(|word| word.site == site)
            .filter_map(|word| word.unsaid.take())
            .collect();
        for from in unsaid {
            self.admit(site, from, Duration::ZERO);
        }
    }

    /// Commits something while nobody else does.
    pub fn commit<T>(&self, work: impl FnOnce(&Shop<'a>) -> Result<T>) -> Result<T> {
        let _held = self.git.lock().unwrap_or_else(PoisonError::into_inner);
        work(&self.shop())
    }

    /// Commits Moves and remembers that they must come to an end.
    pub fn merge(&self, moves: &[MoveText]) -> Result<()> {
        let message = moves.iter().map(|m| m.kind).collect::<Vec<_>>().join(", ");
        self.commit(|shop| shop.commit_moves(&message, moves))?;
        self.told().moves.extend(moves.iter().map(|m| m.name.clone()));
        Ok(())
    }

    /// The active site and its epoch as a person reads them, of whichever site answers.
    pub async fn read_status(&self) -> Result<(Place, u64)> {
        let mut last = anyhow::anyhow!("there is no site");
        for site in [self.roles.active, self.roles.standby] {
            match timeout(SAY, self.shop().view(site)).await {
                Ok(Ok(view)) if view.active().is_some() => {
                    return Ok((view.active().unwrap_or(site), view.epoch()));
                }
                Ok(Ok(_)) => last = anyhow::anyhow!("{site} shows no active site"),
                Ok(Err(e)) => last = e,
                Err(_) => last = anyhow::anyhow!("{site} does not answer"),
            }
        }
        Err(last.context("no site says who is active"))
    }
}

/// A guard that stands still.
pub struct StandingStill<'g, 's, 'a> {
    ground: &'g Ground<'s, 'a>,
    site: Place,
    from: Stamp,
}

/// How long a guard that wakes up may take until its server is gone: the metro profile's `F` and `G`, and as much again
/// and more for a machine on which both sites and every client share two cores.
pub(super) const WAKES: Duration = Duration::from_millis(1500);

impl Drop for StandingStill<'_, '_, '_> {
    fn drop(&mut self) {
        self.ground.admit(self.site, self.from, WAKES);
    }
}
