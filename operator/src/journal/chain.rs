//! How each line is tied to the one before it. Pure.
//!
//! A line's hash is the first 16 digits of SHA-256 over the hash of the line before it in its file, a line feed, and the
//! line up to and with its number. Before a file's first line that hash is sixteen zeros. A line without a seal, as
//! older programs write it, has a hash all the same, over the whole of it; it is not written down, and the next seal ties it.
//! Anybody can compute it: there is no secret in it.

use bascule_core::journal::seal::{self, DIGITS};
use sha2::{Digest, Sha256};

/// The place behind a line: what the next one is tied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The line's number in its file; 0: there is none yet.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

impl Link {
    /// Before a file's first line.
    pub fn begin() -> Self {
        Self { number: 0, hash: "0".repeat(DIGITS) }
    }

    /// A text as the next line, without its end, and the place behind it.
    pub fn seal(&self, text: &str) -> (String, Self) {
        let number = self.number.saturating_add(1);
        let numbered = seal::numbered(text, number);
        let hash = hash(&self.hash, &numbered);
        (seal::sealed(&numbered, &hash), Self { number, hash })
    }

    /// The place behind a line that is there, without its end. What a seal says is taken as it is: one line that was
    /// changed is not to make every later one look so.
    pub fn behind(&self, line: &str) -> Self {
        match seal::split(line) {
            (_, Some(seal)) => Self { number: seal.number, hash: seal.hash.to_owned() },
            (text, None) => Self { number: self.number.saturating_add(1), hash: hash(&self.hash, text) },
        }
    }
}

/// The hash of a line: of its text with its number, or of the whole of one without a seal.
pub fn hash(before: &str, line: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(before);
    digest.update("\n");
    digest.update(line);
    let mut hash = data_encoding::HEXLOWER.encode(&digest.finalize());
    hash.truncate(DIGITS);
    hash
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_hash_can_be_computed_with_what_every_machine_has() {
        let (first, link) =
            Link::begin().seal("2026-11-28T03:00:00.000Z paris - epoch=0 serial=0 observed: it's so");
        let (second, _) = link.seal("2026-11-28T03:00:01.000Z paris - epoch=0 serial=0 observed: ünd so");
        // As docs/journal.md has it.
        let script = r#"before=0000000000000000
while IFS= read -r line; do
  hash=$(printf '%s\n%s' "$before" "${line%-*}" | sha256sum | cut -c1-16)
  [ "$hash" = "${line##*-}" ] && echo fits || echo "expected $hash"
  before=${line##*-}
done"#;
        let page = include_str!("../../../docs/journal.md");
        assert!(page.contains(script), "docs/journal.md has another script");
        let input = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(input.path(), format!("{first}\n{second}\n")).unwrap();
        let output = Command::new("sh")
            .args(["-c", script])
            .stdin(std::fs::File::open(input.path()).unwrap())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "fits\nfits\n", "{output:?}");
    }
}
