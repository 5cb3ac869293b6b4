//! The head of a request after the request was sent.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, request::Parts};

use crate::{body::Body, refusal::RefusalContext};

/// The head of a request, kept to send the request again or to refuse it. Both are rare, so its headers are
/// kept as bytes, which costs a fraction of a copy of their map.
pub(super) struct SentHead {
    method: Method,
    pub(super) uri: Uri,
    /// For each header the length of its name (2 bytes), that of its value (4 bytes), and both.
    headers: Vec<u8>,
    /// The headers that a refusal may depend on, once it is needed.
    refusal_headers: HeaderMap,
    pub(super) extensions: Extensions,
    pub(super) is_repeatable: bool,
}

impl SentHead {
    pub(super) fn new(parts: &mut Parts, is_repeatable: bool) -> Self {
        let mut headers = Vec::with_capacity(1024);
        for (name, value) in &parts.headers {
            let name = name.as_str();
            // hyper accepts neither a name nor a head that are longer.
            let (Ok(name_length), Ok(value_length)) = (u16::try_from(name.len()), u32::try_from(value.len()))
            else {
                continue;
            };
            headers.extend_from_slice(&name_length.to_ne_bytes());
            headers.extend_from_slice(&value_length.to_ne_bytes());
            headers.extend_from_slice(name.as_bytes());
            headers.extend_from_slice(value.as_bytes());
        }
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers,
            refusal_headers: HeaderMap::new(),
            extensions: std::mem::take(&mut parts.extensions),
            is_repeatable,
        }
    }

    /// Returns the request once more; it had no body.
    pub(super) fn to_request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers(|_| true).collect();
        request
    }

    /// Returns the context of a refusal, without the session's password that `Authorization` holds by now.
    pub(super) fn refusal_context(&mut self) -> RefusalContext<'_> {
        self.refusal_headers = self.headers(|name| REFUSAL_HEADERS.contains(&name)).collect();
        RefusalContext {
            method: &self.method,
            uri: &self.uri,
            headers: &self.refusal_headers,
            extensions: &self.extensions,
        }
    }

    /// Returns the headers with a name that is `wanted`.
    fn headers(&self, wanted: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let mut rest = &*self.headers;
        let lines = std::iter::from_fn(move || {
            let name_length = u16::from_ne_bytes(*rest.split_off(..2)?.as_array()?);
            let value_length = u32::from_ne_bytes(*rest.split_off(..4)?.as_array()?);
            let name = rest.split_off(..usize::from(name_length))?;
            Some((name, rest.split_off(..usize::try_from(value_length).ok()?)?))
        });
        lines.filter(move |(name, _)| wanted(name)).filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
        })
    }
}

/// Headers that a refusal may depend on.
const REFUSAL_HEADERS: [&[u8]; 5] = [b"accept", b"host", b"upgrade", b"sec-fetch-dest", b"sec-fetch-mode"];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts() -> Parts {
        let request = Request::get("/path?query")
            .header("accept", "text/html")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("authorization", "Basic secret")
            .header("x-empty", "")
            .header("x-bytes", HeaderValue::from_bytes(b"\xff\t").unwrap());
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_repeated_request_has_the_same_head() {
        let mut sent = parts();
        let repeated = SentHead::new(&mut sent, true).to_request();
        assert_eq!(repeated.headers(), &parts().headers);
        assert_eq!(repeated.uri(), &parts().uri);
    }

    #[test]
    fn a_refusal_sees_no_secret() {
        let mut head = SentHead::new(&mut parts(), false);
        let names: Vec<_> = head.refusal_context().headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["accept"]);
    }
}
