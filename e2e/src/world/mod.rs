//! The sandbox: two real one-node clusters, a third place, the arbiter over all three, DNS, git, and every fault.
//!
//! ```text
//! use bascule_e2e::world::{Cut, Options, Place::*, Scope, World};
//!
//! let world = World::up(Options::default()).await?;
//! world.cut(&Cut::from_arbiter(Paris))?;
//! world.heal()?;
//! world.freeze(Lyon, Scope::Operator)?;
//! world.thaw(Lyon, Scope::Operator)?;
//! world.kill(Lyon)?;
//! world.boot(Lyon).await?;
//! world.down()?;
//! ```
//!
//! A world that was brought [`up`](World::up) belongs to its process: it is taken down when it is dropped, and by a
//! process of its own when the owner dies in any other way.

mod api_limits;
pub mod arbiter;
mod bring_up;
pub mod cgroup;
mod clock;
pub mod cluster;
pub mod control;
mod disks;
pub mod dns;
mod faults;
pub mod git;
pub mod git_server;
pub mod guest;
mod lost_arbiter;
mod network;
mod operator;
mod parts;
pub mod pki;
pub mod place;
mod pods;
mod programs;
mod release;
mod replaced_member;
mod replicas;
mod restore;
pub mod run_folder;
mod slow_disk;
mod status;
pub mod teardown;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

pub use arbiter::ArbiterTiming;
pub use clock::Clock;
pub use faults::{Cut, End, Scope};
pub use operator::{HTTP_PORT, OPERATOR, OperatorOptions, Operators, Profile};
pub use place::Place;
pub use pods::{Pod, Process};
pub use programs::{Older, OwnProgram};
pub use release::{OPERATOR_PODS, RELEASE, SYSTEM};
pub use replicas::{Replica, acts_at};
pub use slow_disk::SlowDisk;
pub use status::Status;

use crate::image;
use crate::process::Recorded;
use crate::progress::Progress;
use crate::tools::{HeldPrograms, StaticBinaries, Tools};
use run_folder::{MachineLock, RunFolder, RunState};

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its files lie.
    pub folder: Option<PathBuf>,
    /// What a person sees meanwhile.
    pub progress: Progress,
    /// Timing of the arbiter's elections.
    pub arbiter: ArbiterTiming,
    /// Whether the static `bascule` and demo web binaries are built and imported as images.
    pub with_binaries: bool,
    /// How the operators run.
    pub operators: Operators,
    /// How many replicas of the operator each site has: one, or two of which one acts.
    pub replicas: usize,
    /// Whether the arbiter's, the zone's and the databases' disks lie in memory: for what asserts while the machine is
    /// busy with something else, never for what is measured or shown.
    pub disks_in_memory: bool,
    /// Whether the third place is a site, too, the last one in the policy: one more cluster with an operator, a server and a
    /// web application.
    pub three_sites: bool,
    /// Whether operators and guards are told where to look for the boundary at which they have to die: binaries that are
    /// built without the feature `boundaries` do not look.
    pub boundaries: bool,
    /// Whether the clocks of both sites are held, so that [`World::clock`] can change them: operator and guard are the same
    /// program then, linked dynamically.
    pub clocks: bool,
    /// The site whose operator and guard are of an older version.
    pub older: Option<Older>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folder: None,
            progress: Progress::shown(),
            arbiter: ArbiterTiming::default(),
            with_binaries: true,
            operators: Operators::default(),
            replicas: 1,
            disks_in_memory: false,
            three_sites: false,
            boundaries: false,
            clocks: false,
            older: None,
        }
    }
}

/// Images that sites get when they are made.
#[derive(Clone, Debug, Default)]
struct Images {
    /// Folder that containerd starts from.
    store: PathBuf,
    /// Archives of our own programs.
    ours: Vec<PathBuf>,
}

