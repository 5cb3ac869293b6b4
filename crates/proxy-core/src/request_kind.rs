//! Who sends a request: a browser that opens an address, a page, a program, or a probe.

use http::{HeaderMap, HeaderName, Method, header};

/// What kind of client sends a request, by its method and headers. It decides what the request may start, and
/// protects nothing: a client can claim to be any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// A person's browser opens an address.
    Navigation,
    /// A page requests data, an event stream, a WebSocket, a frame or a form's target. Pages repeat such
    /// requests by themselves, also long after their user has left.
    Page,
    /// A program that is no browser, such as `opencode attach` or curl.
    Program,
    /// Something that only wants to know whether the address answers, or shows a preview of it: health
    /// checkers, crawlers, and a browser that prefetches a page which its user may never open.
    Probe,
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What browsers, old ones included, announce a prefetch or a preview with.
const PREFETCH_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
];
/// Parts of the user agents of health checkers, crawlers and link previews, in lower case.
const PROBE_AGENTS: [&str; 17] = [
    "kube-probe",
    "googlehc",
    "healthcheck",
    "health-check",
    "health check",
    "blackbox",
    "haproxy",
    "uptime",
    "pingdom",
    "statuscake",
    "site24x7",
    "bot",
    "crawler",
    "spider",
    "preview",
    "externalhit",
    "unfurl",
];
/// The user agents of JavaScript runtimes whose `fetch` sends `Sec-Fetch-Mode`, though they are no browsers.
const RUNTIME_AGENTS: [&str; 2] = ["node", "undici"];

impl RequestKind {
    /// Returns the kind of a request with this method and these headers.
    ///
    /// Browsers send `Sec-Fetch-*` to https and to localhost alone, so without these headers `Accept`,
    /// `Origin` and `User-Agent` decide.
    #[must_use]
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let mode = text(headers, &SEC_FETCH_MODE);
        let agent = text(headers, &header::USER_AGENT).unwrap_or_default();
        let is_prefetch = PREFETCH_HEADERS.iter().any(|name| headers.contains_key(name));
        let is_probe_agent = || {
            let agent = agent.to_ascii_lowercase();
            mode.is_none() && PROBE_AGENTS.iter().any(|part| agent.contains(part))
        };
        if matches!(*method, Method::HEAD | Method::OPTIONS | Method::TRACE)
            || is_prefetch
            || is_probe_agent()
        {
            return Self::Probe;
        }
        let upgrade = headers.contains_key(header::UPGRADE) || *method == Method::CONNECT;
        let dest = text(headers, &SEC_FETCH_DEST);
        let is_runtime =
            RUNTIME_AGENTS.contains(&agent) && dest.is_none() && !headers.contains_key(SEC_FETCH_SITE);
        match mode {
            // Frames do not count: nobody waits in a frame.
            Some("navigate")
                if *method == Method::GET && !upgrade && dest.is_none_or(|it| it == "document") =>
            {
                Self::Navigation
            }
            Some(_) if !is_runtime => Self::Page,
            None if headers.contains_key(header::ORIGIN) => Self::Page,
            None if *method == Method::GET && !upgrade && accepts_html(headers) => Self::Navigation,
            None if agent.starts_with("Mozilla/") => Self::Page,
            _ => Self::Program,
        }
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    text(headers, &header::ACCEPT).is_some_and(|accept| accept.contains("text/html"))
}

/// Returns a header's value; `?`, which no browser sends, if it is not text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROMIUM: &str =
        "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140 Safari/537.36";
    const HTML: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8";

    fn check(expected: RequestKind, method: &str, lines: &[&str]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        assert_eq!(RequestKind::of(&method.parse().unwrap(), &headers), expected, "{method} {lines:?}");
    }

    #[test]
    fn a_browser_that_opens_an_address_navigates() {
        let document = ["sec-fetch-mode: navigate", "sec-fetch-dest: document", HTML, CHROMIUM];
        check(RequestKind::Navigation, "GET", &document);
        check(RequestKind::Navigation, "GET", &[&document[..], &["sec-fetch-site: cross-site"]].concat());
        // Over plain http, browsers send no Sec-Fetch headers.
        check(RequestKind::Navigation, "GET", &[HTML, CHROMIUM]);
        check(RequestKind::Navigation, "GET", &[HTML, "user-agent: Lynx/2.9"]);
    }

    #[test]
    fn what_a_page_requests_by_itself_is_no_navigation() {
        for mode in ["cors", "same-origin", "no-cors", "websocket"] {
            check(RequestKind::Page, "GET", &[&format!("sec-fetch-mode: {mode}"), CHROMIUM]);
            check(RequestKind::Page, "POST", &[&format!("sec-fetch-mode: {mode}")]);
        }
        check(RequestKind::Page, "GET", &["sec-fetch-mode: navigate", "sec-fetch-dest: iframe", HTML]);
        check(RequestKind::Page, "POST", &["sec-fetch-mode: navigate", "sec-fetch-dest: document", HTML]);
        check(RequestKind::Page, "GET", &["origin: https://a48da0606867.example.org", "upgrade: websocket"]);
        check(RequestKind::Page, "POST", &["origin: https://a48da0606867.example.org"]);
        check(RequestKind::Page, "GET", &["accept: text/event-stream", CHROMIUM]);
        check(RequestKind::Page, "GET", &["accept: */*", CHROMIUM]);
        check(
            RequestKind::Page,
            "GET",
            &["sec-fetch-mode: cors", "sec-fetch-site: same-origin", "user-agent: node"],
        );
    }

    #[test]
    fn programs_are_no_pages() {
        check(RequestKind::Program, "GET", &["user-agent: curl/8.5.0", "accept: */*"]);
        check(RequestKind::Program, "POST", &["user-agent: opencode/1.18.4", "accept: application/json"]);
        check(RequestKind::Program, "GET", &["user-agent: Bun/1.3", "accept: text/event-stream"]);
        check(RequestKind::Program, "GET", &["upgrade: websocket", "connection: Upgrade"]);
        check(RequestKind::Program, "GET", &[]);
        // Node's fetch claims a mode, and nothing else that a browser sends.
        check(RequestKind::Program, "POST", &["sec-fetch-mode: cors", "user-agent: node", "accept: */*"]);
    }

    #[test]
    fn probes_crawlers_and_prefetches_only_look() {
        check(RequestKind::Probe, "HEAD", &[HTML, CHROMIUM, "sec-fetch-mode: navigate"]);
        check(RequestKind::Probe, "OPTIONS", &["origin: https://a48da0606867.example.org"]);
        for agent in
            ["kube-probe/1.37", "GoogleHC/1.0", "Slackbot-LinkExpanding 1.0", "ELB-HealthChecker/2.0"]
        {
            check(RequestKind::Probe, "GET", &[HTML, &format!("user-agent: {agent}")]);
        }
        for purpose in [
            "sec-purpose: prefetch",
            "sec-purpose: prefetch;prerender",
            "purpose: prefetch",
            "x-moz: prefetch",
        ] {
            check(
                RequestKind::Probe,
                "GET",
                &["sec-fetch-mode: navigate", "sec-fetch-dest: document", HTML, purpose],
            );
        }
        // A phone of that name is no crawler: browsers that send Sec-Fetch headers are believed.
        let phone = "user-agent: Mozilla/5.0 (Linux; Android 14; CUBOT X70) Chrome/140 Mobile";
        check(
            RequestKind::Navigation,
            "GET",
            &["sec-fetch-mode: navigate", "sec-fetch-dest: document", phone],
        );
    }
}
