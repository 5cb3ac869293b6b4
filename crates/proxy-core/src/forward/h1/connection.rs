//! A connection to a session, which sends one request at a time. Whoever waits for the response, or reads
//! its body, drives it: it has no task of its own.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::unconstrained;

use super::{
    body::BodyDecoder,
    encode,
    error::{Error, ParseError, SendError},
    head::{self, Framing, ResponseHead},
    receive::{Receiver, take},
    send::{Output, Upload},
};
use crate::{
    body::Body,
    forward::{response_timer::ResponseTimer, upload::UploadProgress},
    upstream_stream::UpstreamStream,
};

/// How many pieces of an upload are sent before the response is looked for.
const MAX_PIECES: usize = 16;

/// A connection that sends one request at a time. Dropping it closes it.
pub(crate) struct Connection {
    stream: UpstreamStream,
    timer: ResponseTimer,
    receiver: Receiver,
    /// What was received, and is not part of anything that was returned yet.
    input: Bytes,
    output: Output,
    /// The request's body, until it was handed to `output` as a whole.
    upload: Option<Upload>,
    body: BodyDecoder,
    /// Whether a request may follow once this one and its response have ended.
    keep_alive: bool,
    /// Why the rest of the request was not sent. The session may have responded all the same.
    write_error: Option<io::Error>,
}

impl Connection {
    /// `header_timeout` is how long a response's head may take.
    pub(crate) fn new(stream: UpstreamStream, header_timeout: Duration) -> Self {
        Self {
            stream,
            timer: ResponseTimer::new(header_timeout),
            receiver: Receiver::default(),
            input: Bytes::new(),
            output: Output::default(),
            upload: None,
            body: BodyDecoder::new(Framing::Length(0)),
            keep_alive: true,
            write_error: None,
        }
    }