/// The running sandbox.
#[derive(Debug)]
pub struct World {
    run: RunFolder,
    tools: Tools,
    binaries: Option<StaticBinaries>,
    images: Images,
    options: Options,
    /// Present when this process owns the world.
    undertaker: Option<teardown::Undertaker>,
}

impl World {
    /// Installs and builds what is missing, cleans up after an earlier run that ended badly, and brings everything
    /// up. The world is this process's own and ends with it, unless it is [left](World::leave).
    pub async fn up(options: Options) -> Result<Self> {
        let progress = options.progress.clone();
        let tools = Tools::ensure(&progress)?;
        let binaries = options.with_binaries.then(|| StaticBinaries::ensure(&progress)).transpose()?;
        let held = options.clocks.then(|| HeldPrograms::ensure(&progress)).transpose()?;
        let images = Images {
            store: image::ensure_store(&progress, &image::ensure_base(&progress)?)?,
            ours: binaries.as_ref().map_or_else(|| Ok(Vec::new()), |b| image::ensure_ours(&progress, b))?,
        };
        let lock = {
            let progress = progress.clone();
            tokio::task::spawn_blocking(move || MachineLock::take(|text| progress.done(text))).await??
        };
        let run = RunFolder::at(options.folder.clone().map_or_else(RunFolder::default_path, Ok)?)?;
        if let Some(state) = run.load()? {
            ensure!(
                state.owner.is_some_and(|owner| !owner.alive()) || state.places.is_empty(),
                "a sandbox is up in {}; take it down first: bascule-sandbox down",
                run.root().display()
            );
            progress.done("an earlier run ended badly: cleaning up after it");
        }
        teardown::take_down(&run)?;
        Self::check_machine()?;
        run.save(&RunState {
            owner: Some(Recorded::this()?),
            binaries: binaries.clone(),
            arbiter: options.arbiter,
            three_sites: options.three_sites,
            ..RunState::default()
        })?;
        // From here on, whatever happens to this process, somebody cleans up.
        let undertaker = Some(teardown::Undertaker::start(&run, &lock)?);
        drop(lock);
        let world = Self { run, tools, binaries, images, options, undertaker };
        world.lay_programs_down(held.as_ref())?;
        world.bring_up().await?;
        progress.done("the sandbox is up");
        Ok(world)
    }

    /// The world that another process has left, to play in. Dropping it leaves it up.
    pub fn open(folder: Option<PathBuf>) -> Result<Self> {
        let run = RunFolder::at(folder.map_or_else(RunFolder::default_path, Ok)?)?;
        let state = run.load()?.with_context(|| {
            format!("no sandbox in {}: bring one up with bascule-sandbox up", run.root().display())
        })?;
        let options = Options {
            progress: Progress::quiet(),
            arbiter: state.arbiter,
            three_sites: state.three_sites,
            ..Options::default()
        };
        let tools = Tools::ensure(&options.progress)?;
        let binaries = state.binaries;
        Ok(Self { run, tools, binaries, images: Images::default(), options, undertaker: None })
    }

    /// Gives the world up without taking it down: it stays until `bascule-sandbox down`.
    pub fn leave(mut self) -> Result<()> {
        self.run.update(|state| state.owner = None)?;
        if let Some(undertaker) = self.undertaker.take() {
            undertaker.dismiss()?;
        }
        Ok(())
    }

    /// Ends and removes everything; nothing is left when this returns.
    pub fn down(mut self) -> Result<()> {
        match self.undertaker.take() {
            Some(undertaker) => undertaker.work(),
            None => teardown::take_down(&self.run),
        }
    }

    /// Runs something with a world, and takes the world down when it ends, fails, or is interrupted by Ctrl-C or
    /// SIGTERM; everything is gone when this returns.
    pub async fn with<T, F>(options: Options, work: impl FnOnce(World) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stopped = async {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        };
        let whole = async { work(World::up(options).await?).await };
        tokio::select! {
            result = whole => result,
            () = stopped => bail!("interrupted; the sandbox was taken down"),
        }
    }

