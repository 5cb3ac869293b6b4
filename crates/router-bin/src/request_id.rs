//! A unique id for each request, by which the log, the error answer and the client name it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use http::{Extensions, HeaderName, HeaderValue, Request};
use proxy_core::Body;
use tower::util::MapRequest;
use tower_http::{
    propagate_header::PropagateHeader,
    request_id::{MakeRequestId, RequestId, SetRequestId},
};

/// The header that carries the id: inwards to the API, which puts it into its errors, and back to the client.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids of a number that differs between runs of the router, and a counter.
#[derive(Debug, Clone)]
pub(crate) struct RequestIds {
    run: u32,
    next: Arc<AtomicU32>,
}

impl RequestIds {
    /// Returns a new sequence of ids.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { run: rand::random(), next: Arc::default() }
    }
}

impl MakeRequestId for RequestIds {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:08x}{number:08x}", self.run)).ok().map(RequestId::new)
    }
}

/// A service with [`identified`] requests.
pub(crate) type Identified<S> =
    MapRequest<SetRequestId<PropagateHeader<S>, RequestIds>, fn(Request<Body>) -> Request<Body>>;

/// Gives each request an id, as an extension and a header, and each response the same header. An id that the
/// client or the session sent is replaced.
pub(crate) fn identified<S>(inner: S, ids: RequestIds) -> Identified<S> {
    let propagate = PropagateHeader::new(inner, X_REQUEST_ID);
    MapRequest::new(SetRequestId::new(propagate, X_REQUEST_ID, ids), remove_id)
}

fn remove_id(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().remove(X_REQUEST_ID);
    request
}

/// Returns the id of a request by its extensions; empty if it has none.
pub(crate) fn of(extensions: &Extensions) -> &str {
    extensions.get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, convert::Infallible};

    use http::Response;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn every_request_has_an_id_of_its_own_whatever_client_and_session_send() {
        async fn handler(request: Request<Body>) -> Result<Response<Body>, Infallible> {
            let id = of(request.extensions()).to_owned();
            assert_eq!(request.headers()[X_REQUEST_ID], id.as_str());
            let mut response = Response::new(id.into());
            response.headers_mut().insert(X_REQUEST_ID, HeaderValue::from_static("the session's"));
            Ok(response)
        }
        let service = identified(service_fn(handler), RequestIds::new());
        let mut ids = HashSet::new();
        for _ in 0..3 {
            let request = Request::builder().header(X_REQUEST_ID, "the client's").body(Body::empty());
            let Ok(response) = service.clone().oneshot(request.expect("a request")).await;
            let id = response.headers()[X_REQUEST_ID].to_str().expect("text").to_owned();
            assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            ids.insert(id);
        }
        assert_eq!(ids.len(), 3);
    }
}