    /// Sends a request and waits for the head of its response. If that fails, or the future is dropped, the
    /// connection is not used again.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
        progress: Option<&UploadProgress>,
    ) -> Result<Response<()>, SendError> {
        if !self.is_open() {
            return Err(SendError::Unsent(Box::new(request)));
        }
        self.timer.start();
        let (mut parts, body) = request.into_parts();
        let framing = upload_framing(&parts, &body);
        encode::head(self.output.start(), &parts.method, &parts.uri, &parts.headers, framing);
        self.upload = Upload::new(body, framing);
        // Until the response says that the connection persists.
        self.keep_alive = false;
        // The response's headers take their place, instead of another allocation.
        parts.headers.clear();
        let spare = &mut parts.headers;
        // Without a limit, a session could send interim responses indefinitely.
        let mut interim = head::MAX_LENGTH;
        let head = poll_fn(|context| match self.poll_head(context, &parts.method, spare, &mut interim) {
            Poll::Ready(result) => Poll::Ready(result.map_err(SendError::Failed)),
            Poll::Pending => self.timer.poll(context, progress).map(|()| Err(SendError::TimedOut)),
        })
        .await?;
        self.keep_alive = head.keep_alive && self.write_error.is_none();
        self.body = BodyDecoder::new(head.framing);
        let mut response = Response::new(());
        *response.version_mut() = Version::HTTP_11;
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    /// Receives the next frame of the response's body, and continues to send the request's.
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = self.try_poll_frame(context).map(Result::transpose);
        if let Poll::Ready(Some(Err(_))) = &frame {
            self.keep_alive = false;
            self.body.close();
        }
        frame
    }

    fn try_poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Error>> {
        if let Poll::Ready(Err(error)) = self.poll_upload(context) {
            return Poll::Ready(Err(error));
        }
        loop {
            let frame = self.body.decode(&mut self.input)?;
            if frame.is_some() || self.body.has_ended() {
                return Poll::Ready(Ok(frame));
            }
            self.input = ready!(self.poll_receive(context))?;
            if self.input.is_empty() {
                self.keep_alive = false;
                let is_complete = self.body.close();
                return Poll::Ready(if is_complete { Ok(None) } else { Err(Error::Incomplete) });
            }
        }
    }

    /// Whether the response's body was returned to its end.
    pub(crate) fn has_received(&self) -> bool {
        self.body.has_ended()
    }

    /// Whether the request was sent to its end, or as far as possible.
    pub(crate) fn has_sent(&self) -> bool {
        self.upload.is_none() && self.output.is_empty()
    }

    /// How much of the response's body follows.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// Whether the last response was received to its end, and another request may follow.
    pub(crate) fn is_idle(&self) -> bool {
        // A session that sends more than was asked for is not understood.
        self.keep_alive && self.has_received() && self.has_sent() && self.input.is_empty()
    }

    /// Whether an idle connection is still open, as far as is known without a system call.
    pub(crate) fn is_open(&mut self) -> bool {
        if self.is_idle() {
            // Unconstrained, because to a task that is about to yield every stream would seem open.
            let receive = unconstrained(poll_fn(|context| self.poll_receive(context)));
            self.keep_alive = receive.now_or_never().is_none();
        }
        self.is_idle()
    }

    /// Sends the rest of the request, after its response was received. Returns whether the connection may be
    /// used again.
    pub(crate) async fn idle(&mut self) -> bool {
        poll_fn(|context| {
            let sent = self.poll_upload(context);
            if sent.is_pending() && self.poll_receive(context).is_pending() {
                return Poll::Pending;
            }
            self.keep_alive &= matches!(sent, Poll::Ready(Ok(())));
            Poll::Ready(())
        })
        .await;
        self.is_idle()
    }

    /// Returns the stream of a connection whose protocol was switched, and the bytes that were read from it
    /// already.
    pub(crate) fn into_stream(self) -> (UpstreamStream, Bytes) {
        (self.stream, self.input)
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        method: &Method,
        spare: &mut HeaderMap,
        interim: &mut usize,
    ) -> Poll<Result<ResponseHead, Error>> {
        if let Poll::Ready(Err(error)) = self.poll_upload(context) {
            return Poll::Ready(Err(error));
        }
        loop {
            let received = match ready!(self.poll_receive(context)) {
                Ok(received) if !received.is_empty() => received,
                result => {
                    let error = self.write_error.take().or(result.err());
                    return Poll::Ready(Err(error.map_or(Error::Closed, Error::Io)));
                }
            };
            let may_be_complete = self.append(received);
            while may_be_complete && let Some((head, length)) = head::parse(&self.input, method, spare)? {
                let _head = take(&mut self.input, length as u64);
                if head.framing != Framing::Interim {
                    return Poll::Ready(Ok(head));
                }
                tracing::trace!(status = head.status.as_u16(), "interim response");
                *interim = interim.checked_sub(length).ok_or(ParseError::HeadTooLarge)?;
                if self.input.is_empty() {
                    break;
                }
            }
        }
    }

    /// Adds to the beginning of a head. Returns whether it is worth parsing: a long head that arrives in
    /// small pieces is not parsed after each of them.
    fn append(&mut self, received: Bytes) -> bool {
        if self.input.is_empty() {
            self.input = received;
            return true;
        }
        let mut joined = Vec::from(std::mem::take(&mut self.input));
        let start = joined.len().saturating_sub(3);
        joined.extend_from_slice(&received);
        let is_full = joined.len() >= head::MAX_LENGTH;
        let has_end = joined[start..].windows(2).any(|pair| pair == b"\n\n" || pair == b"\n\r");
        self.input = joined.into();
        is_full || has_end
    }

    /// Sends the request as far as the session accepts it. Fails only if the client does: a session that
    /// accepts no more may have responded already, or be about to.
    pub(crate) fn poll_upload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        for _ in 0..MAX_PIECES {
            if self.has_sent() {
                return Poll::Ready(Ok(()));
            }
            // Before anything is written, so that the head is sent with the beginning of the body.
            let next = self.upload.as_mut().map(|upload| upload.poll_next(context, &mut self.output));
            match next {
                Some(Poll::Ready(Ok(false))) => self.upload = None,
                Some(Poll::Ready(Err(error))) => {
                    self.stop_sending();
                    return Poll::Ready(Err(Error::Upload(error)));
                }
                _ => {}
            }
            let written = ready!(self.output.poll_write(context, Pin::new(&mut self.stream)));
            if let Err(error) = written {
                tracing::debug!(%error, "sending to a session failed");
                self.stop_sending();
                self.write_error = Some(error);
            } else if matches!(next, Some(Poll::Pending)) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn stop_sending(&mut self) {
        self.upload = None;
        self.output = Output::default();
        self.keep_alive = false;
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.receiver.poll(context, Pin::new(&mut self.stream))
    }
}

/// Returns how the length of a request's body is announced.
fn upload_framing(parts: &http::request::Parts, body: &Body) -> encode::Framing {
    if body.is_end_stream() {
        return encode::Framing::Empty;
    }
    let announced = || parts.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    body.size_hint().exact().or_else(announced).map_or(encode::Framing::Chunked, encode::Framing::Length)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
