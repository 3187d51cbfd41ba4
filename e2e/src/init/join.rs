//! Enters a cgroup and becomes another program: so that a program is in its cgroup from its first instruction on.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::world::cgroup::Cgroups;

/// Never returns when it works: this process is then `argv`.
pub fn join(cgroup: &str, argv: &[String]) -> Result<Infallible> {
    let (program, args) = argv.split_first().context("no program was named")?;
    Cgroups::detect()?.join_self(cgroup)?;
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}
