//! `bascule-sandbox`: real clusters, databases' hosts, DNS and git on this machine, for a person to play in.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use bascule_e2e::progress::Progress;
use bascule_e2e::shop::{INSTALL, MoveText, PolicyText, Shop};
use bascule_e2e::world::git_server::GitServer;
use bascule_e2e::world::run_folder::RunFolder;
use bascule_e2e::world::{Cut, End, OperatorOptions, Options, Place, Scope, World, teardown};
use bascule_e2e::{image, init, tools};
use clap::{Parser, Subcommand, ValueEnum};

/// Real clusters, an arbiter over three places, DNS and git on this machine: two sites, paris and lyon, and a third
/// place. Needs root. Everything it makes is named bascule-… and is gone after `down`.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of the run [default: `run` in the cache folder]
    #[arg(long, global = true, env = "BASCULE_RUN", value_name = "FOLDER")]
    run: Option<PathBuf>,
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Install and build what this machine lacks, without bringing anything up
    Prepare {
        /// Leave the static bascule and demo-web binaries out
        #[arg(long)]
        no_binaries: bool,
    },
    /// Bring everything up and leave it up
    Up {
        /// Leave the static bascule and demo-web binaries and their images out
        #[arg(long)]
        no_binaries: bool,
    },
    /// End and remove everything
    Down,
    /// Show places, parts, cuts
    Status,
    /// Put the demo's shop into both sites: operators, databases, web application, the policy in git
    Shop,
    /// Ask for a planned switchover of the shop: commit a Move, as a pull request would
    Switch {
        /// paris or lyon
        to: Place,
        /// Why, for those who read the journal
        #[arg(long, default_value = "tried out by hand")]
        reason: String,
    },
    /// What the operator of a site and the guard of its database wrote into their journals
    Journal {
        /// paris or lyon
        site: Place,
    },
    /// Drop every packet between two ends (a place or `host`), as a broken cable would
    Cut {
        /// paris, lyon, third or host
        from: End,
        /// paris, lyon, third, host; or `arbiter` (its members only), or `all`
        to: String,
        /// Drop only what goes from the first to the second
        #[arg(long)]
        one_way: bool,
        /// Drop only these TCP ports
        #[arg(long, value_delimiter = ',')]
        ports: Vec<u16>,
    },
    /// Take every cut and limit back
    Heal,
    /// Let at most this many bytes per second of a TCP port arrive
    Limit {
        /// Where packets come from
        from: Place,
        /// Where they arrive
        to: Place,
        /// Bytes per second
        bytes: u64,
        /// TCP port
        #[arg(long, default_value_t = 5432)]
        port: u16,
    },
    /// Stop a place, or a part of it, in mid-air
    Freeze {
        /// paris, lyon or third
        place: Place,
        /// What of it
        #[arg(value_enum, default_value = "whole")]
        scope: ScopeArg,
    },
    /// Let it go on
    Thaw {
        /// paris, lyon or third
        place: Place,
        /// What of it
        #[arg(value_enum, default_value = "whole")]
        scope: ScopeArg,
    },
    /// Power loss: every process of a place is gone at once; or kill one part of it
    Kill {
        /// paris, lyon or third
        place: Place,
        /// Only this part: etcd, apiserver, controller-manager, scheduler, containerd, kubelet, kube-proxy, coredns,
        /// arbiter, knot, operator
        part: Option<String>,
    },
    /// Power again: boot a place from its disk, its operator too when it had one
    Boot {
        /// paris, lyon or third
        place: Place,
    },
    /// Print the path of a site's kubeconfig
    Kubeconfig {
        /// paris or lyon
        site: Place,
    },
    /// kubectl for a site
    #[command(trailing_var_arg = true)]
    Kubectl {
        /// paris or lyon
        site: Place,
        /// Arguments of kubectl
        #[arg(allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Print where the logs of a place are, or show one
    Logs {
        /// paris, lyon or third
        place: Place,
        /// Part, for example apiserver or operator
        part: Option<String>,
        /// Go on as it grows
        #[arg(short, long)]
        follow: bool,
    },
    /// Run a program inside a place, as on its machine
    #[command(trailing_var_arg = true)]
    Exec {
        /// paris, lyon or third
        place: Place,
        /// Program and arguments
        #[arg(allow_hyphen_values = true, required = true)]
        argv: Vec<String>,
    },

    #[command(hide = true)]
    PlaceLaunch { config: PathBuf },
    #[command(hide = true)]
    PlaceInit { config: PathBuf },
    #[command(hide = true)]
    Join {
        cgroup: String,
        #[arg(allow_hyphen_values = true, last = true)]
        argv: Vec<String>,
    },
    #[command(hide = true)]
    Undertaker { root: PathBuf },
    #[command(hide = true)]
    GitServer(GitServer),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    /// Everything
    Whole,
    /// etcd, API server, controller manager, scheduler
    Cp,
    /// containerd, kubelet, kube-proxy, cluster DNS
    Node,
    /// All pods
    Pods,
    /// The Bascule operator
    Operator,
    /// The arbiter's member
    Arbiter,
    /// The DNS server
    Dns,
}

