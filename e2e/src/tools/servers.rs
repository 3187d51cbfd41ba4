//! Kubernetes' own servers, etcd, CoreDNS, helm and Envoy Gateway, built from Go modules whose checksums are committed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::cache_folder;
use crate::progress::{Note, Progress};

const GO_MOD: &str = include_str!("../../servers/go.mod");
const GO_SUM: &str = include_str!("../../servers/go.sum");
const HELM_MOD: &str = include_str!("../../helm/go.mod");
const HELM_SUM: &str = include_str!("../../helm/go.sum");
const GATEWAY_MOD: &str = include_str!("../../gateway/go.mod");
const GATEWAY_SUM: &str = include_str!("../../gateway/go.sum");
const COREDNS_MOD: &str = include_str!("../../coredns/go.mod");
const COREDNS_SUM: &str = include_str!("../../coredns/go.sum");
const COREDNS_MAIN: &str = include_str!("../../coredns/main.go");

/// Programs and their packages, small ones first.
const SERVERS: [(&str, &str); 8] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
];

/// The folder with all servers. What `assets` holds already is not built.
pub(super) fn ensure_servers(progress: &Progress, assets: Option<&Path>) -> Result<PathBuf> {
    let folder = cache_folder()?.join(format!("servers-{}", key(&[GO_MOD, GO_SUM])));
    let module = Module { folder: &folder, files: &[("go.mod", GO_MOD), ("go.sum", GO_SUM)] };
    for (name, package) in SERVERS {
        if assets.is_none_or(|a| !a.join(name).exists()) {
            module.ensure(progress, name, package)?;
        }
    }
    Ok(folder)
}

/// The CoreDNS binary.
pub(super) fn ensure_coredns(progress: &Progress) -> Result<PathBuf> {
    let key = key(&[COREDNS_MOD, COREDNS_SUM, COREDNS_MAIN]);
    let folder = cache_folder()?.join(format!("coredns-{key}"));
    let files = &[("go.mod", COREDNS_MOD), ("go.sum", COREDNS_SUM), ("main.go", COREDNS_MAIN)];
    Module { folder: &folder, files }.ensure(progress, "coredns", ".")?;
    Ok(folder.join("coredns"))
}

/// The real helm.
pub(super) fn ensure_helm(progress: &Progress) -> Result<PathBuf> {
    let folder = cache_folder()?.join(format!("helm-{}", key(&[HELM_MOD, HELM_SUM])));
    let module = Module { folder: &folder, files: &[("go.mod", HELM_MOD), ("go.sum", HELM_SUM)] };
    module.ensure(progress, "helm", "helm.sh/helm/v4/cmd/helm")?;
    Ok(folder.join("helm"))
}

/// Envoy Gateway, and the folder with its module file.
pub(super) fn ensure_gateway(progress: &Progress) -> Result<(PathBuf, PathBuf)> {
    let folder = cache_folder()?.join(format!("gateway-{}", key(&[GATEWAY_MOD, GATEWAY_SUM])));
    let module = Module { folder: &folder, files: &[("go.mod", GATEWAY_MOD), ("go.sum", GATEWAY_SUM)] };
    module.write()?;
    module.ensure(progress, "envoy-gateway", "github.com/envoyproxy/gateway/cmd/envoy-gateway")?;
    Ok((folder.join("envoy-gateway"), folder.join("module")))
}

/// Names a cache folder by what its content is made of.
fn key(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

struct Module<'a> {
    folder: &'a Path,
    files: &'a [(&'a str, &'a str)],
}

impl Module<'_> {
    fn ensure(&self, progress: &Progress, name: &str, package: &str) -> Result<()> {
        let binary = self.folder.join(name);
        if binary.exists() {
            return Ok(());
        }
        progress.step(&format!("building {name} (once)"), |note| self.build(name, package, note))
    }

    /// Writes its files and answers their folder.
    fn write(&self) -> Result<PathBuf> {
        let source = self.folder.join("module");
        fs::create_dir_all(&source)?;
        for (file, text) in self.files {
            fs::write(source.join(file), text)?;
        }
        Ok(source)
    }

    fn build(&self, name: &str, package: &str, note: &Note) -> Result<()> {
        let source = self.write()?;
        // Renamed when complete: a build that was broken off leaves nothing that looks like a program.
        let partial = self.folder.join(format!(".{name}.{}", std::process::id()));
        let mut child = Command::new("go")
            .current_dir(&source)
            .args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"])
            .arg(&partial)
            .arg(package)
            .env("CGO_ENABLED", "0")
            .env_remove("GOFLAGS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start go: the sandbox builds Kubernetes' servers with Go 1.26 or newer")?;
        let err = child.stderr.take().context("no standard error")?;
        let mut last = std::collections::VecDeque::new();
        for line in BufReader::new(err).lines() {
            let line = line?;
            note.say(&line);
            last.push_back(line);
            if last.len() > 20 {
                last.pop_front();
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("go build {package} ended with {status}:\n{}", Vec::from(last).join("\n"));
        }
        fs::rename(&partial, self.folder.join(name))?;
        Ok(())
    }
}
