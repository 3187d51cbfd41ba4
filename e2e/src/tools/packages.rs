//! Debian packages: installed when something is missing, and never a service started by it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::progress::{Note, Progress};

/// Packages, each with a file that shows it is there.
const NEEDED: [(&str, &str); 21] = [
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("busybox-static", "/usr/bin/busybox"),
    ("nftables", "/usr/sbin/nft"),
    ("iproute2", "/usr/sbin/ip"),
    ("kmod", "/usr/sbin/modprobe"),
    ("util-linux", "/usr/bin/nsenter"),
    ("conntrack", "/usr/sbin/conntrack"),
    ("openssl", "/usr/bin/openssl"),
    ("curl", "/usr/bin/curl"),
    ("git", "/usr/lib/git-core/git-http-backend"),
    ("postgresql-15", "/usr/lib/postgresql/15/bin/postgres"),
    ("knot", "/usr/sbin/knotd"),
    ("knot-dnsutils", "/usr/bin/knsupdate"),
    ("exim4-daemon-light", "/usr/sbin/exim4"),
    ("openssh-server", "/usr/sbin/sshd"),
    ("procps", "/usr/bin/ps"),
    ("protobuf-compiler", "/usr/bin/protoc"),
    ("strace", "/usr/bin/strace"),
    // For promtool, which plays the alerts of the chart; its server is never started.
    ("prometheus", "/usr/bin/promtool"),
];

/// Says to Debian's maintainer scripts that nothing may be started.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Kernel modules, where the kernel has them as modules at all.
const MODULES: [&str; 6] = ["overlay", "br_netfilter", "nf_tables", "nft_masq", "veth", "sch_htb"];

/// What only `make bench` asks for: the peer that Bascule is measured beside, with its client of etcd, and a proxy for both.
const PEER: [(&str, &str); 3] = [
    ("patroni", "/usr/bin/patroni"),
    ("python3-etcd", "/usr/lib/python3/dist-packages/etcd/__init__.py"),
    ("haproxy", "/usr/sbin/haproxy"),
];

pub(super) fn ensure(progress: &Progress) -> Result<()> {
    install(progress, &NEEDED)?;
    for module in MODULES {
        // On a kernel that has it built in there is nothing to load, and modprobe may say so with an error.
        let _ = Command::new("/usr/sbin/modprobe").args(["-q", module]).stderr(Stdio::null()).status();
    }
    Ok(())
}

pub(super) fn ensure_peer(progress: &Progress) -> Result<()> {
    install(progress, &PEER)
}

/// What fetches a package of the Python package index: only a test of gateways asks for one.
pub(super) fn ensure_pip(progress: &Progress) -> Result<()> {
    install(progress, &[("python3-pip", "/usr/bin/pip3")])
}

fn install(progress: &Progress, needed: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> =
        needed.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if !missing.is_empty() {
        ensure!(
            Path::new("/usr/bin/apt-get").exists(),
            "missing on this machine: {}. They can be installed by themselves only on Debian 12; install them by hand",
            missing.join(", ")
        );
        progress.step("package lists", |note| apt(&["update", "-q"], note))?;
        progress.step(&format!("installing {}", missing.join(" ")), |note| {
            let _guard = NoServices::set()?;
            // Another mail server, for one, is not removed for the one that the tests start.
            let mut args = vec!["install", "-q", "-y", "--no-install-recommends", "--no-remove"];
            args.extend(&missing);
            apt(&args, note)
        })?;
        if let Some((package, file)) = needed.iter().find(|(_, file)| !Path::new(file).exists()) {
            bail!("package {package} was installed, but {file} is not there: is this Debian 12?");
        }
    }
    Ok(())
}

fn apt(args: &[&str], note: &Note) -> Result<()> {
    let log = tempfile::tempfile()?;
    let mut child = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .spawn()?;
    let out = child.stdout.take().context("no standard output")?;
    for line in BufReader::new(out).lines() {
        note.say(&line?);
    }
    let status = child.wait()?;
    if !status.success() {
        use std::io::{Read, Seek};
        let (mut log, mut said) = (log, String::new());
        log.rewind()?;
        log.read_to_string(&mut said)?;
        bail!("apt-get {} ended with {status}: {}", args.join(" "), crate::command::tail(said.trim(), 1500));
    }
    Ok(())
}

/// While this exists, packages start no services. A policy that the machine has already is left alone.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn set() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
