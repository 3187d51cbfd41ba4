//! Who we are to a git server, from a Secret. A Secret that says nothing usable is refused: without credentials the
//! server would answer "not found", and nobody would look at the Secret.

use bascule_adapters::git::Credentials;
use bascule_adapters::kube::secret::SecretValues;
use secrecy::ExposeSecret;

/// What a Secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `username` and `password`.
    Password,
    /// `identity` and `known_hosts`.
    Ssh,
    /// `ca.crt` alone.
    Authority,
}

/// The credentials and the authority for `url`.
pub fn of(url: &str, secret: &SecretValues) -> Result<(Credentials, Option<String>), String> {
    let keys: Vec<&str> = secret.keys().collect();
    let text = |name: &str| secret.text(name).map_err(|e| format!("spec.secretRef: {e}"));
    let credentials = match kind(url, &keys)? {
        Kind::Password => Credentials::Password {
            username: text("username")?.expose_secret().to_owned(),
            password: text("password")?,
        },
        Kind::Ssh => Credentials::Ssh {
            identity: text("identity")?,
            known_hosts: text("known_hosts")?.expose_secret().to_owned(),
        },
        Kind::Authority => Credentials::None,
    };
    let ca = if keys.contains(&"ca.crt") { Some(text("ca.crt")?.expose_secret().to_owned()) } else { None };
    Ok((credentials, ca))
}

/// That a Secret is not there, and what it should hold.
pub fn missing(url: &str, namespace: &str, name: &str) -> String {
    format!("spec.secretRef: Secret {namespace}/{name} does not exist; create it with {}", expected(url))
}

fn expected(url: &str) -> &'static str {
    if url.starts_with("ssh:") {
        "the keys identity and known_hosts"
    } else {
        "the keys username and password (a token is a password), with ca.crt where the server's authority is your own, or ca.crt alone"
    }
}

fn kind(url: &str, keys: &[&str]) -> Result<Kind, String> {
    let all = |wanted: &[&str]| wanted.iter().all(|key| keys.contains(key));
    let kind = if url.starts_with("ssh:") {
        all(&["identity", "known_hosts"]).then_some(Kind::Ssh)
    } else if all(&["username", "password"]) {
        Some(Kind::Password)
    } else {
        (keys == ["ca.crt"]).then_some(Kind::Authority)
    };
    kind.ok_or_else(|| {
        let found = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
        format!("spec.secretRef: the Secret has the keys {found}; expected {}", expected(url))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTPS: &str = "https://git.example.org/ops/policies.git";
    const SSH: &str = "ssh://git@git.example.org/ops/policies.git";

    #[test]
    fn complete_credentials_are_taken_for_the_scheme_that_knows_them() {
        assert_eq!(kind(HTTPS, &["password", "username"]), Ok(Kind::Password));
        assert_eq!(kind(HTTPS, &["ca.crt", "password", "username"]), Ok(Kind::Password));
        assert_eq!(kind(HTTPS, &["ca.crt"]), Ok(Kind::Authority));
        assert_eq!(kind(SSH, &["identity", "identity.pub", "known_hosts"]), Ok(Kind::Ssh));
    }

    #[test]
    fn a_secret_that_is_not_complete_is_refused_with_the_keys_found_and_expected() {
        for (url, keys) in [
            (HTTPS, &["password"][..]),
            (HTTPS, &["passwrod", "username"]),
            (HTTPS, &["token"]),
            (HTTPS, &["identity", "known_hosts"]),
            (HTTPS, &["ca.crt", "username"]),
            (HTTPS, &[]),
            (SSH, &["identity"]),
            (SSH, &["password", "username"]),
        ] {
            let why = kind(url, keys).unwrap_err();
            let found = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
            assert!(why.contains(&format!("has the keys {found};")), "{why}");
            assert!(why.contains(if url == SSH { "known_hosts" } else { "username and password" }), "{why}");
        }
    }
}
