//! The image that is published: the static binary, the authorities that it trusts, a user that is not root, and
//! nothing else. No shell, no package manager, nothing that is written to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{ImageConfig, Layer, Machine};

/// Raised when what is below changes: an image that was made before is then made anew.
pub const RECIPE: &str = "1";

/// User and group that the image runs as; the same number as in the chart and in the Dockerfile.
pub const USER: u64 = 65532;

/// Where the authorities lie that the machine trusts, by distribution.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Makes the image `name` of a static `bascule` and saves it as an archive.
pub fn save(binary: &Path, authorities: &Path, name: &str, archive: &Path) -> Result<()> {
    let machine = Machine::of(binary)?;
    let user = format!("{USER}:{USER}");
    let mut layer = Layer::new()?;
    layer.text("etc/passwd", &format!("root:x:0:0:root:/:/\nbascule:x:{user}:bascule:/:/\n"))?;
    layer.text("etc/group", &format!("root:x:0:\nbascule:x:{USER}:\n"))?;
    layer.file(authorities, "etc/ssl/certs/ca-certificates.crt", 0o644)?;
    // What volumes are mounted on; without one a container may write there all the same.
    for folder in ["var/cache/bascule", "var/lib/bascule"] {
        layer.folder(folder, 0o755, USER)?;
    }
    layer.folder("tmp", 0o1777, 0)?;
    layer.file(binary, "bascule", 0o755)?;
    let config = ImageConfig {
        entrypoint: vec!["/bascule"],
        user: &user,
        machine: Some(machine),
        labels: vec![
            ("org.opencontainers.image.title", "bascule"),
            ("org.opencontainers.image.description", "Failover of applications between Kubernetes clusters"),
            ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
            ("org.opencontainers.image.licenses", "Apache-2.0"),
        ],
        ..ImageConfig::default()
    };
    layer.save(name, &config, archive)
}

/// The authorities that this machine trusts.
pub fn authorities() -> Result<PathBuf> {
    let found = AUTHORITIES.iter().map(PathBuf::from).find(|file| file.is_file());
    let found = found.with_context(|| {
        format!("no list of certificate authorities in {}; install ca-certificates", AUTHORITIES.join(", "))
    })?;
    let text = std::fs::read_to_string(&found).with_context(|| format!("cannot read {}", found.display()))?;
    ensure!(
        text.contains("-----BEGIN CERTIFICATE-----"),
        "{} holds no certificate: expected PEM; install ca-certificates",
        found.display()
    );
    Ok(found)
}
