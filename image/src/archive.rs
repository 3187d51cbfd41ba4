//! Writes an image as an archive in the OCI layout, which `ctr images import`, `skopeo` and `crane` take.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::Machine;

/// How a container of the image starts.
#[derive(Clone, Debug, Default)]
pub struct ImageConfig<'a> {
    /// Program, always run.
    pub entrypoint: Vec<&'a str>,
    /// Arguments, replaced by a pod's own.
    pub cmd: Vec<&'a str>,
    /// Environment as `NAME=value`.
    pub env: Vec<&'a str>,
    /// `user:group`; empty: root.
    pub user: &'a str,
    /// Working folder; empty: the root.
    pub workdir: &'a str,
    /// The machine that its programs were built for; none: this one.
    pub machine: Option<Machine>,
    /// What tools show of it.
    pub labels: Vec<(&'a str, &'a str)>,
}

/// The one layer of an image. It is not compressed; who pushes an image to a registry may do so.
pub struct Layer {
    tar: Builder<File>,
    folders: BTreeSet<String>,
}

impl Layer {
    /// An empty layer.
    pub fn new() -> Result<Self> {
        Ok(Self { tar: Builder::new(tempfile::tempfile()?), folders: BTreeSet::new() })
    }

    /// Adds a folder that belongs to user and group `owner`.
    pub fn folder(&mut self, path: &str, mode: u32, owner: u64) -> Result<()> {
        self.parents(path)?;
        if self.folders.insert(path.to_owned()) {
            let mut header = header(EntryType::Directory, 0, mode);
            header.set_uid(owner);
            header.set_gid(owner);
            self.tar.append_data(&mut header, path, std::io::empty())?;
        }
        Ok(())
    }

    /// Adds a file of this machine.
    pub fn file(&mut self, source: &Path, path: &str, mode: u32) -> Result<()> {
        self.parents(path)?;
        let file = File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
        let size = file.metadata()?.len();
        self.tar.append_data(&mut header(EntryType::Regular, size, mode), path, file.take(size))?;
        Ok(())
    }

    /// Adds a small text file.
    pub fn text(&mut self, path: &str, text: &str) -> Result<()> {
        self.parents(path)?;
        let mut header = header(EntryType::Regular, text.len() as u64, 0o644);
        self.tar.append_data(&mut header, path, text.as_bytes())?;
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, to: &str) -> Result<()> {
        self.parents(path)?;
        self.tar.append_link(&mut header(EntryType::Symlink, 0, 0o777), path, to)?;
        Ok(())
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent, 0o755, 0)?;
        }
        Ok(())
    }

    /// Writes the image under its full name, for example `bascule.test/web:1`.
    pub fn save(self, name: &str, config: &ImageConfig<'_>, archive: &Path) -> Result<()> {
        let mut layer = self.tar.into_inner()?;
        let digest = hash(&mut layer)?;
        let size = layer.metadata()?.len();
        let layer_ref = json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{digest}"), "size": size,
        });
        let machine = config.machine.map_or_else(Machine::this, Ok)?;
        let labels: serde_json::Map<String, Value> =
            config.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let config = serde_json::to_vec(&json!({
            "architecture": machine.name(),
            "os": "linux",
            "config": {
                "Entrypoint": config.entrypoint, "Cmd": config.cmd, "Env": config.env,
                "User": config.user, "WorkingDir": config.workdir, "Labels": labels,
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": reference("config", &config),
            "layers": [layer_ref],
        }))?;
        let mut entry = reference("manifest", &manifest);
        entry["platform"] = json!({ "os": "linux", "architecture": machine.name() });
        // `ctr images import` takes the image's full name from here.
        entry["annotations"] =
            json!({ "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name });
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [entry] }))?;

        let mut tar = Builder::new(File::create(archive)?);
        put(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put(&mut tar, "index.json", &index)?;
        for blob in [&config, &manifest] {
            put(&mut tar, &format!("blobs/sha256/{}", hex(&Sha256::digest(blob))), blob)?;
        }
        layer.rewind()?;
        let mut head = header(EntryType::Regular, size, 0o644);
        tar.append_data(&mut head, format!("blobs/sha256/{digest}"), layer)?;
        tar.into_inner()?.flush()?;
        Ok(())
    }
}

fn reference(kind: &str, blob: &[u8]) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}.v1+json"),
        "digest": format!("sha256:{}", hex(&Sha256::digest(blob))),
        "size": blob.len(),
    })
}

fn put(tar: &mut Builder<File>, path: &str, bytes: &[u8]) -> Result<()> {
    tar.append_data(&mut header(EntryType::Regular, bytes.len() as u64, 0o644), path, bytes)?;
    Ok(())
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    // The same files make the same image.
    header.set_mtime(0);
    header
}

fn hash(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
