//! The OpenTelemetry variables.

use super::{load, refused};

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otel.example.org:4318/base/");

#[test]
fn traces_are_off_without_an_endpoint_and_their_variables_are_reported() {
    assert!(load(None, &[]).expect("a configuration").traces.is_none());
    let config = load(None, &[("OTEL_SERVICE_NAME", "router")]).expect("a configuration");
    assert!(config.traces.is_none());
    assert_eq!(config.notices, ["OTEL_SERVICE_NAME has no effect without OTEL_EXPORTER_OTLP_ENDPOINT."]);
}

#[test]
fn an_endpoint_alone_traces_everything_and_continues_nothing() {
    let config = load(None, &[ENDPOINT]).expect("a configuration");
    assert!(config.notices.is_empty(), "{:?}", config.notices);
    let traces = config.traces.expect("traces");
    assert_eq!(traces.endpoint, "https://otel.example.org:4318/base/v1/traces");
    assert_eq!(traces.service_name, "opencode-router");
    assert!(traces.headers.is_empty() && traces.parent_based && !traces.continue_traces);
    assert_eq!(traces.ratio, 1.0);
}

#[test]
fn the_headers_of_the_collector_are_percent_decoded_and_never_shown() {
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20horse%3D%3D, x-tenant = a%2Cb ,");
    let config = load(None, &[ENDPOINT, headers]).expect("a configuration");
    assert!(config.listing().contains("OTEL_EXPORTER_OTLP_HEADERS=(set, not shown)"), "{}", config.listing());
    assert!(!format!("{config:?}").contains("horse"), "{config:?}");
    let headers = config.traces.expect("traces").headers;
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
    assert_eq!(headers, [("authorization", "Basic horse=="), ("x-tenant", "a,b")]);
    for wrong in ["horse", "=horse", "a b=horse", "a=horse%2", "a=horse%+1", "a=horse%0A"] {
        let problems = load(None, &[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", wrong)]).expect_err("a refusal");
        assert!(problems.0[0].contains("OTEL_EXPORTER_OTLP_HEADERS must"), "{problems}");
        assert!(!problems.to_string().contains("horse"), "{problems}");
    }
}

#[test]
fn the_sampler_has_the_names_of_the_specification() {
    for (name, expected) in [
        ("always_on", (false, 1.0)),
        ("always_off", (false, 0.0)),
        ("traceidratio", (false, 0.25)),
        ("parentbased_always_on", (true, 1.0)),
        ("parentbased_always_off", (true, 0.0)),
        ("parentbased_traceidratio", (true, 0.25)),
    ] {
        let variables = [ENDPOINT, ("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        let traces = load(None, &variables).expect("a configuration").traces.expect("traces");
        assert_eq!((traces.parent_based, traces.ratio), expected, "{name}");
    }
    for list in ["tracecontext", "tracecontext,baggage"] {
        let config = load(None, &[ENDPOINT, ("OTEL_PROPAGATORS", list)]).expect("a configuration");
        assert!(config.traces.expect("traces").continue_traces, "{list}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_name_and_an_example() {
    for endpoint in ["otel.example.org:4318", "grpc://otel.example.org", "http://", "not a url"] {
        refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)], &["OTEL_EXPORTER_OTLP_ENDPOINT must be"]);
    }
    let with_password = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:horse@otel.example.org")];
    refused(&with_password, &["must not contain credentials", "OTEL_EXPORTER_OTLP_HEADERS"]);
    assert!(!load(None, &with_password).expect_err("a refusal").to_string().contains("horse"));
    refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel.example.org?a=b")], &["must not have a query"]);
    refused(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "jaeger_remote")], &["OTEL_TRACES_SAMPLER", "`always_on`"]);
    for ratio in ["2", "-1", "NaN", "half"] {
        refused(&[ENDPOINT, ("OTEL_TRACES_SAMPLER_ARG", ratio)], &["OTEL_TRACES_SAMPLER_ARG", "0.1"]);
    }
    refused(&[ENDPOINT, ("OTEL_PROPAGATORS", "b3")], &["OTEL_PROPAGATORS", "b3", "tracecontext"]);
}
