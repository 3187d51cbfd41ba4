//! How two values are compared without being known: a hash with a salt that is thrown away, so that a short password
//! cannot be guessed from its fingerprint.

use anyhow::anyhow;
use rustls::crypto::CryptoProvider;
use sha2::{Digest as _, Sha256};

/// How many letters of the hash are shown.
const SHOWN: usize = 16;

/// Fingerprints of one archive.
pub struct Fingerprints {
    salt: [u8; 32],
}

impl Fingerprints {
    /// With a salt of its own.
    pub fn new() -> anyhow::Result<Self> {
        let provider = CryptoProvider::get_default().ok_or_else(|| {
            anyhow!("no source of randomness is installed; this is a defect of Bascule, please report it")
        })?;
        let mut salt = [0; 32];
        provider.secure_random.fill(&mut salt).map_err(|_| anyhow!("the system gives no randomness"))?;
        Ok(Self { salt })
    }

    /// The fingerprint of a value, with its length.
    pub fn of(&self, value: &[u8]) -> String {
        let hash = Sha256::new().chain_update(self.salt).chain_update(value).finalize();
        let hex = data_encoding::HEXLOWER.encode(hash.get(..SHOWN / 2).unwrap_or(&hash));
        format!("sha256:{hex} ({} bytes)", value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_look_equal_in_one_archive_and_in_no_other() {
        let (a, b) = (Fingerprints { salt: [1; 32] }, Fingerprints { salt: [2; 32] });
        assert_eq!(a.of(b"secret"), a.of(b"secret"));
        assert_ne!(a.of(b"secret"), a.of(b"secreT"));
        assert_ne!(a.of(b"secret"), b.of(b"secret"));
    }
}
