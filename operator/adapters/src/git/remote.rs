//! The conversation with a server, through libgit2.

use std::path::Path;

use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, ErrorClass, ErrorCode, FetchOptions,
    RemoteCallbacks, RemoteRedirect, Repository,
};
use secrecy::ExposeSecret;

use super::child::Trouble;
use super::http::{Http, SILENCE, Stopped};
use super::refs::Listed;
use super::url::{Address, Scheme};
use super::{Credentials, GitError, Request};

/// A refspec that no server's reference matches: fetching it connects and lists, and downloads nothing. (Connecting
/// by itself takes neither headers nor the redirect setting in this library.)
const NOTHING: &str = "+refs/bascule-nothing:refs/bascule-nothing";

/// More references than any server lists for us.
const LIST_LIMIT: usize = 200_000;

/// Prepares this process for the address's scheme, once and before it has a second thread. The result tells later why
/// a conversation was stopped.
pub(super) fn prepare(request: &Request, address: &Address) -> Result<Stopped, GitError> {
    let scheme = match address.scheme {
        Scheme::Https => "https",
        Scheme::Http => "http",
        Scheme::Ssh | Scheme::File => return Ok(Stopped::default()),
    };
    let http = Http::new(request, address)?;
    http.register(scheme)
        .map_err(|e| GitError::Child { why: format!("libgit2 refuses a transport: {}", e.message()) })?;
    Ok(http.stopped)
}

pub(super) struct Remote<'r> {
    inner: git2::Remote<'r>,
    options: FetchOptions<'r>,
    history: i32,
    address: &'r Address,
    /// Why a callback stopped the conversation; says more than libgit2's error does.
    stopped: Stopped,
}

impl<'r> Remote<'r> {
    /// Connects and receives the list of references.
    pub(super) fn open(
        repo: &'r Repository,
        request: &'r Request,
        address: &'r Address,
        stopped: &Stopped,
    ) -> Result<Self, Trouble> {
        if address.scheme == Scheme::File && !Path::new(&address.host).exists() {
            let what = format!("the repository {}", address.host);
            return Err(GitError::NotFound { what, hint: String::new() }.into());
        }
        let inner = repo.remote_anonymous(&address.url).map_err(|_| GitError::Request {
            field: "url".to_owned(),
            why: "is not accepted by libgit2".to_owned(),
        })?;
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks(request, address, stopped))
            .follow_redirects(RemoteRedirect::None)
            .download_tags(AutotagOption::None)
            .update_fetchhead(false);
        let history = request.history.and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
        let mut this = Self { inner, options, history, address, stopped: stopped.clone() };
        this.ask(&[NOTHING])?;
        Ok(this)
    }

    /// The server's references.
    pub(super) fn list(&self) -> Result<Vec<Listed>, Trouble> {
        let heads = self.inner.list().map_err(|e| self.explain(&e))?;
        if heads.len() > LIST_LIMIT {
            let what = "the number of references".to_owned();
            return Err(GitError::TooLarge { what, limit: LIST_LIMIT.to_string() }.into());
        }
        Ok(heads.iter().map(|h| Listed { name: h.name().to_owned(), id: h.oid() }).collect())
    }

    /// Downloads what the refspecs name and the cache lacks. No local reference is written.
    pub(super) fn download(&mut self, specs: &[&str]) -> Result<(), Trouble> {
        // Only now: with a depth set libgit2 asks for a pack even if nothing is wanted.
        self.options.depth(self.history);
        self.ask(specs)
    }

    fn ask(&mut self, specs: &[&str]) -> Result<(), Trouble> {
        let asked = self.inner.download(specs, Some(&mut self.options));
        asked.map_err(|e| self.explain(&e))
    }

    /// What an error of libgit2 means to the person who must act.
    fn explain(&self, e: &git2::Error) -> Trouble {
        if let Some(error) = self.stopped.take() {
            return error.into();
        }
        let host = self.address.host.clone();
        // libgit2 quotes the URL in some messages; it has no password (that was refused), and its user goes here.
        let why = e.message().replace(&self.address.url, "the URL");
        // The rest may be the server's own words.
        let mut why = why.trim().replace(char::is_control, " ");
        // What libgit2 makes of the lines by which a server tells where its history ends.
        if why.contains("invalid packet line") {
            why.push_str(
                ": if the repository there is a shallow clone, complete it with git fetch --unshallow",
            );
        }
        let error = match (e.code(), e.class()) {
            (ErrorCode::Auth, _) => GitError::AuthFailed { host, why },
            (ErrorCode::Certificate, _) => GitError::HostKey { host, why },
            (_, ErrorClass::Ssh) if why.contains("private key") => GitError::AuthFailed { host, why },
            (ErrorCode::Timeout, _) => GitError::Timeout { host, after: SILENCE },
            _ if Trouble::is_local(e) && self.remote_was_reached() => return Trouble::local(e),
            _ => GitError::Remote { host, why },
        };
        error.into()
    }

    /// Whether the list of references has come: before that, no error can be the cache's.
    fn remote_was_reached(&self) -> bool {
        self.inner.list().is_ok()
    }
}

fn callbacks<'r>(request: &'r Request, address: &'r Address, stopped: &Stopped) -> RemoteCallbacks<'r> {
    let mut callbacks = RemoteCallbacks::new();
    let limit = request.limits.download_bytes;
    let stop = stopped.clone();
    callbacks.transfer_progress(move |progress| {
        let within = progress.received_bytes() as u64 <= limit;
        if !within {
            let what = "the download".to_owned();
            stop.set(GitError::TooLarge { what, limit: format!("{limit} bytes") });
        }
        within
    });
    // Keeps libgit2's own verdict after known_hosts; without a callback it would be the same.
    callbacks.certificate_check(|_, _| Ok(CertificateCheckStatus::CertificatePassthrough));
    let stop = stopped.clone();
    let mut attempts = 0;
    callbacks.credentials(move |_, username, allowed| {
        // libgit2 asks again after each refusal, for ever.
        let refuse = |why: &str| {
            let why = why.to_owned();
            stop.set(GitError::AuthFailed { host: address.host.clone(), why });
            Err(git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, "credentials refused"))
        };
        match &request.credentials {
            Credentials::Ssh { .. } if allowed == CredentialType::USERNAME => {
                Cred::username(username.unwrap_or("git"))
            }
            _ if attempts > 0 => refuse("they are not accepted"),
            Credentials::Ssh { identity, .. } if allowed.contains(CredentialType::SSH_KEY) => {
                attempts += 1;
                let user = username.unwrap_or("git");
                Cred::ssh_key_from_memory(user, None, identity.expose_secret(), None)
            }
            _ => refuse("it does not accept this kind of credentials"),
        }
    });
    callbacks
}
