//! One POST to an address that the settings name: no proxy, no redirect.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::Undelivered;
use super::secret::Key;
use crate::http1;
use crate::kube::failure::chain;

/// At most so much of an answer is read, in bytes.
const ANSWER: usize = 16 << 10;

/// At most so much of an answer is told, in characters.
const TOLD: usize = 200;

/// An address to post to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
}

impl Endpoint {
    /// `https://host/path`; with `plain` also `http://`.
    pub(super) fn parse(text: &str, plain: bool) -> Result<Self, String> {
        let expected = if plain { "https:// or http://" } else { "https://" };
        let refused = |why: &str| format!("found '{text}', expected {expected}, a host and a path: {why}");
        let url = Url::parse(text).map_err(|e| refused(&e.to_string()))?;
        match url.scheme() {
            "https" => {}
            "http" if plain => {}
            other => return Err(refused(&format!("it begins with {other}"))),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it holds a name or password; requests are signed instead"));
        }
        if url.host().is_none() || url.fragment().is_some() {
            return Err(refused("it has no host, or a fragment"));
        }
        Ok(Self { url })
    }

    fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            None => String::new(),
        }
    }

    fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn target(&self) -> String {
        let query = self.url.query().map(|q| format!("?{q}")).unwrap_or_default();
        format!("{}{query}", self.url.path())
    }

    /// Posts JSON. The caller sets the deadline by dropping it.
    pub(super) async fn post(
        &self,
        body: String,
        headers: Vec<(HeaderName, HeaderValue)>,
        ca: Option<&Key>,
    ) -> Result<(), Undelivered> {
        let passing = Undelivered::Passing;
        let (host, port) = (self.host(), self.url.port_or_known_default().unwrap_or(443));
        let mut request = Request::post(self.target())
            .header(header::HOST, self.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| Undelivered::Final(format!("the request cannot be made: {e}")))?;
        request.headers_mut().extend(headers.into_iter().map(|(name, value)| (Some(name), value)));
        let tcp = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|e| passing(format!("{host} port {port} cannot be reached: {e}")))?;
        let answered = if self.url.scheme() == "https" {
            let config = client(ca).await?;
            let name = ServerName::try_from(host.clone())
                .map_err(|e| Undelivered::Final(format!("{host} is no name of a server: {e}")))?;
            let tls = TlsConnector::from(config)
                .connect(name, tcp)
                .await
                .map_err(|e| passing(format!("{host} port {port}: {}", chain(&e))))?;
            http1::send(tls, request, ANSWER).await
        } else {
            http1::send(tcp, request, ANSWER).await
        };
        let (status, body) = answered.map_err(|why| passing(format!("{host} port {port}: {why}")))?;
        judge(&host, status, &body)
    }
}

/// What an answer means.
fn judge(host: &str, status: StatusCode, body: &str) -> Result<(), Undelivered> {
    if status.is_success() {
        return Ok(());
    }
    let body: String = body.trim().chars().take(TOLD).collect();
    let body = bascule_core::legible::legible(&body);
    let said = if body.is_empty() { String::new() } else { format!(": {body}") };
    let why = format!("{host} answered {status}{said}");
    let passes = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    Err(match status {
        _ if passes => Undelivered::Passing(why),
        _ if status.is_redirection() => {
            Undelivered::Final(format!("{why}; redirects are not followed: set the address it leads to"))
        }
        _ => Undelivered::Final(why),
    })
}

/// A client that trusts the authority in this key, or those of the system.
async fn client(ca: Option<&Key>) -> Result<Arc<ClientConfig>, Undelivered> {
    let pem = ca.map(Key::read).transpose().map_err(Undelivered::Passing)?;
    // Reads many files.
    let made = tokio::task::spawn_blocking(move || trusting(pem.as_ref()));
    match made.await {
        Ok(config) => config.map(Arc::new).map_err(Undelivered::Passing),
        Err(error) => Err(Undelivered::Passing(format!("the trusted authorities cannot be read: {error}"))),
    }
}

fn trusting(pem: Option<&SecretString>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.expose_secret().as_bytes()) {
                let certificate =
                    certificate.map_err(|e| format!("caKey is not a list of PEM certificates: {e}"))?;
                roots.add(certificate).map_err(|e| format!("caKey holds what is no authority: {e}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_whole_one_without_credentials() {
        for good in ["https://example.org/hook", "https://192.0.2.1:8443/", "https://[2001:db8::1]/a?b=c"] {
            assert!(Endpoint::parse(good, false).is_ok(), "{good}");
        }
        for bad in [
            "",
            "example.org",
            "http://example.org/",
            "ftp://example.org/",
            "https://u:p@example.org/",
            "https://",
        ] {
            let why = Endpoint::parse(bad, false).map_err(|why| why.contains("expected https://"));
            assert_eq!(why, Err(true), "{bad}");
        }
        assert!(Endpoint::parse("http://hooks.shop.svc/", true).is_ok());
    }

    #[test]
    fn what_a_server_may_answer_later_is_tried_again_and_what_it_refuses_is_not() {
        let judged = |status: u16| judge("hook", StatusCode::from_u16(status).unwrap(), "why");
        assert_eq!(judged(204), Ok(()));
        for status in [408, 429, 500, 503] {
            assert!(matches!(judged(status), Err(Undelivered::Passing(_))), "{status}");
        }
        for status in [301, 400, 401, 404, 410] {
            assert!(matches!(judged(status), Err(Undelivered::Final(_))), "{status}");
        }
    }
}
