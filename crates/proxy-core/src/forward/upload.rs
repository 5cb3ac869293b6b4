//! Tracks an upload: a slow one is not a late answer, and one that fails is not the session's failure.

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

use crate::{
    body::{Body, BodyError},
    refusal::Refusal,
};

/// The progress of a request's body.
#[derive(Clone)]
pub(super) struct UploadProgress(Arc<Mutex<Progress>>);

struct Progress {
    last_frame: Instant,
    failed: bool,
}

impl UploadProgress {
    /// Wraps the body to record its progress; `None` if there is nothing to upload.
    pub(super) fn of(body: Body) -> (Body, Option<Self>) {
        if body.is_end_stream() {
            return (body, None);
        }
        let progress = Self(Arc::new(Mutex::new(Progress { last_frame: Instant::now(), failed: false })));
        (Body::new(UploadBody { body, progress: progress.clone() }), Some(progress))
    }
}

/// Runs `sending` for at most `limit` after the last frame of the upload. If the upload itself failed, the
/// client is at fault and not the session.
pub(super) async fn with_timeout<T>(
    limit: Duration,
    progress: Option<UploadProgress>,
    sending: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let mut sending = pin!(sending);
    let mut deadline = Instant::now() + limit;
    loop {
        match timeout_at(deadline, sending.as_mut()).await {
            Ok(Err(_)) if progress.as_ref().is_some_and(|progress| progress.0.lock().failed) => {
                return Err(Refusal::Malformed("the request's body is malformed or incomplete\n"));
            }
            Ok(result) => return result,
            Err(_) => match progress.as_ref().map(|progress| progress.0.lock().last_frame + limit) {
                Some(later) if later > deadline => deadline = later,
                _ => return Err(Refusal::TimedOut),
            },
        }
    }
}

struct UploadBody {
    body: Body,
    progress: UploadProgress,
}

impl HttpBody for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let mut progress = self.progress.0.lock();
        progress.last_frame = Instant::now();
        progress.failed |= matches!(frame, Some(Err(_)));
        drop(progress);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
