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

/// Refuses a program that was built for tests: one that a file can have kill itself.
pub fn ensure_publishable(binary: &Path) -> Result<()> {
    let bytes = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let seam = bascule_boundary::FOLDER;
    ensure!(
        !bytes.windows(seam.len()).any(|found| found == seam.as_bytes()),
        "{} looks at {seam}: it was built with the feature `boundaries`, which is for tests; build it without",
        binary.display()
    );
    Ok(())
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use serde_json::Value;

    use super::*;

    fn read(from: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(from)).unwrap()
    }

    #[test]
    fn a_program_that_a_file_can_kill_is_not_published() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("bascule");
        std::fs::write(&program, "\x7fELF").unwrap();
        ensure_publishable(&program).unwrap();
        std::fs::write(&program, format!("\x7fELF {}", bascule_boundary::FOLDER)).unwrap();
        let refused = ensure_publishable(&program).unwrap_err().to_string();
        assert!(refused.contains("boundaries"), "{refused}");
    }

    #[test]
    fn image_dockerfile_and_chart_name_the_same_user() {
        assert!(read("Dockerfile").contains(&format!("\nUSER {USER}:{USER}\n")));
        assert!(read("charts/bascule/values.yaml").contains(&format!("\nrunAsUser: {USER}\n")));
    }

    #[test]
    fn the_image_holds_the_program_and_the_authorities_and_the_same_files_make_the_same_image() {
        let folder = tempfile::tempdir().unwrap();
        let binary = std::env::current_exe().unwrap();
        let save = |name: &str| {
            let archive = folder.path().join(name);
            save(&binary, &authorities().unwrap(), "example.org/bascule:1", &archive).unwrap();
            std::fs::read(archive).unwrap()
        };
        let archive = save("a.tar");
        assert!(archive == save("b.tar"), "two images of the same files differ");

        let mut blobs = BTreeMap::new();
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            blobs.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        let value = |name: &str| serde_json::from_slice::<Value>(&blobs[name]).unwrap();
        let blob = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
        let index = value("index.json");
        let manifest = value(&blob(&index["manifests"][0]["digest"]));
        let config = value(&blob(&manifest["config"]["digest"]));
        assert_eq!(config["architecture"], Machine::this().unwrap().name());
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/bascule"]));

        let layer = &blobs[&blob(&manifest["layers"][0]["digest"])];
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(&layer[..]).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let is = (header.mode().unwrap() & 0o7777, header.uid().unwrap());
            files.insert(entry.path().unwrap().display().to_string().trim_end_matches('/').to_owned(), is);
        }
        assert_eq!(files["bascule"], (0o755, 0));
        assert_eq!(files["etc/ssl/certs/ca-certificates.crt"], (0o644, 0));
        assert_eq!(files["var/lib/bascule"], (0o755, USER));
        assert!(!files.keys().any(|f| f.contains("bin/")), "there is a shell or a tool: {files:?}");
    }
}
