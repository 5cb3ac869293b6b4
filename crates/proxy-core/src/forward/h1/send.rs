//! Writes a request, and its body piece by piece: the next one is asked for when the last one was written.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::Body as HttpBody;
use tokio::io::AsyncWrite;

use super::encode::{self, Framing};
use crate::body::{Body, BodyError};

thread_local! {
    /// The buffer of the last head that was written. Most heads are written at once, so one is enough.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// The largest buffer that is kept.
const MAX_SPARE: usize = 8 * 1024;

/// What is about to be written: a head or a chunk's size, then data, then the end of the chunk.
#[derive(Debug, Default)]
pub(super) struct Output {
    start: Vec<u8>,
    written: usize,
    data: Bytes,
    end: &'static [u8],
}

impl Output {
    /// Returns what is written before any data.
    pub(super) fn start(&mut self) -> &mut Vec<u8> {
        if self.start.capacity() == 0 {
            // It does not exist any more while the thread ends.
            self.start = SPARE.try_with(Cell::take).unwrap_or_default();
        }
        &mut self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start.is_empty() && !self.has_data()
    }

    /// Whether nothing may be added until something was written.
    fn has_data(&self) -> bool {
        !self.data.is_empty() || !self.end.is_empty()
    }

    /// Writes everything.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        mut stream: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let all = [&self.start[self.written..], &self.data, self.end];
            let slices = all.map(IoSlice::new);
            let first = all.iter().take_while(|slice| slice.is_empty()).count();
            let last = all.iter().rposition(|slice| !slice.is_empty()).unwrap_or_default();
            let slices = slices.get(first..=last).unwrap_or_default();
            match ready!(stream.as_mut().poll_write_vectored(context, slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.advance(length),
            }
        }
        stream.poll_flush(context)
    }

    fn advance(&mut self, mut length: usize) {
        let of_start = length.min(self.start.len() - self.written);
        self.written += of_start;
        length -= of_start;
        if self.written == self.start.len() {
            // Idle connections keep no buffer.
            let mut spare = std::mem::take(&mut self.start);
            self.written = 0;
            if (1..=MAX_SPARE).contains(&spare.capacity()) {
                spare.clear();
                let _kept = SPARE.try_with(|kept| kept.set(spare));
            }
        }
        let of_data = length.min(self.data.len());
        self.data.advance(of_data);
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
        self.end = self.end.get(length - of_data..).unwrap_or_default();
    }
}

/// A body that is being sent.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    /// How much of it is missing; `None` if it is chunked.
    missing: Option<u64>,
}

/// Why a body could not be sent. The client is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("receiving the request's body failed")]
    Body(#[source] BodyError),
    #[error("the request's body is longer or shorter than its Content-Length")]
    Length,
}

impl Upload {
    /// `None` if there is nothing to send.
    pub(super) fn new(body: Body, framing: Framing) -> Option<Self> {
        match framing {
            Framing::Empty | Framing::Length(0) => None,
            Framing::Length(length) => Some(Self { body, missing: Some(length) }),
            Framing::Chunked => Some(Self { body, missing: None }),
        }
    }

    /// Adds the next piece to `output`, if it has none. Returns whether more follow.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        output: &mut Output,
    ) -> Poll<Result<bool, UploadError>> {
        while !output.has_data() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(frame) => frame.map_err(UploadError::Body)?,
                None => {
                    return Poll::Ready(match self.missing {
                        Some(0) => Ok(false),
                        Some(_) => Err(UploadError::Length),
                        None => {
                            output.end = encode::LAST_CHUNK;
                            Ok(false)
                        }
                    });
                }
            };
            match (frame.into_data(), &mut self.missing) {
                (Ok(data), Some(missing)) => {
                    *missing = missing.checked_sub(data.len() as u64).ok_or(UploadError::Length)?;
                    output.data = data;
                    if *missing == 0 {
                        return Poll::Ready(Ok(false));
                    }
                }
                (Ok(data), None) if !data.is_empty() => {
                    encode::chunk_start(output.start(), data.len());
                    output.data = data;
                    output.end = encode::CHUNK_END;
                    if self.body.is_end_stream() {
                        output.end = encode::CHUNK_END_AND_LAST;
                        return Poll::Ready(Ok(false));
                    }
                }
                (Err(frame), None) => {
                    if let Ok(fields) = frame.into_trailers() {
                        encode::trailers(output.start(), &fields);
                        return Poll::Ready(Ok(false));
                    }
                }
                (Ok(_), None) | (Err(_), Some(_)) => {}
            }
        }
        Poll::Ready(Ok(true))
    }
}