    /// The run's folder.
    pub fn run(&self) -> &RunFolder {
        &self.run
    }

    /// The programs of the sandbox.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The static binaries, when the world was made with them.
    pub fn binaries(&self) -> Option<&StaticBinaries> {
        self.binaries.as_ref()
    }

    /// What a person sees.
    pub fn progress(&self) -> &Progress {
        &self.options.progress
    }

    /// How the operators run.
    pub fn operators(&self) -> Operators {
        self.options.operators
    }

    /// The places with a cluster, in the order of the policy: paris and lyon, and in a world of three sites the third place.
    pub fn sites(&self) -> &'static [Place] {
        if self.options.three_sites { &Place::ALL } else { &Place::SITES }
    }

    /// True for a place with a Kubernetes cluster.
    pub fn is_site(&self, place: Place) -> bool {
        self.sites().contains(&place)
    }

    /// How it was made.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The authority of all certificates.
    pub fn pki(&self) -> pki::Pki {
        pki::Pki::open(self.run.pki())
    }

    /// The arbiter.
    pub fn arbiter(&self) -> arbiter::Arbiter<'_> {
        arbiter::Arbiter { run: &self.run, tools: &self.tools }
    }

    /// The zone's servers.
    pub fn dns(&self) -> dns::Dns<'_> {
        dns::Dns { run: &self.run }
    }

    /// The git repository and its server.
    pub fn git(&self) -> git::Git<'_> {
        git::Git { run: &self.run }
    }

    /// A site's cluster.
    pub fn cluster(&self, site: Place) -> Result<cluster::Cluster<'_>> {
        ensure!(self.is_site(site), "{site} has no cluster");
        Ok(cluster::Cluster { site, run: &self.run, tools: &self.tools })
    }

    /// A site's kubeconfig, as its administrator.
    pub fn kubeconfig(&self, site: Place) -> PathBuf {
        self.kubeconfig_of(site, "admin")
    }

    fn kubeconfig_of(&self, site: Place, user: &str) -> PathBuf {
        self.run.kubeconfig(site, user)
    }

    /// A client of a site's API server, as its administrator.
    pub async fn kube(&self, site: Place) -> Result<kube::Client> {
        self.cluster(site)?.client().await
    }

    /// Places that have power.
    pub fn powered(&self) -> Result<BTreeSet<Place>> {
        let state = self.run.load()?.context("the sandbox is gone")?;
        Ok(state.places.into_iter().filter(|(_, init)| init.alive()).map(|(place, _)| place).collect())
    }

    /// Kills one part of a place, for example `etcd`, `apiserver`, `kubelet`, `arbiter` or `knot`. Nothing starts
    /// it again by itself. Gone when this returns.
    pub fn kill_part(&self, place: Place, part: &str) -> Result<()> {
        control::signal(&self.run, place, part, Signal::SIGKILL)?;
        control::await_end(&self.run, place, part, std::time::Duration::from_secs(20)).map(|_| ())
    }

    /// A command that runs inside all of a place's namespaces.
    pub fn within(&self, place: Place, program: &str) -> Result<Command> {
        within(&self.run, place, program)
    }
}

fn within(run: &RunFolder, place: Place, program: &str) -> Result<Command> {
    let state = run.load()?.context("the sandbox is gone")?;
    let init = state.places.get(&place).filter(|init| init.alive());
    let init = init.with_context(|| format!("{place} has no power"))?;
    let mut command = Command::new("nsenter");
    command.args(["-t", &init.pid.to_string(), "-m", "-n", "-p", "-u", "-i", "--", program]);
    Ok(command)
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(undertaker) = self.undertaker.take()
            && let Err(e) = undertaker.work()
        {
            eprintln!("the sandbox was not taken down: {e:#}");
        }
    }
}
