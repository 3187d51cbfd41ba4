//! The operator of a site: a process inside the site, so that what hits the site hits it, or a pod of its cluster.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::World;
use super::control;
use super::parts::{Group, Part};
use super::place::Place;
use super::release::SYSTEM;
use super::replicas::{OPERATORS, Replica};
use crate::init::Ended;

/// Name of the part and of its log.
pub const OPERATOR: &str = "operator";

/// The same of one that was installed under another site's name.
const TWIN: &str = "operator-twin";
/// How far its ports are from those of the site's own.
const TWIN_PORTS: u16 = 100;

/// How long an operator may take to end.
pub(super) const END: Duration = Duration::from_secs(20);

/// How the operators run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operators {
    /// As processes with every right: quick to start and to kill.
    #[default]
    Processes,
    /// As pods of the image, installed by the chart with the least rights.
    Pods,
}

/// What an operator is started with on top of [`command_line`].
#[derive(Clone, Debug, Default)]
pub struct OperatorOptions {
    /// The timing profile.
    pub profile: Profile,
    /// Further arguments.
    pub args: Vec<String>,
    /// Environment, for example `RUST_LOG`.
    pub env: Vec<(String, String)>,
}

/// A timing profile by its name; that of every part of the sandbox is `metro`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile(pub &'static str);

impl Default for Profile {
    fn default() -> Self {
        Self("metro")
    }
}

/// Port on which each site's operator listens for the guards of the site's databases.
pub(super) const GUARD_PORT: u16 = 7443;
/// Port of its health and metrics, and of the answers to proxies.
pub const HTTP_PORT: u16 = 8081;

/// What every operator of the sandbox is told: the one place that knows the operator's command line.
fn command_line(world: &World, site: Place, replica: Replica, options: &OperatorOptions) -> Vec<String> {
    let arbiter = world.arbiter();
    let identity = arbiter.identity(&format!("operator-{site}"));
    let own = world.replica_folder(site, replica);
    let mut line = vec![
        "operator".to_owned(),
        format!("--site={site}"),
        format!("--kubeconfig={}", world.kubeconfig_of(site, "bascule").display()),
        format!("--arbiter-endpoints={}", world.nearest_endpoints(site).join(",")),
        format!("--arbiter-ca={}", world.pki().ca().display()),
        format!("--arbiter-cert={}", identity.cert.display()),
        format!("--arbiter-key={}", identity.key.display()),
        format!("--arbiter-election={}ms", world.options().arbiter.election.as_millis()),
        format!("--profile={}", options.profile.0),
        format!("--guard-listen={}:{}", site.address(), replica.guard_port()),
        format!("--guard-certificates={}", world.operator_folder(site).join("guards").display()),
        format!("--http-listen={}:{}", site.address(), replica.http_port()),
        format!("--journal={}", own.join("journal").display()),
        format!("--git-cache={}", own.join("git").display()),
    ];
    if world.replicas().len() > 1 {
        line.push(format!("--replica-ip={}", site.address()));
    }
    line
}

impl World {
    /// Where guards reach the site's operator.
    pub fn guard_address(&self, site: Place) -> String {
        match self.options().operators {
            Operators::Processes if self.replicas().len() > 1 => {
                format!("{}:{GUARD_PORT}", Self::operators_name())
            }
            Operators::Processes => format!("{}:{GUARD_PORT}", site.address()),
            Operators::Pods => format!("{}:{GUARD_PORT}", Self::operator_service()),
        }
    }

    /// The name of the Service that leads to several replicas.
    fn operators_name() -> String {
        format!("{OPERATORS}.{SYSTEM}.svc")
    }

    /// The arbiter's members, the site's own first: the nearest answers soonest.
    pub(super) fn nearest_endpoints(&self, site: Place) -> Vec<String> {
        let mut endpoints = self.arbiter().endpoints();
        endpoints.sort_by_key(|url| !url.contains(&site.address().to_string()));
        endpoints
    }

    /// Folder of the site's journal, one file a day.
    pub fn journal(&self, site: Place) -> PathBuf {
        self.operator_folder(site).join("journal")
    }

    /// Where the site's operator looks for the boundary at which it has to die.
    pub fn operator_boundaries(&self, site: Place) -> PathBuf {
        self.operator_folder(site).join("boundaries")
    }

    /// Waits until the site's operator has ended by itself; answers how.
    pub fn operator_ended(&self, site: Place) -> Result<Ended> {
        control::await_end(self.run(), site, OPERATOR, END)
    }

