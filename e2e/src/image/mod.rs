//! Container images out of local files, without a container tool: what goes into them, and a cache of them.

mod rootfs;
mod store;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use bascule_image::{ImageConfig, Layer, product};
pub use store::{copy_store, ensure_store};

use crate::command::run;
use crate::progress::Progress;
use crate::tools::{StaticBinaries, cache_folder};

/// The image that holds a pod's namespaces open.
pub const PAUSE: &str = "bascule.test/pause:1";
/// A shell and small tools.
pub const BUSYBOX: &str = "bascule.test/busybox:1";
/// PostgreSQL 15 with all of its tools, bash and coreutils; user 999.
pub const POSTGRES: &str = "bascule.test/postgres:15";
/// The demo's web application.
pub const WEB: &str = "bascule.test/web:1";
/// The image that is published, under a name of the sandbox.
pub const BASCULE: &str = "bascule.test/bascule:1";

/// Raised when a recipe below changes.
const RECIPES: &str = "1";
const POSTGRES_HOME: &str = "/usr/lib/postgresql/15";
const BUSYBOX_FILE: &str = "/usr/bin/busybox";

/// The images that every site has from the start; built when they are not in the cache.
pub fn ensure_base(progress: &Progress) -> Result<Vec<PathBuf>> {
    Ok(vec![
        cached(progress, PAUSE, &version(&["busybox-static"])?, pause)?,
        cached(progress, BUSYBOX, &version(&["busybox-static"])?, busybox)?,
        cached(progress, POSTGRES, &version(&["postgresql-15", "libc6", "bash"])?, postgres)?,
    ])
}

/// The images of our own programs, which change with every build.
pub fn ensure_ours(progress: &Progress, ours: &StaticBinaries) -> Result<Vec<PathBuf>> {
    Ok(vec![
        cached(progress, WEB, &content(&ours.web)?, |file| web(&ours.web, file))?,
        cached(progress, BASCULE, &product_key(&ours.bascule)?, |file| {
            product::save(&ours.bascule, &product::authorities()?, BASCULE, file)
        })?,
    ])
}

fn cached(
    progress: &Progress,
    name: &str,
    key: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = cache_folder()?.join("images");
    fs::create_dir_all(&folder)?;
    let short = name.trim_start_matches("bascule.test/").replace(':', "-");
    let file = folder.join(format!("{short}-{}.tar", short_hash(&[RECIPES.as_bytes(), key.as_bytes()])));
    if !file.exists() {
        progress.step(&format!("image {name}"), |_| {
            let partial = tempfile::Builder::new().prefix(".image").tempfile_in(&folder)?;
            build(partial.path()).with_context(|| format!("cannot make image {name}"))?;
            // An older one of the same name is of no use any more: our own binaries change all the time.
            for entry in fs::read_dir(&folder)?.filter_map(Result::ok) {
                if entry.file_name().to_string_lossy().starts_with(&format!("{short}-")) {
                    let _ = fs::remove_file(entry.path());
                }
            }
            partial.persist(&file)?;
            Ok::<_, anyhow::Error>(())
        })?;
    }
    Ok(file)
}

fn pause(file: &Path) -> Result<()> {
    let mut layer = Layer::new()?;
    layer.file(Path::new(BUSYBOX_FILE), "pause", 0o755)?;
    // Busybox knows by the name it is called with what it is to be.
    layer.symlink("bin/sleep", "/pause")?;
    let config = ImageConfig {
        entrypoint: vec!["/bin/sleep", "2147483647"],
        user: "65535:65535",
        ..ImageConfig::default()
    };
    layer.save(PAUSE, &config, file)
}

fn busybox(file: &Path) -> Result<()> {
    let mut layer = Layer::new()?;
    busybox_files(&mut layer)?;
    let config = ImageConfig { cmd: vec!["/bin/sh"], env: vec!["PATH=/bin"], ..ImageConfig::default() };
    layer.save(BUSYBOX, &config, file)
}

