//! What a PostgreSQL server answers to the operator and to its guard.

use bascule_adapters::fuzz as operator;
use bascule_core::observation::Fact;
use bascule_guard::fuzz as guard;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::framed::{Layout, parts};
use crate::{in_words, wait};

/// A server that lets everybody in and is ready.
const WELCOME: &[u8] = &[b'R', 0, 0, 0, 8, 0, 0, 0, 0, b'Z', 0, 0, 0, 5, b'I'];

/// Answers with `bytes`. The first byte says whether they begin with the greeting; then follow pieces, each with its
/// length in two bytes before it, and one piece is sent whenever the client has said something, or
/// has nothing to say.
///
/// # Panics
/// When what is refused is not said in words.
pub fn run(bytes: &[u8]) {
    let (told, asked) = wait(async {
        let told = Box::pin(operator::postgres_asked(server(bytes))).await;
        (told, Box::pin(guard::postgres_asked(server(bytes))).await)
    });
    match told {
        Err(why) => in_words(&why),
        Ok((findings, facts, commit)) => {
            for finding in findings {
                in_words(&finding.to_string());
            }
            if let Fact::Unknown { reason } = &facts.in_recovery {
                in_words(reason);
            }
            if let Some(check) = commit {
                assert!(!format!("{check:?}").is_empty());
            }
        }
    }
    for said in asked.iter().filter(|said| said.starts_with("refused: ")) {
        in_words(said);
    }
}

/// The client's end of a connection to this server.
fn server(bytes: &[u8]) -> DuplexStream {
    let (client, mut server) = tokio::io::duplex(1 << 16);
    let mut pieces = pieces(bytes);
    pieces.reverse();
    tokio::spawn(async move {
        while let Some(piece) = pieces.pop() {
            hear(&mut server).await;
            if server.write_all(&piece).await.is_err() {
                return;
            }
        }
        hear(&mut server).await;
    });
    client
}

/// Hears what the client says, or that it says nothing: on one thread whoever has something to say has said it after so
/// many turns.
async fn hear(server: &mut DuplexStream) {
    const TURNS: usize = 32;
    let mut heard = [0; 4096];
    for _ in 0..TURNS {
        let read = std::pin::pin!(server.read(&mut heard));
        tokio::select! {
            biased;
            _ = read => return,
            () = tokio::task::yield_now() => {}
        }
    }
}

fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some(first) = bytes.first() else { return Vec::new() };
    let mut pieces = if first % 2 == 0 { vec![WELCOME.to_vec()] } else { Vec::new() };
    pieces.extend(parts(bytes, Layout::Answers));
    pieces
}
