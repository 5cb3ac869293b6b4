//! The requests of a connection, and their responses.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    mem,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{Service, util::Oneshot};

use super::connection_state::{ConnectionHandle, Responding};
use crate::{
    body::{Body, BodyError, OnEnd},
    peer_addr::PeerAddr,
    refusal::{Refusal, RefusalContext},
    response_future::ResponseFuture,
};

/// Passes requests to the service, with extensions that describe their connection.
pub(super) struct ConnectionService<S> {
    service: RefCell<S>,
    peer: Option<SocketAddr>,
    connection: ConnectionHandle,
}

impl<S> ConnectionService<S> {
    pub(super) fn new(service: S, peer: Option<SocketAddr>, connection: ConnectionHandle) -> Self {
        Self { service: RefCell::new(service), peer, connection }
    }
}

impl<S> ConnectionService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    fn answer(&self, request: Request<Incoming>) -> ResponseFuture<Called<S>> {
        let is_http2 = request.version() >= Version::HTTP_2;
        let mut receiving = None;
        if is_http2 {
            self.connection.keep_open();
        } else if !self.connection.head().has_one_framing(&request) {
            let refusal = Refusal::Malformed("the request has both Content-Length and Transfer-Encoding\n");
            let refusals = &self.connection.shared().settings.refusals;
            return ResponseFuture::refused(refusals.refuse(&refusal, &RefusalContext::from(&request)));
        } else if !request.body().is_end_stream() {
            receiving = Some(self.connection.receive());
        } else if is_last(request.headers()) {
            self.connection.set_last_request();
        }
        let on_end = receiving.map(|receiving| Box::new(move || drop(receiving)) as OnEnd);
        let mut request = request.map(|body| Body::received(body, on_end));
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(PeerAddr(peer));
        }
        if request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT {
            if !is_http2 {
                self.connection.set_tunnel();
            }
            request.extensions_mut().insert(self.connection.clone());
        }
        ResponseFuture::called(self.call_service(request))
    }

    /// Calls the service at once if it is ready, else a clone of it later.
    fn call_service(&self, request: Request<Body>) -> Called<S> {
        let mut service = self.service.borrow_mut();
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Either::Left(service.call(request)),
            Poll::Pending => {
                // This one may be in a queue already, for a permit for example, and must stay in it.
                let clone = service.clone();
                Either::Right(Oneshot::new(mem::replace(&mut *service, clone), request))
            }
        }
    }
}

/// Whether the client sends no further request (RFC 9112 §9.6).
fn is_last(headers: &HeaderMap) -> bool {
    let options = headers.get_all(header::CONNECTION).into_iter();
    options
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

type Called<S> = Either<<S as Service<Request<Body>>>::Future, Oneshot<S, Request<Body>>>;

impl<S> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<ServedBody>;
    type Error = Infallible;
    type Future = ServedFuture<Called<S>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.connection.set_request_received();
        let responding = (request.version() < Version::HTTP_2).then(|| self.connection.respond());
        ServedFuture { response: self.answer(request), responding }
    }
}

pin_project! {
    /// The future of a response.
    pub(super) struct ServedFuture<F: Future> {
        #[pin]
        response: ResponseFuture<F>,
        responding: Option<Responding>,
    }
}

impl<F> Future for ServedFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<ServedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.response.poll(context));
        let responding = this.responding.take();
        if responding.as_ref().is_some_and(Responding::is_closing)
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|body| ServedBody { body, _responding: responding })))
    }
}

/// The body of a response until it is sent.
pub(super) struct ServedBody {
    body: Body,
    _responding: Option<Responding>,
}

impl HttpBody for ServedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_option_close_says_that_a_request_is_the_last() {
        for (values, expected) in [
            (&["close"] as &[&'static str], true),
            (&["keep-alive, Close "], true),
            (&["TE", "close,TE"], true),
            (&[], false),
            (&["keep-alive"], false),
            (&["closed", "not close"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONNECTION, HeaderValue::from_static(value));
            }
            assert_eq!(is_last(&headers), expected, "{headers:?}");
        }
    }
}
