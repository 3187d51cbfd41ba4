//! What names a repository and things in it.

use super::{Refusal, Rule, refusal, refusing};

/// Addresses of git repositories.
pub mod url {
    use super::Rule;

    /// Says what is expected and never what was found: an address may carry a password.
    const EXPECTED: &str = "expected an address that begins with https://, ssh:// or file:///, without a password and without spaces";

    /// Whether a text can be the address of a repository. A user name is accepted for ssh only.
    pub fn check(text: &str) -> Result<(), &'static str> {
        let printable = text.chars().all(|c| c.is_ascii_graphic());
        let host = |rest: &str| !rest.split('/').next().unwrap_or_default().is_empty();
        let authority = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
        let valid = printable
            && if let Some(rest) = text.strip_prefix("https://") {
                host(rest) && !authority(rest).contains('@')
            } else if let Some(rest) = text.strip_prefix("ssh://") {
                let authority = authority(rest);
                let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
                host(rest) && !user.contains([':', '@']) && !authority.ends_with('@')
            } else {
                text.strip_prefix("file:///").is_some_and(|rest| !rest.is_empty())
            };
        if valid { Ok(()) } else { Err(EXPECTED) }
    }

    pub(crate) fn rule() -> Rule {
        // [!-.0-?A-~] is what is printable, without '/' and '@'.
        Rule::new(
            "self.matches('^(https://[!-.0-?A-~]+(/[!-~]*)?|ssh://([!-.0-9;-?A-~]+@)?[!-.0-?A-~]+(/[!-~]*)?|file:///[!-~]+)$')",
        )
        .message(EXPECTED)
    }
}

/// Folders in a repository.
pub mod folder {
    use super::{Refusal, Rule, refusal, refusing};

    const EXPECTED: &str = "a folder inside the repository such as . or clusters/shop, without .. and without a slash at its beginning";

    /// Whether a text names a folder that cannot lead out of the repository.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let valid = !text.is_empty()
            && !text.starts_with('/')
            && !text.contains(['\\', '\0', '\n'])
            && text.split('/').all(|part| part != "..");
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn rule() -> Rule {
        refusing(
            r"!self.startsWith('/') && !self.matches('[\\\\\\x00\\n]') && !self.split('/').exists(p, p == '..')".to_owned(),
            EXPECTED,
        )
    }
}

/// Names of branches and tags.
pub mod ref_name {
    use super::{Refusal, Rule, refusal, refusing};

    const EXPECTED: &str = "the short name of a branch or tag such as main or v1.2";

    /// Whether a text is acceptable to git as the name of a branch or tag.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let part = |p: &str| {
            !p.is_empty() && !p.starts_with('.') && p.rsplit_once('.').is_none_or(|(_, end)| end != "lock")
        };
        let valid = text.chars().all(|c| c.is_ascii_graphic() && !r"~^:?*[\".contains(c))
            && !text.starts_with(['-', '/'])
            && !text.ends_with('.')
            && !text.contains("..")
            && !text.contains("@{")
            && text.split('/').all(part);
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn rule() -> Rule {
        refusing(
            r"self.matches('^[!-)+-9;->@-Z\\]_`a-}]+$') && !self.startsWith('-') && !self.endsWith('.') && !self.contains('..') && !self.contains('@{') && self.split('/').all(p, size(p) > 0 && !p.startsWith('.') && !p.endsWith('.lock'))"
                .to_owned(),
            EXPECTED,
        )
    }
}

/// Full hashes of commits.
pub mod commit {
    use super::{Refusal, Rule, refusal, refusing};

    const EXPECTED: &str = "the full hash of a commit: 40 or 64 digits 0-9a-f";

    /// Whether a text is the full hash of a commit.
    pub fn check(text: &str) -> Result<(), Refusal> {
        let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let valid = matches!(text.len(), 40 | 64) && text.chars().all(digit);
        if valid { Ok(()) } else { Err(refusal(text, EXPECTED)) }
    }

    pub(crate) fn rule() -> Rule {
        refusing("self.matches('^([0-9a-f]{40}|[0-9a-f]{64})$')".to_owned(), EXPECTED)
    }
}
