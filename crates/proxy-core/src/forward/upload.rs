//! How an upload gets on, so that a slow one is not taken for a late answer.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::{Body, BodyError, Refusal};

/// When something of the request's body was last taken.
#[derive(Clone)]
pub(super) struct UploadProgress(Arc<Mutex<Instant>>);

impl UploadProgress {
    /// The body, and its pace; `None` where nothing is to be uploaded.
    pub(super) fn of(body: Body) -> (Body, Option<Self>) {
        if body.is_end_stream() {
            return (body, None);
        }
        let pace = Self(Arc::new(Mutex::new(Instant::now())));
        (Body::new(UploadBody { body, pace: pace.clone() }), Some(pace))
    }
}

/// Runs `sending` for at most this long after the request's last piece was taken.
pub(super) async fn in_time<T>(
    limit: Duration,
    pace: Option<UploadProgress>,
    sending: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let mut sending = pin!(sending);
    let mut end = Instant::now() + limit;
    loop {
        match timeout_at(end, sending.as_mut()).await {
            Ok(sent) => return sent,
            Err(_) => match pace.as_ref().map(|pace| *pace.0.lock() + limit) {
                Some(later) if later > end => end = later,
                _ => return Err(Refusal::TimedOut),
            },
        }
    }
}

struct UploadBody {
    body: Body,
    pace: UploadProgress,
}

impl HttpBody for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        *self.pace.0.lock() = Instant::now();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
