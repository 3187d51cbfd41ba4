//! What the own server answers, without the socket that it came by.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{Config, NoTls};

use super::{Session, SessionError};

/// Opens a session over a stream and asks everything that a guard asks. Every answer, or why there is none, in words.
pub async fn asked(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Vec<String> {
    let within = Duration::from_secs(5);
    let mut config = Config::new();
    let opened = tokio::time::timeout(within, config.user("postgres").connect_raw(stream, NoTls)).await;
    let (client, connection) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(e)) => return vec![format!("refused: {e}")],
        Err(_) => return vec!["refused: no answer in time".to_owned()],
    };
    tokio::spawn(async move { drop(connection.await) });
    let session = Session::of(client);
    let slots = ["bascule_lyon".to_owned()];
    vec![
        words(session.read().await),
        words(session.in_recovery().await),
        words(session.loaded().await),
        words(session.hba_mistake().await),
        words(session.end_sessions().await),
        words(session.known_pids().await),
        words(session.make_slots(&slots).await),
        words(session.drop_idle_slots("bascule_").await),
        words(session.advice().await),
        words(session.checkpoint(within).await),
        session.answers().await.to_string(),
    ]
}

fn words<T: std::fmt::Debug>(answer: Result<T, SessionError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(e) => format!("refused: {}", crate::link::in_full(&e)),
    }
}
