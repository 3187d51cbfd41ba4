//! The https connection below libgit2. Its own one follows redirects within a host, whatever it is told, to any
//! port; this one follows none, and is the TLS library of everything else here.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::url::Address;
use super::{Credentials, GitError, Request};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a server may be silent.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// The largest list of references that is read, in bytes.
const LIST_LIMIT: u64 = 64 << 20;

/// Why a conversation was stopped: says more than what libgit2 makes of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopped(Arc<Mutex<Option<GitError>>>);

impl Stopped {
    pub(super) fn set(&self, error: GitError) {
        // The first reason counts: the others follow from it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(super) fn take(&self) -> Option<GitError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Clone)]
pub(super) struct Http {
    agent: ureq::Agent,
    authorization: Option<String>,
    host: String,
    download_limit: u64,
    pub(super) stopped: Stopped,
}

impl Http {
    pub(super) fn new(request: &Request, address: &Address) -> Result<Self, GitError> {
        let refuse =
            |field: &str, why: &str| GitError::Request { field: field.to_owned(), why: why.to_owned() };
        let roots: Vec<CertificateDer<'_>> = match &request.ca {
            Some(pem) => CertificateDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|e| refuse("ca", &format!("is not a list of PEM certificates: {e}")))?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        if roots.is_empty() && request.ca.is_some() {
            return Err(refuse("ca", "holds no certificate: expected PEM, -----BEGIN CERTIFICATE-----"));
        }
        let roots = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent("git/bascule")
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build()
            .new_agent();
        let authorization = match &request.credentials {
            Credentials::Password { username, .. } if username.contains(':') => {
                return Err(refuse("credentials", "a username cannot hold a colon"));
            }
            Credentials::Password { username, password } => {
                let pair = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
                Some(format!("Basic {pair}"))
            }
            Credentials::Bearer(token) => Some(format!("Bearer {}", token.expose_secret())),
            Credentials::None | Credentials::Ssh { .. } => None,
        };
        if authorization.as_ref().is_some_and(|a| a.chars().any(char::is_control)) {
            return Err(refuse("credentials", "the token holds a line break"));
        }
        Ok(Self {
            agent,
            authorization,
            host: address.host.clone(),
            download_limit: request.limits.download_bytes,
            stopped: Stopped::default(),
        })
    }

    /// Makes libgit2 use this for every address of `scheme`.
    #[allow(unsafe_code)]
    pub(super) fn register(&self, scheme: &str) -> Result<(), git2::Error> {
        let this = self.clone();
        let make = move |remote: &git2::Remote<'_>| Transport::smart(remote, true, this.clone());
        // SAFETY: must not run while another thread makes transports. This process makes its first one after this,
        // from this same thread.
        unsafe { git2::transport::register(scheme, make) }
    }

    fn stop(&self, error: GitError) -> io::Error {
        self.stopped.set(error);
        io::Error::other("stopped")
    }

    /// What an error on the way means.
    fn explain(&self, error: &(dyn std::error::Error + 'static)) -> GitError {
        let host = self.host.clone();
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return match tls {
                    rustls::Error::InvalidCertificate(_) => GitError::Tls { host, why: tls.to_string() },
                    _ => GitError::Remote { host, why: format!("TLS: {tls}") },
                };
            }
            if matches!(cause.downcast_ref(), Some(ureq::Error::Timeout(_)))
                || cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
            {
                return GitError::Timeout { host, after: SILENCE };
            }
            // An io::Error passes the error it carries over in its chain of sources.
            next = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .map(|inner| inner as &(dyn std::error::Error + 'static))
                .or_else(|| match cause.downcast_ref() {
                    Some(ureq::Error::Io(e)) => Some(e),
                    Some(ureq::Error::Rustls(e)) => Some(e),
                    _ => cause.source(),
                });
        }
        GitError::Remote { host, why: error.to_string() }
    }

    /// Sends one request and gives the body of a good answer.
    fn send(&self, service: Service, url: &str, body: &[u8]) -> Result<Box<dyn Read + Send>, GitError> {
        let listing = service == Service::UploadPackLs;
        let answer = if listing {
            let mut get = self.agent.get(format!("{url}/info/refs?service=git-upload-pack"));
            if let Some(value) = &self.authorization {
                get = get.header("Authorization", value);
            }
            get.call()
        } else {
            let mut post = self
                .agent
                .post(format!("{url}/git-upload-pack"))
                .header("Content-Type", "application/x-git-upload-pack-request");
            if let Some(value) = &self.authorization {
                post = post.header("Authorization", value);
            }
            post.send(body)
        };
        let answer = answer.map_err(|e| self.explain(&e))?;
        let host = self.host.clone();
        match answer.status().as_u16() {
            200 => {}
            300..=399 => return Err(GitError::Redirected { host }),
            status @ (401 | 403) => {
                let why = match &self.authorization {
                    None => format!("it asks for credentials and none are configured (status {status})"),
                    Some(_) => format!("they are not accepted (status {status})"),
                };
                return Err(GitError::AuthFailed { host, why });
            }
            404 => {
                let what = format!("the repository at {host}");
                return Err(GitError::NotFound { what, hint: String::new() });
            }
            status => {
                return Err(GitError::Remote { host, why: format!("it answered with status {status}") });
            }
        }
        let kind = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let expected = if listing { "advertisement" } else { "result" };
        if kind != format!("application/x-git-upload-pack-{expected}") {
            let why = format!("what answers is not a git server: it sends {kind:?}");
            return Err(GitError::Remote { host, why });
        }
        let limit = if listing { LIST_LIMIT } else { self.download_limit };
        Ok(Box::new(answer.into_body().into_reader().take(limit.saturating_add(1))))
    }
}

impl SmartSubtransport for Http {
    fn action(&self, url: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        if !matches!(service, Service::UploadPackLs | Service::UploadPack) {
            return Err(git2::Error::from_str("only fetching is possible"));
        }
        let url = url.trim_end_matches('/').to_owned();
        Ok(Box::new(Exchange {
            http: self.clone(),
            service,
            url,
            request: Vec::new(),
            answer: None,
            read: 0,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer. The request is sent when libgit2 starts to read.
struct Exchange {
    http: Http,
    service: Service,
    url: String,
    request: Vec<u8>,
    answer: Option<Box<dyn Read + Send>>,
    read: u64,
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            none => {
                let answer = self.http.send(self.service, &self.url, &self.request);
                none.insert(answer.map_err(|e| self.http.stop(e))?)
            }
        };
        let n = answer.read(buffer).map_err(|e| self.http.stop(self.http.explain(&e)))?;
        self.read += n as u64;
        let (what, limit) = match self.service {
            Service::UploadPackLs => ("the list of references", LIST_LIMIT),
            _ => ("the download", self.http.download_limit),
        };
        if self.read > limit {
            let limit = format!("{limit} bytes");
            return Err(self.http.stop(GitError::TooLarge { what: what.to_owned(), limit }));
        }
        Ok(n)
    }
}
