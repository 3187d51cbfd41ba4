//! The operator of a site, as a process inside the site: what hits the site hits it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::World;
use super::control;
use super::parts::{Group, Part};
use super::place::Place;
use crate::init::Ended;

/// Name of the part and of its log.
pub const OPERATOR: &str = "operator";

/// How long an operator may take to end.
const END: Duration = Duration::from_secs(20);

/// What an operator is started with on top of [`command_line`].
#[derive(Clone, Debug, Default)]
pub struct OperatorOptions {
    /// Further arguments.
    pub args: Vec<String>,
    /// Environment, for example `RUST_LOG`.
    pub env: Vec<(String, String)>,
}

/// What every operator of the sandbox is told: the one place that knows the operator's command line.
fn command_line(world: &World, site: Place) -> Vec<String> {
    let arbiter = world.arbiter();
    let identity = arbiter.identity(&format!("operator-{site}"));
    vec![
        "operator".to_owned(),
        format!("--site={site}"),
        format!("--kubeconfig={}", world.kubeconfig_of(site, "bascule").display()),
        format!("--arbiter-endpoints={}", arbiter.endpoints().join(",")),
        format!("--arbiter-ca={}", world.pki().ca().display()),
        format!("--arbiter-cert={}", identity.cert.display()),
        format!("--arbiter-key={}", identity.key.display()),
    ]
}

impl World {
    /// Starts the site's operator. It runs when this returns; whether it is ready is its own to say.
    pub fn start_operator(&self, site: Place, options: &OperatorOptions) -> Result<()> {
        let binary = &self.binaries().context("this world was made without the bascule binary")?.bascule;
        Part::new(Group::Operator, OPERATOR, binary)
            .args(command_line(self, site))
            .args(options.args.iter().cloned())
            .envs(options.env.iter().cloned())
            .start(self.run(), site)
    }

    /// Kills the site's operator as a crash would; returns when it is gone.
    pub fn kill_operator(&self, site: Place) -> Result<()> {
        control::signal(self.run(), site, OPERATOR, Signal::SIGKILL)?;
        control::await_end(self.run(), site, OPERATOR, END).map(|_| ())
    }

    /// Asks the site's operator to end, as an upgrade would; answers how it did.
    pub fn stop_operator(&self, site: Place) -> Result<Ended> {
        control::signal(self.run(), site, OPERATOR, Signal::SIGTERM)?;
        control::await_end(self.run(), site, OPERATOR, END)
    }

    /// The operator's log.
    pub fn operator_log(&self, site: Place) -> PathBuf {
        self.run().log(site, OPERATOR)
    }
}
