//! What passes between the operator and its child: a line of JSON each way, the child's followed by the files'
//! bytes. Stays between two processes of one program and is written nowhere.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::{GitError, Revision};

/// The longest line that is read, in bytes. Holds a request with a bundle of authorities, and an answer that names
/// every file.
pub(super) const LINE_LIMIT: u64 = 8 << 20;

/// The child's line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    Unchanged,
    Fetched { revision: Revision, files: Vec<FileHead> },
    Failed(GitError),
}

/// A file whose bytes follow the line, in the order of the heads.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileHead {
    pub(super) path: String,
    pub(super) bytes: usize,
}

/// Writes a secret for the child: the one place where a secret is serialised.
pub(super) fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}
