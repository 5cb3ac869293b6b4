//! An OpenTelemetry collector on loopback, which keeps what it receives.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{Router, body::Bytes, extract::State, routing::post};
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

/// A generous timeout: a span waits up to 5 s for others.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running collector; dropping it ends it.
pub(crate) struct OtlpCollector {
    received: watch::Receiver<Vec<Received>>,
    status: watch::Sender<StatusCode>,
    endpoint: String,
    _tasks: JoinSet<()>,
}

/// A request that it received.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    /// The whole body as text, with everything that is not text replaced.
    pub(crate) text: String,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) spans: Vec<Span>,
}

#[derive(Clone)]
struct Shared {
    received: Arc<watch::Sender<Vec<Received>>>,
    status: watch::Receiver<StatusCode>,
}

impl OtlpCollector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (received_sender, received) = watch::channel(Vec::new());
        let (status, status_receiver) = watch::channel(StatusCode::OK);
        let shared = Shared { received: Arc::new(received_sender), status: status_receiver };
        let routes = Router::new().route("/v1/traces", post(receive)).with_state(shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(axum::serve(listener, routes).await) });
        Self { received, status, endpoint, _tasks: tasks }
    }

    /// Returns the value of OTEL_EXPORTER_OTLP_ENDPOINT.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Answers with this status from now on.
    pub(crate) fn set_status(&self, status: StatusCode) {
        self.status.send_replace(status);
    }

    /// Returns what was received so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received().into_iter().flat_map(|received| received.spans).collect()
    }

    /// Waits for a span.
    pub(crate) async fn wait_for(&self, is_meant: impl Fn(&Span) -> bool) -> Span {
        let mut received = self.received.clone();
        let meant = |all: &Vec<Received>| {
            all.iter().flat_map(|received| &received.spans).find(|span| is_meant(span)).cloned()
        };
        let arrived = timeout(TIMEOUT, received.wait_for(|all| meant(all).is_some())).await;
        let Ok(all) = arrived else {
            let names: Vec<_> = self.spans().into_iter().map(|span| span.name).collect();
            panic!("the span did not arrive, only {names:?}");
        };
        meant(&all.expect("a running collector")).expect("the span")
    }
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("OTLP");
    let resource = request.resource_spans.iter().filter_map(|spans| spans.resource.as_ref());
    let resource = resource.flat_map(|resource| attributes(&resource.attributes)).collect();
    let scopes = request.resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans).collect();
    let text = String::from_utf8_lossy(&body).into_owned();
    shared.received.send_modify(|all| all.push(Received { headers, text, resource, spans }));
    *shared.status.borrow()
}

/// Returns attributes by name, as text.
pub(crate) fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(value) => Some(value.to_string()),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute).expect("a value"))).collect()
}
