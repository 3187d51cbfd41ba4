//! Which addresses are used at all. Checked before anything is resolved or connected.

use ::url::Url;

use super::{Credentials, GitError, Request};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
    Ssh,
    File,
}

/// A checked address.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) scheme: Scheme,
    /// For messages: host and port, never a user; the path of a local repository.
    pub(super) host: String,
    /// For libgit2.
    pub(super) url: String,
}

fn refuse(why: impl Into<String>) -> GitError {
    GitError::Request { field: "url".to_owned(), why: why.into() }
}

/// Checks the address and that the credentials fit it.
pub(super) fn check(request: &Request) -> Result<Address, GitError> {
    // The text itself is never in a message: it may carry a password.
    let url = Url::parse(&request.url).map_err(|e| {
        refuse(format!("is not a URL ({e}): expected https://host/path, ssh://git@host/path or file:///path"))
    })?;
    let scheme = match url.scheme() {
        "https" => Scheme::Https,
        "http" if request.allow_http => Scheme::Http,
        "ssh" => Scheme::Ssh,
        "file" => Scheme::File,
        other => return Err(refuse(format!("scheme {other} is not allowed: use https, ssh or file"))),
    };
    if url.password().is_some() || (scheme != Scheme::Ssh && !url.username().is_empty()) {
        return Err(refuse("carries a user or password: put credentials into the Secret"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("has a query or fragment, which git does not use"));
    }
    let host = match (scheme, url.host_str()) {
        (Scheme::File, None | Some("")) => url.path().to_owned(),
        (Scheme::File, Some(_)) => return Err(refuse("file: takes no host: write file:///path")),
        (_, Some(host)) if !host.is_empty() => {
            url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
        }
        _ => return Err(refuse("names no host")),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-~+@".contains(c);
    let user_is_plain = url.username().chars().all(|c| plain(c) && c != '/' && c != '@');
    if scheme == Scheme::Ssh && !(url.path().chars().all(plain) && user_is_plain) {
        return Err(refuse("an ssh user and path may hold only letters, digits and / . _ - ~ + @"));
    }
    match (&request.credentials, scheme) {
        (Credentials::None, Scheme::Ssh) => {
            return Err(GitError::Request {
                field: "credentials".to_owned(),
                why: "ssh needs a private key and known_hosts".to_owned(),
            });
        }
        (Credentials::None, _)
        | (Credentials::Ssh { .. }, Scheme::Ssh)
        | (Credentials::Password { .. } | Credentials::Bearer(_), Scheme::Https | Scheme::Http) => {}
        _ => {
            return Err(GitError::Request {
                field: "credentials".to_owned(),
                why: format!(
                    "do not fit {}: a password or token goes with https, a key with ssh",
                    url.scheme()
                ),
            });
        }
    }
    if request.history.is_some() && scheme == Scheme::File {
        return Err(GitError::Request {
            field: "history".to_owned(),
            why: "file: always fetches all of the history".to_owned(),
        });
    }
    Ok(Address { scheme, host, url: url.into() })
}
