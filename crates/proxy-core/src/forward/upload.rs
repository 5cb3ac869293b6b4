//! Tracks an upload: a slow one is not a late answer, and one that fails is not the session's failure.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::{Body, BodyError},
    trailers,
};

/// The progress of a request's body.
pub(super) struct UploadProgress(Arc<Progress>);

#[derive(Default)]
struct Progress {
    frames: AtomicU64,
    failed: AtomicBool,
}

impl UploadProgress {
    /// Wraps the body to record its progress; `None` if there is nothing to upload.
    pub(super) fn of(body: Body) -> (Body, Option<Self>) {
        if body.is_end_stream() {
            return (body, None);
        }
        let progress = Arc::new(Progress::default());
        (Body::new(UploadBody { body, progress: progress.clone() }), Some(Self(progress)))
    }

    /// Returns the number of frames that were received.
    pub(super) fn frames(&self) -> u64 {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// Whether the client did not send a whole body.
    pub(super) fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::Relaxed)
    }
}

struct UploadBody {
    body: Body,
    progress: Arc<Progress>,
}

impl HttpBody for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        trailers::scrub(&mut frame);
        self.progress.frames.fetch_add(1, Ordering::Relaxed);
        if matches!(frame, Some(Err(_))) {
            self.progress.failed.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
