//! A relay between operator and server, for what goes wrong on the way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::knot::free_port;

/// What a relay does with an update that comes by TCP.
pub(super) enum Pass {
    Forward,
    LoseReply,
    Forge,
}

/// Stands between operator and server: passes questions by UDP, and treats one update by TCP as it is told.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    tcp: TcpListener,
    to: SocketAddr,
    questions: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub(super) async fn start(to: SocketAddr) -> Self {
        Self::slow(to, Duration::ZERO).await
    }

    /// One that holds each question back for a while.
    pub(super) async fn slow(to: SocketAddr, delay: Duration) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let udp = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap());
        let questions = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (n, from) = udp.recv_from(&mut buffer).await.unwrap();
                let (question, udp) = (buffer[..n].to_vec(), Arc::clone(&udp));
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                    server.send_to(&question, to).await.unwrap();
                    let mut answer = [0; 2048];
                    let n = server.recv(&mut answer).await.unwrap();
                    udp.send_to(&answer[..n], from).await.unwrap();
                });
            }
        });
        Self { address: tcp.local_addr().unwrap(), tcp, to, questions }
    }

    pub(super) async fn serve<F: Future<Output = Pass>>(&self, decide: impl Fn(usize) -> F) {
        let (mut client, _) = self.tcp.accept().await.unwrap();
        let request = frame(&mut client).await;
        let pass = decide(request.len()).await;
        let answer = if matches!(pass, Pass::Forge) {
            // NOERROR to an update, without a signature.
            let mut forged = request[..12].to_vec();
            forged[2] |= 0x80;
            forged[4..].fill(0);
            forged
        } else {
            let mut server = TcpStream::connect(self.to).await.unwrap();
            send(&mut server, &request).await;
            frame(&mut server).await
        };
        if matches!(pass, Pass::LoseReply) {
            // Keeps the connection open, as a machine does that has been cut off, until the client gives up.
            let _ = client.read_u8().await;
        } else {
            send(&mut client, &answer).await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.questions.abort();
    }
}

async fn frame(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u16().await.unwrap();
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.unwrap();
    message
}

async fn send(stream: &mut TcpStream, message: &[u8]) {
    stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
    stream.write_all(message).await.unwrap();
}
