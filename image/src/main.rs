//! `bascule-image`: makes the image of a static `bascule`, and the list of what the program is made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bascule_image::{Machine, product, sbom};
use clap::Parser;

/// Makes the container image of Bascule as an archive in the OCI layout, without a container daemon, and beside it the
/// list of what the program is made of (CycloneDX). Load it with `ctr images import`, `skopeo copy oci-archive:FILE` or
/// `podman load`.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// The program: `bascule`, linked statically
    binary: PathBuf,
    /// The folder that archive and list are written into
    folder: PathBuf,
    /// The image's name, with its tag
    #[arg(long, default_value = concat!("ghcr.io/bascule/bascule:", env!("CARGO_PKG_VERSION")))]
    name: String,
    /// The authorities that the image trusts (PEM) [default: those of this machine]
    #[arg(long)]
    authorities: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let machine = Machine::of(&cli.binary)?;
    product::ensure_publishable(&cli.binary)?;
    let authorities = cli.authorities.map_or_else(product::authorities, Ok)?;
    fs::create_dir_all(&cli.folder).with_context(|| format!("cannot make {}", cli.folder.display()))?;
    let stem = format!("bascule-{}-{}", env!("CARGO_PKG_VERSION"), machine.name());
    let archive = cli.folder.join(format!("{stem}.tar"));
    product::save(&cli.binary, &authorities, &cli.name, &archive)?;
    say(&format!("{} ({})", archive.display(), cli.name), size(&archive)?, "image");
    say(&cli.binary.display().to_string(), size(&cli.binary)?, "the program in it");

    let target = match machine {
        Machine::Amd64 => "x86_64-unknown-linux-gnu",
        Machine::Arm64 => "aarch64-unknown-linux-gnu",
    };
    // The sources that this program was built from.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("image/ has no parent folder")?;
    let list = cli.folder.join(format!("{stem}.cdx.json"));
    fs::write(&list, sbom::list(workspace, "bascule", target)?)
        .with_context(|| format!("cannot write {}", list.display()))?;
    say(&list.display().to_string(), size(&list)?, "what the program is made of");
    Ok(())
}

fn size(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len())
}

fn say(what: &str, bytes: u64, is: &str) {
    println!("{:>8.1} MB  {what}: {is}", bytes as f64 / 1e6);
}
