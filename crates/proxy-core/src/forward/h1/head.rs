//! Reads the head of a response, and decides how its body is framed (RFC 9112 §6.3).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::error::ParseError;

/// The most bytes that a head may have.
pub(super) const MAX_LENGTH: usize = 64 * 1024;
/// The most headers that a response, or its trailers, may have.
pub(super) const MAX_HEADERS: usize = 100;

/// The head of a response, interim responses included.
#[derive(Debug, PartialEq)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the session keeps the connection open after this response.
    pub(super) keep_alive: bool,
}

/// How the end of a response's body is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// The body ends with the connection.
    UntilClose,
    /// The response is not the last one to this request.
    Interim,
    /// Another protocol follows.
    Upgrade,
}

/// Reads the head of the response to a request with `method`. Returns it with its length, or `None` if
/// `bytes` are only the beginning of a head. The headers' values share the bytes.
/// `spare` is an empty map to put them into.
pub(super) fn parse(
    bytes: &Bytes,
    method: &Method,
    spare: &mut HeaderMap,
) -> Result<Option<(ResponseHead, usize)>, ParseError> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut lines,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= MAX_LENGTH => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_LENGTH => return Ok(None),
        Ok(_) => return Err(ParseError::HeadTooLarge),
        Err(error) => return Err(ParseError::Head(error)),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(ParseError::Header)?;
    let is_http_11 = response.version == Some(1);
    let mut headers = std::mem::take(spare);
    headers.reserve(response.headers.len());
    let mut connection = Persistence { keep_alive: is_http_11, close: false };
    for line in &*response.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| ParseError::Header)?;
        let value = value(line.value, bytes).ok_or(ParseError::Header)?;
        if name == header::CONNECTION {
            connection.read(&value);
        }
        headers.append(name, value);
    }
    let (framing, is_certain) = framing(status, &mut headers, method, is_http_11)?;
    let is_last = matches!(framing, Framing::UntilClose | Framing::Upgrade);
    let keep_alive = connection.keep_alive && !connection.close && is_certain && !is_last;
    Ok(Some((ResponseHead { status, headers, framing, keep_alive }, length)))
}

/// Returns a value that httparse found in `bytes`, without copying it.
fn value(value: &[u8], bytes: &Bytes) -> Option<HeaderValue> {
    if value.is_empty() {
        // It need not point into the head.
        return Some(HeaderValue::from_static(""));
    }
    let start = value.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
    let end = start.checked_add(value.len()).filter(|&end| end <= bytes.len())?;
    HeaderValue::from_maybe_shared(bytes.slice(start..end)).ok()
}

/// What `Connection` says about the connection's persistence. It may occur more than once, and `close` wins.
struct Persistence {
    keep_alive: bool,
    close: bool,
}

impl Persistence {
    fn read(&mut self, value: &HeaderValue) {
        for option in value.as_bytes().split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Returns how the body is framed, and whether that is certain enough to use the connection again. What
/// contradicts the framing is removed from the headers, so that it does not travel on.
fn framing(
    status: StatusCode,
    headers: &mut HeaderMap,
    method: &Method,
    is_http_11: bool,
) -> Result<(Framing, bool), ParseError> {
    match status.as_u16() {
        101 => return Ok((Framing::Upgrade, true)),
        100..=199 => return Ok((Framing::Interim, true)),
        204 => {
            // Whoever announces a body that must not follow may send it, too, as the next response.
            let has_body = headers.contains_key(header::TRANSFER_ENCODING)
                || headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length != "0");
            return Ok((Framing::Length(0), !has_body));
        }
        304 => return Ok((Framing::Length(0), true)),
        _ if method == Method::HEAD => return Ok((Framing::Length(0), true)),
        200..=299 if method == Method::CONNECT => return Ok((Framing::Upgrade, true)),
        _ => {}
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if !is_http_11 {
            return Err(ParseError::TransferEncoding);
        }
        let is_certain = headers.remove(header::CONTENT_LENGTH).is_none();
        let mut codings = list(headers, &header::TRANSFER_ENCODING);
        return match (codings.next(), codings.next()) {
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok((Framing::Chunked, is_certain))
            }
            // No other coding was asked for, and the client would not learn of it.
            _ => Err(ParseError::TransferEncoding),
        };
    }
    let mut lengths = list(headers, &header::CONTENT_LENGTH);
    let Some(first) = lengths.next() else { return Ok((Framing::UntilClose, true)) };
    let length = decimal(first).ok_or(ParseError::ContentLength)?;
    let mut is_repeated = false;
    for other in lengths {
        if decimal(other) != Some(length) {
            return Err(ParseError::ContentLength);
        }
        is_repeated = true;
    }
    if is_repeated {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok((Framing::Length(length), true))
}

/// Returns the elements of a list, which may be spread over several lines. An empty one is an element, too.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii))
}

/// Reads digits, and nothing else: `str::parse` would accept a sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
