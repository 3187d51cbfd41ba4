//! Two sites with real API servers, an arbiter and real operators, and in one of them a real gateway: Envoy Gateway, and
//! Envoy, which it tells what to do. A client counts who answers its requests before, during and after a hold.
//!
//! There are no nodes: the gateway's controller and its proxy are processes of this machine, and what stands behind a
//! Service is named by EndpointSlices. All of it runs in namespaces of its own, for the controller's ports are fixed.

mod backend;
mod client;
mod objects;
mod plane;
mod story;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::command::run;
use crate::progress::Progress;
use crate::tools::{Gateway, Tools};

/// What this program is told when it has been started again in namespaces of its own.
const INSIDE: &str = "BASCULE_GATEWAY_INSIDE";

/// Where Envoy Gateway looks for its certificates, and nowhere else.
const CERTIFICATES: &str = "/certs";

/// What it needs to know there.
#[derive(Serialize, Deserialize)]
struct Inside {
    gateway: Gateway,
    /// Where etcd, kube-apiserver and kubectl are.
    servers: PathBuf,
}

/// The test program: itself, itself inside of its namespaces, or one of the operators.
pub fn main() -> ExitCode {
    let first = std::env::args().nth(1);
    if first.as_deref() == Some("operator") {
        return bascule::main();
    }
    if first.as_deref() == Some("--list") {
        println!("gateway: test");
        return ExitCode::SUCCESS;
    }
    let ended = match std::env::var_os(INSIDE) {
        Some(told) => inside(&told),
        None => outside(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("gateway: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes what is needed, and starts this program again in a network and a tree of mounts of its own.
fn outside() -> Result<()> {
    let progress = Progress::shown();
    let tools = Tools::ensure(&progress)?;
    let gateway = Gateway::ensure(&progress)?;
    let servers = tools.server("etcd").parent().context("etcd lies nowhere")?.to_owned();
    for program in ["etcd", "kube-apiserver", "kubectl"] {
        ensure!(servers.join(program).exists(), "{} has no {program}", servers.display());
    }
    let told = serde_json::to_string(&Inside { gateway, servers })?;
    // A mount needs a folder to lie on; it is as empty afterwards as it was made.
    let made = !Path::new(CERTIFICATES).exists();
    fs::create_dir_all(CERTIFICATES)?;
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe()?)
        .env(INSIDE, told)
        .status()
        .context("cannot start unshare")?;
    if made {
        fs::remove_dir(CERTIFICATES).with_context(|| format!("cannot remove {CERTIFICATES}"))?;
    }
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

fn inside(told: &OsStr) -> Result<()> {
    let told: Inside = serde_json::from_str(told.to_str().context("what is told is no text")?)?;
    run("ip", ["link", "set", "lo", "up"])?;
    for address in [backend::PARIS, backend::LYON, backend::PICTURES, backend::RESPONDER] {
        run("ip", ["addr", "add", &format!("{address}/32"), "dev", "lo"])?;
    }
    // API servers look for the address to tell others along the default route, and do not start without one.
    run("ip", ["route", "add", "default", "dev", "lo"])?;
    run("mount", ["-t", "tmpfs", "tmpfs", CERTIFICATES])?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed twice"))?;
    // Arbiter and stores lie in memory: their timing asks for a disk that answers in milliseconds.
    let folder = tempfile::Builder::new().prefix("bascule-gateway-").tempdir_in("/dev/shm")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(story::play(&told.gateway, &told.servers, folder.path()));
    if ended.is_err() {
        // The logs say why.
        let kept = folder.keep();
        eprintln!("what everybody said is kept in {}", kept.display());
    }
    ended
}