fn busybox_files(layer: &mut Layer) -> Result<()> {
    layer.folder("tmp", 0o1777, 0)?;
    layer.file(Path::new(BUSYBOX_FILE), "bin/busybox", 0o755)?;
    for applet in run(BUSYBOX_FILE, ["--list"])?.lines().filter(|a| *a != "busybox") {
        layer.symlink(&format!("bin/{applet}"), "/bin/busybox")?;
    }
    layer.text("etc/passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    layer.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
}

fn web(binary: &Path, file: &Path) -> Result<()> {
    let mut layer = Layer::new()?;
    layer.file(binary, "demo-web", 0o755)?;
    let config = ImageConfig { entrypoint: vec!["/demo-web"], user: "999:999", ..ImageConfig::default() };
    layer.save(WEB, &config, file)
}

fn postgres(file: &Path) -> Result<()> {
    const TOOLS: [&str; 48] = [
        "bash",
        "sh",
        "ls",
        "cat",
        "cp",
        "mv",
        "rm",
        "ln",
        "mkdir",
        "chown",
        "chmod",
        "sleep",
        "date",
        "id",
        "env",
        "hostname",
        "grep",
        "sed",
        "awk",
        "head",
        "tail",
        "wc",
        "tr",
        "cut",
        "sort",
        "touch",
        "find",
        "kill",
        "ps",
        "ip",
        "curl",
        "timeout",
        "du",
        "df",
        "sync",
        "basename",
        "dirname",
        "mktemp",
        "readlink",
        "stat",
        "seq",
        "true",
        "false",
        "test",
        "echo",
        "tar",
        "xargs",
        "sha256sum",
    ];
    let mut sources: Vec<PathBuf> = TOOLS
        .iter()
        .filter_map(|tool| {
            ["/usr/bin", "/usr/sbin"].iter().map(|d| Path::new(d).join(tool)).find(|p| p.exists())
        })
        .collect();
    let home = Path::new(POSTGRES_HOME);
    sources.push(home.join("bin"));
    for entry in fs::read_dir(home.join("lib"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The JIT compiler alone would be 130 MB.
        if !["llvmjit", "bitcode", "pgxs"].iter().any(|part| name.contains(part)) {
            sources.push(path);
        }
    }
    sources.extend(
        ["/usr/share/postgresql/15", "/usr/share/zoneinfo", "/usr/lib/locale/C.utf8"].map(PathBuf::from),
    );
    let mut layer = Layer::new()?;
    rootfs::add(&mut layer, &sources)?;
    layer.text(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n\
         postgres:x:999:999::/var/lib/postgresql:/bin/bash\n",
    )?;
    layer.text("etc/group", "root:x:0:\nnogroup:x:65534:\npostgres:x:999:\n")?;
    layer.text("etc/nsswitch.conf", "hosts: files dns\n")?;
    for folder in ["var/lib/postgresql", "run/postgresql"] {
        layer.folder(folder, 0o755, 999)?;
    }
    let path = format!("PATH={POSTGRES_HOME}/bin:/usr/bin:/usr/sbin");
    let config = ImageConfig {
        cmd: vec!["postgres"],
        env: vec![&path, "LANG=C.UTF-8"],
        user: "999:999",
        workdir: "/var/lib/postgresql",
        ..ImageConfig::default()
    };
    layer.save(POSTGRES, &config, file)
}

/// Installed versions of packages: an image is made again when one of them was upgraded.
fn version(packages: &[&str]) -> Result<String> {
    let args = ["-W", "-f", "${Package} ${Version}\n"].into_iter().chain(packages.iter().copied());
    run("dpkg-query", args)
}

/// What the published image is made of.
fn product_key(binary: &Path) -> Result<String> {
    Ok([product::RECIPE.to_owned(), content(binary)?, content(&product::authorities()?)?].concat())
}

fn content(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(short_hash(&[&bytes]))
}

fn short_hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
