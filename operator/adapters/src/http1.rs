//! One question by HTTP.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::kube::failure::chain;

/// Gets `path`: one request on a connection of its own, as [`send`] says.
pub(crate) async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
    limit: usize,
) -> Result<(StatusCode, String), String> {
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::CACHE_CONTROL, "no-cache")
        .body(Full::default())
        .map_err(|e| format!("the path {path:?} cannot be asked for: {e}"))?;
    send(stream, request, limit).await
}

/// One request on a connection of its own: no proxy, no redirect, no second try. At most `limit` bytes of the answer
/// are read. The caller sets the deadline by dropping it.
pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<(StatusCode, String), String> {
    let told = |e: hyper::Error| chain(&e);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, header::HeaderValue::from_static("bascule"));
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(told)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit)
            .collect()
            .await
            .map_err(|e| format!("the body cannot be read (at most {limit} bytes): {e}"))?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    // The connection is driven here and not by a task of its own, so that it ends with the deadline.
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended.map_err(told)?;
            exchange.await
        }
    }
}
