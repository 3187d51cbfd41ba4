//! A notice as mail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bascule_core::notice::{Audience, Notice};
use data_encoding::HEXLOWER;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Code;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Undelivered;
use super::secret::Key;
use crate::kube::failure::chain;

/// How long one command may take; the attempt as a whole has its own deadline.
const COMMAND: Duration = Duration::from_secs(10);

/// How the connection is kept secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// The connection begins in the clear and must become TLS before anything is said (port 587).
    #[default]
    Starttls,
    /// TLS from the first byte (port 465).
    Tls,
    /// In the clear: for a relay in the same cluster. No password is sent.
    None,
}

/// A mail server, and who is written to.
#[derive(Clone, Debug)]
pub struct Smtp {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) from: Mailbox,
    pub(super) to: Vec<Mailbox>,
    pub(super) login: Option<(String, Key)>,
    pub(super) ca: Option<Key>,
}

/// Why one mail was not sent.
enum Failed {
    /// There is no mail that could be.
    Made(String),
    /// The server, or the way to it.
    Sent(lettre::transport::smtp::Error),
}

impl Failed {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Made(_) => true,
            Self::Sent(error) => error.is_permanent(),
        }
    }

    fn status(&self) -> Option<Code> {
        match self {
            Self::Made(_) => None,
            Self::Sent(error) => error.status(),
        }
    }
}

/// What became of one notice's addresses so far, over all attempts: nobody gets it twice because another one's mail
/// failed.
#[derive(Debug, Default)]
pub(super) struct Progress {
    sent: BTreeSet<usize>,
    refused: BTreeMap<usize, String>,
}

impl Progress {
    fn left(&self, to: usize) -> Vec<usize> {
        (0..to).filter(|i| !self.sent.contains(i) && !self.refused.contains_key(i)).collect()
    }
}

/// The answers that are about one address, and not about the message or who sends it.
const ABOUT_AN_ADDRESS: [u16; 4] = [550, 551, 552, 553];

impl Smtp {
    /// Sends one notice to everybody who has not got it yet. An address that is refused does not keep the others from
    /// their mail.
    pub(super) async fn carry(&self, notice: &Notice, progress: &mut Progress) -> Result<(), Undelivered> {
        let transport = self.transport()?;
        let left = progress.left(self.to.len());
        if progress.refused.is_empty() && !left.is_empty() {
            match self.send(&transport, notice, &left).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let one = error.status().map(u16::from).filter(|code| ABOUT_AN_ADDRESS.contains(code));
                    match (one, error.is_permanent()) {
                        (Some(_), _) => {}
                        (None, true) => return Err(Undelivered::Final(self.words(&error))),
                        (None, false) => return Err(Undelivered::Passing(self.words(&error))),
                    }
                }
            }
        }
        for i in left {
            match self.send(&transport, notice, &[i]).await {
                Ok(()) => {
                    progress.sent.insert(i);
                }
                Err(error) if error.is_permanent() => {
                    progress.refused.insert(i, self.words(&error));
                }
                Err(error) => return Err(Undelivered::Passing(self.words(&error))),
            }
        }
        if progress.refused.is_empty() {
            return Ok(());
        }
        let why =
            progress.refused.iter().filter_map(|(i, why)| Some(format!("{}: {why}", self.to.get(*i)?.email)));
        let why: Vec<String> = why.collect();
        Err(Undelivered::Final(format!(
            "not sent to {} of {} addresses: {}",
            why.len(),
            self.to.len(),
            why.join("; ")
        )))
    }

    async fn send(
        &self,
        transport: &AsyncSmtpTransport<Tokio1Executor>,
        notice: &Notice,
        which: &[usize],
    ) -> Result<(), Failed> {
        let to: Vec<&Mailbox> = which.iter().filter_map(|i| self.to.get(*i)).collect();
        let message = self.message(notice, &to).map_err(Failed::Made)?;
        transport.send(message).await.map(drop).map_err(Failed::Sent)
    }

    fn words(&self, error: &Failed) -> String {
        match error {
            Failed::Made(why) => format!("the mail cannot be made: {why}"),
            Failed::Sent(error) => format!("{} port {}: {error}", self.host, self.port),
        }
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, Undelivered> {
        let tls = match self.security {
            Security::Starttls => Tls::Required(self.tls()?),
            Security::Tls => Tls::Wrapper(self.tls()?),
            Security::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .hello_name(ClientId::Domain(self.domain().to_owned()))
            .timeout(Some(COMMAND));
        if let Some((name, password)) = &self.login {
            let password = password.read().map_err(Undelivered::Passing)?;
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(name.clone(), password));
        }
        Ok(builder.build())
    }

    fn tls(&self) -> Result<TlsParameters, Undelivered> {
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(ca) = &self.ca {
            let pem = ca.read().map_err(Undelivered::Passing)?;
            let certificate = Certificate::from_pem(pem.expose_secret().as_bytes())
                .map_err(|e| Undelivered::Passing(format!("caKey is no PEM certificate: {}", chain(&e))))?;
            builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        builder.build_rustls().map_err(|e| Undelivered::Passing(format!("TLS cannot be used: {}", chain(&e))))
    }

    fn domain(&self) -> &str {
        self.from.email.domain()
    }

    fn message(&self, notice: &Notice, to: &[&Mailbox]) -> Result<Message, String> {
        // The same for every attempt and every site that tells the same: mail servers and programs drop duplicates by it.
        let digest = HEXLOWER.encode(&Sha256::digest(format!("{}/{}", notice.id, notice.channel)));
        let id = format!("<{}@{}>", digest.get(..32).unwrap_or(&digest), self.domain());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(one_line(&notice.subject))
            .message_id(Some(id))
            .raw_header(raw("Auto-Submitted", "auto-generated")?)
            .raw_header(raw("X-Bascule-Kind", notice.kind.name())?);
        for one in to {
            builder = match notice.audience {
                Audience::Administrators => builder.to((*one).clone()),
                // Users do not see each other's addresses.
                Audience::Users(_) => builder.bcc((*one).clone()),
            };
        }
        let builder = builder.header(ContentType::TEXT_PLAIN);
        builder.body(notice.text.clone()).map_err(|e| e.to_string())
    }
}

fn raw(name: &str, value: &str) -> Result<HeaderValue, String> {
    let name =
        HeaderName::new_from_ascii(name.to_owned()).map_err(|e| format!("the header {name} is none: {e}"))?;
    Ok(HeaderValue::new(name, value.to_owned()))
}

/// Whatever a subject holds, it is one line of one header.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
