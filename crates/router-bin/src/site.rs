//! The site: the single-page application that the build embedded.
//!
//! Files under `assets/` have names that change with their content, so browsers cache them forever. All other
//! files are revalidated with each use. A path that is not a file is a route of the application and gets its
//! page, except below `/assets/` and `/api/`: a missing script must not be answered with a page.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

static EMBEDDED: Dir<'static> = include_dir!("$OPENCODE_ROUTER_SITE");

/// The policy of the pages: they may load their own files and connect to their own origin only.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    font-src 'self'; img-src 'self' data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

/// Adds the headers that keep other origins' pages from using a response of the site or the API.
pub fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
        (HeaderName::from_static("origin-agent-cluster"), "?1"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The files of a site, with their encodings and tags.
#[derive(Debug)]
pub struct Site {
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    content_type: &'static str,
    /// The entity tag of the plain bytes; the tags of other encodings append the encoding's name.
    tag: String,
    plain: Bytes,
    /// Encoded bytes with the name of their encoding, the preferred one first.
    encoded: Vec<(&'static str, Bytes)>,
    immutable: bool,
}

impl Site {
    /// Returns the site that was embedded at build time.
    #[must_use]
    pub fn embedded() -> Self {
        let mut files = Vec::new();
        let mut folders = vec![&EMBEDDED];
        while let Some(folder) = folders.pop() {
            folders.extend(folder.dirs());
            files.extend(folder.files().map(|file| {
                (file.path().to_string_lossy().into_owned(), Bytes::from_static(file.contents()))
            }));
        }
        Self::new(files)
    }

    /// Returns a site of these files, by path without a leading slash. `x.br` and `x.gz` are
    /// encodings of `x`.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let mut all: BTreeMap<String, Bytes> = files.into_iter().collect();
        let plain: Vec<String> = all.keys().filter(|path| !is_sibling(path, &all)).cloned().collect();
        let mut files = BTreeMap::new();
        for path in plain {
            let encoded = [("br", "br"), ("gzip", "gz")]
                .into_iter()
                .filter_map(|(name, ending)| Some((name, all.remove(&format!("{path}.{ending}"))?)))
                .collect();
            if let Some(plain) = all.remove(&path) {
                files.insert(path.clone(), File::new(&path, plain, encoded));
            }
        }
        Self { files }
    }

    /// Answers a request for a page or a file.
    #[must_use]
    pub fn respond(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are allowed here.\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let mut response = match self.find(path) {
            Some(file) => file.respond(headers),
            None => text(StatusCode::NOT_FOUND, "Not found.\n"),
        };
        if *method == Method::HEAD {
            // hyper sends the stated length and no body.
            *response.body_mut() = Full::default();
        }
        response
    }

    fn find(&self, path: &str) -> Option<&File> {
        let path = path.trim_start_matches('/');
        if let Some(file) = self.files.get(path) {
            return Some(file);
        }
        let last = path.rsplit('/').next().unwrap_or_default();
        let looks_like_file = last.contains('.') || path.starts_with('.');
        if looks_like_file || ["assets", "api"].iter().any(|folder| is_under(path, folder)) {
            return None;
        }
        self.files.get("index.html")
    }
}

impl File {
    fn new(path: &str, plain: Bytes, encoded: Vec<(&'static str, Bytes)>) -> Self {
        let digest = Sha256::digest(&plain);
        let tag = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { content_type: content_type(path), tag, plain, encoded, immutable: is_under(path, "assets") }
    }

    fn respond(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let accepted = accepted_encodings(headers);
        let (encoding, bytes) = match self.encoded.iter().find(|(name, _)| accepted(name)) {
            Some((name, bytes)) => (Some(*name), bytes),
            None => (None, &self.plain),
        };
        let tag = match encoding {
            Some(encoding) => format!("\"{}-{encoding}\"", self.tag),
            None => format!("\"{}\"", self.tag),
        };
        let not_modified = is_known(headers, &tag);
        let mut response =
            Response::new(if not_modified { Full::default() } else { Full::new(bytes.clone()) });
        let response_headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response_headers.insert(header::ETAG, tag);
        }
        let cache_control = if self.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
        response_headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
        if !self.encoded.is_empty() {
            response_headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if not_modified {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        response_headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response_headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        if let Some(encoding) = encoding {
            response_headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }
}

/// Returns a plain-text response.
fn text(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(sentence));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(sentence.len()));
    response
}

fn is_sibling(path: &str, all: &BTreeMap<String, Bytes>) -> bool {
    path.strip_suffix(".br").or_else(|| path.strip_suffix(".gz")).is_some_and(|base| all.contains_key(base))
}

fn is_under(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether the client accepts a content coding (RFC 9110 §12.5.3). `identity` always counts as
/// accepted.
fn accepted_encodings(headers: &HeaderMap) -> impl Fn(&str) -> bool {
    let mut codings: Vec<(String, bool)> = Vec::new();
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for part in value.to_str().unwrap_or_default().split(',') {
            let (name, weight) = part.split_once(';').unwrap_or((part, ""));
            let weight = weight.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
            codings.push((name.trim().to_ascii_lowercase(), weight.is_some_and(|weight| weight > 0.0)));
        }
    }
    move |name| {
        let stated =
            |name: &str| codings.iter().find(|(coding, _)| coding == name).map(|(_, accepted)| *accepted);
        stated(name).or_else(|| stated("*")).unwrap_or(false)
    }
}

/// Whether the client has the representation with this tag (RFC 9110 §13.1.2, weak comparison).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let known = value.to_str().unwrap_or_default();
        known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
