//! Credentials as files of a mounted Secret. Each attempt reads them anew: a Secret that was changed needs no restart.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// The largest credential, in bytes.
const LARGEST: u64 = 64 << 10;

/// A key of the mounted Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    path: PathBuf,
}

impl Key {
    /// The key of this name in the folder that the Secret is mounted at.
    pub(super) fn new(folder: &Path, key: &str) -> Self {
        Self { path: folder.join(key) }
    }

    /// What it holds now, without the line break at its end.
    pub(super) fn read(&self) -> Result<SecretString, String> {
        let path = self.path.display();
        let size = std::fs::metadata(&self.path).map_err(|e| format!("{path} cannot be read: {e}"))?.len();
        if size > LARGEST {
            return Err(format!("{path}: found {size} bytes, expected at most {LARGEST}"));
        }
        let text = std::fs::read_to_string(&self.path).map_err(|e| format!("{path} cannot be read: {e}"))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(format!("{path} is empty: put the credential into this key of the Secret"));
        }
        Ok(SecretString::from(text))
    }
}
