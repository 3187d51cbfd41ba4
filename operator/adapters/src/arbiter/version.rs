//! Which version of etcd each member runs.
//!
//! Before 3.5.28 and 3.6.9, a member whose process was paused can answer a linearizable read with what was true before
//! the pause (etcd issue 20418). The rule of the taker stands on such reads: with an older member, a site that lives
//! could be taken for silent.
//!
//! Both repairs of that issue are needed, and each line got both in one release, as etcd's changelogs say:
//!
//! | | a race between the read index and a change of leader | a read index used again for a retry |
//! |---|---|---|
//! | main, so 3.7.0 | pull request 21375 | pull request 21399 |
//! | 3.6.9 (CHANGELOG-3.6.md) | 21378 | 21417 |
//! | 3.5.28 (CHANGELOG-3.5.md) | 21387 | 21421 |
//! | 3.4.42 (CHANGELOG-3.4.md) | 21385 | 21423 |
//!
//! 3.4 is refused with its repairs too: its changelog ends its support with 3.4.45. Of 3.7 the first release has both,
//! while its first alpha has neither, so no pre-release is judged by its number.
//!
//! The version is asked for by HTTP at the members' own client port: etcd tells it there to every holder of a
//! certificate, while its status call needs the role `root` once users are enabled.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use secrecy::ExposeSecret;
use semver::Version;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Settings, SettingsError, Tls};
use crate::http1;

/// The first releases of their lines with both repairs.
const FIRST_GOOD_3_5: u64 = 28;
const FIRST_GOOD_3_6: u64 = 9;
/// How long one member has to tell its version. Nothing waits for it.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a member that did not tell is left alone.
const ASK_AGAIN: Duration = Duration::from_mins(3);
/// How much of an answer is read, in bytes.
const BODY_LIMIT: usize = 4096;

/// What is known of a member's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionFound {
    /// Its linearizable reads survive a pause.
    Good {
        /// The version.
        version: String,
    },
    /// Its linearizable reads may be old after a pause, or its line is not repaired any more.
    Bad {
        /// The version.
        version: String,
    },
    /// It did not tell, or told something that is not the version of a release.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl VersionFound {
    /// Judges a version as etcd writes it.
    pub fn of(version: &str) -> Self {
        let found = version.to_owned();
        match Version::parse(version) {
            // What is between two releases may have been made before or after the repairs.
            Ok(v) if v.pre.is_empty() => {
                let good = match (v.major, v.minor) {
                    (0..=2, _) | (3, 0..=4) => false,
                    (3, 5) => v.patch >= FIRST_GOOD_3_5,
                    (3, 6) => v.patch >= FIRST_GOOD_3_6,
                    _ => true,
                };
                if good { Self::Good { version: found } } else { Self::Bad { version: found } }
            }
            _ => Self::Unknown { reason: format!("{version:?} is not the version of a release") },
        }
    }
}

/// A member that must not be relied on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the arbiter's member {endpoint} runs etcd {version}. Every member needs etcd 3.5.{FIRST_GOOD_3_5} or a later 3.5, 3.6.{FIRST_GOOD_3_6} or a later 3.6, or 3.7 and later: before these, linearizable reads may be old after a pause of a member's process (etcd issue 20418) and a site that lives could be taken for silent; 3.4 is not maintained any more"
)]
pub struct BadVersion {
    /// Its address as configured.
    pub endpoint: String,
    /// Its version.
    pub version: String,
}

/// Asks members for their versions.
#[derive(Clone)]
pub struct Versions {
    endpoints: Vec<String>,
    tls: TlsConnector,
}