    pub(super) fn operator_folder(&self, site: Place) -> PathBuf {
        self.run().place(site).join("operator")
    }

    /// The operator's certificate for its guards, laid out as a mounted Secret has it. Made once: a boot after a
    /// power loss finds it on disk.
    fn write_guard_certificates(&self, site: Place) -> Result<()> {
        let folder = self.operator_folder(site).join("guards");
        if folder.exists() {
            return Ok(());
        }
        let names = [site.address().to_string(), Self::operators_name()];
        let identity = self.pki().issue(&format!("guards-of-{site}"), &names)?;
        fs::create_dir_all(&folder)?;
        for (from, name) in
            [(self.pki().ca(), "ca.crt"), (identity.cert, "tls.crt"), (identity.key, "tls.key")]
        {
            fs::copy(&from, folder.join(name)).with_context(|| format!("cannot read {}", from.display()))?;
        }
        Ok(())
    }

    /// Starts the site's operator, each replica of it. It runs when this returns; whether it is ready is its own to say.
    /// One that is a pod is started by its kubelet, after a power loss as well.
    pub fn start_operator(&self, site: Place, options: &OperatorOptions) -> Result<()> {
        self.replicas().iter().try_for_each(|replica| self.start_replica(site, *replica, options))
    }

    /// Starts one replica of the site's operator.
    pub fn start_replica(&self, site: Place, replica: Replica, options: &OperatorOptions) -> Result<()> {
        if self.options().operators == Operators::Pods {
            return Ok(());
        }
        let binary =
            self.binaries().context("this world was made without the bascule binary")?.bascule.clone();
        let (binary, its_own) = self.own_program_on_the_host(site).unwrap_or((binary, Vec::new()));
        self.write_guard_certificates(site)?;
        let boundaries = self.options().boundaries.then(|| {
            (bascule_boundary::FOLDER.to_owned(), self.operator_boundaries(site).display().to_string())
        });
        Part::new(Group::Operator, replica.part(), binary)
            .args(command_line(self, site, replica, options))
            .args(options.args.iter().cloned())
            .envs(options.env.iter().cloned().chain(boundaries).chain(its_own))
            .start(self.run(), site)
    }

    /// Somebody installs another operator in the cluster of `at` with all values of `name`, its credentials for the arbiter
    /// with them. Answers how it ended, with the last of what it said.
    pub fn installed_twice(&self, name: Place, at: Place) -> Result<(Ended, String)> {
        let binary = &self.binaries().context("this world was made without the bascule binary")?.bascule;
        let folder = self.run().place(at).join(TWIN);
        let here = [
            format!("--kubeconfig={}", self.kubeconfig_of(at, "bascule").display()),
            format!("--guard-listen={}:{}", at.address(), GUARD_PORT + TWIN_PORTS),
            format!("--http-listen={}:{}", at.address(), HTTP_PORT + TWIN_PORTS),
            format!("--journal={}", folder.join("journal").display()),
            format!("--git-cache={}", folder.join("git").display()),
        ];
        let mut line = command_line(self, name, Replica::First, &OperatorOptions::default());
        for argument in here {
            let option = argument.split_once('=').map_or("", |(option, _)| option).to_owned();
            line.retain(|a| a.split_once('=').is_none_or(|(o, _)| o != option));
            line.push(argument);
        }
        Part::new(Group::Operator, TWIN, binary).args(line).start(self.run(), at)?;
        let ended = control::await_end(self.run(), at, TWIN, END)?;
        let said = fs::read_to_string(self.run().log(at, TWIN)).context("the log of the second operator")?;
        Ok((ended, said.lines().last().unwrap_or_default().to_owned()))
    }

    /// Kills the site's operator, each replica of it, as a crash would; returns when it is gone.
    pub fn kill_operator(&self, site: Place) -> Result<()> {
        self.replicas().iter().try_for_each(|replica| self.kill_replica(site, *replica))
    }

    /// Asks the first replica of the site's operator to end, as an upgrade would; answers how it did.
    pub fn stop_operator(&self, site: Place) -> Result<Ended> {
        control::signal(self.run(), site, OPERATOR, Signal::SIGTERM)?;
        control::await_end(self.run(), site, OPERATOR, END)
    }

    /// The operator's log.
    pub fn operator_log(&self, site: Place) -> PathBuf {
        self.run().log(site, OPERATOR)
    }
}
