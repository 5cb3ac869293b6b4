//! Writes the head of a request, and the framing of its body.

use http::{HeaderMap, Method, Uri, header};

/// How the length of a request's body is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body. A `Content-Length: 0` of the client is kept.
    Empty,
    Length(u64),
    Chunked,
}

/// Ends a chunk.
pub(super) const CHUNK_END: &[u8] = b"\r\n";
/// Ends the last chunk, and a body without trailers.
pub(super) const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";
/// Ends a chunked body without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the head of a request in origin form. Headers that say how the body is framed are replaced by what
/// `framing` says. Neither a method, nor a URI, nor a header can contain the end of a line.
pub(super) fn head(target: &mut Vec<u8>, method: &Method, uri: &Uri, headers: &HeaderMap, framing: Framing) {
    target.extend_from_slice(method.as_str().as_bytes());
    target.push(b' ');
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with(['/', '*']) {
        target.push(b'/');
    }
    target.extend_from_slice(path.as_bytes());
    target.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        let is_framing = match framing {
            Framing::Empty if name == header::CONTENT_LENGTH => value != "0",
            _ => name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING,
        };
        if !is_framing {
            line(target, name.as_str(), value.as_bytes());
        }
    }
    match framing {
        Framing::Empty => {}
        Framing::Length(length) => {
            target.extend_from_slice(b"content-length: ");
            decimal(target, length);
            target.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => target.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    target.extend_from_slice(b"\r\n");
}

/// Writes what precedes a chunk of `length` bytes, which must not be 0.
pub(super) fn chunk_start(target: &mut Vec<u8>, length: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let count = (usize::BITS - length.leading_zeros()).div_ceil(4);
    for digit in (0..count).rev() {
        target.push(DIGITS[length >> (4 * digit) & 15]);
    }
    target.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body that has trailers.
pub(super) fn trailers(target: &mut Vec<u8>, trailers: &HeaderMap) {
    target.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        line(target, name.as_str(), value.as_bytes());
    }
    target.extend_from_slice(b"\r\n");
}

fn line(target: &mut Vec<u8>, name: &str, value: &[u8]) {
    target.extend_from_slice(name.as_bytes());
    target.extend_from_slice(b": ");
    target.extend_from_slice(value);
    target.extend_from_slice(b"\r\n");
}

fn decimal(target: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len() - 1;
    loop {
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
        start -= 1;
    }
    target.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    fn check(request: http::request::Builder, framing: Framing, expected: &str) {
        let request = request.body(()).unwrap();
        let mut target = Vec::new();
        head(&mut target, request.method(), request.uri(), request.headers(), framing);
        assert_eq!(String::from_utf8(target).unwrap(), expected);
    }

    #[test]
    fn a_target_is_in_origin_form() {
        for (uri, expected) in [
            ("/a/b?c=d", "/a/b?c=d"),
            ("http://other.example", "/"),
            ("http://other.example?query", "/?query"),
            ("http://user@other.example/path", "/path"),
            ("*", "*"),
        ] {
            let expected = format!("OPTIONS {expected} HTTP/1.1\r\n\r\n");
            check(Request::options(uri), Framing::Empty, &expected);
        }
    }

    #[test]
    fn the_framing_of_the_client_is_replaced() {
        let request = || {
            Request::post("/")
                .header("content-length", "7")
                .header("host", "a.example")
                .header("transfer-encoding", "gzip")
                .header("x-a", "1")
                .header("x-a", "2")
        };
        let others = "POST / HTTP/1.1\r\nhost: a.example\r\nx-a: 1\r\nx-a: 2\r\n";
        check(request(), Framing::Empty, &format!("{others}\r\n"));
        check(request(), Framing::Length(120), &format!("{others}content-length: 120\r\n\r\n"));
        check(request(), Framing::Chunked, &format!("{others}transfer-encoding: chunked\r\n\r\n"));
        let empty = Request::post("/").header("content-length", "0");
        check(empty, Framing::Empty, "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn trailers_end_the_body() {
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", HeaderValue::from_static("1"));
        let mut target = Vec::new();
        trailers(&mut target, &fields);
        assert_eq!(target, b"0\r\nx-sum: 1\r\n\r\n");
        target.clear();
        trailers(&mut target, &HeaderMap::new());
        assert_eq!(target, LAST_CHUNK);
    }

    proptest! {
        #[test]
        fn lengths_are_written_as_std_writes_them(length in any::<u64>(), chunk in 1..usize::MAX) {
            let mut target = Vec::new();
            decimal(&mut target, length);
            prop_assert_eq!(target, length.to_string().into_bytes());
            let mut target = Vec::new();
            chunk_start(&mut target, chunk);
            prop_assert_eq!(target, format!("{chunk:x}\r\n").into_bytes());
        }

        #[test]
        fn a_parser_reads_the_head_that_was_written(
            path in "/[!$-;=@-_a-z~]{0,20}",
            names in proptest::collection::vec("x-[a-z0-9]{1,12}", 0..8),
            value in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let (Ok(uri), Ok(value)) = (path.parse::<Uri>(), HeaderValue::from_bytes(value.trim_ascii()))
            else {
                return Ok(());
            };
            let mut headers = HeaderMap::new();
            for name in &names {
                headers.append(name.parse::<HeaderName>().unwrap(), value.clone());
            }
            let mut target = Vec::new();
            head(&mut target, &Method::GET, &uri, &headers, Framing::Empty);
            let mut lines = [httparse::EMPTY_HEADER; 8];
            let mut parsed = httparse::Request::new(&mut lines);
            prop_assert_eq!(parsed.parse(&target), Ok(httparse::Status::Complete(target.len())));
            prop_assert_eq!(parsed.path, Some(uri.path_and_query().unwrap().as_str()));
            prop_assert_eq!(parsed.headers.len(), names.len());
            prop_assert!(parsed.headers.iter().all(|header| header.value == value.as_bytes()));
        }
    }
}
