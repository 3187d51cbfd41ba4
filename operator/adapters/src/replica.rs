//! The replica of the same site's operator that acts, as another one reaches it: at its HTTP port.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bascule_core::ballot::spare::Machine;
use bascule_core::legible::legible;
use bascule_core::name::PolicyKey;
use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http1;

/// How long a machine may take to say whether such a process is there: the replicas are in one site.
const ASK: Duration = Duration::from_millis(200);

/// How long the acting replica may take to answer a proxy's question: the proxy's own patience is shorter.
const ANSWER: Duration = Duration::from_millis(800);

/// The largest answer that is read, in bytes.
const LIMIT: usize = 4 << 10;

/// What the machine at `address` says of the process that listens there. One that is frozen listens.
pub async fn is_there(address: SocketAddr) -> Machine {
    match timeout(ASK, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Machine::Listens,
        Ok(Err(why)) if why.kind() == ErrorKind::ConnectionRefused => Machine::Refuses,
        Ok(Err(_)) | Err(_) => Machine::Silent,
    }
}

/// Asks the acting replica whether a proxy may send the writes of a policy's clients to this site.
///
/// # Errors
/// Why not: its own words, or that it has not answered.
pub async fn takes_writes(address: SocketAddr, policy: &PolicyKey) -> Result<(), String> {
    let ask = async {
        let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        let path = format!("/acting/{}/{}", policy.namespace, policy.name);
        http1::get(stream, &address.to_string(), &path, LIMIT).await
    };
    match timeout(ANSWER, ask).await {
        Ok(Ok((StatusCode::OK, _))) => Ok(()),
        Ok(Ok((_, said))) => Err(legible(said.trim_end())),
        Ok(Err(why)) => Err(format!("the replica that acts, at {address}, cannot be asked: {why}")),
        Err(_) => Err(format!("the replica that acts, at {address}, has not answered within {ANSWER:?}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn shop() -> PolicyKey {
        PolicyKey::new("shop", "orders").unwrap()
    }

    #[tokio::test]
    async fn a_process_listens_until_its_machine_refuses_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // It listens and never answers, as one that is frozen.
        assert_eq!(is_there(address).await, Machine::Listens);
        drop(listener);
        assert_eq!(is_there(address).await, Machine::Refuses);
    }

    #[tokio::test]
    async fn what_the_acting_replica_says_is_passed_on_and_a_silent_one_says_no() {
        for (says, expected) in [
            ("200 OK\r\ncontent-length: 13\r\n\r\ntakes writes\n", Ok(())),
            ("503 Service Unavailable\r\ncontent-length: 3\r\n\r\nno\n", Err("no")),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; 1024];
                let n = tcp.read(&mut asked).await.unwrap();
                tcp.write_all(format!("HTTP/1.1 {says}").as_bytes()).await.unwrap();
                String::from_utf8_lossy(&asked[..n]).into_owned()
            });
            assert_eq!(takes_writes(address, &shop()).await, expected.map_err(str::to_owned));
            assert!(server.await.unwrap().starts_with("GET /acting/shop/orders HTTP/1.1\r\n"));
        }
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let why = takes_writes(silent.local_addr().unwrap(), &shop()).await.unwrap_err();
        assert!(why.contains("has not answered"), "{why}");
    }
}
