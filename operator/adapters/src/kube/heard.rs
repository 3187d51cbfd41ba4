//! When an API server was last heard.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

/// Remembers when the last sign of life arrived on a connection: an answer's head, an event, a bookmark.
#[derive(Debug, Default)]
pub struct Heard {
    last: Mutex<Option<Instant>>,
}

impl Heard {
    /// How long ago the server was last heard; `None` when it never was.
    pub fn age(&self) -> Option<Duration> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).map(|at| at.elapsed())
    }

    fn note(&self) {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    /// Notes the answer's head, when it is a success, and everything that its body brings later.
    pub(super) fn listen<B>(self: &Arc<Self>, response: Response<B>) -> Response<Listened<B>> {
        if response.status().is_success() {
            self.note();
        }
        let heard = Arc::clone(self);
        response.map(|body| Listened { body, heard })
    }
}

/// A body whose every frame is noted.
#[derive(Debug)]
pub(super) struct Listened<B> {
    body: B,
    heard: Arc<Heard>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Listened<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(next, Poll::Ready(Some(Ok(_)))) {
            self.heard.note();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
