//! One session, and why there is none.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use bascule_core::legible::legible;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::bounded::Bounded;
use super::target::{PostgresTarget, Tls};

/// What kind of trouble keeps a session from being opened: each kind is a different person's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Nothing answered in time: frozen, overloaded or cut off.
    Timeout,
    /// Nothing listens there, the host has no address, or the connection broke.
    Unreachable,
    /// TLS failed: wrong CA, wrong name, or the server has none.
    Tls,
    /// The password or the role is wrong.
    Password,
    /// The server's `pg_hba.conf` does not let this role in from here. A closed server says so as well.
    NotAllowed,
    /// The role may not connect to this database.
    NoConnectGrant,
    /// There is no such database.
    NoDatabase,
    /// It is starting, stopping, or a standby that takes no sessions.
    NotReady,
    /// All its sessions are taken.
    TooManySessions,
    /// Anything else.
    Other,
}

/// Why a session could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// Which kind of trouble.
    pub kind: ConnectErrorKind,
    /// What happened, for the person who must act.
    pub message: String,
}

impl ConnectError {
    pub(super) fn timeout(message: &str) -> Self {
        Self { kind: ConnectErrorKind::Timeout, message: message.to_owned() }
    }

    fn new(target: &PostgresTarget, error: &tokio_postgres::Error) -> Self {
        let kind = kind(error);
        Self { kind, message: format!("{}:{}: {}", target.host, target.port, describe(error)) }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

fn kind(error: &tokio_postgres::Error) -> ConnectErrorKind {
    use ConnectErrorKind as K;
    if let Some(db) = error.as_db_error() {
        return match *db.code() {
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if db.message().contains("pg_hba.conf") => {
                K::NotAllowed
            }
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => K::Password,
            SqlState::INSUFFICIENT_PRIVILEGE => K::NoConnectGrant,
            SqlState::INVALID_CATALOG_NAME => K::NoDatabase,
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => K::NotReady,
            SqlState::TOO_MANY_CONNECTIONS => K::TooManySessions,
            _ => K::Other,
        };
    }
    let source = error.source();
    if source.is_some_and(|s| s.downcast_ref::<io::Error>().is_some_and(|e| e.get_ref().is_none())) {
        return K::Unreachable;
    }
    // The driver's own kinds are private; its messages are the only way to tell them apart.
    let text = error.to_string();
    if text.contains("TLS") {
        K::Tls
    } else if text.contains("connect") {
        K::Unreachable
    } else {
        K::Other
    }
}

/// An error with its causes in one line, and the server's code when it has one.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    // The words are the server's, or what called itself one.
    legible(&words(error))
}

fn words(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let hint = db.hint().or(db.detail()).map_or_else(String::new, |h| format!(" ({h})"));
        return format!("{}{hint} [SQLSTATE {}]", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// An open session. Dropping it closes the connection at once, even when the server does not answer.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    driver: JoinHandle<()>,
    /// Why it has ended, once it has by a mistake.
    ended: Arc<OnceLock<String>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Opens a session before `deadline`.
    pub(super) async fn open(target: &PostgresTarget, deadline: Instant) -> Result<Self, ConnectError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut config = Config::new();
        config
            .host(&target.host)
            .port(target.port)
            .user(&target.user)
            .password(target.password.expose_secret())
            .dbname(&target.dbname)
            .application_name("bascule")
            // The server gives up too, but later than we do: a statement that it ends is then always one whose
            // answer nobody waits for. Names are looked up among the server's own objects only.
            .options(format!(
                "-c search_path=pg_catalog -c statement_timeout={0} -c lock_timeout={0}",
                left.as_millis().saturating_mul(2).clamp(2_000, 60_000)
            ));
        let host = target.host.as_str();
        let opening = async {
            let unreachable = |e: io::Error| ConnectError {
                kind: ConnectErrorKind::Unreachable,
                message: format!("{host}:{}: error connecting to server: {e}", target.port),
            };
            if host.starts_with('/') {
                let socket = format!("{host}/.s.PGSQL.{}", target.port);
                let stream = Bounded::new(UnixStream::connect(socket).await.map_err(unreachable)?);
                let mode = if matches!(target.tls, Tls::Off) { SslMode::Disable } else { SslMode::Require };
                config.ssl_mode(mode);
                let opened = Self::over(stream, &config, NoTls).await;
                return opened.map_err(|e| ConnectError::new(target, &e));
            }
            let tcp = TcpStream::connect((host, target.port)).await.map_err(unreachable)?;
            tcp.set_nodelay(true).map_err(unreachable)?;
            let stream = Bounded::new(tcp);
            let opened = match &target.tls {
                Tls::Off => {
                    config.ssl_mode(SslMode::Disable);
                    Self::over(stream, &config, NoTls).await
                }
                Tls::Verified(tls) => {
                    config.ssl_mode(SslMode::Require);
                    let mut tls = MakeRustlsConnect::new(tls.as_ref().clone());
                    let tls = MakeTlsConnect::<Bounded<TcpStream>>::make_tls_connect(&mut tls, host);
                    let tls = tls.map_err(|e| ConnectError {
                        kind: ConnectErrorKind::Tls,
                        message: format!("{host}:{}: {e}", target.port),
                    })?;
                    Self::over(stream, &config, tls).await
                }
            };
            opened.map_err(|e| ConnectError::new(target, &e))
        };
        timeout_at(deadline, opening).await.unwrap_or_else(|_| {
            let message = format!("{}:{}: no session in time", target.host, target.port);
            Err(ConnectError::timeout(&message))
        })
    }

    /// Opens a session over a stream that is connected.
    pub(super) async fn over<S, T>(stream: S, config: &Config, tls: T) -> Result<Self, tokio_postgres::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: TlsConnect<S, Stream: TlsStream + Send + 'static>,
    {
        let (client, connection) = config.connect_raw(stream, tls).await?;
        let ended = Arc::default();
        let driver = tokio::spawn(drive(connection, Arc::clone(&ended)));
        Ok(Self { client, driver, ended })
    }

    /// Why a question got no answer: a question whose session ended under it knows only that it did.
    pub(super) fn why(&self, error: &tokio_postgres::Error) -> String {
        match self.ended.get() {
            Some(ended) if error.is_closed() => ended.clone(),
            _ => describe(error),
        }
    }
}

/// Moves the session's bytes until it is closed.
async fn drive(
    connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send,
    ended: Arc<OnceLock<String>>,
) {
    // It is dropped at the end: whoever waits for an answer hears of the end when the reason is there.
    let mut connection = std::pin::pin!(connection);
    if let Err(error) = connection.as_mut().await {
        let why = ended.get_or_init(|| describe(&error));
        tracing::debug!(error = %why, "session ended");
    }
}
