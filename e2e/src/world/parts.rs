//! How a part of a place is described and started.

use std::collections::BTreeMap;

use anyhow::Result;

use super::control;
use super::place::Place;
use super::run_folder::RunFolder;
use crate::init::StartPart;

/// A long-running program of a place.
#[derive(Clone, Debug)]
pub(super) struct Part {
    name: String,
    group: Group,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
}

/// Parts that can be frozen together; each is a cgroup of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// etcd, API server, controller manager, scheduler.
    ControlPlane,
    /// containerd, kubelet, kube-proxy, CoreDNS.
    Node,
    /// The arbiter's member.
    Arbiter,
    /// The DNS server.
    Dns,
    /// The Bascule operator.
    Operator,
    /// What is no part of the sandbox.
    Guest,
}

impl Group {
    /// Folder below the place's cgroup.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Group::ControlPlane => "cp",
            Group::Node => "node",
            Group::Arbiter => "arbiter",
            Group::Dns => "dns",
            Group::Operator => "operator",
            Group::Guest => "guest",
        }
    }
}

impl Part {
    /// A part by its name, group and program.
    pub(super) fn new(group: Group, name: &str, program: impl AsRef<std::path::Path>) -> Self {
        Self {
            name: name.to_owned(),
            group,
            argv: vec![program.as_ref().to_string_lossy().into_owned()],
            env: BTreeMap::new(),
        }
    }

    /// Adds one argument.
    pub(super) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Adds `--name=value`.
    pub(super) fn flag(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.arg(format!("--{name}={value}"))
    }

    /// Adds a file as `--name=path`.
    pub(super) fn file(self, name: &str, path: impl AsRef<std::path::Path>) -> Self {
        self.flag(name, path.as_ref().display())
    }

    /// Adds arguments.
    pub(super) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets environment variables.
    pub(super) fn envs<K: Into<String>, V: Into<String>>(
        mut self,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.env.extend(env.into_iter().map(|(k, v)| (k.into(), v.into())));
        self
    }

    /// Starts it; output is appended to its log.
    pub(super) fn start(self, run: &RunFolder, place: Place) -> Result<()> {
        let log = run.log(place, &self.name);
        let cgroup = format!("{}/{}", self.group.folder(), self.name);
        control::start(run, place, StartPart { name: self.name, cgroup, argv: self.argv, env: self.env, log })
    }
}
