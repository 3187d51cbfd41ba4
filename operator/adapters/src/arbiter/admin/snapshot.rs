//! A copy of everything that is stored, in etcd's own form.

use std::io::Write;

use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::super::failure::Cause;
use super::{Administration, AdministrationError};

/// What etcd adds to a copy: the SHA-256 of all that comes before it.
const SUM: usize = 32;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The member did not give it.
    #[error(transparent)]
    Member(#[from] AdministrationError),
    /// It cannot be written.
    #[error("the copy cannot be written: {0}")]
    Write(#[from] std::io::Error),
    /// It is not what the member sent.
    #[error(
        "the copy is damaged: its {bytes} bytes have the SHA-256 {found}, the member said {expected}. Nothing was kept; take it again, from another member if this stays"
    )]
    Damaged {
        /// How long it is.
        bytes: u64,
        /// What was computed.
        found: String,
        /// What came with it.
        expected: String,
    },
}

/// A copy that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How long it is.
    pub bytes: u64,
    /// The version of etcd that wrote it; empty when it does not say.
    pub version: String,
}

impl Administration {
    /// Writes everything that is stored into `to`, as this member has it, and checks that it arrived whole. Each piece has
    /// the deadline of a call.
    pub async fn snapshot(&self, to: &mut (impl Write + Send)) -> Result<Copied, SnapshotError> {
        let what = "asking for a copy of the store";
        let mut pieces = self.call(what, |mut c| async move { c.snapshot().await }).await?;
        let (mut bytes, mut version) = (0, String::new());
        let mut sum = Sha256::new();
        // The end of what has come: it may be the sum, which is not part of what it sums up.
        let mut end: Vec<u8> = Vec::new();
        loop {
            let piece = match timeout(self.deadline, pieces.message()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(self.failed(what, Cause::of(&error)).into()),
                Err(_) => return Err(self.failed(what, Cause::TimedOut(self.deadline)).into()),
            };
            if version.is_empty() {
                piece.version().clone_into(&mut version);
            }
            to.write_all(piece.blob())?;
            bytes += piece.blob().len() as u64;
            end.extend_from_slice(piece.blob());
            let sure = end.len().saturating_sub(SUM);
            sum.update(end.drain(..sure).as_slice());
        }
        let found = sum.finalize();
        if found.as_slice() != end.as_slice() {
            let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
            return Err(SnapshotError::Damaged { bytes, found: hex(&found), expected: hex(&end) });
        }
        to.flush()?;
        Ok(Copied { bytes, version })
    }
}
