//! Requests to upgrade a connection, and their responses.

use std::future::pending;

use http::{
    HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts as RequestParts,
    response::Parts as ResponseParts,
};
use hyper::{ext::Protocol, upgrade::OnUpgrade};

use super::{
    end_tunnel::{self, EndTunnelWhen},
    h1::Connection,
    tunnel::{self, Observer},
};
use crate::{
    activity::ActivityHandle, refusal::Refusal, serve::connection_state::ConnectionHandle,
    websocket::FrameReader,
};

/// The client's end of a connection that is to be upgraded.
pub(super) struct Upgrade {
    client: OnUpgrade,
    observer: Option<Observer>,
    is_websocket: bool,
    connection: Option<ConnectionHandle>,
    end: Option<EndTunnelWhen>,
    /// An extended CONNECT of HTTP/2 (RFC 8441), which is answered with 200 instead of 101.
    pub(super) is_connect: bool,
}

impl Upgrade {
    /// Takes the client's end of the connection, if the request asks to upgrade it. An extended CONNECT is
    /// made the request that HTTP/1.1 has for it.
    pub(super) fn take(parts: &mut RequestParts) -> Result<Option<Self>, Refusal> {
        let is_connect = parts.method == Method::CONNECT;
        if is_connect {
            if parts.extensions.get::<Protocol>().is_none_or(|protocol| protocol.as_str() != "websocket") {
                return Err(Refusal::Malformed("CONNECT is supported for WebSockets only\n"));
            }
            parts.method = Method::GET;
            parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            // Any key will do: HTTP/2 has no handshake that verifies it (RFC 8441 §5).
            let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
            parts.headers.insert(header::SEC_WEBSOCKET_KEY, key);
        } else if !wants_upgrade(&parts.headers) {
            return Ok(None);
        }
        let Some(client) = parts.extensions.remove::<OnUpgrade>() else {
            return Err(Refusal::Malformed("this connection cannot be upgraded\n"));
        };
        let is_websocket = parts
            .headers
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let observer = parts.extensions.get::<ActivityHandle>().cloned().map(|activity| match is_websocket {
            true => Observer::WebSocket(activity, FrameReader::default()),
            false => Observer::Bytes(activity),
        });
        let connection = parts.extensions.get::<ConnectionHandle>().cloned();
        let end = parts.extensions.get::<EndTunnelWhen>().cloned();
        Ok(Some(Self { client, observer, is_websocket, connection, end, is_connect }))
    }

    /// Starts the tunnel to the session's end of the connection, and completes the head of the response.
    pub(super) fn start(self, session: Connection, parts: &mut ResponseParts, protocol: Option<HeaderValue>) {
        if self.is_connect {
            parts.status = StatusCode::OK;
            parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        } else {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
        }
        let frames = self.is_websocket.then(FrameReader::default);
        let end = self.end.and_then(|end| end.take());
        match self.connection {
            Some(connection) => {
                let drained = connection.clone().end_of_tunnels();
                let end = end_tunnel::either(end, drained);
                connection.spawn(tunnel::run(self.client, session, self.observer, frames, end));
            }
            None => {
                let end = end_tunnel::either(end, pending());
                drop(tokio::spawn(tunnel::run(self.client, session, self.observer, frames, end)));
            }
        }
    }
}

/// Whether `Connection: upgrade` and `Upgrade` ask for another protocol (RFC 9110 §7.8).
fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        })
}
