//! What an observer of `Forward` sees.

use std::sync::Arc;

use http::{Request, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use proxy_core::{Body, ConnectEvent, Forward, ForwardSettings, Observer, ResponseEvent, Upstream};
use tower::ServiceExt;

use crate::test_proxy::*;

/// Names an embedder's own extension.
#[derive(Clone)]
struct Tenant(&'static str);

#[derive(Default)]
struct Events(Mutex<Vec<String>>);

impl Observer for Events {
    fn connected(&self, event: &ConnectEvent<'_>) {
        let tenant = event.extensions.get::<Tenant>().unwrap().0;
        let result = if event.error.is_some() { "not connected" } else { "connected" };
        self.0.lock().push(format!("{tenant}: {result}"));
    }

    fn responded(&self, event: &ResponseEvent<'_>) {
        let tenant = event.extensions.get::<Tenant>().unwrap().0;
        self.0.lock().push(format!("{tenant}: {}, reused: {}", event.status.as_u16(), event.is_reused));
    }
}

#[tokio::test]
async fn an_observer_sees_connections_and_responses() {
    let (session, _heads) = raw_session(OK).await;
    let events = Arc::new(Events::default());
    let forward = Forward::new(ForwardSettings::default()).with_observer(events.clone());
    for (tenant, upstream) in [("a", session), ("b", session), ("c", closed_port().await)] {
        let mut request = Request::get("/").header(header::HOST, HOST).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Upstream::new(upstream));
        request.extensions_mut().insert(Tenant(tenant));
        let Ok(response) = within("a response", forward.clone().oneshot(request)).await;
        response.into_body().collect().await.unwrap();
    }
    let expected = ["a: connected", "a: 200, reused: false", "b: 200, reused: true", "c: not connected"];
    assert_eq!(*events.0.lock(), expected);
}
