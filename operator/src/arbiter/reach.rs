//! Which members are asked, and with whose certificate: by the folder that `init` made, or said one by one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bascule_adapters::arbiter::{Settings, Tls};
use clap::Args;
use secrecy::SecretSlice;

use super::description::Description;
use crate::settings::parse_duration;

/// Whom to ask.
#[derive(Clone, Debug, Args)]
pub struct Reach {
    /// The folder that `bascule arbiter init` made.
    #[arg(value_name = "FOLDER", required_unless_present = "endpoints")]
    pub folder: Option<PathBuf>,

    /// Members to ask, `https://host:port`; left out: those of FOLDER.
    #[arg(long, value_delimiter = ',', value_name = "URL")]
    pub endpoints: Vec<String>,

    /// The directory with ca.crt, tls.crt and tls.key of a user with the role root; left out: `admin` in FOLDER.
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "folder")]
    pub certificates: Option<PathBuf>,

    /// How long one call may take.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub deadline: String,
}

impl Reach {
    /// The deadline of one call.
    pub fn deadline(&self) -> anyhow::Result<Duration> {
        let time = parse_duration(&self.deadline).with_context(|| {
            format!("--deadline: found {:?}, expected a duration like 500ms or 5s", self.deadline)
        })?;
        if time.is_zero() {
            bail!("--deadline: found 0, expected a duration like 500ms or 5s: nobody answers in no time");
        }
        Ok(time)
    }

    /// What is known of the arbiter, by its folder.
    pub fn description(&self) -> anyhow::Result<Description> {
        let folder = self
            .folder
            .as_deref()
            .context("FOLDER is missing: found none, expected the folder that `bascule arbiter init` made")?;
        Description::read(folder)
    }

    /// How to connect.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let endpoints = if self.endpoints.is_empty() {
            self.description()?.endpoints(None)
        } else {
            self.endpoints.clone()
        };
        let certificates = match (&self.certificates, &self.folder) {
            (Some(given), _) => given.clone(),
            (None, Some(folder)) => folder.join("admin"),
            (None, None) => bail!(
                "--certificates is missing: found none, expected a directory with ca.crt, tls.crt and tls.key"
            ),
        };
        Ok(Settings { endpoints, tls: tls(&certificates)?, connect_timeout: self.deadline()? })
    }
}

fn tls(directory: &Path) -> anyhow::Result<Tls> {
    let read = |name: &str| {
        let file = directory.join(name);
        std::fs::read(&file).with_context(|| {
            format!(
                "{} cannot be read; expected the certificate of a user with the role root (--certificates)",
                file.display()
            )
        })
    };
    Ok(Tls { ca: read("ca.crt")?, cert: read("tls.crt")?, key: SecretSlice::from(read("tls.key")?) })
}
