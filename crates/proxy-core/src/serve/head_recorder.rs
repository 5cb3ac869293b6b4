//! Records the head of each HTTP/1.1 request as it arrived: hyper removes a `Content-Length` beside a
//! `Transfer-Encoding`, and such a request must be refused.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, header};
use parking_lot::Mutex;

/// The bytes of the head that is being received. Those of bodies and tunnels are not recorded.
#[derive(Debug)]
pub(super) struct HeadRecorder {
    /// Whether the next bytes belong to a head.
    active: AtomicBool,
    head: Mutex<Vec<u8>>,
    max_head: usize,
}

impl HeadRecorder {
    /// Records heads of at most this many bytes.
    pub(super) fn new(max_head: usize) -> Self {
        Self { active: AtomicBool::new(true), head: Mutex::default(), max_head }
    }

    /// Records bytes that were read, if they may belong to a head.
    pub(super) fn record(&self, read: &[u8]) {
        if !self.active.load(Ordering::Relaxed) {
            return;
        }
        let mut head = self.head.lock();
        if head.len() + read.len() > self.max_head {
            // hyper refuses a head of this length.
            *head = Vec::new();
            self.active.store(false, Ordering::Relaxed);
        } else {
            head.extend_from_slice(read);
        }
    }

    /// Whether the HTTP/1.1 request whose head was just received has one framing: no `Content-Length` beside
    /// its `Transfer-Encoding`. hyper removes the former (as RFC 9112 §6.1 allows), so this searches the
    /// recorded head. A chunked request whose head was not recorded counts as having two: that happens only
    /// to a request that was sent before the response to the previous one.
    pub(super) fn has_one_framing<B: http_body::Body>(&self, request: &Request<B>) -> bool {
        let mut head = self.head.lock();
        let body_follows = !request.body().is_end_stream() || request.headers().contains_key(header::UPGRADE);
        self.active.store(!body_follows, Ordering::Relaxed);
        let has_one_framing = !request.headers().contains_key(header::TRANSFER_ENCODING)
            || is_chunked_only(&head, request.method());
        if body_follows {
            // Frees the buffer: a body or a tunnel may take long.
            *head = Vec::new();
        } else {
            head.clear();
        }
        has_one_framing
    }

    /// Stops recording: no heads of HTTP/1.1 follow.
    pub(super) fn stop(&self) {
        self.active.store(false, Ordering::Relaxed);
        *self.head.lock() = Vec::new();
    }

    /// Resumes recording, at the end of a request's body.
    pub(super) fn resume(&self) {
        self.head.lock().clear();
        self.active.store(true, Ordering::Relaxed);
    }
}

/// Whether this is the head of a request with this method, and has no `Content-Length`.
fn is_chunked_only(bytes: &[u8], method: &Method) -> bool {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let mut lines = bytes[start..].split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = lines.next().unwrap_or_default();
    let is_head = first.strip_prefix(method.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b" "));
    is_head
        && lines.take_while(|line| !line.is_empty()).all(|line| {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            !name.eq_ignore_ascii_case(b"content-length")
        })
}
