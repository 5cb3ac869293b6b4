//! The OpenTelemetry variables. They are read here, and not by OpenTelemetry's own crates, so that a file may
//! set them and `--check-config` covers them.

use http::{HeaderName, HeaderValue, Uri};

use super::{
    model::TraceSettings,
    reader::{Reader, list},
};

/// The variable that turns traces on.
pub(super) const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

impl Reader<'_> {
    /// Reads all of them; `None` if traces are off.
    pub(super) fn traces(&mut self) -> Option<TraceSettings> {
        self.layers.chosen(ENDPOINT)?;
        let endpoint = self.collector_url();
        let headers = self.collector_headers();
        let (parent_based, ratio) = self.sampler();
        let continue_traces = self.propagators();
        let service_name = self.text("OTEL_SERVICE_NAME").to_owned();
        Some(TraceSettings {
            endpoint: endpoint?,
            headers,
            service_name,
            parent_based,
            ratio,
            continue_traces,
        })
    }

    fn collector_url(&mut self) -> Option<Uri> {
        let text = self.text(ENDPOINT);
        let base = text.parse::<Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        // The value is not repeated: it may contain a password.
        let problem = match &base {
            None => "must be an address that begins with http:// or https://",
            Some(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
                "must not contain credentials. Put them into OTEL_EXPORTER_OTLP_HEADERS"
            }
            Some(uri) if uri.query().is_some() => "must not have a query: `/v1/traces` is appended to it",
            Some(_) => return format!("{}/v1/traces", text.trim_end_matches('/')).parse().ok(),
        };
        self.problem(ENDPOINT, problem, "http://otel-collector.monitoring:4318");
        None
    }

    fn collector_headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        const NAME: &str = "OTEL_EXPORTER_OTLP_HEADERS";
        let headers: Option<Vec<_>> = list(self.text(NAME)).map(parse_header).collect();
        headers.unwrap_or_else(|| {
            // The value is a secret, so the part at fault is not shown.
            let problem = "must consist of `name=value` pairs, separated by commas; other characters than those \
                           of a header are written percent-encoded";
            self.problem(NAME, problem, "x-api-key=0123456789abcdef");
            Vec::new()
        })
    }

    /// Reads whether the sampler follows its parent, and the share that it keeps.
    fn sampler(&mut self) -> (bool, f64) {
        let ratio =
            self.text("OTEL_TRACES_SAMPLER_ARG").parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            self.problem("OTEL_TRACES_SAMPLER_ARG", "must be a number from 0 to 1", "0.1");
        }
        let ratio = ratio.unwrap_or_default();
        self.choice(
            "OTEL_TRACES_SAMPLER",
            &[
                ("parentbased_always_on", (true, 1.0)),
                ("parentbased_always_off", (true, 0.0)),
                ("parentbased_traceidratio", (true, ratio)),
                ("always_on", (false, 1.0)),
                ("always_off", (false, 0.0)),
                ("traceidratio", (false, ratio)),
            ],
        )
    }

    /// Reads whether a `traceparent` is continued.
    fn propagators(&mut self) -> bool {
        const NAME: &str = "OTEL_PROPAGATORS";
        let names: Vec<&str> = list(self.text(NAME)).collect();
        if let Some(unknown) = names.iter().find(|name| !["none", "tracecontext", "baggage"].contains(name)) {
            let problem = format!("contains {unknown:?}; the router knows `tracecontext` only, and `none`");
            self.problem(NAME, &problem, "tracecontext");
        }
        names.contains(&"tracecontext")
    }
}

/// Reads `name=value`. A value is percent-decoded, as in W3C Baggage.
fn parse_header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once('=')?;
    let mut value = HeaderValue::from_bytes(&percent_decode(value.trim())?).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok().filter(|digits| !digits.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()?
        } else {
            byte
        });
    }
    Some(decoded)
}