impl Versions {
    /// Asks the members of these settings.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let first = || settings.endpoints.first().cloned().ok_or(SettingsError::NoEndpoints);
        let tls = match client(&settings.tls) {
            Ok(config) => TlsConnector::from(Arc::new(config)),
            Err(why) => return Err(SettingsError::Tls { endpoint: first()?, why }),
        };
        Ok(Self { endpoints: settings.endpoints.clone(), tls })
    }

    /// Asks every member once, all at the same time; in the configured order.
    pub async fn ask(&self) -> Vec<(String, VersionFound)> {
        join_all(self.endpoints.iter().map(|endpoint| async {
            let found = match timeout(DEADLINE, self.ask_one(endpoint)).await {
                Ok(Ok(version)) => VersionFound::of(&version),
                Ok(Err(reason)) => VersionFound::Unknown { reason },
                Err(_) => VersionFound::Unknown { reason: format!("no answer within {DEADLINE:?}") },
            };
            (endpoint.clone(), found)
        }))
        .await
    }

    /// Asks every member until it has told, and returns the first one that must not be relied on. While there is none
    /// it never returns.
    pub async fn first_bad(mut self) -> BadVersion {
        loop {
            let mut silent = Vec::new();
            for (endpoint, found) in self.ask().await {
                match found {
                    VersionFound::Good { version } => {
                        tracing::info!(%endpoint, %version, "a member of the arbiter runs a version that is needed");
                    }
                    VersionFound::Bad { version } => return BadVersion { endpoint, version },
                    VersionFound::Unknown { reason } => {
                        tracing::warn!(%endpoint, %reason, "a member of the arbiter does not tell its version: it is asked again");
                        silent.push(endpoint);
                    }
                }
            }
            if silent.is_empty() {
                return std::future::pending().await;
            }
            self.endpoints = silent;
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn ask_one(&self, endpoint: &str) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Answer {
            etcdserver: String,
        }
        let authority: http::uri::Authority = endpoint
            .strip_prefix("https://")
            .and_then(|rest| rest.parse().ok())
            .ok_or("not https://host:port")?;
        let port = authority.port_u16().ok_or("it has no port")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|e| format!("{host}: {e}"))?;
        let stream =
            TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("no connection: {e}"))?;
        let stream = self.tls.connect(name, stream).await.map_err(|e| format!("no TLS: {e}"))?;
        let (status, body) = http1::get(stream, authority.as_str(), "/version", BODY_LIMIT).await?;
        if status != http::StatusCode::OK {
            return Err(format!("/version answered {}, not 200", status.as_u16()));
        }
        let answer: Answer =
            serde_json::from_str(&body).map_err(|e| format!("/version answered something else: {e}"))?;
        Ok(answer.etcdserver)
    }
}

fn client(tls: &Tls) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&tls.ca) {
        roots.add(certificate.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&tls.cert).collect();
    let key = PrivateKeyDer::from_pem_slice(tls.key.expose_secret()).map_err(|e| e.to_string())?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.map_err(|e| e.to_string())?, key)
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_whose_reads_are_old_after_a_pause_are_bad_and_what_is_no_release_is_unknown() {
        for (version, good) in [
            ("3.3.27", Some(false)),
            ("3.4.41", Some(false)),
            ("3.4.42", Some(false)),
            ("3.4.45", Some(false)),
            ("3.5.0", Some(false)),
            ("3.5.27", Some(false)),
            ("3.5.28", Some(true)),
            ("3.5.30", Some(true)),
            ("3.6.0", Some(false)),
            ("3.6.8", Some(false)),
            ("3.6.9", Some(true)),
            ("3.6.16", Some(true)),
            ("3.7.0", Some(true)),
            ("4.0.0", Some(true)),
            ("3.5.28+vendor.1", Some(true)),
            ("3.6.9-rc.0", None),
            ("3.7.0-alpha.0", None),
            ("3.7.0-rc.0", None),
            ("3.6", None),
            ("not_decided", None),
            ("", None),
        ] {
            let found = match VersionFound::of(version) {
                VersionFound::Good { .. } => Some(true),
                VersionFound::Bad { .. } => Some(false),
                VersionFound::Unknown { .. } => None,
            };
            assert_eq!(found, good, "{version}");
        }
    }

    #[test]
    fn a_bad_version_is_refused_with_the_member_the_version_and_those_that_are_needed() {
        let bad = BadVersion { endpoint: "https://a:2379".to_owned(), version: "3.6.8".to_owned() };
        for part in ["https://a:2379", "etcd 3.6.8.", "3.5.28", "3.6.9", "3.7", "3.4 is not", "20418"] {
            assert!(bad.to_string().contains(part), "{bad}");
        }
    }
}
