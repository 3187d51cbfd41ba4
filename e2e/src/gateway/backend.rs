//! What stands behind the gateway: an application at each site, and another one; each answers every request with its name.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Where the application of each site listens. The API server takes no address of the loopback range for an endpoint.
pub(super) const PARIS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 11);
pub(super) const LYON: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 12);

/// Where the pictures are, which are nobody's business here.
pub(super) const PICTURES: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 14);

/// Its port.
pub(super) const PORT: u16 = 9090;

/// Where lyon's operator answers the writes that the gateway refuses.
pub(super) const RESPONDER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 13);

/// That port.
pub(super) const RESPONDER_PORT: u16 = 9091;

/// An application; it ends with this.
pub(super) struct Backend(JoinHandle<()>);

impl Backend {
    pub(super) async fn start(name: &'static str, address: Ipv4Addr) -> Result<Self> {
        let at = SocketAddr::from((address, PORT));
        let listener = TcpListener::bind(at).await.with_context(|| format!("cannot listen on {at}"))?;
        let app = Router::new().fallback(move || async move { name });
        Ok(Self(tokio::spawn(async move {
            if let Err(e) = axum::serve(listener, app).await {
                eprintln!("the application {name} has ended: {e}");
            }
        })))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.0.abort();
    }
}