impl From<ScopeArg> for Scope {
    fn from(arg: ScopeArg) -> Self {
        match arg {
            ScopeArg::Whole => Scope::Whole,
            ScopeArg::Cp => Scope::ControlPlane,
            ScopeArg::Node => Scope::Node,
            ScopeArg::Pods => Scope::Pods,
            ScopeArg::Operator => Scope::Operator,
            ScopeArg::Arbiter => Scope::Arbiter,
            ScopeArg::Dns => Scope::Dns,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("bascule-sandbox: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        // The hidden helpers come first and run without any other thread.
        What::PlaceLaunch { config } => init::launch(&config)?,
        What::PlaceInit { config } => init::run(&config)?,
        What::Join { cgroup, argv } => match init::join(&cgroup, &argv)? {},
        What::Undertaker { root } => teardown::undertaker(&root)?,
        What::GitServer(server) => runtime()?.block_on(server.serve())?,
        What::Prepare { no_binaries } => prepare(no_binaries)?,
        What::Up { no_binaries } => runtime()?.block_on(up(cli.run, no_binaries))?,
        What::Down => down(cli.run)?,
        other => {
            let world = World::open(cli.run)?;
            return play(&world, other);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn prepare(no_binaries: bool) -> Result<()> {
    let progress = Progress::shown();
    tools::Tools::ensure(&progress)?;
    tools::Tools::helm(&progress)?;
    let binaries = (!no_binaries).then(|| tools::StaticBinaries::ensure(&progress)).transpose()?;
    image::ensure_store(&progress, &image::ensure_base(&progress)?)?;
    if let Some(binaries) = binaries {
        image::ensure_ours(&progress, &binaries)?;
    }
    progress.done("ready");
    Ok(())
}

async fn up(folder: Option<PathBuf>, no_binaries: bool) -> Result<()> {
    let options = Options { folder, with_binaries: !no_binaries, ..Options::default() };
    World::with(options, |world| async move {
        print!("\n{}", world.status()?);
        println!("\nbascule-sandbox --help shows what can be done to it; bascule-sandbox down ends it.");
        world.leave()
    })
    .await
}

fn down(folder: Option<PathBuf>) -> Result<()> {
    let run = RunFolder::at(folder.map_or_else(RunFolder::default_path, Ok)?)?;
    let progress = Progress::shown();
    if let Some(owner) = run.load()?.and_then(|state| state.owner) {
        ensure!(
            !owner.alive(),
            "this sandbox belongs to process {}, which takes it down itself when it ends",
            owner.pid
        );
    }
    teardown::take_down(&run)?;
    progress.done("nothing is left");
    Ok(())
}

fn play(world: &World, what: What) -> Result<ExitCode> {
    match what {
        What::Status => print!("{}", world.status()?),
        What::Cut { from, to, one_way, ports } => world.cut(&cut(from, &to, one_way)?.ports(ports))?,
        What::Heal => world.heal()?,
        What::Limit { from, to, bytes, port } => world.limit(from, to, port, bytes)?,
        What::Freeze { place, scope } => world.freeze(place, scope.into())?,
        What::Thaw { place, scope } => world.thaw(place, scope.into())?,
        What::Kill { place, part: None } => world.kill(place)?,
        What::Kill { place, part: Some(part) } => world.kill_part(place, &part)?,
        What::Boot { place } => runtime()?.block_on(boot(world, place))?,
        What::Shop => runtime()?.block_on(shop(world))?,
        What::Switch { to, reason } => runtime()?.block_on(switch(world, to, &reason))?,
        What::Journal { site } => {
            world.cluster(site)?;
            Shop::of(world).journals(site).iter().for_each(|line| println!("{line}"));
        }
        What::Kubeconfig { site } => {
            world.cluster(site)?;
            println!("{}", world.kubeconfig(site).display());
        }
        What::Kubectl { site, args } => {
            world.cluster(site)?;
            let mut command = Command::new(world.tools().server("kubectl"));
            command.arg("--kubeconfig").arg(world.kubeconfig(site)).args(args);
            return hand_over(command);
        }
        What::Logs { place, part, follow } => return logs(world, place, part.as_deref(), follow),
        What::Exec { place, argv } => {
            let (program, args) = argv.split_first().context("no program was named")?;
            let mut command = world.within(place, program)?;
            command.args(args);
            return hand_over(command);
        }
        _ => bail!("this command is not for a running sandbox"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn boot(world: &World, place: Place) -> Result<()> {
    world.boot(place).await?;
    if world.is_site(place) && world.journal(place).exists() {
        world.start_operator(place, &OperatorOptions::default())?;
    }
    Ok(())
}

async fn shop(world: &World) -> Result<()> {
    let (shop, progress) = (Shop::of(world), Progress::shown());
    ensure!(!world.journal(Place::Paris).exists(), "the shop is there already");
    progress.done("installing the shop in both sites");
    shop.install(&PolicyText::default()).await?;
    progress.done("waiting until paris writes and lyon follows");
    for view in shop.steady(Place::Paris, INSTALL).await?.views {
        println!("{} says: {}", view.site, view.message());
    }
    println!(
        "
bascule-sandbox kubectl paris get fop -A        # the policy's status; the same in lyon
bascule-sandbox switch lyon                     # commits a Move to {}
bascule-sandbox kill paris                      # or take a site's power away, cut it off, freeze it …
bascule-sandbox journal paris                   # what was done and why",
        world.git().url()
    );
    Ok(())
}

async fn switch(world: &World, to: Place, reason: &str) -> Result<()> {
    let from = to.other_site().with_context(|| format!("{to} is not a site"))?;
    let shop = Shop::of(world);
    let view = match shop.view(from).await {
        Ok(view) => view,
        Err(_) => shop.view(to).await.context("neither site shows the policy; is the shop there?")?,
    };
    let active = view.active().context("there is no record yet")?;
    ensure!(active == from, "{active} is the active site, so there is nothing to switch to {to}");
    let name = format!("to-{to}-in-epoch-{}-{}", view.epoch(), view.status.serial.unwrap_or_default());
    let commit = shop.commit_move(&MoveText::switchover(&name, from, to, view.epoch(), reason))?;
    println!("commit {commit} adds the Move {name}; see: bascule-sandbox kubectl {to} get moves -A");
    Ok(())
}

fn cut(from: End, to: &str, one_way: bool) -> Result<Cut> {
    Ok(match (to, from) {
        ("arbiter", End::Place(site)) => Cut::from_arbiter(site),
        ("all", End::Place(place)) => Cut::isolate(place),
        _ => {
            let to: End = to.parse().map_err(anyhow::Error::msg)?;
            if one_way { Cut::one_way(from, to) } else { Cut::between(from, to) }
        }
    })
}

fn logs(world: &World, place: Place, part: Option<&str>, follow: bool) -> Result<ExitCode> {
    let Some(part) = part else {
        let folder = world.run().place(place).join("log");
        for entry in std::fs::read_dir(folder)? {
            println!("{}", entry?.path().display());
        }
        return Ok(ExitCode::SUCCESS);
    };
    let file = world.run().log(place, part);
    ensure!(file.exists(), "no log of `{part}` in {place}");
    let mut command = Command::new("tail");
    command.args(["-n", "200"]);
    if follow {
        command.arg("-f");
    }
    command.arg(file);
    hand_over(command)
}

/// Runs a command in the person's terminal and answers with its exit code.
fn hand_over(mut command: Command) -> Result<ExitCode> {
    let status = command.status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
